//! Which revision ran, and which tracked file each frame of a report is in.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bstr::ByteSlice;
use dashmap::DashMap;

use super::Project;
use crate::blame::{Basis, BlameError, Blamer, CommitId, Question, Resolved, RevisionHints};
use crate::report::Report;
use crate::store::{Deploy, Store, StoreError};
use crate::triage::mounts::{Mount, Submodule};
use crate::triage::paths::{CodeMap, Listing, Mapping};
use crate::triage::verdict::TrackedFile;
use crate::triage::walk::Suspect;

/// How long it is taken for true that no repository has a submodule's commit: one may be fetched.
const BETWEEN_LOOKS: Duration = Duration::from_secs(60);
/// Code maps kept; one is a few megabytes for a repository of 100,000 files.
const MAPS: usize = 16;
/// Submodules' commits whose repositories are remembered.
const OWNERS: usize = 1024;

/// Where a report's frames are.
#[derive(Debug, Clone)]
pub struct Survey {
    /// The revision of each repository of the project, in the project's order.
    pub revisions: Vec<(String, Resolved)>,
    /// One mapping per frame, in the report's order of exceptions and frames.
    pub mapped: Vec<Vec<Mapping>>,
    /// Where the report's frames say that the repositories are deployed.
    pub mounts: Vec<Mount>,
}

/// A repository at a commit, with its submodules.
type Mapped = (String, CommitId, Vec<Submodule>);

/// Makes surveys.
pub struct Surveyor {
    blamer: Blamer,
    maps: DashMap<Vec<Mapped>, Arc<CodeMap>>,
    /// By a project's repositories and a commit: which of them has it, and when that was found out.
    owners: DashMap<(Vec<String>, CommitId), (Option<String>, Instant)>,
}

impl Surveyor {
    /// A surveyor of that blamer's repositories.
    #[must_use]
    pub fn new(blamer: Blamer) -> Self {
        Self { blamer, maps: DashMap::new(), owners: DashMap::new() }
    }

    /// Surveys a report. Blocks: it may read git. `deployed` tells what was announced to run where the
    /// report comes from; it is asked only where the report itself does not say.
    ///
    /// # Errors
    /// Where a repository of the project cannot be read: a report is not judged by half of the code.
    pub fn survey(
        &self,
        project: &Project,
        report: &Report,
        deployed: impl Fn() -> Option<Deploy>,
    ) -> Result<Survey, BlameError> {
        let hints = hints(report);
        let mut revisions = Vec::new();
        for name in &project.repositories {
            let resolved = match self.blamer.resolve(name, &hints) {
                Ok(resolved) => resolved,
                // No commit, no file: every frame is foreign to it.
                Err(BlameError::Empty { .. }) => continue,
                Err(error) => return Err(error),
            };
            let resolved = match resolved.basis {
                Basis::Named => resolved,
                _ => deployed().and_then(|deploy| self.deployed(name, &deploy)).unwrap_or(resolved),
            };
            revisions.push((name.clone(), resolved));
        }
        let submodules = self.pin_submodules(&mut revisions)?;
        let map = self.map(&revisions, submodules)?;
        let sources = |file: &TrackedFile| {
            let (_, resolved) = revisions.iter().find(|(name, _)| *name == file.repository)?;
            self.blamer.source(&file.repository, &resolved.commit, file.path.as_bstr()).ok().flatten()
        };
        let mounts = map.mounts(report, &sources);
        let mapped = map.map(report, &mounts, &sources);
        Ok(Survey { revisions, mapped, mounts })
    }

    /// The commit of a deploy, if this repository has it.
    fn deployed(&self, repository: &str, deploy: &Deploy) -> Option<Resolved> {
        let hints = RevisionHints { revision: Some(deploy.revision.clone()), ..RevisionHints::default() };
        let resolved = self.blamer.resolve(repository, &hints).ok()?;
        if resolved.basis != Basis::Named {
            return None;
        }
        let version = deploy.version.as_deref().map(|version| format!(" of {version}")).unwrap_or_default();
        let environment = match deploy.environment.as_str() {
            "" => String::new(),
            environment => format!(" to {environment}"),
        };
        let short = resolved.commit.short();
        let how = format!("the deploy{version}{environment} that was announced last is of commit {short}");
        Some(Resolved { how, ..resolved })
    }

    /// The submodules of each repository. Where one of them is another repository of the project, that one is
    /// looked at as of the commit that is pinned, unless the report names another.
    fn pin_submodules(
        &self,
        revisions: &mut [(String, Resolved)],
    ) -> Result<Vec<Vec<Submodule>>, BlameError> {
        let names: Vec<String> = revisions.iter().map(|(name, _)| name.clone()).collect();
        let mut all = Vec::new();
        for at in 0..revisions.len() {
            let (name, resolved) = revisions[at].clone();
            let mut submodules = Vec::new();
            for (path, pinned) in &self.blamer.tracked(&name, &resolved.commit)?.submodules {
                let repository = self.owner(&names, &name, pinned);
                let other = revisions.iter_mut().find(|(other, _)| Some(other) == repository.as_ref());
                if let Some((_, other)) = other
                    && other.basis != Basis::Named
                {
                    let how = format!("{name} has it as its submodule {path}, at {}", pinned.short());
                    *other = Resolved { commit: pinned.clone(), basis: resolved.basis, how };
                }
                submodules.push(Submodule { path: path.clone(), repository });
            }
            all.push(submodules);
        }
        Ok(all)
    }

    /// Which of `names`, but for `not`, has `commit`.
    fn owner(&self, names: &[String], not: &str, commit: &CommitId) -> Option<String> {
        let key = (names.to_vec(), commit.clone());
        if let Some(known) = self.owners.get(&key)
            && (known.0.is_some() || known.1.elapsed() < BETWEEN_LOOKS)
        {
            return known.0.clone();
        }
        let owner = names.iter().find(|name| *name != not && self.blamer.has(name, commit)).cloned();
        if self.owners.len() >= OWNERS {
            self.owners.clear();
        }
        self.owners.insert(key, (owner.clone(), Instant::now()));
        owner
    }

    fn map(
        &self,
        revisions: &[(String, Resolved)],
        submodules: Vec<Vec<Submodule>>,
    ) -> Result<Arc<CodeMap>, BlameError> {
        let revisions = revisions.iter().map(|(name, at)| (name.clone(), at.commit.clone()));
        let key: Vec<_> =
            revisions.zip(submodules).map(|((name, commit), sub)| (name, commit, sub)).collect();
        if let Some(map) = self.maps.get(&key) {
            return Ok(Arc::clone(&map));
        }
        let listings = key
            .iter()
            .map(|(name, commit, submodules)| {
                let tracked = self.blamer.tracked(name, commit)?;
                let mut files = Arc::clone(&tracked.files);
                if !tracked.links.is_empty() {
                    // A file may have been run by another name; blame follows the link.
                    let all = Arc::make_mut(&mut files);
                    all.extend(tracked.links.iter().map(|(link, _)| link.clone()));
                    all.sort();
                }
                Ok(Listing { repository: name.clone(), files, submodules: submodules.clone() })
            })
            .collect::<Result<_, BlameError>>()?;
        let map = Arc::new(CodeMap::new(listings));
        if self.maps.len() >= MAPS {
            self.maps.clear();
        }
        self.maps.insert(key, Arc::clone(&map));
        Ok(map)
    }
}

impl Survey {
    /// The commit at which a file was looked for.
    #[must_use]
    pub fn revision(&self, repository: &str) -> Option<&Resolved> {
        self.revisions.iter().find(|(name, _)| name == repository).map(|(_, resolved)| resolved)
    }

    /// What to ask git about the suspect, with the evidence that the client sent.
    ///
    /// # Panics
    /// Where the suspect is not of this survey.
    #[must_use]
    pub fn question(&self, report: &Report, suspect: &Suspect) -> Question {
        let frame = &report.exceptions[suspect.exception].frames[suspect.frame];
        let resolved =
            self.revision(&suspect.file.repository).expect("a suspect is in a surveyed repository");
        Question {
            repository: suspect.file.repository.clone(),
            revision: resolved.commit.clone(),
            path: suspect.file.path.clone(),
            line: suspect.line,
            text: frame.text.clone(),
            before: frame.before.clone(),
            after: frame.after.clone(),
            basis: resolved.basis,
        }
    }
}

fn hints(report: &Report) -> RevisionHints {
    let text = |value: &serde_json::Value| value.as_str().map(str::to_owned);
    let tags = report.context.get("tags").and_then(|tags| tags.as_object());
    let named = |key: &str| {
        let key = key.to_ascii_lowercase();
        ["commit", "revision", "sha", "git"].iter().any(|word| key.contains(word))
    };
    RevisionHints {
        revision: report.revision.clone(),
        release: report.release.clone(),
        dist: report.context.get("dist").and_then(text),
        others: tags
            .into_iter()
            .flatten()
            .filter(|(key, _)| named(key))
            .filter_map(|(_, value)| text(value))
            .collect(),
    }
}

/// What was announced to run where a report comes from: the deploy of the release that it names, else what
/// went out last to its environment before it happened, else what went out last without naming one.
pub(super) fn deploy_of(store: &Store, project: &Project, report: &Report, now: i64) -> Option<Deploy> {
    let at = report.occurred_at.map_or(now, |at| at.as_millisecond());
    let found = store.read(|tx| {
        if let Some(release) = &report.release
            && let Some(deploy) = tx.deploy_of_version(project.id, release)?
        {
            return Ok(Some(deploy));
        }
        let environment = report.environment.as_deref().unwrap_or_default();
        match tx.deploy_at(project.id, environment, at)? {
            None if !environment.is_empty() => tx.deploy_at(project.id, "", at),
            deploy => Ok(deploy),
        }
    });
    found
        .inspect_err(
            |error: &StoreError| tracing::warn!(%error, "deploys cannot be read; the branch tip stands in"),
        )
        .ok()
        .flatten()
}

//! Which revision ran, and which tracked file each frame of a report is in.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bstr::{BString, ByteSlice};
use dashmap::DashMap;

use super::Project;
use crate::blame::{Basis, BlameError, Blamer, CommitId, Question, Resolved, RevisionHints};
use crate::report::Report;
use crate::store::{Deploy, Store, StoreError};
use crate::triage::mounts::{Mount, Submodule};
use crate::triage::paths::{CodeMap, Listing, Mapping, may_be_of_another_time};
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
    /// The files among those mapped that their repository's revision has not, and the commit they are looked at.
    elsewhen: HashMap<TrackedFile, Resolved>,
}

/// Files that revisions have no more, or not yet, and the commits to look at them.
struct Elsewhen {
    map: CodeMap,
    at: HashMap<TrackedFile, Resolved>,
}

/// Repositories, the commit at which each is looked at, and a newer one to look at as well.
type Looked = Vec<(String, CommitId, Option<CommitId>)>;

/// A repository at a commit, with its submodules.
type Mapped = (String, CommitId, Vec<Submodule>);

/// Makes surveys.
pub struct Surveyor {
    blamer: Blamer,
    maps: DashMap<Vec<Mapped>, Arc<CodeMap>>,
    elsewhen: DashMap<Looked, Arc<OnceLock<Elsewhen>>>,
    /// By a project's repositories and a commit: which of them has it, and when that was found out.
    owners: DashMap<(Vec<String>, CommitId), (Option<String>, Instant)>,
}

impl Surveyor {
    /// A surveyor of that blamer's repositories.
    #[must_use]
    pub fn new(blamer: Blamer) -> Self {
        Self { blamer, maps: DashMap::new(), elsewhen: DashMap::new(), owners: DashMap::new() }
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
        let mut survey = Survey { revisions, mapped, mounts, elsewhen: HashMap::new() };
        self.recall(report, &mut survey);
        Ok(survey)
    }

    /// Looks for the files that were not found at other times: what runs may be older than the revision that
    /// stands in for it, or newer than the deploy that was announced last. Where the report itself names the
    /// revision, it has the files that ran.
    fn recall(&self, report: &Report, survey: &mut Survey) {
        let looked: Looked = survey
            .revisions
            .iter()
            .filter(|(_, resolved)| resolved.basis != Basis::Named)
            .map(|(name, resolved)| (name.clone(), resolved.commit.clone(), self.newer(name, resolved)))
            .collect();
        let frames = report.exceptions.iter().flat_map(|exception| &exception.frames);
        let mut lost = frames.zip(survey.mapped.iter().flatten());
        if looked.is_empty() || !lost.any(|(frame, mapping)| may_be_of_another_time(frame, mapping)) {
            return;
        }
        let known = self.elsewhen.get(&looked).map(|slot| Arc::clone(&slot));
        let slot = known.unwrap_or_else(|| {
            if self.elsewhen.len() >= MAPS {
                self.elsewhen.clear();
            }
            Arc::clone(&self.elsewhen.entry(looked.clone()).or_default())
        });
        // However many reports come meanwhile, history is read once.
        let elsewhen = slot.get_or_init(|| self.elsewhen(&looked));
        let sources = |file: &TrackedFile| {
            let at = elsewhen.at.get(file)?;
            self.blamer.source(&file.repository, &at.commit, file.path.as_bstr()).ok().flatten()
        };
        let found = elsewhen.map.recall(report, &survey.mounts, &sources, &mut survey.mapped);
        for (exception, frame) in found {
            if let Mapping::Ours { file, why, .. } = &mut survey.mapped[exception][frame]
                && let Some(at) = elsewhen.at.get(file)
            {
                *why = format!("{why}; {}", at.how);
                survey.elsewhen.insert(file.clone(), at.clone());
            }
        }
    }

    /// The tip, where a revision that a deploy named is looked at instead.
    fn newer(&self, name: &str, resolved: &Resolved) -> Option<CommitId> {
        let tip = || self.blamer.resolve(name, &RevisionHints::default()).ok();
        (resolved.basis == Basis::Deployed).then(tip)?.map(|tip| tip.commit)
    }

    /// Reads which files the revisions have no more, or not yet. What cannot be read is left out: the report is
    /// judged by the files that there are.
    fn elsewhen(&self, looked: &Looked) -> Elsewhen {
        let (mut at, mut listings) = (HashMap::new(), Vec::new());
        for (repository, commit, newer) in looked {
            let mut note = |path: BString, commit: CommitId, how: String| {
                let file = TrackedFile { repository: repository.clone(), path };
                at.insert(file, Resolved { commit, basis: Basis::Tip, how });
            };
            match self.blamer.former(repository, commit) {
                Ok(former) => {
                    for (path, last) in former {
                        let how = format!("renamed or removed since, last there at {}", last.short());
                        note(path, last, how);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "files that were renamed or removed cannot be told");
                }
            }
            if let Some(newer) = newer
                && let (Ok(then), Ok(now)) =
                    (self.blamer.files(repository, commit), self.blamer.files(repository, newer))
            {
                let how =
                    format!("newer than the deploy announced last; looked at the tip, {}", newer.short());
                for path in now.iter().filter(|path| then.binary_search(path).is_err()) {
                    note(path.clone(), newer.clone(), how.clone());
                }
            }
            let of = |file: &&TrackedFile| file.repository == *repository;
            let mut files: Vec<BString> = at.keys().filter(of).map(|file| file.path.clone()).collect();
            files.sort();
            let (repository, files) = (repository.clone(), Arc::new(files));
            listings.push(Listing { repository, files, submodules: Vec::new() });
        }
        Elsewhen { map: CodeMap::of_another_time(listings), at }
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
        Some(Resolved { how, basis: Basis::Deployed, ..resolved })
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
                    && !other.basis.is_named()
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
    /// The commit at which a file is looked at: its repository's, or another where that one has it not.
    #[must_use]
    pub fn revision(&self, file: &TrackedFile) -> Option<&Resolved> {
        self.elsewhen.get(file).or_else(|| self.revision_of(&file.repository))
    }

    fn revision_of(&self, repository: &str) -> Option<&Resolved> {
        self.revisions.iter().find(|(name, _)| name == repository).map(|(_, resolved)| resolved)
    }

    /// What to ask git about the suspect, with the evidence that the client sent.
    ///
    /// # Panics
    /// Where the suspect is not of this survey.
    #[must_use]
    pub fn question(&self, report: &Report, suspect: &Suspect) -> Question {
        let frame = &report.exceptions[suspect.exception].frames[suspect.frame];
        let resolved = self.revision(&suspect.file).expect("a suspect is in a surveyed repository");
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

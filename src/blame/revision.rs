//! Which commit was running, as far as a report's words tell.
//!
//! A report's revision, release and tags are free text: `adeb79c`, `v1.2.3`, `shop@1.2.3+adeb79c`,
//! `1.2.3-14-gadeb79c`. Whatever in them is a commit id or the name of a tag of the repository counts; the
//! first that does decides. Otherwise the tip of the tracked branch stands in.

use git2::{ErrorCode, ObjectType, Oid};
use serde::{Deserialize, Serialize};

use super::commit_id;
use super::objects::Stop;
use super::repository::{Branch, Handle, Repository};
use super::types::{Basis, BlameError, CommitId};

/// What a report says of the code that ran. Asked in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RevisionHints {
    /// A full or short commit id, or a tag.
    pub revision: Option<String>,
    /// The client's name for the release.
    pub release: Option<String>,
    /// Its name for the build of that release.
    pub dist: Option<String>,
    /// Anything else that may hold a commit id: tags such as `git.commit`.
    pub others: Vec<String>,
}

/// A commit to blame at, and why that one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolved {
    /// The commit.
    pub commit: CommitId,
    /// Why that one, in words.
    pub how: String,
    /// How much that is worth.
    pub basis: Basis,
}

/// The shortest id that is taken for one.
const SHORTEST_ID: usize = 7;

/// Finds the commit that `hints` name in `handle`, else the tip.
pub(super) fn resolve(
    handle: &Handle,
    settings: &Repository,
    hints: &RevisionHints,
) -> Result<Result<Resolved, BlameError>, Stop> {
    let mut missing = None;
    let named = [("revision", &hints.revision), ("release", &hints.release), ("dist", &hints.dist)];
    let named = named.into_iter().filter_map(|(kind, text)| Some((kind, text.as_deref()?.trim())));
    let others = hints.others.iter().map(|text| ("tag", text.trim()));
    for (kind, text) in named.chain(others).filter(|(_, text)| !text.is_empty()) {
        match find(handle, text)? {
            Found::Commit(id, what) => {
                let how = format!("the report's {kind} {text:?} names {what}");
                return Ok(Ok(Resolved { commit: commit_id(id), how, basis: Basis::Named }));
            }
            // Only a revision is sure to speak of this repository; a release may be called anything.
            Found::Ambiguous if missing.is_none() => {
                missing = Some(format!("the report's {kind} {text:?} fits several commits"));
            }
            Found::Nothing if missing.is_none() && (kind == "revision" || ids(text).next().is_some()) => {
                missing = Some(format!("the report's {kind} {text:?} is not in the repository"));
            }
            Found::Ambiguous | Found::Nothing => {}
        }
    }
    let Some((id, tip)) = tip(handle, settings.branch.as_ref())? else {
        return Ok(Err(match &settings.branch {
            Some(branch) => {
                BlameError::NoRevision { name: settings.name.clone(), revision: branch.to_string() }
            }
            None => BlameError::Empty { name: settings.name.clone() },
        }));
    };
    let (how, basis) = match missing {
        Some(missing) => (format!("{missing}; looked at {tip} instead"), Basis::NamedButMissing),
        None => (format!("no revision was named: {tip}"), Basis::Tip),
    };
    Ok(Ok(Resolved { commit: commit_id(id), how, basis }))
}

/// The commit that a person's `revision` means: anything that `git rev-parse` would take.
pub(super) fn parse(
    handle: &Handle,
    settings: &Repository,
    revision: &str,
) -> Result<Result<CommitId, BlameError>, Stop> {
    let name = || settings.name.clone();
    let failed = match handle.git.revparse_single(revision).and_then(|object| object.peel_to_commit()) {
        Ok(commit) => return Ok(Ok(commit_id(commit.id()))),
        Err(error) => error,
    };
    let digits = revision.to_ascii_lowercase();
    if failed.code() == ErrorCode::Ambiguous
        && let Found::Commit(id, _) = only_commit(handle, &digits)?
    {
        return Ok(Ok(commit_id(id)));
    }
    Ok(Err(match failed.code() {
        ErrorCode::Ambiguous => BlameError::AmbiguousRevision { name: name(), revision: revision.to_owned() },
        _ if handle.git.is_empty()? => BlameError::Empty { name: name() },
        ErrorCode::NotFound | ErrorCode::InvalidSpec | ErrorCode::Peel => {
            BlameError::NoRevision { name: name(), revision: revision.to_owned() }
        }
        _ => return Err(failed.into()),
    }))
}

enum Found {
    Commit(Oid, String),
    Ambiguous,
    Nothing,
}

fn find(handle: &Handle, text: &str) -> Result<Found, Stop> {
    for tag in tags(text) {
        if let Some(id) = tag_commit(handle, &tag)? {
            return Ok(Found::Commit(id, format!("tag {tag}")));
        }
    }
    let mut ambiguous = false;
    for id in ids(text) {
        match by_prefix(handle, id)? {
            Found::Commit(id, what) => return Ok(Found::Commit(id, what)),
            Found::Ambiguous => ambiguous = true,
            Found::Nothing => {}
        }
    }
    Ok(if ambiguous { Found::Ambiguous } else { Found::Nothing })
}

/// The tags that a release of that name may have: itself, without the project before `@`, without the
/// build after `+`, each also with a `v`.
fn tags(text: &str) -> Vec<String> {
    let mut names = vec![text];
    for part in [text.rsplit_once('@').map(|(_, version)| version), text.strip_prefix("refs/tags/")] {
        names.extend(part);
    }
    for at in 0..names.len() {
        names.extend(names[at].split_once('+').map(|(version, _)| version));
    }
    let mut tags: Vec<String> = Vec::new();
    for name in names.into_iter().filter(|name| !name.is_empty()) {
        for tag in [name.to_owned(), format!("v{name}")] {
            if !tags.contains(&tag) && git2::Reference::is_valid_name(&format!("refs/tags/{tag}")) {
                tags.push(tag);
            }
        }
    }
    tags
}

/// What in `text` looks like a commit id. All digits and not the whole of it is more likely a date.
fn ids(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !letter.is_ascii_alphanumeric())
        .flat_map(|word| [Some(word), word.strip_prefix('g')])
        .flatten()
        .filter(|word| (SHORTEST_ID..=40).contains(&word.len()))
        .filter(|word| word.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .filter(move |word| *word == text || word.bytes().any(|byte| byte.is_ascii_alphabetic()))
}

fn tag_commit(handle: &Handle, tag: &str) -> Result<Option<Oid>, Stop> {
    match handle.git.find_reference(&format!("refs/tags/{tag}")) {
        // A tag of a tree or a blob is no revision.
        Ok(reference) => Ok(reference.peel_to_commit().ok().map(|commit| commit.id())),
        Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::InvalidSpec) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn by_prefix(handle: &Handle, prefix: &str) -> Result<Found, Stop> {
    let lower = prefix.to_ascii_lowercase();
    match handle.git.revparse_single(&lower) {
        // A branch may be called like an id; only the id itself counts.
        Ok(object) if object.id().to_string().starts_with(&lower) => Ok(match object.peel_to_commit() {
            Ok(commit) => Found::Commit(commit.id(), format!("commit {}", commit_id(commit.id()).short())),
            Err(_) => Found::Nothing,
        }),
        Ok(_) => Ok(Found::Nothing),
        Err(error) if error.code() == ErrorCode::Ambiguous => only_commit(handle, &lower),
        Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::InvalidSpec) => {
            Ok(Found::Nothing)
        }
        Err(error) => Err(error.into()),
    }
}

/// Among the objects whose ids begin with `prefix`: the commit, if just one is a commit.
fn only_commit(handle: &Handle, prefix: &str) -> Result<Found, Stop> {
    let odb = handle.git.odb()?;
    let mut fitting = Vec::new();
    odb.foreach(|id| {
        if id.to_string().starts_with(prefix) {
            fitting.push(*id);
        }
        true
    })?;
    fitting.sort();
    fitting.dedup();
    fitting.retain(|&id| odb.read_header(id).is_ok_and(|(_, kind)| kind == ObjectType::Commit));
    Ok(match fitting[..] {
        [id] => Found::Commit(id, format!("commit {}", commit_id(id).short())),
        [] => Found::Nothing,
        _ => Found::Ambiguous,
    })
}

/// The newest commit of the tracked branch, with its description.
pub(super) fn tip(handle: &Handle, branch: Option<&Branch>) -> Result<Option<(Oid, String)>, Stop> {
    let newest;
    let branch = match branch {
        None => None,
        Some(Branch::Named(name)) => Some(name.as_str()),
        Some(Branch::Newest(pattern)) => {
            newest = pattern.newest(branches(handle)?.into_iter());
            match &newest {
                Some(name) => Some(name.as_str()),
                None => return Ok(None),
            }
        }
    };
    let names = match branch {
        Some(branch) => vec![format!("refs/heads/{branch}"), format!("refs/remotes/origin/{branch}")],
        None => vec!["HEAD".to_owned(), "refs/remotes/origin/HEAD".to_owned()],
    };
    for name in names {
        match handle.git.find_reference(&name).and_then(|reference| reference.peel_to_commit()) {
            Ok(commit) => {
                let branch = branch.map_or_else(|| head_name(handle), |branch| Some(branch.to_owned()));
                let of = branch.map_or_else(String::new, |branch| format!(" of {branch}"));
                let id = commit.id();
                return Ok(Some((id, format!("the tip{of}, commit {}", commit_id(id).short()))));
            }
            Err(error)
                if matches!(
                    error.code(),
                    ErrorCode::NotFound | ErrorCode::UnbornBranch | ErrorCode::InvalidSpec
                ) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(None)
}

/// The names of the branches that are here, and of those that are known of where the clone is from.
fn branches(handle: &Handle) -> Result<Vec<String>, Stop> {
    let mut names = Vec::new();
    for folder in ["refs/heads/", "refs/remotes/origin/"] {
        for reference in handle.git.references_glob(&format!("{folder}*"))? {
            let reference = reference?;
            // A name that is no text fits no pattern.
            names.extend(reference.name().ok().and_then(|name| name.strip_prefix(folder)).map(str::to_owned));
        }
    }
    Ok(names)
}

fn head_name(handle: &Handle) -> Option<String> {
    let head = handle.git.find_reference("HEAD").ok()?;
    let target = head.symbolic_target().ok()??;
    Some(target.strip_prefix("refs/heads/").unwrap_or(target).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_found_inside_of_names() {
        for (text, expected) in [
            ("adeb79c", &["adeb79c"][..]),
            ("shop@1.2.3+adeb79c", &["adeb79c"]),
            ("v1.2-14-gadeb79c", &["adeb79c"]),
            ("shop-ADEB79C01", &["ADEB79C01"]),
            ("1234567", &["1234567"]),
            ("release-20240131", &[]),
            ("v1.2.3", &[]),
            ("adeb7", &[]),
        ] {
            assert_eq!(ids(text).collect::<Vec<_>>(), expected, "{text}");
        }
    }

    #[test]
    fn tags_are_guessed_from_names() {
        assert_eq!(tags("1.2.3"), ["1.2.3", "v1.2.3"]);
        assert_eq!(
            tags("shop@1.2+7"),
            ["shop@1.2+7", "vshop@1.2+7", "1.2+7", "v1.2+7", "shop@1.2", "vshop@1.2", "1.2", "v1.2"]
        );
        assert_eq!(tags("a b^{}"), Vec::<String>::new());
    }
}

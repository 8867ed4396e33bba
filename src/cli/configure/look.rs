//! What can be found out without asking.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::blame;

/// Commits looked at for the addresses of authors.
const RECENT: usize = 300;

/// What a repository tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Known {
    /// The top of the clone.
    pub(super) top: PathBuf,
    /// Where it is fetched from.
    pub(super) remote: Option<String>,
    /// The branch that is checked out.
    pub(super) branch: Option<String>,
    /// The domain that most of its recent authors have.
    pub(super) domain: Option<String>,
    /// Whether all of them have it.
    pub(super) all_on_domain: bool,
    /// Who commits there.
    pub(super) user: Option<String>,
}

/// What the repository around `folder` tells, if there is one.
pub(super) fn at(folder: &Path) -> Option<Known> {
    let top = blame::discover(&std::fs::canonicalize(folder).ok()?).ok()?;
    let git = git2::Repository::open(&top).ok()?;
    let user = git.config().and_then(|config| config.get_string("user.email")).ok();
    let remote = git.find_remote("origin").ok().and_then(|remote| Some(remote.url().ok()?.to_owned()));
    let head = git.head().ok().filter(git2::Reference::is_branch);
    let branch = head.and_then(|head| Some(head.shorthand().ok()?.to_owned()));
    let domains = domains(&git).unwrap_or_default();
    let most = domains.iter().max_by_key(|(_, count)| **count);
    Some(Known {
        all_on_domain: domains.len() == 1,
        domain: most.map(|(domain, _)| domain.clone()),
        user: user.filter(|user| user.parse::<lettre::Address>().is_ok()),
        top: top.components().collect(),
        remote,
        branch,
    })
}

/// How many recent commits are by authors of which domain; those that no mail can go to are left out.
fn domains(git: &git2::Repository) -> Result<BTreeMap<String, usize>, git2::Error> {
    let mut walk = git.revwalk()?;
    walk.push_head()?;
    let mut domains = BTreeMap::new();
    for id in walk.take(RECENT) {
        let commit = git.find_commit(id?)?;
        let author = commit.author();
        let domain = author.email().ok().and_then(|mail| mail.rsplit_once('@')).map(|(_, domain)| domain);
        let usable = |domain: &&str| {
            domain.contains('.')
                && !domain.contains("noreply")
                && format!("x@{domain}").parse::<lettre::Address>().is_ok()
        };
        if let Some(domain) = domain.filter(usable) {
            *domains.entry(domain.to_lowercase()).or_default() += 1;
        }
    }
    Ok(domains)
}

/// The branches of the clone at `folder`.
pub(super) fn branches(folder: &Path) -> Vec<String> {
    let Ok(git) = git2::Repository::open(folder) else { return Vec::new() };
    let Ok(branches) = git.branches(Some(git2::BranchType::Local)) else { return Vec::new() };
    branches.flatten().filter_map(|(branch, _)| Some(branch.name().ok()??.to_owned())).collect()
}

//! Who wrote a repository's commits, by `.mailmap`.

use std::collections::BTreeSet;

use bstr::ByteSlice;
use git2::Oid;

use super::author;
use super::objects::{Objects, Stop};

/// The addresses, in lower case, of whoever wrote a commit that `tip` has and `since` has not.
pub(super) fn since(objects: &Objects<'_>, tip: Oid, since: Option<Oid>) -> Result<BTreeSet<String>, Stop> {
    let git = &objects.handle.git;
    let mailmap = author::mailmap(objects, tip)?;
    let mut commits = git.revwalk()?;
    commits.push(tip)?;
    if let Some(since) = since.filter(|since| git.find_commit(*since).is_ok()) {
        commits.hide(since)?;
    }
    let mut mails = BTreeSet::new();
    for commit in commits {
        let commit = git.find_commit(commit?)?;
        let author = commit.author();
        let (_, mail) = mailmap.resolve(author.name_bytes(), author.email_bytes());
        mails.insert(mail.to_str_lossy().trim().to_lowercase());
    }
    mails.remove("");
    Ok(mails)
}

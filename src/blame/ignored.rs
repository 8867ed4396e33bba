//! Commits whose changes are not held against their authors: those that only reformatted.
//!
//! They are listed, one full id a line with comments after `#`, in `.git-blame-ignore-revs` at the top of
//! the repository, and in the files that git's setting `blame.ignoreRevsFile` names.

use std::collections::HashSet;
use std::sync::Arc;

use bstr::{BString, ByteSlice};
use git2::Oid;

use super::objects::{Kind, Node, Objects, Stop};

/// Where projects keep the list.
const LIST: &str = ".git-blame-ignore-revs";

/// Bytes of a broken line that are shown.
const SHOWN: usize = 80;

/// The commits to ignore.
#[derive(Debug, Default)]
pub(super) struct Ignored {
    pub(super) commits: HashSet<Oid>,
    /// Lines that are neither an id nor a comment.
    pub(super) broken: Vec<BrokenLine>,
}

/// A line of a list of ignored commits that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BrokenLine {
    /// The file it is in.
    pub file: String,
    /// 1-based.
    pub line: usize,
    /// What stands there, its beginning at least.
    pub text: BString,
}

impl std::fmt::Display for BrokenLine {
    /// In words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}:{}: not a full commit id, so nothing is ignored for it: {:?}",
            self.file, self.line, self.text
        )
    }
}

impl Ignored {
    /// The lists of the revision asked, of the tip, and of the settings: whoever reads old code knows by
    /// today what only reformatted it.
    pub(super) fn read(objects: &Objects<'_>, revision: Oid) -> Result<Arc<Self>, Stop> {
        let mut known = objects.handle.ignored.borrow_mut();
        if let Some(ignored) = known.get(&revision) {
            return Ok(Arc::clone(ignored));
        }
        let mut ignored = Self::default();
        let mut lists = Vec::new();
        for commit in [Some(revision), objects.handle.tip()].into_iter().flatten() {
            let tree = objects.commit(commit)?.tree;
            if let Some(Node { kind: Kind::File, id }) = objects.find(tree, LIST.into())?
                && !lists.contains(&id)
            {
                lists.push(id);
                ignored.add(objects, LIST, &objects.blob(id)?);
            }
        }
        for file in objects.handle.ignore_files() {
            if let Ok(list) = std::fs::read(&file) {
                ignored.add(objects, &file.display().to_string(), &list);
            }
        }
        for broken in ignored.broken.iter().filter(|broken| objects.handle.is_news(broken)) {
            tracing::warn!("{broken}");
        }
        let ignored = Arc::new(ignored);
        known.insert(revision, Arc::clone(&ignored));
        Ok(ignored)
    }

    fn add(&mut self, objects: &Objects<'_>, file: &str, list: &[u8]) {
        for (line, text) in (1..).zip(list.lines()) {
            let id = text.split_once_str("#").map_or(text, |(id, _)| id).trim_ascii();
            if id.is_empty() {
                continue;
            }
            let parsed = id.to_str().ok().filter(|id| id.len() == 40).and_then(|id| Oid::from_str(id).ok());
            match parsed {
                Some(id) => drop(self.commits.insert(objects.peeled(id))),
                None => {
                    let text = text[..text.len().min(SHOWN)].into();
                    self.broken.push(BrokenLine { file: file.to_owned(), line, text });
                }
            }
        }
    }
}

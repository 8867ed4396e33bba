//! Files that a revision has no more: under which paths files went before, and where they were last.

use std::collections::HashMap;

use bstr::{BString, ByteSlice};
use git2::Oid;

use super::objects::{Kind, Objects, Stop};
use super::renames::{self, Wanted};

/// How many commits are looked back, along first parents: what runs is seldom older.
const COMMITS: usize = 2_000;
/// How many paths are enough; a whole tree that was moved has many.
const PATHS: usize = 100_000;

/// The regular files that commits before `tip` had and that it has nothing in the place of, with the newest
/// commit that has each. Paths ascend by their bytes.
pub(super) fn files(objects: &Objects<'_>, tip: Oid) -> Result<Vec<(BString, Oid)>, Stop> {
    let mut last: HashMap<BString, Oid> = HashMap::new();
    let mut newer = objects.commit(tip)?;
    let root = newer.tree;
    for _ in 0..COMMITS {
        let Some(&parent) = newer.parents.first() else { break };
        let older = objects.commit(parent)?;
        if older.tree != newer.tree {
            let deleted = renames::sources(objects, older.tree, newer.tree, Wanted::Deleted)?;
            for source in deleted.into_iter().filter(|source| source.kind == Kind::File) {
                if !last.contains_key(&source.path) && objects.find(root, source.path.as_bstr())?.is_none() {
                    last.insert(source.path, parent);
                }
            }
        }
        if last.len() >= PATHS {
            break;
        }
        newer = older;
    }
    let mut files: Vec<_> = last.into_iter().collect();
    files.sort();
    Ok(files)
}

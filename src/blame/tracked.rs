//! What a revision tracks, and which file a path of it means: symbolic links are followed, and what is no
//! file is said to be what it is.

use std::sync::Arc;

use bstr::{BStr, BString, ByteSlice};
use git2::Oid;

use super::commit_id;
use super::objects::{self, Kind, Node, Objects, Stop};
use super::tracer::Version;
use super::types::{BlameError, CommitId, Question};

/// Symbolic links followed from one path.
const LINKS_FOLLOWED: usize = 5;

/// What a revision tracks. Paths ascend by their bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tracked {
    /// Regular files.
    pub files: Arc<Vec<BString>>,
    /// Symbolic links that lead to a tracked file, and where to.
    pub links: Vec<(BString, BString)>,
    /// Folders that belong to another repository, and the commit of it that belongs there.
    pub submodules: Vec<(BString, CommitId)>,
}

impl Tracked {
    pub(super) fn of(objects: &Objects<'_>, root: Oid) -> Result<Self, Stop> {
        let (mut files, mut targets, mut submodules) = (Vec::new(), Vec::new(), Vec::new());
        objects::walk_tree(objects, root, BStr::new(""), &mut |path, node: Node| match node.kind {
            Kind::Symlink => targets.push((path, node.id)),
            Kind::Submodule => submodules.push((path, commit_id(node.id))),
            Kind::File | Kind::Folder => files.push(path),
        })?;
        files.sort();
        submodules.sort();
        let mut links = Vec::new();
        for (path, id) in targets {
            if let Some(target) = follow(path.as_bstr(), &objects.blob(id)?)
                && files.binary_search(&target).is_ok()
            {
                links.push((path, target));
            }
        }
        links.sort();
        Ok(Self { files: Arc::new(files), links, submodules })
    }

    /// What it takes in memory, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let paths = self.files.iter().chain(self.submodules.iter().map(|(path, _)| path));
        let links = self.links.iter().flat_map(|(path, target)| [path, target]);
        paths.chain(links).map(|path| size_of::<BString>() + path.len()).sum()
    }
}

/// The file that `question` names, symbolic links followed.
pub(super) fn file_at(
    objects: &Objects<'_>,
    commit: Oid,
    question: &Question,
) -> Result<Result<Version, BlameError>, Stop> {
    let no_path = |hint: String| {
        Ok(Err(BlameError::NoPath { path: question.path.clone(), revision: question.revision.clone(), hint }))
    };
    let root = objects.commit(commit)?.tree;
    let mut path = question.path.clone();
    for _ in 0..=LINKS_FOLLOWED {
        match objects.find(root, path.as_bstr())? {
            Some(Node { kind: Kind::File, id }) => {
                return Ok(Ok(Version { commit, path: Arc::new(path), blob: id, kind: Kind::File }));
            }
            Some(Node { kind: Kind::Folder, .. }) => return no_path("it is a folder".to_owned()),
            Some(Node { kind: Kind::Submodule, .. }) => return no_path("it is a submodule".to_owned()),
            Some(Node { kind: Kind::Symlink, id }) => {
                let target = objects.blob(id)?;
                let Some(next) = follow(path.as_bstr(), &target) else {
                    let target = target.as_bstr();
                    return no_path(format!("it is a symbolic link to {target}, outside of the repository"));
                };
                path = next;
            }
            None => {
                for at in path.find_iter("/") {
                    let above = path[..at].as_bstr();
                    match objects.find(root, above)? {
                        Some(Node { kind: Kind::Submodule, .. }) => {
                            return no_path(format!("it lies in the submodule {above}"));
                        }
                        Some(Node { kind: Kind::Folder, .. }) => {}
                        _ => return no_path(format!("there is no folder {above}")),
                    }
                }
                return no_path("there is nothing of that name".to_owned());
            }
        }
    }
    no_path("symbolic links lead round in a circle".to_owned())
}

/// Where the symbolic link at `link` leads, if it stays inside of the repository.
fn follow(link: &BStr, target: &[u8]) -> Option<BString> {
    if target.starts_with(b"/") {
        return None;
    }
    let mut parts: Vec<&[u8]> = link.split_str("/").collect();
    parts.pop();
    for part in target.split_str("/") {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(bstr::join("/", parts).into())
}

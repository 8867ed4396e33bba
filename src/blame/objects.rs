//! Commits, trees and blobs of one repository, read as raw bytes.
//!
//! libgit2 finds and unpacks the objects; their bytes are read here, because a walk over thousands of
//! commits needs two fields of each and one entry of each tree, not all of them as structures.

use std::sync::Arc;
use std::time::Instant;

use bstr::{BStr, BString, ByteSlice};
use git2::{ObjectType, Odb, OdbObject, Oid};

use super::cache::Cache;
use super::commit_graph::PathKeys;
use super::repository::Handle;

/// Why reading stopped. The owner of the question adds which repository it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Stop {
    /// An object is missing or broken; in words.
    Unreadable(String),
    /// The deadline has passed.
    TooSlow,
}

impl From<git2::Error> for Stop {
    fn from(error: git2::Error) -> Self {
        Self::Unreadable(error.message().to_owned())
    }
}

/// What a walk needs of a commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Commit {
    pub(super) tree: Oid,
    pub(super) parents: Vec<Oid>,
    /// True where the repository ends although history does not: a shallow clone's edge.
    pub(super) boundary: bool,
}

/// One entry of a tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry<'t> {
    pub(super) mode: u32,
    pub(super) name: &'t BStr,
    pub(super) id: Oid,
}

/// What stands at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) id: Oid,
}

/// The kinds of tree entry; git knows no others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    File,
    Symlink,
    Folder,
    Submodule,
}

impl Kind {
    fn of(mode: u32) -> Self {
        match mode & 0o170_000 {
            0o040_000 => Self::Folder,
            0o120_000 => Self::Symlink,
            0o160_000 => Self::Submodule,
            _ => Self::File,
        }
    }
}

impl Entry<'_> {
    pub(super) fn kind(&self) -> Kind {
        Kind::of(self.mode)
    }
}

/// Tree and blob bytes by object id. Ids are hashes, so all repositories share one.
pub(super) type ObjectCache = Cache<Oid, Arc<[u8]>>;

/// One repository's objects, for the time of one question.
pub(super) struct Objects<'h> {
    pub(super) handle: &'h Handle,
    odb: Odb<'h>,
    cache: &'h ObjectCache,
    deadline: Instant,
}

impl<'h> Objects<'h> {
    pub(super) fn new(handle: &'h Handle, cache: &'h ObjectCache, deadline: Instant) -> Result<Self, Stop> {
        Ok(Self { handle, odb: handle.git.odb()?, cache, deadline })
    }

    /// Fails once the deadline has passed. Asked now and then by whatever loops.
    pub(super) fn check_deadline(&self) -> Result<(), Stop> {
        if Instant::now() > self.deadline { Err(Stop::TooSlow) } else { Ok(()) }
    }

    /// The commit, with replacements, grafts and the shallow boundary applied.
    pub(super) fn commit(&self, id: Oid) -> Result<Commit, Stop> {
        if let Some(graph) = &self.handle.graph
            && let Some(commit) = graph.position(id).and_then(|position| graph.commit(position))
        {
            return Ok(commit);
        }
        let overrides = &self.handle.overrides;
        let object = self.load(overrides.replacement(id), ObjectType::Commit)?;
        let broken = || Stop::Unreadable(format!("commit {id} is malformed"));
        let mut lines = object.data().lines();
        let tree = lines.next().and_then(|line| header(line, b"tree ")).ok_or_else(broken)?;
        let boundary = overrides.shallow.contains(&id);
        let parents = if boundary {
            Vec::new()
        } else if let Some(parents) = overrides.grafts.get(&id) {
            parents.clone()
        } else {
            lines.map_while(|line| header(line, b"parent ")).collect()
        };
        Ok(Commit { tree, parents, boundary })
    }

    /// The oldest commit, along first parents from `id` on, that surely has the path as `id` has it: `id`
    /// itself where no commit-graph knows more.
    pub(super) fn pass_over_unchanged(&self, id: Oid, path: &PathKeys) -> Oid {
        let graph = self.handle.graph.as_ref();
        graph.and_then(|graph| graph.pass_over_unchanged(id, path)).unwrap_or(id)
    }

    /// True if `id` is a commit that is there.
    pub(super) fn has_commit(&self, id: Oid) -> Result<bool, Stop> {
        if self.handle.graph.as_ref().is_some_and(|graph| graph.position(id).is_some()) {
            return Ok(true);
        }
        let id = self.handle.overrides.replacement(id);
        match self.odb.read_header(id) {
            Ok((_, kind)) => Ok(kind == ObjectType::Commit),
            Err(_) if !self.handle.git.path().exists() => {
                Err(Stop::Unreadable(format!("{} is no longer there", self.handle.git.path().display())))
            }
            Err(error) if error.code() == git2::ErrorCode::NotFound => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// The commit that a tag points to; anything else is itself.
    pub(super) fn peeled(&self, id: Oid) -> Oid {
        let commit = self.handle.git.find_object(id, None).and_then(|object| object.peel_to_commit());
        commit.map_or(id, |commit| commit.id())
    }

    /// The commit object's bytes as stored.
    pub(super) fn raw_commit(&self, id: Oid) -> Result<Vec<u8>, Stop> {
        Ok(self.load(self.handle.overrides.replacement(id), ObjectType::Commit)?.data().to_vec())
    }

    /// What stands at `path` below the tree `root`; `None` if nothing does.
    pub(super) fn find(&self, root: Oid, path: &BStr) -> Result<Option<Node>, Stop> {
        let mut node = Node { kind: Kind::Folder, id: root };
        for name in path.split_str("/") {
            if node.kind != Kind::Folder {
                return Ok(None);
            }
            let tree = self.tree(node.id)?;
            let Some(entry) = Entries::of(&tree).find(|entry| entry.name == name) else {
                return Ok(None);
            };
            node = Node { kind: entry.kind(), id: entry.id };
        }
        Ok(Some(node))
    }

    pub(super) fn tree(&self, id: Oid) -> Result<Arc<[u8]>, Stop> {
        self.read(id, ObjectType::Tree)
    }

    pub(super) fn blob(&self, id: Oid) -> Result<Arc<[u8]>, Stop> {
        self.read(id, ObjectType::Blob)
    }

    /// A blob that is looked at once and neither copied nor kept.
    pub(super) fn passing_blob(&self, id: Oid) -> Result<OdbObject<'_>, Stop> {
        self.load(self.handle.overrides.replacement(id), ObjectType::Blob)
    }

    /// A blob's size in bytes, without unpacking it.
    pub(super) fn blob_size(&self, id: Oid) -> Result<usize, Stop> {
        Ok(self.odb.read_header(self.handle.overrides.replacement(id))?.0)
    }

    fn read(&self, id: Oid, kind: ObjectType) -> Result<Arc<[u8]>, Stop> {
        let id = self.handle.overrides.replacement(id);
        if let Some(bytes) = self.cache.get(&id) {
            return Ok(bytes);
        }
        let bytes: Arc<[u8]> = Arc::from(self.load(id, kind)?.data());
        self.cache.insert(id, Arc::clone(&bytes), bytes.len());
        Ok(bytes)
    }

    /// In words; of a clone that left objects where it came from, that this is what it is.
    fn unreadable(&self, error: git2::Error) -> Stop {
        let promised = || {
            let config = self.handle.git.config().ok()?;
            let mut settings =
                config.entries(Some(r"^(remote\..*\.promisor|extensions\.partialclone)$")).ok()?;
            settings.next().map(drop)
        };
        if error.code() == git2::ErrorCode::NotFound && promised().is_some() {
            let path = self.handle.git.path().display();
            return Stop::Unreadable(format!(
                "{path} is a partial clone, and lacks what has to be read: git fetch --refetch --no-filter completes it"
            ));
        }
        error.into()
    }

    fn load(&self, id: Oid, kind: ObjectType) -> Result<OdbObject<'_>, Stop> {
        let object = self.odb.read(id).map_err(|error| self.unreadable(error))?;
        if object.kind() != kind {
            return Err(Stop::Unreadable(format!("object {id} is a {}, not a {kind}", object.kind())));
        }
        Ok(object)
    }
}

/// The entries of a tree object, in git's order.
pub(super) struct Entries<'t>(&'t [u8]);

impl<'t> Entries<'t> {
    pub(super) fn of(tree: &'t [u8]) -> Self {
        Self(tree)
    }
}

impl<'t> Iterator for Entries<'t> {
    type Item = Entry<'t>;

    /// A malformed rest ends the tree, as if it were cut off there.
    fn next(&mut self) -> Option<Entry<'t>> {
        // A mode has five or six digits: nothing to search for.
        let (mode, rest) = self.0.split_at_checked(self.0.iter().position(|&byte| byte == b' ')?)?;
        let (name, rest) = rest[1..].split_at_checked(rest[1..].find_byte(0)?)?;
        let rest = &rest[1..];
        let (id, rest) = rest.split_at_checked(20)?;
        let mode = mode.iter().fold(0, |mode, digit| mode << 3 | u32::from(digit & 7));
        self.0 = rest;
        Some(Entry { mode, name: name.as_bstr(), id: Oid::from_bytes(id).ok()? })
    }
}

/// All blobs below the tree `root`, with their paths, in the order of the trees.
pub(super) fn walk_tree(
    objects: &Objects<'_>,
    root: Oid,
    prefix: &BStr,
    found: &mut impl FnMut(BString, Node),
) -> Result<(), Stop> {
    objects.check_deadline()?;
    for entry in Entries::of(&objects.tree(root)?) {
        let path = join(prefix, entry.name);
        match entry.kind() {
            Kind::Folder => walk_tree(objects, entry.id, path.as_bstr(), found)?,
            kind => found(path, Node { kind, id: entry.id }),
        }
    }
    Ok(())
}

/// `prefix/name`, or `name` at the top.
pub(super) fn join(prefix: &BStr, name: &BStr) -> BString {
    let mut path = BString::from(prefix.to_vec());
    if !path.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

fn header(line: &[u8], name: &[u8]) -> Option<Oid> {
    Oid::from_str(line.strip_prefix(name)?.to_str().ok()?).ok()
}

//! Under which name a file went in a parent commit that lacks its path, as `git blame` guesses it.
//!
//! The candidates are the files that the commit deleted. In git's order of preference: one with the very
//! same content (the same base name, if several have); else the one deleted file of the same base name, if
//! three quarters of its content are still there; else the most similar one, if half of its content is.
//! Similarity is git's as well: the bytes of lines (cut at 64 bytes) that both have, by the larger size.

use std::collections::HashMap;

use bstr::{BStr, BString, ByteSlice};
use git2::Oid;

use super::objects::{Entries, Entry, Kind, Node, Objects, Stop, join, walk_tree};

/// Git's unit of similarity: 100 %.
const WHOLE: u64 = 60_000;
/// The least similarity of a rename.
const ENOUGH: u64 = WHOLE / 2;
/// The least similarity of a rename that is proposed by the base name alone.
const ENOUGH_BY_NAME: u64 = WHOLE * 3 / 4;
/// Git looks at no more identical files than this for the best name.
const IDENTICAL_LOOKED_AT: usize = 100;
/// How many of the best candidates git keeps while it looks at the rest.
const KEPT: usize = 4;

/// A file of an older tree.
pub(super) struct Source {
    pub(super) path: BString,
    pub(super) id: Oid,
    pub(super) kind: Kind,
}

/// Which files of an older tree are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Those that the newer one has nothing in the place of.
    Deleted,
    /// Those that the newer one has not, or not the same.
    Changed,
}

/// What `path` (which is `node` below the tree `new`) was called below the tree `old`, which has no such path.
pub(super) fn find(
    objects: &Objects<'_>,
    (old, new): (Oid, Oid),
    path: &BStr,
    node: Node,
) -> Result<Option<(BString, Oid)>, Stop> {
    let sources = sources(objects, old, new, Wanted::Deleted)?;
    let found = match identical(&sources, path, node) {
        Some(source) => Some(source),
        // A link is never like another one.
        None if node.kind != Kind::File => None,
        None => similar(objects, &sources, path, node.id)?,
    };
    Ok(found.map(|source| (source.path.clone(), source.id)))
}

fn identical<'s>(sources: &'s [Source], path: &BStr, Node { kind, id }: Node) -> Option<&'s Source> {
    let mut same = sources.iter().filter(|source| source.id == id && source.kind == kind);
    let first = same.clone().next()?;
    Some(
        same.by_ref()
            .take(IDENTICAL_LOOKED_AT)
            .find(|source| base(&source.path) == base(path))
            .unwrap_or(first),
    )
}

fn similar<'s>(
    objects: &Objects<'_>,
    sources: &'s [Source],
    path: &BStr,
    id: Oid,
) -> Result<Option<&'s Source>, Stop> {
    let target = Fingerprint::of(&objects.blob(id)?);
    let named_alike = sources.iter().filter(|source| base(&source.path) == base(path));
    if let [source] = named_alike.collect::<Vec<_>>()[..]
        && similarity(objects, source, &target, ENOUGH_BY_NAME)? >= ENOUGH_BY_NAME
    {
        return Ok(Some(source));
    }
    // Git keeps a few slots, and a better candidate takes the worst one: which of two equally good ones
    // comes out first depends on it.
    let mut slots: Vec<((u64, bool), &Source)> = Vec::with_capacity(KEPT);
    for source in sources {
        objects.check_deadline()?;
        let rank = (similarity(objects, source, &target, ENOUGH)?, base(&source.path) == base(path));
        if slots.len() < KEPT {
            slots.push((rank, source));
        } else if let Some(worst) = worst(&slots)
            && rank > slots[worst].0
        {
            slots[worst] = (rank, source);
        }
    }
    let mut best: Option<((u64, bool), &Source)> = None;
    for slot in slots {
        if best.is_none_or(|best| slot.0 > best.0) {
            best = Some(slot);
        }
    }
    Ok(best.filter(|((score, _), _)| *score >= ENOUGH).map(|(_, source)| source))
}

/// The first of the lowest ranks.
fn worst(slots: &[((u64, bool), &Source)]) -> Option<usize> {
    (0..slots.len()).min_by_key(|&slot| slots[slot].0)
}

/// 0 where it is certainly below `least`.
fn similarity(objects: &Objects<'_>, source: &Source, target: &Fingerprint, least: u64) -> Result<u64, Stop> {
    if source.kind != Kind::File {
        return Ok(0);
    }
    let (a, b) = (objects.blob_size(source.id)? as u64, target.size);
    let larger = a.max(b);
    if larger * (WHOLE - least) < a.abs_diff(b) * WHOLE || b == 0 {
        return Ok(0);
    }
    let source = Fingerprint::of(&objects.blob(source.id)?);
    Ok(source.common_bytes(target) * WHOLE / larger)
}

/// A file as the sum of its lines, whatever their order.
struct Fingerprint {
    size: u64,
    /// Bytes by hash of the piece of a line they stand in.
    pieces: HashMap<u32, u64>,
}

impl Fingerprint {
    fn of(file: &[u8]) -> Self {
        /// Git's first 8,000 bytes, in which a NUL makes a file binary.
        const SNIFFED: usize = 8000;
        const PIECE: u64 = 64;
        const HASHES: u32 = 107_927;
        let text = !file[..file.len().min(SNIFFED)].contains(&0);
        let mut pieces = HashMap::new();
        let (mut high, mut low, mut length) = (0_u32, 0_u32, 0_u64);
        for (at, &byte) in file.iter().enumerate() {
            let line_ending_of_two = text && byte == b'\r' && file.get(at + 1) == Some(&b'\n');
            if !line_ending_of_two {
                // The two words are one register of 64 bits turned by 7, in halves.
                (high, low) = ((high << 7) ^ (low >> 25), (low << 7) ^ (high >> 25));
                high = high.wrapping_add(u32::from(byte));
                length += 1;
            }
            let piece_ends = !line_ending_of_two && (byte == b'\n' || length == PIECE);
            if length > 0 && (piece_ends || at + 1 == file.len()) {
                let hash = high.wrapping_add(low.wrapping_mul(0x61)) % HASHES;
                *pieces.entry(hash).or_insert(0) += length;
                (high, low, length) = (0, 0, 0);
            }
        }
        Self { size: file.len() as u64, pieces }
    }

    fn common_bytes(&self, other: &Self) -> u64 {
        self.pieces
            .iter()
            .filter_map(|(hash, bytes)| other.pieces.get(hash).map(|others| bytes.min(others)))
            .sum()
    }
}

fn base(path: &[u8]) -> &[u8] {
    path.rsplit_once_str(b"/").map_or(path, |(_, base)| base)
}

/// The files below `old` that are wanted for how they are below `new`, in the order of git's tree diff.
pub(super) fn sources(
    objects: &Objects<'_>,
    old: Oid,
    new: Oid,
    wanted: Wanted,
) -> Result<Vec<Source>, Stop> {
    let mut found = Vec::new();
    compare(objects, (old, new), BStr::new(""), wanted, &mut found)?;
    Ok(found)
}

fn compare(
    objects: &Objects<'_>,
    (old, new): (Oid, Oid),
    prefix: &BStr,
    wanted: Wanted,
    found: &mut Vec<Source>,
) -> Result<(), Stop> {
    objects.check_deadline()?;
    let (old, new) = (objects.tree(old)?, objects.tree(new)?);
    // A folder and a file of one name are two things, and stand apart in a tree's order.
    let key = |entry: &Entry<'_>| (entry.name.to_owned(), entry.kind() == Kind::Folder);
    let left: HashMap<_, _> = Entries::of(&new).map(|entry| (key(&entry), (entry.id, entry.mode))).collect();
    for entry in Entries::of(&old) {
        let path = join(prefix, entry.name);
        match (entry.kind(), left.get(&key(&entry))) {
            (_, Some(&same)) if same == (entry.id, entry.mode) => {}
            (Kind::Folder, Some(&(id, _))) => {
                compare(objects, (entry.id, id), path.as_bstr(), wanted, found)?;
            }
            (Kind::Folder, None) => walk_tree(objects, entry.id, path.as_bstr(), &mut |path, node: Node| {
                found.push(Source { path, id: node.id, kind: node.kind });
            })?,
            (_, Some(_)) if wanted == Wanted::Deleted => {}
            (kind, _) => found.push(Source { path, id: entry.id, kind }),
        }
    }
    Ok(())
}

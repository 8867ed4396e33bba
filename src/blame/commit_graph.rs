//! Git's commit-graph file: commits with their trees and parents in one table, and for each a filter of
//! the paths that it changed against its first parent.
//!
//! It is read where it lies, from a read-only map; one file, or a chain of them of which each later one
//! builds on those before. A filter never says "unchanged" of a path that was changed, so a walk may pass
//! over all commits whose filters say so without reading a single tree.
//!
//! Nothing in the file is believed before its checksum was compared, once for each file; and every
//! position is checked when it is used, so that whatever is odd leads to "not in the graph", which is the
//! slower way, never to a wrong answer.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use bstr::{BStr, ByteSlice};
use git2::Oid;
use memmap2::Mmap;
use sha1::{Digest, Sha1};

use super::objects::Commit;

/// Length of an object id. Graphs of SHA-256 repositories are of another hash version and not read.
const ID: usize = 20;
/// Length of a commit's entry: tree, two parents, generation and date.
const ENTRY: usize = ID + 16;
/// In place of a parent's position: there is none.
const NO_PARENT: u32 = 0x7000_0000;
/// In place of the second parent's position: the others stand in a list, from here on; in that list: the
/// last one.
const MARK: u32 = 0x8000_0000;
/// Folders whose lists of folders to borrow objects from are read.
const ALTERNATES: usize = 16;

/// The commit-graph of a repository.
pub(super) struct CommitGraph {
    /// The oldest first. Positions count through all of them.
    layers: Vec<Layer>,
    /// Of the files that it was read from: tells when they were replaced.
    stamp: Stamp,
}

/// Files with size and time of change.
type Stamp = Vec<(PathBuf, u64, Option<SystemTime>)>;

/// One file.
struct Layer {
    map: Mmap,
    /// How many commits are in the layers before.
    before: u32,
    count: u32,
    ids: Span,
    entries: Span,
    edges: Option<Span>,
    filters: Option<Filters>,
}

/// Bytes of a file, from and to.
#[derive(Debug, Clone, Copy)]
struct Span(usize, usize);

#[derive(Debug, Clone, Copy)]
struct Filters {
    /// Where each commit's filter ends.
    index: Span,
    data: Span,
    /// Bytes above 127 are hashed as negative numbers: what git's first version did by mistake.
    signed: bool,
    hashes: u32,
}

/// Hashes of a path and of the folders it is in, under both versions of the hash.
pub(super) struct PathKeys(Vec<[(u32, u32); 2]>);

impl PathKeys {
    pub(super) fn of(path: &BStr) -> Self {
        let folders = path.find_iter("/").map(|end| &path[..end]);
        let keys = folders.chain([path]).map(|part| {
            let key = |signed| (murmur3(0x293a_e76f, part, signed), murmur3(0x7e64_6e2c, part, signed));
            [key(false), key(true)]
        });
        Self(keys.collect())
    }
}

impl CommitGraph {
    /// The graph in the folder `objects` of a repository, or in one that it borrows objects from, if there is a
    /// sound one; of several the first that can tell which paths a commit changed. `known` is used again if its
    /// files are still the same.
    pub(super) fn open(objects: &Path, known: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let folders = with_alternates(objects);
        let graphs = folders.iter().filter_map(|folder| Self::of_files(&files(folder, &folders), known));
        let mut lesser = None;
        for graph in graphs {
            if graph.has_filters() {
                return Some(graph);
            }
            lesser = lesser.or(Some(graph));
        }
        lesser
    }

    fn of_files(files: &[PathBuf], known: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        let stamp: Stamp = files
            .iter()
            .map_while(|file| {
                let about = file.metadata().ok()?;
                Some((file.clone(), about.len(), about.modified().ok()))
            })
            .collect();
        if let Some(known) = known
            && known.stamp == stamp
        {
            return Some(Arc::clone(known));
        }
        let mut layers: Vec<Layer> = Vec::new();
        for (file, ..) in &stamp {
            let before = layers.iter().map(|layer| layer.count).sum();
            let Some(layer) = Layer::open(file, before, layers.len()) else { break };
            layers.push(layer);
        }
        if layers.is_empty() {
            return None;
        }
        Some(Arc::new(Self { layers, stamp }))
    }

    /// True if all of it can tell which paths a commit changed.
    pub(super) fn has_filters(&self) -> bool {
        self.layers.iter().all(|layer| layer.filters.is_some())
    }

    /// Where `id` stands in the graph.
    pub(super) fn position(&self, id: Oid) -> Option<u32> {
        self.layers.iter().rev().find_map(|layer| layer.position(id.as_bytes()))
    }

    /// The commit at `position`. `None` if the graph contradicts itself there.
    pub(super) fn commit(&self, position: u32) -> Option<Commit> {
        let layer = self.layer(position)?;
        let entry = layer.entry(position)?;
        let tree = Oid::from_bytes(&entry[..ID]).ok()?;
        let mut parents = Vec::with_capacity(2);
        let first = number(entry, ID)?;
        if first != NO_PARENT {
            parents.push(self.id(first)?);
        }
        match number(entry, ID + 4)? {
            NO_PARENT => {}
            second if second & MARK == 0 => parents.push(self.id(second)?),
            list => {
                let edges = layer.bytes(layer.edges?);
                for at in (list & !MARK) as usize.. {
                    let edge = number(edges, at.checked_mul(4)?)?;
                    parents.push(self.id(edge & !MARK)?);
                    if edge & MARK != 0 {
                        break;
                    }
                }
            }
        }
        Some(Commit { tree, parents, boundary: false })
    }

    /// Goes from `id` to first parents for as long as the filters say that `path` was not changed; says
    /// how far that is. `None` if `id` is not in the graph.
    pub(super) fn pass_over_unchanged(&self, id: Oid, path: &PathKeys) -> Option<Oid> {
        let start = self.position(id)?;
        let mut position = start;
        while let Some(layer) = self.layer(position)
            && layer.surely_unchanged(position, path)
            && let Some(parent) = layer.entry(position).and_then(|entry| number(entry, ID))
            && parent != NO_PARENT
            // Parents stand in this layer or an older one: anything else would be a way in a circle.
            && self.layer(parent).is_some_and(|older| older.before <= layer.before)
        {
            position = parent;
        }
        if position == start { Some(id) } else { self.id(position) }
    }

    fn id(&self, position: u32) -> Option<Oid> {
        let layer = self.layer(position)?;
        let at = (position - layer.before) as usize * ID;
        Oid::from_bytes(layer.bytes(layer.ids).get(at..at + ID)?).ok()
    }

    fn layer(&self, position: u32) -> Option<&Layer> {
        self.layers
            .iter()
            .rev()
            .find(|layer| layer.before <= position)
            .filter(|l| position - l.before < l.count)
    }
}

impl Layer {
    fn open(file: &Path, before: u32, layers_before: usize) -> Option<Self> {
        let map = map(file)?;
        let header = map.get(..8)?;
        let version_and_hash_are_known = header[4] == 1 && header[5] == 1;
        let (chunks, bases) = (usize::from(header[6]), usize::from(header[7]));
        if &header[..4] != b"CGPH" || !version_and_hash_are_known || bases != layers_before {
            return None;
        }
        let body = map.len().checked_sub(ID)?;
        if Sha1::digest(&map[..body])[..] != map[body..] {
            return None;
        }
        let table = map.get(8..8 + (chunks + 1) * 12)?;
        let chunk = |name: &[u8; 4]| {
            let offset = |row: &[u8]| usize::try_from(u64::from_be_bytes(row[4..].try_into().ok()?)).ok();
            let rows: Vec<&[u8]> = table.chunks_exact(12).collect();
            let row = rows.windows(2).find(|pair| pair[0].starts_with(name))?;
            let (from, to) = (offset(row[0])?, offset(row[1])?);
            (from <= to && to <= body).then_some(Span(from, to))
        };
        let len = |span: Span| span.1 - span.0;
        let (fanout, ids, entries) = (chunk(b"OIDF")?, chunk(b"OIDL")?, chunk(b"CDAT")?);
        if len(fanout) != 256 * 4 {
            return None;
        }
        let count = number(&map[fanout.0..fanout.1], 255 * 4)?;
        if len(ids) != count as usize * ID || len(entries) != count as usize * ENTRY {
            return None;
        }
        let filters = chunk(b"BIDX").zip(chunk(b"BDAT")).and_then(|(index, data)| {
            let version = number(&map, data.0)?;
            let sound = len(index) == count as usize * 4 && len(data) >= 12 && matches!(version, 1 | 2);
            let hashes = number(&map, data.0 + 4)?;
            sound.then_some(Filters { index, data: Span(data.0 + 12, data.1), signed: version == 1, hashes })
        });
        Some(Self { before, count, ids, entries, edges: chunk(b"EDGE"), filters, map })
    }

    fn bytes(&self, span: Span) -> &[u8] {
        &self.map[span.0..span.1]
    }

    fn position(&self, id: &[u8]) -> Option<u32> {
        let (ids, _) = self.bytes(self.ids).as_chunks::<ID>();
        let found = ids.binary_search_by(|other| other[..].cmp(id)).ok()?;
        Some(self.before + u32::try_from(found).ok()?)
    }

    fn entry(&self, position: u32) -> Option<&[u8]> {
        let at = (position - self.before) as usize * ENTRY;
        self.bytes(self.entries).get(at..at + ENTRY)
    }

    /// True if the commit at `position` has the path as its first parent has it. False says nothing.
    fn surely_unchanged(&self, position: u32, path: &PathKeys) -> bool {
        let Some(filters) = &self.filters else { return false };
        let at = (position - self.before) as usize;
        let index = self.bytes(filters.index);
        let start = if at == 0 { Some(0) } else { number(index, (at - 1) * 4) };
        let range = start.zip(number(index, at * 4)).map(|(from, to)| from as usize..to as usize);
        let filter = range.and_then(|range| self.bytes(filters.data).get(range));
        // An empty filter was not computed.
        let Some(filter) = filter.filter(|filter| !filter.is_empty()) else { return false };
        let Ok(bits) = u32::try_from(filter.len() * 8) else { return false };
        let contains = |(first, step): (u32, u32)| {
            (0..filters.hashes).all(|hash| {
                let bit = first.wrapping_add(hash.wrapping_mul(step)) % bits;
                filter[bit as usize / 8] & 1 << (bit % 8) != 0
            })
        };
        // A changed path is in the filter together with all of its folders.
        !path.0.iter().all(|keys| contains(keys[usize::from(filters.signed)]))
    }
}

/// The folder `objects` and those that it borrows objects from (`info/alternates`), nearest first.
fn with_alternates(objects: &Path) -> Vec<PathBuf> {
    let mut folders = vec![objects.to_owned()];
    // Each names those that it borrows from itself; git gives up on a long way as well.
    for at in 0..ALTERNATES {
        let Some(folder) = folders.get(at) else { break };
        let list = std::fs::read(folder.join("info/alternates")).unwrap_or_default();
        let named: Vec<PathBuf> = list
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with(b"#"))
            .map(|line| folder.join(line.to_path_lossy()))
            .collect();
        folders.extend(named);
    }
    folders
}

/// The files of the graph in the folder `objects`, the oldest first. Layers of a chain may lie in any of
/// `folders`.
fn files(objects: &Path, folders: &[PathBuf]) -> Vec<PathBuf> {
    let single = objects.join("info/commit-graph");
    if single.exists() {
        return vec![single];
    }
    let chain = std::fs::read(objects.join("info/commit-graphs/commit-graph-chain")).unwrap_or_default();
    let layer = |line: &[u8]| {
        let hash = line.to_str().ok().filter(|hash| hash.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let name = format!("info/commit-graphs/graph-{hash}.graph");
        folders.iter().map(|folder| folder.join(&name)).find(|file| file.exists())
    };
    chain.lines().map_while(layer).collect()
}

#[expect(unsafe_code, reason = "a map of a file is only sound while nobody shortens the file")]
fn map(file: &Path) -> Option<Mmap> {
    let file = File::open(file).ok()?;
    // SAFETY: git never writes to a commit-graph that is in place; it writes a new file and renames it over
    // the old one, whose content stays for as long as it is mapped.
    unsafe { Mmap::map(&file) }.ok()
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// The 32-bit hash MurmurHash3 of `bytes`; `signed` takes each byte for a signed number.
fn murmur3(seed: u32, bytes: &[u8], signed: bool) -> u32 {
    let widen = |byte: u8| if signed { byte.cast_signed() as u32 } else { u32::from(byte) };
    let scramble = |k: u32| k.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let mut hash = seed;
    let (blocks, tail) = bytes.as_chunks::<4>();
    for block in blocks {
        let k = (0..4).fold(0, |k, at| k | widen(block[at]) << (8 * at));
        hash = (hash ^ scramble(k)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
    }
    let k = tail.iter().rev().fold(0, |k, &byte| k << 8 ^ widen(byte));
    hash ^= scramble(k);
    hash ^= bytes.len() as u32;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_of_the_format() {
        // Values from git's own tests of its format.
        assert_eq!(murmur3(0, b"", false), 0x0000_0000);
        assert_eq!(murmur3(0, b"Hello world!", false), 0x627b_0c2c);
        let fox = b"The quick brown fox jumps over the lazy dog";
        assert_eq!(murmur3(0, fox, false), 0x2e4f_f723);
        assert_eq!(murmur3(0, fox, true), 0x2e4f_f723);
    }
}

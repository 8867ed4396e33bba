//! Where a log was left: kept on disk, and found again whatever became of the file since.
//!
//! A file is known by how it begins, and by its inode where it has not begun yet or others begin alike. What was
//! renamed, copied or packed by a rotation still begins the same.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use flate2::read::MultiGzDecoder;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sha2::{Digest, Sha256};

/// Bytes at a file's beginning that it is known by.
const BEGINNING: usize = 1024;
/// Rotated files that are looked at, newest first.
const MOST_ROTATED: usize = 100;

/// A place in a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Position {
    /// Names the file's content from its first byte on, in the ids of its reports.
    pub(super) stream: String,
    pub(super) device: u64,
    pub(super) inode: u64,
    /// How it begins.
    pub(super) beginning: Beginning,
    /// Everything before is done with.
    pub(super) offset: u64,
}

/// How a file begins: so many bytes, and their digest.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beginning {
    bytes: usize,
    digest: String,
}

impl Beginning {
    /// That of a file, as far as it is there.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let mut bytes = vec![0; BEGINNING];
        let mut length = 0;
        while length < BEGINNING {
            match file.read_at(&mut bytes[length..], length as u64)? {
                0 => break,
                some => length += some,
            }
        }
        Ok(Self::of_bytes(&bytes[..length]))
    }

    fn of_bytes(bytes: &[u8]) -> Self {
        let digest = Sha256::digest(bytes).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        Self { bytes: bytes.len(), digest }
    }

    /// Whether it says anything.
    fn is_known(&self) -> bool {
        self.bytes > 0
    }

    /// Whether a file that now begins with `bytes` may be the one that began so.
    fn fits(&self, bytes: &[u8]) -> bool {
        bytes.get(..self.bytes).is_some_and(|bytes| Self::of_bytes(bytes) == *self)
    }

    /// Whether `file` begins so.
    pub(super) fn fits_file(&self, file: &File) -> io::Result<bool> {
        let mut bytes = vec![0; self.bytes.min(BEGINNING)];
        match file.read_exact_at(&mut bytes, 0) {
            Ok(()) => Ok(self.fits(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// As a name.
    pub(super) fn name(&self) -> &str {
        &self.digest
    }
}

impl Position {
    /// Whether `file`, as it lies at its path, is the one, and still has what was read.
    pub(super) fn is_in(&self, file: &File) -> io::Result<bool> {
        let metadata = file.metadata()?;
        let same_inode = (metadata.dev(), metadata.ino()) == (self.device, self.inode);
        let fits = if self.beginning.is_known() { self.beginning.fits_file(file)? } else { same_inode };
        Ok(fits && metadata.len() >= self.offset)
    }
}

/// Where positions are kept: a file for each log, beside a lock that one follower of it holds.
pub(super) struct Positions {
    folder: PathBuf,
}

/// The place where one log's positions are kept, held by this process alone.
pub(super) struct Kept {
    file: PathBuf,
    _lock: File,
}

impl Positions {
    /// In the spool's folder.
    pub(super) fn open(spool: &Path) -> io::Result<Self> {
        let folder = spool.join("positions");
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        Ok(Self { folder })
    }

    /// The place for what is called `name`.
    pub(super) fn of(&self, name: &str) -> io::Result<Kept> {
        let digest: String =
            Sha256::digest(name.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let lock = self.folder.join(format!("{digest}.lock"));
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(lock)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let said =
                format!("another process follows it already, with positions in {}", self.folder.display());
            return Err(io::Error::other(said));
        }
        Ok(Kept { file: self.folder.join(format!("{digest}.json")), _lock: lock })
    }
}

impl Kept {
    /// What is kept. What cannot be read is as good as nothing.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Option<T> {
        serde_json::from_slice(&fs::read(&self.file).ok()?).ok()
    }

    /// Keeps it, all or nothing.
    pub(super) fn write(&self, kept: &impl Serialize) -> io::Result<()> {
        let unfinished = self.file.with_extension("tmp");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        serde_json::to_writer(&mut file, kept)?;
        file.flush()?;
        file.sync_data()?;
        fs::rename(&unfinished, &self.file)
    }
}

/// Whether `path` is what a rotation makes of the name `live`: `app.log.1`, `app.log-20261120.gz`, `app-20261120.log`.
pub(super) fn is_rotated(path: &Path, live: &Path) -> bool {
    let text = |part: Option<&std::ffi::OsStr>| {
        part.map(|part| part.to_string_lossy().into_owned()).unwrap_or_default()
    };
    if path.parent() != live.parent() {
        return false;
    }
    let name = text(path.file_name());
    let name = name.strip_suffix(".gz").unwrap_or(&name);
    let is_mark = |mark: &str| {
        mark.starts_with(['.', '-', '_'])
            && mark.len() > 1
            && mark[1..].starts_with(|c: char| c.is_ascii_digit())
            && mark[1..].chars().all(|c| c.is_ascii_digit() || matches!(c, '-' | '.' | '_' | ':' | 'T'))
    };
    let is_old = |mark: &str| is_mark(mark) || matches!(mark, ".old" | "~" | ".bak");
    let (stem, end) = (text(live.file_stem()), text(live.extension()));
    let by_stem = name.strip_prefix(&stem).and_then(|rest| rest.strip_suffix(&format!(".{end}")));
    name.strip_prefix(&text(live.file_name())).is_some_and(is_old)
        || (!end.is_empty() && by_stem.is_some_and(is_mark))
}

/// What a rotation made of the file of `position`, from where it was left, and all that was rotated away after
/// it, oldest first, each with the position to read on from.
pub(super) fn rotated_away(live: &Path, position: &Position) -> io::Result<Vec<(Position, Box<dyn Read>)>> {
    let mut siblings: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
    let folder = live.parent().unwrap_or(Path::new("/"));
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if is_file
            && is_rotated(&path, live)
            && let Ok(changed) = entry.metadata().and_then(|meta| meta.modified())
        {
            siblings.push((changed, path));
        }
    }
    // Of the same moment, that with the higher number is the older.
    siblings.sort_by(|(a, path_a), (b, path_b)| a.cmp(b).then(path_b.cmp(path_a)));
    siblings.drain(..siblings.len().saturating_sub(MOST_ROTATED));
    let mut candidates = Vec::new();
    for (_, path) in siblings {
        let Ok(file) = File::open(&path) else { continue };
        let metadata = file.metadata()?;
        let mut bytes = Vec::new();
        // A packed file that cannot be read is none.
        let _ = reader(file.try_clone()?, &path).take(BEGINNING as u64).read_to_end(&mut bytes);
        let same_inode = (metadata.dev(), metadata.ino()) == (position.device, position.inode);
        let fits = if position.beginning.is_known() { position.beginning.fits(&bytes) } else { same_inode };
        let beginning = Beginning::of_bytes(&bytes);
        // Others may begin alike.
        let stream = format!("{}-{}", beginning.name(), metadata.ino());
        let start = Position { stream, device: metadata.dev(), inode: metadata.ino(), beginning, offset: 0 };
        candidates.push((path, start, fits, same_inode));
    }
    let by_inode = candidates.iter().rposition(|(_, _, fits, same_inode)| *fits && *same_inode);
    let Some(first) = by_inode.or_else(|| candidates.iter().rposition(|(_, _, fits, _)| *fits)) else {
        // It is gone, and with it what tells how much of the others is new.
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    for (n, (path, start, ..)) in candidates.drain(first..).enumerate() {
        let mut reader = reader(File::open(&path)?, &path);
        let from = if n == 0 { position.clone() } else { start };
        let _ = io::copy(&mut Read::by_ref(&mut reader).take(from.offset), &mut io::sink());
        found.push((from, reader));
    }
    Ok(found)
}

/// Reads a file, packed or not, from its start.
fn reader(file: File, path: &Path) -> Box<dyn Read> {
    use std::io::Seek;
    // A handle that was read from before goes on where that was.
    let mut file = file;
    let _ = file.rewind();
    if path.extension().is_some_and(|end| end == "gz") {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_rotations_make() {
        let check = |path: &str, live: &str, expected: bool| {
            assert_eq!(is_rotated(Path::new(path), Path::new(live)), expected, "{path} of {live}");
        };
        check("/l/app.log.1", "/l/app.log", true);
        check("/l/app.log.12.gz", "/l/app.log", true);
        check("/l/app.log-20261120", "/l/app.log", true);
        check("/l/app.log.2026-11-20_12:00.gz", "/l/app.log", true);
        check("/l/app-20261120.log", "/l/app.log", true);
        check("/l/app.log.old", "/l/app.log", true);
        check("/l/app.log", "/l/app.log", false);
        check("/l/app.log.json", "/l/app.log", false);
        check("/l/app-worker.log", "/l/app.log", false);
        check("/l/app2.log", "/l/app.log", false);
        check("/m/app.log.1", "/l/app.log", false);
        check("/l/syslog.1", "/l/syslog", true);
    }
}

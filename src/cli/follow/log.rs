//! One log: the file that lies at its path, and those that lay there before, for as long as somebody writes them.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::position::{Beginning, Kept, Position, Positions, rotated_away};
use super::{Follower, QUIET};
use crate::clock::Clock;
use crate::ingest::text::{Sighting, Tracebacks};
use crate::pipeline::random_id;

/// Bytes that are read at once, and of one log before the next has its turn.
const PIECE: usize = 256 << 10;
const MOST_BYTES: usize = 8 << 20;
/// How long a file that was rotated away is still read after it last grew: programs keep it open until told.
const GRACE: Duration = Duration::from_secs(60);
/// Such files at once.
const MOST_OLD: usize = 5;
/// How often positions are written, at most.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// Where a log that was never followed before is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Start {
    Beginning,
    End,
}

/// A log that is followed.
pub(super) struct Log {
    path: PathBuf,
    kept: Kept,
    /// What is on disk.
    written: Vec<Position>,
    written_at: Option<Instant>,
    /// Where the first file begins to be read, until there is one.
    start: Start,
    /// Positions from before this process that were not looked for yet.
    before: Vec<Position>,
    /// Files that lay at the path before.
    old: Vec<Tail>,
    current: Option<Tail>,
    origin: Value,
}

/// A file that is read as it grows.
struct Tail {
    file: File,
    position: Position,
    /// Where `tracebacks` began.
    base: u64,
    read: u64,
    tracebacks: Tracebacks,
    grown: Instant,
    is_flushed: bool,
}

impl Log {
    /// The log at a path.
    ///
    /// # Errors
    /// It is no file, or another process follows it.
    pub(super) fn new(path: &Path, positions: &Positions, start: Start) -> io::Result<Self> {
        if path.is_dir() {
            return Err(io::Error::other("a folder, not a log"));
        }
        let kept = positions.of(&path.to_string_lossy())?;
        let before: Option<Vec<Position>> = kept.read();
        // A log that is not there yet is new when it comes, also if that is after our end.
        let is_known = before.is_some() || !path.exists();
        let start = if is_known { Start::Beginning } else { start };
        let before = before.unwrap_or_default();
        if is_known {
            kept.write(&before)?;
        }
        Ok(Self {
            path: path.to_owned(),
            kept,
            written: before.clone(),
            written_at: None,
            start,
            before,
            old: Vec::new(),
            current: None,
            origin: json!({ "file": path.to_string_lossy() }),
        })
    }

    /// Reads what came, reports what was found, keeps how far that is. `true`: there was something to read.
    /// Where it is the `last` time, nothing is waited for.
    pub(super) fn round(&mut self, follower: &mut Follower, last: bool) -> io::Result<bool> {
        let mut found = Vec::new();
        let mut read = false;
        for tail in self.old.iter_mut().chain(&mut self.current) {
            read |= tail.read_on(&mut found)?;
        }
        // Only when all is read does it matter whether another file lies there.
        if !read {
            read |= self.look(follower, &mut found)?;
        }
        for tail in self.old.iter_mut().chain(&mut self.current) {
            if tail.is_quiet() || (last && !read) {
                tail.flush(&mut found);
            }
        }
        self.old.retain(|tail| tail.grown.elapsed() < GRACE);
        self.report(follower, found);
        self.keep(!read && last)?;
        Ok(read)
    }

    /// Looks at what lies at the path now.
    fn look(&mut self, follower: &Follower, found: &mut Vec<(String, Sighting)>) -> io::Result<bool> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            // Between two files, or not there yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("no regular file"));
        }
        let Some(current) = &mut self.current else { return self.take_up(follower, file, found) };
        if (metadata.dev(), metadata.ino()) != (current.position.device, current.position.inode) {
            let mut next = Tail::new(file, Start::Beginning)?;
            let before = std::mem::replace(current, {
                next.grown = Instant::now();
                next
            });
            self.old.push(before);
            if self.old.len() > MOST_OLD {
                self.old.remove(0).flush(found);
            }
            return Ok(true);
        }
        if metadata.len() >= current.read && current.position.beginning.fits_file(&current.file)? {
            return Ok(false);
        }
        // Truncated. What was written between the last look and that may be in a copy.
        current.flush(found);
        let position = current.position();
        self.current = Some(Tail::new(file, Start::Beginning)?);
        self.catch_up(follower, &position, true, found)?;
        Ok(true)
    }

    /// The first look at the path: goes on where it was left.
    fn take_up(
        &mut self,
        follower: &Follower,
        file: File,
        found: &mut Vec<(String, Sighting)>,
    ) -> io::Result<bool> {
        let before = std::mem::take(&mut self.before);
        let mut tail = None;
        for (n, position) in before.iter().enumerate() {
            let is_here = tail.is_none() && position.is_in(&file)?;
            // What merely begins alike is it only if nothing else is.
            let is_surely = is_here && position.inode == file.metadata()?.ino();
            let is_last = n + 1 == before.len();
            if is_surely || (!self.catch_up(follower, position, is_last, found)? && is_here) {
                tail = Some(Tail::at(file.try_clone()?, position.clone())?);
            }
        }
        self.current = Some(tail.map_or_else(|| Tail::new(file, self.start), Ok)?);
        // From now on it is known, whatever happens to us; what was caught up with is safe before that.
        self.report(follower, std::mem::take(found));
        self.keep(true)?;
        Ok(true)
    }

    /// Reads what was rotated away from `position` on, and unless others tell where they were left, the files
    /// after it. `false`: there is no such file.
    fn catch_up(
        &self,
        follower: &Follower,
        position: &Position,
        is_last: bool,
        found: &mut Vec<(String, Sighting)>,
    ) -> io::Result<bool> {
        let mut files = rotated_away(&self.path, position)?;
        let is_there = !files.is_empty();
        if !is_last {
            files.truncate(1);
        }
        for (position, mut reader) in files {
            let mut tracebacks = Tracebacks::default();
            let mut piece = vec![0; PIECE];
            loop {
                // A packed file may be broken at its end; what came before counts.
                let length = reader.read(&mut piece).unwrap_or(0);
                let sightings =
                    if length == 0 { tracebacks.flush() } else { tracebacks.push(&piece[..length]) };
                found.extend(sightings.into_iter().map(|sighting| position.name(position.offset, sighting)));
                if found.len() > 1_000 {
                    self.report(follower, std::mem::take(found));
                }
                if length == 0 {
                    break;
                }
            }
        }
        Ok(is_there)
    }

    fn report(&self, follower: &Follower, found: Vec<(String, Sighting)>) {
        if found.is_empty() {
            return;
        }
        let now = Clock::system().now();
        let report = |(id, sighting)| follower.labels.report(sighting, id, now, ("log", &self.origin));
        follower.delivery.put(&found.into_iter().map(report).collect::<Vec<_>>());
    }

    /// Writes down where everything is; not too often, unless it must be `now`.
    fn keep(&mut self, now: bool) -> io::Result<()> {
        if self.current.is_none() || (!now && self.written_at.is_some_and(|at| at.elapsed() < KEEP_EVERY)) {
            return Ok(());
        }
        let positions: Vec<Position> = self.old.iter().chain(&self.current).map(Tail::position).collect();
        if positions != self.written {
            self.kept.write(&positions)?;
            self.written = positions;
        }
        self.written_at = Some(Instant::now());
        Ok(())
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = self.keep(true);
    }
}

impl Position {
    /// A sighting, and its name: the same whenever this place is read.
    fn name(&self, base: u64, mut sighting: Sighting) -> (String, Sighting) {
        sighting.offset += base;
        (format!("{}/{}/{}", self.stream, sighting.offset, sighting.nth), sighting)
    }
}

impl Tail {
    /// A file that is new to us.
    fn new(file: File, start: Start) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let offset = if start == Start::End { metadata.len() } else { 0 };
        let (device, inode) = (metadata.dev(), metadata.ino());
        let beginning = Beginning::of(&file)?;
        Self::at(file, Position { stream: random_id(), device, inode, beginning, offset })
    }

    /// A file that is read on from a position.
    fn at(file: File, position: Position) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let position = Position { device: metadata.dev(), inode: metadata.ino(), ..position };
        let (base, read) = (position.offset, position.offset);
        let tracebacks = Tracebacks::default();
        Ok(Self { file, position, base, read, tracebacks, grown: Instant::now(), is_flushed: true })
    }

    /// Reads what came, up to a limit.
    fn read_on(&mut self, found: &mut Vec<(String, Sighting)>) -> io::Result<bool> {
        let mut piece = vec![0; PIECE];
        let from = self.read;
        while self.read - from < MOST_BYTES as u64 {
            let length = self.file.read_at(&mut piece, self.read)?;
            // Truncated and written anew since: what was read there is not what follows.
            if length == 0 || !self.position.beginning.fits_file(&self.file)? {
                break;
            }
            self.read += length as u64;
            let sightings = self.tracebacks.push(&piece[..length]);
            found.extend(sightings.into_iter().map(|sighting| self.position.name(self.base, sighting)));
        }
        if self.read == from {
            return Ok(false);
        }
        self.position.beginning = Beginning::of(&self.file)?;
        (self.grown, self.is_flushed) = (Instant::now(), false);
        Ok(true)
    }

    /// Whether nothing came for so long that what is held back has surely ended.
    fn is_quiet(&self) -> bool {
        !self.is_flushed && self.grown.elapsed() >= QUIET
    }

    fn flush(&mut self, found: &mut Vec<(String, Sighting)>) {
        let sightings = self.tracebacks.flush();
        found.extend(sightings.into_iter().map(|sighting| self.position.name(self.base, sighting)));
        self.is_flushed = true;
    }

    /// Up to where it is done with.
    fn position(&self) -> Position {
        Position { offset: self.base + self.tracebacks.settled(), ..self.position.clone() }
    }
}

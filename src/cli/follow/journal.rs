//! Follows a unit of systemd's journal, by the `journalctl` program.
//!
//! Each process of the unit has a stream of its own, so lines of several do not mix. The cursor that is kept is that
//! of the last entry before anything that may still become a report.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::position::Kept;
use super::{EVERY, FULL, Failure, Follower, QUIET};
use crate::clock::Clock;
use crate::ingest::text::{Sighting, Tracebacks};

/// Entries that may wait between `journalctl` and us.
const ENTRIES: usize = 1_000;
/// Bytes of one entry that are looked at.
const MOST_BYTES: u64 = 8 << 20;
/// Processes whose lines are joined at once.
const MOST_STREAMS: usize = 200;
/// How long after its end `journalctl` is started again.
const AGAIN: Duration = Duration::from_secs(5);
/// How often the cursor is written, at most.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// What one process of the unit writes.
struct Stream {
    tracebacks: Tracebacks,
    /// The entries that are still held, oldest first: where each begins in the stream, its number and its cursor.
    held: VecDeque<(u64, u64, Entry)>,
    length: u64,
    grown: Instant,
}

/// What is remembered of an entry.
#[derive(Clone)]
struct Entry {
    cursor: String,
    /// The cursor of the entry before it, of whatever process.
    before: Option<String>,
    at: Option<Timestamp>,
}

/// Follows `unit`.
pub(super) fn follow(follower: &mut Follower, unit: &str, once: bool) -> Result<(), Failure> {
    let kept = follower
        .positions
        .of(&format!("journal {unit}"))
        .map_err(|error| Failure::Failed(format!("{unit}: {error}")))?;
    let mut journal = Journal {
        cursor: kept.read(),
        written: kept.read(),
        kept,
        streams: BTreeMap::new(),
        number: 0,
        origin: json!({ "unit": unit }),
    };
    loop {
        let (mut child, entries) = start(unit, journal.cursor.as_deref(), once)?;
        let told = journal.read(follower, &entries);
        drop(entries);
        let _ = child.kill();
        let status = child.wait().map_err(Failure::failed)?;
        told?;
        if once || follower.stopped.load(Ordering::Relaxed) {
            return Ok(());
        }
        follower.trouble(unit, &format!("journalctl ended ({status}); it is started again"));
        let since = Instant::now();
        while since.elapsed() < AGAIN && !follower.stopped.load(Ordering::Relaxed) {
            std::thread::sleep(EVERY);
        }
    }
}

/// Starts `journalctl` behind a cursor, or at the journal's end; gives its lines.
fn start(unit: &str, cursor: Option<&str>, once: bool) -> Result<(Child, Receiver<Vec<u8>>), Failure> {
    let mut command = Command::new("journalctl");
    command.args(["--output=json", "--all", "--quiet"]).arg(format!("--unit={unit}"));
    if !once {
        command.arg("--follow");
    }
    match cursor {
        Some(cursor) => command.arg("--lines=all").arg(format!("--after-cursor={cursor}")),
        None if once => command.arg("--lines=all"),
        None => command.arg("--lines=0"),
    };
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|error| {
        Failure::Failed(format!("journalctl: {error}\n\nhint: --journal needs systemd's journalctl program"))
    })?;
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped"));
    let (sender, entries) = sync_channel(ENTRIES);
    std::thread::spawn(move || {
        loop {
            let mut line = Vec::new();
            let length =
                std::io::Read::take(&mut lines, MOST_BYTES).read_until(b'\n', &mut line).unwrap_or(0);
            if length == 0 || sender.send(line).is_err() {
                return;
            }
        }
    });
    Ok((child, entries))
}

struct Journal {
    kept: Kept,
    /// Behind which to go on, and what of that is on disk.
    cursor: Option<String>,
    written: Option<String>,
    streams: BTreeMap<String, Stream>,
    number: u64,
    origin: Value,
}

impl Journal {
    /// Reads entries until there are no more.
    fn read(&mut self, follower: &mut Follower, entries: &Receiver<Vec<u8>>) -> Result<(), Failure> {
        let mut last: Option<String> = self.cursor.clone();
        let mut written_at = Instant::now();
        loop {
            while !follower.has_room(false) && !follower.stopped.load(Ordering::Relaxed) {
                std::thread::sleep(FULL);
            }
            let mut found = Vec::new();
            let entry = entries.recv_timeout(EVERY);
            // What came together is looked at together.
            let mut next = entry.as_ref().ok().cloned();
            while let Some(line) = next {
                self.take(&line, &mut last, &mut found);
                next = entries.try_recv().ok().filter(|_| found.is_empty());
            }
            let ended = matches!(entry, Err(RecvTimeoutError::Disconnected));
            let stopped = follower.stopped.load(Ordering::Relaxed);
            for (pid, stream) in &mut self.streams {
                if (ended && !stopped) || stream.grown.elapsed() >= QUIET {
                    let sightings = stream.tracebacks.flush();
                    found.extend(sightings.into_iter().map(|sighting| stream.name(pid, sighting)));
                }
            }
            let now = Clock::system().now();
            let origin = &self.origin;
            let report = |(id, at, sighting): Named| {
                follower.labels.report(sighting, id, at.unwrap_or(now), ("journal", origin))
            };
            if !found.is_empty() {
                follower.delivery.put(&found.into_iter().map(report).collect::<Vec<_>>());
            }
            self.settle(&last);
            if (ended || stopped || written_at.elapsed() >= KEEP_EVERY) && self.cursor != self.written {
                self.kept.write(&self.cursor).map_err(Failure::failed)?;
                self.written.clone_from(&self.cursor);
                written_at = Instant::now();
            }
            follower.speak();
            if ended || stopped {
                self.streams.clear();
                return Ok(());
            }
        }
    }

    /// Takes one entry.
    fn take(&mut self, line: &[u8], last: &mut Option<String>, found: &mut Vec<Named>) {
        let Ok(entry) = serde_json::from_slice::<Value>(line) else { return };
        let Some(cursor) = entry["__CURSOR"].as_str() else { return };
        let before = last.replace(cursor.to_owned());
        let Some(mut message) = message(&entry["MESSAGE"]) else { return };
        message.push(b'\n');
        let pid = entry["_PID"].as_str().or(entry["_STREAM_ID"].as_str()).unwrap_or_default().to_owned();
        if !self.streams.contains_key(&pid) && self.streams.len() >= MOST_STREAMS {
            let quietest =
                self.streams.iter().min_by_key(|(_, stream)| stream.grown).map(|(pid, _)| pid.clone());
            if let Some((pid, mut stream)) = quietest.and_then(|pid| self.streams.remove_entry(&pid)) {
                let sightings = stream.tracebacks.flush();
                found.extend(sightings.into_iter().map(|sighting| stream.name(&pid, sighting)));
            }
        }
        let stream = self.streams.entry(pid.clone()).or_insert_with(|| Stream {
            tracebacks: Tracebacks::default(),
            held: VecDeque::new(),
            length: 0,
            grown: Instant::now(),
        });
        let microseconds = entry["__REALTIME_TIMESTAMP"].as_str().and_then(|text| text.parse().ok());
        let at = microseconds.and_then(|microseconds| Timestamp::from_microsecond(microseconds).ok());
        self.number += 1;
        stream.held.push_back((stream.length, self.number, Entry { cursor: cursor.to_owned(), before, at }));
        stream.length += message.len() as u64;
        stream.grown = Instant::now();
        let sightings = stream.tracebacks.push(&message);
        found.extend(sightings.into_iter().map(|sighting| stream.name(&pid, sighting)).collect::<Vec<_>>());
    }

    /// Forgets entries that are done with; the cursor goes up to the first that is not.
    fn settle(&mut self, last: &Option<String>) {
        for stream in self.streams.values_mut() {
            let settled = stream.tracebacks.settled();
            while stream.held.front().is_some()
                && stream.held.get(1).map_or(stream.length, |next| next.0) <= settled
            {
                stream.held.pop_front();
            }
        }
        self.streams.retain(|_, stream| !stream.held.is_empty());
        let oldest = self
            .streams
            .values()
            .filter_map(|stream| stream.held.front())
            .min_by_key(|(_, number, _)| *number);
        self.cursor = match oldest {
            Some((_, _, entry)) => entry.before.clone(),
            None => last.clone(),
        };
    }
}

/// An id, a time, and what was seen.
type Named = (String, Option<Timestamp>, Sighting);

impl Stream {
    /// A sighting, named by the entry that it begins in.
    fn name(&self, pid: &str, sighting: Sighting) -> Named {
        let entry = self.held.iter().rev().find(|(offset, ..)| *offset <= sighting.offset);
        match entry {
            Some((offset, _, entry)) => {
                let id = format!("{}/{}/{}", entry.cursor, sighting.offset - offset, sighting.nth);
                (id, entry.at, sighting)
            }
            None => (format!("{pid}/{}/{}", sighting.offset, sighting.nth), None, sighting),
        }
    }
}

/// An entry's text: a string, or its bytes where it is no UTF-8.
fn message(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.clone().into_bytes()),
        Value::Array(bytes) => bytes.iter().map(|byte| u8::try_from(byte.as_u64()?).ok()).collect(),
        _ => None,
    }
}

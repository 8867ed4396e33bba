//! `blamed follow`: reads logs as they grow, and reports the tracebacks in them.
//!
//! Every round looks at each log once: what came is read and goes through
//! [`Tracebacks`](crate::ingest::text::Tracebacks); what was found goes to the spool; only then is the position
//! kept. A traceback is named by the log and where in it it begins, so one that is read again after a `kill -9`
//! is not counted again. While the spool is full nothing is read: the log keeps it.

mod journal;
mod log;
mod position;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::log::{Log, Start};
use self::position::Positions;
use super::Failure;
use super::client::Server;
use super::client::delivery::{Delivery, Place};
use super::client::labels::Labels;

/// How often logs are looked at.
const EVERY: Duration = Duration::from_millis(250);
/// How often patterns are, for files that are new.
const PATTERNS_EVERY: Duration = Duration::from_secs(2);
/// After how much silence a traceback is taken to have ended.
const QUIET: Duration = Duration::from_secs(1);
/// How long a full spool is waited for before it is looked at again.
const FULL: Duration = Duration::from_secs(1);
/// How long reports may take to arrive at the end, before they are left in the spool.
const PATIENCE: Duration = Duration::from_secs(2);
/// Endings of files that are packed, which patterns pass over.
const PACKED: [&str; 7] = ["gz", "xz", "bz2", "zst", "lz4", "lzma", "Z"];

/// Follow logs, and report the tracebacks in them.
///
/// Text, and records in JSON, one a line, whose stack is in a field of its own. Logs may be rotated, truncated,
/// and not there yet; where each was left is kept, so a restart misses nothing. A log that was never followed
/// before is read from its end.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    labels: Labels,
    /// Read logs that were never followed before from their start
    #[arg(long)]
    from_start: bool,
    /// Read what is there, and end
    #[arg(long)]
    once: bool,
    /// Follow a unit of systemd's journal
    #[arg(long, value_name = "UNIT", conflicts_with_all = ["files", "from_start"])]
    journal: Option<String>,
    /// Logs; patterns such as '/var/log/app/*.log' find files that come later
    #[arg(value_name = "FILE", required_unless_present = "journal")]
    files: Vec<PathBuf>,
}

/// What a follower needs besides its log.
struct Follower {
    delivery: Delivery,
    labels: Labels,
    positions: Positions,
    stopped: Arc<AtomicBool>,
    /// Trouble is told when it comes, not at every round.
    said: BTreeMap<String, String>,
    is_full: bool,
}

/// Runs the command, until a signal ends it.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let spool = arguments.place.open()?;
    let positions = Positions::open(spool.folder())
        .map_err(|error| Failure::Wrong(format!("positions in {}: {error}", spool.folder().display())))?;
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stopped)).map_err(Failure::failed)?;
    }
    let mut follower = Follower {
        delivery: Delivery::start(arguments.server.address()?, spool, true),
        labels: arguments.labels,
        positions,
        stopped,
        said: BTreeMap::new(),
        is_full: false,
    };
    let missing = missing(&arguments.files)?;
    if !arguments.once {
        missing.iter().for_each(|words| eprintln!("{words}"));
    }
    match &arguments.journal {
        Some(unit) => journal::follow(&mut follower, unit, arguments.once)?,
        None => follow_files(&mut follower, &arguments.files, arguments.from_start, arguments.once)?,
    }
    let waiting = follower.delivery.finish(PATIENCE);
    follower.speak();
    if waiting > 0 {
        eprintln!("reports wait in {}", follower.delivery.folder().display());
    }
    if arguments.once && !missing.is_empty() { Err(Failure::Failed(missing.join("\n"))) } else { Ok(()) }
}

/// What is to be said of names and patterns under which nothing lies yet.
fn missing(files: &[PathBuf]) -> Result<Vec<String>, Failure> {
    let mut missing = Vec::new();
    for file in files {
        if !expanded(std::slice::from_ref(file))?.iter().any(|path| path.exists()) {
            missing.push(format!("nothing is called {} yet", file.display()));
        }
    }
    Ok(missing)
}

fn follow_files(
    follower: &mut Follower,
    files: &[PathBuf],
    from_start: bool,
    once: bool,
) -> Result<(), Failure> {
    let mut logs: BTreeMap<PathBuf, Log> = BTreeMap::new();
    let mut looked: Option<Instant> = None;
    loop {
        if looked.is_none_or(|looked| looked.elapsed() >= PATTERNS_EVERY) {
            // What appears while we look was not there before, so all of it is new.
            let start = if from_start || looked.is_some() { Start::Beginning } else { Start::End };
            for path in expanded(files)? {
                if logs.contains_key(&path) {
                    continue;
                }
                match Log::new(&path, &follower.positions, start) {
                    Ok(log) => drop(logs.insert(path, log)),
                    Err(error) if looked.is_none() => {
                        return Err(Failure::Failed(format!("{}: {error}", path.display())));
                    }
                    Err(error) => follower.trouble(&path.display().to_string(), &error.to_string()),
                }
            }
            looked = Some(Instant::now());
        }
        let mut read = false;
        for (path, log) in &mut logs {
            if !follower.has_room(once) {
                break;
            }
            let name = path.display().to_string();
            match log.round(follower, once) {
                Ok(some) => {
                    read |= some;
                    follower.said.remove(&name);
                }
                Err(error) => follower.trouble(&name, &error.to_string()),
            }
        }
        follower.speak();
        if follower.stopped.load(Ordering::Relaxed) || (once && !read) {
            return Ok(());
        }
        if !read {
            std::thread::sleep(if follower.is_full { FULL } else { EVERY });
        }
    }
}

impl Follower {
    /// Whether more may be read: not while reports find no room.
    fn has_room(&mut self, once: bool) -> bool {
        let has_room = self.delivery.has_room().unwrap_or(true);
        if self.is_full == has_room {
            self.is_full = !has_room;
            if self.is_full {
                let folder = self.delivery.folder().display();
                let then = if once {
                    "the rest is for the next time"
                } else {
                    "nothing more is read until there is room"
                };
                eprintln!("the spool {folder} is full; {then}");
            }
        }
        has_room
    }

    /// Says what is wrong with a log, once.
    fn trouble(&mut self, name: &str, said: &str) {
        if self.said.insert(name.to_owned(), said.to_owned()).as_deref() != Some(said) {
            eprintln!("{name}: {said}");
        }
    }

    /// Says what delivery has to say.
    fn speak(&self) {
        self.delivery.words().iter().for_each(|words| eprintln!("{words}"));
    }
}

/// The files that names and patterns stand for, but not those that were rotated away or packed by name.
fn expanded(files: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut paths = Vec::new();
    for file in files {
        let pattern = file.to_str().filter(|text| text.contains(['*', '?', '[']) && !file.exists());
        let Some(pattern) = pattern else {
            paths.push(std::path::absolute(file).map_err(Failure::failed)?);
            continue;
        };
        let matches = glob::glob(pattern).map_err(|error| Failure::Wrong(format!("{pattern}: {error}")))?;
        let is_packed =
            |path: &Path| path.extension().is_some_and(|end| PACKED.iter().any(|packed| end == *packed));
        let found: Vec<PathBuf> =
            matches.filter_map(Result::ok).filter(|path| path.is_file() && !is_packed(path)).collect();
        let is_live = |path: &&PathBuf| !found.iter().any(|other| position::is_rotated(path, other));
        for path in found.iter().filter(is_live) {
            paths.push(std::path::absolute(path).map_err(Failure::failed)?);
        }
    }
    Ok(paths)
}

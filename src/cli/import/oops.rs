//! `blamed import oops`: reports from a date-dir repository of OOPS documents.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use rustix::fs::{FlockOperation, flock};
use sha2::{Digest, Sha256};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::cli::Failure;
use crate::cli::client::Server;
use crate::cli::client::delivery::{Delivery, Place};
use crate::ingest::oops;
use crate::report::Report;

/// How often a repository is looked at.
const EVERY: Duration = Duration::from_secs(1);
/// Bytes of one document.
const MOST_BYTES: u64 = 16 << 20;
/// Documents between two notes of which are done.
const BATCH: usize = 100;
/// For how long a document that cannot be read may be one that is still being written.
const SETTLED: Duration = Duration::from_secs(60);
/// How long a full spool is waited for, and how long reports may take to arrive at the end.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is imported from where.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    place: Place,
    /// Go on, and import documents as they come
    #[arg(long)]
    follow: bool,
    /// The repository
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// The documents of a repository that are done: a file a day, a line a document.
struct Done {
    folder: PathBuf,
    _lock: File,
}

/// What an import came to.
#[derive(Default)]
struct Count {
    imported: usize,
    before: usize,
    unreadable: usize,
}

/// Runs the command.
pub(super) fn run(repository: &Arguments) -> Result<(), Failure> {
    let stopped = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&stopped)).map_err(Failure::failed)?;
    }
    let folder = fs::canonicalize(&repository.folder)
        .map_err(|error| Failure::Wrong(format!("{}: {error}", repository.folder.display())))?;
    let spool = repository.place.open()?;
    let done = Done::open(spool.folder(), &folder)
        .map_err(|error| Failure::Failed(format!("{}: {error}", folder.display())))?;
    let delivery = Delivery::start(repository.server.address()?, spool, true);
    let mut count = Count::default();
    let mut looked = BTreeMap::new();
    let is_stopped = || stopped.load(Ordering::Relaxed);
    let result = loop {
        let round = round(&folder, &done, &delivery, &mut looked, &mut count, &is_stopped);
        delivery.words().iter().for_each(|words| eprintln!("{words}"));
        if round.is_err() || !repository.follow || is_stopped() {
            break round;
        }
        std::thread::sleep(EVERY);
    };
    let waiting = delivery.finish(PATIENCE);
    delivery.words().iter().for_each(|words| eprintln!("{words}"));
    let Count { imported, before, unreadable } = count;
    eprintln!("{imported} imported, {before} were before, {unreadable} could not be read");
    if waiting > 0 {
        eprintln!("reports wait in {}", delivery.folder().display());
    }
    result
}

/// Imports what is new, oldest day first. A day that did not change since it was last looked at is passed over.
fn round(
    folder: &Path,
    done: &Done,
    delivery: &Delivery,
    looked: &mut BTreeMap<String, SystemTime>,
    count: &mut Count,
    is_stopped: &dyn Fn() -> bool,
) -> Result<(), Failure> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error: io::Error| Failure::Failed(format!("{}: {error}", path.display()))
    };
    let mut days: Vec<String> = fs::read_dir(folder)
        .map_err(failed(folder))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| is_day(name))
        .collect();
    days.sort();
    for day in days {
        let path = folder.join(&day);
        let changed = fs::metadata(&path).and_then(|metadata| metadata.modified()).map_err(failed(&path))?;
        if looked.get(&day) == Some(&changed) {
            continue;
        }
        let known = done.read(&day).map_err(failed(&done.folder))?;
        let mut names: Vec<String> = fs::read_dir(&path)
            .map_err(failed(&path))?
            .filter_map(|entry| entry.ok().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_file())))
            .filter_map(|entry| entry.file_name().into_string().ok())
            // Documents are written beside, and renamed when they are whole.
            .filter(|name| !name.ends_with(".tmp") && !name.starts_with('.'))
            .collect();
        if !looked.contains_key(&day) {
            count.before += names.iter().filter(|name| known.contains(*name)).count();
        }
        names.retain(|name| !known.contains(name));
        names.sort();
        let mut is_whole = true;
        for batch in names.chunks(BATCH) {
            wait_for_room(delivery, is_stopped)?;
            let (mut reports, mut finished) = (Vec::new(), Vec::new());
            for name in batch {
                match read(&path.join(name), &day, name) {
                    Ok(report) => reports.push(report),
                    Err(_) if is_recent(&path.join(name)) => {
                        is_whole = false;
                        continue;
                    }
                    Err(said) => {
                        eprintln!("{}: {said}", path.join(name).display());
                        count.unreadable += 1;
                    }
                }
                finished.push(name.as_str());
            }
            count.imported += reports.len();
            delivery.put(&reports);
            done.add(&day, &finished).map_err(failed(&done.folder))?;
        }
        if is_whole {
            looked.insert(day, changed);
        }
    }
    Ok(())
}

/// Waits until there is room for more reports.
fn wait_for_room(delivery: &Delivery, is_stopped: &dyn Fn() -> bool) -> Result<(), Failure> {
    let since = Instant::now();
    loop {
        if is_stopped() {
            return Err(Failure::Failed("stopped; what is left is for the next time".to_owned()));
        }
        if delivery.has_room().unwrap_or(true) {
            return Ok(());
        }
        if since.elapsed() > PATIENCE {
            let folder = delivery.folder().display();
            return Err(Failure::Failed(format!(
                "the spool {folder} is full; what is left is for the next time"
            )));
        }
        std::thread::sleep(EVERY);
    }
}

/// The report in a document.
fn read(path: &Path, day: &str, name: &str) -> Result<Report, String> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| error.to_string())?;
    file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    let mut report = oops::decode(&bytes).map_err(|error| error.to_string())?;
    report.client_id.get_or_insert_with(|| format!("oops/{day}/{name}"));
    Ok(report)
}

fn is_recent(path: &Path) -> bool {
    let changed = fs::metadata(path).and_then(|metadata| metadata.modified());
    changed.is_ok_and(|changed| changed.elapsed().is_ok_and(|age| age < SETTLED))
}

/// `2026-11-20`
fn is_day(name: &str) -> bool {
    let shape: String = name.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00"
}

impl Done {
    /// What is done of the repository `of`, held by this process alone.
    fn open(spool: &Path, of: &Path) -> io::Result<Self> {
        let digest: String = Sha256::digest(of.to_string_lossy().as_bytes())
            .iter()
            .take(16)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let folder = spool.join("imported").join(digest);
        DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
        let lock = folder.join("lock");
        let lock = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(lock)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(io::Error::other("another process imports it already"));
        }
        Ok(Self { folder, _lock: lock })
    }

    fn read(&self, day: &str) -> io::Result<HashSet<String>> {
        match fs::read_to_string(self.folder.join(day)) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(HashSet::new()),
            Err(error) => Err(error),
        }
    }

    fn add(&self, day: &str, names: &[&str]) -> io::Result<()> {
        let mut file =
            OpenOptions::new().append(true).create(true).mode(0o600).open(self.folder.join(day))?;
        // A line that a kill cut short is no name; the next begins on its own.
        let text: String = names.iter().map(|name| format!("\n{name}\n")).collect();
        file.write_all(text.as_bytes())
    }
}

//! Reports on their way: kept in the spool at once, delivered behind the back of whoever made them.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::spool::{MOST_BYTES, Round, Spool};
use super::{Address, Client, Letter};
use crate::cli::Failure;
use crate::report::Report;

/// How often what waits is looked at when nobody asks.
const EVERY: Duration = Duration::from_secs(5);

/// Bytes that there must be room for before more is read: a few letters, packed.
const ROOM: u64 = 1 << 20;
/// The shortest wait for a daemon that another process may be trying.
const SOON: Duration = Duration::from_millis(50);

/// Where reports wait while the daemon is away.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct Place {
    /// Folder for reports that wait, and for positions in logs [default: $STATE_DIRECTORY, else
    /// $XDG_STATE_HOME/blamed, else ~/.local/state/blamed]
    #[arg(long, value_name = "DIR", env = "BLAMED_SPOOL")]
    spool: Option<PathBuf>,
    /// Bytes of reports that may wait
    #[arg(long, value_name = "BYTES", default_value_t = MOST_BYTES)]
    spool_bytes: u64,
}

impl Place {
    /// The folder that was named, or the usual one. `None`: there is no usual one, for want of a home.
    pub(in crate::cli) fn folder(&self) -> Option<PathBuf> {
        let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        self.spool
            .clone()
            // systemd may name several.
            .or_else(|| Some(variable("STATE_DIRECTORY")?.to_str()?.split(':').next()?.into()))
            .or_else(|| Some(variable("XDG_STATE_HOME")?.join("blamed")))
            .or_else(|| Some(variable("HOME")?.join(".local/state/blamed")))
    }

    /// The spool.
    ///
    /// # Errors
    /// There is none, and none can be made.
    pub(in crate::cli) fn open(&self) -> Result<Spool, Failure> {
        let Some(folder) = self.folder() else {
            return Err(Failure::Wrong(
                "no folder for reports that wait\n\nhint: name one with --spool DIR".to_owned(),
            ));
        };
        Spool::open(&folder, self.spool_bytes).map_err(|error| {
            let hint = "name a folder that can be written with --spool DIR";
            Failure::Wrong(format!("the spool {}: {error}\n\nhint: {hint}", folder.display()))
        })
    }
}

/// Takes reports, and delivers them in a thread of its own.
pub(in crate::cli) struct Delivery {
    shared: Arc<Shared>,
    to: Address,
}

struct Shared {
    spool: Spool,
    rounds: Mutex<Rounds>,
    changed: Condvar,
}

#[derive(Default)]
struct Rounds {
    /// How many rounds were asked for, and which of these the last finished one began after.
    asked: u64,
    done: u64,
    stopped: bool,
    /// What waits, by the last round, and when a daemon that is left alone is tried again.
    waiting: usize,
    again_in: Option<Duration>,
    /// What people should hear of.
    words: Vec<String>,
}

impl Delivery {
    /// Starts it; what waits from before goes first. If `eager`, also to a daemon that is left alone for a while.
    pub(in crate::cli) fn start(to: Address, spool: Spool, eager: bool) -> Self {
        let shared = Arc::new(Shared { spool, rounds: Mutex::default(), changed: Condvar::new() });
        let there = Arc::clone(&shared);
        std::thread::spawn(move || there.run(eager));
        let delivery = Self { shared, to };
        delivery.wake();
        delivery
    }

    /// Keeps reports; when it returns, they are on disk, and their delivery begins. What finds no room is
    /// dropped and told.
    pub(in crate::cli) fn put(&self, reports: &[Report]) {
        for letter in Letter::of_reports(reports) {
            let said = match self.shared.spool.put(&self.to, &letter, reports.len() as u64) {
                Ok(true) => continue,
                Ok(false) => "it is full; what comes now is dropped".to_owned(),
                Err(error) => format!("{error}; what comes now is lost"),
            };
            self.shared.rounds().words.push(format!("the spool {}: {said}", self.folder().display()));
        }
        self.wake();
    }

    /// Whether there is room for more.
    pub(in crate::cli) fn has_room(&self) -> io::Result<bool> {
        self.shared.spool.has_room(ROOM)
    }

    /// Where reports wait.
    pub(in crate::cli) fn folder(&self) -> &Path {
        self.shared.spool.folder()
    }

    /// What people should hear of since this was last asked.
    pub(in crate::cli) fn words(&self) -> Vec<String> {
        std::mem::take(&mut self.shared.rounds().words)
    }

    /// Gives what waits until `patience` is over to arrive, or to fail to. Gives how many letters are left.
    pub(in crate::cli) fn finish(&self, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        let mut rounds = self.shared.rounds();
        loop {
            rounds.asked += 1;
            let wanted = rounds.asked;
            self.shared.changed.notify_all();
            while rounds.done < wanted {
                let Some(left) = deadline.checked_duration_since(Instant::now()) else {
                    rounds.stopped = true;
                    return rounds.waiting.max(1);
                };
                rounds = self.shared.wait(rounds, left);
            }
            // Another process may just be trying the daemon, and find it well.
            let again = rounds.again_in.filter(|_| rounds.waiting > 0);
            let left = deadline.saturating_duration_since(Instant::now());
            let Some(again) = again.filter(|again| *again < left) else {
                rounds.stopped = true;
                return rounds.waiting;
            };
            drop(rounds);
            std::thread::sleep(again.clamp(SOON, SOON * 4));
            rounds = self.shared.rounds();
        }
    }

    fn wake(&self) {
        self.shared.rounds().asked += 1;
        self.shared.changed.notify_all();
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        self.shared.rounds().stopped = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn rounds(&self) -> MutexGuard<'_, Rounds> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, rounds: MutexGuard<'a, Rounds>, longest: Duration) -> MutexGuard<'a, Rounds> {
        self.changed.wait_timeout(rounds, longest).unwrap_or_else(PoisonError::into_inner).0
    }

    fn run(&self, mut eager: bool) {
        let client = Client::new();
        // Trouble is told when it comes and when it ends, not at every try.
        let mut was_trouble = false;
        let mut begun = 0;
        loop {
            let mut rounds = self.rounds();
            while rounds.asked == begun && !rounds.stopped {
                let since = Instant::now();
                rounds = self.wait(rounds, EVERY);
                if since.elapsed() >= EVERY {
                    break;
                }
            }
            if rounds.stopped {
                return;
            }
            begun = rounds.asked;
            drop(rounds);
            let round = self.spool.deliver(
                std::mem::take(&mut eager),
                || self.rounds().stopped,
                |to, letter| client.send(to, letter, Duration::ZERO).map(drop),
            );
            let folder = self.spool.folder();
            let (waiting, again_in, words) = match round {
                Ok(round) => (round.waiting, round.again_in, told(&round, &mut was_trouble, folder)),
                Err(error) => (1, None, vec![format!("the spool {}: {error}", folder.display())]),
            };
            let mut rounds = self.rounds();
            (rounds.done, rounds.waiting, rounds.again_in) = (begun, waiting, again_in);
            rounds.words.extend(words);
            self.changed.notify_all();
        }
    }
}

/// What people should hear of a round.
pub(in crate::cli) fn told(round: &Round, was_trouble: &mut bool, folder: &Path) -> Vec<String> {
    let mut words: Vec<String> = round
        .refused
        .iter()
        .map(|said| {
            format!("{said}; it will not be sent again, and lies in {}", folder.join("refused").display())
        })
        .collect();
    if let Some(trouble) = &round.trouble
        && !*was_trouble
    {
        words.push(format!("{trouble}; reports wait in {}", folder.display()));
    }
    if round.dropped > 0 {
        words.push(format!(
            "{} reports were dropped since the last that arrived: the spool was full",
            round.dropped
        ));
    }
    *was_trouble = round.trouble.is_some() || (*was_trouble && round.waiting > 0);
    words
}

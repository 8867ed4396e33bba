//! Looks after what is remembered: forgets what is too old or too much, gives the room back to the system, and
//! says when the disk fills up.
//!
//! It works in small steps on a thread of its own. A step is one transaction of at most a few hundredths of a
//! second, found by trial: as many rows as fit; and after each step it rests three times as long as the step
//! took. So reports that come in meanwhile wait for one small transaction at most, and the larger part of the
//! time is theirs, however many rows there are to forget.
//!
//! What is forgotten for its size goes in the order of how little it is missed: samples, mails that were
//! sent, counts by the hour, whole faults; of each the oldest first. Never forgotten are places that wait for
//! blame, mails that are owed, rules, settings, accounts, and which lines have had their one mail.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use lettre::message::Mailbox;

use crate::clock::Clock;
use crate::notify::new_message_id;
use crate::notify::notice::Notice;
use crate::store::{Forgettable, Room, Store, StoreError};
use crate::telemetry::metrics::METRICS;

/// How long one transaction may take.
const STEP: Duration = Duration::from_millis(20);
/// How many times as long as a step the rest after it is.
const REST: u32 = 3;
/// Rows of the first step.
const FIRST_ROWS: u32 = 100;
/// Rows of a step at most.
const MOST_ROWS: u32 = 20_000;
/// How long it sleeps where there is nothing to do.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How long after the store failed it looks again.
const STORE_RETRY: Duration = Duration::from_secs(60);
/// Days for which clients' own ids of their events are remembered.
const CLIENT_ID_DAYS: u32 = 7;
/// Unused bytes that a database keeps for what comes next, at least.
const SLACK_BYTES: u64 = 1 << 20;
/// Bytes of a page of the database.
const PAGE_BYTES: u64 = 4_096;
/// A day in milliseconds.
const DAY: i64 = 24 * 3_600_000;

/// How much is remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Days for which samples, and mails that were sent, are kept.
    pub samples_days: u32,
    /// Days after which faults that did not occur again are forgotten, and counts by the hour. `None`: never.
    pub faults_days: Option<u32>,
    /// Bytes of the database. `None`: as many as it comes to.
    pub database_bytes: Option<u64>,
    /// Bytes of the disk that are to stay free.
    pub spare_bytes: u64,
    /// Who is told when the disk fills up. `None`: nobody, the log says it.
    pub default_contact: Option<String>,
    /// Who mails are from.
    pub sender: Mailbox,
}

/// The loop's own state.
pub struct Upkeep {
    store: Store,
    clock: Clock,
    settings: Arc<Mutex<Settings>>,
    /// Called when a mail is owed.
    owed: Box<dyn Fn() + Send>,
    /// Rows of a step, as they fitted last.
    rows: u32,
    /// The database has grown beyond its bytes, and is not yet well below.
    over: bool,
    room: Room,
    forgotten: [usize; 5],
}

/// A running upkeep.
pub struct Running {
    settings: Arc<Mutex<Settings>>,
    stop: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

/// In the order of how little they are missed.
const KINDS: [Forgettable; 5] = [
    Forgettable::ClientIds,
    Forgettable::Samples,
    Forgettable::Mails,
    Forgettable::Hours,
    Forgettable::Faults,
];

impl Upkeep {
    /// Looks after `store`, once it is asked to. `owed` is called when a mail is owed.
    #[must_use]
    pub fn new(store: Store, clock: Clock, settings: Settings, owed: impl Fn() + Send + 'static) -> Self {
        let (settings, owed) = (Arc::new(Mutex::new(settings)), Box::new(owed));
        let (rows, over, room, forgotten) = (FIRST_ROWS, false, Room::Ample, [0; 5]);
        Self { store, clock, settings, owed, rows, over, room, forgotten }
    }

    /// Starts the thread.
    #[must_use]
    pub fn start(mut self) -> Running {
        let (stop, stopped) = mpsc::channel();
        let settings = Arc::clone(&self.settings);
        let work = move || {
            loop {
                let wait = self.step().unwrap_or_else(|error| {
                    tracing::error!(%error, "what is too old cannot be forgotten now");
                    STORE_RETRY
                });
                match stopped.recv_timeout(wait) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
            }
        };
        let thread = std::thread::Builder::new().name("upkeep".to_owned()).spawn(work);
        Running { settings, stop, thread: thread.expect("a thread can be started when the daemon starts") }
    }

    /// Does one small thing, if there is one to do, and says how long to rest. Blocks.
    ///
    /// # Errors
    /// What the store says.
    pub fn step(&mut self) -> Result<Duration, StoreError> {
        let settings = self.settings.lock().unwrap_or_else(PoisonError::into_inner).clone();
        self.watch_disk(&settings)?;
        let begun = Instant::now();
        let is_busy = self.forget_old(&settings)?
            || self.forget_much(settings.database_bytes)?
            || self.shrink(settings.database_bytes)?;
        if !is_busy {
            self.tell();
            return Ok(LOOK_EVERY);
        }
        let took = begun.elapsed();
        self.rows = if took > STEP { (self.rows / 2).max(1) } else { (self.rows * 5 / 4 + 1).min(MOST_ROWS) };
        Ok(took * REST)
    }

    /// Forgets some of what is too old. `false`: there is nothing.
    fn forget_old(&mut self, settings: &Settings) -> Result<bool, StoreError> {
        let now = self.clock.now().as_millisecond();
        let before = |days: u32| now.saturating_sub(i64::from(days) * DAY);
        for kind in KINDS {
            let days = match kind {
                Forgettable::ClientIds => Some(CLIENT_ID_DAYS),
                Forgettable::Samples | Forgettable::Mails => Some(settings.samples_days),
                Forgettable::Hours | Forgettable::Faults => settings.faults_days,
            };
            if let Some(days) = days
                && self.forget(kind, before(days), self.rows)?
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Forgets some of the oldest where the database is too large, until it is a little smaller than it may
    /// be. `false`: it is, or nothing is left to forget.
    fn forget_much(&mut self, most: Option<u64>) -> Result<bool, StoreError> {
        let Some(most) = most else { return Ok(false) };
        let used = self.store.size()?.used;
        if used > most && !self.over {
            self.over = true;
            tracing::info!(used, most, "the database is larger than it may be: the oldest is forgotten");
        }
        self.over &= used > most - most / 20;
        if !self.over {
            return Ok(false);
        }
        // Not many more than it takes: most rows are smaller than a page, and the next step comes soon.
        let wanted = u32::try_from((used - (most - most / 20)).div_ceil(PAGE_BYTES)).unwrap_or(u32::MAX);
        for kind in &KINDS[1..] {
            if self.forget(*kind, i64::MAX, self.rows.min(wanted))? {
                return Ok(true);
            }
        }
        tracing::warn!(used, most, "the database is larger than it may be, and nothing is left to forget");
        Ok(false)
    }

    fn forget(&mut self, kind: Forgettable, before: i64, most: u32) -> Result<bool, StoreError> {
        // A fault takes its words and places along.
        let most = if kind == Forgettable::Faults { most.div_ceil(5) } else { most };
        let rows = self.store.write(|tx| tx.forget(kind, before, most))?;
        METRICS.forgotten.with_label_values(&[kind.as_str()]).inc_by(rows as u64);
        self.forgotten[KINDS.iter().position(|known| *known == kind).unwrap_or(0)] += rows;
        Ok(rows > 0)
    }

    /// Gives some room back to the system, where there is much of it. `false`: there is not.
    fn shrink(&self, most: Option<u64>) -> Result<bool, StoreError> {
        let size = self.store.size()?;
        let unused = size.file - size.used;
        let too_large = most.is_some_and(|most| size.file > most);
        if unused == 0 || (unused < SLACK_BYTES.max(size.used / 8) && !too_large) {
            return Ok(false);
        }
        self.store.shrink(self.rows)?;
        // A database that was made by an early version may not be able to.
        Ok(self.store.size()?.file < size.file)
    }

    /// Says in the log what was forgotten since it last did.
    fn tell(&mut self) {
        let [client_ids, samples, mails, hours, faults] = std::mem::take(&mut self.forgotten);
        if client_ids + samples + mails + hours + faults > 0 {
            tracing::info!(samples, mails, hours, faults, client_ids, "forgot what was too old or too much");
        }
    }

    /// Says when the disk fills up: to the log, and once a day at most to the default contact.
    fn watch_disk(&mut self, settings: &Settings) -> Result<(), StoreError> {
        let room = self.store.room(settings.spare_bytes);
        let before = std::mem::replace(&mut self.room, room);
        if room == before {
            return Ok(());
        }
        let free = self.store.free_bytes().unwrap_or(0);
        match room {
            Room::Ample => tracing::info!(free, "the disk has room again: everything is kept"),
            Room::Tight => {
                tracing::warn!(free, "the disk fills up: samples are not kept, everything is counted")
            }
            Room::Full => {
                tracing::error!(
                    free,
                    "the disk is full: reports of lines that are not known yet are refused"
                );
            }
        }
        let Some(contact) = settings.default_contact.as_ref().filter(|_| room > before) else {
            return Ok(());
        };
        let now = self.clock.now();
        let notice = Notice::Trouble {
            subject: "the disk of the data directory fills up".to_owned(),
            text: format!(
                "{} MB are free, and {} MB are to stay free (keep.spare_bytes).\n\nFor now every report is \
                 counted, but no samples of them are kept. Below {} MB, reports of lines that are not known yet \
                 are refused with 507, so that known ones can be counted on. Both end by themselves when there \
                 is room again.\n\nTo make some: remove what else is on that disk, or let less be kept \
                 ([keep] in the configuration).\n",
                free >> 20,
                settings.spare_bytes >> 20,
                settings.spare_bytes >> 22,
            ),
        };
        let mark = format!("disk {}", now.strftime("%Y-%m-%d"));
        let message_id = new_message_id(&settings.sender);
        let owed =
            self.store.write(|tx| tx.owe(None, &mark, contact, &message_id, &notice, now.as_millisecond()));
        match owed {
            Ok(true) => (self.owed)(),
            Ok(false) => {}
            // On a disk that is full to the last byte there is no mail either.
            Err(error) if error.is_full() => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Running {
    /// Keeps as much as `settings` say, from the next step on.
    pub fn use_settings(&self, settings: Settings) {
        *self.settings.lock().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// Ends after the step under way. Blocks.
    pub fn stop(self) {
        let _ = self.stop.send(());
        // A panic was told when it happened.
        let _ = self.thread.join();
    }
}

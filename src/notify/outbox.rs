//! The loop that keeps the outbox's promises: every message owed is sent, or given up where people see it.
//!
//! A delivery is due, is composed, is handed to the transport, and what became of it is written down:
//!
//! | the server says | the delivery |
//! |---|---|
//! | it takes the mail | is done |
//! | not now (4yz) | is tried again, later each time, about five days long; then it is given up |
//! | never (5yz), or the address is none | is given up, and the default contact is told |
//! | nothing, or that it wants nothing from us | waits with all others, uncounted, until one gets through |
//!
//! **The one gap.** A mail is written down as sent after the server took it. Where the machine dies between
//! the two, the mail goes out once more, with the same Message-ID, by which mail programs know it (and the
//! folder transport overwrites it). The other order would lose mails instead. Where only the store fails
//! (a full disk), what became of a mail is kept in memory and no other is sent until it is written.
//!
//! One daemon holds the data directory, so nobody else delivers and rows need no claims.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;
use tracing::{error, info, warn};

use super::Settings;
use super::chance::{chance, new_message_id, new_secret};
use super::compose::compose;
use super::notice::Notice;
use super::plain::{self, without_addresses};
use super::transport::{Carrier, Outcome};
use crate::clock::Clock;
use crate::store::{Delivery, DeliveryState, Store, StoreError, Tx, fingerprint};
use crate::telemetry::metrics::METRICS;

/// Mails on their way at the same time, each on a connection of its own: one slow answer holds up one lane.
const LANES: usize = 4;
/// Deliveries looked up at a time.
const BATCH: u32 = 200;
/// How long a mail refused for now waits before its second try; the wait doubles with each further one.
const RETRY_FIRST: Duration = Duration::from_secs(2 * 60);
/// The longest wait between two tries.
const RETRY_MAX: Duration = Duration::from_secs(6 * 3600);
/// Tries that the server answers before a mail is given up: with the waits above about five days, which is
/// what RFC 5321 4.5.4.1 asks for at least.
const MAX_ATTEMPTS: u32 = 28;
/// How long all deliveries pause when the server first cannot be reached; doubles while it stays so.
const PAUSE_FIRST: Duration = Duration::from_secs(15);
/// The longest pause: a server that is back is noticed after at most this.
const PAUSE_MAX: Duration = Duration::from_secs(10 * 60);
/// How long the loop waits after the store failed.
const STORE_RETRY: Duration = Duration::from_secs(10);
/// The longest time between two looks: a command that runs beside the daemon cannot wake it.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Delivers what is owed. One to a data directory; shared as an `Arc`.
pub struct Outbox {
    store: Store,
    clock: Clock,
    settings: Mutex<Arc<Settings>>,
    /// Something new is owed, or settings changed, or it is time to stop.
    woken: Notify,
    stopping: AtomicBool,
    pause: Mutex<Option<Pause>>,
    /// What became of mails and is not yet written down.
    unsettled: Mutex<Vec<Settlement>>,
}

/// All deliveries wait, because the server cannot be reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// When it was first noticed.
    pub since: Timestamp,
    /// When the server is tried next.
    pub until: Timestamp,
    /// Why, in words that name nobody's address.
    pub reason: String,
    /// How often it was tried in vain.
    pub tries: u32,
}

/// What became of one try, to be written down.
struct Settlement {
    delivery: Delivery,
    outcome: Outcome,
    /// Whether nobody is told of trouble with it: it tells of trouble itself, or is a link, for which one asks
    /// again.
    trouble: bool,
}

impl Outbox {
    /// An outbox that delivers nothing until it is [`Outbox::run`].
    #[must_use]
    pub fn new(store: Store, clock: Clock, settings: Settings) -> Self {
        Self {
            store,
            clock,
            settings: Mutex::new(Arc::new(settings)),
            woken: Notify::new(),
            stopping: AtomicBool::new(false),
            pause: Mutex::new(None),
            unsettled: Mutex::new(Vec::new()),
        }
    }

    /// To be called after a transaction that owed something: wakes the loop.
    pub fn wake(&self) {
        self.woken.notify_one();
    }

    /// Delivers as `settings` say from the next mail on, and tries a server that could not be reached at
    /// once.
    pub fn use_settings(&self, settings: Settings) {
        *lock(&self.settings) = Arc::new(settings);
        *lock(&self.pause) = None;
        self.wake();
    }

    /// Whether all deliveries wait for the server, and why.
    #[must_use]
    pub fn paused(&self) -> Option<Pause> {
        lock(&self.pause).clone()
    }

    /// Ends [`Outbox::run`] once the mails in hand have been answered and that is written down. What is
    /// not yet begun stays owed.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Delivers until [`Outbox::stop`].
    pub async fn run(&self) {
        while !self.stopping.load(Ordering::SeqCst) {
            // A wake-up from here on is kept by `woken`, also one that comes while `step` looks.
            let next = match self.step().await {
                Ok(next) => next,
                Err(error) => {
                    error!(%error, "what became of mails cannot be written down; no other is sent before it is");
                    Some(later(self.clock.now(), STORE_RETRY))
                }
            };
            let wait = next.map_or(LOOK_EVERY, |next| until(self.clock.now(), next).min(LOOK_EVERY));
            tokio::select! {
                () = self.woken.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
        if let Err(error) = self.settle().await {
            error!(%error, "what became of the last mails cannot be written down; they will be sent again");
        }
    }

    /// Tries everything that is due, and says when to come again; a time past says that more is due.
    /// `None`: when something new is owed.
    ///
    /// # Errors
    /// What the store says. Nothing is forgotten then; the next step begins with writing it down.
    pub async fn step(&self) -> Result<Option<Timestamp>, StoreError> {
        self.settle().await?;
        let now = self.clock.now();
        let pause = self.paused();
        if let Some(pause) = pause.as_ref().filter(|pause| now < pause.until) {
            return Ok(Some(pause.until));
        }
        // One mail finds out whether the server is back.
        let limit = if pause.is_some() { 1 } else { BATCH };
        let due =
            self.ask(move |store| store.read(|tx| tx.due_deliveries(now.as_millisecond(), limit))).await?;
        let settings = Arc::clone(&lock(&self.settings));
        let queue = Mutex::new(VecDeque::from(due));
        let lane = || self.lane(&queue, &settings);
        // There are as many of these as `LANES` says; one that finds the queue empty ends at once.
        let done: [Result<(), StoreError>; LANES] = tokio::join!(lane(), lane(), lane(), lane()).into();
        done.into_iter().collect::<Result<(), _>>()?;
        if let Some(pause) = self.paused() {
            return Ok(Some(pause.until));
        }
        let next = self.ask(|store| store.read(|tx| tx.next_delivery())).await?;
        Ok(next.and_then(|at| Timestamp::from_millisecond(at).ok()))
    }

    /// Takes deliveries from `queue` one after the other, until it is empty or going on is of no use.
    async fn lane(&self, queue: &Mutex<VecDeque<i64>>, settings: &Settings) -> Result<(), StoreError> {
        let mut carrier = Carrier::new(&settings.transport);
        let mut result = Ok(());
        while let Some(id) = self.next(queue) {
            result = self.deliver(id, settings, &mut carrier).await;
            if result.is_err() {
                // The other lanes have no luck with the store either.
                lock(queue).clear();
            }
        }
        carrier.close().await;
        result
    }

    fn next(&self, queue: &Mutex<VecDeque<i64>>) -> Option<i64> {
        let now = self.clock.now();
        let pausing = lock(&self.pause).as_ref().is_some_and(|pause| now < pause.until);
        if pausing || self.stopping.load(Ordering::SeqCst) { None } else { lock(queue).pop_front() }
    }

    /// One try of one delivery.
    async fn deliver(
        &self,
        id: i64,
        settings: &Settings,
        carrier: &mut Carrier<'_>,
    ) -> Result<(), StoreError> {
        let Some(delivery) = self.ask(move |store| store.read(|tx| tx.waiting_delivery(id))).await? else {
            return Ok(());
        };
        let refused = |why: String| Outcome::Refused { permanent: true, answer: format!("not sent: {why}") };
        let (outcome, trouble) = match delivery.notice() {
            Err(error) => (refused(error.to_string()), false),
            Ok(notice) => {
                let (to, id) = (&delivery.recipient, &delivery.message_id);
                let told = matches!(notice, Notice::Trouble { .. } | Notice::SignIn { .. });
                let outcome = match self.with_link(notice, &delivery, settings).await? {
                    None => refused("nobody waits for this link any more".to_owned()),
                    Some(notice) => match compose(&notice, to, id, delivery.created_at, settings) {
                        Ok(message) => carrier.carry(&message).await,
                        Err(error) => refused(error.to_string()),
                    },
                };
                (outcome, told)
            }
        };
        match &outcome {
            Outcome::Unreachable(reason) => self.pause_for(reason),
            Outcome::Sent(_) | Outcome::Refused { .. } => self.end_pause(),
        }
        lock(&self.unsettled).push(Settlement { delivery, outcome, trouble });
        self.settle().await
    }

    /// The notice, with its link where it is to have one: made now, good from now on, and known to the store by
    /// its fingerprint alone. `None`: whoever asked for it has long gone away.
    async fn with_link(
        &self,
        notice: Notice,
        delivery: &Delivery,
        settings: &Settings,
    ) -> Result<Option<Notice>, StoreError> {
        let Notice::SignIn { next, minutes, .. } = notice else { return Ok(Some(notice)) };
        let (now, age) = (self.clock.now().as_millisecond(), minutes * 60_000);
        if now > delivery.created_at.saturating_add(age) {
            return Ok(None);
        }
        let secret = new_secret();
        let (hash, mail) = (fingerprint(&secret), delivery.recipient.clone());
        self.ask(move |store| store.write(|tx| tx.add_sign_in_link(&hash, &mail, now + age))).await?;
        let next = match next.as_str() {
            "" => String::new(),
            next => format!("?next={}", plain::encoded(next.as_bytes())),
        };
        Ok(Some(Notice::SignIn {
            link: settings.page(&format!("/sign_in/{secret}{next}")),
            next: String::new(),
            minutes,
        }))
    }

    /// Writes down what became of mails, all of it or nothing.
    async fn settle(&self) -> Result<(), StoreError> {
        let settlements = std::mem::take(&mut *lock(&self.unsettled));
        if settlements.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let settings = Arc::clone(&lock(&self.settings));
        let (settlements, written) = self
            .ask(move |store| {
                let each = |tx: &Tx<'_>| settlements.iter().try_for_each(|s| s.write(tx, &settings, now));
                let written = store.write(each);
                (settlements, written)
            })
            .await;
        match written {
            Ok(()) => {
                settlements.iter().for_each(Settlement::log);
                Ok(())
            }
            Err(error) => {
                lock(&self.unsettled).extend(settlements);
                Err(error)
            }
        }
    }

    /// Has all deliveries wait. Lanes that find the same at the same time count as one.
    fn pause_for(&self, reason: &str) {
        let now = self.clock.now();
        let mut pause = lock(&self.pause);
        if pause.as_ref().is_some_and(|pause| now < pause.until) {
            return;
        }
        let (since, tries) = pause.as_ref().map_or((now, 0), |pause| (pause.since, pause.tries));
        let wait = backoff(PAUSE_FIRST, PAUSE_MAX, tries, chance());
        let reason = without_addresses(reason, "");
        warn!(reason, tries = tries + 1, wait_s = wait.as_secs(), "mails wait: the server cannot be reached");
        *pause = Some(Pause { since, until: later(now, wait), reason, tries: tries + 1 });
    }

    /// The server spoke with us. A lane that is late with good news does not end a pause of just now.
    fn end_pause(&self) {
        let now = self.clock.now();
        let mut pause = lock(&self.pause);
        if let Some(ended) = pause.take_if(|pause| pause.until <= now) {
            info!(waited_s = until(ended.since, now).as_secs(), "the mail server can be reached again");
        }
    }

    /// Asks the store from a thread that may block.
    async fn ask<T: Send + 'static>(&self, work: impl FnOnce(&Store) -> T + Send + 'static) -> T {
        let store = self.store.clone();
        let asked = tokio::task::spawn_blocking(move || work(&store)).await;
        asked.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
    }
}

impl Settlement {
    fn write(&self, tx: &Tx<'_>, settings: &Settings, now: Timestamp) -> Result<(), StoreError> {
        let (id, at) = (self.delivery.id, now.as_millisecond());
        match &self.outcome {
            Outcome::Sent(answer) => tx.finish_delivery(id, DeliveryState::Sent, answer, at),
            // It is due as soon as the pause ends, but after those that were due before: if it should be
            // this mail that the server cannot bear, others still get through.
            Outcome::Unreachable(reason) => tx.put_off_delivery(id, false, reason, at),
            Outcome::Refused { answer, .. } if !self.is_given_up() => {
                let wait = backoff(RETRY_FIRST, RETRY_MAX, self.delivery.attempts, chance());
                tx.put_off_delivery(id, true, answer, later(now, wait).as_millisecond())
            }
            Outcome::Refused { answer, .. } => {
                tx.finish_delivery(id, DeliveryState::GivenUp, answer, at)?;
                self.tell_default_contact(tx, answer, settings, now)
            }
        }
    }

    fn is_given_up(&self) -> bool {
        match self.outcome {
            Outcome::Refused { permanent, .. } => permanent || self.delivery.attempts + 1 >= MAX_ATTEMPTS,
            Outcome::Sent(_) | Outcome::Unreachable(_) => false,
        }
    }

    /// Once a day for each person whose mails fail. Trouble with a mail about trouble ends here.
    fn tell_default_contact(
        &self,
        tx: &Tx<'_>,
        answer: &str,
        settings: &Settings,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let Some(contact) = settings.default_contact.as_ref().filter(|_| !self.trouble) else {
            return Ok(());
        };
        let mark = format!("undeliverable {} {}", now.strftime("%Y-%m-%d"), self.delivery.recipient);
        let about = self.delivery.fault.map_or(String::new(), |fault| {
            let page = settings.page(&format!("/faults/{fault}"));
            format!("\n{page} shows it and all its deliveries.\n")
        });
        let notice = Notice::Trouble {
            subject: "a mail could not be delivered".to_owned(),
            text: format!(
                "A mail about a failing line could not be delivered to the person it was for, and was given \
                 up after {tries}.\n{about}\nThe last answer was:\n  {answer}\n\nOther mails to the same \
                 person that fail today are not told of one by one.",
                tries = if self.delivery.attempts == 0 {
                    "one try".to_owned()
                } else {
                    format!("{} tries", self.delivery.attempts + 1)
                },
                answer = without_addresses(answer, ""),
            ),
        };
        let message_id = new_message_id(&settings.from);
        tx.owe(None, &mark, contact, &message_id, &notice, now.as_millisecond())?;
        Ok(())
    }

    /// Says what was written down. Addresses stay out of the log, so answers do.
    fn log(&self) {
        let (delivery, fault) = (self.delivery.id, self.delivery.fault);
        let outcome = match &self.outcome {
            Outcome::Sent(_) => "sent",
            Outcome::Unreachable(_) => "unreachable",
            Outcome::Refused { .. } if self.is_given_up() => "given-up",
            Outcome::Refused { .. } => "put-off",
        };
        METRICS.mails.with_label_values(&[outcome]).inc();
        match &self.outcome {
            Outcome::Sent(_) => info!(delivery, fault, "mail sent"),
            Outcome::Unreachable(_) => {}
            Outcome::Refused { answer, .. } => {
                let answer = without_addresses(answer, "");
                if self.is_given_up() {
                    warn!(delivery, fault, answer, "mail given up");
                } else {
                    info!(
                        delivery,
                        fault,
                        answer,
                        tries = self.delivery.attempts + 1,
                        "mail refused for now"
                    );
                }
            }
        }
    }
}

/// The wait after `tries` earlier ones: doubling from `first` to `max`, and up to a tenth less by `chance`
/// (from 0 to 1), so that what failed together does not come again together.
fn backoff(first: Duration, max: Duration, tries: u32, chance: f64) -> Duration {
    let doubled = first.saturating_mul(1_u32.checked_shl(tries).unwrap_or(u32::MAX));
    doubled.min(max).mul_f64(1.0 - chance.clamp(0.0, 1.0) / 10.0)
}

fn later(now: Timestamp, wait: Duration) -> Timestamp {
    SignedDuration::try_from(wait).ok().and_then(|wait| now.checked_add(wait).ok()).unwrap_or(Timestamp::MAX)
}

/// From `now` to `then`; nothing where that is past.
fn until(now: Timestamp, then: Timestamp) -> Duration {
    then.duration_since(now).try_into().unwrap_or_default()
}

/// What these hold is whole at every moment, so a panic elsewhere is no reason to stop.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_to_a_limit_and_are_spread() {
        let wait = |tries, chance| backoff(RETRY_FIRST, RETRY_MAX, tries, chance).as_secs();
        assert_eq!((wait(0, 0.0), wait(1, 0.0), wait(7, 0.0)), (120, 240, 15_360));
        assert_eq!((wait(8, 0.0), wait(31, 0.0), wait(1_000, 0.0)), (21_600, 21_600, 21_600));
        assert_eq!((wait(0, 1.0), wait(0, 0.5), wait(0, 7.0)), (108, 114, 108));
    }

    #[test]
    fn a_mail_is_tried_for_about_five_days() {
        let days = |chance| {
            let waits = (0..MAX_ATTEMPTS - 1).map(|tries| backoff(RETRY_FIRST, RETRY_MAX, tries, chance));
            waits.sum::<Duration>().as_secs_f64() / 86_400.0
        };
        assert!((4.5..5.5).contains(&days(0.0)), "{}", days(0.0));
        assert!((4.5..5.5).contains(&days(1.0)), "{}", days(1.0));
    }
}

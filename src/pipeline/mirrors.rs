//! Keeps the mirrors of repositories that are elsewhere up to date: at the start, on a timer, when somebody
//! asks, when a report names a commit that is not there. Each has a task of its own, so that one that hangs keeps no other waiting.
//!
//! A fetch that fails is tried again, later and later, and told once to the default contact: a mirror that
//! has never been fetched at once, another when it has failed a few times. Blame goes on with what is there.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use lettre::message::Mailbox;
use tokio::sync::{Mutex, Notify, watch};

use crate::blame::Blamer;
use crate::blame::mirror::{FetchError, Mirror};
use crate::clock::Clock;
use crate::notify::new_message_id;
use crate::notify::notice::Notice;
use crate::store::{ProjectId, Store};

/// How long after a first failure a fetch is tried again; twice as long after each further one.
const FIRST_BACKOFF: Duration = Duration::from_secs(30);
/// The longest that a fetch is put off, unless the timer is slower.
const LONGEST_BACKOFF: Duration = Duration::from_secs(3600);
/// Failures in a row that are told of: a server may be restarted now and then.
const FAILURES_TOLD: u32 = 3;
/// How long a fetch under way may take to end when the daemon stops.
const GRACE: Duration = Duration::from_secs(4);
/// How often at most a mirror is fetched because a report names a commit that it has not.
const BETWEEN_MISSES: Duration = Duration::from_secs(60);
/// How long such a report waits for it.
const MISSING_WAIT: Duration = Duration::from_secs(30);
/// Where in a mirror it stands when it was fetched, in milliseconds since 1970 UTC.
const STAMP: &str = "blamed-fetched";

/// How mirrors are fetched.
#[derive(Debug, Clone)]
pub struct MirrorSettings {
    /// How long from one fetch to the next.
    pub every: Duration,
    /// How long one fetch may take.
    pub timeout: Duration,
    /// Who mails are from.
    pub sender: Mailbox,
    /// Who is told of a mirror that cannot be fetched. `None`: nobody, the log says it.
    pub default_contact: Option<String>,
    /// Is shown how far the first fetch of a repository is: its name, and git's words; none once it has ended.
    pub progress: Option<Progress>,
}

/// Shows progress.
#[derive(Clone)]
pub struct Progress(pub Arc<Show>);

/// Called with a repository's name, and words or none.
type Show = dyn Fn(&str, Option<&str>) + Send + Sync;

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}

/// How it stands with a mirror.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MirrorState {
    /// When it was last fetched. `None`: never.
    pub fetched_at: Option<Timestamp>,
    /// Why the last fetch failed, if it did. Holds no secrets.
    pub error: Option<String>,
    /// Failures since it was last fetched.
    pub failures: u32,
    /// Fetches begun and ended since the start.
    begun: u64,
    ended: u64,
}

/// The mirrors of a daemon. Clones are one and the same.
#[derive(Clone)]
pub struct Mirrors(Arc<Inner>);

struct Inner {
    kept: Vec<Kept>,
    settings: MirrorSettings,
    store: Store,
    blamer: Blamer,
    clock: Clock,
    stop: Arc<AtomicBool>,
    /// Called when a mail is owed.
    owed: Box<dyn Fn() + Send + Sync>,
}

struct Kept {
    mirror: Arc<Mirror>,
    projects: Vec<ProjectId>,
    asked: Notify,
    state: watch::Sender<MirrorState>,
    /// When it was last fetched for want of a commit; held while it is.
    missed: Mutex<Option<Instant>>,
}

impl Mirrors {
    /// The mirrors, each with the projects whose code it is; nothing is fetched before [`Mirrors::begin`].
    /// `owed` is called whenever a mail is owed.
    #[must_use]
    pub fn new(
        mirrors: Vec<(Mirror, Vec<ProjectId>)>,
        settings: MirrorSettings,
        (store, blamer, clock): (Store, Blamer, Clock),
        owed: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        let kept = mirrors.into_iter().map(|(mirror, projects)| {
            let state = MirrorState { fetched_at: fetched_at(&mirror.folder), ..MirrorState::default() };
            Kept {
                mirror: Arc::new(mirror),
                projects,
                asked: Notify::new(),
                state: watch::Sender::new(state),
                missed: Mutex::default(),
            }
        });
        let (kept, stop) = (kept.collect(), Arc::default());
        Self(Arc::new(Inner { kept, settings, store, blamer, clock, stop, owed: Box::new(owed) }))
    }

    /// Fetches each now and from time to time. `fetched` is called after each fetch that succeeded where the
    /// one before had not: there is something to read.
    pub fn begin(&self, fetched: impl Fn() + Clone + Send + Sync + 'static) {
        for at in 0..self.0.kept.len() {
            tokio::spawn(self.clone().keep(at, fetched.clone()));
        }
    }

    /// Has all fetched at once.
    pub fn fetch_all(&self) {
        self.0.kept.iter().for_each(|kept| kept.asked.notify_one());
    }

    /// Has a repository of `project` fetched, and waits for at most `wait` until a fetch that began after this
    /// was called has ended. `None`: the project has no repository of that name that is fetched. `Some(None)`:
    /// it is not done yet.
    pub async fn fetch(&self, project: ProjectId, name: &str, wait: Duration) -> Option<Option<MirrorState>> {
        let fits = |kept: &&Kept| kept.mirror.name == name && kept.projects.contains(&project);
        let kept = self.0.kept.iter().find(fits)?;
        let mut state = kept.state.subscribe();
        let begun = state.borrow().begun;
        kept.asked.notify_one();
        let done = tokio::time::timeout(wait, state.wait_for(|state| state.ended > begun)).await;
        Some(done.ok().and_then(|done| Some(done.ok()?.clone())))
    }

    /// Fetches a repository that lacks a commit which a report names, unless that was just done or does not
    /// work. True where another look is worth it.
    pub(super) async fn fetch_missing(&self, project: ProjectId, name: &str) -> bool {
        let asked = Instant::now();
        let Some(kept) = self.0.kept.iter().find(|kept| kept.mirror.name == name) else { return false };
        let mut missed = kept.missed.lock().await;
        match *missed {
            // It was done for another report meanwhile.
            Some(at) if at > asked => return true,
            Some(at) if at.elapsed() < BETWEEN_MISSES => return false,
            _ if kept.state.borrow().failures > 0 => return false,
            _ => {}
        }
        let done = self.fetch(project, name, MISSING_WAIT).await;
        *missed = Some(Instant::now());
        matches!(done, Some(Some(state)) if state.error.is_none())
    }

    /// How it stands with each, by name.
    pub fn states(&self) -> impl Iterator<Item = (&str, MirrorState)> {
        self.0.kept.iter().map(|kept| (kept.mirror.name.as_str(), kept.state.borrow().clone()))
    }

    /// Begins nothing more, and waits until what is under way has been ended.
    pub async fn stop(&self) {
        self.0.stop.store(true, Ordering::Relaxed);
        self.fetch_all();
        let ended = async {
            for kept in &self.0.kept {
                // An error says that nobody fetches any more.
                let _ = kept.state.subscribe().wait_for(|state| state.begun == state.ended).await;
            }
        };
        // Git that cannot even be killed is left to the system.
        let _ = tokio::time::timeout(GRACE, ended).await;
    }

    async fn keep(self, at: usize, fetched: impl Fn() + Send + Sync) {
        let (inner, kept) = (&self.0, &self.0.kept[at]);
        while !inner.stop.load(Ordering::Relaxed) {
            kept.state.send_modify(|state| state.begun += 1);
            let failures = self.fetch_now(kept, &fetched).await;
            kept.state.send_modify(|state| state.ended = state.begun);
            let wait = match failures {
                0 => inner.settings.every,
                failures => {
                    let doubled = FIRST_BACKOFF.saturating_mul(1 << (failures - 1).min(10));
                    doubled.min(LONGEST_BACKOFF.max(inner.settings.every))
                }
            };
            tokio::select! {
                () = kept.asked.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    /// Fetches one, and says how often that has failed in a row by now.
    async fn fetch_now(&self, kept: &Kept, news: &(impl Fn() + Sync)) -> u32 {
        let inner = &self.0;
        let repository = kept.mirror.name.as_str();
        let before = kept.state.borrow().clone();
        if before.fetched_at.is_none() && before.failures == 0 {
            tracing::info!(repository, url = %kept.mirror.url, "fetching a repository for the first time");
        }
        let begun = Instant::now();
        let (mirror, timeout, stop) =
            (Arc::clone(&kept.mirror), inner.settings.timeout, Arc::clone(&inner.stop));
        let progress = inner.settings.progress.clone().filter(|_| before.fetched_at.is_none());
        let fetch = move || {
            let Some(Progress(show)) = progress else { return mirror.fetch(timeout, &stop, None) };
            let fetched = mirror.fetch(timeout, &stop, Some(&mut |words| show(&mirror.name, Some(words))));
            show(&mirror.name, None);
            fetched
        };
        let fetched = tokio::task::spawn_blocking(fetch).await;
        let error = match fetched {
            Ok(Ok(())) => {
                if self.succeeded(kept, &before, begun.elapsed()).await {
                    news();
                }
                return 0;
            }
            Ok(Err(FetchError::Stopped)) => return before.failures,
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("fetching {} failed here, which is our mistake", kept.mirror.url),
        };
        let failures = before.failures + 1;
        if failures == 1 || before.error.as_ref() != Some(&error) {
            tracing::warn!(repository, %error, "a repository cannot be fetched; blame goes on with what is there");
        }
        if failures == FAILURES_TOLD || before.fetched_at.is_none() {
            self.tell(kept, &before, &error).await;
        }
        kept.state.send_modify(|state| (state.failures, state.error) = (failures, Some(error)));
        failures
    }

    /// Notes a fetch; says whether what waited for it may be tried again.
    async fn succeeded(&self, kept: &Kept, before: &MirrorState, took: Duration) -> bool {
        let inner = &self.0;
        let (repository, millis) = (kept.mirror.name.as_str(), took.as_millis());
        if before.fetched_at.is_none() || before.failures > 0 {
            tracing::info!(repository, millis, "fetched");
        } else {
            tracing::debug!(repository, millis, "fetched");
        }
        let now = inner.clock.now();
        if let Err(error) = std::fs::write(kept.mirror.folder.join(STAMP), now.as_millisecond().to_string()) {
            tracing::info!(repository, %error, "when it was fetched cannot be noted; a restart will not know");
        }
        inner.blamer.changed(repository);
        kept.state.send_modify(|state| {
            (state.fetched_at, state.failures, state.error) = (Some(now), 0, None);
        });
        // What could not be blamed for want of it need not wait any longer.
        let is_news = before.fetched_at.is_none() || before.failures > 0;
        is_news && self.write(move |tx| tx.retry_parked(now.as_millisecond())).await
    }

    /// Tells the default contact, once since the last fetch that succeeded: also where the daemon was
    /// restarted meanwhile.
    async fn tell(&self, kept: &Kept, before: &MirrorState, error: &str) {
        let Some(contact) = self.0.settings.default_contact.clone() else { return };
        let Mirror { name, url, .. } = &*kept.mirror;
        let since = before.fetched_at.map_or("never".to_owned(), |at| at.as_millisecond().to_string());
        let mark = format!("fetch {name} {url} since {since}");
        let last = match before.fetched_at {
            Some(at) => format!("It was last fetched at {}.", at.strftime("%Y-%m-%d %H:%M UTC")),
            None => "It has never been fetched: reports that need it wait until it is.".to_owned(),
        };
        let notice = Notice::Trouble {
            subject: format!("the repository {name} cannot be fetched"),
            text: format!(
                "{error}\n\n{last} It is tried again, later and later; blame goes on with what is there. You \
                 are not told again before it has worked once. /healthz shows how it stands.\n\nTo try it as \
                 the daemon does, run as its user:\n  git ls-remote {url}\n"
            ),
        };
        let message_id = new_message_id(&self.0.settings.sender);
        let now = self.0.clock.now().as_millisecond();
        let owe = move |tx: &crate::store::Tx<'_>| {
            tx.owe(None, &mark, &contact, &message_id, &notice, now).map(drop)
        };
        if self.write(owe).await {
            (self.0.owed)();
        }
    }

    async fn write(
        &self,
        work: impl FnOnce(&crate::store::Tx<'_>) -> Result<(), crate::store::StoreError> + Send + 'static,
    ) -> bool {
        let store = self.0.store.clone();
        let written = tokio::task::spawn_blocking(move || store.write(work)).await;
        match written.expect("writing does not panic") {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "how it stands with a mirror cannot be stored");
                false
            }
        }
    }
}

/// When the mirror in `folder` was last fetched. `None`: never.
#[must_use]
pub fn fetched_at(folder: &Path) -> Option<Timestamp> {
    let text = std::fs::read_to_string(folder.join(STAMP)).ok()?;
    Timestamp::from_millisecond(text.trim().parse().ok()?).ok()
}

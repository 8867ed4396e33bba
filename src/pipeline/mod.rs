//! The line itself: the only module that knows all the steps between a decoded report and an owed mail.
//!
//! The order of events for one report:
//!
//! 1. [`survey`]: which revision ran, and which tracked file each frame is in. Reads git, off the async
//!    threads and outside of every transaction.
//! 2. [`ledger`]: one thread gathers what has arrived meanwhile and enters it in one transaction with one
//!    fsync. There each report is walked by the rules as they stand in that very transaction. A place that
//!    is known is counted and decided on at once; an unknown one is parked in the inbox.
//! 3. The client is answered: its report is on disk.
//! 4. [`blaming`]: parked places are blamed, a few at a time. The answers go to the ledger too, which makes
//!    the fault, counts what was parked, decides, and owes the mails, all in one transaction.
//!
//! Pitfalls: a report that waits for blame may be joined by thousands of equal ones, so what is decided on
//! is the inbox row as it stands in the deciding transaction, not as it was when blame began. And the rules
//! may change in between, so the walk is walked again then.

mod authors;
mod blaming;
mod explain;
mod keys;
mod ledger;
mod mirrors;
mod survey;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lettre::message::Mailbox;
use tokio::sync::{Notify, broadcast, mpsc, oneshot};

pub use self::authors::Authors;
pub use self::explain::{Explanation, explain};
pub use self::ledger::{Receipt, Standing};
pub use self::mirrors::{MirrorSettings, MirrorState, Mirrors, Progress, fetched_at};
pub use self::survey::{Survey, Surveyor};
use crate::blame::{BlameError, Blamer};
use crate::clock::Clock;
use crate::report::Report;
use crate::store::{Deploy, Fault, FoundPlace, ProjectId, Store, StoreError};
use crate::telemetry::metrics::METRICS;
use crate::triage::decide::Policy;
use crate::triage::verdict::Verdict;
use crate::triage::walk::CodePolicy;

/// Reports that may wait for the ledger; more are told to come back later.
const QUEUE: usize = 2_000;
/// Places whose decision may be announced and not yet heard by those who wait for one.
const ANNOUNCEMENTS: usize = 4_096;

/// A project as the pipeline knows it.
#[derive(Debug, Clone)]
pub struct Project {
    /// Its number.
    pub id: ProjectId,
    /// Its name.
    pub name: String,
    /// The names of its repositories.
    pub repositories: Vec<String>,
    /// Which of its code is never responsible.
    pub code: CodePolicy,
}

/// What the pipeline is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Who is told, and how addresses are formed.
    pub policy: Policy,
    /// Every project.
    pub projects: Vec<Project>,
    /// Samples kept of each fault, besides the first.
    pub samples: u32,
    /// Bytes of the disk that are to stay free: below, samples are no longer kept; below a quarter of it, no
    /// lines that are not known yet.
    pub spare_bytes: u64,
    /// Bytes of the database: beyond, samples are not kept until older ones are forgotten. `None`: no limit.
    pub database_bytes: Option<u64>,
    /// Who mails are from.
    pub sender: Mailbox,
}

/// Why a report could not be taken.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refusal {
    /// More reports wait than may.
    #[error("too many reports wait to be stored; try again in a moment")]
    Busy,
    /// The disk is full.
    #[error("the disk is full; the report was not stored; only lines that are known are still counted")]
    DiskFull,
    /// The store failed.
    #[error("the report could not be stored: {0}")]
    Store(String),
}

/// From a decoded report to an owed mail. Cheap to clone; all clones are one pipeline.
#[derive(Clone)]
pub struct Pipeline(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    world: Mutex<Arc<World>>,
    entries: mpsc::Sender<ledger::Entry>,
    decided: broadcast::Sender<Vec<u8>>,
    parked: Notify,
    /// Why the ledger's last transaction failed, if it did.
    trouble: Mutex<Option<Refusal>>,
}

/// What the configuration says of the world, and what asks it: of one piece, so that whoever works by it does
/// not see one half of an old one and one of a new.
struct World {
    surveyor: Surveyor,
    blamer: Blamer,
    mirrors: Mirrors,
    settings: Settings,
    projects: HashMap<ProjectId, Project>,
}

impl World {
    fn new((blamer, mirrors): (Blamer, Mirrors), settings: Settings) -> Arc<Self> {
        let projects = settings.projects.iter().map(|p| (p.id, p.clone())).collect();
        Arc::new(Self { surveyor: Surveyor::new(blamer.clone()), blamer, mirrors, settings, projects })
    }

    fn code(&self, project: ProjectId) -> &CodePolicy {
        static NONE: CodePolicy = CodePolicy { library: Vec::new(), only_blame: Vec::new() };
        self.projects.get(&project).map_or(&NONE, |project| &project.code)
    }
}

/// What is known of a report's place once it is decided.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The fault that it was counted for.
    pub fault: Fault,
    /// The line that failed, as it stands at the revision of this report. `None`: nobody's line.
    pub found: Option<FoundPlace>,
    /// One verdict per frame.
    pub verdicts: Vec<Verdict>,
}

impl Pipeline {
    /// Starts the ledger's thread and the blaming task; they end when `stop` is told and all that was
    /// accepted is entered. `owed` is called whenever mails were owed.
    #[must_use]
    pub fn start(
        store: Store,
        sources: (Blamer, Mirrors),
        clock: Clock,
        settings: Settings,
        owed: impl Fn() + Send + 'static,
    ) -> (Self, Running) {
        let (entries, queue) = mpsc::channel(QUEUE);
        let (decided, _) = broadcast::channel(ANNOUNCEMENTS);
        let pipeline = Self(Arc::new(Inner {
            store,
            clock,
            world: Mutex::new(World::new(sources, settings)),
            entries,
            decided,
            parked: Notify::new(),
            trouble: Mutex::new(None),
        }));
        let (stop, stopped) = oneshot::channel();
        let ledger = ledger::Ledger::new(&pipeline.0, Box::new(owed));
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || ledger.run(queue))
            .expect("a thread can be started when the daemon starts");
        let blaming = tokio::spawn(blaming::run(pipeline.clone(), stopped));
        (pipeline, Running { stop, ledger: thread, blaming })
    }

    /// Works by other settings, and asks others, from the next report and the next place on. What is under way
    /// ends as it began.
    pub fn use_settings(&self, sources: (Blamer, Mirrors), settings: Settings) {
        *self.0.world.lock().unwrap_or_else(PoisonError::into_inner) = World::new(sources, settings);
        self.look_again();
    }

    /// Takes the reports that came with one request of a project. When this answers, they are on disk.
    ///
    /// # Errors
    /// [`Refusal`]; then nothing of them is kept.
    pub async fn accept(&self, project: ProjectId, reports: Vec<Report>) -> Result<Vec<Receipt>, Refusal> {
        let slot = self.0.entries.try_reserve().map_err(|_| Refusal::Busy)?;
        let pipeline = self.clone();
        let survey = tokio::task::spawn_blocking(move || {
            reports.into_iter().map(|report| pipeline.survey(project, report)).collect()
        });
        let incoming = survey.await.map_err(|error| Refusal::Store(error.to_string()))?;
        let (answer, receipts) = oneshot::channel();
        let begun = Instant::now();
        slot.send(ledger::Entry::Reports { incoming, answer });
        let entered =
            receipts.await.unwrap_or_else(|_| Err(Refusal::Store("the ledger did not answer".to_owned())));
        let outcome = if entered.is_ok() { "taken" } else { "refused" };
        METRICS.ledger.with_label_values(&[outcome]).observe(begun.elapsed().as_secs_f64());
        for receipt in entered.iter().flatten() {
            METRICS.reports.with_label_values(&[receipt.standing.as_str()]).inc();
        }
        entered
    }

    /// Surveys a report. Blocks.
    fn survey(&self, project: ProjectId, mut report: Report) -> ledger::Incoming {
        report.count = report.count.clamp(1, MOST_OCCURRENCES);
        let world = self.0.world();
        let survey = match world.projects.get(&project) {
            Some(project) => {
                let now = self.0.clock.now().as_millisecond();
                let deployed = || survey::deploy_of(&self.0.store, project, &report, now);
                world.surveyor.survey(project, &report, deployed)
            }
            None => Err(BlameError::UnknownProject),
        };
        ledger::Incoming { id: random_id(), project, report, survey }
    }

    /// Waits until the report of `receipt` is decided on, for at most `patience`. `None`: it is not yet, or
    /// it was dropped.
    ///
    /// # Errors
    /// What the store says.
    pub async fn decided(&self, receipt: &Receipt, patience: Duration) -> Result<Option<Answer>, StoreError> {
        let key = match &receipt.standing {
            Standing::Counted { key } | Standing::Parked { key, .. } => key,
            Standing::Duplicate { key: Some(key), .. } => key,
            Standing::Duplicate { key: None, .. } | Standing::Dropped { .. } => return Ok(None),
        };
        let deadline = tokio::time::Instant::now() + patience;
        // Registered before the first look, so that no announcement falls between.
        let mut announcements = self.0.decided.subscribe();
        loop {
            if let Some(answer) = self.look(key.clone(), receipt.verdicts.clone()).await? {
                return Ok(Some(answer));
            }
            loop {
                match tokio::time::timeout_at(deadline, announcements.recv()).await {
                    Err(_) | Ok(Err(broadcast::error::RecvError::Closed)) => return Ok(None),
                    Ok(Ok(announced)) if announced != *key => {}
                    // Having missed some, it may have missed its own.
                    Ok(Ok(_) | Err(broadcast::error::RecvError::Lagged(_))) => break,
                }
            }
        }
    }

    async fn look(&self, key: Vec<u8>, verdicts: Vec<Verdict>) -> Result<Option<Answer>, StoreError> {
        self.read(move |tx| {
            // A place may be known and wait all the same, while its repository is away.
            let waits = tx.is_parked(&key)?;
            let Some(fault) = tx.fault_of_place(&key)?.filter(|_| !waits) else { return Ok(None) };
            let Some(fault) = tx.fault(fault)? else { return Ok(None) };
            let verdicts = if verdicts.is_empty() {
                tx.occurrences(fault.id)?.into_iter().next().map(|o| o.verdicts).unwrap_or_default()
            } else {
                verdicts
            };
            Ok(Some(Answer { fault, found: tx.found_place(&key)?, verdicts }))
        })
        .await
    }

    /// Whether a project is configured: the store also knows those that were.
    #[must_use]
    pub fn has_project(&self, project: ProjectId) -> bool {
        self.0.world().projects.contains_key(&project)
    }

    /// Keeps a deploy; says whether a repository of the project has its revision yet.
    ///
    /// # Errors
    /// What the store says.
    pub async fn announce(&self, project: ProjectId, deploy: Deploy) -> Result<bool, StoreError> {
        let pipeline = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            pipeline.0.store.write(|tx| tx.add_deploy(project, &deploy))?;
            let world = pipeline.0.world();
            let repositories = world.projects.get(&project).map(|project| &project.repositories);
            let has = |name: &String| world.blamer.parse_revision(name, &deploy.revision).is_ok();
            Ok(repositories.into_iter().flatten().any(has))
        });
        task.await.expect("announcing does not panic")
    }

    /// Whether reports can be taken, and how many places wait for blame with the first's last error.
    ///
    /// # Errors
    /// What the store says, or that the ledger has stopped.
    pub async fn health(&self) -> Result<(u64, Option<String>), Refusal> {
        if self.0.entries.is_closed() {
            return Err(Refusal::Store("the ledger has stopped".to_owned()));
        }
        let store = self.0.store.clone();
        // Where the last transaction failed, an empty one tells whether the next would.
        let troubled = self.0.trouble().is_some();
        let summary = tokio::task::spawn_blocking(move || {
            if troubled {
                store.try_room()?;
            }
            store.read(|tx| tx.parked_summary())
        });
        let summary = summary.await.expect("reading does not panic");
        *self.0.trouble() = summary.as_ref().err().map(Refusal::from);
        summary.map_err(|error| Refusal::from(&error))
    }

    /// Has places that wait looked at: some may be due by now.
    pub fn look_again(&self) {
        self.0.parked.notify_one();
    }

    /// The time by the pipeline's clock.
    #[must_use]
    pub fn now(&self) -> jiff::Timestamp {
        self.0.clock.now()
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&crate::store::Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.0.store.clone();
        tokio::task::spawn_blocking(move || store.read(work)).await.expect("reading does not panic")
    }
}

impl From<&StoreError> for Refusal {
    fn from(error: &StoreError) -> Self {
        if error.is_full() { Self::DiskFull } else { Self::Store(error.to_string()) }
    }
}

impl Inner {
    fn trouble(&self) -> MutexGuard<'_, Option<Refusal>> {
        // What is in it is whole at any moment, so poison is no news.
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn world(&self) -> Arc<World> {
        Arc::clone(&self.world.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A batch of a client never stands for more occurrences than this: counts stay far from overflow.
const MOST_OCCURRENCES: u64 = 1_000_000_000;

/// The tasks of a pipeline.
pub struct Running {
    stop: oneshot::Sender<()>,
    ledger: std::thread::JoinHandle<()>,
    blaming: tokio::task::JoinHandle<()>,
}

impl Running {
    /// Ends blaming, then waits until the ledger has entered all that was accepted. All other clones of the
    /// pipeline must be gone or idle.
    pub async fn stop(self, pipeline: Pipeline) {
        let _ = self.stop.send(());
        let _ = self.blaming.await;
        let _ = pipeline.0.entries.send(ledger::Entry::Stop).await;
        let _ = tokio::task::spawn_blocking(move || self.ledger.join()).await;
    }
}

/// 32 random hexadecimal digits.
#[must_use]
pub fn random_id() -> String {
    let mut bytes = [0u8; 16];
    getrandom::fill(&mut bytes).expect("the system has random numbers");
    hex(&bytes)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        use std::fmt::Write;
        let _ = write!(text, "{byte:02x}");
        text
    })
}

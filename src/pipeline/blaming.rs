//! Parked places are taken up here, a few at a time, and come back to the ledger with what git said.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tokio::task::{self, JoinError, JoinSet};

use super::Pipeline;
use super::ledger::{BlameOutcome, Blamed, Entry, Incoming};
use crate::blame::{Basis, BlameError};
use crate::report::Report;
use crate::store::{Parked, ProjectId, StoreError};
use crate::telemetry::metrics::METRICS;
use crate::triage::walk::{Outcome, walk};

/// Places under way at once. Blame has threads of its own; this is enough to keep them all busy.
const UNDER_WAY: usize = 64;
/// How long the loop sleeps where nothing tells it to wake up sooner.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);
/// How often a line whose history is too long is tried before it is decided on without an author.
const TRIES_WHEN_SLOW: u32 = 3;
/// The longest that a place is put off, unless its error says longer.
const LONGEST_BACKOFF: Duration = Duration::from_secs(600);
/// How long a place is put off whose report brought its task down.
const PANIC_BACKOFF: Duration = Duration::from_secs(600);
/// How long to wait after the store could not be read.
const STORE_BACKOFF: Duration = Duration::from_secs(5);

pub(super) async fn run(pipeline: Pipeline, mut stop: oneshot::Receiver<()>) {
    let mut under_way = UnderWay::default();
    loop {
        // Registered before looking, so that nothing parked after the look is missed.
        let mut woken = std::pin::pin!(pipeline.0.parked.notified());
        woken.as_mut().enable();
        let mut sleep = LONGEST_SLEEP;
        if under_way.keys.len() <= UNDER_WAY / 2 {
            match due(&pipeline, UNDER_WAY + under_way.keys.len()).await {
                Ok((places, next)) => {
                    places.into_iter().for_each(|place| under_way.begin(&pipeline, place));
                    sleep = next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
                }
                Err(error) => {
                    tracing::error!(%error, "the inbox cannot be read");
                    sleep = STORE_BACKOFF;
                }
            }
        }
        tokio::select! {
            biased;
            _ = &mut stop => break,
            Some(finished) = under_way.tasks.join_next_with_id(), if !under_way.tasks.is_empty() => {
                under_way.end(&pipeline, finished);
                while let Some(finished) = under_way.tasks.try_join_next_with_id() {
                    under_way.end(&pipeline, finished);
                }
            }
            () = woken => {}
            () = tokio::time::sleep(sleep) => {}
        }
    }
}

/// The places that are being taken up.
#[derive(Default)]
struct UnderWay {
    tasks: JoinSet<()>,
    /// Also those whose task has failed and that are to be put off.
    keys: HashSet<Vec<u8>>,
    of_task: HashMap<task::Id, Vec<u8>>,
}

impl UnderWay {
    fn begin(&mut self, pipeline: &Pipeline, place: Parked) {
        if self.keys.len() < UNDER_WAY && self.keys.insert(place.key.clone()) {
            let key = place.key.clone();
            let task = self.tasks.spawn(take_up(pipeline.clone(), place));
            self.of_task.insert(task.id(), key);
        }
    }

    fn end(&mut self, pipeline: &Pipeline, finished: Result<(task::Id, ()), JoinError>) {
        let (id, panicked) = match finished {
            Ok((id, ())) => (id, false),
            Err(error) => (error.id(), true),
        };
        let Some(key) = self.of_task.remove(&id) else { return };
        if panicked {
            // A mistake of ours, which comes again with the same report: not at once.
            tracing::error!("blaming a place failed");
            let task = self.tasks.spawn(put_off(
                pipeline.clone(),
                key.clone(),
                PANIC_BACKOFF,
                "it failed here".to_owned(),
            ));
            self.of_task.insert(task.id(), key);
        } else {
            self.keys.remove(&key);
        }
    }
}

/// The places whose time has come, and how long until the next one's.
async fn due(pipeline: &Pipeline, most: usize) -> Result<(Vec<Parked>, Option<Duration>), StoreError> {
    let now = pipeline.0.clock.now().as_millisecond();
    pipeline
        .read(move |tx| {
            let places = tx.due_parked(now, most)?;
            // The next one that is not due yet; those that are due are under way or woken for.
            let next = tx.next_parked(now)?;
            Ok((places, next.map(|at| Duration::from_millis((at - now).unsigned_abs().max(1)))))
        })
        .await
}

/// Finds out about one parked place and has it entered.
async fn take_up(pipeline: Pipeline, parked: Parked) {
    let key = parked.key.clone();
    let attempts = parked.attempts;
    match find_out(&pipeline, parked).await {
        Ok(blamed) => enter(&pipeline, key, BlameOutcome::Blamed(Box::new(blamed))).await,
        Err(error) => {
            let wait = backoff(&error, attempts);
            tracing::warn!(%error, attempts, wait_s = wait.as_secs(), "a place could not be blamed yet");
            put_off(pipeline, key, wait, error.to_string()).await;
        }
    }
}

async fn put_off(pipeline: Pipeline, key: Vec<u8>, wait: Duration, why: String) {
    let wait = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
    let next_at = pipeline.now().as_millisecond().saturating_add(wait);
    enter(&pipeline, key, BlameOutcome::PutOff { next_at, why }).await;
}

async fn enter(pipeline: &Pipeline, key: Vec<u8>, outcome: BlameOutcome) {
    let (entered, wait) = oneshot::channel();
    let entry = Entry::Parked { key, outcome, entered };
    if pipeline.0.entries.send(entry).await.is_ok() && wait.await.is_err() {
        // The store refused (and said so): not again at once.
        tokio::time::sleep(STORE_BACKOFF).await;
    }
}

/// # Errors
/// Those worth another try; one that would come again is an answer.
async fn find_out(pipeline: &Pipeline, parked: Parked) -> Result<Blamed, BlameError> {
    let project = parked.project;
    let report = parked.report.clone();
    let mut incoming = survey(pipeline, project, parked.report).await;
    if fetch_missing(pipeline, project, &incoming).await {
        incoming = survey(pipeline, project, report).await;
    }
    let incoming = Incoming { id: parked.report_id, ..incoming };
    let survey = incoming.survey.as_ref().map_err(Clone::clone)?;
    let rulebook = pipeline
        .read(|tx| tx.rulebook())
        .await
        .map_err(|error| BlameError::Repository { name: "store".to_owned(), reason: error.to_string() })?;
    let world = pipeline.0.world();
    let walked =
        walk(&incoming.report, &survey.mapped, &rulebook, world.code(project), pipeline.0.clock.now());
    let Outcome::Suspect(suspect) = walked.outcome else { return Ok(Blamed { incoming, answer: None }) };
    let begun = Instant::now();
    let blame = world.blamer.ask(survey.question(&incoming.report, &suspect)).await;
    let outcome = if blame.is_ok() { "answered" } else { "failed" };
    METRICS.blame.with_label_values(&[outcome]).observe(begun.elapsed().as_secs_f64());
    match blame {
        Err(error) if !is_final(&error, parked.attempts) => Err(error),
        blame => Ok(Blamed { incoming, answer: Some((suspect, blame)) }),
    }
}

async fn survey(pipeline: &Pipeline, project: ProjectId, report: Report) -> Incoming {
    let pipeline = pipeline.clone();
    let survey = tokio::task::spawn_blocking(move || pipeline.survey(project, report));
    survey.await.expect("a survey does not panic")
}

/// Has mirrors fetched where a report names a commit that none of its project's repositories has. True where
/// it may be there by now.
async fn fetch_missing(pipeline: &Pipeline, project: ProjectId, incoming: &Incoming) -> bool {
    let Ok(survey) = &incoming.survey else { return false };
    if survey.revisions.iter().any(|(_, resolved)| resolved.basis.is_named()) {
        return false;
    }
    let mirrors = pipeline.0.world().mirrors.clone();
    let mut fetched = false;
    for (name, resolved) in &survey.revisions {
        if resolved.basis == Basis::NamedButMissing {
            fetched |= mirrors.fetch_missing(project, name).await;
        }
    }
    fetched
}

fn is_final(error: &BlameError, attempts: u32) -> bool {
    match error {
        BlameError::NoPath { .. } | BlameError::NoLine { .. } => true,
        BlameError::TooSlow { .. } => attempts + 1 >= TRIES_WHEN_SLOW,
        _ => false,
    }
}

fn backoff(error: &BlameError, attempts: u32) -> Duration {
    let first = error.retry_after();
    let doubled = first.saturating_mul(1 << attempts.min(10));
    doubled.min(LONGEST_BACKOFF.max(first))
}

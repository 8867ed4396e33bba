//! The ledger: one thread, one transaction for all that has arrived meanwhile, one fsync, then all the
//! answers. Nothing else counts a fault or owes a mail about one.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot};

use super::keys::{identity, place_key, report_key};
use super::survey::Survey;
use super::{Inner, Refusal, World, hex};
use crate::blame::{Blame, BlameError, Place};
use crate::notify::new_message_id;
use crate::notify::notice::{FaultNotice, Notice};
use crate::report::Report;
use crate::store::{
    Fault, FaultId, FoundPlace, NewFault, Noted, Occurrence, ProjectId, Room, Store, StoreError, Tx,
    Whereabouts,
};
use crate::triage::decide::{Case, Decision, Mail, Policy, decide};
use crate::triage::rules::{KnownError, Rule, RuleId, Rulebook};
use crate::triage::verdict::Verdict;
use crate::triage::walk::{Outcome, Suspect, Walk, walk};

/// Entries that share one transaction at most: bounds how long the first of them waits.
const BATCH: usize = 500;

/// What the ledger is asked to enter.
pub(super) enum Entry {
    /// Reports that have just come in with one request: all or none of them.
    Reports { incoming: Vec<Incoming>, answer: oneshot::Sender<Result<Vec<Receipt>, Refusal>> },
    /// What has been found out about a parked place.
    Parked { key: Vec<u8>, outcome: BlameOutcome, entered: oneshot::Sender<()> },
    /// Enter what came before this, and end.
    Stop,
}

/// A report on its way into the ledger.
pub(super) struct Incoming {
    pub(super) id: String,
    pub(super) project: ProjectId,
    pub(super) report: Report,
    /// Where its frames are, or why that cannot be said now.
    pub(super) survey: Result<Survey, BlameError>,
}

/// What came of blaming a parked place.
pub(super) enum BlameOutcome {
    /// An answer.
    Blamed(Box<Blamed>),
    /// To be tried again: when, in milliseconds since 1970 UTC, and why.
    PutOff { next_at: i64, why: String },
}

/// A parked place, blamed.
pub(super) struct Blamed {
    /// The report that was walked. The parked row's may be a later one by now.
    pub(super) incoming: Incoming,
    /// The suspect that git was asked about, and what it said; an error here is final. `None` where the
    /// walk found no suspect.
    pub(super) answer: Option<(Suspect, Result<Arc<Blame>, BlameError>)>,
}

/// The answer to a report that is on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Receipt {
    /// The id that the report was given.
    pub id: String,
    /// What the walk said of its frames; empty where it has not been walked yet.
    pub verdicts: Vec<Verdict>,
    /// What became of it.
    pub standing: Standing,
}

/// What became of a report so far.
#[derive(Debug, Clone, PartialEq)]
pub enum Standing {
    /// Its place is known: it is counted.
    Counted {
        /// The place's key.
        key: Vec<u8>,
    },
    /// Its place waits for blame.
    Parked {
        /// The place's key.
        key: Vec<u8>,
        /// Whether others of that place wait already, with which it is decided.
        joins: bool,
    },
    /// A rule says that it is not to be counted.
    Dropped {
        /// The rule, in words.
        reason: String,
    },
    /// The client has sent this event before: it is not counted again.
    Duplicate {
        /// The id that the event was given then.
        of: String,
        /// The key of its place then. `None`: it was dropped.
        key: Option<Vec<u8>>,
    },
}

impl Standing {
    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Counted { .. } => "counted",
            Self::Parked { .. } => "parked",
            Self::Dropped { .. } => "dropped",
            Self::Duplicate { .. } => "duplicate",
        }
    }
}

pub(super) struct Ledger {
    pipeline: Weak<Inner>,
    owed: Box<dyn Fn() + Send>,
    rulebook: Rulebook,
}

/// What a transaction leads to once it is committed.
#[derive(Default)]
struct Done {
    /// One per entry; `None` for entries that are not reports.
    receipts: Vec<Option<Result<Vec<Receipt>, Refusal>>>,
    decided: Vec<Vec<u8>>,
    parked: bool,
    owed: bool,
    /// Faults of which a sample was kept: in a storm, one per transaction is enough.
    sampled: HashSet<FaultId>,
}

impl Ledger {
    pub(super) fn new(pipeline: &Arc<Inner>, owed: Box<dyn Fn() + Send>) -> Self {
        Self { pipeline: Arc::downgrade(pipeline), owed, rulebook: Rulebook::default() }
    }

    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Entry>) {
        let mut stopping = false;
        while !stopping {
            let Some(first) = queue.blocking_recv() else { return };
            let mut batch = vec![first];
            while batch.len() < BATCH
                && let Ok(entry) = queue.try_recv()
            {
                batch.push(entry);
            }
            if batch.iter().any(|entry| matches!(entry, Entry::Stop)) {
                // Nothing more is let in; what is in already is entered with this last batch.
                stopping = true;
                queue.close();
                while let Some(entry) = queue.blocking_recv() {
                    batch.push(entry);
                }
                batch.retain(|entry| !matches!(entry, Entry::Stop));
            }
            let Some(pipeline) = self.pipeline.upgrade() else { return };
            // A mistake of ours costs the batch at hand (nothing of it was acknowledged), not the daemon.
            let entered = catch_unwind(AssertUnwindSafe(|| self.enter(&pipeline, batch)));
            if entered.is_err() {
                tracing::error!("entering a batch of reports failed; they were refused");
            }
        }
    }

    /// Enters a batch in one transaction; where that fails, each entry in one of its own, so that a single
    /// bad one costs nobody else.
    fn enter(&mut self, pipeline: &Inner, batch: Vec<Entry>) {
        if batch.is_empty() {
            return;
        }
        match self.commit(pipeline, &batch) {
            Ok(done) => {
                *pipeline.trouble() = None;
                self.conclude(pipeline, batch, done);
            }
            Err(error) if batch.len() == 1 => {
                let refusal = Refusal::from(&error);
                // Told once: under a storm the log would be one more thing that fills the disk.
                if pipeline.trouble().replace(refusal.clone()).is_none() {
                    tracing::error!(%error, "reports cannot be stored; they are refused until they can");
                }
                for entry in batch {
                    if let Entry::Reports { answer, .. } = entry {
                        let _ = answer.send(Err(refusal.clone()));
                    }
                }
            }
            Err(error) => {
                tracing::debug!(%error, entries = batch.len(), "a batch could not be stored; trying one by one");
                for entry in batch {
                    self.enter(pipeline, vec![entry]);
                }
            }
        }
    }

    fn commit(&mut self, pipeline: &Inner, batch: &[Entry]) -> Result<Done, StoreError> {
        let (now, world) = (pipeline.clock.now(), pipeline.world());
        pipeline.store.write(|tx| {
            if tx.generation()? != self.rulebook.generation {
                self.rulebook = tx.rulebook()?;
            }
            let mut room = pipeline.store.room(world.settings.spare_bytes);
            // Where more comes in than can be forgotten meanwhile, samples are what is not missed.
            if world.settings.database_bytes.is_some_and(|most| tx.bytes().is_ok_and(|(_, used)| used > most))
            {
                room = room.max(Room::Tight);
            }
            let (store, rulebook, done) = (&pipeline.store, &self.rulebook, Done::default());
            let mut page = Page { tx, store, world: &world, rulebook, now, room, done };
            for entry in batch {
                let receipts = match entry {
                    Entry::Reports { incoming, .. } => Some(page.reports(incoming)?),
                    Entry::Parked { key, outcome: BlameOutcome::Blamed(blamed), .. } => {
                        page.blamed(key, blamed)?;
                        None
                    }
                    Entry::Parked { key, outcome: BlameOutcome::PutOff { next_at, why }, .. } => {
                        tx.put_off_parked(key, *next_at, why)?;
                        None
                    }
                    Entry::Stop => None,
                };
                page.done.receipts.push(receipts);
            }
            Ok(page.done)
        })
    }

    fn conclude(&self, pipeline: &Inner, batch: Vec<Entry>, done: Done) {
        for (entry, receipts) in batch.into_iter().zip(done.receipts) {
            match (entry, receipts) {
                (Entry::Reports { answer, .. }, Some(receipts)) => drop(answer.send(receipts)),
                (Entry::Parked { entered, .. }, _) => drop(entered.send(())),
                _ => {}
            }
        }
        for key in done.decided {
            // Nobody may be waiting.
            let _ = pipeline.decided.send(key);
        }
        if done.parked {
            pipeline.parked.notify_one();
        }
        if done.owed {
            (self.owed)();
        }
    }
}

/// One transaction of the ledger, being written.
struct Page<'a> {
    tx: &'a Tx<'a>,
    store: &'a Store,
    world: &'a World,
    rulebook: &'a Rulebook,
    now: Timestamp,
    room: Room,
    done: Done,
}

/// Occurrences to be counted for a fault, and the report that stands for them.
struct Occurrences<'a> {
    incoming: &'a Incoming,
    /// What is responsible, or why nothing is.
    suspect: Result<&'a Suspect, &'a str>,
    verdicts: &'a [Verdict],
    count: u64,
    threshold: Option<u64>,
}

impl Page<'_> {
    /// Enters what came with one request. Where the disk has no room for lines that are not known yet, and
    /// there is one among them, all of it is refused: a client cannot be told that a part was taken.
    fn reports(&mut self, incoming: &[Incoming]) -> Result<Result<Vec<Receipt>, Refusal>, StoreError> {
        let (tx, is_full) = (self.tx, self.room == Room::Full);
        let mut enter = || incoming.iter().map(|incoming| self.report(incoming)).collect::<Result<_, _>>();
        match if is_full { tx.attempt(enter) } else { enter() } {
            Err(StoreError::Full { .. }) => Ok(Err(Refusal::DiskFull)),
            entered => entered.map(Ok),
        }
    }

    fn report(&mut self, incoming: &Incoming) -> Result<Receipt, StoreError> {
        let Incoming { project, report, survey, .. } = incoming;
        let Ok(survey) = survey else {
            let key = report_key(*project, "unsurveyed", report);
            let standing = self.unless_seen(incoming, Some(&key), |page| page.park(key.clone(), incoming))?;
            return Ok(receipt(incoming, Vec::new(), standing));
        };
        let code = self.world.code(*project);
        let Walk { verdicts, outcome } = walk(report, &survey.mapped, self.rulebook, code, self.now);
        let standing = match &outcome {
            Outcome::Dropped { rule, reason } => self.unless_seen(incoming, None, |page| {
                page.tx.hit_rule(*rule, report.count, page.now.as_millisecond())?;
                Ok(Standing::Dropped { reason: reason.clone() })
            }),
            Outcome::Suspect(suspect) => {
                let key = place_key(*project, report, survey, suspect);
                self.unless_seen(incoming, Some(&key), |page| match page.tx.fault_of_place(&key)? {
                    None => page.park(key.clone(), incoming),
                    Some(fault) => {
                        let (count, threshold) = (report.count, report.threshold);
                        let suspect = Ok(suspect);
                        let verdicts = &verdicts;
                        page.count(fault, &Occurrences { incoming, suspect, verdicts, count, threshold })?;
                        Ok(Standing::Counted { key: key.clone() })
                    }
                })
            }
            Outcome::Nobody(why) => {
                let key = report_key(*project, "nobody", report);
                self.unless_seen(incoming, Some(&key), |page| {
                    page.nobody(&key, incoming, (&verdicts, why), report.count, report.threshold)?;
                    Ok(Standing::Counted { key: key.clone() })
                })
            }
        }?;
        Ok(receipt(incoming, verdicts, standing))
    }

    /// Enters a report, unless its client has sent the same event before. `key` is its place's, if it has one.
    fn unless_seen(
        &mut self,
        incoming: &Incoming,
        key: Option<&[u8]>,
        enter: impl FnOnce(&mut Self) -> Result<Standing, StoreError>,
    ) -> Result<Standing, StoreError> {
        let Incoming { id, project, report, .. } = incoming;
        if let Some(client_id) = &report.client_id {
            let now = self.now.as_millisecond();
            if let Some(Noted { report_id, key }) =
                self.tx.note_client_id(*project, client_id, id, key, now)?
            {
                return Ok(Standing::Duplicate { of: report_id, key });
            }
        }
        enter(self)
    }

    fn park(&mut self, key: Vec<u8>, incoming: &Incoming) -> Result<Standing, StoreError> {
        let now = self.now.as_millisecond();
        let joins = self.tx.is_parked(&key)?;
        if self.room == Room::Full && !joins {
            return Err(self.store.no_room());
        }
        self.tx.park(&key, incoming.project, &incoming.id, &incoming.report, now)?;
        self.done.parked = true;
        Ok(Standing::Parked { key, joins })
    }

    /// Enters what was found out about a parked place.
    fn blamed(&mut self, key: &[u8], blamed: &Blamed) -> Result<(), StoreError> {
        let Blamed { incoming, answer } = blamed;
        let Incoming { project, report, .. } = incoming;
        let (Some(parked), Ok(survey)) = (self.tx.parked(key)?, &incoming.survey) else { return Ok(()) };
        // By the rules as they are now: they may have changed while git was asked.
        let walked = walk(report, &survey.mapped, self.rulebook, self.world.code(*project), self.now);
        match (&walked.outcome, answer) {
            (Outcome::Dropped { rule, .. }, _) => {
                self.tx.hit_rule(*rule, parked.count, self.now.as_millisecond())?;
            }
            (Outcome::Nobody(why), _) => {
                self.nobody(key, incoming, (&walked.verdicts, why), parked.count, parked.threshold)?;
            }
            (Outcome::Suspect(suspect), Some((asked, answer)))
                if (suspect.exception, suspect.frame) == (asked.exception, asked.frame) =>
            {
                let blame = answer.as_deref().ok();
                let failure = answer.as_ref().err().map(ToString::to_string);
                let revision = survey.revision(&suspect.file);
                let place = blame.map(|blame| blame.place.clone()).or_else(|| {
                    Some(Place {
                        repository: suspect.file.repository.clone(),
                        revision: revision?.commit.clone(),
                        path: suspect.file.path.clone(),
                        line: suspect.line,
                    })
                });
                let thrown = report.headline();
                let fault = self.tx.ensure_fault(
                    *project,
                    NewFault {
                        identity: &identity(suspect, blame),
                        place: place.as_ref(),
                        function: suspect.function.as_deref(),
                        code: suspect.text.as_deref(),
                        blame,
                        blame_failure: failure.as_deref(),
                        exception_type: thrown.and_then(|e| e.kind.as_deref()),
                        exception_message: thrown.and_then(|e| e.message.as_deref()),
                        first_seen: parked.first_at,
                    },
                )?;
                let confidence = blame.map(|blame| blame.confidence.clone());
                let found = place.map(|place| FoundPlace { place, confidence });
                self.tx.note_place(key, fault, found.as_ref())?;
                self.count(
                    fault,
                    &Occurrences {
                        incoming,
                        suspect: Ok(suspect),
                        verdicts: &walked.verdicts,
                        count: parked.count,
                        threshold: parked.threshold,
                    },
                )?;
            }
            // The rules now point elsewhere: it stays parked, and git is asked about that line.
            (Outcome::Suspect(_), _) => {
                self.done.parked = true;
                return Ok(());
            }
        }
        self.tx.unpark(key)?;
        self.done.decided.push(key.to_vec());
        Ok(())
    }

    /// Counts a report that is nobody's line, and why it is.
    fn nobody(
        &mut self,
        key: &[u8],
        incoming: &Incoming,
        (verdicts, why): (&[Verdict], &str),
        count: u64,
        threshold: Option<u64>,
    ) -> Result<(), StoreError> {
        let thrown = incoming.report.headline();
        let fault = self.tx.ensure_fault(
            incoming.project,
            NewFault {
                identity: &format!(
                    "nobody:{}",
                    hex(&report_key(incoming.project, "nobody", &incoming.report))
                ),
                place: None,
                function: None,
                code: None,
                blame: None,
                blame_failure: None,
                exception_type: thrown.and_then(|e| e.kind.as_deref()),
                exception_message: thrown.and_then(|e| e.message.as_deref()),
                first_seen: self.now.as_millisecond(),
            },
        )?;
        self.tx.note_place(key, fault, None)?;
        self.count(fault, &Occurrences { incoming, suspect: Err(why), verdicts, count, threshold })
    }

    /// Counts occurrences of a fault, decides, and owes what was decided.
    fn count(&mut self, id: FaultId, occurrences: &Occurrences<'_>) -> Result<(), StoreError> {
        let now = self.now.as_millisecond();
        let Occurrences { incoming, suspect, verdicts, count, threshold } = *occurrences;
        let fault = self.tx.fault(id)?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
        let report = &incoming.report;
        let at = Whereabouts {
            environment: report.environment.as_deref(),
            host: report.hostname.as_deref(),
            release: report.release.as_deref(),
        };
        let after = self.tx.count_fault(id, at, count, now)?;
        let decision = match suspect {
            Err(why) => Decision {
                reason: format!("no mail: nobody's line; {why}"),
                mark: String::new(),
                mails: Vec::new(),
            },
            Ok(suspect) => {
                if let Some(rule) = suspect.known {
                    self.tx.hit_rule(rule, count, now)?;
                }
                let facts = Facts {
                    before: after - count,
                    after,
                    threshold,
                    blame: fault.blame.as_ref(),
                    failure: fault.blame_failure.as_deref(),
                    mailed: fault.mailed_at.is_some() || self.tx.is_mailed(&fault.identity)?,
                };
                decide_on(&facts, suspect, verdicts, self.rulebook, &self.world.settings.policy)
            }
        };
        for mail in &decision.mails {
            let notice = self.notice(&fault, occurrences, after, mail);
            let message_id = new_message_id(&self.world.settings.sender);
            self.done.owed |= self.tx.owe(Some(id.0), &decision.mark, &mail.to, &message_id, &notice, now)?;
        }
        self.tx.note_decision(id, &decision.reason, decision.mark == "first", now)?;
        if self.room == Room::Ample && self.done.sampled.insert(id) {
            let occurrence = Occurrence {
                id: incoming.id.clone(),
                received_at: now,
                report: incoming.report.clone(),
                verdicts: verdicts.to_vec(),
            };
            self.tx.add_occurrence(id, &occurrence, self.world.settings.samples)?;
        }
        Ok(())
    }

    fn notice(&self, fault: &Fault, occurrences: &Occurrences<'_>, count: u64, mail: &Mail) -> Notice {
        let known = occurrences.suspect.ok().and_then(|suspect| known_error(self.rulebook, suspect.known?));
        Notice::Fault(Box::new(FaultNotice {
            fault: fault.id.0,
            project: self
                .world
                .projects
                .get(&fault.project)
                .map_or_else(String::new, |project| project.name.clone()),
            role: mail.role,
            why: mail.why.clone(),
            header: known.and_then(|(_, known)| known.email_header.clone()),
            count,
            report: occurrences.incoming.report.clone(),
            verdicts: occurrences.verdicts.to_vec(),
            place: fault.place.clone(),
            function: fault.function.clone(),
            blame: fault.blame.clone(),
            blame_failure: fault.blame_failure.clone(),
            received_at: self.now.as_millisecond(),
        }))
    }
}

/// The answer to a report; one that was sent before keeps the id that it was given then.
fn receipt(incoming: &Incoming, verdicts: Vec<Verdict>, standing: Standing) -> Receipt {
    let id = match &standing {
        Standing::Duplicate { of, .. } => of,
        _ => &incoming.id,
    };
    Receipt { id: id.clone(), verdicts, standing }
}

/// What is known of a fault when a decision is due.
pub(super) struct Facts<'a> {
    pub(super) before: u64,
    pub(super) after: u64,
    pub(super) threshold: Option<u64>,
    pub(super) blame: Option<&'a Blame>,
    pub(super) failure: Option<&'a str>,
    pub(super) mailed: bool,
}

pub(super) fn decide_on(
    facts: &Facts<'_>,
    suspect: &Suspect,
    verdicts: &[Verdict],
    rulebook: &Rulebook,
    policy: &Policy,
) -> Decision {
    let case = Case {
        before: facts.before,
        after: facts.after,
        threshold: facts.threshold,
        known: suspect.known.and_then(|rule| known_error(rulebook, rule)),
        changed: facts.blame.map(|blame| blame.author.time),
        author_mail: facts.blame.map(|blame| blame.author.mail.as_str()),
        blame_failure: facts.failure,
        path: &suspect.file.path.to_string(),
        verdicts,
        mailed: facts.mailed,
    };
    decide(case, rulebook, policy)
}

fn known_error(rulebook: &Rulebook, id: RuleId) -> Option<(RuleId, &KnownError)> {
    rulebook.rules.iter().find_map(|(stored, rule)| match rule {
        Rule::KnownError(known) if *stored == id => Some((id, known)),
        _ => None,
    })
}

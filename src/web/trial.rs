//! The dry run: what a rule would have done, had it been on its list for the last 30 days.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

use super::Web;
use super::board::{at, kind};
use super::page::Problem;
use super::show::{self, Count};
use super::week::answers_for;
use crate::store::{FaultId, FaultLine, Occurrence, Reach, Sought};
use crate::triage::rules::{Code, KnownError, Rule, RuleId, Rulebook};

const DAYS: i64 = 30;
const DAY: i64 = 24 * 3_600_000;
/// Faults named as examples.
const EXAMPLES: usize = 8;
/// Faults whose latest traceback is looked through for a third-party frame, the most frequent first.
const SEARCHED: usize = 300;

/// What a rule would have done.
pub(super) struct Trial {
    /// In one sentence.
    pub(super) said: String,
    /// Some of the faults, the most frequent first.
    pub(super) examples: Vec<Example>,
    /// How many faults it would have applied to.
    pub(super) faults: u64,
    /// Their occurrences.
    pub(super) occurrences: u64,
}

/// A fault that a rule would have applied to.
pub(super) struct Example {
    pub(super) id: i64,
    pub(super) kind: String,
    pub(super) at: String,
    pub(super) count: Count,
}

impl Web {
    /// Tries a rule on the last 30 days of what is within `reach`. `instead_of`: the stored rule that it is an
    /// edit of.
    pub(super) async fn try_rule(
        &self,
        rule: &Rule,
        instead_of: Option<RuleId>,
        reach: &Reach,
    ) -> Result<Trial, Problem> {
        let (web, rule, reach, now) = (self.clone(), rule.clone(), reach.clone(), self.now());
        self.read(move |tx| {
            let (from, to) = ((now / DAY - DAYS) * DAY, now + DAY);
            let mut book = tx.rulebook()?;
            book.rules.retain(|(id, _)| Some(*id) != instead_of);
            let judge = Judge::new(&web, &rule, book);
            if let Rule::KnownError(KnownError { code, .. }) | Rule::BuildingBlock(code) = &rule {
                // The few faults of one file are found without going through all.
                let word = code.filename.to_lowercase();
                let mut hits = Hits::default();
                let sought = Sought { word: &word, ..Sought::default() };
                let all = |_| true;
                for fault in tx.find_faults(usize::MAX, &sought, &reach, all, |fault| judge.applies(fault))? {
                    let count = tx.hours_of_fault(fault.id, from)?.iter().map(|(_, count)| count).sum();
                    hits.add(count, fault);
                }
                return Ok(hits.trial(&rule, now));
            }
            let mut counts: HashMap<FaultId, u64> = HashMap::new();
            tx.day_counts(from, to, |counted| *counts.entry(counted.fault).or_default() += counted.count)?;
            // Of third-party code the responsible line says nothing: the frames below it do.
            let mut within = HashSet::new();
            if matches!(rule, Rule::ThirdPartyWhitelist(_)) {
                let mut most: Vec<_> =
                    counts.iter().map(|(fault, count)| (Reverse(*count), *fault)).collect();
                most.sort_unstable();
                for (_, fault) in most.into_iter().take(SEARCHED) {
                    if tx.occurrences(fault)?.first().is_some_and(|kept| judge.is_in(kept)) {
                        within.insert(fault);
                    }
                }
            }
            let mut hits = Hits::default();
            tx.faults_between(from, to, &reach, |fault| {
                if within.contains(&fault.id) || judge.applies(&fault) {
                    hits.add(counts.get(&fault.id).copied().unwrap_or(0), fault);
                }
            })?;
            Ok(hits.trial(&rule, now))
        })
        .await
    }
}

/// The faults that a rule would have applied to.
#[derive(Default)]
struct Hits {
    faults: u64,
    occurrences: u64,
    /// The most frequent of them, and some more.
    most: Vec<(Reverse<u64>, FaultLine)>,
}

impl Hits {
    fn add(&mut self, count: u64, fault: FaultLine) {
        if count == 0 {
            return;
        }
        self.faults += 1;
        self.occurrences += count;
        self.most.push((Reverse(count), fault));
        if self.most.len() > 4 * EXAMPLES {
            self.keep_most_frequent();
        }
    }

    fn keep_most_frequent(&mut self) {
        self.most.sort_by_key(|(count, fault)| (*count, fault.id));
        self.most.truncate(EXAMPLES);
    }

    fn trial(mut self, rule: &Rule, now: i64) -> Trial {
        self.keep_most_frequent();
        let examples = self.most.iter().map(|(Reverse(count), fault)| Example {
            id: fault.id.0,
            kind: kind(fault),
            at: at(fault),
            count: Count(*count),
        });
        let (faults, occurrences) = (self.faults, self.occurrences);
        Trial {
            said: said(rule, faults, occurrences, now),
            examples: examples.collect(),
            faults,
            occurrences,
        }
    }
}

/// Says whether a rule applies.
struct Judge<'a> {
    web: &'a Web,
    rule: &'a Rule,
    /// A book of this rule alone.
    alone: Rulebook,
    without: Rulebook,
    with: Rulebook,
}

impl<'a> Judge<'a> {
    fn new(web: &'a Web, rule: &'a Rule, book: Rulebook) -> Self {
        let alone = Rulebook { rules: vec![(RuleId(0), rule.clone())], ..book.clone() };
        let mut with = book.clone();
        with.rules.push((RuleId(0), rule.clone()));
        Self { web, rule, alone, without: book, with }
    }

    fn applies(&self, fault: &FaultLine) -> bool {
        let path = fault.place.as_ref().map(|place| place.path.to_string()).unwrap_or_default();
        let code = Code { file: &path, function: fault.function.as_deref(), text: fault.code.as_deref() };
        let here = fault.place.is_some();
        match self.rule {
            Rule::KnownError(_) => here && self.alone.known_error(code, self.web.0.clock.now()).is_some(),
            Rule::BuildingBlock(_) => here && self.alone.building_block(code).is_some(),
            Rule::ThirdPartyWhitelist(_) => here && self.alone.third_party(code, true).is_some(),
            Rule::IgnoredException { .. } => {
                let kind = fault.exception_type.as_deref();
                kind.is_some_and(|kind| self.alone.ignored_exception(kind).is_some())
            }
            Rule::Watch(watch) => here && watch.covers(&path),
            Rule::Remap { .. } | Rule::Disown { .. } => {
                let answers = |book| answers_for(fault, book, &self.web.0.settings.addresses);
                answers(&self.without) != answers(&self.with)
            }
        }
    }

    /// Whether a frame of a kept report is code that the rule is about.
    fn is_in(&self, kept: &Occurrence) -> bool {
        kept.verdicts.iter().any(|verdict| {
            let exception = kept.report.exceptions.get(verdict.exception);
            let Some(frame) = exception.and_then(|exception| exception.frames.get(verdict.frame)) else {
                return false;
            };
            let tracked = verdict.file.as_ref().map(|file| file.path.to_string());
            let code = Code {
                file: tracked.as_deref().unwrap_or(&frame.file),
                function: frame.function.as_deref(),
                text: frame.text.as_deref(),
            };
            self.alone.third_party(code, tracked.is_some()).is_some()
        })
    }
}

/// What may be amiss with a rule that applies to nothing.
fn why_nothing(rule: &Rule, now: i64) -> &'static str {
    let (file, is_over) = match rule {
        Rule::KnownError(known) => {
            let is_over = known.expires_at.is_some_and(|end| end.as_millisecond() <= now);
            (known.code.filename.as_str(), is_over)
        }
        Rule::BuildingBlock(code) | Rule::ThirdPartyWhitelist(code) => (code.filename.as_str(), false),
        Rule::Watch(watch) => (watch.path.as_str(), false),
        Rule::Disown { path, .. } => (path.as_str(), false),
        Rule::IgnoredException { .. } | Rule::Remap { .. } => ("", false),
    };
    if is_over {
        " The day until which it holds is past."
    } else if file.contains(['*', '?', '[']) {
        " Files are named as they are: * and ? stand for themselves."
    } else if matches!(rule, Rule::KnownError(_) | Rule::BuildingBlock(_)) {
        " Is it the file’s whole path from the top of its repository, and the function’s name as reports have it?"
    } else {
        ""
    }
}

fn said(rule: &Rule, faults: u64, occurrences: u64, now: i64) -> String {
    if faults == 0 {
        let why = why_nothing(rule, now);
        return format!("In the last {DAYS} days it would have applied to nothing.{why}");
    }
    let what = format!(
        "{}, {} in the last {DAYS} days",
        show::of(faults, "fault"),
        show::of(occurrences, "occurrence")
    );
    match rule {
        Rule::KnownError(known)
            if known.min_alert_threshold.is_some() || known.alert_every_n_occurrences.is_some() =>
        {
            format!("It would have mailed by its own numbers only: {what}.")
        }
        Rule::KnownError(_) => format!("It would have silenced {what}."),
        Rule::BuildingBlock(_) => format!("It would have passed on to the caller: {what}."),
        Rule::ThirdPartyWhitelist(_) | Rule::IgnoredException { .. } => {
            format!("It would have dropped {what}, uncounted.")
        }
        Rule::Watch(_) => format!("They would have been told of {what}."),
        Rule::Remap { .. } | Rule::Disown { .. } => format!("Somebody else would answer for {what}."),
    }
}

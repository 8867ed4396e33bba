//! What would come of a report, step by step, without any of it being done.

use std::sync::Arc;

use jiff::Timestamp;

use super::keys::identity;
use super::ledger::{Facts, decide_on};
use super::survey::deploy_of;
use super::{Project, Survey, Surveyor};
use crate::blame::{Blame, BlameError, Blamer, BrokenLine};
use crate::report::Report;
use crate::store::{Fault, Store, StoreError};
use crate::triage::decide::{Decision, Policy};
use crate::triage::walk::{Outcome, Walk, walk};

/// What would come of a report, step by step.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The revisions and mappings, or why there are none.
    pub survey: Result<Survey, BlameError>,
    /// The walk, where there is a survey.
    pub walk: Option<Walk>,
    /// What git says of the suspect, where there is one.
    pub blame: Option<Result<Arc<Blame>, BlameError>>,
    /// What stands in git's lists of ignored commits there and is none.
    pub broken: Vec<BrokenLine>,
    /// The fault that the report would be counted for, if it is known already.
    pub fault: Option<Fault>,
    /// What would be decided.
    pub decision: Option<Decision>,
}

/// Explains a report of `project`, by the rules and faults of `store`, if there is one. Blocks.
///
/// # Errors
/// What the store says.
pub fn explain(
    report: &Report,
    project: &Project,
    blamer: &Blamer,
    policy: &Policy,
    store: Option<&Store>,
    now: Timestamp,
) -> Result<Explanation, StoreError> {
    let deployed = || store.and_then(|store| deploy_of(store, project, report, now.as_millisecond()));
    let survey = Surveyor::new(blamer.clone()).survey(project, report, deployed);
    let mut explanation =
        Explanation { survey, walk: None, blame: None, broken: Vec::new(), fault: None, decision: None };
    let Ok(survey) = &explanation.survey else { return Ok(explanation) };
    let rulebook = store.map(|store| store.read(|tx| tx.rulebook())).transpose()?.unwrap_or_default();
    let walked = walk(report, &survey.mapped, &rulebook, &project.code, now);
    if let Outcome::Suspect(suspect) = &walked.outcome {
        let question = survey.question(report, suspect);
        let blame = blamer.blame(&question);
        // Where nothing can be read, blame has said so.
        explanation.broken =
            blamer.broken_ignore_lines(&question.repository, &question.revision).unwrap_or_default();
        let identity = identity(suspect, blame.as_deref().ok());
        let known = store.map(|store| {
            store.read(|tx| {
                let id = tx.fault_of_identity(project.id, &identity)?;
                let fault = id.map(|id| tx.fault(id)).transpose()?.flatten();
                Ok::<_, StoreError>((fault, tx.is_mailed(&identity)?))
            })
        });
        let (fault, mailed) = known.transpose()?.unwrap_or_default();
        let failure = blame.as_ref().err().map(ToString::to_string);
        let before = fault.as_ref().map_or(0, |fault| fault.count);
        let facts = Facts {
            before,
            after: before + report.count.max(1),
            threshold: report.threshold,
            blame: blame.as_deref().ok(),
            failure: failure.as_deref(),
            mailed,
        };
        explanation.decision = Some(decide_on(&facts, suspect, &walked.verdicts, &rulebook, policy));
        explanation.blame = Some(blame);
        explanation.fault = fault;
    }
    explanation.walk = Some(walked);
    Ok(explanation)
}

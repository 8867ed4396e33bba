//! Faults: found, looked at, made known, deleted.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{Json, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::Web;
use super::super::desk::Desk;
use super::super::door::Visitor;
use super::super::fault::short;
use super::super::form::Form;
use super::super::page::Problem;
use super::super::search::Found;
use super::super::week::{answers_for, known_error, project_name};
use super::input::{Asked, Body, Number, after, limit, nothing, paged};
use super::rules::entry;
use super::shapes::{
    Done, Fault, FaultDetail, Hour, Kept, KnownTerms, Mail, Occurrence, Page, RuleEntry, time,
};
use crate::store::{FaultId, StoredRule};
use crate::triage::rules::{CodePattern, KnownError, Rule};

const HOUR: i64 = 3_600_000;
/// Hours of a fault that are told.
const HOURS: i64 = 7 * 24;

/// Which faults.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Question {
    /// Words, and `file:`, `author:`, `type:`, `project:`, `env:`, `host:`, `release:`, `is:known`, `is:mailed`, `is:new`,
    /// as on the page “Search”. Left out: all faults.
    #[serde(default)]
    q: String,
    /// How many at most: 50 unless said, never more than 500.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// What an earlier page called `next`.
    after: Option<String>,
}

/// Finds faults
///
/// Those seen last come first.
#[utoipa::path(get, path = "/api/v1/faults", tag = "Faults", params(Question),
    responses((status = 200, description = "The faults", body = Page<Fault>)))]
pub(super) async fn list(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Asked(asked): Asked<Question>,
) -> Result<Json<Page<Fault>>, Problem> {
    let (limit, after) = (limit(asked.limit)?, after::<2>(asked.after.as_deref())?);
    let after = after.map(|[seen, id]| (seen, FaultId(id)));
    let found = web.search(&asked.q, after, limit + 1, &caller.reach).await?;
    let place = |found: &Found| format!("{}.{}", found.fault.last_seen, found.fault.id.0);
    Ok(Json(paged(found, limit, place, |found| Fault::of(&found))))
}

/// Tells all that is kept of a fault
#[utoipa::path(get, path = "/api/v1/faults/{id}", tag = "Faults", params(("id" = i64, Path, description = "Its number")),
    responses((status = 200, description = "The fault", body = FaultDetail)))]
pub(super) async fn one(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Number(id): Number,
) -> Result<Json<FaultDetail>, Problem> {
    let id = FaultId(id);
    let (now, clock) = (web.now(), web.0.clock.now());
    let addresses = web.0.settings.addresses.clone();
    let told = web.read(move |tx| {
        let fault = tx.fault_within(id, &caller.reach)?.ok_or_else(nothing)?;
        let (book, line) = (tx.rulebook()?, short(&fault));
        let hours = tx.hours_of_fault(id, now - HOURS * HOUR)?;
        let kept = tx.occurrences(id)?.into_iter();
        let found = Found {
            project: project_name(&tx.projects()?, fault.project),
            known: known_error(&book, &line, clock),
            who: answers_for(&line, &book, &addresses),
            fault: line,
        };
        Ok(FaultDetail {
            fault: Fault::of(&found),
            decision: fault.decision,
            origin: fault.blame.as_ref().map(Into::into),
            blame_failure: fault.blame_failure,
            hours: hours.into_iter().map(|(at, n)| Hour { at: time(at), occurrences: n }).collect(),
            kept: kept.map(|kept| Kept { id: kept.id, received_at: time(kept.received_at) }).collect(),
            mails: tx.deliveries_about(id.0)?.into_iter().map(Mail::from).collect(),
            history: tx.changes_of(&format!("fault {}", id.0), 50)?.into_iter().map(Done::from).collect(),
        })
    });
    Ok(Json(told.await?))
}

/// Tells a report as it was taken
#[utoipa::path(get, path = "/api/v1/faults/{id}/occurrences/{occurrence}", tag = "Faults",
    params(("id" = i64, Path, description = "The fault’s number"), ("occurrence" = String, Path, description = "The report’s id")),
    responses((status = 200, description = "The report", body = Occurrence)))]
pub(super) async fn occurrence(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Path((id, occurrence)): Path<(String, String)>,
) -> Result<Json<Occurrence>, Problem> {
    let id = id.parse().map(FaultId).map_err(|_| nothing())?;
    let found = web.read(move |tx| {
        tx.fault_within(id, &caller.reach)?.ok_or_else(nothing)?;
        tx.occurrences(id)?.into_iter().find(|kept| kept.id == occurrence).ok_or_else(nothing)
    });
    let found = found.await?;
    let value = |value: Result<_, serde_json::Error>| value.map_err(|error| Problem::internal(&error));
    Ok(Json(Occurrence {
        id: found.id,
        received_at: time(found.received_at),
        report: value(serde_json::to_value(&found.report))?,
        verdicts: value(serde_json::to_value(&found.verdicts))?,
    }))
}

/// Deletes a fault
///
/// All that is kept of it goes. If its line fails again, it is a new fault, and its author gets a mail again.
#[utoipa::path(delete, path = "/api/v1/faults/{id}", tag = "Faults", params(("id" = i64, Path, description = "Its number")),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn delete(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Number(id): Number,
) -> Result<StatusCode, Problem> {
    let (who, now) = (caller.who(), web.now());
    let deleted = web.write(move |tx| Ok(Desk::new(tx, &who, now).delete_fault(FaultId(id), &caller.reach)?));
    if deleted.await? { Ok(StatusCode::NO_CONTENT) } else { Err(nothing()) }
}

/// Sends its mail again
///
/// To whoever answers for the line now, with the latest report that is kept.
#[utoipa::path(post, path = "/api/v1/faults/{id}/send_again", tag = "Faults", params(("id" = i64, Path, description = "Its number")),
    responses((status = 202, description = "The mail, which is on its way", body = Mail)))]
pub(super) async fn send_again(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Number(id): Number,
) -> Result<(StatusCode, Json<Mail>), Problem> {
    web.owe_again(&caller, FaultId(id), None).await?;
    let mail = web.read(move |tx| tx.deliveries_about(id)?.pop().ok_or_else(nothing)).await?;
    Ok((StatusCode::ACCEPTED, Json(mail.into())))
}

/// Makes a fault a known error
///
/// By its file, function and source line. It is counted and shown from then on, and nobody is mailed but by the
/// rule’s own numbers.
#[utoipa::path(post, path = "/api/v1/faults/{id}/known", tag = "Faults", params(("id" = i64, Path, description = "Its number")),
    request_body = KnownTerms,
    responses((status = 201, description = "The new rule", body = RuleEntry), (status = 200, description = "There was such a rule", body = RuleEntry)))]
pub(super) async fn known(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Number(id): Number,
    Body(terms): Body<KnownTerms>,
) -> Result<Response, Problem> {
    let (who, now) = (caller.who(), web.now());
    let added = web.write(move |tx| {
        let fault = tx.fault_within(FaultId(id), &caller.reach)?.ok_or_else(nothing)?;
        let Some(place) = &fault.place else {
            let said = "It is nobody's line: there is no file that a rule could name.";
            return Err(Problem::new(StatusCode::CONFLICT, "It has no place", said));
        };
        let code = fault.code.filter(|_| !terms.whole_function);
        let rule = Rule::KnownError(KnownError {
            code: CodePattern {
                filename: place.path.to_string(),
                function_name: fault.function,
                code_fragment: code.map(|code| code.trim().chars().take(1_000).collect()),
            },
            min_alert_threshold: terms.min_alert_threshold,
            max_alert_threshold: terms.max_alert_threshold,
            alert_every_n_occurrences: terms.alert_every_n_occurrences,
            email_recipients: Vec::new(),
            email_header: None,
            reason: terms.reason,
            expires_at: terms.expires_at,
        });
        let rule = Form::check(&rule)?;
        let (Rule::KnownError(wanted), rules) = (&rule, tx.rules()?) else { return Err(nothing()) };
        let is_about_it = |stored: &StoredRule| match &stored.rule {
            Rule::KnownError(known) => known.code == wanted.code && known != wanted,
            _ => false,
        };
        if let Some(other) = rules.iter().find(|stored| is_about_it(stored)) {
            let said = format!("Rule {} is about this code, on other terms. Change that one.", other.id.0);
            return Err(Problem::new(StatusCode::CONFLICT, "It is known already", &said));
        }
        let (id, new) = Desk::new(tx, &who, now).add_rule(&rule)?;
        Ok((entry(tx, id)?, new))
    });
    let (entry, new) = added.await?;
    Ok(super::rules::told(entry, new))
}

//! Rules of all lists: known errors, library code, watchers, …

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::Web;
use super::super::desk::{Desk, Edit, Edited};
use super::super::door::Visitor;
use super::super::form::{Form, List};
use super::super::page::Problem;
use super::input::{Asked, Body, IfMatch, Number, after, limit, nothing, outdated, paged};
use super::shapes::{DryRun, Page, RuleEdit, RuleEntry};
use crate::store::Tx;
use crate::triage::rules::{Rule, RuleId};

/// Which rules.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Of one list alone: `known_error`, `building_block`, `third_party_whitelist`, `ignored_exception`, `watch`,
    /// `remap` or `disown`.
    kind: Option<String>,
    /// How many at most: 50 unless said, never more than 500.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// What an earlier page called `next`.
    after: Option<String>,
}

/// Lists the rules
///
/// Oldest first. Rules hold for the whole house, whichever projects one sees.
#[utoipa::path(get, path = "/api/v1/rules", tag = "Rules", params(Which),
    responses((status = 200, description = "The rules", body = Page<RuleEntry>)))]
pub(super) async fn list(
    State(web): State<Web>,
    Asked(asked): Asked<Which>,
) -> Result<Json<Page<RuleEntry>>, Problem> {
    if let Some(kind) = &asked.kind
        && List::ALL.iter().all(|list| list.kind() != kind)
    {
        let kinds = List::ALL.map(List::kind).join(", ");
        let said = format!("`kind` is one of {kinds}.");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "There is no such list", &said));
    }
    let (limit, after) = (limit(asked.limit)?, after::<1>(asked.after.as_deref())?);
    let after = after.map_or(0, |[id]| id);
    let mut rules = web.read(|tx| Ok(tx.rules()?)).await?;
    rules.retain(|stored| {
        stored.id.0 > after && asked.kind.as_ref().is_none_or(|kind| stored.rule.kind() == kind)
    });
    Ok(Json(paged(rules, limit, |stored| stored.id.0.to_string(), RuleEntry::from)))
}

/// Tells one rule
#[utoipa::path(get, path = "/api/v1/rules/{id}", tag = "Rules", params(("id" = i64, Path, description = "Its number")),
    responses((status = 200, description = "The rule; its version is the ETag", body = RuleEntry)))]
pub(super) async fn one(State(web): State<Web>, Number(id): Number) -> Result<Response, Problem> {
    let entry = web.read(move |tx| entry(tx, RuleId(id))).await?;
    Ok(tagged(StatusCode::OK, entry))
}

/// Adds a rule
///
/// One that is on its list already is not added again.
#[utoipa::path(post, path = "/api/v1/rules", tag = "Rules", request_body = Rule,
    responses((status = 201, description = "The new rule", body = RuleEntry), (status = 200, description = "There was such a rule", body = RuleEntry)))]
pub(super) async fn add(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Body(rule): Body<Rule>,
) -> Result<Response, Problem> {
    let rule = Form::check(&rule)?;
    let (who, now) = (caller.who(), web.now());
    let added = web.write(move |tx| {
        let (id, new) = Desk::new(tx, &who, now).add_rule(&rule)?;
        Ok((entry(tx, id)?, new))
    });
    let (entry, new) = added.await?;
    Ok(told(entry, new))
}

/// Tries a rule
///
/// Says what it would have done in the last 30 days; changes nothing.
#[utoipa::path(post, path = "/api/v1/rules/try", tag = "Rules", request_body = Rule,
    responses((status = 200, description = "What it would have done", body = DryRun)))]
pub(super) async fn dry_run(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Body(rule): Body<Rule>,
) -> Result<Json<DryRun>, Problem> {
    let trial = web.try_rule(&Form::check(&rule)?, None, &caller.reach).await?;
    Ok(Json(DryRun {
        said: trial.said,
        faults: trial.faults,
        occurrences: trial.occurrences,
        examples: trial.examples.iter().map(|example| example.id).collect(),
    }))
}

/// Changes a rule
///
/// Takes the ETag of the rule as it was read in `If-Match`; where somebody else was faster, it is refused with 412.
#[utoipa::path(patch, path = "/api/v1/rules/{id}", tag = "Rules",
    params(("id" = i64, Path, description = "Its number"), ("If-Match" = String, Header, description = "The ETag of the rule as it was read")),
    request_body = RuleEdit, responses((status = 200, description = "The rule as it is now", body = RuleEntry)))]
pub(super) async fn change(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Number(id): Number,
    headers: HeaderMap,
    Body(edit): Body<RuleEdit>,
) -> Result<Response, Problem> {
    let rule = edit.rule.as_ref().map(Form::check).transpose()?;
    let wanted = IfMatch::read(&headers)?;
    let (who, now) = (caller.who(), web.now());
    let changed = web.write(move |tx| {
        let (desk, id) = (Desk::new(tx, &who, now), RuleId(id));
        let mut version = entry(tx, id)?.version;
        wanted.check(&version.to_string())?;
        let edits =
            [rule.map(|rule| Edit::Rewrite(Box::new(rule))), edit.enabled.map(|on| Edit::Switch { on })];
        for edit in edits.into_iter().flatten() {
            match desk.edit_rule(id, version, edit)?.ok_or_else(nothing)? {
                Edited::Done => version += 1,
                Edited::Same => {}
                Edited::Conflict => return Err(outdated()),
            }
        }
        entry(tx, id)
    });
    Ok(tagged(StatusCode::OK, changed.await?))
}

/// Removes a rule
///
/// Takes the ETag of the rule as it was read in `If-Match`; where somebody else was faster, it is refused with 412.
#[utoipa::path(delete, path = "/api/v1/rules/{id}", tag = "Rules",
    params(("id" = i64, Path, description = "Its number"), ("If-Match" = String, Header, description = "The ETag of the rule as it was read")),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn remove(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Number(id): Number,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    let wanted = IfMatch::read(&headers)?;
    let (who, now) = (caller.who(), web.now());
    let done = web.write(move |tx| {
        let version = entry(tx, RuleId(id))?.version;
        wanted.check(&version.to_string())?;
        Desk::new(tx, &who, now).edit_rule(RuleId(id), version, Edit::Remove)?.ok_or_else(nothing)
    });
    match done.await? {
        Edited::Conflict => Err(outdated()),
        Edited::Done | Edited::Same => Ok(StatusCode::NO_CONTENT),
    }
}

/// A rule as it is stored.
pub(super) fn entry(tx: &Tx<'_>, id: RuleId) -> Result<RuleEntry, Problem> {
    let stored = tx.rules()?.into_iter().find(|stored| stored.id == id);
    stored.map(RuleEntry::from).ok_or_else(nothing)
}

/// The answer to whoever adds a rule.
pub(super) fn told(entry: RuleEntry, new: bool) -> Response {
    let place = HeaderValue::try_from(format!("/api/v1/rules/{}", entry.id)).expect("digits");
    let mut response = tagged(if new { StatusCode::CREATED } else { StatusCode::OK }, entry);
    response.headers_mut().insert(header::LOCATION, place);
    response
}

fn tagged(status: StatusCode, entry: RuleEntry) -> Response {
    let tag = HeaderValue::try_from(format!("\"{}\"", entry.version)).expect("digits");
    (status, [(header::ETAG, tag)], Json(entry)).into_response()
}

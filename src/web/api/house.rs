//! The week, and what admins keep: settings, projects and their keys, mails, the log of changes.

use std::collections::HashMap;

use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use serde::Deserialize;
use utoipa::IntoParams;

use super::super::Web;
use super::super::desk::{self, Desk, key_id, scope_name};
use super::super::door::Visitor;
use super::super::outbox::readable;
use super::super::page::Problem;
use super::super::params::Params;
use super::super::show;
use super::super::week::{Asked as AskedWeek, Shown};
use super::input::{Asked, Body, IfMatch, Number, after, limit, nothing, paged};
use super::shapes::{
    BoardNames, Day, Done, HouseSettings, KeyEntry, Mail, MailDetail, Me, NewKey, Page, Part, ProjectEntry,
    RepositoryEntry, WeekDeveloper, WeekFault, WeekReport, time,
};
use crate::blame::Repository;
use crate::store::{BoardSettings, DeliveryState, ProjectId, Reach};

/// Faults told of each developer of a week unless asked otherwise.
const FAULTS_EACH: usize = 10;
/// Faults told of each developer of a week at most.
const MOST_FAULTS_EACH: usize = 1_000;

/// Tells who asks
#[utoipa::path(get, path = "/api/v1/me", tag = "Token", responses((status = 200, description = "You", body = Me)))]
pub(super) async fn me(Extension(caller): Extension<Visitor>) -> Json<Me> {
    Json(Me {
        scope: caller.role.map_or("none", scope_name),
        projects: match &caller.reach {
            Reach::All => None,
            Reach::Only(projects) => Some(projects.iter().map(|project| project.0).collect()),
        },
        mail: caller.account.map(|account| account.mail),
    })
}

/// Which week, and what of it.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// A day of it, such as `2026-11-15`. Left out: this week.
    #[param(format = Date)]
    week: Option<String>,
    /// Of one project alone, by its name.
    project: Option<String>,
    /// Of one environment alone; `-`: of reports that name none.
    environment: Option<String>,
    /// Of one developer alone, by where their mail goes.
    author: Option<String>,
    /// Known errors, too.
    #[serde(default)]
    include_known_errors: bool,
    /// Lines last changed before the cutoff, too.
    #[serde(default)]
    include_modified_before_min_date: bool,
    /// How many faults of each developer: 10 unless said, never more than 1000.
    #[param(minimum = 0, maximum = 1000)]
    faults_each: Option<u32>,
}

/// Tells who caused what in a week
#[utoipa::path(get, path = "/api/v1/week", tag = "Week", params(Which),
    responses((status = 200, description = "The week", body = WeekReport)))]
pub(super) async fn week(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Asked(which): Asked<Which>,
) -> Result<Json<WeekReport>, Problem> {
    if which.week.as_deref() == Some("") {
        let said = "`week` takes a day, such as 2026-11-15.";
        return Err(Problem::new(StatusCode::BAD_REQUEST, "That is no week", said));
    }
    let flag = |on: bool| if on { "1" } else { "" }.to_owned();
    let params = Params::from([
        ("week", which.week.unwrap_or_default()),
        ("project", which.project.unwrap_or_default()),
        ("environment", which.environment.unwrap_or_default()),
        ("author", which.author.unwrap_or_default()),
        ("include_known_errors", flag(which.include_known_errors)),
        ("include_modified_before_min_date", flag(which.include_modified_before_min_date)),
    ]);
    let asked = AskedWeek::read(&params, &caller, web.week_settings().await?, web.now())?;
    let first = show::day(asked.start);
    let each = which.faults_each.map_or(FAULTS_EACH, |n| n as usize);
    if each > MOST_FAULTS_EACH {
        let said = format!("`faults_each` takes a number from 0 to {MOST_FAULTS_EACH}.");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "Those are too many", &said));
    }
    let mut week = web.week(asked, Shown { developers: 0, each: 0, after: 0 }).await?;
    let developers = week.developers.iter_mut().map(|developer| {
        developer.bring_forward(each);
        let faults = developer.faults.iter().take(each).map(|caused| WeekFault {
            id: caused.id.0,
            occurrences: caused.occurrences,
            new: caused.new,
            known_error: caused.known.map(|id| id.0),
        });
        WeekDeveloper {
            name: developer.called.clone(),
            mail: Some(developer.address.clone()).filter(|address| !address.is_empty()),
            occurrences: developer.occurrences,
            last_week: developer.before,
            faults: developer.faults.len() as u64,
            new: developer.new,
            days: developer.days.to_vec(),
            most_frequent: faults.collect(),
        }
    });
    Ok(Json(WeekReport { week: first, developers: developers.collect() }))
}

/// Tells the settings
#[utoipa::path(get, path = "/api/v1/settings", tag = "Settings",
    responses((status = 200, description = "The settings, and an ETag", body = HouseSettings)))]
pub(super) async fn settings(State(web): State<Web>) -> Result<Response, Problem> {
    Ok(told(&web.read(|tx| Ok(desk::HouseSettings::read(tx)?)).await?))
}

/// Changes the settings
///
/// Takes the ETag of the settings as they were read in `If-Match`; where somebody else was faster, it is refused with
/// 412.
#[utoipa::path(put, path = "/api/v1/settings", tag = "Settings", request_body = HouseSettings,
    params(("If-Match" = String, Header, description = "The ETag of the settings as they were read")),
    responses((status = 200, description = "The settings as they are now", body = HouseSettings)))]
pub(super) async fn change_settings(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    headers: HeaderMap,
    Body(wanted): Body<HouseSettings>,
) -> Result<Response, Problem> {
    let version = IfMatch::read(&headers)?;
    if !(1..=1_000_000_000).contains(&wanted.threshold) {
        return Err(Problem::unfit("threshold", "A whole number of at least 1."));
    }
    let board = BoardSettings {
        names: wanted.names.map(|names| names.word().to_owned()),
        week_starts: wanted.week_starts.map(|day| day.word().to_owned()),
    };
    let (who, now) = (caller.who(), web.now());
    let changed = web.write(move |tx| {
        let before = desk::HouseSettings::read(tx)?;
        version.check(&before.version())?;
        let mut after = desk::HouseSettings { board, ..before };
        (after.mail.threshold, after.mail.cutoff) = (wanted.threshold, wanted.cutoff);
        Desk::new(tx, &who, now).change_settings(&after, None)?;
        Ok(desk::HouseSettings::read(tx)?)
    });
    Ok(told(&changed.await?))
}

fn told(settings: &desk::HouseSettings) -> Response {
    let tag = HeaderValue::try_from(format!("\"{}\"", settings.version())).expect("digits");
    let shape = HouseSettings {
        threshold: settings.mail.threshold,
        cutoff: settings.mail.cutoff,
        names: settings.board.names.as_deref().and_then(BoardNames::of),
        week_starts: settings.board.week_starts.as_deref().and_then(Day::of),
    };
    ([(header::ETAG, tag)], Json(shape)).into_response()
}

/// Lists the projects that you see
#[utoipa::path(get, path = "/api/v1/projects", tag = "Projects", params(Part),
    responses((status = 200, description = "The projects", body = Page<ProjectEntry>)))]
pub(super) async fn projects(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Asked(part): Asked<Part>,
) -> Result<Json<Page<ProjectEntry>>, Problem> {
    let (limit, after) = (limit(part.limit)?, after::<1>(part.after.as_deref())?.map_or(0, |[id]| id));
    let mut projects = web.read(move |tx| Ok(tx.projects_within(&caller.reach)?)).await?;
    projects.sort_by_key(|project| project.id);
    projects.retain(|project| project.id.0 > after);
    let shape = |project: crate::store::Project| ProjectEntry { id: project.id.0, name: project.name };
    Ok(Json(paged(projects, limit, |project| project.id.0.to_string(), shape)))
}

/// Tells how it stands with the repositories
///
/// Which there are stands in the configuration file.
#[utoipa::path(get, path = "/api/v1/repositories", tag = "Projects",
    responses((status = 200, description = "The repositories", body = Vec<RepositoryEntry>)))]
pub(super) async fn repositories(State(web): State<Web>) -> Json<Vec<RepositoryEntry>> {
    let states: HashMap<String, _> =
        web.0.mirrors.states().map(|(name, state)| (name.to_owned(), state)).collect();
    let entry = |repository: &Repository| {
        let state = states.get(&repository.name);
        RepositoryEntry {
            name: repository.name.clone(),
            fetched: state.is_some(),
            fetched_at: state.and_then(|state| state.fetched_at),
            error: state.and_then(|state| state.error.clone()),
            failures: state.map_or(0, |state| state.failures),
        }
    };
    Json(web.0.blamer.repositories().map(entry).collect())
}

/// Lists the keys of a project
///
/// Oldest first, those that are revoked, too. The keys themselves are not told.
#[utoipa::path(get, path = "/api/v1/projects/{id}/keys", tag = "Projects", params(("id" = i64, Path, description = "The project’s number")),
    responses((status = 200, description = "The keys", body = Vec<KeyEntry>)))]
pub(super) async fn keys(State(web): State<Web>, Number(id): Number) -> Result<Json<Vec<KeyEntry>>, Problem> {
    let keys = web.read(move |tx| {
        tx.project_name(ProjectId(id))?.ok_or_else(nothing)?;
        Ok(tx.all_keys(ProjectId(id))?)
    });
    let shape = |key: crate::store::Key| KeyEntry {
        id: key_id(&key.key),
        begins: key.key.chars().take(6).collect(),
        created_at: time(key.created_at),
        revoked_at: key.revoked_at.map(time),
    };
    Ok(Json(keys.await?.into_iter().map(shape).collect()))
}

/// Gives a project another key
#[utoipa::path(post, path = "/api/v1/projects/{id}/keys", tag = "Projects", params(("id" = i64, Path, description = "The project’s number")),
    responses((status = 201, description = "The new key, shown this once", body = NewKey)))]
pub(super) async fn add_key(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Number(id): Number,
) -> Result<(StatusCode, Json<NewKey>), Problem> {
    let (who, now) = (caller.who(), web.now());
    let key = web.write(move |tx| Desk::new(tx, &who, now).add_key(ProjectId(id), None)).await?;
    Ok((StatusCode::CREATED, Json(NewKey { id: key_id(&key), key })))
}

/// Revokes a key of a project
#[utoipa::path(delete, path = "/api/v1/projects/{id}/keys/{key}", tag = "Projects",
    params(("id" = i64, Path, description = "The project’s number"), ("key" = String, Path, description = "What the key is called in the list")),
    responses((status = 204, description = "Reports with it are refused")))]
pub(super) async fn revoke_key(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Path((id, key)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let id = id.parse().map(ProjectId).map_err(|_| nothing())?;
    let (who, now) = (caller.who(), web.now());
    let revoked = web.write(move |tx| {
        let desk = Desk::new(tx, &who, now);
        let key = desk.key(id, &key)?.ok_or_else(nothing)?;
        desk.revoke_key(id, &key)
    });
    revoked.await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which mails.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WhichMails {
    /// `waiting`, `sent` or `given-up`.
    #[param(inline)]
    state: MailState,
    /// How many at most: 50 unless said, never more than 500.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// What an earlier page called `next`.
    after: Option<String>,
}

/// What has become of a mail.
#[derive(Clone, Copy, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "kebab-case")]
pub(super) enum MailState {
    /// To be tried (again).
    Waiting,
    /// The server took it.
    Sent,
    /// The server refused for good, or too often.
    GivenUp,
}

/// Lists the mails of one state
///
/// Newest first.
#[utoipa::path(get, path = "/api/v1/outbox", tag = "Mails", params(WhichMails),
    responses((status = 200, description = "The mails", body = Page<Mail>)))]
pub(super) async fn outbox(
    State(web): State<Web>,
    Asked(asked): Asked<WhichMails>,
) -> Result<Json<Page<Mail>>, Problem> {
    let state = match asked.state {
        MailState::Waiting => DeliveryState::Waiting,
        MailState::Sent => DeliveryState::Sent,
        MailState::GivenUp => DeliveryState::GivenUp,
    };
    let (limit, after) = (limit(asked.limit)?, after::<1>(asked.after.as_deref())?);
    let before = after.map_or(i64::MAX, |[id]| id);
    let read = u32::try_from(limit + 1).unwrap_or(u32::MAX);
    let mails = web.read(move |tx| Ok(tx.deliveries_before(state, before, read)?)).await?;
    Ok(Json(paged(mails, limit, |mail| mail.id.to_string(), Mail::from)))
}

/// Tells a mail and what it says
#[utoipa::path(get, path = "/api/v1/outbox/{id}", tag = "Mails", params(("id" = i64, Path, description = "Its number")),
    responses((status = 200, description = "The mail", body = MailDetail)))]
pub(super) async fn mail(State(web): State<Web>, Number(id): Number) -> Result<Json<MailDetail>, Problem> {
    let (mail, notice) = web.read(move |tx| tx.delivery_status(id)?.ok_or_else(nothing)).await?;
    let (subject, text) = readable(&notice, &mail.recipient, &web.0.settings.mail)?;
    Ok(Json(MailDetail { mail: mail.into(), subject, text }))
}

/// Tries a mail again, now
#[utoipa::path(post, path = "/api/v1/outbox/{id}/retry", tag = "Mails", params(("id" = i64, Path, description = "Its number")),
    responses((status = 202, description = "It is being tried", body = Mail)))]
pub(super) async fn retry(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Number(id): Number,
) -> Result<(StatusCode, Json<Mail>), Problem> {
    let (who, now) = (caller.who(), web.now());
    let retried = web.write(move |tx| {
        let (before, _) = tx.delivery_status::<serde_json::Value>(id)?.ok_or_else(nothing)?;
        if before.state == DeliveryState::Sent {
            let said = "The server took it; it is not sent twice.";
            return Err(Problem::new(StatusCode::CONFLICT, "It was sent", said));
        }
        Desk::new(tx, &who, now).retry_mail(id)?;
        let (mail, _) = tx.delivery_status::<serde_json::Value>(id)?.ok_or_else(nothing)?;
        Ok(mail)
    });
    let mail = retried.await?;
    web.0.outbox.wake();
    Ok((StatusCode::ACCEPTED, Json(mail.into())))
}

/// Tells who changed what
///
/// Latest first.
#[utoipa::path(get, path = "/api/v1/changes", tag = "Changes", params(Part),
    responses((status = 200, description = "The changes", body = Page<Done>)))]
pub(super) async fn changes(
    State(web): State<Web>,
    Asked(part): Asked<Part>,
) -> Result<Json<Page<Done>>, Problem> {
    let (limit, after) = (limit(part.limit)?, after::<1>(part.after.as_deref())?);
    let before = after.map_or(i64::MAX, |[id]| id);
    let read = u32::try_from(limit + 1).unwrap_or(u32::MAX);
    let changes = web.read(move |tx| Ok(tx.changes_before(before, read)?)).await?;
    Ok(Json(paged(changes, limit, |(id, _)| id.to_string(), |(_, change)| Done::from(change))))
}

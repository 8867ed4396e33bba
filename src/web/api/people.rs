//! Who may look at the pages, and at which projects.

use axum::extract::{Extension, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::super::Web;
use super::super::desk::{Desk, person_version};
use super::super::door::Visitor;
use super::super::page::Problem;
use super::input::{Asked, Body, IfMatch, Number, after, limit, nothing, paged};
use super::shapes::{Page, Part, time};
use crate::store::{Account, AccountRole, ProjectId, Tx};

/// Somebody who may look at the pages.
#[derive(Serialize, ToSchema)]
pub(super) struct PersonEntry {
    /// Their number.
    pub(super) id: i64,
    /// Their address.
    mail: String,
    /// `reader`, `developer` or `admin`.
    role: &'static str,
    /// The projects they were given, besides those with code of theirs. Null: they see all.
    #[schema(required)]
    projects: Option<Vec<i64>>,
    /// Since when.
    created_at: Timestamp,
}

impl PersonEntry {
    pub(super) fn of(account: &Account, given: &[ProjectId]) -> Self {
        Self {
            id: account.id,
            mail: account.mail.clone(),
            role: account.role.as_str(),
            projects: account.limited.then(|| given.iter().map(|id| id.0).collect()),
            created_at: time(account.created_at),
        }
    }
}

/// What somebody may do.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Role {
    /// Look.
    Reader,
    /// Change faults and rules.
    Developer,
    /// Change settings, projects and people.
    Admin,
}

/// Somebody new.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewPerson {
    /// Their mail address.
    #[schema(format = "email", max_length = 254)]
    pub(super) mail: String,
    /// What they may do.
    pub(super) role: Role,
    /// The numbers of the projects they see, besides those with code of theirs. Left out or null: all.
    #[serde(default)]
    pub(super) projects: Option<Vec<i64>>,
}

/// What somebody may do and see from now on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PersonEdit {
    /// What they may do.
    pub(super) role: Role,
    /// The numbers of the projects they see, besides those with code of theirs. Left out or null: all.
    #[serde(default)]
    pub(super) projects: Option<Vec<i64>>,
}

/// Lists everybody who may look at the pages
#[utoipa::path(get, path = "/api/v1/people", tag = "People", params(Part),
    responses((status = 200, description = "The people", body = Page<PersonEntry>)))]
pub(super) async fn people(
    State(web): State<Web>,
    Asked(part): Asked<Part>,
) -> Result<Json<Page<PersonEntry>>, Problem> {
    let (limit, after) = (limit(part.limit)?, after::<1>(part.after.as_deref())?.map_or(0, |[id]| id));
    let people = web.read(move |tx| {
        let mut accounts = tx.accounts()?;
        accounts.sort_by_key(|account| account.id);
        let rest = accounts.iter().filter(|account| account.id > after).take(limit + 1);
        rest.map(|account| person(tx, account.id)).collect::<Result<Vec<_>, _>>()
    });
    Ok(Json(paged(people.await?, limit, |person| person.id.to_string(), |person| person)))
}

fn person(tx: &Tx<'_>, id: i64) -> Result<PersonEntry, Problem> {
    let account = tx.account(id)?.ok_or_else(nothing)?;
    Ok(PersonEntry::of(&account, &tx.projects_given(id)?))
}

/// Gives somebody an account
///
/// They sign in by a link that they ask for. An address that has an account keeps it as it is.
#[utoipa::path(post, path = "/api/v1/people", tag = "People", request_body = NewPerson,
    responses((status = 201, description = "Their account", body = PersonEntry), (status = 200, description = "They had one", body = PersonEntry)))]
pub(super) async fn add_person(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Body(new): Body<NewPerson>,
) -> Result<(StatusCode, Json<PersonEntry>), Problem> {
    let (who, now) = (caller.who(), web.now());
    let added = web.write(move |tx| {
        let projects = numbers(new.projects);
        let (account, new) =
            Desk::new(tx, &who, now).add_person(&new.mail, new.role.into(), projects.as_deref())?;
        Ok((person(tx, account.id)?, new))
    });
    let (person, new) = added.await?;
    Ok((if new { StatusCode::CREATED } else { StatusCode::OK }, Json(person)))
}

/// Tells what somebody may do and see
#[utoipa::path(get, path = "/api/v1/people/{id}", tag = "People", params(("id" = i64, Path, description = "Their number")),
    responses((status = 200, description = "Their account, and an ETag", body = PersonEntry)))]
pub(super) async fn one_person(State(web): State<Web>, Number(id): Number) -> Result<Response, Problem> {
    told(web.read(move |tx| tagged(tx, id)).await?)
}

/// Somebody, and the ETag of what they may do and see.
fn tagged(tx: &Tx<'_>, id: i64) -> Result<(PersonEntry, String), Problem> {
    let account = tx.account(id)?.ok_or_else(nothing)?;
    let given = tx.projects_given(id)?;
    Ok((PersonEntry::of(&account, &given), person_version(&account, &given)))
}

fn told((person, version): (PersonEntry, String)) -> Result<Response, Problem> {
    let tag = HeaderValue::try_from(format!("\"{version}\"")).map_err(|error| Problem::internal(&error))?;
    Ok(([(header::ETAG, tag)], Json(person)).into_response())
}

/// Changes what somebody may do and see
///
/// Takes the ETag of what it was as it was read in `If-Match`; where somebody else was faster, it is refused with 412.
#[utoipa::path(put, path = "/api/v1/people/{id}", tag = "People",
    params(("id" = i64, Path, description = "Their number"), ("If-Match" = String, Header, description = "The ETag of their account as it was read")),
    request_body = PersonEdit, responses((status = 200, description = "Their account as it is now", body = PersonEntry)))]
pub(super) async fn change_person(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Number(id): Number,
    headers: HeaderMap,
    Body(edit): Body<PersonEdit>,
) -> Result<Response, Problem> {
    let wanted = IfMatch::read(&headers)?;
    let (who, now) = (caller.who(), web.now());
    let changed = web.write(move |tx| {
        let account = tx.account(id)?.ok_or_else(nothing)?;
        let projects = numbers(edit.projects);
        wanted.check(&person_version(&account, &tx.projects_given(id)?))?;
        Desk::new(tx, &who, now).change_person(&account, edit.role.into(), projects.as_deref(), None)?;
        tagged(tx, id)
    });
    told(changed.await?)
}

/// Takes somebody's account away
///
/// They are signed out everywhere, and their tokens end.
#[utoipa::path(delete, path = "/api/v1/people/{id}", tag = "People", params(("id" = i64, Path, description = "Their number")),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn remove_person(
    State(web): State<Web>,
    Extension(caller): Extension<Visitor>,
    Number(id): Number,
) -> Result<StatusCode, Problem> {
    let (who, now) = (caller.who(), web.now());
    let removed = web.write(move |tx| {
        let account = tx.account(id)?.ok_or_else(nothing)?;
        Desk::new(tx, &who, now).remove_person(&account, None)
    });
    removed.await?;
    Ok(StatusCode::NO_CONTENT)
}

fn numbers(projects: Option<Vec<i64>>) -> Option<Vec<ProjectId>> {
    projects.map(|projects| projects.into_iter().map(ProjectId).collect())
}

impl From<Role> for AccountRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Reader => Self::Reader,
            Role::Developer => Self::Developer,
            Role::Admin => Self::Admin,
        }
    }
}

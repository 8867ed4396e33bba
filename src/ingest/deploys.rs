//! `POST /api/v1/deploys`: what runs where from now on, so that reports that do not name their revision are
//! blamed at the one that ran.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::document::Refused;
use super::protocol::{self, Protocol};
use super::{Intake, Problem, read_body};
use crate::store::Deploy;

/// Bytes of an announcement.
const MOST_BYTES: usize = 16 << 10;
/// Characters of each of its texts.
const MOST_CHARS: usize = 250;

/// What runs where from now on.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Deploy)]
pub(super) struct Announcement {
    /// A commit id, or the name of a tag.
    #[schema(max_length = 250)]
    revision: String,
    /// Such as `production`.
    #[serde(default)]
    #[schema(max_length = 250)]
    environment: String,
    /// What reports call the release.
    #[schema(max_length = 250)]
    version: Option<String>,
    /// Since when. Left out: now.
    at: Option<Timestamp>,
}

/// What became of an announcement.
#[derive(Serialize, ToSchema)]
#[schema(as = Announced)]
pub(super) struct Announced {
    /// Whether a repository of the project has the revision yet.
    known: bool,
}

/// Announces a deploy
///
/// Reports that do not name their revision are blamed at the one that ran.
#[utoipa::path(post, path = "/api/v1/deploys", tag = "Reports", security(("key" = [])), request_body = Announcement,
    responses((status = 201, description = "Noted", body = Announced), (status = "default", description = "Refused", body = Refused)))]
pub(super) async fn announce(State(intake): State<Intake>, request: Request) -> Response {
    match take(&intake, request).await {
        Ok(response) => response,
        Err(problem) => problem.answer(Protocol::Blamed),
    }
}

async fn take(intake: &Intake, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = read_body(body, MOST_BYTES, &intake.0.held).await;
    let key = protocol::key(&parts.headers, None).ok_or_else(Problem::no_key)?;
    let project = intake.project(key).await?;
    let announcement: Announcement = serde_json::from_slice(&body?.0).map_err(|error| {
        let said =
            format!("{error}; send {{\"revision\": …, \"environment\"?: …, \"version\"?: …, \"at\"?: …}}");
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, said)
    })?;
    let Announcement { revision, environment, version, at } = announcement;
    let texts = [Some(&revision), Some(&environment), version.as_ref()];
    if revision.trim().is_empty() || texts.into_iter().flatten().any(|t| t.chars().count() > MOST_CHARS) {
        let said = format!("revision is needed, and no text may be longer than {MOST_CHARS} characters");
        return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, said));
    }
    let at = at.unwrap_or_else(|| intake.0.pipeline.now()).as_millisecond();
    let deploy = Deploy { environment, revision: revision.trim().to_owned(), version, at };
    let known =
        intake.0.pipeline.announce(project.id, deploy).await.map_err(|error| Problem::internal(&error))?;
    Ok((StatusCode::CREATED, Json(Announced { known })).into_response())
}

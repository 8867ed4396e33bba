//! `POST /api/v1/repositories/{name}/fetch`: something was pushed; a hook of the other side may say so.

use std::time::Duration;

use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use serde_json::{Value, json};

use super::document::Refused;
use super::protocol::{self, Protocol};
use super::{Intake, Problem, read_body};
use crate::pipeline::MirrorState;

/// Bytes of a body, of which nothing is read: hooks send a lot that is not needed.
const MOST_BYTES: usize = 1 << 20;
/// How long the answer waits for the fetch. What takes longer goes on.
const WAIT: Duration = Duration::from_secs(30);

/// How it stands with a repository.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Fetch)]
pub(super) struct Fetch {
    /// Its name.
    name: String,
    /// `fetched`, `failed` or `fetching`.
    state: String,
}

/// Has a repository fetched
///
/// Of those that have a `url`. Hooks of the other side may ask for it; what they send is not read.
#[utoipa::path(post, path = "/api/v1/repositories/{name}/fetch", tag = "Reports", security(("key" = [])),
    params(("name" = String, Path, description = "The repository’s name")),
    responses((status = 200, description = "It was tried", body = Fetch), (status = 202, description = "It takes longer", body = Fetch),
        (status = "default", description = "Refused", body = Refused)))]
pub(super) async fn fetch(
    State(intake): State<Intake>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    match take(&intake, &name, request).await {
        Ok(response) => response,
        Err(problem) => problem.answer(Protocol::Blamed),
    }
}

async fn take(intake: &Intake, name: &str, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = read_body(body, MOST_BYTES, &intake.0.held).await;
    let key = protocol::key(&parts.headers, parts.uri.query()).ok_or_else(Problem::no_key)?;
    let project = intake.project(key).await?;
    body?;
    let Some(done) = intake.0.mirrors.fetch(project.id, name, WAIT).await else {
        let said = format!("this project has no repository {name:?} with a `url`; a clone is read in place");
        return Err(Problem::new(StatusCode::NOT_FOUND, said));
    };
    Ok(match done {
        Some(state) => {
            let outcome = if state.error.is_none() { "fetched" } else { "failed" };
            let mut body = told(name, &state);
            body["state"] = json!(outcome);
            (StatusCode::OK, Json(body)).into_response()
        }
        None => (StatusCode::ACCEPTED, Json(json!({ "name": name, "state": "fetching" }))).into_response(),
    })
}

/// How it stands with a repository that is fetched.
pub(super) fn told(name: &str, state: &MirrorState) -> Value {
    let fetched_at = state.fetched_at.map(|at| at.to_string());
    json!({ "name": name, "fetched_at": fetched_at, "error": state.error, "failures": state.failures })
}

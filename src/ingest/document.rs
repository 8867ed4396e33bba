//! The routes that are ours rather than some client's, as the document of the API tells of them.

use axum::extract::{Request, State};
use axum::response::Response;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::protocol::Protocol;
use super::{Intake, deploys, fetches};

/// What the document says of our own routes.
#[must_use]
pub fn document() -> OpenApi {
    routes().into_openapi()
}

/// Our own routes.
pub(super) fn routes() -> OpenApiRouter<Intake> {
    OpenApiRouter::new()
        .routes(routes!(reports))
        .routes(routes!(oops))
        .routes(routes!(deploys::announce))
        .routes(routes!(fetches::fetch))
}

/// A report that was taken.
#[derive(Serialize, ToSchema)]
#[schema(as = Taken)]
pub(super) struct Taken {
    /// The id that it was given; of several, the first one's.
    id: String,
    /// Of several, everyone's.
    #[serde(skip_serializing_if = "Option::is_none")]
    ids: Option<Vec<String>>,
    /// Where it was waited for: `decided`, `waiting` or `dropped`.
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
}

/// Why a report was refused.
#[derive(Serialize, ToSchema)]
#[schema(as = Refusal)]
pub(super) struct Refused {
    /// In a sentence.
    error: String,
}

/// Reports errors
///
/// One report, or a list of them, as JSON; or what a program prints, as text. When the answer comes, they are on disk.
#[utoipa::path(post, path = "/api/v1/reports", tag = "Reports", security(("key" = [])),
    params(("wait" = Option<f64>, Query, description = "Seconds to wait for what is decided: 0 to 30", minimum = 0)),
    request_body(content((serde_json::Value = "application/json"), (String = "text/plain"))),
    responses((status = 202, description = "Taken", body = Taken), (status = 200, description = "Taken and decided", body = Taken),
        (status = "default", description = "Refused", body = Refused)))]
async fn reports(State(intake): State<Intake>, request: Request) -> Response {
    intake.answer(Protocol::Blamed, request).await
}

/// Reports an error as a Canonical OOPS document
#[utoipa::path(post, path = "/api/v1/oops", tag = "Reports", security(("key" = [])),
    request_body(content((Vec<u8> = "application/bson"), (String = "message/rfc822"))),
    responses((status = 202, description = "Taken", body = Taken), (status = "default", description = "Refused", body = Refused)))]
async fn oops(State(intake): State<Intake>, request: Request) -> Response {
    intake.answer(Protocol::Oops, request).await
}

//! From bytes on a socket to a [`Report`] in the pipeline: routes, keys, limits, answers.
//!
//! The order of events: the key says which project; the body is read and unpacked, never beyond its limits;
//! a decoder makes reports of it; the pipeline takes them; only then is the client answered. A refusal says
//! why, in JSON, and what to do about it.

pub mod airbrake;
mod bytes;
pub mod error;
pub mod flawless;
pub mod frames;
pub mod honeybadger;
pub mod inflate;
pub mod json;
mod lenient;
pub mod limits;
pub mod oops;
pub mod otlp;
pub mod rollbar;
pub mod scrub;
pub mod sentry;
pub mod text;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{get, post};
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::error::DecodeError;
use self::inflate::{InflateError, inflate};
use self::limits::Limits;
use crate::pipeline::{Answer, Pipeline, Receipt, Refusal, Standing};
use crate::report::Report;
use crate::store::{Project, Store};

/// Bodies being unpacked and decoded at once; bounds what bombs can hold.
const DECODING: usize = 4;
/// Unpacked bytes that may wait to be stored, all requests together.
const HELD_BYTES: usize = 256 << 20;
/// The longest that a client may ask to wait for a decision.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How much of a body that is too large is read to its end, so that the client gets to hear why.
const DRAINED_BYTES: usize = 256 << 20;
/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// What a client that came at a bad moment is told to wait, in seconds.
const RETRY_AFTER: u32 = 2;

/// What is taken from clients, and where it goes.
#[derive(Clone)]
pub struct Intake(Arc<Inner>);

struct Inner {
    store: Store,
    pipeline: Pipeline,
    settings: Settings,
    decoding: Arc<Semaphore>,
    held: Arc<Semaphore>,
}

/// How much is taken from clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Bytes of a body as sent.
    pub body_bytes: usize,
    /// Bytes of a body as unpacked.
    pub unpacked_bytes: usize,
    /// How much of each report is kept.
    pub report: Limits,
}

impl Intake {
    /// Takes reports into `pipeline`, for the projects whose keys are in `store`.
    #[must_use]
    pub fn new(store: Store, pipeline: Pipeline, settings: Settings) -> Self {
        let decoding = Arc::new(Semaphore::new(DECODING));
        let held = Arc::new(Semaphore::new(HELD_BYTES));
        Self(Arc::new(Inner { store, pipeline, settings, decoding, held }))
    }

    /// Its routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/api/v1/reports", post(take_reports))
            .route("/healthz", get(health))
            .with_state(self)
    }
}

/// `?wait=SECONDS`.
#[derive(Deserialize)]
struct Options {
    wait: Option<f64>,
}

async fn take_reports(
    State(intake): State<Intake>,
    query: Result<Query<Options>, axum::extract::rejection::QueryRejection>,
    request: Request,
) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let project = intake.project(&parts.headers).await;
    let limit = intake.0.settings.body_bytes;
    // Read in any case: a client that is still sending does not listen for what is wrong.
    let body = tokio::time::timeout(BODY_TIMEOUT, read_body(body, limit)).await;
    let project = project?;
    let Query(options) = query.map_err(|error| {
        Problem::new(
            StatusCode::BAD_REQUEST,
            format!("{}; wait takes a number of seconds", error.body_text()),
        )
    })?;
    let body = body.map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body came too slowly"))??;
    let (reports, _held) = intake.decode(&parts.headers, body).await?;
    let receipts = intake.0.pipeline.accept(project.id, reports).await?;
    intake.answer(&receipts, options.wait).await
}

async fn health(State(intake): State<Intake>) -> Result<Response, Problem> {
    let (waiting, trouble) = intake.0.pipeline.health().await?;
    Ok(Json(json!({ "status": "ok", "waiting_for_blame": waiting, "last_trouble": trouble })).into_response())
}

impl Intake {
    /// The project whose key the request carries.
    async fn project(&self, headers: &HeaderMap) -> Result<Project, Problem> {
        let key = key(headers).ok_or_else(|| {
            Problem::unauthorized("no project key; send `Authorization: Bearer KEY` or `X-Blamed-Key: KEY`")
        })?;
        let store = self.0.store.clone();
        let project = tokio::task::spawn_blocking(move || store.read(|tx| tx.project_of_key(&key))).await;
        match project.expect("reading does not panic") {
            Ok(Some(project)) => Ok(project),
            Ok(None) => {
                Err(Problem::unauthorized("no project has this key; `blamed start` prints the right one"))
            }
            Err(error) => Err(Problem::internal(&error)),
        }
    }

    /// The reports in a body, and the leave to hold them until they are stored.
    async fn decode(
        &self,
        headers: &HeaderMap,
        body: Bytes,
    ) -> Result<(Vec<Report>, OwnedSemaphorePermit), Problem> {
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or("");
        let encoding = text(header::CONTENT_ENCODING).to_owned();
        let format = Format::of(text(header::CONTENT_TYPE), &body, !encoding.trim().is_empty());
        let client_id = text(header::HeaderName::from_static("idempotency-key")).to_owned();
        let settings = self.0.settings.clone();
        let turn = Arc::clone(&self.0.decoding).acquire_owned().await.expect("never closed");
        let decoded = tokio::task::spawn_blocking(move || -> Result<_, Problem> {
            let _turn = turn;
            let unpacked = inflate(&encoding, &body, settings.unpacked_bytes)?;
            let mut reports = format.decode(&unpacked)?;
            for (n, report) in reports.iter_mut().enumerate() {
                if report.client_id.is_none() && !client_id.is_empty() {
                    report.client_id = Some(format!("{client_id}/{n}"));
                }
                settings.report.apply(report);
            }
            Ok((reports, unpacked.len()))
        });
        let (reports, bytes) = decoded.await.map_err(|_| {
            Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "the body brought its decoder down; that is our mistake",
            )
        })??;
        let bytes = u32::try_from(bytes.min(HELD_BYTES)).expect("the limit fits");
        let held = Arc::clone(&self.0.held).try_acquire_many_owned(bytes).map_err(|_| Refusal::Busy)?;
        Ok((reports, held))
    }

    /// What the client is told of reports that are on disk.
    async fn answer(&self, receipts: &[Receipt], wait: Option<f64>) -> Result<Response, Problem> {
        let Some(wait) = wait else {
            let ids: Vec<&str> = receipts.iter().map(|receipt| receipt.id.as_str()).collect();
            let body = match ids.as_slice() {
                [id] => json!({ "id": id }),
                _ => json!({ "id": ids.first(), "ids": ids }),
            };
            return Ok((StatusCode::ACCEPTED, Json(body)).into_response());
        };
        let patience = Duration::try_from_secs_f64(wait).map_err(|_| {
            Problem::new(StatusCode::BAD_REQUEST, "wait takes a number of seconds, from 0 to 30")
        })?;
        let deadline = tokio::time::Instant::now() + patience.min(LONGEST_WAIT);
        let mut answers = Vec::new();
        let mut decided = true;
        for receipt in receipts {
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            let answer =
                self.0.pipeline.decided(receipt, left).await.map_err(|error| Problem::internal(&error))?;
            decided &= answer.is_some() || matches!(receipt.standing, Standing::Dropped { .. });
            answers.push(told(receipt, answer.as_ref()));
        }
        let status = if decided { StatusCode::OK } else { StatusCode::ACCEPTED };
        let body = match answers.len() {
            1 => answers.remove(0),
            _ => json!({ "id": receipts.first().map(|receipt| &receipt.id), "reports": answers }),
        };
        Ok((status, Json(body)).into_response())
    }
}

/// What is told of one report to a client that waited.
fn told(receipt: &Receipt, answer: Option<&Answer>) -> Value {
    let mut told = json!({ "id": receipt.id });
    if let Standing::Duplicate { of, .. } = &receipt.standing {
        told["duplicate_of"] = json!(of);
    }
    if let Standing::Dropped { reason } = &receipt.standing {
        told["state"] = json!("dropped");
        told["decision"] = json!({ "mail": false, "reason": format!("no mail, not counted: {reason}") });
        told["frames"] = json!(receipt.verdicts);
        return told;
    }
    let Some(Answer { fault, found, verdicts }) = answer else {
        told["state"] = json!("waiting");
        told["frames"] = json!(receipt.verdicts);
        return told;
    };
    told["state"] = json!("decided");
    told["fault"] = json!({ "id": fault.id, "count": fault.count });
    told["place"] = json!(found.as_ref().map(|found| &found.place));
    told["confidence"] = json!(found.as_ref().and_then(|found| found.confidence.as_ref()));
    told["frames"] = json!(verdicts);
    told["decision"] = json!({ "mail": fault.decision.starts_with("mail"), "reason": fault.decision });
    match &fault.blame {
        Some(blame) => {
            told["origin"] = json!(blame.origin);
            told["author"] = json!(blame.author);
            told["summary"] = json!(blame.summary);
        }
        None => {
            told["origin"] = Value::Null;
            told["author"] = Value::Null;
            told["blame_failure"] = json!(fault.blame_failure);
        }
    }
    told
}

/// The reports in a text or a JSON document, whichever it is.
///
/// # Errors
/// It is neither.
pub fn decode_any(body: &[u8]) -> Result<Vec<Report>, DecodeError> {
    Format::Unknown.decode(body)
}

/// The key of a request, from wherever it may stand.
fn key(headers: &HeaderMap) -> Option<String> {
    let own = headers.get("x-blamed-key").and_then(|value| value.to_str().ok());
    let bearer = || {
        let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then_some(key)
    };
    own.or_else(bearer).map(|key| key.trim().to_ascii_lowercase()).filter(|key| !key.is_empty())
}

/// What a body is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Json,
    Text,
    /// Nothing was said, and it is packed: looked at once it is unpacked.
    Unknown,
}

impl Format {
    fn of(content_type: &str, body: &[u8], packed: bool) -> Self {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind == "application/json" || kind.ends_with("+json") {
            Self::Json
        } else if kind.starts_with("text/") {
            Self::Text
        } else if packed {
            Self::Unknown
        } else {
            Self::sniff(body)
        }
    }

    /// `curl --data-binary` says that everything is a form, so the body has to tell.
    fn sniff(body: &[u8]) -> Self {
        let mut bytes = body.iter().copied().filter(|byte| !byte.is_ascii_whitespace());
        match (bytes.next(), bytes.next()) {
            (Some(b'{'), _) | (Some(b'['), Some(b'{' | b']')) => Self::Json,
            _ => Self::Text,
        }
    }

    fn decode(self, body: &[u8]) -> Result<Vec<Report>, DecodeError> {
        match self {
            Self::Json => json::decode(body),
            Self::Text => text::decode(body),
            Self::Unknown => Self::sniff(body).decode(body),
        }
    }
}

/// Reads a body of at most `limit` bytes. What goes beyond is read and thrown away, up to a point, because
/// most clients listen only when they have sent everything.
async fn read_body(mut body: Body, limit: usize) -> Result<Bytes, Problem> {
    let mut kept = Vec::new();
    let mut seen = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, format!("the body ended before its time: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        seen += data.len();
        if seen <= limit {
            kept.extend_from_slice(&data);
        } else {
            kept = Vec::new();
            if seen > DRAINED_BYTES {
                break;
            }
        }
    }
    if seen > limit {
        let said = format!("the body is larger than {limit} bytes (limits.body_bytes)");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, said));
    }
    Ok(kept.into())
}

/// Why a request is refused: a status, and a sentence for whoever sent it.
struct Problem {
    status: StatusCode,
    body: Value,
}

impl Problem {
    fn new(status: StatusCode, said: impl Into<String>) -> Self {
        Self { status, body: json!({ "error": said.into() }) }
    }

    fn unauthorized(said: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, said)
    }

    fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "a request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "that failed here; the daemon's log says more")
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal {
            Refusal::Busy => StatusCode::TOO_MANY_REQUESTS,
            Refusal::DiskFull => StatusCode::INSUFFICIENT_STORAGE,
            Refusal::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, refusal.to_string())
    }
}

impl From<InflateError> for Problem {
    fn from(error: InflateError) -> Self {
        let status = match error {
            InflateError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            InflateError::Undecodable { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            InflateError::UnknownEncoding(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        };
        Self::new(status, error.to_string())
    }
}

impl From<DecodeError> for Problem {
    fn from(error: DecodeError) -> Self {
        let mut body = json!(error);
        body["error"] = json!(error.to_string());
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, body }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        let headers = response.headers_mut();
        match self.status {
            StatusCode::UNAUTHORIZED => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER.into());
            }
            _ => {}
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_tells_its_format_where_its_header_does_not() {
        let check = |kind: &str, body: &str, expected| {
            assert_eq!(Format::of(kind, body.as_bytes(), false), expected, "{kind} {body}");
        };
        check("application/json; charset=utf-8", "Traceback", Format::Json);
        check("text/plain", "{}", Format::Text);
        check("application/x-www-form-urlencoded", " {\"traceback\": []}", Format::Json);
        check("", "[ {\"traceback\": []}]", Format::Json);
        check("", "[2026-11-20] Traceback (most recent call last):", Format::Text);
        check("", "Traceback (most recent call last):", Format::Text);
    }

    #[test]
    fn keys() {
        let check = |name: &'static str, value: &str, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(key(&headers).as_deref(), expected, "{name}: {value}");
        };
        check("authorization", "Bearer AB12", Some("ab12"));
        check("authorization", "bearer ab12 ", Some("ab12"));
        check("authorization", "Basic ab12", None);
        check("authorization", "Bearer ", None);
        check("x-blamed-key", "ab12", Some("ab12"));
    }
}

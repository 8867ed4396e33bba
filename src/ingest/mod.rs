//! From bytes on a socket to a [`Report`] in the pipeline: routes, keys, limits, answers.
//!
//! The order of events: the key says which project; the body is read and unpacked, never beyond its limits;
//! a decoder makes reports of it; the pipeline takes them; only then is the client answered. A refusal says
//! why, in JSON, and what to do about it.

pub mod airbrake;
mod anything;
mod bytes;
mod deploys;
mod document;
pub mod error;
mod fetches;
pub mod flawless;
mod flawless_calls;
pub mod frames;
pub mod honeybadger;
pub mod inflate;
pub mod json;
mod lenient;
pub mod limits;
pub mod oops;
pub mod otlp;
pub mod protocol;
mod rates;
pub mod rollbar;
pub mod scrub;
pub mod sentry;
pub mod snippets;
pub mod text;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{Request, State};

use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{MethodRouter, get, post};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower_http::cors::{AllowHeaders, Any, CorsLayer};

use self::error::DecodeError;
use self::frames::cut_machinery;
use self::inflate::{InflateError, inflate};
use self::limits::Limits;
use self::otlp::Signal;
use self::protocol::{Decoded, Protocol};
use self::rates::Rates;
use self::scrub::Scrubber;
use crate::pipeline::{Answer, Mirrors, Pipeline, Receipt, Refusal, Standing};
use crate::report::Report;
use crate::store::{Project, ProjectId, Store};
use crate::telemetry::metrics::METRICS;

pub use self::document::document;
pub use self::protocol::decode_any;

/// Bodies being unpacked and decoded at once; bounds what bombs can hold.
const DECODING: usize = 4;
/// Bytes of bodies that may be held, all requests together: while they come, and unpacked until they are stored.
const HELD_BYTES: usize = 128 << 20;
/// Of these, bytes of bodies whose key is not known before they are read.
const STRANGERS_BYTES: usize = 32 << 20;
/// The longest that a client may ask to wait for a decision.
const LONGEST_WAIT: Duration = Duration::from_secs(30);
/// How much of a body that is too large is read to its end, so that the client gets to hear why.
const DRAINED_BYTES: usize = 256 << 20;
/// How long a client may take to send its body.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// What a client that came at a bad moment is told to wait.
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How often what keys are used for is written down.
const NOTE_EVERY: Duration = Duration::from_secs(1);
/// How long a browser may remember that it may report.
const PREFLIGHT_AGE: Duration = Duration::from_secs(3600);

/// What is taken from clients, and where it goes.
#[derive(Clone)]
pub struct Intake(Arc<Inner>);

struct Inner {
    store: Store,
    pipeline: Pipeline,
    mirrors: Mirrors,
    settings: Settings,
    rates: Rates,
    decoding: Arc<Semaphore>,
    held: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

/// What is taken from clients.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Bytes of a body as sent.
    pub body_bytes: usize,
    /// Bytes of a body as unpacked.
    pub unpacked_bytes: usize,
    /// Requests a minute of one key. `None`: as many as come.
    pub requests_per_minute: Option<NonZeroU32>,
    /// How much of each report is kept.
    pub report: Limits,
    /// Takes secrets out.
    pub scrubber: Scrubber,
    /// Projects whose reports are kept as they come, secrets included.
    pub unscrubbed: Vec<ProjectId>,
    /// How browsers reach the daemon, without a final slash: some answers name it.
    pub public_url: String,
}

impl Intake {
    /// Takes reports into `pipeline`, for the projects whose keys are in `store`, and word of what is new in
    /// `mirrors`.
    #[must_use]
    pub fn new(store: Store, pipeline: Pipeline, mirrors: Mirrors, settings: Settings) -> Self {
        let decoding = Arc::new(Semaphore::new(DECODING));
        let held = Arc::new(Semaphore::new(HELD_BYTES.max(settings.body_bytes + settings.unpacked_bytes)));
        let strangers = Arc::new(Semaphore::new(STRANGERS_BYTES.max(settings.body_bytes)));
        let rates = Rates::new(settings.requests_per_minute);
        Self(Arc::new(Inner { store, pipeline, mirrors, settings, rates, decoding, held, strangers }))
    }

    /// Its routes. The project is known by its key alone: a number in the address is for the client.
    pub fn router(self) -> Router {
        let (own, _) = document::routes().split_for_parts();
        let own = own.route("/healthz", get(health)).method_not_allowed_fallback(not_so);
        // Browsers report from anywhere, and say so first.
        let browsers = Router::new()
            .route("/api/{project}/envelope", takes(Protocol::SentryEnvelope))
            .route("/api/{project}/envelope/", takes(Protocol::SentryEnvelope))
            .route("/api/{project}/store", store())
            .route("/api/{project}/store/", store())
            .route("/api/store", store())
            .route("/api/store/", store())
            .route("/api/{project}/integration/otlp/v1/traces", takes(Protocol::Otlp(Signal::Traces)))
            .route("/api/{project}/integration/otlp/v1/logs", takes(Protocol::Otlp(Signal::Logs)))
            .route("/api/{project}/integration/otlp/v1/metrics", takes(Protocol::Otlp(Signal::Metrics)))
            .route("/v1/traces", takes(Protocol::Otlp(Signal::Traces)))
            .route("/v1/logs", takes(Protocol::Otlp(Signal::Logs)))
            .route("/v1/metrics", takes(Protocol::Otlp(Signal::Metrics)))
            .route("/api/v3/projects/{project}/notices", takes(Protocol::Airbrake))
            .route("/api/v3/projects/{project}/create-notice", takes(Protocol::Airbrake))
            .route("/api/{project}/item", takes(Protocol::Rollbar))
            .route("/api/{project}/item/", takes(Protocol::Rollbar))
            .route("/v1/notices", takes(Protocol::Honeybadger))
            .route("/v1/notices/", takes(Protocol::Honeybadger))
            .route("/v1/notices/js", takes(Protocol::Honeybadger))
            .method_not_allowed_fallback(not_so)
            .layer(
                CorsLayer::new()
                    .allow_origin(Any)
                    .allow_methods([Method::GET, Method::POST, Method::OPTIONS])
                    // Not `*`, which does not mean `Authorization`.
                    .allow_headers(AllowHeaders::mirror_request())
                    .expose_headers(
                        ["retry-after", "x-sentry-rate-limits", "x-sentry-error"]
                            .map(HeaderName::from_static),
                    )
                    .max_age(PREFLIGHT_AGE),
            );
        own.merge(browsers).with_state(self)
    }
}

fn takes(protocol: Protocol) -> MethodRouter<Intake> {
    post(async move |State(intake): State<Intake>, request: Request| intake.answer(protocol, request).await)
}

/// Old clients of Sentry send an event as a body; the oldest, of browsers, in the address of a picture.
fn store() -> MethodRouter<Intake> {
    let pixel = async |State(intake): State<Intake>, request: Request| {
        intake.answer(Protocol::SentryPixel, request).await
    };
    takes(Protocol::SentryStore).get(pixel)
}

/// Somebody looks at an address that is for programs, or a program has the wrong idea of it.
async fn not_so(method: Method) -> Response {
    let said = format!(
        "{method} is not understood at this address; programs report with POST and their project's key, and `blamed \
         project list` prints what to set in each client"
    );
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, said).answer(Protocol::Blamed)
}

async fn health(State(intake): State<Intake>) -> Response {
    match intake.0.pipeline.health().await {
        Ok((waiting, trouble)) => {
            let repositories: Vec<Value> =
                intake.0.mirrors.states().map(|(name, state)| fetches::told(name, &state)).collect();
            Json(json!({
                "status": "ok",
                "waiting_for_blame": waiting,
                "last_trouble": trouble,
                "repositories": repositories,
                "refused_by_rate": intake.0.rates.limited(),
            }))
            .into_response()
        }
        Err(refusal) => Problem::from(refusal).answer(Protocol::Blamed),
    }
}

impl Intake {
    async fn answer(&self, protocol: Protocol, request: Request) -> Response {
        let answer = self.take(protocol, request).await;
        let outcome = answer.as_ref().map_or_else(Problem::outcome, |_| "taken");
        METRICS.requests.with_label_values(&[protocol.as_str(), outcome]).inc();
        answer.unwrap_or_else(|problem| problem.answer(protocol))
    }

    async fn take(&self, protocol: Protocol, request: Request) -> Result<Response, Problem> {
        let (parts, body) = request.into_parts();
        let query = parts.uri.query();
        let project = match protocol::key(&parts.headers, query) {
            Some(key) => Some(self.admit(key).await),
            None if protocol.has_key_in_body() => None,
            None => Some(Err(Problem::no_key())),
        };
        // Read in any case: a client that is still sending does not listen for what is wrong. Of one that is
        // refused already nothing is kept.
        let most = if matches!(project, Some(Err(_))) { 0 } else { self.0.settings.body_bytes };
        let room = if project.is_some() { &self.0.held } else { &self.0.strangers };
        let body = read_body(body, most, room).await;
        let project = project.transpose()?;
        let wait = query.map(wait).transpose()?.flatten();
        let (body, read) = body?;
        let body = protocol.in_query(query).map_or(body, Bytes::from);

        let turn = self.turn().await;
        let unpacked = self.unpack(&parts.headers, body).await?;
        let project = match project {
            Some(project) => project,
            None => {
                let key = protocol.key_in_body(&unpacked).ok_or_else(Problem::no_key)?;
                self.admit(key).await?
            }
        };
        let kind = text(&parts.headers, header::CONTENT_TYPE).to_owned();
        let client_id = text(&parts.headers, HeaderName::from_static("idempotency-key")).to_owned();
        let decoded = self.decode(unpacked, {
            let kind = kind.clone();
            move |inner, body| {
                let mut decoded = protocol.decode(&kind, body, inner.settings.unpacked_bytes)?;
                for (n, report) in decoded.reports.iter_mut().enumerate() {
                    if report.client_id.is_none() && !client_id.is_empty() {
                        report.client_id = Some(format!("{client_id}/{n}"));
                    }
                    inner.make_ready(project.id, report);
                }
                Ok(decoded)
            }
        });
        let (Decoded { reports, event_id }, _held) = decoded.await?;
        drop((turn, read));
        let receipts =
            if reports.is_empty() { Vec::new() } else { self.0.pipeline.accept(project.id, reports).await? };
        if let (Protocol::Blamed, Some(wait)) = (protocol, wait) {
            return self.answer_when_decided(&receipts, wait).await;
        }
        let ids: Vec<String> = receipts.into_iter().map(|receipt| receipt.id).collect();
        let (status, headers, body) =
            protocol.taken(&ids, event_id.as_deref(), &kind, &self.0.settings.public_url);
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        response.headers_mut().extend(headers);
        Ok(response)
    }

    /// The project of a key that may report now.
    async fn admit(&self, key: String) -> Result<Project, Problem> {
        let now = self.0.pipeline.now().as_millisecond();
        self.0.rates.is_left(&key, now).map_err(|wait| Problem::too_often(self, wait))?;
        let project = self.project(key.clone()).await?;
        self.within_rate(&key)?;
        Ok(project)
    }

    /// Takes a request from the bucket of whoever sends it.
    fn within_rate(&self, key: &str) -> Result<(), Problem> {
        let now = self.0.pipeline.now().as_millisecond();
        self.0.rates.admit(key, now).map_err(|wait| Problem::too_often(self, wait))
    }

    /// Writes down what keys are used for, every now and then, and when `stopped` is told.
    pub async fn note_uses(self, mut stopped: watch::Receiver<bool>) {
        let mut goes_on = true;
        while goes_on {
            // An error says that the other end is gone, which is a reason to stop as well.
            goes_on = tokio::time::timeout(NOTE_EVERY, stopped.wait_for(|stop| *stop)).await.is_err();
            let uses = self.0.rates.take();
            if uses.is_empty() {
                continue;
            }
            let inner = Arc::clone(&self.0);
            let noted = tokio::task::spawn_blocking(move || {
                let noted = inner
                    .store
                    .write(|tx| uses.iter().try_for_each(|(key, done)| tx.note_key_use(key, done)));
                if let Err(error) = noted {
                    tracing::debug!(%error, "what keys are used for could not be written down; later");
                    inner.rates.put_back(uses);
                }
            });
            let _ = noted.await;
        }
    }

    /// The project that a key belongs to.
    async fn project(&self, key: String) -> Result<Project, Problem> {
        let store = self.0.store.clone();
        let project = tokio::task::spawn_blocking(move || store.read(|tx| tx.project_of_key(&key))).await;
        match project.expect("reading does not panic") {
            Ok(Some(project)) if self.0.pipeline.has_project(project.id) => Ok(project),
            Ok(Some(_)) => {
                let said = "the project of this key is no longer in the configuration";
                Err(Problem::new(StatusCode::UNAUTHORIZED, said))
            }
            Ok(None) => {
                let said =
                    "no project has this key, or it was revoked; `blamed project list` prints the good ones";
                Err(Problem::new(StatusCode::UNAUTHORIZED, said))
            }
            Err(error) => Err(Problem::internal(&error)),
        }
    }

    async fn unpack(&self, headers: &HeaderMap, body: Bytes) -> Result<Bytes, Problem> {
        let encoding = text(headers, header::CONTENT_ENCODING).to_owned();
        if encoding.trim().is_empty() {
            return Ok(body);
        }
        let most = self.0.settings.unpacked_bytes;
        let unpacked = tokio::task::spawn_blocking(move || {
            inflate(&encoding, &body, most).map(std::borrow::Cow::into_owned)
        });
        Ok(unpacked.await.map_err(|_| Problem::ours("unpacking"))??.into())
    }

    /// Leave to unpack and decode; there is so much of it only.
    async fn turn(&self) -> OwnedSemaphorePermit {
        Arc::clone(&self.0.decoding).acquire_owned().await.expect("never closed")
    }

    /// Has `work` decode a body, off the async threads; gives the leave to hold what it makes until that is
    /// stored, too.
    async fn decode<T: Send + 'static>(
        &self,
        body: Bytes,
        work: impl FnOnce(&Inner, &[u8]) -> Result<T, DecodeError> + Send + 'static,
    ) -> Result<(T, OwnedSemaphorePermit), Problem> {
        let bytes = u32::try_from(body.len().min(HELD_BYTES)).expect("the limit fits");
        let held = Arc::clone(&self.0.held).try_acquire_many_owned(bytes).map_err(|_| Refusal::Busy)?;
        let inner = Arc::clone(&self.0);
        let decoded = tokio::task::spawn_blocking(move || work(&inner, &body));
        Ok((decoded.await.map_err(|_| Problem::ours("decoding"))??, held))
    }

    /// Answers with what is decided about reports that are on disk, as far as it is within `wait`.
    async fn answer_when_decided(&self, receipts: &[Receipt], wait: Duration) -> Result<Response, Problem> {
        let deadline = tokio::time::Instant::now() + wait;
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

impl Inner {
    /// Brings a decoded report of a project into the shape in which it is kept.
    fn make_ready(&self, project: ProjectId, report: &mut Report) {
        cut_machinery(report);
        // Before anything is cut: half a secret is still one, and is not known for it.
        if !self.settings.unscrubbed.contains(&project) {
            self.settings.scrubber.scrub(report);
        }
        self.settings.report.apply(report);
    }
}

/// `wait=SECONDS` of a query.
fn wait(query: &str) -> Result<Option<Duration>, Problem> {
    let Some(given) = query.split('&').find_map(|pair| pair.strip_prefix("wait=")) else { return Ok(None) };
    let seconds = given.parse().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    match seconds {
        Some(seconds) => Ok(Some(seconds.min(LONGEST_WAIT))),
        None => {
            let said = format!("wait takes a number of seconds, from 0 to 30, not {given:?}");
            Err(Problem::new(StatusCode::BAD_REQUEST, said))
        }
    }
}

/// A header's text; empty where it is missing, or no text.
fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
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
    let mails = fault.decision.starts_with("mail");
    // Those that came while the first waited are decided with it; its mail is the only one.
    told["decision"] = match receipt.standing {
        Standing::Parked { joins: true, .. } if mails => {
            json!({ "mail": false, "reason": "no mail: decided with the first report of this line, which has its one mail" })
        }
        _ => json!({ "mail": mails, "reason": fault.decision }),
    };
    match &fault.blame {
        Some(blame) => {
            told["origin"] = json!(blame.origin);
            told["author"] = json!(blame.author);
            told["summary"] = json!(blame.summary);
            if blame.boundary {
                told["boundary"] =
                    json!("the clone is shallow: its history ends there, the line may be older");
            }
        }
        None => {
            told["origin"] = Value::Null;
            told["author"] = Value::Null;
            told["blame_failure"] = json!(fault.blame_failure);
        }
    }
    told
}

/// Reads a body of at most `limit` bytes, as far as there is `room` for it; gives the leave to hold it, too. What goes
/// beyond is read and thrown away, up to a point, because most clients listen only when they have sent everything.
async fn read_body(body: Body, limit: usize, room: &Arc<Semaphore>) -> Result<Held, Problem> {
    let read = tokio::time::timeout(BODY_TIMEOUT, read_to_end(body, limit, room)).await;
    read.map_err(|_| Problem::new(StatusCode::REQUEST_TIMEOUT, "the body came too slowly"))?
}

/// A body, and the leave to hold it.
type Held = (Bytes, Option<OwnedSemaphorePermit>);

async fn read_to_end(mut body: Body, limit: usize, room: &Arc<Semaphore>) -> Result<Held, Problem> {
    // At once as large as it says that it will be: what grows leaves gaps behind. Nothing is touched before it comes.
    let announced = body.size_hint().lower();
    let mut kept = Vec::with_capacity(usize::try_from(announced).map_or(0, |bytes| bytes.min(limit)));
    let mut held: Option<OwnedSemaphorePermit> = None;
    let mut is_crowded = false;
    let mut seen = 0usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, format!("the body ended before its time: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        seen += data.len();
        if seen <= limit && !is_crowded {
            let length = u32::try_from(data.len()).expect("a piece is small");
            match Arc::clone(room).try_acquire_many_owned(length) {
                Ok(more) => match &mut held {
                    Some(held) => held.merge(more),
                    None => held = Some(more),
                },
                Err(_) => is_crowded = true,
            }
        }
        if seen <= limit && !is_crowded {
            kept.extend_from_slice(&data);
        } else {
            (kept, held) = (Vec::new(), None);
            if seen > DRAINED_BYTES {
                break;
            }
        }
    }
    if seen > limit {
        let said = format!("the body is larger than {limit} bytes (limits.body_bytes)");
        return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, said));
    }
    if is_crowded { Err(Refusal::Busy.into()) } else { Ok((kept.into(), held)) }
}

/// Why a request is refused: a status, and a sentence for whoever sent it.
struct Problem {
    status: StatusCode,
    body: Value,
    /// How long to wait, where that may help.
    wait: Option<Duration>,
    /// Whether it is the key that has to wait.
    by_rate: bool,
}

impl Problem {
    /// What became of the request, in a word.
    fn outcome(&self) -> &'static str {
        match self.status {
            StatusCode::UNAUTHORIZED => "no-key",
            StatusCode::PAYLOAD_TOO_LARGE => "too-large",
            StatusCode::TOO_MANY_REQUESTS if self.by_rate => "rate",
            StatusCode::TOO_MANY_REQUESTS => "busy",
            StatusCode::INSUFFICIENT_STORAGE => "disk-full",
            status if status.is_client_error() => "malformed",
            _ => "failed",
        }
    }

    fn new(status: StatusCode, said: impl Into<String>) -> Self {
        let busy = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        Self {
            status,
            body: json!({ "error": said.into() }),
            wait: busy.then_some(RETRY_AFTER),
            by_rate: false,
        }
    }

    /// A key that comes more often than it may.
    fn too_often(intake: &Intake, wait: Duration) -> Self {
        let most = intake.0.settings.requests_per_minute.map_or(0, NonZeroU32::get);
        let said = format!("this key sends more than {most} requests a minute (limits.requests_per_minute)");
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, said);
        Self { wait: Some(wait), by_rate: true, ..problem }
    }

    /// The sentence.
    fn said(&self) -> &str {
        self.body["error"].as_str().unwrap_or_default()
    }

    fn no_key() -> Self {
        let said = "no project key; send `Authorization: Bearer KEY` or `X-Blamed-Key: KEY`";
        Self::new(StatusCode::UNAUTHORIZED, said)
    }

    /// A decoder panicked: its own mistake, which costs only this body.
    fn ours(what: &str) -> Self {
        let said = format!("{what} the body failed here, which is our mistake; please report it");
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, said)
    }

    fn internal(error: &dyn std::error::Error) -> Self {
        tracing::error!(%error, "a request failed");
        let said = "that failed here, for now; the daemon's log says more";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, said)
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
        Self { body, ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "") }
    }
}

impl Problem {
    fn answer(self, protocol: Protocol) -> Response {
        let mut response = (self.status, Json(protocol.refused(self.body))).into_response();
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(wait) = self.wait {
            let seconds = wait.as_secs_f64().ceil().max(1.0) as u64;
            headers.insert(header::RETRY_AFTER, seconds.into());
            headers.extend(protocol.held_off(seconds, self.by_rate));
        }
        response
    }
}

//! What each client protocol calls things: where its key stands, how its body is decoded, and which answer
//! its clients expect. Pure; the routes and limits are the parent's.

use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use super::error::{DecodeError, DecodeErrorKind};
use super::otlp::{self, Signal};
use super::{airbrake, honeybadger, json as own_json, oops, rollbar, sentry, text};
use crate::report::Report;

/// Telemetry that nobody reads here, so that clients of Sentry stop sending it for an hour:
/// `seconds:categories:scope`, as in Sentry's developer documentation on rate limiting.
const SILENCE: &str = "3600:transaction;session;span;log_item;profile;replay:organization";

/// The smallest picture that there is: what a browser gets that asked for one.
const PIXEL: &[u8] =
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00!\xf9\x04\x01\x00\x00\x00\x00,\
    \x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;";

/// Bytes to which what is packed within a document may unpack, where nobody set it.
const MOST_SNIFFED: usize = 64 << 20;

/// A client protocol over HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// Ours: JSON or a text.
    Blamed,
    /// A Sentry envelope.
    SentryEnvelope,
    /// A single Sentry event, of older clients.
    SentryStore,
    /// The same in the query of a picture's address, of the oldest clients in browsers.
    SentryPixel,
    /// OpenTelemetry over HTTP.
    Otlp(Signal),
    /// An Airbrake v3 notice.
    Airbrake,
    /// A Rollbar item.
    Rollbar,
    /// A Honeybadger notice.
    Honeybadger,
    /// A Canonical OOPS document, in BSON.
    Oops,
}

/// What came in one body.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoded {
    /// The errors in it; none where it held other telemetry.
    pub reports: Vec<Report>,
    /// The client's own name for the event, which its answer repeats.
    pub event_id: Option<String>,
}

/// An answer: its status, its headers, and its body.
pub type Reply = (StatusCode, Vec<(HeaderName, HeaderValue)>, Vec<u8>);

impl Protocol {
    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Blamed => "blamed",
            Self::SentryEnvelope => "sentry-envelope",
            Self::SentryStore => "sentry-store",
            Self::SentryPixel => "sentry-pixel",
            Self::Otlp(_) => "otlp",
            Self::Airbrake => "airbrake",
            Self::Rollbar => "rollbar",
            Self::Honeybadger => "honeybadger",
            Self::Oops => "oops",
        }
    }

    /// The reports in an unpacked body. `content_type` matters where a protocol has several forms; `most`
    /// is how many bytes a body packed within the body may unpack to.
    ///
    /// # Errors
    /// It is not of this protocol.
    pub fn decode(self, content_type: &str, body: &[u8], most: usize) -> Result<Decoded, DecodeError> {
        let one = |report: Report| Decoded { event_id: report.client_id.clone(), reports: vec![report] };
        let many = |reports| Decoded { reports, event_id: None };
        match self {
            Self::Blamed => Form::of(content_type).decode(body).map(many),
            Self::SentryEnvelope => {
                let envelope = sentry::decode_envelope(body)?;
                Ok(Decoded { reports: envelope.reports, event_id: envelope.event_id })
            }
            Self::SentryStore | Self::SentryPixel => {
                Ok(sentry::decode_store(body, most)?.map_or_else(|| many(Vec::new()), one))
            }
            Self::Otlp(_) if is_json(content_type) => otlp::decode_json(body).map(many),
            Self::Otlp(signal) => otlp::decode_protobuf(body, signal).map(many),
            Self::Airbrake => airbrake::decode(body).map(one),
            Self::Rollbar => rollbar::decode(body).map(one),
            Self::Honeybadger => honeybadger::decode(body).map(one),
            Self::Oops => oops::decode(body).map(one),
        }
    }

    /// What a body is by the looks of it, and its content type. A text is one of ours; so is what looks like
    /// nothing else. OTLP in protobuf and Flawless's calls do not tell what they are.
    #[must_use]
    pub fn sniff(body: &[u8]) -> (Self, &'static str) {
        let (json, text) = ("application/json", "text/plain");
        let is_bson = body.len() > 4 && body[..4] == u32::to_le_bytes(u32::try_from(body.len()).unwrap_or(0));
        if is_bson || body.starts_with(b"Oops-Id:") || body.starts_with(b"Exception-Type:") {
            return (Self::Oops, "");
        }
        if Form::sniff(body) == Form::Text {
            return (Self::Blamed, text);
        }
        let mut values = serde_json::Deserializer::from_slice(body).into_iter::<Value>();
        let Some(Ok(first)) = values.next() else { return (Self::Blamed, json) };
        let is_one = values.next().is_none();
        let has = |names: &[&str]| names.iter().all(|name| !first[name].is_null());
        let any = |names: &[&str]| names.iter().any(|name| !first[name].is_null());
        match () {
            // Headers of items stand on lines of their own.
            () if !is_one && any(&["event_id", "dsn", "sent_at", "sdk", "trace"]) => {
                (Self::SentryEnvelope, json)
            }
            // Records of a log, one a line.
            () if !is_one => (Self::Blamed, text),
            () if any(&["resourceSpans", "resource_spans"]) => (Self::Otlp(Signal::Traces), json),
            () if any(&["resourceLogs", "resource_logs"]) => (Self::Otlp(Signal::Logs), json),
            () if has(&["errors"]) && any(&["context", "environment", "notifier"]) => (Self::Airbrake, json),
            () if !first["data"]["body"].is_null() => (Self::Rollbar, json),
            () if !first["error"]["backtrace"].is_null() => (Self::Honeybadger, json),
            () if any(&["event_id", "platform", "sentry.interfaces.Exception", "logentry"])
                || !first["exception"]["values"].is_null()
                || !first["exception"][0]["stacktrace"].is_null() =>
            {
                (Self::SentryStore, json)
            }
            () if first.is_object()
                && !any(&["traceback", "exceptions", "exception_type", "exception_message"]) =>
            {
                (Self::Blamed, text)
            }
            () => (Self::Blamed, json),
        }
    }

    /// What the client is told once its reports are on disk. `ids` are those that they were given;
    /// `fault_url` is where the pages are.
    #[must_use]
    pub fn taken(
        self,
        ids: &[String],
        event_id: Option<&str>,
        content_type: &str,
        public_url: &str,
    ) -> Reply {
        let json_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let first = ids.first().map(String::as_str);
        let json = |status, body: Value| (status, vec![json_type.clone()], body.to_string().into_bytes());
        match self {
            Self::Blamed | Self::Oops => {
                let body = match ids {
                    [id] => json!({ "id": id }),
                    _ => json!({ "id": first, "ids": ids }),
                };
                json(StatusCode::ACCEPTED, body)
            }
            Self::SentryEnvelope | Self::SentryStore => {
                let id = event_id.or(first);
                let mut reply = json(StatusCode::OK, id.map_or(json!({}), |id| json!({ "id": id })));
                let silence = HeaderValue::from_static(SILENCE);
                reply.1.push((HeaderName::from_static("x-sentry-rate-limits"), silence));
                reply
            }
            Self::SentryPixel => {
                let kind = HeaderValue::from_static("image/gif");
                (StatusCode::OK, vec![(header::CONTENT_TYPE, kind)], PIXEL.to_vec())
            }
            Self::Otlp(_) if is_json(content_type) => json(StatusCode::OK, json!({})),
            Self::Otlp(_) => {
                let kind = HeaderValue::from_static("application/x-protobuf");
                (StatusCode::OK, vec![(header::CONTENT_TYPE, kind)], Vec::new())
            }
            Self::Airbrake => {
                let id = first.unwrap_or_default();
                json(StatusCode::CREATED, json!({ "id": id, "url": format!("{public_url}/") }))
            }
            Self::Rollbar => {
                let uuid = event_id.or(first);
                json(StatusCode::OK, json!({ "err": 0, "result": { "id": null, "uuid": uuid } }))
            }
            Self::Honeybadger => json(StatusCode::CREATED, json!({ "id": first })),
        }
    }

    /// What the client is told of a refusal, in the shape that it can show. `told` names the reason in
    /// `error`.
    #[must_use]
    pub fn refused(self, mut told: Value) -> Value {
        let said = told["error"].clone();
        match self {
            Self::Blamed | Self::Oops => {}
            Self::SentryEnvelope | Self::SentryStore | Self::SentryPixel => told["detail"] = said,
            Self::Rollbar => {
                told["err"] = json!(1);
                told["message"] = said;
            }
            Self::Otlp(_) | Self::Airbrake | Self::Honeybadger => told["message"] = said,
        }
        told
    }

    /// Headers, besides `Retry-After`, by which the client knows to wait; `by_rate` where it is the key that has to.
    #[must_use]
    pub fn held_off(self, seconds: u64, by_rate: bool) -> Option<(HeaderName, HeaderValue)> {
        match self {
            Self::Airbrake => Some((HeaderName::from_static("x-ratelimit-delay"), seconds.into())),
            // No categories: all of them.
            Self::SentryEnvelope | Self::SentryStore | Self::SentryPixel if by_rate => {
                let limit = HeaderValue::try_from(format!("{seconds}::key:rate"));
                Some((HeaderName::from_static("x-sentry-rate-limits"), limit.expect("digits and letters")))
            }
            _ => None,
        }
    }

    /// What stands in the query where other protocols have a body.
    #[must_use]
    pub fn in_query(self, query: Option<&str>) -> Option<Vec<u8>> {
        if self != Self::SentryPixel {
            return None;
        }
        let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
        let data = pairs.find(|(name, _)| name == "sentry_data").map(|(_, data)| data.into_owned());
        let data = data.unwrap_or_default();
        // The `+` of base64 is a blank in a query that was not encoded.
        Some(if data.trim_start().starts_with('{') { data } else { data.replace(' ', "+") }.into_bytes())
    }

    /// Whether clients may send their key in the body.
    #[must_use]
    pub fn has_key_in_body(self) -> bool {
        matches!(self, Self::SentryEnvelope | Self::Rollbar)
    }

    /// The key in a body, where the protocol may have one there.
    #[must_use]
    pub fn key_in_body(self, body: &[u8]) -> Option<String> {
        match self {
            Self::SentryEnvelope => sentry::key_from(None, None, None, Some(body)),
            Self::Rollbar => rollbar::access_token(body),
            _ => None,
        }
    }
}

/// The key of a request, from wherever a client may put it: every client has a place of its own, and none
/// means anything else by another's.
#[must_use]
pub fn key(headers: &HeaderMap, query: Option<&str>) -> Option<String> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let plain = ["x-blamed-key", "x-api-key", "x-airbrake-token", "x-rollbar-access-token"];
    let in_query =
        query.into_iter().flat_map(|query| query.split('&')).find_map(|pair| pair.strip_prefix("key="));
    let key = plain.iter().find_map(|name| text(name)).or(in_query).map(str::to_owned);
    let key = key.or_else(|| sentry::key_from(text("x-sentry-auth"), text("authorization"), query, None));
    key.map(|key| key.trim().to_ascii_lowercase()).filter(|key| !key.is_empty())
}

fn is_json(content_type: &str) -> bool {
    let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind.ends_with("+json")
}

/// The reports in a document or a text of any kind that tells what it is.
///
/// # Errors
/// It is none, or says nothing of an error.
pub fn decode_any(body: &[u8]) -> Result<Vec<Report>, DecodeError> {
    let (protocol, content_type) = Protocol::sniff(body);
    Ok(protocol.decode(content_type, body, MOST_SNIFFED)?.reports)
}

/// What a body of ours is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    Text,
    /// Nobody says; it looks like one of them.
    Any,
}

impl Form {
    fn of(content_type: &str) -> Self {
        if is_json(content_type) {
            Self::Json
        } else if content_type.trim_start().to_ascii_lowercase().starts_with("text/") {
            Self::Text
        } else {
            Self::Any
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
        let is_quoted = body.trim_ascii_start().starts_with(b"\"");
        let reports = match self {
            Self::Json if is_quoted => text::decode(body)?,
            Self::Json => own_json::decode(body)?,
            Self::Text => text::decode(body)?,
            Self::Any => match Self::sniff(body) {
                // A record of a structured log is JSON, too.
                Self::Json => {
                    own_json::decode(body).or_else(|error| text::decode(body).map_err(|_| error))?
                }
                _ => text::decode(body)?,
            },
        };
        if reports.is_empty() {
            return Err(DecodeError::whole(DecodeErrorKind::Nothing, "the list of reports is empty"));
        }
        Ok(reports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_tells_its_form_where_its_header_does_not() {
        for (kind, form) in [
            ("application/json; charset=utf-8", Form::Json),
            ("text/plain", Form::Text),
            ("application/x-www-form-urlencoded", Form::Any),
            ("", Form::Any),
        ] {
            assert_eq!(Form::of(kind), form, "{kind}");
        }
        for (body, form) in [
            (" {\"traceback\": []}", Form::Json),
            ("[ {\"traceback\": []}]", Form::Json),
            ("[2026-11-20] Traceback (most recent call last):", Form::Text),
            ("Traceback (most recent call last):", Form::Text),
        ] {
            assert_eq!(Form::sniff(body.as_bytes()), form, "{body}");
        }
        let record = r#"{"level": "error", "err": {"stack": "TypeError: x\n    at f (/srv/a.js:1:2)"}}"#;
        assert_eq!(decode_any(record.as_bytes()).unwrap()[0].protocol, "javascript-text");
        let quoted = br#""TypeError: x\n    at f (/srv/a.js:1:2)""#;
        assert_eq!(Form::Json.decode(quoted).unwrap()[0].protocol, "javascript-text");
    }

    #[test]
    fn documents_tell_what_they_are() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/requests");
        let check = |name: &str, expected| {
            assert_eq!(Protocol::sniff(&std::fs::read(folder.join(name)).unwrap()).0, expected, "{name}");
        };
        check("airbrake-node.json", Protocol::Airbrake);
        check("pybrake.json", Protocol::Airbrake);
        check("honeybadger.json", Protocol::Honeybadger);
        check("oops.bson", Protocol::Oops);
        check("oops.rfc822", Protocol::Oops);
        check("otlp-logs.json", Protocol::Otlp(Signal::Logs));
        check("rollbar.json", Protocol::Rollbar);
        check("blamed.json", Protocol::Blamed);
        assert_eq!(Protocol::sniff(b"{\"level\":50,\"err\":{\"stack\":\"\"}}").1, "text/plain");
        assert_eq!(Protocol::sniff(b"{\"a\":1}\n{\"a\":2}\n").1, "text/plain");
    }

    #[test]
    fn keys() {
        let check = |name: &'static str, value: &str, query: Option<&str>, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(name, value.parse().unwrap());
            assert_eq!(key(&headers, query).as_deref(), expected, "{name}: {value} {query:?}");
        };
        check("authorization", "Bearer AB12", None, Some("ab12"));
        check("authorization", "bearer ab12 ", None, Some("ab12"));
        check("authorization", "Bearer ", None, None);
        check("x-blamed-key", "ab12", None, Some("ab12"));
        check("x-api-key", "ab12", None, Some("ab12"));
        check("x-rollbar-access-token", "ab12", None, Some("ab12"));
        check("x-sentry-auth", "Sentry sentry_version=7, sentry_key=ab12", None, Some("ab12"));
        check("accept", "x", Some("sentry_version=7&sentry_key=ab12"), Some("ab12"));
        check("accept", "x", Some("key=ab12"), Some("ab12"));
        check("accept", "x", Some("monkey=ab12"), None);
    }
}

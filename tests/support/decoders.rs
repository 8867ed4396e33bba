//! Every way in which bytes of others are read, and what is promised of it whatever the bytes: nothing panics, nothing
//! grows beyond its limits, every error tells a place inside the body, and scrubbing changes no place.

#![allow(dead_code, unreachable_pub, reason = "a module of several programs")]

use std::path::Path;
use std::sync::LazyLock;

use axum::http::HeaderMap;
use blamed::config::Config;
use blamed::ingest::error::DecodeError;
use blamed::ingest::frames::cut_machinery;
use blamed::ingest::inflate::{InflateError, inflate};
use blamed::ingest::limits::Limits;
use blamed::ingest::scrub::Scrubber;
use blamed::ingest::text::{self, Sighting, Tracebacks};
use blamed::ingest::{
    airbrake, decode_any, flawless, honeybadger, json, oops, otlp, protocol, rollbar, sentry,
};
use blamed::report::Report;

/// A decoder, and what it made of a body.
pub type Decoder = fn(&[u8]) -> Result<Vec<Report>, DecodeError>;

/// What takes secrets out; made once.
static SCRUBBER: LazyLock<Scrubber> = LazyLock::new(Scrubber::default);
/// Bytes to which a body that is packed may unpack.
const MOST_UNPACKED: usize = 100_000;
/// The encodings that a body may have. The last lay over each other.
const ENCODINGS: [&str; 6] = ["gzip", "deflate", "br", "zstd", "gzip, br", "zstd, deflate, gzip"];

/// Every decoder, by name.
pub const DECODERS: [(&str, Decoder); 17] = [
    ("airbrake", |bytes| airbrake::decode(bytes).map(|report| vec![report])),
    ("anything", decode_any),
    ("configuration", configuration),
    ("flawless", |bytes| {
        flawless::decode(bytes).map(|call| {
            assert!(flawless::reply(&call).len() >= 12);
            match call.request {
                flawless::Request::RecordError(report) => vec![*report],
                flawless::Request::Ping | flawless::Request::Unknown => Vec::new(),
            }
        })
    }),
    ("honeybadger", |bytes| honeybadger::decode(bytes).map(|report| vec![report])),
    ("inflate", packed),
    ("json", json::decode),
    ("key", key),
    ("oops", |bytes| oops::decode(bytes).map(|report| vec![report])),
    ("otlp_json", otlp::decode_json),
    ("otlp_logs", |bytes| otlp::decode_protobuf(bytes, otlp::Signal::Logs)),
    ("otlp_traces", |bytes| otlp::decode_protobuf(bytes, otlp::Signal::Traces)),
    ("rollbar", |bytes| rollbar::decode(bytes).map(|report| vec![report])),
    ("sentry_envelope", |bytes| sentry::decode_envelope(bytes).map(|envelope| envelope.reports)),
    ("sentry_store", |bytes| {
        sentry::decode_store(bytes, MOST_UNPACKED).map(|report| report.into_iter().collect())
    }),
    ("stream", stream),
    ("text", text::decode),
];

/// Where a key may stand.
fn key(bytes: &[u8]) -> Result<Vec<Report>, DecodeError> {
    let text = String::from_utf8_lossy(bytes);
    let in_envelope = protocol::Protocol::SentryEnvelope.key_in_body(bytes);
    let in_item = protocol::Protocol::Rollbar.key_in_body(bytes);
    let mut headers = HeaderMap::new();
    for name in ["authorization", "x-sentry-auth", "x-blamed-key"] {
        if let Ok(value) = text.parse() {
            headers.insert(name, value);
        }
    }
    let in_head = protocol::key(&headers, Some(&text));
    for key in [in_envelope, in_item, in_head] {
        assert!(key.is_none_or(|key| !key.is_empty()));
    }
    Ok(Vec::new())
}

/// A body that is packed; its first byte says how.
fn packed(bytes: &[u8]) -> Result<Vec<Report>, DecodeError> {
    let Some((&how, body)) = bytes.split_first() else { return Ok(Vec::new()) };
    let encoding = ENCODINGS[usize::from(how) % ENCODINGS.len()];
    match inflate(encoding, body, MOST_UNPACKED) {
        Ok(unpacked) => assert!(unpacked.len() <= MOST_UNPACKED),
        Err(InflateError::TooLarge { limit }) => assert_eq!(limit, MOST_UNPACKED),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    Ok(Vec::new())
}

/// A configuration that names no file: what is in these is not the bytes' to say.
fn configuration(bytes: &[u8]) -> Result<Vec<Report>, DecodeError> {
    let text = String::from_utf8_lossy(bytes);
    let names_none = !["file", "path", "cert", "key"].iter().any(|word| text.contains(word));
    if names_none && let Err(problems) = Config::parse(Path::new("blamed.toml"), &text) {
        assert!(!problems.to_string().is_empty());
    }
    Ok(Vec::new())
}

/// A stream, which comes in pieces: where it is cut changes nothing.
fn stream(bytes: &[u8]) -> Result<Vec<Report>, DecodeError> {
    let whole = sightings(bytes, bytes.len().max(1));
    let size = usize::from(bytes.first().copied().unwrap_or_default()) + 1;
    assert_eq!(whole, sightings(bytes, size), "in pieces of {size} bytes");
    assert!(whole.iter().all(|sighting| sighting.offset <= bytes.len() as u64));
    Ok(whole.into_iter().map(|sighting| sighting.report).collect())
}

fn sightings(bytes: &[u8], size: usize) -> Vec<Sighting> {
    let mut stream = Tracebacks::default();
    let mut found: Vec<Sighting> = bytes.chunks(size).flat_map(|piece| stream.push(piece)).collect();
    assert!(stream.settled() <= bytes.len() as u64);
    found.extend(stream.flush());
    found
}

/// Holds a decoder to what is promised of it, on one body.
pub fn check(decoder: &str, decode: Decoder, sample: &str, bytes: &[u8]) {
    let reports = match decode(bytes) {
        Ok(reports) => reports,
        Err(error) => {
            assert!(
                error.offset.unwrap_or(0) <= bytes.len().max(MOST_UNPACKED),
                "{decoder}, {sample}: {error}"
            );
            assert!(!error.reason.is_empty(), "{decoder}, {sample}");
            return;
        }
    };
    for mut report in reports {
        assert!(report.count >= 1 && !report.protocol.is_empty(), "{decoder}, {sample}: {report:?}");
        cut_machinery(&mut report);
        let places = |report: &Report| {
            let frames = report.exceptions.iter().flat_map(|exception| &exception.frames);
            frames
                .map(|frame| (frame.file.clone(), frame.line, frame.function.clone(), frame.text.clone()))
                .collect::<Vec<_>>()
        };
        let before = places(&report);
        SCRUBBER.scrub(&mut report);
        assert_eq!(places(&report), before, "{decoder}, {sample}: scrubbing changes no place");
        Limits { frames: 6, exceptions: 3, ..Limits::default() }.apply(&mut report);
        assert!(report.exceptions.len() <= 3, "{decoder}, {sample}");
        for exception in &report.exceptions {
            assert!(exception.frames.len() <= 6, "{decoder}, {sample}");
            assert!(
                exception.omitted.is_none_or(|omitted| omitted.at <= exception.frames.len()),
                "{decoder}, {sample}"
            );
        }
    }
}

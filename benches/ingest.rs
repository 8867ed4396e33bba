//! How fast the decoders are, beside serde_json's parsing of the same bytes into a `Value`.
//! `cargo bench --bench ingest`.
//!
//! What is no JSON is set beside the time that parsing as many bytes of the envelope's JSON takes.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints figures")]

use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use blamed::ingest::limits::Limits;
use blamed::ingest::scrub::Scrubber;
use blamed::ingest::{airbrake, flawless, frames, honeybadger, json, oops, otlp, rollbar, sentry, text};
use serde_json::Value;

/// Bytes of the envelope that is measured.
const ENVELOPE_BYTES: usize = 16 * 1024;
/// The longest that it may take to decode it.
const ENVELOPE_TIME: Duration = Duration::from_micros(60);
/// Times serde_json's time that a decoder may take.
const TARGET: f64 = 3.0;
/// Each figure is the best of this many runs.
const RUNS: usize = 400;

fn main() {
    let envelope = envelope();
    let event = envelope.splitn(3, |&byte| byte == b'\n').last().unwrap();
    let value_per_byte =
        best(|| serde_json::from_slice::<Value>(event).unwrap()).as_secs_f64() / event.len() as f64;

    println!(
        "{:<28}{:>8}{:>12}{:>12}{:>8}   (at most {TARGET})",
        "decoder", "bytes", "decode µs", "Value µs", "ratio"
    );
    let print = |name: &str, bytes: &[u8], took: Duration| {
        let value = match serde_json::from_slice::<Value>(bytes) {
            Ok(_) => best(|| serde_json::from_slice::<Value>(bytes).unwrap()).as_secs_f64(),
            Err(_) => value_per_byte * bytes.len() as f64,
        };
        let took = took.as_secs_f64();
        let ratio = took / value;
        let told = if ratio > TARGET { "   MISSED" } else { "" };
        println!("{name:<28}{:>8}{:>12.1}{:>12.1}{ratio:>8.2}{told}", bytes.len(), took * 1e6, value * 1e6);
    };
    let took = best(|| sentry::decode_envelope(&envelope).unwrap());
    print("sentry envelope", &envelope, took);
    let told = if took > ENVELOPE_TIME { "   MISSED" } else { "" };
    println!(
        "    of that envelope: {:.1} µs (at most {}){told}",
        took.as_secs_f64() * 1e6,
        ENVELOPE_TIME.as_micros()
    );
    let node = request("sentry-node.envelope");
    print("sentry envelope, node", &node, best(|| sentry::decode_envelope(&node).unwrap()));
    let store = request("sentry-store.json");
    print("sentry store", &store, best(|| sentry::decode_store(&store, 1 << 20).unwrap()));
    for (name, decode) in [
        ("pybrake.json", airbrake::decode as fn(&[u8]) -> Result<_, _>),
        ("honeybadger.json", honeybadger::decode),
        ("rollbar.json", rollbar::decode),
        ("oops.bson", oops::decode),
    ] {
        let body = request(name);
        print(name, &body, best(|| decode(&body).unwrap()));
    }
    let flawless = request("flawless.thrift");
    print("flawless", &flawless, best(|| flawless::decode(&flawless).unwrap()));
    let logs = request("otlp-logs.json");
    print("otlp json", &logs, best(|| otlp::decode_json(&logs).unwrap()));
    let traces = request("otlp-traces.protobuf");
    print("otlp protobuf", &traces, best(|| otlp::decode_protobuf(&traces, otlp::Signal::Traces).unwrap()));
    let own = own_json();
    print("blamed json", &own, best(|| json::decode(&own).unwrap()));
    for name in
        ["python-chained", "python-group", "node-error-cause", "java-caused-by", "rust-index-backtrace-1"]
    {
        let body = read(&format!("tracebacks/{name}.txt"));
        print(name, &body, best(|| text::decode(&body).unwrap()));
    }

    let report = sentry::decode_envelope(&envelope).unwrap().reports.remove(0);
    let (scrubber, limits) = (Scrubber::default(), Limits::default());
    let copy = best(|| report.clone());
    let then = |change: &dyn Fn(&mut blamed::report::Report)| {
        let took = best(|| {
            let mut report = report.clone();
            change(&mut report);
            report
        });
        took.saturating_sub(copy)
    };
    print("scrub, of that envelope", &envelope, then(&|report| scrubber.scrub(report)));
    print("limits, of that envelope", &envelope, then(&|report| limits.apply(report)));
    print("frames, of that envelope", &envelope, then(&frames::cut_machinery));
}

/// The shortest of many runs: what the machine does when nothing disturbs it.
fn best<T>(mut run: impl FnMut() -> T) -> Duration {
    (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            black_box(run());
            begun.elapsed()
        })
        .min()
        .unwrap()
}

fn read(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
}

fn request(name: &str) -> Vec<u8> {
    read(&format!("requests/{name}"))
}

/// A real client's envelope, its last exception repeated as a cause until it is as large as it is to be.
fn envelope() -> Vec<u8> {
    let sent = request("sentry-python.envelope");
    let mut lines = sent.split(|&byte| byte == b'\n').skip(2);
    let mut event: Value = serde_json::from_slice(lines.next().unwrap()).unwrap();
    loop {
        let json = serde_json::to_vec(&event).unwrap();
        if json.len() >= ENVELOPE_BYTES {
            return [&b"{}\n{\"type\":\"event\"}\n"[..], &json].concat();
        }
        let frames = event["exception"]["values"][0]["stacktrace"]["frames"].as_array_mut().unwrap();
        frames.push(frames.last().unwrap().clone());
    }
}

/// The frames of that client in our own form.
fn own_json() -> Vec<u8> {
    let report = sentry::decode_envelope(&envelope()).unwrap().reports.remove(0);
    let thrown = report.headline().unwrap();
    let frames: Vec<Value> = thrown
        .frames
        .iter()
        .map(|frame| {
            let locals: serde_json::Map<String, Value> =
                frame.locals.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
            serde_json::json!({
                "filename": frame.file, "line_number": frame.line, "function_name": frame.function, "text": frame.text,
                "frame_locals": locals
            })
        })
        .collect();
    serde_json::to_vec(&serde_json::json!({
        "traceback": frames, "exception_type": thrown.kind, "exception_message": thrown.message, "hostname": "web-1"
    }))
    .unwrap()
}

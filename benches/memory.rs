//! How much memory a request takes, beside the bytes of its unpacked body. `cargo bench --bench memory`.
//!
//! First each decoder alone, by an allocator that counts: a body as large as one may be, out of a real client's report
//! over and over, to reports that are ready to be kept. Then whole requests to a daemon, by what the system says of its
//! memory.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints figures")]

use std::fs;
use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use blamed::ingest::limits::Limits;
use blamed::ingest::scrub::Scrubber;
use blamed::ingest::{airbrake, honeybadger, json, oops, otlp, rollbar, sentry, text};
use blamed::report::Report;
use peak_alloc::PeakAlloc;
use serde_json::Value;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Bytes of the bodies, at least: a little less than is taken by default.
const BYTES: usize = 7 << 20;
/// Times the body that a request may take.
const TARGET: f64 = 3.0;

fn main() {
    println!("{:<28}{:>10}{:>12}{:>8}   (at most {TARGET})", "decoder", "bytes", "held", "ratio");
    let print = |name: &str, bytes: usize, held: usize| {
        let ratio = held as f64 / bytes as f64;
        let told = if ratio > TARGET { "   MISSED" } else { "" };
        println!("{name:<28}{bytes:>10}{held:>12}{ratio:>8.2}{told}");
    };
    let bodies = bodies();
    for (name, _, body, decode) in &bodies {
        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let mut reports = decode(body);
        let (scrubber, limits) = (Scrubber::default(), Limits::default());
        for report in &mut reports {
            scrubber.scrub(report);
            limits.apply(report);
        }
        black_box(&reports);
        print(name, body.len(), body.len() + HEAP.peak_usage() - before);
    }
    println!("\n{:<28}{:>10}{:>12}{:>8}", "request to a daemon", "bytes", "grown by", "ratio");
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(folder.path());
    for (name, path, body, _) in &bodies {
        // What it holds for all requests is there after the first, and what it gave back is not of this one.
        daemon.post(path, &body[..body.len().min(100)]);
        let before = daemon.memory("VmRSS:");
        fs::write(format!("/proc/{}/clear_refs", daemon.process.id()), "5").unwrap();
        daemon.post(path, body);
        print(name, body.len(), (daemon.memory("VmHWM:") - before) << 10);
    }
}

type Decode = fn(&[u8]) -> Vec<Report>;

/// Whose they are, where they are sent, they, and how they are decoded.
fn bodies() -> Vec<(&'static str, &'static str, Vec<u8>, Decode)> {
    let event = event();
    let line = |text: &str| format!("{text}\n").into_bytes();
    let item = [line("{\"type\":\"event\"}"), event.clone(), line("")].concat();
    let envelope = [line("{}"), item.repeat(BYTES / item.len())].concat();
    let wide = wide_event(&event);
    let own = json::encode(&sentry::decode_envelope(&envelope).unwrap().reports[..1]);
    let own = own.strip_prefix(b"[").unwrap().strip_suffix(b"]").unwrap();
    let many = [own, b","].concat().repeat(BYTES / own.len());
    let text_of = |name: &str| {
        let one = fs::read(fixture(&format!("tracebacks/{name}.txt"))).unwrap();
        let one = [one, line(""), line("2026-11-20 12:00:00 INFO a line between")].concat();
        one.repeat((BYTES / one.len()).min(900))
    };
    vec![
        ("sentry envelope, events", "/api/1/envelope/", envelope, |body| {
            sentry::decode_envelope(body).unwrap().reports
        }),
        ("sentry store, one event", "/api/1/store/", wide.clone(), |body| {
            sentry::decode_store(body, BYTES).unwrap().into_iter().collect()
        }),
        ("airbrake", "/api/v3/projects/1/notices", stretched("pybrake.json"), |body| {
            vec![airbrake::decode(body).unwrap()]
        }),
        ("honeybadger", "/v1/notices", stretched("honeybadger.json"), |body| {
            vec![honeybadger::decode(body).unwrap()]
        }),
        ("rollbar", "/api/1/item/", stretched("rollbar.json"), |body| vec![rollbar::decode(body).unwrap()]),
        ("otlp json", "/v1/logs", stretched("otlp-logs.json"), |body| otlp::decode_json(body).unwrap()),
        ("blamed json", "/api/v1/reports", [b"[", &many[..many.len() - 1], b"]"].concat(), |body| {
            json::decode(body).unwrap()
        }),
        ("oops", "/api/v1/oops", fs::read(fixture("requests/oops.bson")).unwrap(), |body| {
            vec![oops::decode(body).unwrap()]
        }),
        ("text, python", "/api/v1/reports", text_of("python-chained"), |body| text::decode(body).unwrap()),
        ("text, java", "/api/v1/reports", text_of("java-caused-by"), |body| text::decode(body).unwrap()),
        ("text, node", "/api/v1/reports", text_of("node-error-cause"), |body| text::decode(body).unwrap()),
    ]
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A real client's event.
fn event() -> Vec<u8> {
    let sent = fs::read(fixture("requests/sentry-python.envelope")).unwrap();
    sent.split(|&byte| byte == b'\n').nth(2).unwrap().to_vec()
}

/// The same with frames until it is as large as it is to be.
fn wide_event(event: &[u8]) -> Vec<u8> {
    let mut event: Value = serde_json::from_slice(event).unwrap();
    let frames = event["exception"]["values"][0]["stacktrace"]["frames"].as_array_mut().unwrap();
    let size = serde_json::to_vec(&frames).unwrap().len();
    *frames = repeated(frames, BYTES / size);
    serde_json::to_vec(&event).unwrap()
}

fn repeated(elements: &[Value], times: usize) -> Vec<Value> {
    std::iter::repeat_n(elements, times).flatten().cloned().collect()
}

/// A real client's document, every list of objects in it repeated, so that it is as large as it is to be.
fn stretched(name: &str) -> Vec<u8> {
    fn stretch(value: &mut Value, times: usize) {
        match value {
            Value::Array(elements) if elements.iter().all(Value::is_object) && elements.len() > 2 => {
                *elements = repeated(elements, times);
            }
            Value::Array(elements) => elements.iter_mut().for_each(|element| stretch(element, times)),
            Value::Object(members) => members.values_mut().for_each(|member| stretch(member, times)),
            _ => {}
        }
    }
    let document: Value =
        serde_json::from_slice(&fs::read(fixture(&format!("requests/{name}"))).unwrap()).unwrap();
    let (mut times, mut bytes) = (1, Vec::new());
    while bytes.len() < BYTES && times < 1 << 16 {
        times *= 2;
        let mut stretched = document.clone();
        stretch(&mut stretched, times);
        bytes = serde_json::to_vec(&stretched).unwrap();
    }
    bytes
}

/// A running daemon; killed when dropped.
struct Daemon {
    process: Child,
    url: String,
    key: String,
}

impl Daemon {
    fn start(folder: &Path) -> Self {
        let repository = folder.join("shop");
        let made = Command::new("git").args(["init", "--quiet"]).arg(&repository).status().unwrap();
        assert!(made.success());
        let (data, limits) = (folder.join("data"), folder.join("blamed.toml"));
        fs::write(&limits, "[limits]\nbody_bytes = 67_108_864\nunpacked_bytes = 67_108_864\n").unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_blamed"))
            .args(["start", "--listen", "127.0.0.1:0", "--config"])
            .arg(&limits)
            .arg("--repository")
            .arg(&repository)
            .arg("--data-dir")
            .arg(&data)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut after =
            |start: &str| lines.find_map(|line| line.trim().strip_prefix(start).map(str::to_owned)).unwrap();
        let (url, key) = (after("blamed listens on "), after("key "));
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, url, key }
    }

    fn post(&self, path: &str, body: &[u8]) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let request = agent.post(format!("{}{path}", self.url));
        let kind =
            if body.starts_with(b"{") || body.starts_with(b"[") { "application/json" } else { "text/plain" };
        let request = request.header("X-Blamed-Key", &self.key).header("Content-Type", kind);
        request.send(body).unwrap();
    }

    /// What the system says of its memory, in KiB.
    fn memory(&self, what: &str) -> usize {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

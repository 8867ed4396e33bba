//! Every request that real clients were seen to send, decoded, and compared with what is noted beside it.
//!
//! They lie in `clients/` of the folder that `BLAMED_SHARED` names, or of `../shared`.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a skip is told, and a broken capture stops the test"
)]

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use blamed::ingest::inflate::inflate;
use blamed::ingest::{airbrake, flawless, honeybadger, oops, otlp, rollbar, sentry, text};
use blamed::report::{Frame, Report};
use serde_json::Value;

/// The unpacked size allowed.
const MAX: usize = 8 << 20;

/// A captured request, or one of the further requests of its run.
struct Request {
    folder: PathBuf,
    path: String,
    encoding: String,
    body: Vec<u8>,
}

/// The folders of the captures in `group`, each with its further requests. `None`: there are none here.
fn captures(group: &str) -> Option<Vec<Request>> {
    let shared = std::env::var_os("BLAMED_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let root = shared.join("clients").join(group);
    if !root.is_dir() {
        let _ = writeln!(std::io::stderr(), "skipped: captured requests; BLAMED_SHARED names their folder");
        return None;
    }
    let folders = |of: &Path| -> Vec<PathBuf> {
        fs::read_dir(of).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect()
    };
    let cases = folders(&root);
    let requests = cases.iter().flat_map(|case| std::iter::once(case.clone()).chain(folders(case)));
    let mut requests: Vec<Request> = requests.filter_map(|folder| request(&folder)).collect();
    requests.sort_by(|a, b| a.folder.cmp(&b.folder));
    assert!(!requests.is_empty());
    Some(requests)
}

fn request(folder: &Path) -> Option<Request> {
    let body = fs::read(folder.join("body.bin")).or_else(|_| fs::read(folder.join("body.txt"))).ok()?;
    let head: Value = fs::read_to_string(folder.join("request.json"))
        .map_or(Value::Null, |json| serde_json::from_str(&json).expect("request.json is JSON"));
    let header = |name: &str| {
        let mut headers = head["headers"].as_array()?.iter();
        let value =
            headers.find(|pair| pair[0].as_str().is_some_and(|key| key.eq_ignore_ascii_case(name)))?;
        value[1].as_str().map(str::to_owned)
    };
    Some(Request {
        path: head["path"].as_str().unwrap_or_default().to_owned(),
        encoding: header("content-encoding").unwrap_or_default(),
        body: inflate(&header("content-encoding").unwrap_or_default(), &body, MAX)
            .expect("it unpacks")
            .into_owned(),
        folder: folder.to_owned(),
    })
}

/// The frames that `note.md` lists, as `file:line:column function` for each exception.
fn noted(folder: &Path) -> Vec<Vec<String>> {
    let note = fs::read_to_string(folder.join("note.md")).unwrap_or_default();
    let Some((_, block)) = note.split_once("## Frames as sent (order kept)") else { return Vec::new() };
    let block = block.split("```").nth(1).unwrap_or_default();
    let mut exceptions: Vec<Vec<String>> = Vec::new();
    for line in block.lines() {
        if line.starts_with("exception.values[") {
            exceptions.push(Vec::new());
        } else if let (Some(frame), Some(exception)) = (line.strip_prefix("    "), exceptions.last_mut())
            && let Some((place, _)) = frame.split_once("   in_app=")
        {
            exception.push(place.to_owned());
        }
    }
    exceptions
}

/// A frame in the form of the notes. They give the file's shorter name, so that only its end can be compared.
fn is_noted(frame: &Frame, noted: &str) -> bool {
    let Some((place, function)) = noted.split_once(" in ") else { return false };
    let number = |number: Option<std::num::NonZeroU32>| number.map_or("None".to_owned(), |n| n.to_string());
    let mut ending = number(frame.line);
    if let Some(column) = frame.column {
        ending += &format!(":{column}");
    }
    let Some(file) = place.strip_suffix(&format!(":{ending}")) else { return false };
    let same_function = frame.function.as_deref().unwrap_or("?") == function || function == "None";
    (frame.file.ends_with(file) || file == "None") && same_function
}

fn assert_as_noted(request: &Request, report: &Report) {
    let noted = noted(&request.folder);
    if noted.is_empty() {
        return;
    }
    let name = request.folder.display();
    assert_eq!(report.exceptions.len(), noted.len(), "{name}");
    for (exception, noted) in report.exceptions.iter().zip(noted) {
        // A long stack is abridged in the notes.
        if exception.frames.len() == 1_000 {
            continue;
        }
        assert_eq!(exception.frames.len(), noted.len(), "{name}: {noted:#?}");
        for (frame, noted) in exception.frames.iter().zip(&noted) {
            assert!(is_noted(frame, noted), "{name}: {frame:?} is not {noted}");
        }
    }
}

#[test]
fn sentry_requests() {
    for group in ["sentry-python", "sentry-node", "sentry-browser", "raven-python"] {
        let Some(requests) = captures(group) else { continue };
        let mut events = 0;
        for request in &requests {
            if request.body.is_empty() {
                continue;
            }
            let name = request.folder.display();
            let reports = if request.path.contains("/envelope/") {
                sentry::decode_envelope(&request.body)
                    .unwrap_or_else(|error| panic!("{name}: {error}"))
                    .reports
            } else {
                let report = sentry::decode_store(&request.body, MAX)
                    .unwrap_or_else(|error| panic!("{name}: {error}"));
                report.into_iter().collect()
            };
            let decoded = fs::read_to_string(request.folder.join("decoded.json")).unwrap_or_default();
            let sent = decoded
                .matches("\"type\": \"event\"")
                .count()
                .max(usize::from(!request.path.contains("/envelope/")));
            assert_eq!(reports.len(), sent, "{name}");
            for report in &reports {
                assert!(report.client_id.as_deref().is_some_and(|id| id.len() == 32), "{name}");
                assert!(report.occurred_at.is_some() && !report.exceptions.is_empty(), "{name}");
                assert_as_noted(request, report);
                events += 1;
            }
        }
        assert!(events > 0, "{group}");
        println!("{group}: {events} events in {} requests", requests.len());
    }
}

/// The place where each exception was raised, as `file:line function`, root cause first.
fn raised(report: &Report) -> Vec<String> {
    let place = |frame: &Frame| {
        let line = frame.line.map_or_else(String::new, |line| line.to_string());
        format!("{}:{line} {}", frame.file, frame.function.as_deref().unwrap_or("-"))
    };
    let raising =
        |exception: &blamed::report::Exception| exception.frames.last().map_or("-".to_owned(), place);
    report.exceptions.iter().map(raising).collect()
}

#[test]
fn notices_and_items() {
    type Decode = fn(&[u8]) -> Result<Report, blamed::ingest::error::DecodeError>;
    let chain = [
        "/srv/app/shop/shop/pricing.py:12 parse_price",
        "/srv/app/shop/shop/pricing.py:14 parse_price",
        "/srv/app/shop/shop/orders.py:24 checkout",
    ];
    let groups: [(&str, Decode, &[&str]); 4] = [
        ("pybrake", airbrake::decode, &chain),
        ("airbrake-node", airbrake::decode, &["/srv/app/storefront/lib/cart.js:16 placeOrder"]),
        ("rollbar", rollbar::decode, &chain),
        // The client sends the outer stack for every cause, so none is taken.
        ("honeybadger", honeybadger::decode, &["-", "-", "/srv/app/shop/shop/orders.py:24 checkout"]),
    ];
    for (group, decode, expected) in groups {
        let Some(requests) = captures(group) else { continue };
        for request in &requests {
            let name = request.folder.display().to_string();
            let report = decode(&request.body).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(report.hostname.is_some() && report.environment.is_some(), "{name}");
            assert_eq!(request.encoding, "", "{name}");
            if name.ends_with("script-chained") || name.ends_with("notify") {
                assert_eq!(raised(&report), expected, "{name}");
            }
            let thrown = report.headline().unwrap();
            assert!(thrown.kind.is_some() && thrown.message.is_some(), "{name}");
            assert!(thrown.frames.iter().all(|frame| frame.line.is_some()), "{name}");
        }
    }
}

#[test]
fn printed_tracebacks() {
    for language in ["c", "elixir", "go", "java", "node", "perl", "php", "python", "ruby", "rust"] {
        let Some(requests) = captures(&format!("tracebacks/{language}")) else { continue };
        for request in &requests {
            let name = request.folder.display().to_string();
            let found = text::decode(&request.body);
            // A Go error has no stack, and its log line is like any other.
            if name.ends_with("go/wrapped") {
                assert!(found.is_err(), "{name}");
                continue;
            }
            let reports = found.unwrap_or_else(|error| panic!("{name}: {error}"));
            let is_named = |report: &Report| {
                let thrown = report.headline().unwrap();
                thrown.message.is_some() || thrown.kind.is_some()
            };
            assert!(reports.iter().all(is_named), "{name}: {reports:#?}");
            let has_place =
                |report: &Report| report.exceptions.iter().any(|e| e.frames.iter().any(|f| f.line.is_some()));
            assert!(reports.iter().any(has_place) || name.ends_with("no-backtrace"), "{name}: {reports:#?}");
        }
    }
}

#[test]
fn flawless_calls() {
    let Some(requests) = captures("flawless") else { return };
    let mut counts = Vec::new();
    for request in &requests {
        let name = request.folder.display().to_string();
        let (length, message) = request.body.split_at(4);
        assert_eq!(u32::from_be_bytes(length.try_into().unwrap()) as usize, message.len(), "{name}");
        let call = flawless::decode(message).unwrap_or_else(|error| panic!("{name}: {error}"));
        let flawless::Request::RecordError(report) = &call.request else { panic!("{name}: {call:?}") };
        assert!(
            report.exceptions[0].frames.iter().all(|frame| !frame.file.contains("flawless/client")),
            "{name}"
        );
        if name.contains("repeat-20") {
            counts.push(report.count);
        } else {
            let (place, message) = if name.ends_with("wrap-class") {
                ("/srv/app/shop/bin/flawless_job.py:33 pack", "'A-1004'")
            } else {
                (
                    "/srv/app/shop/shop/orders.py:24 checkout",
                    "order A-1002 cannot be checked out: bad price in catalogue",
                )
            };
            assert_eq!(raised(report), [place], "{name}");
            assert_eq!(report.exceptions[0].message.as_deref(), Some(message), "{name}");
        }
        assert_eq!(flawless::reply(&call)[4..8], [0x80, 0x01, 0x00, 0x02], "{name}");
    }
    assert_eq!(counts.iter().sum::<u64>(), 16, "{counts:?}");
}

#[test]
fn oops_reports() {
    let Some(requests) = captures("oops") else { return };
    for request in &requests {
        let name = request.folder.display().to_string();
        let report = oops::decode(&request.body).unwrap_or_else(|error| panic!("{name}: {error}"));
        let place = if name.contains("wsgi") { "orders.py:24 checkout" } else { "orders.py:43 audit" };
        assert_eq!(raised(&report), [format!("/srv/app/shop/shop/{place}")], "{name}");
        assert!(report.occurred_at.is_some() && report.client_id.is_some(), "{name}: {report:#?}");
        let thrown = report.headline().unwrap();
        assert!(thrown.kind.is_some() && thrown.message.is_some(), "{name}");
        if name.contains("wsgi") {
            assert!(report.revision.is_some(), "{name}");
            assert_eq!(report.context["req_vars"]["PATH_INFO"], "/orders/A-1002", "{name}");
            assert_eq!(report.context["timeline"].as_array().map(Vec::len), Some(2), "{name}: {report:#?}");
        }
    }
}

#[test]
fn otlp_requests() {
    let mut ids = std::collections::BTreeMap::<String, Vec<String>>::new();
    for group in ["otlp-python", "otlp-js"] {
        let Some(requests) = captures(group) else { continue };
        for request in &requests {
            let name = request.folder.display().to_string();
            let signal =
                if request.path.ends_with("/logs") { otlp::Signal::Logs } else { otlp::Signal::Traces };
            let reports = if group == "otlp-js" {
                otlp::decode_json(&request.body)
            } else {
                otlp::decode_protobuf(&request.body, signal)
            };
            let reports = reports.unwrap_or_else(|error| panic!("{name}: {error}"));
            for report in &reports {
                assert!(report.release.is_some() && report.occurred_at.is_some(), "{name}: {report:#?}");
                assert!(
                    raised(report).iter().all(|place| place.contains("/srv/app/")),
                    "{name}: {:?}",
                    raised(report)
                );
                let case = name.split("/extra-").next().unwrap().to_owned();
                ids.entry(case).or_default().extend(report.client_id.clone());
            }
        }
    }
    // The same error, as an event of a span and as a log record, has one id.
    for (case, ids) in ids.iter().filter(|(case, _)| case.contains("otlp-js")) {
        assert!(ids.len() == 2 && ids[0] == ids[1], "{case}: {ids:?}");
    }
}

//! Odd values cost the field that they stand in, and nothing else: in every document that a real client sent, each field
//! in turn is given each of them. The report is taken all the same, and is the one without that field, but for what is
//! shown of the odd value itself.

#[path = "support/leaves.rs"]
mod leaves;

use std::fs;
use std::path::Path;

use blamed::ingest::{airbrake, honeybadger, json, otlp, rollbar, sentry};
use blamed::report::Report;
use leaves::{differing, is_but_for_a_field, leaves};
use serde_json::Value;

/// What stands in a field, byte by byte.
const ODD: [&[u8]; 14] = [
    b"null",
    b"true",
    b"-1",
    b"18446744073709551616",
    b"1e999",
    b"NaN",
    b"-Infinity",
    b"\"\"",
    b"\"\\ude00\\ud83d\"",
    b"\"\xff\xed\xa0\xbd\"",
    b"\"a\nb\\x\\u0000\"",
    b"[]",
    b"[{\"odd\": {\"odd\": []}}, 7, null, \"odd\"]",
    b"{\"odd\": {\"odd\": [1, 2]}, \"values\": 7}",
];
/// What stands for an odd value until the document is written.
const MARK: &str = "the odd value stands here";

type Decoder = fn(&[u8]) -> Option<Report>;

#[test]
fn an_odd_value_costs_its_field_only() {
    let documents: [(&str, Decoder); 8] = [
        ("airbrake-node.json", |body| airbrake::decode(body).ok()),
        ("blamed.json", |body| json::decode(body).ok().map(|mut reports| reports.remove(0))),
        ("honeybadger.json", |body| honeybadger::decode(body).ok()),
        ("otlp-logs.json", |body| otlp::decode_json(body).ok()?.pop()),
        ("pybrake.json", |body| airbrake::decode(body).ok()),
        ("rollbar.json", |body| rollbar::decode(body).ok()),
        ("sentry-python.envelope", |body| {
            let length = body.len();
            let envelope =
                [format!("{{}}\n{{\"type\":\"event\",\"length\":{length}}}\n").as_bytes(), body].concat();
            sentry::decode_envelope(&envelope).ok()?.reports.pop()
        }),
        ("sentry-store.json", |body| sentry::decode_store(body, 1 << 20).ok()?),
    ];
    let mut wrong = Vec::new();
    for (name, decode) in documents {
        let document = document(name);
        let whole = leaves(&decode(&document.to_string().into_bytes()).unwrap());
        for place in fields(&document) {
            let without = decode(&with(&document, &place, None)).map(|report| leaves(&report));
            for odd in ODD {
                let shown = String::from_utf8_lossy(odd);
                let report = decode(&with(&document, &place, Some(odd)));
                let Some(report) = report.map(|report| leaves(&report)) else {
                    // What is refused without the field as well is nothing without it.
                    if without.is_some() {
                        wrong.push(format!("{name}: {place} = {shown}: refused"));
                    }
                    continue;
                };
                let Some(without) = &without else { continue };
                // What else told the same may take its place.
                if !is_but_for_a_field(&report, without) && !is_but_for_a_field(&report, &whole) {
                    wrong.push(format!("{name}: {place} = {shown}: {:?}", differing(&report, without)));
                }
            }
        }
    }
    let count = wrong.len();
    wrong.truncate(40);
    assert!(wrong.is_empty(), "{count}: {wrong:#?}");
}

#[test]
fn of_a_key_that_stands_twice_the_last_counts() {
    let once = br#"{"exception_type": "E", "hostname": "web-1"}"#;
    let twice = br#"{"hostname": [], "exception_type": 7, "exception_type": "E", "hostname": "web-1"}"#;
    assert_eq!(json::decode(once), json::decode(twice));
}

/// The JSON in a fixture.
fn document(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/requests").join(name);
    let body = fs::read(path).unwrap();
    let json = if name.ends_with(".envelope") { body.split(|&b| b == b'\n').nth(2).unwrap() } else { &body };
    // One of them is odd already.
    let json = String::from_utf8_lossy(json).replace("\\ud83d", "x").replace("NaN", "1");
    serde_json::from_str(&json).unwrap()
}

/// Where the fields of a document are, as JSON pointers. Of a list, the last element is looked into.
fn fields(document: &Value) -> Vec<String> {
    fn collect(value: &Value, place: &str, places: &mut Vec<String>) {
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    let place = format!("{place}/{}", name.replace('~', "~0").replace('/', "~1"));
                    collect(member, &place, places);
                    places.push(place);
                }
            }
            Value::Array(elements) => {
                if let Some((last, others)) = elements.split_last() {
                    collect(last, &format!("{place}/{}", others.len()), places);
                }
            }
            _ => {}
        }
    }
    let mut places = Vec::new();
    collect(document, "", &mut places);
    places
}

/// The document with other bytes in a field, or without it.
fn with(document: &Value, place: &str, bytes: Option<&[u8]>) -> Vec<u8> {
    let mut document = document.clone();
    let (parent, name) = place.rsplit_once('/').unwrap();
    let name = name.replace("~1", "/").replace("~0", "~");
    let parent = document.pointer_mut(parent).and_then(Value::as_object_mut).unwrap();
    let Some(bytes) = bytes else {
        parent.remove(&name);
        return document.to_string().into_bytes();
    };
    parent.insert(name, Value::from(MARK));
    let text = document.to_string();
    let (before, after) = text.split_once(&format!("\"{MARK}\"")).unwrap();
    [before.as_bytes(), bytes, after.as_bytes()].concat()
}

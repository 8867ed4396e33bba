//! `blamed`'s own JSON, the JSON that no parser takes, and OpenTelemetry's in all its variants.

use blamed::ingest::error::{DecodeError, DecodeErrorKind};
use blamed::ingest::json::decode;
use blamed::ingest::otlp;
use blamed::report::Report;
use proptest::prelude::*;

fn one(json: &str) -> Report {
    let mut reports = decode(json.as_bytes()).unwrap_or_else(|error| panic!("{error}\n{json}"));
    assert_eq!(reports.len(), 1);
    reports.remove(0)
}

fn refused(json: &str) -> DecodeError {
    decode(json.as_bytes()).expect_err(json)
}

#[test]
fn every_field_arrives() {
    let report = one(r#"{
        "traceback": [
            {"filename": "bin/run.py", "line_number": 3, "function_name": "<module>", "text": "main()\n"},
            {"filename": "shop/cart.py", "line_number": 12, "function_name": "total", "text": "    return sum(prices)",
             "column": 9, "context_before": ["a", "b"], "context_after": ["c"],
             "frame_locals": {"prices": "None", "n": 3, "o": {"k": [1, null, "x"]}}}
        ],
        "exception_message": "'NoneType' object is not iterable", "exception_type": "TypeError",
        "exceptions": [{"exception_type": "KeyError", "exception_message": "1", "traceback": []}],
        "hostname": "web-3", "error_threshold": 5, "additional_info": "GET /cart", "error_count": 7, "id": "e1",
        "revision": "abc123", "release": "2026.11", "environment": "production",
        "occurred_at": "2026-11-20T12:00:00Z", "context": {"request": {"url": "/cart"}}
    }"#);
    assert_eq!(
        serde_json::to_value(&report).unwrap(),
        serde_json::json!({
            "client_id": "e1", "hostname": "web-3", "revision": "abc123", "release": "2026.11",
            "environment": "production", "count": 7, "threshold": 5, "additional_info": "GET /cart",
            "context": {"request": {"url": "/cart"}}, "occurred_at": "2026-11-20T12:00:00Z", "protocol": "blamed-json",
            "exceptions": [
                {"type": "KeyError", "message": "1", "frames": []},
                {"type": "TypeError", "message": "'NoneType' object is not iterable", "frames": [
                    {"file": "bin/run.py", "line": 3, "function": "<module>", "text": "main()"},
                    {"file": "shop/cart.py", "line": 12, "column": 9, "function": "total",
                     "text": "    return sum(prices)", "before": ["a", "b"], "after": ["c"],
                     "locals": [["prices", "None"], ["n", "3"], ["o", "{\"k\": [1, null, \"x\"]}"]]}
                ]}
            ]
        })
    );
}

#[test]
fn an_odd_field_costs_only_itself() {
    let check = |field: &str, expected: fn(&Report) -> bool| {
        let report = one(&format!(r#"{{"exception_message": "m", {field}}}"#));
        assert!(expected(&report), "{field}: {report:#?}");
        assert_eq!(report.headline().unwrap().message.as_deref(), Some("m"));
    };
    check(r#""hostname": 12"#, |r| r.hostname.as_deref() == Some("12"));
    check(r#""hostname": ["a", {"b": 1}]"#, |r| r.hostname.is_none());
    check(r#""hostname": "a", "hostname": "b""#, |r| r.hostname.as_deref() == Some("b"));
    check(r#""hostname": null"#, |r| r.hostname.is_none());
    check(r#""unknown": {"deep": [[[[1]]]]}"#, |r| r.remarks.is_empty());
    check(r#""traceback": "none""#, |r| r.exceptions[0].frames.is_empty());
    check(r#""traceback": [null, 3, "x", {}, {"filename": "a"}]"#, |r| r.exceptions[0].frames.len() == 1);
    check(r#""error_count": "3""#, |r| r.count == 3);
    check(r#""error_count": 0"#, |r| r.count == 1 && r.remarks.len() == 1);
    check(r#""error_count": -4"#, |r| r.count == 1 && r.remarks.len() == 1);
    check(r#""error_count": 1e300"#, |r| r.count == 1 && r.remarks.len() == 1);
    check(r#""error_count": 1e999"#, |r| r.count == 1);
    check(r#""error_threshold": -1"#, |r| r.threshold.is_none());
    check(r#""context": [1]"#, |r| r.context.is_empty());
    check(r#""occurred_at": 1795176000.5"#, |r| r.occurred_at.unwrap().as_millisecond() == 1_795_176_000_500);
    check(r#""occurred_at": 1795176000500"#, |r| {
        r.occurred_at.unwrap().as_millisecond() == 1_795_176_000_500
    });
    check(r#""occurred_at": "2026-11-20T12:36:20""#, |r| {
        r.occurred_at.unwrap().to_string() == "2026-11-20T12:36:20Z"
    });
    check(r#""occurred_at": "yesterday""#, |r| r.occurred_at.is_none());
    check(r#""hostname": NaN, "release": -Infinity"#, |r| r.release.as_deref() == Some("-Infinity"));
    check(r#""hostname": "\udcfc""#, |r| r.hostname.as_deref() == Some("\u{fffd}"));
    check(r#""hostname": "\\udcfc \ud83d\ude00 \ud83d""#, |r| {
        r.hostname.as_deref() == Some("\\udcfc \u{1f600} \u{fffd}")
    });
    check("\"hostname\": \"a\tb\\x\\u12\"", |r| r.hostname.as_deref() == Some("a\tb\\x\\u12"));
}

#[test]
fn lines_are_numbers_or_nothing() {
    for (given, line) in [
        ("12", Some(12)),
        ("\"12\"", Some(12)),
        ("12.0", Some(12)),
        ("0", None),
        ("-3", None),
        ("4294967296", None),
        ("99999999999999999999", None),
        ("true", None),
        ("\"x\"", None),
        ("[1]", None),
    ] {
        let report = one(&format!(r#"{{"traceback": [{{"filename": "a", "line_number": {given}}}]}}"#));
        assert_eq!(report.exceptions[0].frames[0].line.map(u32::from), line, "{given}");
    }
}

#[test]
fn invalid_utf8_and_a_byte_order_mark() {
    let reports = decode(b"\xef\xbb\xbf{\"exception_message\": \"m\xfcsste \xf0\x9f\"}").unwrap();
    assert_eq!(reports[0].headline().unwrap().message.as_deref(), Some("m\u{fffd}sste \u{fffd}"));
}

#[test]
fn refusals_tell_place_and_reason() {
    let place = |json: &str| {
        let error = refused(json);
        (error.kind, error.line.unwrap_or(0), error.column.unwrap_or(0), error.reason)
    };
    let (malformed, unexpected) = (DecodeErrorKind::Malformed, DecodeErrorKind::Unexpected);
    assert_eq!(place("{\n  \"a\": }"), (malformed, 2, 8, "not JSON: expected value".to_owned()));
    assert_eq!(place("{\"a\": NaN, \"b\": nope}").2, 18);
    assert_eq!(place("[{}").0, unexpected);
    assert_eq!(place("").0, malformed);
    let (kind, line, _, reason) = place("[{\"exception_message\": \"m\"},\n 3]");
    assert_eq!((kind, line), (unexpected, 2));
    assert!(reason.contains("integer `3`, expected an object"), "{reason}");
    assert!(refused("{\"hostname\": \"a\"}").reason.contains("neither traceback"));
    assert_eq!(refused("[]").kind, DecodeErrorKind::Nothing);
    assert_eq!(refused("\"text\"").kind, unexpected);
    let many = format!("[{}{{\"exception_message\": 1}}]", "{\"exception_message\": 1},".repeat(1_000));
    assert_eq!(refused(&many).kind, DecodeErrorKind::TooMany);
}

#[test]
fn hostile_depth_and_length_stay_small() {
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    for field in ["hostname", "traceback", "error_count", "unknown"] {
        one(&format!(r#"{{"exception_message": "m", "{field}": {deep}}}"#));
    }
    let report = one(&format!(r#"{{"exception_message": "m", "context": {{"a": {deep}, "b": 1}}}}"#));
    assert!(report.context["a"].to_string().len() < 1_000);
    assert_eq!(report.context["b"], 1);
    let report = one(&format!(
        r#"{{"traceback": [{{"filename": "a", "frame_locals": {{"a": {deep}, "b": [{}1]}}}}]}}"#,
        "1,".repeat(100_000)
    ));
    assert!(report.exceptions[0].frames[0].locals.iter().all(|(_, value)| value.len() < 20_000));

    let frames = "{\"filename\":\"a\"},".repeat(50_000);
    let report = one(&format!(r#"{{"traceback": [{frames}{{"filename": "last"}}]}}"#));
    let exception = &report.exceptions[0];
    assert_eq!(exception.frames.len() + exception.omitted.unwrap().count, 50_001);
    assert_eq!(exception.frames.last().unwrap().file, "last");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn arbitrary_json_never_panics(text in r#"[\[\]{},:0-9eE.+\- "a-zNI\\udf]{0,200}"#) {
        let _ = decode(text.as_bytes());
    }

    /// What is wrong in the middle of a document is told with a place inside it.
    #[test]
    fn places_lie_within_the_body(cut in 0usize..100, junk in any::<u8>()) {
        let mut bytes = br#"{"exception_message": "\ud800", "hostname": NaN, "release": "a", "traceback": [{"filename": "b"}]}"#.to_vec();
        bytes.truncate(cut);
        bytes.push(junk);
        if let Err(error) = decode(&bytes) && let Some(offset) = error.offset {
            prop_assert!(offset <= bytes.len());
        }
    }
}

/// The reports in attributes of OpenTelemetry, as an event of a span or as a record of a log.
fn telemetry(is_span: bool, trace: &str, attributes: &[(&str, &str)]) -> Vec<Report> {
    let pair = |(key, value): &(&str, &str)| serde_json::json!({"key": key, "value": {"stringValue": value}});
    let attributes: Vec<_> = attributes.iter().map(pair).collect();
    let document = if is_span {
        let event = serde_json::json!({"name": "exception", "attributes": attributes});
        serde_json::json!({"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": trace, "events": [event]}]}]}]})
    } else {
        let record = serde_json::json!({"traceId": trace, "body": {"stringValue": "failed"}, "attributes": attributes});
        serde_json::json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
    };
    otlp::decode_json(document.to_string().as_bytes()).unwrap()
}

#[test]
fn an_error_of_one_trace_is_known_by_its_line_whatever_its_name() {
    let trace = "ab".repeat(16);
    let stack = "Traceback (most recent call last):\n  File \"a.py\", line 3, in f\n    g()\nshop.Gone: x";
    let id = |is_span, trace: &str, kind: &str, stack: &str| {
        let attributes =
            [("exception.type", kind), ("exception.message", "x"), ("exception.stacktrace", stack)];
        telemetry(is_span, trace, &attributes)[0].client_id.clone()
    };
    let known = id(true, &trace, "shop.Gone", stack);
    assert!(known.is_some());
    assert_eq!(id(false, &trace, "Gone", stack), known);
    assert_ne!(id(false, &trace, "Gone", &stack.replace("line 3", "line 4")), known);
    assert_ne!(id(false, &"cd".repeat(16), "Gone", stack), known);
    // No trace is no trace that errors could share.
    assert_eq!(id(false, &"0".repeat(32), "Gone", stack), None);
}

#[test]
fn a_record_without_a_stack_tells_where_it_was_logged() {
    for [file, line, function] in [
        ["code.file.path", "code.line.number", "code.function.name"],
        ["code.filepath", "code.lineno", "code.function"],
    ] {
        let attributes = [("exception.type", "Gone"), (file, "/srv/a.py"), (line, "7"), (function, "f")];
        let frame = telemetry(false, "", &attributes)[0].exceptions[0].frames[0].clone();
        assert_eq!(
            (frame.file.as_str(), frame.line.unwrap().get(), frame.function.as_deref()),
            ("/srv/a.py", 7, Some("f"))
        );
    }
    let report =
        telemetry(false, "", &[("exception.type", "Gone"), ("exception.stacktrace", "in no language")])
            .remove(0);
    assert_eq!(report.context["attributes"]["exception.stacktrace"], "in no language");
}

#[test]
fn a_message_is_no_stack() {
    let message = "upstream said:\n    at query (/srv/made/up.js:1:1)\n    at other (/srv/made/up.js:2:2)";
    let stack =
        format!("Error: {message}\n    at read (/srv/app/feed.js:5:9)\n    at job (/srv/app/feed.js:9:1)");
    let attributes =
        [("exception.type", "Error"), ("exception.message", message), ("exception.stacktrace", &stack)];
    let report = telemetry(true, "", &attributes).remove(0);
    let files: Vec<_> = report.exceptions[0].frames.iter().map(|frame| frame.file.as_str()).collect();
    assert_eq!((report.exceptions.len(), files), (1, vec!["/srv/app/feed.js"; 2]));
    assert_eq!(report.exceptions[0].message.as_deref(), Some(message));
}

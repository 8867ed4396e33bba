//! Stacks that loggers write as JSON, frame by frame, turned into the text that their language prints.
//!
//! Structlog (Python): `[{"exc_type", "exc_value", "frames": [{"filename", "lineno", "name", "line"}]}]`, the exception
//! that was finally raised first. Zerolog (Go): `[{"func", "line", "source"}]`, newest first. Log4j 2 (Java): an
//! object with `name`, `message`, `extendedStackTrace: [{"class", "method", "file", "line"}]`, newest first, and `cause`.

use std::fmt::Write;

use serde_json::{Map, Value};

/// Causes that are followed.
const MOST_CAUSES: usize = 20;

/// Writes a list of exceptions or of frames; nothing, where it is neither.
pub(super) fn write_stack(elements: &[Value], out: &mut String) {
    let is_exception = |element: &&Value| element["exc_type"].is_string() && element["frames"].is_array();
    elements.iter().rev().filter(is_exception).for_each(|exception| write_python(exception, out));
    let is_call = |element: &Value| element["func"].is_string() && element["source"].is_string();
    if !elements.is_empty() && elements.iter().all(is_call) {
        out.push_str("goroutine 1 [running]:\n");
        for call in elements {
            let line = text(&call["line"]);
            put(out, format_args!("{}()\n\t{}:{line}\n", text(&call["func"]), text(&call["source"])));
        }
    }
}

fn write_python(exception: &Value, out: &mut String) {
    out.push_str("Traceback (most recent call last):\n");
    for frame in exception["frames"].as_array().into_iter().flatten() {
        let (file, function) = (text(&frame["filename"]), text(&frame["name"]));
        put(out, format_args!("  File \"{file}\", line {}, in {function}\n", text(&frame["lineno"])));
        let source = text(&frame["line"]);
        if !source.is_empty() {
            put(out, format_args!("    {source}\n"));
        }
    }
    put(out, format_args!("{}: {}\n\n", text(&exception["exc_type"]), text(&exception["exc_value"])));
}

/// Writes what was thrown, with its causes. `false`: the object is no such thing, and nothing was written.
pub(super) fn write_thrown(thrown: &Map<String, Value>, out: &mut String) -> bool {
    let is_thrown = |thrown: &Map<String, Value>| {
        thrown.get("name").is_some_and(Value::is_string)
            && thrown.get("extendedStackTrace").is_some_and(Value::is_array)
    };
    let mut next = Some(thrown).filter(|thrown| is_thrown(thrown));
    let mut before = "";
    for _ in 0..MOST_CAUSES {
        let Some(thrown) = next else { break };
        let of = |name: &str| thrown.get(name).map(text).unwrap_or_default();
        put(out, format_args!("{before}{}: {}\n", of("name"), of("message")));
        for frame in thrown["extendedStackTrace"].as_array().into_iter().flatten() {
            let file = Some(text(&frame["file"])).filter(|file| !file.is_empty());
            let file = file.unwrap_or_else(|| "Unknown Source".to_owned());
            let line = frame["line"].as_u64().map(|line| format!(":{line}")).unwrap_or_default();
            put(
                out,
                format_args!("\tat {}.{}({file}{line})\n", text(&frame["class"]), text(&frame["method"])),
            );
        }
        before = "Caused by: ";
        next = thrown.get("cause").and_then(Value::as_object).filter(|cause| is_thrown(cause));
    }
    !before.is_empty()
}

/// A value on one line.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.replace('\n', " "),
        Value::Number(number) => number.to_string(),
        _ => String::new(),
    }
}

fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes all");
}

#[cfg(test)]
mod tests {
    use super::super::decode;

    /// The last exception of the one record, as `type: message`, and its frames as `file:line function`.
    #[track_caller]
    fn check(record: &str, exceptions: &[&str], frames: &[&str]) {
        let reports = decode(record.as_bytes()).unwrap();
        assert_eq!(reports.len(), 1);
        let found: Vec<String> =
            reports[0].exceptions.iter().map(crate::report::Exception::summary).collect();
        assert_eq!(found, exceptions);
        let frame = |frame: &crate::report::Frame| {
            let function = frame.function.as_deref().unwrap_or_default();
            format!("{}:{} {function}", frame.file, frame.line.map_or(0, u32::from))
        };
        let found: Vec<String> = reports[0].exceptions[0].frames.iter().map(frame).collect();
        assert_eq!(found, frames);
    }

    #[test]
    fn frames_of_zerolog() {
        check(
            r#"{"level":"error","stack":[{"func":"inner","line":"20","source":"errors.go"},{"func":"main","line":"9","source":"main.go"}],"error":"no stock","message":""}"#,
            &["panic: no stock"],
            &["main.go:9 main", "errors.go:20 inner"],
        );
    }

    #[test]
    fn what_log4j_writes() {
        check(
            r#"{"level":"ERROR","message":"failed","thrown":{"name":"shop.Failed","message":"a\nb","extendedStackTrace":[{"class":"shop.Cart","method":"total","file":"Cart.java","line":7},{"class":"shop.Main","method":"main","file":null,"line":-2}],"cause":{"name":"java.io.IOException","message":"gone","extendedStackTrace":[{"class":"shop.Feed","method":"read","file":"Feed.java","line":3}]}}}"#,
            &["java.io.IOException: gone", "shop.Failed: a b"],
            &["shop/Feed.java:3 shop.Feed.read"],
        );
    }
}

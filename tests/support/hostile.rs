//! Bodies that are made to cost as much as they can, of any size: one thing over and over, or within itself.

#![allow(dead_code, unreachable_pub, reason = "a module of several programs")]

/// Whose they are, what is in them, and how one of about so many bytes is made.
pub type Body = (&'static str, String, Box<dyn Fn(usize) -> Vec<u8>>);

/// Lines that tracebacks begin with or go on with.
pub const LINES: [&str; 34] = [
    "Traceback (most recent call last):",
    "  File \"a.py\", line 1, in f",
    "ValueError: x",
    "  + Exception Group Traceback (most recent call last):",
    "  | ",
    "During handling of the above exception, another exception occurred:",
    "    at f (/a.js:1:2)",
    "  at f (/a.js:1:2) {",
    "[cause]: Error: x",
    "\tat a.B.c(B.java:1)",
    "java.lang.Error: x",
    "Caused by: java.lang.Error: x",
    "   at A.B() in /a.cs:line 1",
    " ---> A.B: x",
    "thread 'main' panicked at src/a.rs:1:2:",
    "  1: a::b",
    "Error: x",
    "goroutine 1 [running]:",
    "panic: x",
    "a.rb:1:in `f': x (A)",
    "\tfrom a.rb:1:in `f'",
    "  1: from a.rb:1:in `f'",
    "Next A: b in /a.php:1",
    "Stack trace:",
    "[object] (A(code: 0): b at /a.php:1)",
    "[stacktrace]",
    "PHP Fatal error:  Uncaught A: b in /a.php:1",
    "#0 /a.php(1): f()",
    "** (A.B) c",
    "==1==ERROR: AddressSanitizer: x",
    "x at /a.pl line 1.",
    "2026-11-20 12:00:00 web[1]:     at f (/a.js:1:2)",
    "Fatal Python error: x",
    "Current thread 0x1 (most recent call first):",
];

/// What stands in one line, or goes on and on.
const PIECES: [&str; 22] = [
    "\n",
    "\r",
    "\\",
    "\"",
    "'",
    "{",
    "[",
    "(",
    " ",
    "\x1b[",
    "at ",
    "Traceback (",
    ": ",
    "password",
    "password=",
    "password='",
    "a password=\\\"",
    "Bearer ",
    "eyJhbGciOiJI.",
    "http://a:b",
    "4111 ",
    "é",
];

/// All of them.
pub fn bodies() -> Vec<Body> {
    let mut bodies: Vec<Body> = Vec::new();
    let mut add = |decoder: &'static str, name: &str, make: Box<dyn Fn(usize) -> Vec<u8>>| {
        bodies.push((decoder, name.to_owned(), make));
    };
    for decoder in ["text", "stream"] {
        for (at, line) in LINES.into_iter().enumerate() {
            add(decoder, line, repeated("", &format!("{line}\n"), ""));
            let next = LINES[(at + 1) % LINES.len()];
            add(decoder, &format!("{line} / {next}"), repeated("", &format!("{line}\n{next}\n"), ""));
            add(decoder, &format!("{line} and others"), repeated(&format!("{line}\n"), "  x\n", ""));
        }
        for piece in PIECES {
            add(decoder, piece, repeated("Traceback (most recent call last):\nE: ", piece, "\n"));
        }
        add(
            decoder,
            "inner exceptions",
            repeated("A.BException: x", " ---> A.BException: x", "\n   at A.B() in /a.cs:line 1\n"),
        );
        add(
            decoder,
            "PHP causes",
            repeated(
                "PHP Fatal error:  Uncaught A: b in /a.php:1\n",
                "Stack trace:\n#0 {main}\n\nNext A: b in /a.php:1\n",
                "",
            ),
        );
        add(decoder, "prefixes", interleaved());
        add(
            decoder,
            "JSON records",
            repeated("", "{\"log\": \"x\", \"stack\": \"E: x\\n    at f (/a.js:1:2)\\n\"}\n", ""),
        );
        add(decoder, "a JSON record", repeated("{\"stack\": \"", "E: x\\n    at f (/a.js:1:2)\\n", "\"}\n"));
        add(decoder, "JSON within", nested("", "{\"a\":", "1", "}", "\n"));
    }
    let event = "{}\n{\"type\":\"event\"}\n";
    add("sentry_envelope", "items", repeated("{}\n", "{}\n\n", ""));
    add("sentry_envelope", "events", repeated("{}\n", "{\"type\":\"event\"}\n{}\n", ""));
    for (name, begin, piece, end) in [
        ("frames", "{\"exception\":[{\"stacktrace\":{\"frames\":[{}", ",{\"function\":\"f\"}", "]}}]}"),
        (
            "stacks",
            "{\"exception\":[{}",
            ",{\"stacktrace\":{\"frames\":[{\"function\":\"f\"},{\"function\":\"f\"}]}}",
            "]}",
        ),
        ("exceptions", "{\"exception\":[{}", ",{\"type\":\"E\"}", "]}"),
        ("threads", "{\"threads\":[{}", ",{\"values\":[{}]}", "]}"),
        (
            "variables",
            "{\"exception\":[{\"stacktrace\":{\"frames\":[{\"function\":\"f\",\"vars\":{\"a\":0",
            ",\"a\":0",
            "}}]}}]}",
        ),
        (
            "lines",
            "{\"exception\":[{\"stacktrace\":{\"frames\":[{\"function\":\"f\",\"pre_context\":[0",
            ",0",
            "]}]}}]}",
        ),
        ("members", "{\"extra\":{\"a\":0", ",\"a\":0", "}}"),
        ("elements", "{\"extra\":[0", ",0", "]}"),
        ("unknown keys", "{\"a\":0", ",\"a\":0", "}"),
        ("one key again", "{\"level\":0", ",\"level\":\"error\"", "}"),
        ("escapes", "{\"message\":\"", "\\u00e9", "\"}"),
        ("lone surrogates", "{\"message\":\"", "\\ud83d", "\"}"),
        ("broken bytes", "{\"message\":\"\u{1}", "é", "\"}"),
        ("a number", "{\"level\":", "9", "}"),
        ("secrets", "{\"extra\":{\"a\":0", ",\"token\":\"abcdefgh\"", "}}"),
        ("passwords", "{\"message\":\"", "password", "\"}"),
        ("passwords with values", "{\"message\":\"", "password=abcdef ", "\"}"),
        ("a long secret", "{\"message\":\"abc\",\"extra\":{\"password\":\"", "abcdefgh", "\"}}"),
    ] {
        add("sentry_envelope", name, repeated(&format!("{event}{begin}"), piece, &format!("{end}\n")));
        add("sentry_store", name, repeated(begin, piece, end));
    }
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        add("sentry_store", &format!("{open} within"), nested("{\"extra\":", open, "1", close, "}"));
        add(
            "sentry_store",
            &format!("{open} within vars"),
            nested(
                "{\"exception\":[{\"stacktrace\":{\"frames\":[{\"function\":\"f\",\"vars\":{\"a\":",
                open,
                "1",
                close,
                "}}]}}]}",
            ),
        );
        add("sentry_store", &format!("{open} within nothing"), nested("{\"b\":", open, "1", close, "}"));
        add("anything", &format!("{open} within"), nested("{\"b\":", open, "1", close, "}"));
    }
    add("sentry_store", "values", nested("{\"exception\":", "{\"values\":", "{}", "}", "}"));
    add("sentry_store", "base64", repeated("", "eyJh", ""));
    add("airbrake", "errors", repeated("{\"errors\":[{\"type\":\"E\"}", ",{\"type\":\"E\"}", "]}"));
    add(
        "airbrake",
        "frames",
        repeated("{\"errors\":[{\"backtrace\":[{}", ",{\"file\":\"/PROJECT_ROOT/a\"}", "]}]}"),
    );
    add(
        "airbrake",
        "lines",
        repeated(
            "{\"errors\":[{\"backtrace\":[{\"file\":\"a\",\"line\":1,\"code\":{\"1\":0",
            ",\"1\":0",
            "}}]}]}",
        ),
    );
    add(
        "airbrake",
        "root",
        halves(
            "{\"context\":{\"rootDirectory\":\"",
            "/aaaaaaa",
            "\"},\"errors\":[{\"backtrace\":[{}",
            ",{\"file\":\"/PROJECT_ROOT/a\"}",
            "]}]}",
        ),
    );
    add(
        "honeybadger",
        "causes",
        repeated("{\"error\":{\"class\":\"E\",\"causes\":[{}", ",{\"class\":\"E\"}", "]}}"),
    );
    add(
        "honeybadger",
        "frames",
        repeated("{\"error\":{\"class\":\"E\",\"backtrace\":[{}", ",{\"file\":\"a\"}", "]}}"),
    );
    add(
        "honeybadger",
        "root",
        halves(
            "{\"server\":{\"project_root\":\"",
            "/aaaaaaa",
            "\"},\"error\":{\"class\":\"E\",\"backtrace\":[{}",
            ",{\"file\":\"[PROJECT_ROOT]/a\"}",
            "]}}",
        ),
    );
    add(
        "rollbar",
        "traces",
        repeated("{\"data\":{\"body\":{\"trace_chain\":[{}", ",{\"exception\":{\"class\":\"E\"}}", "]}}}"),
    );
    add(
        "rollbar",
        "frames",
        repeated("{\"data\":{\"body\":{\"trace\":{\"frames\":[{}", ",{\"filename\":\"a\"}", "]}}}}"),
    );
    add("rollbar", "a form", repeated("payload=%7B%22data%22%3A%22", "%41", "%22%7D"));
    add(
        "rollbar",
        "a crash",
        repeated(
            "{\"data\":{\"body\":{\"crash_report\":{\"raw\":\"",
            "E: x\\n    at f (/a.js:1:2)\\n",
            "\"}}}}",
        ),
    );
    add("json", "frames", repeated("{\"traceback\":[{}", ",{\"filename\":\"a\"}", "]}"));
    add("json", "exceptions", repeated("{\"exceptions\":[{}", ",{\"exception_type\":\"E\"}", "]}"));
    add(
        "json",
        "reports",
        repeated(
            "[{\"exception_type\":\"E\"}",
            ",{\"traceback\":[{\"filename\":\"a\"},{\"filename\":\"b\"},{\"filename\":\"c\"}]}",
            "]",
        ),
    );
    let error = "{\"name\":\"exception\",\"attributes\":[{\"key\":\"exception.type\",\"value\":{\"stringValue\":\"E\"}}]}";
    let log = "{\"attributes\":[{\"key\":\"exception.type\",\"value\":{\"stringValue\":\"E\"}}]}";
    add(
        "otlp_json",
        "errors",
        repeated(
            "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"events\":[{}",
            &format!(",{error}"),
            "]}]}]}]}",
        ),
    );
    add(
        "otlp_json",
        "a long name",
        halves(
            "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"name\":\"",
            "aaaaaaaa",
            "\",\"traceId\":\"00\",\"events\":[{}",
            &format!(",{error}"),
            "]}]}]}]}",
        ),
    );
    add(
        "otlp_json",
        "a long id",
        halves(
            "{\"resourceSpans\":[{\"scopeSpans\":[{\"spans\":[{\"traceId\":\"",
            "aaaaaaaa",
            "\",\"events\":[{}",
            &format!(",{error}"),
            "]}]}]}]}",
        ),
    );
    add(
        "otlp_json",
        "a large resource",
        halves(
            "{\"resourceLogs\":[{\"resource\":{\"attributes\":[{\"key\":\"a\",\"value\":{\"stringValue\":\"",
            "aaaaaaaa",
            "\"}}]},\"scopeLogs\":[{\"logRecords\":[{}",
            &format!(",{log}"),
            "]}]}]}",
        ),
    );
    add(
        "otlp_json",
        "attributes",
        repeated(
            "{\"resourceLogs\":[{\"resource\":{\"attributes\":[{}",
            ",{\"key\":\"a\",\"value\":{}}",
            "]}}]}",
        ),
    );
    add(
        "otlp_json",
        "a list within",
        nested(
            "{\"resourceLogs\":[{\"resource\":{\"attributes\":[{\"key\":\"a\",\"value\":{\"arrayValue\":",
            "[",
            "",
            "]",
            "}}]}}]}",
        ),
    );
    add("otlp_traces", "errors", Box::new(|size| spans(size, &[])));
    add(
        "otlp_traces",
        "a long name",
        Box::new(|size| spans(size.min(60_000) / 2, &field(5, &vec![b'a'; size / 2]))),
    );
    add(
        "otlp_traces",
        "a long id",
        Box::new(|size| spans(size.min(60_000) / 2, &field(1, &vec![b'a'; size / 2]))),
    );
    add("otlp_traces", "messages", Box::new(|size| field(1, &field(2, &b"\x12\0".repeat(size / 2)))));
    add(
        "otlp_logs",
        "a large resource",
        Box::new(|size| {
            let value = field(1, &vec![b'a'; size / 2]);
            let pair = [field(1, b"a"), field(2, &value)].concat();
            let record = field(2, &field(6, &attribute("exception.type", "E")));
            let records = record.repeat((size / 2 / record.len()).min(900));
            field(1, &[field(1, &field(1, &pair)), field(2, &records)].concat())
        }),
    );
    add(
        "oops",
        "documents within",
        Box::new(|size| {
            (0..size / 8).fold(b"\x05\0\0\0\0".to_vec(), |inner, _| bson(&[b"\x03a\0", &inner[..]].concat()))
        }),
    );
    add("oops", "members", Box::new(|size| bson(&b"\x0aa\0".repeat(size / 3))));
    add(
        "oops",
        "a traceback",
        Box::new(|size| {
            let text = "  File \"a.py\", line 1, in f\n".repeat(size / 28);
            let length = u32::try_from(text.len() + 1).expect("a small one").to_le_bytes();
            bson(&[b"\x02tb_text\0", &length[..], text.as_bytes(), b"\0"].concat())
        }),
    );
    add("oops", "headers", repeated("Oops-Id: 1\nException-Type: E\n", "A=b\n", ""));
    add("flawless", "frames", Box::new(|size| call(b"\x0f\0\x01\x0c", &[0], size)));
    add("flawless", "numbers", Box::new(|size| call(b"\x0f\0\x01\x03", &[0], size)));
    add(
        "flawless",
        "unknown fields",
        Box::new(|size| [CALL, &b"\x03\0\x63\0".repeat(size / 4), b"\0\0"].concat()),
    );
    add("flawless", "structs within", Box::new(|size| [CALL, &b"\x0c\0\x63".repeat(size / 3)].concat()));
    add(
        "flawless",
        "lists within",
        Box::new(|size| [CALL, b"\x0f\0\x63", &b"\x0f\0\0\0\x01".repeat(size / 5)].concat()),
    );
    add("key", "pairs", repeated("", "a&", ""));
    add("key", "words", repeated("Sentry ", "a=,", ""));
    bodies
}

/// The beginning of a Thrift call that records an error, up to the fields of its request.
const CALL: &[u8] = b"\x80\x01\x00\x01\x00\x00\x00\x0crecord_error\x00\x00\x00\x00\x0c\x00\x01";

/// One piece over and over, between a beginning and an end.
fn repeated(begin: &str, piece: &str, end: &str) -> Box<dyn Fn(usize) -> Vec<u8>> {
    let (begin, piece, end) = (begin.to_owned(), piece.to_owned(), end.to_owned());
    Box::new(move |size| format!("{begin}{}{end}", piece.repeat(size / piece.len())).into_bytes())
}

/// One piece over and over, and then another.
fn halves(begin: &str, first: &str, middle: &str, second: &str, end: &str) -> Box<dyn Fn(usize) -> Vec<u8>> {
    let [begin, first, middle, second, end] = [begin, first, middle, second, end].map(str::to_owned);
    Box::new(move |size| {
        // Not so many that they are refused for that.
        let second = second.repeat((size / 2 / second.len()).min(900));
        let first = first.repeat((size - second.len()) / first.len());
        format!("{begin}{first}{middle}{second}{end}").into_bytes()
    })
}

/// One thing within itself.
fn nested(begin: &str, open: &str, inner: &str, close: &str, end: &str) -> Box<dyn Fn(usize) -> Vec<u8>> {
    let [begin, open, inner, close, end] = [begin, open, inner, close, end].map(str::to_owned);
    Box::new(move |size| {
        let depth = size / (open.len() + close.len());
        format!("{begin}{}{inner}{}{end}", open.repeat(depth), close.repeat(depth)).into_bytes()
    })
}

/// Lines of thirty programs, mixed.
fn interleaved() -> Box<dyn Fn(usize) -> Vec<u8>> {
    Box::new(|size| {
        let line = |n: usize| {
            format!(
                "web{} | \tat a.B.c(B.java:1)\n",
                char::from(b'A' + u8::try_from(n % 30).expect("below 30"))
            )
        };
        (0..size / 28).map(line).collect::<String>().into_bytes()
    })
}

/// A field of a protobuf message.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let mut field = vec![number << 3 | 2];
    let mut length = bytes.len();
    while length >= 0x80 {
        field.push(u8::try_from(length & 0x7f).expect("7 bits") | 0x80);
        length >>= 7;
    }
    field.push(u8::try_from(length).expect("7 bits"));
    field.extend(bytes);
    field
}

fn attribute(name: &str, value: &str) -> Vec<u8> {
    [field(1, name.as_bytes()), field(2, &field(1, value.as_bytes()))].concat()
}

/// A span with other fields and as many errors as fit.
fn spans(size: usize, others: &[u8]) -> Vec<u8> {
    let event = [field(2, b"exception"), field(3, &attribute("exception.type", "E"))].concat();
    let event = field(11, &event);
    let span = [others, &event.repeat(size / event.len())].concat();
    field(1, &field(2, &field(2, &span)))
}

/// A BSON document of such elements.
fn bson(elements: &[u8]) -> Vec<u8> {
    let length = u32::try_from(elements.len() + 5).expect("a small one");
    [&length.to_le_bytes()[..], elements, b"\0"].concat()
}

/// A Thrift call whose request is a list.
fn call(list: &[u8], element: &[u8], size: usize) -> Vec<u8> {
    let count = u32::try_from(size / element.len()).expect("a small one");
    [CALL, list, &count.to_be_bytes(), &element.repeat(size / element.len()), b"\0\0"].concat()
}

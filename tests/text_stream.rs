//! Tracebacks out of a stream: whatever the pieces it comes in, they are those of the whole.

use std::fs;
use std::path::Path;

use blamed::ingest::json;
use blamed::ingest::text::{Sighting, Tracebacks, decode};
use blamed::report::Report;
use proptest::prelude::*;

/// Every traceback of the fixtures.
fn samples() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tracebacks");
    let mut samples: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
        .collect();
    samples.sort();
    samples
}

/// What comes of a stream in pieces of the given sizes, over and over.
fn in_pieces(bytes: &[u8], sizes: &[usize]) -> Vec<Sighting> {
    let mut stream = Tracebacks::default();
    let (mut found, mut rest, mut n) = (Vec::new(), bytes, 0);
    while !rest.is_empty() {
        let size = sizes[n % sizes.len()].clamp(1, rest.len());
        found.extend(stream.push(&rest[..size]));
        assert!(stream.settled() <= (bytes.len() - rest.len() + size) as u64);
        rest = &rest[size..];
        n += 1;
    }
    found.extend(stream.flush());
    // A line that has not ended, and in which nothing begins, may still get an end.
    let ended = bytes.rsplit(|&byte| byte == b'\n').next().map_or(0, <[u8]>::len);
    assert!(stream.settled() >= (bytes.len() - ended) as u64);
    found
}

fn reports(found: Vec<Sighting>) -> Vec<Report> {
    found.into_iter().map(|sighting| sighting.report).collect()
}

/// Lines of a log that belong to no traceback.
fn dull(lines: usize) -> Vec<u8> {
    (0..lines).flat_map(|n| format!("2026-11-20 12:00:00 INFO order {n} went fine\n").into_bytes()).collect()
}

#[test]
fn every_sample_alone_is_what_the_whole_text_is() {
    for (name, text) in samples() {
        let whole = decode(&text).unwrap_or_default();
        for sizes in [&[usize::MAX][..], &[1], &[7, 64, 3]] {
            assert_eq!(reports(in_pieces(&text, sizes)), whole, "{name} in pieces of {sizes:?}");
        }
    }
}

#[test]
fn a_sample_among_a_busy_log_is_found_where_it_is() {
    let before = dull(100_000);
    for (name, text) in samples() {
        let Ok(whole) = decode(&text) else { continue };
        let stream = [&before[..], &text, b"\n", &dull(200)].concat();
        let mut tracebacks = Tracebacks::default();
        // Found as soon as enough has come behind it; no flush is needed.
        let found = tracebacks.push(&stream);
        let exceptions = |reports: &[Report]| -> Vec<_> {
            reports
                .iter()
                .map(|report| report.exceptions.iter().map(|e| e.frames.clone()).collect::<Vec<_>>())
                .collect()
        };
        let at: Vec<u64> = found.iter().map(|sighting| sighting.offset).collect();
        assert_eq!(exceptions(&reports(found)), exceptions(&whole), "{name}");
        assert!(
            at.iter().all(|&at| (before.len()..before.len() + text.len()).contains(&(at as usize))),
            "{name}: {at:?}"
        );
        let line_starts = |at: u64| at == 0 || stream[at as usize - 1] == b'\n';
        assert!(at.into_iter().all(line_starts), "{name}");
    }
}

#[test]
fn taking_it_up_again_where_it_was_settled_loses_nothing_and_names_it_the_same() {
    let stream: Vec<u8> =
        samples().into_iter().flat_map(|(_, text)| [&text[..], b"\n", &dull(45)].concat()).collect();
    let names = |found: &[Sighting], base: u64| -> Vec<(u64, usize, Vec<_>)> {
        found.iter().map(|s| (base + s.offset, s.nth, s.report.exceptions.clone())).collect()
    };
    let whole = names(&in_pieces(&stream, &[usize::MAX]), 0);
    for cut in (0..stream.len()).step_by(997) {
        let mut first = Tracebacks::default();
        let mut all = names(&first.push(&stream[..cut]), 0);
        let settled = first.settled();
        all.extend(names(&in_pieces(&stream[settled as usize..], &[4096]), settled));
        for wanted in &whole {
            assert!(all.contains(wanted), "cut at {cut}, settled at {settled}: {wanted:?} is lost");
        }
        // What came twice has the same name.
        all.sort_by_key(|(offset, nth, _)| (*offset, *nth));
        all.dedup_by_key(|(offset, nth, _)| (*offset, *nth));
        assert_eq!(all.len(), whole.len(), "cut at {cut}, settled at {settled}");
    }
}

#[test]
fn what_is_held_is_bounded() {
    let mut stream = Tracebacks::default();
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..64 {
        assert!(stream.push(&chunk).is_empty());
    }
    assert!(format!("{stream:?}").len() < 32 << 20, "a line of 64 MB");
    let header = b"Traceback (most recent call last):\n";
    let frame = b"  File \"/srv/a.py\", line 7, in again\n    again()\n";
    stream.push(b"\n");
    stream.push(header);
    let mut found = 0;
    for _ in 0..60_000 {
        found += stream.push(frame).len();
    }
    found += stream.push(b"RecursionError: no\n").len() + stream.flush().len();
    assert!((1..20).contains(&found), "{found} of a traceback of 3 MB");
}

#[test]
fn a_dump_of_many_goroutines_is_one_panic() {
    let mut stream = Tracebacks::default();
    let mut found = stream
        .push(b"panic: no stock\n\ngoroutine 7 [running]:\nmain.total(...)\n\t/srv/app/total.go:4 +0x1d\n");
    for n in 8..40_000 {
        found.extend(
            stream.push(
                format!(
                    "\ngoroutine {n} [chan receive, 5 minutes]:\nmain.wait()\n\t/srv/app/main.go:30 +0x25\n"
                )
                .as_bytes(),
            ),
        );
    }
    found.extend(stream.flush());
    let functions: Vec<_> =
        found.iter().map(|sighting| sighting.report.exceptions[0].frames[0].function.clone()).collect();
    assert_eq!(functions, [Some("main.total".to_owned())], "of 3 MB");
}

#[test]
fn a_progress_bar_does_not_hide_what_stands_behind_it() {
    let mut stream = Tracebacks::default();
    for n in 0..200_000 {
        stream.push(format!("\r{n:>8} of 200000 |##########|").as_bytes());
    }
    stream.push(
        b"\rTraceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\nKeyError: 'x'\n",
    );
    let found = stream.flush();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].report.exceptions[0].kind.as_deref(), Some("KeyError"));
}

#[test]
fn json_records_with_a_stack() {
    let check = |record: &str, kind: &str, file: &str, line: u32| {
        let log = format!("{{\"level\":30,\"msg\":\"fine\"}}\n{record}\n{{\"level\":30,\"msg\":\"fine\"}}\n");
        let found = in_pieces(log.as_bytes(), &[13]);
        assert_eq!(found.len(), 1, "{record}");
        let thrown = found[0].report.headline().unwrap();
        let raising = thrown.frames.last().unwrap();
        assert_eq!(thrown.kind.as_deref(), Some(kind), "{record}");
        assert_eq!((raising.file.as_str(), raising.line.map(u32::from)), (file, Some(line)), "{record}");
        assert_eq!(found[0].offset, 26, "{record}");
    };
    let node = r"TypeError: x is undefined\n    at total (/srv/app/cart.js:12:5)\n    at main (/srv/app/index.js:3:1)";
    // pino and bunyan; winston; ECS, nested and flat.
    check(
        &format!(
            r#"{{"level":50,"err":{{"type":"TypeError","message":"x is undefined","stack":"{node}"}},"msg":"x"}}"#
        ),
        "TypeError",
        "/srv/app/cart.js",
        12,
    );
    check(
        &format!(r#"{{"level":"error","message":"no","stack":"{node}"}}"#),
        "TypeError",
        "/srv/app/cart.js",
        12,
    );
    check(
        &format!(r#"{{"log.level":"error","error":{{"message":"no","stack_trace":"{node}"}}}}"#),
        "TypeError",
        "/srv/app/cart.js",
        12,
    );
    check(
        &format!(r#"{{"log.level":"error","error.stack_trace":"{node}"}}"#),
        "TypeError",
        "/srv/app/cart.js",
        12,
    );
    let java =
        r"shop.PriceException: no\n\tat shop.Cart.total(Cart.java:12)\n\tat shop.Main.main(Main.java:3)\n";
    // logstash.
    check(
        &format!(
            r#"{{"@timestamp":"2026-11-20T12:00:00Z","level":"ERROR","message":"failed","stack_trace":"{java}"}}"#
        ),
        "shop.PriceException",
        "shop/Cart.java",
        12,
    );
    let python = r#"Traceback (most recent call last):\n  File \"/srv/app/cart.py\", line 12, in total\n    return 1 / 0\nZeroDivisionError: division by zero"#;
    // structlog, python-json-logger.
    check(
        &format!(r#"{{"event":"no","level":"error","exception":"{python}"}}"#),
        "ZeroDivisionError",
        "/srv/app/cart.py",
        12,
    );
    check(
        &format!(r#"{{"message":"no","exc_info":"{python}"}}"#),
        "ZeroDivisionError",
        "/srv/app/cart.py",
        12,
    );
    // structlog's dict_tracebacks.
    check(
        r#"{"event":"no","exception":[{"exc_type":"ZeroDivisionError","exc_value":"division by zero","frames":[{"filename":"/srv/app/cart.py","lineno":12,"name":"total"}]}]}"#,
        "ZeroDivisionError",
        "/srv/app/cart.py",
        12,
    );
    // zap.
    check(
        r#"{"level":"error","ts":1.5,"msg":"no","stacktrace":"main.total\n\t/srv/app/main.go:12\nmain.main\n\t/srv/app/main.go:3\nruntime.main\n\t/usr/lib/go/src/runtime/proc.go:250"}"#,
        "panic",
        "/srv/app/main.go",
        12,
    );
}

#[test]
fn docker_and_kubernetes_logs_of_one_line_a_record() {
    let text = "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\nKeyError: 'x'\n";
    let docker: String = text
        .lines()
        .map(|line| format!("{}\n", serde_json::json!({"log": format!("{line}\n"), "stream": "stderr"})))
        .collect();
    let cri: String =
        text.lines().map(|line| format!("2026-11-20T12:00:00.{}Z stderr F {line}\n", line.len())).collect();
    for log in [docker, cri] {
        let found = in_pieces(log.as_bytes(), &[50]);
        assert_eq!(found.len(), 1, "{log}");
        assert_eq!(found[0].report.exceptions[0].kind.as_deref(), Some("KeyError"), "{log}");
    }
}

#[test]
fn what_is_encoded_decodes_to_the_same() {
    for (name, text) in samples() {
        let Ok(whole) = decode(&text) else { continue };
        let again = json::decode(&json::encode(&whole)).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(again, whole, "{name}");
    }
}

/// What means something to a parser of lines.
const PIECES: &[&[u8]] = &[
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xc3",
    b"\t",
    b"x",
    b"{",
    b"}",
    b"\"",
    b"Traceback (most recent call last):",
    b"  File \"a\", line 1",
    b"\n    at f (a.js:1:2)",
    b"panic: x\n\ngoroutine 1 [running]:\n",
    b"#0 0x1 in f a.c:1",
    b"KeyError: 1",
];

proptest! {
    #[test]
    fn pieces_never_matter(
        picks in prop::collection::vec((0usize..1000, 41usize..60), 1..5),
        sizes in prop::collection::vec(1usize..5_000, 1..6),
    ) {
        let samples = samples();
        let stream: Vec<u8> = picks
            .iter()
            .flat_map(|&(sample, gap)| [&samples[sample % samples.len()].1[..], b"\n", &dull(gap)].concat())
            .collect();
        prop_assert_eq!(in_pieces(&stream, &sizes), in_pieces(&stream, &[usize::MAX]));
    }

    #[test]
    fn any_bytes_are_borne(
        bytes in prop::collection::vec(prop::sample::select(PIECES), 0..300),
        sizes in prop::collection::vec(1usize..50, 1..6),
    ) {
        let stream = bytes.concat();
        prop_assert_eq!(in_pieces(&stream, &sizes), in_pieces(&stream, &[usize::MAX]));
    }
}

//! Every decoder against what real clients sent, mangled: nothing panics, nothing grows beyond its limits, and
//! every error tells a place inside the body. The mangling is the same in each run; `BLAMED_FUZZ_ROUNDS` says how
//! often each sample is mangled (`scripts/fuzz` sets it high).

use std::fs;
use std::path::Path;

use blamed::ingest::error::DecodeError;
use blamed::ingest::frames::cut_machinery;
use blamed::ingest::limits::Limits;
use blamed::ingest::scrub::Scrubber;
use blamed::ingest::{airbrake, flawless, honeybadger, json, oops, otlp, rollbar, sentry, text};
use blamed::report::Report;

/// How often each sample is mangled where nothing else is said.
const ROUNDS: usize = 12;
/// The most that a sample or its offspring may have, in bytes.
const MOST_BYTES: usize = 20_000;

type Decoder = fn(&[u8]) -> Result<Vec<Report>, DecodeError>;

const DECODERS: [(&str, Decoder); 13] = [
    ("json", json::decode),
    ("text", text::decode),
    ("sentry envelope", |bytes| sentry::decode_envelope(bytes).map(|envelope| envelope.reports)),
    ("sentry store", |bytes| sentry::decode_store(bytes, 100_000).map(|report| report.into_iter().collect())),
    ("sentry key", |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let key = sentry::key_from(Some(&text), Some(&text), Some(&text), Some(bytes));
        assert!(key.is_none_or(|key| !key.is_empty()));
        Ok(Vec::new())
    }),
    ("airbrake", |bytes| airbrake::decode(bytes).map(|report| vec![report])),
    ("honeybadger", |bytes| honeybadger::decode(bytes).map(|report| vec![report])),
    ("rollbar", |bytes| rollbar::decode(bytes).map(|report| vec![report])),
    ("oops", |bytes| oops::decode(bytes).map(|report| vec![report])),
    ("otlp json", otlp::decode_json),
    ("otlp traces", |bytes| otlp::decode_protobuf(bytes, otlp::Signal::Traces)),
    ("otlp logs", |bytes| otlp::decode_protobuf(bytes, otlp::Signal::Logs)),
    ("flawless", |bytes| {
        flawless::decode(bytes).map(|call| {
            assert!(flawless::reply(&call).len() >= 12);
            match call.request {
                flawless::Request::RecordError(report) => vec![*report],
                flawless::Request::Ping | flawless::Request::Unknown => Vec::new(),
            }
        })
    }),
];

/// Pieces that formats give a meaning to.
const PIECES: [&[u8]; 26] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"\\ud83d",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-1",
    b"4294967296",
    b"null",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"  | ",
    b"+-+----",
    b"    at ",
    b"\tat ",
    b"Caused by: ",
    b"#0 ",
    b"\x1b[31m",
    b"\xff\xfe",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
    b"\x00\x00\x00\x00",
];

/// A small generator of chance (xorshift), so that a failure can be repeated.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).expect("53 bits fit") % bound.max(1)
    }
}

/// How often to mangle each sample, if it is to be thorough.
fn rounds() -> Option<usize> {
    std::env::var("BLAMED_FUZZ_ROUNDS").ok()?.parse().ok()
}

fn mangle(sample: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len());
        let end = (at + chance.below(60)).min(bytes.len());
        match chance.below(7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copy = bytes[at..end].repeat(1 + chance.below(30));
                bytes.splice(at..at, copy);
            }
            3 => {
                let piece = PIECES[chance.below(PIECES.len())].repeat(1 + chance.below(3));
                bytes.splice(at..at, piece);
            }
            4 => {
                let from = chance.below(other.len());
                let to = (from + chance.below(400)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            5 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = u8::try_from(chance.below(256)).expect("below 256");
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << chance.below(8);
                }
            }
        }
    }
    bytes.truncate(MOST_BYTES);
    bytes
}

fn samples() -> Vec<(String, Vec<u8>)> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut samples = Vec::new();
    for folder in ["requests", "tracebacks"] {
        for entry in fs::read_dir(fixtures.join(folder)).expect("the fixtures are part of the repository") {
            let path = entry.expect("a folder that lists").path();
            if path.extension().is_some_and(|extension| extension == "outline") {
                continue;
            }
            let mut sample = fs::read(&path).expect("a file that reads");
            sample.truncate(MOST_BYTES);
            samples.push((
                path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
                sample,
            ));
        }
    }
    samples.sort();
    samples
}

fn check(decoder: &str, decode: Decoder, sample: &str, bytes: &[u8]) {
    let reports = match decode(bytes) {
        Ok(reports) => reports,
        Err(error) => {
            assert!(error.offset.unwrap_or(0) <= bytes.len().max(100_000), "{decoder}, {sample}: {error}");
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
        Scrubber::default().scrub(&mut report);
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

#[test]
fn mangled_bodies_of_every_kind() {
    let rounds = rounds().unwrap_or(ROUNDS);
    let samples = samples();
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for (name, sample) in &samples {
        for round in 0..=rounds {
            let (_, other) = &samples[chance.below(samples.len())];
            let bytes = if round == 0 { sample.clone() } else { mangle(sample, other, &mut chance) };
            for (decoder, decode) in DECODERS {
                let outcome = std::panic::catch_unwind(|| check(decoder, decode, name, &bytes));
                if outcome.is_err() {
                    let kept = std::env::temp_dir().join(format!("blamed-fuzz-{name}-{round}"));
                    fs::write(&kept, &bytes).expect("a folder that can be written");
                    panic!(
                        "{decoder} fails on {name}, round {round}; the body is kept in {}",
                        kept.display()
                    );
                }
            }
        }
    }
}

/// A text of one line over and over is the worst for a parser that looks ahead or back.
#[test]
fn monotonous_texts_take_linear_time() {
    let lines = [
        "Traceback (most recent call last):",
        "  File \"a.py\", line 1, in f",
        "ValueError: x",
        "  + Exception Group Traceback (most recent call last):",
        "    at f (/a.js:1:2)",
        "  at f (/a.js:1:2) {",
        "[cause]: Error: x",
        "\tat a.B.c(B.java:1)",
        "java.lang.Error: x",
        "   at A.B() in /a.cs:line 1",
        "thread 'main' panicked at src/a.rs:1:2:",
        "Error: x",
        "goroutine 1 [running]:",
        "panic: x",
        "a.rb:1:in `f': x (A)",
        "a.rb:1:in `f'",
        "PHP Fatal error:  Uncaught A: b in /a.php:1",
        "** (A.B) c",
        "==1==ERROR: AddressSanitizer: x",
        "x at /a.pl line 1.",
        "2026-11-20 12:00:00 web[1]:     at f (/a.js:1:2)",
        "{\"log\": \"x\"}",
        "Fatal Python error: x",
        "Current thread 0x1 (most recent call first):",
        "(Use `node --trace-uncaught",
    ];
    let took = |text: &str| {
        let begun = std::time::Instant::now();
        let _ = text::decode(text.as_bytes());
        begun.elapsed()
    };
    // Each line with itself and its neighbours; with all others where it is to be thorough.
    let others = if rounds().is_some() { lines.len() } else { 3 };
    for (at, first) in lines.into_iter().enumerate() {
        for second in lines.into_iter().cycle().skip(at).take(others) {
            let text = format!("{first}\n{second}\n").repeat(20_000 / (first.len() + second.len() + 2));
            let small = took(&text);
            // Were it quadratic, 8 times as much would take 64 times as long.
            let large = took(&text.repeat(8));
            let bound = small.max(std::time::Duration::from_millis(20)) * 32;
            assert!(large < bound, "{first:?} and {second:?}: {small:?}, eightfold {large:?}");
        }
    }
}

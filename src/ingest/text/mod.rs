//! Tracebacks as programs print them, found in a text among other lines.
//!
//! A text is first freed of what loggers put around its lines (`lines`). Then every line is shown to each
//! language's parser in turn; the first that sees a traceback begin there takes as many lines as belong to
//! it. What stands directly before it (`Exception in thread packer-1:`, a log message) is kept with the report.

mod dotnet;
mod elixir;
mod go;
mod java;
mod javascript;
mod lines;
mod perl;
mod php;
mod python;
mod ruby;
mod rust;
mod sanitizer;
mod stream;
mod structured;

use std::num::NonZeroU32;
use std::sync::LazyLock;

use regex::Regex;

use super::error::{DecodeError, DecodeErrorKind};
use super::limits::{MOST_REPORTS, Room};
use crate::report::{Exception, Report};

pub use self::stream::{Sighting, Tracebacks};

/// Lines directly before a traceback that are kept with it.
const LINES_BEFORE: usize = 3;

/// Lines that a message may have.
const MOST_MESSAGE_LINES: usize = 30;

/// A traceback that was found.
struct Found {
    /// The index of its first line.
    start: usize,
    /// Root cause first, what was finally thrown last. Empty: it is no error after all.
    exceptions: Vec<Exception>,
    /// The index of the first line behind it.
    next: usize,
    /// What of it was dropped, in words.
    remarks: Vec<String>,
}

/// A language's parser: if a traceback begins in line `at`, all of it. A parser that knows its language by the
/// first frame looks for the header above it, but not above line `from`.
type Parser = fn(lines: &[&str], at: usize, from: usize) -> Option<Found>;

/// The languages, and the name of each in [`Report::protocol`]. The stricter a beginning, the earlier.
const LANGUAGES: [(&str, Parser); 11] = [
    ("python-text", python::parse),
    ("java-text", java::parse),
    ("javascript-text", javascript::parse),
    ("dotnet-text", dotnet::parse),
    ("rust-text", rust::parse),
    ("go-text", go::parse),
    ("ruby-text", ruby::parse),
    ("php-text", php::parse),
    ("elixir-text", elixir::parse),
    ("sanitizer-text", sanitizer::parse),
    ("perl-text", perl::parse),
];

/// What a line in which a traceback begins has in it, whatever the language: most lines of a log need not be
/// shown to every parser.
static BEGINNING: LazyLock<Regex> = LazyLock::new(|| {
    let words = [
        r"Traceback \(",
        "  File \"",
        "Fatal Python error: ",
        r"\(most recent call first\):",
        r"[ \t]at ",
        "@",
        "(?:Err|err)or: ",
        "goroutine ",
        "panic: ",
        ":in ",
        ": syntax error",
        "Uncaught ",
        "Stack trace:",
        r"\[stacktrace\]",
        r"\*\* \(",
        "Sanitizer: ",
        r"\(Use `node",
    ];
    Regex::new(&words.join("|")).expect("a pattern that is written here")
});

/// A traceback in a text.
struct Traceback {
    /// The lines of the plain text that it was made of.
    lines: Vec<usize>,
    /// How many lines stand behind it, as they are read once prefixes are taken off.
    behind: usize,
    report: Report,
}

/// Bytes of a text that is read as a whole. A larger one, which must be a log, is read as a stream, so that what its
/// lines take beside it stays small.
const MOST_WHOLE: usize = 256 << 10;

/// A text as UTF-8, whatever its first bytes say that it is written in.
#[must_use]
pub fn readable(text: &[u8]) -> std::borrow::Cow<'_, str> {
    lines::readable(text)
}

/// Finds every traceback in a text.
///
/// # Errors
/// If there is none, or more than one body may hold.
pub fn decode(text: &[u8]) -> Result<Vec<Report>, DecodeError> {
    let _room = Room::of_body(text.len());
    let found: Vec<Report> = if text.len() > MOST_WHOLE {
        let mut stream = Tracebacks::at_most(MOST_REPORTS + 1);
        let text = lines::readable(text);
        let pieces = text.as_bytes().chunks(MOST_WHOLE);
        let mut found: Vec<Sighting> = pieces.flat_map(|piece| stream.push(piece)).collect();
        found.extend(stream.flush());
        found.into_iter().map(|sighting| sighting.report).collect()
    } else {
        let found = find(&lines::plain(text), MOST_REPORTS + 1, None);
        found.into_iter().map(|traceback| traceback.report).collect()
    };
    if found.len() > MOST_REPORTS {
        let reason = format!("more than {MOST_REPORTS} tracebacks in one text");
        return Err(DecodeError::whole(DecodeErrorKind::TooMany, reason));
    }
    if found.is_empty() {
        return Err(DecodeError::whole(
            DecodeErrorKind::Nothing,
            "no traceback found: looked for those of Python, JavaScript, Java, C#, Rust, Go, Ruby, PHP, Elixir, \
             C sanitizers and Perl",
        ));
    }
    Ok(found)
}

/// The tracebacks in a plain text, at most `most`. Their lines are told where somebody wants the `numbers`.
fn find(text: &str, most: usize, numbers: Option<&lines::Numbers>) -> Vec<Traceback> {
    let lines = lines::gathered(&lines::unprefixed(text));
    let mut tracebacks = Vec::new();
    let (mut at, mut behind_last) = (0, 0);
    while at < lines.len() && tracebacks.len() < most {
        if !BEGINNING.is_match(lines[at]) {
            at += 1;
            continue;
        }
        let found =
            LANGUAGES.iter().find_map(|(protocol, parse)| Some((protocol, parse(&lines, at, behind_last)?)));
        let Some((protocol, found)) = found else {
            at += 1;
            continue;
        };
        at = found.next.max(at + 1);
        if found.exceptions.is_empty() {
            behind_last = at;
            continue;
        }
        let start = found.start.max(behind_last);
        tracebacks.push(Traceback {
            lines: numbers
                .map(|numbers| numbers.of_parts(&lines[start..at.min(lines.len())]))
                .unwrap_or_default(),
            behind: lines.len().saturating_sub(at),
            report: Report {
                exceptions: found.exceptions,
                count: 1,
                additional_info: said_before(&lines[behind_last..start]),
                protocol: (*protocol).to_owned(),
                remarks: found.remarks,
                ..Report::default()
            },
        });
        behind_last = at;
    }
    tracebacks
}

/// The exceptions of the first traceback in a text that a client sent as the stack of one error. Empty: there
/// is none.
pub(super) fn exceptions_of(stack: &str) -> Vec<Exception> {
    decode(stack.as_bytes()).map_or_else(|_| Vec::new(), |mut reports| reports.swap_remove(0).exceptions)
}

/// The last lines of `before` that no blank line parts from the traceback.
fn said_before(before: &[&str]) -> Option<String> {
    let near = before.iter().rev().take(LINES_BEFORE).take_while(|line| !line.trim().is_empty()).count();
    let said = before[before.len() - near..].join("\n");
    (!said.is_empty()).then_some(said)
}

/// `shop/cart.js:12:5` as file, line and column.
fn place_and_column(place: &str) -> Option<(&str, NonZeroU32, NonZeroU32)> {
    let (place, column) = place.rsplit_once(':')?;
    let (file, line) = place.rsplit_once(':')?;
    Some((file, line.parse().ok()?, column.parse().ok()?))
}

/// Whether a line looks like the beginning of a log record: a date, a time, an address or a level.
fn is_log_line(line: &str) -> bool {
    const LEVELS: [&str; 9] =
        ["DEBUG", "INFO", "NOTICE", "WARNING", "WARN", "ERROR", "CRITICAL", "FATAL", "TRACE"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let line = line.trim_start_matches(['[', '<', '(']);
    let head = &line.as_bytes()[..line.len().min(5)];
    let digits = head.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let after_digits = line.as_bytes().get(digits).copied();
    // 2026-11-20, 2026/11/20, 12:00:00, 20/Nov/2026, 127.0.0.1
    let is_date = matches!((digits, after_digits), (4, Some(b'-' | b'/')) | (2, Some(b':' | b'/')));
    let is_address = (1..=3).contains(&digits) && after_digits == Some(b'.') && line.contains(" - ");
    let is_month = MONTHS.iter().any(|month| {
        line.strip_prefix(month).is_some_and(|rest| {
            rest.trim_start().starts_with(|c: char| c.is_ascii_digit()) && rest.starts_with(' ')
        })
    });
    let is_level = LEVELS.iter().any(|level| {
        line.strip_prefix(level)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with([':', ' ', ']', '\t', '|']))
    });
    is_date || is_address || is_month || is_level
}

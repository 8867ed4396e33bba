//! A text as lines that are free of what loggers, consoles and containers put around them.
//!
//! Four things are undone: terminal colours, `\r\n`, log records in JSON (one a line: docker's files,
//! structured loggers), and a prefix that stands before *every* line of a traceback: docker compose, syslog,
//! journald, Apache, Kubernetes. A prefix is not recognised by its shape but by what follows it: where a line
//! holds the beginning of a traceback or a frame somewhere in its middle, and its neighbours begin alike
//! (numbers may differ), that beginning is the prefix. Lines of others that stand between are moved behind.
//!
//! A prefix on the first line only is left to the parsers, which look for their beginning within the line.

use std::borrow::Cow;
use std::fmt::Write;
use std::sync::LazyLock;

use bstr::ByteSlice;
use regex::Regex;
use serde_json::{Map, Value};

use super::{is_log_line, structured};
use crate::ingest::lenient::Tree;

/// Lines of other origin that may stand between two lines of one prefix.
const GAP: usize = 20;
/// Bytes that a prefix may have.
const LONGEST_PREFIX: usize = 300;
/// Shortest prefix, in characters, that may be repeated as blanks (journald does).
const SHORTEST_PADDING: usize = 8;
/// What begins a traceback or a frame, in any language. Before it stands the prefix.
static MARKER: LazyLock<Regex> = LazyLock::new(|| {
    let markers = [
        r"  \+ Exception Group Traceback \(most recent call last\):",
        r"(?:Exception Group )?Traceback \(most recent call last\):",
        "  File \"",
        "    at ",
        "\tat ",
        "\tfrom ",
        "goroutine ",
        "#0 ",
        "stack backtrace:",
        r"thread '[^']*' (?:\(\d+\) )?panicked at ",
        r"\*\* \(",
    ];
    Regex::new(&markers.join("|")).expect("a pattern that is written here")
});
/// What ends a traceback of Python.
static PYTHON_ERROR: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r"^[A-Za-z_][\w.]*(?:: .*)?$").expect("a pattern that is written here"));
/// Fields of a JSON log record that hold the text of the record, or of the error, in any case.
const JSON_FIELDS: [&str; 16] = [
    "log",
    "message",
    "msg",
    "MESSAGE",
    "exc_info",
    "exc_text",
    "exception",
    "traceback",
    "stack",
    "stack_trace",
    "stacktrace",
    "error",
    "err",
    "error.stack_trace",
    "backtrace",
    "@x",
];

/// A stack of Go without a line above it that names the goroutine.
static GO_FRAMES: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r"^[\w./*()\-\[\]]+\n\t[^\n]+\.go:\d+").expect("a pattern that is written here")
});

/// The text without colours and `\r`, its JSON records turned into their texts.
pub(super) fn plain(text: &[u8]) -> Cow<'_, str> {
    let text = readable(text);
    let is_quoted = text.trim_start().starts_with('"');
    let text = match is_quoted.then(|| serde_json::from_str::<String>(&text)) {
        Some(Ok(quoted)) => Cow::Owned(quoted),
        _ => text,
    };
    let text = if text.contains("\\n") { Cow::Owned(with_newlines(&text)) } else { text };
    let text = if is_coloured(&text) { Cow::Owned(without_colours(&text)) } else { text };
    let has_json = text.contains('{') && text.lines().any(|line| line.trim_start().starts_with('{'));
    if has_json { Cow::Owned(without_json(&text)) } else { text }
}

/// A text as UTF-8: a console of Windows may have written UTF-16, which its first bytes tell.
pub(super) fn readable(text: &[u8]) -> Cow<'_, str> {
    let unit: fn([u8; 2]) -> u16 = match text {
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        _ => return text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text).to_str_lossy(),
    };
    let units = text[2..].as_chunks::<2>().0.iter().map(|pair| unit(*pair));
    Cow::Owned(char::decode_utf16(units).map(|read| read.unwrap_or('\u{fffd}')).collect())
}

/// The text with the newlines that are written as `\n` in the value of a line: `err="Traceback …\n  File \"a.py\" …"`.
fn with_newlines(text: &str) -> String {
    static STACK: LazyLock<Regex> = LazyLock::new(|| {
        let pattern = r#""((?:[^"\\]|\\.)*\\n(?:  File \\"|(?:\\t|    )at )(?:[^"\\]|\\.)*)""#;
        Regex::new(pattern).expect("a pattern that is written here")
    });
    let mut out = String::with_capacity(text.len() + 8);
    for line in text.split_inclusive('\n') {
        // JSON is read as such.
        let may_be = line.contains("\\n") && !line.trim_start().starts_with('{');
        match may_be.then(|| STACK.captures(line)).flatten() {
            Some(found) => {
                let (quoted, value) = (found.get(0).expect("group 0 always is"), &found[1]);
                let value = value.replace("\\n", "\n").replace("\\t", "\t").replace("\\\"", "\"");
                let (before, behind) = (&line[..quoted.start()], &line[quoted.end()..]);
                // What stands behind it is no part of its message.
                out.push_str(&format!("{before}\n{value}\n\n{behind}"));
            }
            None => out.push_str(line),
        }
    }
    out
}

/// The lines of a plain text, in order, but lines that belong together by their prefix stand together.
pub(super) fn unprefixed(text: &str) -> Vec<&str> {
    let lines: Vec<&str> = text.lines().collect();
    let mut out: Vec<&str> = Vec::with_capacity(lines.len());
    let mut taken = vec![false; lines.len()];
    for at in 0..lines.len() {
        if taken[at] {
            continue;
        }
        let Some(prefix) = prefix_of(&lines, at) else {
            out.push(lines[at]);
            continue;
        };
        // The message stands before the first frame, so before the line that told us the prefix.
        let is_quoted = is_indentation(prefix);
        for line in out.iter_mut().rev().take(GAP) {
            match strip(line, prefix).filter(|_| !is_quoted) {
                Some(rest) => *line = rest,
                None => break,
            }
        }
        let mut gap = 0;
        for next in at..lines.len() {
            match strip(lines[next], prefix) {
                Some(rest) if !taken[next] => {
                    out.push(rest);
                    taken[next] = true;
                    gap = 0;
                }
                _ => gap += 1,
            }
            if gap > if is_quoted { 0 } else { GAP } {
                break;
            }
        }
    }
    out
}

/// The lines with those of other origin that stand within a traceback, without any prefix, moved behind it: log
/// records of other threads. Such a line looks like one, stands below a frame or a header, and what follows it goes
/// on with the traceback.
pub(super) fn gathered<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let mut out: Vec<&str> = Vec::with_capacity(lines.len());
    let mut moved: Vec<&str> = Vec::new();
    for (at, &line) in lines.iter().enumerate() {
        let is_record = !line.starts_with([' ', '\t']) && out.last().is_some_and(|above| is_within(above));
        if is_record && is_log_line(line) && near_marker(&out) {
            let ahead = &lines[at + 1..lines.len().min(at + 1 + GAP)];
            if ahead.iter().find(|line| !is_log_line(line)).is_some_and(|next| goes_on(next, &out)) {
                moved.push(line);
                continue;
            }
        }
        if !moved.is_empty() && !is_within(line) {
            // The line that ends a traceback of Python belongs to it.
            let ends = goes_on(line, &out);
            if ends {
                out.push(line);
            }
            out.append(&mut moved);
            if ends {
                continue;
            }
        }
        out.push(line);
    }
    out.append(&mut moved);
    out
}

/// Whether a line may stand in the middle of a traceback.
fn is_within(line: &str) -> bool {
    line.starts_with([' ', '\t']) || line.trim_end().ends_with("(most recent call last):")
}

/// Whether a traceback was going on in the last lines.
fn near_marker(before: &[&str]) -> bool {
    before.iter().rev().take(4).any(|line| MARKER.is_match(line))
}

/// Whether a line goes on with the traceback in the last lines: a frame, or Python's last line, its error.
fn goes_on(line: &str, before: &[&str]) -> bool {
    let is_python = || {
        let frames = before.iter().rev().take_while(|line| is_within(line));
        frames.take(4).any(|line| line.starts_with("  File \""))
    };
    line.starts_with([' ', '\t']) || (PYTHON_ERROR.is_match(line) && is_python())
}

/// The numbers of a text's lines, 0-based, told by any piece of the line.
pub(super) struct Numbers<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Numbers<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let starts = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
        Self { text, starts }
    }

    /// Which lines the `parts` are pieces of. One that is no piece of the text, such as a mere `""`, has none.
    pub(super) fn of_parts(&self, parts: &[&str]) -> Vec<usize> {
        let begin = self.text.as_ptr() as usize;
        parts
            .iter()
            .filter_map(|part| (part.as_ptr() as usize).checked_sub(begin))
            .filter(|&at| at < self.text.len())
            .map(|at| self.starts.partition_point(|&start| start <= at) - 1)
            .collect()
    }
}

fn is_indentation(prefix: &str) -> bool {
    !prefix.is_empty() && prefix.bytes().all(|byte| byte == b' ')
}

/// Where in a line a traceback or a frame begins.
fn marker_in(line: &str) -> Option<usize> {
    // Ruby's begin with the path.
    let in_ruby = || {
        let (place, called) = line.split_once(":in ")?;
        let path = place.trim_end_matches(|c: char| c.is_ascii_digit()).strip_suffix(':')?;
        let is_frame = path.len() + 1 < place.len() && called.starts_with(['`', '\'']);
        let begin = path.rfind([' ', '\t']).map_or(0, |blank| blank + 1);
        (is_frame && !path[..begin].ends_with("from ")).then_some(begin)
    };
    MARKER.find(line).map(|found| found.start()).or_else(in_ruby)
}

/// What stands before the traceback in line `at` and also begins one of its neighbours.
fn prefix_of<'a>(lines: &[&'a str], at: usize) -> Option<&'a str> {
    let line = lines[at];
    let prefix = &line[..marker_in(line)?];
    if is_indentation(prefix) && line[prefix.len()..].starts_with("Traceback ") {
        // A traceback that is quoted as a whole: by doctest, in YAML.
        return lines.get(at + 1)?.strip_prefix(prefix)?.starts_with("  File \"").then_some(prefix);
    }
    // Without a letter or digit it is the margin of a Python exception group, or indentation.
    if prefix.len() > LONGEST_PREFIX || !prefix.contains(char::is_alphanumeric) {
        return None;
    }
    let is_neighbour = |line: &&str| strip(line, prefix).is_some();
    let next = lines.get(at + 1)?;
    if line[prefix.len()..].starts_with("thread '") {
        // The message below it is not indented, so that only a prefix tells that there is one.
        return is_neighbour(next).then_some(prefix);
    }
    let is_bare = next.starts_with([' ', '\t', '#']) && !is_neighbour(next);
    let after = &lines[at + 1..lines.len().min(at + 1 + GAP)];
    let begins_others = is_neighbour(next)
        || (at > 0 && is_neighbour(&lines[at - 1]))
        || (!is_bare && after.iter().any(is_neighbour));
    (!is_bare && begins_others).then_some(prefix)
}

/// The line without the prefix, in which any number may stand for any other. `None`: it does not begin so.
fn strip<'a>(line: &'a str, prefix: &str) -> Option<&'a str> {
    let (line_bytes, prefix_bytes) = (line.as_bytes(), prefix.as_bytes());
    let digits = |bytes: &[u8]| bytes.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (mut at, mut wanted) = (0, 0);
    while wanted < prefix_bytes.len() {
        let (in_line, in_prefix) = (digits(&line_bytes[at..]), digits(&prefix_bytes[wanted..]));
        if in_line > 0 && in_prefix > 0 {
            at += in_line;
            wanted += in_prefix;
        } else if line_bytes.get(at) == Some(&prefix_bytes[wanted]) {
            at += 1;
            wanted += 1;
        } else if at == line_bytes.len() && prefix[wanted..].trim().is_empty() {
            return Some("");
        } else {
            return strip_padding(line, prefix);
        }
    }
    line.get(at..)
}

/// The line without as many blanks as the prefix is wide.
fn strip_padding<'a>(line: &'a str, prefix: &str) -> Option<&'a str> {
    let width = prefix.chars().count();
    let padded = width >= SHORTEST_PADDING
        && line.len() >= width
        && line.as_bytes()[..width].iter().all(|&b| b == b' ');
    padded.then(|| &line[width..])
}

/// Whether there is anything in a text that [`without_colours`] takes out.
fn is_coloured(text: &str) -> bool {
    text.as_bytes().find_byteset(b"\r\x1b").is_some()
}

/// The text without terminal escape sequences and carriage returns before newlines.
fn without_colours(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars().peekable();
    while let Some(character) = characters.next() {
        match character {
            '\x1b' => match characters.next() {
                Some('[') => while characters.next().is_some_and(|c| !('\x40'..='\x7e').contains(&c)) {},
                Some(']') => while characters.next().is_some_and(|c| c != '\x07' && c != '\\') {},
                _ => {}
            },
            '\r' if matches!(characters.peek(), Some('\n') | None) => {}
            other => out.push(other),
        }
    }
    out
}

/// The text with each line that is a JSON object replaced by the texts it holds.
fn without_json(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        match line.trim_start().starts_with('{').then(|| serde_json::from_str(line)) {
            Some(Ok(Tree(Value::Object(record)))) => {
                let from = out.len();
                write_record(&record, &mut out);
                if out.len() == from {
                    out.push('\n');
                }
            }
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    if is_coloured(&out) { without_colours(&out) } else { out }
}

/// Writes the texts of a log record: those in the fields that are known to hold them, and all of several lines.
fn write_record(record: &Map<String, Value>, out: &mut String) {
    let is_known = |name: &str| JSON_FIELDS.iter().any(|known| known.eq_ignore_ascii_case(name));
    for (name, value) in record {
        match value {
            Value::String(text) if is_known(name) || text.trim_end().contains('\n') => write_text(text, out),
            Value::Object(inner) if !structured::write_thrown(inner, out) => write_record(inner, out),
            _ => {}
        }
    }
    // What is said of an error stands before its frames.
    for elements in record.values().filter_map(Value::as_array) {
        write_list(elements, out);
    }
}

fn write_text(text: &str, out: &mut String) {
    if text.trim().is_empty() {
        return;
    }
    // zap and logrus leave out the line that says whose stack it is.
    if GO_FRAMES.is_match(text) {
        out.push_str("goroutine 1 [running]:\n");
    }
    writeln!(out, "{}", text.strip_suffix('\n').unwrap_or(text)).expect("a String takes all");
}

/// Lists that are stacks: lines as they are, or frames that are taken to pieces.
fn write_list(elements: &[Value], out: &mut String) {
    if elements.len() > 1 && elements.iter().all(Value::is_string) {
        elements.iter().filter_map(Value::as_str).for_each(|line| write_text(line, out));
    } else {
        structured::write_stack(elements, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEBACK: &str =
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\n\nKeyError: 'x'";

    #[test]
    fn a_prefix_on_every_line_is_taken_off() {
        let check = |prefix: fn(usize) -> String| {
            let text: String =
                TRACEBACK.lines().enumerate().map(|(n, line)| format!("{}{line}\n", prefix(n))).collect();
            assert_eq!(unprefixed(&text).join("\n"), TRACEBACK, "{text}");
        };
        check(|_| String::new());
        check(|_| "web_1  | ".to_owned());
        check(|n| format!("2026-11-20 12:00:0{n},{n}23 ERROR shop.views: "));
        check(|_| "Nov 20 12:00:00 web-3 gunicorn[812]: ".to_owned());
        check(|n| format!("2026-11-20T12:00:00.{n}00000Z stderr F "));
        check(|n| if n == 0 { "Nov 20 12:00:00 web-3 gunicorn[812]: ".to_owned() } else { " ".repeat(37) });
    }

    #[test]
    fn lines_of_others_between_are_moved_behind() {
        let text: String =
            TRACEBACK.lines().map(|line| format!("web_1  | {line}\ndb_1   | checkpoint\n")).collect();
        let lines = unprefixed(&text);
        assert_eq!(lines[..5].join("\n"), TRACEBACK);
        assert_eq!(lines[5..], ["db_1   | checkpoint"; 5]);
    }

    #[test]
    fn a_prefix_on_the_first_line_only_stays() {
        let text = format!("ERROR:root:{TRACEBACK}\nERROR:root:other");
        assert_eq!(unprefixed(&text).join("\n"), text);
    }

    #[test]
    fn json_records_are_unfolded() {
        let docker: String = TRACEBACK
            .lines()
            .map(|line| format!("{}\n", serde_json::json!({"log": format!("{line}\n"), "stream": "stderr"})))
            .collect();
        assert_eq!(plain(docker.as_bytes()).trim_end(), TRACEBACK);
        let record = serde_json::json!({"level": "error", "error": {"stack": TRACEBACK}}).to_string();
        assert_eq!(plain(record.as_bytes()).trim_end(), TRACEBACK);
    }

    #[test]
    fn texts_within_texts_and_of_other_units() {
        let utf16 = |unit: fn(u16) -> [u8; 2]| {
            format!("\u{feff}{TRACEBACK}").encode_utf16().flat_map(unit).collect::<Vec<u8>>()
        };
        assert_eq!(plain(&utf16(u16::to_le_bytes)), TRACEBACK);
        assert_eq!(plain(&utf16(u16::to_be_bytes)), TRACEBACK);
        assert_eq!(plain(serde_json::json!(TRACEBACK).to_string().as_bytes()), TRACEBACK);
        let logfmt =
            format!("level=error err={} n=1\nlevel=info msg=\"a\\nb\"\n", serde_json::json!(TRACEBACK));
        assert_eq!(
            plain(logfmt.as_bytes()),
            format!("level=error err=\n{TRACEBACK}\n\n n=1\nlevel=info msg=\"a\\nb\"\n")
        );
    }

    #[test]
    fn colours_and_carriage_returns_go() {
        assert_eq!(plain(b"\x1b[1;31mKeyError\x1b[0m: 'x'\r\nb\r"), "KeyError: 'x'\nb");
        assert_eq!(plain(b"a\x1b]8;;http://x\x1b\\b\x1b"), "ab");
    }
}

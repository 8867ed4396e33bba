//! Tracebacks out of a stream without end, such as a log or what a command prints: bytes in, reports out.
//!
//! Most lines have nothing to do with an error: they are looked over as they lie, and only the last few are
//! held, because what an error says often stands before what it is known by. A line in which a traceback may
//! begin *opens* the stream: lines are collected until enough of them have come that belong to none, and what was
//! collected is then read like any other text. A stream that is busy with what looks like tracebacks is read in
//! between, and only those are taken that are surely at their end.
//!
//! What is held is bounded whatever comes: a line is cut at [`MOST_LINE`], and [`MOST_HELD`] bytes are
//! read as they are. Whoever feeds the stream calls [`Tracebacks::flush`] when nothing more came for a while, or
//! will.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::sync::LazyLock;

use bstr::ByteSlice;
use regex::bytes::Regex;

use super::{BEGINNING, LINES_BEFORE, find, lines};
use crate::report::Report;

/// Bytes of a line that are looked at.
const MOST_LINE: usize = 1 << 20;
/// Bytes that are held for a traceback to end.
const MOST_HELD: usize = 2 << 20;
/// Lines that are held before anything begins. No parser looks further back.
const LINES_HELD: usize = 40;
/// Bytes of these lines.
const BYTES_HELD: usize = 64 << 10;
/// Lines behind a traceback after which it does not go on. No parser looks further ahead.
const LINES_BEHIND: usize = 40;
/// New lines for which the collected ones are read again, at least.
const LINES_BETWEEN: usize = 128;

/// What must be in a line for it to be looked at closely: what a traceback begins with, or (in JSON, where
/// a text stands on one line) what a text of several lines has.
static HINT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(&format!(r#"{}|\\n|"stack|"exc|"frames|[tT]race"#, BEGINNING.as_str()))
        .expect("a pattern that is written here")
});

/// A traceback that a stream had in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sighting {
    /// Where the line begins that the traceback begins in, in bytes from the start of the stream.
    pub offset: u64,
    /// How many tracebacks began in that same line before: one line of JSON may hold several.
    pub nth: usize,
    /// The traceback.
    pub report: Report,
}

/// Finds the tracebacks in a stream.
#[derive(Debug, Default)]
pub struct Tracebacks {
    /// Bytes of the stream so far.
    seen: u64,
    /// The line that has not ended yet, as far as it is looked at, and where it began.
    line: Vec<u8>,
    line_offset: u64,
    /// The last lines: while closed, what may stand before a traceback; while open, all since then.
    held: VecDeque<Line>,
    held_bytes: usize,
    /// While open: how many lines came since the last that may belong to a traceback.
    open: Option<usize>,
    /// While open: how many lines may be held before they are read.
    read_at: usize,
    /// How many more tracebacks are looked for. `None`: all there are.
    wanted: Option<usize>,
}

#[derive(Debug)]
struct Line {
    offset: u64,
    /// Free of colours; several lines where it was a JSON record.
    text: String,
}

impl Tracebacks {
    /// Finds so many of them.
    pub(super) fn at_most(wanted: usize) -> Self {
        Self { wanted: Some(wanted), ..Self::default() }
    }

    /// Takes what comes next. Gives the tracebacks that have surely ended.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<Sighting> {
        let mut found = Vec::new();
        let (mut rest, unended) = bytes.split_at(bytes.rfind_byte(b'\n').map_or(0, |last| last + 1));
        while !rest.is_empty() {
            if self.open.is_some() || !self.line.is_empty() {
                let end = rest.find_byte(b'\n').expect("there is one");
                self.add_to_line(&rest[..end]);
                self.seen += 1;
                self.end_line(&mut found);
                rest = &rest[end + 1..];
                continue;
            }
            let dull = match HINT.find(rest) {
                Some(hint) => rest[..hint.start()].rfind_byte(b'\n').map_or(0, |newline| newline + 1),
                None => rest.len(),
            };
            self.pass_over(&rest[..dull]);
            rest = &rest[dull..];
            if let Some(end) = rest.find_byte(b'\n') {
                self.add_to_line(&rest[..end]);
                self.seen += 1;
                self.end_line(&mut found);
                rest = &rest[end + 1..];
            }
        }
        self.add_to_line(unended);
        found
    }

    /// Nothing more came for a while, or will: gives what is there, and holds nothing back.
    pub fn flush(&mut self) -> Vec<Sighting> {
        let mut found = Vec::new();
        if !self.line.is_empty() && (self.open.is_some() || HINT.is_match(&self.line)) {
            self.end_line(&mut found);
        }
        if self.open.is_some() {
            self.read(true, &mut found);
        }
        self.close();
        self.held.clear();
        self.held_bytes = 0;
        found
    }

    /// Up to where the stream is done with, in bytes from its start: a stream that is taken up there again
    /// gives what this one has not given yet, and perhaps some of what it has, with the same offsets.
    #[must_use]
    pub fn settled(&self) -> u64 {
        match self.held.front() {
            Some(line) => line.offset,
            None if self.line.is_empty() => self.seen,
            None => self.line_offset,
        }
    }

    /// Adds bytes to the line that has not ended. What is beyond its limit is let go.
    fn add_to_line(&mut self, bytes: &[u8]) {
        if self.line.is_empty() {
            self.line_offset = self.seen;
        }
        self.seen += bytes.len() as u64;
        let mut bytes = bytes;
        if self.line.len() + bytes.len() > MOST_LINE
            && let Some(shown) = bytes.rfind_byte(b'\r')
        {
            // A progress bar overwrites its line for hours: only what is left to be seen counts.
            self.line.clear();
            bytes = &bytes[shown..];
        }
        let room = MOST_LINE.saturating_sub(self.line.len());
        self.line.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }

    /// The line has ended.
    fn end_line(&mut self, found: &mut Vec<Sighting>) {
        let line = Line::new(self.line_offset, &self.line);
        self.line.clear();
        self.line.shrink_to(BYTES_HELD);
        let begins = BEGINNING.is_match(&line.text);
        // Inside of a traceback, frames are indented or numbered.
        let goes_on = begins || line.text.starts_with([' ', '\t', '#']);
        self.open = match (self.open, begins || (goes_on && self.open.is_some())) {
            (_, true) => Some(0),
            (Some(lines), false) => Some(lines + 1),
            (None, false) => None,
        };
        self.hold(line);
        match self.open {
            None => self.trim(),
            Some(lines) if lines >= LINES_BEHIND => {
                self.read(true, found);
                self.close();
                self.trim();
            }
            Some(_) => {
                self.read_at = self.read_at.max(LINES_BETWEEN);
                if self.held.len() >= self.read_at || self.held_bytes >= MOST_HELD {
                    let is_full = self.held_bytes >= MOST_HELD;
                    self.read(is_full, found);
                    if is_full {
                        self.trim();
                    }
                    self.read_at = LINES_BETWEEN.max(self.held.len()) + self.held.len();
                }
            }
        }
    }

    fn close(&mut self) {
        self.open = None;
        self.read_at = 0;
    }

    fn hold(&mut self, line: Line) {
        self.held_bytes += line.size();
        self.held.push_back(line);
    }

    /// Holds no more lines than are looked back at.
    fn trim(&mut self) {
        while self.held.len() > LINES_HELD || (self.held_bytes > BYTES_HELD && self.held.len() > 1) {
            let line = self.held.pop_front().expect("it is not empty");
            self.held_bytes -= line.size();
        }
    }

    /// Whole lines in which nothing begins.
    fn pass_over(&mut self, lines: &[u8]) {
        let mut from = lines.len();
        for _ in 0..LINES_HELD {
            if from == 0 || lines.len() - from > BYTES_HELD {
                break;
            }
            from = lines[..from - 1].rfind_byte(b'\n').map_or(0, |newline| newline + 1);
        }
        let mut offset = self.seen + from as u64;
        for line in lines[from..].split_inclusive(|&byte| byte == b'\n') {
            let shown = &line[..line.len() - 1];
            self.hold(Line::new(offset, &shown[..shown.len().min(MOST_LINE)]));
            offset += line.len() as u64;
        }
        self.seen += lines.len() as u64;
        self.trim();
    }

    /// Reads what is held. Unless this is the `last` time for it, tracebacks that may go on are left.
    fn read(&mut self, last: bool, found: &mut Vec<Sighting>) {
        let mut text = String::with_capacity(self.held_bytes);
        // Which held line each line of the text is of.
        let mut owners = Vec::new();
        for (owner, line) in self.held.iter().enumerate() {
            owners.resize(owners.len() + 1 + line.text.matches('\n').count(), owner);
            text.push_str(&line.text);
            text.push('\n');
        }
        let mut is_used = vec![false; self.held.len()];
        let mut keep_from = self.held.len().saturating_sub(LINES_HELD);
        // How many were found in each line.
        let mut of_line = HashMap::new();
        let before = found.len();
        let numbers = lines::Numbers::of(&text);
        for traceback in find(&text, self.wanted.unwrap_or(usize::MAX), Some(&numbers)) {
            let of = || traceback.lines.iter().map(|&line| owners[line]);
            let Some(first) = of().min() else { continue };
            if !last && traceback.behind < LINES_BEHIND {
                keep_from = keep_from.min(first.saturating_sub(LINES_BEFORE));
                continue;
            }
            of().for_each(|line| is_used[line] = true);
            let offset = self.held[first].offset;
            let nth = of_line.entry(offset).and_modify(|nth| *nth += 1).or_insert(0);
            found.push(Sighting { offset, nth: *nth, report: traceback.report });
        }
        if let Some(wanted) = &mut self.wanted {
            *wanted = wanted.saturating_sub(found.len() - before);
        }
        if last {
            // What stands behind the last traceback may stand before the next.
            keep_from = is_used.iter().rposition(|&used| used).map_or(0, |used| used + 1);
        }
        let mut line = 0;
        self.held.retain(|_| {
            line += 1;
            line > keep_from && !is_used[line - 1]
        });
        self.held_bytes = self.held.iter().map(Line::size).sum();
    }
}

impl Line {
    /// What it takes, in bytes; many short lines take more than their text.
    fn size(&self) -> usize {
        size_of::<Self>() + self.text.len()
    }

    fn new(offset: u64, bytes: &[u8]) -> Self {
        // What was overwritten on a terminal is not looked at.
        let bytes = bytes.trim_end_with(|c| c == '\r');
        let bytes = &bytes[bytes.rfind_byte(b'\r').map_or(0, |at| at + 1)..];
        let text: Cow<'_, str> = lines::plain(bytes);
        let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
        Self { offset, text }
    }
}

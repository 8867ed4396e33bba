//! How much of a report is kept.
//!
//! There are two rings of limits. The outer one is the constants here that start with `MOST_` and the [`Room`] that
//! a body's size gives: decoders hold to them *while* reading, so that no body, however it is made, unfolds into many
//! times its size. The inner one is [`Limits`], which are settings; [`Limits::apply`] brings a decoded report within
//! them.

use std::cell::Cell;
use std::collections::VecDeque;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::report::{Exception, Frame, Omitted, Report};

/// Frames that a decoder keeps at each end of one exception's stack.
pub(super) const MOST_FRAMES_HALF: usize = 1_000;
/// Exceptions that a decoder keeps at each end of one report's chain.
pub(super) const MOST_EXCEPTIONS_HALF: usize = 50;
/// Local variables of one frame that a decoder keeps.
pub(super) const MOST_LOCALS: usize = 500;
/// Bytes after which a decoder stops writing out the JSON of one local variable's value.
pub(super) const MOST_SHOWN_BYTES: usize = 16 * 1024;
/// Levels of lists and objects to which a decoder follows a value.
pub(super) const MOST_DEPTH: usize = 32;
/// Values of all kinds that a decoder keeps of one member of a report's context.
pub(super) const MOST_CONTEXT_NODES: usize = 5_000;
/// Reports that one body may hold.
pub(super) const MOST_REPORTS: usize = 1_000;

/// How much of each report is kept. The defaults are meant to hold whatever a person would read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Frames of one exception; of more, the first and the last are kept. Default 500.
    pub frames: usize,
    /// Exceptions of one report; of more, the first and the last are kept. Default 50.
    pub exceptions: usize,
    /// Local variables of one frame. Default 100.
    pub locals: usize,
    /// Characters of one local variable's name or value. Default 1,000.
    pub local_chars: usize,
    /// Source lines kept before and after a frame's own. Default 10.
    pub context_lines: usize,
    /// Characters of a source line, a file, function or type name. Default 1,000.
    pub line_chars: usize,
    /// Characters of an exception's message or of the additional information. Default 8,192.
    pub message_chars: usize,
    /// Characters of a host, release, revision, environment or event id. Default 250.
    pub label_chars: usize,
    /// Levels of lists and objects in the context. Default 8.
    pub context_depth: usize,
    /// Members of each list or object in the context. Default 100.
    pub context_members: usize,
    /// Characters of each text in the context. Default 1,000.
    pub context_chars: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frames: 500,
            exceptions: 50,
            locals: 100,
            local_chars: 1_000,
            context_lines: 10,
            line_chars: 1_000,
            message_chars: 8_192,
            label_chars: 250,
            context_depth: 8,
            context_members: 100,
            context_chars: 1_000,
        }
    }
}

impl Limits {
    /// Brings `report` within the limits. What was cut from its middle is told in [`Exception::omitted`]
    /// or in the report's remarks; a text that was cut ends in `…`.
    pub fn apply(&self, report: &mut Report) {
        let exceptions = report.exceptions.len();
        if exceptions > self.exceptions {
            let (first, cut) = middle(exceptions, self.exceptions);
            report.exceptions.drain(first..first + cut);
            report.remarks.push(format!("{cut} of {exceptions} chained exceptions left out of the middle"));
        }
        for exception in &mut report.exceptions {
            self.apply_to_exception(exception);
        }
        for label in
            [&mut report.hostname, &mut report.revision, &mut report.release, &mut report.environment]
        {
            cut_option(label, self.label_chars);
        }
        // An identity is never cut: two that begin alike would become one. A long one becomes its digest.
        if let Some(id) = report.client_id.as_mut().filter(|id| id.len() > self.label_chars) {
            *id = Sha256::digest(id.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
        }
        cut_option(&mut report.additional_info, self.message_chars);
        self.apply_to_members(&mut report.context, 0);
    }

    fn apply_to_exception(&self, exception: &mut Exception) {
        cut_option(&mut exception.kind, self.line_chars);
        cut_option(&mut exception.message, self.message_chars);
        let frames = exception.frames.len();
        if frames > self.frames {
            let (first, cut) = middle(frames, self.frames);
            exception.frames.drain(first..first + cut);
            let before = exception.omitted.map_or(0, |omitted| omitted.count);
            exception.omitted = Some(Omitted { at: first, count: before + cut });
        }
        for frame in &mut exception.frames {
            self.apply_to_frame(frame);
        }
    }

    fn apply_to_frame(&self, frame: &mut Frame) {
        cut(&mut frame.file, self.line_chars);
        cut_option(&mut frame.function, self.line_chars);
        cut_option(&mut frame.text, self.line_chars);
        let far = frame.before.len().saturating_sub(self.context_lines);
        frame.before.drain(..far);
        frame.after.truncate(self.context_lines);
        for line in frame.before.iter_mut().chain(&mut frame.after) {
            cut(line, self.line_chars);
        }
        frame.locals.truncate(self.locals);
        for (name, value) in &mut frame.locals {
            cut(name, self.local_chars);
            cut(value, self.local_chars);
        }
    }

    fn apply_to_members(&self, members: &mut Map<String, Value>, depth: usize) {
        if members.len() > self.context_members {
            let kept = std::mem::take(members);
            *members = kept.into_iter().take(self.context_members).collect();
        }
        for (_, value) in members.iter_mut() {
            self.apply_to_value(value, depth + 1);
        }
    }

    fn apply_to_value(&self, value: &mut Value, depth: usize) {
        match value {
            Value::String(text) => cut(text, self.context_chars),
            Value::Array(_) | Value::Object(_) if depth > self.context_depth => *value = Value::from("…"),
            Value::Array(elements) => {
                elements.truncate(self.context_members);
                for element in elements {
                    self.apply_to_value(element, depth + 1);
                }
            }
            Value::Object(members) => self.apply_to_members(members, depth),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// Where to cut `len` down to `limit` so that the last half (and the odd one) and the first half stay: the
/// index of the cut, and how many it takes.
fn middle(len: usize, limit: usize) -> (usize, usize) {
    (limit / 2, len - limit)
}

fn cut_option(text: &mut Option<String>, limit: usize) {
    if let Some(text) = text {
        cut(text, limit);
    }
}

/// Shortens `text` to `limit` characters, the last of which is then `…`.
fn cut(text: &mut String, limit: usize) {
    // A text has at most as many characters as bytes, so most need no counting.
    if text.len() <= limit || text.chars().nth(limit).is_none() {
        return;
    }
    let end = text.char_indices().nth(limit.saturating_sub(1)).map_or(0, |(index, _)| index);
    text.truncate(end);
    text.push('…');
}

/// Room for what a body unfolds into beside its texts: frames, variables, members, each of which takes more memory than
/// the few bytes that may stand for it. A body of real frames never needs all of it; of one that is made of the
/// smallest things there are, what finds no room is let go, as is what goes beyond the other limits.
///
/// It is of the thread that decodes the body, as long as this is held. A document within the body has no room of its own.
pub(super) struct Room {
    is_own: bool,
}

thread_local! {
    /// Bytes left, while a body is decoded.
    static LEFT: Cell<Option<usize>> = const { Cell::new(None) };
}

impl Room {
    /// Bytes for each byte of the body, and at least.
    const TIMES: usize = 4;
    const LEAST: usize = 1 << 20;

    /// Room for a body of so many bytes.
    pub(super) fn of_body(bytes: usize) -> Self {
        let is_own = LEFT.get().is_none();
        if is_own {
            LEFT.set(Some(bytes.saturating_mul(Self::TIMES).max(Self::LEAST)));
        }
        Self { is_own }
    }

    /// Takes so many bytes; `false`: there is no room for them.
    pub(super) fn take(bytes: usize) -> bool {
        match LEFT.get().map(|left| left.checked_sub(bytes)) {
            Some(None) => false,
            left => {
                LEFT.set(left.flatten());
                true
            }
        }
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.is_own {
            LEFT.set(None);
        }
    }
}

/// The first and the last `HALF` of what was pushed, and how many in between were let go.
#[derive(Debug)]
pub(super) struct Ends<T, const HALF: usize> {
    first: Vec<T>,
    last: VecDeque<T>,
    dropped: usize,
}

impl<T, const HALF: usize> Default for Ends<T, HALF> {
    fn default() -> Self {
        Self { first: Vec::new(), last: VecDeque::new(), dropped: 0 }
    }
}

impl<T, const HALF: usize> Ends<T, HALF> {
    pub(super) fn push(&mut self, element: T) {
        let has_room = Room::take(size_of::<T>());
        if has_room && self.first.len() < HALF && self.last.is_empty() {
            self.first.push(element);
            return;
        }
        if !has_room || self.last.len() == HALF {
            self.dropped += 1;
            // Without room, the last of the first half makes way for the first of the last.
            if self.last.pop_front().is_none() && self.first.pop().is_none() {
                return;
            }
        }
        self.last.push_back(element);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.first.is_empty()
    }

    /// What was kept, in the order it was pushed.
    pub(super) fn into_vec(self) -> Vec<T> {
        let mut all = self.first;
        all.extend(self.last);
        all
    }

    /// What was kept, each turned into another thing or left out.
    pub(super) fn filter_map<U>(self, mut turn: impl FnMut(T) -> Option<U>) -> Ends<U, HALF> {
        Ends {
            first: self.first.into_iter().filter_map(&mut turn).collect(),
            last: self.last.into_iter().filter_map(turn).collect(),
            dropped: self.dropped,
        }
    }

    /// What was kept, last first.
    pub(super) fn reversed(mut self) -> Self {
        self.first.reverse();
        let first: Vec<T> = self.last.into_iter().rev().collect();
        Self { first, last: self.first.into(), dropped: self.dropped }
    }

    /// How many were let go, and before which index of the kept ones they stood.
    pub(super) fn omitted(&self) -> Option<Omitted> {
        (self.dropped > 0).then_some(Omitted { at: self.first.len(), count: self.dropped })
    }
}

/// A stack while it is read.
pub(super) type Stack = Ends<Frame, MOST_FRAMES_HALF>;

impl Stack {
    /// The frame that was pushed last.
    pub(super) fn last_mut(&mut self) -> Option<&mut Frame> {
        self.last.back_mut().or(self.first.last_mut())
    }

    /// The frame that was pushed first.
    pub(super) fn first_mut(&mut self) -> Option<&mut Frame> {
        self.first.first_mut()
    }

    /// As the stack of an exception.
    pub(super) fn into_exception(self, kind: Option<String>, message: Option<String>) -> Exception {
        let omitted = self.omitted();
        Exception { kind, message, omitted, frames: self.into_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(frames: usize) -> Report {
        let frames = (0..frames).map(|n| Frame { file: n.to_string(), ..Frame::default() }).collect();
        Report { exceptions: vec![Exception { frames, ..Exception::default() }], ..Report::default() }
    }

    #[test]
    fn the_first_and_last_frames_stay() {
        let mut report = report(1_000);
        Limits::default().apply(&mut report);
        let exception = &report.exceptions[0];
        assert_eq!(exception.frames.len(), 500);
        assert_eq!(exception.omitted, Some(Omitted { at: 250, count: 500 }));
        assert_eq!(exception.frames[249].file, "249");
        assert_eq!(exception.frames[250].file, "750");
        assert_eq!(exception.frames[499].file, "999");
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let mut text = "größer".to_owned();
        cut(&mut text, 6);
        assert_eq!(text, "größer");
        cut(&mut text, 4);
        assert_eq!(text, "grö…");
    }

    #[test]
    fn ends_keep_both_ends() {
        let mut ends = Ends::<u32, 3>::default();
        (0..10).for_each(|n| ends.push(n));
        assert_eq!(ends.omitted(), Some(Omitted { at: 3, count: 4 }));
        let ends = ends.reversed();
        assert_eq!(ends.omitted(), Some(Omitted { at: 3, count: 4 }));
        assert_eq!(ends.into_vec(), [9, 8, 7, 2, 1, 0]);
    }

    #[test]
    fn deep_and_wide_context_is_cut() {
        let mut deep = Value::from(1);
        for _ in 0..100 {
            deep = serde_json::json!({ "in": deep });
        }
        let mut report = Report::default();
        report.context.insert("extra".to_owned(), deep);
        report.context.insert("list".to_owned(), (0..1_000).collect());
        Limits::default().apply(&mut report);
        assert!(report.context["extra"].to_string().len() < 100);
        assert_eq!(report.context["list"].as_array().map(Vec::len), Some(100));
    }
}

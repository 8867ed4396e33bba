//! A traceback as it is read: our own frames open, runs of library frames folded, and the verdict of each.

use crate::notify::plain;
use crate::report::Frame;
use crate::store::Occurrence;
use crate::triage::verdict::{FrameType, Verdict};

/// Bytes of one local's value.
const VALUE: usize = 2_000;

/// One exception of a report.
pub(super) struct Trace {
    /// Its type and message.
    pub(super) summary: String,
    /// Whether it stands earlier in the chain than the headline.
    pub(super) earlier: bool,
    /// Caller first.
    pub(super) rows: Vec<Row>,
}

/// What follows what in a traceback.
pub(super) enum Row {
    /// A frame that is ours, or the innermost one.
    Frame(Box<Shown>),
    /// Library frames, folded.
    Library(Vec<Shown>),
    /// Frames that were left out, in words.
    Omitted(String),
}

/// A frame.
pub(super) struct Shown {
    pub(super) at: String,
    pub(super) function: String,
    pub(super) text: String,
    /// The line in its surroundings as the client sent them: number, text, whether it is the line itself. Empty: it
    /// sent none.
    pub(super) source: Vec<(u32, String, bool)>,
    pub(super) locals: Vec<(String, String)>,
    /// What the walk said of it, where that is worth a word.
    pub(super) label: &'static str,
    pub(super) suspect: bool,
}

/// A verdict as a step of the argument for one person.
pub(super) struct Argument {
    pub(super) at: String,
    pub(super) function: String,
    pub(super) label: &'static str,
    pub(super) reason: String,
    pub(super) suspect: bool,
}

/// The traceback of one exception of a kept report. Its values take what they need of `room`, a number of
/// bytes, and are left out once there is none.
pub(super) fn trace(occurrence: &Occurrence, index: usize, room: &mut usize) -> Trace {
    let exception = &occurrence.report.exceptions[index];
    let mut rows = Vec::new();
    let mut library = Vec::new();
    let innermost = exception.frames.len().saturating_sub(1);
    let fold = |library: &mut Vec<Shown>, rows: &mut Vec<Row>| {
        if !library.is_empty() {
            rows.push(Row::Library(std::mem::take(library)));
        }
    };
    for (at, frame) in exception.frames.iter().enumerate() {
        if let Some(omitted) = exception.omitted.filter(|omitted| omitted.at == at) {
            fold(&mut library, &mut rows);
            let words = super::show::of(omitted.count as u64, "frame");
            rows.push(Row::Omitted(format!("{words} left out of a long stack")));
        }
        let verdict = occurrence.verdicts.iter().find(|v| (v.exception, v.frame) == (index, at));
        let shown = shown(frame, verdict, room);
        if verdict.is_some_and(|v| v.frame_type == FrameType::BadPath) && at != innermost {
            library.push(shown);
        } else {
            fold(&mut library, &mut rows);
            rows.push(Row::Frame(Box::new(shown)));
        }
    }
    fold(&mut library, &mut rows);
    Trace {
        summary: plain::block(&exception.summary(), 4_000),
        earlier: index + 1 != occurrence.report.exceptions.len(),
        rows,
    }
}

/// Why the responsible line is that one and no other: what was said of each frame, innermost first.
pub(super) fn argument(occurrence: &Occurrence) -> Vec<Argument> {
    let steps = occurrence.verdicts.iter().rev().filter_map(|verdict| {
        let frame = occurrence.report.exceptions.get(verdict.exception)?.frames.get(verdict.frame)?;
        let path = verdict.file.as_ref().map_or_else(|| frame.file.clone(), |file| file.path.to_string());
        Some(Argument {
            at: at(&path, frame),
            function: super::show::name(frame.function.as_deref()),
            label: verdict.frame_type.label(),
            reason: plain::line(&verdict.reason, 400),
            suspect: verdict.suspect,
        })
    });
    steps.collect()
}

fn shown(frame: &Frame, verdict: Option<&Verdict>, room: &mut usize) -> Shown {
    let mut locals = Vec::new();
    for (name, value) in &frame.locals {
        let (name, value) = (plain::line(name, 200), plain::block(value, VALUE.min(*room)));
        *room = room.saturating_sub(name.len() + value.len());
        locals.push((name, if *room == 0 { "…".to_owned() } else { value }));
    }
    Shown {
        at: at(&frame.file, frame),
        function: super::show::name(frame.function.as_deref()),
        source: source(frame, room),
        text: plain::code(frame.text.as_deref().unwrap_or_default().trim_start(), 500),
        locals,
        label: match verdict.map(|verdict| verdict.frame_type) {
            // The plain cases need no word.
            None | Some(FrameType::Default | FrameType::BadPath) => "",
            Some(other) => other.label(),
        },
        suspect: verdict.is_some_and(|verdict| verdict.suspect),
    }
}

/// A frame's line in its surroundings as the client sent them; nothing where it sent none, or no number.
pub(super) fn source(frame: &Frame, room: &mut usize) -> Vec<(u32, String, bool)> {
    let Some(number) = frame.line.map(std::num::NonZeroU32::get) else { return Vec::new() };
    if frame.before.is_empty() && frame.after.is_empty() {
        return Vec::new();
    }
    // A client may say any number: nothing is counted past the last.
    let apart = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let lines_before = frame.before.iter().enumerate();
    let before =
        lines_before.map(|(at, text)| (number.saturating_sub(apart(frame.before.len() - at)), text, false));
    let own = frame.text.iter().map(|text| (number, text, true));
    let lines_after = frame.after.iter().enumerate();
    let after = lines_after.map(|(at, text)| (number.saturating_add(apart(at + 1)), text, false));
    let mut lines = Vec::new();
    for (number, text, own) in before.chain(own).chain(after) {
        let text = plain::code(text, 500);
        *room = room.saturating_sub(text.len());
        if *room == 0 {
            break;
        }
        lines.push((number, text, own));
    }
    lines
}

impl Shown {
    /// `10 lines`.
    pub(super) fn count_lines(&self) -> String {
        super::show::of(self.source.iter().filter(|(_, _, own)| !own).count() as u64, "line")
    }

    /// `3 locals`.
    pub(super) fn count_locals(&self) -> String {
        super::show::of(self.locals.len() as u64, "local")
    }
}

/// `3 library frames`.
pub(super) fn library(frames: &[Shown]) -> String {
    super::show::of(frames.len() as u64, "library frame")
}

fn at(path: &str, frame: &Frame) -> String {
    let path = if path.is_empty() { "?".to_owned() } else { plain::line(path, 400) };
    frame.line.map_or_else(|| path.clone(), |line| format!("{path}:{line}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_any_number_has_its_surroundings() {
        let numbers = |line: u32| {
            let text = |text: &str| text.to_owned();
            let frame = Frame {
                line: std::num::NonZeroU32::new(line),
                before: vec![text("a"), text("b")],
                text: Some(text("c")),
                after: vec![text("d"), text("e")],
                ..Frame::default()
            };
            let shown = source(&frame, &mut 1_000);
            assert_eq!(shown.iter().map(|(_, text, _)| text.as_str()).collect::<String>(), "abcde");
            shown.into_iter().map(|(number, ..)| number).collect::<Vec<_>>()
        };
        assert_eq!(numbers(7), [5, 6, 7, 8, 9]);
        assert_eq!(numbers(1), [0, 0, 1, 2, 3]);
        assert_eq!(numbers(u32::MAX), [u32::MAX - 2, u32::MAX - 1, u32::MAX, u32::MAX, u32::MAX]);
    }
}

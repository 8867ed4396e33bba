//! JavaScript: V8 (Node, Chrome, Edge) and the `function@url:line:column` of Firefox and Safari.
//!
//! V8 prints the thrown error first and its frames newest first; Node prints causes (`[cause]: …`) and the
//! members of an `AggregateError` (`[errors]: […]`) nested in braces behind the frames. Before an uncaught
//! error Node prints the source line, which is all there is of a `SyntaxError`'s own place.

use std::num::NonZeroU32;

use super::{Found, MOST_MESSAGE_LINES, is_log_line, place_and_column};
use crate::ingest::limits::Stack;
use crate::report::{Exception, Frame};

/// Lines before the first frame in which the source line of an uncaught error is looked for.
const EXCERPT_LINES: usize = 12;
/// What Node prints after a thrown value that is no error, and so has no stack.
const NO_STACK: &str = "(Use `node --trace-uncaught";

/// The JavaScript stack whose first frame is in line `at`.
pub(super) fn parse(lines: &[&str], at: usize, from: usize) -> Option<Found> {
    if lines[at].starts_with(NO_STACK) {
        return parse_thrown_value(lines, at, from);
    }
    frame_of(lines[at])?;
    let (start, begin) = header(lines, at, from);
    if let Some(aggregate) = aggregate_above(lines, start, from) {
        return parse_aggregate(lines, aggregate);
    }
    let mut next = at;
    let mut stack = frames(lines, &mut next);
    let mut first = at;
    // A message may hold what looks like frames. Where plain text and then more frames follow, it did.
    while begin.is_some()
        && let Some(behind) = text_before_frames(lines, next)
        && behind - start < MOST_MESSAGE_LINES
    {
        (first, next) = (behind, behind);
        stack = frames(lines, &mut next);
    }
    let said = lines[start..first].join("\n");
    let (said, quoted) = split_quotation(&said);
    let (kind, message) = match begin {
        _ if start == first => (None, None),
        begin => split_header(said.trim_end().get(begin.unwrap_or(0)..).unwrap_or_default()),
    };
    if let (Some(quoted), Some(raising)) = (quoted, stack.first_mut()) {
        raising.text = Some(quoted.to_owned());
    }
    let mut thrown = (stack, kind, message);
    let mut behind = Nested::default();
    if next > at && lines[next - 1].trim_end().ends_with(" {") {
        behind.read(lines, &mut next);
    }
    if thrown.1.as_deref() == Some("Trace") {
        // `console.trace` is no error.
        return Some(Found { start, next, exceptions: Vec::new(), remarks: Vec::new() });
    }
    if let Some(excerpt) = excerpt(&lines[from.max(start.saturating_sub(EXCERPT_LINES))..start]) {
        add_excerpt(&mut thrown.0, excerpt, thrown.1.as_deref() == Some("SyntaxError"));
    }
    let mut exceptions = behind.members;
    exceptions.extend(behind.causes.into_iter().rev());
    exceptions.push(into_exception(thrown));
    Some(Found { start, next, exceptions, remarks: Vec::new() })
}

/// The line of an error that has no frames of its own, only the members of which the first begins in line `at`.
fn aggregate_above(lines: &[&str], at: usize, from: usize) -> Option<usize> {
    let above = at.checked_sub(2).filter(|&above| above >= from && lines[at - 1].trim() == "[errors]: [")?;
    (lines[above].trim_end().ends_with("] {") && kind_at(lines[above]).is_some()).then_some(above)
}

/// `[AggregateError: All promises were rejected] {`, then `[errors]: [` and the members.
fn parse_aggregate(lines: &[&str], at: usize) -> Option<Found> {
    let header = &lines[at][kind_at(lines[at])?..];
    let (kind, message) = split_header(header.trim_end().strip_suffix("] {")?);
    let mut behind = Nested::default();
    let mut next = at + 1;
    behind.read(lines, &mut next);
    let mut exceptions = behind.members;
    exceptions.extend(behind.causes.into_iter().rev());
    exceptions.push(into_exception((Stack::default(), kind, message)));
    Some(Found { start: at, next, exceptions, remarks: Vec::new() })
}

fn into_exception((stack, kind, message): (Stack, Option<String>, Option<String>)) -> Exception {
    stack.reversed().into_exception(kind, message)
}

/// Reads frames, newest first, to the first line that is none.
fn frames(lines: &[&str], next: &mut usize) -> Stack {
    let mut stack = Stack::default();
    while let Some(line) = lines.get(*next) {
        if let Some(frame) = frame_of(line) {
            stack.push(frame);
        } else if !line.trim_start().starts_with("... ") {
            break;
        }
        *next += 1;
    }
    stack
}

/// What stands in braces behind an error's frames.
#[derive(Default)]
struct Nested {
    /// From the outside to the inside.
    causes: Vec<Exception>,
    members: Vec<Exception>,
}

impl Nested {
    fn read(&mut self, lines: &[&str], next: &mut usize) {
        let mut in_members = false;
        while let Some(line) = lines.get(*next) {
            // Everything inside is indented; the brace at the margin ends it.
            if !line.starts_with(' ') && !line.is_empty() {
                *next += usize::from(line.starts_with('}'));
                return;
            }
            let text = line.trim();
            *next += 1;
            if text == "[errors]: [" {
                in_members = true;
            } else if text == "]" || text == "]," {
                in_members = false;
            }
            let cause = text.strip_prefix("[cause]: ").or_else(|| text.strip_prefix("cause: "));
            let is_member = in_members && lines.get(*next).is_some_and(|line| frame_of(line).is_some());
            let Some(header) = cause.or(is_member.then_some(text)) else { continue };
            let (kind, message) = split_header(header.trim_end_matches(" {"));
            let exception = into_exception((frames(lines, next), kind, message));
            if cause.is_some() { self.causes.push(exception) } else { self.members.push(exception) }
        }
    }
}

/// The line in which type and message begin, before the first frame, and where in it the type does, if one is named.
fn header(lines: &[&str], at: usize, from: usize) -> (usize, Option<usize>) {
    let first = from.max(at.saturating_sub(MOST_MESSAGE_LINES));
    // A message may have several lines, even empty ones; it begins where an error's name does.
    let named = (first..at)
        .rev()
        .take_while(|&n| frame_of(lines[n]).is_none())
        .find_map(|n| Some((n, Some(kind_at(lines[n])?))));
    let nearest = || (at > first && !lines[at - 1].trim().is_empty()).then(|| (at - 1, None));
    named.or_else(nearest).unwrap_or((at, None))
}

/// A message, and the source line, with a caret below, that Deno prints behind it.
fn split_quotation(said: &str) -> (&str, Option<&str>) {
    let is_caret = |line: &&str| !line.trim().is_empty() && line.trim().chars().all(|c| c == '^');
    let quoted = said.trim_end().rsplit_once('\n').filter(|(_, last)| is_caret(last));
    match quoted.and_then(|(before, _)| before.rsplit_once('\n')) {
        Some((message, source)) => (message, Some(source.trim())),
        None => (said, None),
    }
}

/// Where frames go on behind lines, from `at` on, that are neither frames nor the beginning of anything else.
fn text_before_frames(lines: &[&str], at: usize) -> Option<usize> {
    if at == 0 || lines[at - 1].trim_end().ends_with('{') {
        return None;
    }
    let is_text = |line: &&&str| {
        let text = line.trim();
        let is_mark = text.starts_with(['{', '}', '[']) || text == "Trace" || text.starts_with("Node.js v");
        !text.is_empty()
            && !is_mark
            && !is_log_line(line)
            && kind_at(line).is_none()
            && frame_of(line).is_none()
    };
    let ahead = lines.get(at..)?.iter().take(MOST_MESSAGE_LINES).take_while(is_text).count();
    let is_frame = |line: &&str| line.trim_start().starts_with("at ") && frame_of(line).is_some();
    lines.get(at + ahead).filter(|line| ahead > 0 && is_frame(line)).map(|_| at + ahead)
}

/// Where in a line the name of an error begins: `TypeError: …`, `AssertionError [ERR_ASSERTION]: …`. A log
/// message or `Uncaught` may stand before it.
fn kind_at(line: &str) -> Option<usize> {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$' | '.');
    for (end, _) in line.match_indices([':', '[', '\0']).chain([(line.len(), "")]) {
        let before = line[..end].strip_suffix(' ').unwrap_or(&line[..end]);
        let begin = before
            .rfind(|c| !is_name(c))
            .map_or(0, |at| at + before[at..].chars().next().map_or(1, char::len_utf8));
        let name = &before[begin..];
        let is_error = ["Error", "Exception", "Rejection"].iter().any(|ending| name.ends_with(ending));
        // A name alone on its line, or any capitalised word that begins it.
        let begins_line = begin == 0 && line[end..].starts_with(": ") && name.starts_with(char::is_uppercase);
        if (is_error && (end < line.len() || begin == 0)) || begins_line {
            return Some(begin);
        }
    }
    None
}

/// `TypeError: message`, `AssertionError [ERR_ASSERTION]: message`, `message`.
fn split_header(text: &str) -> (Option<String>, Option<String>) {
    let text = text.strip_prefix("Uncaught ").unwrap_or(text);
    let text = text.strip_prefix("(in promise) ").unwrap_or(text);
    let (kind, message) = text.split_once(": ").unwrap_or((text.strip_suffix(':').unwrap_or(text), ""));
    let kind = kind.split_once(" [").map_or(kind, |(kind, _)| kind);
    let is_kind =
        !kind.is_empty() && kind.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '$' | '.'));
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    if is_kind { (Some(kind.to_owned()), filled(message)) } else { (None, filled(text)) }
}

/// `    at Account.withdraw (/srv/app/account.js:6:27)`, `withdraw@http://shop.test/app.js:6:27`.
fn frame_of(line: &str) -> Option<Frame> {
    let text = line.trim();
    let Some(text) = text.strip_prefix("at ").filter(|_| line.starts_with([' ', '\t'])) else {
        return at_sign_frame(text);
    };
    let text = text.trim_end_matches(" {");
    let text = text.strip_prefix("async ").unwrap_or(text);
    let (function, place) = match text.strip_suffix(')').and_then(|text| text.split_once(" (")) {
        Some((function, place)) => (Some(function), place),
        None => (None, text),
    };
    // Evaluated code: the place in it is behind the place where it was made.
    let place = place.rsplit_once("), ").map_or(place, |(_, place)| place);
    if let Some((file, line, column)) = place_and_column(place) {
        return Some(frame(file, Some(line), Some(column), function));
    }
    let is_pseudo = matches!(place, "<anonymous>" | "native") || place.starts_with("index ");
    (is_pseudo && function.is_some()).then(|| frame(place, None, None, function))
}

/// Firefox and Safari: `rows/<@http://shop.test/app.js:15:31206`.
fn at_sign_frame(text: &str) -> Option<Frame> {
    let (function, place) = text.split_once('@')?;
    if !place.contains("://") || function.contains(' ') || place.contains(' ') {
        return None;
    }
    let (file, line, column) = place_and_column(place)?;
    Some(frame(file, Some(line), Some(column), Some(function).filter(|function| !function.is_empty())))
}

fn frame(file: &str, line: Option<NonZeroU32>, column: Option<NonZeroU32>, function: Option<&str>) -> Frame {
    let file = file.strip_prefix("file://").unwrap_or(file).to_owned();
    Frame { file, line, column, function: function.map(str::to_owned), ..Frame::default() }
}

/// The place and source line that Node prints before an uncaught error.
fn excerpt(before: &[&str]) -> Option<Frame> {
    let (index, (file, line)) = before.iter().enumerate().rev().find_map(|(index, line)| {
        let (file, number) = line.rsplit_once(':')?;
        let is_path = file.contains(['/', '\\']) && !file.contains(' ') && !file.starts_with("node:");
        Some((index, (file, number.parse().ok().filter(|_: &NonZeroU32| is_path)?)))
    })?;
    let caret = before.get(index + 2)?.trim();
    let is_caret = !caret.is_empty() && caret.chars().all(|c| c == '^');
    let text = before.get(index + 1)?.trim().to_owned();
    is_caret.then(|| Frame { text: Some(text), ..frame(file, Some(line), None, None) })
}

/// Gives the raising frame its source line, or adds the place to which only the excerpt points.
fn add_excerpt(stack: &mut Stack, excerpt: Frame, is_own_place: bool) {
    if is_own_place {
        let mut with_excerpt = Stack::default();
        with_excerpt.push(excerpt);
        std::mem::take(stack).into_vec().into_iter().for_each(|frame| with_excerpt.push(frame));
        *stack = with_excerpt;
    } else if let Some(raising) = stack.first_mut()
        && raising.file == excerpt.file
        && raising.line == excerpt.line
    {
        raising.text = excerpt.text;
    }
}

/// `throw "text"`: only the excerpt tells where.
fn parse_thrown_value(lines: &[&str], at: usize, from: usize) -> Option<Found> {
    let first = from.max(at.saturating_sub(EXCERPT_LINES));
    let frame = excerpt(&lines[first..at])?;
    let message = lines[..at].iter().rev().find(|line| !line.trim().is_empty())?;
    let message = message.strip_prefix("Uncaught ").unwrap_or(message).to_owned();
    let exception = Exception { message: Some(message), frames: vec![frame], ..Exception::default() };
    Some(Found { start: first, next: at + 1, exceptions: vec![exception], remarks: Vec::new() })
}

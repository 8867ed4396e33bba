//! Ruby 1.9 to 3.4.
//!
//! The place of the error stands first, on one line with message and class; callers follow behind `from`. A cause
//! is a second such block right below. Loggers print message and class, then bare frames; before 3.0, a
//! terminal got the callers first, numbered.

use super::{Found, MOST_MESSAGE_LINES};
use crate::ingest::limits::Stack;
use crate::report::{Exception, Frame, Omitted};

/// Lines above bare frames in which the error is looked for.
const LINES_ABOVE: usize = 12;
/// Blocks that are taken as one chain.
const MOST_CAUSES: usize = 20;

/// The Ruby error that begins in line `at`.
pub(super) fn parse(lines: &[&str], at: usize, from: usize) -> Option<Found> {
    let line = lines[at];
    if numbered_frame(line).is_some() {
        // Those behind it were looked at from the first of them.
        let is_first = at == from || numbered_frame(lines[at - 1]).is_none();
        return is_first.then(|| parse_callers_first(lines, at)).flatten();
    }
    if let Some((frame, rest)) = split_frame(line) {
        return if rest.is_empty() { parse_logged(lines, at, from) } else { parse_chain(lines, at, frame) };
    }
    parse_syntax_error(lines, at)
}

/// Blocks of `file:line:in 'm': message (Class)` and `from` lines.
fn parse_chain(lines: &[&str], at: usize, raising: Frame) -> Option<Found> {
    let (exception, mut next) = block(lines, at, raising)?;
    let mut exceptions = vec![exception];
    while exceptions.len() < MOST_CAUSES
        && let Some((frame, rest)) = lines.get(next).and_then(|line| split_frame(line))
        && !rest.is_empty()
        && let Some((cause, after)) = block(lines, next, frame)
    {
        // What has nothing to do with it began somewhere else.
        let outermost = |exception: &Exception| exception.frames.first().map(|frame| frame.function.clone());
        if outermost(&cause) != exceptions.first().map(outermost)? {
            break;
        }
        exceptions.push(cause);
        next = after;
    }
    exceptions.reverse();
    Some(Found { start: at, next, exceptions, remarks: Vec::new() })
}

/// One block, and the line behind it.
fn block(lines: &[&str], at: usize, raising: Frame) -> Option<(Exception, usize)> {
    let (_, rest) = split_frame(lines[at])?;
    let mut next = at + 1;
    // The message's further lines, and the marked source line of error_highlight, stand before the callers.
    let is_from = |line: &&str| caller(line).is_some();
    let more = lines[next..].iter().take(MOST_MESSAGE_LINES).position(is_from);
    let is_further = |line: &&str| !line.trim().is_empty() && split_frame(line).is_none();
    if let Some(more) =
        more.filter(|&more| lines[next..next + more].iter().all(|line| split_frame(line).is_none()))
    {
        next += more;
    }
    let further = lines[at + 1..next].iter().take_while(|line| is_further(line)).count();
    let (kind, mut message) = split_message(rest)?;
    for line in &lines[at + 1..at + 1 + further] {
        message = format!("{message}\n{line}");
    }
    let mut stack = Stack::default();
    stack.push(raising);
    let (mut count, mut skipped) = (1, None);
    while let Some(line) = lines.get(next) {
        if let Some(frame) = caller(line) {
            stack.push(frame);
            count += 1;
        } else if let Some(levels) = levels(line) {
            skipped = Some((count, levels));
        } else {
            break;
        }
        next += 1;
    }
    let mut exception = stack.reversed().into_exception(Some(kind), Some(message));
    if let (None, Some((index, count))) = (exception.omitted, skipped) {
        exception.omitted = Some(Omitted { at: exception.frames.len().saturating_sub(index), count });
    }
    Some((exception, next))
}

/// ` 4: from a.rb:5:in 'f'` lines, then the error.
fn parse_callers_first(lines: &[&str], at: usize) -> Option<Found> {
    let mut exceptions = Vec::new();
    let mut next = at;
    loop {
        let mut stack = Stack::default();
        while let Some(frame) = lines.get(next).and_then(|line| numbered_frame(line)) {
            stack.push(frame);
            next += 1;
        }
        let (raising, rest) = split_frame(lines.get(next)?)?;
        let (kind, mut message) = split_message(rest)?;
        stack.push(raising);
        next += 1;
        // What followed from it has numbered callers too, perhaps behind further lines of the message.
        let more = lines[next..].iter().take(MOST_MESSAGE_LINES).take_while(|line| !line.trim().is_empty());
        let more = more.clone().position(|line| numbered_frame(line).is_some());
        for line in &lines[next..next + more.unwrap_or(0)] {
            message = format!("{message}\n{line}");
        }
        exceptions.push(stack.into_exception(Some(kind), Some(message)));
        next += more.unwrap_or(0);
        if more.is_none() || exceptions.len() == MOST_CAUSES {
            return Some(Found { start: at, next, exceptions, remarks: Vec::new() });
        }
    }
}

/// Bare frames below a message: `message (Class)` of Logger, `Class (message):` of Rails, `Class: message`.
fn parse_logged(lines: &[&str], at: usize, from: usize) -> Option<Found> {
    let mut stack = Stack::default();
    let mut next = at;
    while let Some((frame, _)) =
        lines.get(next).and_then(|line| split_frame(line)).filter(|(_, rest)| rest.is_empty())
    {
        stack.push(frame);
        next += 1;
    }
    let above = (from.max(at.saturating_sub(LINES_ABOVE))..at).rev().filter(|&n| !lines[n].trim().is_empty());
    // Rails shows lines of the template between the error and its frames.
    let named = above.clone().find_map(|n| Some((n, split_logged(lines[n].trim())?)));
    let nearest = || above.clone().next().map(|n| (n, (None, lines[n].trim().to_owned())));
    let (start, kind, message) = match named.or_else(nearest) {
        Some((start, (kind, message))) => (start, kind, Some(message)),
        None => (at, None, None),
    };
    let exceptions = vec![stack.reversed().into_exception(kind, message)];
    Some(Found { start, next, exceptions, remarks: Vec::new() })
}

/// `message (Class)`, `Class (message):` or `Class: message` as class and message.
fn split_logged(header: &str) -> Option<(Option<String>, String)> {
    // `E, [2026-11-20T12:28:04.255569 #15032] ERROR -- shop: message`
    let header = match header.split_once(" -- ") {
        Some((before, said)) if before.contains(", [") => {
            said.split_once(": ").map_or(said, |(_, said)| said)
        }
        _ => header,
    };
    let rails = header.strip_suffix("):").and_then(|header| header.split_once(" ("));
    let named = rails.or_else(|| header.split_once(": ")).filter(|(kind, _)| is_class(kind));
    match named {
        Some((kind, message)) => Some((Some(kind.to_owned()), message.to_owned())),
        None => split_message(header).map(|(kind, message)| (Some(kind), message)),
    }
}

/// `/srv/app/syntax.rb:4: syntax error, unexpected end-of-input`
fn parse_syntax_error(lines: &[&str], at: usize) -> Option<Found> {
    let (place, message) = lines[at].split_once(": syntax error")?;
    let (file, number) = place.rsplit_once(':')?;
    let message = format!("syntax error{message}");
    let (message, kind) = message
        .strip_suffix(" (SyntaxError)")
        .map_or((message.as_str(), "SyntaxError"), |m| (m, "SyntaxError"));
    let line = Some(number.parse().ok()?);
    let exception = Exception {
        kind: Some(kind.to_owned()),
        message: Some(message.to_owned()),
        frames: vec![Frame { file: file.to_owned(), line, ..Frame::default() }],
        ..Exception::default()
    };
    Some(Found { start: at, next: at + 1, exceptions: vec![exception], remarks: Vec::new() })
}

/// `/srv/app/a.rb:12:in 'total'`, and what stands behind it, without the colon between.
fn split_frame(line: &str) -> Option<(Frame, &str)> {
    let (place, rest) = line.split_once(":in ")?;
    let rest = rest.strip_prefix(['`', '\''])?;
    // A method's name holds no quote, but a block's label may: the last one before a colon ends it.
    let (function, rest) = match rest.split_once("': ") {
        Some(parts) => parts,
        None => (rest.trim_end().strip_suffix('\'')?, ""),
    };
    let (file, number) = place.trim_start().rsplit_once(':')?;
    let line = Some(number.parse().ok()?);
    Some((
        Frame { file: file.to_owned(), line, function: Some(function.to_owned()), ..Frame::default() },
        rest,
    ))
}

/// `from /srv/app/a.rb:12:in 'total'`
fn caller(line: &str) -> Option<Frame> {
    let text = line.trim_start();
    let place = text.strip_prefix("from ").filter(|_| text.len() < line.len())?;
    split_frame(place).map(|(frame, _)| frame)
}

/// ` 4: from /srv/app/a.rb:12:in 'total'`
fn numbered_frame(line: &str) -> Option<Frame> {
    let (number, place) = line.trim_start().split_once(": from ")?;
    number.parse::<u32>().ok()?;
    split_frame(place).map(|(frame, _)| frame)
}

/// ` ... 10068 levels...`
fn levels(line: &str) -> Option<usize> {
    line.trim().strip_prefix("... ")?.strip_suffix(" levels...")?.parse().ok()
}

/// `message (Class)` as class and message.
fn split_message(text: &str) -> Option<(String, String)> {
    let (message, class) = text.trim_end().strip_suffix(')')?.rsplit_once(" (")?;
    is_class(class).then(|| (class.to_owned(), message.to_owned()))
}

fn is_class(text: &str) -> bool {
    text.starts_with(|c: char| c.is_uppercase())
        && text.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | ':'))
}

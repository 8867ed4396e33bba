//! C#, F#, Visual Basic: `Exception.ToString`.
//!
//! The types and messages stand first, from the outside to the inside (` ---> `), then the frames from the
//! inside to the outside, newest first, a line between those of one exception and of the next.

use super::{Found, MOST_MESSAGE_LINES};
use crate::ingest::limits::Stack;
use crate::report::{Exception, Frame};

const INNER: &str = " ---> ";
const MEMBER: &str = "---> (Inner Exception #";
/// Lines of one member of an aggregate that are looked at.
const MOST_MEMBER_LINES: usize = 1_000;
/// Behind which Mono prints what it has just printed once more.
const AGAIN: &str = "FATAL UNHANDLED EXCEPTION: ";
const END_OF_INNER: &str = "--- End of inner exception stack trace ---";

/// The .NET stack whose first frame is in line `at`.
pub(super) fn parse(lines: &[&str], at: usize, from: usize) -> Option<Found> {
    frame_of(lines[at])?;
    let first = from.max(at.saturating_sub(MOST_MESSAGE_LINES));
    // An inner exception may stand in the last line of a message that began above.
    let is_header =
        |line: &str| type_at(line).is_some_and(|at| line.find("---> ").is_none_or(|inner| at < inner));
    let start =
        (first..at).rev().take_while(|&n| frame_of(lines[n]).is_none()).find(|&n| is_header(lines[n]))?;
    let header = lines[start..at].join("\n");
    let header = &header[type_at(lines[start]).unwrap_or(0)..];
    // From the outside to the inside; frames come the other way round.
    let mut headers: Vec<&str> = header.split(INNER).map(str::trim_end).collect();
    let mut exceptions: Vec<Exception> = Vec::new();
    let mut stack = Stack::default();
    let mut next = at;
    while let Some(line) = lines.get(next) {
        if let Some(frame) = frame_of(line) {
            stack.push(frame);
        } else if line.trim() == END_OF_INNER {
            exceptions.push(into_exception(std::mem::take(&mut stack), headers.pop().unwrap_or_default()));
        } else if !line.trim().starts_with("--- End of stack trace from previous location") {
            break;
        }
        next += 1;
    }
    exceptions.push(into_exception(stack, headers.pop().unwrap_or_default()));
    // Further members of an aggregate have failed on their own; the first is the inner one above.
    while is_member_at(lines, next) {
        let is_end = |line: &&str| line.trim_end().ends_with("<---");
        let Some(length) = lines[next..].iter().take(MOST_MEMBER_LINES).position(is_end) else {
            break;
        };
        let block = &lines[next..=next + length];
        let first = block.iter().position(|line| frame_of(line).is_some());
        let is_new = !lines[next].contains("#0)");
        if let Some(member) = first.filter(|_| is_new).and_then(|first| parse_member(block, first)) {
            let outer = exceptions.len() - 1;
            exceptions.splice(outer..outer, member);
        }
        next += length + 1;
        next += usize::from(
            lines.get(next).is_some_and(|line| line.trim().is_empty()) && is_member_at(lines, next + 1),
        );
    }
    // An outer exception that was never thrown itself has no frames.
    exceptions.extend(headers.into_iter().rev().map(|header| into_exception(Stack::default(), header)));
    if lines.get(next).is_some_and(|line| line.contains(AGAIN))
        && let Some(first) =
            lines[next..].iter().take(MOST_MESSAGE_LINES).position(|line| frame_of(line).is_some())
        && let Some(again) = parse(lines, next + first, next).filter(|again| again.exceptions == exceptions)
    {
        next = again.next;
    }
    Some(Found { start, next, exceptions, remarks: Vec::new() })
}

fn is_member_at(lines: &[&str], at: usize) -> bool {
    lines.get(at).is_some_and(|line| line.trim_start().starts_with(MEMBER))
}

/// One member of an aggregate, whose first frame is in line `first`.
fn parse_member(block: &[&str], first: usize) -> Option<Vec<Exception>> {
    let (_, header) = block[0].split_once(") ")?;
    let mut lines = vec![header];
    lines.extend(&block[1..]);
    parse(&lines, first, 0).map(|found| found.exceptions)
}

fn into_exception(stack: Stack, header: &str) -> Exception {
    let header = header.trim_start();
    let (kind, message) = header.split_once(": ").unwrap_or((header.trim_end_matches(':'), ""));
    let filled = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    stack.reversed().into_exception(filled(kind.split(' ').next().unwrap_or(kind)), filled(message))
}

/// Where in a line the full name of an exception's type begins.
fn type_at(line: &str) -> Option<usize> {
    let mut begin = 0;
    for word in line.split(' ') {
        let name = word.strip_suffix(':').unwrap_or(word);
        let is_type = (name.ends_with("Exception") || name.ends_with("Error"))
            && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '+' | '`'));
        if is_type
            && (word.ends_with(':')
                || begin + word.len() == line.len()
                || line[begin + word.len()..].starts_with(" ("))
        {
            return Some(begin);
        }
        begin += word.len() + 1;
    }
    None
}

/// `   at Shop.Cart.Total(Int32 id) in /src/Cart.cs:line 12`
fn frame_of(line: &str) -> Option<Frame> {
    let text = line.trim_start();
    if text.len() == line.len() {
        return None;
    }
    let text = text.strip_prefix("at ")?.trim_end();
    // The last of an aggregate's member.
    let text = text.strip_suffix("<---").unwrap_or(text).trim_end();
    if let Some(frame) = mono_frame(text) {
        return Some(frame);
    }
    let (method, place) = match text.split_once(") in ") {
        Some((method, place)) => (method, Some(place)),
        None => (text.strip_suffix(')')?, None),
    };
    let (function, arguments) = method.split_once('(')?;
    // A Java frame has its file there, a JavaScript one a blank before it.
    let is_method = function.contains('.')
        && !function.ends_with(' ')
        && !function.contains('/')
        && !arguments.contains(':')
        && !matches!(arguments, "Native Method" | "Unknown Source");
    if !is_method {
        return None;
    }
    let (file, number) = match place {
        Some(place) => place.rsplit_once(":line ")?,
        None => ("", ""),
    };
    let (file, line) = (file.to_owned(), number.parse().ok());
    Some(Frame { file, line, function: Some(function.to_owned()), ..Frame::default() })
}

/// Mono and Unity: `Shop.Cart.Total (System.Int32 id) [0x00008] in /src/Cart.cs:3`
fn mono_frame(text: &str) -> Option<Frame> {
    let (method, place) = text.split_once(") [0x")?;
    let (function, _) = method.split_once(" (")?;
    let (file, number) = place.split_once("] in ")?.1.rsplit_once(':')?;
    // A library without debug symbols is told by its id.
    let file = if file.starts_with('<') { "" } else { file };
    let line = number.trim().parse().ok();
    Some(Frame { file: file.to_owned(), line, function: Some(function.to_owned()), ..Frame::default() })
}

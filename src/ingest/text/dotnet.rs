//! C#, F#, Visual Basic: `Exception.ToString`.
//!
//! The types and messages stand first, from the outside to the inside (` ---> `), then the frames from the
//! inside to the outside, newest first, a line between those of one exception and of the next.

use super::{Found, MOST_MESSAGE_LINES};
use crate::ingest::limits::Stack;
use crate::report::{Exception, Frame};

const INNER: &str = " ---> ";
const END_OF_INNER: &str = "--- End of inner exception stack trace ---";

/// The .NET stack whose first frame is in line `at`.
pub(super) fn parse(lines: &[&str], at: usize, from: usize) -> Option<Found> {
    frame_of(lines[at])?;
    let first = from.max(at.saturating_sub(MOST_MESSAGE_LINES));
    let is_header = |line: &str| type_at(line).is_some() && !line.starts_with(INNER);
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
    // An outer exception that was never thrown itself has no frames.
    exceptions.extend(headers.into_iter().rev().map(|header| into_exception(Stack::default(), header)));
    Some(Found { start, next, exceptions, remarks: Vec::new() })
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

//! Java, Kotlin, Scala: `Throwable.printStackTrace`.
//!
//! The thrown exception stands first, its causes behind it, frames newest first. Files come without folder; the
//! package tells it. Suppressed exceptions, which stand further in, are left out: they are neither cause nor
//! consequence of the one that was thrown.

use super::{Found, MOST_MESSAGE_LINES};
use crate::ingest::frames;
use crate::ingest::limits::Stack;
use crate::report::{Exception, Frame};

/// The Java stack whose first frame is in line `at`.
pub(super) fn parse(lines: &[&str], at: usize, from: usize) -> Option<Found> {
    frame_of(lines[at])?;
    let start = header_line(lines, at, from);
    let mut header = start.map_or_else(String::new, |start| lines[start..at].join("\n"));
    let mut exceptions: Vec<Exception> = Vec::new();
    let mut stack = Stack::default();
    let (mut next, mut suppressed, mut is_suppressed, mut root_first) = (at, 0, false, false);
    while let Some(line) = lines.get(next) {
        let text = line.trim();
        let depth = line.len() - line.trim_start().len();
        if let Some(frame) = frame_of(line) {
            if !is_suppressed {
                stack.push(frame);
            }
        } else if is_hidden(text) {
            // Told already, in the enclosing trace.
        } else if let Some(cause) =
            text.strip_prefix("Caused by: ").or_else(|| text.strip_prefix("Wrapped by: "))
        {
            if depth == 0 {
                root_first = text.starts_with("Wrapped");
                exceptions.push(into_exception(std::mem::take(&mut stack), &header));
                header = cause.to_owned();
                is_suppressed = false;
                // The cause's message may have further lines.
                let ahead = &lines[next + 1..lines.len().min(next + 1 + MOST_MESSAGE_LINES)];
                for more in ahead.iter().take_while(|more| is_message(more)) {
                    header.push('\n');
                    header.push_str(more);
                    next += 1;
                }
            }
        } else if text.starts_with("Suppressed: ") && depth > 0 {
            suppressed += usize::from(!is_suppressed || depth == 1);
            is_suppressed = true;
        } else if is_suppressed && depth > 0 {
            // The message of one that is left out.
        } else {
            // A message may look like a frame. If plain text and then more frames follow, it was one.
            let goes_on = lines.get(next + 1).is_some_and(|line| frame_of(line).is_some());
            let may_be_message =
                exceptions.is_empty() && next - at < MOST_MESSAGE_LINES && class_at(line).is_none();
            if may_be_message && goes_on && !text.is_empty() {
                header = lines[start.unwrap_or(at)..=next].join("\n");
                stack = Stack::default();
            } else {
                break;
            }
        }
        next += 1;
    }
    exceptions.push(into_exception(stack, &header));
    if !root_first {
        exceptions.reverse();
    }
    let remarks = if suppressed > 0 {
        vec![format!("{suppressed} suppressed exceptions left out")]
    } else {
        Vec::new()
    };
    Some(Found { start: start.unwrap_or(at), next, exceptions, remarks })
}

/// `... 3 more`, `Caused by: [CIRCULAR REFERENCE: …]`: frames and causes that were printed before.
fn is_hidden(text: &str) -> bool {
    let cause =
        text.strip_prefix("Caused by: ").or_else(|| text.strip_prefix("Suppressed: ")).unwrap_or(text);
    (text.starts_with("... ") && text.ends_with(" more")) || cause.starts_with("[CIRCULAR REFERENCE")
}

/// Whether a line below a header still belongs to its message.
fn is_message(line: &str) -> bool {
    let text = line.trim_start();
    !text.is_empty()
        && frame_of(line).is_none()
        && !text.starts_with("... ")
        && !text.starts_with("Caused by: ")
}

/// The line before the first frame in which the exception's class stands.
fn header_line(lines: &[&str], at: usize, from: usize) -> Option<usize> {
    let first = from.max(at.saturating_sub(MOST_MESSAGE_LINES));
    let named = (first..at)
        .rev()
        .take_while(|&n| frame_of(lines[n]).is_none())
        .find(|&n| class_at(lines[n]).is_some());
    named.or_else(|| (at > first && !lines[at - 1].trim().is_empty()).then(|| at - 1))
}

/// Where in a line the full name of an exception's class begins, which ends it or stands before `: `.
fn class_at(line: &str) -> Option<usize> {
    let mut begin = 0;
    for word in line.split(' ') {
        let name = word.strip_suffix(':').unwrap_or(word);
        let simple = name.rsplit('.').next().unwrap_or_default();
        let is_class = name.contains('.')
            && simple.starts_with(|c: char| c.is_ascii_uppercase())
            && name.starts_with(|c: char| c.is_alphabetic())
            && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '$'));
        let ends = word.ends_with(':') || begin + word.len() == line.len();
        if is_class
            && ends
            && (begin == 0 || ["Exception", "Error", "Throwable"].iter().any(|e| name.ends_with(e)))
        {
            return Some(begin);
        }
        begin += word.len() + 1;
    }
    None
}

fn into_exception(stack: Stack, header: &str) -> Exception {
    let first = header.lines().next().unwrap_or_default();
    let (kind, message) = match class_at(first) {
        Some(begin) => {
            let header = &header[begin..];
            let end = header.find([':', '\n', ' ']).unwrap_or(header.len());
            let message = header[end..].trim_start_matches(':').trim_start_matches(' ');
            (Some(header[..end].to_owned()), message)
        }
        None => (None, header),
    };
    stack.reversed().into_exception(kind, Some(message.to_owned()).filter(|message| !message.is_empty()))
}

/// `at java.base/java.math.BigDecimal.<init>(BigDecimal.java:586)`
fn frame_of(line: &str) -> Option<Frame> {
    let text = line.trim_start();
    if text.len() == line.len() {
        return None;
    }
    // Log frameworks add the jar behind it: ` ~[shop.jar:1.0]`.
    let text = text.strip_prefix("at ")?.trim_end();
    let (method, rest) = text.split_once('(')?;
    let (source, _) = rest.split_once(')')?;
    let is_method = method.contains('.')
        && method
            .chars()
            .all(|c| c.is_alphanumeric() || matches!(c, '.' | '_' | '$' | '<' | '>' | '/' | '@' | '-'));
    if !is_method {
        return None;
    }
    let function = method.rsplit('/').next().unwrap_or(method);
    let (class, _) = function.rsplit_once('.')?;
    let (name, number) = source.split_once(':').unwrap_or((source, ""));
    let file = match frames::jvm_file(class, name) {
        Some(file) => file,
        None if matches!(name, "Native Method" | "Unknown Source" | "<generated>" | "SourceFile") => {
            String::new()
        }
        None => return None,
    };
    Some(Frame { file, line: number.parse().ok(), function: Some(function.to_owned()), ..Frame::default() })
}

//! Rust: panics, and the errors that `main` returns with anyhow or eyre.
//!
//! Frames stand newest first. The panic's own line tells the place, so everything above the frame of that
//! place is the machinery of panicking. Its path is relative to the crate, those of frames to the working
//! directory.

use super::{Found, MOST_MESSAGE_LINES, place_and_column};
use crate::ingest::limits::Stack;
use crate::report::{Exception, Frame};

/// The panic or error that begins in line `at`.
pub(super) fn parse(lines: &[&str], at: usize, _from: usize) -> Option<Found> {
    parse_panic(lines, at).or_else(|| parse_error(lines, at))
}

fn parse_panic(lines: &[&str], at: usize) -> Option<Found> {
    let (before, said) = lines[at].split_once(" panicked at ")?;
    let start = before.find("thread '")?;
    let thread = before[start..].split('\'').nth(1).unwrap_or_default();
    let mut next = at + 1;
    let (place, message) = match said.strip_suffix(':').and_then(place_and_column) {
        Some(place) => {
            let is_end = |line: &&str| {
                line.trim_end() == "stack backtrace:"
                    || line.starts_with("note: ")
                    || line.contains(" panicked at ")
            };
            let length = lines[next..]
                .iter()
                .take(MOST_MESSAGE_LINES)
                .take_while(|line| !is_end(line) && !super::is_log_line(line))
                .count();
            // Without a backtrace below it, only the first paragraph is surely the message.
            let is_sure = lines.get(next + length).is_some_and(is_end);
            let paragraph = lines[next..next + length].iter().take_while(|line| !line.is_empty()).count();
            let length = if is_sure { length } else { paragraph };
            let message = lines[next..next + length].join("\n");
            next += length;
            (place, message)
        }
        // Until 1.72: `panicked at 'message', src/main.rs:2:5`
        None => {
            let (message, place) = said.rsplit_once(", ")?;
            (place_and_column(place)?, message.trim_matches('\'').to_owned())
        }
    };
    let mut frames = backtrace(lines, &mut next);
    while lines.get(next).is_some_and(|line| line.starts_with("note: ")) {
        next += 1;
    }
    let (file, line, column) = place;
    let is_place = |frame: &Frame| {
        frame.line == Some(line)
            && frame.column == Some(column)
            && frame.file.ends_with(file.trim_start_matches("./"))
    };
    match frames.iter().position(is_place) {
        Some(machinery) => drop(frames.drain(..machinery)),
        // Frames of a stripped program tell less than this one.
        None if frames.iter().all(|frame| frame.file.is_empty()) => {
            frames = vec![Frame {
                file: file.to_owned(),
                line: Some(line),
                column: Some(column),
                ..Frame::default()
            }];
        }
        None => {}
    }
    let remarks =
        if thread.is_empty() || thread == "main" { Vec::new() } else { vec![format!("in thread {thread}")] };
    let exceptions = vec![exception("panic", Some(message), frames)];
    Some(Found { start: at, next, exceptions, remarks })
}

/// `Error: …`, `Caused by:` with the causes from the outside to the inside, `Stack backtrace:`.
fn parse_error(lines: &[&str], at: usize) -> Option<Found> {
    let message = lines[at].strip_prefix("Error: ")?;
    let ahead = lines[at + 1..].iter().take(MOST_MESSAGE_LINES);
    let is_section = |line: &&str| matches!(line.trim_end(), "Caused by:" | "Stack backtrace:" | "Location:");
    let mut next = at + 1 + ahead.clone().position(is_section)?;
    let further = lines[at + 1..next].join("\n");
    let message = format!("{message}\n{further}").trim_end().to_owned();
    let mut messages = vec![message];
    if lines[next].trim_end() == "Caused by:" {
        next += 1;
        while let Some(line) = lines.get(next).filter(|line| line.starts_with("   ")) {
            let text = line.trim();
            let numbered = text.split_once(": ").filter(|(number, _)| number.parse::<u32>().is_ok());
            match (numbered, messages.len()) {
                (Some((_, cause)), _) => messages.push(cause.to_owned()),
                // A single cause is not numbered; later lines of a cause are not either.
                (None, 1) => messages.push(text.to_owned()),
                (None, last) => messages[last - 1] += &format!("\n{text}"),
            }
            next += 1;
        }
    }
    let blank = usize::from(lines.get(next).is_some_and(|line| line.trim().is_empty()));
    let mut behind = next + blank;
    let frames = backtrace(lines, &mut behind);
    if !frames.is_empty() {
        next = behind;
    }
    let mut exceptions: Vec<Exception> =
        messages.into_iter().map(|message| exception("Error", Some(message), Vec::new())).collect();
    // There is one backtrace, of the place where the innermost error was first taken up.
    if let Some(root) = exceptions.last_mut() {
        root.frames = exception("", None, frames).frames;
    }
    exceptions.reverse();
    Some(Found { start: at, next, exceptions, remarks: Vec::new() })
}

/// `frames` newest first.
fn exception(kind: &str, message: Option<String>, frames: Vec<Frame>) -> Exception {
    let mut stack = Stack::default();
    frames.into_iter().rev().for_each(|frame| stack.push(frame));
    stack.into_exception(Some(kind.to_owned()), message.filter(|message| !message.is_empty()))
}

/// The frames below a line `stack backtrace:`, newest first.
fn backtrace(lines: &[&str], next: &mut usize) -> Vec<Frame> {
    let mut stack = Stack::default();
    if !lines.get(*next).is_some_and(|line| line.trim_end().eq_ignore_ascii_case("stack backtrace:")) {
        return Vec::new();
    }
    *next += 1;
    while let Some(line) = lines.get(*next) {
        let text = line.trim();
        if let Some(place) = text.strip_prefix("at ") {
            if let (Some(frame), Some((file, line, column))) = (stack.last_mut(), place_and_column(place)) {
                (frame.file, frame.line, frame.column) = (file.to_owned(), Some(line), Some(column));
            }
        } else if let Some((_, name)) =
            text.split_once(": ").filter(|(number, _)| number.parse::<u32>().is_ok())
        {
            let function = Some(plain_name(name));
            stack.push(Frame { function, ..Frame::default() });
        } else {
            break;
        }
        *next += 1;
    }
    stack.into_vec()
}

/// A function's name without what `RUST_BACKTRACE=full` adds: address, crate ids, hash.
fn plain_name(name: &str) -> String {
    let name = name.trim_start();
    let name = name.strip_prefix("0x").and_then(|name| name.split_once(" - ")).map_or(name, |(_, name)| name);
    let is_hash =
        |text: &str, length| text.len() == length && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name = name.rsplit_once("::h").filter(|(_, hash)| is_hash(hash, 16)).map_or(name, |(name, _)| name);
    let mut out = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(open) = rest.find('[') {
        let (before, from_open) = rest.split_at(open);
        out.push_str(before);
        match from_open[1..].split_once(']') {
            Some((id, behind)) if id.len() >= 12 && is_hash(id, id.len()) => rest = behind,
            _ => {
                out.push('[');
                rest = &from_open[1..];
            }
        }
    }
    out + rest
}

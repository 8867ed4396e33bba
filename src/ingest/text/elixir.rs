//! Elixir and Erlang: `** (Shop.PriceError) not a price`, then the frames, newest first.

use super::{Found, MOST_MESSAGE_LINES};
use crate::ingest::limits::Stack;
use crate::report::Frame;

/// What stands before an exception of another process.
const RAISED_THERE: &str = "** (EXIT) an exception was raised:";

/// The error that begins in line `at`.
pub(super) fn parse(lines: &[&str], at: usize, _from: usize) -> Option<Found> {
    let (before, said) = lines[at].split_once("** (")?;
    let (kind, message) = said.split_once(')')?;
    // Told of a process that it was linked to: what happened there stands below, further in.
    let is_exit = kind.starts_with("EXIT from");
    if is_exit && lines.get(at + 1).is_some_and(|line| line.trim_start().starts_with("** (")) {
        return Some(Found { start: at, next: at + 1, exceptions: Vec::new(), remarks: Vec::new() });
    }
    let margin = if before.trim().is_empty() { before } else { "" };
    let frame_of = |line: &str| frame_of(line.strip_prefix(margin)?);
    if kind.is_empty() || kind.contains(' ') && !is_exit {
        return None;
    }
    let mut message = message.trim().to_owned();
    let mut next = at + 1;
    // The message's further lines are indented like frames, or empty; they end where the frames begin.
    let ahead = lines[next..].iter().take(MOST_MESSAGE_LINES);
    let frames = ahead.clone().position(|line| frame_of(line).is_some());
    // What happened in another process stands there, too, further in, with frames of its own.
    let nested = ahead.take(frames.unwrap_or(0)).position(|line| is_nested(line));
    let nested = nested.and_then(|ahead| Some((next + ahead, parse(lines, next + ahead, next)?)));
    let end = nested.as_ref().map_or(next + frames.unwrap_or(0), |(begin, _)| *begin);
    for line in lines[next..end].iter().filter(|line| !line.trim_end().ends_with(RAISED_THERE)) {
        message = format!("{message}\n{}", line.trim_end());
    }
    next = nested.as_ref().map_or(end, |(_, nested)| nested.next);
    let mut stack = Stack::default();
    while let Some(frame) = lines.get(next).and_then(|line| frame_of(line)) {
        stack.push(frame);
        next += 1;
    }
    let message = Some(message.trim_end().to_owned()).filter(|message| !message.is_empty());
    let mut exceptions = nested.map_or_else(Vec::new, |(_, nested)| nested.exceptions);
    exceptions.push(stack.reversed().into_exception(Some(kind.to_owned()), message));
    Some(Found { start: at, next, exceptions, remarks: Vec::new() })
}

/// `        ** (KeyError) key :sku not found`, but no `** (EXIT) …`.
fn is_nested(line: &str) -> bool {
    let text = line.trim_start();
    text.len() < line.len() && text.starts_with("** (") && !text.starts_with("** (EXIT")
}

/// `    (elixir 1.14.0) lib/enum.ex:1658: Enum.map/2`, `    :erlang.map_get("X", %{})`
fn frame_of(line: &str) -> Option<Frame> {
    let text = line.strip_prefix("    ").filter(|text| !text.starts_with(' '))?;
    let text = match text.strip_prefix('(').and_then(|text| text.split_once(") ")) {
        Some((_application, text)) => text,
        None => text,
    };
    if let Some((place, function)) = text.split_once(": ")
        && let Some((file, number)) = place.rsplit_once(':')
        && let Ok(line) = number.parse()
        && !file.contains(' ')
    {
        let function = Some(function.to_owned());
        return Some(Frame { file: file.to_owned(), line: Some(line), function, ..Frame::default() });
    }
    let is_built_in = text.starts_with(':') && text.contains('.') && text.ends_with(')');
    is_built_in.then(|| Frame { function: Some(text.to_owned()), ..Frame::default() })
}

//! Go: panics, fatal errors, and the stacks that `recover` handlers log.
//!
//! Only the first goroutine is the one that failed; those below it are passed over, however late they come: a
//! stack that nobody says anything of is only taken where its goroutine was running. Frames stand newest
//! first. Where a deferred function ran because of the panic, its frames stand above a `panic(…)` frame, and the
//! line that failed is the one below the lowest of these.

use super::Found;
use crate::ingest::limits::Stack;
use crate::report::{Exception, Frame};

/// Lines of a panic's message.
const MOST_LINES: usize = 20;

/// What may stand behind a frame's place.
const ADDRESSES: [&str; 2] = [" +0x", " fp=0x"];

/// The Go panic that begins in line `at`.
pub(super) fn parse(lines: &[&str], at: usize, from: usize) -> Option<Found> {
    let line = lines[at];
    let mut messages: Vec<(&str, String)> = Vec::new();
    let (mut start, mut next) = (at, at);
    if is_goroutine(line) {
        // Logged by a handler: what it says of it stands before.
        if at > from && !lines[at - 1].trim().is_empty() {
            start = at - 1;
            messages.push(("panic", lines[start].to_owned()));
        }
    } else {
        messages.push(panic_of(line)?);
        let ahead = lines[at + 1..].iter().take(MOST_LINES).position(|line| is_goroutine(line))?;
        // Of a fatal error, the stack of the runtime itself may stand before that of the goroutine.
        let said = lines[at + 1..at + 1 + ahead].iter().take_while(|line| line.trim() != "runtime stack:");
        for line in said {
            match (panic_of(line.trim_start()), messages.last_mut()) {
                (Some(panic), _) => messages.push(panic),
                (None, Some((_, message))) if !line.trim().is_empty() => *message += &format!("\n{line}"),
                _ => {}
            }
        }
        next = at + 1 + ahead;
    }
    next += 1;
    let frames = frames(lines, &mut next);
    if frames.is_empty() {
        return None;
    }
    let is_other = is_goroutine(line) && !is_running(line);
    // The other goroutines.
    while lines.get(next).is_some_and(|line| line.trim().is_empty())
        && lines.get(next + 1).is_some_and(|line| is_goroutine(line))
    {
        next += 2;
        self::frames(lines, &mut next);
    }
    if lines.get(next).is_some_and(|line| line.starts_with("exit status ")) {
        next += 1;
    }
    if is_other {
        return Some(Found { start, next, exceptions: Vec::new(), remarks: Vec::new() });
    }
    let lowest = frames.iter().rposition(|frame| frame.function.as_deref() == Some("panic"));
    let root = &frames[lowest.map_or(0, |panic| panic + 1)..];
    let mut messages = messages.into_iter();
    let mut exceptions = vec![exception(messages.next(), if root.is_empty() { &frames } else { root })];
    exceptions.extend(messages.map(|message| exception(Some(message), &frames)));
    Some(Found { start, next, exceptions, remarks: Vec::new() })
}

/// `frames` newest first.
fn exception(said: Option<(&str, String)>, frames: &[Frame]) -> Exception {
    let mut stack = Stack::default();
    frames.iter().rev().cloned().for_each(|frame| stack.push(frame));
    let (kind, message) = said.unzip();
    stack.into_exception(kind.map(str::to_owned), message)
}

/// `panic: message`, `fatal error: message`; a log prefix may stand before it.
fn panic_of(line: &str) -> Option<(&'static str, String)> {
    [("panic", "panic: "), ("fatal error", "fatal error: ")].into_iter().find_map(|(kind, word)| {
        let (before, message) = line.split_once(word)?;
        let message = message.trim_end();
        let message = message.strip_suffix(" [recovered]").unwrap_or(message);
        let message = message.strip_suffix(" [recovered, repanicked]").unwrap_or(message);
        (before.is_empty() || before.ends_with(' ')).then(|| (kind, message.to_owned()))
    })
}

/// `goroutine 18 [running]:`
fn is_goroutine(line: &str) -> bool {
    line.split_once("goroutine ").is_some_and(|(_, rest)| {
        rest.starts_with(|c: char| c.is_ascii_digit())
            && rest.contains(" [")
            && rest.trim_end().ends_with("]:")
    })
}

/// `goroutine 18 [running, locked to thread]:`
fn is_running(line: &str) -> bool {
    line.contains(" [running")
}

/// Pairs of lines: `main.(*Order).Name(0xc000)` and `    /srv/app/main.go:20 +0x88`.
fn frames(lines: &[&str], next: &mut usize) -> Vec<Frame> {
    let mut stack = Stack::default();
    // Of a stack that overflowed, the middle is left out.
    let is_gap = |line: &&&str| line.starts_with("...") && line.ends_with(" elided...");
    loop {
        *next += usize::from(lines.get(*next).filter(is_gap).is_some());
        let Some(frame) = frame(lines, *next) else { return stack.into_vec() };
        stack.push(frame);
        *next += 2;
    }
}

fn before<'a>(text: &'a str, mark: &&str) -> &'a str {
    text.split_once(mark).map_or(text, |(before, _)| before)
}

fn frame(lines: &[&str], at: usize) -> Option<Frame> {
    if let (Some(name), Some(place)) = (lines.get(at), lines.get(at + 1))
        && let Some(place) = place.strip_prefix(['\t', ' ']).map(str::trim)
        && let Some((file, number)) = ADDRESSES.iter().fold(place, before).rsplit_once(':')
        && let Ok(line) = number.parse()
    {
        let function = match name.strip_prefix("created by ") {
            Some(creator) => creator.split(" in goroutine ").next().unwrap_or(creator),
            None => name.rfind('(').map_or(*name, |arguments| &name[..arguments]),
        };
        let function = Some(function.to_owned());
        return Some(Frame { file: file.to_owned(), line: Some(line), function, ..Frame::default() });
    }
    None
}

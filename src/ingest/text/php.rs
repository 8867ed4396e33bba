//! PHP: uncaught exceptions and fatal errors.
//!
//! The root cause stands first and each exception that followed behind `Next`; frames newest first. A frame names
//! the function that was *called* there, so the names are moved by one here, to name the one the line is in.

use super::{Found, MOST_MESSAGE_LINES};
use crate::ingest::limits::Stack;
use crate::report::{Exception, Frame};

/// Kinds of errors that end a script, without an exception.
const FATAL: [&str; 4] = ["PHP Fatal error:  ", "PHP Parse error:  ", "Fatal error: ", "Parse error: "];

/// The PHP error that begins in line `at`.
pub(super) fn parse(lines: &[&str], at: usize, _from: usize) -> Option<Found> {
    let line = lines[at];
    let error = FATAL.iter().find_map(|fatal| Some((&line[line.find(fatal)?..], fatal.len())));
    let (mut header, is_uncaught) = match (line.split_once("Uncaught "), error) {
        (Some((before, header)), _) if before.contains("error") || before.is_empty() => {
            (header.to_owned(), true)
        }
        (_, Some((error, length))) => (error[length..].trim_start().to_owned(), false),
        _ => return None,
    };
    if !is_uncaught {
        return parse_fatal(&header, at);
    }
    let (mut next, mut exceptions) = (at + 1, Vec::new());
    loop {
        // The message may have several lines; the trace begins below it.
        let trace = lines[next.min(lines.len())..]
            .iter()
            .take(MOST_MESSAGE_LINES)
            .position(|line| line.trim() == "Stack trace:")?;
        for line in &lines[next..next + trace] {
            header = format!("{header}\n{line}");
        }
        next += trace + 1;
        exceptions.push(exception(lines, &mut next, &header)?);
        let blank = usize::from(lines.get(next).is_some_and(|line| line.trim().is_empty()));
        match lines.get(next + blank).and_then(|line| line.strip_prefix("Next ")) {
            Some(following) => {
                header = following.to_owned();
                next += blank + 1;
            }
            None => break,
        }
    }
    if lines.get(next).is_some_and(|line| line.trim_start().starts_with("thrown in ")) {
        next += 1;
    }
    Some(Found { start: at, next, exceptions, remarks: Vec::new() })
}

/// One exception: its header `Class: message in file:line` is read, the frames are next.
fn exception(lines: &[&str], next: &mut usize, header: &str) -> Option<Exception> {
    let (said, place) = header.rsplit_once(" in ")?;
    let (file, number) = place.rsplit_once(':')?;
    let (kind, message) = said.split_once(": ").unwrap_or((said, ""));
    let mut frame = Frame { file: file.to_owned(), line: number.trim().parse().ok(), ..Frame::default() };
    let mut stack = Stack::default();
    while let Some((place, function)) = lines.get(*next).and_then(|line| call(line)) {
        frame.function = Some(function.to_owned());
        let caller = place
            .map(|place| place.strip_suffix(')').unwrap_or(place).rsplit_once('(').unwrap_or((place, "")));
        stack.push(std::mem::take(&mut frame));
        *next += 1;
        let Some((file, number)) = caller else { break };
        frame = Frame { file: file.to_owned(), line: number.parse().ok(), ..Frame::default() };
    }
    let message = Some(message.to_owned()).filter(|message| !message.is_empty());
    Some(stack.reversed().into_exception(Some(kind.to_owned()), message))
}

/// `#1 /srv/app/a.php(33): Shop\Catalog->price('...')` as place and function; the last, `{main}`, has no place.
fn call(line: &str) -> Option<(Option<&str>, &str)> {
    let (number, rest) = line.trim_start().strip_prefix('#')?.split_once(' ')?;
    number.parse::<u32>().ok()?;
    if rest.trim_end() == "{main}" {
        return Some((None, "{main}"));
    }
    let (place, called) = rest.split_once(": ")?;
    // The arguments are values, and no part of the name.
    Some((Some(place), called.split_once('(').map_or(called, |(function, _)| function)))
}

/// `Allowed memory size exhausted in /srv/app/a.php on line 12`
fn parse_fatal(message: &str, at: usize) -> Option<Found> {
    let (message, place) = message.rsplit_once(" in ")?;
    let (file, number) = place.rsplit_once(" on line ")?;
    let exception = Exception {
        kind: Some("Fatal error".to_owned()),
        message: Some(message.to_owned()),
        frames: vec![Frame {
            file: file.to_owned(),
            line: Some(number.trim().parse().ok()?),
            ..Frame::default()
        }],
        ..Exception::default()
    };
    Some(Found { start: at, next: at + 1, exceptions: vec![exception], remarks: Vec::new() })
}

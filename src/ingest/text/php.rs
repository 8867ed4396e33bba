//! PHP: uncaught exceptions and fatal errors.
//!
//! The root cause stands first and each exception that followed behind `Next`; frames newest first. A frame names
//! the function that was *called* there, so the names are moved by one here, to name the one the line is in.

use super::{Found, MOST_MESSAGE_LINES};
use crate::ingest::limits::Stack;
use crate::report::{Exception, Frame};

/// What stands before an exception in Laravel's log.
const OBJECT: &str = "[object] (";
/// Kinds of errors that end a script, without an exception.
const FATAL: [&str; 4] = ["PHP Fatal error:  ", "PHP Parse error:  ", "Fatal error: ", "Parse error: "];

/// The PHP error that begins in line `at`. PHP may print it both to its log and to the screen, which is one error.
pub(super) fn parse(lines: &[&str], at: usize, from: usize) -> Option<Found> {
    let mut found = parse_once(lines, at, from)?;
    let blank = lines[found.next..].iter().take(2).take_while(|line| line.trim().is_empty()).count();
    let again = found.next + blank;
    let is_logged = |line: &str| line.contains("PHP ");
    if lines.get(again).is_some_and(|line| is_logged(line) != is_logged(lines[at]))
        && let Some(twin) = parse_once(lines, again, again).filter(|twin| twin.exceptions == found.exceptions)
    {
        found.next = twin.next;
    }
    Some(found)
}

fn parse_once(lines: &[&str], at: usize, from: usize) -> Option<Found> {
    let line = lines[at];
    match line.trim() {
        "Stack trace:" => return parse_logged(lines, at, from),
        "[stacktrace]" => return parse_laravel(lines, at, from),
        _ => {}
    }
    let error = FATAL.iter().find_map(|fatal| Some((&line[line.find(fatal)?..], fatal.len())));
    let (mut header, is_uncaught) = match (line.split_once("Uncaught "), error) {
        (Some((before, header)), _) if before.contains("error") || before.is_empty() => {
            (header.to_owned(), true)
        }
        (_, Some((error, length))) => (error[length..].trim_start().to_owned(), false),
        _ => return None,
    };
    if !is_uncaught {
        let is_parse_error = error.is_some_and(|(error, _)| error.contains("Parse error"));
        return parse_fatal(if is_parse_error { "Parse error" } else { "Fatal error" }, &header, at);
    }
    // The message may have several lines; the trace begins below it.
    let mut next = at + 1;
    take_message(lines, &mut next, &mut header)?;
    parse_chain(lines, at, next, header)
}

/// Adds the message's further lines to a header, up to and with the line that begins the trace.
fn take_message(lines: &[&str], next: &mut usize, header: &mut String) -> Option<()> {
    let ahead = lines.get(*next..)?.iter().take(MOST_MESSAGE_LINES);
    let trace = ahead.clone().position(|line| line.trim() == "Stack trace:")?;
    for line in ahead.take(trace) {
        *header = format!("{header}\n{line}");
    }
    *next += trace + 1;
    Some(())
}

/// An exception whose header is read already, its frames next, and those that followed from it.
fn parse_chain(lines: &[&str], start: usize, mut next: usize, mut header: String) -> Option<Found> {
    let mut exceptions = vec![exception(lines, &mut next, &header)?];
    loop {
        let blank = usize::from(lines.get(next).is_some_and(|line| line.trim().is_empty()));
        let Some(following) = lines.get(next + blank).and_then(|line| line.strip_prefix("Next ")) else {
            break;
        };
        header = following.to_owned();
        let mut behind = next + blank + 1;
        // What cannot be read costs what stands before it nothing.
        let following = take_message(lines, &mut behind, &mut header)
            .and_then(|()| exception(lines, &mut behind, &header));
        let Some(following) = following else { break };
        exceptions.push(following);
        next = behind;
    }
    if lines.get(next).is_some_and(|line| line.trim_start().starts_with("thrown in ")) {
        next += 1;
    }
    Some(Found { start, next, exceptions, remarks: Vec::new() })
}

/// An exception as a text, in a log: its header stands above the line `at` that begins the trace.
fn parse_logged(lines: &[&str], at: usize, from: usize) -> Option<Found> {
    place_behind(lines.get(at.checked_sub(1)?)?, " in ")?;
    let first = from.max(at.saturating_sub(MOST_MESSAGE_LINES));
    let (start, begin) = (first..at).rev().find_map(|n| Some((n, class_at(lines[n])?)))?;
    let header = format!("{}\n{}", &lines[start][begin..], lines[start + 1..at].join("\n"));
    parse_chain(lines, start, at + 1, header.trim_end().to_owned())
}

/// Where in a line the class of an exception begins, behind which stands a message.
fn class_at(line: &str) -> Option<usize> {
    let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '\\');
    line.match_indices(": ").find_map(|(end, _)| {
        let begin = line[..end].rfind(|c| !is_name(c)).map_or(0, |at| at + 1);
        let name = line.get(begin..end)?;
        let is_class =
            ["Error", "Exception"].iter().any(|ending| name.ends_with(ending)) || name.contains('\\');
        is_class.then_some(begin)
    })
}

/// Laravel's log: `[object] (Class(code: 0): message at file:line)`, then `[stacktrace]` and frames; what it
/// followed from stands behind `[previous exception]`.
fn parse_laravel(lines: &[&str], at: usize, from: usize) -> Option<Found> {
    let first = from.max(at.saturating_sub(MOST_MESSAGE_LINES));
    let start = (first..at).rev().find(|&n| lines[n].contains(OBJECT))?;
    let mut next = at + 1;
    let mut exceptions = vec![laravel_exception(lines, &mut next, &lines[start..at].join("\n"))?];
    loop {
        // A blank line may stand between.
        let blank = usize::from(lines.get(next).is_some_and(|line| line.trim().is_empty()));
        let following = lines.get(next + blank).filter(|line| line.contains(OBJECT));
        let trace = following.and_then(|_| {
            lines[next..].iter().take(MOST_MESSAGE_LINES).position(|line| line.trim() == "[stacktrace]")
        });
        let Some(trace) = trace else { break };
        let mut behind = next + trace + 1;
        let header = lines[next + blank..next + trace].join("\n");
        let Some(following) = laravel_exception(lines, &mut behind, &header) else { break };
        exceptions.push(following);
        next = behind;
    }
    exceptions.reverse();
    Some(Found { start, next, exceptions, remarks: Vec::new() })
}

/// One exception of Laravel's log: its header is read, the frames are next.
fn laravel_exception(lines: &[&str], next: &mut usize, header: &str) -> Option<Exception> {
    let (_, said) = header.split_once(OBJECT)?;
    let (kind, said) = said.split_once("(code: ")?;
    let (_, said) = said.split_once("): ")?;
    let (message, place) = said.trim_end().strip_suffix(')')?.rsplit_once(" at ")?;
    exception(lines, next, &format!("{kind}: {message} in {place}"))
}

/// The file and line behind the last `word` of a line.
fn place_behind<'a>(line: &'a str, word: &str) -> Option<(&'a str, std::num::NonZeroU32)> {
    let (_, place) = line.rsplit_once(word)?;
    let (file, number) = place.rsplit_once(':')?;
    Some((file, number.trim().parse().ok()?))
}

/// Code that was made by `eval` is where it was made: `/srv/app/a.php(11) : eval()'d code`.
fn file_and_line(file: &str, line: Option<std::num::NonZeroU32>) -> (String, Option<std::num::NonZeroU32>) {
    let maker = file.split_once("(").filter(|(_, rest)| rest.contains(") : eval()'d code"));
    match maker.and_then(|(file, rest)| Some((file, rest.split_once(')')?.0.parse().ok()?))) {
        Some((file, line)) => (file.to_owned(), Some(line)),
        None => (file.to_owned(), line),
    }
}

/// One exception: its header `Class: message in file:line` is read, the frames are next.
fn exception(lines: &[&str], next: &mut usize, header: &str) -> Option<Exception> {
    let (said, place) = header.rsplit_once(" in ")?;
    let (file, number) = place.rsplit_once(':')?;
    let (kind, message) = said.split_once(": ").unwrap_or((said, ""));
    let at = |file: &str, number: &str| {
        let (file, line) = file_and_line(file, number.trim().parse().ok());
        Frame { file, line, ..Frame::default() }
    };
    let mut frame = at(file, number);
    let mut stack = Stack::default();
    while let Some((place, function)) = lines.get(*next).and_then(|line| call(line)) {
        frame.function = Some(function.to_owned());
        let caller = place
            .map(|place| place.strip_suffix(')').unwrap_or(place).rsplit_once('(').unwrap_or((place, "")));
        stack.push(std::mem::take(&mut frame));
        *next += 1;
        let Some((file, number)) = caller else { break };
        frame = at(file, number);
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
fn parse_fatal(kind: &str, message: &str, at: usize) -> Option<Found> {
    let (message, place) = message.rsplit_once(" in ")?;
    let (file, number) = place.rsplit_once(" on line ")?;
    let (file, line) = file_and_line(file, Some(number.trim().parse().ok()?));
    let exception = Exception {
        kind: Some(kind.to_owned()),
        message: Some(message.to_owned()),
        frames: vec![Frame { file, line, ..Frame::default() }],
        ..Exception::default()
    };
    Some(Found { start: at, next: at + 1, exceptions: vec![exception], remarks: Vec::new() })
}

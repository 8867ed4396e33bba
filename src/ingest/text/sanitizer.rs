//! C and C++: AddressSanitizer and its kin. The first stack is the one that failed; where memory was
//! allocated or freed comes after it.

use super::{Found, place_and_column};
use crate::ingest::limits::Stack;
use crate::report::{Exception, Frame};

/// Lines between the error and its stack.
const MOST_LINES: usize = 20;

/// The sanitizer's report that begins in line `at`.
pub(super) fn parse(lines: &[&str], at: usize, _from: usize) -> Option<Found> {
    if let Some((place, message)) = lines[at].split_once(": runtime error: ") {
        return parse_undefined(place, message, at);
    }
    let (before, said) = lines[at].split_once("Sanitizer: ")?;
    let (_, name) = before
        .rsplit_once(": ")
        .filter(|(before, _)| before.ends_with("ERROR") || before.ends_with("WARNING"))?;
    let (kind, message) = said.split_once(' ').unwrap_or((said, ""));
    let mut next =
        at + 1 + lines[at + 1..].iter().take(MOST_LINES).position(|line| frame_of(line).is_some())?;
    let mut stack = Stack::default();
    while let Some(frame) = lines.get(next).and_then(|line| frame_of(line)) {
        stack.push(frame);
        next += 1;
    }
    // The rest of the report: other stacks, and the shadow memory.
    while lines.get(next).is_some_and(|line| !line.starts_with("SUMMARY: ") && next - at < 2_000) {
        next += 1;
    }
    let exceptions = vec![
        stack.reversed().into_exception(Some(format!("{name}Sanitizer: {kind}")), Some(message.to_owned())),
    ];
    Some(Found { start: at, next, exceptions, remarks: Vec::new() })
}

/// `src/sum.c:9:5: runtime error: signed integer overflow`
fn parse_undefined(place: &str, message: &str, at: usize) -> Option<Found> {
    let (file, line, column) = place_and_column(place)?;
    let frame = Frame { file: file.to_owned(), line: Some(line), column: Some(column), ..Frame::default() };
    let kind = Some("runtime error".to_owned());
    let exception =
        Exception { kind, message: Some(message.to_owned()), frames: vec![frame], ..Exception::default() };
    Some(Found { start: at, next: at + 1, exceptions: vec![exception], remarks: Vec::new() })
}

/// `    #0 0x5608dc65a269 in sum /srv/app/overflow.c:9`, `    #5 0x5608 in _start (/srv/app/overflow+0x1110)`
fn frame_of(line: &str) -> Option<Frame> {
    let text = line.trim_start().strip_prefix('#')?;
    let (number, text) = text.split_once(" 0x")?;
    number.parse::<u32>().ok()?;
    let (_, text) = text.split_once(' ')?;
    let text = text.strip_prefix("in ").unwrap_or(text);
    // A C++ name holds blanks; the place does not.
    let (function, place) = text.rsplit_once(' ').unwrap_or(("", text));
    let (file, line, column) = match place_and_column(place) {
        Some((file, line, column)) => (file, Some(line), Some(column)),
        None => match place.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse().ok()?))) {
            Some((file, line)) => (file, Some(line), None),
            None => ("", None, None),
        },
    };
    let function = Some(function.to_owned()).filter(|function| !function.is_empty());
    Some(Frame { file: file.to_owned(), line, column, function, ..Frame::default() })
}

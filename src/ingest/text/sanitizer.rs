//! C and C++: AddressSanitizer and its kin, and valgrind's memcheck. The first stack is the one that failed; where
//! memory was allocated or freed comes after it.

use std::num::NonZeroU32;

use super::{Found, place_and_column};
use crate::ingest::limits::Stack;
use crate::report::Frame;

/// Lines between the error and its stack.
const MOST_LINES: usize = 20;
/// Lines in which the end of a report is looked for.
const MOST_REPORT_LINES: usize = 2_000;

/// The sanitizer's report that begins in line `at`.
pub(super) fn parse(lines: &[&str], at: usize, from: usize) -> Option<Found> {
    if let Some((place, message)) = lines[at].split_once(": runtime error: ") {
        return parse_undefined(lines, place, message, at);
    }
    if memcheck_frame(lines[at]).is_some() {
        return parse_memcheck(lines, at, from);
    }
    let (before, said) = lines[at].split_once("Sanitizer: ")?;
    let (_, name) = before
        .rsplit_once(": ")
        .filter(|(before, _)| before.ends_with("ERROR") || before.ends_with("WARNING"))?;
    let said = said.trim_end();
    let end = [" on ", " (pid="].iter().filter_map(|mark| said.find(mark)).min().unwrap_or(said.len());
    let (kind, message) = (&said[..end], said[end..].trim_start());
    let mut next =
        at + 1 + lines[at + 1..].iter().take(MOST_LINES).position(|line| frame_of(line).is_some())?;
    let stack = frames(lines, &mut next);
    // The rest of the report: other stacks, and the shadow memory.
    let is_end = |line: &str| line.contains("SUMMARY: ");
    let is_another = |line: &str| line.contains("Sanitizer: ") && !is_end(line);
    let mut rest = lines[next..].iter().take(MOST_REPORT_LINES).take_while(|line| !is_another(line));
    next += rest.position(|line| is_end(line)).map_or(0, |summary| summary + 1);
    let exceptions = vec![
        stack.reversed().into_exception(Some(format!("{name}Sanitizer: {kind}")), Some(message.to_owned())),
    ];
    Some(Found { start: at, next, exceptions, remarks: Vec::new() })
}

/// `src/sum.c:9:5: runtime error: signed integer overflow`, perhaps with a stack below.
fn parse_undefined(lines: &[&str], place: &str, message: &str, at: usize) -> Option<Found> {
    let (file, line, column) = place_and_column(place)?;
    let mut next = at + 1;
    let mut stack = frames(lines, &mut next);
    if stack.is_empty() {
        stack.push(Frame {
            file: file.to_owned(),
            line: Some(line),
            column: Some(column),
            ..Frame::default()
        });
    }
    let exception =
        stack.reversed().into_exception(Some("runtime error".to_owned()), Some(message.to_owned()));
    Some(Found { start: at, next, exceptions: vec![exception], remarks: Vec::new() })
}

/// ` Invalid read of size 4`, then `    at 0x10916B: sum (sum.c:9)` and its callers behind `by`.
fn parse_memcheck(lines: &[&str], at: usize, from: usize) -> Option<Found> {
    let said = at.checked_sub(1).filter(|&above| above >= from).map(|above| lines[above].trim())?;
    let mut next = at;
    let mut stack = Stack::default();
    while let Some(frame) = lines.get(next).and_then(|line| memcheck_frame(line)) {
        stack.push(frame);
        next += 1;
    }
    let exception = stack.reversed().into_exception(Some("valgrind".to_owned()), Some(said.to_owned()));
    // Where the memory is from is no error of its own.
    let is_error = !said.starts_with("Address 0x") && !said.starts_with("Block was alloc'd at");
    let exceptions = if is_error { vec![exception] } else { Vec::new() };
    Some(Found { start: at - 1, next, exceptions, remarks: Vec::new() })
}

/// `    at 0x10916B: sum (sum.c:9)`, `    by 0x484: malloc (in /usr/lib/libc.so.6)`
fn memcheck_frame(line: &str) -> Option<Frame> {
    let text = line.trim_start();
    let text = text.strip_prefix("at 0x").or_else(|| text.strip_prefix("by 0x"))?;
    let (_, text) = text.split_once(": ")?;
    let (function, place) = text.trim_end().strip_suffix(')')?.rsplit_once(" (")?;
    let (file, line) = match place.rsplit_once(':').and_then(|(file, line)| Some((file, line.parse().ok()?)))
    {
        Some((file, line)) => (file, Some(line)),
        None => ("", None),
    };
    let function = Some(function.to_owned());
    Some(Frame { file: file.to_owned(), line, function, ..Frame::default() })
}

/// Reads frames, newest first, to the first line that is none.
fn frames(lines: &[&str], next: &mut usize) -> Stack {
    let mut stack = Stack::default();
    while let Some(frame) = lines.get(*next).and_then(|line| frame_of(line)) {
        stack.push(frame);
        *next += 1;
    }
    stack
}

/// `    #0 0x5608dc65a269 in sum /srv/app/overflow.c:9`, `    #5 0x5608 in _start (/srv/app/overflow+0x1110)`,
/// `    #0 count(void*) /srv/app/race.cpp:8:12 (race+0xd1a4f)`
fn frame_of(line: &str) -> Option<Frame> {
    let text = line.trim_start().strip_prefix('#')?;
    let (number, text) = text.trim_end().split_once(' ')?;
    number.parse::<u32>().ok()?;
    let text = match text.strip_prefix("0x") {
        Some(address) => address.split_once(' ')?.1,
        None => text,
    };
    let text = text.strip_prefix("in ").unwrap_or(text);
    // A C++ name holds blanks; the place does not. Where in the program it is may stand behind it.
    let mut rest = text;
    let place = loop {
        let (before, last) = rest.rsplit_once(' ').unwrap_or(("", rest));
        match place_of(last) {
            Some(place) => break Some((before, place)),
            None if last.ends_with(')') && !before.is_empty() => rest = before,
            None => break None,
        }
    };
    let (function, (file, line, column)) = place
        .unwrap_or_else(|| (text.rsplit_once(' ').map_or("", |(function, _)| function), ("", None, None)));
    let function = Some(function.to_owned()).filter(|function| !function.is_empty());
    Some(Frame { file: file.to_owned(), line, column, function, ..Frame::default() })
}

type Place<'a> = (&'a str, Option<NonZeroU32>, Option<NonZeroU32>);

/// `/srv/app/sum.c:9:5` or `/srv/app/sum.c:9`
fn place_of(text: &str) -> Option<Place<'_>> {
    if let Some((file, line, column)) = place_and_column(text) {
        return Some((file, Some(line), Some(column)));
    }
    let (file, line) = text.rsplit_once(':')?;
    Some((file, Some(line.parse().ok()?), None))
}

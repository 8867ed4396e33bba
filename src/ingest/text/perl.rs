//! Perl: `not a price at /srv/app/lib/Shop.pm line 8.`, with the callers below it from Carp.
//!
//! A caller's line names the function that was *called* there, so the names are moved by one here.

use super::Found;
use crate::ingest::limits::Stack;
use crate::report::Frame;

/// What the interpreter only warns of.
const WARNINGS: [&str; 5] = [
    "Use of uninitialized value",
    "Argument \"",
    "Deep recursion on",
    "Odd number of elements",
    "Subroutine ",
];

/// The Perl error in line `at`.
pub(super) fn parse(lines: &[&str], at: usize, _from: usize) -> Option<Found> {
    let (message, mut frame) = place(lines[at], " at ")?;
    if message.starts_with(['\t', ' ']) && message.ends_with(" called") {
        return None;
    }
    if message.starts_with('\t') || WARNINGS.iter().any(|warning| message.starts_with(warning)) {
        return None;
    }
    let mut stack = Stack::default();
    let mut next = at + 1;
    while let Some((called, caller)) = lines
        .get(next)
        .filter(|line| line.starts_with(['\t', ' ']))
        .and_then(|line| place(line, " called at "))
    {
        let called = called.trim();
        frame.function = Some(called.split_once('(').map_or(called, |(function, _)| function).to_owned());
        stack.push(std::mem::replace(&mut frame, caller));
        next += 1;
    }
    stack.push(frame);
    let exceptions = vec![stack.reversed().into_exception(None, Some(message.to_owned()))];
    Some(Found { start: at, next, exceptions, remarks: Vec::new() })
}

/// `… at /srv/app/a.pl line 8.`, also `…, <STDIN> line 3.`: what stands before, and the place.
fn place<'a>(line: &'a str, word: &str) -> Option<(&'a str, Frame)> {
    let (said, number) = line.trim_end().rsplit_once(" line ")?;
    // An open file handle is told behind the place.
    let (said, number) = match said.rsplit_once(", <") {
        Some((said, _)) => said.rsplit_once(" line ")?,
        None => (said, number),
    };
    let number = number.trim_end_matches('.').parse().ok()?;
    let (said, file) = said.rsplit_once(word)?;
    let is_script = [".pl", ".pm", ".t", ".cgi", ".psgi", ".al"].iter().any(|ending| file.ends_with(ending));
    let is_file = is_script || file == "-e" || (file.starts_with('/') && !file.contains(' '));
    is_file.then(|| (said, Frame { file: file.to_owned(), line: Some(number), ..Frame::default() }))
}

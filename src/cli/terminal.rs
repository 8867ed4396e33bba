//! The terminal: how wide it is, and words that fit into it.

use std::io::{IsTerminal, Write};
use std::sync::Arc;

use rustix::termios::tcgetwinsize;

use crate::pipeline::Progress;

/// Columns where nothing says how many there are.
const COLUMNS: usize = 80;
/// Lines longer than that are hard to read.
const WIDEST: usize = 100;
/// Fewer than that are not taken seriously.
const NARROWEST: usize = 20;

/// How many columns there are to write in.
pub(super) fn width() -> usize {
    let columns = [tcgetwinsize(std::io::stdout()), tcgetwinsize(std::io::stderr())];
    let columns =
        columns.into_iter().flatten().map(|size| usize::from(size.ws_col)).find(|&columns| columns > 0);
    columns.unwrap_or(COLUMNS).clamp(NARROWEST, WIDEST)
}

/// `text` in lines of at most `width` characters, broken between words. A line that fits stays as it is, for it may
/// be part of a picture; a longer word has a line of its own, whole, so that it can be copied.
pub(super) fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for paragraph in text.lines() {
        if paragraph.chars().count() <= width {
            lines.push(paragraph.trim_end().to_owned());
            continue;
        }
        let (mut line, mut length) = (String::new(), 0);
        for word in paragraph.split_whitespace() {
            let chars = word.chars().count();
            if length > 0 && length + 1 + chars > width {
                lines.push(std::mem::take(&mut line));
                length = 0;
            }
            if length > 0 {
                line.push(' ');
                length += 1;
            }
            line.push_str(word);
            length += chars;
        }
        lines.push(line);
    }
    lines
}

/// Shows how far something is, on one line of stderr that is written over, if that is a terminal.
pub(super) fn progress() -> Option<Progress> {
    if !std::io::stderr().is_terminal() {
        return None;
    }
    Some(Progress(Arc::new(|name: &str, words: Option<&str>| {
        let line: String = words.map_or_else(String::new, |words| {
            let line = format!("fetching {name}: {words}");
            line.chars().filter(|c| !c.is_control()).take(width() - 1).collect()
        });
        // To its beginning, to be written over by what comes next; what was there is erased.
        let _ = write!(std::io::stderr(), "\r{line}\x1b[K\r");
    })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_whole() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("a https://example.com/x b", 8), ["a", "https://example.com/x", "b"]);
        assert_eq!(wrap("one\n\ntwo", 8), ["one", "", "two"]);
        assert_eq!(wrap("áé íó", 5), ["áé íó"]);
        assert_eq!(wrap("1 | a = b\n  |   ^", 9), ["1 | a = b", "  |   ^"]);
    }
}

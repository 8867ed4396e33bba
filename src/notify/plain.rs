//! Untrusted text made fit to be read: by people, in a mail, in a terminal.
//!
//! A report may hold any Unicode. What would move the cursor, colour the screen, turn the reading
//! direction or hide is replaced by a picture of itself: `␛` for ESC, `\u{202e}` for an override. All
//! results are bounded in bytes and cut at a character. HTML is escaped by the templates, not here.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Columns of the text part: what a terminal of 80 shows with a margin, and what RFC 5322 2.1.1 advises.
pub(super) const WIDTH: usize = 78;
/// Columns that a tab stands for.
const TAB: &str = "    ";

/// Everything on one line: runs of white space, line ends included, become one space.
pub(crate) fn line(text: &str, max: usize) -> String {
    let mut out = String::new();
    for word in text.split(|c: char| c.is_whitespace() || is_line_end(c)).filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        word.chars().for_each(|c| show(c, &mut out));
        if out.len() > max {
            break;
        }
    }
    clip(out, max)
}

/// One line of code: indentation and inner spaces stay, tabs become spaces.
pub(crate) fn code(text: &str, max: usize) -> String {
    let mut out = String::new();
    for c in text.trim_end().chars() {
        if c == '\t' {
            out.push_str(TAB)
        } else {
            show(c, &mut out)
        }
        if out.len() > max {
            break;
        }
    }
    clip(out, max)
}

/// Text of several lines, its line ends `\n` whatever they were, no blank lines at either end.
pub(crate) fn block(text: &str, max: usize) -> String {
    let mut out = String::new();
    let text = text.replace("\r\n", "\n");
    for one in text.trim_matches(|c: char| c == ' ' || is_line_end(c)).split(is_line_end) {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&code(one, max));
        if out.len() > max {
            break;
        }
    }
    clip(out, max)
}

/// The end of `text`, where a path says the most.
pub(super) fn tail(text: &str, max: usize) -> String {
    let count = text.chars().count();
    if count <= max {
        return text.to_owned();
    }
    let kept: String = text.chars().skip(count + 1 - max).collect();
    format!("…{kept}")
}

/// `text` with every mail address in it made unusable, except `own`: nobody learns another's address
/// from a mail that is about the two of them.
pub(super) fn without_addresses(text: &str, own: &str) -> String {
    static ADDRESS: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r#"[^\s<>()\[\],;:"'@/\\]+@([^\s<>()\[\],;:"'@/\\]+)"#).expect("the pattern is constant")
    });
    let hidden = ADDRESS.replace_all(text, |found: &Captures<'_>| {
        let whole = found[0].trim_end_matches('.');
        if whole.eq_ignore_ascii_case(own) { found[0].to_owned() } else { format!("…@{}", &found[1]) }
    });
    hidden.into_owned()
}

/// `text` in lines of at most [`WIDTH`] columns, each indented by `indent` spaces. Breaks at spaces; a
/// longer word (a path, an address) stays whole, so that it can be copied.
pub(super) fn wrap(text: &str, indent: usize) -> String {
    let margin = " ".repeat(indent);
    let mut out = String::new();
    for one in text.split('\n') {
        // A line's own indentation is kept on the lines it is broken into.
        let own = one.len() - one.trim_start_matches(' ').len();
        let own = &one[..own.min(WIDTH / 2)];
        let mut column = 0;
        for word in one.split(' ').filter(|word| !word.is_empty()) {
            let width = word.chars().count();
            if column > 0 && column + 1 + width > WIDTH {
                out.push('\n');
                column = 0;
            }
            if column == 0 {
                out.push_str(&margin);
                out.push_str(own);
                column = indent + own.len();
            } else {
                out.push(' ');
                column += 1;
            }
            out.push_str(word);
            column += width;
        }
        out.push('\n');
    }
    out.pop();
    out
}

/// Percent-encoded for any part of a URL: all but RFC 3986's unreserved characters.
pub(crate) fn encoded(bytes: &[u8]) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            _ => write!(out, "%{byte:02X}").expect("a String takes all that is written to it"),
        }
    }
    out
}

/// `text` cut to `max` bytes, with `…` where something is missing.
pub(crate) fn clip(mut text: String, max: usize) -> String {
    if text.len() > max {
        let room = max.saturating_sub('…'.len_utf8());
        let cut = text.char_indices().map(|(at, _)| at).take_while(|&at| at <= room).last().unwrap_or(0);
        text.truncate(cut);
        text.push('…');
    }
    text
}

/// What ends a line for somebody who reads: Unicode's mandatory breaks.
fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

/// Appends `c`, or a picture of it where it would do something to the reader's screen.
fn show(c: char, out: &mut String) {
    match c {
        '\0'..='\u{1f}' => out.extend(char::from_u32(0x2400 + u32::from(c))),
        '\u{7f}' => out.push('␡'),
        // C1 controls, soft hyphen, marks and overrides of direction, invisible characters, tags.
        '\u{80}'..='\u{9f}'
        | '\u{ad}'
        | '\u{61c}'
        | '\u{180e}'
        | '\u{200b}'
        | '\u{200e}'
        | '\u{200f}'
        | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}'
        | '\u{feff}'
        | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}' => out.extend(c.escape_unicode()),
        _ => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_act_on_a_screen_is_shown() {
        assert_eq!(line("a\x1b[31mb\r\nTo: x\0\u{202e}", 100), "a␛[31mb To: x␀\\u{202e}");
        assert_eq!(code("\tif x:\u{85} y  ", 100), "    if x:\\u{85} y");
        assert_eq!(block("\r\n a\r\n\r\nb\rc\u{2028}d\n\n", 100), "a\n\nb\nc\nd");
    }

    #[test]
    fn cuts_fall_between_characters_and_within_bounds() {
        for max in 3..20 {
            for text in
                ["ääääääääääää", "abcdefghijklmnopqrstuvw", "日本語日本語日本語", "a b c d e f g h i j k l m"]
            {
                for cut in [line(text, max), code(text, max), block(text, max)] {
                    assert!(cut.len() <= max, "{cut:?} in {max}");
                    assert!(cut.ends_with('…'), "{cut:?}");
                }
            }
        }
        assert_eq!(line("short", 5), "short");
        assert_eq!(tail("a/very/long/path.py", 8), "…path.py");
    }

    #[test]
    fn only_ones_own_address_is_shown() {
        let text = "handed over by Ann <ann@example.com>, remapped from BOB@Example.com.";
        assert_eq!(
            without_addresses(text, "bob@example.com"),
            "handed over by Ann <…@example.com>, remapped from BOB@Example.com."
        );
        assert_eq!(without_addresses("jürgen@exämple.de@decorator", ""), "…@exämple.de@decorator");
        let path = "node_modules/@babel/core is in no configured repository";
        assert_eq!(without_addresses(path, ""), path);
    }

    #[test]
    fn lines_are_wrapped_at_spaces_and_keep_their_indentation() {
        let text = format!("{} {}\n  indented {}", "word".repeat(10), "word".repeat(10), "x".repeat(90));
        let wrapped = wrap(&text, 2);
        let lines: Vec<_> = wrapped.lines().collect();
        assert_eq!(lines[0], format!("  {}", "word".repeat(10)));
        assert_eq!(lines[2], "    indented");
        assert_eq!(lines[3], format!("    {}", "x".repeat(90)));
        assert_eq!(wrap("", 2), "");
    }

    #[test]
    fn every_byte_survives_in_a_url() {
        assert_eq!(encoded(b"a/b c&\xff~"), "a%2Fb%20c%26%FF~");
    }
}

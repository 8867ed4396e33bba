//! Values that stand under a secret's name within a text: `password='x'`, `"token": "x"`, `Cookie: a=b; c=d`,
//! `[["api_key", "x"]]`, `{"name": "api_key", "value": "x"}`, `--password x`, `<password>x</password>`, the fields of a
//! form with several parts; in texts within texts, too, where quotes have backslashes before them.
//!
//! Nothing here looks further than [`REACH`] for what tells how a name is meant, and what is masked is not looked at
//! again, so that a text of nothing but names takes no longer than any other.

use std::sync::LazyLock;

use regex::Regex;

use super::pattern;

/// Bytes around a name in which it is told how it is meant.
const REACH: usize = 4096;
/// Bytes before it in which the key stands whose value it is.
const KEY_REACH: usize = 40;

/// Where, in a text, a value stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Value {
    pub(super) from: usize,
    pub(super) to: usize,
    /// Whether it is surely a value; a word behind a colon may be the rest of a sentence.
    pub(super) is_sure: bool,
}

/// The value of the name that stands at `begin..end`, if there is one behind it.
pub(super) fn value_of(text: &str, begin: usize, end: usize) -> Option<Value> {
    let (before, name, after) = (&text[..begin], &text[begin..end], &text[end..]);
    assigned(before, name, after)
        .or_else(|| paired(before, after))
        .or_else(|| named(before, after))
        .or_else(|| optioned(name, after))
        .or_else(|| tagged(before, after))
        .map(|Value { from, to, is_sure }| Value { from: end + from, to: end + to, is_sure })
}

/// Behind `=`, `:` or `=>`, with or without quotes.
fn assigned(before: &str, name: &str, after: &str) -> Option<Value> {
    static SEPARATOR: LazyLock<Regex> =
        LazyLock::new(|| pattern(r#"^\\*["']?(?:\]|%5[Dd])*[ \t]{0,4}(=+>?|:=?)[ \t]{0,4}"#));
    let separator = SEPARATOR.captures(after)?;
    let from = separator.get(0).expect("group 0 always is").end();
    let (sign, value) = (&separator[1], &after[from..]);
    // `session::open` is a path, and `token.js:12` a place.
    let is_place = sign == ":"
        && (name.contains('.') || before.ends_with(['/', '\\']))
        && value.starts_with(|c: char| c.is_ascii_digit());
    if value.starts_with(':') || is_place {
        return None;
    }
    let bytes = |(start, end)| Value { from: from + start, to: from + end, is_sure: true };
    let ends_with = |word: &str| name.to_ascii_lowercase().ends_with(word);
    let begins_line = before.is_empty() || before.ends_with('\n');
    if begins_line && sign == ":" && (ends_with("cookie") || ends_with("authorization")) {
        // A line of a header is a secret to its end, quotes and all.
        return Some(bytes((0, value.find(['\r', '\n']).unwrap_or(value.len()))));
    }
    if let Some(quoted) = quoted(value) {
        return Some(bytes(quoted));
    }
    if ends_with("cookie") {
        return Some(bytes((0, value.find(['\r', '\n', '"', '\'']).unwrap_or(value.len()))));
    }
    let is_sentence = sign == ":" && separator[0].ends_with([' ', '\t']) && separator[0].starts_with(':');
    bare(value).map(|end| Value { is_sure: !is_sentence, ..bytes((0, end)) })
}

/// The second of two in brackets: `["password", "x"]`, `('password', 'x')`.
fn paired(before: &str, after: &str) -> Option<Value> {
    static BETWEEN: LazyLock<Regex> = LazyLock::new(|| pattern(r#"^\\*["']\s{0,9},\s{0,9}"#));
    static CLOSED: LazyLock<Regex> = LazyLock::new(|| pattern(r"^\s{0,9},?\s{0,9}[\])]"));
    let bracket = opened(before)?;
    let around = bracket.strip_suffix(['[', '('])?.trim_end();
    let after = within_reach(after);
    let from = BETWEEN.find(after)?.end();
    let value = &after[from..];
    let (start, end) = quoted(value).or_else(|| Some((0, bare(value)?)))?;
    let closing = value[end..].trim_start_matches('\\').trim_start_matches(['"', '\'']);
    CLOSED.is_match(closing).then(|| Value {
        from: from + start,
        to: from + end,
        // Two in brackets alone may be two names.
        is_sure: around.ends_with(['[', '(', '{', ',']),
    })
}

/// Under its own key, beside the name: `{"name": "password", "value": "x"}`.
fn named(before: &str, after: &str) -> Option<Value> {
    static KEY: LazyLock<Regex> =
        LazyLock::new(|| pattern(r#"(?i:name|key|field|header)\\*["']?\s{0,4}(?::|=>|=)\s{0,4}$"#));
    static VALUE: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r#"^\\*["']\s{0,9},?\s{0,9}\\*["']?(?i:value|val|content)\\*["']?\s{0,4}(?::|=>|=)\s{0,4}"#)
    });
    let opened = opened(before)?;
    KEY.find(&opened[opened.floor_char_boundary(opened.len().saturating_sub(KEY_REACH))..])?;
    let from = VALUE.find(within_reach(after))?.end();
    let value = &after[from..];
    let (start, end) = quoted(value).or_else(|| Some((0, bare(value)?)))?;
    Some(Value { from: from + start, to: from + end, is_sure: true })
}

/// Behind an option of a command: `--password x`, `'--password', 'x'`.
fn optioned(name: &str, after: &str) -> Option<Value> {
    static BETWEEN: LazyLock<Regex> = LazyLock::new(|| pattern(r#"^(?:\\*["']\s{0,4},\s{0,4}| {1,4})"#));
    if !name.starts_with("--") {
        return None;
    }
    let from = BETWEEN.find(after)?.end();
    let value = &after[from..];
    let (start, end) = quoted(value).or_else(|| Some((0, bare(value)?)))?;
    let is_option = value[start..].starts_with('-');
    (!is_option).then_some(Value { from: from + start, to: from + end, is_sure: true })
}

/// Between tags, `<password>x</password>`, or as a part of a form: `name="password"`, a blank line, the value.
fn tagged(before: &str, after: &str) -> Option<Value> {
    static FIELD: LazyLock<Regex> = LazyLock::new(|| {
        let newline = r"(?:\r?\n|(?:\\r)?\\n)";
        pattern(&format!(
            r#"^\\*"[^\r\n\\]{{0,200}}(?:{newline}[^\r\n\\]{{1,200}}){{0,3}}{newline}{newline}"#
        ))
    });
    static BOUNDARY: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?:\r?\n|(?:\\r)?\\n)--"));
    if let Some(value) = after.strip_prefix('>').filter(|_| before.ends_with('<') || before.ends_with(':')) {
        return Some(Value { from: 1, to: 1 + within_reach(value).find('<')?, is_sure: true });
    }
    if !before.trim_end_matches('"').trim_end_matches('\\').ends_with("name=") {
        return None;
    }
    let from = FIELD.find(within_reach(after))?.end();
    let value = &after[from..];
    let to = BOUNDARY.find(value).map_or(value.len(), |boundary| boundary.start());
    Some(Value { from, to: from + to, is_sure: true })
}

/// What stands before the quote that opens a name, if there is one.
fn opened(before: &str) -> Option<&str> {
    let open = before.strip_suffix(['"', '\''])?.trim_end_matches('\\');
    // The prefix of a literal of Python.
    let open = open
        .strip_suffix(['b', 'u', 'r'])
        .filter(|open| !open.ends_with(char::is_alphanumeric))
        .unwrap_or(open);
    Some(open.trim_end_matches([' ', '\t', '\r', '\n']))
}

fn within_reach(text: &str) -> &str {
    &text[..text.floor_char_boundary(REACH)]
}

/// What is within the quotes that `value` begins with, perhaps behind the prefix of a literal. In a text inside a
/// text, the closing quote has the same backslashes before it as the opening one.
fn quoted(value: &str) -> Option<(usize, usize)> {
    let prefix = value.len() - value.trim_start_matches(['b', 'r', 'u', 'f']).len();
    let prefix = if prefix <= 2 { prefix } else { 0 };
    let slashes = value[prefix..].len() - value[prefix..].trim_start_matches('\\').len();
    let quote = value[prefix + slashes..].chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let open = prefix + slashes + 1;
    let mut at = open;
    while let Some(next) = value[at..].find(quote) {
        let escapes = value[open..at + next].bytes().rev().take_while(|&byte| byte == b'\\').count();
        if escapes == slashes {
            return Some((open, at + next - slashes));
        }
        at += next + 1;
    }
    Some((open, value.len()))
}

/// Where a value without quotes ends: a word, a credential of two, or all that is in brackets.
fn bare(value: &str) -> Option<usize> {
    static WORD: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r#"^(?:(?i:bearer|basic|token|digest|sentry)[ \t]+)?(?:[\[({<]|[^\s&,;)}\]"'<>]+)"#)
    });
    let end = WORD.find(value)?.end();
    let Some(open) = value[..end].find(['[', '(', '{', '<']) else { return Some(end) };
    let is_cut = open == 0 || value[end..].starts_with(['"', '\'']);
    let to_line_end = || if is_cut { value.find(['\r', '\n']).unwrap_or(value.len()) } else { end };
    Some(balanced(value, open).unwrap_or_else(to_line_end))
}

/// Where what is opened at `open` is closed. Brackets in quotes do not count.
fn balanced(value: &str, open: usize) -> Option<usize> {
    let bytes = value.as_bytes();
    let (mut depth, mut quote, mut level, mut slashes) = (0usize, None, None, 0);
    for (at, &byte) in bytes.iter().enumerate().skip(open) {
        match byte {
            b'\\' => {
                slashes += 1;
                continue;
            }
            b'"' | b'\'' => {
                // The first quote tells how many backslashes the others have.
                let is_real = *level.get_or_insert(slashes) == slashes;
                match quote {
                    None if is_real => quote = Some(byte),
                    Some(opening) if is_real && opening == byte => quote = None,
                    _ => {}
                }
            }
            b'[' | b'(' | b'{' | b'<' if quote.is_none() => depth += 1,
            b']' | b')' | b'}' | b'>' if quote.is_none() => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        slashes = 0;
    }
    None
}

//! Secrets out of a report, before anything of it is kept.
//!
//! Three passes:
//!
//! 1. What stands under a name that tells it is a secret (variables, keys, headers, form fields, query
//!    parameters; also inside texts, as in `{'password': 'x'}`, `token=x&…` or JSON in a string) is masked.
//! 2. What looks like a secret is masked: private keys, bearer and basic credentials, JSON web tokens, passwords
//!    in URLs, keys of cloud providers, numbers of payment cards.
//! 3. A value that was masked in one place is masked wherever else it stands in the report.
//!
//! Files, lines, functions and source lines are never changed: they are in the repository already, and the
//! walk needs them as they are.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::{Captures, Regex, RegexBuilder};
use serde_json::Value;

use crate::report::Report;

/// Words that make a name a secret's, unless configured otherwise. `_` stands for any separator or none.
pub const DEFAULT_WORDS: [&str; 20] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "api_key",
    "access_key",
    "private_key",
    "auth_key",
    "authorization",
    "cookie",
    "session",
    "credential",
    "credit_card",
    "card_number",
    "card",
    "cvv",
    "ssn",
    "csrf",
];
/// What stands in the place of a secret, unless configured otherwise.
pub const DEFAULT_MASK: &str = "[masked]";
/// Words up to this length must be a whole part of a name: `ssn` is not in `className`, nor `card` in `discard`.
const SHORT_WORD: usize = 4;
/// A shorter value is too common to be masked wherever it stands.
const SHORTEST_SECRET: usize = 5;
/// Secrets of one report that are looked for everywhere.
const MOST_SECRETS: usize = 200;

/// How secrets are known and what is put in their place.
#[derive(Debug, Clone)]
pub struct Scrubber {
    words: Option<Regex>,
    mask: String,
}

impl Default for Scrubber {
    fn default() -> Self {
        Self::new(DEFAULT_WORDS, DEFAULT_MASK)
    }
}

impl Scrubber {
    /// Knows a secret's name by `words`, in any case; `_` in a word stands for any separator or none. Puts
    /// `mask` in a secret's place.
    #[must_use]
    pub fn new<'a>(words: impl IntoIterator<Item = &'a str>, mask: &str) -> Self {
        let patterns: Vec<String> = words
            .into_iter()
            .filter(|word| !word.is_empty())
            .map(|word| word.split(['_', '-', ' ']).map(regex::escape).collect::<Vec<_>>().join("[_. -]?"))
            .collect();
        let words = (!patterns.is_empty()).then(|| {
            let pattern = patterns.join("|");
            RegexBuilder::new(&pattern).case_insensitive(true).build().expect("escaped words make a pattern")
        });
        Self { words, mask: mask.to_owned() }
    }

    /// Masks every secret in `report`.
    pub fn scrub(&self, report: &mut Report) {
        let mut secrets = BTreeSet::new();
        for_each_text(report, &mut |name, text| self.scrub_named(name, text, &mut secrets));
        for (name, value) in &mut report.context {
            self.scrub_value(Some(name), value, &mut secrets);
        }
        let Some(known) = one_of(&secrets) else { return };
        for_each_text(report, &mut |_, text| {
            if let Cow::Owned(masked) = known.replace_all(text, self.mask.as_str()) {
                *text = masked;
            }
        });
        for (_, value) in &mut report.context {
            self.replace_in_value(value, &known);
        }
    }

    /// Whether a name tells that its value is a secret.
    fn is_secret_name(&self, name: &str) -> bool {
        let Some(words) = &self.words else { return false };
        words.find_iter(name).any(|word| {
            let (before, after) =
                (name[..word.start()].chars().next_back(), name[word.end()..].chars().next());
            let first = word.as_str().chars().next().is_some_and(char::is_uppercase);
            let begins = before.is_none_or(|c| !c.is_alphabetic() || (first && c.is_lowercase()));
            let plural = after == Some('s');
            let ends = after.is_none_or(|c| !c.is_alphabetic() || c.is_uppercase() || plural);
            word.len() > SHORT_WORD || (begins && ends)
        })
    }

    fn scrub_named(&self, name: Option<&str>, text: &mut String, secrets: &mut BTreeSet<String>) {
        if name.is_some_and(|name| self.is_secret_name(name)) {
            collect(text, secrets);
            if !text.is_empty() {
                text.clone_from(&self.mask);
            }
        } else if let Some(masked) = self.scrub_text(text, secrets) {
            *text = masked;
        }
    }

    fn scrub_value(&self, name: Option<&str>, value: &mut Value, secrets: &mut BTreeSet<String>) {
        if name.is_some_and(|name| self.is_secret_name(name)) {
            collect_value(value, secrets);
            if !matches!(value, Value::Null | Value::Bool(_)) {
                *value = Value::from(self.mask.as_str());
            }
            return;
        }
        match value {
            Value::String(text) => self.scrub_named(None, text, secrets),
            Value::Object(members) => {
                for (name, member) in members.iter_mut() {
                    self.scrub_value(Some(name), member, secrets);
                }
            }
            Value::Array(elements) => match elements.as_mut_slice() {
                // Headers and the like often come as a list of pairs.
                [Value::String(name), second] if self.is_secret_name(name) => {
                    self.scrub_value(Some(&name.clone()), second, secrets);
                }
                elements => elements.iter_mut().for_each(|element| self.scrub_value(None, element, secrets)),
            },
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn replace_in_value(&self, value: &mut Value, known: &Regex) {
        match value {
            Value::String(text) => {
                if let Cow::Owned(masked) = known.replace_all(text, self.mask.as_str()) {
                    *text = masked;
                }
            }
            Value::Array(elements) => {
                elements.iter_mut().for_each(|element| self.replace_in_value(element, known))
            }
            Value::Object(members) => {
                members.iter_mut().for_each(|(_, member)| self.replace_in_value(member, known))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// The text without secrets. `None`: there are none in it.
    fn scrub_text(&self, text: &str, secrets: &mut BTreeSet<String>) -> Option<String> {
        // Most texts hold nothing that could be a secret, and are looked through only once or twice.
        let by_name = self
            .words
            .as_ref()
            .and_then(|words| words.find(text))
            .and_then(|_| self.scrub_pairs(text, secrets));
        let text = by_name.as_deref().unwrap_or(text);
        if !SUSPICIOUS.is_match(text) {
            return by_name;
        }
        let mask = self.mask.as_str();
        let mut masked = Cow::Borrowed(text);
        for shape in SHAPES.iter() {
            let replaced = shape.pattern.replace_all(&masked, |found: &Captures| {
                let whole = &found[0];
                let secret = found.name("secret").map_or(whole, |secret| secret.as_str());
                if !(shape.is_one)(secret) || secret == mask {
                    return whole.to_owned();
                }
                note(secret, secrets);
                whole.replacen(secret, mask, 1)
            });
            if let Cow::Owned(replaced) = replaced {
                masked = Cow::Owned(replaced);
            }
        }
        match masked {
            Cow::Owned(masked) => Some(masked),
            Cow::Borrowed(_) => by_name,
        }
    }

    /// The text with the values of secrets' names masked: `password='x'`, `"token": "x"`, `Cookie: a=b; c=d`.
    fn scrub_pairs(&self, text: &str, secrets: &mut BTreeSet<String>) -> Option<String> {
        let words = self.words.as_ref()?;
        // Up to where the text is copied, and up to where it is looked at: nothing is looked at twice.
        let (mut out, mut copied, mut seen) = (String::new(), 0, 0);
        for word in words.find_iter(text) {
            if word.start() < seen {
                continue;
            }
            let is_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
            let before =
                text[seen..word.start()].char_indices().rev().take_while(|&(_, c)| is_name(c)).last();
            let begin = before.map_or(word.start(), |(at, _)| seen + at);
            let end = text[word.end()..].find(|c| !is_name(c)).map_or(text.len(), |at| word.end() + at);
            seen = end;
            if !self.is_secret_name(&text[begin..end]) {
                continue;
            }
            let is_cookie = text[begin..end].to_ascii_lowercase().ends_with("cookie");
            let Some((from, to)) = value_behind(&text[end..], is_cookie, &self.mask) else { continue };
            let secret = &text[end + from..end + to];
            if secret.is_empty() {
                continue;
            }
            collect(secret, secrets);
            out.push_str(&text[copied..end + from]);
            out.push_str(&self.mask);
            (copied, seen) = (end + to, end + to);
        }
        if copied == 0 {
            return None;
        }
        out.push_str(&text[copied..]);
        Some(out)
    }
}

/// Where, behind a name, its value stands: after `=`, `:` or `=>`, with or without quotes. `None`: there is
/// none, or it is masked already.
fn value_behind(rest: &str, to_line_end: bool, mask: &str) -> Option<(usize, usize)> {
    static SEPARATOR: LazyLock<Regex> =
        LazyLock::new(|| pattern(r#"^\\*["']?\]?[ \t]{0,4}(?:=>|=|:)[ \t]{0,4}[bru]?"#));
    static BARE: LazyLock<Regex> =
        LazyLock::new(|| pattern(r#"^(?:(?i:bearer|basic|token|digest|sentry)[ \t]+)?[^\s&,;)}\]"'<>]+"#));
    let is_masked = |value: &str| !mask.is_empty() && value.starts_with(mask);
    let from = SEPARATOR.find(rest)?.end();
    let value = &rest[from..];
    let slashes = value.len() - value.trim_start_matches('\\').len();
    if let Some(quote) = value[slashes..].chars().next().filter(|c| matches!(c, '"' | '\'')) {
        // In a text inside a text, the closing quote has the same backslashes before it.
        let open = slashes + 1;
        if is_masked(&value[open..]) {
            return None;
        }
        let mut at = open;
        while let Some(next) = value[at..].find(quote) {
            let escapes = value[open..at + next].chars().rev().take_while(|&c| c == '\\').count();
            if escapes == slashes {
                return Some((from + open, from + at + next - slashes));
            }
            at += next + 1;
        }
        return Some((from + open, rest.len()));
    }
    // What the prefix `b` of a bytes literal took may be a letter of a bare value.
    let from = if rest[..from].ends_with(['b', 'r', 'u']) { from - 1 } else { from };
    let value = &rest[from..];
    if is_masked(value) {
        return None;
    }
    if to_line_end {
        let end = value.find(['\r', '\n', '"', '\'']).unwrap_or(value.len());
        return Some((from, from + end));
    }
    BARE.find(value).map(|found| (from, from + found.end()))
}

/// A form that secrets have. Only the group `secret`, if there is one, is masked.
struct Shape {
    pattern: Regex,
    /// Whether what fits the pattern is a secret indeed.
    is_one: fn(&str) -> bool,
}

/// What every shape has a part of, so that a text without it needs no closer look.
static SUSPICIOUS: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"PRIVATE KEY|(?i:bearer|basic)\s|eyJ|://[^\s/]*@|A[KS]IA[0-9A-Z]{8}|AIza|gh[pousr]_|github_pat_|xox[abprs]-|[spr]k_(?:live|test)_|sk-|glpat-|npm_|(?:\d[ -]?){12}",
    )
});

static SHAPES: LazyLock<[Shape; 6]> = LazyLock::new(|| {
    let shape = |text: &str, is_one: fn(&str) -> bool| Shape { pattern: pattern(text), is_one };
    [
        shape(r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\z)", |_| true),
        shape(r"\beyJ[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]{5,}\.[A-Za-z0-9_-]*", |_| true),
        shape(r"\b(?i:bearer|basic)\s+(?P<secret>[A-Za-z0-9._~+/-]{8,}=*)", |secret| {
            // `basic authentication` is none.
            secret.contains(|c: char| !c.is_ascii_lowercase())
        }),
        shape(r#"\b[A-Za-z][A-Za-z0-9+.-]*://[^\s/:@'"]*:(?P<secret>[^\s/@'"]+)@"#, |_| true),
        shape(
            r"\b(?:A[KS]IA[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{35}|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|xox[abprs]-[A-Za-z0-9-]{10,}|[spr]k_(?:live|test)_[0-9A-Za-z]{10,}|sk-[A-Za-z0-9_-]{20,}|glpat-[A-Za-z0-9_-]{20,}|npm_[A-Za-z0-9]{30,})",
            |_| true,
        ),
        shape(r"\b[3-6](?:[ -]?\d){12,18}\b", is_card),
    ]
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern that is written here")
}

/// Whether digits are the number of a payment card: by its length and Luhn's sum.
fn is_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, &digit)| match index % 2 {
            0 => digit,
            _ if digit > 4 => digit * 2 - 9,
            _ => digit * 2,
        })
        .sum();
    (13..=19).contains(&digits.len()) && sum.is_multiple_of(10)
}

/// Every text of a report that a secret may stand in, but its context, with the name it stands under.
fn for_each_text(report: &mut Report, visit: &mut impl FnMut(Option<&str>, &mut String)) {
    for exception in &mut report.exceptions {
        for frame in &mut exception.frames {
            for (name, value) in &mut frame.locals {
                visit(Some(name), value);
            }
        }
        if let Some(message) = &mut exception.message {
            visit(None, message);
        }
    }
    if let Some(info) = &mut report.additional_info {
        visit(None, info);
    }
    for remark in &mut report.remarks {
        visit(None, remark);
    }
}

/// Notes the secrets in a value that is about to be masked: itself, without quotes, and the parts of a header.
fn collect(text: &str, secrets: &mut BTreeSet<String>) {
    let text = text.trim();
    let inner =
        text.strip_prefix(['b', 'u', 'r']).filter(|rest| rest.starts_with(['\'', '"'])).unwrap_or(text);
    let inner = inner.trim_matches(['\'', '"']);
    if inner.starts_with(['{', '[', '(', '<']) {
        // Of a structure written out, it is not known what is a name and what a value.
        return;
    }
    note(inner, secrets);
    for part in inner.split("; ") {
        if let Some((_, value)) = part.split_once('=') {
            note(value, secrets);
        }
    }
    if let Some((_, credential)) = inner.split_once(' ').filter(|(scheme, _)| scheme.len() <= 8) {
        note(credential, secrets);
    }
}

fn collect_value(value: &Value, secrets: &mut BTreeSet<String>) {
    match value {
        Value::String(text) => collect(text, secrets),
        Value::Number(number) => note(&number.to_string(), secrets),
        Value::Array(elements) => elements.iter().for_each(|element| collect_value(element, secrets)),
        Value::Object(members) => members.iter().for_each(|(_, member)| collect_value(member, secrets)),
        Value::Null | Value::Bool(_) => {}
    }
}

fn note(secret: &str, secrets: &mut BTreeSet<String>) {
    const NO_SECRETS: [&str; 6] = ["false", "False", "undefined", "[Filtered]", "Filtered", "FILTERED"];
    let is_blank = secret.chars().all(|c| c == '*' || c == 'x' || c == '.');
    if secret.len() >= SHORTEST_SECRET
        && !is_blank
        && !NO_SECRETS.contains(&secret)
        && secrets.len() < MOST_SECRETS
    {
        secrets.insert(secret.to_owned());
    }
}

/// A pattern of all the secrets, the longest first, so that none hides a part of another.
fn one_of(secrets: &BTreeSet<String>) -> Option<Regex> {
    let mut secrets: Vec<&String> = secrets.iter().collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    let pattern = secrets.into_iter().map(|secret| regex::escape(secret)).collect::<Vec<_>>().join("|");
    // A pattern that is too large to build would be one of very long texts, which stand nowhere else.
    (!pattern.is_empty()).then(|| Regex::new(&pattern).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Exception, Frame};

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let message = Some(text.to_owned());
        let mut report =
            Report { exceptions: vec![Exception { message, ..Exception::default() }], ..Report::default() };
        Scrubber::new(DEFAULT_WORDS, "***").scrub(&mut report);
        assert_eq!(report.exceptions[0].message.as_deref(), Some(expected));
        let once = report.clone();
        Scrubber::new(DEFAULT_WORDS, "***").scrub(&mut report);
        assert_eq!(report, once, "a second time changes nothing");
    }

    #[test]
    fn values_of_secret_names_in_texts() {
        check("login(user='kim', password='hunter2')", "login(user='kim', password='***')");
        check(
            "{'email': 'kim', 'db_passwd': 'it\\'s', 'n': 1}",
            "{'email': 'kim', 'db_passwd': '***', 'n': 1}",
        );
        check(
            r#"{"apiKey": "abc", "b": {"access-token":"def"}}"#,
            r#"{"apiKey": "***", "b": {"access-token":"***"}}"#,
        );
        check(r#""{\"password\": \"hunter2\", \"a\": 1}""#, r#""{\"password\": \"***\", \"a\": 1}""#);
        check("GET /x?a=1&token=abc&b=2 HTTP", "GET /x?a=1&token=***&b=2 HTTP");
        check("Authorization: Bearer abc\nHost: h", "Authorization: ***\nHost: h");
        check("Set-Cookie: a=bcdef; Path=/\nHost: h", "Set-Cookie: ***\nHost: h");
        check("invalid token", "invalid token");
        check("className=x discard: y card=12", "className=x discard: y card=***");
        check("KeyError: 'password'", "KeyError: 'password'");
        check("pass=", "pass=");
        check("password: büro", "password: ***");
    }

    #[test]
    fn shapes_of_secrets() {
        check("sent Bearer abcDEF123456 there", "sent Bearer *** there");
        check("basic authentication failed", "basic authentication failed");
        check("x eyJhbGciOiJI.eyJzdWIiOiIx.SflKxwRJ y", "x *** y");
        check("postgres://kim:hunter2@db/shop", "postgres://kim:***@db/shop");
        check("postgres://kim@db/shop", "postgres://kim@db/shop");
        check("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----.", "***.");
        check("key AKIAIOSFODNN7EXAMPLE used", "key *** used");
        check("card 4111 1111 1111 1111 and 4111 1111 1111 1112", "card *** and 4111 1111 1111 1112");
        check("at 1795178169893372672 or 2026-11-20", "at 1795178169893372672 or 2026-11-20");
    }

    #[test]
    fn a_secret_is_masked_wherever_it_stands_but_code_is_not_changed() {
        let frame = Frame {
            file: "/srv/token/tok_not_real.py".to_owned(),
            function: Some("tok_not_real".to_owned()),
            text: Some("api_token = 'tok_not_real'".to_owned()),
            locals: vec![
                ("api_token".to_owned(), "'tok_not_real'".to_owned()),
                ("url".to_owned(), "'/x/tok_not_real'".to_owned()),
                ("token".to_owned(), "None".to_owned()),
            ],
            ..Frame::default()
        };
        let mut report = Report {
            exceptions: vec![Exception {
                message: Some("refused: tok_not_real".to_owned()),
                frames: vec![frame.clone()],
                ..Exception::default()
            }],
            additional_info: Some("sent 12345678".to_owned()),
            ..Report::default()
        };
        let context = serde_json::json!({
            "headers": [["Cookie", "sid=abcdefg"], ["Host", "h"]], "url": "/tok_not_real", "n": 1, "body": "sid abcdefg",
            "session": {"id": 12345678}, "card": null
        });
        report.context.insert("request".to_owned(), context);
        Scrubber::default().scrub(&mut report);
        let scrubbed = &report.exceptions[0];
        assert_eq!(scrubbed.message.as_deref(), Some("refused: [masked]"));
        assert_eq!(scrubbed.frames[0].locals[0].1, "[masked]");
        assert_eq!(scrubbed.frames[0].locals[1].1, "'/x/[masked]'");
        assert_eq!(Frame { locals: frame.locals.clone(), ..scrubbed.frames[0].clone() }, frame);
        assert_eq!(report.additional_info.as_deref(), Some("sent [masked]"));
        assert_eq!(
            report.context["request"],
            serde_json::json!({
                "headers": [["Cookie", "[masked]"], ["Host", "h"]], "url": "/[masked]", "n": 1, "body": "sid [masked]",
                "session": "[masked]", "card": null
            })
        );
    }

    #[test]
    fn words_and_mask_are_configured() {
        let mut report =
            Report { additional_info: Some("color=red password=x".to_owned()), ..Report::default() };
        Scrubber::new(["color"], "?").scrub(&mut report);
        assert_eq!(report.additional_info.as_deref(), Some("color=? password=x"));
        Scrubber::new([], "?").scrub(&mut report);
        assert_eq!(report.additional_info.as_deref(), Some("color=? password=x"));
    }
}

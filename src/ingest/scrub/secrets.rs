//! The values that were masked in one place, to be masked wherever else they stand.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use super::{is_harmless, pattern};

/// A shorter value is too common to be masked wherever it stands.
const SHORTEST_SECRET: usize = 5;
/// A shorter value is masked elsewhere only where it is a word of its own, and one out of a structure not at all.
const SHORTEST_PART: usize = 8;
/// Secrets of one report that are looked for everywhere, and the bytes of one and of all of them.
const MOST_SECRETS: usize = 200;
const LONGEST_SECRET: usize = 4 << 10;
const MOST_BYTES: usize = 64 << 10;

/// The values that were masked in one place.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    values: BTreeSet<String>,
    bytes: usize,
}

impl Secrets {
    /// Notes the secrets in a value that is about to be masked: itself, without quotes, and the parts of a header.
    pub(super) fn collect(&mut self, text: &str) {
        let text = text.trim();
        let inner =
            text.strip_prefix(['b', 'u', 'r']).filter(|rest| rest.starts_with(['\'', '"'])).unwrap_or(text);
        let inner = inner.trim_matches(['\'', '"']);
        let is_call = inner.contains(['(', '{', '[']) && inner.ends_with([')', '}', ']']);
        if is_call || inner.starts_with(['{', '[', '(', '<']) {
            self.collect_written(inner);
            return;
        }
        self.note(inner);
        for part in inner.split("; ") {
            if let Some((_, value)) = part.split_once('=') {
                self.note(value);
            }
        }
        if let Some((_, credential)) = inner.split_once(' ').filter(|(scheme, _)| scheme.len() <= 8) {
            self.note(credential);
        }
        if inner.contains(['%', '+']) {
            // As it stands where the form or the query was read.
            form_urlencoded::parse(inner.as_bytes()).for_each(|(name, value)| {
                if value.is_empty() {
                    self.note(&name);
                }
            });
        }
    }

    /// Notes the values of a structure that is written out: what is in quotes, and no key.
    fn collect_written(&mut self, text: &str) {
        static QUOTED: LazyLock<Regex> =
            LazyLock::new(|| pattern(r#"(?:'([^'\\]*)'|"([^"\\]*)")(\s{0,4}(?::|=>))?"#));
        for quoted in QUOTED.captures_iter(text).filter(|quoted| quoted.get(3).is_none()) {
            if let Some(value) = quoted.get(1).or_else(|| quoted.get(2)) {
                self.note_part(value.as_str());
            }
        }
    }

    pub(super) fn collect_value(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.collect(text),
            Value::Number(number) => self.note(&number.to_string()),
            Value::Array(elements) => elements.iter().for_each(|element| self.collect_part(element)),
            Value::Object(members) => members.iter().for_each(|(_, member)| self.collect_part(member)),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn collect_part(&mut self, value: &Value) {
        match value {
            Value::String(text) => self.note_part(text),
            Value::Number(number) => self.note_part(&number.to_string()),
            other => self.collect_value(other),
        }
    }

    /// Notes one of several values that were masked together: most of a session is no secret.
    fn note_part(&mut self, part: &str) {
        if part.len() >= SHORTEST_PART && !part.contains(char::is_whitespace) {
            self.note(part);
        }
    }

    pub(super) fn note(&mut self, secret: &str) {
        const NO_SECRETS: [&str; 7] =
            ["[Filtered]", "Filtered", "FILTERED", "[REDACTED]", "REDACTED", "redacted", "hidden"];
        let is_blank = secret.chars().all(|c| matches!(c, '*' | 'x' | 'X' | '.' | '-'));
        if (SHORTEST_SECRET..=LONGEST_SECRET).contains(&secret.len())
            && !is_blank
            && !is_harmless(secret)
            && !NO_SECRETS.contains(&secret)
            && self.values.len() < MOST_SECRETS
            && self.bytes + secret.len() <= MOST_BYTES
            && self.values.insert(secret.to_owned())
        {
            self.bytes += secret.len();
        }
    }

    /// A pattern of all of them, the longest first, so that none hides a part of another.
    pub(super) fn pattern(&self) -> Option<Regex> {
        let mut secrets: Vec<&String> = self.values.iter().collect();
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        let pattern = secrets.into_iter().map(|secret| alone(secret)).collect::<Vec<_>>().join("|");
        // So many bytes are well within what a pattern may have.
        (!pattern.is_empty()).then(|| Regex::new(&pattern).ok()).flatten()
    }
}

/// The pattern of a secret. A short one, or a number, is none within a longer word.
fn alone(secret: &str) -> String {
    let escaped = regex::escape(secret);
    if secret.len() >= SHORTEST_PART && !secret.bytes().all(|byte| byte.is_ascii_digit()) {
        return escaped;
    }
    let edge = |c: Option<char>| if c.is_some_and(|c| c.is_alphanumeric() || c == '_') { r"\b" } else { "" };
    format!("{}{escaped}{}", edge(secret.chars().next()), edge(secret.chars().next_back()))
}

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
//! walk needs them as they are. What is no secret whatever its name is (`None`, `true`, nothing) stays, and short or
//! common values are not looked for elsewhere.

mod names;
mod secrets;
mod shapes;

use std::borrow::Cow;

use regex::{NoExpand, Regex, RegexBuilder};
use serde_json::{Map, Value};

use self::secrets::Secrets;
use crate::report::Report;

/// Words that make a name a secret's, unless configured otherwise. `_` stands for any separator or none.
pub const DEFAULT_WORDS: [&str; 21] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "api_key",
    "access_key",
    "account_key",
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
        let mut secrets = Secrets::default();
        for_each_text(report, &mut |name, text| self.scrub_named(name, text, &mut secrets));
        for (name, value) in &mut report.context {
            self.scrub_value(Some(name), value, &mut secrets);
        }
        let Some(known) = secrets.pattern() else { return };
        for_each_text(report, &mut |_, text| self.replace_in_text(text, &known));
        for (_, value) in &mut report.context {
            self.replace_in_value(value, &known);
        }
    }

    /// Whether a name tells that its value is a secret.
    fn is_secret_name(&self, name: &str) -> bool {
        let Some(words) = &self.words else { return false };
        // The folder in which a shell is.
        if matches!(name, "PWD" | "OLDPWD") {
            return false;
        }
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

    fn scrub_named(&self, name: Option<&str>, text: &mut String, secrets: &mut Secrets) {
        if name.is_some_and(|name| self.is_secret_name(name)) {
            if !is_harmless(text) {
                secrets.collect(text);
                text.clone_from(&self.mask);
            }
        } else if let Some(masked) = self.scrub_text(text, secrets) {
            *text = masked;
        }
    }

    fn scrub_value(&self, name: Option<&str>, value: &mut Value, secrets: &mut Secrets) {
        if name.is_some_and(|name| self.is_secret_name(name)) {
            self.mask_value(value, secrets);
            return;
        }
        match value {
            Value::String(text) => self.scrub_named(None, text, secrets),
            Value::Object(members) => {
                if let Some(value) = self.value_of_named(members) {
                    self.mask_value(value, secrets);
                }
                for (name, member) in members.iter_mut() {
                    self.scrub_value(Some(name), member, secrets);
                }
            }
            Value::Array(elements) => match elements.as_mut_slice() {
                // Headers and the like often come as a list of pairs.
                [Value::String(name), second] if self.is_secret_name(name) => {
                    self.mask_value(second, secrets);
                }
                elements => elements.iter_mut().for_each(|element| self.scrub_value(None, element, secrets)),
            },
            Value::Number(number) => {
                let digits = number.to_string();
                if shapes::card(&digits) == Some(digits.len()) {
                    secrets.note(&digits);
                    *value = Value::from(self.mask.as_str());
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// The value in `{"name": "password", "value": "x"}`.
    fn value_of_named<'a>(&self, members: &'a mut Map<String, Value>) -> Option<&'a mut Value> {
        const NAMES: [&str; 4] = ["name", "key", "field", "header"];
        const VALUES: [&str; 3] = ["value", "val", "content"];
        let is_one_of = |words: &[&str], key: &str| words.iter().any(|word| word.eq_ignore_ascii_case(key));
        let is_named = members.iter().any(|(key, name)| {
            is_one_of(&NAMES, key) && name.as_str().is_some_and(|name| self.is_secret_name(name))
        });
        members.iter_mut().find(|(key, _)| is_named && is_one_of(&VALUES, key)).map(|(_, value)| value)
    }

    fn mask_value(&self, value: &mut Value, secrets: &mut Secrets) {
        let is_harmless = match value {
            Value::Null | Value::Bool(_) => true,
            Value::String(text) => is_harmless(text),
            Value::Number(_) => false,
            Value::Array(elements) => elements.is_empty(),
            Value::Object(members) => members.is_empty(),
        };
        if !is_harmless {
            secrets.collect_value(value);
            *value = Value::from(self.mask.as_str());
        }
    }

    fn replace_in_text(&self, text: &mut String, known: &Regex) {
        if let Cow::Owned(masked) = known.replace_all(text, NoExpand(&self.mask)) {
            *text = masked;
        }
    }

    fn replace_in_value(&self, value: &mut Value, known: &Regex) {
        match value {
            Value::String(text) => self.replace_in_text(text, known),
            Value::Array(elements) => {
                elements.iter_mut().for_each(|element| self.replace_in_value(element, known))
            }
            Value::Object(members) => {
                members.iter_mut().for_each(|(_, member)| self.replace_in_value(member, known))
            }
            Value::Number(number) => {
                let digits = number.to_string();
                if known.find(&digits).is_some_and(|found| found.len() == digits.len()) {
                    *value = Value::from(self.mask.as_str());
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    /// The text without secrets. `None`: there are none in it.
    fn scrub_text(&self, text: &str, secrets: &mut Secrets) -> Option<String> {
        // Most texts hold nothing that could be a secret, and are looked through only once or twice.
        let by_name = self.scrub_names(text, secrets);
        let by_shape = shapes::masked(by_name.as_deref().unwrap_or(text), &self.mask, secrets);
        by_shape.or(by_name)
    }

    /// The text with the values of secrets' names masked.
    fn scrub_names(&self, text: &str, secrets: &mut Secrets) -> Option<String> {
        let words = self.words.as_ref()?;
        let (mut out, mut copied, mut seen) = (String::new(), 0, 0);
        for word in words.find_iter(text) {
            // A name is looked at once, however many words are in it.
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
            let Some(value) = names::value_of(text, begin, end) else { continue };
            let secret = &text[value.from..value.to];
            if is_harmless(secret) || secret.starts_with(&self.mask) {
                continue;
            }
            if value.is_sure || is_unlike_words(secret) {
                secrets.collect(secret);
            }
            out.push_str(&text[copied..value.from]);
            out.push_str(&self.mask);
            copied = value.to;
            seen = value.to;
        }
        if copied == 0 {
            return None;
        }
        out.push_str(&text[copied..]);
        Some(out)
    }
}

/// Whether a value tells nothing whatever it is called.
fn is_harmless(value: &str) -> bool {
    const HARMLESS: [&str; 9] = ["", "null", "None", "nil", "undefined", "true", "false", "True", "False"];
    HARMLESS.contains(&value.trim().trim_matches(['\'', '"']))
}

/// Whether a word is of no language: it holds digits, signs, or capitals among small letters.
fn is_unlike_words(text: &str) -> bool {
    !text.chars().skip(1).all(char::is_lowercase)
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("a pattern that is written here")
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
    fn values_of_every_type_and_of_structures() {
        check("{'token': ['abc', 'def'], 'n': 1}", "{'token': ***, 'n': 1}");
        check(r#"{"cookies": {"sid": "ab}c"}, "n": 1}"#, r#"{"cookies": ***, "n": 1}"#);
        check(r#""{\"session\": {\"id\": \"a]b\"}, \"n\": 1}""#, r#""{\"session\": ***, \"n\": 1}""#);
        check("Config { secret: Some(\"hunter2\"), port: 1 }", "Config { secret: ***, port: 1 }");
        check("password=Secret(value='hunter2'), n=1", "password=***, n=1");
        check("password=Secret(value='hunt…", "password=***");
        check("url?token=a(b&n=1", "url?token=***&n=1");
        check(
            "{'token': None, 'secret': null, 'pwd': '', 'n': true}",
            "{'token': None, 'secret': null, 'pwd': '', 'n': true}",
        );
        check(":password=>\"x\", [token] => y", ":password=>\"***\", [token] => ***");
        check("user[password]=x&user%5Bapi_key%5D=y&n=1", "user[password]=***&user%5Bapi_key%5D=***&n=1");
        check("{Password:hunter2 Name:kim}", "{Password:*** Name:kim}");
        check("assert token == 'abc'", "assert token == '***'");
    }

    #[test]
    fn pairs_options_tags_and_forms() {
        check(r#"[["password", "x"], ["n", "1"]]"#, r#"[["password", "***"], ["n", "1"]]"#);
        check("[('Cookie', 'a=b; c=d'), ('Host', 'h')]", "[('Cookie', '***'), ('Host', 'h')]");
        check(
            "{b'authorization': b'Basic x', (u'token', u'y')}",
            "{b'authorization': b'***', (u'token', u'***')}",
        );
        check(r#""[[\"password\", \"x\"]]""#, r#""[[\"password\", \"***\"]]""#);
        check("['password', 'email', 'name']", "['password', 'email', 'name']");
        check(r#"{"name": "DB_PASSWORD", "value": "x"}"#, r#"{"name": "DB_PASSWORD", "value": "***"}"#);
        check("<input name=\"token\" value=\"x\">", "<input name=\"token\" value=\"***\">");
        check("<user><password>x</password></user>", "<user><password>***</password></user>");
        check("['mysql', '--password', 'x', '-h', 'db']", "['mysql', '--password', '***', '-h', 'db']");
        check("mysql --password x --token -h", "mysql --password *** --token -h");
        check(
            "form-data; name=\"password\"\r\n\r\nhunter 2\r\n--b\r\nform-data; name=\"n\"\r\n\r\n1",
            "form-data; name=\"password\"\r\n\r\n***\r\n--b\r\nform-data; name=\"n\"\r\n\r\n1",
        );
        check(
            "Authorization: Digest username=\"kim\", response=\"abc\"\nHost: h",
            "Authorization: ***\nHost: h",
        );
    }

    #[test]
    fn what_only_looks_like_a_name_and_a_value_stays() {
        for text in [
            "Session::open failed",
            "session::load: gone",
            "at /srv/app/token.js:12:5",
            "src/session.rs:40: too old",
            "PWD=/srv/app OLDPWD=/srv",
            "Unexpected token < in JSON at position 0",
            "<password>never closed",
        ] {
            check(text, text);
        }
    }

    #[test]
    fn a_text_of_nothing_but_names_takes_linear_time() {
        let took = |text: &str| {
            let mut report = Report { additional_info: Some(text.to_owned()), ..Report::default() };
            let begun = std::time::Instant::now();
            Scrubber::default().scrub(&mut report);
            begun.elapsed()
        };
        for unit in [
            "password",
            ":password>",
            "[\"token\", ",
            "name=\"token\"",
            "{\"key\": \"token\", ",
            "--token \"-",
            "token=(",
            "token={\"",
            "\\\\\"token",
            "token: ",
            "token=\"[masked]",
            "-----BEGIN PRIVATE KEY-----",
            "eyJ.",
            "http://a:",
            "4 4-4",
            "Bearer ",
        ] {
            let text = unit.repeat(6_000 / unit.len());
            let small = took(&text).max(std::time::Duration::from_millis(20));
            let large = took(&text.repeat(8));
            assert!(large < small * 32, "{unit:?}: {small:?}, eightfold {large:?}");
        }
    }

    #[test]
    fn common_values_are_not_looked_for_elsewhere() {
        let locals = [
            ("token", "'1'"),
            ("secret", "True"),
            ("session", "{'lang': 'de-AT', 'cart': 'A-1004', 'id': 'f00dcafe77'}"),
            ("pwd", "'admin'"),
        ];
        let frame = Frame {
            locals: locals.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            ..Frame::default()
        };
        let message = "no A-1004 for de-AT at 1 (True): administration of admin, id f00dcafe77, invalid token: expired; was expired";
        let mut report = Report {
            exceptions: vec![Exception {
                message: Some(message.to_owned()),
                frames: vec![frame],
                ..Exception::default()
            }],
            ..Report::default()
        };
        Scrubber::new(DEFAULT_WORDS, "$0").scrub(&mut report);
        assert_eq!(
            report.exceptions[0].message.as_deref(),
            Some(
                "no A-1004 for de-AT at 1 (True): administration of $0, id $0, invalid token: $0; was expired"
            )
        );
    }

    #[test]
    fn a_long_secret_hides_no_other() {
        let texts: Vec<String> =
            (10..30).map(|n| format!("token={}", format!("a{n}").repeat(1_000))).collect();
        let long = "x1".repeat(1 << 20);
        let text = format!("token={long} {} password=hunter2, and hunter2", texts.join(" "));
        let mut report = Report { additional_info: Some(text), ..Report::default() };
        Scrubber::new(DEFAULT_WORDS, "***").scrub(&mut report);
        let expected = format!("{} password=***, and ***", ["token=***"; 21].join(" "));
        assert_eq!(report.additional_info, Some(expected));
    }

    #[test]
    fn names_beside_values_and_numbers_of_a_context() {
        let mut report = Report::default();
        let context = serde_json::json!({
            "env": [{"name": "DB_PASSWORD", "value": "hunter2!"}, {"Key": "LANG", "Value": "de"}],
            "number": 4_111_111_111_111_111_u64, "n": 4_111_111_111_111_112_u64, "pin": {"token": 12_345, "again": 12_345},
            "query": [["api_key", ["x1y2z3"]], ["q", "x1y2z3 hunter2!"]],
            "body": "{\"password\": \"a+b%21c\", \"n\": 1}", "decoded": "a b!c"
        });
        report.context.insert("request".to_owned(), context);
        Scrubber::new(DEFAULT_WORDS, "***").scrub(&mut report);
        assert_eq!(
            report.context["request"],
            serde_json::json!({
                "env": [{"name": "DB_PASSWORD", "value": "***"}, {"Key": "LANG", "Value": "de"}],
                "number": "***", "n": 4_111_111_111_111_112_u64, "pin": {"token": "***", "again": "***"},
                "query": [["api_key", "***"], ["q", "x1y2z3 ***"]],
                "body": "{\"password\": \"***\", \"n\": 1}", "decoded": "***"
            })
        );
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

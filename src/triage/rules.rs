//! The lists that people keep, and how each matches.
//!
//! Path rules (Flawless's): a rule's file must equal; the function, if both sides have one, must equal;
//! the code fragment, if both have one, is compared with white space folded, and one must contain the
//! other. An empty function or fragment means any: a whole function or a whole file can be listed.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A stored rule's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RuleId(pub i64);

impl std::fmt::Display for RuleId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// One entry of one list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Rule {
    /// The whitelist: an error that is known; counted, and mailed by its own thresholds only.
    KnownError(KnownError),
    /// Library code of our own: never responsible, the caller is looked at instead.
    BuildingBlock(CodePattern),
    /// An error of somebody else's code: a report with such a frame is dropped whole.
    ThirdPartyWhitelist(CodePattern),
    /// An exception type whose reports are dropped.
    IgnoredException {
        /// The full name of the type.
        #[serde(rename = "type")]
        exception_type: String,
    },
    /// Somebody who hears of errors in a path.
    Watch(Watch),
    /// An address of git's that stands for another one.
    Remap {
        /// The full address, or only what stands before its `@`.
        from: String,
        /// The address to write to.
        to: String,
    },
    /// A path that somebody has handed to somebody else.
    Disown {
        /// The file, or a folder above it.
        path: String,
        /// Whose lines (after remaps).
        from: String,
        /// Who answers for them now.
        to: String,
    },
}

impl Rule {
    /// The name of its list, as kept in the store.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::KnownError(_) => "known_error",
            Self::BuildingBlock(_) => "building_block",
            Self::ThirdPartyWhitelist(_) => "third_party_whitelist",
            Self::IgnoredException { .. } => "ignored_exception",
            Self::Watch(_) => "watch",
            Self::Remap { .. } => "remap",
            Self::Disown { .. } => "disown",
        }
    }
}

/// Code that a rule is about.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CodePattern {
    /// The file, relative to the top of its repository.
    #[serde(alias = "file")]
    pub filename: String,
    /// `None` or empty: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function_name: Option<String>,
    /// `None` or empty: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code_fragment: Option<String>,
}

/// A known error.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KnownError {
    /// The code it is in.
    #[serde(flatten)]
    pub code: CodePattern,
    /// Mail once when this many occurrences are reached. `None`: no such mail.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_alert_threshold: Option<u64>,
    /// No mail above this many occurrences. `None`: no such limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_alert_threshold: Option<u64>,
    /// Mail at every multiple of this many occurrences. `None`: no such mails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert_every_n_occurrences: Option<u64>,
    /// Addresses that get its mails besides the author.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub email_recipients: Vec<String>,
    /// Goes on top of its mails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email_header: Option<String>,
    /// Why it is on the list; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// From then on the rule no longer counts. `None`: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// A watcher of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Watch {
    /// The file, or a folder above it; empty: everything.
    pub path: String,
    /// Who watches.
    pub email: String,
    /// Whether any candidate frame in the path counts, or only the responsible one.
    #[serde(default)]
    pub watch_all_errors: bool,
}

/// The code of one frame, as rules see it.
#[derive(Debug, Clone, Copy)]
pub struct Code<'a> {
    /// The file, relative to the top of its repository; invalid UTF-8 replaced.
    pub file: &'a str,
    /// The function, if known.
    pub function: Option<&'a str>,
    /// The source line, if known.
    pub text: Option<&'a str>,
}

impl CodePattern {
    /// Whether the code is what this pattern is about.
    #[must_use]
    pub fn matches(&self, code: Code<'_>) -> bool {
        self.filename == code.file && self.matches_within(code)
    }

    /// Whether the pattern's file is how `path` (absolute, as the client sent it) ends: for code that is
    /// in no repository of ours.
    #[must_use]
    pub fn matches_foreign(&self, code: Code<'_>) -> bool {
        let path = code.file.replace('\\', "/");
        let ends = path.strip_suffix(self.filename.as_str());
        !self.filename.is_empty()
            && ends.is_some_and(|before| before.is_empty() || before.ends_with('/'))
            && self.matches_within(code)
    }

    fn matches_within(&self, code: Code<'_>) -> bool {
        let function = match (given(self.function_name.as_deref()), given(code.function)) {
            (Some(rule), Some(frame)) => rule == frame,
            _ => true,
        };
        let fragment = match (given(self.code_fragment.as_deref()), given(code.text)) {
            (Some(rule), Some(frame)) => {
                let (rule, frame) = (fold(rule), fold(frame));
                frame.contains(&rule) || rule.contains(&frame)
            }
            _ => true,
        };
        function && fragment
    }

    /// In words: `shop/feed.py`, `shop/feed.py in read_feed`, `… with "json.loads"`.
    #[must_use]
    pub fn describe(&self) -> String {
        let mut words = self.filename.clone();
        if let Some(function) = given(self.function_name.as_deref()) {
            words += &format!(" in {function}");
        }
        if let Some(fragment) = given(self.code_fragment.as_deref()) {
            words += &format!(" with {fragment:?}");
        }
        words
    }
}

impl KnownError {
    /// Whether it still counts at `now`.
    #[must_use]
    pub fn is_alive(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

impl Watch {
    /// Whether `path` is the watched file or lies below the watched folder.
    #[must_use]
    pub fn covers(&self, path: &str) -> bool {
        is_below(path, &self.path)
    }
}

/// Whether `path` is `prefix`, or a file somewhere in the folder `prefix`. An empty prefix is everything.
#[must_use]
pub fn is_below(path: &str, prefix: &str) -> bool {
    let prefix = prefix.trim_start_matches("./").trim_matches('/');
    prefix.is_empty()
        || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// White space folded: runs of it are one space, none at the ends.
#[must_use]
pub fn fold(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn given(text: Option<&str>) -> Option<&str> {
    text.filter(|text| !text.trim().is_empty())
}

/// All lists and the settings kept beside them, as they were at one moment.
#[derive(Debug, Clone, Default)]
pub struct Rulebook {
    /// Counts every change; equal numbers, equal books.
    pub generation: i64,
    /// Settings that people change at run time.
    pub settings: Settings,
    /// Every rule, oldest first.
    pub rules: Vec<(RuleId, Rule)>,
}

/// The settings that live in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// No mail about an unknown error before this many occurrences, unless the report carries its own.
    pub threshold: u64,
    /// Lines last changed before this are counted, never mailed. `None`: no line is too old.
    pub cutoff: Option<Timestamp>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { threshold: 1, cutoff: None }
    }
}

impl Rulebook {
    /// The first living known error that is about `code`.
    pub fn known_error(&self, code: Code<'_>, now: Timestamp) -> Option<(RuleId, &KnownError)> {
        self.rules.iter().find_map(|(id, rule)| match rule {
            Rule::KnownError(known) if known.code.matches(code) && known.is_alive(now) => Some((*id, known)),
            _ => None,
        })
    }

    /// The first building block that is `code`.
    pub fn building_block(&self, code: Code<'_>) -> Option<(RuleId, &CodePattern)> {
        self.rules.iter().find_map(|(id, rule)| match rule {
            Rule::BuildingBlock(pattern) if pattern.matches(code) => Some((*id, pattern)),
            _ => None,
        })
    }

    /// The first entry of the third-party whitelist that is about `code`. `tracked`: whether the file of
    /// `code` is a path in a repository, or a foreign one as the client sent it.
    pub fn third_party(&self, code: Code<'_>, tracked: bool) -> Option<(RuleId, &CodePattern)> {
        self.rules.iter().find_map(|(id, rule)| match rule {
            Rule::ThirdPartyWhitelist(pattern)
                if (tracked && pattern.matches(code)) || (!tracked && pattern.matches_foreign(code)) =>
            {
                Some((*id, pattern))
            }
            _ => None,
        })
    }

    /// The entry that says reports of this exception type are to be dropped.
    #[must_use]
    pub fn ignored_exception(&self, exception_type: &str) -> Option<RuleId> {
        let plain = |name: &str| {
            let name = name.trim();
            ["builtins.", "exceptions."].iter().find_map(|p| name.strip_prefix(p)).unwrap_or(name).to_owned()
        };
        self.rules.iter().find_map(|(id, rule)| match rule {
            Rule::IgnoredException { exception_type: listed } if plain(listed) == plain(exception_type) => {
                Some(*id)
            }
            _ => None,
        })
    }

    /// All watchers.
    pub fn watches(&self) -> impl Iterator<Item = &Watch> {
        self.rules.iter().filter_map(|(_, rule)| match rule {
            Rule::Watch(watch) => Some(watch),
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(file: &str, function: &str, fragment: &str) -> CodePattern {
        let some = |s: &str| (!s.is_empty()).then(|| s.to_owned());
        CodePattern {
            filename: file.to_owned(),
            function_name: some(function),
            code_fragment: some(fragment),
        }
    }

    #[test]
    fn patterns_match_as_flawless_did() {
        let code = Code { file: "shop/feed.py", function: Some("read"), text: Some("  x =  load(text)\n") };
        let check = |file, function, fragment, expected| {
            assert_eq!(
                pattern(file, function, fragment).matches(code),
                expected,
                "{file} {function} {fragment}"
            );
        };
        check("shop/feed.py", "", "", true);
        check("feed.py", "", "", false);
        check("shop/feed.py", "read", "", true);
        check("shop/feed.py", "write", "", false);
        check("shop/feed.py", "read", "load(text)", true);
        check("shop/feed.py", "", "x = load(text)", true);
        check("shop/feed.py", "", "if y: x = load(text) # and more", true);
        check("shop/feed.py", "", "x = dump(text)", false);
        let bare = Code { file: "shop/feed.py", function: None, text: None };
        assert!(pattern("shop/feed.py", "read", "anything").matches(bare));
    }

    #[test]
    fn a_foreign_path_matches_by_its_end() {
        let code = Code { file: "/venv/site-packages/requests/api.py", function: None, text: None };
        assert!(pattern("requests/api.py", "", "").matches_foreign(code));
        assert!(!pattern("quests/api.py", "", "").matches_foreign(code));
    }

    #[test]
    fn folders_cover_what_is_below_them() {
        for (path, prefix, expected) in [
            ("a/b/c.py", "a/b", true),
            ("a/b/c.py", "/a/b/", true),
            ("a/bc/d.py", "a/b", false),
            ("a/b", "a/b", true),
            ("x", "", true),
        ] {
            assert_eq!(is_below(path, prefix), expected, "{path} {prefix}");
        }
    }

    #[test]
    fn a_rule_reads_back_as_written() {
        let rule = Rule::KnownError(KnownError {
            code: pattern("a.py", "f", ""),
            min_alert_threshold: Some(3),
            ..KnownError::default()
        });
        let text = serde_json::to_string(&rule).unwrap();
        assert!(text.contains(r#""kind":"known_error""#), "{text}");
        assert_eq!(serde_json::from_str::<Rule>(&text).unwrap(), rule);
    }
}

//! The lists that people kept in Flawless, as rules.
//!
//! In its data directory lies `flawless-whitelists-config`: a pickled dictionary of seven lists, each an object with
//! one member that holds the entries.

use serde_json::Value;

use crate::triage::rules::{CodePattern, KnownError, Rule, Watch};

/// What was read.
#[derive(Debug, Default)]
pub(super) struct Lists {
    /// In the order in which they are to be asked.
    pub(super) rules: Vec<Rule>,
    /// Entries that have no counterpart: of which list, and why.
    pub(super) left: Vec<(String, String)>,
}

/// The lists, and what holds the entries of each.
const LISTS: [(&str, &str); 7] = [
    ("known_errors", "identifiers"),
    ("building_blocks", "identifiers"),
    ("third_party_whitelist", "identifiers"),
    ("ignored_exceptions", "exceptions"),
    ("watch_list", "watches"),
    ("email_remapping", "remap"),
    ("disownership_list", "disownerships"),
];

impl Lists {
    /// Reads the stored dictionary.
    ///
    /// # Errors
    /// It holds none of the lists.
    pub(super) fn of(stored: &Value) -> Result<Self, String> {
        let stored = stored.as_object().ok_or("it holds no lists of Flawless")?;
        if !stored.is_empty() && !LISTS.iter().any(|(name, _)| stored.contains_key(*name)) {
            return Err("it holds none of Flawless's lists; its weekly files of errors hold none".to_owned());
        }
        let mut lists = Self::default();
        for (name, member) in LISTS {
            match stored.get(name).and_then(|list| list.get(member)) {
                Some(Value::Array(items)) => items.iter().for_each(|item| lists.take(name, item)),
                Some(Value::Object(remaps)) => {
                    for (from, to) in remaps {
                        lists.take_remap(name, from, to);
                    }
                }
                _ => {}
            }
        }
        for name in stored.keys().filter(|name| LISTS.iter().all(|(known, _)| known != name)) {
            lists.left.push((name.clone(), "it is no list of Flawless 0.4".to_owned()));
        }
        lists.settle();
        Ok(lists)
    }

    fn take(&mut self, list: &str, item: &Value) {
        let rule = match list {
            "known_errors" => code(item).map(|code| Rule::KnownError(self.known_error(list, code, item))),
            "building_blocks" => code(item).map(Rule::BuildingBlock),
            "third_party_whitelist" => code(item).map(Rule::ThirdPartyWhitelist),
            "ignored_exceptions" => item
                .as_str()
                .map(str::trim)
                .filter(|kind| !kind.is_empty())
                .map(|kind| Rule::IgnoredException { exception_type: kind.to_owned() })
                .ok_or_else(|| "it names no exception".to_owned()),
            "watch_list" => watch(item),
            _ => disown(item),
        };
        match rule {
            Ok(rule) => self.rules.push(rule),
            Err(why) => self.left.push((list.to_owned(), why)),
        }
    }

    fn known_error(&mut self, list: &str, code: CodePattern, item: &Value) -> KnownError {
        let mut recipients = Vec::new();
        for recipient in item.get("email_recipients").and_then(Value::as_array).into_iter().flatten() {
            match recipient.as_str().map(str::trim) {
                None | Some("") => {}
                Some(to) if is_address(to) => recipients.push(to.to_owned()),
                Some(to) => {
                    let said = format!("the recipient {to:?} of {} is no address", code.describe());
                    self.left.push((list.to_owned(), said));
                }
            }
        }
        // To Flawless, 0 was as good as unset, but for the most; and every count lies above a number below 0.
        let number = |name| number(item, name);
        KnownError {
            min_alert_threshold: number("min_alert_threshold")
                .filter(|n| *n != 0)
                .map(|n| u64::try_from(n).unwrap_or(1)),
            max_alert_threshold: number("max_alert_threshold").map(|n| u64::try_from(n).unwrap_or(0)),
            alert_every_n_occurrences: number("alert_every_n_occurrences")
                .filter(|n| *n != 0)
                .map(i64::unsigned_abs),
            email_recipients: recipients,
            email_header: text(item, "email_header"),
            reason: Some("taken over from Flawless".to_owned()),
            expires_at: None,
            code,
        }
    }

    fn take_remap(&mut self, list: &str, from: &str, to: &Value) {
        let from = from.trim();
        match to.as_str().map(str::trim) {
            Some(to) if is_address(to) && !from.is_empty() => {
                self.rules.push(Rule::Remap { from: from.to_owned(), to: to.to_owned() });
            }
            _ => self.left.push((list.to_owned(), format!("{from:?} leads to {to}, which is no address"))),
        }
    }

    /// Makes the order, in which the first that fits counts here, say what it said in Flawless.
    fn settle(&mut self) {
        // Flawless looked addresses up twice: what one remap leads to, another may lead on from.
        let remaps: Vec<(String, String)> = self
            .rules
            .iter()
            .filter_map(|rule| match rule {
                Rule::Remap { from, to } => Some((from.clone(), to.clone())),
                _ => None,
            })
            .collect();
        let on = |to: &str| {
            let local = to.split('@').next().unwrap_or_default();
            let of = |key: &str| remaps.iter().find(|(from, _)| from == key).map(|(_, to)| to.clone());
            of(to).or_else(|| of(local))
        };
        for rule in &mut self.rules {
            if let Rule::Remap { to, .. } | Rule::Disown { to, .. } = rule
                && let Some(further) = on(to)
            {
                *to = further;
            }
        }
        // Of paths handed over, the folder above went before what is in it, and the later entry before the earlier.
        let is_disown = |rule: &Rule| matches!(rule, Rule::Disown { .. });
        let (mut disowned, rules): (Vec<Rule>, Vec<Rule>) = self.rules.drain(..).partition(is_disown);
        disowned.reverse();
        disowned.sort_by_key(|rule| match rule {
            Rule::Disown { path, .. } => path.matches('/').count(),
            _ => 0,
        });
        self.rules = rules;
        self.rules.extend(disowned);
    }
}

/// What a rule is about. Of two that are about the same, the first alone counts.
pub(super) fn about(rule: &Rule) -> Rule {
    match rule.clone() {
        Rule::KnownError(known) => Rule::KnownError(KnownError { code: known.code, ..KnownError::default() }),
        Rule::Remap { from, .. } => Rule::Remap { from: from.to_ascii_lowercase(), to: String::new() },
        Rule::Disown { path, from, .. } => {
            Rule::Disown { path, from: from.to_ascii_lowercase(), to: String::new() }
        }
        other => other,
    }
}

fn code(item: &Value) -> Result<CodePattern, String> {
    Ok(CodePattern {
        filename: text(item, "filename").ok_or("it names no file")?,
        function_name: text(item, "function_name"),
        code_fragment: text(item, "code_fragment"),
    })
}

fn watch(item: &Value) -> Result<Rule, String> {
    let path = text(item, "filepath").ok_or("it names no file")?;
    let email = text(item, "email").filter(|email| is_address(email));
    let email = email.ok_or_else(|| format!("who watches {path} is no address"))?;
    let watch_all_errors = item.get("watch_all_errors").is_some_and(|all| *all == Value::Bool(true));
    Ok(Rule::Watch(Watch { path, email, watch_all_errors }))
}

fn disown(item: &Value) -> Result<Rule, String> {
    let path = text(item, "filepath").ok_or("it names no file")?;
    let address = |name| text(item, name).filter(|email| is_address(email));
    match (address("email"), address("designated_email")) {
        (Some(from), Some(to)) => Ok(Rule::Disown { path, from, to }),
        _ => Err(format!("{path} is handed over by or to what is no address")),
    }
}

/// A member that is a text and says something.
fn text(item: &Value, name: &str) -> Option<String> {
    let text = item.get(name)?.as_str()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// A member that is a number, also one that is written as a text.
fn number(item: &Value, name: &str) -> Option<i64> {
    match item.get(name)? {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_i64(),
    }
}

fn is_address(text: &str) -> bool {
    text.parse::<lettre::Address>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn thresholds_say_what_they_said() {
        let check = |min: Value, max: Value, every: Value, expected| {
            let item = json!({"filename": "a.py", "min_alert_threshold": min, "max_alert_threshold": max,
                "alert_every_n_occurrences": every});
            let lists = Lists::of(&json!({"known_errors": {"identifiers": [item]}})).unwrap();
            let Rule::KnownError(known) = &lists.rules[0] else { panic!("{lists:?}") };
            let got = (known.min_alert_threshold, known.max_alert_threshold, known.alert_every_n_occurrences);
            assert_eq!(got, expected, "{item}");
        };
        check(json!(null), json!(null), json!(null), (None, None, None));
        check(json!(10), json!(500), json!(100), (Some(10), Some(500), Some(100)));
        check(json!(0), json!(0), json!(0), (None, Some(0), None));
        check(json!(-1), json!(-1), json!(-5), (Some(1), Some(0), Some(5)));
        check(json!("7"), json!("no"), json!(2.5), (Some(7), None, None));
    }

    #[test]
    fn the_rule_that_counted_stands_first() {
        let disown =
            |path: &str, to: &str| json!({"filepath": path, "email": "ada@x.org", "designated_email": to});
        let lists = Lists::of(&json!({
            "email_remapping": {"remap": {"ada": "ada@old.org", "ada@old.org": "countess@new.org", "ben": "ben"}},
            "disownership_list": {"disownerships": [
                disown("shop/a.py", "one@x.org"), disown("shop", "two@x.org"), disown("shop/a.py", "ada@old.org"),
            ]},
            "watch_list": {"watches": [{"filepath": "a", "email": "nobody"}, {"email": "a@x.org"}, 7]},
            "something": 1,
        }))
        .unwrap();
        let words: Vec<String> = lists.rules.iter().map(crate::web::desk::in_words).collect();
        assert_eq!(
            words,
            [
                "Address remap: ada → countess@new.org",
                "Address remap: ada@old.org → countess@new.org",
                "Disowned path: shop: ada@x.org → two@x.org",
                "Disowned path: shop/a.py: ada@x.org → countess@new.org",
                "Disowned path: shop/a.py: ada@x.org → one@x.org",
            ]
        );
        assert_eq!(about(&lists.rules[3]), about(&lists.rules[4]));
        let left: Vec<String> = lists.left.iter().map(|(list, why)| format!("{list}: {why}")).collect();
        assert_eq!(
            left,
            [
                "watch_list: who watches a is no address",
                "watch_list: it names no file",
                "watch_list: it names no file",
                "email_remapping: \"ben\" leads to \"ben\", which is no address",
                "something: it is no list of Flawless 0.4",
            ]
        );
        assert!(Lists::of(&json!({"x": 1})).unwrap_err().contains("none of Flawless's lists"));
        Lists::of(&json!([])).unwrap_err();
        assert!(Lists::of(&json!({})).unwrap().rules.is_empty());
    }
}

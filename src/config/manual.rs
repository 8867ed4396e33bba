//! The manual of every key, read from `config.example.toml`, which is its one source.

use super::environment::PREFIX;

/// The manual as a file: every key with its default.
pub const EXAMPLE: &str = include_str!("../../config.example.toml");

/// What the manual says of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path: `mail.smtp_host`.
    pub key: String,
    /// The variable that goes before the file; of a numbered section the first.
    pub variable: String,
    /// What kind of value it takes, with its unit.
    pub kind: &'static str,
    /// What holds where nothing is set, as it is written. `None`: nothing, see the meaning.
    pub default: Option<String>,
    /// A value that it may have, as it is written.
    pub example: String,
    /// What it is for, as one paragraph.
    pub meaning: String,
}

/// The manual, in its order.
#[must_use]
pub fn manual() -> Vec<Entry> {
    let mut entries: Vec<Entry> = Vec::new();
    let (mut section, mut meaning, mut told) = (String::new(), Vec::new(), true);
    let mut lines = EXAMPLE.lines();
    while let Some(line) = lines.next() {
        let line = line.trim_end();
        let plain = line.strip_prefix('#').unwrap_or(line);
        if let Some(name) = plain.strip_prefix('[') {
            section = name.trim_matches(['[', ']']).to_owned();
        } else if let Some((key, value)) = setting(plain) {
            let mut value = value.to_owned();
            // A list over several lines.
            while value.starts_with('[') && !value.ends_with(']') {
                let Some(more) = lines.next() else { break };
                let gap = if value.ends_with('[') || more == "]" { "" } else { " " };
                value = format!(
                    "{}{gap}{}",
                    value.trim_end_matches(if more == "]" { "," } else { "" }),
                    more.trim()
                );
            }
            told = true;
            let path = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
            if entries.iter().any(|entry| entry.key == path) {
                continue;
            }
            entries.push(Entry {
                variable: variable(&path),
                kind: kind(key, &value),
                default: (plain.len() == line.len()).then(|| value.clone()),
                example: value,
                meaning: meaning.join(" "),
                key: path,
            });
        } else if line.is_empty() {
            meaning.clear();
        } else if !plain.is_empty() {
            if std::mem::take(&mut told) {
                meaning.clear();
            }
            meaning.push(plain.trim());
        }
    }
    entries
}

/// A line that sets a key.
fn setting(line: &str) -> Option<(&str, &str)> {
    let (key, value) = line.split_once(" = ")?;
    let is_key = !key.is_empty() && key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
    is_key.then_some((key, value))
}

fn variable(path: &str) -> String {
    // Projects are numbered, and what stands in them.
    let mut parts = path.split('.').collect::<Vec<_>>();
    let key = parts.pop().unwrap_or_default();
    let sections = parts.iter().map(|part| match parts[0] {
        "project" => format!("{part}_1_"),
        _ => format!("{part}_"),
    });
    format!("{PREFIX}_{}{key}", sections.collect::<String>()).to_ascii_uppercase()
}

fn kind(key: &str, value: &str) -> &'static str {
    match value.as_bytes().first() {
        Some(b'[') => "list of texts",
        Some(b't' | b'f') => "true or false",
        Some(b'0'..=b'9') if key.ends_with("_seconds") => "number, in seconds",
        Some(b'0'..=b'9') if key.ends_with("_bytes") => "number, in bytes",
        Some(b'0'..=b'9') if key.ends_with("_chars") => "number, in characters",
        Some(b'0'..=b'9') => "number",
        _ => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, ConfigError, Environment};
    use super::*;

    #[test]
    fn every_key_of_the_manual_has_a_meaning_and_is_read_from_its_variable() {
        let entries = manual();
        assert!(entries.len() > 40);
        for entry in entries {
            assert!(entry.meaning.len() > 10, "{entry:?}");
            let value = entry.example.trim_matches('"');
            let environment = Environment::of(&[(&entry.variable, value)], None);
            // Alone it may be in contradiction to what is not there, but it is known.
            let known = match Config::load(None, &environment) {
                Ok(loaded) => loaded.environment.contains(&entry.variable),
                Err(ConfigError::Wrong(problems)) => !problems.to_string().contains("is no setting"),
                Err(error) => panic!("{error}"),
            };
            assert!(known, "{entry:?}");
        }
    }

    #[test]
    fn what_the_manual_says() {
        let entries = manual();
        let of = |key: &str| entries.iter().find(|entry| entry.key == key).unwrap();
        let port = of("mail.smtp_port");
        assert_eq!((port.variable.as_str(), port.kind), ("BLAMED_MAIL_SMTP_PORT", "number"));
        assert_eq!((port.default.as_deref(), port.example.as_str()), (None, "587"));
        assert!(port.meaning.starts_with("Its port. Unset: 25 "), "{}", port.meaning);
        assert_eq!(of("fetch.every_seconds").default.as_deref(), Some("300"));
        assert_eq!(of("fetch.every_seconds").kind, "number, in seconds");
        assert_eq!(of("mail.smtp_password").meaning, of("mail.smtp_user").meaning);
        assert_eq!(of("project.repository.url").variable, "BLAMED_PROJECT_1_REPOSITORY_1_URL");
        assert!(of("project.name").meaning.starts_with("A project: "));
        let names = of("scrub.names").default.as_deref().unwrap();
        assert!(names.starts_with("[\"password\", ") && names.ends_with("\"csrf\"]"), "{names}");
    }
}

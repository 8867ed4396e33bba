//! A configuration file changed by a program and still a file for people: comments stay, and a key that stands
//! behind a `#`, as in the manual, is set where it stands.

use toml_edit::{ArrayOfTables, DocumentMut, Item, Table, Value};

/// The text of a configuration file, being changed.
pub(in crate::cli) struct Edit {
    text: String,
}

/// A section: its name as it stands between brackets; of a list of sections the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) struct Section(&'static str);

pub(in crate::cli) const TOP: Section = Section("");
pub(in crate::cli) const MAIL: Section = Section("[mail]");
pub(in crate::cli) const WEB: Section = Section("[web]");
pub(in crate::cli) const PROJECT: Section = Section("[[project]]");
pub(in crate::cli) const FLAWLESS: Section = Section("[flawless]");
pub(in crate::cli) const REPOSITORY: Section = Section("[[project.repository]]");

impl Edit {
    /// Begins with a text that is right.
    pub(in crate::cli) fn new(text: &str) -> Self {
        Self { text: text.to_owned() }
    }

    /// The text as it is now.
    pub(in crate::cli) fn text(&self) -> &str {
        &self.text
    }

    fn document(&self) -> DocumentMut {
        self.text.parse().expect("a text that was right is kept so")
    }

    /// Sets a key.
    pub(in crate::cli) fn set(&mut self, section: Section, key: &str, value: impl Into<Value>) {
        let mut value = value.into();
        let mut document = self.document();
        let table = section.find(&mut document);
        if let Some(old) = table.and_then(|table| table.get_mut(key)?.as_value_mut()) {
            // What is the same stays also as it is quoted.
            if old.as_str().is_none_or(|old| Some(old) != value.as_str()) {
                *value.decor_mut() = old.decor().clone();
                *old = value;
                self.text = document.to_string();
            }
            return;
        }
        if self.uncomment(section, key, &value) {
            return;
        }
        section.make(&mut document).insert(key, Item::Value(value));
        self.text = document.to_string();
    }

    /// Takes a key out; where it stands on a line of its own, that becomes a comment.
    pub(in crate::cli) fn unset(&mut self, section: Section, key: &str) {
        let mut document = self.document();
        let is_there = section.find(&mut document).is_some_and(|table| table.contains_key(key));
        if !is_there {
            return;
        }
        let mut lines: Vec<String> = self.text.lines().map(str::to_owned).collect();
        let found = self.region(section, false).into_iter().flatten().find(|at| sets(&lines[*at], key));
        if let Some(at) = found {
            lines[at].insert(0, '#');
            let text = lines.join("\n") + "\n";
            if text.parse::<DocumentMut>().is_ok() {
                self.text = text;
                return;
            }
        }
        if let Some(table) = section.find(&mut document) {
            table.remove(key);
        }
        self.text = document.to_string();
    }

    /// Sets a key where the manual has it behind a `#`. False: it is not there.
    fn uncomment(&mut self, section: Section, key: &str, value: &Value) -> bool {
        let mut lines: Vec<String> = self.text.lines().map(str::to_owned).collect();
        let commented = |line: &str| line.strip_prefix('#').is_some_and(|line| sets(line, key));
        let written = self.region(section, false);
        let begins = !section.0.is_empty() && written.is_empty();
        let regions = if begins { self.region(section, true) } else { written };
        let Some((region, at)) = regions
            .into_iter()
            .find_map(|region| Some((region.clone(), region.clone().find(|at| commented(&lines[*at]))?)))
        else {
            return false;
        };
        lines[at] = format!("{key} = {}", value.to_string().trim());
        if begins {
            section.0.clone_into(&mut lines[region.start]);
        }
        let text = lines.join("\n") + "\n";
        let right = text.parse::<DocumentMut>().is_ok();
        if right {
            self.text = text;
        }
        right
    }

    /// The lines of a section, its header first; of the sections whose header stands behind a `#`, or of the
    /// first of the others.
    fn region(&self, section: Section, commented: bool) -> Vec<std::ops::Range<usize>> {
        let lines: Vec<&str> = self.text.lines().collect();
        let plain = |line: &str| line.strip_prefix('#').unwrap_or(line).trim_end().to_owned();
        let is_header = |line: &&str| {
            let plain = plain(line);
            plain.starts_with('[') && plain.ends_with(']') && !plain.contains(['"', '\'', ','])
        };
        let end = |start: usize| {
            lines
                .iter()
                .enumerate()
                .skip(start + 1)
                .find(|(_, line)| is_header(line))
                .map_or(lines.len(), |(at, _)| at)
        };
        if section.0.is_empty() {
            let first = lines.iter().position(is_header).unwrap_or(lines.len());
            return std::iter::once(0..first).collect();
        }
        let begins = |line: &&str| plain(line) == section.0 && line.starts_with('#') == commented;
        let starts = lines.iter().enumerate().filter(|(_, line)| begins(line)).map(|(at, _)| at);
        let all = starts.map(|start| start..end(start));
        if commented { all.collect() } else { all.take(1).collect() }
    }
}

/// Whether a line sets a key.
fn sets(line: &str, key: &str) -> bool {
    line.strip_prefix(key).is_some_and(|rest| rest.trim_start().starts_with('='))
}

impl Section {
    /// What stands before the name of a key of it: `mail.`.
    pub(in crate::cli) fn prefix(self) -> String {
        self.path().iter().map(|name| format!("{name}.")).collect()
    }

    fn path(self) -> Vec<&'static str> {
        self.0.trim_matches(['[', ']']).split('.').filter(|part| !part.is_empty()).collect()
    }

    fn find(self, document: &mut DocumentMut) -> Option<&mut dyn toml_edit::TableLike> {
        let mut table: &mut dyn toml_edit::TableLike = document.as_table_mut();
        for name in self.path() {
            table = match table.get_mut(name)? {
                Item::ArrayOfTables(tables) => tables.get_mut(0)?,
                item => item.as_table_like_mut()?,
            };
        }
        Some(table)
    }

    fn make(self, document: &mut DocumentMut) -> &mut dyn toml_edit::TableLike {
        let mut table: &mut dyn toml_edit::TableLike = document.as_table_mut();
        let is_list = self.0.starts_with("[[");
        for name in self.path() {
            let made = || match is_list {
                true => {
                    let mut tables = ArrayOfTables::new();
                    tables.push(Table::new());
                    Item::ArrayOfTables(tables)
                }
                false => Item::Table(Table::new()),
            };
            table = match table.entry(name).or_insert_with(made) {
                Item::ArrayOfTables(tables) => tables.get_mut(0).expect("a list of sections is not empty"),
                item => item.as_table_like_mut().expect("what was read as a section is one"),
            };
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::super::config::EXAMPLE;
    use super::*;

    #[test]
    fn the_manual_is_filled_in_where_its_keys_stand() {
        let mut edit = Edit::new(EXAMPLE);
        edit.set(TOP, "listen", "127.0.0.1:1");
        edit.set(TOP, "default_contact", "a\"b");
        edit.set(MAIL, "smtp_host", "h");
        edit.set(MAIL, "smtp_port", 25);
        edit.set(MAIL, "ignore_vcs_email_domain", true);
        edit.set(PROJECT, "name", "shop");
        edit.set(REPOSITORY, "url", "https://h/shop");
        edit.set(REPOSITORY, "branch", "main");
        let text = edit.text();
        // Comments stay, each key stands where the manual has it.
        assert_eq!(text.matches('\n').count(), EXAMPLE.matches('\n').count() + 1);
        for expected in [
            "free one.\nlisten = \"127.0.0.1:1\"\n",
            "\ndefault_contact = 'a\"b'\n",
            "\nsmtp_host = \"h\"\n",
            "\nsmtp_port = 25\n",
            "\nignore_vcs_email_domain = true\n",
            "\n[[project]]\nname = \"shop\"\n",
            "\n[[project.repository]]\nurl = \"https://h/shop\"\n",
            "\n#[[project.repository]]\n#path = ",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
        }
        let document: DocumentMut = text.parse().unwrap();
        assert_eq!(document["project"][0]["repository"][0]["branch"].as_str(), Some("main"));
        edit.unset(MAIL, "smtp_host");
        edit.unset(REPOSITORY, "branch");
        assert!(edit.text().contains("\n#smtp_host = \"h\"\n"));
        edit.set(MAIL, "smtp_host", "again");
        assert!(edit.text().contains("\nsmtp_host = \"again\"\n"));
    }

    #[test]
    fn a_file_of_somebody_s_own_keeps_its_words() {
        let own = "# mine\nlisten='127.0.0.1:1' # here\nmail = { smtp_host = \"a\", smtp_port = 1 }\n";
        let mut edit = Edit::new(own);
        edit.set(TOP, "listen", "127.0.0.1:2");
        edit.set(MAIL, "smtp_host", "b");
        edit.unset(MAIL, "smtp_port");
        edit.set(REPOSITORY, "path", "/r ü");
        let text = edit.text();
        assert!(
            text.starts_with("# mine\nlisten=\"127.0.0.1:2\" # here\nmail = { smtp_host = \"b\""),
            "{text}"
        );
        assert!(!text.contains("smtp_port"), "{text}");
        assert!(text.contains("[[project.repository]]\npath = \"/r ü\"\n"), "{text}");
        text.parse::<DocumentMut>().unwrap();
    }
}

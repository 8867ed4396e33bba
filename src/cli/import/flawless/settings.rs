//! `flawless.cfg`, and what each of its settings is called here.

use std::collections::BTreeMap;

use toml_edit::{Array, Value as Toml};

use crate::blame::BranchPattern;
use crate::blame::mirror::{Url, without_logins};
use crate::cli::configure::edit::{FLAWLESS, MAIL, PROJECT, REPOSITORY, Section, TOP};
use crate::config::folder_name;

/// The settings as they are written.
pub(super) struct Settings(BTreeMap<String, String>);

/// A setting of Flawless's, or a few that belong together.
pub(super) struct Entry {
    /// Its name and value. Holds no secret.
    pub(super) from: String,
    pub(super) fate: Fate,
}

/// What becomes of a setting.
pub(super) enum Fate {
    /// It is these keys of the configuration.
    Keys(Vec<Key>),
    /// It is the password at the mail server.
    Password(String),
    /// It has no counterpart, and why.
    Left(String),
    /// It is taken, and there is something to know about it.
    Note(String),
}

/// A key of the configuration with its value.
pub(super) struct Key(pub(super) Section, pub(super) &'static str, pub(super) Toml);

/// Settings that have no counterpart, and why.
const LEFT: [(&str, &str); 11] = [
    ("data_dir_path", "data_dir is a folder of its own; Flawless's counts of the week stay where they are"),
    ("config_dir_path", "there is one file, wherever it is"),
    ("report_runtime_package_directory_names", "the code that is ours is what the repository tracks"),
    ("max_concurrent_git_blames", "blame.threads says how many lines are looked up at once; the others wait"),
    ("git_cli_path", "the git of the PATH is used, for fetching alone"),
    ("repo_type", "repositories are git's"),
    ("flawless_hostports", "it is for clients, and stays in theirs"),
    ("client_timeout", "it is for clients, and stays in theirs"),
    ("log_file", "the log goes to stderr, which systemd keeps"),
    ("log_days_to_keep", "the log goes to stderr, which systemd keeps"),
    ("redis_version", "everything is kept in data_dir"),
];

/// Settings that `entries` looks at.
const TAKEN: [&str; 18] = [
    "port",
    "http_port",
    "hostname",
    "email_domain_name",
    "ignore_vcs_email_domain",
    "default_contact",
    "smtp_host",
    "smtp_user",
    "smtp_password",
    "smtp_use_tls",
    "smtp_from",
    "report_only_after_minimum_date",
    "report_error_threshold",
    "only_blame_filepaths_matching",
    "repo_dir",
    "repo_url",
    "repo_branch_pattern",
    "log_level",
];

impl Settings {
    /// Reads the section `[flawless]` as Python 2's `SafeConfigParser` does, which Flawless's server ran on:
    /// `name = value` or `name: value`; lines set in go on; `%%` is `%`, and `%(name)s` another setting;
    /// ` ;` begins a comment.
    ///
    /// # Errors
    /// There is no such section, or a line sets nothing.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        let mut raw: BTreeMap<String, String> = BTreeMap::new();
        let mut defaults: BTreeMap<String, String> = BTreeMap::new();
        let (mut section, mut found, mut last) = (String::new(), false, None::<String>);
        for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
            let is_comment = line.starts_with(['#', ';']) || line.to_lowercase().starts_with("rem ");
            if line.trim().is_empty() || is_comment {
                continue;
            }
            let settings = match section.as_str() {
                "flawless" => Some(&mut raw),
                "DEFAULT" => Some(&mut defaults),
                _ => None,
            };
            let value_of = |text: &str| {
                let comment = text.match_indices(';').find(|(at, _)| text[..*at].ends_with([' ', '\t']));
                let value = comment.map_or(text, |(at, _)| &text[..at]).trim();
                if value == "\"\"" { String::new() } else { value.to_owned() }
            };
            if line.starts_with([' ', '\t']) && last.is_some() {
                if let Some(value) = settings.zip(last.as_ref()).and_then(|(all, last)| all.get_mut(last)) {
                    value.push('\n');
                    value.push_str(&value_of(line));
                }
            } else if let Some((name, _)) = line.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
                name.clone_into(&mut section);
                found |= name == "flawless";
                last = None;
            } else if section.is_empty() {
                return Err(format!("line {number} stands before any section"));
            } else {
                let at = line.find(['=', ':']).ok_or_else(|| format!("line {number} sets nothing"))?;
                let name = line[..at].trim().to_lowercase();
                if let Some(settings) = settings {
                    settings.insert(name.clone(), value_of(&line[at + 1..]));
                }
                last = Some(name);
            }
        }
        if !found {
            return Err("there is no section [flawless] in it".to_owned());
        }
        for (name, value) in defaults {
            raw.entry(name).or_insert(value);
        }
        let names: Vec<String> = raw.keys().cloned().collect();
        let whole = names.into_iter().map(|name| (name.clone(), interpolated(&raw, &raw[&name], 0)));
        Ok(Self(whole.collect()))
    }

    /// A setting that says something.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| value.trim()).filter(|value| !value.is_empty() && *value != "None")
    }

    /// A setting with its value, for people.
    fn shown(&self, name: &str, default: &str) -> String {
        match self.get(name) {
            Some(value) => format!("{name} = {}", without_logins(value)),
            None => format!("{name} (not set: {default})"),
        }
    }

    /// What is meant by a setting that is on or off.
    fn is_on(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !is_no(value))
    }

    /// A port.
    fn port(&self, name: &str, default: u16) -> Result<u16, String> {
        self.get(name).map_or(Ok(default), |value| value.parse().map_err(|_| "it is no port".to_owned()))
    }

    /// The number of occurrences before a mail goes.
    ///
    /// # Errors
    /// It is no number.
    pub(super) fn threshold(&self) -> (String, Result<u64, String>) {
        let threshold = self.get("report_error_threshold").map_or(Ok(3), str::parse::<i64>);
        let threshold = threshold.map(|n| u64::try_from(n).unwrap_or(1).max(1));
        (self.shown("report_error_threshold", "3"), threshold.map_err(|_| "it is no number".to_owned()))
    }

    /// The day before which lines are too old for a mail, such as `2019-5-1`. `None`: no line is.
    ///
    /// # Errors
    /// It is no day.
    pub(super) fn cutoff(&self) -> Option<(String, Result<jiff::Timestamp, String>)> {
        let written = self.get("report_only_after_minimum_date")?;
        let day = || {
            let mut parts = written.split([' ', 'T']).next()?.split('-').map(|part| part.parse::<i16>().ok());
            let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
            let date = jiff::civil::Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok()?;
            date.to_zoned(jiff::tz::TimeZone::UTC).ok()
        };
        let cutoff = day().map(|day| day.timestamp());
        let is_ever = cutoff.is_some_and(|cutoff| cutoff.as_second() <= 0);
        (!is_ever).then(|| {
            let said = || "it is no day such as 2019-05-01".to_owned();
            (self.shown("report_only_after_minimum_date", ""), cutoff.ok_or_else(said))
        })
    }

    /// What becomes of the settings, but for threshold and cutoff. What needs another one comes after it.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let mut entries = Vec::new();
        self.repository(&mut entries);
        self.addresses(&mut entries);
        self.mail(&mut entries);
        let mut add = |from: String, fate: Fate| entries.push(Entry { from, fate });
        if let Some(written) = self.get("only_blame_filepaths_matching") {
            let patterns = written.split(',').map(str::trim).filter(|pattern| !pattern.is_empty());
            let key = Key(PROJECT, "only_blame", Array::from_iter(patterns).into());
            add(self.shown("only_blame_filepaths_matching", ""), Fate::Keys(vec![key]));
        }
        if let Some(level) = self.get("log_level") {
            let ours = match level.to_uppercase().as_str() {
                "DEBUG" => Some("debug"),
                "INFO" => Some("info"),
                "WARN" | "WARNING" => Some("warn"),
                "ERROR" | "CRITICAL" | "FATAL" => Some("error"),
                _ => None,
            };
            let fate = match ours {
                Some(ours) => Fate::Keys(vec![Key(TOP, "log", ours.into())]),
                None => Fate::Left("it is no level of a log".to_owned()),
            };
            add(self.shown("log_level", ""), fate);
        }
        for (name, why) in LEFT.iter().filter(|(name, _)| self.get(name).is_some()) {
            add(self.shown(name, ""), Fate::Left((*why).to_owned()));
        }
        let is_known = |name: &str| TAKEN.contains(&name) || LEFT.iter().any(|(left, _)| *left == name);
        for name in self.0.keys().filter(|name| !is_known(name)) {
            add(name.clone(), Fate::Left("it is no setting of Flawless 0.4".to_owned()));
        }
        entries
    }

    fn repository(&self, entries: &mut Vec<Entry>) {
        let mut add = |from: String, fate: Fate| entries.push(Entry { from, fate });
        let keys = |name: &str, key, value: &str| {
            Fate::Keys(vec![Key(PROJECT, "name", name.into()), Key(REPOSITORY, key, value.into())])
        };
        let url = self.get("repo_url").map(|url| (url, Url::parse(url)));
        let is_fetched = matches!(url, Some((_, Ok(_))));
        match url {
            Some((url, Ok(parsed))) => {
                add(self.shown("repo_url", ""), keys(parsed.name(), "url", url));
            }
            Some((_, Err(why))) => add("repo_url".to_owned(), Fate::Left(why)),
            None => {}
        }
        let folder = self.get("repo_dir").unwrap_or("/tmp/flawless_repo");
        if !is_fetched {
            let path = std::path::absolute(folder).unwrap_or_else(|_| folder.into());
            let name = folder_name(&path);
            add(self.shown("repo_dir", folder), keys(&name, "path", &path.display().to_string()));
        } else if self.get("repo_dir").is_some() {
            let why = "a mirror of its own is kept in data_dir";
            add(self.shown("repo_dir", ""), Fate::Left(why.to_owned()));
        }
        if let Some(regex) = self.get("repo_branch_pattern") {
            let from = self.shown("repo_branch_pattern", "");
            match glob_of(regex) {
                Some((glob, is_wider)) => {
                    let key = Key(REPOSITORY, "branch_pattern", glob.as_str().into());
                    add(from.clone(), Fate::Keys(vec![key]));
                    if is_wider {
                        let said =
                            format!("branch_pattern = {glob:?} is a glob, and fits more than that did");
                        add(from, Fate::Note(said));
                    }
                }
                None => {
                    let said = "branch_pattern is a glob such as \"release-*\"; set it by hand";
                    add(from, Fate::Left(said.to_owned()));
                }
            }
        }
    }

    fn addresses(&self, entries: &mut Vec<Entry>) {
        let mut add = |from: String, fate: Fate| entries.push(Entry { from, fate });
        for (section, name, default) in [(TOP, "http_port", 8080), (FLAWLESS, "port", 9028)] {
            let fate = match self.port(name, default) {
                Ok(port) => Fate::Keys(vec![Key(section, "listen", format!("0.0.0.0:{port}").into())]),
                Err(why) => Fate::Left(why),
            };
            add(self.shown(name, &default.to_string()), fate);
        }
        if let Some(host) = self.get("hostname") {
            let host = host.trim_end_matches('/');
            let url = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
            add(self.shown("hostname", ""), Fate::Keys(vec![Key(TOP, "public_url", url.into())]));
        }
    }

    fn mail(&self, entries: &mut Vec<Entry>) {
        let mut add = |from: String, fate: Fate| entries.push(Entry { from, fate });
        if let Some(contact) = self.get("default_contact") {
            let key = Key(TOP, "default_contact", contact.into());
            add(self.shown("default_contact", ""), Fate::Keys(vec![key]));
        }
        let written = self.get("smtp_host").unwrap_or("localhost:25");
        let (host, port) = written.rsplit_once(':').unwrap_or((written, "25"));
        let fate = match port.trim().parse::<u16>() {
            Ok(port) => Fate::Keys(vec![
                Key(MAIL, "smtp_host", host.trim().into()),
                Key(MAIL, "smtp_port", i64::from(port).into()),
            ]),
            Err(_) => Fate::Left("its port is none".to_owned()),
        };
        add(self.shown("smtp_host", "localhost:25"), fate);
        let how = if self.is_on("smtp_use_tls") { "starttls" } else { "none" };
        add(self.shown("smtp_use_tls", "False"), Fate::Keys(vec![Key(MAIL, "smtp_tls", how.into())]));
        match (self.get("smtp_user"), self.get("smtp_password")) {
            (Some(_), Some(password)) => {
                add(self.shown("smtp_user", ""), Fate::Password(password.to_owned()));
            }
            (Some(_), None) => {
                let why = "it has no password, so that Flawless did not sign in";
                add(self.shown("smtp_user", ""), Fate::Left(why.to_owned()));
            }
            (None, Some(_)) => {
                let why = "it has no user, so that Flawless did not sign in";
                add("smtp_password".to_owned(), Fate::Left(why.to_owned()));
            }
            (None, None) => {}
        }
        let domain = self.get("email_domain_name");
        if let Some(domain) = domain {
            let key = Key(MAIL, "email_domain", domain.into());
            add(self.shown("email_domain_name", ""), Fate::Keys(vec![key]));
        }
        if self.get("ignore_vcs_email_domain").is_some() {
            let ignore = domain.is_some() && self.is_on("ignore_vcs_email_domain");
            let key = Key(MAIL, "ignore_vcs_email_domain", ignore.into());
            add(self.shown("ignore_vcs_email_domain", ""), Fate::Keys(vec![key]));
        }
        let from = self.get("smtp_from").map(str::to_owned);
        if let Some(sender) = from.or_else(|| Some(format!("flawless@{}", domain?))) {
            let shown = self.shown("smtp_from", &sender);
            add(shown, Fate::Keys(vec![Key(MAIL, "from", sender.into())]));
        }
        // Flawless asked whether the text is empty, so that "False" was true to it.
        for (name, as_it_was) in [
            ("smtp_use_tls", "mail.smtp_tls = \"starttls\""),
            ("ignore_vcs_email_domain", "mail.ignore_vcs_email_domain = true"),
        ] {
            if self.get(name).is_some_and(is_no) {
                let said = format!("Flawless took any text for yes: what it did is {as_it_was}");
                add(self.shown(name, ""), Fate::Note(said));
            }
        }
    }
}

fn is_no(value: &str) -> bool {
    ["false", "0", "no", "off", "n"].contains(&value.to_lowercase().as_str())
}

/// A value with what it names of others put in.
fn interpolated(raw: &BTreeMap<String, String>, value: &str, depth: usize) -> String {
    let mut out = String::new();
    let mut rest = value;
    while let Some((before, after)) = rest.split_once('%') {
        out.push_str(before);
        let named = after.strip_prefix('(').and_then(|after| after.split_once(")s"));
        let other = named.and_then(|(name, _)| raw.get(&name.to_lowercase())).filter(|_| depth < 10);
        rest = match (other, named) {
            (Some(other), Some((_, after))) => {
                out.push_str(&interpolated(raw, other, depth + 1));
                after
            }
            _ => {
                out.push('%');
                after.strip_prefix('%').unwrap_or(after)
            }
        };
    }
    out + rest
}

/// A regular expression that remote branches (`origin/release-1`) were matched with from their start, as a glob on
/// the names of branches, and whether that fits more. `None`: there is no such glob.
fn glob_of(regex: &str) -> Option<(String, bool)> {
    let regex = regex.trim_start_matches('^');
    let rest = regex.strip_prefix("origin/").or_else(|| regex.strip_prefix("origin\\/")).unwrap_or(regex);
    let (rest, is_whole) = match rest.strip_suffix('$') {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let (mut glob, mut is_wider) = (String::new(), false);
    let mut rest = rest.to_owned();
    let parts: [(&str, &str, bool); 9] = [
        (".*", "*", false),
        (".+", "?*", false),
        (r"\d+", "*", true),
        (r"\d*", "*", true),
        (r"\d", "[0-9]", false),
        ("[0-9]+", "*", true),
        (r"\w+", "*", true),
        (r"[\d.]+", "*", true),
        ("[0-9.]+", "*", true),
    ];
    while let Some(first) = rest.chars().next() {
        let known = parts.iter().find(|(part, ..)| rest.starts_with(part));
        let length = match known {
            Some((part, as_glob, wider)) => {
                glob.push_str(as_glob);
                is_wider |= wider;
                part.len()
            }
            None if first == '.' => {
                glob.push('?');
                1
            }
            None if first == '\\' && rest[1..].starts_with(['.', '-', '/', '_']) => {
                glob.push_str(&rest[1..2]);
                2
            }
            None if first.is_alphanumeric() || "-_/".contains(first) => {
                glob.push(first);
                first.len_utf8()
            }
            None => return None,
        };
        rest.drain(..length);
        // A character that may stand any number of times has no glob.
        if rest.starts_with(['*', '+', '?', '{']) {
            return None;
        }
    }
    if !is_whole && !glob.ends_with('*') {
        glob.push('*');
    }
    BranchPattern::parse(&glob).is_ok().then_some((glob, is_wider))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_python_reads_it() {
        let settings = Settings::read(
            "# mine\n[DEFAULT]\nhome = /srv\n[other]\nport = 1\n[flawless]\nport: 9029 ; why not\n; x\n\
             Data_Dir_Path = %(home)s/50%%\nsmtp_password = a;b %(missing)s%\nonly_blame_filepaths_matching = a,\n  b\n\
             repo_url =\nsmtp_host = \"\"\nlog_level = None\n",
        )
        .unwrap();
        assert_eq!(settings.get("port"), Some("9029"));
        assert_eq!(settings.get("data_dir_path"), Some("/srv/50%"));
        assert_eq!(settings.get("smtp_password"), Some("a;b %(missing)s%"));
        assert_eq!(settings.get("only_blame_filepaths_matching"), Some("a,\nb"));
        assert_eq!((settings.get("repo_url"), settings.get("log_level")), (None, None));
        assert_eq!(settings.get("smtp_host"), None);
        let wrong = |text| Settings::read(text).err();
        assert_eq!(wrong("[server]\nport = 1\n").as_deref(), Some("there is no section [flawless] in it"));
        assert_eq!(wrong("[flawless]\nport\n").as_deref(), Some("line 2 sets nothing"));
        assert_eq!(wrong("port = 1\n").as_deref(), Some("line 1 stands before any section"));
    }

    #[test]
    fn branches_are_globs_where_they_can_be() {
        let check = |regex: &str, expected: Option<(&str, bool)>| {
            let expected = expected.map(|(glob, is_wider)| (glob.to_owned(), is_wider));
            assert_eq!(glob_of(regex), expected, "{regex}");
        };
        check("example-server-release", Some(("example-server-release*", false)));
        check("origin/release-.*", Some(("release-*", false)));
        check(r"^origin/release-\d+$", Some(("release-*", true)));
        check(r".*release\-[0-9.]+", Some(("*release-*", true)));
        check("origin/v.$", Some(("v?", false)));
        check("origin/(a|b)", None);
        check("a*", None);
        check("a{2}", None);
    }

    #[test]
    fn days_and_thresholds() {
        let of = |text: &str| Settings::read(&format!("[flawless]\n{text}\n")).unwrap();
        let cutoff = |day: &str| {
            let cutoff = of(&format!("report_only_after_minimum_date = {day}")).cutoff();
            cutoff.map(|(_, cutoff)| cutoff.map(|cutoff| cutoff.to_string()))
        };
        assert_eq!(cutoff("1970-1-1"), None);
        assert_eq!(cutoff("2019-5-1"), Some(Ok("2019-05-01T00:00:00Z".to_owned())));
        assert_eq!(cutoff("2019-05-01 10:00:00"), Some(Ok("2019-05-01T00:00:00Z".to_owned())));
        assert!(cutoff("soon").unwrap().is_err() && cutoff("2019-13-1").unwrap().is_err());
        assert_eq!(of("").threshold().1, Ok(3));
        assert_eq!(of("report_error_threshold = 0").threshold().1, Ok(1));
        assert!(of("report_error_threshold = many").threshold().1.is_err());
    }
}

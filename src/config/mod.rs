//! The configuration: the file as written → [`Config`] as checked, or every problem of it at once.
//!
//! `config.example.toml` is the manual of the file; a test holds it to the defaults here.

mod document;
mod projects;
mod web;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::document::Section;
pub use self::document::{Problem, Problems};
use self::projects::read_projects;
pub use self::projects::{Project, Repository, Source, folder_name};
pub use self::web::Web;
use self::web::read_web;
use crate::blame::Moves;
use crate::ingest::scrub;
use crate::notify::{Login, Security, Smtp};
use crate::triage::decide::Policy;
use crate::triage::identity::AddressPolicy;

/// Where reports are taken unless something else is configured.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:9029";
/// Where data is kept unless something else is configured.
pub const DEFAULT_DATA_DIR: &str = "blamed-data";

/// The environment variable that may hold the mail server's password.
const PASSWORD_VARIABLE: &str = "BLAMED_SMTP_PASSWORD";

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// How browsers and clients reach it, without a final slash. `None`: `http://` and `listen`.
    pub public_url: Option<String>,
    /// The folder for everything that is remembered.
    pub data_dir: PathBuf,
    /// What to log: a level, or levels by module.
    pub log: String,
    /// Samples kept of each fault, besides the first.
    pub samples_per_fault: u32,
    /// Who is told, and how addresses are formed.
    pub policy: Policy,
    /// How mail is sent.
    pub mail: Mail,
    /// What is taken from clients.
    pub limits: Limits,
    /// What is taken out of reports before anything is kept.
    pub scrub: Scrub,
    /// How git is asked.
    pub blame: Blame,
    /// How repositories that are elsewhere are fetched.
    pub fetch: Fetch,
    /// Who may see the pages.
    pub web: Web,
    /// Where Flawless's clients report to. `None`: nowhere.
    pub flawless: Option<Flawless>,
    /// Whose errors are taken. Empty: the repository of the current folder is the one project.
    pub projects: Vec<Project>,
}

/// How mail is sent.
#[derive(Debug, Clone)]
pub struct Mail {
    /// The server. `None`: mails are written into `folder`.
    pub smtp: Option<Smtp>,
    /// Where mails are written for want of a server. `None`: `mail` in the data directory.
    pub folder: Option<PathBuf>,
    /// The sender. `None`: `blamed@` and this machine's name.
    pub from: Option<String>,
}

/// What is taken from clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body as sent.
    pub body_bytes: usize,
    /// Bytes of a body as unpacked.
    pub unpacked_bytes: usize,
    /// How much of each report is kept.
    pub report: crate::ingest::limits::Limits,
}

/// What is taken out of reports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrub {
    /// Parts of names whose values are secrets.
    pub names: Vec<String>,
    /// What stands in a secret's place.
    pub mask: String,
}

/// How git is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blame {
    /// Lines followed at once.
    pub threads: usize,
    /// How long one line may take.
    pub deadline: Duration,
    /// Whether changes of white space alone are passed over.
    pub ignore_whitespace: bool,
    /// Whether commits listed in `.git-blame-ignore-revs` are passed over.
    pub ignore_revisions: bool,
    /// Whether lines that were moved or copied are followed.
    pub moves: Moves,
}

/// Where Flawless's clients report to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flawless {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The project that their reports are of. `None`: the only one.
    pub project: Option<String>,
}

/// How repositories that are elsewhere are fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetch {
    /// How long from one fetch to the next.
    pub every: Duration,
    /// How long one fetch may take.
    pub timeout: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: DEFAULT_LISTEN.parse().expect("the default is an address"),
            public_url: None,
            data_dir: DEFAULT_DATA_DIR.into(),
            log: "info".to_owned(),
            samples_per_fault: 20,
            policy: Policy::default(),
            mail: Mail { smtp: None, folder: None, from: None },
            limits: Limits::default(),
            scrub: Scrub::default(),
            blame: Blame::default(),
            fetch: Fetch::default(),
            web: Web::default(),
            flawless: None,
            projects: Vec::new(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            unpacked_bytes: 8 << 20,
            report: crate::ingest::limits::Limits::default(),
        }
    }
}

impl Default for Scrub {
    fn default() -> Self {
        Self {
            names: scrub::DEFAULT_WORDS.iter().map(|word| (*word).to_owned()).collect(),
            mask: scrub::DEFAULT_MASK.to_owned(),
        }
    }
}

impl Default for Blame {
    fn default() -> Self {
        Self {
            threads: 2,
            deadline: Duration::from_secs(30),
            ignore_whitespace: true,
            ignore_revisions: true,
            moves: Moves::default(),
        }
    }
}

impl Default for Fetch {
    fn default() -> Self {
        Self { every: Duration::from_secs(300), timeout: Duration::from_secs(600) }
    }
}

impl Config {
    /// The folder that a repository is read in: the clone itself, or the mirror in the data directory.
    #[must_use]
    pub fn folder_of(&self, repository: &Repository) -> PathBuf {
        match &repository.source {
            Source::Clone(path) => path.clone(),
            Source::Elsewhere(_) => self.data_dir.join("mirrors").join(format!("{}.git", repository.name)),
        }
    }

    /// The index of the project that Flawless's clients report to.
    #[must_use]
    pub fn flawless_project(&self) -> usize {
        let named = self.flawless.as_ref().and_then(|flawless| flawless.project.as_ref());
        named.and_then(|name| self.projects.iter().position(|project| project.name == *name)).unwrap_or(0)
    }

    /// Reads a configuration file. Relative paths in it start from its folder.
    ///
    /// # Errors
    /// That the file cannot be read, or every problem of it.
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file)
            .map_err(|source| ConfigError::Unreadable { file: file.to_owned(), source })?;
        Ok(Self::parse(file, &text)?)
    }

    /// Reads the text of a configuration file. `file` is named in problems, and relative paths start from
    /// its folder.
    ///
    /// # Errors
    /// Every problem of it.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Problems> {
        let folder = file.parent().unwrap_or(Path::new("")).to_owned();
        document::read(file, text, |top| read_config(top, &folder))
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It can, and is wrong.
    #[error(transparent)]
    Wrong(#[from] Problems),
}

fn read_config(top: &mut Section<'_>, folder: &Path) -> Config {
    let default = Config::default();
    let listen = read_listen(top, "write an address and a port, such as \"127.0.0.1:9029\"");
    let public_url = top.parsed("public_url", "such as \"https://blamed.example.com\"", |text| {
        let plain = text.starts_with("http://") || text.starts_with("https://");
        if plain {
            Ok(text.trim_end_matches('/').to_owned())
        } else {
            Err(format!("{text:?} is no http address"))
        }
    });
    let data_dir = top.string("data_dir").map(|dir| folder.join(dir.value));
    let log = top.parsed("log", "such as \"info\" or \"info,blamed::blame=debug\"", log_filter);
    let samples = top.integer("samples_per_fault", 1..=1_000);
    let default_contact = address(top, "default_contact");
    let mut mail_section = top.section("mail");
    let (mail, addresses) = read_mail(&mut mail_section, folder);
    mail_section.finish();
    let flawless_section = top.section("flawless");
    let projects = read_projects(top, folder);
    Config {
        listen: listen.unwrap_or(default.listen),
        public_url,
        data_dir: data_dir.unwrap_or_else(|| folder.join(default.data_dir)),
        log: log.unwrap_or(default.log),
        samples_per_fault: samples.map_or(default.samples_per_fault, |n| u32::try_from(n).expect("in range")),
        policy: Policy { addresses, default_contact },
        mail,
        limits: read_limits(top.section("limits")),
        scrub: read_scrub(top.section("scrub")),
        blame: read_blame(top.section("blame")),
        fetch: read_fetch(top.section("fetch")),
        web: read_web(top.section("web")),
        flawless: read_flawless(flawless_section, &projects),
        projects,
    }
}

fn read_listen(section: &mut Section<'_>, hint: &str) -> Option<SocketAddr> {
    section.parsed("listen", hint, |text| {
        text.parse().map_err(|_| format!("{text:?} is no address to listen on"))
    })
}

fn read_flawless(mut section: Section<'_>, projects: &[Project]) -> Option<Flawless> {
    let listen = read_listen(&mut section, "write an address and a port, such as \"127.0.0.1:9028\"");
    let project = section.string("project");
    match &project {
        Some(named) if !projects.iter().any(|project| project.name == named.value) => {
            let said = format!("`flawless.project`: no project is called {:?}", named.value);
            section.problem(named.span.clone(), said, "");
        }
        None if listen.is_some() && projects.len() > 1 => {
            let said = "`flawless.project` is missing: its clients do not say which project they are of";
            section.problem(section.span(), said, &format!("add project = {:?}", projects[0].name));
        }
        _ => {}
    }
    section.finish();
    listen.map(|listen| Flawless { listen, project: project.map(|project| project.value) })
}

/// A level, or levels by module, which the log's own reader would take any word for.
fn log_filter(text: &str) -> Result<String, String> {
    let is_level = |word: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&word);
    for part in text.split(',') {
        let level = part.rsplit_once('=').map_or(part, |(_, level)| level).trim().to_ascii_lowercase();
        if !is_level(&level) {
            return Err(format!("{level:?} is no level: error, warn, info, debug or trace"));
        }
    }
    Ok(text.to_owned())
}

fn address(section: &mut Section<'_>, key: &'static str) -> Option<String> {
    section.parsed(key, "such as \"ops@example.com\"", |text| match text.parse::<lettre::Address>() {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{text:?} is no mail address: {error}")),
    })
}

fn read_mail(section: &mut Section<'_>, folder: &Path) -> (Mail, AddressPolicy) {
    let host = section.string("smtp_host");
    let port = section.integer("smtp_port", 1..=65_535).map(|n| u16::try_from(n).expect("in range"));
    let security =
        section.parsed("smtp_tls", "one of \"none\", \"starttls\", \"implicit\"", |text| match text {
            "none" => Ok(Security::None),
            "starttls" => Ok(Security::StartTls),
            "implicit" => Ok(Security::Tls),
            _ => Err(format!("{text:?} is no way to protect a connection")),
        });
    let login = read_login(section, folder, host.is_some());
    let timeout = section.integer("smtp_timeout_seconds", 1..=600).map(Duration::from_secs);
    let extra_roots = section.string("smtp_ca_file").map(|file| folder.join(file.value));
    let helo = section.string("smtp_helo").map(|name| name.value);
    let smtp = host.map(|host| {
        let nearby = matches!(host.value.as_str(), "localhost" | "127.0.0.1" | "::1");
        let security = security.unwrap_or(if nearby { Security::None } else { Security::StartTls });
        Smtp {
            port: port.unwrap_or(match security {
                Security::None => 25,
                Security::StartTls => 587,
                Security::Tls => 465,
            }),
            host: host.value,
            security,
            extra_roots,
            login,
            helo,
            timeout: timeout.unwrap_or(Smtp::DEFAULT_TIMEOUT),
        }
    });
    let mail_folder = section.string("folder").map(|dir| folder.join(dir.value));
    let from = section.parsed("from", "such as \"blamed@example.com\"", |text| match text
        .parse::<lettre::message::Mailbox>(
    ) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(format!("{text:?} is no sender: {error}")),
    });
    let domain = section.string("email_domain").map(|domain| domain.value);
    let ignore = section.boolean("ignore_vcs_email_domain");
    if ignore == Some(true) && domain.is_none() {
        let hint = "add email_domain = \"example.com\"";
        section.problem(section.span(), "`mail.ignore_vcs_email_domain` needs `mail.email_domain`", hint);
    }
    let addresses = AddressPolicy { email_domain: domain, ignore_vcs_email_domain: ignore.unwrap_or(false) };
    (Mail { smtp, folder: mail_folder, from }, addresses)
}

/// The account at the mail server; its password is in the file, a file of its own, or the environment.
fn read_login(section: &mut Section<'_>, folder: &Path, has_server: bool) -> Option<Login> {
    let user = section.string("smtp_user");
    let given = section.string("smtp_password");
    let file = section.string("smtp_password_file");
    let written = [&user, &given, &file].into_iter().flatten().next().map(|at| at.span.clone());
    if let (Some(span), false) = (written.clone(), has_server) {
        section.problem(span, "`mail.smtp_host` is missing: there is no server to sign in to", "");
        return None;
    }
    if let (Some(given), Some(_)) = (&given, &file) {
        let said = "`mail.smtp_password` and `mail.smtp_password_file` are both set";
        section.problem(given.span.clone(), said, "keep one of them");
    }
    let password = match file {
        Some(file) => {
            let path = folder.join(&file.value);
            match std::fs::read_to_string(&path) {
                Ok(text) => Some(text.trim_end_matches(['\r', '\n']).to_owned()),
                Err(error) => {
                    let said = format!("`mail.smtp_password_file`: {}: {error}", path.display());
                    section.problem(file.span, said, "");
                    return None;
                }
            }
        }
        None => given.map(|given| given.value).or_else(|| std::env::var(PASSWORD_VARIABLE).ok()),
    };
    match (user, password) {
        (Some(user), Some(password)) => Some(Login { user: user.value, password }),
        (Some(user), None) => {
            let hint = format!("add smtp_password_file, or set {PASSWORD_VARIABLE} in the environment");
            section.problem(user.span, "`mail.smtp_user` has no password", &hint);
            None
        }
        (None, _) => {
            if let Some(span) = written {
                section.problem(span, "`mail.smtp_user` is missing: a password needs a user", "");
            }
            None
        }
    }
}

fn read_limits(mut section: Section<'_>) -> Limits {
    let mut limits = Limits::default();
    let mut set = |key, range, to: &mut usize| {
        if let Some(number) = section.integer(key, range) {
            *to = usize::try_from(number).expect("in range");
        }
    };
    set("body_bytes", 1_024..=(1 << 30), &mut limits.body_bytes);
    set("unpacked_bytes", 1_024..=(1 << 30), &mut limits.unpacked_bytes);
    set("frames", 2..=10_000, &mut limits.report.frames);
    set("locals", 0..=10_000, &mut limits.report.locals);
    set("local_chars", 10..=100_000, &mut limits.report.local_chars);
    set("nesting", 1..=100, &mut limits.report.context_depth);
    if limits.unpacked_bytes < limits.body_bytes {
        section.problem(section.span(), "`limits.unpacked_bytes` is less than `limits.body_bytes`", "");
    }
    section.finish();
    limits
}

fn read_scrub(mut section: Section<'_>) -> Scrub {
    let default = Scrub::default();
    let given = section.has("names");
    let names: Vec<String> = section.strings("names").into_iter().map(|name| name.value).collect();
    let mask = section.string("mask").map(|mask| mask.value);
    section.finish();
    Scrub { names: if given { names } else { default.names }, mask: mask.unwrap_or(default.mask) }
}

fn read_blame(mut section: Section<'_>) -> Blame {
    let default = Blame::default();
    let threads = section.integer("threads", 1..=256).map(|n| usize::try_from(n).expect("in range"));
    let deadline = section.integer("deadline_seconds", 1..=3_600).map(Duration::from_secs);
    let ignore_whitespace = section.boolean("ignore_whitespace");
    let ignore_revisions = section.boolean("ignore_revisions");
    let hint = "\"no\", \"in_file\" (as git blame -M does), or \"in_commit\" (as git blame -C does)";
    let moves = section.parsed("follow_moves", hint, |text| match text {
        "no" => Ok(Moves::Unfollowed),
        "in_file" => Ok(Moves::InFile),
        "in_commit" => Ok(Moves::InCommit),
        _ => Err(format!("{text:?} is no way to follow lines")),
    });
    section.finish();
    Blame {
        threads: threads.unwrap_or(default.threads),
        deadline: deadline.unwrap_or(default.deadline),
        ignore_whitespace: ignore_whitespace.unwrap_or(default.ignore_whitespace),
        ignore_revisions: ignore_revisions.unwrap_or(default.ignore_revisions),
        moves: moves.unwrap_or(default.moves),
    }
}

fn read_fetch(mut section: Section<'_>) -> Fetch {
    let default = Fetch::default();
    let every = section.integer("every_seconds", 10..=604_800).map(Duration::from_secs);
    let timeout = section.integer("timeout_seconds", 1..=86_400).map(Duration::from_secs);
    section.finish();
    Fetch { every: every.unwrap_or(default.every), timeout: timeout.unwrap_or(default.timeout) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(text: &str) -> String {
        Config::parse(Path::new("blamed.toml"), text).unwrap_err().to_string()
    }

    #[test]
    fn an_empty_file_is_the_defaults() {
        let config = Config::parse(Path::new("/etc/blamed/blamed.toml"), "").unwrap();
        assert_eq!(config.listen.to_string(), DEFAULT_LISTEN);
        assert_eq!(config.data_dir, Path::new("/etc/blamed/blamed-data"));
        assert_eq!(config.limits, Limits::default());
    }

    #[test]
    fn every_problem_is_told_with_its_line_and_a_hint() {
        let told = problems(
            "listen = \"nowhere\"\ndefalt_contact = \"a@b.co\"\n\n[limits]\nframes = \"many\"\n\n[[project]]\nname = \"shop\"\n",
        );
        for expected in [
            "blamed.toml:1:10: `listen`: \"nowhere\" is no address",
            "listen = \"nowhere\"\n  |          ^^^^^^^^^",
            "hint: write an address and a port",
            "blamed.toml:2:1: `defalt_contact` is no setting",
            "hint: did you mean `default_contact`?",
            "blamed.toml:5:10: `limits.frames` is a whole number, not a string",
            "project \"shop\" has no repository",
            "4 problems in blamed.toml",
        ] {
            assert!(told.contains(expected), "{expected:?} is not in:\n{told}");
        }
    }

    #[test]
    fn broken_syntax_is_told_alone() {
        let told = problems("listen = \ndata_dir = \"x\"\n");
        assert!(told.contains("blamed.toml:1:"), "{told}");
    }

    #[test]
    fn contradictions() {
        let check = |text: &str, expected: &str| {
            let told = problems(text);
            assert!(told.contains(expected), "{expected:?} is not in:\n{told}");
        };
        check("[mail]\nsmtp_user = \"x\"\nsmtp_password = \"y\"\n", "`mail.smtp_host` is missing");
        check("[mail]\nsmtp_host = \"h\"\nsmtp_user = \"x\"\n", "has no password");
        check("[mail]\nignore_vcs_email_domain = true\n", "needs `mail.email_domain`");
        check("[limits]\nunpacked_bytes = 2048\n", "less than `limits.body_bytes`");
        check("[[project]]\nname = \"a\"\nkey = \"short\"\n", "32 hexadecimal digits");
        check("[flawless]\nlisten = \"x\"\n", "no address to listen on");
        check("[flawless]\nproject = \"x\"\n", "no project is called \"x\"");
        check("mail = 3\n", "`mail` is a section, not an integer");
    }

    #[test]
    fn a_repository_is_here_or_elsewhere() {
        let parse = |text: &str| {
            let text = format!("[[project]]\nname = \"a\"\n[[project.repository]]\n{text}");
            Config::parse(Path::new("/etc/blamed.toml"), &text).map_err(|problems| problems.to_string())
        };
        let config =
            parse("url = \"https://u:s3cret@h.org/shop.git\"\nbranch_pattern = \"release-*\"\n").unwrap();
        let repository = &config.projects[0].repositories[0];
        assert_eq!(config.folder_of(repository), Path::new("/etc/blamed-data/mirrors/shop.git"));
        assert!(!format!("{config:?}").contains("s3cret"));
        for (text, expected) in [
            ("", "has no `path` and no `url`"),
            ("url = \"ssh://h/x\"\npath = \"x\"\n", "has a `path` and a `url`"),
            ("url = \"ssh://h/x\"\nbranch = \"x\"\nbranch_pattern = \"x\"\n", "a `branch_pattern`"),
            ("url = \"ssh://h/x\"\nname = \"../x\"\n", "cannot be the name"),
            ("url = \"ssh://h/x\"\nbranch_pattern = \"[\"\n", "`project.repository.branch_pattern`"),
            ("url = \"ext::sh -c x\"\n", "`project.repository.url`"),
            ("url = \"https://u:s3cret@h/x?y\"\n", "`project.repository.url`"),
            ("url = \"https://u:s3cret@h/x\"\npath = 3\n", "is a string"),
            ("url = [\"https://u:s3cret@h/x\"]\n", "is a string"),
        ] {
            let told = parse(text).unwrap_err();
            assert!(told.contains(expected) && !told.contains("s3cret"), "{expected:?} is not in:\n{told}");
        }
    }

    #[test]
    fn the_password_is_not_in_debug() {
        let text = "[mail]\nsmtp_host = \"h\"\nsmtp_user = \"x\"\nsmtp_password = \"hunter2\"\n";
        let config = Config::parse(Path::new("c.toml"), text).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}

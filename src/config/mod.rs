//! The configuration: the file as written, and the environment → [`Config`] as checked, or every problem of it
//! at once.
//!
//! `config.example.toml` is the manual of the file; a test holds it to the defaults here.

mod document;
mod environment;
mod keep;
mod listen;
mod log;
mod mail;
mod manual;
mod problems;
mod projects;
mod web;

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use self::document::Section;
pub use self::environment::Environment;
pub use self::keep::Keep;
use self::keep::read_keep;
pub use self::listen::{Flawless, Listen, Tls, Token};
use self::listen::{read_flawless, read_metrics, read_tls};
pub(crate) use self::log::log_filter;
use self::log::read_log;
pub use self::mail::Mail;
use self::mail::{address, read_mail};
pub use self::manual::{EXAMPLE, Entry, manual};
pub use self::problems::{Problem, Problems};
use self::projects::read_projects;
pub use self::projects::{Project, Repository, Source, folder_name};
pub use self::web::Web;
use self::web::read_web;
use crate::blame::Moves;
use crate::ingest::scrub;
use crate::telemetry::Format;
use crate::triage::decide::Policy;

/// Where reports are taken unless something else is configured.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:9029";
/// Where data is kept unless something else is configured.
pub const DEFAULT_DATA_DIR: &str = "blamed-data";

/// A checked configuration.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// Where to listen.
    pub listen: Listen,
    /// The certificate and key that HTTP is protected with. `None`: it is not.
    pub tls: Option<Tls>,
    /// What lets somebody read the metrics. `None`: this machine may, nobody else.
    pub metrics: Option<Token>,
    /// How browsers and clients reach it, without a final slash. `None`: `http://` and `listen`.
    pub public_url: Option<String>,
    /// The folder for everything that is remembered.
    pub data_dir: PathBuf,
    /// What to log: a level, or levels by module.
    pub log: String,
    /// How the log is written.
    pub log_format: Format,
    /// Samples kept of each fault, besides the first.
    pub samples_per_fault: u32,
    /// How much is remembered.
    pub keep: Keep,
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

/// What is taken from clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a body as sent.
    pub body_bytes: usize,
    /// Bytes of a body as unpacked.
    pub unpacked_bytes: usize,
    /// Requests a minute of one key. `None`: as many as come.
    pub requests_per_minute: Option<NonZeroU32>,
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
            log_format: Format::default(),
            tls: None,
            metrics: None,
            samples_per_fault: 20,
            keep: Keep::default(),
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
            requests_per_minute: NonZeroU32::new(60_000),
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

    /// Reads a configuration file, if there is one, and the environment, which goes before it. Relative paths
    /// start from the folder of the file; those of the environment, and all where there is no file, from the
    /// current one.
    ///
    /// # Errors
    /// That the file cannot be read, or every problem.
    pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Loaded, ConfigError> {
        let unreadable =
            |source| ConfigError::Unreadable { file: file.unwrap_or(Path::new("")).to_owned(), source };
        let text = file.map(std::fs::read_to_string).transpose().map_err(unreadable)?.unwrap_or_default();
        Ok(Self::read(file, &text, environment)?)
    }

    /// Reads a text as if it were that of `file`, and the environment.
    ///
    /// # Errors
    /// Every problem.
    pub fn read(file: Option<&Path>, text: &str, environment: &Environment) -> Result<Loaded, Problems> {
        let (config, environment) = document::read(file, text, environment, read_config)?;
        Ok(Loaded { config, environment })
    }

    /// Reads the text of a configuration file and nothing else. `file` is named in problems, and relative paths
    /// start from its folder.
    ///
    /// # Errors
    /// Every problem of it.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Problems> {
        document::read(Some(file), text, &Environment::default(), read_config).map(|(config, _)| config)
    }
}

/// A configuration, and where it is from besides its file.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// The variables, credentials and files of secrets that were read.
    pub environment: Vec<String>,
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

fn read_config(top: &mut Section<'_>) -> Config {
    let default = Config::default();
    let hint = "write an address and a port, such as \"127.0.0.1:9029\", or \"unix:/run/blamed/http\"";
    let listen = top.parsed("listen", hint, |text| text.parse::<Listen>());
    let public_url = top.parsed("public_url", "such as \"https://blamed.example.com\"", |text| {
        let plain = text.starts_with("http://") || text.starts_with("https://");
        if plain {
            Ok(text.trim_end_matches('/').to_owned())
        } else {
            Err(format!("{text:?} is no http address"))
        }
    });
    let data_dir = top.path("data_dir").map(|dir| dir.value);
    let (log, log_format) = read_log(top);
    let samples = top.integer("samples_per_fault", 1..=1_000);
    let default_contact = address(top, "default_contact");
    let (mail, addresses) = read_mail(top.section("mail"));
    let web = read_web(top.section("web"), addresses.email_domain.clone());
    let flawless_section = top.section("flawless");
    let projects = read_projects(top);
    Config {
        listen: listen.unwrap_or(default.listen),
        public_url,
        data_dir: data_dir.unwrap_or_else(|| top.beside(default.data_dir)),
        log: log.unwrap_or(default.log),
        log_format: log_format.unwrap_or(default.log_format),
        tls: read_tls(top.section("tls")),
        metrics: read_metrics(top.section("metrics")),
        samples_per_fault: samples.map_or(default.samples_per_fault, |n| u32::try_from(n).expect("in range")),
        keep: read_keep(top.section("keep")),
        policy: Policy { addresses, default_contact },
        mail,
        limits: read_limits(top.section("limits")),
        scrub: read_scrub(top.section("scrub")),
        blame: read_blame(top.section("blame")),
        fetch: read_fetch(top.section("fetch")),
        web,
        flawless: read_flawless(flawless_section, &projects),
        projects,
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
    if let Some(rate) = section.integer("requests_per_minute", 0..=u64::from(u32::MAX)) {
        limits.requests_per_minute = NonZeroU32::new(u32::try_from(rate).expect("in range"));
    }
    if limits.unpacked_bytes < limits.body_bytes {
        section.problem(
            section.span_of("unpacked_bytes"),
            "`limits.unpacked_bytes` is less than `limits.body_bytes`",
            "",
        );
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
        check("[keep]\nfaults_days = 9\n", "less than `keep.samples_days`");
        check("[keep]\ndatabase_bytes = 9\n", "at least 16777216, or 0");
        check("[[project]]\nname = \"a\"\nkey = \"short\"\n", "32 hexadecimal digits");
        check("[flawless]\nlisten = \"x\"\n", "no address to listen on");
        check("[flawless]\nproject = \"x\"\n", "no project is called \"x\"");
        check("[mail]\nsmtp_port = 25\n", "`mail.smtp_port` is for a mail server");
        check("[mail]\nsmtp_host = \"h\"\nfolder = \"f\"\n", "mails go to one of them");
        check("[mail]\nsmtp_host = \"localhost\"\nsmtp_ca_file = \"f\"\n", "nothing is encrypted");
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

    fn from_environment(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("blamed.toml");
        std::fs::write(&file, text).unwrap();
        std::fs::write(folder.path().join("mail.smtp_password"), "from a credential\n").unwrap();
        std::fs::write(folder.path().join("secret"), "from a file\n").unwrap();
        let secret = folder.path().join("secret");
        let variables: Vec<_> = variables
            .iter()
            .map(|(name, value)| (*name, value.replace("SECRET", secret.to_str().unwrap())))
            .collect();
        let variables: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let environment = Environment::of(&variables, Some(folder.path().to_owned()));
        Config::load(Some(&file), &environment).map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let loaded = from_environment(
            "listen = \"127.0.0.1:1\"\nlog = \"warn\"\n[[project]]\nname = \"a\"\n[[project.repository]]\npath = \"r\"\n",
            &[
                ("BLAMED_LISTEN", "127.0.0.1:2"),
                ("BLAMED_LOG", ""),
                ("BLAMED_DATA_DIR", "here"),
                ("BLAMED_MAIL_SMTP_HOST", "h"),
                ("BLAMED_MAIL_SMTP_PORT", "2_525"),
                ("BLAMED_MAIL_SMTP_USER", "u"),
                ("BLAMED_SCRUB_NAMES", "[\"x\", \"y\"]"),
                ("BLAMED_PROJECT_1_NAME", "b"),
                ("BLAMED_PROJECT_2_NAME", "c"),
                ("BLAMED_PROJECT_2_REPOSITORY_1_PATH", "s"),
                ("BLAMED_PROJECT_2_SCRUB", "false"),
                ("BLAMED_SHARED", "somebody else's"),
            ],
        )
        .unwrap();
        let config = loaded.config;
        assert_eq!(config.listen.to_string(), "127.0.0.1:2");
        assert_eq!(config.log, "warn");
        assert_eq!(config.data_dir, Path::new("here"));
        let smtp = config.mail.smtp.unwrap();
        assert_eq!((smtp.host.as_str(), smtp.port), ("h", 2_525));
        assert_eq!(smtp.login.unwrap().password, "from a credential");
        assert_eq!(config.scrub.names, ["x", "y"]);
        let names: Vec<&str> = config.projects.iter().map(|project| project.name.as_str()).collect();
        assert_eq!(names, ["b", "c"]);
        assert!(!config.projects[1].scrub);
        assert_eq!(config.projects[1].repositories[0].source, Source::Clone("s".into()));
        assert!(loaded.environment.iter().any(|name| name == "BLAMED_PROJECT_2_NAME"));
        assert!(loaded.environment.iter().any(|name| name.ends_with("mail.smtp_password")));
        assert!(!loaded.environment.iter().any(|name| name == "BLAMED_LOG" || name == "BLAMED_SHARED"));
    }

    #[test]
    fn secrets_are_files_and_never_shown() {
        let file = "[mail]\nsmtp_host = \"h\"\nsmtp_user = \"u\"\n";
        let password = |text: &str, variables: &[(&str, &str)]| {
            from_environment(text, variables).map(|l| l.config.mail.smtp.unwrap().login.unwrap().password)
        };
        let named = [("BLAMED_MAIL_SMTP_PASSWORD_FILE", "SECRET")];
        assert_eq!(password(file, &named).unwrap(), "from a file");
        assert_eq!(password(file, &[("BLAMED_MAIL_SMTP_PASSWORD", "x")]).unwrap(), "x");
        let told = password(file, &[named[0], ("BLAMED_MAIL_SMTP_PASSWORD", "hunter2")]).unwrap_err();
        assert!(told.contains("`mail.smtp_password` and `mail.smtp_password_file` are both set"), "{told}");
        for (text, variables) in [
            ("[mail]\nsmtp_password = \"hunter2\"\nsmtp_pasword = \"hunter2\"\n", &[][..]),
            ("", &[("BLAMED_MAIL_SMTP_PASSWORD", "hunter2")][..]),
            ("", &[("BLAMED_MAIL_SMTP_PASSWORT", "hunter2")][..]),
            ("", &[("BLAMED_PROJECT_1_REPOSITORY_1_URL", "ftp://hunter2@x/y")][..]),
            ("[[project]]\nname = \"a\"\nkey = \"hunter2\"\n", &[][..]),
        ] {
            let told = from_environment(text, variables).unwrap_err();
            let shown = told.replace("smtp_pasword = \"hunter2\"", "");
            assert!(!shown.contains("hunter2"), "{told}");
        }
    }

    #[test]
    fn what_is_wrong_in_the_environment_is_told_with_the_rest() {
        let told = from_environment(
            "frames = 3\n",
            &[
                ("BLAMED_MAIL_SMTP_HOTS", "h"),
                ("BLAMED_LOGS", "info"),
                ("BLAMED_LIMITS_FRAMES", "many"),
                ("BLAMED_PROJECT_3_KEY", "short"),
                ("BLAMED_MAIL_IGNORE_VCS_EMAIL_DOMAIN", "yes"),
                ("BLAMED_SCRUB_NAMES", "x, y"),
            ],
        )
        .unwrap_err();
        for expected in [
            "blamed.toml:1:1: `frames` is no setting",
            "error: environment: `limits.frames` is from 2 to 10000, not many",
            "$ | BLAMED_LIMITS_FRAMES=many\n  |                      ^^^^",
            "BLAMED_MAIL_SMTP_HOTS is no setting",
            "did you mean BLAMED_MAIL_SMTP_HOST?",
            "did you mean BLAMED_LOG?",
            "`mail.ignore_vcs_email_domain` is true or false",
            "`scrub.names` is a list of strings",
            "`project.key`: a key is 32 hexadecimal digits",
            "`project` has no `name`",
            "9 problems in ",
            " and the environment",
        ] {
            assert!(told.contains(expected), "{expected:?} is not in:\n{told}");
        }
    }

    #[test]
    fn the_password_is_not_in_debug() {
        let text = "[mail]\nsmtp_host = \"h\"\nsmtp_user = \"x\"\nsmtp_password = \"hunter2\"\n";
        let config = Config::parse(Path::new("c.toml"), text).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}

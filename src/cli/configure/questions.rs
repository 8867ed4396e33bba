//! The questions: what is asked, what is suggested, and whether an answer will do.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::look::{self, Known};
use crate::blame::mirror::Url;
use crate::blame::{self, BranchPattern};
use crate::config::{Config, Source};
use crate::notify::{Login, Security};
use crate::store::{Store, StoreError};

/// The port of the daemon where nothing else is said.
const PORT: u16 = 9029;

/// What was answered, in words as somebody would type them. Empty: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Answers {
    pub(super) repository: String,
    pub(super) branch: String,
    pub(super) address: String,
    pub(super) data_dir: String,
    pub(super) mail_server: String,
    /// `none`, `starttls` or `implicit`; found out, not asked.
    pub(super) encryption: String,
    pub(super) mail_user: String,
    /// Never kept for another run.
    #[serde(skip)]
    pub(super) mail_password: String,
    pub(super) domain: String,
    pub(super) all_on_domain: String,
    pub(super) contact: String,
}

/// What questions are about, in their order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum About {
    Repository,
    Branch,
    Address,
    DataDir,
    MailServer,
    MailUser,
    MailPassword,
    Domain,
    AllOnDomain,
    Contact,
}

/// What is known before the first question.
pub(super) struct Setting {
    /// The folder of the configuration file.
    pub(super) folder: PathBuf,
    /// The configuration as it is, if there is one.
    pub(super) config: Option<Config>,
    /// The repository around the current folder.
    pub(super) here: Option<Known>,
    pub(super) host: String,
    /// Ports of mail servers on this machine that answer.
    pub(super) ports: Vec<u16>,
}

impl About {
    pub(super) const ALL: [Self; 10] = [
        Self::Repository,
        Self::Branch,
        Self::Address,
        Self::DataDir,
        Self::MailServer,
        Self::MailUser,
        Self::MailPassword,
        Self::Domain,
        Self::AllOnDomain,
        Self::Contact,
    ];

    /// The name of an answer, in a list of them and as an option of the command.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Repository => "repository",
            Self::Branch => "branch",
            Self::Address => "public address",
            Self::DataDir => "data directory",
            Self::MailServer => "mail server",
            Self::MailUser => "mail user",
            Self::MailPassword => "mail password",
            Self::Domain => "mail domain",
            Self::AllOnDomain => "all on domain",
            Self::Contact => "default contact",
        }
    }

    /// The question.
    pub(super) fn question(self) -> &'static str {
        match self {
            Self::Repository => "Where is your code?",
            Self::Branch => "Which branch runs in production?",
            Self::Address => "How do browsers and programs reach blamed?",
            Self::DataDir => "Where is data to be kept?",
            Self::MailServer => "Which server sends your mail?",
            Self::MailUser => "With which user does it want a login?",
            Self::MailPassword => "And that user's password?",
            Self::Domain => "Which domain have your developers' addresses?",
            Self::AllOnDomain => "Are all developers' addresses on it?",
            Self::Contact => "Who is told where nobody else can be found?",
        }
    }

    /// One line of help.
    pub(super) fn help(self) -> &'static str {
        match self {
            Self::Repository => {
                "The folder of a clone on this machine, or an address to clone from: https://…, ssh://…, user@host:path."
            }
            Self::Branch => {
                "For reports that name no revision. A pattern such as release-* means the newest that fits."
            }
            Self::Address => "A host name, with a port if you like; https://… if a proxy in front does TLS.",
            Self::DataDir => {
                "A folder of its own; reports hold source code, so only its owner may look into it."
            }
            Self::MailServer => "HOST or HOST:PORT; \"none\" writes mails into files instead.",
            Self::MailUser => "\"none\" if the server takes mail from this machine without a login.",
            Self::MailPassword => {
                "It is not shown, and kept in a file of its own that only its owner can read."
            }
            Self::Domain => {
                "Stands in where git has no usable address (ada@laptop). \"none\" leaves them as they are."
            }
            Self::AllOnDomain => {
                "yes: it replaces the domain of every address that git has. no: only of unusable ones."
            }
            Self::Contact => {
                "A mail address. It gets the trial mail now, and is the first admin of the pages."
            }
        }
    }

    /// Whether it is to be asked, after the answers before it.
    pub(super) fn applies(self, answers: &Answers) -> bool {
        match self {
            Self::MailUser => answers.sends_mail(),
            Self::MailPassword => answers.sends_mail() && !answers.mail_user.is_empty(),
            Self::AllOnDomain => !answers.domain.is_empty(),
            _ => true,
        }
    }

    /// What was answered.
    pub(super) fn of(self, answers: &mut Answers) -> &mut String {
        match self {
            Self::Repository => &mut answers.repository,
            Self::Branch => &mut answers.branch,
            Self::Address => &mut answers.address,
            Self::DataDir => &mut answers.data_dir,
            Self::MailServer => &mut answers.mail_server,
            Self::MailUser => &mut answers.mail_user,
            Self::MailPassword => &mut answers.mail_password,
            Self::Domain => &mut answers.domain,
            Self::AllOnDomain => &mut answers.all_on_domain,
            Self::Contact => &mut answers.contact,
        }
    }

    /// Whether "none" is an answer.
    fn may_be_none(self) -> bool {
        matches!(self, Self::Branch | Self::MailUser | Self::Domain)
    }

    /// What stands in where nothing is answered.
    pub(super) fn suggestion(self, answers: &Answers, setting: &Setting) -> String {
        let there = || answers.clone_folder(setting).and_then(|folder| look::at(&folder));
        let known = || there().or_else(|| setting.here.clone());
        match self {
            Self::Repository => {
                setting.here.as_ref().map(|here| here.top.display().to_string()).unwrap_or_default()
            }
            Self::Branch => there().and_then(|known| known.branch).unwrap_or_default(),
            Self::Address => {
                let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok();
                let port = (PORT..=PORT + 100).find(is_free).unwrap_or(PORT);
                format!("http://{}:{port}", setting.host)
            }
            Self::DataDir => "blamed-data".to_owned(),
            Self::MailServer => match setting.ports.first() {
                Some(port) => format!("localhost:{port}"),
                None => String::new(),
            },
            Self::MailUser | Self::MailPassword => String::new(),
            Self::Domain => known().and_then(|known| known.domain).unwrap_or_default(),
            Self::AllOnDomain => {
                let all = known().is_some_and(|known| {
                    known.all_on_domain && known.domain.as_ref() == Some(&answers.domain)
                });
                if all { "yes" } else { "no" }.to_owned()
            }
            Self::Contact => known().and_then(|known| known.user).unwrap_or_default(),
        }
    }

    /// The answer as it is kept, or why it will not do.
    pub(super) fn check(self, text: &str, answers: &Answers, setting: &Setting) -> Result<String, String> {
        // A path is often pasted with its quotes.
        let text = text.trim();
        let quoted = |quote: char| text.strip_prefix(quote).and_then(|text| text.strip_suffix(quote));
        let text =
            quoted('"').or_else(|| quoted('\'')).filter(|_| self != Self::MailPassword).unwrap_or(text);
        if text.eq_ignore_ascii_case("none") && self.may_be_none() {
            return Ok(String::new());
        }
        if text.is_empty() {
            return match self {
                Self::Branch | Self::MailUser | Self::Domain => Ok(String::new()),
                Self::MailPassword
                    if setting.login().is_some_and(|login| login.user == answers.mail_user) =>
                {
                    Ok(String::new())
                }
                _ => Err("Nothing is suggested here; an answer is needed.".to_owned()),
            };
        }
        if text.chars().any(char::is_control) {
            return Err("There are control characters in it.".to_owned());
        }
        match self {
            Self::Repository => repository(text, setting),
            Self::Branch => branch(text, answers, setting),
            Self::Address => address(text, setting).map(|(url, _)| url),
            Self::DataDir => data_dir(text, setting),
            Self::MailServer => mail_server(text),
            Self::MailUser | Self::MailPassword => Ok(text.to_owned()),
            Self::Domain => match format!("x@{text}").parse::<lettre::Address>() {
                Ok(_) if text.contains('.') => Ok(text.to_lowercase()),
                _ => Err(format!("{text:?} is no domain, such as example.com.")),
            },
            Self::AllOnDomain => match text.to_lowercase().as_str() {
                "y" | "yes" | "true" => Ok("yes".to_owned()),
                "n" | "no" | "false" => Ok("no".to_owned()),
                _ => Err("Answer yes or no.".to_owned()),
            },
            Self::Contact => match text.parse::<lettre::Address>() {
                Ok(_) => Ok(text.to_owned()),
                Err(_) => Err(format!("{text:?} is no mail address, such as ops@example.com.")),
            },
        }
    }
}

impl Setting {
    /// The account at the mail server that is configured already.
    fn login(&self) -> Option<&Login> {
        self.config.as_ref()?.mail.smtp.as_ref()?.login.as_ref()
    }
}

impl Answers {
    /// What is configured already, as answers.
    pub(super) fn of(config: &Config) -> Self {
        let repository = config.projects.first().and_then(|project| project.repositories.first());
        let smtp = config.mail.smtp.as_ref();
        let branch = repository.and_then(|repository| repository.branch.as_ref());
        let domain = config.policy.addresses.email_domain.clone();
        Self {
            repository: repository.map(|repository| repository.source.to_string()).unwrap_or_default(),
            branch: branch.map(ToString::to_string).unwrap_or_default(),
            address: config.public_url.clone().unwrap_or_else(|| format!("http://{}", config.listen)),
            data_dir: config.data_dir.display().to_string(),
            mail_server: smtp
                .map_or("none".to_owned(), |smtp| format!("{}:{}", bracketed(&smtp.host), smtp.port)),
            encryption: smtp.map_or("", |smtp| encryption(smtp.security)).to_owned(),
            mail_user: smtp
                .and_then(|smtp| smtp.login.as_ref())
                .map(|login| login.user.clone())
                .unwrap_or_default(),
            mail_password: String::new(),
            all_on_domain: match (&domain, config.policy.addresses.ignore_vcs_email_domain) {
                (None, _) => "",
                (_, true) => "yes",
                (_, false) => "no",
            }
            .to_owned(),
            domain: domain.unwrap_or_default(),
            contact: config.policy.default_contact.clone().unwrap_or_default(),
        }
    }

    pub(super) fn sends_mail(&self) -> bool {
        self.mail_server != "none"
    }

    /// Host and port of the mail server.
    pub(super) fn server(&self) -> (String, u16) {
        server(&self.mail_server).unwrap_or_default()
    }

    /// The address to clone from, unless the repository is here.
    pub(super) fn url(&self) -> Option<Url> {
        Url::parse(&self.repository).ok()
    }

    /// The folder of the repository, if it is here.
    fn clone_folder(&self, setting: &Setting) -> Option<PathBuf> {
        (!self.repository.is_empty() && self.url().is_none()).then(|| setting.folder.join(&self.repository))
    }

    /// Where the daemon is to listen for that address.
    pub(super) fn listen(&self, setting: &Setting) -> SocketAddr {
        let before = setting.config.as_ref().and_then(|config| config.listen.address());
        let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
        match address(&self.address, setting) {
            Ok((_, Some(listen))) => match before {
                // Only the port is asked for; where from is the file's affair.
                Some(before) if before.port() == listen.port() => before,
                _ => listen,
            },
            // A proxy stands in front.
            _ => before.unwrap_or(loopback),
        }
    }

    /// The sender of mails.
    pub(super) fn from(&self) -> String {
        let domain = match (self.domain.as_str(), self.mail_user.rsplit_once('@')) {
            // Most servers take mail only from the account's own address.
            (_, Some(_)) if self.mail_user.parse::<lettre::Address>().is_ok() => {
                return format!("blamed <{}>", self.mail_user);
            }
            ("", _) => self.contact.rsplit_once('@').map_or("localhost", |(_, domain)| domain),
            (domain, _) => domain,
        };
        format!("blamed <blamed@{domain}>")
    }
}

/// How a way to encrypt is written.
pub(super) fn encryption(security: Security) -> &'static str {
    match security {
        Security::None => "none",
        Security::StartTls => "starttls",
        Security::Tls => "implicit",
    }
}

fn bracketed(host: &str) -> String {
    if host.contains(':') { format!("[{host}]") } else { host.to_owned() }
}

fn repository(text: &str, setting: &Setting) -> Result<String, String> {
    // What is configured is shown without its password, and stays as it is.
    let sources =
        setting.config.iter().flat_map(|c| &c.projects).flat_map(|p| &p.repositories).map(|r| &r.source);
    if sources
        .filter(|source| matches!(source, Source::Elsewhere(_)))
        .any(|source| source.to_string() == text)
    {
        return Ok(text.to_owned());
    }
    match Url::parse(text) {
        Ok(_) => return Ok(text.to_owned()),
        Err(why) if text.contains("://") => return Err(format!("That is no address to clone from: {why}.")),
        Err(_) => {}
    }
    let path = expanded(text);
    let path = setting.folder.join(&path);
    if !path.exists() {
        return Err(format!("There is no folder {}.", path.display()));
    }
    match blame::discover(&std::fs::canonicalize(&path).unwrap_or(path)) {
        Ok(top) => Ok(top.display().to_string().trim_end_matches('/').to_owned()),
        Err(error) => Err(format!("There is a folder, but no repository: {error}.")),
    }
}

/// `~` as shells have it.
fn expanded(text: &str) -> PathBuf {
    match (text.strip_prefix('~'), std::env::home_dir()) {
        (Some(rest), Some(home)) if rest.is_empty() || rest.starts_with('/') => {
            home.join(rest.trim_start_matches('/'))
        }
        _ => PathBuf::from(text),
    }
}

fn branch(text: &str, answers: &Answers, setting: &Setting) -> Result<String, String> {
    let is_pattern = text.contains(['*', '?', '[', '{']);
    if is_pattern {
        BranchPattern::parse(text).map_err(|why| format!("That is no pattern: {why}."))?;
    } else if !git2::Branch::name_is_valid(text).unwrap_or(false) {
        return Err(format!("{text:?} cannot be the name of a branch."));
    }
    // One that is elsewhere is looked at when it is fetched.
    let Some(folder) = answers.clone_folder(setting) else { return Ok(text.to_owned()) };
    let branches = look::branches(&folder);
    let fits = |name: &String| match globset::Glob::new(text) {
        Ok(glob) if is_pattern => glob.compile_matcher().is_match(name),
        _ => name == text,
    };
    if branches.iter().any(fits) {
        return Ok(text.to_owned());
    }
    let shown: Vec<&str> = branches.iter().take(6).map(String::as_str).collect();
    Err(format!("The repository has no branch {text:?}; it has: {}.", shown.join(", ")))
}

/// The address, whole, and where to listen for it, unless a proxy does.
fn address(text: &str, setting: &Setting) -> Result<(String, Option<SocketAddr>), String> {
    let (scheme, rest) = match text.split_once("://") {
        Some(("http", rest)) => ("http", rest),
        Some(("https", rest)) => ("https", rest),
        Some(_) => return Err("An address begins with http:// or https://, or is a host name.".to_owned()),
        None => ("http", text),
    };
    let rest = rest.trim_end_matches('/');
    if rest.contains(['/', '?', '#', '@']) || rest.chars().any(char::is_whitespace) {
        return Err("Only a host and a port: blamed has an address of its own.".to_owned());
    }
    let (host, port) = match rest.rsplit_once(':').filter(|_| !rest.ends_with(']')) {
        Some((host, port)) => {
            let port = port.parse::<u16>().ok().filter(|port| *port > 0);
            (host, Some(port.ok_or("A port is a number from 1 to 65535.")?))
        }
        None => (rest, None),
    };
    if host.is_empty() || (host.contains(':') && !host.starts_with('[')) {
        return Err(format!("{host:?} is no host name."));
    }
    if scheme == "https" {
        return Ok((format!("https://{rest}"), None));
    }
    let port = port.unwrap_or(PORT);
    let own = ["localhost", "127.0.0.1"].contains(&host);
    let ip = if own { Ipv4Addr::LOCALHOST } else { Ipv4Addr::UNSPECIFIED };
    let listen = SocketAddr::from((ip, port));
    let before = setting.config.as_ref().and_then(|config| Some(config.listen.address()?.port()));
    if before != Some(port)
        && let Err(error) = TcpListener::bind(listen)
    {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program listens there; take another port".to_owned(),
            std::io::ErrorKind::PermissionDenied => "ports below 1024 are for root; take 9029".to_owned(),
            _ => error.to_string(),
        };
        return Err(format!("Port {port} cannot be used: {why}."));
    }
    Ok((format!("http://{host}:{port}"), Some(listen)))
}

fn data_dir(text: &str, setting: &Setting) -> Result<String, String> {
    let typed = expanded(text);
    let path = setting.folder.join(&typed);
    match Store::open_to_read(&path) {
        Ok(_) | Err(StoreError::Older { .. }) => {}
        Err(error) => return Err(format!("{error}.")),
    }
    let nearest = std::path::absolute(&path).unwrap_or_else(|_| path.clone());
    let nearest = nearest.ancestors().find(|folder| folder.exists()).unwrap_or(Path::new("/"));
    if !nearest.is_dir() {
        return Err(format!("{} is no folder.", nearest.display()));
    }
    // Asked by trying: a mount may be read-only whatever the modes say.
    if let Err(error) = tempfile::tempfile_in(nearest) {
        return Err(format!("{} cannot be written to: {error}.", nearest.display()));
    }
    Ok(typed.display().to_string())
}

fn mail_server(text: &str) -> Result<String, String> {
    if text.eq_ignore_ascii_case("none") {
        return Ok("none".to_owned());
    }
    let (host, port) = server(text).ok_or("A mail server is HOST or HOST:PORT, or \"none\".")?;
    Ok(format!("{}:{port}", bracketed(&host)))
}

/// Host and port.
fn server(text: &str) -> Option<(String, u16)> {
    let (host, port) = match text.rsplit_once(':').filter(|_| !text.ends_with(']')) {
        Some((host, port)) => (host, port.parse::<u16>().ok().filter(|port| *port > 0)?),
        None => (text, if text == "localhost" { 25 } else { 587 }),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let fits =
        !host.is_empty() && !host.contains(['/', '@', '"', '\'']) && !host.contains(char::is_whitespace);
    fits.then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn setting(folder: &Path) -> Setting {
        let folder = folder.to_owned();
        Setting { folder, config: None, here: None, host: "box".to_owned(), ports: vec![] }
    }

    #[test]
    fn answers_are_checked_as_typed() {
        let folder = tempfile::tempdir().unwrap();
        let setting = setting(folder.path());
        let answers = Answers::default();
        let ok = |about: About, text: &str| about.check(text, &answers, &setting).unwrap();
        let wrong = |about: About, text: &str| about.check(text, &answers, &setting).unwrap_err();
        assert_eq!(
            ok(About::Repository, " \"https://git.example.com/a b.git\" ".replace("a b", "ab").as_str()),
            "https://git.example.com/ab.git"
        );
        assert!(wrong(About::Repository, "/nowhere/ü").contains("no folder"));
        assert!(wrong(About::Repository, "ftp://x/y").contains("no address to clone from"));
        assert!(wrong(About::Repository, "").contains("needed"));
        assert_eq!(ok(About::Address, "https://blamed.example.com/"), "https://blamed.example.com");
        assert!(wrong(About::Address, "http://x:99999").contains("65535"));
        assert!(wrong(About::Address, "http://x/y").contains("Only a host"));
        let taken = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        assert!(wrong(About::Address, &format!("box:{port}")).contains("another program listens there"));
        drop(taken);
        assert_eq!(ok(About::Address, &format!("box:{port}")), format!("http://box:{port}"));
        assert_eq!(ok(About::MailServer, "mail.example.com"), "mail.example.com:587");
        assert_eq!(ok(About::MailServer, "localhost"), "localhost:25");
        assert_eq!(ok(About::MailServer, "[::1]:2525"), "[::1]:2525");
        assert_eq!(ok(About::MailServer, "None"), "none");
        assert!(wrong(About::MailServer, "a b").contains("HOST"));
        assert_eq!(ok(About::MailUser, "none"), "");
        assert_eq!(ok(About::MailPassword, "\"quoted\""), "\"quoted\"");
        assert_eq!(ok(About::Domain, "Example.COM"), "example.com");
        assert!(wrong(About::Domain, "laptop").contains("no domain"));
        assert_eq!(ok(About::AllOnDomain, "Y"), "yes");
        assert!(wrong(About::AllOnDomain, "perhaps").contains("yes or no"));
        assert!(wrong(About::Contact, "jörg").contains("no mail address"));
        assert_eq!(ok(About::DataDir, "'my data'"), "my data");
        assert!(wrong(About::DataDir, "/proc/x").contains("cannot be written to"));
    }

    #[test]
    fn where_to_listen_follows_from_the_address() {
        let folder = tempfile::tempdir().unwrap();
        let setting = setting(folder.path());
        let listen = |address: &str| {
            Answers { address: address.to_owned(), ..Answers::default() }.listen(&setting).to_string()
        };
        assert_eq!(listen("https://blamed.example.com"), "127.0.0.1:9029");
        let free = TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port();
        assert_eq!(listen(&format!("http://box:{free}")), format!("0.0.0.0:{free}"));
        assert_eq!(listen(&format!("http://localhost:{free}")), format!("127.0.0.1:{free}"));
    }
}

//! A repository that is somewhere else, and the bare copy of it that is kept here.
//!
//! A fetch is: ask the other side which branch it has checked out, fetch all branches and tags into the
//! mirror (a new one under another name, so that nobody reads half of it), then bring its commit-graph up to
//! date. The network is left to the `git` program, so that ssh's settings, credential helpers and proxies
//! just work.
//!
//! Pitfalls: an address may hold a password, which whoever looks at the list of processes, the log or an
//! error must not see. Git hands addresses on as arguments, so it is given one without, and the password by
//! a credential helper that takes it from the environment, for that one host only. And an address may name a
//! program to run (`ext::`), or look like an option.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use regex::Regex;

use super::program::{self, Failed, git};

/// How git may reach a repository.
const PROTOCOLS: &[&str] = &["http", "https", "ssh", "git", "file"];
/// Prints the password that git asks for; git calls it with what it wants.
const HELPER: &str = r#"!f() { test "$1" = get && printf 'password=%s\n' "$BLAMED_GIT_PASSWORD"; }; f"#;
/// How long git may tidy up or write a graph after a fetch. A first graph of a million commits takes minutes.
const PATIENCE: Duration = Duration::from_secs(30 * 60);

/// Where a mirror is fetched from. Shown, and printed for debugging, without its secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Url {
    shown: String,
    login: Option<Login>,
}

/// What stands before the `@` of an `http` address.
#[derive(Clone, PartialEq, Eq)]
struct Login {
    /// Protocol and host.
    base: String,
    user: String,
    password: Option<String>,
    /// As written.
    written: String,
}

/// A repository elsewhere and the folder of its copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// The repository's name.
    pub name: String,
    /// Where it is.
    pub url: Url,
    /// The bare repository that is its copy; not there before the first fetch.
    pub folder: PathBuf,
}

/// Why a fetch failed. Holds no secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchError {
    /// It took longer than it may.
    #[error("fetching {url} was not done after {seconds} s (fetch.timeout_seconds)")]
    TooSlow {
        /// Where from.
        url: String,
        /// The limit.
        seconds: u64,
    },
    /// It was told to stop.
    #[error("fetching was stopped")]
    Stopped,
    /// Git, or the system, said no.
    #[error("fetching {url} failed: {reason}")]
    Failed {
        /// Where from.
        url: String,
        /// What was said.
        reason: String,
    },
}

impl Url {
    /// Reads an address: `https://…`, `ssh://…`, `git://…`, `file://…` or `user@host:path`.
    ///
    /// # Errors
    /// Why it is none that is fetched from, in words that hold nothing of it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('-') || text.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err("an address does not begin with `-`, nor has it spaces".to_owned());
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let (host, path) = text.split_once(':').unwrap_or_default();
            if host.is_empty() || host.contains(['/', '[']) || path.is_empty() || path.starts_with([':', '-'])
            {
                return Err("this is no address; the folder of a clone is given as `path`".to_owned());
            }
            return Ok(Self { shown: text.to_owned(), login: None });
        };
        let scheme = scheme.to_ascii_lowercase();
        if !PROTOCOLS.contains(&scheme.as_str()) {
            return Err(format!("addresses begin with one of {}", PROTOCOLS.join("://, ") + "://"));
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        let (written, host) = match authority.rsplit_once('@') {
            Some((login, host)) => (Some(login), host),
            None => (None, authority),
        };
        let port = host.rsplit_once(':').filter(|_| !host.ends_with(']')).map_or("", |(_, port)| port);
        if host.starts_with('-') || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("its host or port cannot be one".to_owned());
        }
        if host.is_empty() && scheme != "file" {
            return Err("it names no host".to_owned());
        }
        if !scheme.starts_with("http") {
            return match written {
                Some(written) if written.contains(':') => {
                    Err("a password is possible with http and https only; ssh uses keys".to_owned())
                }
                _ => Ok(Self { shown: format!("{scheme}://{rest}"), login: None }),
            };
        }
        if path.contains(['?', '#']) {
            return Err("it ends in a query; a secret is given as https://user:secret@host/path".to_owned());
        }
        let base = format!("{scheme}://{host}");
        let shown = format!("{base}{path}");
        let login = written.filter(|written| !written.is_empty()).map(|written| {
            let (user, password) = match written.split_once(':') {
                Some((user, password)) => (decoded(user)?, Some(decoded(password)?)),
                None => (decoded(written)?, None),
            };
            Some(Login { base, user, password, written: written.to_owned() })
        });
        match login {
            Some(None) => Err("its user or password is not rightly written with %".to_owned()),
            login => Ok(Self { shown, login: login.flatten() }),
        }
    }

    /// What a repository at this address is called: its last part, without `.git`.
    #[must_use]
    pub fn name(&self) -> &str {
        let path = self.shown.trim_end_matches('/');
        // A clone with files, by the folder in it that is the repository.
        let path = path.strip_suffix("/.git").unwrap_or(path);
        let last = path.rsplit(['/', ':']).next().unwrap_or_default();
        last.strip_suffix(".git").unwrap_or(last)
    }

    /// Lets git sign in, without a word in the list of processes.
    fn sign_in(&self, command: &mut Command) {
        let Some(Login { base, user, password, .. }) = &self.login else { return };
        let name = format!("credential.{base}.username");
        let helper = format!("credential.{base}.helper");
        let mut settings = vec![(name, user.as_str())];
        if password.is_some() {
            // No other helper gets to answer, or to keep this password.
            settings.push((helper.clone(), ""));
        }
        settings.push((helper, HELPER));
        // Behind those that are there already.
        let before = std::env::var("GIT_CONFIG_COUNT").ok().and_then(|count| count.parse().ok());
        let before: usize = before.unwrap_or(0);
        command.env("GIT_CONFIG_COUNT", (before + settings.len()).to_string());
        for (at, (key, value)) in settings.into_iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{}", before + at), key);
            command.env(format!("GIT_CONFIG_VALUE_{}", before + at), value);
        }
        command.env("BLAMED_GIT_PASSWORD", password.as_deref().unwrap_or_default());
    }

    /// `text` without the secrets of this address, or of any.
    fn redact(&self, text: &str) -> String {
        let mut text = without_logins(text);
        if let Some(Login { user, password, written, .. }) = &self.login {
            // A user without a password may be a token.
            let secret = password.as_ref().unwrap_or(user);
            for secret in [written, secret].into_iter().filter(|secret| !secret.is_empty()) {
                text = text.replace(secret.as_str(), "***");
            }
        }
        text
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

/// `text` with the users and passwords of all addresses in it masked, letter by letter.
#[must_use]
pub fn without_logins(text: &str) -> String {
    static LOGIN: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r#"://[^\s"]*@"#).expect("it is a regular expression"));
    let mask = |found: &regex::Captures<'_>| {
        let hidden = found[0].chars().count() - "://@".len();
        format!("://{}@", "*".repeat(hidden))
    };
    LOGIN.replace_all(text, mask).into_owned()
}

/// Undoes `%41` and the like. `None` where that is no text of one line.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte == b'%' {
            let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &rest[2..];
        } else {
            bytes.push(byte);
        }
    }
    // Git's protocol with its helpers is made of lines.
    String::from_utf8(bytes).ok().filter(|text| !text.contains(|c: char| c.is_control()))
}

impl Mirror {
    /// Makes the mirror what the other side has now. Blocks, for at most `timeout` and what tidying up takes;
    /// ends early once `stop` is true. `hear` is told how far it is, in git's words, if it is given. Two fetches
    /// of one mirror at once are not for anybody, and the second one fails.
    ///
    /// # Errors
    /// Why there is nothing new. What was fetched before stays.
    pub fn fetch(
        &self,
        timeout: Duration,
        stop: &AtomicBool,
        hear: Option<&mut dyn FnMut(&str)>,
    ) -> Result<(), FetchError> {
        let fetched = Work::begin(&self.folder).and_then(|work| {
            self.refresh(&work, timeout, stop, hear)?;
            Ok(work)
        });
        let work = fetched.map_err(|failed| self.told(failed, timeout))?;
        self.tidy(&work, stop);
        Ok(())
    }

    /// Asks the other side for what it has checked out, and fetches nothing. Blocks, for at most `timeout`.
    ///
    /// # Errors
    /// Why it cannot be asked.
    pub fn reach(&self, timeout: Duration, stop: &AtomicBool) -> Result<(), FetchError> {
        let mut command = git(&self.folder, &["ls-remote", "--quiet"]);
        command.arg("--").arg(&self.url.shown).arg("HEAD");
        without_questions(&mut command);
        self.url.sign_in(&mut command);
        program::run(command, timeout, stop).map(drop).map_err(|failed| self.told(failed, timeout))
    }

    fn told(&self, failed: Failed, timeout: Duration) -> FetchError {
        let url = self.url.shown.clone();
        match failed {
            Failed::TooSlow(_) => FetchError::TooSlow { url, seconds: timeout.as_secs() },
            Failed::Stopped => FetchError::Stopped,
            Failed::Said(reason) => FetchError::Failed { url, reason: self.url.redact(&reason) },
        }
    }

    fn refresh(
        &self,
        work: &Work,
        timeout: Duration,
        stop: &AtomicBool,
        hear: Option<&mut dyn FnMut(&str)>,
    ) -> Result<(), Failed> {
        let deadline = Instant::now() + timeout;
        let left = || deadline.saturating_duration_since(Instant::now());
        let is_new = !self.folder.exists();
        let folder = if is_new { self.folder.with_extension("new") } else { self.folder.clone() };
        work.clear(&folder)?;
        if !folder.join("HEAD").exists() {
            fs::create_dir_all(&folder)?;
            let init = ["init", "--quiet", "--bare", "--template="];
            program::run(work.git(&folder, &init)?, left(), stop)?;
        }
        let far = |arguments: &[&str], refs: &[&str]| {
            let mut command = work.git(&folder, arguments)?;
            command.arg("--").arg(&self.url.shown).args(refs);
            without_questions(&mut command);
            self.url.sign_in(&mut command);
            Ok::<_, Failed>(command)
        };
        let head = program::run(far(&["ls-remote", "--quiet", "--symref"], &["HEAD"])?, left(), stop)?;
        let fetch = [
            "fetch",
            if hear.is_some() { "--progress" } else { "--quiet" },
            "--prune",
            "--no-tags",
            "--no-auto-maintenance",
            "--no-recurse-submodules",
            "--no-write-fetch-head",
        ];
        // Tags by name, so that one that was moved is moved here too.
        let refs = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
        let fetch = far(&fetch, &refs)?;
        match hear {
            // Of all that it says, that.
            Some(hear) => drop(program::run_heard(fetch, left(), stop, &mut |words| {
                if words.contains('%') {
                    hear(words);
                }
            })?),
            None => drop(program::run(fetch, left(), stop)?),
        }
        let head = String::from_utf8_lossy(&head);
        let local = |arguments: &[&str]| program::run(work.git(&folder, arguments)?, left(), stop);
        match Head::of(&head) {
            Some(Head::Branch(branch)) => drop(local(&["symbolic-ref", "HEAD", branch])?),
            Some(Head::Commit(id)) => drop(local(&["update-ref", "--no-deref", "HEAD", id])?),
            // The other side has no commit yet.
            None => {}
        }
        if is_new {
            fs::rename(&folder, &self.folder)?;
        }
        Ok(())
    }

    /// What makes reading fast. That it fails is no reason not to read.
    fn tidy(&self, work: &Work, stop: &AtomicBool) {
        let tidying = [
            // Nothing is thrown away: what ran before a branch was rewritten may still be asked for.
            &["-c", "gc.auto=6700", "-c", "gc.autoDetach=false", "-c", "gc.pruneExpire=never"][..],
            &[],
        ];
        let chores = [
            &["gc", "--auto", "--quiet"][..],
            &["commit-graph", "write", "--reachable", "--changed-paths", "--split", "--no-progress"],
        ];
        for (settings, arguments) in tidying.into_iter().zip(chores) {
            let all = [settings, arguments].concat();
            let done = work.git(&self.folder, &all).map_err(Failed::from);
            match done.and_then(|command| program::run(command, PATIENCE, stop)) {
                Ok(_) | Err(Failed::Stopped) => {}
                Err(error) => {
                    let (repository, what) = (&self.name, arguments[0]);
                    tracing::info!(repository, what, %error, "a mirror cannot be tidied up; blame does without, slower");
                }
            }
        }
    }
}

/// The right to work on a mirror: one at a time. It is a lock on a file, which every git that is started here
/// holds as well (it is their standard input), so that one which outlives a killed daemon keeps it.
struct Work(fs::File);

impl Work {
    fn begin(mirror: &Path) -> Result<Self, Failed> {
        let file = mirror.with_extension("work");
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        // Held for reading as well: it is read as an empty input.
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file)?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(fs::TryLockError::WouldBlock) => {
                Err(Failed::Said("a git that was begun earlier is still at work on the mirror".to_owned()))
            }
            Err(fs::TryLockError::Error(error)) => Err(error.into()),
        }
    }

    fn git(&self, folder: &Path, arguments: &[&str]) -> io::Result<Command> {
        let mut command = git(folder, arguments);
        command.stdin(self.0.try_clone()?);
        Ok(command)
    }

    /// Removes what a killed git left in a mirror: its locks, with which no other git gets on, and packs that
    /// were never finished.
    fn clear(&self, folder: &Path) -> io::Result<()> {
        let is_lock = |name: &str| name.ends_with(".lock");
        let is_half = |name: &str| name.starts_with("tmp_") || is_lock(name);
        clear(folder, false, &is_lock)?;
        clear(&folder.join("refs"), true, &is_lock)?;
        clear(&folder.join("objects/info"), true, &is_lock)?;
        clear(&folder.join("objects/pack"), false, &is_half)
    }
}

/// Removes the files in `folder` whose names are `unwanted`; also those in folders below it if it is to be
/// `deep`.
fn clear(folder: &Path, deep: bool, unwanted: &dyn Fn(&str) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if deep {
                clear(&entry.path(), deep, unwanted)?;
            }
        } else if unwanted(&entry.file_name().to_string_lossy()) {
            tracing::info!(file = %entry.path().display(), "left behind by a git that was killed; removed");
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// What the other side has checked out.
#[derive(Debug, PartialEq, Eq)]
enum Head<'a> {
    Branch(&'a str),
    Commit(&'a str),
}

impl<'a> Head<'a> {
    /// As `git ls-remote --symref` prints it.
    fn of(printed: &'a str) -> Option<Self> {
        let mut lines = printed.lines().filter_map(|line| line.split_once('\t'));
        let (value, _) = lines.find(|(_, name)| *name == "HEAD")?;
        match value.strip_prefix("ref: ") {
            Some(branch) if branch.starts_with("refs/heads/") => Some(Self::Branch(branch)),
            Some(_) => None,
            None => Some(Self::Commit(value)).filter(|_| value.bytes().all(|byte| byte.is_ascii_hexdigit())),
        }
    }
}

/// Nobody sits before a daemon: what would ask fails instead.
fn without_questions(command: &mut Command) {
    command.env("GIT_ALLOW_PROTOCOL", PROTOCOLS.join(":"));
    let is_set = |name: &str| std::env::var_os(name).is_some();
    if !is_set("GIT_ASKPASS") {
        command.env("GIT_ASKPASS", "");
    }
    let configured = || git2::Config::open_default().is_ok_and(|c| c.get_string("core.sshCommand").is_ok());
    if !is_set("GIT_SSH_COMMAND") && !is_set("GIT_SSH") && !configured() {
        command.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |text: &str, shown: &str, name: &str| {
            let url = Url::parse(text).unwrap();
            assert_eq!((url.to_string().as_str(), url.name()), (shown, name), "{text}");
            assert_eq!(format!("{url:?}"), shown);
        };
        check("https://git.example.com/shop.git", "https://git.example.com/shop.git", "shop");
        check(
            "https://ada:s3cr%40t@git.example.com:8443/a/shop/",
            "https://git.example.com:8443/a/shop/",
            "shop",
        );
        check("HTTPS://tok3n@git.example.com/shop", "https://git.example.com/shop", "shop");
        check("ssh://git@example.com:22/a/shop.git", "ssh://git@example.com:22/a/shop.git", "shop");
        check("git@example.com:shop.git", "git@example.com:shop.git", "shop");
        check("file:///srv/git/shop.git", "file:///srv/git/shop.git", "shop");
    }

    #[test]
    fn what_is_no_address_is_not_repeated() {
        for text in [
            "--upload-pack=touch s3cret",
            "-oProxyCommand=s3cret",
            "ext::sh -c s3cret",
            "ext::s3cret",
            "ext::sh://s3cret",
            "/srv/git/s3cret",
            "s3cret",
            "https://user:s3cret/x@host/path",
            "https://host/path?token=s3cret",
            "https://user:s3cret%0a@host/path",
            "ssh://user:s3cret@host/path",
            "ssh://-oProxyCommand=s3cret/path",
            "https://s3cret@/path",
            "ftp://s3cret@host/path",
        ] {
            let why = Url::parse(text).unwrap_err();
            assert!(!why.contains("s3cret"), "{text}: {why}");
        }
    }

    #[test]
    fn secrets_are_taken_out_of_what_git_says() {
        let url = Url::parse("https://ada:s3cr%40t@example.com/shop").unwrap();
        let said = "fatal: https://x:y@z/ s3cr@t s3cr%40t ada:s3cr%40t";
        let told = url.redact(said);
        assert!(
            !told.contains("s3cr@t") && !told.contains("ada:s3cr%40t") && !told.contains("x:y"),
            "{told}"
        );
        let token = Url::parse("https://tok3n@example.com/shop").unwrap();
        assert_eq!(token.redact("no tok3n"), "no ***");
    }

    #[test]
    fn heads() {
        assert_eq!(
            Head::of("ref: refs/heads/main\tHEAD\n1234\tHEAD\n"),
            Some(Head::Branch("refs/heads/main"))
        );
        assert_eq!(Head::of("1234\tHEAD\n"), Some(Head::Commit("1234")));
        assert_eq!(Head::of(""), None);
    }
}

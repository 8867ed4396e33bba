//! Whether what was answered works: a mail is sent, the repository is fetched, a traceback is explained.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use super::super::{Failure, explain, house};
use super::questions::About;
use super::talk::{Heard, Stop, Talk};
use crate::blame::mirror::{FetchError, Mirror};
use crate::blame::{BlameError, RevisionHints};
use crate::config::{Config, Source};
use crate::notify::{Transport, trial};
use crate::store::Store;

/// How often it is said how far a fetch is.
const SAY_EVERY: Duration = Duration::from_millis(100);
/// A server that does not answer a person in that time does not answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is wrong: a sentence, what to do, what was said, and which answer it is about.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) fix: String,
    pub(super) said: String,
    pub(super) about: About,
}

impl Wrong {
    /// Everything of it, for an error message.
    pub(super) fn in_words(&self) -> String {
        let said = if self.said.is_empty() { String::new() } else { format!("\nit said: {}", self.said) };
        format!("{}{said}\n\nhint: {}", self.what, self.fix)
    }
}

/// Sends the trial mail; what the server said.
pub(super) async fn mail(config: &Config, to: &str) -> Result<String, Wrong> {
    let broken = |failure: Failure| Wrong {
        what: failure.to_string(),
        fix: "Answer again.".to_owned(),
        said: String::new(),
        about: About::MailServer,
    };
    let mut settings = house::notify_settings(config, Some(house::known_url(config))).map_err(broken)?;
    let to = to.parse().map_err(|_| broken(Failure::Failed(format!("{to:?} is no mail address"))))?;
    let Transport::Smtp(smtp) = &mut settings.transport else {
        return Ok(house::where_mails_go(&settings));
    };
    smtp.timeout = smtp.timeout.min(PATIENCE);
    let smtp = smtp.clone();
    trial::send(&smtp, &settings, &to).await.map_err(|trouble| {
        let advice = trouble.advice(&smtp);
        Wrong { what: advice.what, fix: advice.fix, said: advice.said, about: About::MailServer }
    })
}

/// Makes sure that every repository can be read: what is elsewhere is fetched, with a word on how far it is.
pub(super) async fn repositories(
    config: &Config,
    talk: &mut Talk,
    made: &mut Made,
) -> Result<Result<(), Wrong>, Stop> {
    let project = &config.projects[0];
    for repository in &project.repositories {
        if let Source::Elsewhere(url) = &repository.source {
            made.data_dir(&config.data_dir)?;
            let folder = config.folder_of(repository);
            made.begin(&folder);
            let mirror = Mirror { name: repository.name.clone(), url: url.clone(), folder };
            if let Err(wrong) = fetch(mirror, config.fetch.timeout, talk).await? {
                return Ok(Err(wrong));
            }
        }
        let (blamer, name) = (house::blamer(config), repository.name.clone());
        let tip = tokio::task::spawn_blocking(move || blamer.resolve(&name, &RevisionHints::default()));
        match talk.while_doing(tip).await?.expect("reading does not panic") {
            Ok(tip) => {
                made.is_whole(&config.folder_of(repository));
                talk.say_in(&format!(
                    "{}: {} ({})",
                    repository.name,
                    tip.commit.short(),
                    explain::plain(&tip.how)
                ));
            }
            Err(error) => {
                let (about, fix) = match &error {
                    BlameError::Empty { .. } => {
                        (About::Repository, "Push a commit first, or name another repository.".to_owned())
                    }
                    _ => (About::Branch, "See whether repository and branch are right.".to_owned()),
                };
                return Ok(Err(Wrong { what: format!("{error}."), fix, said: String::new(), about }));
            }
        }
    }
    Ok(Ok(()))
}

/// What was made on the way, to be taken away again where it is only half there.
#[derive(Default)]
pub(super) struct Made {
    data_dir: Option<PathBuf>,
    copies: Vec<PathBuf>,
}

impl Made {
    fn data_dir(&mut self, folder: &Path) -> Result<(), Failure> {
        if !folder.exists() {
            Store::make_folder(folder).map_err(house::failure)?;
            self.data_dir = Some(folder.to_owned());
        }
        Ok(())
    }

    /// A copy of a repository is begun.
    fn begin(&mut self, folder: &Path) {
        if !folder.exists() {
            self.copies.push(folder.to_owned());
        }
    }

    /// It is there, and can be read.
    fn is_whole(&mut self, folder: &Path) {
        self.copies.retain(|copy| copy != folder);
    }

    /// Takes away what is half there, and folders with nothing of worth in them. Copies that are whole stay.
    pub(super) fn tidy(&self) {
        for copy in &self.copies {
            for half in [copy.clone(), copy.with_extension("new")] {
                let _ = std::fs::remove_dir_all(half);
            }
            let _ = std::fs::remove_file(copy.with_extension("work"));
            let _ = copy.parent().map(std::fs::remove_dir);
        }
        if let Some(folder) = &self.data_dir {
            let left = std::fs::read_dir(folder).into_iter().flatten().flatten();
            if left.into_iter().all(|entry| entry.file_name() == ".gitignore") {
                let _ = std::fs::remove_dir_all(folder);
            }
        }
    }
}

async fn fetch(mirror: Mirror, timeout: Duration, talk: &mut Talk) -> Result<Result<(), Wrong>, Stop> {
    let stop = Arc::new(AtomicBool::new(false));
    let (say, said) = mpsc::channel::<String>();
    let shown = mirror.url.to_string();
    let fetching = tokio::task::spawn_blocking({
        let stop = Arc::clone(&stop);
        move || mirror.fetch(timeout, &stop, Some(&mut |line: &str| drop(say.send(line.to_owned()))))
    });
    talk.say_in(&format!("fetching {shown}"));
    let telling = async {
        tokio::pin!(fetching);
        loop {
            tokio::select! {
                done = &mut fetching => return done.expect("fetching does not panic"),
                () = tokio::time::sleep(SAY_EVERY) => {
                    if let Some(line) = said.try_iter().last() {
                        Talk::progress(&format!("  {line}"));
                    }
                }
            }
        }
    };
    let done = talk.while_doing(telling).await;
    Talk::progress("");
    let done = match done {
        Ok(done) => done,
        Err(stopped) => {
            // Git is ended, and tidies up after itself.
            stop.store(true, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            return Err(stopped);
        }
    };
    Ok(done.map_err(|error| {
        let (what, fix) = advice(&error);
        Wrong { what, fix, said: explain::plain(&error.to_string()), about: About::Repository }
    }))
}

/// What is wrong with a fetch, and what to do.
fn advice(error: &FetchError) -> (String, String) {
    let FetchError::Failed { reason, .. } = error else {
        let fix =
            "Set timeout_seconds in the section [fetch] higher, or clone it yourself and answer its folder.";
        return ("The repository is too large to be fetched in that time.".to_owned(), fix.to_owned());
    };
    let lower = reason.to_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    let (what, fix) = if has(&["permission denied (", "publickey"]) {
        (
            "The server does not know this user's ssh key.",
            "Make one without a passphrase (ssh-keygen) for the user who will run the daemon, and allow it to read the repository (a deploy key).",
        )
    } else if has(&["host key verification failed"]) {
        (
            "This machine has never seen that server by ssh.",
            "Run `ssh HOST` once as the user who will run the daemon, and look at the key that it shows.",
        )
    } else if has(&[
        "authentication failed",
        "could not read username",
        "could not read password",
        "invalid username",
        "403",
        "401",
    ]) {
        (
            "The server wants another user or password.",
            "Put them into the address: https://USER:TOKEN@HOST/PATH. Most servers have tokens that can only read.",
        )
    } else if has(&["could not resolve host", "name or service not known", "could not resolve hostname"]) {
        ("There is no machine of that name.", "See whether the address is right.")
    } else if has(&["not found", "does not exist", "does not appear to be a git repository", "404"]) {
        (
            "There is no repository at that address, or none that this user may see.",
            "See whether the address is right; a private repository needs a user and a token in it.",
        )
    } else if has(&[
        "connection refused",
        "failed to connect",
        "timed out",
        "could not connect",
        "no route to host",
    ]) {
        (
            "The server cannot be reached.",
            "See whether host and port are right, and whether a firewall is in between.",
        )
    } else if has(&["certificate", "ssl"]) {
        (
            "The certificate of the server is not trusted here.",
            "Have it renewed, or have git trust it: git config --global http.sslCAInfo FILE.",
        )
    } else if has(&["git: "]) {
        ("The program git could not be run.", "Install git.")
    } else {
        (
            "The repository cannot be fetched.",
            "Try what git says to: git ls-remote with that address, as the user who will run the daemon.",
        )
    };
    (what.to_owned(), fix.to_owned())
}

/// Explains a traceback, pasted or made up.
pub(super) async fn traceback(config: &Config, talk: &mut Talk) -> Result<(), Stop> {
    talk.say(
        "Paste a traceback of a program to see whom it would mail; end it with a line that holds only a dot. \
              Enter makes one up.",
    );
    let mut text = String::new();
    loop {
        match talk.line(if text.is_empty() { "> " } else { "" }).await? {
            Heard::End => break,
            Heard::Line(line) if line == "." || (line.is_empty() && text.is_empty()) => break,
            Heard::Line(line) => {
                text.push_str(&line);
                text.push('\n');
            }
        }
    }
    let said = talk.while_doing(explained(config.clone(), text)).await?;
    match said {
        Ok(words) => talk.show(&words),
        Err(failure) => {
            talk.say_in(&format!("{failure}. It changes nothing; `blamed explain` shows it again."))
        }
    }
    Ok(())
}

/// What would come of a traceback; of one that is made up where `text` is empty.
pub(super) async fn explained(config: Config, text: String) -> Result<String, Failure> {
    let work = move || {
        let text = match text.trim() {
            "" => house::trial_report(&house::blamer(&config), &config).ok_or_else(|| {
                Failure::Failed(
                    "No traceback can be made up: there is no line of code in the repository".to_owned(),
                )
            })?,
            _ => text,
        };
        explain::explanations(&config, 0, text.as_bytes()).map(|words| words.join("\n\n"))
    };
    tokio::task::spawn_blocking(work).await.expect("explaining does not panic")
}

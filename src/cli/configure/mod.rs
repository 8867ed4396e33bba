//! `blamed configure`: from nothing to the first mail.
//!
//! The answers are asked for one by one (`questions`, `talk`), shown for review, and proven: a mail is sent, the
//! repository is fetched, a traceback is explained (`prove`). Only then is anything written (`edit`, `draft`).
//! Whoever stops before keeps a draft of the answers, and goes on there the next time.

pub(super) mod draft;
pub(super) mod edit;
mod look;
mod prove;
mod questions;
mod talk;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use self::draft::Draft;
use self::edit::{Edit, MAIL, PROJECT, REPOSITORY, TOP, WEB};
use self::prove::{Made, Wrong};
use self::questions::{About, Answers, Setting};
use self::talk::{Stop, Talk};
use super::{Failure, Place, house, print_line};
use crate::config::{self, Config, ConfigError, EXAMPLE, Environment};
use crate::notify::trial::{self, Speech};
use crate::pipeline::random_id;
use crate::store::Store;

/// The variable of the mail server's password.
const PASSWORD: &str = "BLAMED_MAIL_SMTP_PASSWORD";
/// The file of the password, beside the configuration.
const PASSWORD_FILE: &str = "smtp-password";

/// Set blamed up: ten questions, a trial mail, a fetched repository, a configuration file.
///
/// Every question has a suggestion, found by looking around; an existing file is changed, and keeps its
/// comments. Nothing is written before you have seen all answers and they were tried. Ctrl-C at any point leaves
/// nothing half done; the next run goes on there. With --non-interactive the answers are the options below, the
/// environment (`blamed options`), the existing file, and what is found by looking around.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Ask nothing
    #[arg(long)]
    non_interactive: bool,
    /// Write the file without trying the answers
    #[arg(long, requires = "non_interactive")]
    no_proof: bool,
    /// Forget the answers of a run that was interrupted
    #[arg(long)]
    anew: bool,
    /// Folder of a clone, or address to clone from
    #[arg(long, value_name = "DIR or URL")]
    repository: Option<String>,
    /// Branch that runs in production, or a pattern such as release-*
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// How browsers and programs reach the daemon
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Mail server; `none`: mails are written into files
    #[arg(long, value_name = "HOST:PORT")]
    mail_server: Option<String>,
    /// Encryption: none, starttls or implicit [default: found out]
    #[arg(long, value_name = "HOW", value_parser = ["none", "starttls", "implicit"])]
    mail_encryption: Option<String>,
    /// User at the mail server; its password is read from BLAMED_MAIL_SMTP_PASSWORD, or --mail-password-file
    #[arg(long, value_name = "NAME")]
    mail_user: Option<String>,
    /// File that holds the password of the user at the mail server
    #[arg(long, value_name = "FILE")]
    mail_password_file: Option<PathBuf>,
    /// Domain of the developers' addresses; `none`: addresses stay as git has them
    #[arg(long, value_name = "DOMAIN")]
    mail_domain: Option<String>,
    /// Whether all developers' addresses are on that domain: yes or no
    #[arg(long, value_name = "YES or NO")]
    all_on_domain: Option<String>,
    /// Who is told where nobody else can be found, and the first admin of the pages
    #[arg(long, value_name = "MAIL")]
    default_contact: Option<String>,
}

/// Where the password is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PasswordIn {
    File,
    Environment,
    Configuration,
}

/// What a set-up is made of.
struct SetUp {
    /// The configuration file, whole.
    file: PathBuf,
    /// Its text as it is; the manual, where there is none.
    before: String,
    setting: Setting,
    answers: Answers,
    password_in: PasswordIn,
    key: String,
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let interactive = !arguments.non_interactive;
    if interactive && !(std::io::stdin().is_terminal() && std::io::stderr().is_terminal()) {
        return Err(Failure::Wrong(
            "this is no terminal, so there is nobody to ask\n\nhint: `blamed configure --non-interactive` takes the \
             answers from its options and the environment; --help lists them"
                .to_owned(),
        ));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .map_err(Failure::failed)?;
    let done = runtime.block_on(async {
        let mut talk = Talk::begin()?;
        let mut set_up = SetUp::look_around(&arguments, &mut talk).await?;
        if !interactive {
            return set_up.by_itself(&arguments, &mut talk).await;
        }
        let mut draft = Draft { answers: Answers::default(), next: 0 };
        let mut made = Made::default();
        let done = set_up.interview(&arguments, &mut talk, &mut draft, &mut made).await;
        if done.is_err() {
            made.tidy();
        }
        match done {
            Err(Stop::Interrupted) if draft.next > 0 => {
                draft.answers = set_up.answers.clone();
                let kept = draft.keep(&set_up.file);
                talk.say("");
                match kept {
                    Ok(()) => talk.say(
                        "Stopped. Nothing is written but your answers; `blamed configure` goes on there.",
                    ),
                    Err(error) => talk.say(&format!("Stopped. Nothing is written ({error}).")),
                }
                Err(Stop::Interrupted)
            }
            Err(Stop::Interrupted) => {
                talk.say("");
                talk.say("Stopped. Nothing is written.");
                Err(Stop::Interrupted)
            }
            other => other,
        }
    });
    // A read that nobody waits for any more is left to the system.
    runtime.shutdown_background();
    match done {
        Ok(()) => Ok(()),
        Err(Stop::Interrupted) => Err(Failure::Failed("interrupted".to_owned())),
        Err(Stop::Failed(failure)) => Err(failure),
    }
}

impl SetUp {
    /// Finds out what can be found out.
    async fn look_around(arguments: &Arguments, talk: &mut Talk) -> Result<Self, Stop> {
        let file = arguments.place.config.clone().unwrap_or_else(|| house::DEFAULT_CONFIG.into());
        let file = std::path::absolute(&file).map_err(Failure::failed)?;
        let before = match std::fs::read_to_string(&file) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(Failure::Wrong(format!("{}: {error}", file.display())).into()),
        };
        let environment = Environment::of_process();
        let text = before.as_deref().unwrap_or_default();
        let config = Config::read(Some(&file), text, &environment).map_err(|error| {
            Failure::wrong(format!("{error}\n\nhint: mend these first, or take the file away"))
        })?;
        let is_there = before.is_some() || !config.environment.is_empty();
        let config = config.config;
        let folder = file.parent().unwrap_or(Path::new("/")).to_owned();
        let ports = talk.while_doing(trial::open_ports("localhost")).await?;
        let setting = Setting {
            folder,
            here: look::at(Path::new(".")),
            host: house::host_name(),
            ports,
            config: is_there.then(|| config.clone()),
        };
        let mut answers = if is_there { Answers::of(&config) } else { Answers::default() };
        if before.is_none() && config.mail.smtp.is_none() {
            answers.mail_server.clear();
        }
        if before.is_none() && std::env::var_os("BLAMED_DATA_DIR").is_none() {
            answers.data_dir.clear();
        }
        if before.is_none() && config.public_url.is_none() {
            answers.address.clear();
        }
        let given = [
            (About::Repository, &arguments.repository),
            (About::Branch, &arguments.branch),
            (About::Address, &arguments.public_url),
            (About::MailServer, &arguments.mail_server),
            (About::MailUser, &arguments.mail_user),
            (About::Domain, &arguments.mail_domain),
            (About::AllOnDomain, &arguments.all_on_domain),
            (About::Contact, &arguments.default_contact),
        ];
        for (about, given) in given {
            if let Some(given) = given {
                about.of(&mut answers).clone_from(given);
            }
        }
        if let Some(folder) = &arguments.place.data_dir {
            let folder = std::path::absolute(folder).map_err(Failure::failed)?;
            answers.data_dir = folder.display().to_string();
        }
        if let Some(how) = &arguments.mail_encryption {
            answers.encryption.clone_from(how);
        }
        if let Some(file) = &arguments.mail_password_file {
            let text = std::fs::read_to_string(file)
                .map_err(|error| Failure::Wrong(format!("{}: {error}", file.display())))?;
            answers.mail_password = text.trim_end_matches(['\r', '\n']).to_owned();
        }
        let key = config.projects.first().and_then(|project| project.key.clone()).unwrap_or_default();
        Ok(Self {
            file,
            before: before.unwrap_or_else(|| EXAMPLE.to_owned()),
            setting,
            answers,
            password_in: PasswordIn::File,
            key,
        })
    }

    /// Everything without a question.
    async fn by_itself(&mut self, arguments: &Arguments, talk: &mut Talk) -> Result<(), Stop> {
        let mut wrong = Vec::new();
        for about in About::ALL {
            if !about.applies(&self.answers) {
                continue;
            }
            let mut given = about.of(&mut self.answers).clone();
            if given.is_empty() {
                given = about.suggestion(&self.answers, &self.setting);
            }
            match about.check(&given, &self.answers, &self.setting) {
                Ok(answer) => *about.of(&mut self.answers) = answer,
                Err(why) => wrong.push(format!("{}: {why}", about.name())),
            }
        }
        if !wrong.is_empty() {
            return Err(Failure::Wrong(format!(
                "these answers are missing or wrong:\n  {}\n\nhint: --help lists the options; `blamed options` the environment",
                wrong.join("\n  ")
            ))
            .into());
        }
        self.find_encryption(talk).await?;
        let config = self.config()?;
        if !arguments.no_proof {
            let mut made = Made::default();
            let proven = self.prove_by_itself(&config, talk, &mut made).await;
            if proven.is_err() {
                made.tidy();
            }
            proven?;
        }
        self.write(talk)?;
        self.introduce(&config, talk)
    }

    async fn prove_by_itself(&self, config: &Config, talk: &mut Talk, made: &mut Made) -> Result<(), Stop> {
        let failed = |wrong: Wrong| Failure::Failed(wrong.in_words());
        let said = talk.while_doing(prove::mail(config, &self.answers.contact)).await?.map_err(failed)?;
        talk.say(&format!("mail: {said}"));
        prove::repositories(config, talk, made).await?.map_err(failed)?;
        Ok(())
    }

    /// The questions, the review and the proof, as often as it takes; then everything is written.
    async fn interview(
        &mut self,
        arguments: &Arguments,
        talk: &mut Talk,
        draft: &mut Draft,
        made: &mut Made,
    ) -> Result<(), Stop> {
        talk.say("Enter takes what is suggested, < goes back, Ctrl-C stops. Nothing is written before you have seen \
                  and tried it all.");
        if arguments.anew {
            Draft::forget(&self.file);
        } else if let Some(kept) = Draft::read(&self.file) {
            talk.say("You stopped here before: on with the answers of then (--anew forgets them).");
            self.answers = kept.answers;
            draft.next = kept.next;
        }
        while let Some(about) = About::ALL.get(draft.next) {
            match self.ask(*about, draft.next + 1, talk).await? {
                Asked::Answered => draft.next += 1,
                Asked::Back => draft.next = self.before(draft.next),
            }
        }
        loop {
            self.review(talk).await?;
            let config = self.config()?;
            match self.prove(&config, talk, made).await? {
                None => break,
                Some(about) => {
                    self.ask(
                        about,
                        About::ALL.iter().position(|a| *a == about).unwrap_or_default() + 1,
                        talk,
                    )
                    .await?;
                }
            }
        }
        let config = self.config()?;
        self.write(talk)?;
        Draft::forget(&self.file);
        self.introduce(&config, talk)
    }

    /// The question before one.
    fn before(&self, at: usize) -> usize {
        (0..at).rev().find(|at| About::ALL[*at].applies(&self.answers)).unwrap_or(0)
    }

    /// Asks one question until the answer will do.
    async fn ask(&mut self, about: About, number: usize, talk: &mut Talk) -> Result<Asked, Stop> {
        if !about.applies(&self.answers) {
            about.of(&mut self.answers).clear();
            return Ok(Asked::Answered);
        }
        talk.say("");
        talk.say(&format!("{number}. {}", about.question()));
        talk.say_in(about.help());
        let suggestion = match about.of(&mut self.answers).as_str() {
            "" => about.suggestion(&self.answers, &self.setting),
            given => given.to_owned(),
        };
        let secret = about == About::MailPassword;
        if !suggestion.is_empty() && !secret {
            talk.say_in(&format!("Enter: {suggestion}"));
        } else if secret && about.check("", &self.answers, &self.setting).is_ok() {
            talk.say_in("Enter: the one that is configured");
        } else if about.check("", &self.answers, &self.setting).is_ok() {
            talk.say_in("Enter: none");
        }
        loop {
            let line = match secret {
                true => talk.ask_secretly("> ").await?,
                false => talk.ask("> ").await?,
            };
            if line.trim() == "<" {
                return Ok(Asked::Back);
            }
            let answer = match line.trim() {
                "" if secret => "",
                "" => suggestion.as_str(),
                answer if secret => {
                    // Blanks may be part of it.
                    let _ = answer;
                    line.as_str()
                }
                answer => answer,
            };
            match about.check(answer, &self.answers, &self.setting) {
                Ok(answer) => {
                    let changed = *about.of(&mut self.answers) != answer;
                    *about.of(&mut self.answers) = answer;
                    if about == About::MailServer && (changed || self.answers.encryption.is_empty()) {
                        self.answers.encryption.clear();
                        self.find_encryption(talk).await?;
                    }
                    return Ok(Asked::Answered);
                }
                Err(why) => talk.say_in(&why),
            }
        }
    }

    /// Finds out how the mail server wants to be spoken to, where nobody has said it.
    async fn find_encryption(&mut self, talk: &mut Talk) -> Result<(), Stop> {
        if !self.answers.sends_mail() || !self.answers.encryption.is_empty() {
            return Ok(());
        }
        let (host, port) = self.answers.server();
        let heard = talk.while_doing(trial::listen(&host, port)).await?;
        let here = matches!(host.as_str(), "localhost" | "127.0.0.1" | "::1");
        let how = match heard {
            Speech::Tls => "implicit",
            _ if port == 465 => "implicit",
            _ if here => "none",
            _ => "starttls",
        };
        how.clone_into(&mut self.answers.encryption);
        talk.say_in(match heard {
            Speech::Nobody => "Nothing answers there now; that is tried again later.",
            Speech::Silence => "It answers, but has not said anything yet; that is tried again later.",
            Speech::Other => "Something answers that is no mail server.",
            Speech::Smtp if how == "none" => {
                "It answers, and is spoken to in the clear, being on this machine."
            }
            Speech::Smtp => "It answers, and is asked to encrypt (STARTTLS).",
            Speech::Tls => "It answers, encrypted from the first byte.",
        });
        Ok(())
    }

    /// Shows all answers until they are what is wanted, and will do together.
    async fn review(&mut self, talk: &mut Talk) -> Result<(), Stop> {
        loop {
            // What was right when it was asked may not be any more.
            for (at, about) in About::ALL.into_iter().enumerate() {
                let answer = about.of(&mut self.answers).clone();
                if about.applies(&self.answers)
                    && let Err(why) = about.check(&answer, &self.answers, &self.setting)
                {
                    talk.say(&why);
                    self.ask(about, at + 1, talk).await?;
                }
            }
            talk.say("");
            talk.say("Your answers:");
            for (at, about) in About::ALL.into_iter().enumerate() {
                if !about.applies(&self.answers) {
                    continue;
                }
                let shown = match about.of(&mut self.answers).as_str() {
                    "" if about == About::MailPassword => "(the one that is configured)".to_owned(),
                    _ if about == About::MailPassword => "(typed)".to_owned(),
                    "" => "none".to_owned(),
                    answer => crate::blame::mirror::without_logins(answer),
                };
                talk.show(&format!("{:>3} {:<16} {shown}", at + 1, about.name()));
            }
            if self.answers.sends_mail() {
                talk.show(&format!("  e {:<16} {}", "encryption", self.answers.encryption));
                if !self.answers.mail_password.is_empty() {
                    let kept = match self.password_in {
                        PasswordIn::File => format!("in {}", self.password_file().display()),
                        PasswordIn::Environment => format!("in the environment ({PASSWORD})"),
                        PasswordIn::Configuration => "in the configuration file".to_owned(),
                    };
                    talk.show(&format!("  p {:<16} {kept}", "password kept"));
                }
            }
            talk.show(&format!("    {:<16} {}", "to be written", self.file.display()));
            talk.say("Enter tries them; a number or letter changes one; q stops.");
            let line = talk.ask("> ").await?;
            match line.trim() {
                "" => return Ok(()),
                "q" => return Err(Stop::Interrupted),
                "e" if self.answers.sends_mail() => {
                    let how = talk.ask("none, starttls or implicit? ").await?;
                    match how.trim() {
                        how @ ("none" | "starttls" | "implicit") => {
                            how.clone_into(&mut self.answers.encryption)
                        }
                        _ => talk.say_in("That is none of the three; it stays as it is."),
                    }
                }
                "p" => {
                    self.password_in = match self.password_in {
                        PasswordIn::File => PasswordIn::Environment,
                        PasswordIn::Environment => PasswordIn::Configuration,
                        PasswordIn::Configuration => PasswordIn::File,
                    }
                }
                number => match number
                    .parse::<usize>()
                    .ok()
                    .and_then(|n| Some((n, *About::ALL.get(n.checked_sub(1)?)?)))
                {
                    Some((number, about)) => {
                        self.ask(about, number, talk).await?;
                    }
                    None => talk.say_in("That is no number of an answer."),
                },
            }
        }
    }

    /// Tries everything. What is to be asked again, if something is.
    async fn prove(&self, config: &Config, talk: &mut Talk, made: &mut Made) -> Result<Option<About>, Stop> {
        talk.say("");
        loop {
            talk.say(&match self.answers.sends_mail() {
                true => {
                    format!("Mail: sending one to {} by {}", self.answers.contact, self.answers.mail_server)
                }
                false => "Mail:".to_owned(),
            });
            match talk.while_doing(prove::mail(config, &self.answers.contact)).await? {
                Ok(said) => {
                    talk.say_in(&crate::cli::explain::plain(&said));
                    break;
                }
                Err(wrong) => match self.what_now(wrong, talk).await? {
                    Now::Again => {}
                    Now::Change(about) => return Ok(Some(about)),
                    Now::On => break,
                },
            }
        }
        loop {
            talk.say("Repository:");
            match prove::repositories(config, talk, made).await? {
                Ok(()) => {
                    talk.say("");
                    prove::traceback(config, talk).await?;
                    return Ok(None);
                }
                Err(wrong) => match self.what_now(wrong, talk).await? {
                    Now::Again => {}
                    Now::Change(about) => return Ok(Some(about)),
                    Now::On => return Ok(None),
                },
            }
        }
    }

    /// Says what is wrong, and asks what is to be done about it.
    async fn what_now(&self, wrong: Wrong, talk: &mut Talk) -> Result<Now, Stop> {
        talk.say_in(&wrong.what);
        if !wrong.said.is_empty() {
            talk.say_in(&format!("It said: {}", wrong.said));
        }
        talk.say_in(&wrong.fix);
        loop {
            talk.say("Enter: change the answers; t: try again; s: go on without; q: stop.");
            match talk.ask("> ").await?.trim() {
                "" => return Ok(Now::Change(wrong.about)),
                "t" => return Ok(Now::Again),
                "s" => return Ok(Now::On),
                "q" => return Err(Stop::Interrupted),
                _ => {}
            }
        }
    }

    fn password_file(&self) -> PathBuf {
        self.setting.folder.join(PASSWORD_FILE)
    }

    /// The project's name.
    fn project(&self) -> String {
        let configured = self.setting.config.as_ref().and_then(|config| config.projects.first());
        match (configured, self.answers.url()) {
            (Some(project), _) => project.name.clone(),
            (None, Some(url)) => url.name().to_owned(),
            (None, None) => config::folder_name(Path::new(&self.answers.repository)),
        }
    }

    /// The text of the file that the answers make.
    fn text(&mut self) -> String {
        let (project, listen) = (self.project(), self.answers.listen(&self.setting));
        if self.key.is_empty() {
            let known = Store::open_to_read(&self.setting.folder.join(&self.answers.data_dir)).ok().flatten();
            let known = known.and_then(|store| {
                let keys = store.read(|tx| {
                    let id = tx.project_of_name(&project)?;
                    id.map(|id| tx.keys(id)).transpose()
                });
                keys.ok().flatten()?.into_iter().next()
            });
            self.key = known.unwrap_or_else(random_id);
        }
        let answers = &self.answers;
        let mut edit = Edit::new(&self.before);
        edit.set(TOP, "listen", listen.to_string());
        edit.set(TOP, "public_url", answers.address.as_str());
        let folder = self.setting.folder.join(&answers.data_dir);
        if self.setting.config.as_ref().is_none_or(|config| config.data_dir != folder) {
            edit.set(TOP, "data_dir", answers.data_dir.as_str());
        }
        edit.set(TOP, "default_contact", answers.contact.as_str());
        if answers.sends_mail() {
            let (host, port) = answers.server();
            edit.unset(MAIL, "folder");
            edit.set(MAIL, "smtp_host", host);
            edit.set(MAIL, "smtp_port", i64::from(port));
            edit.set(MAIL, "smtp_tls", answers.encryption.as_str());
            if answers.mail_user.is_empty() {
                for key in ["smtp_user", "smtp_password", "smtp_password_file"] {
                    edit.unset(MAIL, key);
                }
            } else {
                edit.set(MAIL, "smtp_user", answers.mail_user.as_str());
                self.place_password(&mut edit);
            }
        } else {
            for key in [
                "smtp_host",
                "smtp_port",
                "smtp_tls",
                "smtp_user",
                "smtp_password",
                "smtp_password_file",
                "smtp_ca_file",
                "smtp_helo",
            ] {
                edit.unset(MAIL, key);
            }
        }
        let from = self.setting.config.as_ref().and_then(|config| config.mail.from.clone());
        edit.set(MAIL, "from", from.unwrap_or_else(|| answers.from()));
        match answers.domain.as_str() {
            "" => edit.unset(MAIL, "email_domain"),
            domain => edit.set(MAIL, "email_domain", domain),
        }
        edit.set(MAIL, "ignore_vcs_email_domain", answers.all_on_domain == "yes");
        edit.set(WEB, "admin", answers.contact.as_str());
        edit.set(PROJECT, "name", project);
        let has_key_file = self.before.lines().any(|line| line.starts_with("key_file"));
        if !has_key_file {
            edit.set(PROJECT, "key", self.key.as_str());
        }
        let configured = self.setting.config.as_ref().and_then(|config| config.projects.first());
        let source =
            configured.and_then(|project| project.repositories.first()).map(|repository| &repository.source);
        let unchanged = source.is_some_and(|source| source.to_string() == answers.repository);
        if !unchanged {
            let (set, unset) = match answers.url() {
                Some(_) => ("url", "path"),
                None => ("path", "url"),
            };
            edit.unset(REPOSITORY, unset);
            edit.unset(REPOSITORY, "url_file");
            edit.set(REPOSITORY, set, answers.repository.as_str());
        }
        let is_pattern = answers.branch.contains(['*', '?', '[', '{']);
        for (key, wanted) in [("branch", !is_pattern), ("branch_pattern", is_pattern)] {
            match wanted && !answers.branch.is_empty() {
                true => edit.set(REPOSITORY, key, answers.branch.as_str()),
                false => edit.unset(REPOSITORY, key),
            }
        }
        edit.text().to_owned()
    }

    fn place_password(&self, edit: &mut Edit) {
        if self.answers.mail_password.is_empty() {
            return;
        }
        let file = self.password_file();
        match self.password_in {
            PasswordIn::File => {
                edit.unset(MAIL, "smtp_password");
                edit.set(MAIL, "smtp_password_file", file.display().to_string());
            }
            PasswordIn::Environment => {
                edit.unset(MAIL, "smtp_password");
                edit.unset(MAIL, "smtp_password_file");
            }
            PasswordIn::Configuration => {
                edit.unset(MAIL, "smtp_password_file");
                edit.set(MAIL, "smtp_password", self.answers.mail_password.as_str());
            }
        }
    }

    /// The configuration that the answers make, read as the daemon will read it.
    fn config(&mut self) -> Result<Config, Failure> {
        let text = self.text();
        let mut environment = Environment::of_process();
        if !self.answers.mail_password.is_empty() && self.answers.sends_mail() {
            // Its file is not there yet.
            environment =
                environment.with(PASSWORD, &self.answers.mail_password).without(&format!("{PASSWORD}_FILE"));
        }
        match Config::read(Some(&self.file), &text, &environment) {
            Ok(loaded) => Ok(loaded.config),
            Err(problems) => Err(Failure::wrong(ConfigError::Wrong(problems))),
        }
    }

    /// Writes what there is to write: the password first, so that the file is never there without it.
    fn write(&mut self, talk: &Talk) -> Result<(), Failure> {
        let text = self.text();
        let failed = |file: &Path, error: std::io::Error| {
            let hint = "run it as a user who may write there, or name another file with --config";
            Failure::Failed(format!("{} cannot be written: {error}\n\nhint: {hint}", file.display()))
        };
        let password = &self.answers.mail_password;
        talk.say("");
        if self.answers.sends_mail() && !password.is_empty() && self.password_in == PasswordIn::File {
            let file = self.password_file();
            draft::write(&file, format!("{password}\n").as_bytes()).map_err(|error| failed(&file, error))?;
            talk.show(&format!("Written: {}", file.display()));
        }
        draft::write(&self.file, text.as_bytes()).map_err(|error| failed(&self.file, error))?;
        talk.show(&format!("Written: {}", self.file.display()));
        Ok(())
    }

    /// Says how to start, and what to put into the programs that fail.
    fn introduce(&self, config: &Config, talk: &Talk) -> Result<(), Stop> {
        let file = house::quoted(&self.file.display().to_string());
        let url = &self.answers.address;
        talk.say("");
        talk.say("To start it:");
        print_line(&format!("blamed start --config {file}"))?;
        let password = self.answers.sends_mail() && !self.answers.mail_password.is_empty();
        if password && self.password_in == PasswordIn::Environment {
            talk.say(&format!("with the password in its environment, as {PASSWORD} or {PASSWORD}_FILE."));
        }
        talk.say("");
        talk.say("To report to it, put into your programs whichever they know:");
        let (scheme, host) = url.split_once("://").unwrap_or(("http", url));
        print_line(&format!("Sentry DSN: {scheme}://{}@{host}/1", self.key))?;
        print_line(&format!(
            "OTLP: OTEL_EXPORTER_OTLP_ENDPOINT={url} OTEL_EXPORTER_OTLP_HEADERS=authorization=Bearer%20{}",
            self.key
        ))?;
        print_line(&format!("anything: blamed report --server {url} --key {} traceback.txt", self.key))?;
        talk.say("");
        talk.say(&match config.web.sign_in {
            crate::web::SignIn::Required => format!(
                "The pages are at {url}. When it first starts, {} gets a link that makes them the admin.",
                self.answers.contact
            ),
            crate::web::SignIn::Off => format!("The pages are at {url}, for everybody who reaches them."),
        });
        talk.say("`blamed doctor` says how it stands, at any time.");
        Ok(())
    }
}

/// What came of a question.
enum Asked {
    Answered,
    Back,
}

/// What is done about something that does not work.
enum Now {
    Again,
    Change(About),
    On,
}

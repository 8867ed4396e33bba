//! `blamed configure`: from nothing to the first mail.
//!
//! The answers are asked for one by one (`questions`, `talk`), shown for review, and proven: a mail is sent, the
//! repository is fetched, a traceback is explained (`prove`). Only then is anything written (`file`, `edit`,
//! `draft`), and a service made of it where that is wanted (`unit`). Whoever stops before keeps a draft of the
//! answers, and goes on there the next time.

pub(super) mod draft;
pub(super) mod edit;
mod file;
mod look;
mod prove;
mod questions;
mod talk;
mod unit;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use self::draft::Draft;
use self::prove::{Made, Wrong};
use self::questions::{About, Answers, Setting};
use self::talk::{Stop, Talk};
use super::{Failure, Place, house};
use crate::config::{Config, EXAMPLE, Environment};
use crate::notify::trial::{self, Speech};

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
    /// Have systemd run it, too; as root
    #[arg(long, requires = "non_interactive")]
    systemd: bool,
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
            Err(Stop::Failed(failure)) if draft.next > 0 => {
                draft.answers = set_up.answers.clone();
                if draft.keep(&set_up.file).is_ok() {
                    talk.say("Your answers are kept; `blamed configure` goes on there.");
                }
                Err(Stop::Failed(failure))
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
        let installed = match arguments.systemd {
            true => self.install_service(&config, talk).map(|()| true),
            false => Ok(false),
        };
        self.introduce(&config, matches!(installed, Ok(true)), talk)?;
        Ok(installed.map(drop)?)
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
        draft.next = 0;
        // What is written is written: whoever stops here has no service, and all the rest.
        let installed = match self.offer_service(&config, talk).await {
            Err(Stop::Interrupted) => Ok(false),
            installed => installed,
        };
        self.introduce(&config, matches!(installed, Ok(true)), talk)?;
        installed.map(drop)
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

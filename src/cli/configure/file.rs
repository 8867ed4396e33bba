//! The file that the answers make: its text, the configuration that the daemon will read in it, and how it is
//! written.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::super::{Failure, house, print_line, project};
use super::draft::Ready;
use super::edit::{Edit, MAIL, PROJECT, REPOSITORY, TOP, WEB};
use super::talk::Talk;
use super::{PASSWORD, PASSWORD_FILE, PasswordIn, SetUp};
use crate::config::{self, Config, ConfigError, Environment};
use crate::pipeline::random_id;
use crate::store::{ProjectId, Store};

impl SetUp {
    pub(super) fn password_file(&self) -> PathBuf {
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
    pub(super) fn config(&mut self) -> Result<Config, Failure> {
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
    pub(super) fn write(&mut self, talk: &Talk) -> Result<(), Failure> {
        let text = self.text();
        let failed = |file: &Path, error: std::io::Error| {
            let hint = match error.kind() {
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                    "make room on that disk, then run it again"
                }
                _ => "run it as a user who may write there, or name another file with --config",
            };
            Failure::Failed(format!("{} cannot be written: {error}\n\nhint: {hint}", file.display()))
        };
        let password = &self.answers.mail_password;
        let mut files = Vec::new();
        if self.answers.sends_mail() && !password.is_empty() && self.password_in == PasswordIn::File {
            files.push((self.password_file(), format!("{password}\n")));
        }
        files.push((self.file.clone(), text));
        // All are on the disk before the first gets its name.
        let ready = files.into_iter().map(|(file, text)| match Ready::write(&file, text.as_bytes()) {
            Ok(ready) => Ok((file, ready)),
            Err(error) => Err(failed(&file, error)),
        });
        let ready = ready.collect::<Result<Vec<_>, _>>()?;
        talk.say("");
        for (file, ready) in ready {
            ready.place().map_err(|error| failed(&file, error))?;
            talk.show(&format!("Written: {}", file.display()));
        }
        Ok(())
    }

    /// Says how to start it, unless it `runs`, and what to put into the programs that fail.
    pub(super) fn introduce(&self, config: &Config, runs: bool, talk: &Talk) -> Result<(), Failure> {
        let file = house::quoted(&self.file.display().to_string());
        let url = &self.answers.address;
        talk.say("");
        if runs {
            talk.say("It runs. How it is doing:");
            print_line("systemctl status blamed")?;
        } else {
            talk.say("To start it:");
            print_line(&format!("blamed start --config {file}"))?;
        }
        let password = self.answers.sends_mail() && !self.answers.mail_password.is_empty();
        if password && self.password_in == PasswordIn::Environment {
            talk.say(&format!("with the password in its environment, as {PASSWORD} or {PASSWORD}_FILE."));
        }
        talk.say("");
        talk.say("To report to it, put into your programs whichever they know:");
        // The first project of a new database.
        project::print_snippets(url, ProjectId(1), &self.key, None)?;
        print_line(&format!(
            "  {:<20} blamed report --server {url} --key {} traceback.txt",
            "anything", self.key
        ))?;
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

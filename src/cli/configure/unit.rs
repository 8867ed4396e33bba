//! The service of systemd that runs what was configured: its unit, and the commands that install it.
//!
//! Root has them run, by the system's own programs, and the daemon runs as the user `blamed`; anybody else is
//! shown them, and the daemon runs as whoever configured it. Where the Debian package has brought the unit and
//! its own file was configured, all is there but for being started.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::super::{Failure, house, print_line};
use super::talk::{Stop, Talk};
use super::{PasswordIn, SetUp};
use crate::config::Config;
use crate::store::Store;

/// The unit of the package, of which this is a variant.
const UNIT: &str = include_str!("../../../packaging/blamed.service");
/// What the package's unit starts the daemon with.
const PACKAGED: &str = "/etc/blamed/blamed.toml";
/// Where packages put units.
const UNITS: [&str; 2] = ["/usr/lib/systemd/system", "/lib/systemd/system"];
/// The unit's name.
const NAME: &str = "blamed.service";
/// Who it runs as where root installs it.
const USER: &str = "blamed";

/// A command, word by word.
type Line = Vec<String>;

fn line(words: &[&str]) -> Line {
    words.iter().map(|word| (*word).to_owned()).collect()
}

impl SetUp {
    /// Offers to have systemd run the daemon, where there is one. Says whether it does now.
    pub(super) async fn offer_service(&self, config: &Config, talk: &mut Talk) -> Result<bool, Stop> {
        if self.password_in == PasswordIn::Environment || !has_systemd() {
            return Ok(false);
        }
        let root = rustix::process::geteuid().is_root();
        talk.say("");
        talk.say(match root {
            true => "Have systemd run it, now and whenever this machine starts? y: yes; Enter: no.",
            false => {
                "Have systemd run it? y: write its unit, and show what root has to run to install it; Enter: no."
            }
        });
        if !matches!(talk.ask("> ").await?.trim(), "y" | "yes") {
            return Ok(false);
        }
        self.install_service(config, talk)?;
        Ok(root)
    }

    /// Installs the service, or shows how root does.
    pub(super) fn install_service(&self, config: &Config, talk: &Talk) -> Result<(), Failure> {
        let is_packaged = self.file == Path::new(PACKAGED)
            && UNITS.iter().any(|folder| Path::new(folder).join(NAME).exists());
        if !rustix::process::geteuid().is_root() {
            let unit = self.setting.folder.join(NAME);
            let mut lines = vec![];
            if !is_packaged {
                let uid = rustix::process::geteuid().as_raw().to_string();
                // What it may write in has to be there when it starts.
                for folder in written(config) {
                    Store::make_folder(folder).map_err(house::failure)?;
                }
                super::draft::write(&unit, self.unit(config, &uid)?.as_bytes())
                    .map_err(|error| Failure::Failed(format!("{}: {error}", unit.display())))?;
                talk.show(&format!("Written: {}", unit.display()));
                lines.push(install(&unit));
            }
            lines.extend(start());
            talk.say("Now run:");
            return lines.iter().try_for_each(|line| print_line(&format!("sudo {}", in_shell(line))));
        }
        let mut lines = Vec::new();
        let mut made = tempfile::NamedTempFile::new().map_err(Failure::failed)?;
        if !is_packaged {
            made.write_all(self.unit(config, USER)?.as_bytes()).map_err(Failure::failed)?;
            if !succeeds(&line(&["getent", "passwd", USER])) {
                let home =
                    ["--home-dir", "/var/lib/blamed", "--no-create-home", "--shell", "/usr/sbin/nologin"];
                lines.push(
                    [line(&["useradd", "--system", "--user-group"]), line(&home), line(&[USER])].concat(),
                );
            }
            lines.push(install(made.path()));
        }
        lines.extend(self.hand_over(config));
        lines.extend(start());
        for line in &lines {
            talk.show(&in_shell(line));
            if !succeeds(line) {
                return Err(Failure::Failed(format!(
                    "this failed: {}\n\nhint: what was configured is written; the rest of the service is installed \
                     by `blamed configure` again, and `journalctl -u blamed` says why one does not start",
                    in_shell(line)
                )));
            }
        }
        Ok(())
    }

    /// The unit for this configuration, with the daemon running as `user`.
    fn unit(&self, config: &Config, user: &str) -> Result<String, Failure> {
        let program = std::env::current_exe().map_err(Failure::failed)?;
        let start = format!("{} start --config {}", word(&program), word(&self.file)).replace('$', "$$");
        let written: Vec<String> = written(config).map(|folder| word(folder)).collect();
        let lines = UNIT.lines().map(|line| match line.split_once('=') {
            Some(("ExecStart", _)) => format!("ExecStart={start}"),
            Some(("User", _)) => format!("User={user}"),
            // A user's own group goes with the user.
            Some(("Group", _)) if user != USER => "#Group=".to_owned(),
            // All but this is read-only to it.
            Some(("ProtectSystem", _)) => format!("{line}\nReadWritePaths={}", written.join(" ")),
            _ => line.to_owned(),
        });
        Ok(lines.map(|line| line + "\n").collect())
    }

    /// Lets the service's user write its data, and read its configuration.
    fn hand_over(&self, config: &Config) -> Vec<Line> {
        let path = |path: &Path| path.display().to_string();
        let mut read = vec![path(&self.file)];
        let password = self.password_file();
        read.extend(password.exists().then(|| path(&password)));
        let owned = format!("{USER}:{USER}");
        let folders = written(config).flat_map(|folder| {
            [
                line(&["install", "-d", "-m", "700", "-o", USER, "-g", USER, &path(folder)]),
                line(&["chown", "-R", &owned, &path(folder)]),
            ]
        });
        let files = [
            [line(&["chgrp", USER]), read.clone()].concat(),
            [line(&["chmod", "640"]), read.clone()].concat(),
        ];
        folders.chain(files).collect()
    }
}

/// The folders that the daemon writes in.
fn written(config: &Config) -> impl Iterator<Item = &PathBuf> {
    [Some(&config.data_dir), config.mail.folder.as_ref()].into_iter().flatten()
}

/// Whether systemd runs this machine.
fn has_systemd() -> bool {
    succeeds(&line(&["systemctl", "show", "--property=Version"]))
}

fn install(unit: &Path) -> Line {
    line(&["install", "-m", "644", &unit.display().to_string(), &format!("/etc/systemd/system/{NAME}")])
}

fn start() -> [Line; 3] {
    [
        line(&["systemctl", "daemon-reload"]),
        line(&["systemctl", "enable", NAME]),
        line(&["systemctl", "restart", NAME]),
    ]
}

/// Runs a command; what it says on stderr is seen where there is a terminal.
fn succeeds(words: &Line) -> bool {
    let quiet = words[0] == "systemctl" && words[1] == "show";
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null());
    if quiet {
        command.stderr(Stdio::null());
    }
    command.status().is_ok_and(|status| status.success())
}

fn in_shell(words: &Line) -> String {
    words.iter().map(|word| house::quoted(word)).collect::<Vec<_>>().join(" ")
}

/// A path as one word of a unit (systemd.service(5), systemd.unit(5)).
fn word(path: &Path) -> String {
    let text = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let text = text.display().to_string().replace('%', "%%");
    match text.contains([' ', '"', '\'', '\\', '\t']) {
        true => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        false => text,
    }
}

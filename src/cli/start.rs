//! `blamed start`: the daemon.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::daemon::Daemon;
use super::{Failure, Place, house, print_line, service};
use crate::blame::BlameError;
use crate::clock::Clock;
use crate::config::{Config, DEFAULT_LISTEN, Listen, Source};
use crate::ingest::snippets::dsn;
use crate::notify;
use crate::notify::notice::Notice;
use crate::store::AccountRole;
use crate::telemetry;
use crate::web::SignIn;

/// How long the link works that is mailed to the first admin.
const INVITATION_MINUTES: i64 = 24 * 60;

/// Run the daemon: take reports, blame, mail.
///
/// Without a configuration file, the git repository of the current folder is the one project, data goes to
/// ./blamed-data, and mails are written there as files for want of a mail server. Prints the address, the
/// project's key, and a command that reports a traceback. Ctrl-C or SIGTERM stops it; nothing is lost.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Address to listen on; port 0 takes a free one; `unix:/PATH` is a socket there
    #[arg(long, value_name = "ADDR", help = format!("Address to listen on; port 0 takes a free one; unix:/PATH is a socket there [default: as configured, else {DEFAULT_LISTEN}]"))]
    listen: Option<Listen>,
    /// Folder of the repository, where no configuration names one [default: the current folder]
    #[arg(long, value_name = "DIR")]
    repository: Option<PathBuf>,
}

/// Has the process begin once more in its own place (same number, same open files) where glibc was not told how many
/// heaps it may keep. It reads that from the environment when a process begins, and makes eight for each core unless
/// told; each keeps what its threads once needed, and with threads for pages, reports and blame that came to twice
/// the memory of all that is in them.
fn keep_few_heaps() {
    const HEAPS: &str = "MALLOC_ARENA_MAX";
    let is_told = [HEAPS, "GLIBC_TUNABLES"].iter().any(|name| std::env::var_os(name).is_some());
    if is_told || !cfg!(all(target_os = "linux", target_env = "gnu")) {
        return;
    }
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_else(|| "blamed".into());
    // It comes back only where it fails; then it is as it was.
    let _ = Command::new("/proc/self/exe").arg0(name).args(arguments).env(HEAPS, "2").exec();
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    keep_few_heaps();
    let config = arguments.config()?;
    telemetry::start(&config.log, config.log_format).map_err(Failure::Wrong)?;

    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)?;
    let result = runtime.block_on(async {
        let mut signals = Signals::hear()?;
        let mut daemon = Daemon::start(config, Clock::system()).await?;
        daemon.introduce()?;
        service::ready(daemon.url());
        while signals.heard().await == Heard::ReadAgain {
            service::reloading();
            daemon.read_again(arguments.config()).await;
            service::ready(daemon.url());
        }
        service::stopping();
        tracing::info!("stopping: finishing what is under way; a second signal ends it at once");
        tokio::select! {
            () = daemon.stop() => {
                tracing::info!("stopped");
                Ok(())
            }
            () = signals.stop() => Err(Failure::Failed("ended by a second signal".to_owned())),
        }
    });
    // Whoever still waits for a disk or a mail server is not waited for.
    runtime.shutdown_background();
    result
}

impl Arguments {
    /// The configuration, as its file, the environment and these have it now.
    fn config(&self) -> Result<Config, Failure> {
        let mut config = house::configuration(&self.place)?;
        if let Some(listen) = &self.listen {
            config.listen.clone_from(listen);
        }
        if self.repository.is_some() && !config.projects.is_empty() {
            let said = "--repository is for starting without projects; the configuration names some";
            return Err(Failure::Wrong(said.to_owned()));
        }
        house::default_project(&mut config, self.repository.as_deref().unwrap_or(Path::new(".")))?;
        Ok(config)
    }
}

/// What the process is told from outside.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// From here on signals are heard; one that comes before would end the process on the spot.
    ///
    /// # Errors
    /// The system refuses.
    pub(super) fn hear() -> Result<Self, Failure> {
        let hear = |kind| signal(kind).map_err(Failure::failed);
        Ok(Self {
            terminate: hear(SignalKind::terminate())?,
            interrupt: hear(SignalKind::interrupt())?,
            hangup: hear(SignalKind::hangup())?,
        })
    }

    /// Waits for SIGTERM or Ctrl-C, or for SIGHUP.
    async fn heard(&mut self) -> Heard {
        tokio::select! {
            _ = self.terminate.recv() => Heard::Stop,
            _ = self.interrupt.recv() => Heard::Stop,
            _ = self.hangup.recv() => Heard::ReadAgain,
        }
    }

    /// Waits for SIGTERM or Ctrl-C.
    pub(super) async fn stop(&mut self) {
        while self.heard().await != Heard::Stop {}
    }
}

/// What the process was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    /// To end.
    Stop,
    /// To read its configuration again, and its repositories.
    ReadAgain,
}

impl Daemon {
    /// Does as the configuration says that was read again, if it can; says in the log how it went.
    async fn read_again(&mut self, config: Result<Config, Failure>) {
        let done = match config {
            Ok(config) => self.use_config(config).await,
            Err(failure) => Err(failure),
        };
        match done {
            Ok(kept) => {
                for key in kept {
                    tracing::warn!(key, "this has changed in the configuration, and needs a restart");
                }
                tracing::warn!(
                    "SIGHUP: the configuration was read again and is in force; repositories are fetched"
                );
            }
            Err(failure) => {
                self.fetch_all();
                tracing::error!("SIGHUP: the configuration cannot be used, all is as it was; {failure}");
            }
        }
    }

    /// Makes the first admin, and owes them a link to sign in by.
    fn invite(&self, admin: &str) -> Result<(), Failure> {
        let message_id = notify::new_message_id(&self.notify().from);
        let notice = Notice::SignIn { link: String::new(), next: String::new(), minutes: INVITATION_MINUTES };
        let now = Clock::system().now().as_millisecond();
        let mark = format!("sign-in {message_id}");
        let owed = self.store().write(|tx| {
            let account = tx.ensure_account(&admin.to_lowercase(), AccountRole::Admin, now)?;
            tx.set_role(account.id, AccountRole::Admin)?;
            tx.owe(None, &mark, admin, &message_id, &notice, now)
        });
        owed.map_err(house::failure)?;
        self.outbox().wake();
        Ok(())
    }

    /// Says where it is and how to report to it.
    fn introduce(&self) -> Result<(), Failure> {
        let config = self.config();
        for project in &config.projects {
            for repository in &project.repositories {
                if matches!(repository.source, Source::Elsewhere(_)) {
                    // It may be under way right now, and says so itself.
                    continue;
                }
                match self.blamer().resolve(&repository.name, &Default::default()) {
                    Ok(_) => {}
                    Err(error @ BlameError::Empty { .. }) => {
                        tracing::warn!(%error, "nothing in a traceback can be a line of it yet");
                    }
                    Err(error) => {
                        tracing::warn!(%error, "reports that need this repository wait until it can be read");
                    }
                }
            }
        }
        let url = self.url();
        print_line(&format!("blamed listens on {url}"))?;
        for (project, configured) in self.projects().iter().zip(&config.projects) {
            let sources: Vec<String> =
                configured.repositories.iter().map(|repository| repository.source.to_string()).collect();
            print_line(&format!("project {} of {}", project.name, sources.join(", ")))?;
            for key in &project.keys {
                print_line(&format!("  key {key}"))?;
                print_line(&format!("  Sentry DSN {}", dsn(url, project.id, key)))?;
            }
        }
        if let Some(address) = self.flawless() {
            let (address, project) =
                (house::reachable(address), &self.projects()[config.flawless_project()].name);
            print_line(&format!("Flawless clients report to {address}, project {project}"))?;
        }
        print_line(&house::where_mails_go(self.notify()))?;
        print_line(&format!("data is kept in {}", config.data_dir.display()))?;
        if config.web.sign_in == SignIn::Off {
            tracing::warn!("sign-in is off: whoever reaches this address may see and change everything");
        }
        if let Some(link) = self.web().first_admin_link().map_err(house::failure)? {
            print_line(&format!(
                "\nTo be the admin of the pages, open this link; it works once, today:\n{link}"
            ))?;
            if let Some(admin) = &config.web.admin {
                self.invite(admin)?;
                print_line(&format!("Another one is on its way to {admin}."))?;
            }
        }
        let key =
            self.projects().first().and_then(|project| project.keys.first()).map_or("KEY", String::as_str);
        let reports = format!("{url}/api/v1/reports?wait=10");
        let bearer = format!("curl -sS -H 'Authorization: Bearer {key}'");
        // One to try it with, as long as nobody is really mailed by it.
        let trial = match &self.notify().transport {
            notify::Transport::Folder(_) => house::trial_report(self.blamer(), config),
            notify::Transport::Smtp(_) => None,
        };
        match trial {
            Some(report) => {
                print_line("\nTo see what a report does, run (it makes up an error in one of your lines):")?;
                print_line(&format!(
                    "{bearer} -H 'Content-Type: application/json' -d '{report}' '{reports}'"
                ))?;
                print_line(
                    "Or pipe a real traceback into the same with -H 'Content-Type: text/plain' --data-binary @-",
                )
            }
            None => {
                print_line("\nTo report a traceback, pipe it into:")?;
                print_line(&format!("{bearer} -H 'Content-Type: text/plain' --data-binary @- '{reports}'"))
            }
        }
    }
}

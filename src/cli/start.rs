//! `blamed start`: the daemon.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use super::house::{self, Registered};
use super::listen::{self, Listener};
use super::{Failure, Place, print_line, service, tls};
use crate::blame::{BlameError, Blamer};
use crate::clock::Clock;
use crate::config::{Config, DEFAULT_LISTEN, Listen, Source};
use crate::ingest::Intake;
use crate::ingest::snippets::dsn;
use crate::metrics::Metrics;
use crate::notify::notice::Notice;
use crate::notify::{self, outbox::Outbox};
use crate::pipeline::{self, Authors, Mirrors, Pipeline};
use crate::store::{AccountRole, Store};
use crate::telemetry;
use crate::upkeep::{self, Upkeep};
use crate::web::{self, SignIn, Web};

/// How often it is looked whether other levels are set for the log.
const LEVELS_EVERY: Duration = Duration::from_secs(1);
/// How often the commit-graphs that make blame fast, and the authors of the code, are brought up to date.
const UPKEEP_EVERY: Duration = Duration::from_secs(3600);

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
    let mut config = house::configuration(&arguments.place)?;
    if let Some(listen) = arguments.listen {
        config.listen = listen;
    }
    if arguments.repository.is_some() && !config.projects.is_empty() {
        let said = "--repository is for starting without projects; the configuration names some";
        return Err(Failure::Wrong(said.to_owned()));
    }
    let folder = arguments.repository.unwrap_or_else(|| PathBuf::from("."));
    house::default_project(&mut config, &folder)?;
    telemetry::start(&config.log, config.log_format).map_err(Failure::Wrong)?;

    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::failed)?;
    let result = runtime.block_on(async {
        let mut signals = Signals::hear()?;
        let daemon = Daemon::start(&config, Clock::system()).await?;
        daemon.introduce(&config)?;
        service::ready(&daemon.notify.public_url);
        signals.stop().await;
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

    /// Waits for SIGTERM or Ctrl-C.
    pub(super) async fn stop(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => tracing::warn!(
                    "SIGHUP: repositories are fetched; lists and settings are followed as they change; a changed configuration takes a restart"
                ),
            }
        }
    }
}

/// A running daemon.
pub(super) struct Daemon {
    /// Its projects and their keys.
    pub(super) projects: Vec<Registered>,
    /// Its store.
    pub(super) store: Store,
    blamer: Blamer,
    pipeline: Pipeline,
    running: pipeline::Running,
    outbox: Arc<Outbox>,
    delivering: tokio::task::JoinHandle<()>,
    server: tokio::task::JoinHandle<()>,
    flawless: Option<Flawless>,
    noting: tokio::task::JoinHandle<()>,
    stop: watch::Sender<bool>,
    kept: tokio::task::JoinHandle<()>,
    upkeep: upkeep::Running,
    mirrors: Mirrors,
    hangups: tokio::task::JoinHandle<()>,
    watchdog: tokio::task::JoinHandle<()>,
    levels: tokio::task::JoinHandle<()>,
    /// How its mails are sent.
    pub(super) notify: notify::Settings,
    web: Web,
}

/// Where Flawless's clients report to.
struct Flawless {
    address: SocketAddr,
    project: String,
    server: tokio::task::JoinHandle<()>,
}

/// A listener, and the address that it has got.
async fn bind(address: SocketAddr, hint: &str) -> Result<(TcpListener, SocketAddr), Failure> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| Failure::Wrong(format!("cannot listen on {address}: {error}\n\nhint: {hint}")))?;
    let address = listener.local_addr().map_err(Failure::failed)?;
    Ok((listener, address))
}

impl Daemon {
    /// Starts everything that `config` says.
    ///
    /// # Errors
    /// The data directory or the address cannot be used, or the mail settings are wrong.
    pub(super) async fn start(config: &Config, clock: Clock) -> Result<Self, Failure> {
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let mut handed = service::sockets()?.into_iter();
        let listener = match handed.next() {
            Some(listener) => listener,
            None => Listener::open(&config.listen).await?,
        };
        let url = listener.url(tls.is_some());
        let flawless = match (&config.flawless, handed.next()) {
            (Some(_), Some(Listener::Tcp(listener))) => {
                let address = listener.local_addr().map_err(Failure::failed)?;
                Some((listener, address))
            }
            (Some(flawless), _) => {
                Some(bind(flawless.listen, "set another `listen` in the section [flawless]").await?)
            }
            (None, _) => None,
        };
        // After the address is had: a daemon that cannot start leaves nothing behind.
        let store = Store::open(&config.data_dir).map_err(house::failure)?;
        let projects = house::register(config, &store, &clock)?;

        let notify = house::notify_settings(config, url)?;
        let outbox = Arc::new(Outbox::new(store.clone(), clock.clone(), notify.clone()));
        let delivering = tokio::spawn({
            let outbox = Arc::clone(&outbox);
            async move { outbox.run().await }
        });
        let wake = {
            let outbox = Arc::clone(&outbox);
            move || outbox.wake()
        };
        let (stop, stopped) = watch::channel(false);

        let blamer = house::blamer(config);
        let settings = house::pipeline_settings(config, &projects, &notify.from);
        let pages = web::Settings {
            sign_in: config.web.sign_in,
            mail: notify.clone(),
            addresses: config.policy.addresses.clone(),
            authors: config.web.authors,
            proxies: config.web.proxies.clone(),
            week: config.web.week,
            time_zone: config.web.time_zone.clone(),
        };
        let whose = settings.projects.iter().map(|project| (project.id, project.repositories.clone()));
        let authors = Authors::new(store.clone(), blamer.clone(), whose.collect());
        let mirrors = Mirrors::new(
            house::mirrors(config, &projects),
            house::mirror_settings(config, &notify.from),
            (store.clone(), blamer.clone(), clock.clone()),
            wake.clone(),
        );
        let sources = (blamer.clone(), authors.clone(), mirrors.clone());
        let web = Web::new(store.clone(), clock.clone(), Arc::clone(&outbox), sources, pages);
        let remembered = house::upkeep_settings(config, &notify.from);
        let upkeep = Upkeep::new(store.clone(), clock.clone(), remembered, wake.clone());
        let sources = (blamer.clone(), mirrors.clone());
        let (pipeline, running) = Pipeline::start(store.clone(), sources, clock.clone(), settings, wake);
        mirrors.begin({
            let pipeline = pipeline.clone();
            move || pipeline.look_again()
        });
        let hangups = tokio::spawn(fetch_on_hangup(mirrors.clone()));
        let taken = house::intake_settings(config, &projects, &notify.public_url);
        let intake = Intake::new(store.clone(), pipeline.clone(), mirrors.clone(), taken);
        let token = config.metrics.clone().map(|token| token.0);
        let sources = (blamer.clone(), mirrors.clone());
        let metrics = Metrics::new(store.clone(), sources, clock, token);
        let routes = intake.clone().router().merge(web.clone().router()).merge(metrics.router());
        let server = tokio::spawn(listen::serve(listener, tls, routes, stopped.clone()));
        let watchdog = tokio::spawn(service::watchdog(pipeline.clone()));
        let levels = tokio::spawn(follow_levels(store.clone(), config.log.clone()));
        let flawless = flawless.map(|(listener, address)| {
            let project = &projects[config.flawless_project()];
            let server = listen::serve_flawless(listener, intake.clone(), project.id, stopped.clone());
            Flawless { address, project: project.name.clone(), server: tokio::spawn(server) }
        });
        let noting = tokio::spawn(intake.note_uses(stopped));
        let kept = tokio::spawn(keep_up(blamer.clone(), authors));
        tokio::spawn({
            let web = web.clone();
            async move { web.warm().await }
        });
        let upkeep = upkeep.start();
        Ok(Self {
            kept,
            upkeep,
            mirrors,
            hangups,
            watchdog,
            levels,
            projects,
            store,
            blamer,
            pipeline,
            running,
            outbox,
            delivering,
            server,
            flawless,
            noting,
            stop,
            notify,
            web,
        })
    }

    /// Stops taking reports, enters what was accepted, finishes the mail in hand.
    pub(super) async fn stop(self) {
        // Whoever listens may be gone already.
        let _ = self.stop.send(true);
        self.kept.abort();
        self.hangups.abort();
        self.levels.abort();
        let flawless = async {
            if let Some(flawless) = self.flawless {
                let _ = flawless.server.await;
            }
        };
        let (_, _, _, ()) = tokio::join!(self.mirrors.stop(), self.server, self.noting, flawless);
        self.running.stop(self.pipeline).await;
        let _ = tokio::task::spawn_blocking(|| self.upkeep.stop()).await;
        self.outbox.stop();
        let _ = self.delivering.await;
        self.watchdog.abort();
    }

    /// Makes the first admin, and owes them a link to sign in by.
    fn invite(&self, admin: &str) -> Result<(), Failure> {
        let message_id = notify::new_message_id(&self.notify.from);
        let notice = Notice::SignIn { link: String::new(), next: String::new(), minutes: INVITATION_MINUTES };
        let now = Clock::system().now().as_millisecond();
        let mark = format!("sign-in {message_id}");
        let owed = self.store.write(|tx| {
            let account = tx.ensure_account(&admin.to_lowercase(), AccountRole::Admin, now)?;
            tx.set_role(account.id, AccountRole::Admin)?;
            tx.owe(None, &mark, admin, &message_id, &notice, now)
        });
        owed.map_err(house::failure)?;
        self.outbox.wake();
        Ok(())
    }

    /// The address for clients.
    pub(super) fn url(&self) -> &str {
        &self.notify.public_url
    }

    /// Says where it is and how to report to it.
    fn introduce(&self, config: &Config) -> Result<(), Failure> {
        for project in &config.projects {
            for repository in &project.repositories {
                if matches!(repository.source, Source::Elsewhere(_)) {
                    // It may be under way right now, and says so itself.
                    continue;
                }
                match self.blamer.resolve(&repository.name, &Default::default()) {
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
        for (project, configured) in self.projects.iter().zip(&config.projects) {
            let sources: Vec<String> =
                configured.repositories.iter().map(|repository| repository.source.to_string()).collect();
            print_line(&format!("project {} of {}", project.name, sources.join(", ")))?;
            for key in &project.keys {
                print_line(&format!("  key {key}"))?;
                print_line(&format!("  Sentry DSN {}", dsn(url, project.id, key)))?;
            }
        }
        if let Some(Flawless { address, project, .. }) = &self.flawless {
            let address = house::reachable(*address);
            print_line(&format!("Flawless clients report to {address}, project {project}"))?;
        }
        print_line(&house::where_mails_go(&self.notify))?;
        print_line(&format!("data is kept in {}", config.data_dir.display()))?;
        if config.web.sign_in == SignIn::Off {
            tracing::warn!("sign-in is off: whoever reaches this address may see and change everything");
        }
        if let Some(link) = self.web.first_admin_link().map_err(house::failure)? {
            print_line(&format!(
                "\nTo be the admin of the pages, open this link; it works once, today:\n{link}"
            ))?;
            if let Some(admin) = &config.web.admin {
                self.invite(admin)?;
                print_line(&format!("Another one is on its way to {admin}."))?;
            }
        }
        let key =
            self.projects.first().and_then(|project| project.keys.first()).map_or("KEY", String::as_str);
        let reports = format!("{url}/api/v1/reports?wait=10");
        let bearer = format!("curl -sS -H 'Authorization: Bearer {key}'");
        // One to try it with, as long as nobody is really mailed by it.
        let trial = match self.notify.transport {
            notify::Transport::Folder(_) => house::trial_report(&self.blamer, config),
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

/// Logs by the levels that are set while the daemon runs, else by those that are configured.
async fn follow_levels(store: Store, configured: String) {
    let mut current = None;
    loop {
        let store = store.clone();
        let set = tokio::task::spawn_blocking(move || store.read(|tx| tx.log_levels())).await;
        if let Ok(Ok(set)) = set
            && current != set
        {
            let levels = set.as_ref().unwrap_or(&configured);
            match telemetry::set_filter(levels) {
                Ok(()) => tracing::warn!(levels, "logging by these levels now"),
                Err(error) => tracing::warn!(error, "the levels that are set cannot be used"),
            }
            current = set;
        }
        tokio::time::sleep(LEVELS_EVERY).await;
    }
}

/// SIGHUP: something was pushed, somebody says.
async fn fetch_on_hangup(mirrors: Mirrors) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else { return };
    while hangup.recv().await.is_some() {
        mirrors.fetch_all();
    }
}

/// Keeps the commit-graphs beside clones that have none, which make blame several times as fast, and what is
/// known of who writes the code.
async fn keep_up(blamer: Blamer, authors: Authors) {
    loop {
        if let Err(error) = authors.look().await {
            tracing::warn!(%error, "who writes the code could not be kept");
        }
        let blamer = blamer.clone();
        let troubles = tokio::task::spawn_blocking(move || blamer.keep_graphs()).await.unwrap_or_default();
        for error in troubles {
            tracing::info!(%error, "a commit-graph cannot be kept; blame does without, slower");
        }
        tokio::time::sleep(UPKEEP_EVERY).await;
    }
}

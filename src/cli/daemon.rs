//! The running daemon: what stays as long as the process, and what makes way for a configuration that is read
//! again.
//!
//! The listeners, the store, the ledger, the outbox and the upkeep stay. Who knows repositories, and who answers
//! requests, is made anew of each configuration; the listeners hand each request to whoever is newest. All that
//! can fail is done before the first of them changes: a configuration is in force as a whole, or not at all.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::house::{self, Registered};
use super::listen::{self, Listener, Served};
use super::{Failure, service, tls};
use crate::blame::Blamer;
use crate::clock::Clock;
use crate::config::Config;
use crate::ingest::Intake;
use crate::metrics::Metrics;
use crate::notify::{self, outbox::Outbox};
use crate::pipeline::{self, Authors, Mirrors, Pipeline};
use crate::store::Store;
use crate::telemetry;
use crate::upkeep::{self, Upkeep};
use crate::web::{self, Web};

/// How often it is looked whether other levels are set for the log.
const LEVELS_EVERY: Duration = Duration::from_secs(1);
/// How often the commit-graphs that make blame fast, and the authors of the code, are brought up to date.
const UPKEEP_EVERY: Duration = Duration::from_secs(3600);

/// A running daemon.
pub(super) struct Daemon {
    config: Config,
    ground: Ground,
    pipeline: Pipeline,
    running: pipeline::Running,
    delivering: JoinHandle<()>,
    upkeep: upkeep::Running,
    /// What requests are answered by.
    served: watch::Sender<Served>,
    server: JoinHandle<()>,
    flawless: Option<(SocketAddr, JoinHandle<()>)>,
    watchdog: JoinHandle<()>,
    /// The configured levels of the log.
    levels: watch::Sender<String>,
    following: JoinHandle<()>,
    stop: watch::Sender<bool>,
    rooms: Rooms,
}

/// What all else stands on.
#[derive(Clone)]
struct Ground {
    store: Store,
    clock: Clock,
    outbox: Arc<Outbox>,
    /// Where it listens. `None`: at a Unix socket.
    address: Option<SocketAddr>,
}

/// What is made of one configuration, and may fail to be.
struct Plan {
    projects: Vec<Registered>,
    notify: notify::Settings,
    tls: Option<TlsAcceptor>,
}

/// What knows the repositories of one configuration.
#[derive(Clone)]
struct Sources {
    blamer: Blamer,
    authors: Authors,
    mirrors: Mirrors,
}

/// What answers by one configuration, and makes way for what answers by the next.
struct Rooms {
    plan: Plan,
    sources: Sources,
    web: Web,
    noting: JoinHandle<()>,
    left: watch::Sender<bool>,
    /// Once they are open.
    keeping: Option<JoinHandle<()>>,
}

impl Plan {
    /// # Errors
    /// The mail settings or a certificate are wrong, or the store cannot take the projects; then nothing changed.
    fn make(
        config: &Config,
        tls: Option<TlsAcceptor>,
        address: Option<SocketAddr>,
        (store, clock): (&Store, &Clock),
    ) -> Result<Self, Failure> {
        let url = address.map(|address| house::url(address, tls.is_some()));
        let notify = house::notify_settings(config, url)?;
        let projects = house::register(config, &notify.public_url, (store, clock))?;
        Ok(Self { projects, notify, tls })
    }

    fn pipeline_settings(&self, config: &Config) -> pipeline::Settings {
        house::pipeline_settings(config, &self.projects, &self.notify.from)
    }
}

impl Ground {
    /// Called when a mail is owed.
    fn wake(&self) -> impl Fn() + Clone + Send + Sync + 'static {
        let outbox = Arc::clone(&self.outbox);
        move || outbox.wake()
    }

    fn sources(&self, config: &Config, plan: &Plan) -> Sources {
        let Self { store, clock, .. } = self;
        let blamer = house::blamer(config);
        let whose = config.projects.iter().zip(&plan.projects).map(|(project, registered)| {
            let names = project.repositories.iter().map(|repository| repository.name.clone());
            (registered.id, names.collect())
        });
        let authors = Authors::new(store.clone(), blamer.clone(), whose.collect());
        let mirrors = Mirrors::new(
            house::mirrors(config, &plan.projects),
            house::mirror_settings(config, &plan.notify.from),
            (store.clone(), blamer.clone(), clock.clone()),
            self.wake(),
        );
        Sources { blamer, authors, mirrors }
    }

    /// What answers by `config`, and what the listeners are to know of it.
    fn rooms(&self, config: &Config, plan: Plan, sources: Sources, pipeline: &Pipeline) -> (Rooms, Served) {
        let Self { store, clock, outbox, .. } = self;
        let Sources { blamer, authors, mirrors } = sources.clone();
        let pages = web::Settings {
            sign_in: config.web.sign_in,
            mail: plan.notify.clone(),
            addresses: config.policy.addresses.clone(),
            authors: config.web.authors,
            proxies: config.web.proxies.clone(),
            week: config.web.week,
            time_zone: config.web.time_zone.clone(),
        };
        let known = (blamer.clone(), authors, mirrors.clone());
        let web = Web::new(store.clone(), clock.clone(), Arc::clone(outbox), known, pages);
        let taken = house::intake_settings(config, &plan.projects, &plan.notify.public_url);
        let intake = Intake::new(store.clone(), pipeline.clone(), mirrors.clone(), taken);
        let token = config.metrics.clone().map(|token| token.0);
        let metrics = Metrics::new(store.clone(), (blamer, mirrors), clock.clone(), token);
        let (left, is_left) = watch::channel(false);
        let served = Served {
            routes: listen::guarded(
                intake.clone().router().merge(web.clone().router()).merge(metrics.router()),
            ),
            tls: plan.tls.clone(),
            flawless: config
                .flawless
                .is_some()
                .then(|| (intake.clone(), plan.projects[config.flawless_project()].id)),
        };
        let noting = tokio::spawn(intake.note_uses(is_left));
        (Rooms { plan, sources, web, noting, left, keeping: None }, served)
    }
}

impl Rooms {
    /// Fetches what is elsewhere, keeps up what blame reads, and has the pages' first look behind it.
    fn open(&mut self, pipeline: &Pipeline) {
        let Sources { blamer, authors, mirrors } = self.sources.clone();
        let pipeline = pipeline.clone();
        mirrors.begin(move || pipeline.look_again());
        self.keeping = Some(tokio::spawn(keep_up(blamer, authors)));
        let web = self.web.clone();
        tokio::spawn(async move { web.warm().await });
    }

    /// Ends what they do by themselves. Who is being answered still is.
    async fn leave(self) {
        if let Some(keeping) = &self.keeping {
            keeping.abort();
        }
        // Whoever listens may be gone already.
        let _ = self.left.send(true);
        let (_, ()) = tokio::join!(self.noting, self.sources.mirrors.stop());
    }
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
    pub(super) async fn start(config: Config, clock: Clock) -> Result<Self, Failure> {
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let mut handed = service::sockets()?.into_iter();
        let listener = match handed.next() {
            Some(listener) => listener,
            None => Listener::open(&config.listen).await?,
        };
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
        let address = listener.address();
        let plan = Plan::make(&config, tls, address, (&store, &clock))?;
        let outbox = Arc::new(Outbox::new(store.clone(), clock.clone(), plan.notify.clone()));
        let ground = Ground { store: store.clone(), clock: clock.clone(), outbox, address };
        let delivering = tokio::spawn({
            let outbox = Arc::clone(&ground.outbox);
            async move { outbox.run().await }
        });
        let sources = ground.sources(&config, &plan);
        let asked = (sources.blamer.clone(), sources.mirrors.clone());
        let settings = plan.pipeline_settings(&config);
        let (pipeline, running) =
            Pipeline::start(store.clone(), asked, clock.clone(), settings, ground.wake());
        let remembered = house::upkeep_settings(&config, &plan.notify.from);
        let upkeep = Upkeep::new(store.clone(), clock, remembered, ground.wake()).start();
        let (mut rooms, served) = ground.rooms(&config, plan, sources, &pipeline);
        rooms.open(&pipeline);

        let (stop, stopped) = watch::channel(false);
        let (served, serves) = watch::channel(served);
        let server = tokio::spawn(listen::serve(listener, serves.clone(), stopped.clone()));
        let flawless = flawless.map(|(listener, address)| {
            (address, tokio::spawn(listen::serve_flawless(listener, serves, stopped)))
        });
        let watchdog = tokio::spawn(service::watchdog(pipeline.clone()));
        let (levels, configured) = watch::channel(config.log.clone());
        let following = tokio::spawn(follow_levels(store, configured));
        Ok(Self {
            config,
            ground,
            pipeline,
            running,
            delivering,
            upkeep,
            served,
            server,
            flawless,
            watchdog,
            levels,
            following,
            stop,
            rooms,
        })
    }

    /// Does from now on as `config` says, but for what only a start can change: the keys of that which `config`
    /// has otherwise.
    ///
    /// # Errors
    /// As of [`Daemon::start`]; then everything is as it was.
    pub(super) async fn use_config(&mut self, mut config: Config) -> Result<Vec<&'static str>, Failure> {
        let kept = keep_fixed(&mut config, &self.config);
        if config == self.config {
            self.fetch_all();
            return Ok(kept);
        }
        let tls = config.tls.as_ref().map(tls::acceptor).transpose()?;
        let Ground { store, clock, outbox, address } = &self.ground;
        let plan = Plan::make(&config, tls, *address, (store, clock))?;
        // From here on nothing fails.
        let sources = self.ground.sources(&config, &plan);
        let asked = (sources.blamer.clone(), sources.mirrors.clone());
        self.levels.send_replace(config.log.clone());
        outbox.use_settings(plan.notify.clone());
        self.upkeep.use_settings(house::upkeep_settings(&config, &plan.notify.from));
        self.pipeline.use_settings(asked, plan.pipeline_settings(&config));
        let (rooms, served) = self.ground.rooms(&config, plan, sources, &self.pipeline);
        self.served.send_replace(served);
        self.config = config;
        // Two that fetch into one folder would be in each other's way.
        std::mem::replace(&mut self.rooms, rooms).leave().await;
        self.rooms.open(&self.pipeline);
        Ok(kept)
    }

    /// Has all that is elsewhere fetched.
    pub(super) fn fetch_all(&self) {
        self.rooms.sources.mirrors.fetch_all();
    }

    /// Stops taking reports, enters what was accepted, finishes the mail in hand.
    pub(super) async fn stop(self) {
        // Whoever listens may be gone already.
        let _ = self.stop.send(true);
        self.following.abort();
        let flawless = async {
            if let Some((_, server)) = self.flawless {
                let _ = server.await;
            }
        };
        let (_, (), ()) = tokio::join!(self.server, flawless, self.rooms.leave());
        self.running.stop(self.pipeline).await;
        let _ = tokio::task::spawn_blocking(|| self.upkeep.stop()).await;
        self.ground.outbox.stop();
        let _ = self.delivering.await;
        let store = self.ground.store;
        let folded = tokio::task::spawn_blocking(move || store.fold_log()).await;
        if let Ok(Err(error)) = folded {
            tracing::info!(%error, "the database's log stays beside it, and is read at the next start");
        }
        self.watchdog.abort();
    }

    /// What it does by.
    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    /// Its store.
    pub(super) fn store(&self) -> &Store {
        &self.ground.store
    }

    /// Whoever delivers its mails.
    pub(super) fn outbox(&self) -> &Outbox {
        &self.ground.outbox
    }

    /// Whoever reads its repositories.
    pub(super) fn blamer(&self) -> &Blamer {
        &self.rooms.sources.blamer
    }

    /// Its pages.
    pub(super) fn web(&self) -> &Web {
        &self.rooms.web
    }

    /// Its projects and their keys.
    pub(super) fn projects(&self) -> &[Registered] {
        &self.rooms.plan.projects
    }

    /// How its mails are sent.
    pub(super) fn notify(&self) -> &notify::Settings {
        &self.rooms.plan.notify
    }

    /// Where Flawless's clients report to, if they may.
    pub(super) fn flawless(&self) -> Option<SocketAddr> {
        self.flawless.as_ref().map(|(address, _)| *address)
    }

    /// The address for clients.
    pub(super) fn url(&self) -> &str {
        &self.notify().public_url
    }
}

/// Leaves in `config` what only a start can change as it is in force; answers the keys of what was otherwise.
fn keep_fixed(config: &mut Config, current: &Config) -> Vec<&'static str> {
    fn keep<T: Clone + PartialEq>(value: &mut T, current: &T) -> bool {
        let differs = value != current;
        value.clone_from(current);
        differs
    }
    let mut kept = Vec::new();
    let mut note = |key, differs: bool| kept.extend(differs.then_some(key));
    note("listen", keep(&mut config.listen, &current.listen));
    note("data_dir", keep(&mut config.data_dir, &current.data_dir));
    note("log_format", keep(&mut config.log_format, &current.log_format));
    match (&mut config.flawless, &current.flawless) {
        (Some(flawless), Some(current)) => {
            note("flawless.listen", keep(&mut flawless.listen, &current.listen))
        }
        (None, None) => {}
        // Nobody is served who comes meanwhile, but the address is given back only by a restart.
        (None, Some(_)) => note("flawless.listen", true),
        (flawless @ Some(_), None) => {
            *flawless = None;
            note("flawless.listen", true);
        }
    }
    kept
}

/// Logs by the levels that are set while the daemon runs, else by those that are configured.
async fn follow_levels(store: Store, configured: watch::Receiver<String>) {
    let mut current = configured.borrow().clone();
    loop {
        let store = store.clone();
        let set = tokio::task::spawn_blocking(move || store.read(|tx| tx.log_levels())).await;
        if let Ok(Ok(set)) = set {
            let levels = set.unwrap_or_else(|| configured.borrow().clone());
            if levels != current {
                match telemetry::set_filter(&levels) {
                    Ok(()) => tracing::warn!(levels, "logging by these levels now"),
                    Err(error) => tracing::warn!(error, "the levels that are set cannot be used"),
                }
                current = levels;
            }
        }
        tokio::time::sleep(LEVELS_EVERY).await;
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

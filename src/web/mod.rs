//! The pages that people look at: who causes what this week, why it was them, and which errors are known.
//!
//! Every request comes in by the door: it finds out who asks, turns away who may not, refuses posts that
//! another site or another browser made up, and puts the strict headers on whatever is answered. Behind it a
//! page reads the store in one transaction, shapes what it shows, and has a template lay it out. Every page
//! works without scripts; the one that there is shows times in the browser's zone, tries a rule while it is
//! being written, and copies.
//!
//! Everything from a report is hostile. Templates escape; control characters and overrides of the reading
//! direction are made visible before (`notify::plain`).

mod almanac;
mod api;
mod attempts;
mod board;
mod chart;
pub(crate) mod desk;
mod door;
mod fault;
mod fault_actions;
mod form;
mod health;
mod outbox;
mod page;
mod params;
mod passwords;
mod people;
mod projects;
mod proxy;
mod rules;
mod search;
mod settings;
mod sheet;
mod show;
mod sign_in;
mod surroundings;
mod timeline;
mod trace;
mod transcript;
mod trial;
mod week;
mod week_settings;
mod you;
mod zones;

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::{get, post};
use jiff::tz::TimeZone;

use self::attempts::Attempts;
use self::door::{Need, Visitor, door};
pub(crate) use self::page::Problem;
use self::passwords::Passwords;
pub use self::proxy::Proxies;
use self::show::Times;
pub(crate) use self::sign_in::one_time;
pub(crate) use self::week_settings::{DAYS, weekday};
pub use self::week_settings::{Names, WeekSettings};
pub(crate) use self::zones::zone;
use crate::blame::Blamer;
use crate::clock::Clock;
use crate::notify;
use crate::notify::outbox::Outbox;
use crate::pipeline::{Authors, Mirrors};
use crate::store::{AccountRole, Store, StoreError, Tx};
use crate::triage::identity::AddressPolicy;

/// How the pages are kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Whether one has to sign in to see anything.
    pub sign_in: SignIn,
    /// As whom mails are sent, and how browsers reach the pages.
    pub mail: notify::Settings,
    /// How git's addresses become people's.
    pub addresses: AddressPolicy,
    /// Whether whoever writes code of a project may sign in, and sees it.
    pub authors: bool,
    /// What is in front of the daemon and may say who is there.
    pub proxies: Proxies,
    /// How the week is shown, unless it is set while the daemon runs.
    pub week: WeekSettings,
    /// In which time zone times are shown to whoever has not said theirs.
    pub time_zone: TimeZone,
}

/// Whether one has to sign in to see anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SignIn {
    /// One has to.
    #[default]
    Required,
    /// Everybody who reaches the pages may do everything: for a closed network.
    Off,
}

/// The pages. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Web(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    outbox: Arc<Outbox>,
    blamer: Blamer,
    authors: Authors,
    mirrors: Mirrors,
    settings: Settings,
    attempts: Attempts,
    passwords: Passwords,
    almanac: almanac::Almanac,
}

impl Web {
    /// Pages over `store`; mails that they owe are delivered by `outbox`.
    #[must_use]
    pub fn new(
        store: Store,
        clock: Clock,
        outbox: Arc<Outbox>,
        (blamer, authors, mirrors): (Blamer, Authors, Mirrors),
        settings: Settings,
    ) -> Self {
        let (attempts, passwords, almanac) = Default::default();
        Self(Arc::new(Inner {
            store,
            clock,
            outbox,
            blamer,
            authors,
            mirrors,
            settings,
            attempts,
            passwords,
            almanac,
        }))
    }

    /// Its routes, and its answer to every address that is nobody's.
    pub fn router(self) -> Router {
        let nobody = Router::new()
            .route(page::style_address(), get(page::style))
            .route(page::script_address(), get(page::script))
            .route("/favicon.svg", get(page::favicon))
            .route("/favicon.ico", get(page::favicon))
            .route("/check_health", get(page::check_health))
            .route("/api", get(api::page))
            .route("/readyz", get(page::check_health))
            .route("/sign_in", get(sign_in::form).post(sign_in::ask))
            .route("/sign_in/{secret}", get(sign_in::confirm).post(sign_in::enter));
        let reader = Router::new()
            .route("/", get(board::page))
            .route("/get_weekly_error_report", get(board::page))
            .route("/week.csv", get(sheet::csv))
            .route("/week.json", get(sheet::json))
            .route("/faults/{id}", get(fault::page))
            .route("/faults/{id}/occurrences/{occurrence}", get(fault::raw))
            .route("/view_traceback", get(fault::view_traceback))
            .route("/search", get(search::page))
            .route("/rules", get(rules::list))
            .route("/admin", get(rules::list))
            .route("/view_config", get(rules::view_config))
            .route("/rules/{id}", get(rules::show))
            .route("/you", get(you::page))
            .route("/you/sign_out", post(you::sign_out))
            .route("/you/password", post(you::password))
            .route("/you/zone", post(you::zone))
            .route("/you/tokens", post(you::tokens));
        let mut developer = Router::new()
            .route("/rules/{id}", post(rules::change))
            .route("/faults/{id}/delete", post(fault_actions::delete))
            .route("/faults/{id}/send_again", post(fault_actions::send_again));
        for list in form::List::ALL {
            let (show, add) = (rules::blank, rules::add);
            let show = move |web, visitor, query| show(list, web, visitor, query);
            let add = move |web, visitor, posted| add(list, web, visitor, posted);
            developer = developer.route(list.address(), get(show).post(add));
        }
        let admin = Router::new()
            .route("/settings", get(settings::page).post(settings::change))
            .route("/changes", get(settings::changes))
            .route("/health", get(health::page))
            .route("/repositories", get(health::repositories))
            .route("/projects", get(projects::page).post(projects::change))
            .route("/people", get(people::page).post(people::change))
            .route("/outbox", get(outbox::page))
            .route("/outbox/{id}", get(outbox::one).post(outbox::retry));
        let behind = |routes: Router<Self>, need| {
            routes.route_layer(from_fn_with_state((self.clone(), need), door)).with_state(self.clone())
        };
        Router::new()
            .merge(behind(nobody, Need::Nothing))
            .merge(api::router(&self))
            .merge(behind(reader, Need::Role(AccountRole::Reader)))
            .merge(behind(developer, Need::Role(AccountRole::Developer)))
            .merge(behind(admin, Need::Role(AccountRole::Admin)))
            .merge(
                Router::new()
                    .fallback(page::nowhere)
                    .layer(from_fn_with_state((self.clone(), Need::Nowhere), door)),
            )
    }

    /// The address that makes the first admin, once. `None`: there is one already, or none is needed.
    /// Blocks.
    ///
    /// # Errors
    /// What the store says.
    pub fn first_admin_link(&self) -> Result<Option<String>, StoreError> {
        if self.0.settings.sign_in == SignIn::Off {
            return Ok(None);
        }
        let path = sign_in::first_admin(&self.0.store, self.0.clock.now().as_millisecond())?;
        Ok(path.map(|path| self.address(&path)))
    }

    /// Reads what the first board takes, so that whoever opens it does not wait for it.
    pub async fn warm(&self) {
        let nobody = Visitor::anybody();
        let read = async {
            let asked =
                week::Asked::read(&Default::default(), &nobody, self.week_settings().await?, self.now())?;
            self.week(asked, week::Shown { developers: 0, each: 0, after: 0 }).await
        };
        // Where it goes wrong, the log has it; the board says it again.
        let _: Result<week::Week, Problem> = read.await;
    }

    /// The address of a page as browsers know it.
    fn address(&self, path: &str) -> String {
        format!("{}{path}", self.0.settings.mail.public_url.trim_end_matches('/'))
    }

    fn now(&self) -> i64 {
        self.0.clock.now().as_millisecond()
    }

    /// How the week is shown now.
    async fn week_settings(&self) -> Result<WeekSettings, Problem> {
        let set = self.read(|tx| Ok(tx.board_settings()?)).await?;
        Ok(self.0.settings.week.but(&set))
    }

    /// The clock as `visitor` reads it.
    fn times(&self, visitor: &Visitor) -> Times {
        Times::new(self.now(), &visitor.zone)
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let store = self.0.store.clone();
        tokio::task::spawn_blocking(move || store.read(work)).await.expect("reading does not panic")
    }

    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Tx<'_>) -> Result<T, Problem> + Send + 'static,
    ) -> Result<T, Problem> {
        let store = self.0.store.clone();
        tokio::task::spawn_blocking(move || store.write(work)).await.expect("writing does not panic")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::Transport;
    use crate::pipeline::MirrorSettings;

    /// Pages over a store, with nothing around them.
    pub(super) fn web(store: &Store, clock: &Clock, sign_in: SignIn, public_url: &str) -> Web {
        let from: lettre::message::Mailbox = "blamed@example.org".parse().unwrap();
        let mail = notify::Settings {
            from: from.clone(),
            public_url: public_url.to_owned(),
            default_contact: None,
            transport: Transport::Folder("unused".into()),
        };
        let outbox = Arc::new(Outbox::new(store.clone(), clock.clone(), mail.clone()));
        let blamer = Blamer::new(Vec::new(), crate::blame::Settings::default());
        let authors = Authors::new(store.clone(), blamer.clone(), Vec::new());
        let hour = std::time::Duration::from_secs(3_600);
        let (default_contact, progress) = (None, None);
        let fetch = MirrorSettings { every: hour, timeout: hour, sender: from, default_contact, progress };
        let world = (store.clone(), blamer.clone(), clock.clone());
        let mirrors = Mirrors::new(Vec::new(), fetch, world, || ());
        let settings = Settings {
            sign_in,
            mail,
            addresses: AddressPolicy::default(),
            authors: true,
            proxies: Proxies::default(),
            week: WeekSettings::default(),
            time_zone: TimeZone::UTC,
        };
        Web::new(store.clone(), clock.clone(), outbox, (blamer, authors, mirrors), settings)
    }
}

//! What may change while the daemon runs, and who changed what.

use askama::Template;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::desk::{Desk, HouseSettings};
use super::door::{Posted, Visitor};
use super::page::{Answer, Problem, Shell, html};
use super::params::Params;
use super::show::{self, When};
use super::week_settings::weekday_name;
use super::{DAYS, Names, Web, weekday};
use crate::store::{BoardSettings, Change};

/// Changes on a page.
const CHANGES: u32 = 200;

#[derive(Template)]
#[template(path = "web/settings.html")]
struct SettingsPage {
    shell: Shell,
    version: String,
    threshold: String,
    threshold_wrong: &'static str,
    cutoff: String,
    cutoff_wrong: &'static str,
    /// What is set of the board, and what is configured.
    board: BoardSettings,
    configured: [&'static str; 2],
    /// What they are now, where somebody else was faster; empty: nobody was.
    conflict: String,
    changes: Vec<(When, Change)>,
}

impl SettingsPage {
    fn is_named(&self, names: &str) -> bool {
        self.board.names.as_deref() == Some(names)
    }

    fn starts_on(&self, day: &str) -> bool {
        self.board.week_starts.as_deref() == Some(day)
    }
}

#[derive(Template)]
#[template(path = "web/changes.html")]
struct ChangesPage {
    shell: Shell,
    changes: Vec<(When, Change, String)>,
}

/// The settings.
pub(super) async fn page(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let mut page = web.settings_page(visitor).await?;
    page.shell = page.shell.saying(&params);
    html(&page)
}

impl Web {
    async fn settings_page(&self, visitor: Visitor) -> Result<SettingsPage, Problem> {
        let times = self.times(&visitor);
        let read = self.read(|tx| Ok((HouseSettings::read(tx)?, tx.changes_of("settings", 20)?)));
        let (settings, changes) = read.await?;
        let configured = self.0.settings.week;
        Ok(SettingsPage {
            shell: Shell::new("Settings", "settings", visitor),
            version: settings.version(),
            threshold: settings.mail.threshold.to_string(),
            threshold_wrong: "",
            cutoff: day(settings.mail.cutoff),
            cutoff_wrong: "",
            board: settings.board,
            configured: [configured.names.as_str(), weekday_name(configured.starts)],
            conflict: String::new(),
            changes: changes.into_iter().map(|change| (times.when(change.at), change)).collect(),
        })
    }
}

/// The day of a cutoff; empty: there is none.
fn day(cutoff: Option<Timestamp>) -> String {
    cutoff.map(|cutoff| show::day(cutoff.as_millisecond())).unwrap_or_default()
}

/// Changes them.
pub(super) async fn change(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Extension(Posted(posted)): Extension<Posted>,
) -> Answer {
    let threshold = posted.get("threshold").parse::<u64>().ok().filter(|n| (1..=1_000_000_000).contains(n));
    let cutoff = posted.given("cutoff").map(|text| {
        text.parse::<Date>().and_then(|day| day.to_zoned(TimeZone::UTC)).map(|day| day.timestamp())
    });
    let cutoff = cutoff.transpose();
    // What a form cannot hold is not chosen.
    let board = BoardSettings {
        names: posted.given("names").and_then(Names::read).map(|names| names.as_str().to_owned()),
        week_starts: posted.given("week_starts").and_then(weekday).map(|day| weekday_name(day).to_owned()),
    };
    let (said, chosen) = (posted.clone(), board.clone());
    // The page as it was sent, over what is there now.
    let again = async |status| {
        let mut page = web.settings_page(visitor.clone()).await?;
        page.threshold = said.get("threshold").to_owned();
        page.cutoff = said.get("cutoff").to_owned();
        page.board = chosen;
        Ok::<_, Problem>((page, status))
    };
    let (page, status) = match (threshold, cutoff) {
        (Some(threshold), Ok(cutoff)) => {
            let (who, now) = (visitor.who(), web.now());
            let version = posted.get("version").to_owned();
            let changed = web.write(move |tx| {
                let mut after = HouseSettings::read(tx)?;
                after.mail.threshold = threshold;
                // A cutoff of a certain hour stays, unless another day is asked for.
                if day(after.mail.cutoff) != day(cutoff) {
                    after.mail.cutoff = cutoff;
                }
                after.board = board;
                Desk::new(tx, &who, now).change_settings(&after, Some(&version))
            });
            match changed.await {
                Ok(changed) => {
                    let said = if changed { "settings" } else { "same" };
                    return Ok(Redirect::to(&format!("/settings?said={said}")).into_response());
                }
                Err(problem) if problem.status == StatusCode::CONFLICT => {
                    let now = web.settings_page(visitor.clone()).await?;
                    let (mut page, status) = again(problem.status).await?;
                    let by = now.changes.first().map_or("Somebody", |(_, change)| change.who.as_str());
                    let cutoff = if now.cutoff.is_empty() { "none" } else { now.cutoff.as_str() };
                    page.conflict = format!(
                        "{by} was faster: the threshold is now {}, the cutoff {cutoff}, the board’s names {}.",
                        now.threshold,
                        now.board.names.as_deref().unwrap_or("as configured")
                    );
                    (page, status)
                }
                Err(problem) => return Err(problem),
            }
        }
        (threshold, cutoff) => {
            let (mut page, status) = again(StatusCode::UNPROCESSABLE_ENTITY).await?;
            page.version = posted.get("version").to_owned();
            page.threshold_wrong = if threshold.is_none() { "A whole number of at least 1." } else { "" };
            page.cutoff_wrong = if cutoff.is_err() { "A day such as 2026-01-31, or nothing." } else { "" };
            (page, status)
        }
    };
    let mut response = html(&page)?;
    *response.status_mut() = status;
    Ok(response)
}

/// Everything that anybody changed.
pub(super) async fn changes(State(web): State<Web>, Extension(visitor): Extension<Visitor>) -> Answer {
    let times = web.times(&visitor);
    let changes = web.read(|tx| Ok(tx.changes(CHANGES)?)).await?;
    let changes = changes.into_iter().map(|change| {
        let link = match change.subject.split_once(' ') {
            Some(("rule", id)) => format!("/rules/{id}"),
            Some(("fault", id)) => format!("/faults/{id}"),
            _ => String::new(),
        };
        (times.when(change.at), change, link)
    });
    html(&ChangesPage { changes: changes.collect(), shell: Shell::new("Changes", "settings", visitor) })
}

//! What may change while the daemon runs, and who changed what.

use askama::Template;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::Web;
use super::desk::{Desk, settings_version};
use super::door::{Posted, Visitor};
use super::page::{Answer, Shell, html};
use super::params::Params;
use super::show::{self, When};
use crate::store::Change;

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
    changes: Vec<(When, Change)>,
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
    let now = web.now();
    let (settings, changes) = web.read(|tx| Ok((tx.settings()?, tx.changes_of("settings", 20)?))).await?;
    html(&SettingsPage {
        shell: Shell::new("Settings", "settings", visitor).saying(&params),
        version: settings_version(&settings),
        threshold: settings.threshold.to_string(),
        threshold_wrong: "",
        cutoff: settings.cutoff.map(|cutoff| show::day(cutoff.as_millisecond())).unwrap_or_default(),
        cutoff_wrong: "",
        changes: changes.into_iter().map(|change| (When { at: change.at, now }, change)).collect(),
    })
}

/// Changes them.
pub(super) async fn change(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Extension(Posted(posted)): Extension<Posted>,
) -> Answer {
    let threshold = posted.get("threshold").parse::<u64>().ok().filter(|n| (1..=1_000_000_000).contains(n));
    let day = posted.given("cutoff").map(|text| {
        text.parse::<Date>().and_then(|day| day.to_zoned(TimeZone::UTC)).map(|day| day.timestamp())
    });
    let (Some(threshold), Ok(cutoff)) = (threshold, day.transpose()) else {
        let page = SettingsPage {
            shell: Shell::new("Settings", "settings", visitor),
            version: posted.get("version").to_owned(),
            threshold: posted.get("threshold").to_owned(),
            threshold_wrong: if threshold.is_none() { "A whole number of at least 1." } else { "" },
            cutoff: posted.get("cutoff").to_owned(),
            cutoff_wrong: if threshold.is_some() { "A day such as 2026-01-31, or nothing." } else { "" },
            changes: Vec::new(),
        };
        let mut response = html(&page)?;
        *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
        return Ok(response);
    };
    let (who, now) = (visitor.who(), web.now());
    let version = posted.get("version").to_owned();
    let changed = web
        .write(move |tx| {
            let mut after = tx.settings()?;
            after.threshold = threshold;
            // A cutoff of a certain hour stays, unless another day is asked for.
            let day = |cutoff: Option<jiff::Timestamp>| cutoff.map(|at| show::day(at.as_millisecond()));
            if day(after.cutoff) != day(cutoff) {
                after.cutoff = cutoff;
            }
            Desk::new(tx, &who, now).change_settings(&after, Some(&version))
        })
        .await?;
    let said = if changed { "settings" } else { "same" };
    Ok(Redirect::to(&format!("/settings?said={said}")).into_response())
}

/// Everything that anybody changed.
pub(super) async fn changes(State(web): State<Web>, Extension(visitor): Extension<Visitor>) -> Answer {
    let now = web.now();
    let changes = web.read(|tx| Ok(tx.changes(CHANGES)?)).await?;
    let changes = changes.into_iter().map(|change| {
        let link = match change.subject.split_once(' ') {
            Some(("rule", id)) => format!("/rules/{id}"),
            Some(("fault", id)) => format!("/faults/{id}"),
            _ => String::new(),
        };
        (When { at: change.at, now }, change, link)
    });
    html(&ChangesPage { changes: changes.collect(), shell: Shell::new("Changes", "settings", visitor) })
}

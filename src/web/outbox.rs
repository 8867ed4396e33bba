//! The mails: what waits, what was given up, what the server said last.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::response::{IntoResponse, Redirect};

use super::Web;
use super::desk::Desk;
use super::door::{Posted, Visitor};
use super::page::{Answer, Problem, Shell, html};
use super::params::Params;
use super::show::{Count, Times, When};
use crate::notify::notice::Notice;
use crate::notify::{self, compose, plain};
use crate::store::{DeliveryState, DeliveryStatus};

/// Mails of one state on the page.
const SHOWN: u32 = 50;

#[derive(Template)]
#[template(path = "web/outbox.html")]
struct OutboxPage {
    shell: Shell,
    sent: Count,
    waiting: Count,
    given_up: Count,
    pause: Option<(When, When, String)>,
    parts: Vec<(&'static str, &'static str, Vec<Row>)>,
}

#[derive(Template)]
#[template(path = "web/mail.html")]
struct MailPage {
    shell: Shell,
    row: Row,
    message_id: String,
    subject: String,
    text: String,
}

struct Row {
    id: i64,
    to: String,
    fault: Option<i64>,
    mark: String,
    state: &'static str,
    at: When,
    next: Option<When>,
    attempts: u32,
    answer: String,
    sent: bool,
}

/// A delivery's state for people.
pub(super) fn state(state: DeliveryState) -> &'static str {
    match state {
        DeliveryState::Waiting => "waiting",
        DeliveryState::Sent => "sent",
        DeliveryState::GivenUp => "given up",
    }
}

fn row(mail: DeliveryStatus, times: &Times) -> Row {
    let waiting = mail.state == DeliveryState::Waiting;
    Row {
        id: mail.id,
        to: plain::line(&mail.recipient, 254),
        fault: mail.fault.filter(|fault| *fault != 0),
        mark: plain::line(&mail.mark, 60),
        state: state(mail.state),
        at: times.when(mail.finished_at.unwrap_or(mail.created_at)),
        next: waiting.then(|| times.when(mail.next_at)),
        attempts: mail.attempts,
        answer: plain::line(mail.last_answer.as_deref().unwrap_or_default(), 400),
        sent: mail.state == DeliveryState::Sent,
    }
}

/// All mails by state.
pub(super) async fn page(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let times = web.times(&visitor);
    let parts = [
        (DeliveryState::GivenUp, "Given up", "The server refused for good, or too often."),
        (DeliveryState::Waiting, "Waiting", "To be tried, or tried again."),
        (DeliveryState::Sent, "Sent", "The server took them."),
    ];
    let of_mails = times.clone();
    let (counts, parts) = web
        .read(move |tx| {
            let mut shown = Vec::new();
            for (state, title, words) in parts {
                let mails = tx.deliveries_in(state, SHOWN)?;
                shown.push((title, words, mails.into_iter().map(|mail| row(mail, &of_mails)).collect()));
            }
            Ok((tx.count_deliveries()?, shown))
        })
        .await?;
    let when = |at: jiff::Timestamp| times.when(at.as_millisecond());
    let pause = web.0.outbox.paused();
    html(&OutboxPage {
        shell: Shell::new("Mails", "outbox", visitor).saying(&params),
        sent: Count(counts.sent),
        waiting: Count(counts.waiting),
        given_up: Count(counts.given_up),
        pause: pause.map(|pause| (when(pause.since), when(pause.until), plain::line(&pause.reason, 400))),
        parts,
    })
}

fn gone() -> Problem {
    Problem::missing("There is no such mail", "The number is mistyped.").way("/outbox", "All mails")
}

/// One mail, as its reader sees it.
pub(super) async fn one(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let id: i64 = id.parse().map_err(|_| gone())?;
    let times = web.times(&visitor);
    let (mail, notice) = web.read(move |tx| tx.delivery_status(id)?.ok_or_else(gone)).await?;
    let (subject, text) = readable(&notice, &mail.recipient, &web.0.settings.mail)?;
    html(&MailPage {
        shell: Shell::new("Mail", "outbox", visitor).saying(&params),
        message_id: mail.message_id.clone(),
        row: row(mail, &times),
        subject,
        text,
    })
}

/// A mail's subject and text, as its reader sees them, but for what is for them alone.
pub(super) fn readable(
    notice: &Notice,
    to: &str,
    settings: &notify::Settings,
) -> Result<(String, String), Problem> {
    let subject = compose::subject(notice);
    // The link is made when the mail goes out; nobody can show it here.
    if let Notice::SignIn { .. } = notice {
        return Ok((subject, "The link is for its reader alone.".to_owned()));
    }
    let text = compose::text(notice, to, settings).map_err(|error| Problem::internal(&error))?;
    Ok((subject, text))
}

/// Tries a mail again, now.
pub(super) async fn retry(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Extension(Posted(_)): Extension<Posted>,
) -> Answer {
    let id: i64 = id.parse().map_err(|_| gone())?;
    let (who, now) = (visitor.who(), web.now());
    let retried = web.write(move |tx| Ok(Desk::new(tx, &who, now).retry_mail(id)?)).await?;
    if retried {
        web.0.outbox.wake();
    }
    let said = if retried { "retried" } else { "same" };
    Ok(Redirect::to(&format!("/outbox/{id}?said={said}")).into_response())
}

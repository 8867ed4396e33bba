//! Who may look at the pages, and where one is signed in oneself.

use askama::Template;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};

use super::Web;
use super::door::{Posted, Visitor};
use super::page::{Answer, Problem, Shell, html};
use super::params::Params;
use super::show::When;
use crate::pipeline::random_id;
use crate::store::{Account, AccountRole, Session};

#[derive(Template)]
#[template(path = "web/people.html")]
struct PeoplePage {
    shell: Shell,
    people: Vec<(Account, When)>,
    mail: String,
    wrong: &'static str,
}

#[derive(Template)]
#[template(path = "web/you.html")]
struct YouPage {
    shell: Shell,
    role: &'static str,
    sessions: Vec<(Session, When, When, bool)>,
}

/// Everybody.
pub(super) async fn page(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let mut page = people(&web, visitor, "", "").await?;
    page.shell = page.shell.saying(&params);
    html(&page)
}

async fn people(web: &Web, visitor: Visitor, mail: &str, wrong: &'static str) -> Result<PeoplePage, Problem> {
    let now = web.now();
    let people = web.read(|tx| Ok(tx.accounts()?)).await?;
    Ok(PeoplePage {
        shell: Shell::new("People", "people", visitor),
        people: people
            .into_iter()
            .map(|a| (When { at: a.created_at, now }, a))
            .map(|(w, a)| (a, w))
            .collect(),
        mail: mail.to_owned(),
        wrong,
    })
}

/// Adds somebody, changes a role, removes somebody.
pub(super) async fn change(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Extension(Posted(posted)): Extension<Posted>,
) -> Answer {
    let (who, now) = (visitor.who(), web.now());
    let mail = posted.get("mail").to_lowercase();
    let action = posted.get("action").to_owned();
    let role = AccountRole::read(posted.get("role")).unwrap_or(AccountRole::Reader);
    if action == "add" && mail.parse::<lettre::Address>().is_err() {
        let mut response = html(&people(&web, visitor, &mail, "That is no mail address.").await?)?;
        *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
        return Ok(response);
    }
    let said = web
        .write(move |tx| {
            if action == "add" {
                if tx.account_of_mail(&mail)?.is_some() {
                    return Ok("same");
                }
                let account = tx.ensure_account(&mail, role, now)?;
                let what = format!("added {mail} as {}", role.as_str());
                tx.note_change(&who, &format!("account {}", account.id), &what, now)?;
                return Ok("person-added");
            }
            let Some(account) = tx.account_of_mail(&mail)? else { return Ok("same") };
            let remove = action == "remove";
            let admins = tx.accounts()?.iter().filter(|a| a.role == AccountRole::Admin).count();
            if account.role == AccountRole::Admin && admins == 1 && (remove || role != AccountRole::Admin) {
                let said = "Somebody has to be admin. Make somebody else one first.";
                return Err(Problem::new(StatusCode::CONFLICT, "This is the last admin", said)
                    .way("/people", "People"));
            }
            let subject = format!("account {}", account.id);
            if remove {
                tx.remove_account(account.id)?;
                tx.note_change(&who, &subject, &format!("removed {mail}"), now)?;
                return Ok("person-removed");
            }
            if !tx.set_role(account.id, role)? {
                return Ok("same");
            }
            let what = format!("made {mail} {} instead of {}", role.as_str(), account.role.as_str());
            tx.note_change(&who, &subject, &what, now)?;
            Ok("person-changed")
        })
        .await?;
    Ok(Redirect::to(&format!("/people?said={said}")).into_response())
}

/// Oneself, and where one is signed in.
pub(super) async fn you(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let (now, own) = (web.now(), visitor.session());
    let account = visitor.account.clone().map(|account| account.id);
    let sessions = match account {
        Some(id) => web.read(move |tx| Ok(tx.sessions(id, now)?)).await?,
        None => Vec::new(),
    };
    let when = |at| When { at, now };
    let sessions = sessions.into_iter().map(|session| {
        let here = session.hash == own;
        (when(session.created_at), when(session.used_at), here, session)
    });
    html(&YouPage {
        role: visitor.role.map_or("", AccountRole::as_str),
        sessions: sessions.map(|(began, used, here, session)| (session, began, used, here)).collect(),
        shell: Shell::new("You", "you", visitor).saying(&params),
    })
}

/// Signs out, here or in another browser.
pub(super) async fn sign_out(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Extension(Posted(posted)): Extension<Posted>,
) -> Answer {
    let Some(account) = visitor.account.clone() else { return Ok(Redirect::to("/").into_response()) };
    let now = web.now();
    let hash = posted.given("session").map_or_else(|| visitor.session(), str::to_owned);
    let here = hash == visitor.session();
    web.write(move |tx| {
        if tx.end_session(account.id, &hash)? {
            tx.note_change(&account.mail, &format!("account {}", account.id), "signed out", now)?;
        }
        Ok(())
    })
    .await?;
    if !here {
        return Ok(Redirect::to("/you?said=signed-out-there").into_response());
    }
    let mut response = Redirect::to("/sign_in").into_response();
    web.hand_out(&random_id(), &mut response);
    Ok(response)
}

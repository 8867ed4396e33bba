//! Oneself: where one is signed in, one's password, and the tokens that one's programs show.

use askama::Template;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};

use super::desk::{Desk, scope_name, scope_of};
use super::door::{Posted, Visitor};
use super::page::{Answer, Problem, Shell, html};
use super::params::Params;
use super::passwords::{LONGEST, SHORTEST, weakness};
use super::show::When;
use super::{Web, zones};
use crate::pipeline::random_id;
use crate::store::{Account, AccountRole, ApiToken, Session};

/// Tries of the old password, for one account in a quarter of an hour.
const TRIED_FOR: u32 = 10;

#[derive(Template)]
#[template(path = "web/you.html")]
struct YouPage {
    shell: Shell,
    role: &'static str,
    /// The projects that are seen; empty: all.
    sees: Option<Vec<String>>,
    sessions: Vec<(Session, When, When, bool)>,
    has_password: bool,
    /// What is wrong with the old password, and with the new one; empty: nothing.
    wrong: [&'static str; 2],
    /// The time zone that was chosen; empty: none.
    zone: String,
    zones: Vec<(&'static str, Vec<String>)>,
    house_zone: String,
    tokens: Vec<Token>,
    scopes: Vec<&'static str>,
    token_wrong: String,
    /// A token that was just made, to be shown this once.
    fresh: String,
}

struct Token {
    token: ApiToken,
    scope: &'static str,
    made: When,
    used: Option<When>,
    ends: When,
    over: bool,
}

/// The page.
pub(super) async fn page(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let mut page = web.you(visitor).await?;
    page.shell = page.shell.saying(&params);
    html(&page)
}

impl Web {
    async fn you(&self, visitor: Visitor) -> Result<YouPage, Problem> {
        let (now, own) = (self.now(), visitor.session());
        let account = visitor.account.clone().map(|account| account.id);
        let reach = visitor.reach.clone();
        let read = self.read(move |tx| {
            let projects = tx.projects_within(&reach)?.into_iter().map(|project| project.name);
            let sees = (reach != crate::store::Reach::All).then(|| projects.collect());
            let Some(id) = account else { return Ok((sees, Vec::new(), false, Vec::new())) };
            Ok((sees, tx.sessions(id, now)?, tx.password(id)?.is_some(), tx.tokens(Some(id))?))
        });
        let (sees, sessions, has_password, tokens) = read.await?;
        let times = self.times(&visitor);
        let when = |at| times.when(at);
        let sessions = sessions.into_iter().map(|session| {
            let here = session.hash == own;
            (when(session.created_at), when(session.used_at), here, session)
        });
        let tokens = tokens.into_iter().map(|token| Token {
            scope: scope_name(token.scope),
            made: when(token.created_at),
            used: token.used_at.map(when),
            ends: when(token.expires_at),
            over: token.expires_at <= now,
            token,
        });
        let may = visitor.role.unwrap_or(AccountRole::Reader);
        let scopes = AccountRole::ALL.into_iter().filter(|role| *role <= may).map(scope_name);
        Ok(YouPage {
            role: visitor.role.map_or("", AccountRole::as_str),
            sees,
            sessions: sessions.map(|(began, used, here, session)| (session, began, used, here)).collect(),
            has_password,
            wrong: ["", ""],
            zone: visitor.account.as_ref().and_then(|account| account.zone.clone()).unwrap_or_default(),
            zones: zones::by_area(),
            house_zone: self.0.settings.time_zone.iana_name().unwrap_or("UTC").to_owned(),
            tokens: tokens.collect(),
            scopes: scopes.collect(),
            token_wrong: String::new(),
            fresh: String::new(),
            shell: Shell::new("You", "you", visitor),
        })
    }
}

/// Whoever is signed in as somebody. Where sign-in is off, nobody is.
fn somebody(visitor: &Visitor) -> Result<Account, Problem> {
    visitor.account.clone().ok_or_else(|| {
        let said = "Sign-in is off, so there are no accounts.";
        Problem::new(StatusCode::CONFLICT, "You are nobody in particular", said)
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
    web.hand_out(&visitor, &random_id(), &mut response);
    Ok(response)
}

/// Sets, changes or removes one's password. Whoever has one says it first: a browser left open is not enough.
pub(super) async fn password(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Extension(Posted(posted)): Extension<Posted>,
) -> Answer {
    let account = somebody(&visitor)?;
    let (old, new) = (posted.raw("old").to_owned(), posted.raw("new").to_owned());
    let remove = posted.get("action") == "remove";
    let now = web.now();
    let id = account.id;
    let hash = web.read(move |tx| Ok(tx.password(id)?)).await?;
    let mut wrong = ["", ""];
    if hash.is_some() {
        if !web.0.attempts.allow(format!("old password of {id}"), TRIED_FOR, now) {
            let said = "Wait a quarter of an hour, then try again.";
            return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, "That was tried too often", said));
        }
        let fits = old.len() <= LONGEST && web.0.passwords.fits(old, hash.clone()).await?;
        wrong[0] = if fits { "" } else { "That is not your password." };
    }
    if !remove {
        wrong[1] = weakness(&new, &account.mail);
        if wrong[1].is_empty() && new != posted.raw("again") {
            wrong[1] = "The two are not the same.";
        }
    }
    if wrong != ["", ""] {
        let mut page = web.you(visitor).await?;
        page.wrong = wrong;
        let mut response = html(&page)?;
        *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
        return Ok(response);
    }
    let new = if remove { None } else { Some(web.0.passwords.hash(new).await?) };
    let session = visitor.session();
    web.write(move |tx| {
        if tx.password(id)? != hash {
            let said = "It was changed from elsewhere at the same time. Load the page again.";
            return Err(Problem::new(StatusCode::CONFLICT, "Your password is another by now", said));
        }
        Ok(Desk::new(tx, &account.mail, now).set_password(&account, new.as_deref(), &session)?)
    })
    .await?;
    let said = if remove { "password-removed" } else { "password-set" };
    Ok(Redirect::to(&format!("/you?said={said}")).into_response())
}

/// Chooses the time zone that times are shown in.
pub(super) async fn zone(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Extension(Posted(posted)): Extension<Posted>,
) -> Answer {
    let (now, account) = (web.now(), somebody(&visitor)?);
    let zone = posted.given("zone").map(str::to_owned);
    let changed =
        web.write(move |tx| Desk::new(tx, &account.mail, now).set_zone(&account, zone.as_deref())).await?;
    Ok(Redirect::to(&format!("/you?said={}", if changed { "zone" } else { "same" })).into_response())
}

/// Makes a token, which is shown at once and never again, or revokes one.
pub(super) async fn tokens(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Extension(Posted(posted)): Extension<Posted>,
) -> Answer {
    let account = somebody(&visitor)?;
    let (now, who) = (web.now(), account.mail.clone());
    if let Some(id) = posted.given("revoke") {
        let id = id.parse().unwrap_or(0);
        let revoked =
            web.write(move |tx| Ok(Desk::new(tx, &who, now).revoke_token(id, Some(account.id))?)).await?;
        let said = if revoked { "token-revoked" } else { "same" };
        return Ok(Redirect::to(&format!("/you?said={said}")).into_response());
    }
    let name = posted.get("name").to_owned();
    let scope = scope_of(posted.get("scope")).unwrap_or(AccountRole::Reader);
    let days = posted.get("days").parse().unwrap_or(0);
    let known = posted.get("tokens").parse().ok();
    let made = web.write(move |tx| {
        let (_, token) = Desk::new(tx, &who, now).add_token(&account, &name, scope, days, known)?;
        Ok(token)
    });
    let made = made.await;
    let mut page = web.you(visitor).await?;
    let status = match made {
        Ok(token) => {
            page.fresh = token;
            StatusCode::CREATED
        }
        Err(problem) if problem.status == StatusCode::UNPROCESSABLE_ENTITY => {
            page.token_wrong = problem.sentence;
            problem.status
        }
        Err(problem) => return Err(problem),
    };
    let mut response = html(&page)?;
    *response.status_mut() = status;
    Ok(response)
}

//! Signing in: by a password, or by a link that one asks for, that comes by mail and works once.
//!
//! Whoever asks is told the same whether the address may sign in or not, and as quickly: what is to be done about
//! a link is done afterwards, and where there is no password one is hashed all the same. The link opens a page
//! with a button, for programs that look through mails open links, too; only the button signs in.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};

use super::Web;
use super::door::{Posted, SESSION, Visitor};
use super::page::{Answer, Problem, Shell, html};
use super::params::Params;
use super::passwords::LONGEST;
use crate::notify::notice::Notice;
use crate::notify::plain;
use crate::notify::{new_message_id, new_secret};
use crate::pipeline::random_id;
use crate::store::{Account, AccountRole, Store, StoreError, Tx, fingerprint};

/// How long a mailed link works, in milliseconds.
const LINK: i64 = 30 * 60_000;
/// How long a link works that the command line has printed, in milliseconds.
const PRINTED_LINK: i64 = 24 * 3_600_000;
/// Links that may be asked for in a quarter of an hour: for one address, and from one place.
const ASKED_FOR: u32 = 5;
const ASKED_FROM: u32 = 30;
/// Links, and passwords, that may be tried from one place in a quarter of an hour.
const TRIED_FROM: u32 = 60;
/// Passwords that may be tried for one address in a quarter of an hour. Links still sign in then.
const TRIED_FOR: u32 = 10;

#[derive(Template)]
#[template(path = "web/sign_in.html")]
struct SignInPage {
    shell: Shell,
    next: String,
    mail: String,
    wrong: &'static str,
}

#[derive(Template)]
#[template(path = "web/sign_in_sent.html")]
struct SentPage {
    shell: Shell,
    mail: String,
    minutes: i64,
}

#[derive(Template)]
#[template(path = "web/sign_in_confirm.html")]
struct ConfirmPage {
    shell: Shell,
    address: String,
    /// Empty: it is the first admin's.
    mail: String,
    wrong: &'static str,
}

/// The form that asks for an address.
pub(super) async fn form(Extension(visitor): Extension<Visitor>, params: Params) -> Answer {
    let next = local(params.get("next")).to_owned();
    if visitor.role.is_some() {
        return Ok(Redirect::to(if next.is_empty() { "/" } else { &next }).into_response());
    }
    let shell = Shell::new("Sign in", "", visitor);
    html(&SignInPage { shell, next, mail: String::new(), wrong: "" })
}

/// Takes the address.
pub(super) async fn ask(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Extension(Posted(posted)): Extension<Posted>,
    headers: HeaderMap,
) -> Answer {
    let now = web.now();
    let mail = posted.get("mail").to_lowercase();
    let next = local(posted.get("next")).to_owned();
    // First of all, whichever way it is: what is counted and kept of tries is no longer than an address.
    if mail.len() > 254 || mail.parse::<lettre::Address>().is_err() {
        let shell = Shell::new("Sign in", "", visitor);
        let mut page = html(&SignInPage { shell, next, mail, wrong: "That is no mail address." })?;
        *page.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
        return Ok(page);
    }
    if posted.get("action") != "link" && !posted.raw("password").is_empty() {
        return web.by_password(visitor, mail, posted.raw("password").to_owned(), next, &headers).await;
    }
    let attempts = &web.0.attempts;
    let from = attempts.allow(format!("asked from {}", visitor.household), ASKED_FROM, now);
    if !from || !attempts.allow(format!("asked for {mail}"), ASKED_FOR, now) {
        return Err(too_often());
    }
    tokio::spawn({
        let (web, mail) = (web.clone(), mail.clone());
        async move {
            if let Err(error) = web.send_link(mail, next).await {
                tracing::error!(?error, "a sign-in link could not be sent");
            }
        }
    });
    let shell = Shell::new("Look into your mail", "", visitor);
    html(&SentPage { shell, mail: plain::line(&mail, 254), minutes: LINK / 60_000 })
}

impl Web {
    /// Owes the link to whoever may sign in; to others, nothing.
    async fn send_link(&self, mail: String, next: String) -> Result<(), Problem> {
        let now = self.now();
        let authors = self.0.settings.authors;
        let (known, asked) = (mail.clone(), authors);
        let known = self.read(move |tx| may_sign_in(tx, &known, asked).map_err(Problem::from)).await?;
        if !known && authors {
            // They may have written their first commit since.
            self.0.authors.look().await?;
        }
        let message_id = new_message_id(&self.0.settings.mail.from);
        let notice = Notice::SignIn { link: String::new(), next, minutes: LINK / 60_000 };
        let owed = self
            .write(move |tx| {
                tx.sweep_sign_ins(now)?;
                if !may_sign_in(tx, &mail, authors)? {
                    return Ok(false);
                }
                Ok(tx.owe(None, &format!("sign-in {}", random_id()), &mail, &message_id, &notice, now)?)
            })
            .await?;
        if owed {
            self.0.outbox.wake();
        }
        Ok(())
    }
}

impl Web {
    /// Signs in whoever knows the password of an address.
    async fn by_password(
        &self,
        visitor: Visitor,
        mail: String,
        password: String,
        next: String,
        headers: &HeaderMap,
    ) -> Answer {
        let now = self.now();
        let attempts = &self.0.attempts;
        let from = attempts.allow(format!("tried from {}", visitor.household), TRIED_FROM, now);
        if !from || !attempts.allow(format!("tried for {mail}"), TRIED_FOR, now) {
            return Err(too_often());
        }
        let asked = mail.clone();
        let known = self.read(move |tx| {
            let Some(account) = tx.account_of_mail(&asked)? else { return Ok(None) };
            Ok(Some((tx.password(account.id)?, account)))
        });
        let (hash, account) = known.await?.map_or((None, None), |(hash, account)| (hash, Some(account)));
        let fits = password.len() <= LONGEST && self.0.passwords.fits(password, hash.clone()).await?;
        let Some(account) = account.filter(|_| fits) else {
            let wrong = "That is not the password, or there is none. A link by mail signs you in, too.";
            let shell = Shell::new("Sign in", "", visitor);
            let mut page = html(&SignInPage { shell, next, mail, wrong })?;
            *page.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
            return Ok(page);
        };
        let session = random_id();
        let (secret, browser) = (fingerprint(&session), browser(headers));
        self.write(move |tx| {
            // It may have been changed while it was hashed.
            if tx.password(account.id)? != hash {
                return Err(too_often());
            }
            Ok(begin(tx, &account, &secret, &browser, now)?)
        })
        .await?;
        Ok(self.welcome(&visitor, &session, &next))
    }

    /// The answer to a browser that has just signed in.
    fn welcome(&self, visitor: &Visitor, session: &str, next: &str) -> Response {
        let mut response = Redirect::to(if next.is_empty() { "/" } else { next }).into_response();
        self.hand_out(visitor, session, &mut response);
        response
    }
}

/// Signs an account in.
fn begin(tx: &Tx<'_>, account: &Account, hash: &str, browser: &str, now: i64) -> Result<(), StoreError> {
    tx.begin_session(hash, account.id, browser, now, now + SESSION)?;
    tx.note_change(&account.mail, &format!("account {}", account.id), "signed in", now)
}

/// What a browser calls itself.
fn browser(headers: &HeaderMap) -> String {
    let name = headers.get("user-agent").and_then(|value| value.to_str().ok());
    plain::line(name.unwrap_or_default(), 200)
}

/// Whether an address has an account, or may have one: as an author, unless it had one that was taken away.
fn may_sign_in(tx: &Tx<'_>, mail: &str, authors: bool) -> Result<bool, StoreError> {
    if tx.account_of_mail(mail)?.is_some() {
        return Ok(true);
    }
    Ok(authors && !tx.is_shut_out(mail)? && !tx.projects_of_author(mail)?.is_empty())
}

/// What a link opens: a button.
pub(super) async fn confirm(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Path(secret): Path<String>,
    params: Params,
) -> Answer {
    let now = web.now();
    if !web.0.attempts.allow(format!("tried from {}", visitor.household), TRIED_FROM, now) {
        return Err(too_often());
    }
    let hash = fingerprint(&secret);
    let mail = web.read(move |tx| Ok(tx.sign_in_link(&hash, now)?)).await?.ok_or_else(used_up)?;
    let address = Params::default().link(
        &format!("/sign_in/{}", plain::encoded(secret.as_bytes())),
        &[("next", local(params.get("next")))],
    );
    let shell = Shell::new("Sign in", "", visitor);
    html(&ConfirmPage { shell, address, mail, wrong: "" })
}

/// What the button does.
pub(super) async fn enter(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Path(secret): Path<String>,
    params: Params,
    Extension(Posted(posted)): Extension<Posted>,
    headers: HeaderMap,
) -> Answer {
    let now = web.now();
    if !web.0.attempts.allow(format!("tried from {}", visitor.household), TRIED_FROM, now) {
        return Err(too_often());
    }
    let own = posted.get("mail").to_lowercase();
    let own = own.parse::<lettre::Address>().is_ok().then_some(own);
    let browser = browser(&headers);
    let authors = web.0.settings.authors;
    // A new secret: whoever knew the browser's old one does not know this.
    let session = random_id();
    let hash = fingerprint(&session);
    let entered = web.write(move |tx| {
        let Some(mail) = tx.sign_in_link(&fingerprint(&secret), now)? else { return Err(used_up()) };
        let account = if mail.is_empty() {
            let Some(own) = own else { return Ok(false) };
            let account = tx.ensure_account(&own, AccountRole::Admin, now)?;
            tx.set_role(account.id, AccountRole::Admin)?;
            account
        } else {
            match tx.account_of_mail(&mail)? {
                Some(account) => account,
                // It was taken back meanwhile.
                None if !may_sign_in(tx, &mail, authors)? => return Err(used_up()),
                // Whoever comes as an author sees what they write.
                None => {
                    let account = tx.ensure_account(&mail, AccountRole::Developer, now)?;
                    tx.give_projects(account.id, Some(&[]))?;
                    account
                }
            }
        };
        tx.remove_sign_in_links(&mail)?;
        begin(tx, &account, &hash, &browser, now)?;
        Ok(true)
    });
    if !entered.await? {
        let shell = Shell::new("Sign in", "", visitor);
        let wrong = "That is no mail address.";
        let mut page = html(&ConfirmPage { shell, address: String::new(), mail: String::new(), wrong })?;
        *page.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
        return Ok(page);
    }
    Ok(web.welcome(&visitor, &session, local(params.get("next"))))
}

/// Makes the link of the first admin, in place of those before; its path. `None`: there is an admin.
///
/// # Errors
/// What the store says.
pub(super) fn first_admin(store: &Store, now: i64) -> Result<Option<String>, StoreError> {
    store.write(|tx| {
        if tx.accounts()?.iter().any(|account| account.role == AccountRole::Admin) {
            return Ok(None);
        }
        tx.remove_sign_in_links("")?;
        one_time(tx, "", now).map(Some)
    })
}

/// The path of a new link that signs `mail` in, once, within a day. It is not kept in clear.
///
/// # Errors
/// What the store says.
pub(crate) fn one_time(tx: &Tx<'_>, mail: &str, now: i64) -> Result<String, StoreError> {
    let secret = new_secret();
    tx.add_sign_in_link(&fingerprint(&secret), mail, now + PRINTED_LINK)?;
    Ok(format!("/sign_in/{secret}"))
}

/// The address of a page of ours, or nothing: no link leads from here to another site.
fn local(next: &str) -> &str {
    let plain = next.bytes().all(|b| b.is_ascii_graphic() && b != b'\\');
    if plain && next.starts_with('/') && !next.starts_with("//") { next } else { "" }
}

fn used_up() -> Problem {
    let said = "A link signs in once, and only for a short while. Ask for a new one.";
    Problem::missing("This link no longer works", said).way("/sign_in", "Ask for a new link")
}

fn too_often() -> Problem {
    let said = "Wait a quarter of an hour, then try again. The last mail that you got still works.";
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "That was tried too often", said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_nowhere_else() {
        for next in ["//evil.example", "https://evil.example", "/\\evil.example", "/a\nb", "evil", ""] {
            assert_eq!(local(next), "", "{next:?}");
        }
        assert_eq!(local("/faults/3?x=1"), "/faults/3?x=1");
    }
}

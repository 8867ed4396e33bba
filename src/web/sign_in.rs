//! Signing in: one asks for a link, it comes by mail, it works once.
//!
//! Whoever asks is told the same whether the address may sign in or not, and at once: what is to be done is
//! done afterwards. The link opens a page with a button, for programs that look through mails open links,
//! too; only the button signs in.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};

use super::Web;
use super::door::{Posted, SESSION, Visitor, digest};
use super::page::{Answer, Problem, Shell, html};
use super::params::Params;
use crate::notify::new_message_id;
use crate::notify::notice::Notice;
use crate::notify::plain;
use crate::pipeline::random_id;
use crate::store::{AccountRole, Store, StoreError, Tx};

/// How long a mailed link works, in milliseconds.
const LINK: i64 = 30 * 60_000;
/// How long the first admin's link works, in milliseconds.
const FIRST_LINK: i64 = 24 * 3_600_000;
/// Links that may be asked for in a quarter of an hour: for one address, and from one place.
const ASKED_FOR: u32 = 5;
const ASKED_FROM: u32 = 30;
/// Links that may be tried from one place in a quarter of an hour.
const TRIED_FROM: u32 = 60;

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
) -> Answer {
    let now = web.now();
    let mail = posted.get("mail").to_lowercase();
    let next = local(posted.get("next")).to_owned();
    if mail.len() > 254 || mail.parse::<lettre::Address>().is_err() {
        let shell = Shell::new("Sign in", "", visitor);
        let mut page = html(&SignInPage { shell, next, mail, wrong: "That is no mail address." })?;
        *page.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
        return Ok(page);
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
        let (now, secret) = (self.now(), secret());
        let authors = self.0.settings.authors;
        let (known, asked) = (mail.clone(), authors);
        let known = self.read(move |tx| may_sign_in(tx, &known, asked).map_err(Problem::from)).await?;
        if !known && authors {
            // They may have written their first commit since.
            self.0.authors.look().await?;
        }
        let settings = &self.0.settings.mail;
        let message_id = new_message_id(&settings.from);
        let path = Params::default().link(&format!("/sign_in/{secret}"), &[("next", &next)]);
        let notice = Notice::SignIn { link: self.address(&path), minutes: LINK / 60_000 };
        let owed = self
            .write(move |tx| {
                tx.sweep_sign_ins(now)?;
                if !may_sign_in(tx, &mail, authors)? {
                    return Ok(false);
                }
                let hash = digest(&secret);
                tx.add_sign_in_link(&hash, &mail, now + LINK)?;
                Ok(tx.owe(None, &format!("sign-in {}", &hash[..16]), &mail, &message_id, &notice, now)?)
            })
            .await?;
        if owed {
            self.0.outbox.wake();
        }
        Ok(())
    }
}

/// Whether an address has an account, or may have one.
fn may_sign_in(tx: &Tx<'_>, mail: &str, authors: bool) -> Result<bool, StoreError> {
    Ok(tx.account_of_mail(mail)?.is_some() || (authors && !tx.projects_of_author(mail)?.is_empty()))
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
    let hash = digest(&secret);
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
    headers: axum::http::HeaderMap,
) -> Answer {
    let now = web.now();
    if !web.0.attempts.allow(format!("tried from {}", visitor.household), TRIED_FROM, now) {
        return Err(too_often());
    }
    let own = posted.get("mail").to_lowercase();
    let own = own.parse::<lettre::Address>().is_ok().then_some(own);
    let browser = headers.get("user-agent").and_then(|v| v.to_str().ok()).unwrap_or_default();
    let browser = plain::line(browser, 200);
    // A new secret: whoever knew the browser's old one does not know this.
    let session = random_id();
    let hash = digest(&session);
    let entered = web.write(move |tx| {
        let Some(mail) = tx.sign_in_link(&digest(&secret), now)? else { return Err(used_up()) };
        let account = if mail.is_empty() {
            let Some(own) = own else { return Ok(false) };
            let account = tx.ensure_account(&own, AccountRole::Admin, now)?;
            tx.set_role(account.id, AccountRole::Admin)?;
            account
        } else {
            match tx.account_of_mail(&mail)? {
                Some(account) => account,
                // Whoever comes as an author sees what they write.
                None => {
                    let account = tx.ensure_account(&mail, AccountRole::Developer, now)?;
                    tx.give_projects(account.id, Some(&[]))?;
                    account
                }
            }
        };
        tx.remove_sign_in_links(&mail)?;
        tx.begin_session(&hash, account.id, &browser, now, now + SESSION)?;
        tx.note_change(&account.mail, &format!("account {}", account.id), "signed in", now)?;
        Ok(true)
    });
    if !entered.await? {
        let shell = Shell::new("Sign in", "", visitor);
        let wrong = "That is no mail address.";
        let mut page = html(&ConfirmPage { shell, address: String::new(), mail: String::new(), wrong })?;
        *page.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
        return Ok(page);
    }
    let next = local(params.get("next"));
    let mut response = Redirect::to(if next.is_empty() { "/" } else { next }).into_response();
    web.hand_out(&session, &mut response);
    Ok(response)
}

/// Makes the link of the first admin, in place of those before; its path. `None`: there is an admin.
///
/// # Errors
/// What the store says.
pub(super) fn first_admin(store: &Store, now: i64) -> Result<Option<String>, StoreError> {
    let secret = secret();
    store.write(|tx| {
        if tx.accounts()?.iter().any(|account| account.role == AccountRole::Admin) {
            return Ok(None);
        }
        tx.remove_sign_in_links("")?;
        tx.add_sign_in_link(&digest(&secret), "", now + FIRST_LINK)?;
        Ok(Some(format!("/sign_in/{secret}")))
    })
}

/// 256 random bits.
fn secret() -> String {
    random_id() + &random_id()
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

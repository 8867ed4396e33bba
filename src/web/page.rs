//! What all pages have in common: the frame around them, the style sheet, the icon, and what is said when
//! something is wrong.

use std::sync::LazyLock;

use askama::Template;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};

use super::Web;
use super::door::Visitor;
use super::params::Params;
use crate::store::{AccountRole, StoreError, fingerprint};

/// What a handler answers.
pub(super) type Answer = Result<Response, Problem>;

const STYLE: &str = include_str!("../../templates/web/style.css");
const SCRIPT: &str = include_str!("../../templates/web/pages.js");
const FAVICON: &str = include_str!("../../templates/web/favicon.svg");

/// What the frame around a page needs to know.
pub(super) struct Shell {
    /// The page's title.
    pub(super) title: String,
    /// Which entry of the navigation it belongs to.
    here: &'static str,
    /// Who looks at it.
    pub(super) visitor: Visitor,
    /// What has just been done, in a sentence; empty: nothing.
    pub(super) said: &'static str,
}

impl Shell {
    /// The frame for a page that `visitor` asked for.
    pub(super) fn new(title: impl Into<String>, here: &'static str, visitor: Visitor) -> Self {
        Self { title: title.into(), here, visitor, said: "" }
    }

    /// The same, with what the address says has just been done.
    pub(super) fn saying(mut self, params: &Params) -> Self {
        self.said = said(params.get("said"));
        self
    }

    /// Whether the page belongs to this entry of the navigation.
    pub(super) fn is(&self, entry: &str) -> bool {
        self.here == entry
    }

    /// The style sheet's address.
    pub(super) fn style(&self) -> &'static str {
        style_address()
    }

    /// The script's address.
    pub(super) fn script(&self) -> &'static str {
        script_address()
    }

    /// What forms carry.
    pub(super) fn token(&self) -> String {
        self.visitor.token()
    }

    /// Whether it is to be shown to whom may change faults and rules.
    pub(super) fn developer(&self) -> bool {
        self.visitor.may(AccountRole::Developer)
    }

    /// Whether it is to be shown to admins.
    pub(super) fn admin(&self) -> bool {
        self.visitor.may(AccountRole::Admin)
    }

    /// Whether it is to be shown to anybody who got in.
    pub(super) fn reader(&self) -> bool {
        self.visitor.may(AccountRole::Reader)
    }

    /// The time zone that times are shown in.
    pub(super) fn zone(&self) -> &str {
        self.visitor.zone.iana_name().unwrap_or("UTC")
    }

    /// Who is signed in; empty: nobody.
    pub(super) fn mail(&self) -> &str {
        self.visitor.mail()
    }
}

/// The sentences that a page may open with after something was done. Addresses carry the word alone, so
/// nobody can make a link that says something else.
fn said(word: &str) -> &'static str {
    match word {
        "added" => "The rule is on the list. It counts from the next report on.",
        "already" => "This rule is on the list already; it was not added again.",
        "edited" => "The rule was changed. It counts from the next report on.",
        "off" => "The rule is off. It has no effect until it is switched on again.",
        "on" => "The rule is on again.",
        "removed" => "The rule was removed.",
        "settings" => "The settings were changed. They count from the next report on.",
        "same" => "Nothing was different, so nothing was changed.",
        "key-made" => "The project has a new key.",
        "key-revoked" => "The key was revoked: reports with it are refused from now on.",
        "person-added" => "They may now ask for a sign-in link.",
        "person-changed" => "What they may do and see was changed.",
        "person-removed" => {
            "Their account was removed, and they were signed out everywhere. They stay out until they are added again."
        }
        "retried" => "The mail is being tried again.",
        "sent-again" => "The mail is sent again.",
        "fault-deleted" => "The fault was deleted, with all that was kept of it.",
        "password-set" => "Your password was set. Every other browser was signed out.",
        "password-removed" => "You have no password any more. Every other browser was signed out.",
        "zone" => "Times are shown in that zone from now on.",
        "token-revoked" => "The token was revoked: programs with it are refused from now on.",
        "signed-out-there" => "That browser is signed out.",
        _ => "",
    }
}

/// A page of a template.
pub(super) fn html(template: &impl Template) -> Answer {
    match template.render() {
        Ok(text) => Ok(Html(text).into_response()),
        Err(error) => Err(Problem::internal(&error)),
    }
}

/// Something is wrong: what, what now, and ways on.
#[derive(Debug, Clone)]
pub(crate) struct Problem {
    pub(super) status: StatusCode,
    pub(super) title: String,
    pub(super) sentence: String,
    ways: Vec<(String, String)>,
    /// Fields and what is wrong with each.
    pub(super) fields: Vec<(String, String)>,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl Problem {
    pub(super) fn new(status: StatusCode, title: &str, sentence: &str) -> Self {
        Self {
            status,
            title: title.to_owned(),
            sentence: sentence.to_owned(),
            ways: Vec::new(),
            fields: Vec::new(),
        }
    }

    /// Offers a way on.
    pub(super) fn way(mut self, address: &str, name: &str) -> Self {
        self.ways.push((address.to_owned(), name.to_owned()));
        self
    }

    /// What was written in a field cannot be taken.
    pub(super) fn unfit(field: &str, why: &str) -> Self {
        Self::unfit_all(vec![(field.to_owned(), why.to_owned())])
    }

    /// The same of several fields, of which there is one at least.
    pub(super) fn unfit_all(fields: Vec<(String, String)>) -> Self {
        let why = fields.first().map_or("", |(_, why)| why.as_str());
        let problem = Self::new(StatusCode::UNPROCESSABLE_ENTITY, "This cannot be taken", why);
        Self { fields, ..problem }
    }

    /// What was asked for is not there.
    pub(crate) fn missing(title: &str, sentence: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, title, sentence)
    }

    /// Our own fault: the details go to the log.
    pub(super) fn internal(error: &dyn std::fmt::Display) -> Self {
        tracing::error!(%error, "a page could not be made");
        let said = "The log of the daemon has the details. Nothing was changed.";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "This went wrong on our side", said)
    }

    /// The page that says so.
    pub(super) fn page(mut self, visitor: &Visitor) -> Response {
        if visitor.role.is_some() {
            self.ways.push(("/".to_owned(), "This week".to_owned()));
            self.ways.push(("/search".to_owned(), "Search all faults".to_owned()));
        } else if self.ways.is_empty() {
            self.ways.push(("/sign_in".to_owned(), "Sign in".to_owned()));
        }
        let shell = Shell::new(self.title.clone(), "", visitor.clone());
        let page = ProblemPage { shell, problem: &self };
        let mut response = html(&page).unwrap_or_else(|_| self.sentence.clone().into_response());
        *response.status_mut() = self.status;
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        Self::internal(&error)
    }
}

impl IntoResponse for Problem {
    /// Bare; the door makes a page of it for the visitor.
    fn into_response(self) -> Response {
        let mut response = (self.status, self.sentence.clone()).into_response();
        response.extensions_mut().insert(self);
        response
    }
}

#[derive(Template)]
#[template(path = "web/problem.html")]
struct ProblemPage<'a> {
    shell: Shell,
    problem: &'a Problem,
}

/// What has its own fingerprint in its address never changes.
const FOR_EVER: &str = "public, max-age=31536000, immutable";

/// The style sheet's address: another style, another address, so that browsers may keep it for ever.
pub(super) fn style_address() -> &'static str {
    static ADDRESS: LazyLock<String> = LazyLock::new(|| {
        let hash = fingerprint(STYLE);
        format!("/style-{}.css", &hash[..12])
    });
    &ADDRESS
}

pub(super) async fn style() -> Response {
    kept("text/css; charset=utf-8", STYLE, FOR_EVER)
}

/// The script's address, likewise. Every page works without it.
pub(super) fn script_address() -> &'static str {
    static ADDRESS: LazyLock<String> = LazyLock::new(|| {
        let hash = fingerprint(SCRIPT);
        format!("/pages-{}.js", &hash[..12])
    });
    &ADDRESS
}

pub(super) async fn script() -> Response {
    kept("text/javascript; charset=utf-8", SCRIPT, FOR_EVER)
}

pub(super) async fn favicon() -> Response {
    kept("image/svg+xml", FAVICON, "public, max-age=86400")
}

fn kept(kind: &'static str, body: &'static str, cache: &'static str) -> Response {
    let headers = [(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, cache)];
    (headers.map(|(name, value)| (name, HeaderValue::from_static(value))), body).into_response()
}

/// Flawless's address for watching whether the server lives.
pub(super) async fn check_health(State(web): State<Web>) -> Answer {
    web.read(|tx| Ok(tx.generation()?)).await?;
    Ok("OK\n".into_response())
}

/// The answer to an address that is nobody's.
pub(super) async fn nowhere(request: Request) -> Response {
    let (title, said) = ("There is nothing here", "The address is mistyped, or what it led to is gone.");
    let problem = Problem::missing(title, said);
    if request.uri().path().starts_with("/api/") {
        return super::api::as_json(problem.into_response());
    }
    problem.into_response()
}

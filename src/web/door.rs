//! The door that every request comes in by, and every answer goes out by.
//!
//! A browser is known by one cookie, a secret of 128 random bits. Where somebody is signed in with it, the
//! store has its SHA-256. Forms carry a token derived from the secret, so that no other site, and nobody
//! with another cookie, can fill one in.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};
use http_body_util::BodyExt;
use jiff::tz::TimeZone;

use super::desk::Desk;
use super::page::Problem;
use super::params::Params;
use super::{SignIn, Web, attempts};
use crate::pipeline::random_id;
use crate::store::{Account, AccountRole, ApiToken, Reach, fingerprint};

/// Bytes of a form as sent.
const FORM: usize = 256 << 10;
/// How much of a form that is too large is read, so that the browser gets to hear so.
const DRAINED: usize = 16 << 20;
/// How long a browser may take to send a form.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How long a browser that is not used stays signed in, in milliseconds.
pub(super) const SESSION: i64 = 14 * 24 * 3_600_000;
/// Use of a session is noted this often, in milliseconds.
const NOTE_USE: i64 = 3_600_000;

/// What one needs to come in.
#[derive(Debug, Clone, Copy)]
pub(super) enum Need {
    /// Nothing.
    Nothing,
    /// Nothing, not even a form: the address is nobody's, and whoever asks is told so.
    Nowhere,
    /// To be signed in, with at least this role.
    Role(AccountRole),
}

/// Who asks.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    /// The browser's secret.
    secret: String,
    /// Who is signed in.
    pub(super) account: Option<Account>,
    /// The token that a program shows for them.
    token: Option<i64>,
    /// What they may do. `None`: nothing that needs signing in.
    pub(super) role: Option<AccountRole>,
    /// Which projects they see.
    pub(super) reach: Reach,
    /// Where the request comes from, as far as its connection tells.
    pub(super) household: String,
    /// Whether a proxy said who it is: there is nothing to sign out of.
    pub(super) by_proxy: bool,
    /// The time zone in which they read times.
    pub(super) zone: TimeZone,
    /// Whether they chose it: the house's is used else, or the browser's where it runs scripts.
    pub(super) zone_chosen: bool,
    /// Whether the browser speaks https to us, or to a trusted proxy.
    https: bool,
    /// Whether the browser has just been given its secret.
    new: bool,
}

impl Visitor {
    /// What this browser's forms carry.
    pub(super) fn token(&self) -> String {
        fingerprint(&format!("form {}", self.secret))
    }

    /// What the store knows this browser's secret by.
    pub(super) fn session(&self) -> String {
        fingerprint(&self.secret)
    }

    /// Whether they may do what this role may.
    pub(super) fn may(&self, role: AccountRole) -> bool {
        self.role >= Some(role)
    }

    /// Their address; empty: nobody is signed in.
    pub(super) fn mail(&self) -> &str {
        self.account.as_ref().map_or("", |account| account.mail.as_str())
    }

    /// Who is named as having changed something.
    pub(super) fn who(&self) -> String {
        match (&self.account, self.token) {
            (None, _) => "somebody (sign-in is off)".to_owned(),
            (Some(account), None) => account.mail.clone(),
            (Some(account), Some(token)) => format!("{} (token {token})", account.mail),
        }
    }
}

impl Visitor {
    /// Whoever asks where nobody needs to sign in.
    pub(super) fn anybody() -> Self {
        Self { role: Some(AccountRole::Admin), reach: Reach::All, ..Self::nobody() }
    }

    /// A program that shows a token of an account: it may as much as both may.
    pub(super) fn program(token: &ApiToken, account: Account, reach: Reach) -> Self {
        let role = Some(token.scope.min(account.role));
        Self { role, reach, account: Some(account), token: Some(token.id), ..Self::nobody() }
    }

    fn nobody() -> Self {
        Self {
            secret: random_id(),
            account: None,
            token: None,
            role: None,
            reach: Reach::nothing(),
            household: "unknown".to_owned(),
            by_proxy: false,
            zone: TimeZone::UTC,
            zone_chosen: false,
            https: false,
            new: true,
        }
    }
}

/// A form that this browser was given by us, filled in.
#[derive(Debug, Clone)]
pub(super) struct Posted(pub(super) Params);

/// Lets a request in, or not.
pub(super) async fn door(
    State((web, need)): State<(Web, Need)>,
    mut request: Request,
    next: Next,
) -> Response {
    let visitor = match web.visitor(request.headers(), peer(&request)).await {
        Ok(visitor) => visitor,
        Err(problem) => return with_headers(problem.into_response()),
    };
    request.extensions_mut().insert(visitor.clone());
    let mut response = match web.admit(&visitor, need, request).await {
        Ok(request) => next.run(request).await,
        Err(refusal) => refusal,
    };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = problem.page(&visitor);
    }
    if visitor.new && !response.headers().contains_key(header::SET_COOKIE) {
        web.hand_out(&visitor, &visitor.secret, &mut response);
    }
    with_headers(response)
}

impl Web {
    /// Finds out who asks.
    async fn visitor(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> Result<Visitor, Problem> {
        let settings = &self.0.settings;
        let origin = settings.proxies.origin(peer, headers);
        let https = origin.https || settings.mail.public_url.starts_with("https://");
        let known = secret(headers, https);
        let mut visitor = Visitor {
            new: known.is_none(),
            secret: known.unwrap_or_else(random_id),
            account: None,
            token: None,
            role: None,
            reach: Reach::nothing(),
            household: origin.client.map_or("unknown".to_owned(), attempts::household),
            by_proxy: false,
            zone: settings.time_zone.clone(),
            zone_chosen: false,
            https,
        };
        if settings.sign_in == SignIn::Off {
            (visitor.role, visitor.reach) = (Some(AccountRole::Admin), Reach::All);
            return Ok(visitor);
        }
        let found = match origin.user {
            Some(user) => {
                visitor.by_proxy = true;
                self.named(user).await?
            }
            None if visitor.new => None,
            None => self.signed_in(visitor.session()).await?,
        };
        if let Some((account, reach)) = found {
            (visitor.role, visitor.reach) = (Some(account.role), reach);
            // One that is not known any more is none.
            if let Some(zone) = account.zone.as_ref().and_then(|name| TimeZone::get(name).ok()) {
                (visitor.zone, visitor.zone_chosen) = (zone, true);
            }
            visitor.account = Some(account);
        }
        Ok(visitor)
    }

    /// Who is signed in by the session of that fingerprint.
    async fn signed_in(&self, hash: String) -> Result<Option<(Account, Reach)>, Problem> {
        let (now, authors, session) = (self.now(), self.0.settings.authors, hash.clone());
        let found = self.read(move |tx| {
            let Some((account, used_at)) = tx.account_of_session(&session, now)? else { return Ok(None) };
            let reach = tx.reach_of(&account, authors)?;
            Ok(Some((account, reach, used_at)))
        });
        let Some((account, reach, used_at)) = found.await? else { return Ok(None) };
        if now - used_at > NOTE_USE {
            self.write(move |tx| Ok(tx.use_session(&hash, now, now + SESSION)?)).await?;
        }
        Ok(Some((account, reach)))
    }

    /// The account of whom a proxy names, made where newcomers are let in.
    async fn named(&self, mail: String) -> Result<Option<(Account, Reach)>, Problem> {
        let (now, settings) = (self.now(), &self.0.settings);
        let (authors, newcomers) = (settings.authors, settings.proxies.newcomers);
        let asked = mail.clone();
        let known = self.read(move |tx| {
            let Some(account) = tx.account_of_mail(&asked)? else { return Ok(None) };
            let reach = tx.reach_of(&account, authors)?;
            Ok(Some((account, reach)))
        });
        if let Some(known) = known.await? {
            return Ok(Some(known));
        }
        let Some(role) = newcomers else { return Ok(None) };
        self.write(move |tx| {
            if tx.is_shut_out(&mail)? {
                return Ok(None);
            }
            let (account, _) = Desk::new(tx, "the proxy", now).add_person(&mail, role, None)?;
            let reach = tx.reach_of(&account, authors)?;
            Ok(Some((account, reach)))
        })
        .await
    }

    /// Turns away who may not come in, and posts that are not from our own forms.
    async fn admit(&self, visitor: &Visitor, need: Need, request: Request) -> Result<Request, Response> {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        if self.0.settings.sign_in == SignIn::Off
            && matches!(need, Need::Role(_))
            && !self.is_known_host(request.headers(), peer(&request))
        {
            return Err(self.misdirected().into_response());
        }
        if let Need::Role(role) = need
            && !visitor.may(role)
        {
            return Err(match visitor.role {
                None if reads => {
                    let next = request.uri().path_and_query().map_or("/", |path| path.as_str());
                    let query = [("next", next)].into_iter().filter(|(_, next)| *next != "/");
                    Redirect::to(&Params::default().link("/sign_in", &query.collect::<Vec<_>>()))
                        .into_response()
                }
                None => Problem::new(
                    StatusCode::UNAUTHORIZED,
                    "You are not signed in",
                    "Nothing was changed. Sign in and send the form again.",
                )
                .way("/sign_in", "Sign in")
                .into_response(),
                Some(_) => Problem::new(
                    StatusCode::FORBIDDEN,
                    "This is not for you",
                    &format!("It takes the role {}. An admin can give it to you.", role.as_str()),
                )
                .into_response(),
            });
        }
        if reads || matches!(need, Need::Nowhere) {
            return Ok(request);
        }
        if !is_our_own(request.headers(), &self.0.settings.mail.public_url) {
            let said = "Another site has sent it, or a program that does not say where it comes from.";
            return Err(Problem::new(StatusCode::FORBIDDEN, "The form was refused", said).into_response());
        }
        let (mut parts, body) = request.into_parts();
        let form = tokio::time::timeout(PATIENCE, read_form(body)).await;
        let Some(body) = form.ok().flatten() else {
            let said = format!("A form holds {} KB at most. Shorten what you wrote.", FORM >> 10);
            return Err(
                Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "That is too much", &said).into_response()
            );
        };
        let posted = Params::parse(&body);
        if visitor.new || posted.get("token") != visitor.token() {
            let said =
                "It was made for another browser, or before you signed in. Load it again, then send it.";
            return Err(Problem::new(StatusCode::FORBIDDEN, "The form is stale", said).into_response());
        }
        parts.extensions.insert(Posted(posted));
        Ok(Request::from_parts(parts, Body::empty()))
    }

    /// Whether the request was meant for us, where it is all that says who may come in. A page of another site can
    /// have its own name resolve to our address, and then reads and writes here as if we were it; what it cannot
    /// have is an address or a bare name for a host, or ours.
    pub(super) fn is_known_host(&self, headers: &HeaderMap, peer: Option<IpAddr>) -> bool {
        let settings = &self.0.settings;
        let Some(host) = headers.get(header::HOST) else { return true };
        let Ok(authority) = host.to_str().unwrap_or("?").parse::<Authority>() else { return false };
        let host = authority.host();
        let is_address = host.trim_matches(['[', ']']).parse::<IpAddr>().is_ok();
        let ours = settings.mail.public_url.parse::<Uri>().ok();
        let is_ours = ours.and_then(|uri| Some(uri.host()?.eq_ignore_ascii_case(host))).unwrap_or(false);
        let by_proxy = peer.is_some_and(|peer| settings.proxies.trusts(peer.to_canonical()));
        is_address || is_ours || by_proxy || !host.contains('.') || host.ends_with(".localhost")
    }

    /// What is said of a request that was meant for somebody else.
    pub(super) fn misdirected(&self) -> Problem {
        let said = format!(
            "Sign-in is off, so blamed answers to its own name alone, which is {}. To have it answer to another, \
             set `public_url` in its configuration.",
            self.address("")
        );
        Problem::new(StatusCode::MISDIRECTED_REQUEST, "That is not the name of this house", &said)
            .way(&self.address("/"), "Go there")
    }

    /// Gives a browser its secret.
    pub(super) fn hand_out(&self, visitor: &Visitor, secret: &str, response: &mut Response) {
        let (name, age) = (cookie(visitor.https), SESSION / 1_000);
        let secure = if visitor.https { "; Secure" } else { "" };
        let cookie = format!("{name}={secret}; Path=/; HttpOnly; SameSite=Lax; Max-Age={age}{secure}");
        let cookie = HeaderValue::try_from(cookie).expect("digits and plain words");
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
}

/// Where a request's connection comes from.
pub(super) fn peer(request: &Request) -> Option<IpAddr> {
    request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip())
}

/// `__Host-` has browsers hold us to `Secure` and to this very host.
fn cookie(https: bool) -> &'static str {
    if https { "__Host-blamed" } else { "blamed" }
}

/// The secret in a request's cookie, if it looks like one of ours.
fn secret(headers: &HeaderMap, https: bool) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|c| c.trim().split_once('='));
    let value = pairs.find(|(name, _)| *name == cookie(https)).map(|(_, value)| value)?;
    let whole = value.len() == 32 && value.bytes().all(|b| b.is_ascii_hexdigit());
    whole.then(|| value.to_owned())
}

/// A form's bytes; `None` where there are too many, or they never came. A browser that is still sending does
/// not listen, so what is too much is read to its end.
pub(super) async fn read_form(mut body: Body) -> Option<Vec<u8>> {
    let (mut form, mut whole) = (Vec::new(), 0);
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        whole += data.len();
        if whole <= FORM {
            form.extend_from_slice(&data);
        } else if whole > DRAINED {
            return None;
        }
    }
    (whole <= FORM).then_some(form)
}

/// Whether a post comes from a page of ours, as browsers tell it. One that tells nothing is no browser of
/// today.
pub(super) fn is_our_own(headers: &HeaderMap, public_url: &str) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site")
        && site != "same-origin"
    {
        return false;
    }
    // A proxy may call us by another name than browsers know.
    let is_ours = |origin: &str| origin.eq_ignore_ascii_case(public_url.trim_end_matches('/'));
    match (text("origin"), text("host")) {
        (Some(origin), Some(host)) => {
            is_ours(origin) || origin.split_once("://").is_some_and(|(_, at)| at.eq_ignore_ascii_case(host))
        }
        // Behind a proxy that drops `Host`, `Sec-Fetch-Site` has said it.
        _ => text("sec-fetch-site").is_some(),
    }
}

pub(super) fn with_headers(mut response: Response) -> Response {
    const ALWAYS: [(&str, &str); 6] = [
        (
            "content-security-policy",
            "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; \
             form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
        ),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("referrer-policy", "same-origin"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
    ];
    let headers = response.headers_mut();
    for (name, value) in ALWAYS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    // What is on a page is for those who may see it now.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;
    use crate::store::{Store, StoreError};

    fn web(dir: &std::path::Path, clock: &Clock, public_url: &str) -> Web {
        crate::web::tests::web(&Store::open(dir).unwrap(), clock, SignIn::Required, public_url)
    }

    #[tokio::test]
    async fn on_https_the_cookie_is_held_to_the_host() {
        let check = async |url: &str, expected: &str| {
            let dir = tempfile::tempdir().unwrap();
            let mut response = Response::new(Body::empty());
            let web = web(dir.path(), &Clock::system(), url);
            let visitor = web.visitor(&HeaderMap::new(), None).await.unwrap();
            web.hand_out(&visitor, "0123", &mut response);
            assert_eq!(response.headers()["set-cookie"], expected);
        };
        let rest = "Path=/; HttpOnly; SameSite=Lax; Max-Age=1209600";
        check("http://127.0.0.1:9029", &format!("blamed=0123; {rest}")).await;
        check("https://blamed.example.org", &format!("__Host-blamed=0123; {rest}; Secure")).await;
    }

    #[tokio::test]
    async fn a_browser_that_is_not_used_is_signed_out_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Clock::fixed("2026-11-20T12:00:00Z".parse().unwrap());
        let web = web(dir.path(), &clock, "http://127.0.0.1:9029");
        let secret = random_id();
        let now = clock.now().as_millisecond();
        let begun = web.0.store.write(|tx| -> Result<_, StoreError> {
            let account = tx.ensure_account("ada@example.org", AccountRole::Reader, now)?;
            tx.begin_session(&fingerprint(&secret), account.id, "", now, now + SESSION)
        });
        begun.unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, format!("a=b; blamed={secret}").parse().unwrap());
        let is_in = async || web.visitor(&headers, None).await.unwrap().account.is_some();
        for _ in 0..3 {
            // Used every ten days, it lives on.
            clock.advance(Duration::from_secs(10 * 24 * 3_600));
            assert!(is_in().await);
        }
        clock.advance(Duration::from_secs(15 * 24 * 3_600));
        assert!(!is_in().await);
    }

    #[test]
    fn posts_from_elsewhere_are_told_by_their_headers() {
        let check = |headers: &[(&'static str, &'static str)], expected: bool| {
            let map = headers.iter().map(|(k, v)| (k.parse().unwrap(), HeaderValue::from_static(v)));
            assert_eq!(is_our_own(&map.collect(), "https://blamed.example"), expected, "{headers:?}");
        };
        let host = ("host", "b.example:9029");
        check(&[host], false);
        check(&[host, ("origin", "http://b.example:9029")], true);
        check(&[host, ("origin", "https://b.example:9029"), ("sec-fetch-site", "same-origin")], true);
        check(&[host, ("origin", "https://blamed.example")], true);
        check(&[host, ("origin", "http://blamed.example")], false);
        check(&[host, ("origin", "http://b.example")], false);
        check(&[host, ("origin", "null")], false);
        check(&[host, ("origin", "http://evil.example"), ("sec-fetch-site", "same-origin")], false);
        check(&[host, ("origin", "http://b.example:9029"), ("sec-fetch-site", "same-site")], false);
        check(&[("sec-fetch-site", "cross-site")], false);
    }
}

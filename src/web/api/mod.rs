//! The pages' matter as JSON, for programs: under `/api/v1`, for whoever shows a token.
//!
//! The handlers read and change by the same functions as the pages ([`super::desk`] above all); here are only the
//! shapes ([`shapes`]), who may come in, and the document that tells of both. The document is made from the
//! handlers themselves, and its page from the document.

mod faults;
mod house;
mod input;
mod page;
mod people;
mod rules;
mod shapes;

use std::net::IpAddr;
use std::sync::LazyLock;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, Info, OpenApi, OpenApiBuilder, Ref, RefOr, ResponseBuilder, Server,
};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) use self::page::page;
use self::shapes::ApiProblem;
use super::desk::scope_name;
use super::door::{Visitor, is_our_own, peer, with_headers};
use super::page::Problem;
use super::{SignIn, Web};
use crate::ingest;
use crate::store::{AccountRole, fingerprint};

/// How a refusal is written: RFC 9457.
const PROBLEM: &str = "application/problem+json";
/// The name of the security scheme.
const TOKEN: &str = "token";
/// Use of a token is noted this often, in milliseconds.
const NOTE_USE: i64 = 3_600_000;

fn reader() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(house::me))
        .routes(routes!(faults::list))
        .routes(routes!(faults::one))
        .routes(routes!(faults::occurrence))
        .routes(routes!(house::week))
        .routes(routes!(rules::list))
        .routes(routes!(rules::one))
        .routes(routes!(house::projects))
}

fn developer() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(faults::delete))
        .routes(routes!(faults::known))
        .routes(routes!(faults::send_again))
        .routes(routes!(rules::add))
        .routes(routes!(rules::dry_run))
        .routes(routes!(rules::change))
        .routes(routes!(rules::remove))
}

fn admin() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(house::settings))
        .routes(routes!(house::change_settings))
        .routes(routes!(house::keys))
        .routes(routes!(house::add_key))
        .routes(routes!(house::revoke_key))
        .routes(routes!(house::outbox))
        .routes(routes!(house::mail))
        .routes(routes!(house::repositories))
        .routes(routes!(house::retry))
        .routes(routes!(people::people))
        .routes(routes!(people::add_person))
        .routes(routes!(people::one_person, people::change_person, people::remove_person))
        .routes(routes!(house::changes))
}

/// The routes.
pub(super) fn router(web: &Web) -> Router {
    let behind = |routes: OpenApiRouter<Web>, least: AccountRole| {
        let (routes, _) = routes.split_for_parts();
        routes.route_layer(from_fn_with_state((web.clone(), least), gate)).with_state(web.clone())
    };
    Router::new()
        .merge(behind(reader(), AccountRole::Reader))
        .merge(behind(developer(), AccountRole::Developer))
        .merge(behind(admin(), AccountRole::Admin))
        .merge(Router::new().route("/api/v1/openapi.json", get(openapi)).with_state(web.clone()))
        .method_not_allowed_fallback(async || {
            let said = "The address takes other methods; the header Allow names them.";
            as_json(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "Not by this method", said).into_response())
        })
}

/// Everything that programs may ask, reports and deploys included. What is said of where it is, is added for each
/// answer.
static DOCUMENT: LazyLock<OpenApi> = LazyLock::new(|| {
    let mut document = OpenApiBuilder::new()
        .info(
            utoipa::openapi::InfoBuilder::from(Info::new("blamed", env!("CARGO_PKG_VERSION")))
                .description(Some(
                    "Faults, rules, the week and the house of a blamed daemon. A token is made on the page “You” or \
                     by `blamed token add`; its scope is read, write (faults and rules, too) or admin. Programs \
                     that report show their project’s key instead. Lists come in pages: ask again with `after` set \
                     to `next`, until it is null.",
                ))
                .build(),
        )
        .build();
    for (routes, scope) in [
        (reader(), AccountRole::Reader),
        (developer(), AccountRole::Developer),
        (admin(), AccountRole::Admin),
    ] {
        let mut part = routes.into_openapi();
        for operation in operations(&mut part) {
            let needed = utoipa::openapi::SecurityRequirement::new(TOKEN, [scope_name(scope)]);
            operation.security = Some(vec![needed]);
        }
        document.merge(part);
    }
    document.merge(ingest::document());
    let components = document.components.get_or_insert(Components::new());
    let bearer = |words: &str| {
        SecurityScheme::Http(
            HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(words)).build(),
        )
    };
    components.add_security_scheme(TOKEN, bearer("A token of the API."));
    components.add_security_scheme("key", bearer("The key of a project, for programs that report."));
    let name = <ApiProblem as ToSchema>::name();
    let mut schemas = vec![(name.to_string(), <ApiProblem as PartialSchema>::schema())];
    <ApiProblem as ToSchema>::schemas(&mut schemas);
    components.schemas.extend(schemas);
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(name))).build();
    let refusal =
        ResponseBuilder::new().description("Refused: what is wrong").content(PROBLEM, content).build();
    for operation in operations(&mut document) {
        if operation.security.as_ref().is_some_and(|needs| needs.iter().any(|need| *need != key_needed())) {
            operation.responses.responses.insert("default".to_owned(), RefOr::T(refusal.clone()));
        }
    }
    document
});

fn key_needed() -> utoipa::openapi::SecurityRequirement {
    utoipa::openapi::SecurityRequirement::new("key", [] as [&str; 0])
}

fn operations(document: &mut OpenApi) -> impl Iterator<Item = &mut utoipa::openapi::path::Operation> {
    document.paths.paths.values_mut().flat_map(|item| {
        [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch]
            .into_iter()
            .flatten()
    })
}

async fn openapi(State(web): State<Web>) -> Response {
    let mut document = DOCUMENT.clone();
    document.servers = Some(vec![Server::new(web.address(""))]);
    with_headers(Json(document).into_response())
}

/// Lets a program in, or not; whatever is wrong is told as a problem of RFC 9457.
async fn gate(State((web, least)): State<(Web, AccountRole)>, mut request: Request, next: Next) -> Response {
    let response = match web.caller(request.headers(), peer(&request), least).await {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            next.run(request).await
        }
        Err(problem) => problem.into_response(),
    };
    as_json(response)
}

impl Web {
    /// Finds out who asks, by their token, and whether they may.
    async fn caller(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
        least: AccountRole,
    ) -> Result<Visitor, Problem> {
        let shown = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.split_once(' '));
        let token =
            shown.filter(|(kind, _)| kind.eq_ignore_ascii_case("bearer")).map(|(_, token)| token.trim());
        let caller = match token {
            Some(token) => self.bearer(token).await?,
            None if self.0.settings.sign_in == SignIn::Off
                && reads_or_is_ours(headers, &self.address("")) =>
            {
                if !self.is_known_host(headers, peer) {
                    return Err(self.misdirected());
                }
                Some(Visitor::anybody())
            }
            None => None,
        };
        let Some(caller) = caller else {
            let said = "Send `Authorization: Bearer TOKEN` with a token that is good. The page “You” makes one, and \
                        so does `blamed token add`.";
            return Err(Problem::new(StatusCode::UNAUTHORIZED, "Who are you?", said));
        };
        if !caller.may(least) {
            let said = format!(
                "It takes the scope {}, and somebody who is {} at least.",
                scope_name(least),
                least.as_str()
            );
            return Err(Problem::new(StatusCode::FORBIDDEN, "This is not for you", &said));
        }
        Ok(caller)
    }

    async fn bearer(&self, token: &str) -> Result<Option<Visitor>, Problem> {
        let (now, hash, authors) = (self.now(), fingerprint(token), self.0.settings.authors);
        let found = self.read(move |tx| {
            let Some((token, account)) = tx.token_of_hash(&hash, now)? else { return Ok(None) };
            let reach = tx.reach_of(&account, authors)?;
            Ok(Some((token, account, reach)))
        });
        let Some((token, account, reach)) = found.await? else { return Ok(None) };
        if token.used_at.is_none_or(|used| now - used > NOTE_USE) {
            let id = token.id;
            self.write(move |tx| Ok(tx.use_token(id, now)?)).await?;
        }
        Ok(Some(Visitor::program(&token, account, reach)))
    }
}

/// Where no token is asked for, what browsers send on behalf of other sites is kept out.
fn reads_or_is_ours(headers: &HeaderMap, public_url: &str) -> bool {
    let from_a_page = headers.contains_key(header::ORIGIN) || headers.contains_key("sec-fetch-site");
    !from_a_page || is_our_own(headers, public_url)
}

/// A refusal as RFC 9457 has it; everything else as it is.
pub(super) fn as_json(mut response: Response) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let told = ApiProblem::of(&problem);
        let allow = response.headers_mut().remove(header::ALLOW);
        response = (problem.status, Json(told)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
        if problem.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"blamed\""));
        }
        if let Some(allow) = allow {
            headers.insert(header::ALLOW, allow);
        }
    }
    with_headers(response)
}

//! What programs send: a body of JSON, a query, a number in the address, a page to go on from, a version.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::super::door::{PATIENCE, read_form};
use super::super::page::Problem;
use super::shapes::Page;

/// Things on a page unless asked otherwise, and at most.
const LIMIT: usize = 50;
const MOST: usize = 500;

/// A body of JSON.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let kind =
            kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim().to_ascii_lowercase();
        // Browsers send no other site's form as JSON without asking first.
        if kind != "application/json" {
            let said = "Send JSON, and `Content-Type: application/json`.";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "That is no JSON", said));
        }
        let body = tokio::time::timeout(PATIENCE, read_form(request.into_body())).await;
        let Some(body) = body.ok().flatten() else {
            let said = "A body holds 256 KB at most, and comes within a minute.";
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "That is too much", said));
        };
        serde_json::from_slice(&body).map(Self).map_err(|error| {
            let status =
                if error.is_data() { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::BAD_REQUEST };
            Problem::new(status, "The body cannot be taken", &error.to_string())
        })
    }
}

/// What stands behind the `?`.
pub(super) struct Asked<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        Query::try_from_uri(&parts.uri).map(|Query(asked)| Self(asked)).map_err(|error| {
            Problem::new(StatusCode::BAD_REQUEST, "The query cannot be taken", &error.to_string())
        })
    }
}

/// A number in the address. What is no number is nothing's.
pub(super) struct Number(pub(super) i64);

impl<S: Send + Sync> FromRequestParts<S> for Number {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = Path::<String>::from_request_parts(parts, state).await;
        let number = text.ok().and_then(|Path(text)| text.parse().ok());
        number.map(Self).ok_or_else(nothing)
    }
}

/// There is no such thing.
pub(super) fn nothing() -> Problem {
    let said = "There is nothing of that number, or it is none of yours to see.";
    Problem::missing("There is nothing here", said)
}

/// How many are asked for on a page.
pub(super) fn limit(asked: Option<u32>) -> Result<usize, Problem> {
    let limit = asked.map_or(Some(LIMIT), |n| usize::try_from(n).ok().filter(|n| (1..=MOST).contains(n)));
    limit.ok_or_else(|| {
        let said = format!("`limit` takes a number from 1 to {MOST}.");
        Problem::new(StatusCode::BAD_REQUEST, "That is no page", &said)
    })
}

/// The numbers that a page goes on from: as many as `N`.
pub(super) fn after<const N: usize>(asked: Option<&str>) -> Result<Option<[i64; N]>, Problem> {
    let Some(asked) = asked.filter(|asked| !asked.is_empty()) else { return Ok(None) };
    let numbers: Option<Vec<i64>> = asked.split('.').map(|number| number.parse().ok()).collect();
    let numbers = numbers.and_then(|numbers| numbers.try_into().ok());
    numbers.map(Some).ok_or_else(|| {
        let said = "`after` takes what an earlier page called `next`.";
        Problem::new(StatusCode::BAD_REQUEST, "That is no page", said)
    })
}

/// A page of things of which one more was read than it holds; each tells where to go on after it.
pub(super) fn paged<T, U>(
    mut things: Vec<T>,
    limit: usize,
    place: impl Fn(&T) -> String,
    shape: impl FnMut(T) -> U,
) -> Page<U> {
    let more = things.len() > limit;
    things.truncate(limit);
    let next = things.last().filter(|_| more).map(place);
    Page { items: things.into_iter().map(shape).collect(), next }
}

/// The versions that an edit may have begun with (RFC 9110 13.1.1).
pub(super) struct IfMatch {
    /// `None`: any.
    tags: Option<Vec<String>>,
}

impl IfMatch {
    /// What a request says.
    ///
    /// # Errors
    /// It does not say.
    pub(super) fn read(headers: &HeaderMap) -> Result<Self, Problem> {
        let given = headers.get_all(header::IF_MATCH).into_iter();
        let given: Vec<&str> = given.map(|value| value.to_str().unwrap_or_default().trim()).collect();
        if given.is_empty() {
            let said =
                "Send `If-Match` with the ETag of what you have read, so that nobody's change is lost.";
            return Err(Problem::new(StatusCode::PRECONDITION_REQUIRED, "Of which version?", said));
        }
        let tags = given.iter().flat_map(|line| line.split(','));
        let tags = tags.map(|tag| tag.trim().trim_matches('"').to_owned());
        Ok(Self { tags: (given != ["*"]).then(|| tags.collect()) })
    }

    /// Goes on where it is still at one of them.
    ///
    /// # Errors
    /// Somebody else was faster.
    pub(super) fn check(&self, version: &str) -> Result<(), Problem> {
        let fits = self.tags.as_ref().is_none_or(|tags| tags.iter().any(|tag| tag == version));
        if fits { Ok(()) } else { Err(outdated()) }
    }
}

/// Somebody else was faster.
pub(super) fn outdated() -> Problem {
    let said = "It was changed since you have read it. Read it again, then change it again.";
    Problem::new(StatusCode::PRECONDITION_FAILED, "Somebody was faster", said)
}

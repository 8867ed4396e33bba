//! `/metrics`: what is counted and measured, for Prometheus.
//!
//! Whoever has the token may read it. Without one it is for this machine alone: requests that came over
//! loopback, and not by way of a reverse proxy.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

use crate::blame::Blamer;
use crate::clock::Clock;
use crate::pipeline::Mirrors;
use crate::store::{Size, Store, StoreError};
use crate::telemetry::metrics::METRICS;

/// What a proxy adds to what it passes on.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// What `/metrics` shows is read from here.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    store: Store,
    blamer: Blamer,
    mirrors: Mirrors,
    clock: Clock,
    token: Option<String>,
}

impl Metrics {
    /// Metrics of these. `token`: who has it may read them; `None`: this machine alone.
    #[must_use]
    pub fn new(
        store: Store,
        (blamer, mirrors): (Blamer, Mirrors),
        clock: Clock,
        token: Option<String>,
    ) -> Self {
        Self(Arc::new(Inner { store, blamer, mirrors, clock, token }))
    }

    /// Its route.
    pub fn router(self) -> Router {
        Router::new().route("/metrics", get(answer)).with_state(self)
    }

    fn may_read(&self, headers: &HeaderMap, from: Option<SocketAddr>) -> bool {
        match &self.0.token {
            Some(token) => {
                let given = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
                let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
                // Digests, so that how long it takes tells nothing of the token.
                Sha256::digest(given.trim()) == Sha256::digest(token)
            }
            None => {
                from.is_some_and(|from| from.ip().to_canonical().is_loopback())
                    && !FORWARDED.iter().any(|name| headers.contains_key(*name))
            }
        }
    }

    /// Looks at all that is not counted as it happens. Blocks.
    fn measure(&self) -> Result<(), StoreError> {
        let Inner { store, blamer, mirrors, clock, .. } = &*self.0;
        let now = clock.now();
        let age = |since: Option<i64>| {
            since.map_or(0.0, |at| {
                std::time::Duration::from_millis((now.as_millisecond() - at).max(0).unsigned_abs())
                    .as_secs_f64()
            })
        };
        let (places, oldest_place, mails, oldest_mail) = store.read(|tx| -> Result<_, StoreError> {
            let (places, _) = tx.parked_summary()?;
            Ok((places, tx.oldest_parked()?, tx.count_deliveries()?, tx.oldest_delivery()?))
        })?;
        METRICS.inbox.set(whole(places));
        METRICS.inbox_age.set(age(oldest_place.map(|place| place.since)));
        for (state, count) in [("waiting", mails.waiting), ("sent", mails.sent), ("given-up", mails.given_up)]
        {
            METRICS.outbox.with_label_values(&[state]).set(whole(count));
        }
        METRICS.outbox_age.set(age(oldest_mail.map(|mail| mail.since)));
        let Size { file, used, log } = store.size()?;
        for (part, bytes) in [("file", file), ("used", used), ("log", log)] {
            METRICS.database.with_label_values(&[part]).set(whole(bytes));
        }
        METRICS.disk_free.set(whole(store.free_bytes().unwrap_or(0)));
        let counters = blamer.counters();
        let answers =
            [("remembered", counters.answers_remembered), ("worked-out", counters.answers_worked_out)];
        for (result, count) in answers {
            METRICS.blame_answers.with_label_values(&[result]).set(whole(count));
        }
        for (name, state) in mirrors.states() {
            METRICS.fetch_failures.with_label_values(&[name]).set(state.failures.into());
            if let Some(at) = state.fetched_at {
                METRICS.fetch_age.with_label_values(&[name]).set(age(Some(at.as_millisecond())));
            }
        }
        Ok(())
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

async fn answer(State(metrics): State<Metrics>, request: Request) -> Response {
    let from = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(from)| *from);
    if !metrics.may_read(request.headers(), from) {
        let said = match &metrics.0.token {
            Some(_) => "the token of [metrics] is wanted as `Authorization: Bearer TOKEN`\n",
            None => "metrics are for this machine alone, unless a token is set in the section [metrics]\n",
        };
        return (StatusCode::FORBIDDEN, said).into_response();
    }
    let begun = Instant::now();
    let measured = tokio::task::spawn_blocking(move || metrics.measure()).await;
    match measured.expect("measuring does not panic") {
        Ok(()) => {}
        // What is counted as it happens is still worth telling.
        Err(error) => tracing::warn!(%error, "the store cannot be measured"),
    }
    METRICS.scrapes.inc_by(begun.elapsed().as_secs_f64());
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], METRICS.text()).into_response()
}

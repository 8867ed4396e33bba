//! What is counted and measured, by name: the rooms count, `/metrics` shows.

use std::sync::LazyLock;

use prometheus::{
    Counter, Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
};

/// Everything that is counted in this process.
pub static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

/// Upper bounds, in seconds, of what waits for a disk or for git.
const SECONDS: &[f64] =
    &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0];

/// Counters and gauges.
pub struct Metrics {
    registry: Registry,
    /// Requests that brought reports, by `protocol` and `outcome`.
    pub requests: IntCounterVec,
    /// Reports that were taken, by `standing`: counted, parked, dropped, duplicate.
    pub reports: IntCounterVec,
    /// From being handed to the ledger to being on disk, by `outcome`.
    pub ledger: HistogramVec,
    /// From a question to git's answer, by `outcome`.
    pub blame: HistogramVec,
    /// Answers of blame that were remembered, and that were worked out, by `result`.
    pub blame_answers: IntGaugeVec,
    /// Places that wait for blame.
    pub inbox: IntGauge,
    /// Seconds since the first of them was reported.
    pub inbox_age: Gauge,
    /// Mails by `state`: waiting, sent, given-up.
    pub outbox: IntGaugeVec,
    /// Seconds since the first mail that waits was decided on.
    pub outbox_age: Gauge,
    /// Tries to send a mail, by `outcome`.
    pub mails: IntCounterVec,
    /// Seconds since a mirror was last fetched, by `repository`.
    pub fetch_age: GaugeVec,
    /// Fetches that failed since one succeeded, by `repository`.
    pub fetch_failures: IntGaugeVec,
    /// Bytes of the database, by `part`: file, used, log.
    pub database: IntGaugeVec,
    /// Free bytes of the disk.
    pub disk_free: IntGauge,
    /// Rows that were forgotten for their age or for the database's size, by `kind`.
    pub forgotten: IntCounterVec,
    /// Seconds that `/metrics` itself took.
    pub scrapes: Counter,
}

impl Metrics {
    #[expect(clippy::expect_used, reason = "names are constants, registered once")]
    fn new() -> Self {
        let registry = Registry::new();
        let keep = |metric: Box<dyn prometheus::core::Collector>| {
            registry.register(metric).expect("every name is registered once");
        };
        macro_rules! made {
            ($kind:ident, $name:literal, $help:literal, $labels:expr) => {{
                let metric =
                    $kind::new(Opts::new($name, $help).into(), $labels).expect("the name is a valid one");
                keep(Box::new(metric.clone()));
                metric
            }};
            ($kind:ident, $name:literal, $help:literal) => {{
                let metric = $kind::new($name, $help).expect("the name is a valid one");
                keep(Box::new(metric.clone()));
                metric
            }};
        }
        let timed = |name: &str, help: &str| {
            let options = HistogramOpts::new(name, help).buckets(SECONDS.to_vec());
            let metric = HistogramVec::new(options, &["outcome"]).expect("the name is a valid one");
            keep(Box::new(metric.clone()));
            metric
        };
        let build =
            made!(IntGaugeVec, "blamed_build_info", "Always 1; the version is a label.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        keep(Box::new(prometheus::process_collector::ProcessCollector::for_self()));
        Self {
            requests: made!(
                IntCounterVec,
                "blamed_requests_total",
                "Requests that brought reports, by protocol and what became of them.",
                &["protocol", "outcome"]
            ),
            reports: made!(
                IntCounterVec,
                "blamed_reports_total",
                "Reports that were taken, by how they stand: counted, parked for blame, dropped by a rule, duplicate.",
                &["standing"]
            ),
            ledger: timed(
                "blamed_ledger_seconds",
                "Time from a request's reports being handed to the ledger to their being on disk.",
            ),
            blame: timed("blamed_blame_seconds", "Time from a question about a line to the answer."),
            blame_answers: made!(
                IntGaugeVec,
                "blamed_blame_answers",
                "Answers about lines since the start: remembered, or worked out.",
                &["result"]
            ),
            inbox: made!(IntGauge, "blamed_inbox_places", "Places that wait for blame."),
            inbox_age: made!(
                Gauge,
                "blamed_inbox_oldest_seconds",
                "Seconds since the first of the places that wait for blame was reported; 0 where none waits."
            ),
            outbox: made!(IntGaugeVec, "blamed_outbox_mails", "Mails that are kept, by state.", &["state"]),
            outbox_age: made!(
                Gauge,
                "blamed_outbox_oldest_seconds",
                "Seconds since the first of the mails that wait was decided on; 0 where none waits."
            ),
            mails: made!(
                IntCounterVec,
                "blamed_mails_total",
                "Tries to send a mail, by what became of them.",
                &["outcome"]
            ),
            fetch_age: made!(
                GaugeVec,
                "blamed_repository_fetch_age_seconds",
                "Seconds since a repository that is elsewhere was last fetched; missing where it never was.",
                &["repository"]
            ),
            fetch_failures: made!(
                IntGaugeVec,
                "blamed_repository_fetch_failures",
                "Fetches of a repository that failed since one succeeded.",
                &["repository"]
            ),
            database: made!(
                IntGaugeVec,
                "blamed_database_bytes",
                "Bytes of the database: its file, what of it is used, the log beside it.",
                &["part"]
            ),
            disk_free: made!(IntGauge, "blamed_disk_free_bytes", "Free bytes of the data directory's disk."),
            forgotten: made!(
                IntCounterVec,
                "blamed_forgotten_rows_total",
                "Rows that were forgotten for their age or for the size of the database.",
                &["kind"]
            ),
            scrapes: made!(Counter, "blamed_metrics_seconds_total", "Seconds spent on answering /metrics."),
            registry,
        }
    }

    /// All of it in Prometheus's text format.
    #[must_use]
    pub fn text(&self) -> String {
        // Nothing that is made above cannot be written.
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

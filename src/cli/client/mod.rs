//! A daemon as commands see it: its address, the key to it, and what becomes of a report on the way there.
//!
//! What must arrive goes by way of the [`spool`]: written to disk first, then sent, then removed. So a daemon
//! that is away, and a `kill -9` at any moment, cost nothing; and because every report has an id of its own, one
//! that is sent twice is counted once.

pub(super) mod delivery;
pub(super) mod labels;
pub(super) mod spool;

use std::io::Write;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Failure;
use crate::config::DEFAULT_LISTEN;
use crate::ingest::json;
use crate::pipeline::random_id;
use crate::report::Report;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one try may take, besides what it asks to wait.
const TRY_TIMEOUT: Duration = Duration::from_secs(15);
/// Reports that go in one letter.
const MOST_REPORTS: usize = 100;
/// Bytes after which a letter takes no further report. Daemons take 8 MiB, unpacked.
const MOST_BYTES: usize = 512 << 10;
/// Where own reports go.
pub(super) const REPORTS: &str = "/api/v1/reports";

/// A daemon, and the key to it.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Server {
    /// The daemon's address; a DSN, which has the key in it, will do
    #[arg(long, value_name = "URL", env = "BLAMED_SERVER", default_value_t = format!("http://{DEFAULT_LISTEN}"), hide_env_values = true)]
    server: String,
    /// The project's key, as `blamed start` prints it
    #[arg(long, value_name = "KEY", env = "BLAMED_KEY", hide_env_values = true)]
    key: Option<String>,
}

/// Where letters go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Address {
    /// The daemon's address, without a final slash.
    pub(super) server: String,
    /// The project's key.
    pub(super) key: String,
}

impl Server {
    /// Where it is, and the key.
    ///
    /// # Errors
    /// No key was given.
    pub(super) fn address(&self) -> Result<Address, Failure> {
        let (server, in_dsn) = split_dsn(&self.server);
        let key = self.key.clone().filter(|key| !key.is_empty()).or(in_dsn);
        let key = key.ok_or_else(|| {
            let hint = "pass the project's key with --key, or in BLAMED_KEY; `blamed start` prints it";
            Failure::Wrong(format!("no key\n\nhint: {hint}"))
        })?;
        Ok(Address { server, key })
    }
}

/// An address without the key and the project's number that a DSN has (`https://KEY@host/prefix/1`), and the key.
fn split_dsn(given: &str) -> (String, Option<String>) {
    let (scheme, rest) = given.split_once("://").unwrap_or(("http", given));
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let path = path.trim_end_matches('/');
    match host.rsplit_once('@') {
        Some((user, host)) => {
            let key = user.split(':').next().unwrap_or(user).to_owned();
            let prefix = path.rsplit_once('/').map_or("", |(prefix, _project)| prefix);
            (format!("{scheme}://{host}{prefix}"), Some(key).filter(|key| !key.is_empty()))
        }
        None => (format!("{scheme}://{host}{path}"), None),
    }
}

/// What is sent in one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letter {
    /// Where on the daemon.
    pub(super) path: String,
    /// All tries carry the same, so that one whose answer was lost is not counted twice.
    pub(super) id: String,
    /// How the body is packed: `gzip`, or nothing.
    pub(super) encoding: String,
    /// As it is sent.
    pub(super) body: Vec<u8>,
}

impl Letter {
    /// Any body, of any form that the path takes.
    pub(super) fn plain(path: &str, body: &[u8]) -> Self {
        Self { path: path.to_owned(), id: random_id(), encoding: String::new(), body: body.to_vec() }
    }

    /// Letters with all of `reports`, in order.
    pub(super) fn of_reports(reports: &[Report]) -> Vec<Self> {
        let mut letters = Vec::new();
        let mut rest = reports;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |report: &&Report| {
                let before = bytes;
                bytes += json::encode(std::slice::from_ref(report)).len();
                before == 0 || bytes <= MOST_BYTES
            };
            let count = rest.iter().take(MOST_REPORTS).take_while(fits).count();
            let (these, others) = rest.split_at(count);
            letters.push(Self {
                encoding: "gzip".to_owned(),
                body: packed(&json::encode(these)),
                ..Self::plain(REPORTS, &[])
            });
            rest = others;
        }
        letters
    }
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(bytes).and_then(|()| packer.finish()).expect("writing into memory does not fail")
}

/// Why a letter did not arrive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Not now: no answer, or one that says to come again, perhaps with a time.
    Away(String, Option<Duration>),
    /// Never: it will be refused however often it comes.
    Refused(String),
    /// The address is none.
    NoAddress(String),
}

/// Sends letters.
#[derive(Debug, Clone)]
pub(super) struct Client {
    agent: ureq::Agent,
}

impl Client {
    pub(super) fn new() -> Self {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_connect(Some(CONNECT_TIMEOUT));
        Self { agent: config.build().into() }
    }

    /// Tries once. The daemon may take `wait` longer than usual to answer.
    pub(super) fn send(&self, to: &Address, letter: &Letter, wait: Duration) -> Result<Value, Trouble> {
        let Address { server, key } = to;
        let mut request = self
            .agent
            .post(format!("{server}{}", letter.path))
            .config()
            .timeout_global(Some(TRY_TIMEOUT + wait))
            .build()
            .header("Authorization", format!("Bearer {key}"))
            .header("Idempotency-Key", &letter.id)
            .header(
                "Content-Type",
                if letter.encoding.is_empty() { "application/octet-stream" } else { "application/json" },
            );
        if !letter.encoding.is_empty() {
            request = request.header("Content-Encoding", &letter.encoding);
        }
        let mut response = match request.send(&letter.body[..]) {
            Ok(response) => response,
            Err(error @ (ureq::Error::BadUri(_) | ureq::Error::Http(_))) => {
                return Err(Trouble::NoAddress(format!("--server {server:?}: {error}")));
            }
            Err(error) => return Err(Trouble::Away(format!("{server}: {error}"), None)),
        };
        let status = response.status().as_u16();
        let asked = response.headers().get("retry-after").and_then(|value| value.to_str().ok()?.parse().ok());
        let text = response.body_mut().read_to_string().unwrap_or_default();
        let answer: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        let said = || format!("{server} answers {status}: {}", reason(&answer, &text));
        match status {
            200..=299 if answer.is_object() => Ok(answer),
            // A login page, somebody else's server: what is sent there is lost.
            200..=399 => Err(Trouble::Away(
                format!("{server} answers {status}, but not as blamed does"),
                asked.map(Duration::from_secs),
            )),
            408 | 425 | 429 | 500.. => Err(Trouble::Away(said(), asked.map(Duration::from_secs))),
            _ => Err(Trouble::Refused(said())),
        }
    }
}

/// Why an answer is no good, on one line that a terminal can show.
fn reason(answer: &Value, text: &str) -> String {
    let said = answer["error"].as_str().unwrap_or(text.trim());
    super::explain::plain(&said.chars().take(200).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dsn_has_the_key_in_it() {
        let check = |given: &str, server: &str, key: Option<&str>| {
            assert_eq!(split_dsn(given), (server.to_owned(), key.map(str::to_owned)), "{given}");
        };
        check("http://localhost:9028", "http://localhost:9028", None);
        check("localhost:9028/", "http://localhost:9028", None);
        check("https://blamed.example/below", "https://blamed.example/below", None);
        check("https://ab12@blamed.example/1", "https://blamed.example", Some("ab12"));
        check(
            "https://ab12:secret@blamed.example:80/below/1/",
            "https://blamed.example:80/below",
            Some("ab12"),
        );
        check("http://@host/1", "http://host", None);
        check("", "http://", None);
    }

    #[test]
    fn letters_hold_all_reports_in_order() {
        let reports: Vec<Report> = (0..250)
            .map(|n| Report {
                client_id: Some(n.to_string()),
                exceptions: vec![crate::report::Exception {
                    kind: Some("E".to_owned()),
                    ..Default::default()
                }],
                count: 1,
                protocol: "blamed-json".to_owned(),
                additional_info: Some("x".repeat(if n == 120 { 2 << 20 } else { 1 })),
                ..Report::default()
            })
            .collect();
        let letters = Letter::of_reports(&reports);
        let again: Vec<Report> = letters
            .iter()
            .flat_map(|letter| {
                let body = crate::ingest::inflate::inflate(&letter.encoding, &letter.body, 8 << 20).unwrap();
                json::decode(&body).unwrap()
            })
            .collect();
        assert_eq!(again, reports);
        assert_eq!(letters.len(), 5, "100, 20, the large one, 100, 29");
    }
}

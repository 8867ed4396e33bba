//! `blamed report`: sends a traceback to a daemon.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::{Failure, print_line, read_input};
use crate::config::DEFAULT_LISTEN;
use crate::pipeline::random_id;

/// Waits between tries; after the last one it gives up.
const PAUSES: [Duration; 5] = [
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// The longest pause that a server may ask for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How long `--wait` waits unless it says, in seconds.
pub(super) const DEFAULT_WAIT: f64 = 10.0;
const DEFAULT_WAIT_TEXT: &str = "10";
/// How long one try may take, besides what `--wait` asks for.
const TRY_TIMEOUT: Duration = Duration::from_secs(15);

/// Send a traceback to a running daemon.
///
/// FILE holds a traceback as a program printed it (text before and after it does not matter), or a JSON
/// report. Prints the id that the report was given; with --wait, who is responsible and why.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: Server,
    /// Wait until it is decided who is responsible (for 10 seconds, or as many as given, at most 30)
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = DEFAULT_WAIT_TEXT)]
    wait: Option<f64>,
    /// Print the whole answer as JSON
    #[arg(long)]
    json: bool,
    /// File to send; `-` or nothing: stdin
    file: Option<PathBuf>,
}

/// A daemon, and the key to it.
#[derive(Debug, clap::Args)]
pub(super) struct Server {
    /// The daemon's address
    #[arg(long, value_name = "URL", env = "BLAMED_SERVER", default_value_t = format!("http://{DEFAULT_LISTEN}"))]
    pub(super) server: String,
    /// The project's key, as `blamed start` prints it
    #[arg(long, value_name = "KEY", env = "BLAMED_KEY", hide_env_values = true)]
    key: Option<String>,
}

impl Server {
    /// The key.
    ///
    /// # Errors
    /// None was given.
    pub(super) fn key(&self) -> Result<&str, Failure> {
        self.key.as_deref().ok_or_else(|| {
            let hint = "pass the project's key with --key, or in BLAMED_KEY; `blamed start` prints it";
            Failure::Wrong(format!("no key\n\nhint: {hint}"))
        })
    }
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Server { server, .. } = &arguments.server;
    let key = arguments.server.key()?;
    if let Some(wait) = arguments.wait.filter(|wait| !(0.0..=30.0).contains(wait)) {
        return Err(Failure::Wrong(format!("--wait is from 0 to 30 seconds, not {wait}")));
    }
    let body = read_input(arguments.file.as_deref())?;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Failure::Wrong("there is nothing to report: the input is empty".to_owned()));
    }
    let answer = send(server, key, arguments.wait, &body)?;
    if arguments.json {
        return print_line(&answer.to_string());
    }
    if arguments.wait.is_none() {
        for id in ids(&answer) {
            print_line(&id)?;
        }
        return Ok(());
    }
    match answer["reports"].as_array() {
        Some(reports) => reports.iter().try_for_each(|report| print_line(&in_words(report))),
        None => print_line(&in_words(&answer)),
    }
}

/// Sends the body until it is taken, refused for good, or the pauses are used up. All tries carry the same
/// id, so that one whose answer was lost is not counted twice.
pub(super) fn send(server: &str, key: &str, wait: Option<f64>, body: &[u8]) -> Result<Value, Failure> {
    match wait {
        Some(wait) => post(server, &format!("/api/v1/reports?wait={wait}"), key, wait, body),
        None => post(server, "/api/v1/reports", key, 0.0, body),
    }
}

/// Posts to a daemon, which may take `wait` seconds longer than usual to answer.
pub(super) fn post(server: &str, path: &str, key: &str, wait: f64, body: &[u8]) -> Result<Value, Failure> {
    let server = server.trim_end_matches('/');
    let scheme = if server.contains("://") { "" } else { "http://" };
    let url = format!("{scheme}{server}{path}");
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(TRY_TIMEOUT + Duration::from_secs_f64(wait)))
        .build()
        .into();
    let id = random_id();
    let mut pauses = PAUSES.iter();
    loop {
        let sent = agent
            .post(&url)
            .header("Authorization", format!("Bearer {key}"))
            .header("Idempotency-Key", &id)
            .header("Content-Type", "application/octet-stream")
            .send(body);
        let (trouble, asked) = match sent {
            Ok(mut response) => {
                let status = response.status().as_u16();
                let asked = response.headers().get("retry-after").and_then(|v| v.to_str().ok()?.parse().ok());
                let text = response.body_mut().read_to_string().unwrap_or_default();
                let answer: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
                match status {
                    200..=299 => return Ok(answer),
                    429 | 500.. => (format!("{server} answers {status}: {}", reason(&answer, &text)), asked),
                    _ => {
                        return Err(Failure::Failed(format!(
                            "{server} answers {status}: {}",
                            reason(&answer, &text)
                        )));
                    }
                }
            }
            Err(error @ (ureq::Error::BadUri(_) | ureq::Error::Http(_))) => {
                return Err(Failure::Wrong(format!("--server {server:?}: {error}")));
            }
            Err(error) => (format!("{server}: {error}"), None),
        };
        let Some(pause) = pauses.next() else {
            return Err(Failure::Failed(format!(
                "{trouble}\nGiven up after {} tries; nothing was kept.\n\nhint: is the daemon running? \
                 `blamed start` prints its address",
                PAUSES.len() + 1
            )));
        };
        let pause = asked.map_or(*pause, Duration::from_secs).clamp(*pause, LONGEST_PAUSE);
        eprintln!("{trouble}; trying again in {} s", pause.as_secs_f32());
        std::thread::sleep(pause);
    }
}

fn reason(answer: &Value, text: &str) -> String {
    answer["error"].as_str().map_or_else(|| text.trim().chars().take(200).collect(), str::to_owned)
}

fn ids(answer: &Value) -> Vec<String> {
    let several = answer["ids"].as_array().map(|ids| ids.iter().filter_map(Value::as_str).collect());
    let ids: Vec<&str> = several.unwrap_or_else(|| answer["id"].as_str().into_iter().collect());
    ids.into_iter().map(str::to_owned).collect()
}

/// Who is responsible and why, for a terminal.
pub(super) fn in_words(report: &Value) -> String {
    let text = |value: &Value| crate::cli::explain::plain(value.as_str().unwrap_or_default());
    let mut lines = vec![format!("report   {}", text(&report["id"]))];
    match report["state"].as_str() {
        Some("decided") => {}
        Some("waiting") => lines.push("state    on disk; not decided yet".to_owned()),
        _ => lines.push("state    not counted".to_owned()),
    }
    if let Some(place) = report["place"].as_object() {
        let revision: String = text(&place["revision"]).chars().take(10).collect();
        lines.push(format!("line     {}:{} at {revision}", text(&place["path"]), place["line"]));
    }
    if let Some(author) = report["author"].as_object() {
        let commit: String = text(&report["origin"]["commit"]).chars().take(10).collect();
        lines.push(format!("person   {} <{}>", text(&author["name"]), text(&author["mail"])));
        lines.push(format!("commit   {commit} {} ({})", text(&report["summary"]), text(&author["time"])));
    }
    if let Some(failure) = report["blame_failure"].as_str() {
        lines.push(format!("person   unknown: {failure}"));
    }
    if let Some(boundary) = report["boundary"].as_str() {
        lines.push(format!("beware   {}", crate::cli::explain::plain(boundary)));
    }
    if let Some(why) = report["confidence"]["why"].as_str() {
        lines.push(format!("sure     {}: {why}", text(&report["confidence"]["level"])));
    }
    if let Some(count) = report["fault"]["count"].as_u64() {
        lines.push(format!("count    {count}"));
    }
    if let Some(decision) = report["decision"]["reason"].as_str() {
        lines.push(format!("decision {}", crate::cli::explain::plain(decision)));
    }
    lines.join("\n")
}

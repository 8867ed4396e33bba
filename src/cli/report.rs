//! `blamed report`: sends tracebacks and documents of error trackers to a daemon.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::delivery::{Place, told};
use super::client::spool::Spool;
use super::client::{Address, Client, Letter, REPORTS, Server, Trouble};
use super::{Failure, print_line, read_input};
use crate::ingest::otlp::Signal;
use crate::ingest::protocol::Protocol;
use crate::ingest::text::Tracebacks;
use crate::ingest::{error::DecodeError, flawless, text};
use crate::pipeline::random_id;
use crate::report::Report;

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
/// How long reports that waited in the spool may take to go after one that went.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes to which what is packed within a document may unpack.
const MOST_UNPACKED: usize = 64 << 20;

/// Send tracebacks to a running daemon.
///
/// FILE holds tracebacks as programs printed them (text before and after them does not matter), JSON reports,
/// records of a log in JSON, or a document of another error tracker. Prints the id that each report was given; with
/// --wait, who is responsible and why. While the daemon is away, reports wait in the spool, and go with the next
/// command that finds it back.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    place: Place,
    /// What FILE holds
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    format: Format,
    /// Wait until it is decided who is responsible, for 10 seconds or as many as given, at most 30
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "")]
    wait: Option<String>,
    /// Print the whole answer as JSON
    #[arg(long)]
    json: bool,
    /// File to send; `-` or nothing: stdin
    file: Option<PathBuf>,
}

/// What a document is written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// Whatever it looks like
    Auto,
    /// Tracebacks as printed, among other lines
    Text,
    /// This program's own JSON
    Json,
    /// A Sentry envelope or event
    Sentry,
    /// OpenTelemetry traces, in JSON or protobuf
    OtlpTraces,
    /// OpenTelemetry logs, in JSON or protobuf
    OtlpLogs,
    /// An Airbrake v3 notice
    Airbrake,
    /// A Rollbar item
    Rollbar,
    /// A Honeybadger notice
    Honeybadger,
    /// A Canonical OOPS, in BSON or with headers
    Oops,
    /// Calls of a Flawless client, in Thrift's frames or without
    Flawless,
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let address = arguments.server.address()?;
    let (wait, file) = wait_and_file(arguments.wait.as_deref(), arguments.file)?;
    let body = read_input(file.as_deref())?;
    if body.iter().all(u8::is_ascii_whitespace) {
        return Err(Failure::Wrong("there is nothing to report: the input is empty".to_owned()));
    }
    let mut reports = arguments.format.decode(&body).map_err(Failure::failed)?;
    if reports.is_empty() {
        return Err(Failure::Failed("the document speaks of no error".to_owned()));
    }
    let id = random_id();
    for (n, report) in reports.iter_mut().enumerate() {
        report.client_id.get_or_insert_with(|| format!("{id}/{n}"));
    }
    let client = Client::new();
    let mut letters = Letter::of_reports(&reports).into_iter();
    while let Some(mut letter) = letters.next() {
        if let Some(wait) = wait {
            letter.path = format!("{REPORTS}?wait={wait}");
        }
        let answer = match persist(&client, &address, &letter, wait.unwrap_or_default()) {
            Ok(answer) => answer,
            Err(Trouble::Away(said, _)) => {
                letter.path = REPORTS.to_owned();
                let rest: Vec<Letter> = std::iter::once(letter).chain(letters).collect();
                let kept = keep(&arguments.place, &address, &rest, &said)?;
                // Whoever asked for the answer has to hear that there is none.
                if wait.is_some() || arguments.json {
                    return Err(Failure::Failed(kept));
                }
                eprintln!("{kept}");
                return Ok(());
            }
            Err(trouble) => return Err(trouble.into()),
        };
        print_answer(&answer, arguments.json, wait.is_some())?;
    }
    deliver_what_waits(&arguments.place, &client);
    Ok(())
}

/// What `--wait` and FILE mean together: `--wait FILE` has taken the file's name for its seconds.
fn wait_and_file(
    wait: Option<&str>,
    file: Option<PathBuf>,
) -> Result<(Option<f64>, Option<PathBuf>), Failure> {
    let (seconds, file) = match (wait, wait.map(str::parse::<f64>)) {
        (None, _) | (_, None) => return Ok((None, file)),
        (Some(""), _) => (DEFAULT_WAIT, file),
        (_, Some(Ok(seconds))) => (seconds, file),
        (Some(name), _) if file.is_none() => (DEFAULT_WAIT, Some(PathBuf::from(name))),
        (Some(given), _) => {
            return Err(Failure::Wrong(format!(
                "--wait takes a number of seconds, from 0 to 30, not {given:?}"
            )));
        }
    };
    if !(0.0..=30.0).contains(&seconds) {
        return Err(Failure::Wrong(format!("--wait is from 0 to 30 seconds, not {seconds}")));
    }
    Ok((Some(seconds), file))
}

impl Format {
    /// The reports in a document.
    fn decode(self, body: &[u8]) -> Result<Vec<Report>, DecodeError> {
        let (json, sniffed) = ("application/json", Protocol::sniff(body));
        let looks_json = matches!(body.iter().find(|byte| !byte.is_ascii_whitespace()), Some(b'{' | b'['));
        let otlp =
            |signal| (Protocol::Otlp(signal), if looks_json { json } else { "application/x-protobuf" });
        let (protocol, content_type) = match self {
            Self::Auto if flawless::is_document(body) => return flawless::reports(body),
            Self::Auto => sniffed,
            Self::Text => (Protocol::Blamed, "text/plain"),
            Self::Json => (Protocol::Blamed, json),
            // Any first line of an envelope is an object; only what follows tells.
            Self::Sentry
                if sniffed.0 == Protocol::SentryEnvelope || body.contains(&b'\n') && !is_one_value(body) =>
            {
                (Protocol::SentryEnvelope, json)
            }
            Self::Sentry => (Protocol::SentryStore, json),
            Self::OtlpTraces => otlp(Signal::Traces),
            Self::OtlpLogs => otlp(Signal::Logs),
            Self::Airbrake => (Protocol::Airbrake, json),
            Self::Rollbar => (Protocol::Rollbar, json),
            Self::Honeybadger => (Protocol::Honeybadger, json),
            Self::Oops => (Protocol::Oops, ""),
            Self::Flawless => return flawless::reports(body),
        };
        if content_type == "text/plain" {
            // A whole log may come; a body of the daemon's has a limit.
            let mut stream = Tracebacks::default();
            let mut found = stream.push(text::readable(body).as_bytes());
            found.extend(stream.flush());
            if found.is_empty() {
                return text::decode(body);
            }
            return Ok(found.into_iter().map(|sighting| sighting.report).collect());
        }
        protocol.decode(content_type, body, MOST_UNPACKED).map(|decoded| decoded.reports)
    }
}

fn is_one_value(body: &[u8]) -> bool {
    serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok()
}

/// Sends until it is taken, refused for good, or the pauses are used up.
pub(super) fn persist(client: &Client, to: &Address, letter: &Letter, wait: f64) -> Result<Value, Trouble> {
    let mut pauses = PAUSES.iter();
    loop {
        let (said, asked) = match client.send(to, letter, Duration::from_secs_f64(wait)) {
            Err(Trouble::Away(said, asked)) => (said, asked),
            decided => return decided,
        };
        let Some(pause) = pauses.next() else {
            return Err(Trouble::Away(format!("{said}\nGiven up after {} tries", PAUSES.len() + 1), None));
        };
        let pause = asked.unwrap_or(*pause).clamp(*pause, LONGEST_PAUSE);
        eprintln!("{said}; trying again in {} s", pause.as_secs_f32());
        std::thread::sleep(pause);
    }
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::NoAddress(said) => Self::Wrong(said),
            Trouble::Refused(said) => Self::Failed(said),
            Trouble::Away(said, _) => Self::Failed(format!(
                "{said}; nothing was kept.\n\nhint: is the daemon running? `blamed start` prints its address"
            )),
        }
    }
}

/// Keeps letters in the spool; says where.
fn keep(place: &Place, to: &Address, letters: &[Letter], trouble: &str) -> Result<String, Failure> {
    let hint = "hint: is the daemon running? `blamed start` prints its address";
    let spool = match place.open() {
        Ok(spool) => spool,
        Err(error) => return Err(Failure::Failed(format!("{trouble}; nothing was kept: {error}\n\n{hint}"))),
    };
    for letter in letters {
        let no_room = || "the spool is full".to_owned();
        let kept = spool
            .put(to, letter, 1)
            .map_err(|error| error.to_string())
            .and_then(|kept| kept.then_some(()).ok_or_else(no_room));
        kept.map_err(|error| Failure::Failed(format!("{trouble}; nothing was kept: {error}\n\n{hint}")))?;
    }
    Ok(format!(
        "{trouble}; kept in {}, to go with the next report, run or follow.\n\n{hint}",
        spool.folder().display()
    ))
}

/// Delivers what commands before this one could not.
fn deliver_what_waits(place: &Place, client: &Client) {
    let Some(folder) = place.folder().filter(|folder| folder.join("reports").is_dir()) else { return };
    let deadline = Instant::now() + PATIENCE;
    let deliver = |spool: Spool| {
        let send = |to: &Address, letter: &Letter| client.send(to, letter, Duration::ZERO).map(drop);
        spool.deliver(true, || Instant::now() > deadline, send).map_err(Failure::failed)
    };
    match place.open().and_then(deliver) {
        Ok(round) => {
            told(&round, &mut false, &folder).iter().for_each(|words| eprintln!("{words}"));
            if round.delivered > 0 {
                eprintln!("{} letters that waited in {} were delivered", round.delivered, folder.display());
            }
        }
        Err(error) => eprintln!("{error}"),
    }
}

fn print_answer(answer: &Value, as_json: bool, decided: bool) -> Result<(), Failure> {
    if as_json {
        return print_line(&answer.to_string());
    }
    if !decided {
        return ids(answer).iter().try_for_each(|id| print_line(id));
    }
    match answer["reports"].as_array() {
        Some(reports) => reports.iter().try_for_each(|report| print_line(&in_words(report))),
        None => print_line(&in_words(answer)),
    }
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

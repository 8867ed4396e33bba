//! A real daemon, as a process of its own, and how a client speaks to it.

#![allow(dead_code, unreachable_pub, reason = "each test uses what it needs")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a test waits for what must come.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A running daemon; killed, as `kill -9` does, when dropped.
pub struct Daemon {
    process: Child,
    pub url: String,
    pub key: String,
    /// Makes the first admin of the pages, as long as there is none.
    pub admin_link: Option<String>,
    /// Where clients of Flawless report to, if they may.
    pub flawless: Option<String>,
}

/// What the daemon answered.
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<String>,
    pub body: Value,
}

/// The `blamed` of this build, deaf to the environment of whoever runs the tests.
pub fn blamed(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_blamed"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("BLAMED_") {
            command.env_remove(name);
        }
    }
    // Nothing is left in the home of whoever runs the tests.
    command.env("BLAMED_SPOOL", "/proc/none");
    command
}

/// Runs a command to its end.
pub fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

impl Daemon {
    /// Starts one on `repository`, with its data in `data`.
    pub fn start(repository: &Path, data: &Path) -> Self {
        let paths = [repository, data].map(|path| path.to_str().unwrap().to_owned());
        Self::from(&mut blamed(&["start", "--repository", &paths[0], "--data-dir", &paths[1]]))
    }

    /// Starts one by a configuration file in `folder`.
    pub fn configured(folder: &Path, configuration: &str) -> Self {
        let file = folder.join("blamed.toml");
        std::fs::write(&file, configuration).unwrap();
        Self::from(&mut blamed(&["start", "--config", file.to_str().unwrap()]))
    }

    /// Starts one by a command line.
    pub fn from(command: &mut Command) -> Self {
        Self::where_configured(command.args(["--listen", "127.0.0.1:0"]))
    }

    /// Starts one by a command line, at the address that is configured.
    pub fn where_configured(command: &mut Command) -> Self {
        command.stdout(Stdio::piped());
        // What it says on stderr is shown when a test fails.
        let mut process = command.spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut after = |start: &str| {
            let line = lines
                .by_ref()
                .map_while(Result::ok)
                .find_map(|line| line.trim().strip_prefix(start).map(str::to_owned));
            line.unwrap_or_else(|| panic!("the daemon did not say {start:?}"))
        };
        let (url, key) = (after("blamed listens on "), after("key "));
        let said: Vec<String> =
            lines.by_ref().map_while(Result::ok).take_while(|line| !line.starts_with("curl")).collect();
        let address = |line: &String| {
            Some(line.strip_prefix("Flawless clients report to ")?.split(',').next()?.to_owned())
        };
        let flawless = said.iter().find_map(address);
        let admin_link = said.into_iter().find(|line| line.contains("/sign_in/"));
        // Read to its end, so that the daemon never waits for a reader.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, url, key, admin_link, flawless }
    }

    /// Sends a report; `query` such as `?wait=10`.
    pub fn report(&self, body: &[u8], query: &str) -> Answer {
        self.post(body, query, &[("Authorization", &format!("Bearer {}", self.key))]).unwrap()
    }

    /// Reports a text and waits for what is decided.
    pub fn decided(&self, body: impl AsRef<[u8]>) -> Value {
        let answer = self.report(body.as_ref(), "?wait=20");
        assert_eq!(answer.body["state"], "decided", "{}", answer.body);
        answer.body
    }

    pub fn post(&self, body: &[u8], query: &str, headers: &[(&str, &str)]) -> Result<Answer, ureq::Error> {
        let mut request = agent().post(format!("{}/api/v1/reports{query}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(Answer::of(request.send(body)?))
    }

    pub fn get(&self, path: &str) -> Result<Answer, ureq::Error> {
        Ok(Answer::of(agent().get(format!("{}{path}", self.url)).call()?))
    }

    /// Has a repository fetched, for whoever has `key`.
    pub fn fetch(&self, repository: &str, key: &str) -> Answer {
        let request = agent().post(format!("{}/api/v1/repositories/{repository}/fetch", self.url));
        Answer::of(request.header("Authorization", format!("Bearer {key}")).send_empty().unwrap())
    }

    /// The number of its process.
    pub fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, name: &str) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// SIGTERM, and waits until it has gone; answers whether it left in peace.
    pub fn stop(mut self) -> bool {
        self.signal("TERM");
        self.process.wait().unwrap().success()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Answer {
    fn of(mut response: ureq::http::Response<ureq::Body>) -> Self {
        let retry_after = response.headers().get("retry-after").map(|v| v.to_str().unwrap().to_owned());
        let text = response.body_mut().read_to_string().unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Self { status: response.status().as_u16(), retry_after, body }
    }
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    config.timeout_global(Some(Duration::from_secs(60))).build().into()
}

/// Asks until there is an answer, for as long as [`PATIENCE`] lasts.
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < PATIENCE, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The addresses that mails in a data directory went to, oldest mail first; waits until there are `count`.
pub fn mailed(data: &Path, count: usize) -> Vec<String> {
    let mails = eventually(&format!("{count} mails"), || {
        let mails = eml_files(data);
        (mails.len() >= count).then_some(mails)
    });
    assert_eq!(mails.len(), count, "mails: {mails:?}");
    let mut mails: Vec<_> = mails
        .into_iter()
        .map(|file| (std::fs::metadata(&file).unwrap().modified().unwrap(), std::fs::read(&file).unwrap()))
        .collect();
    mails.sort();
    mails
        .iter()
        .map(|(_, mail)| {
            let mail = mail_parser::MessageParser::new().parse(mail).unwrap();
            mail.to().unwrap().first().unwrap().address().unwrap().to_owned()
        })
        .collect()
}

fn eml_files(data: &Path) -> Vec<PathBuf> {
    let Ok(folder) = std::fs::read_dir(data.join("mail")) else { return Vec::new() };
    let files = folder.map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|end| end == "eml")).collect()
}

/// A Python traceback of one frame.
pub fn traceback(file: &str, line: u32, function: &str, text: &str) -> String {
    format!(
        "Traceback (most recent call last):\n  File \"{file}\", line {line}, in {function}\n    {text}\nValueError: no\n"
    )
}

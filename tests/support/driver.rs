//! A real browser: Debian's Chromium, driven by WebDriver.

#![allow(dead_code, unreachable_pub, reason = "each test uses what it needs")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// The key under which WebDriver hands out elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
const OPTIONS: &[&str] = &[
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
];

/// What the browser is like.
#[derive(Clone, Copy)]
pub struct Kind {
    pub dark: bool,
    pub scripts: bool,
    pub width: u32,
}

/// A running browser; ends when dropped.
pub struct Driver {
    process: Child,
    session: String,
    _profile: tempfile::TempDir,
}

impl Driver {
    /// `None`: the programs are missing.
    pub fn start(kind: Kind) -> Option<Self> {
        let mut process = Command::new("chromedriver")
            .args(["--port=0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines.find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            Some(port.trim_end_matches('.').to_owned())
        });
        std::thread::spawn(move || lines.for_each(drop));
        let url = format!("http://127.0.0.1:{}/session", port.expect("chromedriver names its port"));
        let profile = tempfile::tempdir().unwrap();
        let mut arguments: Vec<String> = OPTIONS.iter().map(|&option| option.to_owned()).collect();
        arguments.push(format!("--user-data-dir={}", profile.path().display()));
        arguments.push(format!("--window-size={},900", kind.width));
        if kind.dark {
            arguments.push("--blink-settings=preferredColorScheme=0".to_owned());
        }
        let scripts = if kind.scripts { 1 } else { 2 };
        let options = json!({
            "args": arguments,
            "prefs": { "profile.managed_default_content_settings.javascript": scripts },
            // Headless windows have a least width; this has none.
            "mobileEmulation": { "deviceMetrics": { "width": kind.width, "height": 900, "pixelRatio": 1.0, "mobile": false, "touch": false } },
        });
        let wanted = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let answer = send("POST", &url, &wanted);
        let id = answer["sessionId"].as_str().unwrap_or_else(|| panic!("no session: {answer}"));
        let driver = Self { session: format!("{url}/{id}"), process, _profile: profile };
        // A page may take a moment; a script, on a busy machine, more than one.
        driver.ask("/timeouts", &json!({ "implicit": 5_000, "script": 50_000 }));
        Some(driver)
    }

    fn ask(&self, command: &str, body: &Value) -> Value {
        send("POST", &format!("{}{command}", self.session), body)
    }

    pub fn open(&self, url: &str) {
        self.ask("/url", &json!({ "url": url }));
    }

    pub fn address(&self) -> String {
        send("GET", &format!("{}/url", self.session), &Value::Null).as_str().unwrap().to_owned()
    }

    pub fn source(&self) -> String {
        send("GET", &format!("{}/source", self.session), &Value::Null).as_str().unwrap().to_owned()
    }

    fn element(&self, css: &str) -> String {
        let found = self.ask("/element", &json!({ "using": "css selector", "value": css }));
        let found = found[ELEMENT].as_str().unwrap_or_else(|| panic!("no {css} at {}", self.address()));
        format!("/element/{found}")
    }

    pub fn click(&self, css: &str) {
        self.ask(&format!("{}/click", self.element(css)), &json!({}));
    }

    pub fn text(&self, css: &str) -> String {
        let url = format!("{}{}/text", self.session, self.element(css));
        send("GET", &url, &Value::Null).as_str().unwrap().to_owned()
    }

    /// Types into an element, or, with an empty selector, into whatever has the focus.
    pub fn type_into(&self, css: &str, text: &str) {
        let element = if css.is_empty() {
            let active = send("GET", &format!("{}/element/active", self.session), &Value::Null);
            format!("/element/{}", active[ELEMENT].as_str().unwrap())
        } else {
            self.element(css)
        };
        self.ask(&format!("{element}/value"), &json!({ "text": text }));
    }

    /// The page as a PDF, as far as that is text.
    pub fn print(&self) -> String {
        let printed = self.ask("/print", &json!({}));
        let printed = base64(printed.as_str().unwrap());
        String::from_utf8_lossy(&printed).into_owned()
    }

    /// A command of the Chrome DevTools Protocol.
    pub fn devtools(&self, command: &str, params: &Value) -> Value {
        self.ask("/goog/cdp/execute", &json!({ "cmd": command, "params": params }))
    }

    /// Runs a script that calls back with its answer.
    pub fn run(&self, script: &str) -> Value {
        self.ask("/execute/async", &json!({ "script": script, "args": [] }))
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let agent = agent();
        let _ = agent.delete(&self.session).call();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The bytes of RFC 4648's base64.
fn base64(text: &str) -> Vec<u8> {
    let digits = text.bytes().filter_map(|byte| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    });
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for digit in digits {
        (bits, held) = (bits << 6 | u32::from(digit), held + 6);
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    bytes
}

fn send(method: &str, url: &str, body: &Value) -> Value {
    let agent = agent();
    let mut answer = match method {
        "GET" => agent.get(url).call(),
        _ => agent.post(url).header("Content-Type", "application/json").send(body.to_string()),
    }
    .unwrap();
    let text = answer.body_mut().read_to_string().unwrap();
    let mut answer: Value = serde_json::from_str(&text).unwrap();
    if !answer["value"]["error"].is_null() {
        let session = url.split("/element").next().unwrap_or(url);
        let page = agent.get(format!("{session}/source")).call().unwrap().body_mut().read_to_string();
        panic!("{method} {url} {body}: {}\n{}", answer["value"]["message"], page.unwrap());
    }
    answer["value"].take()
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    config.timeout_global(Some(Duration::from_secs(60))).build().into()
}

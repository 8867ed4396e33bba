//! A program that asks the API, with a token or without.

#![allow(dead_code, unreachable_pub, reason = "each test uses what it needs")]

use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use super::daemon::{blamed, run};

pub struct Program {
    pub url: String,
    /// What it shows; empty: nothing.
    pub token: String,
}

pub struct Told {
    pub status: u16,
    pub headers: ureq::http::HeaderMap,
    pub body: Value,
}

impl Program {
    pub fn new(url: &str, token: &str) -> Self {
        Self { url: url.to_owned(), token: token.to_owned() }
    }

    /// With a token that the command line makes for somebody, who gets an account where they have none.
    pub fn of(url: &str, data: &Path, (mail, role): (&str, &str), scope: &str) -> Self {
        let data = data.to_str().unwrap();
        assert!(
            run(blamed(&["user", "add", mail, "--role", role]).args(["--data-dir", data])).status.success()
        );
        let add = ["token", "add", mail, "--name", "test", "--scope", scope, "--data-dir", data];
        let made = run(&mut blamed(&add));
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self::new(url, String::from_utf8(made.stdout).unwrap().trim())
    }

    pub fn get(&self, path: &str) -> Told {
        self.ask("GET", path, &[], None)
    }

    pub fn send(&self, method: &str, path: &str, body: &Value) -> Told {
        self.ask(method, path, &[("Content-Type", "application/json")], Some(body.to_string().as_bytes()))
    }

    /// Changes what was at that version.
    pub fn change(&self, method: &str, path: &str, version: &str, body: &Value) -> Told {
        let headers = [("Content-Type", "application/json"), ("If-Match", version)];
        self.ask(method, path, &headers, Some(body.to_string().as_bytes()))
    }

    pub fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: Option<&[u8]>) -> Told {
        let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
        let agent: ureq::Agent = config
            .allow_non_standard_methods(true)
            .timeout_global(Some(Duration::from_secs(60)))
            .build()
            .into();
        let mut request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.url));
        if !self.token.is_empty() {
            request = request.header("Authorization", format!("Bearer {}", self.token));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer = match body {
            Some(body) => agent.run(request.body(body).unwrap()),
            None => agent.run(request.body(()).unwrap()),
        }
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let text = answer.body_mut().read_to_string().unwrap();
        Told {
            status: answer.status().as_u16(),
            headers: answer.headers().clone(),
            body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
        }
    }
}

impl Told {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The same, where it is as it should be.
    pub fn is(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.body);
        self
    }

    /// A refusal, told as RFC 9457 has it.
    pub fn refused(self, status: u16) -> Self {
        let told = self.is(status);
        assert_eq!(told.header("content-type"), "application/problem+json");
        assert_eq!(told.body["status"], status, "{}", told.body);
        assert!(told.body["title"].is_string() && told.body["detail"].is_string(), "{}", told.body);
        told
    }
}

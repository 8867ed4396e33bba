//! One error as a client sent it: the single shape that every protocol is decoded into.
//!
//! Two orders are fixed here, whatever a client sends: the frames of an exception stand *caller first*,
//! the frame that raised last; the exceptions of a report stand *root cause first*, the one that was
//! finally thrown (the headline) last. Members of an exception group stand before their group.
//!
//! Nothing in a `Report` is trusted. Texts may hold any Unicode, control characters included; they are
//! escaped where they are shown (mail, page, terminal), never here.

use std::num::NonZeroU32;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One error as a client sent it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The client's own id of this event, if it sent one. A second report of the same project with the
    /// same id is the same event sent again, and is not counted again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_id: Option<String>,
    /// Root cause first, the exception that was finally thrown last. May be empty (a mere message).
    pub exceptions: Vec<Exception>,
    /// The machine it happened on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hostname: Option<String>,
    /// What the client says of the commit that was running: a full or short commit id, or a tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The client's name for the release; may contain a commit id or be the name of a tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Such as `production` or `staging`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
    /// How many occurrences this report stands for: clients batch. At least 1.
    pub count: u64,
    /// The report's own threshold: no mail before this many occurrences. `None`: the server's setting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<u64>,
    /// Free text of the client's: Flawless's "additional information", a log message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub additional_info: Option<String>,
    /// Named structured context, shown as is: `request`, `user`, `tags`, `extra`, `trace`, …
    #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
    pub context: serde_json::Map<String, Value>,
    /// When it happened, by the client's clock. `None`: not said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub occurred_at: Option<Timestamp>,
    /// Which decoder read it, such as `blamed-json`, `python-text`, `sentry`.
    pub protocol: String,
    /// What of the input was dropped or mended on the way, in words.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
}

/// One exception of a chain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Exception {
    /// The full name of its type as far as the client knows it: `shop.errors.CheckoutError`, `KeyError`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// Its message, without the type. May span lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Caller first, the frame that raised last. May be empty.
    pub frames: Vec<Frame>,
    /// How many frames were left out of the middle of `frames` because there were too many, and before
    /// which index of `frames` they stood.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub omitted: Option<Omitted>,
}

/// Frames left out of the middle of a long stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Omitted {
    /// The index in the kept frames before which they stood.
    pub at: usize,
    /// How many.
    pub count: usize,
}

/// One line of a traceback.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Frame {
    /// The file's name as the client knows it: a path on its machine, or a URL. May be empty.
    pub file: String,
    /// 1-based. `None`: the client did not know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<NonZeroU32>,
    /// 1-based.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<NonZeroU32>,
    /// The function the line is in, as the client names it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<String>,
    /// The source line as it was on the client's machine, if it was sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// The source lines before it, nearest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<String>,
    /// The source lines after it, nearest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<String>,
    /// Names and values, in the client's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub locals: Vec<(String, String)>,
    /// What the client thinks of whether this is the application's own code. A hint, never trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_app: Option<bool>,
}

impl Report {
    /// The threshold of what is counted and never mailed. JSON's numbers hold it.
    pub const NEVER: u64 = 1 << 49;

    /// Never mailed, if all it has is a message of a level (in its context) at which nothing is wrong.
    #[must_use]
    pub fn hushed(mut self) -> Self {
        let level = self.context.get("level").and_then(Value::as_str);
        let is_quiet = level.is_some_and(|level| matches!(level, "debug" | "info" | "log"));
        if is_quiet && self.exceptions.iter().all(|exception| exception.kind.is_none()) {
            self.threshold = Some(Self::NEVER);
        }
        self
    }

    /// The exception that was finally thrown: what a headline should name.
    #[must_use]
    pub fn headline(&self) -> Option<&Exception> {
        self.exceptions.last()
    }

    /// As what it came, for people: `Python traceback`, `Sentry event`.
    #[must_use]
    pub fn came_as(&self) -> &str {
        match self.protocol.as_str() {
            "python-text" => "Python traceback",
            "javascript-text" => "JavaScript stack trace",
            "java-text" => "Java stack trace",
            "dotnet-text" => ".NET stack trace",
            "rust-text" => "Rust panic",
            "go-text" => "Go panic",
            "ruby-text" => "Ruby backtrace",
            "php-text" => "PHP error",
            "elixir-text" => "Elixir error",
            "perl-text" => "Perl error",
            "sanitizer-text" => "sanitizer's report",
            "sentry" => "Sentry event",
            "otlp" => "OpenTelemetry exception",
            "airbrake" => "Airbrake notice",
            "rollbar" => "Rollbar item",
            "honeybadger" => "Honeybadger notice",
            "flawless" => "Flawless report",
            "oops" => "OOPS",
            "blamed-json" => "JSON report",
            other => other,
        }
    }
}

/// Columns, and characters of a source line, from which on a script's line is taken for minified.
const MINIFIED_COLUMN: u32 = 1_000;

impl Frame {
    /// Whether it is of minified JavaScript: a build product, of whose lines nobody wrote one.
    #[must_use]
    pub fn is_minified(&self) -> bool {
        let path = self.file.split(['?', '#']).next().unwrap_or_default();
        let is_script = [".js", ".mjs", ".cjs"].iter().any(|ending| path.ends_with(ending));
        let is_wide = self.column.is_some_and(|column| column.get() >= MINIFIED_COLUMN)
            || self.text.as_ref().is_some_and(|text| text.len() >= MINIFIED_COLUMN as usize);
        path.ends_with(".min.js") || (is_script && is_wide)
    }
}

impl Exception {
    /// `Type: message`, as far as either is known, on one line as long as the message is on one.
    #[must_use]
    pub fn summary(&self) -> String {
        match (self.kind.as_deref(), self.message.as_deref().filter(|m| !m.is_empty())) {
            (Some(kind), Some(message)) => format!("{kind}: {message}"),
            (Some(kind), None) => kind.to_owned(),
            (None, Some(message)) => message.to_owned(),
            (None, None) => "error".to_owned(),
        }
    }
}

//! Airbrake notices, version 3 (also Errbit): `POST /api/v3/projects/{id}/notices`.
//!
//! A notice names the exception that was thrown first and its causes after it, and the frames of each newest
//! first; both are turned around here. Clients write the project's directory as `/PROJECT_ROOT` and its real
//! place beside it, which is put back.

use serde_json::Value;

use super::error::{DecodeError, DecodeErrorKind};
use super::lenient::{self, List, Number, Numbered, Text, Tree, wire};
use super::limits::{MOST_EXCEPTIONS_HALF, MOST_FRAMES_HALF};
use crate::report::{Exception, Frame, Report};

/// The name of this decoder in [`Report::protocol`].
const PROTOCOL: &str = "airbrake";
/// What clients write for the project's directory.
const ROOT: &str = "/PROJECT_ROOT";

/// Reads a notice.
///
/// # Errors
/// If it is not a JSON object with at least one error in it.
pub fn decode(bytes: &[u8]) -> Result<Report, DecodeError> {
    let notice: WireNotice = lenient::parse(bytes)?;
    let root = notice.context.get("rootDirectory").and_then(Value::as_str);
    let exceptions: Vec<Exception> = notice
        .errors
        .0
        .reversed()
        .into_vec()
        .into_iter()
        .map(|error| error.into_exception(root))
        .filter(|exception| *exception != Exception::default())
        .collect();
    if exceptions.is_empty() {
        return Err(DecodeError::whole(DecodeErrorKind::Unexpected, "the notice has no `errors`"));
    }
    let mut known = notice.context.into_members();
    let mut take = |name: &str| known.remove(name).and_then(|value| value.as_str().map(str::to_owned));
    let (hostname, environment) = (take("hostname"), take("environment"));
    let (revision, release) = (take("revision"), take("version"));
    let mut context = serde_json::Map::new();
    for (name, value) in [
        ("params", notice.params.filled()),
        ("session", notice.session.filled()),
        ("environment", notice.environment.filled()),
        ("context", Tree(Value::Object(known)).filled()),
    ] {
        if let Some(value) = value {
            context.insert(name.to_owned(), value);
        }
    }
    Ok(Report {
        exceptions,
        hostname,
        revision,
        release,
        environment,
        count: 1,
        context,
        protocol: PROTOCOL.to_owned(),
        ..Report::default()
    })
}

wire! {
    struct WireNotice {
        errors: List<WireError, MOST_EXCEPTIONS_HALF> = "errors",
        context: Tree = "context",
        params: Tree = "params",
        session: Tree = "session",
        environment: Tree = "environment",
    }

    struct WireError {
        kind: Text = "type",
        message: Text = "message",
        backtrace: List<WireFrame, MOST_FRAMES_HALF> = "backtrace",
    }

    struct WireFrame {
        file: Text = "file",
        function: Text = "function",
        line: Number = "line",
        column: Number = "column",
        code: Numbered = "code",
    }
}

/// The file with the project's real directory in it.
fn put_back(file: String, root: Option<&str>) -> String {
    match root {
        // pybrake writes it for every slash then.
        Some("/") => file.replace(ROOT, "/"),
        _ => lenient::rooted(file, ROOT, root),
    }
}

impl WireError {
    fn into_exception(self, root: Option<&str>) -> Exception {
        let stack = self.backtrace.0.filter_map(|frame| frame.into_frame(root)).reversed();
        stack.into_exception(self.kind.filled(), self.message.0)
    }
}

impl WireFrame {
    /// `None`: it tells nothing.
    fn into_frame(self, root: Option<&str>) -> Option<Frame> {
        let (file, function) = (self.file.0.unwrap_or_default(), self.function.filled());
        let mut frame = Frame {
            file: put_back(file, root),
            line: self.line.line(),
            column: self.column.line(),
            function,
            ..Frame::default()
        };
        self.code.place(&mut frame);
        (!frame.file.is_empty() || frame.function.is_some()).then_some(frame)
    }
}

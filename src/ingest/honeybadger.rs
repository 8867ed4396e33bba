//! Honeybadger notices: `POST /v1/notices`.
//!
//! A notice names the exception that was thrown and its causes after it, and the frames of each newest first;
//! both are turned around here. Clients write the project's directory as `[PROJECT_ROOT]`.

use serde_json::Value;

use super::error::{DecodeError, DecodeErrorKind};
use super::lenient::{self, List, Number, Numbered, Pairs, Text, Tree, When, wire};
use super::limits::{MOST_EXCEPTIONS_HALF, MOST_FRAMES_HALF};
use crate::report::{Exception, Frame, Report};

/// The name of this decoder in [`Report::protocol`].
const PROTOCOL: &str = "honeybadger";
/// What clients write for the project's directory.
const ROOT: &str = "[PROJECT_ROOT]";

/// Reads a notice.
///
/// # Errors
/// If it is not a JSON object that names an error.
pub fn decode(bytes: &[u8]) -> Result<Report, DecodeError> {
    let WireNotice { error, server, request } = lenient::parse(bytes)?;
    let root = server.project_root.filled();
    let (client_id, tags) = (error.token.filled(), error.tags.filled());
    let causes = error.causes;
    let thrown = WireCause { kind: error.kind, message: error.message, backtrace: error.backtrace };
    let mut thrown = thrown.into_exception(root.as_deref());
    if thrown == Exception::default() {
        return Err(DecodeError::whole(DecodeErrorKind::Unexpected, "the notice has no `error`"));
    }
    let mut remarks = Vec::new();
    let mut exceptions = Vec::new();
    for cause in causes.0.reversed().into_vec() {
        let mut cause = cause.into_exception(root.as_deref());
        if cause == Exception::default() {
            continue;
        }
        // The Python client sends the outer stack again for every cause; theirs is lost.
        if !cause.frames.is_empty() && cause.frames == thrown.frames {
            cause.frames.clear();
            remarks.push(format!("the client sent no stack of its own for the cause {}", cause.summary()));
        }
        exceptions.push(cause);
    }
    // They are those of the innermost frame only.
    if let Some(innermost) = thrown.frames.last_mut() {
        innermost.locals = request.local_variables.0;
    }
    exceptions.push(thrown);
    let mut context = serde_json::Map::new();
    for (name, value) in [
        ("url", request.url.filled().map(Value::from)),
        ("component", request.component.filled().map(Value::from)),
        ("action", request.action.filled().map(Value::from)),
        ("params", request.params.filled()),
        ("session", request.session.filled()),
        ("cgi_data", request.cgi_data.filled()),
        ("context", request.context.filled()),
        ("tags", tags),
    ] {
        if let Some(value) = value {
            context.insert(name.to_owned(), value);
        }
    }
    Ok(Report {
        client_id,
        exceptions,
        hostname: server.hostname.filled(),
        revision: server.revision.filled(),
        environment: server.environment_name.filled(),
        count: 1,
        context,
        occurred_at: server.time.0,
        protocol: PROTOCOL.to_owned(),
        remarks,
        ..Report::default()
    })
}

wire! {
    struct WireNotice {
        error: WireError = "error",
        server: WireServer = "server",
        request: WireRequest = "request",
    }

    struct WireError {
        token: Text = "token",
        kind: Text = "class",
        message: Text = "message",
        tags: Tree = "tags",
        backtrace: List<WireFrame, MOST_FRAMES_HALF> = "backtrace",
        causes: List<WireCause, MOST_EXCEPTIONS_HALF> = "causes",
    }

    struct WireCause {
        kind: Text = "class",
        message: Text = "message",
        backtrace: List<WireFrame, MOST_FRAMES_HALF> = "backtrace",
    }

    struct WireFrame {
        file: Text = "file",
        method: Text = "method",
        number: Number = "number",
        column: Number = "column",
        source: Numbered = "source",
    }

    struct WireServer {
        project_root: Text = "project_root",
        environment_name: Text = "environment_name",
        hostname: Text = "hostname",
        revision: Text = "revision",
        time: When = "time",
    }

    struct WireRequest {
        url: Text = "url",
        component: Text = "component",
        action: Text = "action",
        params: Tree = "params",
        session: Tree = "session",
        cgi_data: Tree = "cgi_data",
        context: Tree = "context",
        local_variables: Pairs = "local_variables",
    }
}

impl WireCause {
    fn into_exception(self, root: Option<&str>) -> Exception {
        let stack = self.backtrace.0.filter_map(|frame| frame.into_frame(root)).reversed();
        stack.into_exception(self.kind.filled(), self.message.0)
    }
}

impl WireFrame {
    /// `None`: it tells nothing.
    fn into_frame(self, root: Option<&str>) -> Option<Frame> {
        let mut frame = Frame {
            file: lenient::rooted(self.file.0.unwrap_or_default(), ROOT, root),
            line: self.number.line(),
            column: self.column.line(),
            function: self.method.filled(),
            ..Frame::default()
        };
        self.source.place(&mut frame);
        (!frame.file.is_empty() || frame.function.is_some()).then_some(frame)
    }
}

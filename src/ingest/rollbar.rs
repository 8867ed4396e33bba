//! Rollbar items: `POST /api/1/item/`.
//!
//! An item names the exception that was thrown first and its causes after it, which is turned around here;
//! the frames of each stand caller first already.

use std::borrow::Cow;

use serde_json::Value;

use super::error::{DecodeError, DecodeErrorKind};
use super::lenient::{self, List, Number, Pairs, Text, Tree, When, wire};
use super::limits::{MOST_EXCEPTIONS_HALF, MOST_FRAMES_HALF};
use super::text;
use crate::report::{Exception, Frame, Report};

/// The name of this decoder in [`Report::protocol`].
const PROTOCOL: &str = "rollbar";
/// Source lines before or after a frame's own that are read, from each end.
const MOST_LINES_HALF: usize = 50;

/// The key in an item, for clients that send no `X-Rollbar-Access-Token`.
#[must_use]
pub fn access_token(bytes: &[u8]) -> Option<String> {
    lenient::parse::<WireToken>(&payload(bytes)).ok()?.access_token.filled()
}

/// Reads an item: JSON, or a form with the JSON in its field `payload`.
///
/// # Errors
/// If it is not a JSON object with a trace, a message or a crash report in it.
pub fn decode(bytes: &[u8]) -> Result<Report, DecodeError> {
    let data = lenient::parse::<WireItem>(&payload(bytes))?.data;
    let body = data.body;
    let mut exceptions: Vec<Exception> = body
        .trace_chain
        .0
        .reversed()
        .into_vec()
        .into_iter()
        .chain([body.trace])
        .map(WireTrace::into_exception)
        .filter(|exception| *exception != Exception::default())
        .collect();
    if exceptions.is_empty()
        && let Some(raw) = body.crash_report.raw.0
    {
        exceptions = text::exceptions_of(&raw);
    }
    if exceptions.is_empty()
        && let Some(message) = body.message.body.filled()
    {
        exceptions.push(Exception { message: Some(message), ..Exception::default() });
    }
    if exceptions.is_empty() {
        let reason =
            "the item has neither `trace`, `trace_chain`, `crash_report` nor `message` in its `data.body`";
        return Err(DecodeError::whole(DecodeErrorKind::Unexpected, reason));
    }
    let mut context = serde_json::Map::new();
    for (name, value) in [
        ("request", data.request.filled()),
        ("person", data.person.filled()),
        ("custom", data.custom.filled()),
        ("context", data.context.filled().map(Value::from)),
        ("level", data.level.filled().map(Value::from)),
        ("branch", data.server.branch.filled().map(Value::from)),
    ] {
        if let Some(value) = value {
            context.insert(name.to_owned(), value);
        }
    }
    let report = Report {
        client_id: data.uuid.filled(),
        exceptions,
        hostname: data.server.host.filled(),
        revision: data.server.sha.filled(),
        release: data.code_version.filled().or(data.server.code_version.filled()),
        environment: data.environment.filled(),
        count: 1,
        additional_info: data.title.filled(),
        context,
        occurred_at: data.timestamp.0,
        protocol: PROTOCOL.to_owned(),
        ..Report::default()
    };
    Ok(report.hushed())
}

/// The JSON of a body, taken out of a form if it is in one.
fn payload(bytes: &[u8]) -> Cow<'_, [u8]> {
    let is_json = bytes.trim_ascii_start().first().is_none_or(|&first| first == b'{');
    let field = if is_json {
        None
    } else {
        bytes.split(|&byte| byte == b'&').find_map(|field| field.strip_prefix(b"payload="))
    };
    let Some(form) = field else { return Cow::Borrowed(bytes) };
    let mut out = Vec::with_capacity(form.len());
    let mut rest = form.iter();
    while let Some(&byte) = rest.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digits =
                    std::str::from_utf8(rest.as_slice().get(..2).unwrap_or_default()).unwrap_or_default();
                match u8::from_str_radix(digits, 16) {
                    Ok(byte) => {
                        rest.nth(1);
                        byte
                    }
                    Err(_) => b'%',
                }
            }
            plain => plain,
        });
    }
    Cow::Owned(out)
}

wire! {
    struct WireToken {
        access_token: Text = "access_token",
    }

    struct WireItem {
        data: WireData = "data",
    }

    struct WireData {
        body: WireBody = "body",
        uuid: Text = "uuid",
        timestamp: When = "timestamp",
        environment: Text = "environment",
        level: Text = "level",
        title: Text = "title",
        context: Text = "context",
        code_version: Text = "code_version",
        server: WireServer = "server",
        request: Tree = "request",
        person: Tree = "person",
        custom: Tree = "custom",
    }

    struct WireServer {
        host: Text = "host",
        branch: Text = "branch",
        code_version: Text = "code_version",
        sha: Text = "sha",
    }

    struct WireBody {
        trace: WireTrace = "trace",
        trace_chain: List<WireTrace, MOST_EXCEPTIONS_HALF> = "trace_chain",
        message: WireMessage = "message",
        crash_report: WireCrash = "crash_report",
    }

    struct WireMessage {
        body: Text = "body",
    }

    struct WireCrash {
        raw: Text = "raw",
    }

    struct WireTrace {
        frames: List<WireFrame, MOST_FRAMES_HALF> = "frames",
        exception: WireException = "exception",
    }

    struct WireException {
        class: Text = "class",
        message: Text = "message",
    }

    struct WireFrame {
        filename: Text = "filename",
        lineno: Number = "lineno",
        colno: Number = "colno",
        method: Text = "method",
        code: Text = "code",
        context: WireContext = "context",
        locals: Pairs = "locals",
    }

    struct WireContext {
        pre: List<Text, MOST_LINES_HALF> = "pre",
        post: List<Text, MOST_LINES_HALF> = "post",
    }
}

impl WireTrace {
    fn into_exception(self) -> Exception {
        let stack = self.frames.0.filter_map(WireFrame::into_frame);
        stack.into_exception(self.exception.class.filled(), self.exception.message.0)
    }
}

impl WireFrame {
    /// `None`: it tells nothing.
    fn into_frame(self) -> Option<Frame> {
        let lines = |list: List<Text, MOST_LINES_HALF>| {
            list.0.into_vec().into_iter().filter_map(|text| text.0).collect()
        };
        let frame = Frame {
            file: self.filename.0.unwrap_or_default(),
            line: self.lineno.line(),
            column: self.colno.line(),
            function: self.method.filled(),
            text: self.code.0,
            before: lines(self.context.pre),
            after: lines(self.context.post),
            locals: self.locals.0,
            in_app: None,
        };
        (!frame.file.is_empty() || frame.function.is_some()).then_some(frame)
    }
}

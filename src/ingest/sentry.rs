//! Sentry: envelopes (`/api/{project}/envelope/`) and single events (`/api/{project}/store/`).
//!
//! An envelope is a line of JSON, then items: a line of JSON, a payload, a newline. A payload is as long as its
//! header's `length` says or, without one, ends with the line. Of the many sorts of items only `event` is
//! taken; sessions, transactions, logs and whatever comes next are passed over and are no errors.
//!
//! Frames stand caller first and exceptions root cause first in an event, as they do in a report.
//! Where clients disagree on a shape (`{"values": […]}`, a bare list, one object), each is taken.

use bstr::ByteSlice;
use serde_json::Value;

use super::bytes::base64;
use super::error::{DecodeError, DecodeErrorKind};
use super::frames;
use super::inflate::inflate_zlib;
use super::lenient::{self, Flag, List, Number, Pairs, Text, Tree, When, wire, without_newline};
use super::limits::{MOST_EXCEPTIONS_HALF, MOST_FRAMES_HALF, MOST_REPORTS, Room};
use crate::report::{Exception, Frame, Report};

/// The name of this decoder in [`Report::protocol`].
const PROTOCOL: &str = "sentry";
/// Threads that are looked at, from each end.
const MOST_THREADS_HALF: usize = 50;
/// Source lines before or after a frame's own that are read, from each end.
const MOST_LINES_HALF: usize = 50;
/// Modules whose types are known by their bare name.
const BARE_MODULES: [&str; 4] = ["builtins", "__builtin__", "exceptions", "__main__"];
/// Tags that clients put the commit in.
const COMMIT_TAGS: [&str; 6] = ["commit", "git.commit", "git_commit", "revision", "git.sha", "sha"];

/// What came in one envelope.
#[derive(Debug, Clone, PartialEq)]
pub struct Envelope {
    /// The id in its header, 32 hex digits: what the answer names. `None`: it has none.
    pub event_id: Option<String>,
    /// One for each event; none in an envelope of sessions, transactions and the like.
    pub reports: Vec<Report>,
}

/// Reads an envelope.
///
/// # Errors
/// If its framing or one of its events is broken, with the place.
pub fn decode_envelope(bytes: &[u8]) -> Result<Envelope, DecodeError> {
    let _room = Room::of_body(bytes.len());
    let (header, mut at) = line_at(bytes, 0);
    let header: WireEnvelope = parse_part(bytes, 0, header)?;
    let event_id = header.event_id.0.and_then(|id| normal_id(&id));
    let mut reports = Vec::new();
    while let Some(blank) = bytes[at..].iter().position(|byte| !byte.is_ascii_whitespace()) {
        at += blank;
        let (line, after_line) = line_at(bytes, at);
        let item: WireItem = parse_part(bytes, at, line)?;
        let (payload, next) = match item.length.whole() {
            None => line_at(bytes, after_line),
            Some(length) => payload_at(bytes, after_line, length)?,
        };
        if item.kind.0.as_deref() == Some("event") {
            if reports.len() == MOST_REPORTS {
                return Err(DecodeError::whole(
                    DecodeErrorKind::TooMany,
                    "more events than one body may hold",
                ));
            }
            let event: WireEvent = parse_part(bytes, after_line, payload)?;
            // The header names one event; should there be a second, it has its own name.
            reports.extend(event.into_report(event_id.as_deref().filter(|_| reports.is_empty())));
        }
        at = next;
    }
    Ok(Envelope { event_id, reports })
}

/// Reads the body of a store request: an event, as JSON or as the base64 of JSON or of its zlib stream, which
/// may unpack to `max` bytes. `None`: it is no error but a transaction or the like.
///
/// # Errors
/// If it is none of these, or larger.
pub fn decode_store(bytes: &[u8], max: usize) -> Result<Option<Report>, DecodeError> {
    let bytes = bytes.trim_ascii();
    let unpacked;
    let json = if bytes.first().is_none_or(|&first| first == b'{') {
        bytes
    } else {
        unpacked = unpack_store(bytes, max)?;
        &unpacked
    };
    if !json.trim_ascii_start().starts_with(b"{") {
        return Err(DecodeError::at_text(DecodeErrorKind::Malformed, json, 0, "an event is a JSON object"));
    }
    Ok(lenient::parse::<WireEvent>(json)?.into_report(None))
}

fn unpack_store(bytes: &[u8], max: usize) -> Result<Vec<u8>, DecodeError> {
    let malformed = |reason: String| DecodeError::whole(DecodeErrorKind::Malformed, reason);
    let decoded = base64(bytes).ok_or_else(|| malformed("neither JSON nor base64".to_owned()))?;
    if decoded.starts_with(b"{") {
        return Ok(decoded);
    }
    inflate_zlib(&decoded, max)
        .map_err(|error| malformed(format!("base64 of neither JSON nor a zlib stream: {error}")))?
        .ok_or_else(|| malformed(format!("unpacks to more than {max} bytes")))
}

/// The line at `at` without its newline, and where the next one begins.
fn line_at(bytes: &[u8], at: usize) -> (&[u8], usize) {
    match bytes[at..].find_byte(b'\n') {
        Some(length) => (&bytes[at..at + length], at + length + 1),
        None => (&bytes[at..], bytes.len()),
    }
}

/// The payload of `length` bytes at `at`, and where the next item begins.
fn payload_at(bytes: &[u8], at: usize, length: u64) -> Result<(&[u8], usize), DecodeError> {
    let malformed = |at, reason| DecodeError::at_text(DecodeErrorKind::Malformed, bytes, at, reason);
    let rest = &bytes[at..];
    let payload = usize::try_from(length).ok().and_then(|length| rest.get(..length)).ok_or_else(|| {
        malformed(at, format!("an item of {length} bytes is announced, but only {} follow", rest.len()))
    })?;
    match rest.get(payload.len()) {
        None | Some(b'\n') => Ok((payload, (at + payload.len() + 1).min(bytes.len()))),
        Some(_) => Err(malformed(at + payload.len(), format!("no newline after an item of {length} bytes"))),
    }
}

/// Parses a part of an envelope; an error is told at its place in the whole.
fn parse_part<T: serde::de::DeserializeOwned>(
    whole: &[u8],
    at: usize,
    part: &[u8],
) -> Result<T, DecodeError> {
    lenient::parse(part).map_err(|error| {
        DecodeError::at_text(error.kind, whole, at + error.offset.unwrap_or(0), error.reason)
    })
}

/// The key that a request came with, from the first of these that has one: the DSN in the header line of the
/// envelope, the query string, the `X-Sentry-Auth` header, the `Authorization` header (`Sentry …`,
/// `Basic …` or `Bearer …`).
#[must_use]
pub fn key_from(
    x_sentry_auth: Option<&str>,
    authorization: Option<&str>,
    query: Option<&str>,
    envelope: Option<&[u8]>,
) -> Option<String> {
    envelope
        .and_then(envelope_key)
        .or_else(|| pair(query?.split('&'), "sentry_key"))
        .or_else(|| auth_key(x_sentry_auth?))
        .or_else(|| auth_key(authorization?))
}

/// The key in the DSN of an envelope's header, `https://KEY@host/42`.
fn envelope_key(bytes: &[u8]) -> Option<String> {
    let (header, _) = line_at(bytes, 0);
    let dsn = lenient::parse::<WireEnvelope>(header).ok()?.dsn.0?;
    let (user, _) = dsn.split_once("://")?.1.split_once('@')?;
    let key = user.split(':').next()?;
    (!key.is_empty()).then(|| key.to_owned())
}

fn auth_key(header: &str) -> Option<String> {
    // Where headers are settings, their blank may stand as in an address.
    let (scheme, rest) = header.trim().split_once(' ').or_else(|| header.trim().split_once("%20"))?;
    let rest = rest.trim();
    match scheme.to_ascii_lowercase().as_str() {
        "sentry" => pair(rest.split(','), "sentry_key"),
        "bearer" => (!rest.is_empty()).then(|| rest.to_owned()),
        "basic" => {
            let decoded = String::from_utf8(base64(rest.as_bytes())?).ok()?;
            decoded.split(':').find(|part| !part.is_empty()).map(str::to_owned)
        }
        _ => None,
    }
}

fn pair<'a>(mut pairs: impl Iterator<Item = &'a str>, wanted: &str) -> Option<String> {
    let (_, value) =
        pairs.find_map(|pair| pair.trim().split_once('=').filter(|(name, _)| *name == wanted))?;
    (!value.is_empty()).then(|| value.to_owned())
}

wire! {
    struct WireEnvelope {
        event_id: Text = "event_id",
        dsn: Text = "dsn",
    }

    struct WireItem {
        kind: Text = "type",
        length: Number = "length",
    }

    struct WireEvent {
        event_id: Text = "event_id",
        kind: Text = "type",
        timestamp: When = "timestamp",
        level: Text = "level",
        logger: Text = "logger",
        transaction: Text = "transaction",
        server_name: Text = "server_name",
        release: Text = "release",
        dist: Text = "dist",
        environment: Text = "environment",
        message: Tree = "message",
        logentry: Tree = "logentry" | "sentry.interfaces.Message",
        exception: List<WireChain, MOST_EXCEPTIONS_HALF> = "exception" | "sentry.interfaces.Exception",
        threads: List<WireThreads, MOST_THREADS_HALF> = "threads",
        stacktrace: WireStack = "stacktrace" | "sentry.interfaces.Stacktrace",
        tags: Tree = "tags",
        extra: Tree = "extra",
        user: Tree = "user" | "sentry.interfaces.User",
        request: Tree = "request" | "sentry.interfaces.Http",
        contexts: Tree = "contexts",
        breadcrumbs: Tree = "breadcrumbs" | "sentry.interfaces.Breadcrumbs",
    }

    // `{"values": […]}`, or one of a bare list.
    struct WireChain {
        values: List<WireException, MOST_EXCEPTIONS_HALF> = "values",
        kind: Text = "type",
        value: Text = "value",
        module: Text = "module",
        stacktrace: WireStack = "stacktrace",
        raw_stacktrace: WireStack = "raw_stacktrace",
    }

    struct WireException {
        kind: Text = "type",
        value: Text = "value",
        module: Text = "module",
        stacktrace: WireStack = "stacktrace",
        raw_stacktrace: WireStack = "raw_stacktrace",
    }

    struct WireThreads {
        values: List<WireThread, MOST_THREADS_HALF> = "values",
        stacktrace: WireStack = "stacktrace",
        crashed: Flag = "crashed",
        current: Flag = "current",
    }

    struct WireThread {
        stacktrace: WireStack = "stacktrace",
        crashed: Flag = "crashed",
        current: Flag = "current",
    }

    struct WireStack {
        frames: List<WireFrame, MOST_FRAMES_HALF> = "frames",
    }

    struct WireFrame {
        abs_path: Text = "abs_path",
        filename: Text = "filename",
        module: Text = "module",
        function: Text = "function",
        lineno: Number = "lineno",
        colno: Number = "colno",
        in_app: Flag = "in_app",
        context_line: Text = "context_line",
        pre_context: List<Text, MOST_LINES_HALF> = "pre_context",
        post_context: List<Text, MOST_LINES_HALF> = "post_context",
        vars: Pairs = "vars",
    }
}

impl WireEvent {
    /// `None`: it is not about an error.
    fn into_report(self, envelope_id: Option<&str>) -> Option<Report> {
        if self.kind.0.is_some_and(|kind| !matches!(kind.as_str(), "event" | "error" | "default" | "")) {
            return None;
        }
        let client_id = envelope_id.map(str::to_owned).or_else(|| normal_id(&self.event_id.0?));
        let message = message_of(&self.logentry.0).or_else(|| message_of(&self.message.0));
        let mut exceptions: Vec<Exception> =
            self.exception.0.into_vec().into_iter().flat_map(WireChain::into_exceptions).collect();
        let mut additional_info = None;
        if exceptions.is_empty() {
            exceptions.push(Exception { message, ..Exception::default() });
        } else {
            additional_info = message.filter(|message| !is_headline(message, exceptions.last()));
        }
        if exceptions.iter().all(|exception| exception.frames.is_empty()) {
            let stack = if self.stacktrace.frames.0.is_empty() {
                thread_stack(self.threads)
            } else {
                self.stacktrace
            };
            let thrown = exceptions.last_mut().expect("there is one, or one was pushed");
            *thrown = stack.into_exception(thrown.kind.take(), thrown.message.take());
        }
        let revision = self
            .dist
            .0
            .filter(|dist| is_commit(dist))
            .or_else(|| {
                COMMIT_TAGS.iter().find_map(|name| tag(&self.tags.0, name)).filter(|tag| is_commit(tag))
            })
            .or_else(|| commit_in(&self.contexts.0));
        let mut context = serde_json::Map::new();
        let mut keep = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                context.insert(name.to_owned(), value);
            }
        };
        keep("request", self.request.filled());
        keep("user", self.user.filled());
        keep("tags", self.tags.filled());
        keep("extra", self.extra.filled());
        keep("contexts", self.contexts.filled());
        keep("timeline", self.breadcrumbs.filled().and_then(timeline));
        keep("transaction", self.transaction.filled().map(Value::from));
        keep("logger", self.logger.filled().map(Value::from));
        keep("level", self.level.filled().map(Value::from));
        let report = Report {
            client_id,
            exceptions,
            hostname: self.server_name.filled(),
            revision,
            release: self.release.filled(),
            environment: self.environment.filled(),
            count: 1,
            additional_info,
            context,
            occurred_at: self.timestamp.0,
            protocol: PROTOCOL.to_owned(),
            ..Report::default()
        };
        Some(report.hushed())
    }
}

/// What happened before, oldest first: a list, or one within `{"values": …}`.
fn timeline(breadcrumbs: Value) -> Option<Value> {
    let list = match breadcrumbs {
        Value::Object(mut members) => members.remove("values")?,
        list => list,
    };
    list.as_array().is_some_and(|list| !list.is_empty()).then_some(list)
}

impl WireChain {
    fn into_exceptions(self) -> Vec<Exception> {
        if !self.values.0.is_empty() {
            return self.values.0.into_vec().into_iter().map(WireException::into_exception).collect();
        }
        let Self { values: _, kind, value, module, stacktrace, raw_stacktrace } = self;
        let own = WireException { kind, value, module, stacktrace, raw_stacktrace }.into_exception();
        // What remains of `{"values": []}` is no exception.
        if own == Exception::default() { Vec::new() } else { vec![own] }
    }
}

impl WireException {
    fn into_exception(self) -> Exception {
        let kind = match (self.module.filled(), self.kind.filled()) {
            (Some(module), Some(kind)) if !BARE_MODULES.contains(&module.as_str()) => {
                Some(format!("{module}.{kind}"))
            }
            (_, kind) => kind,
        };
        let stack = if self.stacktrace.frames.0.is_empty() { self.raw_stacktrace } else { self.stacktrace };
        stack.into_exception(kind, self.value.0)
    }
}

impl WireStack {
    fn into_exception(self, kind: Option<String>, message: Option<String>) -> Exception {
        self.frames.0.filter_map(WireFrame::into_frame).into_exception(kind, message)
    }
}

impl WireFrame {
    /// `None`: it tells nothing.
    fn into_frame(self) -> Option<Frame> {
        let (filename, abs_path) = (self.filename.filled(), self.abs_path.filled());
        let file = match (filename, abs_path) {
            // `<frozen importlib._bootstrap>` comes with the working directory in front.
            (Some(filename), _) if filename.starts_with('<') => filename,
            (_, Some(abs_path)) => abs_path,
            (Some(filename), None) => filename,
            (None, None) => String::new(),
        };
        // Java's clients name the class apart, and the file without its folders.
        let class = self.module.0.as_deref().unwrap_or_default();
        let file = frames::jvm_file(class, &file).unwrap_or(file);
        let function = self.function.filled().filter(|function| function != "?");
        if file.is_empty() && function.is_none() && self.module.0.is_none() {
            return None;
        }
        let lines = |list: List<Text, MOST_LINES_HALF>| {
            list.0.into_vec().into_iter().filter_map(|text| text.0.map(without_newline)).collect()
        };
        Some(Frame {
            file,
            line: self.lineno.line(),
            column: self.colno.line(),
            function,
            text: self.context_line.0.map(without_newline),
            before: lines(self.pre_context),
            after: lines(self.post_context),
            locals: self.vars.0,
            in_app: self.in_app.0,
        })
    }
}

/// The stack of the thread that crashed, else of the current one, else of the only one that has a stack.
fn thread_stack(threads: List<WireThreads, MOST_THREADS_HALF>) -> WireStack {
    let mut threads: Vec<WireThread> = threads
        .0
        .into_vec()
        .into_iter()
        .flat_map(|WireThreads { values, stacktrace, crashed, current }| {
            let mut threads = values.0.into_vec();
            threads.push(WireThread { stacktrace, crashed, current });
            threads
        })
        .filter(|thread| !thread.stacktrace.frames.0.is_empty())
        .collect();
    let chosen = threads
        .iter()
        .position(|thread| thread.crashed.0 == Some(true))
        .or_else(|| threads.iter().position(|thread| thread.current.0 == Some(true)))
        .or_else(|| (threads.len() == 1).then_some(0));
    chosen.map_or_else(WireStack::default, |index| threads.swap_remove(index).stacktrace)
}

/// The message in its final form: a text, or the object that logging integrations send.
fn message_of(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Object(members) => {
            let filled = |name| members.get(name)?.as_str().filter(|text: &&str| !text.is_empty());
            match (filled("formatted"), filled("message"), members.get("params")) {
                (Some(formatted), ..) => formatted.to_owned(),
                (None, Some(template), Some(Value::Array(params))) => with_params(template, params),
                (None, template, _) => template?.to_owned(),
            }
        }
        _ => return None,
    };
    (!text.trim().is_empty()).then_some(text)
}

/// `no %s in %s` with its parameters in their places.
fn with_params(template: &str, params: &[Value]) -> String {
    let mut out = String::with_capacity(template.len());
    let mut rest = template;
    for param in params {
        let marks = ["%s", "%d", "{}"].iter().filter_map(|mark| rest.split_once(mark));
        let Some((before, behind)) = marks.min_by_key(|(before, _)| before.len()) else { break };
        out.push_str(before);
        out.push_str(&param.as_str().map_or_else(|| param.to_string(), str::to_owned));
        rest = behind;
    }
    out + rest
}

/// Whether a message only repeats the exception, as raven's do.
fn is_headline(message: &str, thrown: Option<&Exception>) -> bool {
    thrown.is_some_and(|thrown| {
        let value = thrown.message.as_deref().unwrap_or_default();
        message == value || message.strip_suffix(value).is_some_and(|kind| kind.ends_with(": "))
    })
}

/// A tag by its name, in either form.
fn tag(tags: &Value, name: &str) -> Option<String> {
    let value = match tags {
        Value::Object(members) => members.get(name)?,
        Value::Array(pairs) => {
            pairs.iter().find(|pair| pair.get(0).is_some_and(|tag| tag == name))?.get(1)?
        }
        _ => return None,
    };
    value.as_str().map(str::to_owned)
}

/// The commit that a context tells: `{"app": {"git_commit": "…"}}`, `{"git": {"sha": "…"}}`.
fn commit_in(contexts: &Value) -> Option<String> {
    let contexts = contexts.as_object()?.values();
    let told =
        contexts.flat_map(|context| COMMIT_TAGS.iter().filter_map(|name| context.get(*name)?.as_str()));
    told.map(str::to_owned).find(|commit| is_commit(commit))
}

/// Whether a text looks like a commit id and not like a build number.
fn is_commit(text: &str) -> bool {
    (7..=40).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && (text.len() == 40 || text.bytes().any(|byte| byte.is_ascii_alphabetic()))
}

/// An event id as 32 hex digits; some clients send it with hyphens. `None`: it is none.
fn normal_id(id: &str) -> Option<String> {
    let digits: String = id.chars().filter(|&c| c != '-').map(|c| c.to_ascii_lowercase()).collect();
    (digits.len() == 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_from_every_place() {
        let check = |auth: Option<&str>,
                     authorization: Option<&str>,
                     query: Option<&str>,
                     body: Option<&[u8]>| { key_from(auth, authorization, query, body) };
        let k = Some("k1".to_owned());
        assert_eq!(check(Some("Sentry sentry_key=k1, sentry_version=7"), None, None, None), k);
        assert_eq!(check(Some("sentry sentry_version=7,sentry_client=x,sentry_key=k1"), None, None, None), k);
        assert_eq!(check(None, None, Some("sentry_version=7&sentry_key=k1"), None), k);
        assert_eq!(check(None, Some("Basic azE6"), None, None), k);
        assert_eq!(check(None, Some("Bearer k1"), None, None), k);
        assert_eq!(check(None, Some("Bearer%20k1"), None, None), k);
        assert_eq!(check(None, Some("Sentry sentry_key=k1"), None, None), k);
        let envelope = b"{\"dsn\":\"https://k1:secret@h/prefix/42\"}\n{}".as_slice();
        assert_eq!(check(Some("Sentry sentry_key=k2"), None, Some("sentry_key=k3"), Some(envelope)), k);
        assert_eq!(check(Some("nonsense"), Some("Basic !!"), Some("a=b"), Some(b"\xff")), None);
        assert_eq!(check(Some("Sentry sentry_key="), None, Some("sentry_key="), None), None);
    }

    #[test]
    fn framing() {
        let events = |body: &str| decode_envelope(body.as_bytes()).map(|envelope| envelope.reports.len());
        let event = r#"{"message":"m"}"#;
        assert_eq!(events("{}"), Ok(0));
        assert_eq!(events("{}\n\n\n"), Ok(0));
        assert_eq!(events(&format!("{{}}\n{{\"type\":\"event\"}}\n{event}")), Ok(1));
        assert_eq!(events(&format!("{{}}\n{{\"type\":\"event\",\"length\":15}}\n{event}")), Ok(1));
        assert_eq!(
            events(&format!(
                "{{}}\n{{\"type\":\"event\"}}\r\n{event}\r\n\r\n{{\"type\":\"event\"}}\n{event}\n"
            )),
            Ok(2)
        );
        assert_eq!(
            events(&format!(
                "{{}}\n{{\"type\":\"x\",\"length\":3}}\n\n\n\n\n{{\"type\":\"event\"}}\n{event}"
            )),
            Ok(1)
        );
        assert_eq!(events("{}\n{\"type\":\"event\"}\n{\"type\":\"transaction\"}"), Ok(0));
        assert_eq!(events("{}\n{\"type\":\"session\",\"length\":0}"), Ok(0));
        let error = events(&format!("{{}}\n{{\"type\":\"event\",\"length\":16}}\n{event}")).unwrap_err();
        assert_eq!((error.line, error.column), (Some(3), Some(1)));
        assert!(events(&format!("{{}}\n{{\"type\":\"event\",\"length\":14}}\n{event}")).is_err());
        let error = events("{}\n{\"type\":\"event\"}\n{\"message\":}").unwrap_err();
        assert_eq!((error.line, error.column), (Some(3), Some(12)));
        assert!(events("").is_err());
    }

    #[test]
    fn a_second_event_has_its_own_name() {
        let id = |digit: &str| digit.repeat(32);
        let event = |digit: &str| {
            format!("{{\"type\":\"event\"}}\n{{\"event_id\":\"{}\",\"message\":\"m\"}}\n", id(digit))
        };
        let body = format!("{{\"event_id\":\"{}\"}}\n{}{}", id("a"), event("b"), event("c"));
        let envelope = decode_envelope(body.as_bytes()).unwrap();
        let ids: Vec<_> = envelope.reports.iter().map(|report| report.client_id.clone().unwrap()).collect();
        assert_eq!(ids, [id("a"), id("c")]);
    }

    #[test]
    fn commits_are_found_where_clients_put_them() {
        let check = |event: &str, expected: Option<&str>| {
            let report = decode_store(event.as_bytes(), 1_000).unwrap().unwrap();
            assert_eq!(report.revision.as_deref(), expected, "{event}");
        };
        check(r#"{"dist":"adeb79c","release":"1.4"}"#, Some("adeb79c"));
        check(r#"{"dist":"42","tags":[["commit","adeb79c"]]}"#, Some("adeb79c"));
        check(r#"{"tags":{"git_commit":"adeb79c"}}"#, Some("adeb79c"));
        check(r#"{"contexts":{"os":{"version":"6.1\n"},"app":{"commit":"adeb79c"}}}"#, Some("adeb79c"));
        check(r#"{"contexts":{"app":{"commit":"1234567"},"os":"x"},"tags":"x"}"#, None);
    }

    #[test]
    fn a_class_of_the_jvm_tells_the_folders_of_its_file() {
        let file = |frame: &str| {
            let event = format!(r#"{{"exception":{{"type":"E","stacktrace":{{"frames":[{frame}]}}}}}}"#);
            decode_store(event.as_bytes(), 1_000).unwrap().unwrap().exceptions[0].frames[0].file.clone()
        };
        let java = r#"{"module":"com.ex.Cart$Line","filename":"Cart.java","function":"sum","lineno":4}"#;
        assert_eq!(file(java), "com/ex/Cart.java");
        assert_eq!(file(r#"{"module":"Cart","filename":"Cart.kt"}"#), "Cart.kt");
        assert_eq!(file(r#"{"module":"shop.cart","filename":"shop/cart.py"}"#), "shop/cart.py");
    }

    #[test]
    fn odd_shapes_of_events() {
        let check = |event: &str, expected: &[(&str, usize)]| {
            let report = decode_store(event.as_bytes(), 1_000).unwrap().unwrap();
            let found: Vec<(String, usize)> =
                report.exceptions.iter().map(|e| (e.summary(), e.frames.len())).collect();
            let expected: Vec<(String, usize)> = expected.iter().map(|&(s, n)| (s.to_owned(), n)).collect();
            assert_eq!(found, expected, "{event}");
        };
        let stack = r#""stacktrace":{"frames":[null,{"filename":"a"},{}]}"#;
        check(&format!(r#"{{"exception":{{"values":[null,{{"type":"A",{stack}}}]}}}}"#), &[("A", 1)]);
        check(&format!(r#"{{"exception":[{{"type":"A"}},{{"type":"B",{stack}}}]}}"#), &[("A", 0), ("B", 1)]);
        check(r#"{"exception":{"type":"A","value":1,"module":"m"}}"#, &[("m.A: 1", 0)]);
        check(&format!(r#"{{"message":"m",{stack}}}"#), &[("m", 1)]);
        check(
            &format!(r#"{{"message":{{"message":"%s","formatted":"m"}},"threads":[{{{stack}}}]}}"#),
            &[("m", 1)],
        );
        check(
            &format!(
                r#"{{"exception":[{{"type":"A","stacktrace":null}}],"threads":{{"values":[{{"crashed":true,{stack}}},{{{stack}}}]}}}}"#
            ),
            &[("A", 1)],
        );
        check(r#"{"exception":{"values":[]},"logentry":{"message":"m"}}"#, &[("m", 0)]);
        check(
            r#"{"logentry":{"message":"no %s in %d","params":["a",3,"x"],"formatted":""}}"#,
            &[("no a in 3", 0)],
        );
        check("{}", &[("error", 0)]);
        assert!(decode_store(b"[]", 1_000).is_err() && decode_store(b"", 1_000).is_err());
        assert_eq!(decode_store(b"eyJtZXNzYWdlIjoibSJ9", 99).unwrap().unwrap().exceptions[0].summary(), "m");
    }
}

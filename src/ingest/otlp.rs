//! OpenTelemetry's OTLP over HTTP: `/v1/traces` and `/v1/logs`, as protobuf or as JSON. Metrics are taken and let go.
//!
//! An error is an event named `exception` of a span, or a log record with `exception.*` attributes; anything
//! else in a body is passed over. The stack is a text in the form of its own language. The same error often
//! comes several times, from each span that it passes and as a log record: all of one trace with the same type,
//! message and raising line get the same [`Report::client_id`], and so count once.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::de::{Deserialize, Deserializer, SeqAccess, Visitor};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::bytes::Cursor;
use super::error::{DecodeError, DecodeErrorKind};
use super::lenient::{self, List, Shown, Text, otherwise_default, wire};
use super::limits::{MOST_REPORTS, Room};
use super::text;
use crate::report::{Exception, Frame, Report};

/// The name of this decoder in [`Report::protocol`].
const PROTOCOL: &str = "otlp";
/// Attributes of one thing that are kept, from each end.
const MOST_ATTRIBUTES_HALF: usize = 64;
/// Resources that are looked at in one body, from each end.
const MOST_RESOURCES_HALF: usize = 500;
/// Bytes of a span's name and of a resource's labels that each of their errors gets a copy of.
const MOST_COPIED: usize = 1_000;
/// Bytes of an id: OpenTelemetry's have 16 and 8.
const MOST_ID_BYTES: usize = 32;
/// Bytes of copies of resources that the errors of one body get at least; of a larger body as many as it has.
const LEAST_COPIES: usize = 1 << 20;

/// What a body holds; the path tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// `/v1/traces`
    Traces,
    /// `/v1/logs`
    Logs,
    /// `/v1/metrics`: none of them is an error.
    Metrics,
}

/// Reads a protobuf body. Empty: there are no errors among what it holds. What is broken within one of its messages
/// costs what stands behind it there, and no more.
///
/// # Errors
/// If it is not protobuf, or holds too many errors.
pub fn decode_protobuf(bytes: &[u8], signal: Signal) -> Result<Vec<Report>, DecodeError> {
    let _room = Room::of_body(bytes.len());
    let mut reports = Reports::of_body(bytes);
    if signal == Signal::Metrics {
        return Ok(reports.done);
    }
    let mut fields = Fields(Cursor::new(bytes));
    while let Some(field) = fields.next_or_broken() {
        if let (1, Wire::Bytes(resource)) = field? {
            let (mut known, mut errors) = (Attributes::default(), Vec::new());
            for field in Fields(resource) {
                match field {
                    (1, Wire::Bytes(resource)) => known = attributes(resource, 1),
                    // The scope's own description is field 1, its spans or records are field 2.
                    (2, Wire::Bytes(scope)) => {
                        for field in Fields(scope) {
                            // One more than allowed is enough to refuse the body.
                            if let (2, Wire::Bytes(item)) = field
                                && errors.len() <= MOST_REPORTS
                            {
                                match signal {
                                    Signal::Traces => span(item, &mut errors),
                                    Signal::Logs => errors.extend(log_record(item)),
                                    Signal::Metrics => {}
                                }
                            }
                        }
                    }
                    _ => {}
                }
            }
            reports.add(&known, errors)?;
        }
    }
    Ok(reports.done)
}

/// Reads a JSON body; which signal it is, its keys tell. Empty: there are no errors among what it holds.
///
/// # Errors
/// If it is not valid JSON, or holds too many errors.
pub fn decode_json(bytes: &[u8]) -> Result<Vec<Report>, DecodeError> {
    let _room = Room::of_body(bytes.len());
    let request: WireRequest = lenient::parse(bytes)?;
    let mut reports = Reports::of_body(bytes);
    for resource in request.spans.0.into_vec() {
        let errors = resource.scopes.0.into_vec().into_iter().flat_map(|scope| scope.spans.0).collect();
        reports.add(&resource.resource.attributes.into_attributes(), errors)?;
    }
    for resource in request.logs.0.into_vec() {
        let errors = resource.scopes.0.into_vec().into_iter().flat_map(|scope| scope.records.0).collect();
        reports.add(&resource.resource.attributes.into_attributes(), errors)?;
    }
    Ok(reports.done)
}

/// Names and values, values of any type as texts.
#[derive(Debug, Default)]
struct Attributes(Vec<(String, String)>);

impl Attributes {
    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// What a report is told of by: a label.
    fn first_of(&self, names: &[&str]) -> Option<String> {
        names.iter().find_map(|name| self.get(name)).map(|label| copied(label).to_owned())
    }

    fn bytes(&self) -> usize {
        self.0.iter().map(|(name, value)| name.len() + value.len()).sum()
    }

    /// Where a record was logged: as good as a stack where there is none.
    fn place(&self) -> Option<Frame> {
        Some(Frame {
            file: self.first_of(&["code.file.path", "code.filepath"])?,
            line: self.first_of(&["code.line.number", "code.lineno"]).and_then(|line| line.parse().ok()),
            function: self.first_of(&["code.function.name", "code.function"]),
            ..Frame::default()
        })
    }
}

/// As much of a text as each error gets a copy of.
fn copied(text: &str) -> &str {
    &text[..text.floor_char_boundary(MOST_COPIED)]
}

/// One error, out of either form of either signal.
#[derive(Debug, Default)]
struct Occurrence {
    attributes: Attributes,
    /// Nanoseconds since 1970; 0: not said.
    time: u64,
    trace_id: String,
    span_id: String,
    /// The span's name, or the log record's message.
    said: Option<String>,
}

/// The reports of a body while it is read. What many errors have in common is copied to each, but never to many times
/// the body.
struct Reports {
    done: Vec<Report>,
    /// Bytes of resources that may still be copied.
    copies: usize,
}

impl Reports {
    fn of_body(bytes: &[u8]) -> Self {
        Self { done: Vec::new(), copies: bytes.len().max(LEAST_COPIES) }
    }

    /// Adds the errors of one resource.
    fn add(&mut self, resource: &Attributes, errors: Vec<Occurrence>) -> Result<(), DecodeError> {
        if self.done.len() + errors.len() > MOST_REPORTS {
            return Err(DecodeError::whole(DecodeErrorKind::TooMany, "more errors than one body may hold"));
        }
        let size = resource.bytes();
        for error in errors {
            let mut report = error.into_report(resource);
            match self.copies.checked_sub(size) {
                Some(left) => {
                    self.copies = left;
                    put_members(&mut report.context, "resource", &resource.0);
                }
                None => report.remarks.push("its resource is that of others of its request".to_owned()),
            }
            self.done.push(report);
        }
        Ok(())
    }
}

/// Puts attributes, if there are any, into a context.
fn put_members(context: &mut Map<String, Value>, name: &str, attributes: &[(String, String)]) {
    let members = attributes.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    if !attributes.is_empty() {
        context.insert(name.to_owned(), Value::Object(members.collect()));
    }
}

impl Occurrence {
    fn is_error(&self) -> bool {
        ["exception.type", "exception.message", "exception.stacktrace"]
            .iter()
            .any(|name| self.attributes.get(name).is_some())
    }

    fn into_report(self, resource: &Attributes) -> Report {
        let Self { attributes, time, trace_id, span_id, said } = self;
        let kind = attributes.get("exception.type").map(str::to_owned);
        let message = attributes.get("exception.message").map(str::to_owned);
        let [trace_id, span_id] = [trace_id, span_id].map(said_id);
        let stack = attributes.get("exception.stacktrace").unwrap_or_default();
        let mut exceptions = text::exceptions_of(&without_message(stack, message.as_deref()));
        let is_understood = !exceptions.is_empty();
        let client_id = (!trace_id.is_empty()).then(|| {
            // The line that raised is the same in each span that the error passes; the callers are not. Loggers
            // name the type without its module.
            let raising = exceptions.last().and_then(|thrown| thrown.frames.last());
            let digest = Sha256::digest(format!(
                "{}\0{}\0{}\0{}",
                kind.as_deref().and_then(|kind| kind.rsplit(['.', ':', '\\']).next()).unwrap_or(""),
                message.as_deref().unwrap_or(""),
                raising.map_or("", |frame| &frame.file),
                raising.and_then(|frame| frame.line).map_or(0, u32::from),
            ));
            format!("{trace_id}-{}", hex(&digest[..8]))
        });
        match exceptions.last_mut() {
            // The attributes name what was thrown exactly; the text has to be guessed from.
            Some(thrown) => {
                thrown.kind = kind.or(thrown.kind.take());
                thrown.message = message.or(thrown.message.take());
            }
            None => {
                let frames = attributes.place().into_iter().collect();
                exceptions.push(Exception { kind, message, frames, ..Exception::default() });
            }
        }
        let mut context = Map::new();
        let mut trace = Map::new();
        for (name, id) in [("trace_id", trace_id), ("span_id", span_id)] {
            if !id.is_empty() {
                trace.insert(name.to_owned(), Value::from(id));
            }
        }
        let is_told = |name: &str| name.starts_with("exception.");
        let is_unread = |name: &str| name == "exception.stacktrace" && !is_understood;
        let others = attributes.0.into_iter().filter(|(name, _)| !is_told(name) || is_unread(name));
        let others: Map<String, Value> = others.map(|(name, value)| (name, Value::from(value))).collect();
        for (name, members) in [("trace", trace), ("attributes", others)] {
            if !members.is_empty() {
                context.insert(name.to_owned(), Value::Object(members));
            }
        }
        Report {
            client_id,
            exceptions,
            hostname: resource.first_of(&["host.name", "k8s.pod.name", "container.id"]),
            revision: resource.first_of(&["vcs.ref.head.revision", "vcs.repository.ref.revision"]),
            release: resource.first_of(&["service.version"]),
            environment: resource.first_of(&["deployment.environment.name", "deployment.environment"]),
            count: 1,
            additional_info: said,
            context,
            occurred_at: (time > 0).then(|| Timestamp::from_nanosecond(i128::from(time)).ok()).flatten(),
            protocol: PROTOCOL.to_owned(),
            ..Report::default()
        }
    }
}

/// An id, unless it is the one that stands for none.
fn said_id(id: String) -> String {
    if id.bytes().all(|digit| digit == b'0') { String::new() } else { id }
}

/// The stack, with no more than the first line of a message that might look like a part of it.
fn without_message<'a>(stack: &'a str, message: Option<&str>) -> Cow<'a, str> {
    match message.and_then(|message| Some((message, message.split_once('\n')?.0))) {
        Some((message, first)) => Cow::Owned(stack.replace(message, first)),
        None => Cow::Borrowed(stack),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// ---- protobuf ----

/// A field's value on the wire.
enum Wire<'a> {
    Number(u64),
    Bytes(Cursor<'a>),
}

/// The fields of a message, with their numbers, up to one that is broken: nothing behind it can be read.
struct Fields<'a>(Cursor<'a>);

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, Wire<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.next_or_broken()?.ok()
    }
}

impl<'a> Fields<'a> {
    fn next_or_broken(&mut self) -> Option<Result<(u64, Wire<'a>), DecodeError>> {
        if self.0.is_at_end() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = Cursor::new(&[]);
        }
        Some(field)
    }

    fn field(&mut self) -> Result<(u64, Wire<'a>), DecodeError> {
        let key = varint(&mut self.0)?;
        let value = match key & 7 {
            0 => Wire::Number(varint(&mut self.0)?),
            1 => Wire::Number(u64::from_le_bytes(self.0.array()?)),
            2 => {
                let length = varint(&mut self.0)?;
                let length =
                    usize::try_from(length).map_err(|_| self.0.malformed("a length beyond all bounds"))?;
                Wire::Bytes(self.0.part(length)?)
            }
            5 => Wire::Number(u64::from(u32::from_le_bytes(self.0.array()?))),
            kind => return Err(self.0.malformed(format!("no such protobuf wire type: {kind}"))),
        };
        Ok((key >> 3, value))
    }
}

fn varint(cursor: &mut Cursor) -> Result<u64, DecodeError> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let byte = cursor.byte()?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(cursor.malformed("a number of more than 64 bits"))
}

fn bytes(mut cursor: Cursor<'_>) -> &[u8] {
    cursor.take(cursor.left()).unwrap_or_default()
}

fn text_of(cursor: Cursor) -> String {
    String::from_utf8_lossy(bytes(cursor)).into_owned()
}

/// An id in hexadecimal digits.
fn id_of(cursor: Cursor) -> String {
    let id = bytes(cursor);
    hex(&id[..id.len().min(MOST_ID_BYTES)])
}

/// The same of JSON, where it is written in such digits.
fn written_id(id: &Text) -> String {
    let id = id.0.as_deref().unwrap_or_default();
    id[..id.floor_char_boundary(2 * MOST_ID_BYTES)].to_ascii_lowercase()
}

/// The attributes in a message that has them in field `number`.
fn attributes(message: Cursor, number: u64) -> Attributes {
    let mut attributes = Attributes::default();
    for field in Fields(message) {
        match field {
            (found, Wire::Bytes(pair)) if found == number => add_attribute(&mut attributes, pair),
            _ => {}
        }
    }
    attributes
}

fn add_attribute(attributes: &mut Attributes, pair: Cursor) {
    let (mut name, mut value) = (String::new(), String::new());
    for field in Fields(pair) {
        match field {
            (1, Wire::Bytes(key)) => name = text_of(key),
            (2, Wire::Bytes(any)) => value = any_value(any),
            _ => {}
        }
    }
    if attributes.0.len() < 2 * MOST_ATTRIBUTES_HALF {
        attributes.0.push((name, value));
    }
}

/// A value as a text. Lists and maps are told by what they are, for they never say anything of an error.
fn any_value(any: Cursor) -> String {
    let mut value = String::new();
    for field in Fields(any) {
        value = match field {
            (1, Wire::Bytes(text)) => text_of(text),
            (2, Wire::Number(flag)) => (flag != 0).to_string(),
            (3, Wire::Number(number)) => number.cast_signed().to_string(),
            (4, Wire::Number(bits)) => f64::from_bits(bits).to_string(),
            (5, Wire::Bytes(list)) => {
                let mut shown = Vec::new();
                for element in Fields(list).take(MOST_ATTRIBUTES_HALF) {
                    if let (1, Wire::Bytes(element)) = element {
                        shown.push(scalar(element));
                    }
                }
                format!("[{}]", shown.join(", "))
            }
            (6, Wire::Bytes(_)) => "{…}".to_owned(),
            (7, Wire::Bytes(binary)) => hex(&bytes(binary)[..binary.left().min(64)]),
            _ => continue,
        };
    }
    value
}

/// An element of a list as a text.
fn scalar(any: Cursor) -> String {
    match Fields(any).next() {
        Some((1, Wire::Bytes(text))) => text_of(text),
        Some((2, Wire::Number(flag))) => (flag != 0).to_string(),
        Some((3, Wire::Number(number))) => number.cast_signed().to_string(),
        Some((4, Wire::Number(bits))) => f64::from_bits(bits).to_string(),
        _ => "…".to_owned(),
    }
}

fn span(message: Cursor, errors: &mut Vec<Occurrence>) {
    let (mut trace_id, mut span_id, mut name) = (String::new(), String::new(), None);
    let from = errors.len();
    for field in Fields(message) {
        match field {
            (1, Wire::Bytes(id)) => trace_id = id_of(id),
            (2, Wire::Bytes(id)) => span_id = id_of(id),
            (5, Wire::Bytes(text)) => name = Some(copied(&text_of(text)).to_owned()),
            // One more than allowed is enough to refuse the body.
            (11, Wire::Bytes(event)) if errors.len() <= MOST_REPORTS => errors.extend(span_event(event)),
            _ => {}
        }
    }
    // The span's own fields may stand behind its events.
    for error in &mut errors[from..] {
        (error.trace_id, error.span_id, error.said) = (trace_id.clone(), span_id.clone(), name.clone());
    }
}

/// `None`: the event is not an exception.
fn span_event(message: Cursor) -> Option<Occurrence> {
    let mut error = Occurrence::default();
    let mut is_exception = false;
    for field in Fields(message) {
        match field {
            (1, Wire::Number(time)) => error.time = time,
            (2, Wire::Bytes(name)) => is_exception = bytes(name) == b"exception",
            (3, Wire::Bytes(pair)) => add_attribute(&mut error.attributes, pair),
            _ => {}
        }
    }
    (is_exception && error.is_error()).then_some(error)
}

/// `None`: the record has no exception.
fn log_record(message: Cursor) -> Option<Occurrence> {
    let mut error = Occurrence::default();
    for field in Fields(message) {
        match field {
            (1 | 11, Wire::Number(time)) if error.time == 0 => error.time = time,
            (5, Wire::Bytes(body)) => error.said = Some(any_value(body)).filter(|said| !said.is_empty()),
            (6, Wire::Bytes(pair)) => add_attribute(&mut error.attributes, pair),
            (9, Wire::Bytes(id)) => error.trace_id = id_of(id),
            (10, Wire::Bytes(id)) => error.span_id = id_of(id),
            _ => {}
        }
    }
    error.is_error().then_some(error)
}

// ---- JSON ----

wire! {
    struct WireRequest {
        spans: List<WireResourceSpans, MOST_RESOURCES_HALF> = "resourceSpans" | "resource_spans",
        logs: List<WireResourceLogs, MOST_RESOURCES_HALF> = "resourceLogs" | "resource_logs",
    }

    struct WireResourceSpans {
        resource: WireResource = "resource",
        scopes: List<WireScopeSpans, MOST_RESOURCES_HALF> = "scopeSpans" | "scope_spans",
    }

    struct WireResourceLogs {
        resource: WireResource = "resource",
        scopes: List<WireScopeLogs, MOST_RESOURCES_HALF> = "scopeLogs" | "scope_logs",
    }

    struct WireResource {
        attributes: WireAttributes = "attributes",
    }

    struct WireScopeSpans {
        spans: Errors<WireSpan> = "spans",
    }

    struct WireScopeLogs {
        records: Errors<WireLogRecord> = "logRecords" | "log_records",
    }

    struct WireSpan {
        trace_id: Text = "traceId" | "trace_id",
        span_id: Text = "spanId" | "span_id",
        name: Text = "name",
        events: Errors<WireEvent> = "events",
    }

    struct WireEvent {
        name: Text = "name",
        time: Text = "timeUnixNano" | "time_unix_nano",
        attributes: WireAttributes = "attributes",
    }

    struct WireLogRecord {
        time: Text = "timeUnixNano" | "time_unix_nano",
        observed: Text = "observedTimeUnixNano" | "observed_time_unix_nano",
        body: WireAny = "body",
        attributes: WireAttributes = "attributes",
        trace_id: Text = "traceId" | "trace_id",
        span_id: Text = "spanId" | "span_id",
    }

    struct WirePair {
        key: Text = "key",
        value: WireAny = "value",
    }

    struct WireAny {
        string: Text = "stringValue" | "string_value",
        flag: Text = "boolValue" | "bool_value",
        integer: Text = "intValue" | "int_value",
        double: Text = "doubleValue" | "double_value",
        list: Shown = "arrayValue" | "array_value",
        map: Shown = "kvlistValue" | "kvlist_value",
    }
}

/// The errors among the elements of a list; the others are let go at once.
struct Errors<T>(Vec<Occurrence>, std::marker::PhantomData<T>);

impl<T> Default for Errors<T> {
    fn default() -> Self {
        Self(Vec::new(), std::marker::PhantomData)
    }
}

impl<'de, T: Deserialize<'de> + Into<Vec<Occurrence>>> Deserialize<'de> for Errors<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ErrorsVisitor<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de> + Into<Vec<Occurrence>>> Visitor<'de> for ErrorsVisitor<T> {
            type Value = Errors<T>;
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Errors<T>, A::Error> {
                let mut errors = Errors::default();
                while let Some(element) = seq.next_element::<Option<T>>()? {
                    // One more than allowed is enough to refuse the body.
                    if let Some(element) = element
                        && errors.0.len() <= MOST_REPORTS
                    {
                        errors.0.extend(element.into());
                    }
                }
                Ok(errors)
            }
            otherwise_default! { scalars strings map }
        }
        deserializer.deserialize_any(ErrorsVisitor(std::marker::PhantomData))
    }
}

impl From<WireSpan> for Vec<Occurrence> {
    fn from(span: WireSpan) -> Self {
        let mut errors = span.events.0;
        for error in &mut errors {
            error.trace_id = written_id(&span.trace_id);
            error.span_id = written_id(&span.span_id);
            error.said = span.name.0.as_deref().map(|name| copied(name).to_owned());
        }
        errors
    }
}

impl From<WireEvent> for Vec<Occurrence> {
    fn from(event: WireEvent) -> Self {
        let is_exception = event.name.0.as_deref() == Some("exception");
        let (attributes, time) = (event.attributes.into_attributes(), nanoseconds(&event.time));
        let error = Occurrence { attributes, time, ..Occurrence::default() };
        if is_exception && error.is_error() { vec![error] } else { Vec::new() }
    }
}

impl From<WireLogRecord> for Vec<Occurrence> {
    fn from(record: WireLogRecord) -> Self {
        let error = Occurrence {
            time: Some(nanoseconds(&record.time))
                .filter(|&time| time > 0)
                .unwrap_or_else(|| nanoseconds(&record.observed)),
            trace_id: written_id(&record.trace_id),
            span_id: written_id(&record.span_id),
            said: Some(record.body.into_text()).filter(|said| !said.is_empty()),
            attributes: record.attributes.into_attributes(),
        };
        if error.is_error() { vec![error] } else { Vec::new() }
    }
}

/// 64-bit numbers come as texts.
fn nanoseconds(time: &Text) -> u64 {
    time.0.as_deref().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

/// The list of pairs that attributes are on the wire.
#[derive(Default)]
struct WireAttributes(List<WirePair, MOST_ATTRIBUTES_HALF>);

impl<'de> Deserialize<'de> for WireAttributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        List::deserialize(deserializer).map(WireAttributes)
    }
}

impl WireAttributes {
    fn into_attributes(self) -> Attributes {
        let pairs = self.0.0.into_vec().into_iter();
        Attributes(pairs.filter_map(|pair| Some((pair.key.0?, pair.value.into_text()))).collect())
    }
}

impl WireAny {
    fn into_text(self) -> String {
        let simple = self.string.0.or(self.flag.0).or(self.integer.0).or(self.double.0);
        simple.unwrap_or(if self.list.0.is_empty() { self.map.0 } else { self.list.0 })
    }
}

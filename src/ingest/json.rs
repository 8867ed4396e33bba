//! `blamed`'s own JSON: `POST /api/v1/reports`.
//!
//! ```json
//! {"traceback": [{"filename": "shop/cart.py", "line_number": 12, "function_name": "total",
//!                 "text": "return sum(prices)", "frame_locals": {"prices": "None"}}],
//!  "exception_type": "TypeError", "exception_message": "'NoneType' object is not iterable",
//!  "hostname": "web-3", "release": "2026.11", "error_count": 1}
//! ```
//!
//! One such object, or a list of them. The names are those of Flawless's own calls; frames stand caller first.
//! `exceptions`, each with a `traceback`, `exception_type` and `exception_message`, are what led to the
//! object's own exception, root cause first. Further keys: `error_threshold`, `additional_info`, `id`,
//! `revision`, `environment`, `occurred_at`, and `context`, an object that is shown as it is; of a frame:
//! `column`, `context_before`, `context_after`. All are optional, but an object without traceback, type,
//! message and exceptions is none.
//!
//! What reads tracebacks itself and passes them on ([`encode`]) also says `protocol`, the decoder that read it;
//! `remarks`; and of a stack what was left out of its middle, `frames_omitted`, and before which frame,
//! `frames_omitted_at`.

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use serde_json::{Map, Value, json};

use super::error::{DecodeError, DecodeErrorKind};
use super::lenient::{self, List, Number, Pairs, Text, Tree, When, wire, without_newline};
use super::limits::{MOST_EXCEPTIONS_HALF, MOST_FRAMES_HALF, MOST_REPORTS};
use crate::report::{Exception, Frame, Omitted, Report};

/// The name of this decoder in [`Report::protocol`].
const PROTOCOL: &str = "blamed-json";
/// Source lines before or after a frame's own that are read, from each end.
const MOST_LINES_HALF: usize = 50;
/// Remarks that are read, from each end.
const MOST_REMARKS_HALF: usize = 10;
/// Characters of a decoder's name.
const LONGEST_NAME: usize = 40;
/// What a list of too many reports is refused with.
const TOO_MANY: &str = "more reports than one body may hold";

/// Reads one report or a list of them.
///
/// # Errors
/// If it is not JSON, neither an object nor a list, an element is not an object or says nothing of an error:
/// with the place. One field of the wrong type only costs that field.
pub fn decode(bytes: &[u8]) -> Result<Vec<Report>, DecodeError> {
    let Document(reports) = lenient::parse(bytes).map_err(|error| match error {
        error if error.reason == TOO_MANY => DecodeError { kind: DecodeErrorKind::TooMany, ..error },
        error => error,
    })?;
    if reports.is_empty() {
        return Err(DecodeError::whole(DecodeErrorKind::Nothing, "the list of reports is empty"));
    }
    Ok(reports)
}

/// Writes reports as the list that [`decode`] reads. What a client thought of frames being its own
/// ([`Frame::in_app`]) is left out: nobody trusts it.
#[must_use]
pub fn encode(reports: &[Report]) -> Vec<u8> {
    let reports: Value = reports.iter().map(report_object).collect();
    reports.to_string().into_bytes()
}

fn report_object(report: &Report) -> Value {
    let (thrown, others) = match report.exceptions.split_last() {
        Some((thrown, others)) => (exception_object(thrown), others),
        None => (Map::new(), &[][..]),
    };
    let mut object = thrown;
    let exceptions: Vec<Value> = others.iter().map(|other| exception_object(other).into()).collect();
    put(&mut object, "exceptions", (!exceptions.is_empty()).then_some(exceptions));
    put(&mut object, "id", report.client_id.as_deref());
    put(&mut object, "hostname", report.hostname.as_deref());
    put(&mut object, "revision", report.revision.as_deref());
    put(&mut object, "release", report.release.as_deref());
    put(&mut object, "environment", report.environment.as_deref());
    put(&mut object, "error_count", Some(report.count));
    put(&mut object, "error_threshold", report.threshold);
    put(&mut object, "additional_info", report.additional_info.as_deref());
    put(&mut object, "context", (!report.context.is_empty()).then(|| report.context.clone()));
    put(&mut object, "occurred_at", report.occurred_at.map(|time| time.to_string()));
    put(&mut object, "protocol", Some(report.protocol.as_str()));
    put(&mut object, "remarks", (!report.remarks.is_empty()).then(|| report.remarks.clone()));
    object.into()
}

fn exception_object(exception: &Exception) -> Map<String, Value> {
    let mut object = Map::new();
    let frames: Vec<Value> = exception.frames.iter().map(frame_object).collect();
    put(&mut object, "traceback", Some(frames));
    put(&mut object, "exception_type", exception.kind.as_deref());
    put(&mut object, "exception_message", exception.message.as_deref());
    put(&mut object, "frames_omitted", exception.omitted.map(|omitted| omitted.count));
    put(&mut object, "frames_omitted_at", exception.omitted.map(|omitted| omitted.at));
    object
}

fn frame_object(frame: &Frame) -> Value {
    let mut object = Map::new();
    put(&mut object, "filename", Some(frame.file.as_str()));
    put(&mut object, "line_number", frame.line.map(u32::from));
    put(&mut object, "column", frame.column.map(u32::from));
    put(&mut object, "function_name", frame.function.as_deref());
    put(&mut object, "text", frame.text.as_deref());
    put(&mut object, "context_before", (!frame.before.is_empty()).then(|| frame.before.clone()));
    put(&mut object, "context_after", (!frame.after.is_empty()).then(|| frame.after.clone()));
    put(&mut object, "frame_locals", (!frame.locals.is_empty()).then(|| json!(frame.locals)));
    object.into()
}

fn put(object: &mut Map<String, Value>, name: &str, value: Option<impl Into<Value>>) {
    if let Some(value) = value {
        object.insert(name.to_owned(), value.into());
    }
}

/// Whether a text may be the name of a decoder.
fn is_name(text: &str) -> bool {
    text.len() <= LONGEST_NAME && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

struct Document(Vec<Report>);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct DocumentVisitor;
        impl<'de> Visitor<'de> for DocumentVisitor {
            type Value = Document;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object or a list of objects")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Document, A::Error> {
                let Element(report) = Element::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Document(vec![report]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Document, A::Error> {
                let mut reports = Vec::new();
                while let Some(Element(report)) = seq.next_element()? {
                    if reports.len() == MOST_REPORTS {
                        return Err(A::Error::custom(TOO_MANY));
                    }
                    reports.push(report);
                }
                Ok(Document(reports))
            }
        }
        deserializer.deserialize_any(DocumentVisitor)
    }
}

struct Element(Report);

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ElementVisitor;
        impl<'de> Visitor<'de> for ElementVisitor {
            type Value = Element;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object with a traceback")
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Element, A::Error> {
                let wire = WireReport::deserialize(MapAccessDeserializer::new(map))?;
                wire.into_report().map(Element).ok_or_else(|| {
                    A::Error::custom(
                        "the object has neither traceback, exception_type, exception_message nor exceptions",
                    )
                })
            }
        }
        deserializer.deserialize_any(ElementVisitor)
    }
}

wire! {
    struct WireReport {
        traceback: List<WireFrame, MOST_FRAMES_HALF> = "traceback",
        exception_message: Text = "exception_message",
        exception_type: Text = "exception_type",
        exceptions: List<WireException, MOST_EXCEPTIONS_HALF> = "exceptions",
        hostname: Text = "hostname",
        error_threshold: Number = "error_threshold",
        additional_info: Text = "additional_info",
        error_count: Number = "error_count",
        id: Text = "id",
        revision: Text = "revision",
        release: Text = "release",
        environment: Text = "environment",
        occurred_at: When = "occurred_at",
        context: Tree = "context",
        protocol: Text = "protocol",
        remarks: List<Text, MOST_REMARKS_HALF> = "remarks",
        frames_omitted: Number = "frames_omitted",
        frames_omitted_at: Number = "frames_omitted_at",
    }

    struct WireException {
        traceback: List<WireFrame, MOST_FRAMES_HALF> = "traceback",
        frames_omitted: Number = "frames_omitted",
        frames_omitted_at: Number = "frames_omitted_at",
        exception_message: Text = "exception_message",
        exception_type: Text = "exception_type",
    }

    struct WireFrame {
        filename: Text = "filename",
        line_number: Number = "line_number",
        column: Number = "column",
        function_name: Text = "function_name",
        text: Text = "text",
        context_before: List<Text, MOST_LINES_HALF> = "context_before",
        context_after: List<Text, MOST_LINES_HALF> = "context_after",
        frame_locals: Pairs = "frame_locals",
    }
}

impl WireReport {
    /// `None`: it says nothing of an error.
    fn into_report(self) -> Option<Report> {
        let own = WireException {
            traceback: self.traceback,
            frames_omitted: self.frames_omitted,
            frames_omitted_at: self.frames_omitted_at,
            exception_message: self.exception_message,
            exception_type: self.exception_type,
        };
        let mut exceptions: Vec<Exception> =
            self.exceptions.0.into_vec().into_iter().filter_map(WireException::into_exception).collect();
        exceptions.extend(own.into_exception());
        if exceptions.is_empty() {
            return None;
        }
        let mut remarks: Vec<String> =
            self.remarks.0.into_vec().into_iter().filter_map(Text::filled).collect();
        let count = match self.error_count.0 {
            None => 1,
            Some(_) => self.error_count.whole().filter(|&count| count > 0).unwrap_or_else(|| {
                remarks.push("error_count is no positive number; counted as 1".to_owned());
                1
            }),
        };
        Some(Report {
            client_id: self.id.filled(),
            exceptions,
            hostname: self.hostname.filled(),
            revision: self.revision.filled(),
            release: self.release.filled(),
            environment: self.environment.filled(),
            count,
            threshold: self.error_threshold.whole(),
            additional_info: self.additional_info.filled(),
            context: self.context.into_members(),
            occurred_at: self.occurred_at.0,
            protocol: self.protocol.filled().filter(|name| is_name(name)).unwrap_or(PROTOCOL.to_owned()),
            remarks,
        })
    }
}

impl WireException {
    fn into_exception(self) -> Option<Exception> {
        let (kind, message) = (self.exception_type.filled(), self.exception_message.0);
        if self.traceback.0.is_empty() && kind.is_none() && message.as_deref().is_none_or(str::is_empty) {
            return None;
        }
        let mut exception = self.traceback.0.filter_map(WireFrame::into_frame).into_exception(kind, message);
        if let (None, Some(at), Some(count)) =
            (exception.omitted, self.frames_omitted_at.whole(), self.frames_omitted.whole())
        {
            let (at, count) = (at.try_into().unwrap_or(usize::MAX), count.try_into().unwrap_or(usize::MAX));
            exception.omitted = Some(Omitted { at: at.min(exception.frames.len()), count });
        }
        Some(exception)
    }
}

impl WireFrame {
    /// `None`: not even a file or a function is told.
    fn into_frame(self) -> Option<Frame> {
        let function = self.function_name.filled();
        let file = self.filename.0.unwrap_or_default();
        if file.is_empty() && function.is_none() {
            return None;
        }
        let lines = |list: List<Text, MOST_LINES_HALF>| {
            list.0.into_vec().into_iter().filter_map(|line| line.0).collect()
        };
        Some(Frame {
            file,
            line: self.line_number.line(),
            column: self.column.line(),
            function,
            // Flawless sends the line with its newline.
            text: self.text.0.map(without_newline),
            before: lines(self.context_before),
            after: lines(self.context_after),
            locals: self.frame_locals.0,
            in_app: None,
        })
    }
}

//! OOPS reports (Canonical), as BSON or in the older form of headers and text.
//!
//! `tb_text` holds the frames of the last exception only, caller first, without header or type; these stand
//! in keys of their own. Request variables and the timeline go into the context.

use jiff::Timestamp;
use serde_json::{Map, Value};

use super::bytes::Cursor;
use super::error::{DecodeError, DecodeErrorKind};
use super::lenient;
use super::limits::{MOST_CONTEXT_NODES, MOST_DEPTH};
use super::text;
use crate::report::{Exception, Report};

/// The name of this decoder in [`Report::protocol`].
const PROTOCOL: &str = "oops";
/// Keys that become fields of the report; all others are context.
const OWN_KEYS: [&str; 7] = ["id", "type", "value", "tb_text", "time", "hostname", "revno"];

/// A kind of binary values in BSON.
const OLD_BINARY: u8 = 2;
/// Headers of the older form, and the keys that they are of. A report may lack any of them.
const HEADERS: [(&str, &str); 9] = [
    ("Oops-Id", "id"),
    ("Exception-Type", "type"),
    ("Exception-Value", "value"),
    ("Date", "time"),
    ("Branch", "branch_nick"),
    ("Revision", "revno"),
    ("URL", "url"),
    ("User", "username"),
    ("Oops-Reporter", "reporter"),
];

/// Whether a body begins with a header of the older form.
fn begins_with_header(bytes: &[u8]) -> bool {
    let begins = |name: &str| bytes.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.starts_with(b": "));
    HEADERS.iter().any(|(name, _)| begins(name))
}

/// Reads a report.
///
/// # Errors
/// If it is neither a BSON document nor headers, or says nothing of an error.
pub fn decode(bytes: &[u8]) -> Result<Report, DecodeError> {
    let is_bson =
        bytes.first_chunk().is_some_and(|length| u32::from_le_bytes(*length) as usize == bytes.len());
    let members = if is_bson {
        let mut nodes = MOST_CONTEXT_NODES;
        document(&mut Cursor::new(bytes), 0, &mut nodes)?
    } else if begins_with_header(bytes) {
        from_headers(&String::from_utf8_lossy(bytes))
    } else {
        let reason =
            "neither a BSON document as long as its first 4 bytes say, nor headers that begin with Oops-Id";
        return Err(DecodeError::at_byte(DecodeErrorKind::Malformed, 0, reason));
    };
    into_report(members)
}

fn into_report(mut members: Map<String, Value>) -> Result<Report, DecodeError> {
    let mut take = |name: &str| {
        let value = members.remove(name)?;
        match value {
            Value::String(text) => Some(text).filter(|text| !text.is_empty()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        }
    };
    let [client_id, kind, message, stack, time, hostname, revision] = OWN_KEYS.map(&mut take);
    let mut exceptions = stack.map(|stack| text::exceptions_of(&stack)).unwrap_or_default();
    match exceptions.last_mut() {
        Some(thrown) => (thrown.kind, thrown.message) = (kind, message),
        None if kind.is_some() || message.is_some() => {
            exceptions.push(Exception { kind, message, ..Exception::default() })
        }
        None => {
            let reason = "the report has neither `tb_text` nor `type` nor `value`";
            return Err(DecodeError::whole(DecodeErrorKind::Unexpected, reason));
        }
    }
    members.retain(|_, value| !value.is_null());
    Ok(Report {
        client_id,
        exceptions,
        hostname,
        revision,
        count: 1,
        context: members,
        occurred_at: time.and_then(|time| lenient::moment(&time)),
        protocol: PROTOCOL.to_owned(),
        ..Report::default()
    })
}

/// The members of the BSON document at `cursor`. Beyond `nodes` values or some levels they are passed over.
fn document(cursor: &mut Cursor, depth: usize, nodes: &mut usize) -> Result<Map<String, Value>, DecodeError> {
    let length = u32::from_le_bytes(cursor.array()?) as usize;
    let mut inside = cursor.part(length.saturating_sub(4))?;
    let mut members = Map::new();
    loop {
        let kind = inside.byte()?;
        if kind == 0 {
            return Ok(members);
        }
        let name = String::from_utf8_lossy(inside.until_zero()?).into_owned();
        let value = value(&mut inside, kind, depth, nodes)?;
        if *nodes > 0 {
            *nodes -= 1;
            members.insert(name, value);
        }
    }
}

fn value(cursor: &mut Cursor, kind: u8, depth: usize, nodes: &mut usize) -> Result<Value, DecodeError> {
    let text = |bytes: &[u8]| Value::from(String::from_utf8_lossy(bytes).trim_end_matches('\0'));
    Ok(match kind {
        0x01 => Value::from(f64::from_le_bytes(cursor.array()?)),
        0x02 | 0x0d | 0x0e => {
            let length = u32::from_le_bytes(cursor.array()?) as usize;
            text(cursor.take(length)?)
        }
        0x03 | 0x04 if depth >= MOST_DEPTH => {
            let length = u32::from_le_bytes(cursor.array()?) as usize;
            cursor.take(length.saturating_sub(4))?;
            Value::from("…")
        }
        0x03 => Value::Object(document(cursor, depth + 1, nodes)?),
        0x04 => document(cursor, depth + 1, nodes)?.into_iter().map(|(_, element)| element).collect(),
        // Clients of Python 2 send texts as binary.
        0x05 => {
            let length = u32::from_le_bytes(cursor.array()?) as usize;
            let is_old = cursor.byte()? == OLD_BINARY;
            let bytes = cursor.take(length)?;
            // The old kind has its length within once more.
            text(bytes.get(4..).filter(|_| is_old).unwrap_or(bytes))
        }
        0x07 => Value::from(cursor.take(12)?.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
        0x08 => Value::from(cursor.byte()? != 0),
        0x09 => {
            let milliseconds = i64::from_le_bytes(cursor.array()?);
            Timestamp::from_millisecond(milliseconds)
                .map_or(Value::Null, |time| Value::from(time.to_string()))
        }
        0x06 | 0x0a | 0x7f | 0xff => Value::Null,
        0x0b => {
            let pattern = text(cursor.until_zero()?);
            cursor.until_zero()?;
            pattern
        }
        0x10 => Value::from(i32::from_le_bytes(cursor.array()?)),
        0x11 => Value::from(u64::from_le_bytes(cursor.array()?)),
        0x12 => Value::from(i64::from_le_bytes(cursor.array()?)),
        0x13 => {
            cursor.take(16)?;
            Value::Null
        }
        unknown => return Err(cursor.malformed(format!("no such BSON type: {unknown:#04x}"))),
    })
}

/// The older form: headers, request variables, timeline and frames, a blank line between them.
fn from_headers(text: &str) -> Map<String, Value> {
    let text = text.replace("\r\n", "\n");
    let (headers, rest) = text.split_once("\n\n").unwrap_or((&text, ""));
    let mut members = Map::new();
    for (name, value) in headers.lines().filter_map(|line| line.split_once(": ")) {
        let key = HEADERS.iter().find(|(header, _)| *header == name).map_or(name, |(_, key)| key);
        members.insert(key.to_owned(), Value::from(value));
    }
    // Frames are indented, so the first such line begins them, whatever else is missing.
    let frames = rest.find("  File \"").filter(|&at| at == 0 || rest[..at].ends_with('\n'));
    let (before, frames) = rest.split_at(frames.unwrap_or(rest.len()));
    members.insert("tb_text".to_owned(), Value::from(frames));
    let (variables, timeline) = before.split_once("\n\n").unwrap_or((before, ""));
    let variables: Map<String, Value> = variables
        .lines()
        .filter_map(|line| line.split_once('='))
        .take(MOST_CONTEXT_NODES)
        .map(|(name, value)| (unquoted(name), Value::from(unquoted(value))))
        .collect();
    members.insert("req_vars".to_owned(), Value::Object(variables));
    let timeline: Vec<Value> =
        timeline.lines().filter(|line| !line.is_empty()).take(MOST_CONTEXT_NODES).map(Value::from).collect();
    members.insert("timeline".to_owned(), Value::Array(timeline));
    members
}

/// A text whose `%3D` are undone.
fn unquoted(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    out.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        match part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                out.push(byte);
                out.extend_from_slice(&part.as_bytes()[2..]);
            }
            None => {
                out.push(b'%');
                out.extend_from_slice(part.as_bytes());
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

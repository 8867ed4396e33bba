//! Flawless: calls of Thrift's binary protocol, each in a frame of its own.
//!
//! A connection sends a length (4 bytes, big endian) and so many bytes: a call. Its client waits for the reply.
//! Frames of a traceback stand caller first. They begin with the stack of the moment when the function was
//! *decorated* and with Flawless's own wrapper, which have no part in the error and are cut.

use super::bytes::Cursor;
use super::error::{DecodeError, DecodeErrorKind};
use super::lenient::without_newline;
use super::limits::{MOST_LOCALS, Stack};
use crate::report::{Exception, Frame, Report};

/// The name of this decoder in [`Report::protocol`].
const PROTOCOL: &str = "flawless";
/// Nested values that are passed over at most.
const MOST_DEPTH: usize = 32;
/// The file of the wrapper around every decorated function.
const WRAPPER: &str = "flawless/client/client.py";
/// Thrift's version and kinds of messages.
const VERSION: u32 = 0x8001_0000;
const CALL: u32 = 1;
const REPLY: u32 = 2;
const EXCEPTION: u32 = 3;
/// Thrift's codes for what can be wrong with a call.
const UNKNOWN_METHOD: u32 = 1;
const INTERNAL_ERROR: u32 = 6;
/// Thrift's types on the wire.
const STOP: u8 = 0;
const BOOL: u8 = 2;
const BYTE: u8 = 3;
const DOUBLE: u8 = 4;
const I16: u8 = 6;
const I32: u8 = 8;
const I64: u8 = 10;
const STRING: u8 = 11;
const STRUCT: u8 = 12;
const MAP: u8 = 13;
const SET: u8 = 14;
const LIST: u8 = 15;

/// A call that a client made.
#[derive(Debug, Clone, PartialEq)]
pub struct Call {
    /// The method's name, as the reply repeats it.
    pub name: String,
    /// The call's number, as the reply repeats it.
    pub sequence: i32,
    /// What is asked.
    pub request: Request,
}

/// What a call asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Request {
    /// To record an error.
    RecordError(Box<Report>),
    /// Whether the server is there.
    Ping,
    /// Something that this server does not do.
    Unknown,
}

/// Reads a call, without the length before it.
///
/// # Errors
/// If it is no Thrift call, or its parts reach beyond its end.
pub fn decode(message: &[u8]) -> Result<Call, DecodeError> {
    let mut cursor = Cursor::new(message);
    let (name, sequence) = head(&mut cursor)?;
    let request = match name.as_str() {
        "record_error" => Request::RecordError(Box::new(record_error(&mut cursor)?)),
        "ping" => Request::Ping,
        _ => Request::Unknown,
    };
    Ok(Call { name, sequence, request })
}

/// Whether a document looks like calls of a client, each behind its length, or like one without.
#[must_use]
pub fn is_document(bytes: &[u8]) -> bool {
    let is_call =
        |at: usize| bytes.get(at..at + 4).is_some_and(|word| word == (VERSION | CALL).to_be_bytes());
    is_call(0) || is_call(4)
}

/// The reports in a document: calls one behind the other, each with the length before it that it was sent with, or
/// a single one without. Calls that record nothing are passed over.
///
/// # Errors
/// If one of them is no Thrift call, with its place in the document.
pub fn reports(document: &[u8]) -> Result<Vec<Report>, DecodeError> {
    let mut reports = Vec::new();
    let mut cursor = Cursor::new(document);
    let is_framed = document.first_chunk().is_some_and(|length| {
        let length = u32::from_be_bytes(*length);
        length & 0xffff_0000 != VERSION && length as usize <= document.len() - 4
    });
    while !cursor.is_at_end() {
        let at = document.len() - cursor.left();
        let call = if is_framed {
            let length = size(&mut cursor)?;
            cursor.take(length)?
        } else {
            cursor.take(cursor.left())?
        };
        let call = decode(call).map_err(|error| {
            let at = at + error.offset.unwrap_or(0) + if is_framed { 4 } else { 0 };
            DecodeError { offset: Some(at), ..error }
        })?;
        if let Request::RecordError(report) = call.request {
            reports.push(*report);
        }
    }
    Ok(reports)
}

/// The name and the number of a call.
fn head(cursor: &mut Cursor) -> Result<(String, i32), DecodeError> {
    let first = u32::from_be_bytes(cursor.array()?);
    // Older clients send no version, but the name's length first and the kind behind the name.
    let is_versioned = first & 0xffff_0000 == VERSION;
    let name = if is_versioned { string(cursor)? } else { lossy(cursor.take(first as usize)?) };
    if !is_versioned {
        cursor.byte()?;
    }
    Ok((name, i32::from_be_bytes(cursor.array()?)))
}

/// The reply to a call, with the length before it: that it was done, or that there is no such method.
#[must_use]
pub fn reply(call: &Call) -> Vec<u8> {
    let (kind, result) = match call.request {
        Request::RecordError(_) => (REPLY, vec![STOP]),
        Request::Ping => (REPLY, vec![BOOL, 0, 0, 1, STOP]),
        Request::Unknown => {
            (EXCEPTION, exception(UNKNOWN_METHOD, &format!("no method {:?} here", call.name)))
        }
    };
    message(kind, &call.name, call.sequence, &result)
}

/// The reply to a call that was not done, with the length before it: the client raises it as an error of its
/// own. Where the head of `call` cannot be read, it is taken for the one call that clients make.
#[must_use]
pub fn refusal(call: &[u8], why: &str) -> Vec<u8> {
    let head = head(&mut Cursor::new(call));
    let (name, sequence) = head.unwrap_or_else(|_| ("record_error".to_owned(), 0));
    message(EXCEPTION, &name, sequence, &exception(INTERNAL_ERROR, why))
}

/// Thrift's `TApplicationException`.
fn exception(code: u32, why: &str) -> Vec<u8> {
    let mut result = vec![STRING, 0, 1];
    put_string(&mut result, why);
    result.extend([I32, 0, 2]);
    result.extend(code.to_be_bytes());
    result.push(STOP);
    result
}

/// A message, with the length before it.
fn message(kind: u32, name: &str, sequence: i32, result: &[u8]) -> Vec<u8> {
    let mut message = (VERSION | kind).to_be_bytes().to_vec();
    put_string(&mut message, name);
    message.extend(sequence.to_be_bytes());
    message.extend(result);
    let length = u32::try_from(message.len()).expect("a name is no longer than the call that it came in");
    [&length.to_be_bytes()[..], &message].concat()
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend(
        u32::try_from(text.len()).expect("a name is no longer than the call that it came in").to_be_bytes(),
    );
    out.extend(text.as_bytes());
}

/// The arguments of `record_error`: a struct whose field 1 is the request.
fn record_error(cursor: &mut Cursor) -> Result<Report, DecodeError> {
    let mut report = None;
    fields(cursor, 0, |cursor, id, kind| {
        if (id, kind) != (1, STRUCT) {
            return Ok(false);
        }
        report = Some(request(cursor)?);
        Ok(true)
    })?;
    report.ok_or_else(|| {
        DecodeError::whole(DecodeErrorKind::Unexpected, "record_error was called without a request")
    })
}

fn request(cursor: &mut Cursor) -> Result<Report, DecodeError> {
    let mut report = Report { count: 1, protocol: PROTOCOL.to_owned(), ..Report::default() };
    let (mut kind, mut message, mut stack) = (None, None, Stack::default());
    fields(cursor, 1, |cursor, id, wire| {
        match (id, wire) {
            (1, LIST) => {
                let (element, count) = (cursor.byte()?, size(cursor)?);
                for _ in 0..count {
                    if element == STRUCT {
                        stack.push(stack_line(cursor)?)
                    } else {
                        skip(cursor, element, 2)?
                    }
                }
            }
            (2, STRING) => message = Some(string(cursor)?),
            (3, STRING) => report.hostname = Some(string(cursor)?),
            (4, I64) => report.threshold = u64::try_from(int64(cursor)?).ok(),
            (5, STRING) => report.additional_info = Some(string(cursor)?).filter(|info| !info.is_empty()),
            (6, I64) => match u64::try_from(int64(cursor)?) {
                Ok(count) if count > 0 => report.count = count,
                _ => report.remarks.push("error_count is no positive number; counted as 1".to_owned()),
            },
            (7, STRING) => kind = Some(string(cursor)?),
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    let kind = kind.map(|kind| {
        let bare = kind.strip_prefix("builtins.").or_else(|| kind.strip_prefix("exceptions."));
        bare.unwrap_or(&kind).to_owned()
    });
    let message = message.map(|message| plain_message(&message, kind.as_deref().unwrap_or_default()));
    let mut exception = stack.into_exception(kind, message);
    cut_wrapper(&mut exception);
    report.exceptions.push(exception);
    Ok(report)
}

fn stack_line(cursor: &mut Cursor) -> Result<Frame, DecodeError> {
    let mut frame = Frame::default();
    fields(cursor, 2, |cursor, id, wire| {
        match (id, wire) {
            (1, STRING) => frame.file = string(cursor)?,
            (2, I64) => frame.line = u32::try_from(int64(cursor)?).ok().and_then(std::num::NonZeroU32::new),
            (3, STRING) => frame.function = Some(string(cursor)?),
            (4, STRING) => frame.text = Some(without_newline(string(cursor)?)),
            (5, MAP) => {
                let (name, value, count) = (cursor.byte()?, cursor.byte()?, size(cursor)?);
                for _ in 0..count {
                    if (name, value) == (STRING, STRING) {
                        let local = (string(cursor)?, string(cursor)?);
                        if frame.locals.len() < MOST_LOCALS {
                            frame.locals.push(local);
                        }
                    } else {
                        skip(cursor, name, 3)?;
                        skip(cursor, value, 3)?;
                    }
                }
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(frame)
}

/// Drops the frames up to and with the last one of the wrapper, unless nothing would be left.
fn cut_wrapper(exception: &mut Exception) {
    let wrapper = exception.frames.iter().rposition(|frame| frame.file.replace('\\', "/").ends_with(WRAPPER));
    if let Some(wrapper) = wrapper.filter(|&wrapper| wrapper + 1 < exception.frames.len()) {
        exception.frames.drain(..=wrapper);
        exception.omitted = exception.omitted.and_then(|mut omitted| {
            omitted.at = omitted.at.checked_sub(wrapper + 1)?;
            Some(omitted)
        });
    }
}

/// The message in `repr` of an exception: `CheckoutError('no such order')` says `no such order`.
fn plain_message(repr: &str, kind: &str) -> String {
    let name = kind.rsplit('.').next().unwrap_or_default();
    let inner = repr
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix('('))
        .and_then(|rest| rest.strip_suffix(')'));
    let Some(inner) = inner else { return repr.to_owned() };
    let inner = inner.strip_suffix(',').unwrap_or(inner);
    let quote = inner.chars().next().filter(|quote| matches!(quote, '\'' | '"'));
    let text = quote.and_then(|quote| {
        inner.strip_prefix(quote)?.strip_suffix(quote).filter(|text| !text.contains([quote, '\\']))
    });
    // Python itself prints a KeyError's key with its quotes.
    text.filter(|_| name != "KeyError").unwrap_or(inner).to_owned()
}

/// Reads a struct: gives each field to `read`, which answers whether it took it, and passes over the others.
fn fields(
    cursor: &mut Cursor,
    depth: usize,
    mut read: impl FnMut(&mut Cursor, i16, u8) -> Result<bool, DecodeError>,
) -> Result<(), DecodeError> {
    loop {
        let kind = cursor.byte()?;
        if kind == STOP {
            return Ok(());
        }
        let id = i16::from_be_bytes(cursor.array()?);
        if !read(cursor, id, kind)? {
            skip(cursor, kind, depth + 1)?;
        }
    }
}

fn skip(cursor: &mut Cursor, kind: u8, depth: usize) -> Result<(), DecodeError> {
    if depth > MOST_DEPTH {
        return Err(cursor.malformed("values are nested too deep"));
    }
    match kind {
        BOOL | BYTE => cursor.take(1).map(drop),
        I16 => cursor.take(2).map(drop),
        I32 => cursor.take(4).map(drop),
        I64 | DOUBLE => cursor.take(8).map(drop),
        STRING => size(cursor).and_then(|length| cursor.take(length)).map(drop),
        STRUCT => fields(cursor, depth, |_, _, _| Ok(false)),
        LIST | SET => {
            let (element, count) = (cursor.byte()?, size(cursor)?);
            (0..count).try_for_each(|_| skip(cursor, element, depth + 1))
        }
        MAP => {
            let (key, value, count) = (cursor.byte()?, cursor.byte()?, size(cursor)?);
            (0..count).try_for_each(|_| {
                skip(cursor, key, depth + 1)?;
                skip(cursor, value, depth + 1)
            })
        }
        unknown => Err(cursor.malformed(format!("no such type: {unknown}"))),
    }
}

/// A length or count, which is never more than the bytes left: each element has at least one.
fn size(cursor: &mut Cursor) -> Result<usize, DecodeError> {
    let size = u32::from_be_bytes(cursor.array()?) as usize;
    if size > cursor.left() {
        return Err(cursor
            .malformed(format!("{size} bytes or elements are announced, {} bytes are left", cursor.left())));
    }
    Ok(size)
}

fn string(cursor: &mut Cursor) -> Result<String, DecodeError> {
    let length = size(cursor)?;
    Ok(lossy(cursor.take(length)?))
}

fn int64(cursor: &mut Cursor) -> Result<i64, DecodeError> {
    Ok(i64::from_be_bytes(cursor.array()?))
}

fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pings_and_unknown_methods_are_answered() {
        let call = |name: &str| {
            [&b"\x80\x01\x00\x01\x00\x00\x00\x04"[..], name.as_bytes(), b"\x00\x00\x00\x07\x00"].concat()
        };
        let ping = decode(&call("ping")).unwrap();
        assert_eq!((&ping.request, ping.sequence), (&Request::Ping, 7));
        assert_eq!(
            reply(&ping),
            b"\x00\x00\x00\x15\x80\x01\x00\x02\x00\x00\x00\x04ping\x00\x00\x00\x07\x02\x00\x00\x01\x00"
        );
        let other = decode(&call("quit")).unwrap();
        assert_eq!(other.request, Request::Unknown);
        assert_eq!(reply(&other)[4..8], [0x80, 0x01, 0x00, 0x03]);
        let refused = refusal(&call("ping"), "not now");
        assert_eq!(refused[4..20], *b"\x80\x01\x00\x03\x00\x00\x00\x04ping\x00\x00\x00\x07");
        assert_eq!(refused[20..], *b"\x0b\x00\x01\x00\x00\x00\x07not now\x08\x00\x02\x00\x00\x00\x06\x00");
        let old = decode(b"\x00\x00\x00\x04ping\x01\x00\x00\x00\x07\x00").unwrap();
        assert_eq!(old, ping);
    }

    #[test]
    fn a_document_holds_calls_with_their_lengths_or_one_without() {
        let call = b"\x80\x01\x00\x01\x00\x00\x00\x0crecord_error\x00\x00\x00\x00\x0c\x00\x01\x0b\x00\x02\x00\x00\x00\x01m\x00\x00";
        let ping = b"\x80\x01\x00\x01\x00\x00\x00\x04ping\x00\x00\x00\x07\x00";
        let framed = |call: &[u8]| [&u32::try_from(call.len()).unwrap().to_be_bytes()[..], call].concat();
        let count = |document: &[u8]| reports(document).map(|reports| reports.len());
        assert_eq!(count(call), Ok(1));
        assert_eq!(count(&framed(call)), Ok(1));
        assert_eq!(count(&[framed(call), framed(ping), framed(call)].concat()), Ok(2));
        assert_eq!(
            reports(&[framed(call), framed(b"?")].concat()).unwrap_err().offset,
            Some(framed(call).len() + 4)
        );
        assert!(count(b"").is_ok_and(|count| count == 0) && count(b"nonsense").is_err());
    }

    #[test]
    fn messages_lose_their_repr() {
        for (repr, kind, message) in [
            ("CheckoutError('no such order')", "shop.errors.CheckoutError", "no such order"),
            ("KeyError('A-1',)", "KeyError", "'A-1'"),
            ("ValueError(\"it's\")", "ValueError", "it's"),
            ("OSError(2, 'none')", "OSError", "2, 'none'"),
            ("ValueError('a\\nb')", "ValueError", "'a\\nb'"),
            ("something else", "ValueError", "something else"),
        ] {
            assert_eq!(plain_message(repr, kind), message);
        }
    }

    #[test]
    fn lengths_beyond_the_end_are_refused() {
        for message in [
            &b""[..],
            b"\x80\x01\x00\x01\xff\xff\xff\xff",
            b"\x80\x01\x00\x01\x00\x00\x00\x0crecord_error\x00\x00\x00\x00\x0c\x00\x01\x0f\x00\x01\x0c\x7f\xff\xff\xff",
        ] {
            assert_eq!(decode(message).unwrap_err().kind, DecodeErrorKind::Malformed);
        }
        let nested = [
            &b"\x80\x01\x00\x01\x00\x00\x00\x0crecord_error\x00\x00\x00\x00"[..],
            &b"\x0c\x00\x09".repeat(100_000),
        ]
        .concat();
        assert!(decode(&nested).unwrap_err().reason.contains("too deep"));
    }
}

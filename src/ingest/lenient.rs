//! JSON from clients that are old, broken or hostile.
//!
//! The shapes that clients send are declared with [`wire!`] and made of the field types of this module.
//! None of these ever refuses a value: one of another type than expected is `None` or empty, a key that
//! stands twice keeps its last value, a key nobody knows is skipped. So only the syntax of a document can
//! fail, and what clients are known to get wrong there is mended first ([`repair`]): lone surrogate
//! escapes, bare `NaN` and `Infinity`, control characters and invalid UTF-8 in strings.
//!
//! Nothing here recurses with the input: values are followed to a fixed depth and skipped below it.

use std::cmp::Ordering;
use std::num::NonZeroU32;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

pub(super) use super::anything::{Shown, Tree};
use super::error::{DecodeError, DecodeErrorKind};
use super::limits::{Ends, MOST_LOCALS, Room};
use crate::report::Frame;

/// Bytes of a name and a value, as they are held.
const PAIR_BYTES: usize = size_of::<(String, String)>();
/// Bytes that a project's directory may have.
const LONGEST_ROOT: usize = 250;

/// Reads one JSON document. What clients are known to get wrong is mended when the document is not valid as
/// it stands; a good one pays nothing for that.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    let _room = Room::of_body(bytes.len());
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    // Checking all of it as UTF-8 at once is quicker than doing so string by string.
    let parsed = match std::str::from_utf8(bytes) {
        Ok(text) => serde_json::from_str(text),
        Err(_) => serde_json::from_slice(bytes),
    };
    let error = match parsed {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    if error.is_data() {
        return Err(explain(bytes, &error, offset_of(bytes, &error)));
    }
    let (repaired, _) = repair(bytes, usize::MAX);
    serde_json::from_slice(&repaired).map_err(|error| {
        let (_, offset) = repair(bytes, offset_of(&repaired, &error));
        explain(bytes, &error, offset)
    })
}

/// `error` in our words, at `offset` of the bytes as the client sent them.
fn explain(bytes: &[u8], error: &serde_json::Error, offset: usize) -> DecodeError {
    let full = error.to_string();
    let reason = full.rsplit_once(" at line ").map_or(full.as_str(), |(reason, _)| reason);
    if error.is_data() {
        DecodeError::at_text(DecodeErrorKind::Unexpected, bytes, offset, reason)
    } else {
        DecodeError::at_text(DecodeErrorKind::Malformed, bytes, offset, format!("not JSON: {reason}"))
    }
}

/// The byte that `error` speaks of: serde_json knows line and column, both 1-based (column 0: before the line).
fn offset_of(bytes: &[u8], error: &serde_json::Error) -> usize {
    let mut line_start = 0;
    for _ in 1..error.line() {
        match bytes[line_start..].iter().position(|&byte| byte == b'\n') {
            Some(newline) => line_start += newline + 1,
            None => break,
        }
    }
    (line_start + error.column().saturating_sub(1)).min(bytes.len())
}

/// Mends what clients get wrong in JSON. Stops once `stop` bytes are written; gives what was written and
/// how many bytes of the input it stands for, so that a place in the mended text can be told in the original.
fn repair(bytes: &[u8], stop: usize) -> (Vec<u8>, usize) {
    let mut out = Vec::with_capacity(bytes.len().min(stop) + 16);
    let mut at = 0;
    let mut in_string = false;
    while at < bytes.len() && out.len() < stop {
        let rest = &bytes[at..];
        at += match rest[0] {
            b'"' => {
                in_string = !in_string;
                out.push(b'"');
                1
            }
            b'\\' if in_string => repair_escape(rest, &mut out),
            control @ 0..=0x1f if in_string => {
                out.extend_from_slice(format!("\\u{control:04x}").as_bytes());
                1
            }
            0x80.. => repair_utf8(rest, &mut out),
            b'N' | b'I' | b'-' if !in_string => {
                match [&b"NaN"[..], b"Infinity", b"-Infinity"].into_iter().find(|name| rest.starts_with(name))
                {
                    Some(name) => {
                        out.push(b'"');
                        out.extend_from_slice(name);
                        out.push(b'"');
                        name.len()
                    }
                    None => {
                        out.push(rest[0]);
                        1
                    }
                }
            }
            b'0'..=b'9' if !in_string => repair_number(rest, &mut out),
            plain => {
                out.push(plain);
                1
            }
        };
    }
    (out, at)
}

/// Writes the number at the start of `rest`, as a text if no number can hold it. Gives the bytes it took.
fn repair_number(rest: &[u8], out: &mut Vec<u8>) -> usize {
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit() || b"+-.eE".contains(byte)).count();
    let number: Option<f64> =
        std::str::from_utf8(&rest[..length]).ok().and_then(|digits| digits.parse().ok());
    let holds = number.is_some_and(f64::is_finite);
    // A minus sign before it is already written, so the text goes without: its worth is lost either way.
    if holds || out.last() == Some(&b'-') {
        out.extend_from_slice(&rest[..length]);
    } else {
        out.push(b'"');
        out.extend_from_slice(&rest[..length]);
        out.push(b'"');
    }
    length
}

/// Writes the escape at the start of `rest`, or what stands for it if it is none. Gives the bytes it took.
fn repair_escape(rest: &[u8], out: &mut Vec<u8>) -> usize {
    match rest.get(1) {
        Some(b'u') => match hex4(rest) {
            Some(0xd800..=0xdbff) if matches!(rest.get(6..).and_then(hex4), Some(0xdc00..=0xdfff)) => {
                out.extend_from_slice(&rest[..12]);
                12
            }
            Some(0xd800..=0xdfff) => {
                out.extend_from_slice(b"\\ufffd");
                6
            }
            Some(_) => {
                out.extend_from_slice(&rest[..6]);
                6
            }
            None => {
                out.extend_from_slice(b"\\\\");
                1
            }
        },
        Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
            out.extend_from_slice(&rest[..2]);
            2
        }
        _ => {
            out.extend_from_slice(b"\\\\");
            1
        }
    }
}

/// The value of a `\uHHHH` escape at the start of `rest`.
fn hex4(rest: &[u8]) -> Option<u16> {
    let digits = rest.strip_prefix(b"\\u")?.get(..4)?;
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Writes the character at the start of `rest`, or U+FFFD for bytes that are none. Gives the bytes it took.
fn repair_utf8(rest: &[u8], out: &mut Vec<u8>) -> usize {
    let (character, length) = bstr::decode_utf8(rest);
    out.extend_from_slice(character.unwrap_or('\u{fffd}').encode_utf8(&mut [0; 4]).as_bytes());
    length.max(1)
}

/// Declares a JSON object as a client sends it: `field: Type = "key" | "other key"`. Every field type must be
/// `Default` and refuse nothing; anything but an object makes the default.
macro_rules! wire {
    ($($(#[$meta:meta])* struct $name:ident { $($field:ident: $type:ty = $key:literal $(| $alias:literal)*),* $(,)? })+) => { $(
        $(#[$meta])*
        #[derive(Default)]
        struct $name { $($field: $type),* }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                #[allow(non_camel_case_types)]
                #[derive(serde::Deserialize)]
                #[serde(field_identifier)]
                enum Key {
                    $(#[serde(rename = $key $(, alias = $alias)*)] $field,)*
                    #[serde(other)]
                    __Unknown,
                }

                struct Fields;
                impl<'de> serde::de::Visitor<'de> for Fields {
                    type Value = $name;
                    fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<$name, A::Error> {
                        let mut fields = $name::default();
                        while let Some(found) = map.next_key::<Key>()? {
                            match found {
                                $(Key::$field => fields.$field = map.next_value()?,)*
                                Key::__Unknown => { map.next_value::<serde::de::IgnoredAny>()?; }
                            }
                        }
                        Ok(fields)
                    }
                    $crate::ingest::lenient::otherwise_default! { scalars strings seq }
                }
                deserializer.deserialize_any(Fields)
            }
        }
    )+ };
}
pub(super) use wire;

/// The visits for values of an unexpected type: read to their end, and worth the default.
macro_rules! otherwise_default {
    ($($what:ident)*) => {
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("anything")
        }
        $($crate::ingest::lenient::otherwise_default! { @ $what })*
    };
    (@ scalars) => {
        fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> { Ok(Default::default()) }
        fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> { Ok(Default::default()) }
        fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> { Ok(Default::default()) }
        fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> { Ok(Default::default()) }
        $crate::ingest::lenient::otherwise_default! { @ unit }
    };
    (@ unit) => {
        fn visit_unit<E>(self) -> Result<Self::Value, E> { Ok(Default::default()) }
    };
    (@ strings) => {
        fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> { Ok(Default::default()) }
    };
    (@ seq) => {
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
            while seq.next_element::<serde::de::IgnoredAny>()?.is_some() {}
            Ok(Default::default())
        }
    };
    (@ map) => {
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            while map.next_entry::<serde::de::IgnoredAny, serde::de::IgnoredAny>()?.is_some() {}
            Ok(Default::default())
        }
    };
}
pub(super) use otherwise_default;

/// A text. Numbers and booleans are taken as they are written.
#[derive(Debug, Default)]
pub(super) struct Text(pub(super) Option<String>);

impl Text {
    /// The text, unless it is empty or blank.
    pub(super) fn filled(self) -> Option<String> {
        self.0.filter(|text| !text.trim().is_empty())
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text;
            fn visit_str<E>(self, text: &str) -> Result<Text, E> {
                Ok(Text(Some(text.to_owned())))
            }
            fn visit_string<E>(self, text: String) -> Result<Text, E> {
                Ok(Text(Some(text)))
            }
            fn visit_bool<E>(self, value: bool) -> Result<Text, E> {
                Ok(Text(Some(value.to_string())))
            }
            fn visit_i64<E>(self, value: i64) -> Result<Text, E> {
                Ok(Text(Some(value.to_string())))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Text, E> {
                Ok(Text(Some(value.to_string())))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Text, E> {
                Ok(Text(Some(value.to_string())))
            }
            otherwise_default! { unit seq map }
        }
        deserializer.deserialize_any(TextVisitor)
    }
}

/// A number, whole or not; also as digits in a string.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Number(pub(super) Option<f64>);

impl Number {
    /// As a 1-based line or column: `None` where it is not one.
    pub(super) fn line(self) -> Option<NonZeroU32> {
        self.whole().and_then(|number| NonZeroU32::new(u32::try_from(number).ok()?))
    }

    /// As a whole number of at least 0.
    pub(super) fn whole(self) -> Option<u64> {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range is checked")]
        self.0.filter(|number| (0.0..1e15).contains(number)).map(|number| number as u64)
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        #[expect(clippy::cast_precision_loss, reason = "lines and counts are far below 2^53")]
        impl<'de> Visitor<'de> for NumberVisitor {
            type Value = Number;
            fn visit_i64<E>(self, value: i64) -> Result<Number, E> {
                Ok(Number(Some(value as f64)))
            }
            fn visit_u64<E>(self, value: u64) -> Result<Number, E> {
                Ok(Number(Some(value as f64)))
            }
            fn visit_f64<E>(self, value: f64) -> Result<Number, E> {
                Ok(Number(Some(value).filter(|value| value.is_finite())))
            }
            fn visit_str<E>(self, text: &str) -> Result<Number, E> {
                Ok(Number(text.trim().parse().ok().filter(|value: &f64| value.is_finite())))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Number, E> {
                Ok(Number(None))
            }
            otherwise_default! { unit seq map }
        }
        deserializer.deserialize_any(NumberVisitor)
    }
}

/// Yes or no; also as 0 and 1 and as words.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Flag(pub(super) Option<bool>);

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer).map(|Text(text)| {
            Flag(text.and_then(|text| match text.to_ascii_lowercase().as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            }))
        })
    }
}

/// A moment: RFC 3339 with 0 to 9 digits of a second, with a zone or without (UTC is meant), or seconds or
/// milliseconds since 1970, also in a string.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct When(pub(super) Option<Timestamp>);

impl<'de> Deserialize<'de> for When {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer).map(|Text(text)| When(text.and_then(|text| moment(&text))))
    }
}

/// The moment that `text` tells, as [`When`] reads it.
pub(super) fn moment(text: &str) -> Option<Timestamp> {
    /// Seconds from here on would be the year 5138; a number this large is milliseconds.
    const MILLISECONDS_FROM: f64 = 1e11;
    let text = text.trim();
    if let Ok(number) = text.parse::<f64>() {
        let seconds = if number.abs() >= MILLISECONDS_FROM { number / 1_000.0 } else { number };
        #[expect(
            clippy::cast_possible_truncation,
            reason = "the cast saturates, and jiff checks the range"
        )]
        return Timestamp::from_microsecond((seconds * 1e6).round() as i64).ok();
    }
    text.parse().ok().or_else(|| {
        let civil: DateTime = text.trim_end_matches("UTC").trim_end().parse().ok()?;
        Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp())
    })
}

/// A list: its first and last elements, at most `HALF` of each. A lone object is a list of one, `null`
/// elements are left out, and an object with a `values` list is that list.
#[derive(Debug)]
pub(super) struct List<T, const HALF: usize>(pub(super) Ends<T, HALF>);

impl<T, const HALF: usize> Default for List<T, HALF> {
    fn default() -> Self {
        Self(Ends::default())
    }
}

impl<'de, T: Deserialize<'de>, const HALF: usize> Deserialize<'de> for List<T, HALF> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T, const HALF: usize>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const HALF: usize> Visitor<'de> for ListVisitor<T, HALF> {
            type Value = List<T, HALF>;
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut ends = Ends::default();
                while let Some(element) = seq.next_element::<Option<T>>()? {
                    if let Some(element) = element {
                        ends.push(element);
                    }
                }
                Ok(List(ends))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let mut ends = Ends::default();
                ends.push(T::deserialize(MapAccessDeserializer::new(map))?);
                Ok(List(ends))
            }
            otherwise_default! { scalars strings }
        }
        deserializer.deserialize_any(ListVisitor(std::marker::PhantomData))
    }
}

/// Names and values as they are shown: texts as they are, anything else as JSON. In the client's order.
/// An object, or a list of `[name, value]` pairs.
#[derive(Debug, Default)]
pub(super) struct Pairs(pub(super) Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PairsVisitor;
        impl<'de> Visitor<'de> for PairsVisitor {
            type Value = Pairs;
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while pairs.len() < MOST_LOCALS && Room::take(PAIR_BYTES) {
                    let Some(name) = map.next_key::<String>()? else { return Ok(Pairs(pairs)) };
                    pairs.push((name, map.next_value::<Shown>()?.0));
                }
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Pairs(pairs))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Pairs, A::Error> {
                let mut pairs = Vec::new();
                while let Some(List(pair)) = seq.next_element::<List<Shown, 1>>()? {
                    let mut pair = pair.into_vec().into_iter();
                    if let (Some(name), Some(value)) = (pair.next(), pair.next())
                        && pairs.len() < MOST_LOCALS
                        && Room::take(PAIR_BYTES)
                    {
                        pairs.push((name.0, value.0));
                    }
                }
                Ok(Pairs(pairs))
            }
            otherwise_default! { scalars strings }
        }
        deserializer.deserialize_any(PairsVisitor)
    }
}

/// Source lines by their number, as an object.
#[derive(Debug, Default)]
pub(super) struct Numbered(Pairs);

impl Numbered {
    /// Gives `frame` its own line and those around it.
    pub(super) fn place(self, frame: &mut Frame) {
        let Some(own) = frame.line.map(u32::from) else { return };
        let mut lines: Vec<(u32, String)> = self
            .0
            .0
            .into_iter()
            .filter_map(|(number, text)| Some((number.trim().parse().ok()?, text)))
            .map(|(number, text): (u32, String)| (number, without_newline(text)))
            .collect();
        lines.sort_by_key(|&(number, _)| number);
        for (number, text) in lines {
            match number.cmp(&own) {
                Ordering::Less => frame.before.push(text),
                Ordering::Equal => frame.text = Some(text),
                Ordering::Greater => frame.after.push(text),
            }
        }
    }
}

impl<'de> Deserialize<'de> for Numbered {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Pairs::deserialize(deserializer).map(Numbered)
    }
}

/// A source line without the newline that some clients send with it.
pub(super) fn without_newline(mut line: String) -> String {
    line.truncate(line.trim_end_matches(['\n', '\r']).len());
    line
}

/// A file name in which a client wrote `mark` for the project's directory: with `root`, the real one, or
/// relative to it where that is not known, or is no directory's name: longer than any is (each frame gets a copy of
/// it), or not from the root.
pub(super) fn rooted(file: String, mark: &str, root: Option<&str>) -> String {
    let is_absolute = |root: &str| root.starts_with(['/', '\\']) || root.get(1..3) == Some(":\\");
    let root = root.filter(|root| root.len() <= LONGEST_ROOT && is_absolute(root));
    match (file.strip_prefix(mark), root) {
        (Some(rest), Some(root)) => {
            format!("{}/{}", root.trim_end_matches('/'), rest.trim_start_matches('/'))
        }
        (Some(rest), None) => rest.trim_start_matches('/').to_owned(),
        (None, _) => file,
    }
}

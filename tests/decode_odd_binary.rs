//! The same for documents that are no JSON: in what real clients sent as Thrift, BSON and protobuf, each field in turn is
//! given another type, or bytes that are no text. It costs that field, and nothing else.

#[path = "support/leaves.rs"]
mod leaves;

use std::fs;
use std::path::Path;

use blamed::ingest::{flawless, oops, otlp};
use blamed::report::Report;
use leaves::{differing, is_but_for_a_field, leaves};

/// A value as it is written: bytes as they are, or what may hold further fields.
#[derive(Clone)]
enum Content {
    Raw(Vec<u8>),
    Fields(Vec<Field>),
    /// A list of structs.
    Elements(Vec<Vec<Field>>),
}

/// Its type, the bytes of its name or number, and its value.
#[derive(Clone)]
struct Field(u8, Vec<u8>, Content);

/// How fields are written, and what is odd.
struct Format {
    read: fn(&mut &[u8]) -> Option<Vec<Field>>,
    write: fn(&[Field]) -> Vec<u8>,
    odd: &'static [(u8, &'static [u8])],
}

#[test]
fn thrift() {
    let call = fixture("flawless.thrift");
    // The frame's length, version, name and number stand before the arguments.
    let call = if call.starts_with(&[0x80, 1]) { &call[..] } else { &call[4..] };
    let (head, arguments) = call.split_at(4 + 4 + "record_error".len() + 4);
    let format = Format { read: read_struct, write: write_struct, odd: &THRIFT };
    check(&format, arguments, &|body| match flawless::decode(&[head, body].concat()).ok()?.request {
        flawless::Request::RecordError(report) => Some(*report),
        _ => None,
    });
}

#[test]
fn bson() {
    let format = Format { read: read_document, write: write_document, odd: &BSON };
    check(&format, &fixture("oops.bson"), &|body| oops::decode(body).ok());
}

#[test]
fn protobuf() {
    let format = Format { read: read_message, write: write_message, odd: &PROTOBUF };
    check(&format, &fixture("otlp-traces.protobuf"), &|body| {
        otlp::decode_protobuf(body, otlp::Signal::Traces).ok()?.pop()
    });
    check(&format, &fixture("otlp-logs.protobuf"), &|body| {
        otlp::decode_protobuf(body, otlp::Signal::Logs).ok()?.pop()
    });
}

fn fixture(name: &str) -> Vec<u8> {
    fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/requests").join(name)).unwrap()
}

/// Gives each field of a document each odd value.
fn check(format: &Format, document: &[u8], decode: &dyn Fn(&[u8]) -> Option<Report>) {
    let fields = (format.read)(&mut &*document).unwrap();
    assert_eq!((format.write)(&fields), document, "a document is written as it was read");
    let whole = leaves(&decode(document).unwrap());
    let mut all = Vec::new();
    collect(&fields, &mut Vec::new(), &mut all);
    assert!(all.len() > 10);
    let mut wrong = Vec::new();
    for place in all {
        let mut without = fields.clone();
        change(&mut without, &place, None);
        let Some(without) = decode(&(format.write)(&without)).map(|report| leaves(&report)) else { continue };
        for &(kind, bytes) in format.odd {
            let mut odd = fields.clone();
            change(&mut odd, &place, Some((kind, bytes)));
            let Some(report) = decode(&(format.write)(&odd)).map(|report| leaves(&report)) else {
                wrong.push(format!("{place:?}, {kind} {bytes:x?}: refused"));
                continue;
            };
            // What else told the same may take its place.
            if !is_but_for_a_field(&report, &without) && !is_but_for_a_field(&report, &whole) {
                wrong.push(format!("{place:?}, {kind} {bytes:x?}: {:?}", differing(&report, &without)));
            }
        }
    }
    assert!(wrong.is_empty(), "{}: {:#?}", wrong.len(), &wrong[..wrong.len().min(30)]);
}

/// The places of all fields: the index of each on the way; in a list, of the element first. Of a list, the first and the
/// last element.
fn collect(fields: &[Field], place: &mut Vec<usize>, all: &mut Vec<Vec<usize>>) {
    for (n, Field(_, _, content)) in fields.iter().enumerate() {
        place.push(n);
        all.push(place.clone());
        match content {
            Content::Raw(_) => {}
            Content::Fields(fields) => collect(fields, place, all),
            Content::Elements(elements) => {
                for n in [0, elements.len().saturating_sub(1)] {
                    if let Some(element) = elements.get(n) {
                        place.push(n);
                        collect(element, place, all);
                        place.pop();
                    }
                }
            }
        }
        place.pop();
    }
}

/// Gives a field another type and value, or takes it away.
fn change(fields: &mut Vec<Field>, place: &[usize], to: Option<(u8, &[u8])>) {
    match (place, to) {
        ([n], None) => drop(fields.remove(*n)),
        ([n], Some((kind, bytes))) => {
            fields[*n].0 = kind;
            fields[*n].2 = Content::Raw(bytes.to_vec());
        }
        ([n, rest @ ..], _) => match &mut fields[*n].2 {
            Content::Fields(fields) => change(fields, rest, to),
            Content::Elements(elements) => change(&mut elements[rest[0]], &rest[1..], to),
            Content::Raw(_) => unreachable!("nothing is in it"),
        },
        ([], _) => unreachable!("a field is named"),
    }
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

// ---- Thrift: type, number, value; a zero ends a struct ----

const THRIFT: [(u8, &[u8]); 9] = [
    (2, b"\x01"),
    (4, b"\x7f\xf8\0\0\0\0\0\0"),
    (8, b"\xff\xff\xff\xff"),
    (10, b"\x80\0\0\0\0\0\0\0"),
    (11, b"\0\0\0\x03\xff\xed\xa0"),
    (11, b"\0\0\0\0"),
    (12, b"\0"),
    (13, b"\x0b\x0b\0\0\0\0"),
    (15, b"\x08\0\0\0\x01\0\0\0\x07"),
];

fn thrift_value(bytes: &mut &[u8], kind: u8) -> Option<Content> {
    let before = *bytes;
    let size = |bytes: &[u8]| u32::from_be_bytes(bytes.try_into().unwrap()) as usize;
    match kind {
        12 => return read_struct(bytes).map(Content::Fields),
        15 if bytes[0] == 12 => {
            let count = size(&take(bytes, 5)?[1..]);
            return (0..count).map(|_| read_struct(bytes)).collect::<Option<_>>().map(Content::Elements);
        }
        2 | 3 => drop(take(bytes, 1)?),
        8 => drop(take(bytes, 4)?),
        4 | 10 => drop(take(bytes, 8)?),
        11 => {
            let length = size(take(bytes, 4)?);
            take(bytes, length)?;
        }
        13 => {
            let head = take(bytes, 6)?;
            for _ in 0..size(&head[2..]) {
                thrift_value(bytes, head[0])?;
                thrift_value(bytes, head[1])?;
            }
        }
        other => panic!("no such type in the fixture: {other}"),
    }
    Some(Content::Raw(before[..before.len() - bytes.len()].to_vec()))
}

fn read_struct(bytes: &mut &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    loop {
        let kind = take(bytes, 1)?[0];
        if kind == 0 {
            return Some(fields);
        }
        let number = take(bytes, 2)?.to_vec();
        fields.push(Field(kind, number, thrift_value(bytes, kind)?));
    }
}

fn write_struct(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Field(kind, number, content) in fields {
        bytes.push(*kind);
        bytes.extend(number);
        match content {
            Content::Raw(raw) => bytes.extend(raw),
            Content::Fields(fields) => bytes.extend(write_struct(fields)),
            Content::Elements(elements) => {
                bytes.push(12);
                bytes.extend(u32::try_from(elements.len()).unwrap().to_be_bytes());
                elements.iter().for_each(|element| bytes.extend(write_struct(element)));
            }
        }
    }
    bytes.push(0);
    bytes
}

// ---- BSON: the document's length; type, name, value; a zero ends it ----

const BSON: [(u8, &[u8]); 10] = [
    (0x01, b"\0\0\0\0\0\0\xf8\x7f"),
    (0x02, b"\x04\0\0\0\xff\xed\xa0\0"),
    (0x02, b"\x01\0\0\0\0"),
    (0x03, b"\x05\0\0\0\0"),
    (0x04, b"\x0c\0\0\0\x100\0\x07\0\0\0\0"),
    (0x08, b"\x01"),
    (0x09, b"\xff\xff\xff\xff\xff\xff\xff\x7f"),
    (0x0a, b""),
    (0x10, b"\xff\xff\xff\xff"),
    (0xff, b""),
];

fn read_document(bytes: &mut &[u8]) -> Option<Vec<Field>> {
    let length = u32::from_le_bytes(bytes.get(..4)?.try_into().unwrap()) as usize;
    let mut inside = &take(bytes, length)?[4..];
    let mut fields = Vec::new();
    loop {
        let kind = take(&mut inside, 1)?[0];
        if kind == 0 {
            return inside.is_empty().then_some(fields);
        }
        let end = inside.iter().position(|&byte| byte == 0)?;
        let name = take(&mut inside, end + 1)?.to_vec();
        let content = match kind {
            0x03 | 0x04 => Content::Fields(read_document(&mut inside)?),
            0x01 | 0x09 | 0x12 => Content::Raw(take(&mut inside, 8)?.to_vec()),
            0x02 | 0x05 => {
                let length = u32::from_le_bytes(inside.get(..4)?.try_into().unwrap()) as usize;
                Content::Raw(take(&mut inside, length + 4 + usize::from(kind == 0x05))?.to_vec())
            }
            0x08 => Content::Raw(take(&mut inside, 1)?.to_vec()),
            0x0a => Content::Raw(Vec::new()),
            0x10 => Content::Raw(take(&mut inside, 4)?.to_vec()),
            other => panic!("no such type in the fixture: {other:#x}"),
        };
        fields.push(Field(kind, name, content));
    }
}

fn write_document(fields: &[Field]) -> Vec<u8> {
    let mut bytes = vec![0; 4];
    for Field(kind, name, content) in fields {
        bytes.push(*kind);
        bytes.extend(name);
        match content {
            Content::Raw(raw) => bytes.extend(raw),
            Content::Fields(fields) => bytes.extend(write_document(fields)),
            Content::Elements(_) => unreachable!("lists are documents"),
        }
    }
    bytes.push(0);
    let length = u32::try_from(bytes.len()).unwrap().to_le_bytes();
    bytes[..4].copy_from_slice(&length);
    bytes
}

// ---- protobuf: number and wire type, value; what is a message can only be guessed ----

const PROTOBUF: [(u8, &[u8]); 6] = [
    (0, b"\x01"),
    (0, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
    (1, b"\0\0\0\0\0\0\xf8\x7f"),
    (2, b"\x04\xff\xed\xa0\x80"),
    (2, b"\0"),
    (5, b"\xff\xff\xff\xff"),
];

fn varint(bytes: &mut &[u8]) -> Option<(u64, Vec<u8>)> {
    let length = bytes.iter().take(10).position(|byte| byte & 0x80 == 0)? + 1;
    let raw = take(bytes, length)?;
    let value = raw.iter().rev().fold(0, |value, byte| value << 7 | u64::from(byte & 0x7f));
    Some((value, raw.to_vec()))
}

fn read_message(bytes: &mut &[u8]) -> Option<Vec<Field>> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let (key, raw) = varint(bytes)?;
        let kind = u8::try_from(key & 7).unwrap();
        // OTLP has no larger ones; so most texts are no messages.
        if !(8..=25 << 3).contains(&key) || raw.len() != 1 && key < 128 {
            return None;
        }
        let content = match kind {
            0 => Content::Raw(varint(bytes)?.1),
            1 => Content::Raw(take(bytes, 8)?.to_vec()),
            5 => Content::Raw(take(bytes, 4)?.to_vec()),
            2 => {
                let (length, raw) = varint(bytes)?;
                let inside = take(bytes, usize::try_from(length).ok()?)?;
                let is_text = inside.len() < 3 || inside.iter().all(|byte| (b'\n'..127).contains(byte));
                match read_message(&mut &*inside).filter(|_| !is_text) {
                    Some(fields) => Content::Fields(fields),
                    None => Content::Raw([&raw[..], inside].concat()),
                }
            }
            _ => return None,
        };
        fields.push(Field(kind, (key >> 3).to_le_bytes().to_vec(), content));
    }
    Some(fields)
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap());
}

fn write_message(fields: &[Field]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for Field(kind, number, content) in fields {
        let number = u64::from_le_bytes(number[..].try_into().unwrap());
        write_varint(number << 3 | u64::from(*kind), &mut bytes);
        match content {
            Content::Raw(raw) => bytes.extend(raw),
            Content::Fields(fields) => {
                let inside = write_message(fields);
                write_varint(inside.len() as u64, &mut bytes);
                bytes.extend(inside);
            }
            Content::Elements(_) => unreachable!("lists are fields that stand several times"),
        }
    }
    bytes
}

//! Every decoder against what real clients sent, mangled, and against what made one fail before. The mangling is the same
//! in each run; `BLAMED_FUZZ_ROUNDS` says how often each sample is mangled. `scripts/fuzz` has libFuzzer find more.

#[path = "support/decoders.rs"]
mod decoders;

use std::fs;
use std::path::Path;

use decoders::{DECODERS, check};

/// How often each sample is mangled where nothing else is said.
const ROUNDS: usize = 12;
/// The most that a sample or its offspring may have, in bytes.
const MOST_BYTES: usize = 20_000;

/// Pieces that formats give a meaning to.
const PIECES: [&[u8]; 26] = [
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b"\\",
    b"\\ud83d",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"-1",
    b"4294967296",
    b"null",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"  | ",
    b"+-+----",
    b"    at ",
    b"\tat ",
    b"Caused by: ",
    b"#0 ",
    b"\x1b[31m",
    b"\xff\xfe",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80",
    b"\x00\x00\x00\x00",
];

/// A small generator of chance (xorshift), so that a failure can be repeated.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).expect("53 bits fit") % bound.max(1)
    }
}

/// How often to mangle each sample, if it is to be thorough.
fn rounds() -> Option<usize> {
    std::env::var("BLAMED_FUZZ_ROUNDS").ok()?.parse().ok()
}

fn mangle(sample: &[u8], other: &[u8], chance: &mut Chance) -> Vec<u8> {
    let mut bytes = sample.to_vec();
    for _ in 0..=chance.below(4) {
        let at = chance.below(bytes.len());
        let end = (at + chance.below(60)).min(bytes.len());
        match chance.below(7) {
            0 => bytes.truncate(at),
            1 => drop(bytes.drain(at..end)),
            2 => {
                let copy = bytes[at..end].repeat(1 + chance.below(30));
                bytes.splice(at..at, copy);
            }
            3 => {
                let piece = PIECES[chance.below(PIECES.len())].repeat(1 + chance.below(3));
                bytes.splice(at..at, piece);
            }
            4 => {
                let from = chance.below(other.len());
                let to = (from + chance.below(400)).min(other.len());
                bytes.splice(at..end, other[from..to].iter().copied());
            }
            5 => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = u8::try_from(chance.below(256)).expect("below 256");
                }
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << chance.below(8);
                }
            }
        }
    }
    bytes.truncate(MOST_BYTES);
    bytes
}

fn samples() -> Vec<(String, Vec<u8>)> {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let mut samples = Vec::new();
    for folder in ["requests", "tracebacks"] {
        for entry in fs::read_dir(fixtures.join(folder)).expect("the fixtures are part of the repository") {
            let path = entry.expect("a folder that lists").path();
            if path.extension().is_some_and(|extension| extension == "outline") {
                continue;
            }
            let mut sample = fs::read(&path).expect("a file that reads");
            sample.truncate(MOST_BYTES);
            samples.push((
                path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
                sample,
            ));
        }
    }
    samples.sort();
    samples
}

#[test]
fn mangled_bodies_of_every_kind() {
    let rounds = rounds().unwrap_or(ROUNDS);
    let samples = samples();
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for (name, sample) in &samples {
        for round in 0..=rounds {
            let (_, other) = &samples[chance.below(samples.len())];
            let bytes = if round == 0 { sample.clone() } else { mangle(sample, other, &mut chance) };
            for (decoder, decode) in DECODERS {
                let outcome = std::panic::catch_unwind(|| check(decoder, decode, name, &bytes));
                if outcome.is_err() {
                    let kept = std::env::temp_dir().join(format!("blamed-fuzz-{name}-{round}"));
                    fs::write(&kept, &bytes).expect("a folder that can be written");
                    panic!(
                        "{decoder} fails on {name}, round {round}; the body is kept in {}",
                        kept.display()
                    );
                }
            }
        }
    }
}

/// Bodies that made one fail once, by what it was.
#[test]
fn bodies_that_failed_before() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/fuzz");
    for entry in fs::read_dir(folder).expect("the fixtures are part of the repository") {
        let path = entry.expect("a folder that lists").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let bytes = fs::read(&path).expect("a file that reads");
        for (decoder, decode) in DECODERS {
            check(decoder, decode, &name, &bytes);
        }
    }
}

//! Hostile bodies cost no more than their size: memory is a small multiple of it, and twice the body takes twice the
//! steps. Both are counted, not timed.

#[path = "support/decoders.rs"]
mod decoders;
#[path = "support/hostile.rs"]
mod hostile;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use decoders::{DECODERS, Decoder};
use peak_alloc::PeakAlloc;

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;
/// What is held is counted for the whole process.
static ALONE: Mutex<()> = Mutex::new(());

/// Bytes of the bodies whose memory is counted.
const BYTES: usize = 300_000;
/// What may be held besides a multiple of the body: above all, as many reports as one body may hold.
const BESIDES: usize = 6 << 20;
/// Bytes of the bodies whose steps are counted, each twice the one before. `scripts/fuzz` has more counted, in a build
/// that takes fewer steps.
const SIZES: [usize; 3] = if cfg!(debug_assertions) { [800, 1_600, 3_200] } else { [5_000, 10_000, 20_000] };

/// The bodies whose steps are counted: without optimisation, those of texts, of which alone there is doubt.
fn counted() -> impl Iterator<Item = hostile::Body> {
    hostile::bodies().into_iter().filter(|(name, _, _)| !cfg!(debug_assertions) || *name == "text")
}

fn decoder(name: &str) -> Decoder {
    DECODERS.into_iter().find(|(known, _)| *known == name).expect("a decoder of that name").1
}

#[test]
fn no_body_is_held_more_than_three_times() {
    let _alone = ALONE.lock();
    let mut wrong = Vec::new();
    // A stream is not held as a whole; mixtures of lines take what the lines do.
    let is_one = |(name, what, _): &hostile::Body| {
        *name != "stream" && !what.contains(" / ") && !what.contains(" and others")
    };
    for (name, what, make) in hostile::bodies().into_iter().filter(is_one) {
        let body = make(BYTES);
        // What is made once for all bodies is not of this one.
        let _ = decoder(name)(&make(100));
        let before = HEAP.current_usage();
        HEAP.reset_peak_usage();
        let _ = std::hint::black_box(decoder(name)(&body));
        let held = HEAP.peak_usage() - before;
        if held > 3 * body.len() + BESIDES {
            wrong.push(format!("{name}, {what:?}: {held} bytes for {}", body.len()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn twice_the_body_takes_twice_the_steps() {
    let _alone = ALONE.lock();
    if Command::new("valgrind").arg("--version").output().is_err() {
        return eprintln!("skipped: twice_the_body_takes_twice_the_steps: valgrind is not here");
    }
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        // By its whole name: a pattern for both has callgrind count, but write nothing before the end.
        .args(["--toggle-collect=decode_bounds::measured", "--dump-before=decode_bounds::measured"])
        .arg(format!("--callgrind-out-file={}/counts", folder.path().display()))
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "is_counted", "--ignored", "--nocapture", "--test-threads=1"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let counts = counts(folder.path());
    assert_eq!(counts.len(), counted().count() * SIZES.len());
    let mut wrong = Vec::new();
    for ((name, what, _), counts) in counted().zip(counts.chunks(SIZES.len())) {
        let (first, second) = (counts[1].saturating_sub(counts[0]), counts[2].saturating_sub(counts[1]));
        // Were it quadratic, it would go towards four times as many.
        if second as f64 > 2.6 * first as f64 + 100_000.0 {
            wrong.push(format!("{name}, {what:?}: {counts:?} instructions for {SIZES:?} bytes"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What the test above has counted, in a process of its own.
#[test]
#[ignore = "is run by another"]
fn is_counted() {
    for (name, _, make) in counted() {
        // What is made once for all bodies is not of the first.
        let _ = decoder(name)(&make(100));
        for size in SIZES {
            measured(decoder(name), &make(size));
        }
    }
    measured(|_| Ok(Vec::new()), &[]);
}

#[inline(never)]
fn measured(decode: Decoder, body: &[u8]) {
    let _ = std::hint::black_box(decode(std::hint::black_box(body)));
}

/// Instructions between the marks, in order: one file each.
fn counts(folder: &Path) -> Vec<u64> {
    let mut counts = Vec::new();
    // The first is what came before anything was measured.
    for part in 2.. {
        let Ok(text) = fs::read_to_string(folder.join(format!("counts.{part}"))) else { break };
        let totals = text.lines().find_map(|line| line.strip_prefix("totals: "));
        counts.push(totals.and_then(|totals| totals.trim().parse().ok()).expect("callgrind tells them"));
    }
    counts
}

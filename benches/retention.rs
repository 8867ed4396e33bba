//! Forgets the older half of ten million rows while reports are written, and measures what writing one costs
//! meanwhile, beside what it costs when nothing is forgotten.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints figures")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use blamed::clock::Clock;
use blamed::store::{FaultId, Occurrence, Store, StoreError, Whereabouts};
use blamed::upkeep::{Settings, Upkeep};

const HOUR: i64 = 3_600_000;
const FAULTS: i64 = 100_000;
const DAYS: i64 = 1_000;

fn main() {
    let rows: i64 = std::env::args().skip(1).find_map(|word| word.parse().ok()).unwrap_or(10_000_000);
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path()).unwrap();
    let now = 20_000 * 24 * HOUR;
    let begun = Instant::now();
    fill(folder.path(), rows, now);
    let (before, rows_before) = (store.size().unwrap(), past(folder.path(), now));
    println!(
        "{rows} counts by the hour of {FAULTS} faults over {DAYS} days, {} MB, made in {:.0?}",
        before.file >> 20,
        begun.elapsed()
    );

    let quiet = stream(&store, now, &AtomicBool::new(false), Duration::from_secs(10));
    let settings = Settings {
        samples_days: 90,
        faults_days: Some(500),
        database_bytes: None,
        spare_bytes: 0,
        default_contact: None,
        sender: "blamed@example.org".parse().unwrap(),
    };
    let clock = Clock::fixed(jiff::Timestamp::from_millisecond(now).unwrap());
    let mut upkeep = Upkeep::new(store.clone(), clock, settings, || {});
    let done = AtomicBool::new(false);
    let (begun, mut worked, mut longest, mut steps) = (Instant::now(), Duration::ZERO, Duration::ZERO, 0);
    let busy = std::thread::scope(|scope| {
        let stream = scope.spawn(|| stream(&store, now, &done, Duration::from_secs(3_600)));
        loop {
            let step = Instant::now();
            let rest = upkeep.step().unwrap();
            let took = step.elapsed();
            if rest >= Duration::from_secs(10) {
                break;
            }
            (worked, longest, steps) = (worked + took, longest.max(took), steps + 1);
            std::thread::sleep(rest);
        }
        done.store(true, Ordering::SeqCst);
        stream.join().unwrap()
    });
    let (took, after) = (begun.elapsed(), store.size().unwrap());
    println!(
        "{} forgotten in {took:.0?}: {steps} steps, {:.0} % of the time, {:.0?} each, {longest:.0?} the longest; {} MB",
        rows_before - past(folder.path(), now),
        100.0 * worked.as_secs_f64() / took.as_secs_f64(),
        worked / steps,
        after.file >> 20
    );
    let line = |name: &str, times: &[Duration]| {
        let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
        println!(
            "{name}: {} writes, median {:.2?}, 99 % {:.2?}, longest {:.2?}",
            times.len(),
            at(0.5),
            at(0.99),
            at(1.0)
        );
        (at(0.5), at(0.99))
    };
    let quiet = line("writing alone", &quiet);
    let busy = line("meanwhile", &busy);
    println!(
        "ratio: median {:.2}, 99 % {:.2}",
        busy.0.as_secs_f64() / quiet.0.as_secs_f64(),
        busy.1.as_secs_f64() / quiet.1.as_secs_f64()
    );
}

/// Writes a report every few milliseconds, as the ledger does; gives how long each took, in order of length.
fn stream(store: &Store, now: i64, stop: &AtomicBool, most: Duration) -> Vec<Duration> {
    let begun = Instant::now();
    let mut times = Vec::new();
    while !stop.load(Ordering::SeqCst) && begun.elapsed() < most {
        let n = i64::try_from(times.len()).unwrap();
        let occurrence = Occurrence {
            id: format!("{most:?} {n}"),
            received_at: now,
            report: blamed::report::Report { additional_info: Some("x".repeat(1_000)), ..Default::default() },
            verdicts: Vec::new(),
        };
        let write = Instant::now();
        store
            .write(|tx| -> Result<(), StoreError> {
                let fault = FaultId(n * 7_919 % FAULTS + 1);
                tx.count_fault(fault, Whereabouts::default(), 1, now)?;
                tx.add_occurrence(fault, &occurrence, 20)
            })
            .unwrap();
        times.push(write.elapsed());
        std::thread::sleep(Duration::from_millis(5));
    }
    times.sort();
    times
}

fn fill(folder: &std::path::Path, rows: i64, now: i64) {
    let database = rusqlite::Connection::open(folder.join("blamed.sqlite3")).unwrap();
    database.pragma_update(None, "synchronous", "OFF").unwrap();
    database
        .execute_batch(&format!(
            "BEGIN;
             INSERT INTO projects (name, created_at) VALUES ('p', 1);
             WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {FAULTS})
             INSERT INTO faults (project, identity, count, first_seen, last_seen, decision)
             SELECT 1, 'c' || n || ':a.py:1', 100, 1, {now}, 'mail' FROM n;
             WITH RECURSIVE n (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM n WHERE n < {rows})
             INSERT OR IGNORE INTO tallies (fault, hour, count)
             SELECT n % {FAULTS} + 1, ({now} - (n / {FAULTS} * {DAYS} * 24 / ({rows} / {FAULTS} + 1)) * {HOUR}) / {HOUR} * {HOUR}, 1 FROM n;
             COMMIT;"
        ))
        .unwrap();
}

/// Counts by the hour that were there before anything was written.
fn past(folder: &std::path::Path, now: i64) -> i64 {
    let database = rusqlite::Connection::open(folder.join("blamed.sqlite3")).unwrap();
    database.query_row("SELECT count(*) FROM tallies WHERE hour < ?1", [now], |row| row.get(0)).unwrap()
}

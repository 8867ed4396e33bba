//! How fast the pages are over a big database, while reports come in. `cargo bench --bench web`.
//!
//! Makes a database of 100,000 faults by 500 developers, with 10 million occurrences in twelve weeks; starts
//! the daemon on it; sends it 500 reports a second over kept connections; asks for one page at a time.
//! The database is kept in the folder that is named as the argument, or made anew in a temporary one.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a program that prints figures")]
#![allow(clippy::cast_possible_wrap, clippy::cast_possible_truncation, reason = "small numbers")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use blamed::clock::Clock;
use blamed::store::Store;
use rusqlite::{Connection, params};

const FAULTS: u64 = 100_000;
const DEVELOPERS: u64 = 500;
const OCCURRENCES: u64 = 10_000_000;
/// Different hours that a fault occurred in.
const HOURS_EACH: u64 = 25;
const WEEKS: i64 = 12;
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
/// Reports a second, over so many connections.
const REPORTS: u32 = 500;
const CONNECTIONS: u32 = 8;
/// Lines that these reports are about.
const LINES: usize = 2_000;
/// How often each page is asked for.
const ROUNDS: usize = 60;

fn main() {
    let kept = std::env::args().nth(1).filter(|argument| !argument.starts_with('-')).map(PathBuf::from);
    let temporary = tempfile::tempdir().unwrap();
    let data = kept.unwrap_or_else(|| temporary.path().join("data"));
    if !data.join("blamed.sqlite3").exists() {
        let begun = Instant::now();
        // What is left half-done is not taken for the whole.
        let half = data.with_extension("half");
        let _ = fs::remove_dir_all(&half);
        fill(&half);
        fs::rename(&half, &data).unwrap();
        println!("database made in {:.0} s", begun.elapsed().as_secs_f64());
    }
    let size = fs::metadata(data.join("blamed.sqlite3")).unwrap().len();
    println!("{FAULTS} faults, {OCCURRENCES} occurrences, {DEVELOPERS} developers, {} MB", size >> 20);

    let repository = temporary.path().join("shop");
    make_repository(&repository);
    let daemon = Daemon::start(&data, &repository, temporary.path());
    println!("memory at the start: {} MB", daemon.memory());
    let cold = daemon.time("/");
    println!("the first board after a start: {:.0} ms, {} KB", millis(cold.0), cold.1 >> 10);

    let (stop, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let senders: Vec<_> = (0..CONNECTIONS)
        .map(|n| {
            let (url, key) = (daemon.url.clone(), daemon.key.clone());
            let (stop, sent) = (Arc::clone(&stop), Arc::clone(&sent));
            std::thread::spawn(move || send(&url, &key, n, &stop, &sent))
        })
        .collect();
    // Until their lines are blamed, and counted like all others.
    std::thread::sleep(Duration::from_secs(20));
    let (before, begun) = (sent.load(Ordering::Relaxed), Instant::now());
    println!("{:<44}{:>10}{:>10}{:>10}", "page", "median ms", "p95 ms", "KB");
    let last_week = week_before();
    for (name, path) in [
        ("the board", "/".to_owned()),
        ("the board, by new faults", "/?sort=new".to_owned()),
        ("the board of the week before", format!("/?week={last_week}")),
        ("the board of an environment", "/?environment=staging".to_owned()),
        ("one developer", "/?author=dev7@example.com".to_owned()),
        ("a fault", "/faults/{}".to_owned()),
        ("search, a word", "/search?q=widget{}".to_owned()),
        ("search, a common word", "/search?q=error".to_owned()),
        ("search, nothing has it", "/search?q=nowhere".to_owned()),
        ("search, an author", "/search?q=author:dev{}%40".to_owned()),
        ("search, a file", "/search?q=file:part{}/".to_owned()),
        ("search, a type", "/search?q=type:shop.errors".to_owned()),
        ("search, a type that all have", "/search?q=type:error".to_owned()),
        ("search, a project", "/search?q=project:shop".to_owned()),
        ("search, known errors", "/search?q=is:known".to_owned()),
        ("search, mailed ones", "/search?q=is:mailed".to_owned()),
        ("search, new ones", "/search?q=is:new".to_owned()),
        ("search, an environment", "/search?q=env:staging".to_owned()),
        ("search, a host", "/search?q=host:web-7".to_owned()),
        ("search, a host that there is not", "/search?q=host:nowhere".to_owned()),
        ("search, all at once", "/search?q=is:known+author:dev{}%40+file:part+type:error".to_owned()),
        ("search, a release", "/search?q=release:shop%401.{}".to_owned()),
    ] {
        let mut times: Vec<(Duration, usize)> = (1..=ROUNDS)
            .map(|n| daemon.time(&path.replace("{}", &(n * 37 % 499).max(1).to_string())))
            .collect();
        times.sort();
        let p95 = times[ROUNDS * 95 / 100].0;
        let (median, bytes) = times[ROUNDS / 2];
        println!("{name:<44}{:>10.1}{:>10.1}{:>10}", millis(median), millis(p95), bytes >> 10);
    }
    let rate = (sent.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
    println!("reports taken meanwhile: {rate:.0}/s; memory then: {} MB", daemon.memory());
    for path in ["/week.json", "/week.csv"] {
        let (took, bytes) = daemon.time(path);
        println!(
            "{path}: {:.1} s, {} MB; memory after it: {} MB",
            took.as_secs_f64(),
            bytes >> 20,
            daemon.memory()
        );
    }
    println!("most memory ever: {} MB", daemon.most_memory());
    stop.store(true, Ordering::Relaxed);
    senders.into_iter().for_each(|sender| sender.join().unwrap());
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

fn now() -> i64 {
    Clock::system().now().as_millisecond()
}

fn week_before() -> String {
    let day = jiff::Timestamp::from_millisecond(now() - 7 * DAY).unwrap();
    day.strftime("%Y-%m-%d").to_string()
}

/// Numbers by chance, the same every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}

/// Makes the database by SQL, as its own code would have filled it report by report.
fn fill(data: &Path) {
    drop(Store::open(data).unwrap());
    let mut db = Connection::open(data.join("blamed.sqlite3")).unwrap();
    db.pragma_update(None, "cache_size", -400_000).unwrap();
    let tx = db.transaction().unwrap();
    let now = now();
    let today = now / DAY * DAY;
    let mut chance = Chance(7);
    tx.execute("INSERT INTO projects (id, name, created_at) VALUES (1, 'shop', ?1)", [now]).unwrap();
    tx.execute_batch("INSERT INTO environments (id, name) VALUES (2, 'production'), (3, 'staging')").unwrap();
    for n in 0..30 {
        let rule =
            format!("{{\"kind\":\"known_error\",\"filename\":\"part{n}/file1.py\",\"function_name\":null}}");
        tx.execute(
            "INSERT INTO rules (kind, body, created_at, created_by) VALUES ('known_error', ?1, ?2, 'bench')",
            params![rule, now],
        )
        .unwrap();
    }
    let mut fault = tx.prepare(
        "INSERT INTO faults (id, project, identity, place, function, code, blame, author_mail, author_time, author_name,
            exception_type, exception_message, count, first_seen, last_seen, mailed_at, decision)
         VALUES (?1, 1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?13, 'mail: the first occurrence')").unwrap();
    let mut words = tx.prepare("INSERT INTO fault_words (fault, words) VALUES (?1, ?2)").unwrap();
    let mut hour_row = tx.prepare("INSERT INTO tallies (fault, hour, count) VALUES (?1, ?2, ?3)").unwrap();
    let mut day_row = tx
        .prepare(
            "INSERT INTO days (day, fault, environment, count) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (day, fault, environment) DO UPDATE SET count = days.count + excluded.count",
        )
        .unwrap();
    let mut seen = tx
        .prepare("INSERT INTO sightings (fault, kind, value, count, last_seen) VALUES (?1, ?2, ?3, ?4, ?5)")
        .unwrap();
    let mut sample = tx
        .prepare(
            "INSERT INTO occurrences (id, fault, received_at, report, verdicts) VALUES (?1, ?2, ?3, ?4, ?5)",
        )
        .unwrap();
    let revision = "0123456789abcdef0123456789abcdef01234567";
    // Written day by day, as time goes.
    let mut days: Vec<(i64, u64, u64, u64)> = Vec::new();
    for id in 1..=FAULTS {
        let developer = chance.below(DEVELOPERS);
        let (part, file, line) = (chance.below(500), chance.below(40), 1 + chance.below(900));
        let path = format!("part{part}/file{file}.py");
        let function = format!("handle_{}", chance.below(4_000));
        let code = format!(
            "    return self.widget{}.load(request, timeout={})",
            chance.below(5_000),
            chance.below(90)
        );
        let kind = ["KeyError", "ValueError", "shop.errors.TimeoutError", "TypeError", "AttributeError"]
            [chance.below(5) as usize];
        let message = format!("widget{} is not there: {}", chance.below(5_000), chance.below(1_000_000));
        let place =
            serde_json::json!({"repository": "shop", "revision": revision, "path": path, "line": line});
        let author = serde_json::json!({"name": format!("Developer {developer}"), "mail": format!("dev{developer}@example.com"), "time": "2026-09-01T10:00:00Z"});
        let source: Vec<_> = (0..11)
            .map(|n| serde_json::json!({"number": line.saturating_sub(5).max(1) + n, "text": code}))
            .collect();
        let blame = serde_json::json!({
            "place": place, "origin": {"commit": revision, "path": path, "line": line}, "author": author,
            "summary": "Load widgets with a timeout", "boundary": false, "source": source,
            "confidence": {"level": "high", "why": "the source line sent is the line's"},
        });
        let mut hours: Vec<i64> = (0..HOURS_EACH)
            .map(|_| now / HOUR * HOUR - chance.below((WEEKS * 7 * 24) as u64) as i64 * HOUR)
            .collect();
        hours.sort_unstable();
        hours.dedup();
        let mut by_hour = Vec::new();
        let (mut left, each) = (OCCURRENCES / FAULTS, OCCURRENCES / FAULTS / HOURS_EACH);
        for (n, hour) in hours.iter().enumerate() {
            let count = if n + 1 == hours.len() { left } else { each };
            left -= count;
            by_hour.push((hour, count));
            days.push((hour / DAY * DAY, id, 2 + u64::from(chance.below(10) == 0), count));
        }
        let (first, last) = (hours[0], hours[hours.len() - 1]);
        fault
            .execute(params![
                id,
                format!("{revision}:{path}:{line}:{id}"),
                place.to_string(),
                function,
                code,
                blame.to_string(),
                format!("dev{developer}@example.com"),
                today - 80 * DAY,
                format!("Developer {developer}"),
                kind,
                message,
                OCCURRENCES / FAULTS,
                first,
                last
            ])
            .unwrap();
        for (hour, count) in by_hour {
            hour_row.execute(params![id, hour, count]).unwrap();
        }
        words
            .execute(params![id, format!("{kind}\n{message}\n{function}\n{code}\n{path}").to_lowercase()])
            .unwrap();
        for n in 0..3 {
            seen.execute(params![id, "host", format!("web-{}", n * 20 + chance.below(20)), 30, last])
                .unwrap();
        }
        seen.execute(params![id, "release", format!("shop@1.{}", chance.below(500)), 100, last]).unwrap();
        if id % 10 == 0 {
            let frames: Vec<_> = (0..20).map(|n| serde_json::json!({"file": format!("/srv/app/{path}"), "line": line + n, "function": function, "text": code, "locals": [["request", "<Request /cart>"]]})).collect();
            for (n, at) in [first, last].into_iter().enumerate() {
                let report = serde_json::json!({"exceptions": [{"kind": kind, "message": message, "frames": frames}], "hostname": "web-1", "count": 1, "protocol": "blamed-json"});
                sample.execute(params![format!("{id:x}-{n}"), id, at, report.to_string(), "[]"]).unwrap();
            }
        }
    }
    days.sort_unstable();
    for (day, id, environment, count) in days {
        day_row.execute(params![day, id, environment, count]).unwrap();
    }
    tx.execute_batch(
        "INSERT INTO day_totals (day, project, environment, occurrences, faults)
            SELECT day, 1, environment, SUM(count), COUNT(*) FROM days GROUP BY day, environment;
         INSERT INTO day_totals (day, project, environment, occurrences, faults)
            SELECT day, 1, 0, SUM(count), COUNT(DISTINCT fault) FROM days GROUP BY day",
    )
    .unwrap();
    drop((fault, words, hour_row, day_row, seen, sample));
    tx.commit().unwrap();
    db.pragma_update(None, "wal_checkpoint", "TRUNCATE").unwrap();
}

/// A repository whose every line may fail.
fn make_repository(folder: &Path) {
    fs::create_dir_all(folder.join("app")).unwrap();
    for file in 0..LINES / 100 {
        let lines: String = (0..100).map(|n| format!("    value_{n} = load({file}, {n})\n")).collect();
        fs::write(folder.join(format!("app/live{file}.py")), lines).unwrap();
    }
    for arguments in [
        &["init", "--quiet", "--initial-branch=main"][..],
        &["add", "."],
        &["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "--quiet", "-m", "All of it"],
    ] {
        assert!(Command::new("git").current_dir(folder).args(arguments).status().unwrap().success());
    }
}

struct Daemon {
    process: Child,
    url: String,
    key: String,
}

impl Daemon {
    fn start(data: &Path, repository: &Path, folder: &Path) -> Self {
        let file = folder.join("blamed.toml");
        let text = format!(
            "data_dir = {data:?}\n[web]\nsign_in = \"off\"\n[[project]]\nname = \"shop\"\n[[project.repository]]\npath = {repository:?}\n"
        );
        fs::write(&file, text).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_blamed"))
            .args(["start", "--listen", "127.0.0.1:0", "--config"])
            .arg(&file)
            .env("BLAMED_LOG", "error")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines().map_while(Result::ok);
        let mut after = |start: &str| {
            lines.find_map(|line| line.trim().strip_prefix(start).map(str::to_owned)).expect("it says so")
        };
        let (url, key) = (after("blamed listens on "), after("key "));
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, url, key }
    }

    /// How long a page took to its last byte, and how many bytes it has.
    fn time(&self, path: &str) -> (Duration, usize) {
        let begun = Instant::now();
        let mut answer = ureq::get(format!("{}{path}", self.url)).call().unwrap();
        let mut bytes = answer.body_mut().as_reader();
        let length = std::io::copy(&mut bytes, &mut std::io::sink()).unwrap();
        (begun.elapsed(), length as usize)
    }

    /// Memory in MB, as the kernel counts it.
    fn memory(&self) -> u64 {
        self.status("VmRSS:")
    }

    fn most_memory(&self) -> u64 {
        self.status("VmHWM:")
    }

    fn status(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() >> 10
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends this connection's share of reports until told to stop.
fn send(url: &str, key: &str, connection: u32, stop: &AtomicBool, sent: &AtomicU64) {
    let agent = ureq::agent();
    let mut chance = Chance(u64::from(connection) + 1);
    let pause = Duration::from_secs(1) * CONNECTIONS / REPORTS;
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let line = chance.below(LINES as u64);
        let (file, number) = (line / 100, line % 100);
        let report = serde_json::json!({
            "traceback": [{"filename": format!("/srv/app/app/live{file}.py"), "line_number": number + 1, "function_name": "run",
                "text": format!("value_{number} = load({file}, {number})")}],
            "exception_type": "ValueError", "exception_message": "no", "hostname": format!("web-{connection}"),
            "environment": "production", "release": "shop@2",
        });
        let request =
            agent.post(format!("{url}/api/v1/reports")).header("Authorization", format!("Bearer {key}"));
        let answer = request.header("Content-Type", "application/json").send(report.to_string());
        sent.fetch_add(u64::from(answer.is_ok()), Ordering::Relaxed);
        due += pause;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

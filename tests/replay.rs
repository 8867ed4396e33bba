//! Requests that real clients were seen to send, replayed over real HTTP or Thrift: each is answered as its client
//! expects and ends at the line that failed, and at the person that `git blame` names for it.
//!
//! They lie in `clients/` of the folder that `BLAMED_SHARED` names, or of `../shared`; the programs that failed
//! lie beside them as git bundles. Of the programs that only printed a traceback there is no history: one is made
//! up, in which the lines of a file are of two people by turns.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use bstr::BStr;
use daemon::{Daemon, PATIENCE, eventually};
use git::{Repo, tree};
use serde_json::Value;

/// The line that is responsible (repository, path, number), and the cases that end there: read from the programs
/// in the bundles and from the tracebacks, by the rules of the walk. The author is asked of git each time. Where a
/// client leaves out the cause (Airbrake for Node, OTLP for JavaScript) or sends the wrong frames for it
/// (Honeybadger), it is the line that what did arrive points to. A body of several errors has several lines.
#[rustfmt::skip]
const EXPECTED: &[(&str, &str, u32, &[&str])] = &[
    ("storefront", "lib/cart.js", 16, &[
        "airbrake-node/notify",
    ]),
    ("shop", "bin/export_invoice.py", 37, &[
        "honeybadger/locals",
        "honeybadger/locals-reported",
        "pybrake/locals",
        "raven-python/locals",
        "rollbar/locals",
        "sentry-python/locals",
        "sentry-python/no-locals",
    ]),
    ("shop", "bin/nightly_totals.py", 19, &[
        "honeybadger/script-chained",
    ]),
    ("shop", "bin/import_legacy.py", 18, &[
        "honeybadger/unicode-surrogate",
        "pybrake/unicode-surrogate",
        "rollbar/unicode-surrogate",
    ]),
    ("telemetry", "refund.js", 14, &[
        "otlp-js/json-log-manual-attributes",
        "otlp-js/json-span-and-log",
    ]),
    ("shop", "shop/orders.py", 25, &[
        "otlp-python/log-exception",
        "otlp-python/log-exception-in-span",
    ]),
    ("shop", "shop/pricing.py", 12, &[
        "otlp-python/span-exception",
        "otlp-python/span-exception-gzip",
        "pybrake/script-chained",
        "raven-python/script-chained",
        "rollbar/script-chained",
        "sentry-python/answer-200-silence-telemetry",
        "sentry-python/dist-environment",
        "sentry-python/flask-checkout-pii",
        "sentry-python/flask-tracing-mixed-items",
        "sentry-python/flask-view-through-library",
        "sentry-python/script-chained",
        "sentry-python/script-chained-no-release",
        "sentry-python/script-chained-release-from-git",
        "sentry-python/script-context",
        "sentry-python/sdk-1.45.1",
        "sentry-python/uncompressed",
    ]),
    ("storefront", "lib/inventory.js", 19, &[
        "sentry-node/answer-200-silence-telemetry",
        "sentry-node/answer-429-retry-after",
        "sentry-node/error-cause",
        "sentry-node/express",
        "sentry-node/express-tracing",
        "sentry-node/uncaught",
        "sentry-node/uncaught-locals",
        "sentry-node/uncaught-no-release",
        "sentry-node/v10-error-cause",
        "sentry-node/v10-uncaught",
    ]),
    ("storefront", "lib/inventory.js", 16, &[
        "sentry-node/esm",
        "sentry-node/large-gzip",
        "sentry-node/unhandled-rejection",
        "sentry-node/v10-esm",
    ]),
    ("storefront", "jobs/message.js", 7, &[
        "sentry-node/message",
    ]),
    ("storefront", "src/money.ts", 15, &[
        "sentry-node/typescript-enable-source-maps",
    ]),
    ("shop", "shop/catalog.py", 7, &[
        "sentry-python/answer-200-rate-limits",
        "sentry-python/answer-404",
        "sentry-python/answer-413",
        "sentry-python/answer-429-bare",
        "sentry-python/answer-429-retry-after",
        "sentry-python/answer-500",
        "sentry-python/flask-view-keyerror",
        "sentry-python/logging-error-no-exception",
        "sentry-python/logging-exception",
    ]),
    ("shop", "bin/heartbeat.py", 15, &[
        "sentry-python/message-attach-stacktrace",
    ]),
    ("shop", "bin/category_tree.py", 14, &[
        "sentry-python/recursion",
    ]),
    ("shop", "bin/audit_run.py", 14, &[
        "sentry-python/script-from-none",
    ]),
    ("shop", "plugins/broken.py", 2, &[
        "sentry-python/syntax-error",
    ]),
    ("shop", "bin/flawless_job.py", 17, &["flawless/decorator-chained"]),
    ("shop", "shop/feed.py", 7, &["flawless/repeat-20"]),
    ("shop", "bin/flawless_job.py", 33, &["flawless/wrap-class"]),
    ("shop", "shop/orders.py", 43, &["oops/script-datedir-bson"]),
    ("shop", "shop/oopsweb.py", 21, &["oops/wsgi-datedir-bson", "oops/wsgi-datedir-rfc822"]),
    ("samples", "c/overflow.c", 9, &["tracebacks/c/asan-heap-overflow"]),
    ("samples", "elixir/genserver.exs", 6, &["tracebacks/elixir/genserver"]),
    ("samples", "elixir/raise.exs", 10, &["tracebacks/elixir/raise"]),
    ("samples", "go/main.go", 20, &["tracebacks/go/nil"]),
    ("samples", "go/main.go", 69, &["tracebacks/go/repanic"]),
    ("samples", "java/com/example/shop/Checkout.java", 46, &["tracebacks/java/caused-by", "tracebacks/java/stream"]),
    ("samples", "java/com/example/shop/Settings.java", 4, &["tracebacks/java/init"]),
    ("samples", "java/com/example/shop/Feed.java", 17, &["tracebacks/java/logged"]),
    ("samples", "java/com/example/shop/Main.java", 19, &["tracebacks/java/multiline"]),
    ("samples", "java/com/example/shop/Tree.java", 5, &["tracebacks/java/overflow"]),
    ("samples", "node/console-error.js", 13, &["tracebacks/node/console-error"]),
    ("samples", "node/cause.js", 5, &["tracebacks/node/error-cause"]),
    ("samples", "node/eval.js", 4, &["tracebacks/node/eval"]),
    ("samples", "node/syntax.js", 3, &["tracebacks/node/syntax-error"]),
    ("storefront", "src/money.ts", 15, &["tracebacks/node/typescript-source-maps"]),
    ("samples", "node/uncaught.js", 6, &["tracebacks/node/uncaught"]),
    ("samples", "node/rejection.js", 5, &["tracebacks/node/unhandled-rejection"]),
    ("samples", "perl/confess.pl", 10, &["tracebacks/perl/confess"]),
    ("samples", "perl/lib/Shop/Price.pm", 8, &["tracebacks/perl/confess"]),
    ("samples", "perl/die.pl", 7, &["tracebacks/perl/die"]),
    ("samples", "perl/object.pl", 11, &["tracebacks/perl/object"]),
    ("samples", "php/chained.php", 25, &["tracebacks/php/chained", "tracebacks/php/chained-with-args"]),
    ("samples", "python/task_never_retrieved.py", 6, &["tracebacks/python/asyncio-task"]),
    ("samples", "python/system_exit.py", 5, &["tracebacks/python/called-process-error"]),
    ("samples", "python/carets.py", 2, &[
        "tracebacks/python/carets",
        "tracebacks/python/py313-carets",
        "tracebacks/python/py36-carets",
        "tracebacks/python/py39-carets",
    ]),
    ("samples", "python/chained.py", 10, &[
        "tracebacks/python/chained",
        "tracebacks/python/py313-chained",
        "tracebacks/python/py39-chained",
    ]),
    ("samples", "python/decorated.py", 19, &["tracebacks/python/decorated"]),
    ("samples", "python/dynamic.py", 4, &["tracebacks/python/dynamic-code"]),
    ("samples", "python/group.py", 18, &[
        "tracebacks/python/exception-group-taskgroup",
        "tracebacks/python/py312-exception-group-taskgroup",
        "tracebacks/python/py313-exception-group-taskgroup",
    ]),
    ("samples", "python/legacy27.py", 17, &["tracebacks/python/py27-legacy"]),
    ("samples", "python/syntax_main.py", 3, &[
        "tracebacks/python/py27-syntax-error-main",
        "tracebacks/python/syntax-error-import",
        "tracebacks/python/syntax-error-main",
    ]),
    ("samples", "python/thread.py", 5, &["tracebacks/python/py27-thread"]),
    ("samples", "python/multiline_call.py", 3, &["tracebacks/python/py312-multiline-call"]),
    ("samples", "python/recursion.py", 10, &["tracebacks/python/recursion"]),
    ("samples", "python/recursion.py", 2, &["tracebacks/python/recursion-mutual"]),
    ("samples", "python/unicode.py", 3, &["tracebacks/python/unicode"]),
    ("samples", "ruby/chained.rb", 12, &["tracebacks/ruby/chained"]),
    ("samples", "ruby/deep.rb", 2, &["tracebacks/ruby/deep"]),
    ("samples", "ruby/logged.rb", 5, &["tracebacks/ruby/logged"]),
    ("samples", "ruby/nil.rb", 5, &["tracebacks/ruby/nil"]),
    ("samples", "ruby/syntax.rb", 4, &["tracebacks/ruby/syntax-error"]),
    ("samples", "rust/src/main.rs", 20, &["tracebacks/rust/expect"]),
    ("samples", "rust/src/shelf.rs", 22, &["tracebacks/rust/generic-closure"]),
    ("samples", "rust/src/shelf.rs", 7, &[
        "tracebacks/rust/index-backtrace-1",
        "tracebacks/rust/index-backtrace-full",
        "tracebacks/rust/release-stripped",
        "tracebacks/rust/thread",
    ]),
    ("samples", "rust/src/main.rs", 24, &["tracebacks/rust/thread"]),
    ("samples", "rust/src/main.rs", 19, &["tracebacks/rust/unwrap"]),
];

/// Cases of which no line is ours: bundles without their source maps, messages without a stack, what was built.
const NOBODYS: &[&str] = &[
    "sentry-browser/chrome-debug-id",
    "sentry-browser/chrome-minified",
    "sentry-browser/chrome-preflight",
    "sentry-browser/chrome-uncaught",
    "sentry-browser/chrome-unhandled-rejection",
    "sentry-browser/firefox-uncaught",
    "sentry-node/reject-string",
    "sentry-node/typescript-no-sourcemap",
    "sentry-python/message",
    "tracebacks/node/reject-plain-object",
    "tracebacks/rust/anyhow-main-no-backtrace",
];

/// Bodies in which nothing says that an error happened somewhere.
const NO_TRACEBACK: &[&str] = &["tracebacks/go/wrapped"];

const REPOSITORIES: [&str; 4] = ["shop", "storefront", "telemetry", "widget"];

fn clients() -> Option<PathBuf> {
    let shared = std::env::var_os("BLAMED_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared"), PathBuf::from);
    let clients = shared.join("clients");
    if clients.join("repos").exists() {
        return Some(clients);
    }
    let _ =
        writeln!(std::io::stderr(), "skipped: requests of real clients; BLAMED_SHARED names their folder");
    None
}

/// The programs whose history nobody has: every line that a traceback quotes, where it quotes it.
fn samples(clients: &Path) -> Repo {
    let mut files: BTreeMap<String, BTreeMap<usize, String>> = BTreeMap::new();
    for (_, path, line, _) in EXPECTED.iter().filter(|(repository, ..)| *repository == "samples") {
        files.entry((*path).to_owned()).or_default().entry(*line as usize).or_default();
    }
    for case in fs::read_dir(clients.join("tracebacks/python")).unwrap() {
        let text = fs::read(case.unwrap().path().join("body.txt")).unwrap();
        let text = String::from_utf8_lossy(&text).into_owned();
        let lines: Vec<&str> = text.lines().map(|line| line.trim_start_matches(['|', ' '])).collect();
        for pair in lines.windows(2) {
            let frame = pair[0]
                .strip_prefix("File \"/srv/app/samples/")
                .and_then(|rest| rest.split_once("\", line "));
            let Some((path, rest)) = frame else { continue };
            let number = rest.split(',').next().unwrap().trim().parse().unwrap();
            let code = if pair[1].starts_with("File ") { "" } else { pair[1] };
            files.entry(path.to_owned()).or_default().insert(number, code.to_owned());
        }
    }
    let files = |mark: fn(usize) -> &'static str| {
        let content = |known: &BTreeMap<usize, String>| {
            let line = |n| match known.get(&n).filter(|code| !code.is_empty()) {
                Some(code) => format!("{code}{}\n", mark(n)),
                None => format!("line {n}{}\n", mark(n)),
            };
            (1..=80).map(line).collect::<String>()
        };
        files.iter().map(|(path, known)| (path.clone(), content(known))).collect::<Vec<_>>()
    };
    let mut repo = Repo::new();
    let [by_ada, by_both] = [files(|_| "  # first"), files(|n| if n % 2 == 0 { "  # first" } else { "" })];
    let as_tree = |files: &[(String, String)]| {
        tree(&files.iter().map(|(path, content)| (path.as_str(), content.as_str())).collect::<Vec<_>>())
    };
    let first = repo.commit("Ada", &[], &as_tree(&by_ada));
    repo.commit("Ben", &[first], &as_tree(&by_both));
    repo
}

/// The requests of a case, in order: the first one and the further ones of its run.
fn requests(case: &Path) -> Vec<PathBuf> {
    let mut further: Vec<PathBuf> = fs::read_dir(case).unwrap().map(|entry| entry.unwrap().path()).collect();
    further.retain(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("extra-")));
    further.sort();
    std::iter::once(case.to_owned()).chain(further).collect()
}

fn body(folder: &Path) -> Vec<u8> {
    fs::read(folder.join("body.bin")).or_else(|_| fs::read(folder.join("body.txt"))).unwrap()
}

/// Sends a captured request as it was, but with the key of its own project; answers the status.
fn replay(url: &str, key: &str, case: &str, folder: &Path) -> u16 {
    let config = ureq::Agent::config_builder().http_status_as_error(false).allow_non_standard_methods(true);
    let agent: ureq::Agent = config.build().into();
    let request = fs::read(folder.join("request.json")).ok();
    let request: Value = request.map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
    let path = match case.split('/').next().unwrap() {
        "tracebacks" => "/api/v1/reports",
        "oops" => "/api/v1/oops",
        _ => request["path"].as_str().unwrap(),
    };
    let mut sending = ureq::http::Request::builder()
        .method(request["method"].as_str().unwrap_or("POST"))
        .uri(format!("{url}{path}"))
        .header("X-Blamed-Key", key);
    for header in request["headers"].as_array().into_iter().flatten() {
        let (name, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
        let own = ["host", "content-length", "transfer-encoding", "connection", "expect"];
        if !own.contains(&name.to_ascii_lowercase().as_str()) {
            sending = sending.header(name, value);
        }
    }
    agent.run(sending.body(&body(folder)[..]).unwrap()).unwrap().status().as_u16()
}

/// Sends a captured call, frame and all; answers 0 where it was done, as its client finds.
fn replay_flawless(address: &str, folder: &Path) -> u16 {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&body(folder)).unwrap();
    let mut reply = [0; 29];
    stream.read_exact(&mut reply).unwrap();
    let done = b"\x00\x00\x00\x19\x80\x01\x00\x02\x00\x00\x00\x0crecord_error\x00\x00\x00\x00\x00";
    u16::from(reply != *done)
}

fn expected_status(case: &str) -> u16 {
    match case.split('/').next().unwrap() {
        _ if NO_TRACEBACK.contains(&case) => 422,
        "airbrake-node" | "pybrake" | "honeybadger" => 201,
        "oops" | "tracebacks" => 202,
        "flawless" => 0,
        _ => 200,
    }
}

/// What became of a case.
#[derive(Default)]
struct Got {
    /// The lines and their authors.
    lines: BTreeSet<String>,
    /// Occurrences, those of nobody's lines among them.
    count: u64,
}

/// Everything that the daemon with its data in `data` made of each project.
fn made_of(data: &Path) -> BTreeMap<i64, Got> {
    let store = blamed::store::Store::open_to_read(data).unwrap().unwrap();
    let mut made: BTreeMap<i64, Got> = BTreeMap::new();
    for id in 1.. {
        let Some(fault) = store.read(|tx| tx.fault(blamed::store::FaultId(id))).unwrap() else { break };
        let mail = fault.blame.map(|blame| blame.author.mail).unwrap_or_default();
        let got = made.entry(fault.project.0).or_default();
        got.count += fault.count;
        got.lines.extend(
            fault.place.map(|place| format!("{} {}:{} {mail}", place.repository, place.path, place.line)),
        );
    }
    made
}

#[test]
fn captured_requests_end_at_the_line_and_the_person() {
    let Some(clients) = clients() else { return };
    let repositories = tempfile::tempdir().unwrap();
    for name in REPOSITORIES {
        let bundle = clients.join("repos").join(format!("{name}.bundle"));
        let output = git::git(repositories.path())
            .args(["clone", "--quiet", bundle.to_str().unwrap(), name])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let samples = samples(&clients);
    let folder_of = |name: &str| match name {
        "samples" => samples.path().to_owned(),
        _ => repositories.path().join(name),
    };
    let mut table: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for (repository, path, line, cases) in EXPECTED {
        let blamed = git::expected(&folder_of(repository), "HEAD", BStr::new(path), &["-w"]);
        let line = format!("{repository} {path}:{line} {}", blamed[*line as usize - 1].mail);
        for case in *cases {
            table.entry(case).or_default().insert(line.clone());
        }
    }
    NOBODYS
        .iter()
        .chain(NO_TRACEBACK)
        .for_each(|case| assert!(table.insert(case, BTreeSet::new()).is_none()));

    // Each case is a project of its own, with all the repositories.
    let code: String = REPOSITORIES.iter().chain(&["samples"]).fold(String::new(), |mut code, name| {
        let _ =
            write!(code, "[[project.repository]]\nname = '{name}'\npath = '{}'\n", folder_of(name).display());
        code
    });
    let key = |n: usize| format!("{n:032x}");
    let projects: String = table.keys().enumerate().fold(String::new(), |mut projects, (n, case)| {
        let _ = write!(projects, "[[project]]\nname = '{case}'\nkey = '{}'\n{code}", key(n));
        projects
    });
    let folder = tempfile::tempdir().unwrap();
    let settled = |daemon: &Daemon| {
        let waiting = || daemon.get("/healthz").unwrap().body["waiting_for_blame"] == 0;
        eventually("all to be blamed", || waiting().then_some(()));
    };
    let daemon = Daemon::configured(folder.path(), &format!("data_dir = 'data'\n{projects}"));
    let mut statuses: Vec<Vec<u16>> = Vec::new();
    for (n, case) in table.keys().enumerate() {
        let requests = if case.starts_with("flawless/") { Vec::new() } else { requests(&clients.join(case)) };
        statuses.push(requests.iter().map(|folder| replay(&daemon.url, &key(n), case, folder)).collect());
    }
    settled(&daemon);
    assert!(daemon.stop());
    let mut made = made_of(&folder.path().join("data"));

    let (mut told, mut wrong) = (String::new(), 0);
    for (n, (case, expected)) in table.iter().enumerate() {
        let mut got = made.remove(&(n as i64 + 1));
        if case.starts_with("flawless/") {
            // Its listener is for one project.
            let folder = tempfile::tempdir().unwrap();
            let flawless = "data_dir = 'data'\n[flawless]\nlisten = '127.0.0.1:0'\n";
            let project = format!("{flawless}[[project]]\nname = 'all'\n{code}");
            let daemon = Daemon::configured(folder.path(), &project);
            let address = daemon.flawless.clone().unwrap();
            let requests = requests(&clients.join(case));
            statuses[n] = requests.iter().map(|folder| replay_flawless(&address, folder)).collect();
            settled(&daemon);
            assert!(daemon.stop());
            got = made_of(&folder.path().join("data")).remove(&1);
        }
        let Got { lines, count } = got.unwrap_or_default();
        let accepted = statuses[n].iter().all(|status| *status == expected_status(case));
        let right = accepted && lines == *expected && (count > 0) != NO_TRACEBACK.contains(case);
        wrong += usize::from(!right);
        let mark = if right { " " } else { "✗" };
        let shown = |lines: &BTreeSet<String>| match lines.len() {
            0 => "nobody".to_owned(),
            _ => lines.iter().map(String::as_str).collect::<Vec<_>>().join(" and "),
        };
        let (expected, got, statuses) = (shown(expected), shown(&lines), &statuses[n]);
        let _ = writeln!(told, "{mark} {case:48} expected {expected}, got {got} ({count}×) {statuses:?}");
    }
    println!("{told}");
    assert_eq!(wrong, 0, "of {} cases:\n{told}", table.len());
}

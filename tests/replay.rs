//! Requests that real clients were seen to send, replayed over real HTTP: each is answered as its client
//! expects and ends at the line that failed, and at the person that `git blame` names for it.
//!
//! They lie in `clients/` of the folder that `BLAMED_SHARED` names, or of `../shared`; the programs that failed
//! lie beside them as git bundles.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use bstr::BStr;
use daemon::{Daemon, eventually};
use serde_json::Value;

/// The line that is responsible (repository, path, number), and the cases that end there. Recorded from a run,
/// and compared with the frames that were sent; the author is asked of git each time.
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
];

/// Cases of which no line is ours: bundles without their source maps, and messages without a stack.
const NOBODYS: &[&str] =
    &["sentry-browser/chrome-minified", "sentry-node/reject-string", "sentry-python/message"];

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

/// Sends a captured request as it was, but with our key; answers the status.
fn replay(daemon: &Daemon, case: &Path) -> u16 {
    let request: Value = serde_json::from_slice(&fs::read(case.join("request.json")).unwrap()).unwrap();
    let body = fs::read(case.join("body.bin")).unwrap();
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let path = request["path"].as_str().unwrap();
    let mut sending = agent.post(format!("{}{path}", daemon.url)).header("X-Blamed-Key", &daemon.key);
    for header in request["headers"].as_array().unwrap() {
        let (name, value) = (header[0].as_str().unwrap(), header[1].as_str().unwrap());
        let own = ["host", "content-length", "transfer-encoding", "connection", "expect"];
        if !own.contains(&name.to_ascii_lowercase().as_str()) {
            sending = sending.header(name, value);
        }
    }
    sending.send(&body[..]).unwrap().status().as_u16()
}

/// What a daemon that has taken only this one request has made of it: place, author, and the answer's status.
fn made_of(clients: &Path, repositories: &Path, case: &str) -> (u16, String, String) {
    let folder = tempfile::tempdir().unwrap();
    let projects: String = ["shop", "storefront", "telemetry", "widget"]
        .iter()
        .map(|name| format!("[[project.repository]]\npath = '{}'\n", repositories.join(name).display()))
        .collect();
    let configuration = format!("data_dir = 'data'\n[[project]]\nname = 'all'\n{projects}");
    let daemon = Daemon::configured(folder.path(), &configuration);
    let status = replay(&daemon, &clients.join(case));
    eventually(case, || (daemon.get("/healthz").unwrap().body["waiting_for_blame"] == 0).then_some(()));
    assert!(daemon.stop());
    let store = blamed::store::Store::open_to_read(&folder.path().join("data")).unwrap().unwrap();
    let fault = store.read(|tx| tx.fault(blamed::store::FaultId(1))).unwrap();
    let Some(fault) = fault else { return (status, "no fault".to_owned(), String::new()) };
    let place = fault.place.map_or_else(
        || "nobody".to_owned(),
        |place| format!("{} {}:{}", place.repository, place.path, place.line),
    );
    (status, place, fault.blame.map(|blame| blame.author.mail).unwrap_or_default())
}

#[test]
fn captured_requests_end_at_the_line_and_the_person() {
    let Some(clients) = clients() else { return };
    let repositories = tempfile::tempdir().unwrap();
    for name in ["shop", "storefront", "telemetry", "widget"] {
        let bundle = clients.join("repos").join(format!("{name}.bundle"));
        let output = git::git(repositories.path())
            .args(["clone", "--quiet", bundle.to_str().unwrap(), name])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let mut table = Vec::new();
    for (repository, path, line, cases) in EXPECTED {
        let blamed = git::expected(&repositories.path().join(repository), "HEAD", BStr::new(path), &["-w"]);
        let author = blamed[*line as usize - 1].mail.clone();
        let expected = (format!("{repository} {path}:{line}"), author);
        table.extend(cases.iter().map(|case| (*case, expected.clone())));
    }
    table.extend(NOBODYS.iter().map(|case| (*case, ("nobody".to_owned(), String::new()))));

    let mut told = String::new();
    let mut wrong = 0;
    for (case, (line, author)) in &table {
        let (status, got_line, got_author) = made_of(&clients, repositories.path(), case);
        let expected_status = match case.split('/').next().unwrap() {
            "airbrake-node" | "pybrake" | "honeybadger" => 201,
            _ => 200,
        };
        let right = (status, &got_line, &got_author) == (expected_status, line, author);
        wrong += usize::from(!right);
        let mark = if right { " " } else { "✗" };
        told += &format!("{mark} {case:46} expected {line} {author}, got {status} {got_line} {got_author}\n");
    }
    println!("{told}");
    assert_eq!(wrong, 0, "of {} cases:\n{told}", table.len());
}

//! Real clients, as their makers publish them, in real programs that really fail: each is pointed at a daemon by its
//! key alone, and the one person who wrote the line that failed has one mail.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;
#[path = "programs/ledger.rs"]
mod ledger;
#[path = "support/tools.rs"]
mod tools;

use std::path::{Path, PathBuf};
use std::process::Command;

use blamed::ingest::snippets::snippets;
use blamed::store::ProjectId;
use daemon::{Daemon, eventually, mailed, run};

/// A clone in which one person wrote the program that fails, and others wrote what is around it, and a daemon on it.
struct House {
    folder: tempfile::TempDir,
    data: tempfile::TempDir,
    program: PathBuf,
    daemon: Daemon,
}

impl House {
    fn new(program: &str) -> Self {
        let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let shell = |arguments: &[&str]| {
            let output = git::git(folder.path()).args(arguments).output().unwrap();
            assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        };
        let commit = |name: &str| {
            let mail = format!("user.email={name}@example.org");
            shell(&["add", "."]);
            shell(&["-c", &format!("user.name={name}"), "-c", &mail, "commit", "--quiet", "-m", name]);
        };
        shell(&["init", "--quiet"]);
        std::fs::write(folder.path().join("setup.py"), "").unwrap();
        commit("ben");
        let there = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(program);
        let here = folder.path().join("tests/programs").join(program);
        std::fs::create_dir_all(here.parent().unwrap()).unwrap();
        // Its last lines are somebody else's: only the line that failed tells whose it is.
        std::fs::copy(&there, &here).unwrap();
        commit("ada");
        let added = format!("{}\n", std::fs::read_to_string(&here).unwrap());
        std::fs::write(&here, added).unwrap();
        commit("chika");
        let configuration = format!(
            "data_dir = '{}'\n[flawless]\nlisten = '127.0.0.1:0'\n[[project]]\nname = 'shop'\n\
             [[project.repository]]\npath = '{}'\n",
            data.path().display(),
            folder.path().display()
        );
        let daemon = Daemon::configured(data.path(), &configuration);
        Self { program: here, folder, data, daemon }
    }

    /// The lines that people are told to change in a client.
    fn lines(&self, client: &str) -> String {
        let Daemon { url, key, flawless, .. } = &self.daemon;
        let mut all = snippets(url, ProjectId(1), key, flawless.as_deref()).into_iter();
        all.find(|snippet| snippet.client == client)
            .unwrap_or_else(|| panic!("nothing is told for {client}"))
            .lines
    }

    /// Runs a program with the lines for its client: as its environment, or for it to run.
    fn run(&self, command: &mut Command, client: &str) -> String {
        let lines = self.lines(client);
        let settings: Option<Vec<(&str, &str)>> = lines
            .lines()
            .map(|line| {
                line.split_once('=')
                    .filter(|(name, _)| name.bytes().all(|byte| byte == b'_' || byte.is_ascii_uppercase()))
            })
            .collect();
        // Other telemetry than errors comes along.
        command.current_dir("/").env("SENTRY_TRACES_SAMPLE_RATE", "1.0").env_remove("PYTHONPATH");
        match settings {
            Some(settings) => command.envs(settings),
            None => command.env("SNIPPET", &lines),
        };
        let output = run(command);
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
    }

    /// One mail, about the line that holds `code`, to the one who wrote it; seen `count` times.
    fn blames_ada_for(self, code: &str, count: u64, printed: &str) {
        let source = std::fs::read_to_string(&self.program).unwrap();
        let number = source.lines().position(|line| line.contains(code)).unwrap() + 1;
        let store = || blamed::store::Store::open_to_read(self.data.path()).unwrap().unwrap();
        let fault = eventually(&format!("a fault; the program printed:\n{printed}"), || {
            store().read(|tx| tx.fault(blamed::store::FaultId(1))).unwrap()
        });
        let place = fault.place.unwrap();
        assert_eq!(place.line.get() as usize, number, "{}\n{printed}", place.path);
        assert!(self.program.ends_with(place.path.to_string()), "{}", place.path);
        assert_eq!(mailed(self.data.path(), 1), ["ada@example.org"]);
        assert!(self.daemon.stop());
        assert_eq!(store().read(|tx| tx.fault(blamed::store::FaultId(1))).unwrap().unwrap().count, count);
        drop(self.folder);
    }
}

/// Runs a program in Python, with the lines for `client`.
fn python(module: &str, client: &str, program: &str, code: &str) {
    let Some(python) = tools::python(module, &format!("{client}: {module}")) else { return };
    let house = House::new(program);
    let printed = house.run(Command::new(python).arg(&house.program), client);
    house.blames_ada_for(code, 1, &printed);
}

#[test]
fn sentry_for_python() {
    python("sentry_sdk", "sentry-sdk (Python)", "sentry_python.py", "float(prices[name])");
}

#[test]
fn sentry_by_its_environment() {
    let Some(python) = tools::python("sentry_sdk", "sentry-sdk (Python)") else { return };
    let house = House::new("sentry_python.py");
    let mut program = Command::new(python);
    let printed =
        house.run(program.arg(&house.program).env("SNIPPET", "sentry_sdk.init()"), "any Sentry SDK");
    house.blames_ada_for("float(prices[name])", 1, &printed);
}

#[test]
fn opentelemetry_for_python() {
    // It comes three times, and is one error; a line that raises is its caller's affair.
    let module = "opentelemetry.exporter.otlp.proto.http";
    python(module, "OpenTelemetry", "otlp_python.py", "ship({");
}

#[test]
fn airbrake_for_python() {
    python("pybrake", "Airbrake", "airbrake.py", "order[\"paid\"] /");
}

#[test]
fn rollbar_for_python() {
    python("rollbar", "Rollbar", "rollbar_.py", "parcel[\"street\"]");
}

#[test]
fn honeybadger_for_python() {
    python("honeybadger", "Honeybadger", "honeybadger_.py", "item.price");
}

#[test]
fn flawless_for_python() {
    python("flawless.client", "Flawless", "flawless_.py", "int(shelf");
}

#[test]
fn sentry_for_node() {
    let Some(modules) = tools::node_modules("@sentry/node", "@sentry/node") else { return };
    let house = House::new("sentry_node.js");
    assert_eq!(house.lines("@sentry/node"), house.lines("@sentry/browser"));
    let mut program = Command::new("node");
    let printed = house.run(program.arg(&house.program).env("NODE_PATH", modules), "@sentry/node");
    house.blames_ada_for("shelf[sku].count", 1, &printed);
}

#[test]
fn sentry_for_rust() {
    let house = House::new("ledger.rs");
    // This very program, told to fail.
    let mut program = Command::new(std::env::current_exe().unwrap());
    let printed = house.run(program.args(["--ignored", "--exact", "the_program_in_rust"]), "sentry (Rust)");
    assert!(printed.contains("the len is 2 but the index is 2"), "{printed}");
    house.blames_ada_for("    postings[n]", 1, &printed);
}

#[test]
#[ignore = "run by sentry_for_rust, to fail"]
fn the_program_in_rust() {
    let snippet = std::env::var("SNIPPET").unwrap_or_default();
    let call =
        snippet.strip_prefix("let _guard = sentry::init(\"").and_then(|rest| rest.strip_suffix("\");"));
    if let Some(dsn) = call {
        ledger::run(dsn);
    }
}

#[test]
fn no_client_but_curl() {
    let house = House::new("sentry_python.py");
    let there = house.folder.path();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    std::fs::copy(fixtures.join("requests/oops.bson"), there.join("OOPS-FILE")).unwrap();
    std::fs::copy(fixtures.join("tracebacks/python-chained.txt"), there.join("traceback.txt")).unwrap();
    for (client, key) in [("OOPS", "id"), ("none", "frames")] {
        let output = run(Command::new("sh").args(["-c", &house.lines(client)]).current_dir(there));
        let answer: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        assert!(!answer[key].is_null(), "{client}: {output:?}");
    }
    assert!(house.daemon.stop());
}

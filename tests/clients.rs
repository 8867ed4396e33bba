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

    fn dsn(&self) -> String {
        format!("{}/1", self.daemon.url.replace("://", &format!("://{}@", self.daemon.key)))
    }

    /// Runs the program with all that a client may want to know.
    fn run(&self, command: &mut Command) -> String {
        let Daemon { url, key, flawless, .. } = &self.daemon;
        command
            .current_dir("/")
            .env("DSN", self.dsn())
            .env("URL", url)
            .env("KEY", key)
            .env("FLAWLESS", flawless.as_ref().unwrap())
            .env("OTEL_EXPORTER_OTLP_ENDPOINT", url)
            .env("OTEL_EXPORTER_OTLP_HEADERS", format!("x-blamed-key={key}"))
            .env_remove("PYTHONPATH");
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

/// Runs a program in Python.
fn python(module: &str, client: &str, program: &str, code: &str) {
    let Some(python) = tools::python(module, client) else { return };
    let house = House::new(program);
    let printed = house.run(Command::new(python).arg(&house.program));
    house.blames_ada_for(code, 1, &printed);
}

#[test]
fn sentry_for_python() {
    python("sentry_sdk", "Sentry's client for Python", "sentry_python.py", "float(prices[name])");
}

#[test]
fn opentelemetry_for_python() {
    // It comes three times, and is one error.
    let module = "opentelemetry.exporter.otlp.proto.http";
    python(module, "OpenTelemetry's client for Python", "otlp_python.py", "upper()");
}

#[test]
fn airbrake_for_python() {
    python("pybrake", "Airbrake's client for Python", "airbrake.py", "order[\"paid\"] /");
}

#[test]
fn rollbar_for_python() {
    python("rollbar", "Rollbar's client for Python", "rollbar_.py", "parcel[\"street\"]");
}

#[test]
fn honeybadger_for_python() {
    python("honeybadger", "Honeybadger's client for Python", "honeybadger_.py", "item.price");
}

#[test]
fn flawless_for_python() {
    python("flawless.client", "Flawless's client", "flawless_.py", "int(shelf");
}

#[test]
fn sentry_for_node() {
    let Some(modules) = tools::node_modules("@sentry/node", "Sentry's client for Node") else { return };
    let house = House::new("sentry_node.js");
    let printed = house.run(Command::new("node").arg(&house.program).env("NODE_PATH", modules));
    house.blames_ada_for("shelf[sku].count", 1, &printed);
}

/// What the program in Rust is told to report to.
const LEDGER_DSN: &str = "BLAMED_TEST_LEDGER_DSN";

#[test]
fn sentry_for_rust() {
    let house = House::new("ledger.rs");
    // This very program, told to fail.
    let mut program = Command::new(std::env::current_exe().unwrap());
    program.args(["--ignored", "--exact", "the_program_in_rust"]).env(LEDGER_DSN, house.dsn());
    let printed = house.run(&mut program);
    assert!(printed.contains("the len is 2 but the index is 2"), "{printed}");
    house.blames_ada_for("    postings[n]", 1, &printed);
}

#[test]
#[ignore = "run by sentry_for_rust, to fail"]
fn the_program_in_rust() {
    if let Ok(dsn) = std::env::var(LEDGER_DSN) {
        ledger::run(&dsn);
    }
}

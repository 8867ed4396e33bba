//! The API held to its own document by a program that knows nothing else of it: schemathesis makes up what the
//! document allows and what it does not, and looks at every answer.

#[path = "support/api.rs"]
mod api;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;
#[path = "support/tools.rs"]
mod tools;

use std::process::Command;

use api::Program;
use daemon::{Daemon, traceback};
use git::{Repo, tree};
use serde_json::json;

/// That nothing breaks, and that status, kind, headers and body of every answer are what the document says; that
/// other methods are refused as they should be, and that nobody gets in without a token or a key.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,\
    response_headers_conformance,response_schema_conformance,unsupported_method,allow_header_conformance,ignored_auth";
/// What is reported with a project's key.
const WITH_KEY: &str = "/(reports|deploys|fetch)$";
/// What it cannot make up.
const BINARY: &str = "/oops$";

#[test]
fn the_api_does_what_its_document_says() {
    let Some(python) = tools::python("schemathesis", "schemathesis") else { return };
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", "fail(1)\nfail(2)\n")]));
    let daemon = Daemon::start(repo.path(), data.path());
    for line in 1..=2 {
        daemon.decided(traceback("/srv/app/shop/feed.py", line, "load", &format!("fail({line})")));
    }
    let program = Program::of(&daemon.url, data.path(), ("root@example.org", "admin"), "admin");
    // Another admin, so that the one who asks is not the last; and a rule to be looked at.
    program.send("POST", "/api/v1/people", &json!({ "mail": "eve@example.org", "role": "reader" })).is(201);
    let rule = json!({ "kind": "ignored_exception", "type": "KeyError" });
    program.send("POST", "/api/v1/rules", &rule).is(201);

    for (secret, paths) in [
        (&program.token, ["--exclude-path-regex", WITH_KEY]),
        (&daemon.key, ["--include-path-regex", WITH_KEY]),
    ] {
        let document = format!("{}/api/v1/openapi.json", daemon.url);
        let run = Command::new(&python)
            .args(["-m", "schemathesis.cli", "run", &document, "--header"])
            .arg(format!("Authorization: Bearer {secret}"))
            .args(paths)
            .args(["--exclude-path-regex", BINARY])
            .args(["--checks", CHECKS, "--phases", "examples,coverage,fuzzing", "--max-examples", "10"])
            .args(["--generation-deterministic", "--continue-on-failure", "--no-color", "--warnings", "off"])
            .current_dir(data.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&run.stdout);
        assert!(run.status.success(), "{said}\n{}", String::from_utf8_lossy(&run.stderr));
        assert!(said.contains("Test cases:") && said.contains("generated"), "{said}");
    }
    // It was heard to the end, and what it asked about is still there to be asked about.
    program.get("/api/v1/me").is(200);
}

//! A real Flask application fails for real, inside a clone of Flask's own history, and its author is mailed.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;
#[path = "support/tools.rs"]
mod tools;

use std::path::Path;
use std::process::Command;

use daemon::{Daemon, mailed, run};
use serde_json::json;

const APP: &str = r#"import sys
import traceback

from flask import Flask, request

app = Flask(__name__)
PRICES = {"tea": 4.5}


def price_of(name):
    return PRICES[name]


@app.route("/price")
def price():
    return str(price_of(request.args["name"]))


@app.errorhandler(KeyError)
def failed(error):
    traceback.print_exc(file=sys.stdout)
    return "sorry", 500


app.test_client().get("/price?name=cofee")
"#;

fn shell(folder: &Path, arguments: &[&str]) {
    let output = git::git(folder).args(arguments).output().unwrap();
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_flask_application_fails_and_its_author_has_one_mail() {
    let (Some(python), Some(bundle)) = (tools::python("flask", "Flask"), git::bundle("flask.bundle")) else {
        return;
    };
    let (folder, data) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let flask = folder.path().join("flask");
    shell(folder.path(), &["clone", "--quiet", bundle.to_str().unwrap(), "flask"]);
    let app = flask.join("examples/shop/prices.py");
    std::fs::create_dir_all(app.parent().unwrap()).unwrap();
    std::fs::write(&app, APP).unwrap();
    shell(&flask, &["add", "."]);
    let author = ["-c", "user.name=Dana", "-c", "user.email=dana@example.org"];
    shell(&flask, &[&author[..], &["commit", "--quiet", "-m", "A price list"]].concat());

    // Flask itself runs from the clone as well: its lines are tracked, and only called ours.
    let failed = run(Command::new(&python).arg(&app).env("PYTHONPATH", flask.join("src")).current_dir("/"));
    let printed = String::from_utf8(failed.stdout).unwrap();
    assert!(printed.contains("KeyError: 'cofee'"), "{printed}{}", String::from_utf8_lossy(&failed.stderr));
    assert!(printed.contains("src/flask/app.py"), "{printed}");

    let daemon = Daemon::start(&flask, data.path());
    let answer = daemon.decided(&printed);
    assert_eq!(answer["place"]["path"], "examples/shop/prices.py", "{answer}");
    assert_eq!(
        (&answer["place"]["line"], &answer["author"]["mail"]),
        (&json!(11), &json!("dana@example.org"))
    );
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..125 {
                    assert_eq!(daemon.report(printed.as_bytes(), "").status, 202);
                }
            });
        }
    });
    assert_eq!(daemon.decided(&printed)["fault"]["count"], 1_002);
    assert_eq!(mailed(data.path(), 1), ["dana@example.org"]);
}

//! Which file of which repository a frame is in, as `blamed explain` tells it: one repository for many
//! projects, repositories inside of others, and lists that cannot be read.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::path::Path;

use daemon::{blamed, run};
use git::{File, REGULAR, Repo, SUBMODULE, file, tree};

/// What `explain` says of a traceback through `frames` (file, line, its text), caller first, of a project with those
/// repositories.
fn explain(
    folder: &Path,
    repositories: &[(&str, &Repo)],
    revision: &str,
    frames: &[(&str, u32, &str)],
) -> String {
    let named = repositories.iter().map(|(name, repo)| {
        format!("[[project.repository]]\nname = \"{name}\"\npath = \"{}\"\n", repo.path().display())
    });
    let key = "0123456789abcdef0123456789abcdef";
    let config = format!("[[project]]\nname = \"shop\"\nkey = \"{key}\"\n{}", named.collect::<String>());
    let (config_file, report_file) = (folder.join("blamed.toml"), folder.join("report.json"));
    std::fs::write(&config_file, config).unwrap();
    let frames = frames.iter().map(
        |(file, line, text)| serde_json::json!({ "filename": file, "line_number": line, "function_name": "f", "text": text }),
    );
    let report = serde_json::json!({
        "traceback": frames.collect::<Vec<_>>(),
        "exception_type": "ValueError",
        "exception_message": "no",
        "revision": revision,
    });
    std::fs::write(&report_file, report.to_string()).unwrap();
    let paths = [&config_file, &report_file].map(|path| path.to_str().unwrap());
    let output = run(&mut blamed(&["explain", "--config", paths[0], paths[1]]));
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

fn holds(said: &str, expected: &[&str]) {
    for expected in expected {
        assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
    }
}

#[test]
fn a_folder_of_a_large_repository_is_found_where_it_is_deployed() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    let files = tree(&[
        ("services/shop/run.py", "import shop\n"),
        ("services/shop/shop/cart.py", "a = 1\nb = 2\n"),
        ("services/mail/run.py", "import mail\n"),
        ("services/mail/mail/send.py", "c = 3\n"),
    ]);
    let id = repo.commit("Ada", &[], &files);
    let frames = [("/srv/app/shop/cart.py", 1, "a = 1"), ("/srv/app/run.py", 1, "")];
    let said = explain(folder.path(), &[("mono", &repo)], &id.to_string(), &frames);
    holds(
        &said,
        &[
            "deployed  /srv/app is services/shop of mono\n",
            "mono: services/shop/shop/cart.py; our code: ",
            "mono: services/shop/run.py; our code: the project is deployed at /srv/app\n",
        ],
    );
}

#[test]
fn a_submodule_is_looked_at_as_of_its_pinned_commit() {
    let folder = tempfile::tempdir().unwrap();
    let (mut outer, mut inner) = (Repo::new(), Repo::new());
    let pinned = inner.commit("Ben", &[], &tree(&[("src/tax.py", "one = 1\n")]));
    inner.commit("Cyd", &[pinned], &tree(&[("src/tax.py", "one = 2\n")]));
    let mut files = tree(&[("app/main.py", "x = 1\n"), ("src/tax.py", "y = 1\n")]);
    files.insert("vendor/tax".into(), File { content: pinned.to_string().into(), mode: SUBMODULE });
    let id = outer.commit("Ada", &[], &files).to_string();
    for frames in [
        // Where the project is deployed is known, and is not.
        &[("/srv/shop/app/main.py", 1, ""), ("/srv/shop/vendor/tax/src/tax.py", 1, "")][..],
        &[("/srv/shop/vendor/tax/src/tax.py", 1, "")],
        &[("vendor/tax/src/tax.py", 1, "")],
    ] {
        let said = explain(folder.path(), &[("shop", &outer)], &id, frames);
        holds(
            &said,
            &["not our code: in the submodule vendor/tax of shop, whose repository is not configured"],
        );
        let said = explain(folder.path(), &[("shop", &outer), ("tax", &inner)], &id, frames);
        holds(
            &said,
            &[
                "of tax: shop has it as its submodule vendor/tax, at ",
                "tax: src/tax.py; our code: ",
                "person    Ben <ben@example.org>",
            ],
        );
    }
}

#[test]
fn a_list_of_ignored_commits_that_is_none_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    let mut files = tree(&[("a.py", "a = 1\n")]);
    let list = "# formatted\nabc1234 # short\n0123456789012345678901234567890123456789\n";
    files.insert(".git-blame-ignore-revs".into(), File { mode: REGULAR, ..file(list) });
    let id = repo.commit("Ada", &[], &files).to_string();
    let told =
        ".git-blame-ignore-revs:2: not a full commit id, so nothing is ignored for it: \"abc1234 # short\"";
    let said = explain(folder.path(), &[("shop", &repo)], &id, &[("/srv/a.py", 1, "")]);
    holds(&said, &[&format!("beware    {told}\n"), "person    Ada"]);
    let path = repo.path().to_str().unwrap();
    let output = run(&mut blamed(&["blame", "--repository", path, "a.py:1"]));
    assert_eq!(String::from_utf8_lossy(&output.stderr), format!("warning: {told}\n"));
    let output = run(&mut blamed(&["blame", "--repository", path, "--no-ignore-revs", "a.py:1"]));
    assert!(output.stderr.is_empty() && output.status.success());
}

#[test]
fn a_file_that_was_renamed_or_removed_since_is_still_found() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    let main = ("py/main.py", "import prices\nprices.load()\n");
    let prices = "def load():\n    return parse('1,5')\n\n\ndef parse(text):\n    return float(text)\n";
    let before = repo.commit("Ben", &[], &tree(&[main, ("py/prices.py", prices), ("tool.py", "run()\n")]));
    let named = "def load():\n    return parse('1,5')\n\n\ndef parse(word):\n    return float(word)\n";
    let renamed =
        repo.commit("Cyd", &[before], &tree(&[main, ("py/money.py", named), ("tool.py", "run()\n")]));
    repo.commit("Ada", &[renamed], &tree(&[main, ("py/money.py", named), ("other/tool.py", "go()\n")]));
    let main = ("/srv/py/main.py", 2, "prices.load()");
    let held = "py/prices.py; our code: the project is deployed at /srv; renamed or removed since";
    for (frames, expected) in [
        (&[main, ("/srv/py/prices.py", 6, "return float(text)")][..], &[held, "person    Ben"][..]),
        (&[main, ("/srv/py/prices.py", 6, "")], &[held, "person    Ben"]),
        (&[("/opt/py/prices.py", 6, "return float(text)")], &["renamed or removed since", "person    Ben"]),
        // A name alone is anybody's, unless the line is there.
        (&[main, ("/opt/prices.py", 6, "")], &["no tracked file is called prices.py"]),
        (
            &[main, ("/opt/prices.py", 6, "return float(text)")],
            &["renamed or removed since", "person    Ben"],
        ),
        (&[main, ("/opt/prices.py", 6, "return int(text)")], &["no tracked file is called prices.py"]),
        (&[main, ("/usr/lib/python3.11/py/prices.py", 6, "")], &["which belongs to a runtime"]),
        // One of that name that is there now goes before.
        (&[main, ("/srv/tool.py", 1, "go()")], &["other/tool.py; our code", "person    Ada"]),
        (&[main, ("/srv/tool.py", 1, "run()")], &["shop: tool.py; our code", "person    Ben"]),
    ] {
        holds(&explain(folder.path(), &[("shop", &repo)], "", frames), expected);
    }
    // A revision that is named has the files that ran.
    let frames = [main, ("/srv/py/prices.py", 6, "return float(text)")];
    let said = explain(folder.path(), &[("shop", &repo)], &before.to_string(), &frames);
    holds(&said, &["the project is deployed at /srv\n", "person    Ben"]);
    let said = explain(folder.path(), &[("shop", &repo)], &renamed.to_string(), &frames);
    holds(&said, &["no tracked file is called prices.py"]);
}

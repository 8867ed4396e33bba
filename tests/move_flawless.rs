//! From Flawless to here: what it was told is taken over, and means the same. The authority is Flawless itself, of its
//! package; the fixtures were made by it under Python 2.7.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;
#[path = "support/tools.rs"]
mod tools;

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use blamed::store::{FaultId, Store};
use daemon::{Daemon, blamed, run};
use serde_json::{Value, json};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/flawless").join(name)
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// `blamed import flawless` of the fixtures, in `folder`.
fn import(folder: &Path, more: &[&str]) -> (Option<i32>, String, String) {
    let mut command = blamed(&["import", "flawless"]);
    command.arg(fixture("flawless.cfg")).arg("--lists").arg(fixture("flawless-whitelists-config"));
    said(&run(command.args(more).current_dir(folder)))
}

/// Lines of a kind, with what fills them up taken out.
fn lines(out: &str, kind: &str) -> Vec<String> {
    let folded = out.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    folded.filter_map(|line| line.strip_prefix(kind).map(|rest| rest.trim().to_owned())).collect()
}

#[test]
fn settings_and_lists_are_taken_once_and_told_line_by_line() {
    let folder = tempfile::tempdir().unwrap();
    let here = || std::fs::read_dir(folder.path()).unwrap().count();
    let (code, planned, err) = import(folder.path(), &["--config-out", "blamed.toml", "--dry-run"]);
    assert_eq!((code, here()), (Some(0), 0), "{err}");
    assert!(err.contains("8 rules would be taken") && err.contains("nothing was written"), "{err}");

    let (code, out, err) = import(folder.path(), &["--config-out", "blamed.toml"]);
    assert_eq!((code, &out), (Some(0), &planned), "{err}");
    assert!(err.contains("8 rules taken\nwritten: blamed.toml"), "{err}");
    let password = folder.path().join("smtp-password");
    assert_eq!(
        lines(&out, "config"),
        [
            "repo_url = https://*********@git.example.com/shop.git project.name = \"shop\", \
             project.repository.url = \"https://*********@git.example.com/shop.git\"",
            "repo_branch_pattern = origin/release-.* project.repository.branch_pattern = \"release-*\"",
            "http_port (not set: 8080) listen = \"0.0.0.0:8080\"",
            "port = 9028 flawless.listen = \"0.0.0.0:9028\"",
            "hostname = http://flawless.example.com:8080 public_url = \"http://flawless.example.com:8080\"",
            "default_contact = ops@example.com default_contact = \"ops@example.com\"",
            "smtp_host = mail.example.com:587 mail.smtp_host = \"mail.example.com\", mail.smtp_port = 587",
            "smtp_use_tls = True mail.smtp_tls = \"starttls\"",
            &format!(
                "smtp_user = flawless mail.smtp_user = \"flawless\", mail.smtp_password_file = \"{}\"",
                std::fs::canonicalize(folder.path()).unwrap().join("smtp-password").display()
            ),
            "email_domain_name = example.com mail.email_domain = \"example.com\"",
            "ignore_vcs_email_domain = False mail.ignore_vcs_email_domain = false",
            "smtp_from (not set: flawless@example.com) mail.from = \"flawless@example.com\"",
            "only_blame_filepaths_matching = ^shop/, ^bin/(?!vendor) \
             project.only_blame = [\"^shop/\", \"^bin/(?!vendor)\"]",
            "log_level = WARNING log = \"warn\"",
        ]
    );
    assert_eq!(
        lines(&out, "setting"),
        [
            "report_error_threshold (not set: 3) threshold 3",
            "report_only_after_minimum_date = 2019-5-1 cutoff 2019-05-01"
        ]
    );
    assert_eq!(
        lines(&out, "rule"),
        [
            "Known error: shop/feed.py in read_feed with \"return json.loads(text)\" (mail at 10 · mail at every 100 · \
             none above 500 · taken over from Flawless)",
            "Known error: shop/old.py (taken over from Flawless)",
            "Library code: shop/db.py in query",
            "Third-party error: requests/sessions.py in send",
            "Ignored exception: exceptions.KeyboardInterrupt",
            "Watcher: payments@example.com watches shop/payments, also what goes through it",
            "Address remap: ada → ada@example.com",
            "Disowned path: shop/payments: ben@example.com → payments@example.com",
        ]
    );
    let left = lines(&out, "left");
    for expected in [
        "data_dir_path = /var/lib/flawless data_dir is a folder of its own",
        "repo_dir = /var/lib/flawless/repo a mirror of its own is kept in data_dir",
        "max_concurrent_git_blames = 20 blame.threads says",
        "client_timeout = soon it is for clients",
        "colour it is no setting of Flawless 0.4",
        "watch_list who watches shop/feed.py is no address",
    ] {
        assert!(left.iter().any(|line| line.starts_with(expected)), "{expected} is not in {left:#?}");
    }
    assert_eq!(left.len(), 7, "{left:#?}");
    assert_eq!(lines(&out, "note").len(), 1, "{out}");
    assert!(!out.contains("s3cret") && !out.contains("t0ken"), "{out}");

    // What is written is a configuration, comments and all, for its owner alone.
    assert_eq!(std::fs::read_to_string(&password).unwrap(), "s3cret%s\n");
    for file in [&password, &folder.path().join("blamed.toml")] {
        assert_eq!(std::fs::metadata(file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let text = std::fs::read_to_string(folder.path().join("blamed.toml")).unwrap();
    assert!(text.contains("url = \"https://bot:t0ken@git.example.com/shop.git\"\n") && text.len() > 10_000);
    let (code, _, err) = said(&run(blamed(&["check"]).current_dir(folder.path())));
    assert_eq!(code, Some(0), "{err}");

    // Nothing is taken twice, nothing is overwritten.
    let before = here();
    let (code, _, err) = import(folder.path(), &["--config-out", "blamed.toml"]);
    assert!(code == Some(2) && err.contains("is there already, and nothing is overwritten"), "{err}");
    let (code, out, err) = import(folder.path(), &[]);
    assert_eq!((code, here()), (Some(0), before), "{err}");
    assert!(err.contains("0 rules taken"), "{err}");
    assert_eq!((lines(&out, "rule").len(), lines(&out, "there").len()), (0, 10), "{out}");
    // What somebody has changed since stays as they wanted it.
    let set = |arguments: &[&str]| {
        let (code, _, err) = said(&run(blamed(arguments).current_dir(folder.path())));
        assert_eq!(code, Some(0), "{err}");
    };
    set(&["settings", "set", "threshold", "1"]);
    let (_, out, _) = import(folder.path(), &[]);
    assert!(out.contains("threshold is 1; `blamed settings set threshold 3` changes it"), "{out}");
    let (_, out, _) = said(&run(blamed(&["settings", "show"]).current_dir(folder.path())));
    assert!(out.contains("threshold\t1\ncutoff\t2019-05-01T00:00:00Z"), "{out}");
}

#[test]
fn what_is_no_file_of_flawless_s_is_told_and_nothing_is_run() {
    let folder = tempfile::tempdir().unwrap();
    let check = |lists: &[u8], arguments: &[&str], words: &[&str]| {
        let file = folder.path().join("lists");
        std::fs::write(&file, lists).unwrap();
        let mut command = blamed(&["import", "flawless"]);
        command.args(arguments).current_dir(folder.path());
        let (code, _, err) = said(&run(&mut command));
        assert_eq!(code, Some(2), "{arguments:?}: {err}");
        for word in words {
            assert!(err.contains(word), "{arguments:?}: {word:?} is not in {err}");
        }
    };
    let config = fixture("flawless.cfg");
    let config = config.to_str().unwrap();
    let bomb = format!("cposix\nsystem\n(S'touch {}/bomb'\ntR.", folder.path().display());
    check(
        bomb.as_bytes(),
        &[config, "--lists", "lists"],
        &["at byte ", "posix.system", "nothing was run", "hint: "],
    );
    check(b"\x80\x02}", &[config, "--lists", "lists"], &["lists: at byte 3: the file ends"]);
    check(b"\x80\x02]q\x00h\x00a.", &[config, "--lists", "lists"], &["too deeply"]);
    check(b"\x80\x02}U\x01aNs.", &[config, "--lists", "lists"], &["none of Flawless's lists"]);
    check(b"", &[config, "--lists", "missing"], &["missing: No such file", "hint: "]);
    check(b"", &["missing.cfg"], &["missing.cfg: No such file", "hint: "]);
    check(b"x = 1\n", &["lists"], &["lists: line 1 stands before any section", "hint: "]);
    // There is no configuration and no data: nobody would look where the rules went.
    let lists = fixture("flawless-whitelists-config");
    check(b"", &[config, "--lists", lists.to_str().unwrap()], &["no data of a daemon", "hint: "]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// Flawless's own server, asked for something with JSON on its stdin.
struct Flawless {
    python: PathBuf,
    config: PathBuf,
}

impl Flawless {
    fn ask(&self, what: &str, told: &Value) -> String {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/flawless_server.py");
        let mut process = Command::new(&self.python)
            .arg(program)
            .arg(what)
            .arg(&self.config)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("TZ", "UTC")
            .env_remove("PYTHONPATH")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        process.stdin.take().unwrap().write_all(told.to_string().as_bytes()).unwrap();
        let (code, out, err) = said(&process.wait_with_output().unwrap());
        assert_eq!(code, Some(0), "{err}");
        out
    }
}

#[test]
fn every_setting_of_flawless_has_a_line() {
    let Some(python) = tools::python("flawless", "Flawless of PyPI") else { return };
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("flawless.cfg");
    std::fs::write(&config, "[flawless]\n").unwrap();
    let settings = Flawless { python, config: config.clone() }.ask("settings", &json!(null));
    let settings: std::collections::BTreeMap<String, Value> = serde_json::from_str(&settings).unwrap();
    assert!(settings.len() > 25, "{settings:?}");
    // Each set to its default, or to something.
    let set = settings.iter().map(|(name, default)| {
        let value = match default {
            Value::Null => "x".to_owned(),
            Value::String(text) => text.replace("1970", "2019"),
            Value::Array(items) => items.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(","),
            other => other.to_string(),
        };
        format!("{name} = {value}\n")
    });
    std::fs::write(&config, format!("[flawless]\n{}", set.collect::<String>())).unwrap();
    let command = &mut blamed(&["import", "flawless", "flawless.cfg", "--dry-run"]);
    let (code, out, err) = said(&run(command.current_dir(folder.path())));
    assert_eq!(code, Some(0), "{err}");
    assert!(!out.contains("it is no setting of Flawless"), "{out}");
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/flawless.md");
    let page = std::fs::read_to_string(page).unwrap();
    for name in settings.keys() {
        assert!(out.contains(&format!(" {name} ")), "{name} has no line in\n{out}");
        assert!(page.contains(&format!("`{name}`")), "{name} is not on the page");
    }
}

/// A clone as Flawless wants it: files that each one person wrote at one time.
fn clone(folder: &Path, files: &[(&str, &str, &str, &str)]) {
    let shell = |arguments: &[&str], day: &str| {
        let mut command = git::git(folder);
        let output = command.args(arguments).env("GIT_AUTHOR_DATE", day).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    shell(&["init", "--quiet"], "");
    for (path, content, mail, day) in files {
        let file = folder.join(path);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(&file, content).unwrap();
        shell(&["add", "."], day);
        let mail = format!("user.email={mail}");
        shell(&["-c", "user.name=Somebody", "-c", &mail, "commit", "--quiet", "-m", path], day);
    }
}

/// A report of an exception with frames `(file, line, function, text)`, as both understand it.
fn report(kind: &str, frames: &[(&str, u32, &str, &str)]) -> Value {
    let line = |(file, line, function, text): &(&str, u32, &str, &str)| {
        json!({"filename": format!("/srv/venv/lib/site-packages/{file}"), "line_number": line,
               "function_name": function, "text": text})
    };
    let traceback: Vec<Value> = frames.iter().map(line).collect();
    json!({"traceback": traceback, "exception_type": kind, "exception_message": "no", "hostname": "web-1"})
}

#[test]
fn every_mail_goes_to_whom_flawless_mailed_and_when() {
    let Some(python) = tools::python("flawless", "Flawless of PyPI") else { return };
    let (folder, repository) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (recent, old) = ("2020-02-02T12:00:00Z", "2014-02-02T12:00:00Z");
    clone(
        repository.path(),
        &[
            ("shop/feed.py", "def read_feed():\n    return json.loads(text)\n", "ada@laptop", recent),
            ("shop/known.py", "run()\nwalk()\n", "ada@example.org", recent),
            ("shop/payments/charge.py", "pay(\n    cart)\n", "ben@example.org", recent),
            ("shop/cart.py", "price()\n    query(sql)\n    raise Late\n", "dora@old.org", recent),
            ("shop/db.py", "def query(sql):\n    execute(sql)\n", "ada@laptop", recent),
            ("shop/older.py", "old()\n", "ada@laptop", old),
        ],
    );
    let config = folder.path().join("flawless.cfg");
    let text = format!(
        "[flawless]\nport = 0\nhttp_port = 0\nemail_domain_name = example.org\n\
         data_dir_path = {data}\nrepo_dir = {repo}\nreport_error_threshold = 2\nreport_only_after_minimum_date = 2015-01-01\n",
        data = folder.path().display(),
        repo = repository.path().display()
    );
    std::fs::write(&config, text).unwrap();
    let flawless = Flawless { python, config };
    let known = |more: Value| {
        let mut form = json!({"type": "known_errors"});
        form.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!(["save_known_error", form])
    };
    flawless.ask(
        "lists",
        &json!([
            known(json!({"filename": "shop/feed.py", "function_name": "read_feed", "code_fragment": "return \t json.loads(text)",
                "min_alert_threshold": 2, "alert_every_n_occurrences": 5, "max_alert_threshold": 12,
                "email_recipients": "feeds@example.org,  ops@example.org", "email_header": "It breaks at night."})),
            known(json!({"filename": "shop/feed.py"})),
            known(json!({"filename": "shop/known.py", "code_fragment": "run()"})),
            known(json!({"filename": "shop/known.py", "code_fragment": "walk()", "min_alert_threshold": 1,
                "max_alert_threshold": 0})),
            known(json!({"filename": "shop/db.py", "function_name": "query", "type": "building_blocks"})),
            known(json!({"filename": "requests/sessions.py", "function_name": "send", "type": "third_party_whitelist"})),
            ["save_ignored_exceptions", {"exc_name": "shop.errors.Cancelled"}],
            ["save_watch", {"filepath": "shop/payments", "email": "watch@example.org", "watch_all_errors": "true"}],
            ["save_watch", {"filepath": "shop/cart.py", "email": "carts@example.org", "watch_all_errors": "false"}],
            ["save_remap_email", {"old_email": "dora@old.org", "new_email": "dora@mid.org"}],
            ["save_remap_email", {"old_email": "dora@mid.org", "new_email": "dora@new.org"}],
            ["save_disown_file", {"filepath": "shop/payments", "email": "ben@example.org",
                "designated_email": "cleo@example.org"}],
        ]),
    );
    let feed = ("shop/feed.py", 2, "read_feed", "return json.loads(text)");
    let charge = ("shop/payments/charge.py", 1, "charge", "pay(");
    let cart = ("shop/cart.py", 1, "total", "price()");
    let asks = ("shop/cart.py", 2, "total", "query(sql)");
    let query = ("shop/db.py", 2, "query", "execute(sql)");
    let send = ("requests/sessions.py", 1, "send", "send()");
    let kinds: Vec<(usize, Value)> = vec![
        (17, report("ValueError", &[feed])),
        (2, report("ValueError", &[("shop/known.py", 1, "f", "run()")])),
        (2, report("ValueError", &[("shop/known.py", 2, "f", "walk()")])),
        (3, report("ValueError", &[charge])),
        (3, report("ValueError", &[charge, cart])),
        // Responsible is who asks: its caller, and not whoever raises.
        (3, report("ValueError", &[asks, query])),
        (2, report("shop.errors.Late", &[asks, ("shop/cart.py", 3, "total", "raise Late")])),
        (2, report("ValueError", &[cart, send])),
        (2, report("shop.errors.Cancelled", &[cart])),
        (3, report("ValueError", &[("shop/older.py", 1, "f", "old()")])),
    ];
    let reports: Vec<Value> =
        kinds.iter().flat_map(|(times, report)| std::iter::repeat_n(report.clone(), *times)).collect();
    let answered = flawless.ask("mails", &json!(reports));
    let expected: Vec<Option<(BTreeSet<String>, String)>> = serde_json::from_str(&answered).unwrap();

    let output = run(blamed(&["import", "flawless", "flawless.cfg", "--config-out", "blamed.toml"])
        .current_dir(folder.path()));
    assert!(output.status.success(), "{}", said(&output).2);
    // Mails into files: no server is at hand.
    let file = folder.path().join("blamed.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let text: String = text
        .lines()
        .map(|line| {
            if line.starts_with("smtp_") && !line.contains("timeout") {
                "\n".to_owned()
            } else {
                format!("{line}\n")
            }
        })
        .collect();
    let daemon = Daemon::configured(folder.path(), &text);
    let data = folder.path().join("blamed-data");
    let store = Store::open_to_read(&data).unwrap().unwrap();
    let mut seen = BTreeSet::new();
    for (at, (report, expected)) in reports.iter().zip(&expected).enumerate() {
        let answer = daemon.report(report.to_string().as_bytes(), "?wait=20");
        assert!(answer.body["state"] != "waiting", "{}", answer.body);
        let mailed = answer.body["fault"]["id"].as_i64().map(|fault| {
            let about = store.read(|tx| tx.deliveries_about(FaultId(fault).0)).unwrap();
            let new: Vec<_> = about.into_iter().filter(|delivery| seen.insert(delivery.id)).collect();
            new.into_iter().map(|delivery| delivery.recipient).collect::<BTreeSet<_>>()
        });
        let expected = expected.as_ref().map(|(to, _)| to.clone()).unwrap_or_default();
        assert_eq!(
            mailed.unwrap_or_default(),
            expected,
            "report {at}, {report}: {}",
            answer.body["decision"]
        );
    }
    assert_eq!(expected.iter().flatten().count(), 6, "{answered}");
    // What is added to Flawless's lists until it is stopped is taken beside the daemon, which follows at once.
    flawless.ask("lists", &json!([known(json!({"filename": "shop/cart.py", "code_fragment": "price()"}))]));
    let output =
        run(blamed(&["import", "flawless", "flawless.cfg", "--config", "blamed.toml"])
            .current_dir(folder.path()));
    assert!(output.status.success() && said(&output).2.contains("1 rule taken"), "{}", said(&output).2);
    let answer = daemon.report(report("ValueError", &[cart]).to_string().as_bytes(), "?wait=20");
    assert!(answer.body["decision"].to_string().contains("which asks for no mails"), "{}", answer.body);

    // What stands on top of the mails of a known error stands there still.
    assert!(expected.iter().flatten().any(|(_, top)| top == "It breaks at night."), "{answered}");
    daemon::mailed(&data, seen.len());
    let mails = std::fs::read_dir(data.join("mail"))
        .unwrap()
        .map(|entry| std::fs::read(entry.unwrap().path()).unwrap());
    let with_top = mails.filter(|mail| {
        let mail = mail_parser::MessageParser::new().parse(mail).unwrap();
        mail.body_text(0).unwrap().contains("It breaks at night.")
    });
    assert_eq!(with_top.count(), 3 * 3);
}

//! Stories of the whole house: a real daemon, real git, real HTTP, real mails.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;
#[allow(dead_code, reason = "the scripted answers are for other tests")]
#[path = "support/smtp.rs"]
mod smtp;

use std::collections::HashMap;
use std::path::Path;

use daemon::{Daemon, blamed, eventually, mailed, run, traceback};
use git::{Repo, tree};
use serde_json::{Value, json};

const FEED: &str = "import json\n\n\ndef load(text):\n    return json.loads(text)\n";

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn one_line_has_one_mail_ever() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    let first = repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED), ("setup.py", "x = 1\n")]));
    let daemon = Daemon::start(repo.path(), data.path());

    let report = traceback("/srv/app/shop/feed.py", 5, "load", "return json.loads(text)");
    let answer = daemon.decided(&report);
    assert_eq!(text(&answer["author"]["mail"]), "ada@example.org");
    assert_eq!(text(&answer["origin"]["commit"]), first.to_string());
    assert_eq!((text(&answer["origin"]["path"]), &answer["origin"]["line"]), ("shop/feed.py", &json!(5)));
    assert_eq!(answer["decision"], json!({ "mail": true, "reason": "mail: the first occurrence" }));
    assert_eq!(text(&answer["frames"][0]["type"]), "default");
    assert_eq!(mailed(data.path(), 1), ["ada@example.org"]);

    // Again, and after a restart.
    let again = daemon.decided(&report);
    assert_eq!((&again["fault"]["count"], &again["decision"]["mail"]), (&json!(2), &json!(false)));
    assert!(daemon.stop(), "SIGTERM ends it in peace");
    let daemon = Daemon::start(repo.path(), data.path());
    assert_eq!(daemon.decided(&report)["fault"], json!({ "id": 1, "count": 3 }));

    // After the file was renamed and lines were added above.
    let moved = format!("import os\n\n{FEED}");
    let second = repo.commit("Ben", &[first], &tree(&[("shop/feeds.py", &moved), ("setup.py", "x = 1\n")]));
    let report = traceback("/srv/app/shop/feeds.py", 7, "load", "return json.loads(text)");
    let renamed = eventually("the new tip", || {
        let answer = daemon.decided(&report);
        (answer["place"]["revision"] == second.to_string()).then_some(answer)
    });
    assert_eq!(renamed["fault"]["id"], 1, "{renamed}");
    assert_eq!(text(&renamed["origin"]["commit"]), first.to_string());

    // Rewritten: a new line, a new author.
    let rewritten = moved.replace("json.loads(text)", "json.loads(text or '{}')");
    repo.commit("Ben", &[second], &tree(&[("shop/feeds.py", &rewritten), ("setup.py", "x = 1\n")]));
    let report = traceback("/srv/app/shop/feeds.py", 7, "load", "return json.loads(text or '{}')");
    let new = daemon.decided(&report);
    assert_eq!((text(&new["author"]["mail"]), &new["fault"]["id"]), ("ben@example.org", &json!(2)), "{new}");
    assert_eq!(mailed(data.path(), 2), ["ada@example.org", "ben@example.org"]);
}

#[test]
fn a_thousand_equal_reports_at_once_on_a_cold_start() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let daemon = Daemon::start(repo.path(), data.path());
    let report = traceback("/srv/app/shop/feed.py", 5, "load", "return json.loads(text)");
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..125 {
                    let answer = daemon.report(report.as_bytes(), "");
                    assert_eq!(answer.status, 202, "{}", answer.body);
                    assert_eq!(text(&answer.body["id"]).len(), 32);
                }
            });
        }
    });
    assert_eq!(daemon.decided(&report)["fault"]["count"], 1_001);
    assert_eq!(mailed(data.path(), 1), ["ada@example.org"]);
}

#[test]
fn of_those_that_come_at_once_one_at_most_is_told_of_the_mail() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let daemon = Daemon::start(repo.path(), data.path());
    let report = traceback("/srv/shop/feed.py", 5, "load", "    return json.loads(text)");
    let told: usize = std::thread::scope(|scope| {
        let ask = || usize::from(daemon.decided(&report)["decision"]["mail"] == true);
        let asking: Vec<_> = (0..12).map(|_| scope.spawn(ask)).collect();
        asking.into_iter().map(|asked| asked.join().unwrap()).sum()
    });
    assert!(told <= 1, "{told} of 12");
    mailed(data.path(), 1);
}

#[test]
fn nothing_acknowledged_is_lost_to_kill_9() {
    const LINES: u32 = 12;
    let folder = tempfile::tempdir().unwrap();
    let sink = smtp::Server::start(&[]);
    let mut repo = Repo::new();
    let code: String = (1..=LINES).map(|n| format!("fail({n})\n")).collect();
    repo.commit("Ada", &[], &tree(&[("app/lines.py", &code)]));
    let configuration = format!(
        "data_dir = 'data'\n[mail]\nsmtp_host = '127.0.0.1'\nsmtp_port = {}\nfrom = 'blamed@example.org'\n\
         [[project]]\nname = 'lines'\n[[project.repository]]\npath = '{}'\n",
        sink.port,
        repo.path().display()
    );
    let reports: Vec<String> =
        (1..=LINES).map(|n| traceback("/srv/app/lines.py", n, "run", &format!("fail({n})"))).collect();
    let mut acknowledged: HashMap<u32, u64> = HashMap::new();
    let mut unanswered: HashMap<u32, u64> = HashMap::new();
    for life in 0..8_u64 {
        let daemon = Daemon::configured(folder.path(), &configuration);
        let (url, key) = (daemon.url.clone(), daemon.key.clone());
        let (counted, lost) = std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                let agent: ureq::Agent =
                    ureq::Agent::config_builder().http_status_as_error(false).build().into();
                let (mut counted, mut lost) = (Vec::new(), Vec::new());
                for n in 0..10_000_u32 {
                    let line = (n * 7 + u32::try_from(life).unwrap()) % LINES;
                    let sent = agent
                        .post(format!("{url}/api/v1/reports"))
                        .header("X-Blamed-Key", &key)
                        .send(reports[line as usize].as_bytes());
                    match sent {
                        Ok(answer) if answer.status() == 202 => counted.push(line),
                        Ok(answer) => panic!("{}", answer.status()),
                        Err(_) => {
                            lost.push(line);
                            break;
                        }
                    }
                }
                (counted, lost)
            });
            // Each life ends at another moment of the work.
            std::thread::sleep(std::time::Duration::from_millis(40 + 35 * life));
            daemon.kill();
            sender.join().unwrap()
        });
        counted.into_iter().for_each(|line| *acknowledged.entry(line).or_default() += 1);
        lost.into_iter().for_each(|line| *unanswered.entry(line).or_default() += 1);
    }

    let daemon = Daemon::configured(folder.path(), &configuration);
    for (line, report) in (0..).zip(&reports) {
        let count = daemon.decided(report)["fault"]["count"].as_u64().unwrap() - 1;
        let least = acknowledged.get(&line).copied().unwrap_or_default();
        let most = least + unanswered.get(&line).copied().unwrap_or_default();
        assert!((least..=most).contains(&count), "line {line}: {count} counted, {least} to {most} reported");
    }
    sink.wait_for(LINES as usize);
    assert!(daemon.stop());
    let mut subjects: Vec<String> = sink
        .taken()
        .iter()
        .map(|mail| {
            let mail = mail_parser::MessageParser::new().parse(&mail.data).unwrap();
            mail.subject().unwrap().to_owned()
        })
        .collect();
    // Between the server's 250 and the commit a kill may double a mail: the same Message-ID comes again.
    let mut ids: Vec<Option<String>> = sink
        .taken()
        .iter()
        .map(|mail| {
            mail_parser::MessageParser::new().parse(&mail.data).unwrap().message_id().map(str::to_owned)
        })
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), LINES as usize, "one mail a line");
    subjects.sort();
    subjects.dedup();
    assert_eq!(subjects.len(), LINES as usize, "{subjects:?}");
}

#[test]
fn a_repository_that_vanishes_costs_nothing_but_time() {
    let (data, attic) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let home = attic.path().join("repo");
    copy(repo.path(), &home);
    let daemon = Daemon::start(&home, data.path());
    let away = attic.path().join("away");
    std::fs::rename(&home, &away).unwrap();
    let report = traceback("/srv/app/shop/feed.py", 5, "load", "return json.loads(text)");
    let taken = daemon.report(report.as_bytes(), "?wait=0.2");
    assert_eq!((taken.status, text(&taken.body["state"])), (202, "waiting"), "{}", taken.body);
    let health = eventually("the trouble to be told", || {
        let health = daemon.get("/healthz").unwrap();
        (!health.body["last_trouble"].is_null()).then_some(health)
    });
    assert_eq!((health.status, &health.body["waiting_for_blame"]), (200, &json!(1)));
    assert!(daemon.stop());

    std::fs::rename(&away, &home).unwrap();
    let daemon = Daemon::start(&home, data.path());
    eventually("the report to be decided", || {
        (daemon.get("/healthz").unwrap().body["waiting_for_blame"] == 0).then_some(())
    });
    assert_eq!(daemon.decided(&report)["fault"]["count"], 2);
    assert_eq!(mailed(data.path(), 1), ["ada@example.org"]);
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-r").args([from, to]).status().unwrap();
    assert!(status.success());
}

#[test]
fn the_whitelist_and_the_settings_are_followed_while_it_runs() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    let code =
        "def a():\n    return fail(1)\n\n\ndef b():\n    return fail(2)\n\n\ndef c():\n    return fail(3)\n";
    repo.commit("Ada", &[], &tree(&[("app.py", code), ("lib/x.py", "y = 1\n")]));
    let daemon = Daemon::start(repo.path(), data.path());
    let command = |arguments: &[&str]| {
        let output = run(blamed(arguments).arg("--data-dir").arg(data.path()));
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let report = |function: &str, line: u32| {
        daemon.decided(traceback(
            "/srv/x/app.py",
            line,
            function,
            &format!("return fail({})", line.div_ceil(4)),
        ))
    };

    let id = command(&["known", "add", "--file", "app.py", "--function", "a", "--reason", "told you"]);
    let known = report("a", 2);
    assert_eq!(text(&known["frames"][0]["type"]), "known_error");
    assert!(text(&known["decision"]["reason"]).starts_with("no mail: known error #1"), "{known}");
    assert!(command(&["known", "list"]).contains("app.py in a\t1 hits"));
    command(&["known", "remove", id.trim()]);
    assert_eq!(report("a", 2)["decision"]["mail"], true, "no longer known");
    assert_eq!(mailed(data.path(), 1), ["ada@example.org"]);

    command(&["settings", "set", "threshold", "2"]);
    assert_eq!(text(&report("b", 6)["decision"]["reason"]), "no mail yet: 1 of 2 occurrences");
    assert_eq!(report("b", 6)["decision"]["mail"], true);

    command(&["settings", "set", "cutoff", "2020-01-01"]);
    assert!(command(&["settings", "show"]).contains("cutoff\t2020-01-01T00:00:00Z"));
    let old = report("c", 10);
    assert!(text(&old["decision"]["reason"]).contains("before the cutoff date 2020-01-01"), "{old}");
    mailed(data.path(), 2);
}

#[test]
fn every_list_has_its_say() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    let code: String = (1..=9).map(|n| format!("call({n})\n")).collect();
    repo.commit("Ada", &[], &tree(&[("app/a.py", &code), ("app/b.py", &code), ("lib/c.py", &code)]));
    let daemon = Daemon::configured(
        folder.path(),
        &format!(
            "data_dir = 'data'\ndefault_contact = 'ops@example.org'\n[[project]]\nname = 'p'\n\
             [[project.repository]]\npath = '{}'\n[[project.library]]\npath = 'lib/**'\n",
            repo.path().display()
        ),
    );
    let data = folder.path().join("data");
    let rule = |arguments: &[&str]| {
        let output = run(blamed(&["rules", "add"]).args(arguments).arg("--data-dir").arg(&data));
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let stack = |frames: &[(&str, u32)]| {
        let lines: String = frames
            .iter()
            .map(|(file, n)| format!("  File \"/srv/x/{file}\", line {n}, in f\n    call({n})\n"))
            .collect();
        daemon.report(
            format!("Traceback (most recent call last):\n{lines}shop.Error: no\n").as_bytes(),
            "?wait=20",
        )
    };
    let line = |answer: &daemon::Answer| {
        format!("{}:{}", text(&answer.body["place"]["path"]), answer.body["place"]["line"])
    };
    let newest = |count: usize, fault: &Value| {
        let mut to: Vec<String> = mails_of(&data, fault.as_i64().unwrap(), count);
        to.sort();
        to
    };

    // Library code by configuration, then a building block: the caller is looked at.
    assert_eq!(line(&stack(&[("app/a.py", 1), ("app/b.py", 1), ("lib/c.py", 1)])), "app/b.py:1");
    rule(&["building-block", "--file", "app/b.py", "--fragment", "call(2)"]);
    assert_eq!(line(&stack(&[("app/a.py", 2), ("app/b.py", 2), ("lib/c.py", 1)])), "app/a.py:2");
    // Dropped: by third-party code, and by type.
    rule(&["third-party", "--file", "requests/api.py"]);
    let dropped = stack(&[("app/a.py", 3), ("site-packages/requests/api.py", 3)]);
    assert_eq!(text(&dropped.body["state"]), "dropped", "{}", dropped.body);
    // Watchers: of the responsible line, and of whatever it went through.
    rule(&["watch", "app/a.py", "blame@example.org"]);
    rule(&["watch", "app/a.py", "all@example.org", "--all"]);
    let through = stack(&[("app/a.py", 4), ("app/b.py", 4)]);
    assert_eq!(newest(2, &through.body["fault"]["id"]), ["ada@example.org", "all@example.org"]);
    let own = stack(&[("app/a.py", 5)]);
    assert_eq!(
        newest(3, &own.body["fault"]["id"]),
        ["ada@example.org", "all@example.org", "blame@example.org"]
    );
    // A path handed over, and an address that stands for another; nobody is written to twice.
    rule(&["disown", "app/b.py", "ada@example.org", "ben@example.org"]);
    assert_eq!(newest(1, &stack(&[("app/b.py", 6)]).body["fault"]["id"]), ["ben@example.org"]);
    rule(&["remap", "ada", "all@example.org"]);
    assert_eq!(
        newest(2, &stack(&[("app/a.py", 7)]).body["fault"]["id"]),
        ["all@example.org", "blame@example.org"]
    );
    rule(&["ignored-exception", "shop.Error"]);
    assert_eq!(text(&stack(&[("app/a.py", 8)]).body["state"]), "dropped");
    let refused = run(blamed(&["rules", "add", "watch", "x", "nobody"]).arg("--data-dir").arg(&data));
    assert_eq!(refused.status.code(), Some(2));
}

/// The addresses that the mails about a fault went to.
fn mails_of(data: &Path, fault: i64, count: usize) -> Vec<String> {
    eventually(&format!("{count} mails about fault {fault}"), || {
        let folder = std::fs::read_dir(data.join("mail")).ok()?;
        let mails = folder.filter_map(|entry| {
            let path = entry.unwrap().path();
            // One that is being written has another name, and may be gone by now.
            let mail =
                path.extension().is_some_and(|end| end == "eml").then(|| std::fs::read(path))?.unwrap();
            let mail = mail_parser::MessageParser::new().parse(&mail)?.into_owned();
            let about = mail.header("X-Blamed-Fault")?.as_text()?.trim() == fault.to_string();
            about.then(|| mail.to().unwrap().first().unwrap().address().unwrap().to_owned())
        });
        let mails: Vec<String> = mails.collect();
        (mails.len() == count).then_some(mails)
    })
}

#[test]
fn what_is_not_a_report_is_told_so() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("a.py", "x\n")]));
    let daemon = Daemon::start(repo.path(), data.path());
    let key = format!("Bearer {}", daemon.key);
    let json_type = ("Content-Type", "application/json");
    let mut gzip_bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    std::io::copy(&mut std::io::Read::take(std::io::repeat(b' '), 64 << 20), &mut gzip_bomb).unwrap();
    let bomb = gzip_bomb.finish().unwrap();
    let check = |body: &[u8], headers: &[(&str, &str)], status: u16, said: &str| {
        let mut all = vec![("Authorization", key.as_str())];
        all.extend(headers);
        let answer = daemon.post(body, "", &all).unwrap();
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(text(&answer.body["error"]).contains(said), "{said:?}: {}", answer.body);
        answer.body
    };
    let cut = check(b"{\"traceback\": [", &[json_type], 422, "line 1, column");
    assert!(cut["offset"].is_u64(), "{cut}");
    check(b"{}", &[json_type], 422, "");
    check(b"all is well", &[("Content-Type", "text/plain")], 422, "traceback");
    check(&vec![b'x'; 3 << 20], &[], 413, "limits.body_bytes");
    check(&bomb, &[("Content-Encoding", "gzip"), json_type], 413, "larger than 8388608 bytes");
    check(b"not gzip", &[("Content-Encoding", "gzip")], 422, "gzip");
    check(b"{}", &[("Content-Encoding", "snappy")], 415, "snappy");
    assert_eq!(daemon.post(b"{}", "", &[]).unwrap().status, 401);
    assert_eq!(daemon.post(b"{}", "", &[("X-Blamed-Key", &"0".repeat(32))]).unwrap().status, 401);
    assert_eq!(daemon.report(b"{}", "?wait=soon").status, 400);
    assert_eq!(daemon.get("/nowhere").unwrap().status, 404);

    // Hostile, and still a report.
    let hostile = json!({
        "traceback": [
            { "filename": "../../a.py", "line_number": -1, "function_name": "f\u{0}\r\nBcc: x@y.z", "text": null },
            { "filename": "/srv/a.py", "line_number": 99_999_999_999_u64 },
            { "filename": "/srv/../../etc/passwd", "line_number": 1, "frame_locals": 7 },
        ],
        "exception_message": "\u{0}<script>", "exception_type": ["x"], "hostname": 3, "error_count": -5,
    });
    let taken = daemon.report(hostile.to_string().replace("<script>", "\\udcfc").as_bytes(), "?wait=20");
    assert_eq!(text(&taken.body["state"]), "decided", "{}", taken.body);
    assert_eq!(daemon.get("/healthz").unwrap().status, 200);
}

#[test]
fn a_report_without_a_revision_is_blamed_at_what_was_deployed() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    let old = repo.commit("Ada", &[], &tree(&[("app/a.py", "one()\ntwo()\n")]));
    repo.commit("Ben", &[old], &tree(&[("app/a.py", "zero()\none()\ntwo()\n"), ("app/b.py", "new()\n")]));
    let daemon = Daemon::start(repo.path(), data.path());
    let deploy = |more: &[&str]| {
        let repository = repo.path().to_str().unwrap();
        let command = ["deploy", "--server", &daemon.url, "--key", &daemon.key, "--repository", repository];
        let output = run(blamed(&command).args(more));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let report = |more: Value| {
        // No text is sent: nothing but the revision tells which line it is.
        let mut report = json!({
            "exception_type": "E",
            "traceback": [{ "filename": "/srv/app/a.py", "line_number": 1, "function_name": "f" }],
        });
        report.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        text(&daemon.decided(report.to_string())["author"]["name"]).to_owned()
    };
    assert_eq!(report(json!({ "environment": "production" })), "Ben", "the tip, for want of better");
    let short = &old.to_string()[..10];
    assert_eq!(
        deploy(&["--revision", short, "--environment", "production", "--version", "1.0"]),
        old.to_string()
    );
    assert_eq!(report(json!({ "environment": "production" })), "Ada");
    assert_eq!(report(json!({ "environment": "staging" })), "Ben");
    assert_eq!(report(json!({ "environment": "staging", "release": "1.0" })), "Ada");
    assert_eq!(report(json!({ "environment": "production", "occurred_at": "2020-01-01T00:00:00Z" })), "Ben");
    let newer = json!([{ "filename": "/srv/app/b.py", "line_number": 1, "function_name": "f" }]);
    assert_eq!(
        report(json!({ "environment": "production", "traceback": newer })),
        "Ben",
        "a deploy that nobody announced"
    );
    deploy(&["--environment", "production"]);
    assert_eq!(report(json!({ "environment": "production" })), "Ben");
    assert_eq!(
        report(json!({ "environment": "production", "revision": short })),
        "Ada",
        "the report's own word"
    );
}

#[test]
fn a_report_sent_twice_under_one_id_counts_once() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let daemon = Daemon::start(repo.path(), data.path());
    let report = json!({
        "id": "b1a6ed", "exception_type": "ValueError", "exception_message": "no", "error_count": 3,
        "traceback": [{ "filename": "/srv/shop/feed.py", "line_number": 5, "function_name": "load" }],
    });
    let first = daemon.decided(report.to_string());
    let second = daemon.decided(report.to_string());
    assert_eq!((&first["fault"]["count"], &second["fault"]["count"]), (&json!(3), &json!(3)));
    assert_eq!(second["duplicate_of"], first["id"]);
}

#[test]
fn a_client_that_never_ends_its_request_does_not_keep_the_daemon() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("a.py", "x\n")]));
    let daemon = Daemon::start(repo.path(), data.path());
    let address = daemon.url.trim_start_matches("http://").to_owned();
    let mut client = std::net::TcpStream::connect(address).unwrap();
    std::io::Write::write_all(&mut client, b"POST /api/v1/reports HTTP/1.1\r\nHost: x\r\n").unwrap();
    // Only once the daemon has answered somebody else is it sure to have seen the first.
    assert_eq!(daemon.get("/healthz").unwrap().status, 200);
    assert!(daemon.stop(), "it ends by itself, and in peace");
}

#[test]
fn a_key_that_is_no_longer_configured_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("a.py", "x\n")]));
    let path = repo.path().display().to_string();
    let project = |name: &str, key: &str| {
        format!("[[project]]\nname = '{name}'\nkey = '{key}'\n[[project.repository]]\npath = '{path}'\n")
    };
    let (one, two, three) = ("1".repeat(32), "2".repeat(32), "3".repeat(32));
    let status = |daemon: &Daemon, key: &str| {
        let report = traceback("/srv/a.py", 1, "f", "x");
        daemon.post(report.as_bytes(), "", &[("X-Blamed-Key", key)]).unwrap().status
    };
    let before = project("a", &one) + &project("b", &two);
    let daemon = Daemon::configured(folder.path(), &format!("data_dir = 'data'\n{before}"));
    assert_eq!((status(&daemon, &one), status(&daemon, &two)), (202, 202));
    assert!(daemon.stop());
    let daemon = Daemon::configured(folder.path(), &format!("data_dir = 'data'\n{}", project("a", &three)));
    assert_eq!((status(&daemon, &three), status(&daemon, &one), status(&daemon, &two)), (202, 401, 401));
}

#[test]
fn secrets_are_kept_only_where_a_project_wants_them() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let path = repo.path().display().to_string();
    let project = |name: &str, key: &str, more: &str| {
        format!(
            "[[project]]\nname = '{name}'\nkey = '{key}'\n{more}[[project.repository]]\npath = '{path}'\n"
        )
    };
    let (shop, lab) = ("1".repeat(32), "2".repeat(32));
    let projects = project("shop", &shop, "") + &project("lab", &lab, "scrub = false\n");
    let settings = "[web]\nsign_in = 'off'\n[scrub]\nmask = '<gone>'\nnames = ['pass_word']\n";
    let daemon = Daemon::configured(folder.path(), &format!("data_dir = 'data'\n{settings}{projects}"));
    let event = json!({
        "exception": {"values": [{"type": "ValueError", "value": "refused: hunter2-xyz", "stacktrace": {"frames": [
            {"abs_path": "/srv/app/shop/feed.py", "function": "load", "lineno": 5,
             "context_line": "    return json.loads(text)",
             "vars": {"text": "'hunter2-xyz'", "pairs": [["passWord", "hunter2-xyz"]], "kept": "'token=abcdef'"}}
        ]}}]},
        "request": {"url": "http://shop.test/?pass-word=hunter2-xyz", "headers": {"X": "hunter2-xyz"}}
    });
    let page = |key: &str, fault: u32| {
        let request = ureq::post(format!("{}/api/1/store/", daemon.url))
            .header("x-sentry-auth", format!("Sentry sentry_key={key}"));
        assert_eq!(request.send(event.to_string()).unwrap().status(), 200);
        let shown =
            || Some(daemon.get(&format!("/faults/{fault}")).unwrap()).filter(|page| page.status == 200);
        text(&eventually("the page of a fault", shown).body).to_owned()
    };
    let scrubbed = page(&shop, 1);
    mailed(&folder.path().join("data"), 1);
    let mails = std::fs::read_dir(folder.path().join("data/mail")).unwrap();
    let mail: String = mails.map(|mail| std::fs::read_to_string(mail.unwrap().path()).unwrap()).collect();
    assert!(!scrubbed.contains("hunter2-xyz") && !mail.contains("hunter2-xyz"), "{scrubbed}\n{mail}");
    assert!(scrubbed.contains("&lt;gone&gt;") || scrubbed.contains("&#60;gone&#62;"), "{scrubbed}");
    assert!(scrubbed.contains("token=abcdef"), "only the names that are configured count");
    assert!(page(&lab, 2).contains("refused: hunter2-xyz"));
}

#[test]
fn what_is_only_said_is_counted_and_an_error_of_that_line_is_mailed() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let daemon = Daemon::start(repo.path(), data.path());
    let stack = json!({"frames": [{"abs_path": "/srv/app/shop/feed.py", "function": "load", "lineno": 5}]});
    let send = |event: Value| {
        let key = format!("Sentry sentry_key={}", daemon.key);
        let request = ureq::post(format!("{}/api/1/store/", daemon.url)).header("x-sentry-auth", key);
        assert_eq!(request.send(event.to_string()).unwrap().status(), 200);
    };
    send(json!({"message": "hello", "level": "info", "stacktrace": stack}));
    let asked = daemon.decided(traceback("/srv/app/shop/feed.py", 1, "<module>", "import json"));
    assert_eq!(asked["decision"]["mail"], true);
    mailed(data.path(), 1);
    send(json!({"exception": [{"type": "E", "stacktrace": stack}], "level": "info"}));
    mailed(data.path(), 2);
    let asked = daemon.decided(traceback("/srv/app/shop/feed.py", 5, "load", "    return json.loads(text)"));
    assert_eq!(asked["fault"]["count"], 3);
}

#[test]
fn a_second_daemon_on_the_same_data_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("a.py", "x\n")]));
    let _first = Daemon::start(repo.path(), data.path());
    let (repository, data) = (repo.path().to_str().unwrap(), data.path().to_str().unwrap());
    let arguments = ["start", "--listen", "127.0.0.1:0", "--repository", repository, "--data-dir", data];
    let output = run(&mut blamed(&arguments));
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("in use by another blamed"));
}

#[test]
fn repositories_that_say_nothing_are_no_trouble() {
    let data = tempfile::tempdir().unwrap();
    let empty = Repo::new();
    let daemon = Daemon::start(empty.path(), data.path());
    let answer = daemon.decided(traceback("/srv/a.py", 1, "f", "x"));
    assert!(text(&answer["decision"]["reason"]).contains("nobody's line"), "{answer}");
    assert_eq!(text(&answer["frames"][0]["type"]), "bad_path");
}

/// With a heap for every thread, most of the daemon's memory was what threads once needed.
#[test]
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn the_daemon_keeps_few_heaps() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let daemon = Daemon::start(repo.path(), data.path());
    let told = std::fs::read(format!("/proc/{}/environ", daemon.process_id())).unwrap();
    assert!(String::from_utf8_lossy(&told).contains("MALLOC_ARENA_MAX="), "it began as it is");
    let named = std::fs::read(format!("/proc/{}/cmdline", daemon.process_id())).unwrap();
    assert!(String::from_utf8_lossy(&named).contains("blamed\0start\0"), "under its own name");
}

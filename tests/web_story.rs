//! What people do with the pages, from end to end: a mail's link, the board, a fault, the whitelist.

#[path = "support/browser.rs"]
mod browser;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use browser::Browser;
use daemon::{Daemon, mailed, traceback};
use git::{Repo, tree};

const FEED: &str = "import json\n\n\ndef load(text):\n    return json.loads(text)\n\n\ndef size(text):\n    return len(load(text))\n";

#[test]
fn an_error_is_made_known_and_unknown_again() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    let first = repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let daemon = Daemon::start(repo.path(), data.path());
    let report = traceback("/srv/app/shop/feed.py", 5, "load", "return json.loads(text)");
    daemon.decided(&report);
    assert_eq!(mailed(data.path(), 1), ["ada@example.org"]);

    // By the link in a mail, to the board, to the fault.
    let mut ada = Browser::by_mail(&daemon, data.path(), "ada@example.org");
    let board = ada.get("/");
    board.has("id=\"ada@example.org\"").has("shop/feed.py:5").has("<span class=\"tag new\">new</span>");
    let fault = ada.get(&board.link("/faults/"));
    fault.has("responsible").has("Last changed by").has("return json.loads(text)").has(&first.to_string());

    // The form is filled in and says what it would do; nothing is saved by trying.
    let link = fault.link("/add_known_error?");
    let form = ada.get(&link);
    form.has("It would have silenced 1 fault, 1 occurrence in the last 30 days.");
    let fields = [
        ("kind", "known_error"),
        ("filename", "shop/feed.py"),
        ("function_name", "load"),
        ("code_fragment", "json.loads(text)"),
        ("reason", "feeds are what they are"),
    ];
    let with = |action| fields.iter().copied().chain([("action", action)]).collect::<Vec<_>>();
    let tried = ada.fill_in(&link, "/add_known_error", &with("try"));
    tried.has("It would have silenced 1 fault").has("feeds are what they are");
    ada.get("/rules").has("None.");
    let wrong =
        ada.fill_in(&link, "/add_known_error", &[("action", "save"), ("min_alert_threshold", "many")]);
    assert_eq!(wrong.status, 422);
    wrong.has("This is needed.").has("A whole number of at least 1").has("value=\"many\"");

    // Saved, once, however often the form is sent.
    let saved = ada.fill_in(&link, "/add_known_error", &with("save"));
    let rule = saved.location.strip_suffix("?said=added").expect("it is saved").to_owned();
    let again = ada.fill_in(&link, "/add_known_error", &with("save"));
    assert_eq!(again.location, format!("{rule}?said=already"));

    // A new line, of somebody else, that the rule is about: no mail, counted, marked.
    let rewritten = FEED.replace("    return json.loads(text)", "    return json.loads(text)  # sic");
    repo.commit("Ben", &[first], &tree(&[("shop/feed.py", &rewritten)]));
    let report = traceback("/srv/app/shop/feed.py", 5, "load", "return json.loads(text)  # sic");
    let silenced = daemon.decided(&report);
    assert_eq!(silenced["decision"]["mail"], false, "{silenced}");
    assert_eq!(silenced["author"]["mail"], "ben@example.org", "{silenced}");
    ada.get(&rule).has("Applied to 1 occurrence,").has("ada@example.org: added known error");
    let board = ada.get("/");
    board.has("2 faults not shown");
    ada.get("/?include_known_errors=1").has("known #");

    // Undone: the next one is mailed.
    let off = ada.fill_in(&rule, &rule, &[("action", "off"), ("version", "1")]);
    assert_eq!(off.location, format!("{rule}?said=off"));
    let mails = daemon::eventually("a mail", || {
        let answer = daemon.decided(&report);
        (answer["decision"]["mail"] == true).then_some(answer)
    });
    assert_eq!(mails["fault"]["id"], 2);
    // Hers, the sign-in link, and his.
    assert_eq!(mailed(data.path(), 3)[2], "ben@example.org");
    let removed = ada.fill_in(&rule, &rule, &[("action", "remove"), ("version", "2")]);
    assert_eq!(removed.location, "/rules?said=removed");
    assert_eq!(ada.get(&rule).status, 404);
}

#[test]
fn of_two_who_edit_one_rule_the_second_is_told() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let daemon = Daemon::start(repo.path(), data.path());
    daemon.decided(traceback("/srv/app/shop/feed.py", 5, "load", "return json.loads(text)"));
    let mut root = Browser::admin(&daemon);
    let mut ada = Browser::by_mail(&daemon, data.path(), "ada@example.org");
    let new = [("filename", "shop/feed.py"), ("action", "save"), ("kind", "known_error")];
    let saved = ada.fill_in("/add_known_error", "/add_known_error", &new);
    let rule = saved.location.split('?').next().unwrap().to_owned();
    let edit = |reason: &'static str, version: &'static str| {
        [("filename", "shop/feed.py"), ("reason", reason), ("action", "save"), ("version", version)]
    };
    assert_eq!(root.fill_in(&rule, &rule, &edit("his", "1")).location, format!("{rule}?said=edited"));
    let late = ada.fill_in(&rule, &rule, &edit("hers", "1"));
    assert_eq!(late.status, 409);
    late.has("root@example.org was faster").has("(his)").has("value=\"hers\"");
    assert_eq!(late.value("version"), "2");
    let gone = ada.fill_in(&rule, &rule, &[("action", "remove"), ("version", "1")]);
    assert_eq!(gone.status, 409);
    assert_eq!(ada.fill_in(&rule, &rule, &edit("hers", "2")).location, format!("{rule}?said=edited"));
    ada.get(&rule).has("value=\"hers\"").has("(his → hers)");

    // A known error may turn out to be library code; the form says so without losing its history.
    let moved =
        [("filename", "shop/feed.py"), ("kind", "building_block"), ("action", "save"), ("version", "3")];
    assert_eq!(ada.fill_in(&rule, &rule, &moved).location, format!("{rule}?said=edited"));
    ada.get(&rule).has("Library code #").has("(his → hers)");
}

#[test]
fn every_list_has_a_form_that_says_what_it_would_do() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let daemon = Daemon::start(repo.path(), data.path());
    daemon.decided(traceback("/srv/app/shop/feed.py", 5, "load", "return json.loads(text)"));
    let mut ada = Browser::by_mail(&daemon, data.path(), "ada@example.org");
    let mut check = |address: &str, fields: &[(&str, &str)], said: &str| {
        let with = |action| fields.iter().copied().chain([("action", action)]).collect::<Vec<_>>();
        ada.fill_in(address, address, &with("try")).has(said);
        let saved = ada.fill_in(address, address, &with("save"));
        assert!(saved.location.ends_with("?said=added"), "{address}: {} {}", saved.status, saved.text);
        let rule = saved.location.split('?').next().unwrap().to_owned();
        assert_eq!(ada.get(&rule).status, 200);
        let off = ada.fill_in(&rule, &rule, &[("action", "remove"), ("version", "1")]);
        assert_eq!(off.status, 303);
    };
    let load = ("filename", "shop/feed.py");
    check(
        "/add_known_error",
        &[load, ("min_alert_threshold", "9")],
        "It would have mailed by its own numbers only: 1 fault",
    );
    check(
        "/add_building_block",
        &[load, ("function_name", "load")],
        "It would have passed on to the caller: 1 fault",
    );
    check("/add_building_block", &[load, ("function_name", "size")], "it would have applied to nothing");
    check("/add_third_party_error", &[load], "It would have dropped 1 fault");
    check("/add_ignored_exception", &[("type", "ValueError")], "It would have dropped 1 fault");
    check(
        "/add_watch",
        &[("path", "shop"), ("email", "ben@example.org")],
        "They would have been told of 1 fault",
    );
    check(
        "/remap_email",
        &[("from", "ada"), ("to", "ben@example.org")],
        "Somebody else would answer for 1 fault",
    );
    let hand = [("path", "shop"), ("from", "ada@example.org"), ("to", "ben@example.org")];
    check("/disown_file", &hand, "Somebody else would answer for 1 fault");
}

#[test]
fn the_addresses_of_flawless_lead_somewhere() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let daemon = Daemon::start(repo.path(), data.path());
    daemon.decided(traceback("/srv/app/shop/feed.py", 5, "load", "return json.loads(text)"));
    let mut root = Browser::admin(&daemon);
    let address = "/view_traceback?filename=shop/feed.py&function_name=load&line_number=5&text=x&timestamp=1";
    assert_eq!(root.get(address).location, "/faults/1");
    let missing = root.get("/view_traceback?filename=shop/none.py");
    assert_eq!(missing.status, 404);
    missing.has("/search?q=file%3Ashop%2Fnone.py");
    root.get("/get_weekly_error_report?timestamp=0&include_known_errors=true").has("28 Dec – 3 Jan");
    for bad in ["/?week=yesterday", "/get_weekly_error_report?timestamp=soon", "/?week=-009999-01-01"] {
        assert_eq!(root.get(bad).status, 400, "{bad}");
    }
    assert_eq!(root.get("/check_health").text, "OK\n");
    root.get("/search?q=ValueError+file:feed").has("1 fault").has("shop/feed.py:5");
    for nothing in ["KeyError", "%25", "_eturn", "file:none", "is:known"] {
        root.get(&format!("/search?q={nothing}")).has("Nothing fits");
    }
    root.get("/search?q=JSON.loads(text)+author:ada").has("1 fault");
    root.get("/search?q=is:new+is:mailed").has("1 fault");
    root.get("/search?q=is:bogus").has("after is: stands known, mailed or new").has("Nothing fits");
    for (bad, status) in [
        ("/?sort=sideways", 400),
        ("/?project=none", 404),
        ("/?environment=none", 404),
        ("/?page=2", 404),
        ("/?author=ada@example.org&page=9", 404),
        ("/?page=x", 404),
    ] {
        let page = root.get(bad);
        assert_eq!(page.status, status, "{bad}");
        page.has("This week");
    }
    root.get("/?author=ada@example.org").has("shop/feed.py:5");
    root.get("/?sort=faults&environment=-").has("shop/feed.py:5");
    root.get("/week.csv").has("ada@example.org");
    let week: serde_json::Value = serde_json::from_str(&root.get("/week.json").text).unwrap();
    assert_eq!(week["developers"][0]["faults"][0]["place"]["line"], 5, "{week}");
    for gone in ["/faults/99", "/faults/x", "/rules/99", "/rules/-1", "/outbox/99", "/nowhere"] {
        let page = root.get(gone);
        assert_eq!(page.status, 404, "{gone}");
        page.has("This week");
    }

    // A fault that is deleted between two clicks.
    let deleted = root.fill_in("/faults/1", "/faults/1/delete", &[]);
    assert_eq!(deleted.location, "/?said=fault-deleted");
    assert_eq!(root.fill_in("/settings", "/faults/1/delete", &[]).status, 404);
    let much = "x".repeat(1 << 20);
    assert_eq!(root.fill_in("/add_known_error", "/add_known_error", &[("filename", &much)]).status, 413);
}

#[test]
fn weeks_environments_and_names_are_as_configured() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let configure = |names: &str| {
        format!(
            "data_dir = \"data\"\n[web]\nsign_in = \"off\"\nweek_starts = \"monday\"\nnames = \"{names}\"\n\
             [[project]]\nname = \"shop\"\n[[project.repository]]\npath = {:?}\n",
            repo.path()
        )
    };
    let report = |daemon: &Daemon, environment: &str, host: &str| {
        let report = serde_json::json!({
            "traceback": [{ "filename": "shop/feed.py", "line_number": 5, "function_name": "load" }],
            "exception_type": "ValueError", "environment": environment, "hostname": host, "release": "shop@1.4",
            "error_count": 3,
        });
        let bearer = format!("Bearer {}", daemon.key);
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", "application/json")];
        let answer = daemon.post(report.to_string().as_bytes(), "?wait=20", &headers).unwrap();
        assert_eq!(answer.body["state"], "decided", "{}", answer.body);
    };

    let daemon = Daemon::configured(folder.path(), &configure("shown"));
    report(&daemon, "live", "web-1");
    report(&daemon, "staging", "web-2");
    let mut anybody = Browser::new(&daemon.url);
    let board = anybody.get("/");
    board.has("Mon to Sun").has("id=\"ada@example.org\"").has("<option>live</option>");
    let occurrences = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
    let week = |browser: &mut Browser, query: &str| {
        let week = occurrences(&browser.get(&format!("/week.json{query}")).text);
        week["developers"][0]["occurrences"].as_u64().unwrap_or(0)
    };
    assert_eq!((week(&mut anybody, ""), week(&mut anybody, "?environment=live")), (6, 3));
    for found in
        ["env:staging", "host:web-2", "release:shop@1.4", "env:live+host:web-2", "file:feed+env:live"]
    {
        anybody.get(&format!("/search?q={found}")).has("1 fault");
    }
    anybody.get("/search?q=env:Live").has("Nothing fits");
    drop(daemon);

    let daemon = Daemon::configured(folder.path(), &configure("pseudonyms"));
    let mut anybody = Browser::new(&daemon.url);
    let board = anybody.get("/");
    let sheets = ["/", "/week.csv", "/week.json"].map(|path| anybody.get(path).text);
    assert!(sheets.iter().all(|text| !text.contains("ada@") && !text.contains("Ada")), "{sheets:?}");
    let (_, called) = board.text.split_once("<strong>Developer ").expect("somebody is called so");
    let pseudonym = called.split_once('<').unwrap().0;
    anybody.get(&format!("/?author={pseudonym}")).has("shop/feed.py:5");
    drop(daemon);

    let daemon = Daemon::configured(folder.path(), &configure("hidden"));
    let mut anybody = Browser::new(&daemon.url);
    anybody.get("/").has("Everybody").has("shop/feed.py:5");
    let sheets = ["/", "/week.csv", "/week.json"].map(|path| anybody.get(path).text);
    assert!(sheets.iter().all(|text| !text.contains("ada@") && !text.contains("Ada")), "{sheets:?}");
}

#[test]
fn a_fault_has_what_git_says_around_it_and_is_mailed_again_when_asked() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    let old = FEED.replace("json.loads(text)", "json.load(text)");
    let first = repo.commit("Cleo", &[], &tree(&[("shop/old.py", &old)]));
    let second = repo.commit("Ada", &[first], &tree(&[("shop/feed.py", FEED)]));
    let daemon = Daemon::start(repo.path(), data.path());
    daemon.decided(traceback("/srv/app/shop/feed.py", 5, "load", "return json.loads(text)"));
    assert_eq!(mailed(data.path(), 1), ["ada@example.org"]);
    let mut root = Browser::admin(&daemon);

    // Whose each line is, and what her commit changed; git may take a moment for it.
    let short = |commit: git2::Oid| commit.to_string()[..10].to_owned();
    let page = daemon::eventually("git's word", || {
        let page = root.get("/faults/1");
        page.text.contains("class=\"removed").then_some(page)
    });
    page.has("<strong>Cleo</strong>").has(&short(first)).has("<strong>Ada</strong>").has(&short(second));
    page.has("<span class=\"unseen\">removed: </span>    return json.load(text)");
    page.has("<span class=\"unseen\">added: </span>    return json.loads(text)");
    page.has("The file was called shop/old.py before.");

    // To be pasted elsewhere.
    let kept = page.link("/faults/1/occurrences/");
    assert!(kept.ends_with(".txt"), "{kept}");
    let text = root.get(&kept);
    assert_eq!(text.headers["content-type"], "text/plain; charset=utf-8");
    text.has("ValueError: no\n").has("Line: shop/feed.py:5 at ").has("/srv/app/shop/feed.py:5 in load\n");
    let markdown = root.get(&kept.replace(".txt", ".md"));
    markdown.has("### `ValueError: no`").has("\n```text\n").has("- Last changed by: `Ada`");
    assert_eq!(root.get(&kept.replace(".txt", "x.txt")).status, 404);

    // Asked for twice by one form, it is sent once; the next form sends it again.
    let token = page.value("token");
    let again = [("mails", "1"), ("token", token.as_str())];
    assert_eq!(root.post("/faults/1/send_again", &again).location, "/faults/1?said=sent-again");
    assert_eq!(root.post("/faults/1/send_again", &again).location, "/faults/1?said=same");
    assert_eq!(mailed(data.path(), 2), ["ada@example.org"; 2]);
    root.get("/faults/1").has("again, after 1").has("had its mail sent again").has("value=\"2\"");
    assert_eq!(root.post("/faults/9/send_again", &again).status, 404);

    // Without its repository the page still has all that is stored.
    drop(daemon);
    let path = repo.path().to_owned();
    let away = data.path().join("away");
    std::fs::rename(&path, &away).unwrap();
    std::fs::create_dir(&path).unwrap();
    let configuration = format!(
        "data_dir = {:?}\n[web]\nsign_in = \"off\"\n[[project]]\nname = \"shop\"\n\
         [[project.repository]]\npath = {path:?}\n",
        data.path()
    );
    let folder = tempfile::tempdir().unwrap();
    let daemon = Daemon::configured(folder.path(), &configuration);
    let page = Browser::new(&daemon.url).get("/faults/1");
    assert_eq!(page.status, 200);
    page.has("return json.loads(text)").has("Last changed by").has(&second.to_string());
    drop(daemon);
    std::fs::remove_dir(&path).unwrap();
    std::fs::rename(&away, &path).unwrap();
}

#[test]
fn a_fault_has_what_its_client_saw_around_each_frame_and_before_it() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let daemon = Daemon::start(repo.path(), data.path());
    let frame = |file: &str, line: u32, text: &str| {
        serde_json::json!({
            "filename": file, "abs_path": format!("/srv/app/{file}"), "function": "load", "lineno": line,
            "pre_context": ["", "def load(text):"], "context_line": text, "post_context": ["# after <all>"],
            "vars": { "text": "'{'" },
        })
    };
    let event = serde_json::json!({
        "exception": { "values": [{ "type": "ValueError", "value": "no", "stacktrace": { "frames": [
            frame("bin/run.py", 9, "    main()"), frame("shop/feed.py", 5, "    return json.loads(text)"),
        ]}}]},
        "breadcrumbs": { "values": [
            { "timestamp": "2026-11-20T12:00:00Z", "category": "query", "message": "SELECT <1>", "data": { "rows": 3 } },
            { "category": "http", "message": "GET /feed" },
        ]},
        "request": { "url": "https://shop.example/feed", "method": "GET" },
    });
    let store = format!("{}/api/1/store/?sentry_version=7&sentry_key={}", daemon.url, daemon.key);
    let taken =
        ureq::post(&store).header("Content-Type", "application/json").send(event.to_string()).unwrap();
    assert_eq!(taken.status(), 200);
    let mut root = Browser::admin(&daemon);
    let page = daemon::eventually("the fault", || {
        let page = root.get("/faults/1");
        (page.status == 200).then_some(page)
    });
    page.has("<summary>3 lines around it</summary>").has("<code># after &#60;all&#62;</code>");
    page.has("<li class=\"hit\"><span>9</span><code>    main()</code></li>")
        .has("<span>7</span><code></code>");
    page.has("timeline: 2 before it").has("SELECT &#60;1&#62; {&#34;rows&#34;:3}").has("GET /feed");
    page.has("<summary>request</summary>").has("https://shop.example/feed");
}

//! What programs do by the API, and what is refused them.

#[path = "support/api.rs"]
mod api;
#[path = "support/browser.rs"]
mod browser;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::path::Path;

use api::Program;
use browser::Browser;
use daemon::{Daemon, traceback};
use git::{Repo, tree};
use serde_json::{Value, json};

/// A daemon with two faults of one project: lines 1 and 2 of a file, by Ada.
fn house(data: &Path) -> (Repo, Daemon) {
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", "fail(1)\nfail(2)\nfail(3)\n")]));
    let daemon = Daemon::start(repo.path(), data);
    for line in 1..=2 {
        daemon.decided(traceback("/srv/app/shop/feed.py", line, "load", &format!("fail({line})")));
    }
    (repo, daemon)
}

#[test]
fn faults_are_found_made_known_and_deleted() {
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(data.path());
    let program = Program::of(&daemon.url, data.path(), ("dan@example.org", "developer"), "write");
    let me = program.get("/api/v1/me").is(200).body;
    assert_eq!(me, json!({ "mail": "dan@example.org", "scope": "write", "projects": null }));

    let first = program.get("/api/v1/faults?limit=1").is(200).body;
    assert_eq!(first["items"][0]["id"], 2, "{first}");
    let next = format!("/api/v1/faults?limit=1&after={}", first["next"].as_str().unwrap());
    let second = program.get(&next).is(200).body;
    assert_eq!((&second["items"][0]["id"], &second["next"]), (&json!(1), &Value::Null));
    let fault = &second["items"][0];
    assert_eq!(fault["place"]["path"], "shop/feed.py");
    assert_eq!((&fault["kind"], &fault["answers_for_it"]), (&json!("ValueError"), &json!("ada@example.org")));
    assert_eq!(program.get("/api/v1/faults?q=is:known").is(200).body["items"], json!([]));

    let detail = program.get("/api/v1/faults/1").is(200).body;
    assert_eq!(detail["origin"]["line"], 1, "{detail}");
    assert_eq!(detail["mails"][0]["to"], "ada@example.org");
    let kept = format!("/api/v1/faults/1/occurrences/{}", detail["kept"][0]["id"].as_str().unwrap());
    assert_eq!(program.get(&kept).is(200).body["report"]["exceptions"][0]["type"], "ValueError");

    let week = program.get("/api/v1/week").is(200).body;
    let developer = &week["developers"][0];
    assert_eq!((&developer["mail"], &developer["faults"]), (&json!("ada@example.org"), &json!(2)), "{week}");
    program.get("/api/v1/week?week=yesterday").refused(400);

    let known = json!({ "reason": "feeds are what they are", "expires_at": "2027-01-01T12:34:56Z" });
    let rule = program.send("POST", "/api/v1/faults/1/known", &known).is(201);
    assert_eq!(rule.header("location"), "/api/v1/rules/1");
    let said = &rule.body["rule"];
    assert_eq!((&said["code_fragment"], &said["expires_at"]), (&json!("fail(1)"), &known["expires_at"]));
    program.send("POST", "/api/v1/faults/1/known", &known).is(200);
    program.send("POST", "/api/v1/faults/1/known", &json!({ "reason": "another" })).refused(409);
    let found = program.get("/api/v1/faults?q=is:known").body;
    assert_eq!((&found["items"][0]["id"], &found["items"][0]["known_error"]), (&json!(1), &json!(1)));

    program.ask("DELETE", "/api/v1/faults/1", &[], None).is(204);
    program.ask("DELETE", "/api/v1/faults/1", &[], None).refused(404);
    program.get("/api/v1/faults/1").refused(404);
    program.get(&kept).refused(404);
    Browser::admin(&daemon).get("/changes").has("dan@example.org (token 1)");
}

#[test]
fn of_two_programs_that_edit_one_rule_the_second_is_told() {
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(data.path());
    let program = Program::of(&daemon.url, data.path(), ("dan@example.org", "developer"), "write");
    let rule =
        json!({ "kind": "watch", "path": "shop", "email": "eve@example.org", "watch_all_errors": true });
    let tried = program.send("POST", "/api/v1/rules/try", &rule).is(200).body;
    assert_eq!((&tried["faults"], &tried["occurrences"]), (&json!(2), &json!(2)), "{tried}");
    assert_eq!(program.get("/api/v1/rules").body["items"], json!([]));
    let made = program.send("POST", "/api/v1/rules", &rule).is(201);
    assert_eq!((made.header("etag"), &made.body["rule"]), ("\"1\"", &rule));
    let at = "/api/v1/rules/1";
    program.send("PATCH", at, &json!({ "enabled": false })).refused(428);
    let off = program.change("PATCH", at, "\"1\"", &json!({ "enabled": false })).is(200);
    assert_eq!((off.header("etag"), &off.body["enabled"]), ("\"2\"", &json!(false)));
    program.change("PATCH", at, "\"1\"", &json!({ "enabled": true })).refused(412);
    let mut other = rule.clone();
    other["path"] = json!("bank");
    program.change("PATCH", at, "\"1\"", &json!({ "rule": other })).refused(412);
    let both = program.change("PATCH", at, "\"2\"", &json!({ "rule": other, "enabled": true })).is(200);
    assert_eq!((both.header("etag"), &both.body["rule"]["path"]), ("\"4\"", &json!("bank")));
    program.ask("DELETE", at, &[("If-Match", "\"3\", \"5\"")], None).refused(412);
    program.ask("DELETE", at, &[("If-Match", "\"4\"")], None).is(204);
    program.ask("DELETE", at, &[("If-Match", "\"4\"")], None).refused(404);

    // Every list, held to what its form is.
    for (kind, fields, wrong) in [
        ("known_error", json!({ "filename": "a.py", "min_alert_threshold": 3 }), json!({ "filename": "" })),
        ("building_block", json!({ "filename": "a.py" }), json!({ "filename": "x".repeat(2_000) })),
        ("third_party_whitelist", json!({ "filename": "a.py" }), json!({ "filename": " " })),
        ("ignored_exception", json!({ "type": "KeyError" }), json!({ "type": "" })),
        ("remap", json!({ "from": "ada", "to": "a@b.co" }), json!({ "from": "ada", "to": "nobody" })),
        (
            "disown",
            json!({ "path": "a", "from": "a@b.co", "to": "c@d.co" }),
            json!({ "path": "", "from": "x", "to": "y" }),
        ),
    ] {
        let with = |mut fields: Value| {
            fields["kind"] = json!(kind);
            fields
        };
        let added = program.send("POST", "/api/v1/rules", &with(fields.clone())).is(201).body;
        assert_eq!(added["rule"], with(fields), "{kind}");
        let refused = program.send("POST", "/api/v1/rules", &with(wrong)).refused(422).body;
        assert!(!refused["errors"][0]["field"].as_str().unwrap().is_empty(), "{refused}");
        let listed = program.get(&format!("/api/v1/rules?kind={kind}")).body;
        assert_eq!(listed["items"].as_array().unwrap().len(), 1, "{kind}");
    }
    program.get("/api/v1/rules?kind=nothing").refused(400);
    let page = program.get("/api/v1/rules?limit=4").body;
    let rest = program.get(&format!("/api/v1/rules?after={}", page["next"].as_str().unwrap())).body;
    assert_eq!(rest["items"].as_array().unwrap().len(), 2);
}

#[test]
fn admins_keep_the_house() {
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(data.path());
    let admin = Program::of(&daemon.url, data.path(), ("root@example.org", "admin"), "admin");
    let settings = admin.get("/api/v1/settings").is(200);
    let (version, wanted) = (settings.header("etag").to_owned(), json!({ "threshold": 5, "cutoff": null }));
    let as_configured = |threshold: u64| json!({ "threshold": threshold, "cutoff": null, "names": null, "week_starts": null });
    assert_eq!(settings.body, as_configured(1));
    let changed = admin.change("PUT", "/api/v1/settings", &version, &wanted).is(200);
    assert_eq!(changed.body, as_configured(5));
    admin.change("PUT", "/api/v1/settings", &version, &wanted).refused(412);
    let version = changed.header("etag").to_owned();
    for wrong in [json!({ "threshold": 0, "cutoff": null }), json!({ "threshold": 2 })] {
        admin.change("PUT", "/api/v1/settings", &version, &wrong).refused(422);
    }
    let board = json!({ "threshold": 5, "cutoff": null, "names": "hidden", "week_starts": "monday" });
    assert_eq!(admin.change("PUT", "/api/v1/settings", "*", &board).is(200).body, board);
    assert_eq!(admin.get("/api/v1/week").body["developers"][0]["name"], "Everybody");
    let wrong = json!({ "threshold": 5, "cutoff": null, "names": "nobody" });
    admin.change("PUT", "/api/v1/settings", "*", &wrong).refused(422);
    admin.change("PUT", "/api/v1/settings", "*", &wanted).is(200);

    // A new key reports; revoked, it does not.
    let project = admin.get("/api/v1/projects").is(200).body["items"][0]["id"].as_i64().unwrap();
    let keys = format!("/api/v1/projects/{project}/keys");
    let made = admin.ask("POST", &keys, &[], None).is(201).body;
    let key = made["key"].as_str().unwrap();
    let text = traceback("/srv/app/shop/feed.py", 3, "load", "fail(3)");
    let report = || daemon.post(text.as_bytes(), "", &[("X-Blamed-Key", key)]).unwrap().status;
    assert_eq!(report(), 202);
    let listed = admin.get(&keys).is(200).body;
    assert_eq!(listed.as_array().unwrap().len(), 2);
    assert!(!listed.to_string().contains(key), "{listed}");
    let id = made["id"].as_str().unwrap();
    admin.ask("DELETE", &format!("{keys}/{id}"), &[], None).is(204);
    admin.ask("DELETE", &format!("{keys}/0000"), &[], None).refused(404);
    assert_eq!(report(), 401);
    admin.ask("POST", "/api/v1/projects/99/keys", &[], None).refused(404);

    // People.
    let new = json!({ "mail": "Rita@example.org", "role": "reader", "projects": [project] });
    let rita = admin.send("POST", "/api/v1/people", &new).is(201).body;
    assert_eq!((&rita["mail"], &rita["projects"]), (&json!("rita@example.org"), &json!([project])));
    admin.send("POST", "/api/v1/people", &new).is(200);
    let at = format!("/api/v1/people/{}", rita["id"]);
    let told = admin.get(&at).is(200);
    assert_eq!(told.body, rita);
    let version = told.header("etag").to_owned();
    admin.send("PUT", &at, &json!({ "role": "developer" })).refused(428);
    let all = admin.change("PUT", &at, &version, &json!({ "role": "developer" })).is(200).body;
    admin.change("PUT", &at, &version, &json!({ "role": "admin" })).refused(412);
    assert_eq!((&all["role"], &all["projects"]), (&json!("developer"), &Value::Null));
    for wrong in [
        json!({ "mail": "nobody", "role": "reader" }),
        json!({ "mail": "a@b.co", "role": "king" }),
        json!({ "mail": "a@b.co", "role": "reader", "projects": [99] }),
    ] {
        admin.send("POST", "/api/v1/people", &wrong).refused(422);
    }
    admin.ask("DELETE", &at, &[], None).is(204);
    admin.change("PUT", &at, "*", &json!({ "role": "reader" })).refused(404);
    admin.get(&at).refused(404);
    let people = admin.get("/api/v1/people?limit=1").is(200).body;
    assert_eq!((&people["items"][0]["mail"], &people["next"]), (&json!("root@example.org"), &Value::Null));
    admin.ask("DELETE", &format!("/api/v1/people/{}", people["items"][0]["id"]), &[], None).refused(409);

    // Mails.
    let sent = |expected: usize| {
        daemon::eventually("a sent mail", || {
            let sent = admin.get("/api/v1/outbox?state=sent").is(200).body;
            (sent["items"].as_array().unwrap().len() == expected).then_some(())
        });
    };
    sent(2);
    let mail = admin.get("/api/v1/outbox/1").is(200).body;
    assert!(mail["text"].as_str().unwrap().contains("fail(1)"), "{mail}");
    admin.ask("POST", "/api/v1/outbox/1/retry", &[], None).refused(409);
    admin.get("/api/v1/outbox/99").refused(404);
    admin.get("/api/v1/outbox?state=lost").refused(400);
    let newest = admin.get("/api/v1/outbox?state=sent&limit=1").body;
    assert_eq!((&newest["items"][0]["id"], &newest["next"]), (&json!(2), &json!("2")));
    assert_eq!(admin.get("/api/v1/outbox?state=sent&after=2").body["items"][0]["id"], 1);
    let again = admin.ask("POST", "/api/v1/faults/1/send_again", &[], None).is(202).body;
    assert_eq!((&again["to"], &again["occasion"]), (&json!("ada@example.org"), &json!("again, after 1")));
    sent(3);
    admin.ask("POST", "/api/v1/faults/99/send_again", &[], None).refused(404);
    let repositories = admin.get("/api/v1/repositories").is(200).body;
    assert_eq!((&repositories[0]["fetched"], &repositories[0]["error"]), (&json!(false), &Value::Null));
    admin.get("/api/v1/changes?limits=2").refused(400);
    let changes = admin.get("/api/v1/changes?limit=3").is(200).body;
    assert_eq!(changes["items"][1]["what"], "removed rita@example.org", "{changes}");
    assert_eq!(changes["items"][0]["who"], "root@example.org (token 1)");
    let older = format!("/api/v1/changes?after={}", changes["next"].as_str().unwrap());
    assert!(admin.get(&older).body.to_string().contains("threshold from 1 to 5"));
}

#[test]
fn a_token_is_good_as_long_as_its_owner_and_no_further_than_either() {
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(data.path());
    let admin = Program::of(&daemon.url, data.path(), ("root@example.org", "admin"), "admin");
    // An admin's scope does not make an admin.
    let reader = Program::of(&daemon.url, data.path(), ("rita@example.org", "reader"), "admin");
    assert_eq!(reader.get("/api/v1/me").is(200).body["scope"], "read");
    reader.get("/api/v1/settings").refused(403);
    reader.ask("DELETE", "/api/v1/faults/1", &[], None).refused(403);
    // Nor an admin an admin's token.
    let modest = Program::of(&daemon.url, data.path(), ("root@example.org", "admin"), "read");
    modest.get("/api/v1/settings").refused(403);
    modest.get("/api/v1/faults").is(200);

    for wrong in ["", "x", "blamed_", &daemon.key, &reader.token[..70]] {
        let told = Program::new(&daemon.url, wrong).get("/api/v1/faults").refused(401);
        assert!(told.header("www-authenticate").starts_with("Bearer"), "{wrong}");
    }
    // A token opens no page, and a browser's cookie opens nothing here.
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
    let agent: ureq::Agent = config.build().into();
    let page =
        agent.get(format!("{}/", daemon.url)).header("Authorization", format!("Bearer {}", admin.token));
    assert_eq!(page.call().unwrap().status(), 303);
    let mut rita = Browser::by_mail(&daemon, data.path(), "rita@example.org");
    let cookie = rita.cookie.clone().unwrap();
    Program::new(&daemon.url, "").ask("GET", "/api/v1/faults", &[("Cookie", &cookie)], None).refused(401);

    // Made and revoked on the page of its owner.
    let fields = [("name", "ci"), ("scope", "read"), ("days", "1")];
    let made = rita.fill_in("/you", "/you/tokens", &fields);
    assert_eq!(made.status, 201);
    let token = made.text.split("<pre>").nth(1).unwrap().split("</pre>").next().unwrap();
    let own = Program::new(&daemon.url, token);
    own.get("/api/v1/faults").is(200);
    assert!(!rita.get("/you").text.contains(token), "it is shown once");
    let page = rita.get("/you");
    page.has("#4 ci").has("just now");
    assert_eq!(rita.fill_in("/you", "/you/tokens", &[("revoke", "1")]).location, "/you?said=same", "root's");
    assert_eq!(rita.fill_in("/you", "/you/tokens", &[("revoke", "4")]).location, "/you?said=token-revoked");
    own.get("/api/v1/faults").refused(401);
    for wrong in [
        [("name", ""), ("scope", "read"), ("days", "1")],
        [("name", "x"), ("scope", "read"), ("days", "9999")],
    ] {
        assert_eq!(rita.fill_in("/you", "/you/tokens", &wrong).status, 422);
    }
    // Gone with its owner, and with its owner's role.
    let id = admin.get("/api/v1/people").body["items"][1]["id"].clone();
    admin.change("PUT", &format!("/api/v1/people/{id}"), "*", &json!({ "role": "developer" })).is(200);
    assert_eq!(reader.get("/api/v1/me").body["scope"], "write");
    admin.ask("DELETE", &format!("/api/v1/people/{id}"), &[], None).is(204);
    reader.get("/api/v1/faults").refused(401);
    // Ended.
    let store = rusqlite::Connection::open(data.path().join("blamed.sqlite3")).unwrap();
    store.execute("UPDATE api_tokens SET expires_at = 1 WHERE scope = 'reader'", []).unwrap();
    modest.get("/api/v1/faults").refused(401);
    admin.get("/api/v1/faults").is(200);
}

#[test]
fn what_cannot_be_taken_is_told_and_nothing_is_changed() {
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(data.path());
    let program = Program::of(&daemon.url, data.path(), ("root@example.org", "admin"), "admin");
    let json_type = [("Content-Type", "application/json")];
    let post = |body: &[u8]| program.ask("POST", "/api/v1/rules", &json_type, Some(body));
    post(b"{").refused(400);
    post(b"\xff\xfe").refused(400);
    post(b"[]").refused(422);
    post(b"{\"kind\":\"nothing\"}").refused(422);
    post(b"{\"kind\":\"watch\",\"path\":1,\"email\":\"a@b.co\"}").refused(422);
    let much = json!({ "kind": "ignored_exception", "type": "x".repeat(1 << 20) });
    post(much.to_string().as_bytes()).refused(413);
    program.ask("POST", "/api/v1/rules", &[("Content-Type", "text/plain")], Some(b"{}")).refused(415);
    program.ask("POST", "/api/v1/rules", &[], Some(b"{}")).refused(415);
    for path in [
        "/api/v1/faults/0",
        "/api/v1/faults/-1",
        "/api/v1/faults/x",
        "/api/v1/faults/99999999999999999999",
        "/api/v1/faults/1/occurrences/../2",
        "/api/v1/faults/1/occurrences/%00",
        "/api/v1/rules/%2e%2e",
        "/api/v1/nothing",
        "/api/v2/faults",
        "/api/v1/",
        "/api/v1/outbox/x",
    ] {
        program.get(path).refused(404);
    }
    for query in ["after=x", "after=1", "after=1.2.3", "limit=-1", "limit=many", "limit=0", "limit=501"] {
        program.get(&format!("/api/v1/faults?{query}")).refused(400);
    }
    program.get("/api/v1/faults?limit=500&after=&q=%00%ff%27%22;--").is(200);
    let odd = program.ask("PUT", "/api/v1/faults/1", &[], None).refused(405);
    assert!(
        odd.header("allow").contains("GET") && odd.header("allow").contains("DELETE"),
        "{}",
        odd.header("allow")
    );
    assert_eq!(program.get("/api/v1/rules").body["items"], json!([]));
    for header in ["content-security-policy", "x-content-type-options", "cache-control"] {
        assert_ne!(odd.header(header), "", "{header}");
        assert_ne!(program.get("/api/v1/me").header(header), "", "{header}");
    }
}

#[test]
fn without_sign_in_programs_need_no_token_and_pages_of_others_get_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", "fail(1)\n")]));
    let configuration = format!(
        "data_dir = 'data'\n[web]\nsign_in = 'off'\n[[project]]\nname = 'shop'\n[[project.repository]]\npath = '{}'\n",
        repo.path().display()
    );
    let daemon = Daemon::configured(folder.path(), &configuration);
    let program = Program::new(&daemon.url, "");
    assert_eq!(
        program.get("/api/v1/me").is(200).body,
        json!({ "mail": null, "scope": "admin", "projects": null })
    );
    let rule = json!({ "kind": "ignored_exception", "type": "KeyError" }).to_string();
    for (name, value) in
        [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site"), ("Origin", "null")]
    {
        let headers = [("Content-Type", "application/json"), (name, value)];
        program.ask("POST", "/api/v1/rules", &headers, Some(rule.as_bytes())).refused(401);
        program.ask("GET", "/api/v1/rules", &headers[1..], None).refused(401);
    }
    program.send("POST", "/api/v1/rules", &serde_json::from_str(&rule).unwrap()).is(201);
    assert_eq!(program.get("/api/v1/changes").body["items"][0]["who"], "somebody (sign-in is off)");
}

#[test]
fn the_document_is_whole_and_its_page_says_the_same() {
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(data.path());
    let document = Program::new(&daemon.url, "").get("/api/v1/openapi.json").is(200).body;
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"][0]["url"], daemon.url.as_str());
    // Whatever it points to is there.
    let text = document.to_string();
    for target in text.split("\"$ref\":\"#/components/schemas/").skip(1) {
        let name = target.split('"').next().unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
    let page = Browser::new(&daemon.url).get("/api");
    assert_eq!(page.status, 200);
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            page.has(&format!(
                "<strong>{}</strong> <code class=\"break\">{path}</code>",
                method.to_uppercase()
            ));
            assert!(!operation["summary"].as_str().unwrap_or_default().is_empty(), "{method} {path}");
            assert!(operation["responses"]["default"].is_object(), "{method} {path}");
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(
                    !parameter["description"].as_str().unwrap_or_default().is_empty(),
                    "{path} {parameter}"
                );
            }
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        page.has(&format!("<h3 id=\"{name}\">"));
        assert!(!schema["description"].as_str().unwrap_or_default().is_empty(), "{name}");
        for (field, words) in schema["properties"].as_object().into_iter().flatten() {
            // What may be null and is another shape says so beside that shape's name.
            let said = words["description"].as_str().or(words["oneOf"][0]["description"].as_str());
            assert!(!said.unwrap_or_default().is_empty(), "{name}.{field}: {words}");
        }
    }
}

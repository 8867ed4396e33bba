//! What a hostile visitor tries with a browser and with curl: links, sessions, forms, names of the house, limits.

#[path = "support/api.rs"]
mod api;
#[path = "support/browser.rs"]
mod browser;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::path::Path;

use api::{Program, Told};
use browser::{Browser, links};
use daemon::{Daemon, traceback};
use git::{Repo, tree};

fn house(data: &Path, web: &str) -> (Repo, Daemon) {
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", "fail(1)\n")]));
    let path = repo.path().display();
    let configuration = format!(
        "data_dir = 'data'\n[web]\n{web}\n[[project]]\nname = 'shop'\n[[project.repository]]\npath = '{path}'\n"
    );
    let daemon = Daemon::configured(data, &configuration);
    daemon.decided(traceback("/srv/app/shop/feed.py", 1, "load", "fail(1)"));
    (repo, daemon)
}

/// Posts a form with headers of the attacker's own.
fn post(daemon: &Daemon, path: &str, headers: &[(&str, &str)], fields: &[(&str, &str)]) -> Told {
    let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let kind = [("Content-Type", "application/x-www-form-urlencoded")];
    let headers: Vec<_> = kind.iter().chain(headers).copied().collect();
    Program::new(&daemon.url, "").ask("POST", path, &headers, Some(form.as_bytes()))
}

#[test]
fn a_mailed_link_leads_to_the_configured_address_whatever_the_request_says() {
    let folder = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(folder.path(), "");
    let data = folder.path().join("data");
    let mut browser = Browser::new(&daemon.url);
    let token = browser.get("/sign_in").value("token");
    let cookie = browser.cookie.clone().unwrap();
    for forged in [
        &[("Host", "evil.example"), ("Origin", "http://evil.example")][..],
        &[("X-Forwarded-Host", "evil.example"), ("Origin", &daemon.url)],
        &[("Forwarded", "host=evil.example"), ("Origin", &daemon.url)],
    ] {
        let headers: Vec<_> = forged.iter().copied().chain([("Cookie", cookie.as_str())]).collect();
        let before = links(&data, "ada@example.org").len();
        let asked = [("token", token.as_str()), ("mail", "ada@example.org"), ("next", "//evil.example")];
        post(&daemon, "/sign_in", &headers, &asked).is(200);
        let all = daemon::eventually("a link", || {
            let all = links(&data, "ada@example.org");
            (all.len() > before).then_some(all)
        });
        for link in all {
            assert!(link.starts_with(&format!("{}/sign_in/", daemon.url)), "{link}");
            assert!(!link.contains("evil"), "{link}");
        }
    }
}

#[test]
fn nobody_is_led_to_another_site() {
    let folder = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(folder.path(), "");
    let mut root = Browser::admin(&daemon);
    for evil in [
        "//evil.example",
        "///evil.example",
        "https://evil.example",
        "https:evil.example",
        "/%5Cevil.example",
        "\\\\evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "\n//evil.example",
        " //evil.example",
        "javascript:alert(1)",
        "@evil.example",
        ".evil.example",
    ] {
        let query = form_urlencoded::Serializer::new(String::new()).append_pair("next", evil).finish();
        let led = root.get(&format!("/sign_in?{query}"));
        assert_eq!(led.status, 303, "{evil:?}");
        let target = led.location;
        assert!(target.starts_with('/') && !target.starts_with("//"), "{evil:?} leads to {target:?}");
        assert!(!target.contains(['\\', '\t', '\n']), "{evil:?} leads to {target:?}");
        let sheet = root.get(&format!("/view_traceback?filename=x%0d%0aX-Evil:%201&{query}"));
        assert!(sheet.headers.get("x-evil").is_none());
    }
}

#[test]
fn tries_are_counted_by_the_connection_and_not_by_what_it_claims() {
    let folder = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(folder.path(), "");
    let mut browser = Browser::new(&daemon.url);
    let token = browser.get("/sign_in").value("token");
    let cookie = browser.cookie.clone().unwrap();
    let refused = (0..40).find(|n| {
        let (from, mail) = (format!("198.51.100.{n}"), format!("somebody{n}@example.org"));
        let headers = [
            ("Cookie", cookie.as_str()),
            ("Origin", &daemon.url),
            ("X-Forwarded-For", &from),
            ("Forwarded", &from),
            ("X-Real-IP", &from),
        ];
        let fields = [("token", token.as_str()), ("mail", &mail)];
        post(&daemon, "/sign_in", &headers, &fields).status == 429
    });
    assert_eq!(refused, Some(30));
    // What is kept of tries is bounded: an address of any length is none.
    let long = format!("{}@example.org", "x".repeat(100_000));
    let headers = [("Cookie", cookie.as_str()), ("Origin", &daemon.url)];
    for password in ["", "some password"] {
        let fields = [("token", token.as_str()), ("mail", &long), ("password", password)];
        post(&daemon, "/sign_in", &headers, &fields).is(422);
    }
}

#[test]
fn a_role_that_is_taken_away_is_gone_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(folder.path(), "");
    let mut root = Browser::admin(&daemon);
    let mut ada = Browser::by_mail(&daemon, &folder.path().join("data"), "ada@example.org");
    let rule = [("filename", "shop/feed.py"), ("action", "save"), ("kind", "known_error")];
    let token = ada.get("/add_known_error").value("token");
    let reader = [("action", "change"), ("mail", "ada@example.org"), ("role", "reader"), ("see", "all")];
    assert_eq!(root.fill_in("/people", "/people", &reader).location, "/people?said=person-changed");
    let with_token: Vec<_> = rule.iter().copied().chain([("token", token.as_str())]).collect();
    assert_eq!(ada.post("/add_known_error", &with_token).status, 403);
    assert_eq!(ada.get("/").status, 200);
    root.get("/rules").has("None.");
}

#[test]
fn of_two_who_change_what_somebody_may_do_the_second_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(folder.path(), "");
    let mut root = Browser::admin(&daemon);
    let add = [("action", "add"), ("mail", "rita@example.org"), ("role", "reader")];
    root.fill_in("/people", "/people", &add);
    let page = root.get("/people");
    let (_, hers) = page.text.split_once("rita@example.org").unwrap();
    let (_, hers) = hers.split_once("name=\"version\" value=\"").unwrap();
    let version = hers.split_once('"').unwrap().0.to_owned();
    let change = |role: &'static str, version: &str| {
        let fields = [("action", "change"), ("mail", "rita@example.org"), ("role", role), ("see", "all")];
        fields
            .map(|(k, v)| (k, v.to_owned()))
            .into_iter()
            .chain([("version", version.to_owned())])
            .collect::<Vec<_>>()
    };
    let mut send = |fields: Vec<(&str, String)>| {
        let fields: Vec<_> = fields.iter().map(|(k, v)| (*k, v.as_str())).collect();
        root.fill_in("/people", "/people", &fields)
    };
    assert_eq!(send(change("developer", &version)).location, "/people?said=person-changed");
    // The same once more finds what it wanted; another is told.
    assert_eq!(send(change("developer", &version)).location, "/people?said=same");
    let late = send(change("admin", &version));
    assert_eq!(late.status, 409);
    late.has("root@example.org has changed what rita@example.org may do meanwhile").has("href=\"/people\"");
    let mut remove = change("admin", &version);
    remove[0].1 = "remove".to_owned();
    assert_eq!(send(remove).status, 409);
    root.get("/people").has("<option selected>developer</option>");
}

#[test]
fn a_key_is_shown_once_and_a_form_that_is_sent_twice_makes_one() {
    let folder = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(folder.path(), "");
    let mut root = Browser::admin(&daemon);
    let page = root.get("/projects");
    assert!(!page.text.contains(&daemon.key), "{}", page.text);
    page.has("Put a key for KEY").has(&daemon.key[..6]);
    let (token, project, keys) = (page.value("token"), page.value("project"), page.value("keys"));
    let make = [("token", token.as_str()), ("project", &project), ("keys", &keys)];
    let made = root.post("/projects", &make);
    assert_eq!(made.status, 201);
    made.has("it is shown this once");
    let (_, key) = made.text.split_once("shown this once.</strong></p><pre>").unwrap();
    let key = key.split_once('<').unwrap().0.to_owned();
    made.has(&format!("SENTRY_DSN=http://{key}@"));
    let report = traceback("/srv/app/shop/feed.py", 1, "load", "fail(1)");
    let reports = |key: &str| daemon.post(report.as_bytes(), "", &[("X-Blamed-Key", key)]).unwrap().status;
    assert_eq!(reports(&key), 202);
    let again = root.post("/projects", &make);
    assert_eq!(again.status, 409);
    again.has("No key was made").has("href=\"/projects\"");
    let page = root.get("/projects");
    assert!(!page.text.contains(&key), "{}", page.text);
    // Revoked by what the page calls it.
    let (_, id) = page.text.rsplit_once("name=\"revoke\" value=\"").unwrap();
    let id = id.split_once('"').unwrap().0.to_owned();
    assert!(!key.contains(&id) && !daemon.key.contains(&id));
    let revoke = [("token", token.as_str()), ("project", &project), ("revoke", &id)];
    assert_eq!(root.post("/projects", &revoke).location, "/projects?said=key-revoked");
    assert_eq!(root.post("/projects", &revoke).location, "/projects?said=same");
    let mut states = [reports(&key), reports(&daemon.key)];
    states.sort_unstable();
    assert_eq!(states, [202, 401]);

    // Of a token likewise.
    let page = root.get("/you");
    let (token, tokens) = (page.value("token"), page.value("tokens"));
    let make =
        [("token", token.as_str()), ("tokens", &tokens), ("name", "ci"), ("scope", "read"), ("days", "1")];
    assert_eq!(root.post("/you/tokens", &make).status, 201);
    assert_eq!(root.post("/you/tokens", &make).status, 409);
}

#[test]
fn a_closed_network_is_not_read_by_a_name_that_a_stranger_owns() {
    let folder = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(folder.path(), "sign_in = 'off'");
    let nobody = Program::new(&daemon.url, "");
    let port = daemon.url.rsplit(':').next().unwrap();
    for rebound in [format!("evil.example:{port}"), "127.0.0.1.evil.example".to_owned(), "a@b.c".to_owned()] {
        let origin = format!("http://{rebound}");
        for headers in [&[("Host", rebound.as_str())][..], &[("Host", &rebound), ("Origin", &origin)]] {
            for path in ["/", "/faults/1", "/week.json", "/api/v1/faults"] {
                let told = nobody.ask("GET", path, headers, None);
                assert!([400, 401, 421].contains(&told.status), "{path} as {rebound}: {}", told.status);
                assert!(!told.body.to_string().contains("shop/feed.py"), "{path} as {rebound}");
            }
            let key = nobody.ask("POST", "/api/v1/projects/1/keys", headers, None);
            assert!([400, 401, 421].contains(&key.status), "{rebound}: {}", key.status);
        }
    }
    for known in
        [format!("127.0.0.1:{port}"), "localhost".to_owned(), "buildbox:80".to_owned(), "[::1]".to_owned()]
    {
        assert_eq!(nobody.ask("GET", "/faults/1", &[("Host", &known)], None).status, 200, "{known}");
    }
}

#[test]
fn whatever_is_asked_wrongly_is_told_with_a_way_on() {
    let folder = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(folder.path(), "");
    let mut root = Browser::admin(&daemon);
    let long = "x".repeat(3_000);
    for (path, status) in [
        ("/?week=9999-99", 400),
        ("/?week=2026-02-30", 400),
        ("/?week=99999-01-01", 400),
        ("/week.csv?week=x", 400),
        ("/week.json?week=9999-99", 400),
        ("/get_weekly_error_report?timestamp=1e300", 400),
        ("/get_weekly_error_report?timestamp=NaN", 400),
        ("/faults/18446744073709551616", 404),
        ("/faults/-1", 404),
        ("/faults/0", 404),
        ("/faults/1/occurrences/nothing", 404),
        ("/rules/9223372036854775808", 404),
        ("/outbox/x", 404),
        ("/view_config?key=nothing", 404),
        ("/view_traceback?filename=shop/feed.py&line_number=99&text=x", 404),
        ("/?page=0", 404),
        ("/?author=nobody@example.org&page=2", 404),
        ("/no/such/page", 404),
    ] {
        let page = root.get(path);
        assert_eq!(page.status, status, "{path}");
        page.has("<p class=\"lead\">").has("This week");
    }
    for (path, location) in [
        ("/view_config?key=known_errors", "/rules#known_error"),
        ("/view_config?key=email_remapping", "/rules#remap"),
        ("/view_config", "/rules"),
        ("/view_traceback?filename=shop/feed.py&function_name=load&line_number=99&text=fail(1)", "/faults/1"),
        ("/view_traceback?filename=shop/feed.py&line_number=1&text=other", "/faults/1"),
        ("/view_traceback?filename=shop/feed.py", "/faults/1"),
    ] {
        assert_eq!(root.get(path).location, location, "{path}");
    }
    assert_eq!(root.get("/admin").status, 200);
    // What is not asked for is not carried on, and makes no page long.
    for path in [format!("/?nothing={long}"), format!("/?environment={long}"), format!("/search?q={long}")] {
        let page = root.get(&path);
        assert!(page.status < 500 && page.text.matches(&long).count() < 2, "{}", page.status);
    }
    // The last week of the calendar has neighbours like any other.
    for edge in ["/?week=9999-12-20", "/?week=-9999-01-15", "/?week=0001-01-01"] {
        assert!(root.get(edge).status < 500, "{edge}");
    }
    let zone = root.fill_in("/you", "/you/zone", &[("zone", "Europe/Nowhere")]);
    assert_eq!(zone.status, 422);
    assert_eq!(root.fill_in("/you", "/you/zone", &[("zone", "Asia/Kathmandu")]).location, "/you?said=zone");
    root.get("/faults/1").has("+0545").has("<span id=\"zone\">Asia/Kathmandu</span>");
    assert_eq!(root.fill_in("/you", "/you/zone", &[("zone", "")]).location, "/you?said=zone");
    root.get("/faults/1").has("<span id=\"zone\">UTC</span>").has("data-zone=\"browser\"");
    root.get("/changes").has("time zone to Asia/Kathmandu");
}

#[test]
fn the_house_shows_its_own_time_zone_and_the_board_what_admins_set() {
    let folder = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(folder.path(), "time_zone = 'Asia/Tokyo'\nnames = 'pseudonyms'");
    let mut root = Browser::admin(&daemon);
    root.get("/faults/1").has(" JST\"").has("Asia/Tokyo");
    let page = root.get("/");
    assert!(!page.text.contains("<strong>Ada</strong>"));
    page.has("Sun to Sat");
    let version = root.get("/settings").value("version");
    let set = |names: &'static str, week_starts: &'static str, version: &str| {
        [("threshold", "1"), ("cutoff", ""), ("names", names), ("week_starts", week_starts)]
            .map(|(k, v)| (k, v.to_owned()))
            .into_iter()
            .chain([("version", version.to_owned())])
            .collect::<Vec<_>>()
    };
    let mut send = |fields: Vec<(&str, String)>| {
        let fields: Vec<_> = fields.iter().map(|(k, v)| (*k, v.as_str())).collect();
        root.fill_in("/settings", "/settings", &fields)
    };
    assert_eq!(send(set("shown", "monday", &version)).location, "/settings?said=settings");
    assert_eq!(send(set("shown", "monday", &version)).location, "/settings?said=same");
    assert_eq!(send(set("hidden", "monday", &version)).status, 409);
    root.get("/").has("<strong>Ada</strong>").has("Mon to Sun");
    root.get("/settings").has("names on the board from as configured to shown");
    let version = root.get("/settings").value("version");
    assert_eq!(
        root.fill_in(
            "/settings",
            "/settings",
            &[("threshold", "1"), ("cutoff", ""), ("names", ""), ("week_starts", ""), ("version", &version)]
        )
        .location,
        "/settings?said=settings"
    );
    root.get("/").has("Sun to Sat");
}

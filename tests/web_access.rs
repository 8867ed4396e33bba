//! Who may what: every page and every form, as nobody, reader, developer and admin.

#[path = "support/browser.rs"]
mod browser;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::path::Path;

use browser::{Browser, links};
use daemon::{Daemon, traceback};
use git::{Repo, tree};

const FEED: &str = "import json\n\n\ndef load(text):\n    return json.loads(text)\n";
const ROLES: [&str; 4] = ["nobody", "reader", "developer", "admin"];

/// Method, address, and who is the least that gets in. `{…}` as in the router; forms are sent empty, which
/// changes nothing.
const TABLE: &[(&str, &str, &str)] = &[
    ("GET", "/favicon.svg", "nobody"),
    ("GET", "/favicon.ico", "nobody"),
    ("GET", "/check_health", "nobody"),
    ("GET", "/sign_in", "nobody"),
    ("POST", "/sign_in", "nobody"),
    ("GET", "/sign_in/{secret}", "nobody"),
    ("POST", "/sign_in/{secret}", "nobody"),
    ("GET", "/", "reader"),
    ("GET", "/get_weekly_error_report", "reader"),
    ("GET", "/week.csv", "reader"),
    ("GET", "/week.json", "reader"),
    ("GET", "/faults/{id}", "reader"),
    ("GET", "/faults/{id}/occurrences/{occurrence}", "reader"),
    ("GET", "/view_traceback", "reader"),
    ("GET", "/search", "reader"),
    ("GET", "/rules", "reader"),
    ("GET", "/rules/{id}", "reader"),
    ("GET", "/you", "reader"),
    ("POST", "/you/sign_out", "reader"),
    ("POST", "/you/password", "reader"),
    ("POST", "/you/tokens", "reader"),
    ("POST", "/rules/{id}", "developer"),
    ("POST", "/faults/{id}/delete", "developer"),
    ("GET", "/add_known_error", "developer"),
    ("POST", "/add_known_error", "developer"),
    ("GET", "/add_building_block", "developer"),
    ("POST", "/add_building_block", "developer"),
    ("GET", "/add_third_party_error", "developer"),
    ("POST", "/add_third_party_error", "developer"),
    ("GET", "/add_ignored_exception", "developer"),
    ("POST", "/add_ignored_exception", "developer"),
    ("GET", "/add_watch", "developer"),
    ("POST", "/add_watch", "developer"),
    ("GET", "/remap_email", "developer"),
    ("POST", "/remap_email", "developer"),
    ("GET", "/disown_file", "developer"),
    ("POST", "/disown_file", "developer"),
    ("GET", "/admin", "admin"),
    ("GET", "/settings", "admin"),
    ("POST", "/settings", "admin"),
    ("GET", "/view_config", "admin"),
    ("GET", "/changes", "admin"),
    ("GET", "/projects", "admin"),
    ("POST", "/projects", "admin"),
    ("GET", "/people", "admin"),
    ("POST", "/people", "admin"),
    ("GET", "/outbox", "admin"),
    ("GET", "/outbox/{id}", "admin"),
    ("POST", "/outbox/{id}", "admin"),
];

/// A daemon with one fault, of `ada@example.org`.
fn house(data: &Path) -> (Repo, Daemon) {
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let daemon = Daemon::start(repo.path(), data);
    daemon.decided(traceback("/srv/app/shop/feed.py", 5, "load", "return json.loads(text)"));
    (repo, daemon)
}

fn add(admin: &mut Browser, mail: &str, role: &str) {
    let added = admin.fill_in("/people", "/people", &[("action", "add"), ("mail", mail), ("role", role)]);
    assert_eq!(added.location, "/people?said=person-added", "{}", added.text);
}

#[test]
fn everybody_gets_as_far_as_their_role_and_no_further() {
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(data.path());
    let mut admin = Browser::admin(&daemon);
    add(&mut admin, "rita@example.org", "reader");
    add(&mut admin, "dan@example.org", "developer");
    let reader = Browser::by_mail(&daemon, data.path(), "rita@example.org");
    let developer = Browser::by_mail(&daemon, data.path(), "dan@example.org");
    let mut browsers = [Browser::new(&daemon.url), reader, developer, admin];
    let tokens = [("/sign_in", 0), ("/you", 1), ("/you", 2), ("/you", 3)]
        .map(|(page, n)| browsers[n].get(page).value("token"));
    for (method, address, least) in TABLE {
        let path = address.replace("{id}", "1").replace("{occurrence}", "x").replace("{secret}", "x");
        // The last in the table's order of roles would sign themselves out or delete what others look at.
        let path = if *method == "POST" { path.replace("/1", "/999") } else { path };
        let least = ROLES.iter().position(|role| role == least).unwrap();
        for (n, browser) in browsers.iter_mut().enumerate() {
            let page = match (*method, *address) {
                ("GET", _) => browser.get(&path),
                (_, "/you/sign_out") if n > 0 => {
                    browser.post(&path, &[("token", tokens[n].as_str()), ("session", "x")])
                }
                _ => browser.post(&path, &[("token", tokens[n].as_str())]),
            };
            let refused = match (*method, n) {
                ("GET", 0) => page.status == 303 && page.location.starts_with("/sign_in"),
                ("POST", 0) => page.status == 401,
                _ => page.status == 403,
            };
            let who = ROLES[n];
            assert_eq!(refused, n < least, "{method} {address} as {who}: {} {}", page.status, page.location);
            assert!(page.status < 500, "{method} {address} as {who}: {}", page.text);
            let policy = page.headers.get("content-security-policy").map(|v| v.to_str().unwrap());
            assert!(policy.unwrap().contains("default-src 'none'"), "{method} {address}");
            for inline in ["<script", "<style", " style=", " onload="] {
                assert!(!page.text.contains(inline), "{method} {address}: {inline}");
            }
        }
    }
}

#[test]
fn the_table_is_whole() {
    let router = include_str!("../src/web/mod.rs");
    let lists = include_str!("../src/web/form.rs");
    let mut count = 0;
    for rest in router.split(".route(\"").skip(1) {
        let (address, rest) = rest.split_once('"').unwrap();
        let handlers = rest.split_once('\n').unwrap().0;
        for (method, word) in [("GET", "get("), ("POST", "post(")] {
            let there = TABLE.iter().any(|row| (row.0, row.1) == (method, address));
            assert!(there || !handlers.contains(word), "{method} {address}");
        }
        count += 1;
    }
    assert!(count > 25, "{count}");
    let own = lists.split("fn address").nth(1).unwrap().split("fn one").next().unwrap();
    for address in own.split("=> \"").skip(1).filter_map(|rest| rest.split('"').next()) {
        assert!(TABLE.iter().any(|row| row.0 == "POST" && row.1 == address), "{address}");
    }
}

#[test]
fn a_form_of_another_site_or_another_browser_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(data.path());
    let mut admin = Browser::admin(&daemon);
    let token = admin.get("/settings").value("token");
    let version = admin.get("/settings").value("version");
    let fields = [("token", token.as_str()), ("version", &version), ("threshold", "7"), ("cutoff", "")];
    for origin in ["https://evil.example", "null", "", "http://127.0.0.1:1"] {
        admin.origin = origin.to_owned();
        assert_eq!(admin.post("/settings", &fields).status, 403, "{origin:?}");
    }
    admin.origin = daemon.url.clone();
    let foreign = Browser::new(&daemon.url).get("/sign_in").value("token");
    for token in ["", "x", foreign.as_str()] {
        let fields = [("token", token), ("version", &version), ("threshold", "7"), ("cutoff", "")];
        assert_eq!(admin.post("/settings", &fields).status, 403, "{token:?}");
    }
    admin.get("/settings").has("value=\"1\"");
    assert_eq!(admin.post("/settings", &fields).location, "/settings?said=settings");
    admin.get("/settings").has("value=\"7\"").has("root@example.org: threshold from 1 to 7");
    // Whoever looked at them before that is told, and changes nothing.
    let late = [("token", token.as_str()), ("version", &version), ("threshold", "9"), ("cutoff", "")];
    let refused = admin.post("/settings", &late);
    assert_eq!(refused.status, 409);
    refused.has("Somebody was faster");
}

#[test]
fn a_stolen_cookie_is_worth_nothing_after_sign_out_or_removal() {
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(data.path());
    let mut admin = Browser::admin(&daemon);
    let mut ada = Browser::by_mail(&daemon, data.path(), "ada@example.org");
    let stolen = ada.cookie.clone();
    let mut thief = Browser { cookie: stolen.clone(), ..Browser::new(&daemon.url) };
    assert_eq!(thief.get("/").status, 200);
    assert_eq!(ada.fill_in("/you", "/you/sign_out", &[]).location, "/sign_in");
    assert_ne!(ada.cookie, stolen);
    assert_eq!(thief.get("/").status, 303);
    // A cookie that was never signed in is not made good by signing in with it.
    let mut ada = Browser::new(&daemon.url);
    ada.get("/sign_in");
    let fixed = ada.cookie.clone();
    let mut ada = Browser::by_mail(&daemon, data.path(), "ada@example.org");
    assert_eq!(Browser { cookie: fixed, ..Browser::new(&daemon.url) }.get("/").status, 303);
    // Removed by an admin, she is out at once; as an author she may ask again.
    let gone = admin.fill_in("/people", "/people", &[("action", "remove"), ("mail", "ada@example.org")]);
    assert_eq!(gone.location, "/people?said=person-removed");
    assert_eq!(ada.get("/").status, 303);
    // The last admin cannot leave the house without one.
    let last = admin.fill_in("/people", "/people", &[("action", "remove"), ("mail", "root@example.org")]);
    assert_eq!(last.status, 409);
}

#[test]
fn a_link_works_once_and_nothing_tells_who_has_an_account() {
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(data.path());
    let mut admin = Browser::admin(&daemon);
    let link = daemon.admin_link.clone().unwrap();
    let path = link.strip_prefix(&daemon.url).unwrap();
    assert_eq!(Browser::new(&daemon.url).get(path).status, 404, "the first admin's link is used up");
    add(&mut admin, "rita@example.org", "reader");

    let mut browser = Browser::new(&daemon.url);
    let mut said = ["rita@example.org", "nobody@example.org", "ada@example.org"].map(|mail| {
        let page = browser.fill_in("/sign_in", "/sign_in", &[("mail", mail), ("next", "/rules")]);
        assert_eq!(page.status, 200);
        page.text.replace(mail, "…")
    });
    said.sort();
    assert_eq!(said[0], said[2]);
    let link = daemon::eventually("a link", || links(data.path(), "rita@example.org").pop());
    let path = link.strip_prefix(&daemon.url).unwrap();
    // Programs that look through mails open links: that uses nothing up.
    for _ in 0..3 {
        browser.get(path).has("As <strong>rita@example.org</strong>");
    }
    assert_eq!(browser.fill_in(path, path, &[]).location, "/rules");
    assert_eq!(browser.get("/rules").status, 200);
    assert_eq!(Browser::new(&daemon.url).get(path).status, 404);
    daemon::eventually("the author's link", || links(data.path(), "ada@example.org").pop());
    assert_eq!(links(data.path(), "nobody@example.org"), Vec::<String>::new());

    // The link in a mail that waits to be read is not shown to admins.
    let mails = admin.get("/outbox");
    let shown = admin.get(&mails.link("/outbox/"));
    assert!(!shown.text.contains("/sign_in/"), "{}", shown.text);

    // Nobody is led elsewhere, nobody asks without end.
    for _ in 0..4 {
        browser = Browser::new(&daemon.url);
        let page =
            browser.fill_in("/sign_in", "/sign_in", &[("mail", "x@y.example"), ("next", "//evil.example")]);
        assert_eq!(page.status, 200);
    }
    browser.fill_in("/sign_in", "/sign_in", &[("mail", "x@y.example")]);
    assert_eq!(browser.fill_in("/sign_in", "/sign_in", &[("mail", "x@y.example")]).status, 429);
}

#[test]
fn without_sign_in_everybody_may_everything_and_forms_are_checked_all_the_same() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let configuration = format!(
        "data_dir = 'data'\n[web]\nsign_in = 'off'\n[[project]]\nname = 'shop'\n[[project.repository]]\npath = '{}'\n",
        repo.path().display()
    );
    let daemon = Daemon::configured(data.path(), &configuration);
    assert_eq!(daemon.admin_link, None);
    let mut anybody = Browser::new(&daemon.url);
    anybody.get("/").has("Nothing has been reported yet");
    assert_eq!(anybody.post("/settings", &[("threshold", "3")]).status, 403);
    let version = anybody.get("/settings").value("version");
    let fields = [("version", version.as_str()), ("threshold", "3"), ("cutoff", "")];
    assert_eq!(anybody.fill_in("/settings", "/settings", &fields).location, "/settings?said=settings");
    anybody.get("/changes").has("sign-in is off");
}

//! Who may what: every page and every form, as nobody, reader, developer and admin, and as somebody who sees
//! another project; every address of the API, with a token of each scope.

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
    ("GET", "/api", "nobody"),
    ("GET", "/readyz", "nobody"),
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
    ("GET", "/admin", "reader"),
    ("GET", "/view_config", "reader"),
    ("GET", "/rules/{id}", "reader"),
    ("GET", "/you", "reader"),
    ("POST", "/you/sign_out", "reader"),
    ("POST", "/you/password", "reader"),
    ("POST", "/you/zone", "reader"),
    ("POST", "/you/tokens", "reader"),
    ("POST", "/rules/{id}", "developer"),
    ("POST", "/faults/{id}/delete", "developer"),
    ("POST", "/faults/{id}/send_again", "developer"),
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
    ("GET", "/health", "admin"),
    ("GET", "/repositories", "admin"),
    ("GET", "/settings", "admin"),
    ("POST", "/settings", "admin"),
    ("GET", "/changes", "admin"),
    ("GET", "/projects", "admin"),
    ("POST", "/projects", "admin"),
    ("GET", "/people", "admin"),
    ("POST", "/people", "admin"),
    ("GET", "/outbox", "admin"),
    ("GET", "/outbox/{id}", "admin"),
    ("POST", "/outbox/{id}", "admin"),
];

/// Method, address, and the least scope that is let in; `key`: a project's key and no token; `nobody`: neither.
const API: &[(&str, &str, &str)] = &[
    ("GET", "/api/v1/me", "read"),
    ("GET", "/api/v1/faults", "read"),
    ("GET", "/api/v1/faults/{id}", "read"),
    ("GET", "/api/v1/faults/{id}/occurrences/{occurrence}", "read"),
    ("GET", "/api/v1/week", "read"),
    ("GET", "/api/v1/rules", "read"),
    ("GET", "/api/v1/rules/{id}", "read"),
    ("GET", "/api/v1/projects", "read"),
    ("DELETE", "/api/v1/faults/{id}", "write"),
    ("POST", "/api/v1/faults/{id}/known", "write"),
    ("POST", "/api/v1/faults/{id}/send_again", "write"),
    ("POST", "/api/v1/rules", "write"),
    ("POST", "/api/v1/rules/try", "write"),
    ("PATCH", "/api/v1/rules/{id}", "write"),
    ("DELETE", "/api/v1/rules/{id}", "write"),
    ("GET", "/api/v1/settings", "admin"),
    ("PUT", "/api/v1/settings", "admin"),
    ("GET", "/api/v1/repositories", "admin"),
    ("GET", "/api/v1/projects/{id}/keys", "admin"),
    ("POST", "/api/v1/projects/{id}/keys", "admin"),
    ("DELETE", "/api/v1/projects/{id}/keys/{key}", "admin"),
    ("GET", "/api/v1/outbox", "admin"),
    ("GET", "/api/v1/outbox/{id}", "admin"),
    ("POST", "/api/v1/outbox/{id}/retry", "admin"),
    ("GET", "/api/v1/people", "admin"),
    ("POST", "/api/v1/people", "admin"),
    ("GET", "/api/v1/people/{id}", "admin"),
    ("PUT", "/api/v1/people/{id}", "admin"),
    ("DELETE", "/api/v1/people/{id}", "admin"),
    ("GET", "/api/v1/changes", "admin"),
    ("POST", "/api/v1/reports", "key"),
    ("POST", "/api/v1/oops", "key"),
    ("POST", "/api/v1/deploys", "key"),
    ("POST", "/api/v1/repositories/{name}/fetch", "key"),
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
    let program = Program::of(&daemon.url, data.path(), ("root@example.org", "admin"), "admin");
    let reader = Browser::by_mail(&daemon, data.path(), "rita@example.org");
    let developer = Browser::by_mail(&daemon, data.path(), "dan@example.org");
    let some = [("action", "add"), ("mail", "sam@example.org"), ("role", "developer"), ("see", "some")];
    assert_eq!(admin.fill_in("/people", "/people", &some).location, "/people?said=person-added");
    let mut stranger = Browser::by_mail(&daemon, data.path(), "sam@example.org");
    let strangers = stranger.get("/you").value("token");
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
            let text = page.text.replace("<script src=\"/pages-", "");
            for inline in ["<script", "<style", " style=", " onload="] {
                assert!(!text.contains(inline), "{method} {address}: {inline}");
            }
        }
        // Whoever sees another project gets in like others of their role, and finds nothing.
        let page = match *method {
            "GET" => stranger.get(&path),
            _ => stranger.post(&path, &[("token", strangers.as_str()), ("session", "x")]),
        };
        assert_eq!(page.status == 403, least > 2, "{method} {address} as a stranger: {}", page.status);
        let is_theirs = page.text.contains("shop/feed.py") || page.text.contains("ada@example.org");
        assert!(!is_theirs, "{method} {address} as a stranger: {}", page.text);
        if address.starts_with("/faults/") {
            assert_eq!(page.status, 404, "{method} {address} as a stranger");
        }
        // A token is no way into a page.
        if *method == "GET" && least > 0 {
            let bearer = [("Authorization", format!("Bearer {}", program.token))];
            let headers = bearer.each_ref().map(|(name, value)| (*name, value.as_str()));
            let told = Program::new(&daemon.url, "").ask("GET", &path, &headers, None);
            assert_eq!(told.status, 303, "{address} with a token");
            assert_eq!(
                Program::new(&daemon.url, "").ask("HEAD", &path, &[], None).status,
                303,
                "HEAD {address}"
            );
        }
    }
}

#[test]
fn every_token_gets_as_far_as_its_scope_and_no_further() {
    const SCOPES: [&str; 4] = ["nobody", "read", "write", "admin"];
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(data.path());
    let token =
        |mail: &str, role: &str, scope: &str| Program::of(&daemon.url, data.path(), (mail, role), scope);
    let programs = [
        Program::new(&daemon.url, ""),
        token("root@example.org", "admin", "read"),
        token("root@example.org", "admin", "write"),
        token("root@example.org", "admin", "admin"),
    ];
    let mut root = Browser::admin(&daemon);
    let some = [("action", "add"), ("mail", "sam@example.org"), ("role", "developer"), ("see", "some")];
    assert_eq!(root.fill_in("/people", "/people", &some).location, "/people?said=person-added");
    let stranger = token("sam@example.org", "developer", "write");
    let ask = |program: &Program, method: &str, address: &str| {
        // What would change something is of what is not there, or says nothing.
        let id = if method == "GET" { "1" } else { "999" };
        let path = address.replace("{id}", id).replace("{occurrence}", "x").replace("{key}", "x");
        let path = if address == "/api/v1/outbox" { "/api/v1/outbox?state=sent" } else { &path };
        let headers = [("Content-Type", "application/json"), ("If-Match", "\"x\"")];
        let body: Option<&[u8]> = if method == "GET" { None } else { Some(b"{}") };
        program.ask(method, path, if method == "GET" { &[] } else { &headers }, body)
    };
    for (method, address, least) in API {
        let Some(least) = SCOPES.iter().position(|scope| scope == least) else {
            for program in &programs {
                let told = ask(program, method, address);
                assert_eq!(told.status, 401, "{method} {address}: {}", told.body);
            }
            let told = ask(&Program::new(&daemon.url, &daemon.key), method, address);
            assert!(![401, 403, 500].contains(&told.status), "{method} {address}: {}", told.body);
            continue;
        };
        for (n, program) in programs.iter().enumerate() {
            let told = ask(program, method, address);
            let expected = match n {
                0 => 401,
                _ => 403,
            };
            assert_eq!(told.status == expected, n < least, "{method} {address} {}: {}", SCOPES[n], told.body);
            assert!(told.status < 500, "{method} {address}: {}", told.body);
        }
        let told = ask(&stranger, method, address);
        assert_eq!(told.status == 403, least > 2, "{method} {address} as a stranger: {}", told.body);
        let text = told.body.to_string();
        assert!(!text.contains("shop/feed.py") && !text.contains("ada@"), "{method} {address}: {text}");
    }

    // The document says the same, of these addresses and no others.
    let document = programs[0].get("/api/v1/openapi.json").body;
    let mut said = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let needs = &operation["security"][0];
            let scope = needs["token"][0].as_str().or(needs.get("key").map(|_| "key"));
            said.push((method.to_uppercase(), path.clone(), scope.unwrap_or("nobody").to_owned()));
        }
    }
    let mut expected: Vec<_> =
        API.iter().map(|&(m, a, s)| (m.to_owned(), a.to_owned(), s.to_owned())).collect();
    said.sort();
    expected.sort();
    assert_eq!(said, expected);
}

#[test]
fn no_trick_with_paths_or_headers_leads_past_the_door() {
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(data.path());
    let nobody = Program::new(&daemon.url, "");
    for path in [
        "//settings",
        "/settings/",
        "/./settings",
        "/%73ettings",
        "/SETTINGS",
        "/sign_in/../settings",
        "/sign_in/%2e%2e/settings",
        "/sign_in/..%2fsettings",
        "/settings;x=1",
        "/settings%00",
        "/favicon.svg/../settings",
        "/api/v1/../../settings",
        "/faults/1/",
        "/faults/1%2f",
        "/faults/%31",
        "/api/v1/faults/",
        "/api/v1/faults/%31",
    ] {
        let told = nobody.get(path);
        let text = told.body.to_string();
        assert!([303, 401, 404].contains(&told.status), "{path}: {} {text}", told.status);
        assert!(!text.contains("Cutoff") && !text.contains("shop/feed.py"), "{path}: {text}");
    }
    for header in [
        ("X-Original-URL", "/sign_in"),
        ("X-Rewrite-URL", "/sign_in"),
        ("X-Forwarded-For", "127.0.0.1"),
        ("X-Remote-User", "root@example.org"),
        ("X-Forwarded-User", "root@example.org"),
        ("X-HTTP-Method-Override", "HEAD"),
        ("Authorization", "Basic cm9vdDpyb290"),
        ("Cookie", "blamed=00000000000000000000000000000000"),
        ("Cookie", "__Host-blamed=00000000000000000000000000000000"),
        ("Cookie", "blamed=' OR 1=1 --"),
        ("Host", "evil.example"),
    ] {
        for path in ["/settings", "/faults/1"] {
            let told = nobody.ask("GET", path, &[header], None);
            assert_eq!(told.status, 303, "{header:?} {path}");
            assert!(told.header("location").starts_with("/sign_in?next="), "{header:?} {path}");
        }
    }
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW"] {
        let told = nobody.ask(method, "/settings", &[("Origin", &daemon.url)], None);
        assert!([401, 404, 405].contains(&told.status), "{method}: {}", told.status);
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
    // Every form there is, whoever seems to send it from elsewhere.
    for (_, address, _) in TABLE.iter().filter(|(method, ..)| *method == "POST") {
        let path = address.replace("{id}", "1").replace("{secret}", "x");
        for origin in ["https://evil.example", "null", ""] {
            admin.origin = origin.to_owned();
            let page = admin.post(&path, &[("token", token.as_str()), ("action", "remove")]);
            assert_eq!(page.status, 403, "{address} from {origin:?}");
        }
        admin.origin = daemon.url.clone();
        assert_eq!(admin.post(&path, &[("action", "remove")]).status, 403, "{address} without a token");
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
    refused.has("root@example.org was faster: the threshold is now 7").has("value=\"9\"");
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
    // Removed by an admin, she is out at once, and stays out, author that she is, until she is added again.
    let gone = admin.fill_in("/people", "/people", &[("action", "remove"), ("mail", "ada@example.org")]);
    assert_eq!(gone.location, "/people?said=person-removed");
    assert_eq!(ada.get("/").status, 303);
    let before = links(data.path(), "ada@example.org").len();
    let asked = |mail: &str| {
        let mut browser = Browser::new(&daemon.url);
        assert_eq!(browser.fill_in("/sign_in", "/sign_in", &[("mail", mail)]).status, 200);
    };
    asked("ada@example.org");
    // What is asked for later is done later: when the admin's own link is there, hers would be.
    asked("root@example.org");
    daemon::eventually("the admin's link", || links(data.path(), "root@example.org").pop());
    assert_eq!(links(data.path(), "ada@example.org").len(), before);
    add(&mut admin, "ada@example.org", "reader");
    Browser::by_mail(&daemon, data.path(), "ada@example.org");
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

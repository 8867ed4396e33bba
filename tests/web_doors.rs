//! The ways in: links, passwords, a proxy's word, the command line; and what of them is kept.

#[path = "support/browser.rs"]
mod browser;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::path::Path;

use browser::{Browser, Page, links};
use daemon::{Daemon, blamed, run, traceback};
use git::{Repo, tree};

const PASSWORD: &str = "four words of mine";

fn house(data: &Path) -> (Repo, Daemon) {
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", "fail(1)\n")]));
    let daemon = Daemon::start(repo.path(), data);
    daemon.decided(traceback("/srv/app/shop/feed.py", 1, "load", "fail(1)"));
    (repo, daemon)
}

/// Everything that the store's files hold, as far as it is text.
fn kept(data: &Path) -> String {
    let files = ["blamed.sqlite3", "blamed.sqlite3-wal"].map(|name| std::fs::read(data.join(name)));
    files.into_iter().flatten().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).collect()
}

fn command(data: &Path, arguments: &[&str]) -> std::process::Output {
    run(blamed(arguments)
        .args(["--data-dir", data.to_str().unwrap()])
        .env_remove("USER")
        .env_remove("LOGNAME"))
}

fn printed(data: &Path, arguments: &[&str]) -> String {
    let output = command(data, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn by_password(daemon: &Daemon, mail: &str, password: &str) -> (Browser, Page) {
    let mut browser = Browser::new(&daemon.url);
    let page = browser.fill_in("/sign_in", "/sign_in", &[("mail", mail), ("password", password)]);
    (browser, page)
}

#[test]
fn a_password_signs_in_and_is_nobody_elses_to_see() {
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(data.path());
    let mut ada = Browser::by_mail(&daemon, data.path(), "ada@example.org");
    let mut elsewhere = Browser::by_mail(&daemon, data.path(), "ada@example.org");
    let mut set = |old: &str, new: &str, again: &str| {
        ada.fill_in("/you", "/you/password", &[("old", old), ("new", new), ("again", again)])
    };
    assert_eq!(set("", "short", "short").status, 422);
    set("", PASSWORD, "another").has("The two are not the same");
    assert_eq!(set("", PASSWORD, PASSWORD).location, "/you?said=password-set");
    assert_eq!(set("wrong", "other words of mine", "other words of mine").status, 422);
    assert_eq!(elsewhere.get("/").status, 303, "other browsers are out");
    assert_eq!(ada.get("/").status, 200);

    // The same is said of a wrong password, of nobody, and of somebody without one.
    let mut root = Browser::admin(&daemon);
    let wrongs =
        [("ada@example.org", "wrong"), ("root@example.org", PASSWORD), ("nobody@example.org", PASSWORD)];
    let said = wrongs.map(|(mail, password)| {
        let (_, page) = by_password(&daemon, mail, password);
        assert_eq!(page.status, 422);
        let token = page.value("token");
        page.text.replace(mail, "…").replace(&token, "…")
    });
    assert_eq!((&said[0], &said[0]), (&said[1], &said[2]));
    let (mut browser, page) = by_password(&daemon, "Ada@example.org", PASSWORD);
    assert_eq!(page.location, "/");
    assert_eq!(browser.get("/you").status, 200);
    let stolen = browser.cookie.clone();

    // It stands nowhere, and admins see no more than that she is there.
    assert!(!kept(data.path()).contains(PASSWORD));
    for page in ["/people", "/changes"] {
        assert!(!root.get(page).text.contains("argon2"), "{page}");
    }
    root.get("/changes").has("set a password");
    // Who tries on and on waits, the right one included; links still work.
    for _ in 0..10 {
        by_password(&daemon, "ada@example.org", "wrong");
    }
    assert_eq!(by_password(&daemon, "ada@example.org", PASSWORD).1.status, 429);
    Browser::by_mail(&daemon, data.path(), "ada@example.org");
    // Removed, it is gone, and so are the browsers that came in by it.
    let removed = ada.fill_in("/you", "/you/password", &[("old", PASSWORD), ("action", "remove")]);
    assert_eq!(removed.location, "/you?said=password-removed");
    let mut thief = Browser { cookie: stolen, ..Browser::new(&daemon.url) };
    assert_eq!(thief.get("/").status, 303);
}

#[test]
fn a_link_is_kept_nowhere_but_in_its_mail() {
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(data.path());
    let mut root = Browser::admin(&daemon);
    let mut browser = Browser::new(&daemon.url);
    let asked = [("mail", "ada@example.org"), ("next", "/faults/1?a=b&c=d")];
    assert_eq!(browser.fill_in("/sign_in", "/sign_in", &asked).status, 200);
    let link = daemon::eventually("a link", || links(data.path(), "ada@example.org").pop());
    let secret: String = link.split("/sign_in/").nth(1).unwrap().split('?').next().unwrap().to_owned();
    assert_eq!(secret.len(), 64);
    let admins: String = daemon.admin_link.as_ref().unwrap().split("/sign_in/").nth(1).unwrap().to_owned();
    let kept = kept(data.path());
    assert!(!kept.contains(&secret) && !kept.contains(&admins));
    let mail = root.get("/outbox").link("/outbox/");
    assert!(!root.get(&mail).text.contains(&secret));

    // Of those who have it open and use it at once, one is in.
    let path = link.strip_prefix(&daemon.url).unwrap();
    let open = [(); 8].map(|()| {
        let mut browser = Browser::new(&daemon.url);
        let token = browser.get(path).value("token");
        (browser, token)
    });
    let entered = std::thread::scope(|scope| {
        let all =
            open.map(|(mut browser, token)| scope.spawn(move || browser.post(path, &[("token", &token)])));
        all.map(|one| one.join().unwrap())
    });
    let inside: Vec<_> = entered.iter().filter(|page| page.status == 303).collect();
    assert_eq!(inside.len(), 1, "{:?}", entered.map(|page| page.status));
    assert_eq!(inside[0].location, "/faults/1?a=b&c=d");
}

#[test]
fn people_are_kept_from_the_command_line_beside_a_running_daemon() {
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = house(data.path());
    let project = printed(data.path(), &["user", "list"]);
    assert_eq!(project, "", "nobody yet");
    let link = printed(data.path(), &["user", "add", "Rita@example.org", "--role", "reader"]);
    // Started with --listen, at an address that stands in no file.
    let path = link.strip_prefix(&daemon.url).unwrap().to_owned();
    let mut rita = Browser::new(&daemon.url);
    assert_eq!(rita.fill_in(&path, &path, &[]).location, "/");
    rita.get("/you").has("You are reader");
    assert_eq!(Browser::new(&daemon.url).get(&path).status, 404, "it works once");

    assert_eq!(printed(data.path(), &["user", "role", "rita@example.org", "admin"]), "");
    rita.get("/you").has("You are admin");
    assert_eq!(printed(data.path(), &["user", "list"]), "rita@example.org\tadmin\tall projects");
    let last = command(data.path(), &["user", "remove", "rita@example.org"]);
    assert_eq!(last.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&last.stderr).contains("Somebody has to be admin"));
    for wrong in [
        &["user", "remove", "nobody@example.org"][..],
        &["user", "add", "x@example.org", "--project", "nowhere"],
        &["token", "add", "nobody@example.org", "--name", "ci"],
        &["token", "revoke", "7"],
    ] {
        assert_eq!(command(data.path(), wrong).status.code(), Some(1), "{wrong:?}");
    }
    printed(data.path(), &["user", "add", "dan@example.org"]);
    let json = printed(data.path(), &["user", "list", "--json"]);
    assert!(
        json.starts_with("{\"mail\":\"dan@example.org\",\"projects\":null,\"role\":\"developer\"}"),
        "{json}"
    );
    printed(data.path(), &["known", "add", "--file", "shop/feed.py"]);
    printed(data.path(), &["settings", "set", "threshold", "3"]);
    printed(data.path(), &["settings", "set", "names", "pseudonyms"]);
    printed(data.path(), &["settings", "set", "week_starts", "Monday"]);
    assert!(printed(data.path(), &["settings", "show"]).contains("names\tpseudonyms\nweek_starts\tmonday"));
    for wrong in [["names", "nobody"], ["week_starts", "someday"]] {
        assert_eq!(
            command(data.path(), &["settings", "set", wrong[0], wrong[1]]).status.code(),
            Some(2),
            "{wrong:?}"
        );
    }
    let key = printed(data.path(), &["project", "add-key"]);
    let key = key.lines().next().unwrap().strip_prefix("key ").unwrap().to_owned();
    printed(data.path(), &["project", "revoke", &key[..12]]);
    printed(data.path(), &["user", "remove", "dan@example.org"]);
    let token =
        printed(data.path(), &["token", "add", "rita@example.org", "--name", "ci", "--scope", "write"]);
    assert!(token.starts_with("blamed_") && !kept(data.path()).contains(&token));
    assert!(printed(data.path(), &["token", "list"]).contains("write\tuntil"));
    printed(data.path(), &["token", "revoke", "1"]);
    assert_eq!(printed(data.path(), &["token", "list", "--json"]), "");

    // Every change is in the log.
    let revoked = format!("revoked the key {}…", &key[..6]);
    let changes = rita.get("/changes");
    for done in [
        "<td>command line</td>",
        "added rita@example.org as reader",
        "printed a sign-in link for rita@example.org",
        "made rita@example.org admin instead of reader",
        "added known error: shop/feed.py",
        "threshold from 1 to 3",
        "names on the board from as configured to pseudonyms",
        "the first day of the week from as configured to monday",
        "a new key",
        revoked.as_str(),
        "removed dan@example.org",
        "made token 1 (write) for rita@example.org",
        "revoked, of rita@example.org",
    ] {
        changes.has(done);
    }
}

#[test]
fn a_trusted_proxy_says_who_is_there_and_nobody_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", "fail(1)\n")]));
    let configured = |web: &str| {
        let path = repo.path().display();
        Daemon::configured(
            folder.path(),
            &format!(
                "data_dir = 'data'\n[web]\n{web}\n[[project]]\nname = 'shop'\n[[project.repository]]\npath = '{path}'\n"
            ),
        )
    };
    let get = |daemon: &Daemon, path: &str, headers: &[(&str, &str)]| {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0).build().into();
        let mut request = agent.get(format!("{}{path}", daemon.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.call().unwrap()
    };
    let daemon =
        configured("trusted_proxies = ['127.0.0.1']\nuser_header = 'X-Remote-User'\nnewcomers = 'reader'");
    let mut answer = get(&daemon, "/you", &[("X-Remote-User", "Rita@Example.org")]);
    let text = answer.body_mut().read_to_string().unwrap();
    assert_eq!(answer.status(), 200);
    assert!(text.contains("rita@example.org") && text.contains("You are reader"), "{text}");
    assert!(text.contains("sign out there"), "{text}");
    assert_eq!(get(&daemon, "/settings", &[("X-Remote-User", "rita@example.org")]).status(), 403);
    assert_eq!(get(&daemon, "/", &[]).status(), 303);
    let twice = [("X-Remote-User", "rita@example.org"), ("X-Remote-User", "root@example.org")];
    assert_eq!(get(&daemon, "/", &twice).status(), 303);
    let https = get(&daemon, "/sign_in", &[("X-Forwarded-Proto", "https")]);
    let cookie = https.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.starts_with("__Host-blamed=") && cookie.ends_with("; Secure"), "{cookie}");
    daemon.kill();

    for web in [
        "",
        "trusted_proxies = ['127.0.0.1']",
        "trusted_proxies = ['10.0.0.0/8']\nuser_header = 'X-Remote-User'\nnewcomers = 'reader'",
    ] {
        let daemon = configured(web);
        assert_eq!(get(&daemon, "/", &[("X-Remote-User", "rita@example.org")]).status(), 303, "{web}");
        daemon.kill();
    }
    // Known from before, let in; unknown, not.
    let daemon = configured("trusted_proxies = ['127.0.0.1']\nuser_header = 'X-Remote-User'");
    assert_eq!(get(&daemon, "/", &[("X-Remote-User", "rita@example.org")]).status(), 200);
    assert_eq!(get(&daemon, "/", &[("X-Remote-User", "new@example.org")]).status(), 303);
    daemon.kill();
    // Taken away, the account does not come again by the proxy's word.
    printed(&folder.path().join("data"), &["user", "add", "root@example.org", "--role", "admin"]);
    printed(&folder.path().join("data"), &["user", "remove", "rita@example.org"]);
    let daemon =
        configured("trusted_proxies = ['127.0.0.1']\nuser_header = 'X-Remote-User'\nnewcomers = 'reader'");
    assert_eq!(get(&daemon, "/", &[("X-Remote-User", "rita@example.org")]).status(), 303);
    assert_eq!(get(&daemon, "/", &[("X-Remote-User", "new@example.org")]).status(), 200);
    // A form of another site is refused in this case, too: the proxy vouches for it as for any request.
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let request = agent.post(format!("{}/you/sign_out", daemon.url));
    let request = request.header("X-Remote-User", "new@example.org").header("Origin", "https://evil.example");
    assert_eq!(request.send_form([("token", "x")]).unwrap().status(), 403);
}

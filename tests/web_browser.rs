//! The pages in a real browser: without scripts, by keyboard, on a phone, in the dark, for everybody.

#[path = "support/browser.rs"]
mod browser;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/driver.rs"]
mod driver;
#[path = "support/git.rs"]
mod git;

use browser::links;
use daemon::{Daemon, eventually, mailed, traceback};
use driver::{Driver, Kind};
use git::{Repo, tree};

const FEED: &str = "import json\n\n\ndef load(text):\n    return json.loads(text)\n";
/// As WebDriver writes it.
const ENTER: &str = "\u{e007}";

/// A missing tool is a named skip at a desk, and a failure where CI is set.
fn skip(what: &str) {
    assert!(std::env::var_os("CI").is_none(), "{what}");
    // Past the test runner, which keeps what `eprintln!` says to itself.
    let _ = std::io::Write::write_all(
        &mut std::io::stderr(),
        format!("skipped: pages in a browser: {what}\n").as_bytes(),
    );
}

fn sign_in(browser: &Driver, daemon: &Daemon, data: &std::path::Path, address: &str) {
    let before = links(data, address);
    browser.open(&format!("{}/sign_in", daemon.url));
    browser.type_into("#mail", &format!("{address}{ENTER}"));
    let link =
        eventually("a sign-in link", || links(data, address).into_iter().find(|link| !before.contains(link)));
    browser.open(&link);
    browser.click("main button");
}

#[test]
fn the_story_without_scripts() {
    let Some(browser) = Driver::start(Kind { dark: false, scripts: false, width: 1200 }) else {
        return skip("chromium-driver is not installed");
    };
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    let first = repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let daemon = Daemon::start(repo.path(), data.path());
    daemon.decided(traceback("/srv/app/shop/feed.py", 5, "load", "return json.loads(text)"));

    // A mail's link to the board leads there once signed in; its anchor is hers.
    browser.open(&format!("{}/#ada@example.org", daemon.url));
    assert!(browser.address().contains("/sign_in"), "{}", browser.address());
    sign_in(&browser, &daemon, data.path(), "ada@example.org");
    assert_eq!(browser.text(".who strong"), "Ada");
    browser.click("a[href='/faults/1']");
    assert!(browser.text(".source .hit").contains("return json.loads(text)"));
    browser.click("a[href^='/add_known_error']");
    assert!(browser.text("#trial").contains("silenced 1 fault, 1 occurrence"));
    // Enter tries, it does not save.
    browser.type_into("#reason", &format!("feeds are what they are{ENTER}"));
    assert!(browser.text("#trial").contains("silenced 1 fault"));
    browser.click("button[value=save]");
    assert!(browser.text(".said").contains("on the list"));

    let rewritten = FEED.replace("(text)\n", "(text)  # sic\n");
    repo.commit("Ben", &[first], &tree(&[("shop/feed.py", &rewritten)]));
    let report = traceback("/srv/app/shop/feed.py", 5, "load", "return json.loads(text)  # sic");
    assert_eq!(daemon.decided(&report)["decision"]["mail"], false);
    browser.click("button[value=remove]");
    assert!(browser.text(".said").contains("removed"));
    eventually("a mail", || (daemon.decided(&report)["decision"]["mail"] == true).then_some(()));
    mailed(data.path(), 3);
}

#[test]
fn axe_finds_nothing_on_any_page() {
    let Some(axe) = std::env::var_os("BLAMED_TEST_AXE").and_then(|file| std::fs::read_to_string(file).ok())
    else {
        return skip("BLAMED_TEST_AXE does not name axe.min.js of the npm package axe-core");
    };
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let daemon = Daemon::start(repo.path(), data.path());
    daemon.decided(traceback("/srv/app/shop/feed.py", 5, "load", "return json.loads(text)"));
    let mut root = browser::Browser::admin(&daemon);
    let fields = [("filename", "shop/old.py"), ("action", "save"), ("min_alert_threshold", "3")];
    assert_eq!(root.fill_in("/add_known_error", "/add_known_error", &fields).status, 303);
    let pages = [
        "/",
        "/?week=2020-01-05",
        "/faults/1",
        "/search",
        "/search?q=load",
        "/rules",
        "/rules/1",
        "/add_known_error?filename=shop/feed.py",
        "/add_watch",
        "/remap_email",
        "/settings",
        "/changes",
        "/projects",
        "/people",
        "/outbox",
        "/outbox/1",
        "/you",
        "/nowhere",
    ];
    for (dark, width) in [(false, 1200), (true, 1200), (false, 390), (true, 390)] {
        let Some(browser) = Driver::start(Kind { dark, scripts: true, width }) else {
            return skip("chromium-driver is not installed");
        };
        let look = |path: &str| {
            browser.open(&format!("{}{path}", daemon.url));
            let script = format!(
                "{axe}; const done = arguments[arguments.length - 1];
                 document.querySelectorAll('details').forEach(d => d.open = true);
                 axe.run({{ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }})
                    .then(r => done({{
                        found: r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html).join(' | ')),
                        wide: document.documentElement.scrollWidth,
                        dark: matchMedia('(prefers-color-scheme: dark)').matches,
                    }}))
                    .catch(e => done({{ found: ['' + e] }}));"
            );
            let seen = browser.run(&script);
            let found = seen["found"].as_array().unwrap();
            assert!(found.is_empty(), "{path}, dark: {dark}, {width} wide: {found:#?}");
            assert_eq!(seen["dark"], dark);
            let wide = seen["wide"].as_u64().unwrap();
            assert!(wide <= u64::from(width), "{path} is {wide} wide on a screen of {width}");
        };
        look("/sign_in");
        sign_in(&browser, &daemon, data.path(), "root@example.org");
        pages.iter().for_each(|path| look(path));
    }
}

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
/// What a browser takes for that key.
const TAB: &str = "\u{e004}";
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

/// Goes from field to field until one shows `text`, and enters it.
fn tab_to(browser: &Driver, text: &str) {
    let shown = "const at = document.activeElement; arguments[0](at.textContent.trim())";
    for _ in 0..80 {
        browser.type_into("", TAB);
        if browser.run(shown) == text {
            return browser.type_into("", ENTER);
        }
    }
    panic!("no {text:?} can be reached by keys at {}", browser.address());
}

#[test]
fn an_error_is_made_known_by_keys_alone() {
    let Some(browser) = Driver::start(Kind { dark: true, scripts: true, width: 1200 }) else {
        return skip("chromium-driver is not installed");
    };
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let daemon = Daemon::start(repo.path(), data.path());
    daemon.decided(traceback("/srv/app/shop/feed.py", 5, "load", "return json.loads(text)"));
    sign_in(&browser, &daemon, data.path(), "ada@example.org");
    tab_to(&browser, "ValueError");
    assert!(browser.text("h1").contains("ValueError"));
    tab_to(&browser, "Make it a known error");
    assert!(browser.text("#trial").contains("silenced 1 fault"));
    tab_to(&browser, "Save");
    assert!(browser.text(".said").contains("on the list"));
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
        "/health",
        "/repositories",
        "/?author=ada@example.org",
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

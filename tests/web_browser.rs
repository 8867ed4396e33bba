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
use serde_json::json;

const FEED: &str = "import json\n\n\ndef load(text):\n    return json.loads(text)\n";
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

/// A house with a fault that is mailed, a rule, and whoever is signed in as the admin.
fn furnished(data: &std::path::Path) -> (Repo, Daemon) {
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", FEED)]));
    let daemon = Daemon::start(repo.path(), data);
    daemon.decided(traceback("/srv/app/shop/feed.py", 5, "load", "return json.loads(text)"));
    let mut root = browser::Browser::admin(&daemon);
    let fields = [("filename", "shop/old.py"), ("action", "save"), ("min_alert_threshold", "3")];
    assert_eq!(root.fill_in("/add_known_error", "/add_known_error", &fields).status, 303);
    (repo, daemon)
}

/// Every page, with what it shows where there is little, and where something is wrong.
const PAGES: &[&str] = &[
    "/",
    "/?week=2020-01-05",
    "/?week=9999-99",
    "/?author=ada@example.org",
    "/faults/1",
    "/faults/99",
    "/search",
    "/search?q=load",
    "/search?q=nowhere",
    "/rules",
    "/rules/1",
    "/add_known_error?filename=shop/feed.py",
    "/add_building_block",
    "/add_third_party_error",
    "/add_ignored_exception?type=ValueError",
    "/add_watch",
    "/remap_email",
    "/disown_file",
    "/settings",
    "/changes",
    "/health",
    "/repositories",
    "/projects",
    "/people",
    "/outbox",
    "/outbox/1",
    "/you",
    "/api",
    "/nowhere",
];

#[test]
fn axe_finds_nothing_on_any_page() {
    let Some(axe) = std::env::var_os("BLAMED_TEST_AXE").and_then(|file| std::fs::read_to_string(file).ok())
    else {
        return skip("BLAMED_TEST_AXE does not name axe.min.js of the npm package axe-core");
    };
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = furnished(data.path());
    for (dark, width) in [(false, 1200), (true, 1200), (false, 360), (true, 360)] {
        let Some(browser) = Driver::start(Kind { dark, scripts: true, width }) else {
            return skip("chromium-driver is not installed");
        };
        browser.devtools("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": axe }));
        let judge = |what: &str| {
            let script = "const done = arguments[arguments.length - 1];
                 document.querySelectorAll('details').forEach(d => d.open = true);
                 axe.run({ runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] })
                    .then(r => done({
                        found: r.violations.map(v => v.id + ': ' + v.nodes.map(n => n.html).join(' | ')),
                        wide: document.documentElement.scrollWidth,
                        dark: matchMedia('(prefers-color-scheme: dark)').matches,
                    }))
                    .catch(e => done({ found: ['' + e] }));";
            let seen = browser.run(script);
            let found = seen["found"].as_array().unwrap();
            assert!(found.is_empty(), "{what}, dark: {dark}, {width} wide: {found:#?}");
            assert_eq!(seen["dark"], dark);
            let wide = seen["wide"].as_u64().unwrap();
            assert!(wide <= u64::from(width), "{what} is {wide} wide on a screen of {width}");
        };
        let open = |path: &str| browser.open(&format!("{}{path}", daemon.url));
        open("/sign_in");
        judge("/sign_in");
        let before = links(data.path(), "root@example.org");
        browser.type_into("#mail", &format!("root@example.org{ENTER}"));
        browser.text("h1");
        judge("a link is on its way");
        let link = eventually("a sign-in link", || {
            links(data.path(), "root@example.org").into_iter().find(|link| !before.contains(link))
        });
        browser.open(&link);
        judge("the page of the link");
        browser.click("main button");
        for path in PAGES {
            open(path);
            judge(path);
        }
    }
}

/// What must be there before anything is seen: the page and its style sheet. The icon and the script come later, and
/// nothing waits for them.
#[test]
fn the_first_look_takes_two_requests() {
    let Some(browser) = Driver::start(Kind { dark: false, scripts: true, width: 1200 }) else {
        return skip("chromium-driver is not installed");
    };
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = furnished(data.path());
    sign_in(&browser, &daemon, data.path(), "root@example.org");
    browser.devtools("Network.enable", &json!({}));
    browser.devtools("Network.setCacheDisabled", &json!({ "cacheDisabled": true }));
    let script = "const done = arguments[arguments.length - 1];
        const seen = () => {
            const paint = performance.getEntriesByName('first-contentful-paint');
            if (!paint.length) return setTimeout(seen, 20);
            const of = entry => new URL(entry.name).pathname.replace(/-[0-9a-f]{12}/, '');
            const needed = performance.getEntriesByType('resource')
                .filter(entry => entry.renderBlockingStatus === 'blocking').map(of);
            done({ needed, asked: performance.getEntriesByType('resource').map(of) });
        };
        seen();";
    for blocked in [&[][..], &["*favicon*", "*pages-*"]] {
        browser.devtools("Network.setBlockedURLs", &json!({ "urls": blocked }));
        for path in ["/", "/faults/1", "/rules", "/search?q=load"] {
            browser.open(&format!("{}{path}", daemon.url));
            let seen = browser.run(script);
            assert_eq!(seen["needed"], json!(["/style.css"]), "{path}: {seen}");
            for asked in seen["asked"].as_array().unwrap() {
                let known = ["/style.css", "/pages.js", "/favicon.svg"];
                assert!(known.contains(&asked.as_str().unwrap()), "{path}: {seen}");
            }
        }
    }
}

#[test]
fn what_is_printed_is_the_matter_in_black_on_white() {
    const A4: u32 = 794;
    let Some(browser) = Driver::start(Kind { dark: true, scripts: true, width: A4 }) else {
        return skip("chromium-driver is not installed");
    };
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = furnished(data.path());
    sign_in(&browser, &daemon, data.path(), "root@example.org");
    browser.devtools("Emulation.setEmulatedMedia", &json!({ "media": "print" }));
    let script = "const done = arguments[arguments.length - 1];
        const shown = css => [...document.querySelectorAll(css)].filter(e => e.getClientRects().length).length;
        const luminance = colour => {
            const [r, g, b, a] = colour.match(/[0-9.]+/g).map(Number);
            return a === 0 ? 255 : 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const of = element => getComputedStyle(element);
        const texts = [...document.querySelectorAll('main *')]
            .filter(e => e.getClientRects().length && [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()));
        done({
            left_out: shown('nav, .find, .skip, main form button, .you'),
            head: shown('h1'),
            wide: document.documentElement.scrollWidth,
            faint: texts.filter(e => luminance(of(e).color) > 140).map(e => e.outerHTML),
            grounds: [document.body, ...document.querySelectorAll('.card, .source, details')]
                .filter(e => luminance(of(e).backgroundColor) < 225).map(e => e.className),
        });";
    for path in PAGES.iter().filter(|path| **path != "/api") {
        browser.open(&format!("{}{path}", daemon.url));
        let seen = browser.run(script);
        assert_eq!((&seen["left_out"], &seen["head"]), (&json!(0), &json!(1)), "{path}: {seen}");
        assert!(seen["wide"].as_u64().unwrap() <= u64::from(A4), "{path}: {seen}");
        assert_eq!((&seen["faint"], &seen["grounds"]), (&json!([]), &json!([])), "{path}: {seen}");
    }
    // On paper, too: a page or a few, no empty ones without end.
    browser.open(&format!("{}/faults/1", daemon.url));
    let printed = browser.print();
    let pages = printed.split("/Type /Page").skip(1).filter(|rest| !rest.starts_with('s')).count();
    assert!((1..=4).contains(&pages), "{pages} pages");
}

#[test]
fn where_scripts_run_a_rule_is_tried_as_it_is_written_and_times_are_the_browsers() {
    let Some(browser) = Driver::start(Kind { dark: false, scripts: true, width: 1200 }) else {
        return skip("chromium-driver is not installed");
    };
    let data = tempfile::tempdir().unwrap();
    let (_repo, daemon) = furnished(data.path());
    browser.devtools("Emulation.setTimezoneOverride", &json!({ "timezoneId": "Asia/Kathmandu" }));
    sign_in(&browser, &daemon, data.path(), "root@example.org");
    browser.open(&format!("{}/add_known_error", daemon.url));
    browser.type_into("#filename", "shop/feed.py");
    eventually("the trial", || browser.text("#trial-of-rule").contains("silenced 1 fault").then_some(()));
    browser.type_into("#function_name", "nothing");
    eventually("the next trial", || {
        browser.text("#trial-of-rule").contains("would have applied to nothing").then_some(())
    });
    let title = "arguments[0](document.querySelector('main time').title)";
    let exact = |browser: &Driver| {
        browser.open(&format!("{}/faults/1", daemon.url));
        browser.run(title).as_str().unwrap().to_owned()
    };
    assert!(exact(&browser).contains("+5:45"), "{}", exact(&browser));
    assert!(browser.text("#zone").starts_with("Asia/Kat"), "{}", browser.text("#zone"));
    // A zone that was chosen goes before the browser's.
    let mut root = browser::Browser::by_mail(&daemon, data.path(), "root@example.org");
    assert_eq!(root.fill_in("/you", "/you/zone", &[("zone", "Asia/Tokyo")]).location, "/you?said=zone");
    assert!(exact(&browser).ends_with(" JST"), "{}", exact(&browser));
    assert_eq!(browser.text("#zone"), "Asia/Tokyo");
}

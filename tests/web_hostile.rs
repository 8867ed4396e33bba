//! Reports are hostile: nothing in one runs, breaks out of its place, or moves a reader's screen.

#[path = "support/browser.rs"]
mod browser;
#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use browser::Browser;
use daemon::Daemon;
use git::{Repo, tree};
use serde_json::{Value, json};

const CORPUS: &[&str] = &[
    "<script>alert(1)</script>",
    "\"><script>alert(1)</script>",
    "'><img src=x onerror=alert(1)>",
    "</title><script>alert(1)</script>",
    "</textarea><svg onload=alert(1)>",
    "<!--<script>--><b>",
    "javascript:alert(1)",
    "\" autofocus onfocus=alert(1) x=\"",
    "{{7*7}}${7*7}<%= 7*7 %>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u{202e}gnp.exe\u{1b}[31mred\u{7}\u{0}",
    "=HYPERLINK(\"http://evil.example\",\"x\")",
];

/// A report that has `evil` wherever a client may write.
fn report(evil: &str, line: u32) -> Value {
    json!({
        "exception_type": format!("E{evil}"),
        "exception_message": evil,
        "hostname": evil,
        "release": evil,
        "environment": evil,
        "additional_info": evil,
        "context": { evil: { evil: evil } },
        "request": { "url": evil },
        "traceback": [
            { "filename": evil, "line_number": 3, "function_name": evil, "text": evil,
              "frame_locals": { evil: evil } },
            { "filename": "/srv/app/shop/feed.py", "line_number": line, "function_name": evil,
              "text": format!("fail({line})"), "frame_locals": { evil: evil } },
        ],
    })
}

#[test]
fn nothing_in_a_report_runs() {
    let data = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    let code: String = (1..=CORPUS.len()).map(|n| format!("fail({n})\n")).collect();
    repo.commit("Ada", &[], &tree(&[("shop/feed.py", &code)]));
    let daemon = Daemon::start(repo.path(), data.path());
    for (evil, line) in CORPUS.iter().zip(1..) {
        daemon.decided(report(evil, line).to_string());
    }
    let mut root = Browser::admin(&daemon);
    let mut pages = vec!["/".to_owned(), "/search?q=fail".to_owned(), "/outbox".to_owned()];
    let evil = "%22%3E%3Cscript%3Ealert(1)%3C/script%3E";
    for address in [
        "/search?q=",
        "/?project=",
        "/?author=",
        "/?said=",
        "/nowhere?",
        "/sign_in?next=",
        "/add_known_error?filename=",
    ] {
        pages.push(format!("{address}{evil}"));
    }
    for n in 1..=CORPUS.len() {
        pages.push(format!("/faults/{n}"));
        let fault = root.get(&format!("/faults/{n}"));
        pages.push(fault.link("/add_known_error?"));
        pages.push(fault.link("/outbox/"));
    }
    for address in &pages {
        let page = root.get(address);
        assert!(page.status < 500, "{address}: {}", page.status);
        tags_are_ours(address, &page.text);
        // What is to be matched stands in its field as it is, and moves nothing outside of it.
        let shown = !address.starts_with("/add_known_error");
        assert!(!shown || !page.text.contains(['\u{202e}', '\u{1b}', '\u{7}', '\u{0}']), "{address}");
    }
    // What a report hides behind a NUL is found all the same.
    root.get("/search?q=%22fail(11)%22+file:shop/feed.py").has("<h2>1 fault</h2>");
    let sheet = root.get("/week.csv");
    assert!(!sheet.text.contains(",=HYPERLINK") && sheet.text.contains("'=HYPERLINK"), "{}", sheet.text);
    let link = root.get("/faults/1").link("/faults/1/occurrences/");
    for (end, kind) in [
        ("", "application/json"),
        (".txt", "text/plain; charset=utf-8"),
        (".md", "text/plain; charset=utf-8"),
    ] {
        let raw = root.get(&link.replace(".txt", end));
        assert_eq!(raw.headers["content-type"], kind);
        assert_eq!(raw.headers["x-content-type-options"], "nosniff");
    }

    // The same words as rules.
    for evil in CORPUS {
        let fields = [("filename", *evil), ("reason", evil), ("action", "save"), ("kind", "known_error")];
        let saved = root.fill_in("/add_known_error", "/add_known_error", &fields);
        let rule = saved.location.split('?').next().unwrap().to_owned();
        tags_are_ours(&rule, &root.get(&rule).text);
    }
    // And as what people call things.
    for evil in CORPUS {
        root.fill_in("/you", "/you/tokens", &[("name", *evil), ("scope", "read"), ("days", "1")]);
        root.fill_in("/people", "/people", &[("action", "add"), ("mail", *evil), ("role", "reader")]);
    }
    for address in ["/rules", "/changes", "/you", "/people", "/api"] {
        tags_are_ours(address, &root.get(address).text);
    }
}

/// Reads a page as a browser does, and holds every tag and attribute to those that our templates write.
fn tags_are_ours(address: &str, text: &str) {
    const TAGS: &[&str] = &[
        "!doctype", "html", "head", "meta", "title", "link", "body", "a", "header", "div", "svg", "path",
        "rect", "nav", "form", "label", "input", "main", "p", "footer", "h1", "h2", "h3", "section", "dl",
        "dt", "dd", "details", "summary", "table", "thead", "tbody", "tr", "th", "td", "ul", "ol", "li",
        "span", "strong", "small", "time", "code", "pre", "br", "button", "select", "option", "textarea",
        "fieldset", "legend", "caption", "optgroup",
    ];
    let mut rest = text;
    while let Some(at) = rest.find('<') {
        rest = &rest[at + 1..];
        let tag = &rest[..rest.find('>').unwrap_or_else(|| panic!("{address}: {rest}"))];
        if tag.starts_with("script src=\"/pages-") && tag.ends_with("\" defer") {
            rest =
                rest[tag.len()..].strip_prefix("></script>").unwrap_or_else(|| panic!("{address}: <{tag}>"));
            continue;
        }
        let name = tag.trim_start_matches('/').split(|c: char| c.is_whitespace() || c == '/').next().unwrap();
        assert!(TAGS.contains(&name.to_ascii_lowercase().as_str()), "{address}: <{tag}>");
        // What is between quotes is a value; what is left are names.
        let names: String = tag.split('"').step_by(2).collect();
        for name in names.split_whitespace() {
            assert!(!name.to_ascii_lowercase().starts_with("on"), "{address}: <{tag}>");
        }
        for value in tag.split("href=\"").skip(1) {
            assert!(value.starts_with(['/', '#', '?']), "{address}: <{tag}>");
        }
        rest = &rest[tag.len()..];
    }
}

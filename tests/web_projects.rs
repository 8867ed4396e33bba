//! Who sees which project: authors theirs, others those that they were given.

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

/// Two projects with one fault each: 1 is of the shop, by Ada; 2 is of the bank, by Ben.
fn two_projects(data: &Path, web: &str) -> (Vec<Repo>, Daemon) {
    let mut repos = Vec::new();
    let mut configuration = format!("data_dir = 'data'\n[web]\n{web}\n");
    for (project, author, key) in [("shop", "Ada", "a"), ("bank", "Ben", "b")] {
        let mut repo = Repo::new();
        repo.commit(author, &[], &tree(&[(&format!("{project}/feed.py"), "fail(1)\nfail(2)\n")]));
        configuration += &format!(
            "[[project]]\nname = '{project}'\nkey = '{}'\n[[project.repository]]\nname = '{project}'\npath = '{}'\n",
            key.repeat(32),
            repo.path().display()
        );
        repos.push(repo);
    }
    let daemon = Daemon::configured(data, &configuration);
    for (project, key) in [("shop", "a"), ("bank", "b")] {
        let report = traceback(&format!("/srv/{project}/feed.py"), 1, "load", "fail(1)");
        let bearer = format!("Bearer {}", key.repeat(32));
        let answer = daemon.post(report.as_bytes(), "?wait=20", &[("Authorization", &bearer)]).unwrap();
        assert_eq!(answer.body["state"], "decided", "{}", answer.body);
    }
    (repos, daemon)
}

#[test]
fn an_author_sees_their_project_and_nothing_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let (_repos, daemon) = two_projects(folder.path(), "");
    let mut ben = Browser::by_mail(&daemon, &folder.path().join("data"), "ben@example.org");
    let everywhere = [
        "/",
        "/week.csv",
        "/week.json",
        "/search?q=load",
        "/search?q=project:shop",
        "/add_ignored_exception?type=ValueError",
        "/add_known_error?filename=shop/feed.py",
        "/?author=ada@example.org",
        "/?include_known_errors=1",
    ];
    for address in everywhere {
        let page = ben.get(address);
        assert_eq!(page.status, 200, "{address}");
        // What he asked himself stands in the fields.
        let shown = ["shop/feed.py", "project:shop", "ada@example.org"]
            .iter()
            .fold(page.text, |text, asked| text.replace(&format!("value=\"{asked}\""), ""));
        for theirs in ["shop/feed.py:1", "ada@example.org", "/faults/1\"", ">shop<"] {
            assert!(!shown.contains(theirs), "{address}: {theirs} in {shown}");
        }
    }
    // A project that one does not see is one that is not there.
    assert_eq!(ben.get("/?project=shop").status, 404);
    ben.get("/").has("bank/feed.py:1").has("1</span>");
    ben.get("/add_ignored_exception?type=ValueError").has("1 fault, 1 occurrence");
    ben.get("/add_known_error?filename=shop/feed.py").has("it would have applied to nothing");
    for hidden in
        ["/faults/1", "/faults/1/occurrences/x", "/view_traceback?filename=shop/feed.py&line_number=1"]
    {
        assert_eq!(ben.get(hidden).status, 404, "{hidden}");
    }
    // Nor by an address that somebody passed on, in whichever form, nor by the API.
    let mut root = Browser::admin(&daemon);
    let kept = root.get("/faults/1").link("/faults/1/occurrences/").replace(".txt", "");
    let program =
        Program::of(&daemon.url, &folder.path().join("data"), ("ben@example.org", "developer"), "write");
    for end in ["", ".txt", ".md"] {
        let address = format!("{kept}{end}");
        assert_eq!((root.get(&address).status, ben.get(&address).status), (200, 404), "{address}");
        // Beneath a fault that he sees, it is not found either.
        assert_eq!(ben.get(&address.replace("/faults/1/", "/faults/2/")).status, 404, "{address}");
    }
    for address in ["/api/v1/faults/1".to_owned(), format!("/api/v1{kept}")] {
        program.get(&address).refused(404);
    }
    for (method, address) in [
        ("DELETE", "/api/v1/faults/1"),
        ("POST", "/api/v1/faults/1/send_again"),
        ("POST", "/api/v1/faults/1/known"),
    ] {
        let body = Some(&b"{}"[..]);
        program.ask(method, address, &[("Content-Type", "application/json")], body).refused(404);
    }
    assert_eq!(ben.fill_in("/faults/2", "/faults/1/send_again", &[("mails", "1")]).status, 404);
    for address in ["/api/v1/faults", "/api/v1/faults?q=host:web-1", "/api/v1/week", "/api/v1/projects"] {
        let told = program.get(address).is(200).body.to_string();
        assert!(!told.contains("shop") && !told.contains("ada@"), "{address}: {told}");
    }
    let shown = ben.get("/faults/2");
    shown.has("bank/feed.py:1");
    assert_eq!(ben.fill_in("/faults/2", "/faults/1/delete", &[]).status, 404);

    // The admin sees all, and what is not seen is still there.
    assert_eq!(root.get("/faults/1").status, 200);
    root.get("/").has("shop/feed.py:1").has("bank/feed.py:1");
}

#[test]
fn an_author_without_a_fault_may_ask_unless_it_is_switched_off() {
    for (web, expected) in [("", 1), ("authors_may_sign_in = false", 0)] {
        let folder = tempfile::tempdir().unwrap();
        let (mut repos, daemon) = two_projects(folder.path(), web);
        let data = folder.path().join("data");
        // After the daemon has looked at the history for the first time.
        let tip = git2::Repository::open(repos[0].path()).unwrap().head().unwrap().target().unwrap();
        let files = tree(&[("shop/feed.py", "fail(1)\nfail(2)\n"), ("new.py", "x\n")]);
        repos[0].commit("Cy", &[tip], &files);
        let mut browser = Browser::new(&daemon.url);
        for mail in ["cy@example.org", "dora@example.org"] {
            assert_eq!(browser.fill_in("/sign_in", "/sign_in", &[("mail", mail)]).status, 200);
        }
        // What is asked for later is done later: when the admin's own link is there, theirs would be.
        let mut root = Browser::admin(&daemon);
        let added = [("action", "add"), ("mail", "rita@example.org"), ("role", "reader")];
        root.fill_in("/people", "/people", &added);
        Browser::by_mail(&daemon, &data, "rita@example.org");
        if expected == 1 {
            daemon::eventually("the author's link", || links(&data, "cy@example.org").pop());
            let mut cy = Browser::by_mail(&daemon, &data, "cy@example.org");
            cy.get("/").has("shop/feed.py:1");
            assert_eq!((cy.get("/faults/1").status, cy.get("/faults/2").status), (200, 404));
        }
        assert_eq!(links(&data, "dora@example.org"), Vec::<String>::new());
        assert_eq!(links(&data, "cy@example.org").is_empty(), expected == 0);
    }
}

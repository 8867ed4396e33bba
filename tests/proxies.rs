//! The files that are shipped for what stands in front of the daemon and beside it: nginx, Caddy, Prometheus.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as the test does")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use daemon::{Daemon, eventually, run, traceback};
use git::{Repo, tree};

const KEY: &str = "abababababababababababababababab";

fn shipped(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(name)).unwrap()
}

/// Whether a program is there; says so where it is not.
fn is_here(program: &str, test: &str) -> bool {
    let folders = std::env::var("PATH").unwrap() + ":/usr/sbin";
    if folders.split(':').any(|folder| Path::new(folder).join(program).exists()) {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{program} is missing");
    let _ = writeln!(std::io::stderr(), "skipped: {test} needs {program}");
    false
}

fn port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// A program that is ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Not `kill -9`: what it has started ends with it.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

/// A daemon for a proxy at `port`, with a certificate for it.
struct House {
    folder: tempfile::TempDir,
    _repo: Repo,
    daemon: Daemon,
    port: u16,
}

impl House {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut repo = Repo::new();
        repo.commit("Ada", &[], &tree(&[("shop/a.py", "import x\nfail()\n")]));
        let port = port();
        let daemon = Daemon::configured(
            folder.path(),
            &format!(
                "data_dir = 'data'\npublic_url = 'https://blamed.example.com:{port}'\n[web]\ntrusted_proxies = \
                 ['127.0.0.1']\n[[project]]\nname = 'p'\nkey = '{KEY}'\n[[project.repository]]\npath = '{}'\n",
                repo.path().display()
            ),
        );
        let made = rcgen::generate_simple_self_signed(["blamed.example.com".to_owned()]).unwrap();
        fs::write(folder.path().join("fullchain.pem"), made.cert.pem()).unwrap();
        fs::write(folder.path().join("privkey.pem"), made.signing_key.serialize_pem()).unwrap();
        Self { folder, _repo: repo, daemon, port }
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The address that the daemon listens at, without a scheme.
    fn behind(&self) -> String {
        // The line that it prints is of its public address.
        let pid = self.daemon.process_id();
        let sockets: BTreeSet<String> = fs::read_dir(format!("/proc/{pid}/fd"))
            .unwrap()
            .filter_map(|fd| fs::read_link(fd.unwrap().path()).ok())
            .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned()))
            .collect();
        let table = fs::read_to_string("/proc/net/tcp").unwrap();
        let listening = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut own = listening.filter(|fields| fields[3] == "0A" && sockets.contains(fields[9]));
        let port = own.next().unwrap()[1].rsplit_once(':').unwrap().1.to_owned();
        format!("127.0.0.1:{}", u16::from_str_radix(&port, 16).unwrap())
    }

    /// What curl gets by way of the proxy: the answer's head and body. `None`: there is no proxy yet.
    fn curl(&self, path: &str, more: &[&str]) -> Option<String> {
        let done = run(Command::new("curl")
            .args(["-sS", "-i", "--max-time", "30", "--cacert"])
            .arg(self.at("fullchain.pem"))
            .arg("--resolve")
            .arg(format!("blamed.example.com:{}:127.0.0.1", self.port))
            .args(more)
            .arg(format!("https://blamed.example.com:{}{path}", self.port)));
        done.status.success().then(|| String::from_utf8_lossy(&done.stdout).into_owned())
    }

    /// Everything that has to work through a proxy.
    fn check(&self) {
        let health = eventually("the proxy", || self.curl("/healthz", &[]));
        assert!(health.starts_with("HTTP/2 200"), "{health}");
        // A report, waited for.
        let text = traceback("/srv/shop/a.py", 2, "<module>", "fail()");
        let key = format!("X-Blamed-Key: {KEY}");
        let plain = "Content-Type: text/plain";
        let post = |body: &str, path: &str| {
            self.curl(path, &["-H", &key, "-H", plain, "-H", "Expect:", "--data-binary", body]).unwrap()
        };
        let answer = post(&text, "/api/v1/reports?wait=10");
        assert!(answer.starts_with("HTTP/2 200") && answer.contains("ada@example.org"), "{answer}");
        // What is too large for blamed is refused by blamed, with words.
        let large = self.at("large");
        fs::write(&large, vec![b'x'; 3 << 20]).unwrap();
        let answer = post(&format!("@{}", large.display()), "/api/v1/reports");
        assert!(answer.starts_with("HTTP/2 413") && answer.contains("limits.body_bytes"), "{answer}");
        // It is known that this came from elsewhere, and by https.
        let metrics = self.curl("/metrics", &[]).unwrap();
        assert!(metrics.starts_with("HTTP/2 403"), "{metrics}");
        let form = self.curl("/sign_in", &[]).unwrap();
        assert!(form.starts_with("HTTP/2 200"), "{form}");
        let cookie = form.lines().find(|line| line.to_lowercase().starts_with("set-cookie"));
        assert!(cookie.is_none_or(|cookie| cookie.contains("Secure")), "{form}");
        assert!(
            form.to_lowercase().contains("strict-transport-security") || !form.contains("http://"),
            "{form}"
        );
        // A browser's address that the client makes up itself is not the last in the list, which is what counts.
        let forged = self.curl("/metrics", &["-H", "X-Forwarded-For: 127.0.0.1"]).unwrap();
        assert!(forged.starts_with("HTTP/2 403"), "{forged}");
    }
}

#[test]
fn nginx_with_the_shipped_file() {
    if !is_here("nginx", "nginx_with_the_shipped_file") {
        return;
    }
    let house = House::start();
    let site = shipped("nginx.conf")
        .replace("443", &house.port.to_string())
        .replace("[::]:", "[::1]:")
        .replace("/etc/letsencrypt/live/blamed.example.com", house.folder.path().to_str().unwrap())
        .replace("127.0.0.1:9029", &house.behind());
    fs::write(house.at("site.conf"), site).unwrap();
    let top = house.folder.path().display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {top}/nginx-{name};"));
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    let main = format!(
        "{user}\ndaemon off;\npid {top}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{ access_log off; {} include {top}/site.conf; }}\n",
        temporary.concat()
    );
    fs::write(house.at("nginx.conf"), main).unwrap();
    let nginx = || {
        let mut command = Command::new("nginx");
        command.env("PATH", std::env::var("PATH").unwrap() + ":/usr/sbin");
        command.arg("-e").arg("stderr").arg("-c").arg(house.at("nginx.conf"));
        command
    };
    let tested = run(nginx().arg("-t"));
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
    let log = fs::File::create(house.at("log")).unwrap();
    let _running = Running(nginx().stderr(log).spawn().unwrap());
    house.check();
    // What is too large for the file's limit nginx refuses by itself.
    let large = house.at("larger");
    fs::write(&large, vec![b'x'; 17 << 20]).unwrap();
    let body = format!("@{}", large.display());
    let answer = house.curl("/api/v1/reports", &["-H", "Expect:", "--data-binary", &body]).unwrap();
    assert!(answer.starts_with("HTTP/2 413"), "{answer}");
}

#[test]
fn caddy_with_the_shipped_file() {
    if !is_here("caddy", "caddy_with_the_shipped_file") {
        return;
    }
    let house = House::start();
    let at = |name: &str| house.at(name).display().to_string();
    // A certificate of its own it would ask the world for.
    let tls = format!("\ttls {} {}\n", at("fullchain.pem"), at("privkey.pem"));
    let site = shipped("Caddyfile")
        .replace(
            "blamed.example.com {\n",
            &format!("blamed.example.com:{} {{\n\tbind 127.0.0.1\n{tls}", house.port),
        )
        .replace("127.0.0.1:9029", &house.behind());
    assert!(site.contains(&tls), "{site}");
    let site = format!("{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{site}");
    fs::write(house.at("Caddyfile"), site).unwrap();
    let caddy = |arguments: &[&str]| {
        let mut command = Command::new("caddy");
        command.args(arguments).arg("--config").arg(house.at("Caddyfile")).args(["--adapter", "caddyfile"]);
        for name in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
            command.env(name, house.folder.path());
        }
        command
    };
    let tested = run(&mut caddy(&["validate"]));
    assert!(tested.status.success(), "{}", String::from_utf8_lossy(&tested.stderr));
    let log = fs::File::create(house.at("log")).unwrap();
    let _running = Running(caddy(&["run"]).stdout(Stdio::null()).stderr(log).spawn().unwrap());
    house.check();
}

#[test]
fn the_dockerfile_copies_all_that_is_compiled() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (docker, ignored) = (shipped("Dockerfile"), shipped("Dockerfile.dockerignore"));
    let copies =
        docker.lines().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--"));
    // Every source of a COPY; the last word is where it goes.
    let copied: Vec<PathBuf> = copies
        .flat_map(|line| line.split(' ').collect::<Vec<_>>().split_last().unwrap().1.to_vec())
        .inspect(|source| {
            assert!(ignored.lines().any(|line| line == format!("!{source}")), "{source} is ignored")
        })
        .map(|source| top.join(source))
        .collect();
    let mut sources = vec![top.join("src")];
    while let Some(path) = sources.pop() {
        if path.is_dir() {
            sources.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let Ok(text) = fs::read_to_string(&path) else { continue };
        let text = text.split("#[cfg(test)]").next().unwrap();
        for (at, start) in text.match_indices("include_str!(\"") {
            let name = text[at + start.len()..].split('"').next().unwrap();
            let file = fs::canonicalize(path.parent().unwrap().join(name)).unwrap();
            assert!(copied.iter().any(|copied| file.starts_with(copied)), "{} is not copied", file.display());
        }
    }
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words =
        text.split(|c| !word(c)).filter(|word| word.starts_with("blamed_") || word.starts_with("process_"));
    words.map(str::to_owned).collect()
}

#[test]
fn the_dashboard_and_the_alerts_ask_for_what_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/a.py", "import x\nfail()\n")]));
    // Also what is measured of repositories that are elsewhere, and of mails.
    let configuration = format!(
        "data_dir = 'data'\n[[project]]\nname = 'p'\nkey = '{KEY}'\n[[project.repository]]\nname = 'shop'\nurl = 'file://{}'\n",
        repo.path().display()
    );
    let daemon = Daemon::configured(folder.path(), &configuration);
    daemon.decided(traceback("/srv/shop/a.py", 2, "<module>", "fail()"));
    let text = eventually("all of the metrics", || {
        let text = daemon.get("/metrics").unwrap().body.as_str().unwrap().to_owned();
        (text.contains("blamed_mails_total{") && text.contains("blamed_repository_fetch_age_seconds{"))
            .then_some(text)
    });
    let told = names(&text);
    let (dashboard, alerts) = (shipped("grafana-dashboard.json"), shipped("alerts.yml"));
    let wanted: BTreeSet<String> = [&dashboard, &alerts].into_iter().flat_map(|file| names(file)).collect();
    assert!(wanted.len() > 10, "{wanted:?}");
    let missing: Vec<&String> = wanted.difference(&told).collect();
    assert!(missing.is_empty(), "{missing:?} is nowhere in:\n{text}");
    // Values of labels too: an alert on a word that is never said is never raised.
    let source = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ingest/mod.rs")).unwrap();
    for outcome in ["disk-full", "busy", "failed"] {
        assert!(alerts.contains(outcome) && source.contains(&format!("\"{outcome}\"")), "{outcome}");
    }
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() > 5);

    if !is_here("promtool", "the_dashboard_and_the_alerts_ask_for_what_there_is") {
        return;
    }
    let promtool = |arguments: &[&str], input: &str| {
        let mut command = Command::new("promtool");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let done = child.wait_with_output().unwrap();
        let said =
            [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(done.status.success(), "{arguments:?}: {said}");
        said
    };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/alerts.yml");
    let said = promtool(&["check", "rules", file.to_str().unwrap()], "");
    assert!(said.contains("rules found") && !said.contains("FAILED"), "{said}");
    // Its linter too: units, HELP, names of counters.
    promtool(&["check", "metrics"], &text);
    // Each query of the dashboard is one.
    let mut queries = Vec::new();
    collect(&dashboard, &mut queries);
    assert!(queries.len() > 5, "{queries:?}");
    let rules: Vec<String> = queries
        .iter()
        .enumerate()
        .map(|(n, query)| {
            let query = query
                .replace("$__rate_interval", "5m")
                .replace("$__interval", "1m")
                .replace("$__range", "1h");
            format!("  - record: panel:query:{n}\n    expr: {}\n", serde_json::to_string(&query).unwrap())
        })
        .collect();
    let file = folder.path().join("queries.yml");
    fs::write(&file, format!("groups:\n- name: dashboard\n  rules:\n{}", rules.concat())).unwrap();
    promtool(&["check", "rules", file.to_str().unwrap()], "");
}

/// Every `expr` below a value.
fn collect(value: &serde_json::Value, queries: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(object) => {
            queries.extend(object.get("expr").and_then(|query| query.as_str()).map(str::to_owned));
            object.values().for_each(|value| collect(value, queries));
        }
        serde_json::Value::Array(list) => list.iter().for_each(|value| collect(value, queries)),
        _ => {}
    }
}

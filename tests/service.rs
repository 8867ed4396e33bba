//! The daemon as a service: its metrics, its sockets, TLS, its log, and what it tells a service manager.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use daemon::{Daemon, blamed, eventually, run, traceback};
use git::{Repo, tree};

fn repository() -> Repo {
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("shop/a.py", "import x\nfail()\n")]));
    repo
}

fn report() -> String {
    traceback("/srv/shop/a.py", 2, "<module>", "fail()")
}

fn configured(folder: &Path, repo: &Repo, more: &str) -> String {
    let path = repo.path().display();
    fs::create_dir_all(folder.join("data")).unwrap();
    format!(
        "data_dir = 'data'\n{more}\n[[project]]\nname = 'p'\nkey = '{}'\n[[project.repository]]\npath = '{path}'\n",
        "ab".repeat(16)
    )
}

/// The value of a sample, by its name and labels as they are written.
fn sample(text: &str, name: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
}

/// GET, by hand: with headers of one's own.
fn get(address: &str, path: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n").unwrap();
    answer(stream)
}

fn answer(mut stream: impl Read) -> (u16, String) {
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("no answer: {text:?}")), text)
}

#[test]
fn metrics_tell_what_happened_to_whom_they_are_for() {
    let folder = tempfile::tempdir().unwrap();
    let repo = repository();
    let daemon = Daemon::configured(folder.path(), &configured(folder.path(), &repo, ""));
    let address = daemon.url.trim_start_matches("http://").to_owned();
    daemon.decided(report());
    daemon.decided(report());
    assert_eq!(daemon.post(b"x", "", &[("X-Blamed-Key", "no")]).unwrap().status, 401);
    let text = eventually("the mail to be counted", || {
        let (status, text) = get(&address, "/metrics", "");
        assert_eq!(status, 200, "{text}");
        (sample(&text, "blamed_mails_total{outcome=\"sent\"}") == Some(1.0)).then_some(text)
    });
    for (name, expected) in [
        ("blamed_requests_total{outcome=\"taken\",protocol=\"blamed\"}", 2.0),
        ("blamed_requests_total{outcome=\"no-key\",protocol=\"blamed\"}", 1.0),
        ("blamed_reports_total{standing=\"parked\"}", 1.0),
        ("blamed_reports_total{standing=\"counted\"}", 1.0),
        ("blamed_ledger_seconds_count{outcome=\"taken\"}", 2.0),
        ("blamed_blame_seconds_count{outcome=\"answered\"}", 1.0),
        ("blamed_inbox_places", 0.0),
        ("blamed_outbox_mails{state=\"sent\"}", 1.0),
        ("blamed_outbox_mails{state=\"waiting\"}", 0.0),
        ("blamed_outbox_oldest_seconds", 0.0),
    ] {
        assert_eq!(sample(&text, name), Some(expected), "{name} in:\n{text}");
    }
    for name in
        ["blamed_database_bytes{part=\"file\"}", "blamed_disk_free_bytes", "process_resident_memory_bytes"]
    {
        assert!(sample(&text, name).unwrap() > 1_000.0, "{name} in:\n{text}");
    }
    assert!(text.contains("text/plain; version=0.0.4"), "{text}");
    assert!(!text.contains("example.org") && !text.contains(&daemon.key), "{text}");
    // Every sample is of a family that is explained.
    let body = text.split("\r\n\r\n").nth(1).unwrap();
    for line in body.lines().filter(|line| line.starts_with("blamed_")) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| {
            name.strip_suffix(end).filter(|family| body.contains(&format!("# TYPE {family} histogram")))
        });
        let family = family.unwrap_or(name);
        assert!(body.contains(&format!("# HELP {family} ")), "{family}");
    }
    // What came by way of a proxy is from anywhere.
    let (status, text) = get(&address, "/metrics", "X-Forwarded-For: 203.0.113.9\r\n");
    assert_eq!(status, 403);
    assert!(text.contains("for this machine alone"), "{text}");
}

#[test]
fn metrics_with_a_token_are_for_whoever_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let repo = repository();
    let token = "0123456789abcdef0123";
    let more = format!("[metrics]\ntoken = '{token}'");
    let daemon = Daemon::configured(folder.path(), &configured(folder.path(), &repo, &more));
    let address = daemon.url.trim_start_matches("http://");
    let status = |headers: &str| get(address, "/metrics", headers).0;
    assert_eq!(status(&format!("Authorization: Bearer {token}\r\nX-Forwarded-For: 203.0.113.9\r\n")), 200);
    assert_eq!(status(""), 403);
    assert_eq!(status(&format!("Authorization: Bearer {token}4\r\n")), 403);
}

#[test]
fn a_unix_socket_serves_and_one_that_was_left_makes_way() {
    let folder = tempfile::tempdir().unwrap();
    let repo = repository();
    let socket = folder.path().join("http");
    let file = folder.path().join("blamed.toml");
    let listen = format!("listen = 'unix:{}'\npublic_url = 'http://blamed.example.org'", socket.display());
    fs::write(&file, configured(folder.path(), &repo, &listen)).unwrap();
    let start = || Started::new(blamed(&["start", "--config", file.to_str().unwrap()]));
    let health = || {
        let mut stream = UnixStream::connect(&socket).unwrap();
        write!(stream, "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        answer(stream).0
    };
    let first = start();
    assert_eq!(health(), 200);
    // A second daemon does not take it away.
    let more = configured(&folder.path().join("other"), &repo, &listen);
    fs::write(folder.path().join("other/blamed.toml"), more).unwrap();
    let other = folder.path().join("other/blamed.toml");
    let second = run(&mut blamed(&["start", "--config", other.to_str().unwrap()]));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(2), "{said}");
    assert!(said.contains("Address already in use") && said.contains("hint: "), "{said}");
    drop(first);
    assert!(socket.exists(), "kill -9 leaves it");
    let _second = start();
    assert_eq!(health(), 200);
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&socket).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o660);

    let without = run(blamed(&["start", "--listen", "unix:/tmp/none/http"]).current_dir(repo.path()));
    assert!(String::from_utf8_lossy(&without.stderr).contains("cannot listen on unix:/tmp/none/http"));
}

/// A daemon without an address of its own; killed when dropped.
struct Started {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
}

impl Started {
    /// Starts it and waits until it says that it listens.
    fn new(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap());
        let mut started = Self { process, lines };
        let mut line = String::new();
        while !line.starts_with("blamed listens on ") {
            line.clear();
            assert!(started.lines.read_line(&mut line).unwrap() > 0, "it did not start");
        }
        started
    }

    fn terminate(mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_restart_on_a_socket_that_is_kept_open_refuses_nobody() {
    const RESTARTS: usize = 4;
    let folder = tempfile::tempdir().unwrap();
    let repo = repository();
    let file = folder.path().join("blamed.toml");
    fs::write(&file, configured(folder.path(), &repo, "")).unwrap();
    // This test is the service manager: it opens the socket, and every daemon gets it as number 3.
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let start = || {
        let program = blamed(&["start", "--config", file.to_str().unwrap()]);
        let mut command = Command::new("sh");
        command.args(["-c", "LISTEN_FDS=1 LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 0</dev/null"]);
        command.arg(program.get_program()).args(program.get_args());
        Started::new({
            command.stdin(OwnedFd::from(socket.try_clone().unwrap()));
            command
        })
    };
    let request = |body: &str| {
        format!(
            "POST /api/v1/reports HTTP/1.1\r\nHost: x\r\nX-Blamed-Key: {}\r\nContent-Type: text/plain\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            "ab".repeat(16),
            body.len()
        )
    };
    let (stop, taken) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut daemon = Some(start());
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let request = request(&report());
                while !stop.load(Ordering::SeqCst) {
                    // Neither connecting nor asking nor the answer may fail, at any moment.
                    let mut stream = TcpStream::connect(address).unwrap();
                    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
                    stream.write_all(request.as_bytes()).unwrap();
                    let (status, text) = answer(stream);
                    assert_eq!(status, 202, "{text}");
                    taken.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        let more = |count: u64| {
            let before = taken.load(Ordering::SeqCst);
            eventually("more reports", || (taken.load(Ordering::SeqCst) >= before + count).then_some(()));
        };
        for _ in 0..RESTARTS {
            more(100);
            daemon.take().unwrap().terminate();
            daemon = Some(start());
        }
        more(100);
        stop.store(true, Ordering::SeqCst);
    });
    let taken = taken.load(Ordering::SeqCst);
    daemon.unwrap().terminate();
    let database = rusqlite::Connection::open(folder.path().join("data/blamed.sqlite3")).unwrap();
    let counted: u64 = database.query_row("SELECT sum(count) FROM faults", [], |row| row.get(0)).unwrap();
    assert_eq!(counted, taken, "each was counted once");
    eprintln!("{taken} requests over {RESTARTS} restarts, none refused");
}

#[test]
fn a_service_manager_is_told_when_it_is_ready_alive_and_stopping() {
    let folder = tempfile::tempdir().unwrap();
    let repo = repository();
    let path = folder.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(daemon::PATIENCE)).unwrap();
    let heard = || {
        let mut bytes = [0; 4_096];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    };
    let file = folder.path().join("blamed.toml");
    fs::write(&file, configured(folder.path(), &repo, "listen = '127.0.0.1:0'")).unwrap();
    let mut command = blamed(&["start", "--config", file.to_str().unwrap()]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "600000").env_remove("WATCHDOG_PID");
    let daemon = Started::new(command);
    let mut said = Vec::new();
    while !(said.iter().any(|said: &String| said.contains("READY=1"))
        && said.iter().filter(|said| said.contains("WATCHDOG=1")).count() >= 2)
    {
        said.push(heard());
    }
    let pid = daemon.process.id().to_string();
    assert!(run(Command::new("kill").args(["-HUP", &pid])).status.success());
    // As Type=notify-reload wants it: when it began, by the clock that never goes back, then that it is done.
    let reloading = std::iter::from_fn(|| Some(heard())).find(|said| said.contains("RELOADING=1")).unwrap();
    let at = reloading.lines().find_map(|line| line.strip_prefix("MONOTONIC_USEC=")?.parse::<u64>().ok());
    let uptime = fs::read_to_string("/proc/uptime").unwrap();
    let uptime: f64 = uptime.split(' ').next().unwrap().parse().unwrap();
    assert!((uptime - at.unwrap() as f64 / 1e6).abs() < 60.0, "{reloading}, {uptime}");
    std::iter::from_fn(|| Some(heard())).find(|said| said.contains("READY=1")).unwrap();
    daemon.terminate();
    let stopping = std::iter::from_fn(|| Some(heard())).find(|said| said.contains("STOPPING=1"));
    assert!(stopping.unwrap().contains("STATUS=finishing"));
}

/// A certificate for localhost and its key, in files.
fn certificate(folder: &Path, name: &str) -> (PathBuf, PathBuf, rcgen::Certificate) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (cert, key) = (folder.join(format!("{name}.pem")), folder.join(format!("{name}.key")));
    fs::write(&cert, made.cert.pem()).unwrap();
    fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    (cert, key, made.cert)
}

/// GETs over TLS with `trusted` as the only root, speaking `protocol` if the server does. The answer's
/// status and the protocol that was agreed on.
fn get_over_tls(
    address: &str,
    trusted: &rcgen::Certificate,
    protocol: &[u8],
) -> std::io::Result<(u16, Vec<u8>)> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.der().clone()).unwrap();
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = "localhost".try_into().unwrap();
    let client = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut stream = rustls::StreamOwned::new(client, TcpStream::connect(address)?);
    if protocol == b"h2" {
        stream.flush()?;
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        return Ok((0, stream.conn.alpn_protocol().unwrap_or_default().to_vec()));
    }
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    Ok((
        text.split(' ').nth(1).unwrap().parse().unwrap(),
        stream.conn.alpn_protocol().unwrap_or_default().to_vec(),
    ))
}

#[test]
fn tls_is_built_in_and_a_renewed_certificate_is_used_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let repo = repository();
    let (cert, key, first) = certificate(folder.path(), "current");
    let more = format!("[tls]\ncert = '{}'\nkey = '{}'", cert.display(), key.display());
    let daemon = Daemon::configured(folder.path(), &configured(folder.path(), &repo, &more));
    assert!(daemon.url.starts_with("https://127.0.0.1:"), "{}", daemon.url);
    let address = daemon.url.trim_start_matches("https://");
    assert_eq!(get_over_tls(address, &first, b"http/1.1").unwrap(), (200, b"http/1.1".to_vec()));
    assert_eq!(get_over_tls(address, &first, b"h2").unwrap().1, b"h2");
    // Who speaks plain HTTP gets nothing, and harms nobody.
    let mut plain = TcpStream::connect(address).unwrap();
    write!(plain, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    let mut bytes = Vec::new();
    let _ = plain.read_to_end(&mut bytes);
    assert!(!bytes.starts_with(b"HTTP"), "{bytes:?}");

    let (new_cert, new_key, second) = certificate(folder.path(), "new");
    // Between the two the files do not belong together: the old ones are good for a moment longer.
    fs::rename(new_cert, &cert).unwrap();
    assert_eq!(get_over_tls(address, &first, b"http/1.1").unwrap().0, 200);
    fs::rename(new_key, &key).unwrap();
    let renewed = || get_over_tls(address, &second, b"http/1.1").ok();
    assert_eq!(eventually("the new certificate", renewed).0, 200);
    assert!(get_over_tls(address, &first, b"http/1.1").is_err());
    assert!(daemon.stop());

    // A key that is none, one of another certificate, and no certificate.
    let (_, other, _) = certificate(folder.path(), "other");
    let file = folder.path().join("blamed.toml");
    for (text, expected) in [
        ("nothing".to_owned(), "current.key: "),
        (fs::read_to_string(other).unwrap(), "current.key: it is not the key of the certificate in"),
        (String::new(), "current.pem: "),
    ] {
        fs::write(if text.is_empty() { &cert } else { &key }, &text).unwrap();
        let refused = run(&mut blamed(&["start", "--config", file.to_str().unwrap()]));
        let said = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert_eq!(refused.status.code(), Some(2), "{said}");
        assert!(said.contains(expected) && said.contains("hint: "), "{said}");
    }
}

#[test]
fn the_log_is_json_without_a_terminal_and_its_levels_change_while_it_runs() {
    let folder = tempfile::tempdir().unwrap();
    let repo = repository();
    let file = folder.path().join("blamed.toml");
    fs::write(&file, configured(folder.path(), &repo, "listen = '127.0.0.1:0'\nlog = 'off'")).unwrap();
    let log = folder.path().join("log");
    let mut command = blamed(&["start", "--config", file.to_str().unwrap()]);
    let daemon = Started::new({
        command.stderr(fs::File::create(&log).unwrap()).env_remove("JOURNAL_STREAM");
        command
    });
    assert_eq!(fs::read_to_string(&log).unwrap(), "");
    let set = |value: &str| {
        let data = folder.path().join("data");
        run(&mut blamed(&["settings", "set", "log", value, "--data-dir", data.to_str().unwrap()]))
    };
    assert_eq!(set("loud").status.code(), Some(2));
    assert!(set("blamed::cli=info").status.success());
    let entry = eventually("the new levels", || {
        let text = fs::read_to_string(&log).unwrap();
        text.lines().next().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
    });
    assert_eq!((&entry["level"], &entry["levels"]), (&"WARN".into(), &"blamed::cli=info".into()), "{entry}");
    assert_eq!(entry["message"], "logging by these levels now");
    daemon.terminate();
    assert!(fs::read_to_string(&log).unwrap().contains("\"message\":\"stopped\""));
}

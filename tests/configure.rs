//! `blamed configure`, by somebody at a real terminal: whole runs, every point of interruption, and what goes
//! wrong.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as the test does")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/exim.rs"]
mod exim;
#[path = "support/questionnaire.rs"]
mod questionnaire;
#[path = "support/smtp.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod smtp;
#[path = "support/terminal.rs"]
mod terminal;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use daemon::{Daemon, blamed, eventually, run, traceback};
use exim::Exim;
use mail_parser::MessageParser;
use questionnaire::{configure, mode, path, port, program, repository};
use smtp::{At, Do, Encryption, Server, certified, certified_until};
use terminal::{Terminal, entries};

/// A git server over HTTP; `None` where there is no Python for it.
struct GitServer(Child, u16);

impl GitServer {
    fn start(folder: &Path) -> Option<Self> {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/git_http.py");
        let mut server = Command::new("python3");
        let server = server.arg(script).arg(folder).stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut server) = server else {
            assert!(std::env::var_os("CI").is_none(), "python3 is missing");
            let _ = writeln!(std::io::stderr(), "skipped: a git server over HTTP needs python3");
            return None;
        };
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Some(Self(server, line.trim().parse().unwrap()))
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn from_nothing_to_the_first_mail() {
    if !exim::is_here("from_nothing_to_the_first_mail") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    repository(&folder.path().join("git/shop.git"));
    let Some(git) = GitServer::start(&folder.path().join("git")) else { return };
    let exim = Exim::start();
    let empty = folder.path().join("my blamed");
    fs::create_dir(&empty).unwrap();
    let (public, begun) = (port(), Instant::now());

    // Forty columns, and nothing around but the two servers.
    let mut terminal = Terminal::run(&configure(&empty), 40);
    terminal.wait_for("Where is your code?");
    terminal.answer(&format!("http://127.0.0.1:{}/shop.git", git.1));
    terminal.wait_for("Which branch");
    terminal.answer("release-*");
    terminal.answer(&format!("localhost:{public}"));
    terminal.answer("'my data'");
    terminal.answer(&format!("localhost:{}", exim.port));
    terminal.wait_for("It answers");
    terminal.answer("");
    terminal.wait_for("Which domain");
    terminal.answer("<");
    terminal.wait_for("With which user");
    terminal.answer("none");
    terminal.answer("example.com");
    terminal.wait_for("Are all developers'");
    terminal.answer("perhaps");
    terminal.wait_for("Answer yes or no");
    terminal.answer("yes");
    terminal.answer("ops@example.com");
    terminal.wait_for("Your answers:");
    terminal.wait_for("release-*");
    assert_eq!(entries(&empty), [""; 0], "nothing is written yet");
    terminal.answer("");
    terminal.wait_for("250 OK id=");
    terminal.wait_for("fetching http://127.0.0.1");
    terminal.wait_for("the tip of release-9");
    terminal.wait_for("Paste a traceback");
    terminal.answer(
        &traceback("/srv/shop/pricing.py", 5, "price", "return Decimal(text)")
            .replace("ValueError: no\n", "ValueError: nö\n."),
    );
    terminal.wait_for("to mira.lang@example.com: git names you");
    terminal.wait_for("To start it:");
    assert!(terminal.end().success(), "{}", terminal.text());
    let said = terminal.text();
    for line in said.lines().take_while(|line| !line.starts_with("Your answers")) {
        assert!(line.chars().count() <= 40 || !line.contains(' '), "{line:?} is too long");
    }
    assert_eq!(entries(&empty), ["blamed.toml", "my data"]);
    let file = empty.join("blamed.toml");
    assert_eq!((mode(&file), mode(&empty.join("my data"))), (0o600, 0o700));
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# The manual of blamed's configuration."), "comments stay");
    let key = text.lines().find_map(|line| line.strip_prefix("key = \"")).unwrap().trim_end_matches('"');
    for line in [
        format!("SENTRY_DSN=http://{key}@localhost:{public}/1"),
        format!("OTEL_EXPORTER_OTLP_HEADERS=x-blamed-key={key}"),
    ] {
        assert!(said.replace('\n', "").contains(&line), "{line}: {said}");
    }

    let checked = run(blamed(&["check"]).current_dir(&empty));
    assert!(checked.status.success(), "{checked:?}");
    let daemon = Daemon::where_configured(blamed(&["start"]).current_dir(&empty));
    assert_eq!(daemon.key, key);
    let report = traceback("/srv/shop/pricing.py", 5, "price", "return Decimal(text)");
    assert_eq!(daemon.decided(report)["author"]["mail"], "mira.lang@example.com");
    let to = |address: &str| {
        eventually(address, || {
            let mails = exim.mails();
            let mails = mails.iter().map(|mail| MessageParser::new().parse(mail.as_slice()).unwrap());
            let mails = mails.filter(|mail| mail.to().unwrap().first().unwrap().address() == Some(address));
            let subjects: Vec<String> = mails.map(|mail| mail.subject().unwrap().to_owned()).collect();
            (!subjects.is_empty()).then_some(subjects)
        })
    };
    assert_eq!(to("mira.lang@example.com"), ["ValueError in pricing.py:5"]);
    let took = begun.elapsed();
    let admin =
        eventually("the admin's link", || Some(to("ops@example.com")).filter(|mails| mails.len() == 2));
    assert!(admin.contains(&"blamed can send mail".to_owned()), "{admin:?}");
    let _ = writeln!(std::io::stderr(), "from configure to the first delivered mail: {took:.1?}");
}

/// What is typed to answer each question, the password's among them.
fn answers(folder: &Path, server: &Server) -> Vec<String> {
    vec![
        folder.join("shop").display().to_string(),
        String::new(),
        format!("localhost:{}", port()),
        "data".to_owned(),
        format!("localhost:{}", server.port),
        "ada".to_owned(),
        "pass \"wörd\"".to_owned(),
        "example.com".to_owned(),
        "no".to_owned(),
        "ops@example.com".to_owned(),
    ]
}

#[test]
fn whoever_stops_at_any_question_goes_on_there() {
    let folder = tempfile::tempdir().unwrap();
    repository(&folder.path().join("shop"));
    let server = Server::start(&[]);
    let questions = answers(folder.path(), &server).len();
    std::thread::scope(|scope| {
        for stop in 0..=questions {
            // A port of its own for each: whether it is free is found out by taking it for a moment.
            let (answers, folder) = (answers(folder.path(), &server), folder.path());
            scope.spawn(move || {
                let empty = folder.join(format!("stop-{stop}"));
                fs::create_dir(&empty).unwrap();
                let mut terminal = Terminal::run(&configure(&empty), 80);
                for answer in &answers[..stop] {
                    terminal.answer(answer);
                }
                terminal.wait_for("> ");
                let hidden = stop == 6;
                assert_eq!(terminal.echoes(), !hidden, "question {}", stop + 1);
                // Half a line is lost, as anywhere.
                terminal.type_in("half");
                terminal.interrupt();
                terminal.wait_for("Stopped. Nothing is written");
                assert_eq!(terminal.end().code(), Some(1));
                assert!(terminal.echoes());
                let draft: &[&str] = if stop > 0 { &[".blamed.toml.draft"] } else { &[] };
                assert_eq!(entries(&empty), draft);
                if stop > 0 {
                    let file = empty.join(draft[0]);
                    assert_eq!(mode(&file), 0o600);
                    assert!(!fs::read_to_string(file).unwrap().contains("wörd"), "no password is kept");
                }

                // The next run goes on, and is ended by Ctrl-D where it stands.
                let mut again = Terminal::run(&configure(&empty), 80);
                if stop > 0 {
                    again.wait_for("You stopped here before");
                }
                let next = match stop {
                    // The password is asked again.
                    7.. => "7. And that user's password?".to_owned(),
                    stop => format!("{}. ", stop + 1),
                };
                if stop < answers.len() && stop != 7 && stop != 8 && stop != 9 {
                    again.wait_for(&next);
                } else {
                    for answer in &answers[stop..] {
                        again.answer(answer);
                    }
                    again.wait_for(&next);
                }
                again.wait_for("> ");
                again.type_in("\x04");
                again.wait_for("Stopped.");
                assert_eq!(again.end().code(), Some(1));
            });
        }
    });
}

#[test]
fn whoever_stops_while_it_is_tried_leaves_nothing_half_done() {
    let folder = tempfile::tempdir().unwrap();
    repository(&folder.path().join("shop"));
    // A git that clones for ever.
    let bin = folder.path().join("bin");
    let script = "case \"$*\" in *fetch*) printf 'Receiving objects:  42%%\\r' >&2; sleep 60;; *ls-remote*) exit 0;; *) exec /usr/bin/env PATH=\"$REAL\" git \"$@\";; esac";
    program(&bin, "git", script);
    let real = std::env::var("PATH").unwrap();

    for (at, repository, signal) in [
        ("Mail: sending", "../shop", "\x03"),
        ("42%", "https://git.example.com/shop.git", "\x03"),
        ("42%", "https://git.example.com/shop.git", "TERM"),
        ("Paste a traceback", "../shop", "\x03"),
        ("Paste a traceback", "../shop", "HUP"),
    ] {
        let server = Server::start(if at.starts_with("Mail") { &[(At::Rcpt, Do::Silence)] } else { &[] });
        let empty = folder.path().join("empty");
        fs::create_dir(&empty).unwrap();
        let mut command = configure(&empty);
        command.env("PATH", path(&bin)).env("REAL", &real);
        let mut terminal = Terminal::run(&command, 80);
        let mut typed = answers(folder.path(), &server);
        typed[0] = repository.to_owned();
        for answer in typed {
            terminal.answer(&answer);
        }
        terminal.wait_for("Your answers:");
        terminal.answer("");
        terminal.wait_for(at);
        match signal {
            "\x03" => terminal.interrupt(),
            signal => {
                let pid = terminal.pid().to_string();
                assert!(run(Command::new("kill").args([&format!("-{signal}"), &pid])).status.success());
            }
        }
        terminal.wait_for("Stopped. Nothing is written");
        assert_eq!(terminal.end().code(), Some(1), "{at}");
        assert_eq!(entries(&empty), [".blamed.toml.draft"], "{at}");
        assert!(!terminal.text().contains("wörd"), "the password is not shown");
        fs::remove_dir_all(&empty).unwrap();
    }
}

#[test]
fn an_existing_file_is_changed_and_a_password_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    repository(&folder.path().join("shop"));
    let server = Server::start(&[(At::Auth, Do::Say("535 5.7.8 no"))]);
    let file = folder.path().join("blamed.toml");
    let own = format!(
        "# mine\nlisten = '127.0.0.1:{}' # keep\ndata_dir = \"d\"\n\n[limits]\nframes = 7\n\n[[project]]\nname = \"other\"\n[[project.repository]]\npath = \"shop\" # here\n",
        port()
    );
    fs::write(&file, &own).unwrap();
    let mut terminal = Terminal::run(&configure(folder.path()), 80);
    terminal.wait_for("Enter: ");
    // What is there is suggested; only the mail server is new.
    for _ in 0..4 {
        terminal.answer("");
    }
    for answer in [&format!("localhost:{}", server.port), "ada", "wrong", "none", "ops@example.com"] {
        terminal.answer(answer);
    }
    terminal.wait_for("Your answers:");
    terminal.wait_for("smtp-password");
    terminal.answer("p");
    terminal.wait_for("in the environment (BLAMED_MAIL_SMTP_PASSWORD)");
    terminal.answer("p");
    terminal.wait_for("in the configuration file");
    terminal.answer("p");
    terminal.wait_for("smtp-password");
    terminal.answer("");
    terminal.wait_for("does not accept the user or the password");
    assert_eq!(fs::read_to_string(&file).unwrap(), own, "nothing is written yet");
    terminal.answer("");
    terminal.wait_for("5. Which server");
    terminal.answer("");
    terminal.wait_for("Your answers:");
    terminal.answer("7");
    terminal.wait_for("password?");
    terminal.answer("s3 cret");
    terminal.wait_for("Your answers:");
    terminal.answer("");
    terminal.wait_for("taken as 1");
    terminal.wait_for("Paste a traceback");
    terminal.answer("");
    terminal.wait_for("TrialError");
    assert!(terminal.end().success());
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.starts_with("# mine\nlisten = '127.0.0.1:") && text.contains("\ndata_dir = \"d\"\n"),
        "{text}"
    );
    for kept in ["' # keep\n", "[limits]\nframes = 7\n", "name = \"other\"\n", "path = \"shop\" # here\n"] {
        assert!(text.contains(kept), "{kept:?} is not in:\n{text}");
    }
    let password = folder.path().join("smtp-password");
    assert_eq!((fs::read_to_string(&password).unwrap().as_str(), mode(&password)), ("s3 cret\n", 0o600));
    assert!(!terminal.text().contains("s3 cret"));
    let checked = run(blamed(&["check"]).current_dir(folder.path()));
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn where_there_is_no_terminal_it_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let said = run(&mut configure(folder.path()));
    let err = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(2));
    assert!(err.contains("no terminal") && err.contains("--non-interactive"), "{err}");
    let said = run(configure(folder.path()).args(["--non-interactive", "--mail-server", "none"]));
    let err = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(2));
    assert!(err.contains("repository: ") && err.contains("default contact: "), "all at once: {err}");
    assert_eq!(entries(folder.path()), [""; 0]);
}

/// What the command says without questions, with `arguments` besides a repository and a contact.
fn by_itself(folder: &Path, arguments: &[&str], configuration: &str) -> (Option<i32>, String) {
    let own = tempfile::tempdir_in(folder).unwrap();
    fs::write(own.path().join("blamed.toml"), configuration).unwrap();
    let mut command = configure(own.path());
    command.args([
        "--non-interactive",
        "--default-contact",
        "ops@example.com",
        "--public-url",
        "https://blamed.example.com",
    ]);
    if !arguments.contains(&"--repository") {
        command.args(["--repository", folder.join("shop").to_str().unwrap()]);
    }
    let done = run(command.args(arguments));
    let left = entries(own.path());
    if !done.status.success() {
        assert_eq!(left, ["blamed.toml"], "{arguments:?}");
        assert_eq!(fs::read_to_string(own.path().join("blamed.toml")).unwrap(), configuration);
    }
    (done.status.code(), String::from_utf8(done.stderr).unwrap())
}

#[test]
fn what_is_wrong_with_mail_is_said_in_words() {
    let folder = tempfile::tempdir().unwrap();
    repository(&folder.path().join("shop"));
    let roots = folder.path().join("roots.pem");
    let good = certified(&roots);
    let expired_roots = folder.path().join("expired.pem");
    let expired = certified_until(&expired_roots, 2021);
    let plain = |script: &[(At, Do)]| Server::start(script).port;
    let listening = |encryption: Encryption| {
        Server::listen(std::net::TcpListener::bind("127.0.0.1:0").unwrap(), &[], encryption).port
    };
    let login = "smtp_user = \"ada\"\nsmtp_password = \"x\"\n";
    let ca = |file: &Path| format!("smtp_ca_file = \"{}\"\n", file.display());
    let cases: Vec<(&str, u16, &str, String)> = vec![
        ("nothing listens", port(), "none", String::new()),
        (
            "silent",
            plain(&[
                (At::Connect, Do::Silence),
                (At::Connect, Do::Silence),
                (At::Connect, Do::Silence),
                (At::Connect, Do::Silence),
            ]),
            "none",
            String::new(),
        ),
        ("slow", plain(&[(At::Mail, Do::Silence)]), "none", String::new()),
        ("no such machine", 25, "none", "# at mail.invalid\n".to_owned()),
        (
            "another name",
            listening(Encryption::Tls(good.clone())),
            "implicit",
            format!("# at 127.0.0.1\n{}", ca(&roots)),
        ),
        ("hangs up", plain(&[(At::Mail, Do::HangUp)]), "none", String::new()),
        (
            "TLS on a port spoken to in the clear",
            listening(Encryption::Tls(good.clone())),
            "none",
            String::new(),
        ),
        ("clear on a port spoken to in TLS", plain(&[]), "implicit", String::new()),
        ("no encryption", plain(&[]), "starttls", String::new()),
        ("signed by nobody known", listening(Encryption::StartTls(good.clone())), "starttls", String::new()),
        ("signed by nobody known, TLS", listening(Encryption::Tls(good.clone())), "implicit", String::new()),
        ("expired", listening(Encryption::StartTls(expired)), "starttls", ca(&expired_roots)),
        (
            "wants a login",
            plain(&[(At::Mail, Do::Say("530 5.7.0 Authentication required"))]),
            "none",
            String::new(),
        ),
        (
            "wrong password",
            plain(&[(At::Auth, Do::Say("535 5.7.8 Authentication credentials invalid"))]),
            "none",
            login.to_owned(),
        ),
        (
            "sender refused",
            plain(&[(At::Mail, Do::Say("553 5.7.1 Sender address rejected: not owned by user"))]),
            "none",
            login.to_owned(),
        ),
        (
            "relay refused",
            plain(&[(At::Rcpt, Do::Say("554 5.7.1 Relay access denied"))]),
            "none",
            String::new(),
        ),
        (
            "no such reader",
            plain(&[(At::Rcpt, Do::Say("550 5.1.1 No such user here"))]),
            "none",
            String::new(),
        ),
        ("put off", plain(&[(At::Rcpt, Do::Say("450 4.2.0 Greylisted"))]), "none", String::new()),
        (
            "accepted, then refused",
            plain(&[(At::End, Do::Say("554 5.7.1 Message looks like spam"))]),
            "none",
            String::new(),
        ),
        ("accepted, then silent", plain(&[(At::End, Do::Silence)]), "none", String::new()),
        (
            "blocked",
            plain(&[(At::Connect, Do::Say("554 5.7.1 Your address is listed"))]),
            "none",
            String::new(),
        ),
    ];
    let told: Vec<String> = std::thread::scope(|scope| {
        let folder = folder.path();
        let running: Vec<_> = cases
            .iter()
            .map(|(name, port, encryption, more)| {
                scope.spawn(move || {
                    let host = more.lines().next().and_then(|line| line.strip_prefix("# at "));
                    let host = host.unwrap_or("localhost");
                    let mut configuration = format!(
                        "data_dir = \"d\"\n[mail]\nsmtp_timeout_seconds = 1\nsmtp_host = \"{host}\"\n{more}"
                    );
                    if !more.is_empty() && more.contains("ca_file") {
                        configuration.push_str("smtp_tls = \"starttls\"\n");
                    }
                    let server = format!("{host}:{port}");
                    let arguments = ["--mail-server", &server, "--mail-encryption", encryption];
                    let (code, said) = by_itself(folder, &arguments, &configuration);
                    assert_eq!(code, Some(1), "{name}: {said}");
                    let said = said.replace(&format!(":{port}"), ":PORT");
                    // What depends on this machine, or on the time of day.
                    let said = match said.split_once("hint: The same machine answers at port ") {
                        Some((before, _)) => format!(
                            "{before}hint: Start the mail server, or see whether host and port are right."
                        ),
                        None => said,
                    };
                    let said = said.split(": verification time").next().unwrap().to_owned()
                        + said.split_once(" seconds ago)").map_or("", |(_, rest)| rest);
                    format!("== {name}\n{}\n", said.trim_end())
                })
            })
            .collect();
        running.into_iter().map(|case| case.join().unwrap()).collect()
    });
    let told = told.join("\n");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/mail-advice.txt");
    if std::env::var_os("BLAMED_TEST_WRITE").is_some() {
        fs::write(&file, &told).unwrap();
    }
    let expected = fs::read_to_string(&file).unwrap_or_default();
    assert!(told == expected, "not as in {}; BLAMED_TEST_WRITE=1 writes it anew:\n{told}", file.display());
}

#[test]
fn what_is_wrong_with_a_repository_is_said_in_words() {
    let folder = tempfile::tempdir().unwrap();
    repository(&folder.path().join("shop"));
    let served = folder.path().join("git");
    repository(&served.join("private/shop.git"));
    fs::create_dir_all(&served).unwrap();
    assert!(
        run(Command::new("git").args(["init", "--quiet", "--bare"]).arg(served.join("empty.git")))
            .status
            .success()
    );
    let Some(git) = GitServer::start(&served) else { return };
    let check = |path: &str, login: &str, expected: &[&str]| {
        let url = format!("http://{login}127.0.0.1:{}/{path}", git.1);
        let arguments = ["--mail-server", "none", "--repository", &url];
        let (code, said) = by_itself(folder.path(), &arguments, "data_dir = \"d\"\n");
        assert_eq!(code == Some(0), expected.is_empty(), "{path}: {said}");
        for expected in expected {
            assert!(said.contains(expected), "{expected:?} is not in:\n{said}");
        }
        assert!(!said.contains("s3cret"), "{said}");
    };
    check("private/shop.git", "ada:s3cret@", &[]);
    check("private/shop.git", "ada:wr0ng@", &["another user or password", "https://USER:TOKEN@"]);
    check("private/shop.git", "", &["another user or password"]);
    check("nowhere.git", "", &["no repository at that address"]);
    check("empty.git", "", &["has no commits", "Push a commit first"]);
    let arguments = ["--mail-server", "none", "--repository", "http://127.0.0.1:1/x.git"];
    let (code, said) = by_itself(folder.path(), &arguments, "");
    assert!(code == Some(1) && said.contains("The server cannot be reached"), "{said}");
}

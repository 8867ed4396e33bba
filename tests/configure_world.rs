//! `blamed configure` in a world that is not easy: repositories behind ssh and passwords, folders of every kind,
//! a disk without room, a service manager.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as the test does")]

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/questionnaire.rs"]
mod questionnaire;
#[path = "support/remote.rs"]
#[allow(dead_code, reason = "not all of it is needed here")]
mod remote;
#[path = "support/terminal.rs"]
mod terminal;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output};

use daemon::{Daemon, blamed, run, traceback};
use questionnaire::{configure, git, mode, path, port, program, repository};
use remote::{Http, Ssh};
use terminal::{Terminal, entries};

/// What the command says without questions where mails go into files.
fn by_itself(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = configure(folder);
    command.args(["--non-interactive", "--mail-server", "none", "--default-contact", "ops@example.com"]);
    command.args(arguments);
    command
}

fn said(done: &Output) -> String {
    String::from_utf8_lossy(&done.stderr).into_owned()
}

#[test]
fn a_repository_that_wants_a_password_and_one_by_ssh() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    repository(&folder.join("git/shop"));
    // Of `ada:s3cret`. Who has a terminal could be asked by git; nobody is.
    let http = Http::serve(&folder.join("git"), Some("YWRhOnMzY3JldA=="));
    let keys = folder.join("keys");
    fs::create_dir(&keys).unwrap();
    let Some(ssh) = Ssh::serve(&keys) else { return };
    let user = String::from_utf8(run(Command::new("id").arg("-un")).stdout).unwrap();
    let url = format!("ssh://{}@127.0.0.1:{}{}", user.trim(), ssh.port, folder.join("git/shop").display());

    for (key, knows_host, expected) in [
        ("stranger", true, "does not know this user's ssh key"),
        ("user", false, "has never seen that server by ssh"),
    ] {
        let empty = folder.join(format!("{key}-{knows_host}"));
        fs::create_dir(&empty).unwrap();
        let done =
            run(by_itself(&empty, &["--repository", &url])
                .env("GIT_SSH_COMMAND", ssh.command(key, knows_host)));
        let said = said(&done);
        assert!(done.status.code() == Some(1) && said.contains(expected), "{said}");
        assert_eq!(entries(&empty), [""; 0], "nothing half done");
    }

    let empty = folder.join("größer als \"vier\"");
    fs::create_dir(&empty).unwrap();
    let mut command = configure(&empty);
    command.env("GIT_SSH_COMMAND", ssh.command("user", true));
    let mut terminal = Terminal::run(&command, 40);
    let closed = format!("http://127.0.0.1:{}/shop/.git", http.port);
    for answer in [
        closed.as_str(),
        "",
        &format!("localhost:{}", port()),
        "die Däten \"alle\"",
        "none",
        "example.com",
        "yes",
        "ops@example.com",
    ] {
        terminal.answer(answer);
    }
    terminal.wait_for("Your answers:");
    terminal.answer("");
    terminal.wait_for("The server wants another user or password.");
    assert!(!terminal.text().contains("Username for"), "{}", terminal.text());
    terminal.answer("");
    terminal.wait_for("Where is your code?");
    terminal.answer(&url);
    terminal.wait_for("Your answers:");
    terminal.answer("");
    terminal.wait_for("the tip of main");
    terminal.wait_for("Paste a traceback");
    terminal.answer("");
    terminal.wait_for("To start it:");
    assert!(terminal.end().success(), "{}", terminal.text());
    assert_eq!(entries(&empty), ["blamed.toml", "die Däten \"alle\""]);
    let mut start = blamed(&["start"]);
    let daemon =
        Daemon::where_configured(start.current_dir(&empty).env("GIT_SSH_COMMAND", ssh.command("user", true)));
    let report = traceback("/srv/shop/pricing.py", 5, "price", "return Decimal(text)");
    assert_eq!(daemon.decided(report)["author"]["mail"], "mira.lang@example.com");
}

#[test]
fn a_terminal_that_is_closed_is_an_interruption_like_any_other() {
    let folder = tempfile::tempdir().unwrap();
    let shop = folder.path().join("shop");
    repository(&shop);
    let code = folder.path().join("code");
    // A terminal of Python's, whose only end outside can be closed: two answers, and it is gone.
    let script = format!(
        "import os, pty, subprocess, sys\n\
         outside, inside = pty.openpty()\n\
         program = subprocess.Popen(sys.argv[1:], stdin=inside, stdout=inside, stderr=inside, start_new_session=True,\n\
             preexec_fn=lambda: __import__('fcntl').ioctl(0, __import__('termios').TIOCSCTTY, 0))\n\
         os.close(inside)\n\
         text = b''\n\
         for prompts, answer in enumerate([{:?}, 'main', None], 1):\n\
         \x20   while text.count(b'> ') < prompts: text += os.read(outside, 1000)\n\
         \x20   if answer: os.write(outside, answer.encode() + b'\\n')\n\
         os.close(outside)\n\
         open({:?}, 'w').write(str(program.wait()))\n",
        shop, code
    );
    for times in 1..=5 {
        let empty = folder.path().join(format!("empty-{times}"));
        fs::create_dir(&empty).unwrap();
        let asked = configure(&empty);
        let mut python = Command::new("python3");
        python.args(["-c", &script]).arg(asked.get_program()).args(asked.get_args()).current_dir(&empty);
        for (name, value) in asked.get_envs() {
            match value {
                Some(value) => python.env(name, value),
                None => python.env_remove(name),
            };
        }
        let Ok(done) = python.output() else {
            assert!(std::env::var_os("CI").is_none(), "python3 is missing");
            let _ = writeln!(std::io::stderr(), "skipped: a terminal that is closed needs python3");
            return;
        };
        assert!(done.status.success(), "{}", said(&done));
        assert_eq!(fs::read_to_string(&code).unwrap(), "1", "no panic");
        assert_eq!(entries(&empty), [".blamed.toml.draft"], "the answers are kept");
        let mut again = Terminal::run(&configure(&empty), 80);
        again.wait_for("You stopped here before");
        again.wait_for("3. How do browsers");
    }
}

#[test]
fn a_port_in_use_is_not_suggested() {
    let folder = tempfile::tempdir().unwrap();
    repository(&folder.path().join("shop"));
    // Where the usual one is taken by somebody else already, that is as good.
    let _taken = std::net::TcpListener::bind("127.0.0.1:9029");
    let done = run(&mut by_itself(&folder.path().join("shop"), &["--branch", "main"]));
    assert!(done.status.success(), "{}", said(&done));
    let text = fs::read_to_string(folder.path().join("shop/blamed.toml")).unwrap();
    let listen = text.lines().find_map(|line| line.strip_prefix("listen = \"")).unwrap();
    assert!(!listen.ends_with(":9029\"") && listen.starts_with("0.0.0.0:90"), "{listen}");
}

#[test]
fn a_repository_that_takes_too_long_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    program(&bin, "git", "case \"$*\" in *ls-remote*) exit 0;; *) sleep 60;; esac");
    let own = "[fetch]\ntimeout_seconds = 1\n";
    fs::write(folder.path().join("blamed.toml"), own).unwrap();
    let mut command = by_itself(folder.path(), &["--repository", "https://git.example.com/huge.git"]);
    let done = run(command.env("PATH", path(&bin)));
    let said = said(&done);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(
        said.contains("too large to be fetched in that time") && said.contains("hint: Set timeout_seconds"),
        "{said}"
    );
    assert_eq!(fs::read_to_string(folder.path().join("blamed.toml")).unwrap(), own);
    assert_eq!(entries(folder.path()), ["bin", "blamed.toml"]);
}

#[test]
fn folders_of_every_kind_are_configured_and_started_in() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let at = |name: &str| folder.join(name);
    repository(&at("shop"));
    git(&at("shop"), &["worktree", "add", "--quiet", "../tree", "release-9"]);
    git(folder, &["clone", "--quiet", "--bare", "shop", "bare.git"]);
    git(folder, &["clone", "--quiet", "shop", "detached"]);
    git(&at("detached"), &["checkout", "--quiet", "--detach"]);
    git(folder, &["clone", "--quiet", "shop", "many"]);
    (0..50).for_each(|n| git(&at("many"), &["branch", &format!("release-{n}")]));
    git(folder, &["init", "--quiet", "--initial-branch=main", "fresh"]);
    fs::create_dir(at("empty")).unwrap();
    let report = traceback("/srv/shop/pricing.py", 5, "price", "return Decimal(text)");
    for (name, branch) in [
        ("shop", "main"),
        ("tree", "release-9"),
        ("bare.git", "main"),
        ("detached", "main"),
        ("many", "main"),
    ] {
        // Without a file, in the folder itself.
        let data = at(&format!("data of {name}"));
        let plain =
            Daemon::from(blamed(&["start", "--data-dir", data.to_str().unwrap()]).current_dir(at(name)));
        let decided = plain.decided(&report);
        assert_eq!(decided["author"]["mail"], "mira.lang@example.com", "{name}: {decided}");
        assert!(plain.stop());
        // With one, written for it.
        let own = at(&format!("of {name}"));
        fs::create_dir(&own).unwrap();
        let config = own.join("blamed.toml");
        let address = format!("localhost:{}", port());
        let mut command =
            by_itself(&at(name), &["--config", config.to_str().unwrap(), "--public-url", &address]);
        if name == "detached" {
            // What is checked out is nobody's idea of a branch.
            command.args(["--branch", "main"]);
        }
        let done = run(&mut command);
        assert!(done.status.success(), "{name}: {}", said(&done));
        assert_eq!(mode(&config), 0o600);
        assert!(said(&done).contains(&format!("the tip of {branch}")), "{name}: {}", said(&done));
        let daemon = Daemon::where_configured(&mut blamed(&["start", "--config", config.to_str().unwrap()]));
        assert_eq!(daemon.decided(&report)["author"]["mail"], "mira.lang@example.com", "{name}");
    }
    let newest = at("newest.toml");
    let done = run(&mut by_itself(
        &at("many"),
        &[
            "--config",
            newest.to_str().unwrap(),
            "--branch",
            "release-*",
            "--public-url",
            "https://blamed.example.com",
        ],
    ));
    assert!(said(&done).contains("the tip of release-49"), "{}", said(&done));

    // A repository without a commit, and a folder without one: a sentence, and nothing left behind.
    for (name, expected) in [("fresh", "has no commits"), ("empty", "repository: ")] {
        let done = run(&mut by_itself(&at(name), &["--public-url", "https://blamed.example.com"]));
        assert!(!done.status.success() && said(&done).contains(expected), "{name}: {}", said(&done));
        assert!(entries(&at(name)).iter().all(|entry| entry == ".git"), "{:?}", entries(&at(name)));
    }
    let fresh = Daemon::from(
        blamed(&["start", "--data-dir", at("fresh data").to_str().unwrap()]).current_dir(at("fresh")),
    );
    assert_eq!(fresh.report(report.as_bytes(), "").status, 202, "what comes waits for the first commit");
    let nowhere = run(blamed(&["start"]).current_dir(at("empty")));
    assert!(said(&nowhere).contains("hint: pass one with --repository"), "{}", said(&nowhere));
}

#[test]
fn on_a_disk_without_room_nothing_is_half_written() {
    let folder = tempfile::tempdir().unwrap();
    repository(&folder.path().join("shop"));
    let disk = folder.path().join("disk");
    fs::create_dir(&disk).unwrap();
    let unshare = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", "--mount", "sh", "-c", script]).arg(&disk);
        command
    };
    if !unshare("mount -t tmpfs tmpfs \"$0\"").output().is_ok_and(|done| done.status.success()) {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: on_a_disk_without_room_nothing_is_half_written (no disk can be mounted here)"
        );
        return;
    }
    fs::write(folder.path().join("password"), "s3cret\n").unwrap();
    let program = by_itself(&disk, &[]);
    // The password would fit, the configuration does not.
    let script = "mount -t tmpfs -o size=8k tmpfs \"$0\"; \"$@\"; code=$?; ls -A \"$0\"; exit $code";
    let mut command = unshare(script);
    command.arg(program.get_program()).args(["configure", "--non-interactive", "--no-proof"]);
    command.args(["--mail-server", "localhost:25", "--mail-encryption", "none", "--mail-user", "ada"]);
    for (option, value) in [
        ("--mail-password-file", folder.path().join("password")),
        ("--repository", folder.path().join("shop")),
        ("--config", disk.join("blamed.toml")),
        ("--default-contact", "ops@example.com".into()),
        ("--public-url", "https://blamed.example.com".into()),
    ] {
        command.arg(option).arg(value);
    }
    let done = run(command.env("HOME", folder.path()));
    let said = said(&done);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("No space left on device") && said.contains("hint: make room"), "{said}");
    assert_eq!(String::from_utf8_lossy(&done.stdout), "", "nothing is left there");
}

/// A system whose programs only note what they were asked for, and keep the units they were given.
fn noted_system(bin: &Path) {
    for name in ["useradd", "chown", "chgrp", "chmod", "systemctl", "getent", "install"] {
        let kept = "for file; do case $file in *.service|/tmp/*) [ -f \"$file\" ] && cp \"$file\" \"$NOTES.unit\";; esac; done";
        let more = match name {
            "install" => &format!("{kept}\ntrue"),
            // There is no such user yet.
            "getent" => "exit 2",
            _ => "",
        };
        program(bin, name, &format!("echo \"{name} $*\" >> \"$NOTES\"\n{more}"));
    }
}

/// Goes through the questions, and answers the last, of systemd, with yes.
fn say_yes_to_systemd(command: &Command, shop: &Path) -> Terminal {
    let mut terminal = Terminal::run(command, 80);
    for answer in [
        shop.to_str().unwrap(),
        "main",
        &format!("localhost:{}", port()),
        "data",
        "none",
        "",
        "",
        "ops@example.com",
    ] {
        terminal.answer(answer);
    }
    terminal.wait_for("Your answers:");
    terminal.answer("");
    terminal.wait_for("Paste a traceback");
    terminal.answer("");
    terminal.wait_for("Written: ");
    terminal.wait_for("Have systemd run it");
    terminal.answer("y");
    terminal
}

/// systemd's own opinion of a unit.
fn verify(unit: &Path) {
    let Ok(done) = Command::new("systemd-analyze").arg("verify").arg(unit).output() else {
        let _ = writeln!(
            std::io::stderr(),
            "skipped: a unit looked through by systemd-analyze, which is not here"
        );
        return;
    };
    let said = said(&done);
    // The manual page is not installed where tests run.
    let told: Vec<&str> =
        said.lines().filter(|line| line.contains(".service:") && !line.contains("man blamed")).collect();
    assert!(told.is_empty(), "{said}");
}

#[test]
fn systemd_is_offered_and_root_has_it_installed() {
    if !rustix::process::geteuid().is_root() {
        let _ =
            writeln!(std::io::stderr(), "skipped: systemd_is_offered_and_root_has_it_installed (not root)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    repository(&folder.join("shop"));
    noted_system(&folder.join("bin"));
    let own = folder.join("my blamed");
    fs::create_dir(&own).unwrap();
    let notes = folder.join("notes");
    let mut command = configure(&own);
    command.env("PATH", path(&folder.join("bin"))).env("NOTES", &notes);
    let mut terminal = say_yes_to_systemd(&command, &folder.join("shop"));
    terminal.wait_for("It runs.");
    terminal.wait_for("systemctl status blamed");
    assert!(terminal.end().success(), "{}", terminal.text());
    let noted = fs::read_to_string(&notes).unwrap();
    let at = own.display();
    let expected = [
        "systemctl show --property=Version".to_owned(),
        "getent passwd blamed".to_owned(),
        "useradd --system --user-group --home-dir /var/lib/blamed --no-create-home --shell /usr/sbin/nologin blamed"
            .to_owned(),
        "install -m 644 UNIT /etc/systemd/system/blamed.service".to_owned(),
        format!("install -d -m 700 -o blamed -g blamed {at}/data"),
        format!("chown -R blamed:blamed {at}/data"),
        format!("chgrp blamed {at}/blamed.toml"),
        format!("chmod 640 {at}/blamed.toml"),
        "systemctl daemon-reload".to_owned(),
        "systemctl enable blamed.service".to_owned(),
        "systemctl restart blamed.service".to_owned(),
    ];
    let noted: Vec<String> = noted
        .lines()
        .map(|line| match line.strip_prefix("install -m 644 ").and_then(|rest| rest.split_once(' ')) {
            Some((_, to)) => format!("install -m 644 UNIT {to}"),
            None => line.to_owned(),
        })
        .collect();
    assert_eq!(noted, expected);
    let unit = folder.join("blamed.service");
    fs::rename(folder.join("notes.unit"), &unit).unwrap();
    let text = fs::read_to_string(&unit).unwrap();
    let started = fs::canonicalize(env!("CARGO_BIN_EXE_blamed")).unwrap();
    for line in [
        format!("ExecStart={} start --config \"{at}/blamed.toml\"", started.display()),
        format!("ReadWritePaths=\"{at}/data\""),
        "User=blamed".to_owned(),
        "NoNewPrivileges=yes".to_owned(),
    ] {
        assert!(text.lines().any(|known| known == line), "{line:?} is not in:\n{text}");
    }
    // A user that is not here is no mistake of the unit's.
    fs::write(&unit, text.replace("User=blamed", "User=daemon").replace("Group=blamed", "Group=daemon"))
        .unwrap();
    verify(&unit);
    // What is edited once more stays readable for the service.
    assert_eq!(mode(&own.join("blamed.toml")), 0o600, "the program that would change it was made up");
    assert!(run(Command::new("chmod").arg("640").arg(own.join("blamed.toml"))).status.success());
    let shop = folder.join("shop");
    let again = run(&mut by_itself(&own, &["--repository", shop.to_str().unwrap()]));
    assert!(again.status.success(), "{}", said(&again));
    assert_eq!(mode(&own.join("blamed.toml")), 0o640);

    // One that fails is told, and what was configured stays.
    program(&folder.join("bin"), "useradd", "echo 'useradd: no' >&2; exit 1");
    let mut command = by_itself(&own, &["--systemd", "--repository", shop.to_str().unwrap()]);
    let done = run(command.env("PATH", path(&folder.join("bin"))).env("NOTES", &notes));
    let said = said(&done);
    assert_eq!(done.status.code(), Some(1), "{said}");
    assert!(said.contains("this failed: useradd --system") && said.contains("hint: "), "{said}");
}

#[test]
fn systemd_is_offered_to_others_with_what_root_has_to_run() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    repository(&folder.join("shop"));
    noted_system(&folder.join("bin"));
    let own = folder.join("own");
    fs::create_dir(&own).unwrap();
    let mut command = configure(&own);
    if rustix::process::geteuid().is_root() {
        // As nobody, who may do nothing but here.
        for folder in [folder, own.as_path()] {
            assert!(run(Command::new("chmod").arg("777").arg(folder)).status.success());
        }
        let done = run(Command::new("chown").args(["-R", "65534:65534"]).arg(folder));
        assert!(done.status.success());
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(command.get_program());
        other.args(command.get_args()).current_dir(&own);
        for (name, value) in command.get_envs().filter_map(|(name, value)| Some((name, value?))) {
            other.env(name, value);
        }
        let reachable =
            run(Command::new("setpriv").args(["--reuid=65534", "test", "-x", env!("CARGO_BIN_EXE_blamed")]));
        if !reachable.status.success() {
            let _ = writeln!(
                std::io::stderr(),
                "skipped: systemd_is_offered_to_others (nobody may not run the program)"
            );
            return;
        }
        command = other;
    }
    command.env("PATH", path(&folder.join("bin"))).env("NOTES", folder.join("notes"));
    let mut terminal = say_yes_to_systemd(&command, &folder.join("shop"));
    terminal.wait_for("Now run:");
    terminal.wait_for("sudo systemctl restart blamed.service");
    terminal.wait_for("To start it:");
    assert!(terminal.end().success(), "{}", terminal.text());
    let unit = own.join("blamed.service");
    let install = format!("sudo install -m 644 {} /etc/systemd/system/blamed.service", unit.display());
    assert!(terminal.text().contains(&install), "{}", terminal.text());
    let notes = fs::read_to_string(folder.join("notes")).unwrap();
    assert_eq!(notes, "systemctl show --property=Version\n", "nothing was changed");
    let text = fs::read_to_string(&unit).unwrap();
    let uid = fs::metadata(&unit).map(|unit| std::os::unix::fs::MetadataExt::uid(&unit)).unwrap();
    assert!(text.contains(&format!("\nUser={uid}\n")), "{text}");
    assert_eq!(mode(&own.join("data")), 0o700, "what the unit lets it write in is there");
    verify(&unit);
}

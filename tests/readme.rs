//! The commands of the README and of the movers' page are run, in their order, as somebody would who follows them;
//! what cannot be run here says why. A command that nobody has thought of fails.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use blamed::config::Config;
use daemon::{Daemon, blamed};

/// What is done with a command of a page.
enum How {
    /// It is run as it stands, but for what stands for the reader's own.
    Run,
    /// This is run instead.
    As(String),
    /// This is run when the daemon has been stopped.
    Stopped(String),
    /// It is not run here, because.
    Not(&'static str),
}

/// A page's blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut block: Option<(usize, Vec<&str>)> = None;
    for line in page.lines() {
        let indent = line.len() - line.trim_start().len();
        match &mut block {
            Some((_, lines)) if line.trim() == "```" => {
                blocks.push(lines.join("\n"));
                block = None;
            }
            Some((indent, lines)) => lines.push(line.get(*indent..).unwrap_or_default()),
            None if line.trim() == format!("```{language}") => block = Some((indent, Vec::new())),
            None => {}
        }
    }
    blocks
}

/// The commands of a page, without their comments; one that goes on in the next line is one.
fn commands(page: &str) -> Vec<String> {
    let whole = blocks(page, "sh").join("\n").replace("\\\n", " ");
    let without_comment = |line: &str| match line.split_once(" #") {
        Some((command, _)) => command.trim().to_owned(),
        None => line.trim().to_owned(),
    };
    whole.lines().map(without_comment).filter(|command| !command.is_empty()).collect()
}

/// How a command is run; of a page's commands, each.
fn how(command: &str) -> How {
    let words: Vec<&str> = command.split_whitespace().collect();
    let and = |more: &str| How::As(format!("{command} {more}"));
    match words.as_slice() {
        ["cargo", "run", ..] => How::Not("tests/commands.rs runs the demo"),
        ["cargo", "install", ..] => How::Not("it builds the program once more"),
        ["cd", "your-repository"] => How::Not("it is where all of this is run"),
        ["blamed", "start"] => How::Not("it runs all the while"),
        ["blamed", "start", ..] => {
            How::Not("its ports may be taken; tests/move_flawless.rs starts what import wrote")
        }
        ["blamed", "configure"] => How::Not("it asks; tests/configure.rs answers"),
        ["blamed", "configure", ..] => {
            and("--mail-encryption starttls --no-proof --config ../configured/blamed.toml")
        }
        ["blamed", "follow", "--journal", ..] => How::Not("it needs a journal"),
        ["blamed", "follow", ..] => and("--once"),
        ["blamed", "import", "oops", .., "--follow"] => How::As(command.replace(" --follow", "")),
        // It says what is wrong: there is no mail server.
        ["blamed", "doctor", "--config", _] => How::As(format!("cd ../moved && {command} || test $? -le 2")),
        ["blamed", "import" | "check", .., "--config-out" | "--config", _]
        | ["blamed", "explain", "--config", ..] => How::As(format!("cd ../moved && {command}")),
        ["blamed", "token", "add", ..] => How::As(format!("TOKEN=$({command})")),
        ["blamed", "project", "add-key", ..] => {
            How::As(format!("ANOTHER=$({command} | sed -n 's/^key //p')"))
        }
        ["blamed", "project", "revoke", _] => How::As("blamed project revoke \"$ANOTHER\"".to_owned()),
        ["blamed", "restore", ..] => How::Stopped(command.to_owned()),
        ["scripts/test"] => How::Not("it is what runs this"),
        [
            "blamed",
            "report" | "run" | "import" | "known" | "rules" | "project" | "settings" | "blame" | "explain"
            | "user" | "backup" | "export" | "deploy" | "doctor" | "check",
            ..,
        ] => How::Run,
        ["curl", ..] => and("--fail-with-body --silent"),
        _ => panic!("nobody has said how to run this command of a page: {command}"),
    }
}

/// A folder with everything that the pages speak of.
fn world(folder: &Path) {
    let write = |path: &str, content: &[u8]| {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    };
    let fixture = |name: &str| {
        fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)).unwrap()
    };
    fs::create_dir(folder.join("bin")).unwrap();
    symlink(env!("CARGO_BIN_EXE_blamed"), folder.join("bin/blamed")).unwrap();
    for made in ["home", "configured", "moved", "var/backups"] {
        fs::create_dir_all(folder.join(made)).unwrap();
    }
    let code = (1..=20).map(|n| format!("step_{n}()\n")).collect::<String>();
    for file in ["feed.py", "cart.py", "db.py", "payments/charge.py"] {
        write(&format!("shop/shop/{file}"), code.as_bytes());
    }
    let repository = folder.join("shop");
    let shell = |arguments: &[&str]| {
        let output = git::git(&repository).args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    shell(&["init", "--quiet", "--initial-branch", "main"]);
    shell(&["add", "."]);
    shell(&["-c", "user.name=Ada", "-c", "user.email=ada@example.com", "commit", "--quiet", "-m", "Steps"]);
    shell(&["tag", "v1.2"]);
    let traceback = daemon::traceback("/srv/app/shop/feed.py", 13, "read_feed", "step_13()");
    for file in ["shop/traceback.txt", "moved/traceback.txt", "var/log/shop/app.log"] {
        write(file, traceback.as_bytes());
    }
    write("shop/event.json", &fixture("requests/sentry-store.json"));
    write("srv/shop/bin/nightly.sh", b"#!/bin/sh\necho done\n");
    let output =
        Command::new("chmod").arg("+x").arg(folder.join("srv/shop/bin/nightly.sh")).output().unwrap();
    assert!(output.status.success());
    write("srv/oops/2026-11-20/OOPS-1", &fixture("requests/oops.bson"));
    let config = format!(
        "[flawless]\ndata_dir_path = {}\nrepo_dir = {}\nsmtp_host = localhost:1\n",
        folder.join("var/lib/flawless").display(),
        repository.display()
    );
    write("etc/flawless/flawless.cfg", config.as_bytes());
    write("var/lib/flawless/flawless-whitelists-config", &fixture("flawless/flawless-whitelists-config"));
}

#[test]
fn the_commands_of_the_pages_are_run_in_their_order() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    world(folder);
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(top.join("README.md")).unwrap();
    let movers = fs::read_to_string(top.join("docs/flawless.md")).unwrap();

    let mut start = blamed(&["start"]);
    start.current_dir(folder.join("shop")).env("HOME", folder.join("home"));
    let daemon = Daemon::from(&mut start);
    for block in blocks(&readme, "json") {
        let answer = daemon.report(block.as_bytes(), "");
        assert_eq!(answer.status, 202, "{block}: {}", answer.body);
    }
    for block in blocks(&readme, "toml") {
        Config::parse(Path::new("blamed.toml"), &block)
            .unwrap_or_else(|problems| panic!("{block}\n{problems}"));
    }

    let address = daemon.url.trim_start_matches("http://");
    // What stands on the pages for the reader's own.
    let own = |command: &str| {
        let mut own = command.replace("127.0.0.1:9029", address).replace(" KEY", &format!(" {}", daemon.key));
        for top in ["/srv/", "/var/", "/etc/"] {
            own = own.replace(top, &format!("{}{top}", folder.display()));
        }
        own
    };
    let (mut now, mut stopped, mut not) = (Vec::new(), Vec::new(), 0);
    for command in commands(&readme).into_iter().chain(commands(&movers)) {
        let command = own(&command);
        match how(&command) {
            How::Run => now.push(command),
            // A folder of its own for what goes elsewhere; variables are for all.
            How::As(other) if other.starts_with("cd ") => now.push(format!("({other})")),
            How::As(other) => now.push(other),
            How::Stopped(later) => stopped.push(later),
            How::Not(why) => {
                assert!(!why.is_empty());
                not += 1;
            }
        }
    }
    assert!(now.len() > 30 && stopped.len() == 1 && not < 12, "{} {} {not}", now.len(), stopped.len());
    let shell = Shell { folder, url: daemon.url.clone(), key: daemon.key.clone() };
    let said = shell.run(&now);
    assert!(said.contains("decision mail: the first occurrence"), "{said}");
    assert!(said.contains("rule     Known error: shop/feed.py in read_feed"), "{said}");
    assert!(daemon.stop());
    shell.run(&stopped);
}

#[test]
fn what_the_pages_lead_to_is_there() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in ["README.md", "docs/flawless.md", "SECURITY.md", "CHANGELOG.md"] {
        let text = fs::read_to_string(top.join(page)).unwrap();
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            if file.contains("://") {
                continue;
            }
            let there = if file.is_empty() { top.join(page) } else { top.join(page).with_file_name(file) };
            assert!(there.exists(), "{page} leads to {link}");
            let slug = |line: &str| line.trim_start_matches('#').trim().to_lowercase().replace(' ', "-");
            let is_it = |line: &str| line.starts_with('#') && slug(line) == heading;
            let has_it = heading.is_empty() || fs::read_to_string(&there).unwrap().lines().any(is_it);
            assert!(has_it, "{page} leads to {link}");
        }
    }
}

/// The shell of somebody who has nothing but `blamed`, and has said where the daemon is.
struct Shell<'a> {
    folder: &'a Path,
    url: String,
    key: String,
}

impl Shell<'_> {
    /// Runs commands in the repository; what they print.
    fn run(&self, commands: &[String]) -> String {
        // Each is told before it begins, and ends everything where it fails.
        let script: String =
            commands.iter().map(|command| format!("echo '$ '{} >&2\n{command}\n", quoted(command))).collect();
        let path = format!("{}:{}", self.folder.join("bin").display(), std::env::var("PATH").unwrap());
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", &script])
            .current_dir(self.folder.join("shop"))
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.folder.join("home"))
            .env("BLAMED_SERVER", &self.url)
            .env("BLAMED_KEY", &self.key)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}\n{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }
}

fn quoted(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

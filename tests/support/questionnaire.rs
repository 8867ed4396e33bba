//! `blamed configure` for tests: something to configure, and the command.

#![allow(dead_code, unreachable_pub, reason = "each test uses what it needs")]
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as the test does")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::daemon::{blamed, run};

const CODE: &str = "import x\n\n\ndef price(text):\n    return Decimal(text)\n";

/// A clone with one commit, by mira.lang@example.com, in `folder`.
pub fn repository(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("pricing.py"), CODE).unwrap();
    for arguments in [
        &["init", "--quiet", "--initial-branch=main"][..],
        &["config", "user.email", "mira.lang@example.com"],
        &["config", "user.name", "Mira"],
        &["add", "."],
        &["commit", "--quiet", "--message=Price"],
        &["branch", "release-9"],
    ] {
        git(folder, arguments);
    }
}

pub fn git(folder: &Path, arguments: &[&str]) {
    let done = run(Command::new("git").args(arguments).current_dir(folder));
    assert!(done.status.success(), "{done:?}");
}

/// `blamed configure` in `folder`.
pub fn configure(folder: &Path) -> Command {
    let mut command = blamed(&["configure"]);
    command.current_dir(folder).env("HOME", folder).env("GIT_CONFIG_GLOBAL", "/dev/null");
    // Whatever runs this machine, it is not asked to run what a test configures.
    command.env("SYSTEMCTL_FORCE_BUS", "1").env("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nowhere");
    command
}

/// A port that is free now.
pub fn port() -> u16 {
    std::net::TcpListener::bind("0.0.0.0:0").unwrap().local_addr().unwrap().port()
}

pub fn mode(file: &Path) -> u32 {
    fs::metadata(file).unwrap().permissions().mode() & 0o777
}

/// A program for tests, in a folder for `PATH`.
pub fn program(bin: &Path, name: &str, script: &str) {
    fs::create_dir_all(bin).unwrap();
    let file = bin.join(name);
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// `PATH` with `bin` before all else.
pub fn path(bin: &Path) -> String {
    format!("{}:{}", bin.display(), std::env::var("PATH").unwrap())
}

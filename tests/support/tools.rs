//! What real clients run in, as `scripts/test` installs it. Where it is missing the test is skipped, by name.

#![allow(dead_code, unreachable_pub, reason = "each test uses what it needs")]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A Python that has `module`, for what is called `wanted`.
pub fn python(module: &str, wanted: &str) -> Option<PathBuf> {
    let python = given("BLAMED_TEST_PYTHON", "target/test-python/bin/python");
    let has_module = Command::new(&python).args(["-c", &format!("import {module}")]).output();
    has_module.is_ok_and(|done| done.status.success()).then_some(python).or_else(|| skipped(wanted))
}

/// The folder with the packages of npm, if `package` is among them, for what is called `wanted`.
pub fn node_modules(package: &str, wanted: &str) -> Option<PathBuf> {
    let modules = given("BLAMED_TEST_NODE_MODULES", "target/test-node/node_modules");
    let has_node = Command::new("node").arg("--version").output().is_ok_and(|done| done.status.success());
    (has_node && modules.join(package).is_dir()).then_some(modules).or_else(|| skipped(wanted))
}

/// A program by its name or path, for what is called `wanted`.
pub fn program(names: &[&str], wanted: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders: Vec<PathBuf> = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]).collect();
    let mut all = names.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name)));
    all.find(|program| program.is_file()).or_else(|| skipped(wanted))
}

fn given(variable: &str, default: &str) -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join(default);
    std::env::var_os(variable).map_or_else(default, PathBuf::from)
}

fn skipped<T>(wanted: &str) -> Option<T> {
    assert!(std::env::var_os("CI").is_none(), "{wanted} is not installed; scripts/test does");
    let _ = writeln!(std::io::stderr(), "skipped: {wanted}, which is not installed (scripts/test does)");
    None
}

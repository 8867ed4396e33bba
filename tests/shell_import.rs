//! `blamed import oops`: a date-dir repository, each document once.

#[path = "support/daemon.rs"]
mod daemon;

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use daemon::{blamed, eventually, run};
use serde_json::Value;

fn import(spool: &Path, repository: &Path, more: &[&str]) -> Command {
    let mut command = blamed(&["import", "oops", "--server", "http://127.0.0.1:1", "--key", "x", "--spool"]);
    command.arg(spool).args(more).arg(repository);
    command
}

/// What waits in the spool.
fn reports(spool: &Path) -> Vec<Value> {
    let Ok(folder) = fs::read_dir(spool.join("reports")) else { return Vec::new() };
    let letters = folder.map(|entry| entry.unwrap().path());
    let body = |path| {
        let bytes = fs::read(path).unwrap();
        let end = bytes.iter().position(|&byte| byte == b'\n').unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&bytes[end + 1..]).read_to_string(&mut text).unwrap();
        serde_json::from_str::<Vec<Value>>(&text).unwrap()
    };
    letters.filter(|path| path.extension().is_some_and(|end| end == "letter")).flat_map(body).collect()
}

#[test]
fn a_repository_is_imported_once_and_then_what_is_new() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/requests");
    let (spool, repository) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let day = repository.path().join("2026-11-20");
    fs::create_dir(&day).unwrap();
    fs::copy(fixtures.join("oops.bson"), day.join("OOPS-1")).unwrap();
    fs::write(day.join("OOPS-2.tmp"), "half").unwrap();
    fs::write(day.join("OOPS-3"), "no document").unwrap();
    let long_ago = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    fs::File::options().write(true).open(day.join("OOPS-3")).unwrap().set_modified(long_ago).unwrap();
    fs::write(repository.path().join("README"), "not a day").unwrap();

    let said = |more: &[&str]| {
        let output = run(&mut import(spool.path(), repository.path(), more));
        assert!(output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let first = said(&[]);
    assert!(first.contains("1 imported, 0 were before, 1 could not be read"), "{first}");
    let kept = reports(spool.path());
    assert!(kept[0]["id"].as_str().unwrap().starts_with("OOPS-"), "{}", kept[0]);
    assert!(
        kept[0]["context"]["timeline"].is_array() && kept[0]["context"]["req_vars"].is_object(),
        "{}",
        kept[0]
    );
    assert!(said(&[]).contains("0 imported, 2 were before"));

    let mut follower = import(spool.path(), repository.path(), &["--follow"]).spawn().unwrap();
    let next = repository.path().join("2026-11-21");
    fs::create_dir(&next).unwrap();
    fs::copy(fixtures.join("oops.rfc822"), next.join("coming.tmp")).unwrap();
    fs::rename(next.join("coming.tmp"), next.join("1234.X5")).unwrap();
    eventually("the new document", || (reports(spool.path()).len() == 2).then_some(()));
    follower.kill().unwrap();
    follower.wait().unwrap();
}

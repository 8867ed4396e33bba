//! The house is held to its plan: who may use whom, and what its papers promise.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use blamed::config::Config;

/// Each row may use the rows below it, and itself.
const ROWS: &[&[&str]] = &[
    &["cli"],
    &["config"],
    &["ingest", "metrics", "web"],
    &["pipeline", "upkeep"],
    &["notify"],
    &["store"],
    &["triage"],
    &["blame", "report", "clock", "telemetry"],
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn each_room_uses_only_rooms_below_it() {
    let row = |room: &str| ROWS.iter().position(|row| row.contains(&room));
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = BTreeSet::new();
    for file in sources(&src) {
        let inside = file.strip_prefix(&src).unwrap();
        let room = inside.iter().next().unwrap().to_str().unwrap().trim_end_matches(".rs");
        if ["lib", "main"].contains(&room) {
            continue;
        }
        let own = row(room).unwrap_or_else(|| panic!("{room} has no row"));
        let text = fs::read_to_string(&file).unwrap();
        for (at, _) in text.match_indices("crate::") {
            let used: String =
                text[at + 7..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
            if row(&used).is_some_and(|used| used < own) {
                wrong.insert(format!("{} uses {used}", inside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn decisions_know_no_world() {
    let triage = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/triage");
    for file in sources(&triage) {
        let text = fs::read_to_string(&file).unwrap();
        for foreign in ["tokio", "rusqlite", "git2", "std::fs", "std::net", "Timestamp::now", "Clock"] {
            assert!(!text.contains(foreign), "{} speaks of {foreign}", file.display());
        }
    }
}

fn example() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config.example.toml")).unwrap()
}

#[test]
fn the_example_configuration_is_the_defaults() {
    let file = Path::new("blamed.toml");
    let example = Config::parse(file, &example()).unwrap();
    let empty = Config::parse(file, "").unwrap();
    assert_eq!(format!("{example:#?}"), format!("{empty:#?}"));
}

#[test]
fn the_example_configuration_has_every_key_and_no_other() {
    // With its comments taken off, every key is set: what is unknown would be reported, and what the
    // program knows and the example does not is found by asking for a key that is not there.
    let keys = |line: &str| {
        let line = line.strip_prefix('#').unwrap_or(line);
        let key = line.split(['=', '#']).next().unwrap_or_default().trim();
        line.starts_with(['[', ']'])
            || line.starts_with("    \"")
            || (line.contains(" = ") && key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let sets = |line: &str, key: &str| line.split(" = ").next() == Some(key);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("password"), "x").unwrap();
    let full: String = example()
        .lines()
        .filter(|line| keys(line))
        .map(|line| line.strip_prefix('#').unwrap_or(line))
        // What cannot stand beside another key.
        .filter(|line| {
            !["smtp_password", "folder", "key_file", "url_file", "token_file"]
                .iter()
                .any(|key| sets(line, key))
        })
        .map(|line| line.replace("/etc/blamed/smtp-password", "password") + "\n")
        .collect();
    let file = folder.path().join("blamed.toml");
    let parsed = Config::parse(&file, &full).unwrap_or_else(|problems| panic!("{full}\n{problems}"));
    assert_eq!(parsed.projects.len(), 1);
    assert_eq!(parsed.projects[0].code.library.len(), 1);

    for section in [
        "",
        "[mail]",
        "[limits]",
        "[scrub]",
        "[web]",
        "[blame]",
        "[flawless]",
        "[keep]",
        "[metrics]",
        "[tls]",
        "[[project]]",
        "[[project]]\n[[project.repository]]",
        "[[project]]\n[[project.library]]",
    ] {
        let told =
            Config::parse(&file, &format!("{section}\nzzzzzzzzzzzzzzzz = 1\n")).unwrap_err().to_string();
        let known = told.split("known here: ").nth(1).unwrap_or_else(|| panic!("{told}"));
        for key in known.lines().next().unwrap().split(", ") {
            let named = [format!("{key} ="), format!("[{key}]"), format!("[[{key}]]"), format!(".{key}]]")];
            assert!(named.iter().any(|name| example().contains(name)), "{key} is not in config.example.toml");
        }
    }
}

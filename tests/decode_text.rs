//! Tracebacks as real programs in many languages printed them: each `tests/fixtures/tracebacks/X.txt` must
//! decode to what `X.outline` says. `UPDATE_OUTLINES=1` writes the outlines anew, to be read before they are kept.

mod outline;

use std::fs;
use std::path::Path;

use blamed::ingest::text::decode;

#[test]
fn tracebacks_decode_to_their_outlines() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tracebacks");
    let mut wrong = String::new();
    for entry in fs::read_dir(folder).expect("the fixtures are part of the repository") {
        let path = entry.expect("a folder that lists").path();
        if path.extension().is_none_or(|extension| extension != "txt") || is_elsewhere(&path) {
            continue;
        }
        let text = fs::read(&path).expect("a file that reads");
        let found = match decode(&text) {
            Ok(reports) => format!("{}: {}", reports[0].protocol, outline::reports(&reports)),
            Err(error) => format!("error: {error}\n"),
        };
        let outline = path.with_extension("outline");
        if std::env::var_os("UPDATE_OUTLINES").is_some() {
            fs::write(&outline, &found).expect("a folder that can be written");
        }
        let expected = fs::read_to_string(&outline).unwrap_or_default();
        if found != expected {
            wrong += &format!("\n=== {}: expected\n{expected}=== found\n{found}", path.display());
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// What consoles, containers and loggers put before every line `n` of what a program prints, or around it.
const AROUND: [fn(usize, &str) -> String; 7] = [
    |_, line| format!("{line}\r\n"),
    |n, line| format!("Nov 20 12:00:{:02} web-3 shop[812]: {line}\n", n % 60),
    |n, line| format!("2026-11-20T12:00:00.{:09}Z stderr F {line}\n", n * 7_919),
    |_, line| format!("\x1b[36mweb_1  |\x1b[0m {line}\n"),
    |n, line| format!("2026-11-20 12:00:00,{:03} ERROR [worker-{}] shop.jobs - {line}\n", n % 1_000, n % 3),
    |_, line| serde_json::json!({"log": format!("{line}\n"), "stream": "stderr"}).to_string() + "\n",
    |_, line| serde_json::json!({"MESSAGE": line, "PRIORITY": "3"}).to_string() + "\n",
];

#[test]
fn what_stands_before_every_line_changes_nothing() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tracebacks");
    let plain = fs::read_to_string(folder.join("made-up-plain.txt")).expect("a file that reads");
    let expected = outline::reports(&decode(plain.as_bytes()).expect("there are tracebacks"));
    for around in AROUND {
        let text: String = plain.lines().enumerate().map(|(n, line)| around(n, line)).collect();
        let found = outline::reports(&decode(text.as_bytes()).expect("there are tracebacks"));
        assert_eq!(found, expected, "{}", around(1, "X"));
    }
}

/// Python's are compared in a test of their own.
fn is_elsewhere(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python"))
}

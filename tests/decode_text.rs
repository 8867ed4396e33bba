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

/// Python's are compared in a test of their own.
fn is_elsewhere(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python"))
}

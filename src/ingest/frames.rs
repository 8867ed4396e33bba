//! Frames that no person wrote: the machinery of runtimes, cut from a report before anybody is looked for.
//!
//! - Rust: everything from the beginning of a panic inwards, which clients of Sentry send with the stack.
//! - Python: `<frozen importlib._bootstrap>` and the like. Node: `node:internal/…`, `node:fs`.
//! - Go: the scheduler, and what turns a fault into a panic. C: what comes before `main`, and a sanitizer's hooks.
//!
//! A stack of nothing else is left as it is. Two more things that clients leave to be known: the line of a
//! `SyntaxError` stands in its message only, and minified code has lines that nobody wrote.

use crate::report::{Exception, Frame, Report};

/// What the runtimes of Rust call when a panic begins.
const PANIC_ENTRIES: [&str; 4] =
    ["rust_begin_unwind", "std::panicking::begin_panic", "std::panicking::rust_panic", "__rust_start_panic"];
/// What stands between the code that failed and the beginning of the panic.
const PANIC_STEPS: [&str; 6] = [
    "core::panicking::",
    "std::panicking::",
    "core::option::unwrap_failed",
    "core::option::expect_failed",
    "core::result::unwrap_failed",
    "core::slice::index::slice_",
];
/// Python's exceptions whose place is not in the stack.
const SYNTAX_ERRORS: [&str; 3] = ["SyntaxError", "IndentationError", "TabError"];

/// What the names of the JVM's source files end in.
const JVM_ENDINGS: [&str; 5] = [".java", ".kt", ".scala", ".groovy", ".clj"];

/// Where the source file `name` of a class of the JVM is: below the folders of its package. `None` if it is no such
/// file, or comes with folders.
pub(super) fn jvm_file(class: &str, name: &str) -> Option<String> {
    if name.contains('/') || !JVM_ENDINGS.iter().any(|ending| name.ends_with(ending)) {
        return None;
    }
    Some(match class.rsplit_once('.') {
        Some((package, _)) => format!("{}/{name}", package.replace('.', "/")),
        None => name.to_owned(),
    })
}

/// Cuts the machinery out of every stack of a report, and says so in its remarks.
pub fn cut_machinery(report: &mut Report) {
    let mut cut = 0;
    for exception in &mut report.exceptions {
        cut += cut_from(exception);
        add_syntax_error(exception);
    }
    if cut > 0 {
        report.remarks.push(format!("{cut} frames of the runtime left out"));
    }
    let raising = report.exceptions.iter().filter_map(|exception| exception.frames.last());
    if let Some(minified) = raising.clone().find(|frame| frame.is_minified()) {
        report.remarks.push(format!(
            "{} is minified: without its source map, no line of it is anybody's",
            minified.file.split(['?', '#']).next().unwrap_or_default()
        ));
    }
}

/// Cuts one stack; gives how many frames went.
fn cut_from(exception: &mut Exception) -> usize {
    let before = exception.frames.len();
    let panic = panic_begins(&exception.frames).unwrap_or(before);
    let keeps = |index: usize, frame: &Frame| index < panic && !is_machinery(frame);
    if !exception.frames.iter().enumerate().any(|(index, frame)| keeps(index, frame)) {
        return 0;
    }
    if let Some(omitted) = &mut exception.omitted {
        let kept_before =
            exception.frames.iter().take(omitted.at).enumerate().filter(|&(i, f)| keeps(i, f)).count();
        omitted.at = kept_before;
    }
    let mut index = 0;
    exception.frames.retain(|frame| {
        index += 1;
        keeps(index - 1, frame)
    });
    before - exception.frames.len()
}

/// The index of the first frame that belongs to a panic of Rust. `None`: there is none.
fn panic_begins(frames: &[Frame]) -> Option<usize> {
    let function = |frame: &Frame| frame.function.clone().unwrap_or_default();
    let entry =
        frames.iter().rposition(|frame| PANIC_ENTRIES.iter().any(|entry| function(frame).contains(entry)))?;
    let is_step =
        |frame: &Frame| PANIC_STEPS.iter().chain(&PANIC_ENTRIES).any(|step| function(frame).contains(step));
    let steps = frames[..entry].iter().rev().take_while(|frame| is_step(frame)).count();
    Some(entry - steps)
}

fn is_machinery(frame: &Frame) -> bool {
    let file = frame.file.as_str();
    let function = frame.function.as_deref().unwrap_or_default();
    let is_go_runtime =
        (function.starts_with("runtime.") || function == "panic") && file.contains("/src/runtime/");
    let is_hook = function.starts_with("__interceptor_")
        || function.starts_with("__libc_start")
        || function == "_start";
    // Some clients put the working directory before it.
    let is_frozen = file.starts_with("<frozen ") || file.contains("/<frozen ");
    is_frozen || file.starts_with("node:") || is_go_runtime || is_hook
}

/// Adds the place that a message such as `invalid syntax (broken.py, line 2)` tells, if no frame is there.
fn add_syntax_error(exception: &mut Exception) {
    let kind = exception.kind.as_deref().unwrap_or_default();
    if !SYNTAX_ERRORS.contains(&kind) {
        return;
    }
    let place = exception.message.as_deref().and_then(|message| {
        let (_, place) = message.trim_end().strip_suffix(')')?.rsplit_once(" (")?;
        let (file, line) = place.rsplit_once(", line ")?;
        Some((file.to_owned(), line.parse().ok()?))
    });
    let Some((file, line)) = place else { return };
    if exception.frames.last().is_none_or(|last| !last.file.ends_with(&file) || last.line != Some(line)) {
        exception.frames.push(Frame { file, line: Some(line), ..Frame::default() });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Omitted;

    /// Frames by `file function`, caller first.
    fn exception(frames: &[(&str, &str)]) -> Exception {
        let frame = |&(file, function): &(&str, &str)| Frame {
            file: file.to_owned(),
            function: Some(function.to_owned()),
            ..Frame::default()
        };
        Exception { frames: frames.iter().map(frame).collect(), ..Exception::default() }
    }

    #[track_caller]
    fn check(frames: &[(&str, &str)], kept: &[&str]) {
        let mut report = Report { exceptions: vec![exception(frames)], ..Report::default() };
        cut_machinery(&mut report);
        let functions: Vec<_> =
            report.exceptions[0].frames.iter().filter_map(|f| f.function.as_deref()).collect();
        assert_eq!(functions, kept);
        assert_eq!(report.remarks.len(), usize::from(frames.len() > kept.len()));
    }

    #[test]
    fn machinery_goes_and_code_stays() {
        check(
            &[
                ("/rustc/x/std/src/panicking.rs", "std::panicking::catch_unwind"),
                ("src/main.rs", "ledger::main"),
                ("/rustc/x/core/src/slice/index.rs", "<usize as core::slice::index::SliceIndex<[T]>>::index"),
                ("/rustc/x/core/src/panicking.rs", "core::panicking::panic_bounds_check"),
                ("/rustc/x/core/src/panicking.rs", "core::panicking::panic_fmt"),
                ("/rustc/x/std/src/panicking.rs", "__rustc::rust_begin_unwind"),
                ("/x/sentry-panic/src/lib.rs", "sentry_panic::panic_handler"),
            ],
            &[
                "std::panicking::catch_unwind",
                "ledger::main",
                "<usize as core::slice::index::SliceIndex<[T]>>::index",
            ],
        );
        check(
            &[
                ("app.py", "load"),
                ("/usr/lib/python3.11/importlib/__init__.py", "import_module"),
                ("<frozen importlib._bootstrap>", "_gcd_import"),
                ("/srv/app/<frozen importlib._bootstrap>", "_find_and_load"),
            ],
            &["load", "import_module"],
        );
        check(&[("node:internal/main", "x"), ("/a.js", "f"), ("node:fs", "readFileSync")], &["f"]);
        check(
            &[
                ("/usr/lib/go/src/runtime/asm.s", "runtime.goexit"),
                ("/a.go", "runtime.f"),
                ("/usr/lib/go/src/runtime/panic.go", "panic"),
            ],
            &["runtime.f"],
        );
        check(&[("node:internal/a", "x"), ("node:internal/b", "y")], &["x", "y"]);
        check(&[], &[]);
    }

    #[test]
    fn the_gap_stays_where_it_was() {
        let mut one = exception(&[("node:a", "x"), ("/a.js", "f"), ("/b.js", "g"), ("node:b", "y")]);
        one.omitted = Some(Omitted { at: 2, count: 7 });
        assert_eq!(cut_from(&mut one), 2);
        assert_eq!(one.omitted, Some(Omitted { at: 1, count: 7 }));
    }

    #[test]
    fn the_place_of_a_syntax_error_is_added() {
        let mut one = exception(&[("/app/load.py", "load")]);
        one.kind = Some("SyntaxError".to_owned());
        one.message = Some("'[' was never closed (broken.py, line 2)".to_owned());
        add_syntax_error(&mut one);
        add_syntax_error(&mut one);
        let last = one.frames.last().unwrap();
        assert_eq!(
            (one.frames.len(), last.file.as_str(), last.line.map(u32::from)),
            (2, "broken.py", Some(2))
        );
    }
}

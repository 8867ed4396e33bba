//! Python's tracebacks as real interpreters printed them, and as logs distort them.

mod outline;

use blamed::ingest::error::DecodeErrorKind;
use blamed::ingest::text::decode;
use blamed::report::Report;
use proptest::prelude::*;

/// As the outline, but of files only the last name.
fn outlines(report: &Report) -> String {
    let outline = outline::report(report);
    let short =
        |line: &str| match line.split_once(':').map(|(file, _)| file).filter(|_| line.starts_with("  ")) {
            Some(file) => {
                format!("  {}\n", line[file.rfind('/').map_or(2, |slash| slash + 1)..].trim_start())
            }
            None => format!("{line}\n"),
        };
    outline.lines().map(short).collect()
}

#[track_caller]
fn check(text: &str, expected: &str) {
    let reports = decode(text.as_bytes()).expect("a traceback");
    let found: Vec<String> = reports.iter().map(outlines).collect();
    assert_eq!(found.join("---\n").trim(), expected.trim(), "\n{text}");
    assert!(reports.iter().all(|report| report.count == 1 && report.protocol == "python-text"));
}

/// What a real interpreter printed.
macro_rules! printed {
    ($name:literal) => {
        include_str!(concat!("fixtures/tracebacks/", $name, ".txt"))
    };
}

#[test]
fn chains_are_root_cause_first() {
    let expected = "
KeyError: 'port'
  chained.py:10 read_setting | return json.loads(text)[name]
ConfigError: no setting 'port'
  chained.py:17 start | return read_setting(text, \"port\")
  chained.py:12 read_setting | raise ConfigError(\"no setting %r\" % name) from exc
ValueError: invalid literal for int() with base 10: '{\"host\": \"localhost\"}'
  chained.py:26 <module> | main()
  chained.py:23 main | start('{\"host\": \"localhost\"}')
  chained.py:19 start | return int(text)
";
    check(printed!("python-chained"), expected);
    check(printed!("python313-chained"), expected);
    // ANSI colours, as 3.13 puts them on a terminal, and Windows line ends.
    let coloured = printed!("python-chained")
        .replace("File \"", "File \x1b[35m\"")
        .replace("\", line ", "\"\x1b[0m, line ")
        .replace("KeyError", "\x1b[1;35mKeyError\x1b[0m")
        .replace('\n', "\r\n");
    check(&coloured, expected);
    for prefix in
        ["web_1  | ", "Nov 20 12:00:00 web-3 gunicorn[812]: ", "2026-11-20 12:00:00,123 ERROR shop: "]
    {
        let logged: String =
            printed!("python-chained").lines().map(|line| format!("{prefix}{line}\n")).collect();
        check(&logged, expected);
    }
}

#[test]
fn members_of_a_group_stand_before_it() {
    let expected = |runners: &str, run: u32, base: u32, exit: u32| {
        format!(
            "
TimeoutError: depot south does not answer
  group.py:11 load | raise TimeoutError(\"depot south does not answer\")
ValueError: could not convert string to float: '7,5'\\nfrom depot west\\ncheck the decimal sign
  group.py:13 load | return self.parse(\"7,5\")
  group.py:18 parse | return float(text)
ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)
  group.py:31 <module> | asyncio.run(main())
  {runners}:{run} run | return runner.run(main)
  runners.py:118 run | return self._loop.run_until_complete(task)
  base_events.py:{base} run_until_complete | return future.result()
  group.py:26 main | async with asyncio.TaskGroup() as group:
  taskgroups.py:{exit} __aexit__ | raise me from None
"
        )
    };
    check(printed!("python-group"), &expected("runners.py", 190, 653, 133));
    check(printed!("python313-group"), &expected("runners.py", 194, 721, 154));
    let logged: String =
        printed!("python-group").lines().map(|line| format!("app-7f9 | 12:00:01 ERROR {line}\n")).collect();
    check(&logged, &expected("runners.py", 190, 653, 133));
}

#[test]
fn nested_groups_and_their_causes() {
    check(
        "
  + Exception Group Traceback (most recent call last):
  |   File \"a.py\", line 20, in <module>
  |     run()
  | ExceptionGroup: outer (2 sub-exceptions)
  +-+---------------- 1 ----------------
    | Exception Group Traceback (most recent call last):
    |   File \"a.py\", line 5, in inner
    |     raise ExceptionGroup(\"inner\", errors)
    | ExceptionGroup: inner (1 sub-exception)
    +-+---------------- 1 ----------------
      | Traceback (most recent call last):
      |   File \"a.py\", line 2, in deep
      |     int(\"x\")
      | ValueError: x
      | 
      | The above exception was the direct cause of the following exception:
      | 
      | Traceback (most recent call last):
      |   File \"a.py\", line 3, in deep
      |     raise KeyError(1) from e
      | KeyError: 1
      +------------------------------------
    +---------------- 2 ----------------
    | OSError: never raised
    +------------------------------------

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File \"a.py\", line 30, in <module>
    clean_up()
TypeError
done.
",
        "
ValueError: x
  a.py:2 deep | int(\"x\")
KeyError: 1
  a.py:3 deep | raise KeyError(1) from e
ExceptionGroup: inner (1 sub-exception)
  a.py:5 inner | raise ExceptionGroup(\"inner\", errors)
OSError: never raised
ExceptionGroup: outer (2 sub-exceptions)
  a.py:20 <module> | run()
TypeError: \\ndone.
  a.py:30 <module> | clean_up()
",
    );
}

#[test]
fn syntax_errors_end_in_the_broken_line() {
    check(
        printed!("python-syntax-error-import"),
        "
SyntaxError: expected ':'
  syntax_import.py:11 <module> | load()
  syntax_import.py:7 load | import syntax_main
  syntax_main.py:3 - | for value in values
",
    );
    check(
        printed!("python-syntax-error-main"),
        "
SyntaxError: expected ':'
  syntax_main.py:3 - | for value in values
",
    );
}

#[test]
fn repeated_lines_are_counted() {
    check(
        printed!("python-recursion"),
        "
RecursionError: maximum recursion depth exceeded
  recursion.py:15 <module> | even(10) if len(sys.argv) > 1 else forever(0)
  recursion.py:10 forever | return forever(n + 1)
  recursion.py:10 forever | return forever(n + 1)
  recursion.py:10 forever | return forever(n + 1)
  996 more before 4
",
    );
}

#[test]
fn lines_without_source_and_messages_of_several_lines() {
    check(
        printed!("python-dynamic-code"),
        "
ZeroDivisionError: division by zero
  dynamic.py:4 <module> | exec(\"result = rule({'total': 1, 'count': 0})\", namespace)
  <string>:1 <module>
  <rule 17>:2 rule
",
    );
    check(
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nsqlalchemy.exc.DBAPIError: no such table\n\
         [SQL: SELECT 1]\n(Background: https://sqlalche.me/e/20)\n\nINFO next",
        "sqlalchemy.exc.DBAPIError: no such table\\n[SQL: SELECT 1]\\n(Background: https://sqlalche.me/e/20)\n  a.py:1 f",
    );
    check(
        "Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: one\n\nthree\n\n\
         The above exception was the direct cause of the following exception:\n\n\
         Traceback (most recent call last):\n  File \"b.py\", line 2, in g\nKeyError\n127.0.0.1 - - [20/Nov/2026 12:00:00] \"GET / HTTP/1.1\" 500 -",
        "ValueError: one\\n\\nthree\n  a.py:1 f\nKeyError\n  b.py:2 g",
    );
}

#[test]
fn several_in_one_text_with_lines_between() {
    let text = format!(
        "starting\n2026-11-20 12:00:00 ERROR shop Exception on /cart [GET]\n{}2026-11-20 12:00:01 INFO going on\n{}",
        printed!("python-syntax-error-import"),
        printed!("python27-thread"),
    );
    let reports = decode(text.as_bytes()).unwrap();
    assert_eq!(reports.len(), 2);
    let said: Vec<_> = reports.iter().map(|report| report.additional_info.as_deref()).collect();
    assert_eq!(
        said,
        [
            Some("starting\n2026-11-20 12:00:00 ERROR shop Exception on /cart [GET]"),
            Some("2026-11-20 12:00:01 INFO going on\nException in thread packer-1:")
        ]
    );
    assert_eq!(
        outlines(&reports[1]).trim(),
        "
IndexError: list index out of range
  threading.py:801 __bootstrap_inner | self.run()
  threading.py:754 run | self.__target(*self.__args, **self.__kwargs)
  thread.py:5 work | return items[3]"
            .trim()
    );
}

#[test]
fn frames_alone_and_newest_first() {
    check(
        "  File \"shop/wsgi.py\", line 8, in app\n    raise KeyError(key)\n  File \"shop/cart.py\", line 3, in get\n    ^^^^^\n",
        "error\n  wsgi.py:8 app | raise KeyError(key)\n  cart.py:3 get",
    );
    check(
        "Fatal Python error: Segmentation fault\n\nThread 0x00007f (most recent call first):\n  File \"/lib/threading.py\", line 1 in wait\n\n\
         Current thread 0x00007e (most recent call first):\n  File \"/srv/a.py\", line 7 in inner\n  File \"/srv/a.py\", line 9 in <module>\n\n\
         Extension modules: numpy (total: 1)\n",
        "Fatal Python error: Segmentation fault\n  a.py:9 <module>\n  a.py:7 inner",
    );
}

#[test]
fn a_text_without_traceback_is_refused() {
    for text in ["", "all is well", "Traceback (most recent call last):", "\0\u{fffd}\n\n"] {
        let error = decode(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind, DecodeErrorKind::Nothing, "{text}: {error}");
        assert!(error.reason.contains("looked for"), "{error}");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
    }

    /// Whatever lines are cut out of or doubled in a real traceback, it is read without a panic.
    #[test]
    fn mangled_tracebacks_never_panic(which in 0usize..3, lines in proptest::collection::vec(0usize..60, 0..60)) {
        let text = [printed!("python-group"), printed!("python-chained"), printed!("python-recursion")][which];
        let all: Vec<&str> = text.lines().collect();
        let mangled: Vec<&str> = lines.iter().map(|line| all[line % all.len()]).collect();
        let _ = decode(mangled.join("\n").as_bytes());
    }
}

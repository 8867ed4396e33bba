//! Real programs in many languages, run by `blamed run` and their logs read by `blamed follow`: each ends at the line
//! that failed, and in one mail to the one who wrote it.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use daemon::{Daemon, blamed, mailed, run};
use git::{Repo, tree};

/// A program: the tool it needs, its author, its file, the line that fails, and how it is run in its folder.
struct Program {
    tool: &'static str,
    author: &'static str,
    file: &'static str,
    line: u64,
    run: &'static str,
    code: &'static str,
}

const PROGRAMS: &[Program] = &[
    Program {
        tool: "python3",
        author: "Ada",
        file: "job.py",
        line: 2,
        run: "python3 $PWD/job.py",
        code: "def total(prices):\n    return sum(prices) / len(prices)\n\n\ntotal([])\n",
    },
    Program {
        tool: "node",
        author: "Bob",
        file: "job.js",
        line: 2,
        run: "node $PWD/job.js",
        code: "function total(cart) {\n  return cart.items.length;\n}\ntotal({});\n",
    },
    Program {
        tool: "java",
        author: "Cleo",
        file: "Job.java",
        line: 3,
        run: "java $PWD/Job.java",
        code: "public class Job {\n    static int total(String text) {\n        return Integer.parseInt(text);\n    }\n    public static void main(String[] args) {\n        total(\"x\");\n    }\n}\n",
    },
    Program {
        tool: "perl",
        author: "Dora",
        file: "job.pl",
        line: 4,
        run: "perl $PWD/job.pl",
        code: "use strict;\nsub total {\n    my ($n) = @_;\n    return 1 / $n;\n}\ntotal(0);\n",
    },
    Program {
        tool: "rustc",
        author: "Emil",
        file: "job.rs",
        line: 2,
        run: "rustc -g -o $PWD/job-rust $PWD/job.rs && RUST_BACKTRACE=1 $PWD/job-rust",
        code: "fn total(prices: &[u32], n: usize) -> u32 {\n    prices[n]\n}\nfn main() {\n    println!(\"{}\", total(&[1], std::env::args().count() + 5));\n}\n",
    },
    Program {
        tool: "gcc",
        author: "Fay",
        file: "job.c",
        line: 3,
        run: "gcc -g -fsanitize=address -o $PWD/job-c $PWD/job.c && $PWD/job-c",
        code: "#include <stdlib.h>\nint total(int *prices, int n) {\n    return prices[n];\n}\nint main(int argc, char **argv) {\n    int *prices = malloc(4);\n    return total(prices, argc + 1);\n}\n",
    },
    Program {
        tool: "ruby",
        author: "Gus",
        file: "job.rb",
        line: 2,
        run: "ruby $PWD/job.rb",
        code: "def total(prices)\n  prices.sum / prices.size\nend\ntotal([])\n",
    },
    Program {
        tool: "php",
        author: "Hal",
        file: "job.php",
        line: 3,
        run: "php -d display_errors=stderr -d log_errors=1 $PWD/job.php",
        code: "<?php\nfunction total($prices) {\n    return intdiv(1, count($prices));\n}\ntotal([]);\n",
    },
    Program {
        tool: "go",
        author: "Ida",
        file: "job.go",
        line: 4,
        run: "go run $PWD/job.go",
        code: "package main\n\nfunc total(prices []int, n int) int {\n\treturn prices[n]\n}\n\nfunc main() {\n\ttotal(nil, 3)\n}\n",
    },
    Program {
        tool: "elixir",
        author: "Jan",
        file: "job.exs",
        line: 3,
        run: "elixir $PWD/job.exs",
        code: "defmodule Job do\n  def total(prices) do\n    Enum.sum(prices) / length(prices)\n  end\nend\n\nJob.total([])\n",
    },
    // Debian has no .NET but Mono.
    Program {
        tool: "mcs",
        author: "Kim",
        file: "Job.cs",
        line: 4,
        run: "mcs -debug -out:$PWD/job.exe $PWD/Job.cs && mono --debug $PWD/job.exe",
        code: "class Job {\n    [System.Runtime.CompilerServices.MethodImpl(System.Runtime.CompilerServices.MethodImplOptions.NoInlining)]\n    static int Total(int[] prices) {\n        return 100 / prices.Length;\n    }\n    static void Main() {\n        System.Console.WriteLine(Total(new int[0]));\n    }\n}\n",
    },
];

#[test]
fn programs_in_many_languages() {
    let here = |program: &&Program| {
        let is_here =
            run(Command::new("sh").args(["-c", &format!("command -v {}", program.tool)])).status.success();
        if !is_here {
            let _ = writeln!(std::io::stderr(), "skipped: programs run and followed: no {}", program.tool);
        }
        is_here
    };
    let programs: Vec<&Program> = PROGRAMS.iter().filter(here).collect();
    let (data, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut repo = Repo::new();
    let (mut files, mut last) = (Vec::new(), Vec::new());
    for program in &programs {
        files.push((program.file, program.code));
        last = vec![repo.commit(program.author, &last, &tree(&files))];
        fs::write(place.path().join(program.file), program.code).unwrap();
    }
    let daemon = Daemon::start(repo.path(), data.path());
    let log = place.path().join("all.log");
    fs::write(&log, "").unwrap();
    let spool = place.path().join("spool");
    let command = |words: &[&str]| {
        let mut command = blamed(&[words[0], "--server", &daemon.url, "--key", &daemon.key, "--spool"]);
        command.arg(&spool).args(&words[1..]).current_dir(place.path());
        command
    };
    let follow = || assert!(run(command(&["follow", "--once"]).arg(&log)).status.success());
    follow();
    for program in &programs {
        let output = run(&mut command(&["run", "--", "bash", "-c", program.run]));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && !said.contains("blamed: "), "{}: {said}", program.tool);
        append(
            &log,
            format!(
                "2026-11-20 12:00:00 INFO {} begins\n{said}2026-11-20 12:00:01 INFO it ended\n",
                program.tool
            )
            .as_bytes(),
        );
        let decided = daemon.decided(&said);
        let place = (decided["place"]["path"].as_str(), decided["place"]["line"].as_u64());
        assert_eq!(place, (Some(program.file), Some(program.line)), "{}: {said}\n{decided}", program.tool);
        assert_eq!(decided["author"]["name"], program.author, "{}", program.tool);
    }
    follow();
    for program in &programs {
        let said = run(Command::new("bash").args(["-c", program.run]).current_dir(place.path())).stderr;
        assert_eq!(
            daemon.decided(said)["fault"]["count"],
            4,
            "{}: run, asked, followed, asked",
            program.tool
        );
    }
    let mut authors: Vec<String> = mailed(data.path(), programs.len());
    authors.sort();
    let expected: Vec<String> =
        programs.iter().map(|program| format!("{}@example.org", program.author.to_lowercase())).collect();
    assert_eq!(authors, expected);
}

fn append(log: &Path, bytes: &[u8]) {
    fs::OpenOptions::new().append(true).open(log).unwrap().write_all(bytes).unwrap();
}

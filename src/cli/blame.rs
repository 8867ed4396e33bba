//! `blamed blame`: who last changed these lines.
//!
//! Data goes to stdout, one answer a line of input; words go to stderr.

use std::borrow::Cow;
use std::io::{self, BufRead, BufWriter, Write};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bstr::{BStr, BString, ByteSlice};
use clap::builder::{OsStringValueParser, TypedValueParser};
use serde::Serialize;

use crate::blame::{
    Basis, Blame, BlameError, Blamer, CommitId, Moved, Moves, NO_REPOSITORY, Question, Repository, Settings,
};

/// Shows who last changed a line, and in which commit, path and line of back then.
///
/// The answer is the one of `git blame -w` with .git-blame-ignore-revs, found faster; the author's name and
/// address are as .mailmap has them. With -M or -C, a line is followed together with its neighbours, as git does
/// where it is asked for the whole file.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  blamed blame src/shop.py:42
  blamed blame --revision v1.2.3 --format json src/shop.py:42 src/cart.py:7
  git grep -n 'except:' -- src | blamed blame --stdin

Exit status: 0 if every line was answered, 1 if some were not, 2 for wrong use.")]
pub struct Arguments {
    /// Lines to blame: a path from the top of the repository, a colon, the line's number from 1
    #[arg(value_name = "PATH:LINE", required_unless_present = "stdin", value_parser = asked_parser())]
    lines: Vec<Line>,
    /// Where the repository is: its folder, or one inside
    #[arg(long, value_name = "DIR", default_value = ".")]
    repository: PathBuf,
    /// The commit, branch or tag that paths and line numbers hold for
    #[arg(long, value_name = "REV", default_value = "HEAD")]
    revision: String,
    /// How answers are written: for people, or as one JSON object a line
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
    /// Blame changes of white space like any others, instead of passing over them like `git blame -w`
    #[arg(long)]
    count_whitespace: bool,
    /// Blame the commits listed in .git-blame-ignore-revs like any others
    #[arg(long)]
    no_ignore_revs: bool,
    /// Follow lines that were moved or copied within their file, as `git blame -M FILE` does
    #[arg(short = 'M')]
    moved: bool,
    /// Follow them also from other files that the same commit changed, as `git blame -C FILE` does
    #[arg(short = 'C')]
    copied: bool,
    /// Also read PATH:LINE from stdin, one a line, and answer each at once; what follows a second colon is
    /// passed over
    #[arg(long)]
    stdin: bool,
}

/// A line as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    path: BString,
    number: NonZeroU32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    Json,
}

/// What `--format json` prints. Paths that are no UTF-8 have it replaced.
#[derive(Serialize)]
struct Answer<'a> {
    commit: &'a str,
    path: &'a str,
    line: u32,
    author_name: &'a str,
    author_mail: &'a str,
    author_time: String,
    summary: &'a str,
    skipped: Vec<&'a str>,
    respaced: Vec<&'a str>,
    moved: Vec<Step<'a>>,
    boundary: bool,
    asked: Asked<'a>,
    micros: u128,
}

/// A commit that moved or copied the line, where to, and where from.
#[derive(Serialize)]
struct Step<'a> {
    commit: &'a str,
    path: Cow<'a, str>,
    line: u32,
    from_path: Cow<'a, str>,
    from_line: u32,
}

#[derive(Serialize)]
struct Asked<'a> {
    path: &'a str,
    line: u32,
    commit: &'a str,
}

/// The name by which the one repository goes here.
const NAME: &str = "repository";

/// After how long a commit-graph is written for a clone that has none. It takes seconds, and is kept.
const GRAPH_PAYS: Duration = Duration::from_secs(1);

/// Where a user's programs keep what can be made again.
fn cache_folder() -> Option<PathBuf> {
    let set = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    set.or_else(|| Some(std::env::home_dir()?.join(".cache"))).filter(|folder| folder.is_absolute())
}

/// Runs the command.
#[must_use]
#[expect(clippy::needless_pass_by_value, reason = "a command is run once, like all others")]
pub fn run(arguments: Arguments) -> ExitCode {
    let args = &arguments;
    match answer_all(args, &mut BufWriter::new(io::stdout().lock())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // Whoever reads has seen enough.
        Err(Failed::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(Failed::Output(error)) => {
            complain(&format!("cannot write answers: {error}"), None);
            ExitCode::FAILURE
        }
        Err(Failed::Blame(error)) => {
            complain(&describe(&error, args), hint(&error));
            ExitCode::FAILURE
        }
    }
}

enum Failed {
    Blame(BlameError),
    Output(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}

/// True if every line was answered.
fn answer_all(args: &Arguments, out: &mut impl Write) -> Result<bool, Failed> {
    // The whole path, because a commit-graph is kept by it.
    let path = args.repository.canonicalize().unwrap_or_else(|_| args.repository.clone());
    let repository = Repository { name: NAME.into(), path, branch: None };
    let settings = Settings {
        ignore_whitespace: !args.count_whitespace,
        ignore_revisions: !args.no_ignore_revs,
        moves: match (args.moved, args.copied) {
            (_, true) => Moves::InCommit,
            (true, false) => Moves::InFile,
            (false, false) => Moves::Unfollowed,
        },
        graphs: cache_folder().map(|folder| folder.join("blamed/graphs")),
        ..Settings::default()
    };
    let blamer = Blamer::new(vec![repository], settings);
    let revision = blamer.parse_revision(NAME, &args.revision).map_err(Failed::Blame)?;
    for broken in blamer.broken_ignore_lines(NAME, &revision).map_err(Failed::Blame)? {
        warn(&broken.to_string());
    }
    let mut all = true;
    for line in &args.lines {
        all &= answer(args, &blamer, &revision, line, out)?;
    }
    if args.stdin {
        out.flush()?;
        let mut input = io::stdin().lock();
        let mut line = Vec::new();
        let (begun, mut graph_is_kept) = (Instant::now(), false);
        loop {
            line.clear();
            // Whoever asks for so long is better off with a commit-graph. What is asked meanwhile does without.
            if !graph_is_kept && begun.elapsed() > GRAPH_PAYS {
                graph_is_kept = true;
                let blamer = blamer.clone();
                std::thread::spawn(move || drop(blamer.keep_graphs()));
            }
            let more = input.read_until(b'\n', &mut line);
            if let Err(error) = &more {
                complain(&format!("cannot read stdin: {error}"), None);
                return Ok(false);
            }
            if matches!(more, Ok(0)) {
                break;
            }
            let line = line.trim_end_with(|end| end == '\n' || end == '\r').as_bstr();
            if line.is_empty() {
                continue;
            }
            match parse(line) {
                Some(line) => all &= answer(args, &blamer, &revision, &line, out)?,
                None => {
                    complain(&format!("{line}: {MALFORMED}"), None);
                    all = false;
                }
            }
            out.flush()?;
        }
    }
    out.flush()?;
    Ok(all)
}

fn answer(
    args: &Arguments,
    blamer: &Blamer,
    revision: &CommitId,
    line: &Line,
    out: &mut impl Write,
) -> io::Result<bool> {
    let begun = Instant::now();
    let Line { path, number } = line.clone();
    let question = Question {
        repository: NAME.into(),
        revision: revision.clone(),
        path,
        line: number,
        text: None,
        before: Vec::new(),
        after: Vec::new(),
        basis: Basis::Named,
    };
    match blamer.blame(&question) {
        Ok(blame) => {
            let micros = begun.elapsed().as_micros();
            match args.format {
                Format::Text => text(&question, &blame, micros, out)?,
                Format::Json => json(&question, &blame, micros, out)?,
            }
            Ok(true)
        }
        Err(error) => {
            let Line { path, number } = line;
            complain(&format!("{path}:{number}: {}", describe(&error, args)), hint(&error));
            Ok(false)
        }
    }
}

const MALFORMED: &str = "not of the form PATH:LINE with a line from 1, such as src/shop.py:42";

/// `PATH:LINE`, or `PATH:LINE:whatever`, as compilers and grep print it.
fn parse(asked: &BStr) -> Option<Line> {
    // The path may hold colons itself, so the first one that is followed by a number decides.
    asked.find_iter(":").find_map(|colon| {
        let (path, rest) = (&asked[..colon], &asked[colon + 1..]);
        let digits = rest.find_byte(b':').map_or(rest, |end| &rest[..end]);
        let number = digits.to_str().ok()?.parse().ok()?;
        Some(Line { path: path.strip_prefix(b"./").unwrap_or(path).into(), number })
    })
}

fn asked_parser() -> impl TypedValueParser<Value = Line> {
    OsStringValueParser::new().try_map(|asked| parse(asked.as_encoded_bytes().as_bstr()).ok_or(MALFORMED))
}

fn text(asked: &Question, blame: &Blame, micros: u128, out: &mut impl Write) -> io::Result<()> {
    let Blame { origin, author, .. } = blame;
    let millis = Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)).as_secs_f64() * 1e3;
    writeln!(out, "{}:{}: {} <{}>, {}", asked.path, asked.line, author.name, author.mail, author.time)?;
    writeln!(out, "    commit {} {}", origin.commit, blame.summary)?;
    writeln!(out, "    there at {}:{} (found in {millis:.1} ms)", origin.path, origin.line)?;
    if blame.boundary {
        writeln!(out, "    history is cut off there (a shallow clone): the line may be older")?;
    }
    for skipped in &blame.skipped {
        writeln!(out, "    passed over {}", skipped.short())?;
    }
    for respaced in &blame.respaced {
        writeln!(out, "    passed over {}, which changed white space alone", respaced.short())?;
    }
    for moved in &blame.moved {
        writeln!(out, "    {moved}")?;
    }
    let line = blame.source.iter().find(|line| line.number == asked.line.get());
    writeln!(out, "    > {}", line.map_or("", |line| line.text.trim()))
}

fn json(asked: &Question, blame: &Blame, micros: u128, out: &mut impl Write) -> io::Result<()> {
    let answer = Answer {
        commit: &blame.origin.commit.0,
        path: &blame.origin.path.to_str_lossy(),
        line: blame.origin.line.get(),
        author_name: &blame.author.name,
        author_mail: &blame.author.mail,
        author_time: blame.author.time.to_string(),
        summary: &blame.summary,
        skipped: blame.skipped.iter().map(|commit| commit.0.as_str()).collect(),
        respaced: blame.respaced.iter().map(|commit| commit.0.as_str()).collect(),
        moved: blame.moved.iter().map(Step::of).collect(),
        boundary: blame.boundary,
        asked: Asked { path: &asked.path.to_str_lossy(), line: asked.line.get(), commit: &asked.revision.0 },
        micros,
    };
    serde_json::to_writer(&mut *out, &answer)?;
    writeln!(out)
}

impl<'a> Step<'a> {
    fn of(Moved { to, from_path, from_line }: &'a Moved) -> Self {
        Self {
            commit: &to.commit.0,
            path: to.path.to_str_lossy(),
            line: to.line.get(),
            from_path: from_path.to_str_lossy(),
            from_line: from_line.get(),
        }
    }
}

/// The error in the words of this command, which knows its repository by a path.
fn describe(error: &BlameError, args: &Arguments) -> String {
    let folder = args.repository.display();
    match error {
        BlameError::Repository { reason, .. } => reason.clone(),
        BlameError::Empty { .. } => format!("the repository in {folder} has no commits yet"),
        BlameError::NoRevision { revision, .. } => {
            format!("revision {revision:?} is not in the repository in {folder}")
        }
        BlameError::AmbiguousRevision { revision, .. } => {
            format!("revision {revision:?} fits several objects of the repository in {folder}")
        }
        BlameError::NoPath { path, revision, hint } => {
            format!("{path} is not a file at revision {}: {hint}", revision.short())
        }
        BlameError::NoLine { path, revision, lines, line } => {
            format!("{path} has {lines} lines at revision {}, not {line}", revision.short())
        }
        error => error.to_string(),
    }
}

fn hint(error: &BlameError) -> Option<&'static str> {
    Some(match error {
        BlameError::Repository { reason, .. } if !reason.ends_with(NO_REPOSITORY) => return None,
        BlameError::Repository { .. } | BlameError::UnknownRepository { .. } => {
            "say where the repository is with --repository DIR"
        }
        BlameError::UnknownProject => return None,
        BlameError::Empty { .. } => "commit something first",
        BlameError::NoRevision { .. } => "git log --all shows what there is; git fetch may bring more",
        BlameError::AmbiguousRevision { .. } => "give more digits of the commit id",
        BlameError::NoPath { .. } => {
            "paths start at the top of the repository; git ls-tree -r --name-only REV lists them"
        }
        BlameError::NoLine { .. } => "pass the revision that the line number is from: --revision REV",
        BlameError::TooSlow { .. } => "git commit-graph write --reachable --changed-paths makes it faster",
    })
}

#[expect(clippy::print_stderr, reason = "this command speaks to people on stderr")]
fn complain(what: &str, hint: Option<&str>) {
    eprintln!("error: {what}");
    if let Some(hint) = hint {
        eprintln!("hint: {hint}");
    }
}

#[expect(clippy::print_stderr, reason = "this command speaks to people on stderr")]
fn warn(what: &str) {
    eprintln!("warning: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_parsed_as_compilers_print_them() {
        for (asked, expected) in [
            ("a.py:3", Some(("a.py", 3))),
            ("./a.py:3:", Some(("a.py", 3))),
            ("a.py:3:17: error", Some(("a.py", 3))),
            ("a:b.py:3", Some(("a:b.py", 3))),
            ("a.py", None),
            ("a.py:0", None),
            ("a.py:-1", None),
            ("a.py:99999999999", None),
        ] {
            let parsed = parse(asked.into());
            let parsed = parsed.as_ref().map(|line| (line.path.to_str().unwrap(), line.number.get()));
            assert_eq!(parsed, expected, "{asked}");
        }
    }
}

//! `blamed explain`: every step that a traceback would go through.

use std::fmt::Write;
use std::path::PathBuf;

use super::{Failure, Place, house, print_line, read_input};
use crate::clock::Clock;
use crate::config::Config;
use crate::ingest;
use crate::pipeline::{Explanation, explain};
use crate::report::Report;
use crate::store::Store;
use crate::triage::paths::Mapping;
use crate::triage::walk::Outcome;

/// Show, step by step, what would come of a traceback; changes nothing.
///
/// For each frame: which file of which repository it is, and the rule that decided on it. Then the
/// responsible line, the revision it was looked up at and why that one, its origin, the person, and whether
/// a mail would go, and why. Rules and settings are those of the data directory, if there is one.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    place: Place,
    /// Folder of the repository, where no configuration names one [default: the current folder]
    #[arg(long, value_name = "DIR")]
    repository: Option<PathBuf>,
    /// The project whose code it is [default: the first]
    #[arg(long, value_name = "NAME")]
    project: Option<String>,
    /// File with a traceback or a JSON report; `-` or nothing: stdin
    file: Option<PathBuf>,
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let mut config = house::configuration(&arguments.place)?;
    let folder = arguments.repository.clone().unwrap_or_else(|| PathBuf::from("."));
    if arguments.repository.is_some() && !config.projects.is_empty() {
        let said =
            "--repository is for explaining without projects; the configuration names some (--project)";
        return Err(Failure::Wrong(said.to_owned()));
    }
    house::default_project(&mut config, &folder)?;
    let input = read_input(arguments.file.as_deref())?;
    let index = match &arguments.project {
        None => 0,
        Some(name) => config.projects.iter().position(|project| project.name == *name).ok_or_else(|| {
            let names: Vec<&str> = config.projects.iter().map(|project| project.name.as_str()).collect();
            Failure::Wrong(format!("there is no project {name:?}; there are: {}", names.join(", ")))
        })?,
    };
    if Store::open_to_read(&config.data_dir).map_err(house::failure)?.is_none() {
        eprintln!("no data in {}: explained without lists and counts", config.data_dir.display());
    }
    print_line(&explanations(&config, index, &input)?.join("\n\n"))
}

/// The explanations of what is reported in `input`, by the project at `index`. Blocks.
pub(super) fn explanations(config: &Config, index: usize, input: &[u8]) -> Result<Vec<String>, Failure> {
    let store = Store::open_to_read(&config.data_dir).map_err(house::failure)?;
    let project = house::pipeline_project(&config.projects[index], store.as_ref()).map_err(house::failure)?;
    let blamer = house::blamer(config);
    let mut explanations = Vec::new();
    for mut report in ingest::decode_any(input).map_err(Failure::failed)? {
        ingest::frames::cut_machinery(&mut report);
        config.limits.report.apply(&mut report);
        let now = Clock::system().now();
        let explanation = explain(&report, &project, &blamer, &config.policy, store.as_ref(), now)
            .map_err(Failure::failed)?;
        explanations.push(in_words(&report, &explanation));
    }
    Ok(explanations)
}

/// The explanation for a terminal.
fn in_words(report: &Report, explanation: &Explanation) -> String {
    let mut out = String::new();
    let _ = writeln!(out, "{}", plain(&report.headline().map_or("no exception".to_owned(), |e| e.summary())));
    let survey = match &explanation.survey {
        Ok(survey) => survey,
        Err(error) => {
            let _ = write!(out, "\nNothing can be said: {error}");
            return out;
        }
    };
    for (name, resolved) in &survey.revisions {
        let _ = writeln!(out, "\nrevision  {} of {name}: {}", resolved.commit.short(), plain(&resolved.how));
    }
    for mount in &survey.mounts {
        let _ = writeln!(out, "deployed  {}", plain(&mount.to_string()));
    }
    let Some(walk) = &explanation.walk else { return out };
    for (e, exception) in report.exceptions.iter().enumerate() {
        let _ = writeln!(out, "\n{}", plain(&exception.summary()));
        for verdict in walk.verdicts.iter().filter(|verdict| verdict.exception == e) {
            let frame = &exception.frames[verdict.frame];
            if let Some(omitted) = exception.omitted.filter(|omitted| omitted.at == verdict.frame) {
                let _ = writeln!(out, "    … {} frames left out …", omitted.count);
            }
            let mark = if verdict.suspect { "→" } else { " " };
            let line = frame.line.map_or("?".to_owned(), |line| line.to_string());
            let function = frame.function.as_deref().map(|f| format!(" in {f}")).unwrap_or_default();
            let _ = writeln!(out, "  {mark} {}:{line}{}", plain(&frame.file), plain(&function));
            let file = verdict.file.as_ref().map(|file| format!("{}: {}; ", file.repository, file.path));
            let label = verdict.frame_type.label();
            let _ = writeln!(
                out,
                "      {}{label}: {}",
                plain(&file.unwrap_or_default()),
                plain(&verdict.reason)
            );
            // How the file was found, where the verdict speaks of something else.
            if let Mapping::Ours { why, .. } = &survey.mapped[verdict.exception][verdict.frame]
                && *why != verdict.reason
            {
                let _ = writeln!(out, "      found by: {}", plain(why));
            }
        }
    }
    match &walk.outcome {
        Outcome::Dropped { reason, .. } => {
            let _ = write!(out, "\ndecision  no mail, not counted: {}", plain(reason));
            return out;
        }
        Outcome::Nobody(reason) => {
            let _ = write!(out, "\ndecision  no mail: nobody's line; {reason}");
            return out;
        }
        Outcome::Suspect(suspect) => {
            let _ = writeln!(out, "\nline      {}:{}", suspect.file.path, suspect.line);
        }
    }
    match &explanation.blame {
        Some(Ok(blame)) => {
            let asked = &blame.place;
            let _ = writeln!(out, "looked up {}:{} at {}", asked.path, asked.line, asked.revision.short());
            let _ = writeln!(out, "sure      {}", plain(blame.confidence.why()));
            let origin = &blame.origin;
            let _ = writeln!(out, "origin    {} {}:{}", origin.commit.short(), origin.path, origin.line);
            let _ = writeln!(out, "commit    {}", plain(&blame.summary));
            if blame.boundary {
                let _ = writeln!(
                    out,
                    "beware    the clone is shallow: its history ends there, the line may be older"
                );
            }
            for skipped in &blame.skipped {
                let _ = writeln!(out, "passed by {} (an ignored revision)", skipped.short());
            }
            for respaced in &blame.respaced {
                let _ = writeln!(out, "passed by {} (it changed white space alone)", respaced.short());
            }
            for moved in &blame.moved {
                let _ = writeln!(out, "moved     {}", plain(&moved.to_string()));
            }
            let author = format!("{} <{}>", blame.author.name, blame.author.mail);
            let _ = writeln!(out, "person    {}, {}", plain(&author), blame.author.time);
        }
        Some(Err(error)) => {
            let _ = writeln!(out, "person    unknown: {error}");
        }
        None => {}
    }
    for broken in &explanation.broken {
        let _ = writeln!(out, "beware    {}", plain(&broken.to_string()));
    }
    if let Some(fault) = &explanation.fault {
        let _ = writeln!(out, "known as  fault {}, seen {} times", fault.id.0, fault.count);
    }
    if let Some(decision) = &explanation.decision {
        let _ = write!(out, "decision  {}", plain(&decision.reason));
        for mail in &decision.mails {
            let _ = write!(out, "\n          to {}: {}", mail.to, mail.why);
        }
    }
    out
}

/// A text of a report made safe for a terminal: control characters are shown, not obeyed.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\n' | '\t' => ' ',
            c if c.is_control()
                || ('\u{202a}'..='\u{202e}').contains(&c)
                || ('\u{2066}'..='\u{2069}').contains(&c) =>
            {
                '\u{fffd}'
            }
            c => c,
        })
        .collect()
}

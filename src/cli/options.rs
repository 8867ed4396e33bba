//! `blamed options` and `blamed check`: what can be configured, and whether it is.

use super::terminal::{width, wrap};
use super::{Failure, Place, house, print_line, tls};
use crate::blame::{BlameError, RevisionHints};
use crate::config::{Config, Entry, Source, manual};

/// List every key of the configuration: its environment variable, kind, default and meaning.
///
/// The list is that of config.example.toml, which is the same as a file to begin with.
#[derive(Debug, clap::Args)]
pub(super) struct OptionsArguments {
    /// List only keys that contain this word
    word: Option<String>,
}

/// Look for mistakes in the configuration, all at once, without starting anything.
///
/// Says which file and which parts of the environment were read. Exit code 0: it can be used; 2: it cannot. The
/// files, folders and clones that it names are looked at too; whether mail servers and repositories elsewhere can
/// be reached is what `blamed doctor` tries.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArguments {
    #[command(flatten)]
    place: Place,
}

/// Runs `blamed options`.
pub(super) fn options(arguments: &OptionsArguments) -> Result<(), Failure> {
    let word = arguments.word.as_deref().unwrap_or_default().to_lowercase();
    let entries: Vec<Entry> = manual().into_iter().filter(|entry| entry.key.contains(&word)).collect();
    if entries.is_empty() {
        return Err(Failure::Wrong(format!(
            "no key contains {word:?}\n\nhint: `blamed options` lists them all"
        )));
    }
    let width = width();
    for (n, entry) in entries.iter().enumerate() {
        if n > 0 {
            print_line("")?;
        }
        print_line(&format!("{}  {}", entry.key, entry.variable))?;
        let default = match &entry.default {
            Some(default) => format!("default {default}"),
            None => format!("unset; such as {}", entry.example),
        };
        for paragraph in [format!("{}; {default}", entry.kind), entry.meaning.clone()] {
            for line in wrap(&paragraph, width.saturating_sub(4)) {
                print_line(&format!("    {line}"))?;
            }
        }
    }
    Ok(())
}

/// Runs `blamed check`.
pub(super) fn check(arguments: &CheckArguments) -> Result<(), Failure> {
    let (loaded, file) = house::loaded(&arguments.place)?;
    let unusable = unusable(&loaded.config);
    if !unusable.is_empty() {
        return Err(Failure::Wrong(unusable.join("\n")));
    }
    print_line("The configuration is in order.")?;
    match file {
        Some(file) => print_line(&format!("file         {}", file.display()))?,
        None => print_line("file         none: there is no ./blamed.toml, and --config names none")?,
    }
    match loaded.environment.as_slice() {
        [] => print_line("environment  nothing")?,
        taken => {
            for (n, name) in taken.iter().enumerate() {
                let label = if n == 0 { "environment" } else { "" };
                print_line(&format!("{label:<11}  {name}"))?;
            }
        }
    }
    Ok(())
}

/// What a configuration names on this machine that cannot be used: everything, each as an error.
fn unusable(config: &Config) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(Err(failure)) = config.tls.as_ref().map(tls::acceptor) {
        found.push(format!("error: {failure}"));
    }
    let roots = config.mail.smtp.as_ref().and_then(|smtp| smtp.extra_roots.as_ref());
    if let Some((file, Err(error))) = roots.map(|file| (file, std::fs::read(file))) {
        found.push(format!("error: `mail.smtp_ca_file`: {}: {error}", file.display()));
    }
    // It may have to be made, in the first folder above it that is there.
    let there = config.data_dir.ancestors().find(|folder| folder.exists());
    let there = there.filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = there
        && (!folder.is_dir() || rustix::fs::access(folder, rustix::fs::Access::WRITE_OK).is_err())
    {
        let why = if folder.is_dir() { "this user may not write there" } else { "it is no folder" };
        found.push(format!("error: `data_dir`: {}: {why}", folder.display()));
    }
    let blamer = house::blamer(config);
    for repository in config.projects.iter().flat_map(|project| &project.repositories) {
        if !matches!(repository.source, Source::Clone(_)) {
            continue;
        }
        match blamer.resolve(&repository.name, &RevisionHints::default()) {
            // The first commit may come any day.
            Ok(_) | Err(BlameError::Empty { .. }) => {}
            Err(error) => found.push(format!("error: {error}")),
        }
    }
    found
}

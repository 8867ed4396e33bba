//! `blamed completions` and `blamed man`: what shells and manuals know of the commands, made from the commands
//! themselves.

use std::path::PathBuf;

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Arguments, Failure, print_line};

/// Print what a shell needs to complete commands and options.
///
/// For bash: blamed completions bash > ~/.local/share/bash-completion/completions/blamed
#[derive(Debug, clap::Args)]
pub(super) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

/// Print the manual page, or write all of them into a folder.
///
/// To read it: blamed man | man -l -
#[derive(Debug, clap::Args)]
pub(super) struct ManArguments {
    /// Write blamed.1 there, and a page for each command
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

/// Runs `blamed completions`.
pub(super) fn completions(arguments: &CompletionsArguments) -> Result<(), Failure> {
    let mut bytes = Vec::new();
    clap_complete::generate(arguments.shell, &mut Arguments::command(), "blamed", &mut bytes);
    print_line(String::from_utf8_lossy(&bytes).trim_end())
}

/// Runs `blamed man`.
pub(super) fn man(arguments: &ManArguments) -> Result<(), Failure> {
    let command = Arguments::command().name("blamed");
    let Some(folder) = &arguments.folder else {
        let mut bytes = Vec::new();
        clap_mangen::Man::new(command).render(&mut bytes).map_err(Failure::failed)?;
        return print_line(String::from_utf8_lossy(&bytes).trim_end());
    };
    let written = std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(command, folder));
    written.map_err(|error| Failure::Wrong(format!("{}: {error}", folder.display())))
}

//! `blamed backup`, `blamed restore`, `blamed export`: all that is remembered, in a file.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{Failure, Place, house, print_line};
use crate::clock::Clock;
use crate::store::{self, ExportError, StoreError};

/// Copy everything that is remembered to a file, beside a daemon that runs.
///
/// The file is the database as it is at one moment; it is replaced at once and whole, or not at all. Mirrors of
/// repositories are not in it: they are fetched again; nor are mails that were written into files for want of a
/// mail server: they have been delivered. Keep the configuration file, and what it names, besides.
/// Reports hold source code and values: the file is its owner's alone, as the data directory is.
#[derive(Debug, clap::Args)]
pub(super) struct BackupArguments {
    /// The file to write; one that is there is replaced
    #[arg(value_name = "FILE")]
    to: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// Put a backup in the place of what is remembered; not while a daemon runs.
///
/// The backup is looked through before, and what was there is kept beside it under another name.
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArguments {
    /// A file that `blamed backup` wrote
    #[arg(value_name = "FILE")]
    from: PathBuf,
    #[command(flatten)]
    place: Place,
}

/// Write everything that is remembered as lines of JSON, one object to a row.
///
/// For other programs to read: `{"table":"faults","id":1,…}`. Times are milliseconds since 1970 UTC. Keys of
/// projects and who is signed in are left out. A daemon may run; what it writes meanwhile is not in it.
#[derive(Debug, clap::Args)]
pub(super) struct ExportArguments {
    /// The file to write [default: standard output]
    #[arg(value_name = "FILE")]
    to: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// Runs `blamed backup`.
pub(super) fn backup(arguments: BackupArguments) -> Result<(), Failure> {
    let folder = house::configuration(&arguments.place)?.data_dir;
    let bytes = store::backup(&folder, &arguments.to).map_err(|error| told(error, &arguments.to))?;
    let bytes = bytes.ok_or_else(|| house::no_data(&folder))?;
    print_line(&format!("{} bytes in {}", bytes, arguments.to.display()))
}

/// Runs `blamed restore`.
pub(super) fn restore(arguments: RestoreArguments) -> Result<(), Failure> {
    let folder = house::configuration(&arguments.place)?.data_dir;
    let now = Clock::system().now();
    let aside =
        store::restore(&folder, &arguments.from, now).map_err(|error| told(error, &arguments.from))?;
    print_line(&format!("{} is restored from {}", folder.display(), arguments.from.display()))?;
    match aside {
        Some(aside) => print_line(&format!("what was there is kept in {}", aside.display())),
        None => Ok(()),
    }
}

/// Runs `blamed export`.
pub(super) fn export(arguments: ExportArguments) -> Result<(), Failure> {
    let folder = house::configuration(&arguments.place)?.data_dir;
    let store = store::Store::open_to_read(&folder).map_err(house::failure)?;
    let store = store.ok_or_else(|| house::no_data(&folder))?;
    let write = |to: &mut dyn Write| store.read(|tx| tx.export(to));
    let written = match &arguments.to {
        Some(file) => {
            let mut options = OpenOptions::new();
            let opened = options.write(true).create(true).truncate(true).mode(0o600).open(file);
            let file = opened.map_err(|error| Failure::Wrong(format!("{}: {error}", file.display())))?;
            write(&mut BufWriter::new(file))
        }
        None => write(&mut BufWriter::new(std::io::stdout().lock())),
    };
    match written {
        // Nobody reads it any more.
        Err(ExportError::Write(error)) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        Err(ExportError::Store(error)) => Err(house::failure(error)),
        written => written.map_err(Failure::failed),
    }
}

/// What the store says of a file that was named.
fn told(error: StoreError, file: &Path) -> Failure {
    let file = std::fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    match error {
        StoreError::Directory { path, source } if path.starts_with(file.parent().unwrap_or(&file)) => {
            Failure::Wrong(format!("{}: {source}", path.display()))
        }
        StoreError::Damaged { .. } => Failure::Wrong(format!(
            "{error}\n\nhint: nothing was changed; pass a file that `blamed backup` wrote"
        )),
        error => house::failure(error),
    }
}

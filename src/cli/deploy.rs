//! `blamed deploy`: tells a daemon what runs where from now on.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::client::{Client, Letter, Server};
use super::report::persist;
use super::{Failure, print_line};
use crate::blame::{Blamer, Repository, Settings, discover};

/// Tell a daemon what runs where from now on.
///
/// Programs that do not name their revision in reports are then blamed at the one that runs, not at the tip
/// of the branch. Call it at the end of a deploy, in the folder of the clone that was deployed.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    server: Server,
    /// Commit or tag that runs [default: HEAD of the repository]
    #[arg(long, value_name = "REV")]
    revision: Option<String>,
    /// Where it runs, as programs name it in their reports, such as production
    #[arg(long, value_name = "NAME", default_value = "")]
    environment: String,
    /// Release, as programs name it in their reports
    #[arg(long, value_name = "NAME")]
    version: Option<String>,
    /// Folder of the repository
    #[arg(long, value_name = "DIR", default_value = ".")]
    repository: PathBuf,
}

/// Runs the command; prints the commit.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let address = arguments.server.address()?;
    let revision = match discover(&arguments.repository) {
        Ok(path) => {
            let name = path.display().to_string();
            let repository = Repository { name: name.clone(), path, branch: None };
            let blamer = Blamer::new(vec![repository], Settings::default());
            let named = arguments.revision.as_deref().unwrap_or("HEAD");
            blamer.parse_revision(&name, named).map_err(Failure::wrong)?.0
        }
        // What was deployed need not have its history with it.
        Err(error) => arguments.revision.clone().ok_or_else(|| {
            Failure::Wrong(format!(
                "{error}\n\nhint: name the commit with --revision, or the clone with --repository"
            ))
        })?,
    };
    let mut announcement = json!({ "revision": revision, "environment": arguments.environment });
    if let Some(version) = &arguments.version {
        announcement["version"] = json!(version);
    }
    let body = announcement.to_string();
    let letter = Letter::plain("/api/v1/deploys", body.as_bytes());
    let answer = persist(&Client::new(), &address, &letter, 0.0)?;
    if answer["known"] == Value::Bool(false) {
        eprintln!("no repository of the project has this commit yet; the branch tip stands in until one has");
    }
    print_line(&revision)
}

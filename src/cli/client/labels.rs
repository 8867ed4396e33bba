//! What a report says of where it was found: the machine, the job, what runs there.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::ingest::limits::Limits;
use crate::ingest::text::Sighting;
use crate::report::Report;

/// What is said with every report.
#[derive(Debug, Clone, Default, clap::Args)]
pub(in crate::cli) struct Labels {
    /// What the job or program is called [default: the command, the log file or the unit]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Where it runs, such as production
    #[arg(long, value_name = "NAME", env = "BLAMED_ENVIRONMENT")]
    environment: Option<String>,
    /// The release that runs
    #[arg(long, value_name = "NAME", env = "BLAMED_RELEASE")]
    release: Option<String>,
    /// The commit that runs
    #[arg(long, value_name = "REV", env = "BLAMED_REVISION")]
    revision: Option<String>,
}

impl Labels {
    /// A traceback as it is reported. `id` is the same whenever this one is found; `origin` says where that was,
    /// such as `("log", {"file": …})`.
    pub(in crate::cli) fn report(
        &self,
        found: Sighting,
        id: String,
        at: Timestamp,
        origin: (&str, &Value),
    ) -> Report {
        let mut report = found.report;
        let (what, details) = origin;
        let mut details = details.clone();
        if let Some(name) = &self.name {
            details["name"] = json!(name);
        }
        report.client_id = Some(id);
        report.hostname = Some(hostname());
        report.environment.clone_from(&self.environment);
        report.release.clone_from(&self.release);
        report.revision.clone_from(&self.revision);
        report.occurred_at = Some(at);
        report.context = Map::from_iter([(what.to_owned(), details)]);
        Limits::default().apply(&mut report);
        report
    }

    /// As arguments that make the same. `name` is what the job is called otherwise.
    pub(in crate::cli) fn as_arguments(&self, name: &str) -> Vec<String> {
        let name = Some(self.name.clone().unwrap_or_else(|| name.to_owned()));
        let options = [
            ("--name", &name),
            ("--environment", &self.environment),
            ("--release", &self.release),
            ("--revision", &self.revision),
        ];
        options.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?))).collect()
    }
}

/// The machine's name.
fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

//! Everything that a daemon consists of, put together from a configuration.

use bstr::{BString, ByteSlice};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use super::{Failure, Place, terminal};
use crate::blame::mirror::Mirror;
use crate::blame::{self, BlameError, Blamer};
use crate::clock::Clock;
use crate::config::{self, Config, ConfigError, Environment, Loaded};
use crate::ingest::{self, scrub::Scrubber};
use crate::notify;
use crate::pipeline::{self, random_id};
use crate::store::{KeyStanding, ProjectId, Store, StoreError};
use crate::upkeep;

/// The configuration file that is used when none is named and it is there.
pub(super) const DEFAULT_CONFIG: &str = "blamed.toml";

/// The configuration as the arguments and the environment have it.
///
/// # Errors
/// The file is named and missing, or something is wrong.
pub(super) fn configuration(place: &Place) -> Result<Config, Failure> {
    let (mut config, _) = loaded(place)?;
    if let Some(dir) = &place.data_dir {
        config.config.data_dir.clone_from(dir);
    }
    Ok(config.config)
}

/// The configuration as its file and the environment have it, and the file, if there is one.
///
/// # Errors
/// The file is named and missing, or something is wrong.
pub(super) fn loaded(place: &Place) -> Result<(Loaded, Option<PathBuf>), Failure> {
    let default = Path::new(DEFAULT_CONFIG);
    let file = place.config.as_deref().or_else(|| default.exists().then_some(default));
    let loaded = Config::load(file, &Environment::of_process()).map_err(|error| match error {
        ConfigError::Unreadable { .. } => Failure::Wrong(format!(
            "{error}\n\nhint: pass an existing file with --config, or none to use the defaults"
        )),
        ConfigError::Wrong(_) => Failure::wrong(error),
    })?;
    Ok((loaded, file.map(Path::to_owned)))
}

/// The store of a data directory, for a command that works beside a daemon.
///
/// # Errors
/// There is no data there, or it cannot be used.
pub(super) fn open_store_beside(place: &Place) -> Result<Store, Failure> {
    let config = configuration(place)?;
    let folder = std::path::absolute(&config.data_dir).unwrap_or(config.data_dir);
    let store = Store::open_beside(&folder).map_err(failure)?;
    store.ok_or_else(|| no_data(&folder))
}

/// That no daemon has kept anything in `folder`.
pub(super) fn no_data(folder: &Path) -> Failure {
    Failure::Wrong(format!(
        "there is no data of a daemon in {}\n\nhint: pass its folder with --data-dir or its configuration with \
         --config; `blamed start` makes one",
        folder.display()
    ))
}

/// What the store says, as a command's failure.
pub(super) fn failure(error: StoreError) -> Failure {
    match error {
        StoreError::InUse { .. } | StoreError::Newer { .. } | StoreError::Older { .. } => {
            Failure::wrong(error)
        }
        StoreError::Full { .. } => {
            Failure::Failed(format!("{error}\n\nhint: make room there, then try again; nothing was changed"))
        }
        StoreError::Locked { path } => Failure::Failed(format!(
            "another program keeps the database locked: {path}\n\nhint: end it and try again; `fuser {path}` \
             names its process",
            path = path.display()
        )),
        StoreError::Damaged { .. } => Failure::Failed(format!(
            "{error}\n\nhint: put the last backup in its place with `blamed restore FILE`; what is there is kept aside"
        )),
        // Found later than at the start, where its file is named.
        error if error.is_damaged() => Failure::Failed(format!(
            "the database is damaged: {error}\n\nhint: put the last backup in its place with `blamed restore \
                 FILE`; `blamed doctor` says where it is and how much is wrong"
        )),
        StoreError::Directory { path, source } => Failure::Wrong(format!(
            "the data directory cannot be used: {}: {source}\n\nhint: pass a writable folder with --data-dir",
            path.display()
        )),
        error => Failure::failed(error),
    }
}

/// Fills in the one project of a configuration that names none: the repository around `folder`.
///
/// # Errors
/// `folder` is in no repository.
pub(super) fn default_project(config: &mut Config, folder: &Path) -> Result<(), Failure> {
    if !config.projects.is_empty() {
        return Ok(());
    }
    let folder = std::fs::canonicalize(folder).unwrap_or_else(|_| folder.to_owned());
    let top = blame::discover(&folder).map_err(|error| {
        let reason = match error {
            BlameError::Repository { reason, .. } => reason,
            error => error.to_string(),
        };
        Failure::Wrong(format!(
            "there is no project: no repository was found at {reason}\n\nhint: pass one with --repository DIR, or \
             name your projects in a configuration file and pass that with --config FILE"
        ))
    })?;
    let name = config::folder_name(&top);
    config.projects.push(config::Project {
        name: name.clone(),
        key: None,
        repositories: vec![config::Repository { name, source: config::Source::Clone(top), branch: None }],
        code: Default::default(),
        scrub: true,
    });
    Ok(())
}

/// A project as it is stored, with the keys its programs report with.
pub(super) struct Registered {
    pub(super) id: ProjectId,
    pub(super) name: String,
    pub(super) keys: Vec<String>,
}

/// Enters the configured projects in the store and gives each a key, and notes `url`, by which the daemon is
/// reached; what waits for a repository is tried
/// anew, as the configuration may be what was mended.
///
/// # Errors
/// What the store says.
pub(super) fn register(
    config: &Config,
    url: &str,
    (store, clock): (&Store, &Clock),
) -> Result<Vec<Registered>, Failure> {
    let now = clock.now().as_millisecond();
    let registered = store.write(|tx| -> Result<_, Unregistered> {
        tx.retry_parked(now)?;
        tx.set_address(url, now)?;
        let mut registered = Vec::new();
        for project in &config.projects {
            let id = tx.ensure_project(&project.name, now)?;
            match tx.configure_key(id, project.key.as_deref(), now)? {
                KeyStanding::Good => {}
                KeyStanding::Taken => return Err(Unregistered::Taken(project.name.clone())),
                KeyStanding::Revoked => tracing::warn!(
                    project = project.name,
                    "the key configured for this project was revoked and stays so; configure another one, or none"
                ),
            }
            if tx.keys(id)?.is_empty() {
                tx.add_key(id, &random_id(), now)?;
            }
            registered.push(Registered { id, name: project.name.clone(), keys: tx.keys(id)? });
        }
        Ok(registered)
    });
    registered.map_err(|error| match error {
        Unregistered::Store(error) => failure(error),
        Unregistered::Taken(name) => Failure::Wrong(format!(
            "the key configured for project {name:?} belongs to another project of the data directory\n\n\
             hint: give each project a key of its own; openssl rand -hex 16 makes one"
        )),
    })
}

/// Why projects are not entered; then none of them is.
enum Unregistered {
    Store(StoreError),
    /// A project's key is another's.
    Taken(String),
}

impl From<StoreError> for Unregistered {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The blamer of all configured repositories.
pub(super) fn blamer(config: &Config) -> Blamer {
    let mut repositories: Vec<blame::Repository> = Vec::new();
    for repository in config.projects.iter().flat_map(|project| &project.repositories) {
        if repositories.iter().all(|known| known.name != repository.name) {
            repositories.push(blame::Repository {
                name: repository.name.clone(),
                path: config.folder_of(repository),
                branch: repository.branch.clone(),
            });
        }
    }
    let settings = blame::Settings {
        threads: config.blame.threads,
        deadline: config.blame.deadline,
        ignore_whitespace: config.blame.ignore_whitespace,
        ignore_revisions: config.blame.ignore_revisions,
        moves: config.blame.moves,
        graphs: Some(config.data_dir.join("graphs")),
        ..blame::Settings::default()
    };
    Blamer::new(repositories, settings)
}

/// The repositories that are elsewhere, each with the projects whose code it is.
pub(super) fn mirrors(config: &Config, registered: &[Registered]) -> Vec<(Mirror, Vec<ProjectId>)> {
    let mut mirrors: Vec<(Mirror, Vec<ProjectId>)> = Vec::new();
    for (project, stored) in config.projects.iter().zip(registered) {
        for repository in &project.repositories {
            let config::Source::Elsewhere(url) = &repository.source else { continue };
            match mirrors.iter_mut().find(|(known, _)| known.name == repository.name) {
                Some((_, projects)) => projects.push(stored.id),
                None => {
                    let (name, folder) = (repository.name.clone(), config.folder_of(repository));
                    mirrors.push((Mirror { name, url: url.clone(), folder }, vec![stored.id]));
                }
            }
        }
    }
    mirrors
}

/// How they are fetched.
pub(super) fn mirror_settings(
    config: &Config,
    sender: &lettre::message::Mailbox,
) -> pipeline::MirrorSettings {
    pipeline::MirrorSettings {
        progress: terminal::progress(),
        every: config.fetch.every,
        timeout: config.fetch.timeout,
        sender: sender.clone(),
        default_contact: config.policy.default_contact.clone(),
    }
}

/// What is taken from clients by a daemon that browsers reach at `public_url`.
pub(super) fn intake_settings(
    config: &Config,
    registered: &[Registered],
    public_url: &str,
) -> ingest::Settings {
    let projects = config.projects.iter().zip(registered);
    ingest::Settings {
        body_bytes: config.limits.body_bytes,
        unpacked_bytes: config.limits.unpacked_bytes,
        requests_per_minute: config.limits.requests_per_minute,
        report: config.limits.report.clone(),
        scrubber: Scrubber::new(config.scrub.names.iter().map(String::as_str), &config.scrub.mask),
        unscrubbed: projects.filter(|(project, _)| !project.scrub).map(|(_, stored)| stored.id).collect(),
        public_url: public_url.to_owned(),
    }
}

/// The pipeline's settings for the registered projects.
pub(super) fn pipeline_settings(
    config: &Config,
    registered: &[Registered],
    sender: &lettre::message::Mailbox,
) -> pipeline::Settings {
    let projects = config.projects.iter().zip(registered);
    pipeline::Settings {
        policy: config.policy.clone(),
        projects: projects.map(|(project, registered)| as_project(project, registered.id)).collect(),
        samples: config.samples_per_fault,
        spare_bytes: config.keep.spare_bytes,
        database_bytes: config.keep.database_bytes,
        sender: sender.clone(),
    }
}

/// How much is remembered.
pub(super) fn upkeep_settings(config: &Config, sender: &lettre::message::Mailbox) -> upkeep::Settings {
    upkeep::Settings {
        samples_days: config.keep.samples_days,
        faults_days: config.keep.faults_days,
        database_bytes: config.keep.database_bytes,
        spare_bytes: config.keep.spare_bytes,
        default_contact: config.policy.default_contact.clone(),
        sender: sender.clone(),
    }
}

/// A project as the pipeline knows it, with its number in `store`, if it has one there.
///
/// # Errors
/// What the store says.
pub(super) fn pipeline_project(
    project: &config::Project,
    store: Option<&Store>,
) -> Result<pipeline::Project, StoreError> {
    let id = store.map(|store| store.read(|tx| tx.project_of_name(&project.name))).transpose()?.flatten();
    // Numbers begin at 1: nothing is stored of project 0.
    Ok(as_project(project, id.unwrap_or(ProjectId(0))))
}

fn as_project(project: &config::Project, id: ProjectId) -> pipeline::Project {
    pipeline::Project {
        id,
        name: project.name.clone(),
        repositories: project.repositories.iter().map(|repository| repository.name.clone()).collect(),
        code: project.code.clone(),
    }
}

/// How mails are sent by a daemon that is reached at `url`, unless another address is configured.
///
/// # Errors
/// The sender is no address.
pub(super) fn notify_settings(config: &Config, url: Option<String>) -> Result<notify::Settings, Failure> {
    let from = config.mail.from.clone().unwrap_or_else(|| format!("blamed <blamed@{}>", host_name()));
    let from = from.parse().map_err(|error| {
        Failure::Wrong(format!("{from:?} is no sender: {error}\n\nhint: set `from` in the section [mail]"))
    })?;
    let folder = config.mail.folder.clone().unwrap_or_else(|| config.data_dir.join("mail"));
    Ok(notify::Settings {
        from,
        public_url: config.public_url.clone().or(url).ok_or_else(|| {
            Failure::Wrong(
                "a Unix socket has no address that mails could name\n\nhint: set `public_url` to that of the reverse \
                 proxy"
                    .to_owned(),
            )
        })?,
        default_contact: config.policy.default_contact.clone(),
        transport: match &config.mail.smtp {
            Some(smtp) => notify::Transport::Smtp(smtp.clone()),
            None => notify::Transport::Folder(folder),
        },
    })
}

/// Where mails go, as a sentence.
pub(super) fn where_mails_go(settings: &notify::Settings) -> String {
    match &settings.transport {
        notify::Transport::Smtp(smtp) => format!("mails go out by {}:{}", smtp.host, smtp.port),
        notify::Transport::Folder(folder) => {
            format!("no mail server is configured: mails are written to {}/*.eml", folder.display())
        }
    }
}

/// The address of a daemon, for commands beside it: as it is configured, else as the last that ran said, which
/// may have been started with `--listen`.
pub(super) fn known_url(config: &Config) -> String {
    let noted = || {
        let store = Store::open_to_read(&config.data_dir).ok().flatten()?;
        store.read(|tx| tx.address()).ok().flatten()
    };
    // A Unix socket is configured with a public address, or the daemon does not start.
    let own = || listening_url(config).unwrap_or_else(|| "http://localhost".to_owned());
    config.public_url.clone().or_else(noted).unwrap_or_else(own)
}

/// Where a daemon listens for this machine, as it is configured. `None`: at a Unix socket.
pub(super) fn listening_url(config: &Config) -> Option<String> {
    Some(url(config.listen.address()?, config.tls.is_some()))
}

/// How clients on this machine reach a daemon that listens at an address.
pub(super) fn url(address: SocketAddr, has_tls: bool) -> String {
    let scheme = if has_tls { "https" } else { "http" };
    format!("{scheme}://{}", reachable(address))
}

/// An address that a client on this machine can use: a daemon that listens everywhere is at loopback too.
pub(super) fn reachable(address: SocketAddr) -> SocketAddr {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            Ipv4Addr::LOCALHOST.into()
        } else {
            Ipv6Addr::LOCALHOST.into()
        });
    }
    address
}

/// What this machine is called.
pub(super) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let usable = !name.is_empty() && format!("blamed@{name}").parse::<lettre::Address>().is_ok();
    if usable { name } else { "localhost".to_owned() }
}

/// Endings of files that a made-up report may be about.
const CODE: &[&str] = &[
    "py", "rb", "js", "ts", "go", "rs", "java", "kt", "php", "cs", "c", "cc", "cpp", "ex", "pl", "scala",
    "swift",
];

/// A made-up report of a line that a repository really has, as JSON that stands between single quotes.
pub(super) fn trial_report(blamer: &Blamer, config: &Config) -> Option<String> {
    let repository = &config.projects.first()?.repositories.first()?.name;
    let tip = blamer.resolve(repository, &Default::default()).ok()?.commit;
    let files = blamer.files(repository, &tip).ok()?;
    let is_code = |path: &&BString| {
        let end = path.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
        CODE.iter().any(|code| code.as_bytes() == end)
    };
    let path = files.iter().filter(is_code).find(|path| path.to_str().is_ok())?;
    let content = blamer.source(repository, &tip, path.as_bstr()).ok()??;
    // The first line that does something: it holds a call or an assignment.
    let does = |(_, line): &(usize, &[u8])| line.contains_str("(") || line.contains_str(" = ");
    let (number, line) = content.lines().enumerate().find(does)?;
    let report = serde_json::json!({
        "traceback": [{
            "filename": path.to_str().ok()?,
            "line_number": number + 1,
            "function_name": "somewhere",
            "text": line.to_str_lossy().trim(),
        }],
        "exception_type": "TrialError",
        "exception_message": "nothing is wrong; this only shows what a report does",
    });
    Some(report.to_string().replace('\'', "\\u0027"))
}

/// A word of a command line for a shell.
pub(super) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

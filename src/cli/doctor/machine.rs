//! The machine that it runs on: its configuration, its disk, its clock, its address.

use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;

use super::{Findings, Place, ago, house, size};
use crate::config::Config;
use crate::store::{self, Store, StoreError};

/// Free bytes that are not many.
const LITTLE: u64 = 1_000_000_000;
/// Free bytes that are as good as none.
const NOTHING: u64 = 32_000_000;
/// How far clocks may differ, in milliseconds.
const SKEW: i64 = 5 * 60_000;
/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// The daemon of a data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Daemon {
    Runs,
    Rests,
}

/// The configuration, if it can be used.
pub(super) fn configuration(place: &Place, found: &mut Findings) -> Option<Config> {
    let (loaded, file) = match house::loaded(place) {
        Ok(loaded) => loaded,
        Err(failure) => {
            found.wrong("config", failure.to_string(), "Mend what is named; `blamed check` shows it again.");
            return None;
        }
    };
    let mut config = loaded.config;
    if let Some(dir) = &place.data_dir {
        config.data_dir.clone_from(dir);
    }
    if let Err(failure) = house::default_project(&mut config, Path::new(".")) {
        found.wrong("config", failure.to_string(), "Run `blamed configure`, or pass --config FILE.");
        return None;
    }
    match &file {
        None => found.beware(
            "config",
            "There is no file: everything is as it is by default.",
            "Run `blamed configure`.",
        ),
        Some(file) => {
            let besides = match loaded.environment.len() {
                0 => String::new(),
                n => format!(", and {n} from the environment"),
            };
            let open = std::fs::metadata(file).is_ok_and(|file| file.permissions().mode() & 0o077 != 0);
            let text = std::fs::read_to_string(file).unwrap_or_default();
            let secret = text.lines().any(|line| {
                let key = line.split('=').next().unwrap_or_default().trim();
                ["smtp_password", "key"].contains(&key)
            });
            if open && secret {
                let what = format!("{} holds secrets, and others may read it.", file.display());
                found.beware(
                    "config",
                    what,
                    format!("chmod 600 {}", house::quoted(&file.display().to_string())),
                );
            } else {
                found.fine("config", format!("{}{besides}", file.display()));
            }
        }
    }
    if config.policy.default_contact.is_none() {
        found.beware(
            "contact",
            "Nobody is told of lines that nobody can be found for.",
            "Set default_contact.",
        );
    }
    Some(config)
}

/// The data directory and what is in it.
pub(super) fn data(config: &Config, found: &mut Findings) -> (Option<Store>, Daemon) {
    let folder = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    let shown = folder.display().to_string();
    let word = house::quoted(&shown);
    let Ok(meta) = std::fs::metadata(&folder) else {
        found.beware("data", format!("There is no {shown} yet."), "`blamed start` makes it.");
        return (None, Daemon::Rests);
    };
    if !meta.is_dir() {
        found.wrong("data", format!("{shown} is no folder."), "Name another one as data_dir.");
        return (None, Daemon::Rests);
    }
    let own = meta.uid() == rustix::process::geteuid().as_raw();
    let open = meta.permissions().mode() & 0o077 != 0;
    if let Err(error) = tempfile::tempfile_in(&folder) {
        let fix = match own {
            true => "Mount it so that it can be written to, or free some space.".to_owned(),
            false => format!("Run this as the user who runs the daemon; or chown -R USER {word}."),
        };
        found.wrong("data", format!("{shown} cannot be written to: {error}."), fix);
    } else if open {
        let what = format!("{shown} holds source code and values, and others may look into it.");
        found.wrong("data", what, format!("chmod 700 {word}"));
    } else {
        found.fine("data", shown);
    }
    if let Ok(disk) = rustix::fs::statvfs(&folder) {
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        let what = format!("{} free.", size(free));
        let fix = "Free some, or have less kept: the section [keep] of the configuration.";
        match free {
            0..NOTHING => found.wrong("disk", what, fix),
            NOTHING..LITTLE => found.beware("disk", what, fix),
            _ => found.fine("disk", what),
        }
    }
    let daemon = match store::holder(&folder) {
        Some(pid) => {
            let by = pid.map(|pid| format!(" as process {pid}")).unwrap_or_default();
            found.fine("daemon", format!("It runs{by}."));
            Daemon::Runs
        }
        None => {
            found.beware(
                "daemon",
                "It does not run.",
                "Start it: `blamed start`, or systemctl start blamed.",
            );
            Daemon::Rests
        }
    };
    (database(&folder, found), daemon)
}

fn database(folder: &Path, found: &mut Findings) -> Option<Store> {
    let damaged = "Stop the daemon, and put a backup in its place: blamed restore FILE.";
    let store = match Store::open_to_read(folder) {
        Ok(Some(store)) => store,
        Ok(None) => return None,
        Err(error @ StoreError::Newer { .. }) => {
            let fix = "Run the version that wrote it, or a later one; or put an older backup in its place.";
            found.wrong("database", format!("{error}."), fix);
            return None;
        }
        Err(error @ StoreError::Older { .. }) => {
            found.beware("database", format!("{error}."), "Start the daemon once.");
            return None;
        }
        Err(error) => {
            found.wrong("database", format!("{error}."), damaged);
            return None;
        }
    };
    let looked = store.read(|tx| Ok::<_, StoreError>((tx.damage()?, tx.bytes()?)));
    match looked {
        Ok((damage, (bytes, _))) if damage.is_empty() => {
            found.fine("database", format!("Whole, of this version, {}.", size(bytes)));
            Some(store)
        }
        Ok((damage, _)) => {
            found.wrong("database", format!("It is damaged: {}.", damage.join("; ")), damaged);
            Some(store)
        }
        Err(error) => {
            found.wrong("database", format!("{error}."), damaged);
            None
        }
    }
}

/// Whether the clock can be believed: nothing was written in its future.
pub(super) fn clock(config: &Config, store: Option<&Store>, now: Timestamp, found: &mut Findings) {
    let last_report = store.and_then(|store| store.read(|tx| tx.last_report()).ok().flatten());
    let last_commit =
        config.projects.iter().flat_map(|project| &project.repositories).filter_map(|repository| {
            let git = git2::Repository::open(config.folder_of(repository)).ok()?;
            let tip = git.head().ok()?.peel_to_commit().ok()?;
            Some(tip.time().seconds().saturating_mul(1_000))
        });
    let newest = last_commit.chain(last_report).max().unwrap_or_default();
    let behind = newest.saturating_sub(now.as_millisecond());
    let fix = "Have it kept: timedatectl set-ntp true.";
    if behind > SKEW {
        let what = format!("It says {now:.0}, and something is from {} later.", ago(behind));
        found.wrong("clock", what, fix);
        return;
    }
    let kept = std::process::Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .output();
    match kept {
        Ok(said) if said.stdout.trim_ascii() == b"no" => {
            found.beware("clock", "Nobody keeps it: it is not synchronized.", fix);
        }
        _ => found.fine("clock", format!("{now:.0}")),
    }
}

/// Whether browsers and programs find the daemon.
pub(super) fn address(config: &Config, daemon: Daemon, found: &mut Findings) {
    let url = house::known_url(config);
    if daemon == Daemon::Rests {
        // A Unix socket that is left over makes way when the daemon starts.
        if let Some(listen) = config.listen.address().filter(|listen| listen.port() != 0)
            && let Err(error) = TcpListener::bind(listen)
        {
            let what = format!("The daemon could not listen on {listen}: {error}.");
            let fix = format!(
                "End what listens there (ss -ltnp 'sport = :{}'), or set another `listen`.",
                listen.port()
            );
            found.wrong("address", what, fix);
        }
        return;
    }
    let agent =
        ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE)).build();
    let agent: ureq::Agent = agent.into();
    let ask = |url: &str| match agent.get(format!("{url}/healthz")).call() {
        Ok(mut answer) => {
            let text = answer.body_mut().read_to_string().unwrap_or_default();
            match text.contains("\"repositories\"") {
                true => Ok(answer.status().as_u16()),
                false => Err(format!("what answers there ({}) is not blamed", answer.status().as_u16())),
            }
        }
        Err(error) => Err(error.to_string()),
    };
    match ask(&url) {
        Ok(200) => found.fine("address", format!("{url} leads here.")),
        Ok(status) => found.wrong(
            "address",
            format!("The daemon takes no reports (it answers {status})."),
            format!("Its log says why; so does {url}/healthz."),
        ),
        Err(error) => {
            let near = house::listening_url(config).filter(|near| *near != url && ask(near).is_ok());
            let fix = match near {
                Some(near) => format!(
                    "The daemon itself answers at {near}. See whether the name leads to this machine, the port is \
                     open, `listen` is not 127.0.0.1 where no proxy is in front, and the proxy knows that address."
                ),
                None => "See the daemon's log, and whether `listen` and `public_url` are those it was started with.".to_owned(),
            };
            found.wrong("address", format!("{url} does not lead to the daemon: {error}."), fix);
        }
    }
}

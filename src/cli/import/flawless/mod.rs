//! `blamed import flawless`: what Flawless was told, taken over.
//!
//! Its settings (`flawless.cfg`) become keys of a configuration file, two of them settings in the data directory.
//! Its lists (a pickled dictionary in its data directory) become rules. Its weekly files of errors are left: counts
//! begin anew. Everything is read before anything is written, and what is there already stays as it is.

mod lists;
mod pickle;
mod settings;

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use self::lists::{Lists, about};
use self::settings::{Fate, Key, Settings};
use crate::cli::configure::draft;
use crate::cli::configure::edit::{Edit, MAIL};
use crate::cli::user::act;
use crate::cli::{Failure, Place, house, operator, print_line};
use crate::clock::Clock;
use crate::config::{Config, EXAMPLE, Environment};
use crate::notify::plain;
use crate::store::{Store, StoreError, Tx};
use crate::triage::rules::{self as triage, Rule};
use crate::web::desk::{Desk, HouseSettings, in_words};

/// Bytes of a file of Flawless's.
const MOST_BYTES: u64 = 64 << 20;
/// Flawless's file of lists, in its data directory.
const LISTS: &str = "flawless-whitelists-config";
/// Its data directory, where none is set.
const DATA: &str = "/tmp/";

/// What is taken over, and where to.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Lines begin with one of:\n  config   a key for blamed.toml (written by --config-out)\n  setting  a \
                        setting, kept in the data directory\n  rule     an entry of a list, kept in the data \
                        directory\n  there    is there already, and stays as it is\n  note     something to know about a \
                        setting that was taken\n  left     has no counterpart, and why"
)]
pub(super) struct Arguments {
    /// Flawless's flawless.cfg
    #[arg(value_name = "FLAWLESS.CFG")]
    file: PathBuf,
    /// Flawless's file of lists [default: flawless-whitelists-config in the data_dir_path of its flawless.cfg]
    #[arg(long, value_name = "FILE")]
    lists: Option<PathBuf>,
    /// Only print what would be taken
    #[arg(long)]
    dry_run: bool,
    /// Write the configuration into this file, which must not be there yet, and use it for this run
    #[arg(long, value_name = "FILE")]
    config_out: Option<PathBuf>,
    #[command(flatten)]
    place: Place,
}

/// Runs the command.
pub(super) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let wrong = |file: &Path, why: &dyn std::fmt::Display, hint: &str| {
        Failure::Wrong(format!("{}: {why}\n\nhint: {hint}", file.display()))
    };
    let file = &arguments.file;
    let text = read(file).map_err(|error| wrong(file, &error, "pass Flawless's flawless.cfg"))?;
    let settings = Settings::read(&String::from_utf8_lossy(&text))
        .map_err(|why| wrong(file, &why, "pass Flawless's flawless.cfg"))?;
    let default = || Path::new(settings.get("data_dir_path").unwrap_or(DATA)).join(LISTS);
    let stored = arguments.lists.clone().unwrap_or_else(default);
    let hint = format!("pass the {LISTS} of Flawless's data directory with --lists");
    let lists = match read(&stored) {
        Ok(bytes) => {
            let value = pickle::read(&bytes).map_err(|why| wrong(&stored, &why, &hint))?;
            Some(Lists::of(&value).map_err(|why| wrong(&stored, &why, &hint))?)
        }
        Err(error) if error.kind() == ErrorKind::NotFound && arguments.lists.is_none() => None,
        Err(error) => return Err(wrong(&stored, &error, &hint)),
    };

    let mut made = Made::new(arguments.config_out.as_deref())?;
    for entry in settings.entries() {
        made.take(&settings, &entry.from, entry.fate)?;
    }
    let place = match (&arguments.config_out, arguments.dry_run) {
        (Some(file), false) => {
            made.write(file)?;
            Place { config: Some(file.clone()), ..arguments.place.clone() }
        }
        (Some(file), true) => {
            let folder = file.parent().unwrap_or(Path::new("")).join(Config::default().data_dir);
            let data_dir = arguments.place.data_dir.clone().or(Some(folder));
            Place { data_dir, ..arguments.place.clone() }
        }
        (None, _) => arguments.place.clone(),
    };
    if lists.is_none() {
        eprintln!("there are no lists: {} is not there", stored.display());
    }
    let mut lists = lists.unwrap_or_default();
    let taken = keep(&place, arguments.dry_run, &settings, &lists.rules)?;
    for (list, why) in lists.left.drain(..) {
        line("left", &list, &why)?;
    }
    let words = if arguments.dry_run { "would be taken" } else { "taken" };
    eprintln!("{taken} {} {words}", if taken == 1 { "rule" } else { "rules" });
    match &arguments.config_out {
        Some(file) if arguments.dry_run => eprintln!("nothing was written, {} neither", file.display()),
        Some(file) => eprintln!("written: {}", file.display()),
        None if arguments.dry_run => eprintln!("nothing was written"),
        None => eprintln!("no configuration was written; --config-out FILE writes one"),
    }
    Ok(())
}

/// A file, unless it is larger than any of Flawless's.
fn read(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    std::fs::File::open(file)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(std::io::Error::other("it is too large to be a file of Flawless's"));
    }
    Ok(bytes)
}

/// Prints what has become of something. Texts are made safe for a terminal.
fn line(kind: &str, from: &str, to: &str) -> Result<(), Failure> {
    let text = format!("{kind:<8} {:<46}  {}", plain::line(from, 600), plain::line(to, 600));
    print_line(text.trim_end())
}

/// A configuration file that is being made.
struct Made {
    edit: Edit,
    file: PathBuf,
    /// Whether it will be written.
    is_for_real: bool,
    /// Holds the password, where there is one.
    environment: Environment,
    password: Option<(PathBuf, String)>,
}

impl Made {
    fn new(file: Option<&Path>) -> Result<Self, Failure> {
        let path = std::path::absolute(file.unwrap_or(Path::new(house::DEFAULT_CONFIG)));
        let made = Self {
            edit: Edit::new(EXAMPLE),
            file: path.map_err(Failure::failed)?,
            is_for_real: file.is_some(),
            environment: Environment::default(),
            password: None,
        };
        if made.is_for_real && made.file.symlink_metadata().is_ok() {
            return Err(there_already(&made.file));
        }
        Ok(made)
    }

    /// Sets what a setting is here, and prints it.
    fn take(&mut self, settings: &Settings, from: &str, fate: Fate) -> Result<(), Failure> {
        let keys = match fate {
            Fate::Left(why) => return line("left", from, &why),
            Fate::Note(said) => return line("note", from, &said),
            Fate::Keys(keys) => keys,
            Fate::Password(password) => {
                let file = self.file.with_file_name("smtp-password");
                let user = settings.get("smtp_user").unwrap_or_default();
                let mut keys = vec![Key(MAIL, "smtp_user", user.into())];
                self.environment =
                    std::mem::take(&mut self.environment).with("BLAMED_MAIL_SMTP_PASSWORD", &password);
                if self.is_for_real {
                    keys.push(Key(MAIL, "smtp_password_file", file.display().to_string().into()));
                    self.password = Some((file, password));
                } else {
                    let said = "mail.smtp_password_file, or BLAMED_MAIL_SMTP_PASSWORD in the environment";
                    line("config", "smtp_password", said)?;
                }
                keys
            }
        };
        let before = self.edit.text().to_owned();
        for Key(section, key, value) in &keys {
            self.edit.set(*section, key, value.clone());
        }
        // What would not be understood is not written.
        if let Err(problems) = Config::read(Some(&self.file), self.edit.text(), &self.environment) {
            self.edit = Edit::new(&before);
            return line("left", from, &problems.problems[0].message);
        }
        let keys: Vec<String> = keys.iter().map(Key::shown).collect();
        line("config", from, &keys.join(", "))
    }

    /// Writes it, and the password beside it.
    fn write(&self, file: &Path) -> Result<(), Failure> {
        let write = |file: &Path, text: &str| {
            draft::write_new(file, text.as_bytes()).map_err(|error| match error.kind() {
                ErrorKind::AlreadyExists => there_already(file),
                _ => Failure::Failed(format!("{}: {error}", file.display())),
            })
        };
        if let Some((file, password)) = &self.password {
            write(file, &format!("{password}\n"))?;
        }
        write(file, self.edit.text()).inspect_err(|_| {
            if let Some((file, _)) = &self.password {
                // It was made just now, for nothing.
                let _ = std::fs::remove_file(file);
            }
        })
    }
}

fn there_already(file: &Path) -> Failure {
    Failure::Wrong(format!(
        "{} is there already, and nothing is overwritten\n\nhint: pass a file in a folder of its own, or take over the \
         lists alone with --config instead of --config-out",
        file.display()
    ))
}

impl Key {
    /// As it stands in a configuration file, with its section. Holds no login.
    fn shown(&self) -> String {
        let Self(section, key, value) = self;
        let value = crate::blame::mirror::without_logins(value.to_string().trim());
        format!("{}{key} = {value}", section.prefix())
    }
}

/// Keeps settings and rules in the data directory. How many rules were taken, or would be.
fn keep(place: &Place, dry_run: bool, settings: &Settings, rules: &[Rule]) -> Result<usize, Failure> {
    let config = house::configuration(place)?;
    let folder = std::path::absolute(&config.data_dir).unwrap_or(config.data_dir);
    if dry_run {
        let plan = match Store::open_to_read(&folder).map_err(house::failure)? {
            Some(store) => store.read(|tx| Plan::of(tx, settings, rules)).map_err(house::failure)?,
            None => Plan::new(settings, rules, None, &[]),
        };
        return plan.print();
    }
    let is_named =
        place.config.is_some() || place.data_dir.is_some() || Path::new(house::DEFAULT_CONFIG).exists();
    let store = match Store::open_beside(&folder).map_err(house::failure)? {
        Some(store) => store,
        None if is_named => Store::open(&folder).map_err(house::failure)?,
        None => return Err(house::no_data(&folder)),
    };
    let now = Clock::system().now().as_millisecond();
    let plan = act(&store, |tx| {
        let plan = Plan::of(tx, settings, rules)?;
        let who = operator();
        let desk = Desk::new(tx, &who, now);
        if let Some(mail) = &plan.settings {
            let settings = HouseSettings { mail: mail.clone(), ..HouseSettings::read(tx)? };
            desk.change_settings(&settings, None)?;
        }
        for rule in &plan.rules {
            desk.add_rule(rule)?;
        }
        Ok(plan)
    })?;
    plan.print()
}

/// What is to be kept of settings and rules, beside what is there.
struct Plan<'a> {
    settings: Option<triage::Settings>,
    rules: Vec<&'a Rule>,
    /// What is printed of it.
    lines: Vec<(&'static str, String, String)>,
}

impl<'a> Plan<'a> {
    fn of(tx: &Tx<'_>, settings: &Settings, rules: &'a [Rule]) -> Result<Self, StoreError> {
        let known: Vec<Rule> = tx.rules()?.into_iter().map(|stored| stored.rule).collect();
        let set = if tx.has_settings()? { Some(tx.settings()?) } else { None };
        Ok(Self::new(settings, rules, set, &known))
    }

    /// `set`: the settings, where somebody has set them already. `known`: the rules that are there.
    fn new(settings: &Settings, rules: &'a [Rule], set: Option<triage::Settings>, known: &[Rule]) -> Self {
        let mut plan = Self { settings: None, rules: Vec::new(), lines: Vec::new() };
        plan.settle(settings, set);
        let known: Vec<Rule> = known.iter().map(about).collect();
        let mut taken: Vec<Rule> = Vec::new();
        for rule in rules {
            let (words, about) = (in_words(rule), about(rule));
            if known.contains(&about) {
                plan.lines.push(("there", words, String::new()));
            } else if taken.contains(&about) {
                let why = "an entry before it is about the same, and counts".to_owned();
                plan.lines.push(("left", words, why));
            } else {
                taken.push(about);
                plan.rules.push(rule);
                plan.lines.push(("rule", words, String::new()));
            }
        }
        plan
    }

    fn settle(&mut self, settings: &Settings, set: Option<triage::Settings>) {
        let mut wanted = set.clone().unwrap_or_default();
        let mut add = |name: &str, from: String, wish: Result<String, String>, is: Option<String>| {
            self.lines.push(match (wish, is) {
                (Err(why), _) => ("left", from, why),
                (Ok(wish), None) => ("setting", from, format!("{name} {wish}")),
                (Ok(wish), Some(is)) if is == wish => ("there", from, format!("{name} {wish}")),
                (Ok(wish), Some(is)) => {
                    let how = format!("{name} is {is}; `blamed settings set {name} {wish}` changes it");
                    ("there", from, how)
                }
            });
        };
        let (from, threshold) = settings.threshold();
        wanted.threshold = *threshold.as_ref().unwrap_or(&wanted.threshold);
        let is = set.as_ref().map(|set| set.threshold.to_string());
        add("threshold", from, threshold.map(|threshold| threshold.to_string()), is);
        if let Some((from, cutoff)) = settings.cutoff() {
            let day = |at: jiff::Timestamp| at.strftime("%Y-%m-%d").to_string();
            wanted.cutoff = cutoff.as_ref().ok().copied().or(wanted.cutoff);
            let is = set.as_ref().map(|set| set.cutoff.map_or("none".to_owned(), day));
            add("cutoff", from, cutoff.map(day), is);
        }
        self.settings = set.is_none().then_some(wanted);
    }

    /// Prints it. How many rules are taken.
    fn print(&self) -> Result<usize, Failure> {
        for (kind, from, to) in &self.lines {
            line(kind, from, to)?;
        }
        Ok(self.rules.len())
    }
}

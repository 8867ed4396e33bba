//! Where changes are made: each in one transaction with its entry in the log of changes. The pages, the API and
//! the command line all come here, so that each is allowed and refused the same.

use axum::http::StatusCode;

use super::form::{describe, terms};
use super::page::Problem;
use super::show;
use crate::notify::notice::Notice;
use crate::pipeline::random_id;
use crate::store::{
    Account, AccountRole, BoardSettings, FaultId, ProjectId, Reach, StoreError, StoredRule, Tx, fingerprint,
};
use crate::triage::rules::{Rule, RuleId, Settings};

/// What a token begins with, so that people and programs that look for leaks know it.
const TOKEN: &str = "blamed_";
/// The days that a token may be good for.
pub(crate) const TOKEN_DAYS: std::ops::RangeInclusive<i64> = 1..=3_650;
/// Characters of a token's name.
const TOKEN_NAME: usize = 100;
/// Tokens of one account.
const MOST_TOKENS: usize = 100;

const DAY: i64 = 24 * 3_600_000;

/// Somebody who changes something, within a transaction.
pub(crate) struct Desk<'t, 's> {
    tx: &'t Tx<'s>,
    who: &'t str,
    now: i64,
}

/// What an edit of a rule does.
pub(crate) enum Edit {
    /// Says something else.
    Rewrite(Box<Rule>),
    /// Switches it off or on.
    Switch { on: bool },
    /// Takes it off its list.
    Remove,
}

/// What has become of an edit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edited {
    /// It was made.
    Done,
    /// Nothing was different.
    Same,
    /// Somebody else was faster: the rule is at another version.
    Conflict,
}

impl<'t, 's> Desk<'t, 's> {
    /// `who` changes something at `now`.
    pub(crate) fn new(tx: &'t Tx<'s>, who: &'t str, now: i64) -> Self {
        Self { tx, who, now }
    }

    fn note(&self, subject: &str, what: &str) -> Result<(), StoreError> {
        self.tx.note_change(self.who, subject, what, self.now)
    }

    /// Adds a rule, unless there is the same one: a form sent twice is one rule. Says whether it is new.
    pub(crate) fn add_rule(&self, rule: &Rule) -> Result<(RuleId, bool), StoreError> {
        if let Some(same) = self.tx.rules()?.into_iter().find(|stored| stored.rule == *rule) {
            return Ok((same.id, false));
        }
        let id = self.tx.add_rule(rule, self.who, self.now)?;
        let one = super::form::List::of(rule).one().to_lowercase();
        self.note(&rule_subject(id), &format!("added {one}: {}", describe(rule)))?;
        Ok((id, true))
    }

    /// Edits a rule that is still at `version`. `None`: there is no such rule.
    pub(crate) fn edit_rule(
        &self,
        id: RuleId,
        version: i64,
        edit: Edit,
    ) -> Result<Option<Edited>, StoreError> {
        let Some(before) = self.rule(id)? else { return Ok(None) };
        let (done, what) = match edit {
            // A form that is sent twice finds what it wanted.
            Edit::Rewrite(rule) if *rule == before.rule => return Ok(Some(Edited::Same)),
            Edit::Rewrite(rule) => {
                let what = format!("changed from {} to {}", describe(&before.rule), describe(&rule));
                let terms = format!("({} → {})", terms(&before.rule), terms(&rule));
                let what = if terms == "( → )" { what } else { format!("{what} {terms}") };
                (self.tx.edit_rule(id, version, &rule)?, what)
            }
            Edit::Switch { on } if on == before.disabled_at.is_none() => return Ok(Some(Edited::Same)),
            Edit::Switch { on: true } => (self.tx.switch_rule(id, version, None)?, "switched on".to_owned()),
            Edit::Switch { on: false } => {
                (self.tx.switch_rule(id, version, Some(self.now))?, "switched off".to_owned())
            }
            Edit::Remove => {
                let what = format!("removed {}", describe(&before.rule));
                (before.version == version && self.tx.remove_rule(id, before.rule.kind())?, what)
            }
        };
        if done {
            self.note(&rule_subject(id), &what)?;
        }
        Ok(Some(if done { Edited::Done } else { Edited::Conflict }))
    }

    /// Takes a rule off its list, whatever its version. `None`: there is no such rule.
    pub(crate) fn remove_rule(&self, id: RuleId) -> Result<Option<()>, StoreError> {
        let Some(version) = self.rule(id)?.map(|rule| rule.version) else { return Ok(None) };
        self.edit_rule(id, version, Edit::Remove)?;
        Ok(Some(()))
    }

    fn rule(&self, id: RuleId) -> Result<Option<StoredRule>, StoreError> {
        Ok(self.tx.rules()?.into_iter().find(|rule| rule.id == id))
    }

    /// Changes the settings that are still as `version` says, if it says so. Says whether anything was different.
    pub(crate) fn change_settings(
        &self,
        after: &HouseSettings,
        version: Option<&str>,
    ) -> Result<bool, Problem> {
        let before = HouseSettings::read(self.tx)?;
        // A form that is sent twice finds what it wanted.
        if *after == before {
            return Ok(false);
        }
        if version.is_some_and(|version| version != before.version()) {
            let said =
                "Somebody else has changed the settings meanwhile. Look at them, then change them again.";
            return Err(Problem::new(StatusCode::CONFLICT, "Somebody was faster", said)
                .way("/settings", "The settings as they are"));
        }
        let mut what = Vec::new();
        let (mail, mail_before) = (&after.mail, &before.mail);
        if mail_before.threshold != mail.threshold {
            what.push(format!("threshold from {} to {}", mail_before.threshold, mail.threshold));
        }
        if mail_before.cutoff != mail.cutoff {
            let day = |at: Option<jiff::Timestamp>| {
                at.map_or("none".to_owned(), |at| show::day(at.as_millisecond()))
            };
            what.push(format!("cutoff from {} to {}", day(mail_before.cutoff), day(mail.cutoff)));
        }
        let (board, board_before) = (&after.board, &before.board);
        for (name, from, to) in [
            ("names on the board", &board_before.names, &board.names),
            ("the first day of the week", &board_before.week_starts, &board.week_starts),
        ] {
            if from != to {
                let word = |value: &Option<String>| value.clone().unwrap_or("as configured".to_owned());
                what.push(format!("{name} from {} to {}", word(from), word(to)));
            }
        }
        if mail != mail_before {
            self.tx.set_settings(mail, self.who, self.now)?;
        }
        self.tx.set_board_settings(board, self.who, self.now)?;
        self.note("settings", &what.join(", "))?;
        Ok(true)
    }

    /// Has the log written by other levels; `None`: by those that are configured.
    pub(crate) fn change_log_levels(&self, levels: Option<&str>) -> Result<bool, Problem> {
        if self.tx.log_levels()?.as_deref() == levels {
            return Ok(false);
        }
        self.tx.set_log_levels(levels, self.who, self.now)?;
        self.note("settings", &format!("log to {}", levels.unwrap_or("what is configured")))?;
        Ok(true)
    }

    /// Gives an address an account, unless it has one. `projects`: those it sees; `None`: all. Says whether it is
    /// new.
    pub(crate) fn add_person(
        &self,
        mail: &str,
        role: AccountRole,
        projects: Option<&[ProjectId]>,
    ) -> Result<(Account, bool), Problem> {
        let mail = mail.trim().to_lowercase();
        if mail.len() > 254 || mail.parse::<lettre::Address>().is_err() {
            return Err(Problem::unfit("mail", "That is no mail address."));
        }
        if let Some(known) = self.tx.account_of_mail(&mail)? {
            return Ok((known, false));
        }
        let account = self.tx.ensure_account(&mail, role, self.now)?;
        let seen = self.give(account.id, projects)?;
        self.note(&account_subject(account.id), &format!("added {mail} as {}{seen}", role.as_str()))?;
        Ok((account, true))
    }

    /// Changes what somebody may do and see, where that is still as `version` says, if it says so. `projects`: see
    /// [`Self::add_person`]. Says whether anything was different.
    pub(crate) fn change_person(
        &self,
        account: &Account,
        role: AccountRole,
        projects: Option<&[ProjectId]>,
        version: Option<&str>,
    ) -> Result<bool, Problem> {
        let given = self.tx.projects_given(account.id)?;
        let before = account.limited.then_some(given.as_slice());
        // A form that is sent twice finds what it wanted.
        if account.role == role && before == projects {
            return Ok(false);
        }
        self.still(account, version)?;
        if role != AccountRole::Admin {
            self.not_the_last_admin(account)?;
        }
        let mut what = Vec::new();
        if self.tx.set_role(account.id, role)? {
            what.push(format!(
                "made {} {} instead of {}",
                account.mail,
                role.as_str(),
                account.role.as_str()
            ));
        }
        if before != projects {
            let seen = self.give(account.id, projects)?;
            what.push(format!(
                "{}{}",
                account.mail,
                if seen.is_empty() { ", sees all projects" } else { &seen }
            ));
        }
        if what.is_empty() {
            return Ok(false);
        }
        self.note(&account_subject(account.id), &what.join("; "))?;
        Ok(true)
    }

    /// Limits an account; what it sees, in words.
    fn give(&self, account: i64, projects: Option<&[ProjectId]>) -> Result<String, Problem> {
        let Some(given) = projects else {
            self.tx.give_projects(account, None)?;
            return Ok(String::new());
        };
        let known = self.tx.projects()?;
        let mut names = Vec::new();
        for id in given {
            let project = known.iter().find(|project| project.id == *id);
            names.push(
                project.ok_or_else(|| Problem::unfit("projects", "There is no such project."))?.name.as_str(),
            );
        }
        self.tx.give_projects(account, projects)?;
        let own =
            if names.is_empty() { "only projects with code of theirs".to_owned() } else { names.join(", ") };
        Ok(format!(", sees {own}"))
    }

    /// Nobody else has changed what somebody may do since it was as `version` says.
    fn still(&self, account: &Account, version: Option<&str>) -> Result<(), Problem> {
        let given = self.tx.projects_given(account.id)?;
        if version.is_none_or(|version| version == person_version(account, &given)) {
            return Ok(());
        }
        let changes = self.tx.changes_of(&account_subject(account.id), 50)?;
        let by = changes.iter().find(|change| change.what.contains(&account.mail));
        let by = by.map_or("Somebody else", |change| change.who.as_str());
        let said = format!(
            "{by} has changed what {} may do meanwhile. Nothing was saved. Look at it, then change it again.",
            account.mail
        );
        Err(Problem::new(StatusCode::CONFLICT, "Somebody was faster", &said).way("/people", "People"))
    }

    /// Takes somebody's account away, which signs them out everywhere. `version`: see [`Self::change_person`].
    pub(crate) fn remove_person(&self, account: &Account, version: Option<&str>) -> Result<(), Problem> {
        self.still(account, version)?;
        self.not_the_last_admin(account)?;
        self.tx.remove_account(account.id)?;
        self.note(&account_subject(account.id), &format!("removed {}", account.mail))?;
        Ok(())
    }

    fn not_the_last_admin(&self, account: &Account) -> Result<(), Problem> {
        let admins = self.tx.accounts()?.iter().filter(|a| a.role == AccountRole::Admin).count();
        if account.role == AccountRole::Admin && admins == 1 {
            let said = "Somebody has to be admin. Make somebody else one first.";
            return Err(
                Problem::new(StatusCode::CONFLICT, "This is the last admin", said).way("/people", "People")
            );
        }
        Ok(())
    }

    /// Gives an account a password by its hash, or takes it away. Every other browser is signed out.
    pub(crate) fn set_password(
        &self,
        account: &Account,
        hash: Option<&str>,
        session: &str,
    ) -> Result<(), StoreError> {
        self.tx.set_password(account.id, hash)?;
        self.tx.end_other_sessions(account.id, session)?;
        let what = if hash.is_some() { "set a password" } else { "removed the password" };
        self.note(&account_subject(account.id), what)
    }

    /// Has an account's owner read times in a zone; `None`: in their browser's, or the house's.
    pub(crate) fn set_zone(&self, account: &Account, zone: Option<&str>) -> Result<bool, Problem> {
        if zone.is_some_and(|zone| super::zones::zone(zone).is_none()) {
            return Err(Problem::unfit("zone", "There is no such time zone."));
        }
        let changed = self.tx.set_zone(account.id, zone)?;
        if changed {
            let what = format!("time zone to {}", zone.unwrap_or("the browser’s"));
            self.note(&account_subject(account.id), &what)?;
        }
        Ok(changed)
    }

    /// Makes a token of an account: its number and itself, which is shown once and kept nowhere. `known`: where it
    /// still has so many, for a form that is sent twice.
    pub(crate) fn add_token(
        &self,
        account: &Account,
        name: &str,
        scope: AccountRole,
        days: i64,
        known: Option<usize>,
    ) -> Result<(i64, String), Problem> {
        let name = name.trim();
        if name.is_empty() || name.chars().count() > TOKEN_NAME {
            return Err(Problem::unfit("name", "Say in some words what it is for."));
        }
        if !TOKEN_DAYS.contains(&days) {
            let said = format!("From {} to {} days.", TOKEN_DAYS.start(), TOKEN_DAYS.end());
            return Err(Problem::unfit("days", &said));
        }
        let tokens = self.tx.tokens(Some(account.id))?.len();
        if known.is_some_and(|known| known != tokens) {
            let said = "Another token was made or revoked meanwhile, perhaps by this very form. Look at the list first.";
            return Err(Problem::new(StatusCode::CONFLICT, "No token was made", said)
                .way("/you#tokens", "Your tokens"));
        }
        if tokens >= MOST_TOKENS {
            return Err(Problem::unfit("name", "There are too many tokens already. Revoke some."));
        }
        let token = format!("{TOKEN}{}{}", random_id(), random_id());
        let until = self.now + days * DAY;
        let id = self.tx.add_token(&fingerprint(&token), account.id, name, scope, self.now, until)?;
        let what = format!(
            "made token {id} ({}) for {}, until {}",
            scope_name(scope),
            account.mail,
            show::day(until)
        );
        self.note(&account_subject(account.id), &what)?;
        Ok((id, token))
    }

    /// Refuses a token from now on: of an account, or whosever it is. `false`: there is none of that number.
    pub(crate) fn revoke_token(&self, id: i64, account: Option<i64>) -> Result<bool, StoreError> {
        let Some(owner) = self.tx.tokens(account)?.into_iter().find(|token| token.id == id) else {
            return Ok(false);
        };
        self.tx.remove_token(id, account)?;
        self.note(&format!("token {id}"), &format!("revoked, of {}", owner.mail))?;
        Ok(true)
    }

    /// Gives a project another key, where it still has as many as `known`, if that is said: of a form that is sent
    /// twice, one makes a key.
    pub(crate) fn add_key(&self, project: ProjectId, known: Option<usize>) -> Result<String, Problem> {
        let name = self.tx.project_name(project)?.ok_or_else(no_project)?;
        let keys = self.tx.all_keys(project)?.len();
        if known.is_some_and(|known| known != keys) {
            let said = "Another key was made meanwhile, perhaps by this very form. Look at the list first.";
            return Err(
                Problem::new(StatusCode::CONFLICT, "No key was made", said).way("/projects", "All projects")
            );
        }
        let key = random_id();
        self.tx.add_key(project, &key, self.now)?;
        self.note(&format!("project {name}"), "a new key")?;
        Ok(key)
    }

    /// The key of a project that is called `id` where keys are not shown.
    pub(crate) fn key(&self, project: ProjectId, id: &str) -> Result<Option<String>, StoreError> {
        let mut keys = self.tx.all_keys(project)?.into_iter().map(|key| key.key);
        Ok(keys.find(|key| key_id(key) == id))
    }

    /// Refuses a key of a project from now on. `false`: it has no such key that is good.
    pub(crate) fn revoke_key(&self, project: ProjectId, key: &str) -> Result<bool, Problem> {
        let name = self.tx.project_name(project)?.ok_or_else(no_project)?;
        if !self.tx.revoke_key(project, key, self.now)? {
            return Ok(false);
        }
        // The log is read by more people than the key is for.
        let short = key.get(..6).unwrap_or("");
        self.note(&format!("project {name}"), &format!("revoked the key {short}…"))?;
        Ok(true)
    }

    /// Has a mail tried again. `false`: there is no such mail, or it was sent.
    pub(crate) fn retry_mail(&self, id: i64) -> Result<bool, StoreError> {
        let retried = self.tx.retry_delivery(id, self.now)?;
        if retried {
            self.note(&format!("mail {id}"), "tried again")?;
        }
        Ok(retried)
    }

    /// Owes a mail about a fault once more, to `to`, after `mails` others. `false`: that was done already.
    pub(crate) fn send_again(
        &self,
        id: FaultId,
        (mails, to): (u32, &str),
        message_id: &str,
        notice: &Notice,
    ) -> Result<bool, StoreError> {
        let mark = format!("again, after {mails}");
        let owed = self.tx.owe(Some(id.0), &mark, to, message_id, notice, self.now)?;
        if owed {
            self.note(&format!("fault {}", id.0), "had its mail sent again")?;
        }
        Ok(owed)
    }

    /// Forgets a fault within reach, with all that is kept of it. `false`: there is none.
    pub(crate) fn delete_fault(&self, id: FaultId, reach: &Reach) -> Result<bool, StoreError> {
        if self.tx.fault_within(id, reach)?.is_none() {
            return Ok(false);
        }
        self.tx.remove_fault(id)?;
        self.note(&format!("fault {}", id.0), "deleted")?;
        Ok(true)
    }
}

/// The scopes of tokens by the role that each stands for.
const SCOPES: [(AccountRole, &str); 3] =
    [(AccountRole::Reader, "read"), (AccountRole::Developer, "write"), (AccountRole::Admin, "admin")];

/// What the scope is called that may do as much as that role.
pub(crate) fn scope_name(role: AccountRole) -> &'static str {
    SCOPES.iter().find(|(scope, _)| *scope == role).map_or("read", |(_, name)| name)
}

/// The scope of that name. `None`: there is none.
pub(crate) fn scope_of(name: &str) -> Option<AccountRole> {
    SCOPES.iter().find(|(_, scope)| *scope == name).map(|(role, _)| *role)
}

/// What may change while the daemon runs.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HouseSettings {
    /// Who is mailed about what.
    pub(crate) mail: Settings,
    /// How the board is shown.
    pub(crate) board: BoardSettings,
}

impl HouseSettings {
    /// As they are.
    pub(crate) fn read(tx: &Tx<'_>) -> Result<Self, StoreError> {
        Ok(Self { mail: tx.settings()?, board: tx.board_settings()? })
    }

    /// Tells one state of them from another.
    pub(crate) fn version(&self) -> String {
        let cutoff = self.mail.cutoff.map(|cutoff| cutoff.to_string());
        let parts = [&cutoff, &self.board.names, &self.board.week_starts];
        let parts = parts.map(|part| part.as_deref().unwrap_or_default()).join(" ");
        fingerprint(&format!("{} {parts}", self.mail.threshold))[..16].to_owned()
    }
}

/// Tells one state of what somebody may do and see from another.
pub(crate) fn person_version(account: &Account, given: &[ProjectId]) -> String {
    let mut given: Vec<_> = given.iter().map(|id| id.0.to_string()).collect();
    given.sort();
    let seen = if account.limited { given.join(",") } else { "all".to_owned() };
    fingerprint(&format!("{} {} {seen}", account.id, account.role.as_str()))[..16].to_owned()
}

/// What a key is called where it must not be shown.
pub(crate) fn key_id(key: &str) -> String {
    fingerprint(key)[..16].to_owned()
}

/// A rule as a line of text: its list, what it is about, and what else it says.
pub(crate) fn in_words(rule: &Rule) -> String {
    let line = format!("{}: {}", super::form::List::of(rule).one(), describe(rule));
    let terms = terms(rule);
    if terms.is_empty() { line } else { format!("{line} ({terms})") }
}

/// What the log calls a rule.
pub(crate) fn rule_subject(id: RuleId) -> String {
    format!("rule {}", id.0)
}

fn account_subject(id: i64) -> String {
    format!("account {id}")
}

fn no_project() -> Problem {
    Problem::missing(
        "There is no such project",
        "The number is mistyped, or the project is not there any more.",
    )
    .way("/projects", "All projects")
}

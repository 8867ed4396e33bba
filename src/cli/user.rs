//! `blamed user`: who may look at the pages.

use clap::Subcommand;

use super::house::{self, open_store_beside};
use super::{Failure, Place, operator, print_line};
use crate::clock::Clock;
use crate::store::{Account, AccountRole, ProjectId, Store, Tx};
use crate::web::Problem;
use crate::web::desk::Desk;
use crate::web::one_time;

/// Keep the people who may look at the pages.
///
/// reader: looks. developer: changes faults and rules, too. admin: changes settings, projects and people, too. A
/// running daemon follows every change at once.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Give somebody an account, if they have none; prints a link that signs them in, once, within a day
    Add {
        /// Their mail address
        #[arg(value_name = "ADDRESS", value_parser = super::rules::address)]
        mail: String,
        /// reader, developer or admin
        #[arg(long, value_name = "ROLE", default_value = "developer", value_parser = role)]
        role: AccountRole,
        /// Sees this project and no other, besides those with code of theirs (may be given several times)
        /// [default: all]
        #[arg(long = "project", value_name = "NAME")]
        projects: Vec<String>,
    },
    /// List everybody, one a line: address, role, projects
    List {
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Change what somebody may do
    Role {
        /// Their mail address
        #[arg(value_name = "ADDRESS")]
        mail: String,
        /// reader, developer or admin
        #[arg(value_parser = role)]
        role: AccountRole,
    },
    /// Take somebody's account away; they are signed out everywhere, their tokens end, and they stay out until they
    /// are added again
    Remove {
        /// Their mail address
        #[arg(value_name = "ADDRESS")]
        mail: String,
    },
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let (place, who) = (&arguments.place, operator());
    let now = Clock::system().now().as_millisecond();
    match arguments.action {
        Action::Add { mail, role, projects } => {
            let config = house::configuration(place)?;
            let store = open_store_beside(place)?;
            let (new, path) = act(&store, |tx| {
                let given = numbers(tx, &projects)?;
                let given = (!projects.is_empty()).then_some(given.as_slice());
                let (account, new) = Desk::new(tx, &who, now).add_person(&mail, role, given)?;
                let path = one_time(tx, &account.mail, now)?;
                let what = format!("printed a sign-in link for {}", account.mail);
                tx.note_change(&who, &format!("account {}", account.id), &what, now)?;
                Ok((new, path))
            })?;
            if !new {
                eprintln!("{mail} has an account already, which stays as it is. This link signs them in:");
            }
            let url = house::known_url(&config);
            print_line(&format!("{}{path}", url.trim_end_matches('/')))
        }
        Action::List { json } => {
            let people = act(&open_store_beside(place)?, |tx| {
                let known = tx.projects()?;
                let name = |id: ProjectId| known.iter().find(|p| p.id == id).map(|p| p.name.clone());
                let mut people = Vec::new();
                for account in tx.accounts()? {
                    let given =
                        tx.projects_given(account.id)?.into_iter().filter_map(name).collect::<Vec<_>>();
                    people.push((account, given));
                }
                Ok(people)
            })?;
            if people.is_empty() && !json {
                eprintln!("Nobody has an account. Add somebody with: blamed user add ADDRESS");
            }
            for (account, given) in people {
                print_line(&if json { as_json(&account, &given) } else { as_text(&account, &given) })?;
            }
            Ok(())
        }
        Action::Role { mail, role } => act(&open_store_beside(place)?, |tx| {
            let account = known(tx, &mail)?;
            let given = tx.projects_given(account.id)?;
            let given = account.limited.then_some(given.as_slice());
            Desk::new(tx, &who, now).change_person(&account, role, given, None).map(drop)
        }),
        Action::Remove { mail } => act(&open_store_beside(place)?, |tx| {
            let account = known(tx, &mail)?;
            Desk::new(tx, &who, now).remove_person(&account, None)
        }),
    }
}

/// Does something in one transaction.
pub(super) fn act<T>(store: &Store, work: impl FnOnce(&Tx<'_>) -> Result<T, Problem>) -> Result<T, Failure> {
    store.write(work).map_err(|problem| Failure::Failed(problem.to_string()))
}

/// The account of an address.
pub(super) fn known(tx: &Tx<'_>, mail: &str) -> Result<Account, Problem> {
    let account = tx.account_of_mail(&mail.to_lowercase())?;
    account.ok_or_else(|| {
        Problem::missing("nobody", &format!("{mail} has no account; `blamed user list` shows all"))
    })
}

fn numbers(tx: &Tx<'_>, names: &[String]) -> Result<Vec<ProjectId>, Problem> {
    let number = |name: &String| {
        tx.project_of_name(name)?.ok_or_else(|| {
            let said = format!("there is no project {name:?}; `blamed start` prints all");
            Problem::missing("no project", &said)
        })
    };
    names.iter().map(number).collect()
}

fn as_json(account: &Account, given: &[String]) -> String {
    let projects = account.limited.then_some(given);
    serde_json::json!({ "mail": account.mail, "role": account.role.as_str(), "projects": projects })
        .to_string()
}

fn as_text(account: &Account, given: &[String]) -> String {
    let sees = match (account.limited && account.role != AccountRole::Admin, given) {
        (false, _) => "all projects".to_owned(),
        (true, []) => "projects with code of theirs".to_owned(),
        (true, given) => given.join(", "),
    };
    format!("{}\t{}\t{sees}", account.mail, account.role.as_str())
}

fn role(text: &str) -> Result<AccountRole, String> {
    AccountRole::read(text).ok_or_else(|| "no role: reader, developer or admin".to_owned())
}

//! `blamed token`: what programs show to the API.

use clap::Subcommand;

use super::house::open_store_beside;
use super::user::{act, known};
use super::{Failure, Place, operator, print_line};
use crate::clock::Clock;
use crate::store::{AccountRole, ApiToken};
use crate::web::desk::{Desk, scope_name, scope_of};

/// Keep the tokens that programs show to the API.
///
/// A token acts for somebody with an account, and may never more than they may. read: looks. write: changes faults
/// and rules, too. admin: changes settings, projects and people, too.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    action: Action,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a token; prints it, this once
    Add {
        /// Whom it acts for
        #[arg(value_name = "ADDRESS")]
        mail: String,
        /// What it is for, in some words
        #[arg(long, value_name = "TEXT")]
        name: String,
        /// read, write or admin
        #[arg(long, value_name = "SCOPE", default_value = "read", value_parser = scope)]
        scope: AccountRole,
        /// For how many days it is good
        #[arg(long, value_name = "N", default_value_t = 90)]
        days: i64,
    },
    /// List the tokens, one a line
    List {
        /// Print one JSON object a line
        #[arg(long)]
        json: bool,
    },
    /// Refuse a token from now on
    Revoke {
        /// Its number, as `list` shows it
        id: i64,
    },
}

/// Runs the command.
pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let (store, who) = (open_store_beside(&arguments.place)?, operator());
    let now = Clock::system().now().as_millisecond();
    match arguments.action {
        Action::Add { mail, name, scope, days } => {
            let (_, token) = act(&store, |tx| {
                Desk::new(tx, &who, now).add_token(&known(tx, &mail)?, &name, scope, days, None)
            })?;
            print_line(&token)
        }
        Action::List { json } => {
            let tokens = store.read(|tx| tx.tokens(None)).map_err(Failure::failed)?;
            if tokens.is_empty() && !json {
                eprintln!("There are no tokens. Make one with: blamed token add ADDRESS --name TEXT");
            }
            for token in tokens {
                print_line(&if json { as_json(&token) } else { as_text(&token, now) })?;
            }
            Ok(())
        }
        Action::Revoke { id } => {
            if act(&store, |tx| Ok(Desk::new(tx, &who, now).revoke_token(id, None)?))? {
                return Ok(());
            }
            Err(Failure::Failed(format!("no token has number {id}; `blamed token list` shows all")))
        }
    }
}

fn time(at: i64) -> String {
    jiff::Timestamp::from_millisecond(at).unwrap_or_default().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

fn as_json(token: &ApiToken) -> String {
    let ApiToken { id, mail, name, scope, created_at, used_at, expires_at } = token;
    serde_json::json!({
        "id": id, "mail": mail, "name": name, "scope": scope_name(*scope), "created_at": time(*created_at),
        "used_at": used_at.map(time), "expires_at": time(*expires_at),
    })
    .to_string()
}

fn as_text(token: &ApiToken, now: i64) -> String {
    let ended = if token.expires_at <= now { "ended" } else { "until" };
    let used = token.used_at.map_or("never used".to_owned(), |at| format!("used {}", time(at)));
    let (id, scope, end) = (token.id, scope_name(token.scope), time(token.expires_at));
    format!("{id}\t{}\t{scope}\t{ended} {end}\t{used}\t{}", token.mail, token.name)
}

fn scope(text: &str) -> Result<AccountRole, String> {
    scope_of(text).ok_or_else(|| "no scope: read, write or admin".to_owned())
}

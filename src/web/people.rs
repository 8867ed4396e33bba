//! Who may look at the pages, and at which projects.

use askama::Template;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};

use super::Web;
use super::desk::{Desk, person_version};
use super::door::{Posted, Visitor};
use super::page::{Answer, Problem, Shell, html};
use super::params::Params;
use super::show::When;
use crate::store::{Account, AccountRole, Project, ProjectId};

#[derive(Template)]
#[template(path = "web/people.html")]
struct PeoplePage {
    shell: Shell,
    people: Vec<Person>,
    projects: Vec<Project>,
    authors: bool,
    mail: String,
    wrong: &'static str,
}

/// Somebody, and which projects they were given.
struct Person {
    account: Account,
    since: When,
    given: Vec<ProjectId>,
    /// What its forms began with.
    version: String,
}

/// Everybody.
pub(super) async fn page(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let mut page = people(&web, visitor, "", "").await?;
    page.shell = page.shell.saying(&params);
    html(&page)
}

async fn people(web: &Web, visitor: Visitor, mail: &str, wrong: &'static str) -> Result<PeoplePage, Problem> {
    let times = web.times(&visitor);
    let read = web.read(move |tx| {
        let mut people = Vec::new();
        for account in tx.accounts()? {
            let since = times.when(account.created_at);
            let given = tx.projects_given(account.id)?;
            people.push(Person { version: person_version(&account, &given), given, account, since });
        }
        Ok((people, tx.projects()?))
    });
    let (people, projects) = read.await?;
    let authors = web.0.settings.authors;
    let shell = Shell::new("People", "people", visitor);
    Ok(PeoplePage { shell, people, projects, authors, mail: mail.to_owned(), wrong })
}

/// Adds somebody, changes a role, removes somebody.
pub(super) async fn change(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Extension(Posted(posted)): Extension<Posted>,
) -> Answer {
    let (who, now) = (visitor.who(), web.now());
    let mail = posted.get("mail").to_lowercase();
    let action = posted.get("action").to_owned();
    let role = AccountRole::read(posted.get("role")).unwrap_or(AccountRole::Reader);
    if action == "add" && mail.parse::<lettre::Address>().is_err() {
        let mut response = html(&people(&web, visitor, &mail, "That is no mail address.").await?)?;
        *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
        return Ok(response);
    }
    let version = posted.given("version").map(str::to_owned);
    let chosen = posted.all("project").filter_map(|id| id.parse().ok().map(ProjectId));
    let projects: Option<Vec<ProjectId>> = (posted.get("see") == "some").then(|| chosen.collect());
    let said = web
        .write(move |tx| {
            let desk = Desk::new(tx, &who, now);
            if action == "add" {
                let (_, new) = desk.add_person(&mail, role, projects.as_deref())?;
                return Ok(if new { "person-added" } else { "same" });
            }
            let Some(account) = tx.account_of_mail(&mail)? else { return Ok("same") };
            if action == "remove" {
                desk.remove_person(&account, version.as_deref())?;
                return Ok("person-removed");
            }
            let changed = desk.change_person(&account, role, projects.as_deref(), version.as_deref())?;
            Ok(if changed { "person-changed" } else { "same" })
        })
        .await?;
    Ok(Redirect::to(&format!("/people?said={said}")).into_response())
}

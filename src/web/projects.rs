//! Projects, and the keys that their programs report with.

use askama::Template;
use axum::extract::{Extension, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};

use super::Web;
use super::desk::{Desk, key_id};
use super::door::{Posted, Visitor};
use super::page::{Answer, Problem, Shell, html};
use super::params::Params;
use super::show::When;
use crate::ingest::snippets::{Snippet, snippets};
use crate::store::{Project, ProjectId};

#[derive(Template)]
#[template(path = "web/projects.html")]
struct ProjectsPage {
    shell: Shell,
    projects: Vec<(Project, Vec<Shown>)>,
    /// What to set in each client of the project of that number, with a key that was just made, which is shown this
    /// once, or with what stands for one.
    snippets: Vec<(ProjectId, Vec<Snippet>)>,
    fresh: Option<(ProjectId, String)>,
}

impl ProjectsPage {
    /// The key that was just made for a project.
    fn fresh(&self, project: &Project) -> Option<&str> {
        self.fresh.as_ref().filter(|(id, _)| *id == project.id).map(|(_, key)| key.as_str())
    }

    fn snippets(&self, project: &Project) -> impl Iterator<Item = &Snippet> {
        self.snippets.iter().filter(|(id, _)| *id == project.id).flat_map(|(_, snippets)| snippets)
    }
}

/// A key as it is shown: people who look over a shoulder learn nothing to report with.
struct Shown {
    /// What it is called here.
    id: String,
    /// Enough of it to know it by.
    short: String,
    created: When,
    revoked: Option<When>,
    used: Option<When>,
    /// How often it was refused because it came too often, and when last.
    limited: Option<(u64, When)>,
}

/// What stands for a key where none is shown.
const STAND_IN: &str = "KEY";

/// All projects.
pub(super) async fn page(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let mut page = web.projects_page(visitor, None).await?;
    page.shell = page.shell.saying(&params);
    html(&page)
}

impl Web {
    async fn projects_page(
        &self,
        visitor: Visitor,
        fresh: Option<(ProjectId, String)>,
    ) -> Result<ProjectsPage, Problem> {
        let times = self.times(&visitor);
        let url = self.address("");
        let read = self.read(move |tx| {
            let mut all = Vec::new();
            for project in tx.projects()? {
                let keys = tx.all_keys(project.id)?.into_iter().map(|key| Shown {
                    id: key_id(&key.key),
                    short: key.key.chars().take(6).collect(),
                    created: times.when(key.created_at),
                    revoked: key.revoked_at.map(|at| times.when(at)),
                    used: key.used.used_at.map(|at| times.when(at)),
                    limited: key.used.limited_at.map(|at| (key.used.limited, times.when(at))),
                });
                let keys = keys.collect();
                all.push((project, keys));
            }
            Ok(all)
        });
        let projects = read.await?;
        let snippets = projects.iter().map(|(project, _)| {
            let own = fresh.as_ref().filter(|(id, _)| *id == project.id);
            let key = own.map_or(STAND_IN, |(_, key)| key.as_str());
            (project.id, snippets(&url, project.id, key, None))
        });
        let snippets = snippets.collect();
        Ok(ProjectsPage { shell: Shell::new("Projects", "projects", visitor), projects, snippets, fresh })
    }
}

/// Makes a key, which is shown at once and never again, or revokes one.
pub(super) async fn change(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Extension(Posted(posted)): Extension<Posted>,
) -> Answer {
    let (who, now) = (visitor.who(), web.now());
    let project = posted.get("project").parse().map(ProjectId).unwrap_or(ProjectId(0));
    let (revoked, known) = (posted.get("revoke").to_owned(), posted.get("keys").parse().ok());
    let made = web.write(move |tx| {
        let desk = Desk::new(tx, &who, now);
        if revoked.is_empty() {
            return Ok(Err(desk.add_key(project, known)?));
        }
        let Some(key) = desk.key(project, &revoked)? else { return Ok(Ok("same")) };
        Ok(Ok(if desk.revoke_key(project, &key)? { "key-revoked" } else { "same" }))
    });
    let key = match made.await? {
        Ok(said) => return Ok(Redirect::to(&format!("/projects?said={said}")).into_response()),
        Err(key) => key,
    };
    let mut response = html(&web.projects_page(visitor, Some((project, key))).await?)?;
    *response.status_mut() = StatusCode::CREATED;
    Ok(response)
}

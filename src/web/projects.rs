//! Projects, and the keys that their programs report with.

use askama::Template;
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Redirect};

use super::Web;
use super::desk::Desk;
use super::door::{Posted, Visitor};
use super::page::{Answer, Shell, html};
use super::params::Params;
use super::show::When;
use crate::ingest::snippets::{Snippet, snippets};
use crate::store::{Project, ProjectId};

#[derive(Template)]
#[template(path = "web/projects.html")]
struct ProjectsPage {
    shell: Shell,
    projects: Vec<(Project, Vec<Shown>)>,
}

/// A key as it is shown.
struct Shown {
    key: String,
    /// Enough of it to know it by.
    short: String,
    created: When,
    revoked: Option<When>,
    used: Option<When>,
    /// How often it was refused because it came too often, and when last.
    limited: Option<(u64, When)>,
    /// What to set in each client; nothing where it is revoked.
    snippets: Vec<Snippet>,
}

/// All projects.
pub(super) async fn page(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let now = web.now();
    let url = web.address("");
    let projects = web
        .read(move |tx| {
            let mut all = Vec::new();
            for project in tx.projects()? {
                let keys = tx.all_keys(project.id)?.into_iter().map(|key| Shown {
                    short: key.key.chars().take(6).collect(),
                    snippets: match key.revoked_at {
                        None => snippets(&url, project.id, &key.key, None),
                        Some(_) => Vec::new(),
                    },
                    key: key.key,
                    created: When { at: key.created_at, now },
                    revoked: key.revoked_at.map(|at| When { at, now }),
                    used: key.used.used_at.map(|at| When { at, now }),
                    limited: key.used.limited_at.map(|at| (key.used.limited, When { at, now })),
                });
                let keys = keys.collect();
                all.push((project, keys));
            }
            Ok(all)
        })
        .await?;
    let shell = Shell::new("Projects", "projects", visitor).saying(&params);
    html(&ProjectsPage { shell, projects })
}

/// Makes or revokes a key.
pub(super) async fn change(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Extension(Posted(posted)): Extension<Posted>,
) -> Answer {
    let (who, now) = (visitor.who(), web.now());
    let project = posted.get("project").parse().map(ProjectId).unwrap_or(ProjectId(0));
    let key = posted.get("revoke").to_owned();
    let said = web
        .write(move |tx| {
            let desk = Desk::new(tx, &who, now);
            if key.is_empty() {
                desk.add_key(project)?;
                return Ok("key-made");
            }
            Ok(if desk.revoke_key(project, &key)? { "key-revoked" } else { "same" })
        })
        .await?;
    Ok(Redirect::to(&format!("/projects?said={said}")).into_response())
}

//! The lists that people keep: shown, tried, added to, edited, switched off, removed.
//!
//! An edit says which version of the rule it began with. Where somebody was faster, it is not saved: the
//! page shows what stands there now beside what was meant.

use askama::Template;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect};

use super::Web;
use super::desk::{Desk, Edit, Edited, rule_subject};
use super::door::{Posted, Visitor};
use super::form::{Form, Input, List, describe, terms};
use super::page::{Answer, Problem, Shell, html};
use super::params::Params;
use super::show::{Count, Times, When};
use super::trial::Trial;
use crate::store::{Change, StoredRule};
use crate::triage::rules::{Rule, RuleId};

#[derive(Template)]
#[template(path = "web/rules.html")]
struct RulesPage {
    shell: Shell,
    lists: Vec<(List, Vec<Entry>)>,
}

/// A rule in its list.
struct Entry {
    id: i64,
    words: String,
    terms: String,
    hits: Count,
    last_hit: Option<When>,
    created: When,
    created_by: String,
    off: bool,
    expired: bool,
}

#[derive(Template)]
#[template(path = "web/rule.html")]
struct RulePage {
    shell: Shell,
    form: Form,
    /// The stored rule that is edited. `None`: a new one.
    entry: Option<Entry>,
    version: i64,
    trial: Option<Trial>,
    /// What stands there now, where somebody else was faster.
    conflict: String,
    address: String,
    changes: Vec<(When, Change)>,
}

/// All lists.
pub(super) async fn list(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let times = web.times(&visitor);
    let rules = web.read(|tx| Ok(tx.rules()?)).await?;
    let lists = List::ALL.map(|list| {
        let own = rules.iter().filter(|stored| stored.rule.kind() == list.kind());
        (list, own.map(|stored| entry(stored, &times)).collect())
    });
    let shell = Shell::new("Rules", "rules", visitor).saying(&params);
    html(&RulesPage { shell, lists: lists.into() })
}

/// Flawless's address of one list: leads to it.
pub(super) async fn view_config(params: Params) -> Answer {
    let key = params.get("key");
    let anchor = match key {
        "" => return Ok(Redirect::to("/rules").into_response()),
        "known_errors" => List::KnownErrors,
        "building_blocks" => List::BuildingBlocks,
        "third_party_whitelist" => List::ThirdParty,
        "ignored_exceptions" => List::IgnoredExceptions,
        "watch_list" => List::Watchers,
        "email_remapping" => List::Remaps,
        "disownership_list" => List::Disowned,
        _ => {
            let said = "key takes the name of a list, such as known_errors.";
            return Err(Problem::missing("There is no such list", said).way("/rules", "All rules"));
        }
    };
    Ok(Redirect::to(&format!("/rules#{}", anchor.kind())).into_response())
}

/// The empty form of a list.
pub(super) async fn blank(
    list: List,
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let form = Form::blank(list, &params);
    // Filled in from a fault, it shows at once what it would do.
    let trial = match Form::read(list, &params) {
        Ok(rule) => Some(web.try_rule(&rule, None, &visitor.reach).await?),
        Err(_) => None,
    };
    html(&new_page(visitor, form, trial))
}

/// Tries or adds a rule.
pub(super) async fn add(
    list: List,
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Extension(Posted(posted)): Extension<Posted>,
) -> Answer {
    let list = chosen(list, &posted);
    let rule = match Form::read(list, &posted) {
        Ok(rule) => rule,
        Err(form) => return unprocessable(&new_page(visitor, form, None)),
    };
    if posted.get("action") != "save" {
        let trial = web.try_rule(&rule, None, &visitor.reach).await?;
        return html(&new_page(visitor, Form::blank(list, &posted), Some(trial)));
    }
    let (who, now) = (visitor.who(), web.now());
    let (id, new) = web.write(move |tx| Ok(Desk::new(tx, &who, now).add_rule(&rule)?)).await?;
    let said = if new { "added" } else { "already" };
    Ok(Redirect::to(&format!("/rules/{}?said={said}", id.0)).into_response())
}

/// One rule.
pub(super) async fn show(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    params: Params,
) -> Answer {
    let (stored, changes) = web.stored(&id).await?;
    let trial = web.try_rule(&stored.rule, Some(stored.id), &visitor.reach).await?;
    let times = web.times(&visitor);
    let mut page = edit_page(visitor, &stored, changes, &times);
    page.trial = Some(trial);
    page.shell = page.shell.saying(&params);
    html(&page)
}

/// Tries or saves an edit, switches, removes.
pub(super) async fn change(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Extension(Posted(posted)): Extension<Posted>,
) -> Answer {
    let (stored, changes) = web.stored(&id).await?;
    let (now, times) = (web.now(), web.times(&visitor));
    let list = chosen(List::of(&stored.rule), &posted);
    let action = posted.get("action").to_owned();
    let page = |form: Form| {
        let mut page = edit_page(visitor.clone(), &stored, changes.clone(), &times);
        page.version = posted.get("version").parse().unwrap_or(stored.version);
        page.form = form;
        page
    };
    let (edit, said) = match action.as_str() {
        "off" => (Edit::Switch { on: false }, "off"),
        "on" => (Edit::Switch { on: true }, "on"),
        "remove" => (Edit::Remove, "removed"),
        _ => match Form::read(list, &posted) {
            Err(form) => return unprocessable(&page(form)),
            Ok(rule) if action == "save" => (Edit::Rewrite(Box::new(rule)), "edited"),
            Ok(rule) => {
                let mut page = page(Form::blank(list, &posted));
                page.trial = Some(web.try_rule(&rule, Some(stored.id), &visitor.reach).await?);
                return html(&page);
            }
        },
    };
    let version = posted.get("version").parse().unwrap_or(0);
    let (id, who) = (stored.id, visitor.who());
    let done = web.write(move |tx| Desk::new(tx, &who, now).edit_rule(id, version, edit)?.ok_or_else(gone));
    match done.await? {
        Edited::Done if said == "removed" => Ok(Redirect::to("/rules?said=removed").into_response()),
        Edited::Done => Ok(Redirect::to(&format!("/rules/{}?said={said}", id.0)).into_response()),
        Edited::Same => Ok(Redirect::to(&format!("/rules/{}?said=same", id.0)).into_response()),
        Edited::Conflict => {
            // Read again: what the first look saw may be older than what was in the way.
            let (stored, changes) = web.stored(&id.0.to_string()).await?;
            let by = changes.first().map_or("Somebody", |change| change.who.as_str()).to_owned();
            let off = if stored.disabled_at.is_some() { ", switched off" } else { "" };
            let mut page = edit_page(visitor.clone(), &stored, changes, &times);
            page.conflict = format!(
                "{by} was faster: it now says {}{}{off}.",
                describe(&stored.rule),
                Some(terms(&stored.rule))
                    .filter(|t| !t.is_empty())
                    .map_or(String::new(), |t| format!(" ({t})"))
            );
            if matches!(action.as_str(), "save") {
                page.form = Form::blank(list, &posted);
            }
            let mut response = html(&page)?;
            *response.status_mut() = StatusCode::CONFLICT;
            Ok(response)
        }
    }
}

impl Web {
    /// A rule and its history.
    async fn stored(&self, id: &str) -> Result<(StoredRule, Vec<Change>), Problem> {
        let id = id.parse().map(RuleId).map_err(|_| gone())?;
        self.read(move |tx| {
            let stored = tx.rules()?.into_iter().find(|stored| stored.id == id).ok_or_else(gone)?;
            Ok((stored, tx.changes_of(&rule_subject(id), 50)?))
        })
        .await
    }
}

fn gone() -> Problem {
    Problem::missing("There is no such rule", "The number is mistyped, or somebody has removed the rule.")
        .way("/rules", "All rules")
}

/// The list that the form's choice says, where there is one.
fn chosen(list: List, posted: &Params) -> List {
    let of_code = List::OF_CODE.into_iter().find(|other| other.kind() == posted.get("kind"));
    of_code.filter(|_| List::OF_CODE.contains(&list)).unwrap_or(list)
}

fn unprocessable(page: &RulePage) -> Answer {
    let mut response = html(page)?;
    *response.status_mut() = StatusCode::UNPROCESSABLE_ENTITY;
    Ok(response)
}

fn new_page(visitor: Visitor, form: Form, trial: Option<Trial>) -> RulePage {
    let title = format!("New: {}", form.list.one().to_lowercase());
    RulePage {
        shell: Shell::new(title, "rules", visitor),
        address: form.list.address().to_owned(),
        form,
        entry: None,
        version: 0,
        trial,
        conflict: String::new(),
        changes: Vec::new(),
    }
}

fn edit_page(visitor: Visitor, stored: &StoredRule, changes: Vec<Change>, times: &Times) -> RulePage {
    let form = Form::of(&stored.rule);
    RulePage {
        shell: Shell::new(format!("{} #{}", form.list.one(), stored.id.0), "rules", visitor),
        address: format!("/rules/{}", stored.id.0),
        form,
        entry: Some(entry(stored, times)),
        version: stored.version,
        trial: None,
        conflict: String::new(),
        changes: changes.into_iter().map(|change| (times.when(change.at), change)).collect(),
    }
}

fn entry(stored: &StoredRule, times: &Times) -> Entry {
    let when = |at| times.when(at);
    let end = match &stored.rule {
        Rule::KnownError(known) => known.expires_at,
        _ => None,
    };
    Entry {
        id: stored.id.0,
        words: describe(&stored.rule),
        terms: terms(&stored.rule),
        hits: Count(stored.hits),
        last_hit: stored.last_hit.map(when),
        created: when(stored.created_at),
        created_by: super::show::name(Some(&stored.created_by)),
        off: stored.disabled_at.is_some(),
        expired: end.is_some_and(|end| times.is_over(end.as_millisecond())),
    }
}

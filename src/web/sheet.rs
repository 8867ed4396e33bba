//! The week as a table for other programs, sent piece by piece: a week of a big house is long.

use std::collections::HashMap;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, State};
use axum::http::header;
use axum::response::IntoResponse;
use http_body_util::channel::Channel;
use serde_json::json;

use super::Web;
use super::board::at;
use super::door::Visitor;
use super::page::{Answer, Problem};
use super::params::Params;
use super::show;
use super::week::{Asked, Caused, Developer, Shown, Week, project_name};
use crate::store::{FaultId, FaultLine};

/// Faults of a piece.
const PIECE: usize = 250;
/// Pieces that may wait for whoever reads them.
const WAITING: usize = 4;
const NO_FAULTS: Shown = Shown { developers: 0, each: 0, after: 0 };

/// The week as CSV, one row a fault.
pub(super) async fn csv(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let asked = Asked::read(&params, &visitor, web.week_settings().await?, web.now())?;
    let name = format!("attachment; filename=\"blamed-{}.csv\"", show::day(asked.start));
    let week = web.week(asked, NO_FAULTS).await?;
    let kind = "text/csv; charset=utf-8".to_owned();
    Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)], web.send(week, Form::Csv))
        .into_response())
}

/// The same as JSON.
pub(super) async fn json(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let asked = Asked::read(&params, &visitor, web.week_settings().await?, web.now())?;
    let start = show::day(asked.start);
    let week = web.week(asked, NO_FAULTS).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], web.send(week, Form::Json { start })).into_response())
}

/// How a sheet is written.
enum Form {
    Csv,
    /// `start`: the week's first day.
    Json {
        start: String,
    },
}

impl Web {
    /// The week as a body; a fault that is deleted meanwhile is left out.
    fn send(&self, mut week: Week, form: Form) -> Body {
        let (mut sender, body) = Channel::<Bytes, std::io::Error>::new(WAITING);
        let web = self.clone();
        tokio::spawn(async move {
            let mut piece = form.begin();
            for n in 0..week.developers.len() {
                week.developers[n].bring_forward(usize::MAX);
                piece.push_str(&form.open(n, &week.developers[n]));
                for (part, faults) in week.developers[n].faults.chunks(PIECE).enumerate() {
                    let ids: Vec<FaultId> = faults.iter().map(|caused| caused.id).collect();
                    let Ok(lines) = web.lines(ids).await else {
                        // The log has it; a body that is cut off is known to be.
                        sender.abort(std::io::Error::other("the store cannot be read"));
                        return;
                    };
                    for (at, caused) in (part * PIECE..).zip(faults) {
                        if let Some(fault) = lines.get(&caused.id) {
                            let project = project_name(&week.projects, caused.project);
                            piece.push_str(&form.row(at, &week.developers[n], (caused, fault, &project)));
                        }
                    }
                    // An error says that whoever reads it has gone.
                    if sender.send_data(std::mem::take(&mut piece).into()).await.is_err() {
                        return;
                    }
                }
                piece.push_str(form.close());
            }
            piece.push_str(form.end());
            let _ = sender.send_data(piece.into()).await;
        });
        Body::new(body)
    }

    async fn lines(&self, ids: Vec<FaultId>) -> Result<HashMap<FaultId, FaultLine>, Problem> {
        self.read(|tx| {
            let mut lines = HashMap::new();
            for id in ids {
                lines.extend(tx.fault_line(id)?.map(|line| (id, line)));
            }
            Ok(lines)
        })
        .await
    }
}

impl Form {
    fn begin(&self) -> String {
        match self {
            Self::Csv => "developer,address,project,fault,type,message,place,function,occurrences,new,known_error,first_seen,last_seen\r\n".to_owned(),
            Self::Json { start } => format!("{{\"week\":\"{start}\",\"developers\":["),
        }
    }

    /// What stands before the faults of the `n`th developer.
    fn open(&self, n: usize, developer: &Developer) -> String {
        if matches!(self, Self::Csv) {
            return String::new();
        }
        let head = json!({
            "developer": developer.called, "address": developer.address,
            "occurrences": developer.occurrences, "last_week": developer.before, "new": developer.new,
        });
        let head = head.to_string();
        let comma = if n == 0 { "" } else { "," };
        format!("{comma}{},\"faults\":[", head.trim_end_matches('}'))
    }

    /// The fault at `at` in a developer's list.
    fn row(
        &self,
        at: usize,
        developer: &Developer,
        (caused, fault, project): (&Caused, &FaultLine, &str),
    ) -> String {
        match self {
            Self::Csv => cells(developer, caused, fault, project).map(|text| cell(&text)).join(",") + "\r\n",
            Self::Json { .. } => {
                let row = json!({
                    "fault": fault.id, "project": project, "occurrences": caused.occurrences,
                    "new": caused.new, "known_error": caused.known.map(|id| id.0), "old": caused.old,
                    "type": fault.exception_type, "message": fault.exception_message,
                    "place": fault.place, "function": fault.function,
                    "first_seen": fault.first_seen, "last_seen": fault.last_seen,
                });
                format!("{}{row}", if at == 0 { "" } else { "," })
            }
        }
    }

    fn close(&self) -> &'static str {
        if matches!(self, Self::Csv) { "" } else { "]}" }
    }

    fn end(&self) -> &'static str {
        if matches!(self, Self::Csv) { "" } else { "]}" }
    }
}

fn cells(developer: &Developer, caused: &Caused, fault: &FaultLine, project: &str) -> [String; 13] {
    [
        developer.called.clone(),
        developer.address.clone(),
        project.to_owned(),
        fault.id.0.to_string(),
        fault.exception_type.clone().unwrap_or_default(),
        fault.exception_message.clone().unwrap_or_default(),
        at(fault),
        fault.function.clone().unwrap_or_default(),
        caused.occurrences.to_string(),
        if caused.new { "yes" } else { "no" }.to_owned(),
        caused.known.map(|id| id.0.to_string()).unwrap_or_default(),
        show::moment(fault.first_seen),
        show::moment(fault.last_seen),
    ]
}

/// A cell of RFC 4180. What a spreadsheet would take for a formula gets an apostrophe, which makes it text.
fn cell(text: &str) -> String {
    let formula = text.trim_start().starts_with(['=', '+', '-', '@']) || text.starts_with(['\t', '\r', '\n']);
    let guard = if formula { "'" } else { "" };
    if formula || text.contains([',', '"', '\n', '\r', ';', '\t']) {
        format!("\"{guard}{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_run_nothing() {
        let check = |text: &str, expected: &str| assert_eq!(cell(text), expected);
        check("plain", "plain");
        check("=HYPERLINK(\"http://x\")", "\"'=HYPERLINK(\"\"http://x\"\")\"");
        check("  +1", "\"'  +1\"");
        check("-1", "\"'-1\"");
        check("@SUM(A1)", "\"'@SUM(A1)\"");
        check("\t=1", "\"'\t=1\"");
        check("a,b", "\"a,b\"");
        check("two\nlines", "\"two\nlines\"");
    }
}

//! The week as a table for other programs.

use axum::extract::{Extension, State};
use axum::http::header;
use axum::response::IntoResponse;
use serde_json::json;

use super::Web;
use super::board::{Asked, Caused, Developer};
use super::door::Visitor;
use super::page::Answer;
use super::params::Params;
use super::show;

/// The week as CSV, one row a fault.
pub(super) async fn csv(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let asked = Asked::read(&params, &visitor, web.now())?;
    let name = format!("attachment; filename=\"blamed-{}.csv\"", show::day(asked.start));
    let week = web.week(asked, usize::MAX).await?;
    let mut sheet = String::from(
        "developer,address,project,fault,type,message,place,function,occurrences,new,known_error,first_seen,last_seen\r\n",
    );
    for developer in &week.developers {
        for caused in &developer.faults {
            let cells = row(developer, caused).map(|text| cell(&text));
            sheet.push_str(&cells.join(","));
            sheet.push_str("\r\n");
        }
    }
    let kind = "text/csv; charset=utf-8".to_owned();
    Ok(([(header::CONTENT_TYPE, kind), (header::CONTENT_DISPOSITION, name)], sheet).into_response())
}

/// The same as JSON.
pub(super) async fn json(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    params: Params,
) -> Answer {
    let asked = Asked::read(&params, &visitor, web.now())?;
    let start = show::day(asked.start);
    let week = web.week(asked, usize::MAX).await?;
    // Piece by piece: a week of a big house is long.
    let mut document = format!("{{\"week\":\"{start}\",\"developers\":[");
    for (n, developer) in week.developers.iter().enumerate() {
        let faults = developer.faults.iter().map(|caused| {
            json!({
                "fault": caused.fault.id, "project": caused.project, "occurrences": caused.occurrences,
                "new": caused.new, "known_error": caused.known.map(|id| id.0), "old": caused.old,
                "type": caused.fault.exception_type, "message": caused.fault.exception_message,
                "place": caused.fault.place, "function": caused.fault.function,
                "first_seen": caused.fault.first_seen, "last_seen": caused.fault.last_seen,
            })
        });
        let developer = json!({
            "developer": developer.called(), "address": developer.address,
            "occurrences": developer.occurrences, "last_week": developer.before, "new": developer.new,
            "faults": faults.collect::<Vec<_>>(),
        });
        document.push_str(if n == 0 { "" } else { "," });
        document.push_str(&developer.to_string());
    }
    document.push_str("]}");
    Ok(([(header::CONTENT_TYPE, "application/json")], document).into_response())
}

fn row(developer: &Developer, caused: &Caused) -> [String; 13] {
    let fault = &caused.fault;
    [
        developer.called(),
        developer.address.clone(),
        caused.project.clone(),
        fault.id.0.to_string(),
        fault.exception_type.clone().unwrap_or_default(),
        fault.exception_message.clone().unwrap_or_default(),
        caused.at(),
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

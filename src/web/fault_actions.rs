//! What can be done about a fault, besides a rule: its mail is sent again, or it is deleted.

use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Redirect, Response};

use super::Web;
use super::desk::Desk;
use super::door::{Posted, Visitor};
use super::fault::{gone, number, short};
use super::page::Problem;
use super::week::answers_for;
use crate::notify::new_message_id;
use crate::notify::notice::{FaultNotice, Notice};
use crate::store::FaultId;
use crate::triage::verdict::Role;

/// Forgets a fault.
pub(super) async fn delete(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Extension(Posted(_)): Extension<Posted>,
) -> Result<Response, Problem> {
    let id = number(&id)?;
    let (who, now) = (visitor.who(), web.now());
    let deleted = web.write(move |tx| Ok(Desk::new(tx, &who, now).delete_fault(id, &visitor.reach)?));
    if !deleted.await? {
        return Err(gone());
    }
    Ok(Redirect::to("/?said=fault-deleted").into_response())
}

/// Mails whoever answers for a fault about it once more. The form says how many mails there were when it was
/// made, so that one that is sent twice makes one mail.
pub(super) async fn send_again(
    State(web): State<Web>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
    Extension(Posted(posted)): Extension<Posted>,
) -> Result<Response, Problem> {
    let id = number(&id)?;
    let mails: u32 = posted.get("mails").parse().unwrap_or(0);
    let owed = web.owe_again(&visitor, id, Some(mails)).await?;
    let said = if owed { "sent-again" } else { "same" };
    Ok(Redirect::to(&format!("/faults/{}?said={said}", id.0)).into_response())
}

impl Web {
    /// Owes whoever answers for a fault the mail about it once more, after `mails` others; `None`: after as many as
    /// there are. `false`: that was done already.
    pub(super) async fn owe_again(
        &self,
        visitor: &Visitor,
        id: FaultId,
        mails: Option<u32>,
    ) -> Result<bool, Problem> {
        let (who, now, reach) = (visitor.who(), self.now(), visitor.reach.clone());
        let page = format!("/faults/{}", id.0);
        let (settings, pages) = (self.0.settings.mail.clone(), self.clone());
        let owed = self.write(move |tx| {
            let fault = tx.fault_within(id, &reach)?.ok_or_else(gone)?;
            let cannot = |said: &str| {
                Problem::new(StatusCode::CONFLICT, "There is no mail to send", said).way(&page, "The fault")
            };
            let Some(latest) = tx.occurrences(id)?.into_iter().next() else {
                return Err(cannot("None of its occurrences is kept any more."));
            };
            let line = short(&fault);
            let answers = answers_for(&line, &tx.rulebook()?, &pages.0.settings.addresses);
            let role = if answers.is_some() { Role::Author } else { Role::DefaultContact };
            let Some(to) = answers.or(settings.default_contact) else {
                return Err(cannot("Nobody answers for it, and no default contact is configured."));
            };
            let mails = match mails {
                Some(mails) => mails,
                None => u32::try_from(tx.deliveries_about(id.0)?.len()).unwrap_or(u32::MAX),
            };
            let notice = Notice::Fault(Box::new(FaultNotice {
                fault: id.0,
                project: tx.project_name(fault.project)?.unwrap_or_default(),
                role,
                why: "somebody asked for this mail to be sent again".to_owned(),
                header: None,
                count: fault.count,
                report: latest.report,
                verdicts: latest.verdicts,
                place: fault.place,
                function: fault.function,
                blame: fault.blame,
                blame_failure: fault.blame_failure,
                received_at: latest.received_at,
            }));
            let message_id = new_message_id(&settings.from);
            Ok(Desk::new(tx, &who, now).send_again(id, (mails, &to), &message_id, &notice)?)
        });
        let owed = owed.await?;
        self.0.outbox.wake();
        Ok(owed)
    }
}

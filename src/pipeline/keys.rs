//! What makes two lines, places or reports the same one.

use sha2::{Digest, Sha256};

use super::survey::Survey;
use crate::blame::Blame;
use crate::report::Report;
use crate::store::ProjectId;
use crate::triage::rules::fold;
use crate::triage::walk::Suspect;

/// What makes a fault one: the line's origin; where git cannot say, the line as its text tells it.
pub(super) fn identity(suspect: &Suspect, blame: Option<&Blame>) -> String {
    match blame {
        Some(Blame { origin, .. }) => format!("{}:{}:{}", origin.commit, origin.path, origin.line),
        None => {
            let text = fold(suspect.text.as_deref().unwrap_or_default());
            let function = suspect.function.as_deref().unwrap_or_default();
            let file = format!("{}:{}", suspect.file.repository, suspect.file.path);
            match (function, text.as_str()) {
                // Nothing but its number tells it from the next line.
                ("", "") => format!("unblamed:{file}:{}", suspect.line),
                _ => format!("unblamed:{file}:{function}:{text}"),
            }
        }
    }
}

/// A place's key: the project, the line at its revision, and the text that the client says it has.
pub(super) fn place_key(project: ProjectId, report: &Report, survey: &Survey, suspect: &Suspect) -> Vec<u8> {
    let text = report.exceptions[suspect.exception].frames[suspect.frame].text.as_deref();
    let resolved = survey.revision(&suspect.file);
    let revision = resolved.map(|resolved| resolved.commit.0.as_str());
    // How sure an answer is depends on how the revision was come by.
    let basis = resolved.map(|resolved| format!("{:?}", resolved.basis));
    digest(&[
        b"place",
        &project.0.to_be_bytes(),
        suspect.file.repository.as_bytes(),
        revision.unwrap_or_default().as_bytes(),
        basis.unwrap_or_default().as_bytes(),
        &suspect.file.path,
        &suspect.line.get().to_be_bytes(),
        fold(text.unwrap_or_default()).as_bytes(),
    ])
}

/// The key of a report that has no place: its stacks, line by line.
pub(super) fn report_key(project: ProjectId, what: &str, report: &Report) -> Vec<u8> {
    let mut parts = vec![what.as_bytes().to_vec(), project.0.to_be_bytes().to_vec()];
    for exception in &report.exceptions {
        parts.push(exception.kind.as_deref().unwrap_or_default().as_bytes().to_vec());
        if exception.frames.is_empty() {
            parts.push(exception.message.as_deref().unwrap_or_default().as_bytes().to_vec());
        }
        for frame in &exception.frames {
            parts.push(frame.file.as_bytes().to_vec());
            parts.push(frame.line.map_or(0, std::num::NonZeroU32::get).to_be_bytes().to_vec());
            parts.push(fold(frame.text.as_deref().unwrap_or_default()).into_bytes());
        }
    }
    digest(&parts.iter().map(Vec::as_slice).collect::<Vec<_>>())
}

fn digest(parts: &[&[u8]]) -> Vec<u8> {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_be_bytes());
        digest.update(part);
    }
    digest.finalize().to_vec()
}

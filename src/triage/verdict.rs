//! What the walk said of a frame, and who hears of a fault for which reason: the plain types that the
//! store keeps and that mails, pages and `explain` show.

use bstr::BString;
use serde::{Deserialize, Serialize};

/// A file of a configured repository.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TrackedFile {
    /// The repository's configured name.
    pub repository: String,
    /// Relative to the top of the repository.
    #[serde(with = "crate::blame::path_text")]
    pub path: BString,
}

/// The type of a frame. The first rule that matches, in this order, decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FrameType {
    /// The file is tracked in no configured repository: library code by definition.
    BadPath,
    /// On the third-party whitelist: the whole report is dropped.
    ThirdPartyWhitelist,
    /// The path is one that is never blamed (configured).
    IgnoredPath,
    /// Marked as library code of our own: the caller is looked at instead.
    BuildingBlock,
    /// On the known-errors list: a candidate.
    KnownError,
    /// The line raises; the line that called it is looked at instead.
    Raise,
    /// Everything else: a candidate.
    Default,
}

impl FrameType {
    /// Whether a frame of this type can be responsible.
    #[must_use]
    pub fn is_candidate(self) -> bool {
        matches!(self, Self::KnownError | Self::Default)
    }

    /// Its name for people.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::BadPath => "not our code",
            Self::ThirdPartyWhitelist => "third-party whitelist",
            Self::IgnoredPath => "ignored path",
            Self::BuildingBlock => "library code",
            Self::KnownError => "known error",
            Self::Raise => "raise",
            Self::Default => "our code",
        }
    }
}

/// What the walk said of one frame.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Index into `Report::exceptions`.
    pub exception: usize,
    /// Index into that exception's `frames`.
    pub frame: usize,
    /// The type of the frame.
    #[serde(rename = "type")]
    pub frame_type: FrameType,
    /// The rule behind it in words, for people: what matched, or why the path is not ours.
    pub reason: String,
    /// The tracked file that the frame was mapped to, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<TrackedFile>,
    /// Whether this is the responsible frame.
    #[serde(default)]
    pub suspect: bool,
}

/// Why somebody is written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Git names them as the author of the line (after remaps).
    Author,
    /// The line's file was handed to them by somebody who disowned it.
    Heir,
    /// They watch the path.
    Watcher,
    /// The known error names them.
    KnownErrorRecipient,
    /// Nobody else is left to tell.
    DefaultContact,
}

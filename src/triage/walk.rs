//! The walk over the frames: a verdict for each, and at most one suspect.
//!
//! For each frame the first rule that matches gives its [`FrameType`], in Flawless's order: bad path,
//! third-party whitelist, ignored path, building block, known error, raise, default. The innermost
//! candidate is responsible. The root cause's frames are looked at first; where they hold no candidate,
//! those of the exception that followed from it, and so on outwards.
//!
//! Where there is no candidate at all because every line of ours raises, the innermost raising line is
//! responsible: better its author than nobody.
//!
//! In Flawless everything below `site-packages` passed the first rule, other people's packages included,
//! which is what its third-party whitelist was for. Files that are not tracked fail that rule here, so
//! the whitelist is asked about them too, by the end of their path.

use globset::GlobMatcher;
use jiff::Timestamp;

use super::paths::Mapping;
use super::rules::{Code, RuleId, Rulebook};
use super::verdict::{FrameType, TrackedFile, Verdict};
use crate::report::{Frame, Report};

/// Which code of our own is never responsible, as configured.
#[derive(Debug, Clone, Default)]
pub struct CodePolicy {
    /// Library code by globs.
    pub library: Vec<LibraryGlob>,
    /// Only paths that match one of these are ever blamed (matched from their start, as Flawless did).
    /// Empty: all paths.
    pub only_blame: Vec<fancy_regex::Regex>,
}

/// Library code, as configured: a path glob and perhaps one for the function.
#[derive(Debug, Clone)]
pub struct LibraryGlob {
    /// Against the path in the repository.
    pub path: GlobMatcher,
    /// Against the function's name. `None`: any.
    pub function: Option<GlobMatcher>,
}

impl PartialEq for CodePolicy {
    fn eq(&self, other: &Self) -> bool {
        self.library == other.library
            && self
                .only_blame
                .iter()
                .map(fancy_regex::Regex::as_str)
                .eq(other.only_blame.iter().map(fancy_regex::Regex::as_str))
    }
}

impl PartialEq for LibraryGlob {
    fn eq(&self, other: &Self) -> bool {
        let function = |glob: &Self| glob.function.as_ref().map(|function| function.glob().clone());
        self.path.glob() == other.path.glob() && function(self) == function(other)
    }
}

/// What came of a walk.
#[derive(Debug, Clone, PartialEq)]
pub struct Walk {
    /// One per frame, in the report's order of exceptions and frames; none where the report was dropped
    /// for its exception type.
    pub verdicts: Vec<Verdict>,
    /// Where it ended.
    pub outcome: Outcome,
}

/// Where a walk ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// At the responsible line.
    Suspect(Suspect),
    /// The report is not to be counted; the rule that says so, and the reason in words.
    Dropped {
        /// An ignored exception or an entry of the third-party whitelist.
        rule: RuleId,
        /// For people.
        reason: String,
    },
    /// No frame can be responsible; why, in words.
    Nobody(String),
}

/// The responsible frame.
#[derive(Debug, Clone, PartialEq)]
pub struct Suspect {
    /// Index into `Report::exceptions`.
    pub exception: usize,
    /// Index into its frames.
    pub frame: usize,
    /// Its file.
    pub file: TrackedFile,
    /// 1-based, at the revision the report was mapped at, as the client sent it.
    pub line: std::num::NonZeroU32,
    /// Its function, if sent.
    pub function: Option<String>,
    /// Its source line, if sent or known.
    pub text: Option<String>,
    /// The known error it is, if any.
    pub known: Option<RuleId>,
}

/// Why a nobody's line is one; the verdicts tell it frame by frame.
const NO_LINE: &str = "no frame is a line of ours that can be responsible";
/// What is said of a frame of a build product.
const MINIFIED: &str = "minified, and without its source map no line of it is anybody's";

/// Walks a report's frames. `mapped` holds one mapping per frame, in the report's order.
///
/// # Panics
/// Where `mapped` is not of the report's shape.
#[must_use]
pub fn walk(
    report: &Report,
    mapped: &[Vec<Mapping>],
    rulebook: &Rulebook,
    policy: &CodePolicy,
    now: Timestamp,
) -> Walk {
    if let Some(kind) = report.headline().and_then(|e| e.kind.as_deref())
        && let Some(rule) = rulebook.ignored_exception(kind)
    {
        let reason = format!("{kind} is an ignored exception (rule {rule})");
        return Walk { verdicts: Vec::new(), outcome: Outcome::Dropped { rule, reason } };
    }

    let mut verdicts = Vec::new();
    let mut suspect: Option<Suspect> = None;
    let mut raising: Option<Suspect> = None;
    let mut dropped: Option<Outcome> = None;
    for (e, exception) in report.exceptions.iter().enumerate() {
        let mut candidate = None;
        let mut raise = None;
        for (f, frame) in exception.frames.iter().enumerate() {
            let (frame_type, reason, rule) = judge(frame, &mapped[e][f], rulebook, policy, now);
            let file = match &mapped[e][f] {
                Mapping::Ours { file, .. } => Some(file.clone()),
                Mapping::Foreign(_) => None,
            };
            if let (FrameType::ThirdPartyWhitelist, Some(rule), None) = (frame_type, rule, &dropped) {
                dropped = Some(Outcome::Dropped { rule, reason: reason.clone() });
            }
            if let (Some(file), Some(line)) = (&file, frame.line) {
                let here = || Suspect {
                    exception: e,
                    frame: f,
                    file: file.clone(),
                    line,
                    function: frame.function.clone(),
                    text: frame.text.clone().or_else(|| own_text(&mapped[e][f]).map(str::to_owned)),
                    known: rule,
                };
                if frame_type.is_candidate() {
                    candidate = Some(here());
                } else if frame_type == FrameType::Raise {
                    raise = Some(here());
                }
            }
            verdicts.push(Verdict { exception: e, frame: f, frame_type, reason, file, suspect: false });
        }
        suspect = suspect.or(candidate);
        raising = raising.or(raise);
    }

    let outcome = match (dropped, suspect.or(raising)) {
        (Some(dropped), _) => dropped,
        (None, Some(suspect)) => {
            for verdict in &mut verdicts {
                verdict.suspect = (verdict.exception, verdict.frame) == (suspect.exception, suspect.frame);
            }
            Outcome::Suspect(suspect)
        }
        (None, None) if verdicts.is_empty() => Outcome::Nobody("the report has no frames".to_owned()),
        (None, None) if verdicts.iter().any(|verdict| verdict.reason == MINIFIED) => {
            Outcome::Nobody(format!("{NO_LINE}: the code is {MINIFIED}"))
        }
        (None, None) => Outcome::Nobody(NO_LINE.to_owned()),
    };
    Walk { verdicts, outcome }
}

/// The first rule that matches one frame: its type, the reason in words, and the stored rule behind it.
fn judge(
    frame: &Frame,
    mapping: &Mapping,
    rulebook: &Rulebook,
    policy: &CodePolicy,
    now: Timestamp,
) -> (FrameType, String, Option<RuleId>) {
    let function = frame.function.as_deref();
    let text = frame.text.as_deref().or_else(|| own_text(mapping));
    let third_party = |file: &str, tracked: bool| {
        let (id, pattern) = rulebook.third_party(Code { file, function, text }, tracked)?;
        let reason = format!("on the third-party whitelist: {} (rule {id})", pattern.describe());
        Some((FrameType::ThirdPartyWhitelist, reason, Some(id)))
    };
    if frame.is_minified() {
        let of = match mapping {
            Mapping::Ours { file, .. } => file.path.to_string(),
            Mapping::Foreign(_) => frame.file.clone(),
        };
        let found = third_party(&of, matches!(mapping, Mapping::Ours { .. }));
        return found.unwrap_or((FrameType::BadPath, MINIFIED.to_owned(), None));
    }
    let (file, why) = match mapping {
        Mapping::Foreign(why) => {
            return third_party(&frame.file, false).unwrap_or((FrameType::BadPath, why.clone(), None));
        }
        Mapping::Ours { file, why, .. } => (file.path.to_string(), why),
    };
    if frame.line.is_none() {
        return (FrameType::BadPath, "no usable line number was sent".to_owned(), None);
    }
    let code = Code { file: &file, function, text };
    if let Some(found) = third_party(&file, true) {
        return found;
    }
    // A pattern that gives up (it backtracks too long) must not hide an error: it counts as a match.
    if !policy.only_blame.is_empty() && !policy.only_blame.iter().any(|p| p.is_match(&file).unwrap_or(true)) {
        return (FrameType::IgnoredPath, "matches no pattern of only_blame".to_owned(), None);
    }
    if let Some(glob) = policy.library.iter().find(|glob| glob.matches(code)) {
        return (FrameType::BuildingBlock, format!("configured as library code: {glob}"), None);
    }
    if let Some((id, pattern)) = rulebook.building_block(code) {
        let reason = format!("a building block: {} (rule {id})", pattern.describe());
        return (FrameType::BuildingBlock, reason, Some(id));
    }
    if let Some((id, known)) = rulebook.known_error(code, now) {
        let reason = format!("a known error: {} (rule {id})", known.code.describe());
        return (FrameType::KnownError, reason, Some(id));
    }
    if text.is_some_and(raises) {
        return (FrameType::Raise, "the line raises; the line that called it is looked at".to_owned(), None);
    }
    (FrameType::Default, why.clone(), None)
}

fn own_text(mapping: &Mapping) -> Option<&str> {
    match mapping {
        Mapping::Ours { text, .. } => text.as_deref(),
        Mapping::Foreign(_) => None,
    }
}

/// Whether a source line is a `raise` statement.
fn raises(text: &str) -> bool {
    let rest = text.trim_start().strip_prefix("raise");
    rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || "_.=[".contains(c)))
}

impl LibraryGlob {
    fn matches(&self, code: Code<'_>) -> bool {
        let function = match &self.function {
            Some(glob) => code.function.is_some_and(|function| glob.is_match(function)),
            None => true,
        };
        function && self.path.is_match(code.file)
    }
}

impl std::fmt::Display for LibraryGlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.path.glob())?;
        match &self.function {
            Some(function) => write!(f, " in {}", function.glob()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Exception;
    use crate::triage::rules::{CodePattern, KnownError, Rule};
    use proptest::prelude::*;
    use std::num::NonZeroU32;

    /// A frame of ours is written `file:function:text`; one that is not ours begins with `/`.
    fn report(exceptions: &[&[&str]]) -> (Report, Vec<Vec<Mapping>>) {
        let mut report = Report { count: 1, ..Report::default() };
        let mut mapped = Vec::new();
        for frames in exceptions {
            let mut exception = Exception { kind: Some("shop.Error".into()), ..Exception::default() };
            let mut mappings = Vec::new();
            for frame in *frames {
                let mut parts = frame.splitn(3, ':');
                let file = parts.next().unwrap().to_owned();
                let mut part = || parts.next().filter(|p| !p.is_empty()).map(str::to_owned);
                mappings.push(if file.starts_with('/') {
                    Mapping::Foreign("not tracked".into())
                } else {
                    let file = TrackedFile { repository: "r".into(), path: file.as_str().into() };
                    Mapping::Ours { file, why: "tracked".into(), text: None }
                });
                exception.frames.push(Frame {
                    file,
                    line: NonZeroU32::new(7),
                    function: part(),
                    text: part(),
                    ..Frame::default()
                });
            }
            report.exceptions.push(exception);
            mapped.push(mappings);
        }
        (report, mapped)
    }

    fn book(rules: Vec<Rule>) -> Rulebook {
        Rulebook { rules: (1..).map(RuleId).zip(rules).collect(), ..Rulebook::default() }
    }

    fn pattern(file: &str) -> CodePattern {
        CodePattern { filename: file.into(), ..CodePattern::default() }
    }

    /// The suspect as `exception.frame`, or `dropped` or `nobody`.
    fn outcome(exceptions: &[&[&str]], rules: Vec<Rule>, policy: &CodePolicy) -> String {
        let (report, mapped) = report(exceptions);
        let walk = walk(&report, &mapped, &book(rules), policy, Timestamp::UNIX_EPOCH);
        match walk.outcome {
            Outcome::Suspect(suspect) => format!("{}.{}", suspect.exception, suspect.frame),
            Outcome::Dropped { .. } => "dropped".into(),
            Outcome::Nobody(_) => "nobody".into(),
        }
    }

    #[test]
    fn what_was_built_is_nobodys_even_where_it_is_tracked() {
        let (mut report, mapped) = report(&[&["static/app.js:rows:"]]);
        let walked = |report: &Report| {
            walk(report, &mapped, &book(Vec::new()), &CodePolicy::default(), Timestamp::UNIX_EPOCH)
        };
        assert!(matches!(walked(&report).outcome, Outcome::Suspect(_)));
        report.exceptions[0].frames[0].column = std::num::NonZeroU32::new(31_206);
        let Walk { verdicts, outcome } = walked(&report);
        assert_eq!((verdicts[0].frame_type, verdicts[0].reason.as_str()), (FrameType::BadPath, MINIFIED));
        assert!(matches!(outcome, Outcome::Nobody(why) if why.contains("without its source map")));
        let (bundle, mapped) = self::report(&[&["static/app.min.js:rows:"]]);
        let walked = walk(&bundle, &mapped, &book(Vec::new()), &CodePolicy::default(), Timestamp::UNIX_EPOCH);
        assert!(matches!(walked.outcome, Outcome::Nobody(_)));
    }

    #[test]
    fn the_seven_rules_in_their_order() {
        let plain = CodePolicy::default();
        let stack: &[&[&str]] = &[&["a.py:main:b()", "b.py:load:x = c()", "/lib/c.py:c:raise E()"]];
        let check = |rules: Vec<Rule>, expected: &str| {
            assert_eq!(outcome(stack, rules.clone(), &plain), expected, "{rules:?}");
        };
        check(vec![], "0.1");
        check(vec![Rule::BuildingBlock(pattern("b.py"))], "0.0");
        check(vec![Rule::BuildingBlock(pattern("b.py")), Rule::BuildingBlock(pattern("a.py"))], "nobody");
        check(vec![Rule::ThirdPartyWhitelist(pattern("b.py"))], "dropped");
        check(vec![Rule::ThirdPartyWhitelist(pattern("lib/c.py"))], "dropped");
        check(vec![Rule::IgnoredException { exception_type: "shop.Error".into() }], "dropped");
        let known = KnownError { code: pattern("b.py"), ..KnownError::default() };
        check(vec![Rule::KnownError(known.clone())], "0.1");
        // A building block comes before a known error.
        check(vec![Rule::KnownError(known.clone()), Rule::BuildingBlock(pattern("b.py"))], "0.0");
        let expired = KnownError { expires_at: Some(Timestamp::UNIX_EPOCH), ..known };
        let (report, mapped) = report(stack);
        let walk =
            walk(&report, &mapped, &book(vec![Rule::KnownError(expired)]), &plain, Timestamp::UNIX_EPOCH);
        assert_eq!(walk.verdicts[1].frame_type, FrameType::Default);
    }

    #[test]
    fn raising_lines_pass_the_blame_on() {
        let plain = CodePolicy::default();
        assert_eq!(outcome(&[&["a.py:f:g(1)", "b.py:g:  raise ValueError(x)"]], vec![], &plain), "0.0");
        assert_eq!(outcome(&[&["a.py:f:raise", "b.py:g:raise E"]], vec![], &plain), "0.1");
        assert_eq!(outcome(&[&["a.py:f:g()", "b.py:g:raised = 1"]], vec![], &plain), "0.1");
        assert_eq!(outcome(&[&["a.py:f:g()", "b.py:g:raise_for(1)"]], vec![], &plain), "0.1");
    }

    #[test]
    fn the_root_cause_comes_first_and_then_outwards() {
        let plain = CodePolicy::default();
        assert_eq!(outcome(&[&["a.py:f:x"], &["b.py:g:y"]], vec![], &plain), "0.0");
        assert_eq!(outcome(&[&["/lib/a.py:f:x"], &["b.py:g:y"]], vec![], &plain), "1.0");
        assert_eq!(outcome(&[&["a.py:f:raise E"], &["b.py:g:y"]], vec![], &plain), "1.0");
        assert_eq!(outcome(&[], vec![], &plain), "nobody");
    }

    #[test]
    fn configured_paths() {
        let glob = |text: &str| globset::Glob::new(text).unwrap().compile_matcher();
        let library = |path: &str, function: Option<&str>| CodePolicy {
            library: vec![LibraryGlob { path: glob(path), function: function.map(glob) }],
            only_blame: vec![],
        };
        let stack: &[&[&str]] = &[&["app/a.py:main:b()", "app/db/q.py:query_all:run()"]];
        assert_eq!(outcome(stack, vec![], &library("app/db/**", None)), "0.0");
        assert_eq!(outcome(stack, vec![], &library("**/q.py", Some("query_*"))), "0.0");
        assert_eq!(outcome(stack, vec![], &library("**/q.py", Some("other"))), "0.1");
        let only = |regex: &str| CodePolicy {
            library: vec![],
            only_blame: vec![fancy_regex::Regex::new(regex).unwrap()],
        };
        assert_eq!(outcome(stack, vec![], &only(r"^(?!app/db/).*$")), "0.0");
        assert_eq!(outcome(stack, vec![], &only(r"^lib/")), "nobody");
    }

    proptest! {
        /// Frames that are no candidates never move the suspect.
        #[test]
        fn foreign_frames_never_move_the_suspect(
            ours in proptest::collection::vec("[a-c]\\.py:f:[xyz]\\(\\)", 1..6),
            at in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        ) {
            let plain = CodePolicy::default();
            let before: Vec<&str> = ours.iter().map(String::as_str).collect();
            let mut after = before.clone();
            for index in at {
                let index = index.index(after.len() + 1);
                after.insert(index, "/lib/z.py:z:raise Z()");
            }
            let suspect = |frames: &[&str]| {
                let (report, mapped) = report(&[frames]);
                match walk(&report, &mapped, &book(vec![]), &plain, Timestamp::UNIX_EPOCH).outcome {
                    Outcome::Suspect(suspect) => (suspect.file, suspect.text),
                    other => panic!("{other:?}"),
                }
            };
            prop_assert_eq!(suspect(&before), suspect(&after));
        }
    }
}

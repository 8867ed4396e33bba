//! The form of each list's rules: its fields, filled in from a rule or an address, and read back.

use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::page::Problem;
use super::params::Params;
use super::show;
use crate::notify::plain;
use crate::triage::rules::{CodePattern, KnownError, Rule, Watch};

/// Characters of a field of one line, and of several.
const LINE: usize = 1_000;
const BLOCK: usize = 4_000;

/// A list of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum List {
    KnownErrors,
    BuildingBlocks,
    ThirdParty,
    IgnoredExceptions,
    Watchers,
    Remaps,
    Disowned,
}

impl List {
    pub(super) const ALL: [Self; 7] = [
        Self::KnownErrors,
        Self::BuildingBlocks,
        Self::ThirdParty,
        Self::IgnoredExceptions,
        Self::Watchers,
        Self::Remaps,
        Self::Disowned,
    ];
    /// The lists about code: one form, of which the rule may change between them.
    pub(super) const OF_CODE: [Self; 3] = [Self::KnownErrors, Self::BuildingBlocks, Self::ThirdParty];

    /// As the store calls it.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::KnownErrors => "known_error",
            Self::BuildingBlocks => "building_block",
            Self::ThirdParty => "third_party_whitelist",
            Self::IgnoredExceptions => "ignored_exception",
            Self::Watchers => "watch",
            Self::Remaps => "remap",
            Self::Disowned => "disown",
        }
    }

    /// The list of a rule.
    pub(super) fn of(rule: &Rule) -> Self {
        let list = Self::ALL.into_iter().find(|list| list.kind() == rule.kind());
        list.expect("every rule is of a list")
    }

    /// The address of its empty form.
    pub(super) fn address(self) -> &'static str {
        match self {
            Self::KnownErrors => "/add_known_error",
            Self::BuildingBlocks => "/add_building_block",
            Self::ThirdParty => "/add_third_party_error",
            Self::IgnoredExceptions => "/add_ignored_exception",
            Self::Watchers => "/add_watch",
            Self::Remaps => "/remap_email",
            Self::Disowned => "/disown_file",
        }
    }

    /// What one rule of it is called.
    pub(super) fn one(self) -> &'static str {
        match self {
            Self::KnownErrors => "Known error",
            Self::BuildingBlocks => "Library code",
            Self::ThirdParty => "Third-party error",
            Self::IgnoredExceptions => "Ignored exception",
            Self::Watchers => "Watcher",
            Self::Remaps => "Address remap",
            Self::Disowned => "Disowned path",
        }
    }

    /// What the list is called.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::KnownErrors => "Known errors",
            Self::BuildingBlocks => "Library code",
            Self::ThirdParty => "Third-party errors",
            Self::IgnoredExceptions => "Ignored exceptions",
            Self::Watchers => "Watchers",
            Self::Remaps => "Address remaps",
            Self::Disowned => "Disowned paths",
        }
    }

    /// What its rules do.
    pub(super) fn purpose(self) -> &'static str {
        match self {
            Self::KnownErrors => "Counted and shown; nobody is mailed, unless the rule itself asks for it.",
            Self::BuildingBlocks => "Code of ours that is never responsible: whoever called it is.",
            Self::ThirdParty => "Errors that come out of somebody else's code: such reports are dropped.",
            Self::IgnoredExceptions => "Reports of these types are dropped.",
            Self::Watchers => "People who hear of errors in a path, besides the author.",
            Self::Remaps => "Addresses in git that stand for others.",
            Self::Disowned => "Paths whose lines somebody handed over to somebody else.",
        }
    }
}

/// A form, empty or filled in.
#[derive(Debug, Clone)]
pub(super) struct Form {
    pub(super) list: List,
    pub(super) fields: Vec<Field>,
}

/// A field of a form.
#[derive(Debug, Clone)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) hint: &'static str,
    pub(super) input: Input,
    pub(super) value: String,
    /// What is wrong with the value; empty: nothing.
    pub(super) wrong: String,
}

/// How a field is filled in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Line,
    Code,
    Block,
    Number,
    Mail,
    Day,
    Check,
}

impl Form {
    /// The empty form of a list, filled in with what `params` have by the fields' names.
    pub(super) fn blank(list: List, params: &Params) -> Self {
        let field = |&(name, label, hint, input): &Spec| Field {
            name,
            label,
            hint,
            input,
            value: plain::clip(params.get(name).to_owned(), BLOCK),
            wrong: String::new(),
        };
        Self { list, fields: specs(list).iter().flat_map(|part| part.iter()).map(field).collect() }
    }

    /// The form that says what `rule` does.
    pub(super) fn of(rule: &Rule) -> Self {
        let mut form = Self::blank(List::of(rule), &Params::default());
        let number = |number: Option<u64>| number.map(|n| n.to_string()).unwrap_or_default();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let mut set = |name: &str, value: String| {
            if let Some(field) = form.fields.iter_mut().find(|field| field.name == name) {
                field.value = value;
            }
        };
        let mut code = |code: &CodePattern| {
            set("filename", code.filename.clone());
            set("function_name", text(&code.function_name));
            set("code_fragment", text(&code.code_fragment));
        };
        match rule {
            Rule::KnownError(known) => {
                code(&known.code);
                set("min_alert_threshold", number(known.min_alert_threshold));
                set("max_alert_threshold", number(known.max_alert_threshold));
                set("alert_every_n_occurrences", number(known.alert_every_n_occurrences));
                set("email_recipients", known.email_recipients.join("\n"));
                set("email_header", text(&known.email_header));
                set("reason", text(&known.reason));
                let end = known.expires_at.map(|end| show::day(end.as_millisecond()));
                set("expires_at", end.unwrap_or_default());
            }
            Rule::BuildingBlock(pattern) | Rule::ThirdPartyWhitelist(pattern) => code(pattern),
            Rule::IgnoredException { exception_type } => set("type", exception_type.clone()),
            Rule::Watch(watch) => {
                set("path", watch.path.clone());
                set("email", watch.email.clone());
                set("watch_all_errors", if watch.watch_all_errors { "1" } else { "" }.to_owned());
            }
            Rule::Remap { from, to } => {
                set("from", from.clone());
                set("to", to.clone());
            }
            Rule::Disown { path, from, to } => {
                set("path", path.clone());
                set("from", from.clone());
                set("to", to.clone());
            }
        }
        form
    }

    /// Reads a filled-in form.
    ///
    /// # Errors
    /// The form with what is wrong beside each field.
    pub(super) fn read(list: List, posted: &Params) -> Result<Rule, Self> {
        let mut reader = Reader { form: Self::blank(list, posted), posted, wrong: false };
        let rule = reader.rule(list);
        if reader.wrong { Err(reader.form) } else { Ok(rule) }
    }

    /// A rule that came otherwise than by a form, held to the same and written the same.
    ///
    /// # Errors
    /// What is wrong with each field.
    pub(super) fn check(rule: &Rule) -> Result<Rule, Problem> {
        let filled = Self::of(rule);
        let fields = filled.fields.iter().map(|field| (field.name.to_owned(), field.value.clone()));
        let mut checked = Self::read(filled.list, &fields.collect()).map_err(|form| {
            let wrong = form.fields.into_iter().filter(|field| !field.wrong.is_empty());
            Problem::unfit_all(wrong.map(|field| (field.name.to_owned(), field.wrong)).collect())
        })?;
        // The form knows days alone.
        if let (Rule::KnownError(checked), Rule::KnownError(given)) = (&mut checked, rule) {
            checked.expires_at = given.expires_at;
        }
        Ok(checked)
    }

    /// Whether it may become a rule of another list about code.
    pub(super) fn is_of_code(&self) -> bool {
        List::OF_CODE.contains(&self.list)
    }
}

/// A form being read.
struct Reader<'a> {
    form: Form,
    posted: &'a Params,
    wrong: bool,
}

impl Reader<'_> {
    fn rule(&mut self, list: List) -> Rule {
        match list {
            List::KnownErrors => Rule::KnownError(KnownError {
                code: self.code(),
                min_alert_threshold: self.number("min_alert_threshold"),
                max_alert_threshold: self.number("max_alert_threshold"),
                alert_every_n_occurrences: self.number("alert_every_n_occurrences"),
                email_recipients: self.addresses("email_recipients"),
                email_header: self.text("email_header", BLOCK),
                reason: self.text("reason", BLOCK),
                expires_at: self.day("expires_at"),
            }),
            List::BuildingBlocks => Rule::BuildingBlock(self.code()),
            List::ThirdParty => Rule::ThirdPartyWhitelist(self.code()),
            List::IgnoredExceptions => Rule::IgnoredException { exception_type: self.needed("type") },
            List::Watchers => Rule::Watch(Watch {
                path: path(self.text("path", LINE).unwrap_or_default()),
                email: self.address("email"),
                watch_all_errors: self.posted.is_on("watch_all_errors"),
            }),
            List::Remaps => Rule::Remap { from: self.needed("from"), to: self.address("to") },
            List::Disowned => Rule::Disown {
                path: path(self.needed("path")),
                from: self.address("from"),
                to: self.address("to"),
            },
        }
    }

    fn wrong(&mut self, name: &str, why: &str) {
        self.wrong = true;
        if let Some(field) = self.form.fields.iter_mut().find(|field| field.name == name) {
            why.clone_into(&mut field.wrong);
        }
    }

    fn text(&mut self, name: &str, most: usize) -> Option<String> {
        let value = self.posted.given(name)?;
        if value.chars().count() > most {
            self.wrong(name, &format!("At most {most} characters."));
        }
        Some(value.to_owned())
    }

    fn needed(&mut self, name: &str) -> String {
        let value = self.text(name, LINE).unwrap_or_default();
        if value.is_empty() {
            self.wrong(name, "This is needed.");
        }
        value
    }

    fn code(&mut self) -> CodePattern {
        CodePattern {
            filename: path(self.needed("filename")),
            function_name: self.text("function_name", LINE),
            code_fragment: self.text("code_fragment", LINE),
        }
    }

    fn number(&mut self, name: &str) -> Option<u64> {
        let value = self.posted.given(name)?;
        let number = value.parse().ok().filter(|n| (1..=1_000_000_000_000).contains(n));
        if number.is_none() {
            self.wrong(name, "A whole number of at least 1, or nothing.");
        }
        number
    }

    fn address(&mut self, name: &str) -> String {
        let value = self.needed(name);
        if !value.is_empty() && value.parse::<lettre::Address>().is_err() {
            self.wrong(name, "That is no mail address.");
        }
        value
    }

    fn addresses(&mut self, name: &str) -> Vec<String> {
        let value = self.text(name, BLOCK).unwrap_or_default();
        let words = value.split(|c: char| c.is_whitespace() || c == ',' || c == ';');
        let addresses: Vec<String> = words.filter(|word| !word.is_empty()).map(str::to_owned).collect();
        if let Some(wrong) = addresses.iter().find(|word| word.parse::<lettre::Address>().is_err()) {
            self.wrong(name, &format!("{} is no mail address.", plain::line(wrong, 100)));
        }
        addresses
    }

    fn day(&mut self, name: &str) -> Option<jiff::Timestamp> {
        let value = self.posted.given(name)?;
        let day = value.parse::<Date>().and_then(|day| day.to_zoned(TimeZone::UTC));
        if day.is_err() {
            self.wrong(name, "A day such as 2026-12-31, or nothing.");
        }
        day.ok().map(|day| day.timestamp())
    }
}

/// Rules name files relative to the top of their repository.
fn path(text: String) -> String {
    text.trim_start_matches("./").trim_start_matches('/').to_owned()
}

/// Name, label, hint, input.
type Spec = (&'static str, &'static str, &'static str, Input);

const CODE: &[Spec] = &[
    (
        "filename",
        "File",
        "Relative to the top of its repository. Of third-party code, the end of its path.",
        Input::Line,
    ),
    ("function_name", "Function", "Empty: anywhere in the file.", Input::Line),
    (
        "code_fragment",
        "Code",
        "Part of the line, or the line with more around it; white space does not matter. Empty: any line.",
        Input::Code,
    ),
];

fn specs(list: List) -> &'static [&'static [Spec]] {
    match list {
        List::KnownErrors => &[CODE, KNOWN],
        List::BuildingBlocks | List::ThirdParty => &[CODE],
        List::IgnoredExceptions => &[&[(
            "type",
            "Type",
            "Its full name, such as django.http.Http404. Subclasses are others.",
            Input::Line,
        )]],
        List::Watchers => &[&[
            ("path", "Path", "A file, or a folder with all below it. Empty: everything.", Input::Line),
            ("email", "Who watches", "", Input::Mail),
            (
                "watch_all_errors",
                "Also errors that only went through the path",
                "Otherwise only those whose responsible line is in it.",
                Input::Check,
            ),
        ]],
        List::Remaps => &[&[
            ("from", "In git", "A whole address, or what stands before its @.", Input::Line),
            ("to", "Write to", "", Input::Mail),
        ]],
        List::Disowned => &[&[
            ("path", "Path", "A file, or a folder with all below it.", Input::Line),
            ("from", "Whose lines", "The address that mail about them goes to now.", Input::Mail),
            ("to", "Who answers for them", "", Input::Mail),
        ]],
    }
}

const KNOWN: &[Spec] = &[
    ("reason", "Why it is known", "For whoever reads the list.", Input::Line),
    ("expires_at", "Until", "From that day on it is an error like any other. Empty: for ever.", Input::Day),
    ("min_alert_threshold", "Mail once at", "occurrences. Empty: no such mail.", Input::Number),
    ("alert_every_n_occurrences", "Mail at every", "occurrences. Empty: no such mails.", Input::Number),
    ("max_alert_threshold", "No mail above", "occurrences. Empty: no such limit.", Input::Number),
    (
        "email_recipients",
        "Also mail",
        "Addresses that get its mails besides the author, one a line.",
        Input::Block,
    ),
    ("email_header", "On top of its mails", "", Input::Block),
];

/// A rule in one line.
pub(super) fn describe(rule: &Rule) -> String {
    let words = match rule {
        Rule::KnownError(known) => known.code.describe(),
        Rule::BuildingBlock(code) | Rule::ThirdPartyWhitelist(code) => code.describe(),
        Rule::IgnoredException { exception_type } => exception_type.clone(),
        Rule::Watch(watch) => {
            let path = if watch.path.is_empty() { "everything" } else { &watch.path };
            let all = if watch.watch_all_errors { ", also what goes through it" } else { "" };
            format!("{} watches {path}{all}", watch.email)
        }
        Rule::Remap { from, to } => format!("{from} → {to}"),
        Rule::Disown { path, from, to } => format!("{path}: {from} → {to}"),
    };
    plain::line(&words, 400)
}

/// What a known error does besides being silent, and until when; empty where there is nothing to say.
pub(super) fn terms(rule: &Rule) -> String {
    let Rule::KnownError(known) = rule else { return String::new() };
    let mut terms = Vec::new();
    terms.extend(known.min_alert_threshold.map(|n| format!("mail at {n}")));
    terms.extend(known.alert_every_n_occurrences.map(|n| format!("mail at every {n}")));
    terms.extend(known.max_alert_threshold.map(|n| format!("none above {n}")));
    terms.extend(known.expires_at.map(|end| format!("until {}", show::day(end.as_millisecond()))));
    terms.extend(known.reason.as_deref().map(|reason| plain::line(reason, 200)));
    terms.join(" · ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_survives_its_form() {
        let check = |query: &str, list: List| {
            let rule = Form::read(list, &Params::parse(query.as_bytes())).unwrap();
            let form = Form::of(&rule);
            let mut pairs = form_urlencoded::Serializer::new(String::new());
            form.fields.iter().for_each(|field| {
                pairs.append_pair(field.name, &field.value);
            });
            assert_eq!(Form::read(list, &Params::parse(pairs.finish().as_bytes())).unwrap(), rule);
        };
        check(
            "filename=a/b.py&function_name=f&code_fragment=x+%3D+1&min_alert_threshold=5&max_alert_threshold=9\
             &alert_every_n_occurrences=2&email_recipients=a@b.co,c@d.co&email_header=h&reason=r&expires_at=2027-01-01",
            List::KnownErrors,
        );
        check("filename=a.py", List::BuildingBlocks);
        check("filename=requests/api.py&function_name=get", List::ThirdParty);
        check("type=KeyError", List::IgnoredExceptions);
        check("path=shop&email=a@b.co&watch_all_errors=1", List::Watchers);
        check("from=ada&to=a@b.co", List::Remaps);
        check("path=shop&from=a@b.co&to=c@d.co", List::Disowned);
    }

    #[test]
    fn what_is_wrong_stands_beside_its_field() {
        let check = |query: &str, list: List, expected: &[&str]| {
            let form = Form::read(list, &Params::parse(query.as_bytes())).unwrap_err();
            let wrong: Vec<&str> =
                form.fields.iter().filter(|f| !f.wrong.is_empty()).map(|f| f.name).collect();
            assert_eq!(wrong, expected, "{query}");
        };
        check("", List::KnownErrors, &["filename"]);
        check(
            "filename=a&min_alert_threshold=0&expires_at=soon",
            List::KnownErrors,
            &["expires_at", "min_alert_threshold"],
        );
        check("filename=a&email_recipients=a@b.co+nobody", List::KnownErrors, &["email_recipients"]);
        check("path=x&from=ada&to=", List::Disowned, &["from", "to"]);
    }
}

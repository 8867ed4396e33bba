//! How the week is shown: as configured, or as set on the page "Settings" while the daemon runs.

use jiff::civil::Weekday;

use crate::store::BoardSettings;

/// How the week is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WeekSettings {
    /// The day that weeks begin on.
    pub starts: Weekday,
    /// What it calls developers.
    pub names: Names,
}

impl Default for WeekSettings {
    /// As in Flawless.
    fn default() -> Self {
        Self { starts: Weekday::Sunday, names: Names::default() }
    }
}

impl WeekSettings {
    /// With what is set while the daemon runs in place of what is configured.
    pub(super) fn but(self, set: &BoardSettings) -> Self {
        let names = set.names.as_deref().and_then(Names::read);
        let starts = set.week_starts.as_deref().and_then(weekday);
        Self { names: names.unwrap_or(self.names), starts: starts.unwrap_or(self.starts) }
    }
}

/// What the week calls developers. A fault's own page names whom git names in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Names {
    /// By their names.
    #[default]
    Shown,
    /// By made-up ones, but oneself.
    Pseudonyms,
    /// Not at all: everybody is counted together.
    Hidden,
}

impl Names {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Shown, Self::Pseudonyms, Self::Hidden];

    /// As settings write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Shown => "shown",
            Self::Pseudonyms => "pseudonyms",
            Self::Hidden => "hidden",
        }
    }

    /// Of its name. `None`: there is none of it.
    #[must_use]
    pub fn read(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|names| names.as_str() == name)
    }
}

/// The days of the week as settings write them.
pub(crate) const DAYS: [&str; 7] =
    ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];

/// The day of that name. `None`: there is none.
#[must_use]
pub(crate) fn weekday(name: &str) -> Option<Weekday> {
    let at = DAYS.iter().position(|day| day.eq_ignore_ascii_case(name))?;
    Weekday::Sunday.cycle_forward().nth(at)
}

/// The name of a day.
pub(super) fn weekday_name(day: Weekday) -> &'static str {
    DAYS[usize::from(day.to_sunday_zero_offset().unsigned_abs()) % 7]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_goes_before_what_is_configured() {
        let configured = WeekSettings { starts: Weekday::Monday, names: Names::Pseudonyms };
        assert_eq!(configured.but(&BoardSettings::default()), configured);
        for name in DAYS {
            for names in Names::ALL {
                let set = BoardSettings {
                    week_starts: Some(name.to_owned()),
                    names: Some(names.as_str().to_owned()),
                };
                let shown = configured.but(&set);
                assert_eq!((weekday_name(shown.starts), shown.names), (name, names));
            }
        }
        let unknown = BoardSettings { week_starts: Some("someday".into()), names: Some("nobody".into()) };
        assert_eq!(configured.but(&unknown), configured);
    }
}

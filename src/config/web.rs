//! Who may see the pages, and how.

use std::net::IpAddr;

use axum::http::HeaderName;
use ipnet::IpNet;
use jiff::tz::TimeZone;

use super::document::Section;
use super::mail::address;
use crate::store::AccountRole;
use crate::web::{Names, Proxies, SignIn, WeekSettings, weekday, zone};

/// Who may see the pages, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Web {
    /// Whether they need signing in.
    pub sign_in: SignIn,
    /// Whether whoever writes code of a project may sign in, and sees it.
    pub authors: bool,
    /// What is in front of the daemon and may say who is there.
    pub proxies: Proxies,
    /// How the week is shown.
    pub week: WeekSettings,
    /// In which time zone times are shown to whoever has not said theirs.
    pub time_zone: TimeZone,
    /// Who is mailed the link that makes the first admin.
    pub admin: Option<String>,
}

impl Default for Web {
    fn default() -> Self {
        let (sign_in, proxies, week) = Default::default();
        Self { sign_in, authors: true, proxies, week, time_zone: TimeZone::UTC, admin: None }
    }
}

/// Reads the section `[web]`. `domain` stands in where a proxy names users without one.
pub(super) fn read_web(mut section: Section<'_>, domain: Option<String>) -> Web {
    let default = Web::default();
    let hint = "\"required\", or \"off\" for a closed network";
    let sign_in = section.parsed("sign_in", hint, |text| match text {
        "required" => Ok(SignIn::Required),
        "off" => Ok(SignIn::Off),
        _ => Err(format!("{text:?} is no way to sign in")),
    });
    let authors = section.boolean("authors_may_sign_in");
    let proxies = read_proxies(&mut section, domain);
    let week = read_week(&mut section);
    let hint = "a name of the IANA database, such as \"Europe/Berlin\" or \"UTC\"";
    let time_zone = section
        .parsed("time_zone", hint, |text| zone(text).ok_or_else(|| format!("{text:?} is no time zone")));
    let admin = address(&mut section, "admin");
    section.finish();
    Web {
        sign_in: sign_in.unwrap_or(default.sign_in),
        authors: authors.unwrap_or(default.authors),
        proxies,
        week,
        time_zone: time_zone.unwrap_or(default.time_zone),
        admin,
    }
}

fn read_week(section: &mut Section<'_>) -> WeekSettings {
    let default = WeekSettings::default();
    let starts = section.parsed("week_starts", "a day such as \"sunday\" or \"monday\"", |text| {
        weekday(text).ok_or_else(|| format!("{text:?} is no day of the week"))
    });
    let names = section.parsed("names", "\"shown\", \"pseudonyms\" or \"hidden\"", |text| {
        Names::read(text).ok_or_else(|| format!("{text:?} is no way to show names"))
    });
    WeekSettings { starts: starts.unwrap_or(default.starts), names: names.unwrap_or(default.names) }
}

fn read_proxies(section: &mut Section<'_>, domain: Option<String>) -> Proxies {
    let mut trusted = Vec::new();
    for written in section.strings("trusted_proxies") {
        let text = &written.value;
        match text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)) {
            Ok(net) => trusted.push(net.trunc()),
            Err(_) => {
                let said = format!("`web.trusted_proxies`: {text:?} is no address");
                section.problem(written.span, said, "such as \"127.0.0.1\" or \"10.0.0.0/8\"");
            }
        }
    }
    let given = section.has("user_header");
    let user_header = section.parsed("user_header", "such as \"X-Remote-User\"", |text| {
        let name = text.parse::<HeaderName>().map_err(|_| format!("{text:?} is no name of a header"))?;
        let ours = ["cookie", "host", "origin", "authorization"].contains(&name.as_str());
        if ours { Err(format!("{text:?} is a header of browsers themselves")) } else { Ok(name) }
    });
    if given && trusted.is_empty() {
        let hint =
            "add trusted_proxies = [\"127.0.0.1\"]: from anywhere else the header is anybody's invention";
        section.problem(
            section.span_of("user_header"),
            "`web.user_header` needs `web.trusted_proxies`",
            hint,
        );
    }
    let newcomers = section.parsed("newcomers", "\"none\", \"reader\" or \"developer\"", |text| match text {
        "none" => Ok(None),
        "reader" => Ok(Some(AccountRole::Reader)),
        "developer" => Ok(Some(AccountRole::Developer)),
        _ => Err(format!("{text:?} is nothing that newcomers can be")),
    });
    Proxies { trusted, user_header, newcomers: newcomers.flatten(), domain }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Config;

    #[test]
    fn proxies_are_listed_by_address() {
        let parse =
            |text: &str| Config::parse(Path::new("c.toml"), text).map_err(|problems| problems.to_string());
        let config = parse(
            "[mail]\nemail_domain = \"example.org\"\n[web]\ntrusted_proxies = [\"127.0.0.1\", \"10.1.2.3/8\", \"::1\"]\n\
             user_header = \"X-Remote-User\"\nnewcomers = \"reader\"\n",
        )
        .unwrap();
        let Proxies { trusted, user_header, newcomers, domain } = config.web.proxies;
        let nets: Vec<_> = trusted.iter().map(ToString::to_string).collect();
        assert_eq!(nets, ["127.0.0.1/32", "10.0.0.0/8", "::1/128"]);
        assert_eq!(user_header.unwrap().as_str(), "x-remote-user");
        assert_eq!((newcomers, domain.as_deref()), (Some(AccountRole::Reader), Some("example.org")));
        for (text, expected) in [
            ("user_header = \"X-User\"", "needs `web.trusted_proxies`"),
            ("trusted_proxies = [\"localhost\"]", "\"localhost\" is no address"),
            ("trusted_proxies = [\"::1\"]\nuser_header = \"Cookie\"", "a header of browsers"),
            ("trusted_proxies = [\"::1\"]\nuser_header = \"a b\"", "no name of a header"),
            ("newcomers = \"admin\"", "nothing that newcomers can be"),
        ] {
            let told = parse(&format!("[web]\n{text}\n")).unwrap_err();
            assert!(told.contains(expected), "{expected:?} is not in:\n{told}");
        }
    }
}

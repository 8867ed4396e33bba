//! How each client is pointed here: the lines to change, ready to be copied. What the command prints, the page
//! shows and the README has.

use crate::store::ProjectId;

/// A client, and what to change in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snippet {
    /// What it is called.
    pub client: &'static str,
    /// The lines.
    pub lines: String,
}

/// A project's key as the address that clients of Sentry take.
#[must_use]
pub fn dsn(public_url: &str, project: ProjectId, key: &str) -> String {
    let (scheme, host) = public_url.split_once("://").unwrap_or(("http", public_url));
    format!("{scheme}://{key}@{}/{}", host.trim_end_matches('/'), project.0)
}

/// The lines for every client that is understood. `public_url` is how clients reach the daemon; `flawless` is the
/// host and port for clients of Flawless, if they may report to this project.
#[must_use]
pub fn snippets(public_url: &str, project: ProjectId, key: &str, flawless: Option<&str>) -> Vec<Snippet> {
    let (url, number) = (public_url.trim_end_matches('/'), project.0);
    let dsn = dsn(url, project, key);
    let mut all = vec![
        ("sentry-sdk (Python)", format!("sentry_sdk.init(dsn=\"{dsn}\")")),
        ("@sentry/node", format!("Sentry.init({{ dsn: \"{dsn}\" }})")),
        ("@sentry/browser", format!("Sentry.init({{ dsn: \"{dsn}\" }})")),
        ("sentry (Rust)", format!("let _guard = sentry::init(\"{dsn}\");")),
        ("any Sentry SDK", format!("SENTRY_DSN={dsn}")),
        (
            "OpenTelemetry",
            // Not `authorization`: its blank would have to be written as `%20` here, which some clients do not read.
            format!("OTEL_EXPORTER_OTLP_ENDPOINT={url}\nOTEL_EXPORTER_OTLP_HEADERS=x-blamed-key={key}"),
        ),
        (
            "Airbrake",
            // What Airbrake's own server would have set for a project of that number is none of ours.
            format!(
                "pybrake.Notifier(host=\"{url}\", project_id={number}, project_key=\"{key}\", remote_config=False)"
            ),
        ),
        ("Rollbar", format!("rollbar.init(\"{key}\", endpoint=\"{url}/api/1/\")")),
        ("Honeybadger", format!("HONEYBADGER_ENDPOINT={url}\nHONEYBADGER_API_KEY={key}")),
    ];
    if let Some(address) = flawless {
        all.push(("Flawless", format!("flawless.client.set_hostports([\"{address}\"])")));
    }
    let bearer = format!("curl -H 'Authorization: Bearer {key}'");
    all.push(("OOPS", format!("{bearer} --data-binary @OOPS-FILE {url}/api/v1/oops")));
    all.push((
        "none",
        format!(
            "{bearer} -H 'Content-Type: text/plain' --data-binary @traceback.txt '{url}/api/v1/reports?wait=10'"
        ),
    ));
    all.into_iter().map(|(client, lines)| Snippet { client, lines }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_has_every_one() {
        let readme = include_str!("../../README.md");
        let url = "http://blamed.example.com:9029";
        for Snippet { client, lines } in snippets(url, ProjectId(1), "KEY", Some("blamed.example.com:9028")) {
            let row = format!("`{}`", lines.replace('\n', "`<br>`"));
            assert!(readme.contains(&row), "{client}: {row} is not in README.md");
        }
    }

    #[test]
    fn a_prefix_of_the_address_is_kept() {
        assert_eq!(dsn("https://h.org/blamed/", ProjectId(7), "ab"), "https://ab@h.org/blamed/7");
    }
}

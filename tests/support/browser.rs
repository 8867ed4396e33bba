//! A browser as far as pages without scripts need one: keeps its cookie, fills in forms, follows nothing.

#![allow(dead_code, unreachable_pub, reason = "each test uses what it needs")]

use std::path::Path;
use std::time::Duration;

use mail_parser::MessageParser;

use super::daemon::{Daemon, eventually};

pub struct Browser {
    pub url: String,
    pub cookie: Option<String>,
    /// What it says about itself with a post.
    pub origin: String,
}

pub struct Page {
    pub status: u16,
    pub location: String,
    pub text: String,
    pub headers: ureq::http::HeaderMap,
}

impl Browser {
    pub fn new(url: &str) -> Self {
        Self { url: url.to_owned(), cookie: None, origin: url.to_owned() }
    }

    /// One that is signed in as the first admin.
    pub fn admin(daemon: &Daemon) -> Self {
        let mut browser = Self::new(&daemon.url);
        let link = daemon.admin_link.as_deref().expect("there is no admin yet");
        let path = link.strip_prefix(&daemon.url).unwrap().to_owned();
        let entered = browser.fill_in(&path, &path, &[("mail", "root@example.org")]);
        assert_eq!((entered.status, entered.location.as_str()), (303, "/"), "{}", entered.text);
        browser
    }

    /// One that is signed in by a link that was mailed.
    pub fn by_mail(daemon: &Daemon, data: &Path, address: &str) -> Self {
        let mut browser = Self::new(&daemon.url);
        let before = links(data, address);
        assert_eq!(browser.fill_in("/sign_in", "/sign_in", &[("mail", address)]).status, 200);
        let link = eventually("a sign-in link", || {
            links(data, address).into_iter().find(|link| !before.contains(link))
        });
        let path = link.strip_prefix(&daemon.url).unwrap();
        let entered = browser.fill_in(path, path, &[]);
        assert_eq!(entered.status, 303, "{}", entered.text);
        browser
    }

    pub fn get(&mut self, path: &str) -> Page {
        let mut request = agent().get(format!("{}{path}", self.url));
        if let Some(cookie) = &self.cookie {
            request = request.header("Cookie", cookie);
        }
        let answer = request.call().unwrap();
        self.note(answer)
    }

    /// Posts as it is; `token` is the caller's business.
    pub fn post(&mut self, path: &str, fields: &[(&str, &str)]) -> Page {
        let mut request = agent().post(format!("{}{path}", self.url));
        if let Some(cookie) = &self.cookie {
            request = request.header("Cookie", cookie);
        }
        if !self.origin.is_empty() {
            request = request.header("Origin", &self.origin);
        }
        let answer = request.send_form(fields.iter().copied()).unwrap();
        self.note(answer)
    }

    /// Opens a page, and posts its form to `action` with these fields.
    pub fn fill_in(&mut self, page: &str, action: &str, fields: &[(&str, &str)]) -> Page {
        let token = self.get(page).value("token");
        let with_token: Vec<_> = fields.iter().copied().chain([("token", token.as_str())]).collect();
        self.post(action, &with_token)
    }

    fn note(&mut self, mut answer: ureq::http::Response<ureq::Body>) -> Page {
        let header = |name: &str| {
            answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default()
        };
        let (cookie, location) = (header("set-cookie"), header("location"));
        if let Some((cookie, _)) = cookie.split_once(';') {
            self.cookie = Some(cookie.to_owned());
        }
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Page { status, location, headers, text: answer.body_mut().read_to_string().unwrap() }
    }
}

impl Page {
    /// The value of the first input of that name.
    pub fn value(&self, name: &str) -> String {
        let after = self.text.split_once(&format!("name=\"{name}\" "));
        let (_, after) = after.unwrap_or_else(|| panic!("no field {name:?} in {}", self.text));
        let (_, value) = after.split_once("value=\"").unwrap();
        value.split_once('"').unwrap().0.to_owned()
    }

    /// The first link of the page whose address begins so.
    pub fn link(&self, start: &str) -> String {
        let at = self.text.find(&format!("href=\"{start}"));
        let rest = &self.text[at.unwrap_or_else(|| panic!("no link {start:?} in {}", self.text)) + 6..];
        rest.split_once('"').unwrap().0.replace("&#38;", "&").replace("&amp;", "&")
    }

    pub fn has(&self, text: &str) -> &Self {
        assert!(self.text.contains(text), "{text:?} is not in {}", self.text);
        self
    }
}

/// The sign-in links that were mailed to an address.
pub fn links(data: &Path, address: &str) -> Vec<String> {
    let Ok(folder) = std::fs::read_dir(data.join("mail")) else { return Vec::new() };
    let files = folder.map(|entry| entry.unwrap().path());
    let mails = files.filter(|path| path.extension().is_some_and(|end| end == "eml")).filter_map(|path| {
        let bytes = std::fs::read(path).unwrap();
        let mail = MessageParser::new().parse(&bytes)?;
        (mail.to()?.first()?.address()? == address).then(|| mail.body_text(0).unwrap().into_owned())
    });
    mails
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .filter(|line| line.starts_with("http") && line.contains("/sign_in/"))
        .collect()
}

fn agent() -> ureq::Agent {
    let config = ureq::Agent::config_builder().http_status_as_error(false).max_redirects(0);
    config.timeout_global(Some(Duration::from_secs(60))).build().into()
}

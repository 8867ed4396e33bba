//! Mails as their reader gets them: composed, then parsed back by another library.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as the test does")]

#[path = "support/notices.rs"]
mod notices;

use blamed::notify::Transport;
use blamed::notify::compose::{MAX_MAIL, compose};
use blamed::notify::notice::{FaultNotice, Notice};
use blamed::report::Exception;
use blamed::triage::verdict::{Role, Verdict};
use mail_parser::{HeaderValue, MessageParser};
use notices::{CREATED_AT, TO, fault, settings};
use proptest::prelude::*;

const MESSAGE_ID: &str = "f117.0a1b2c3d4e5f6071@shop.example";

/// A mail taken apart again.
struct Read {
    raw: String,
    subject: String,
    text: String,
    html: String,
}

fn read(notice: FaultNotice) -> Read {
    read_notice(&Notice::Fault(Box::new(notice)))
}

fn read_notice(notice: &Notice) -> Read {
    let settings = settings(Transport::Folder("unused".into()));
    let raw = compose(notice, TO, MESSAGE_ID, CREATED_AT, &settings).unwrap().formatted();
    assert!(raw.len() <= MAX_MAIL, "{} bytes", raw.len());
    assert!(raw.is_ascii());
    let mail = MessageParser::new().parse(&raw).unwrap();
    assert_eq!(mail.headers().iter().filter(|h| h.name().eq_ignore_ascii_case("to")).count(), 1);
    let to = mail.to().unwrap().as_list().unwrap();
    assert_eq!(to.iter().map(|a| a.address().unwrap()).collect::<Vec<_>>(), [TO]);
    assert!(mail.cc().is_none() && mail.bcc().is_none());
    assert_eq!(mail.message_id(), Some(MESSAGE_ID));
    assert_eq!(mail.header("Auto-Submitted").and_then(HeaderValue::as_text), Some("auto-generated"));
    assert_eq!(mail.date().unwrap().to_timestamp(), CREATED_AT / 1000);
    assert_eq!((mail.text_body_count(), mail.html_body_count(), mail.attachment_count()), (1, 1, 0));
    let read = Read {
        subject: mail.subject().unwrap().to_owned(),
        text: mail.body_text(0).unwrap().replace("\r\n", "\n"),
        html: mail.body_html(0).unwrap().replace("\r\n", "\n"),
        raw: String::from_utf8(raw.clone()).unwrap(),
    };
    assert!(read.subject.chars().count() <= 120, "{}", read.subject);
    for (part, text) in [("subject", &read.subject), ("text", &read.text), ("html", &read.html)] {
        let acts = |c: char| {
            (c.is_control() && (c != '\n' || part == "subject"))
                || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}')
        };
        assert_eq!(text.chars().find(|&c| acts(c)), None, "in {part}");
    }
    read
}

/// To be looked at, where `BLAMED_TEST_MAILS` names a folder for it.
fn keep(mail: &Read, name: &str) {
    if let Some(dir) = std::env::var_os("BLAMED_TEST_MAILS") {
        let dir = std::path::Path::new(&dir);
        std::fs::write(dir.join(name).with_extension("txt"), &mail.text).unwrap();
        std::fs::write(dir.join(name).with_extension("html"), &mail.html).unwrap();
    }
}

#[test]
fn a_fault_from_life_reads_well() {
    let mail = read(fault());
    keep(&mail, "fault");
    assert_eq!(mail.subject, "KeyError on web-3 in pricing/discounts.py:42");
    for header in ["List-Id: <shop.blamed.shop.example>\r\n", "X-Blamed-Fault: 117\r\n"] {
        assert!(mail.raw.contains(header), "{header}");
    }
    assert!(
        mail.text.starts_with("KeyError\n  'SUMMER'\n\nin pricing/discounts.py:42, price\n"),
        "{}",
        mail.text
    );
    for part in [
        "(shop at 4be1a6c09d)",
        ">    42      return rates[code] * cart.total\n",
        "     43\n",
        "  Git names you as the author of this line.\n",
        "  9c20d51b7e  2026-10-02  Mira Lang\n  Seasonal discounts, looked up by code\n",
        "  Not certain that this is the line that was running: the report named no\n  revision.\n",
        "  Passed over, as configured: 7d11f0aa52.\n",
        "  In that commit it is shop/discounts.py:28.\n",
        "> pricing/discounts.py:42: our code\n    the innermost candidate\n",
        "    … 3 library frames\n    /srv/shop/views/checkout.py:31, checkout\n",
        ">   /srv/shop/pricing/discounts.py:42, price\n        return rates[code] * cart.total\n",
        "    cart =\n        Cart(id=90210,\n             items=3,\n             total=Decimal('59.70'))\n    code = 'SUMMER'\n",
        "  checkout failed for cart 90210\n",
        "REQUEST\n\n  data: {\"code\":\"SUMMER\"}\n  method: POST\n",
        "  Seen         3 times\n",
        "  https://blamed.shop.example/faults/117\n",
        "  https://blamed.shop.example/#mira.lang@example.com\n",
        "/add_known_error?filename=pricing%2Fdiscounts.py&function_name=price&code_fragment=return%20rates%5Bcode%5D%20%2A%20cart.total\n",
    ] {
        assert!(mail.text.contains(part), "{part:?} is not in\n{}", mail.text);
    }
    assert!(mail.text.lines().all(|l| l.chars().count() <= 78 || l.contains("https://")), "{}", mail.text);
    for part in [
        "<h1>KeyError</h1>",
        "&#39;SUMMER&#39;",
        "class=\"ln hit\" style=\"background:#fdecea;color:#1d1f21\"><span class=\"no\">→   42  </span>    return rates[code] * cart.total</div>",
        "<div class=\"fr dim\">… 3 library frames</div>",
        "href=\"https://blamed.shop.example/faults/117\"",
    ] {
        assert!(mail.html.contains(part), "{part:?} is not in\n{}", mail.html);
    }
}

#[test]
fn nobody_elses_address_is_shown() {
    let mut notice = fault();
    notice.role = Role::Heir;
    notice.why = format!("ann@example.com handed shop/ to {TO}");
    notice.verdicts[4].reason = "known error of bob@example.com".to_owned();
    let blame = notice.blame.as_mut().unwrap();
    blame.author.name = "carl@example.com".to_owned();
    blame.author.mail = "dora@example.com".to_owned();
    blame.summary = "Fix for <eve@example.com>".to_owned();
    let mail = read(notice);
    for name in ["ann", "bob", "carl", "dora", "eve"] {
        for part in [&mail.raw, &mail.text, &mail.html] {
            assert!(!part.contains(&format!("{name}@")), "{name} in {part}");
        }
    }
    assert!(mail.text.contains(&format!("…@example.com handed shop/ to {TO}.")), "{}", mail.text);
    assert!(mail.text.contains("Fix for <…@example.com>"), "{}", mail.text);
}

#[test]
fn a_chain_is_read_from_its_headline_on() {
    let mut notice = fault();
    notice.header = Some("Known since March.\nAsk the payments team.".to_owned());
    notice.blame = None;
    notice.blame_failure = Some("the file is not tracked".to_owned());
    notice.report.exceptions.push(Exception {
        kind: Some("shop.errors.CheckoutError".to_owned()),
        message: Some("cannot price the cart".to_owned()),
        frames: Vec::new(),
        omitted: None,
    });
    let mail = read(notice);
    keep(&mail, "chain");
    assert_eq!(mail.subject, "CheckoutError on web-3 in pricing/discounts.py:42");
    assert!(mail.text.starts_with("Known since March.\nAsk the payments team.\n\n---"), "{}", mail.text);
    let headline = mail.text.find("  shop.errors.CheckoutError: cannot price the cart\n\n").unwrap();
    let earlier = mail.text.find("  Earlier in the chain:\n  KeyError: 'SUMMER'\n").unwrap();
    assert!(headline < earlier);
    assert!(mail.text.contains("Git could not name an author: the file is not tracked."), "{}", mail.text);
    assert!(mail.text.contains(">    42  return rates[code] * cart.total"), "{}", mail.text);
}

#[test]
fn an_empty_report_still_makes_a_mail() {
    let mut notice = fault();
    notice.report = blamed::report::Report::default();
    notice.verdicts.clear();
    (notice.place, notice.blame, notice.function) = (None, None, None);
    notice.why.clear();
    let mail = read(notice);
    assert_eq!(mail.subject, "Error");
    assert!(mail.text.contains("Git names you"), "{}", mail.text);
}

#[test]
fn trouble_says_where_it_comes_from() {
    let mail = read_notice(&Notice::Trouble {
        subject: "the repository\r\nBcc: x@example.com cannot be fetched".to_owned(),
        text: "shop: exit code 128\n\nCheck <the> deploy key.".to_owned(),
    });
    keep(&mail, "trouble");
    assert_eq!(mail.subject, "[blamed] the repository Bcc: x@example.com cannot be fetched");
    assert!(mail.text.contains("shop: exit code 128\n\nCheck <the> deploy key.\n"), "{}", mail.text);
    assert!(mail.html.contains("Check &#60;the&#62; deploy key."), "{}", mail.html);
}

#[test]
fn an_address_that_no_server_takes_is_an_error() {
    let settings = settings(Transport::Folder("unused".into()));
    let long = format!("{}@example.com", "a".repeat(300));
    for to in [
        "",
        "nobody",
        "@example.com",
        "a b@example.com",
        "a@b@example.com",
        "a@example.com\r\nBcc: b@example.com",
        "a@example.com, b@example.com",
        "<a@example.com>",
        "\"a\"@example.com",
        "jürgen@example.com",
        "a@exa\0mple.com",
        "a@[127.0.0.1]",
        "a@example.com>",
        "a@",
        &long,
    ] {
        let error =
            compose(&notices::notice(), to, MESSAGE_ID, CREATED_AT, &settings).unwrap_err().to_string();
        assert!(error.starts_with("the recipient's address cannot be written to"), "{to}: {error}");
        assert!(to.is_empty() || !error.contains(to), "{error}");
    }
    for to in ["a+b@example.com", "root@localhost", "o'neil@example.com", "a.b_c-d@sub.example.com"] {
        compose(&notices::notice(), to, MESSAGE_ID, CREATED_AT, &settings).unwrap();
    }
    for id in ["", "no-domain", "a@b@c", "a b@c", "a@c>\r\nX: y"] {
        assert!(compose(&notices::notice(), TO, id, CREATED_AT, &settings).is_err(), "{id}");
    }
}

/// Puts `text` into everything that a client, a repository or a rule can fill.
fn poisoned(text: &str) -> FaultNotice {
    let mut notice = fault();
    let owned = || text.to_owned();
    notice.project = owned();
    notice.why = owned();
    notice.header = Some(owned());
    notice.function = Some(owned());
    let report = &mut notice.report;
    report.hostname = Some(owned());
    report.release = Some(owned());
    report.revision = Some(owned());
    report.environment = Some(owned());
    report.additional_info = Some(owned());
    report.protocol = owned();
    report.remarks = vec![owned(); 3];
    report.context.insert(owned(), serde_json::json!({ text: text, "list": [text] }));
    report.context.insert("text".to_owned(), text.into());
    for exception in &mut report.exceptions {
        exception.kind = Some(owned());
        exception.message = Some(owned());
        for frame in &mut exception.frames {
            frame.file = owned();
            frame.function = Some(owned());
            frame.text = Some(owned());
            frame.locals = vec![(owned(), owned()), ("x".to_owned(), owned())];
        }
    }
    for verdict in &mut notice.verdicts {
        verdict.reason = owned();
        if let Some(file) = &mut verdict.file {
            file.path = text.into();
        }
    }
    let blame = notice.blame.as_mut().unwrap();
    (blame.summary, blame.author.name, blame.author.mail) = (owned(), owned(), owned());
    blame.place.path = text.into();
    blame.origin.path = text.into();
    blame.source.iter_mut().for_each(|line| line.text = owned());
    notice.place = Some(blame.place.clone());
    notice
}

#[test]
fn hostile_strings_stay_where_they_belong() {
    let long = "x".repeat(100_000);
    let wide = "日本語 \u{1f4a9}".repeat(20_000);
    let costly = "<\"&='>".repeat(20_000);
    for text in [
        "a\r\nBcc: mallory@example.org\r\n\r\n<script>alert(1)</script>",
        "a\nTo: mallory@example.org",
        "a\u{2028}Bcc: mallory@example.org\u{2029}b\u{85}c",
        "\0\u{1}\u{7f}\u{9b}31m\x1b[2J\x1b]0;title\x07",
        "\u{202e}gpj.exe\u{2066}\u{200f}\u{feff}",
        "\r\n.\r\nMAIL FROM:<mallory@example.org>\r\n",
        "\n.\n",
        "=?utf-8?q?=0D=0ABcc:_mallory@example.org?=",
        "</div></body><img src=x onerror=alert(1)>\" onclick=\"x",
        "{{ l.kind }}{% include \"x\" %}",
        "ÄÖÜ \u{10ffff} \u{fffd} \u{1f468}\u{200d}\u{1f469}",
        "",
        " \t\r\n ",
        &long,
        &wide,
        &costly,
    ] {
        let mail = read(poisoned(text));
        assert!(!mail.html.contains("<script") && !mail.html.contains("<img"), "{}", mail.html);
        assert!(!mail.html.contains("\" onclick"), "{}", mail.html);
        let (head, _) = mail.raw.split_once("\r\n\r\n").unwrap();
        let names: Vec<_> = head
            .split("\r\n")
            .filter(|line| !line.starts_with([' ', '\t']))
            .map(|line| line.split_once(':').unwrap().0)
            .collect();
        let expected = [
            "From",
            "To",
            "Subject",
            "Date",
            "Message-ID",
            "Auto-Submitted",
            "List-Id",
            "X-Blamed-Fault",
            "MIME-Version",
            "Content-Type",
        ];
        assert_eq!(names, expected, "{head}");
        assert!(mail.raw.lines().all(|line| line.len() <= 998));
    }
}

#[test]
fn a_deep_stack_shows_the_line_that_matters() {
    let mut notice = fault();
    let exception = &mut notice.report.exceptions[0];
    let deep = exception.frames[3].clone();
    exception.frames.splice(5..5, std::iter::repeat_n(deep.clone(), 5_000));
    exception.frames.splice(4..4, std::iter::repeat_n(deep, 5_000));
    notice.verdicts[4].frame = 5_004;
    notice.verdicts[5].frame = 10_005;
    let mail = read(notice);
    assert!(mail.text.contains(">   /srv/shop/pricing/discounts.py:42, price\n"), "{}", mail.text);
    assert!(
        mail.text.contains("more rows above\n") && mail.text.contains("more rows below\n"),
        "{}",
        mail.text
    );
}

/// All that the decoders let through at once.
#[test]
fn a_report_at_every_limit_makes_a_mail_within_bounds() {
    let mut notice = fault();
    for value in ["<&\">='\n".repeat(140), "日本語日本語".repeat(50), "x\n".repeat(500)] {
        let frame = blamed::report::Frame {
            locals: (0..100).map(|n| (format!("local{n}"), value.clone())).collect(),
            text: Some(value.clone()),
            function: Some(value.clone()),
            ..notice.report.exceptions[0].frames[3].clone()
        };
        let verdict = notice.verdicts[3].clone();
        notice.report.exceptions = vec![
            Exception {
                frames: vec![frame; 50],
                kind: Some(value.clone()),
                message: Some(value.clone()),
                omitted: None
            };
            10
        ];
        notice.verdicts = (0..500)
            .map(|n| Verdict {
                exception: n / 50,
                frame: n % 50,
                reason: value.clone(),
                suspect: n == 7,
                ..verdict.clone()
            })
            .collect();
        notice.report.additional_info = Some(value.repeat(10_000));
        notice.report.context = (0..500).map(|n| (format!("key{n}"), value.clone().into())).collect();
        notice.report.remarks = vec![value.clone(); 100];
        notice.header = Some(value.repeat(1_000));
        let mail = read(notice.clone());
        assert!(mail.text.contains(">   /srv/shop/views/checkout.py:31"), "{}", mail.text);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_string_makes_a_sound_mail(text in "\\PC{0,40}|(?s).{0,200}") {
        read(poisoned(&text));
    }
}

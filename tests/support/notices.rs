//! Notices to send: one as it comes from life, and settings to send it with.

use std::num::NonZeroU32;

use blamed::blame::{Author, Blame, CommitId, Confidence, Origin, Place, SourceLine};
use blamed::notify::notice::{FaultNotice, Notice};
use blamed::notify::{Settings, Transport};
use blamed::report::{Exception, Frame, Report};
use blamed::triage::verdict::{FrameType, Role, TrackedFile, Verdict};
use serde_json::json;

pub(crate) const TO: &str = "mira.lang@example.com";
/// 2026-11-16 11:33:20 UTC.
pub(crate) const CREATED_AT: i64 = 1_794_828_800_000;

pub(crate) fn settings(transport: Transport) -> Settings {
    Settings {
        from: "blamed <blamed@shop.example>".parse().unwrap(),
        public_url: "https://blamed.shop.example/".to_owned(),
        default_contact: Some("ops@shop.example".to_owned()),
        transport,
    }
}

pub(crate) fn notice() -> Notice {
    Notice::Fault(Box::new(fault()))
}

fn line(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).unwrap()
}

fn frame(file: &str, number: u32, function: &str, text: &str) -> Frame {
    Frame {
        file: file.to_owned(),
        line: Some(line(number)),
        function: Some(function.to_owned()),
        text: Some(text.to_owned()),
        ..Frame::default()
    }
}

/// A `KeyError` below Flask, in a line that Mira wrote.
pub(crate) fn fault() -> FaultNotice {
    let flask = "/srv/venv/lib/python3.13/site-packages/flask/app.py";
    let mut frames = vec![
        frame(flask, 1536, "__call__", "return self.wsgi_app(environ, start_response)"),
        frame(flask, 1511, "wsgi_app", "response = self.full_dispatch_request()"),
        frame(flask, 919, "full_dispatch_request", "rv = self.dispatch_request()"),
        frame("/srv/shop/views/checkout.py", 31, "checkout", "total = price(cart, request.form['code'])"),
        frame("/srv/shop/pricing/discounts.py", 42, "price", "return rates[code] * cart.total"),
        frame("/srv/shop/pricing/rates.py", 17, "__getitem__", "raise KeyError(code)"),
    ];
    frames[3].locals = vec![("request".into(), "<Request 'https://shop.example/checkout' [POST]>".into())];
    frames[4].locals = vec![
        ("rates".into(), "<Rates EUR: SPRING, STAFF>".into()),
        ("cart".into(), "Cart(id=90210,\n     items=3,\n     total=Decimal('59.70'))".into()),
        ("code".into(), "'SUMMER'".into()),
    ];
    let verdict = |at: usize, frame_type, path: Option<&str>, reason: &str, suspect| Verdict {
        exception: 0,
        frame: at,
        frame_type,
        reason: reason.to_owned(),
        file: path.map(|path| TrackedFile { repository: "shop".to_owned(), path: path.into() }),
        suspect,
    };
    let library = "flask/app.py is in no configured repository";
    let verdicts = vec![
        verdict(0, FrameType::BadPath, None, library, false),
        verdict(1, FrameType::BadPath, None, library, false),
        verdict(2, FrameType::BadPath, None, library, false),
        verdict(3, FrameType::Default, Some("views/checkout.py"), "a line further in is responsible", false),
        verdict(4, FrameType::Default, Some("pricing/discounts.py"), "the innermost candidate", true),
        verdict(
            5,
            FrameType::Raise,
            Some("pricing/rates.py"),
            "the line raises; its caller is looked at",
            false,
        ),
    ];
    let place = Place {
        repository: "shop".to_owned(),
        revision: CommitId("4be1a6c09d2f7735a8e0bb6b4f1ce0d3f5a1c7e2".to_owned()),
        path: "pricing/discounts.py".into(),
        line: line(42),
    };
    let source = [
        (39, "def price(cart, code):"),
        (40, "    \"\"\"What the cart costs once the code is applied.\"\"\""),
        (41, "    rates = Rates.of(cart.currency)"),
        (42, "    return rates[code] * cart.total"),
        (43, ""),
        (44, ""),
        (45, "def rounded(amount):"),
    ];
    FaultNotice {
        fault: 117,
        project: "shop".to_owned(),
        role: Role::Author,
        why: "git names you as the author of this line".to_owned(),
        header: None,
        count: 3,
        report: Report {
            exceptions: vec![Exception {
                kind: Some("KeyError".to_owned()),
                message: Some("'SUMMER'".to_owned()),
                frames,
                omitted: None,
            }],
            hostname: Some("web-3".to_owned()),
            release: Some("2026.11.3".to_owned()),
            environment: Some("production".to_owned()),
            count: 1,
            additional_info: Some("checkout failed for cart 90210".to_owned()),
            context: serde_json::from_value(json!({
                "request": {"method": "POST", "url": "https://shop.example/checkout", "data": {"code": "SUMMER"}},
                "tags": {"region": "eu-1"},
            }))
            .unwrap(),
            occurred_at: Some("2026-11-16T11:33:19Z".parse().unwrap()),
            protocol: "blamed-json".to_owned(),
            ..Report::default()
        },
        verdicts,
        place: Some(place.clone()),
        function: Some("price".to_owned()),
        blame: Some(Blame {
            place,
            origin: Origin {
                commit: CommitId("9c20d51b7ea64f8f0c1d5b8f2f6f80e4d2a9b311".to_owned()),
                path: "shop/discounts.py".into(),
                line: line(28),
            },
            author: Author {
                name: "Mira Lang".to_owned(),
                mail: "mira@old-employer.example".to_owned(),
                time: "2026-10-02T09:14:00Z".parse().unwrap(),
            },
            summary: "Seasonal discounts, looked up by code".to_owned(),
            boundary: false,
            skipped: vec![CommitId("7d11f0aa52c94be3c5f27a6be2a6d3b8cf0e4411".to_owned())],
            respaced: Vec::new(),
            moved: Vec::new(),
            source: source.iter().map(|&(number, text)| SourceLine { number, text: text.to_owned() }).collect(),
            confidence: Confidence::Medium { why: "the report named no revision".to_owned() },
        }),
        blame_failure: None,
        received_at: CREATED_AT,
    }
}

//! Mails through a real mail server.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as the test does")]

#[path = "support/exim.rs"]
mod exim;
#[path = "support/notices.rs"]
mod notices;

use std::time::Duration;

use blamed::clock::Clock;
use blamed::notify::outbox::Outbox;
use blamed::notify::{Security, Smtp, Transport};
use blamed::store::{DeliveryState, Store, StoreError};
use exim::Exim;
use jiff::Timestamp;
use mail_parser::MessageParser;
use notices::{CREATED_AT, TO, notice};

#[tokio::test]
async fn exim_takes_refuses_and_puts_off() {
    if !exim::is_here("exim_takes_refuses_and_puts_off") {
        return;
    }
    let exim = Exim::start();
    let data = tempfile::tempdir().unwrap();
    let store = Store::open(data.path()).unwrap();
    let clock = Clock::fixed(Timestamp::from_millisecond(CREATED_AT).unwrap());
    let settings = notices::settings(Transport::Smtp(Smtp {
        host: "127.0.0.1".to_owned(),
        port: exim.port,
        security: Security::None,
        extra_roots: None,
        login: None,
        helo: None,
        timeout: Duration::from_secs(20),
    }));
    let outbox = Outbox::new(store.clone(), clock.clone(), settings);
    store
        .write(|tx| -> Result<_, StoreError> {
            tx.owe(Some(1), "first", TO, "first@shop.example", &notice(), CREATED_AT)?;
            tx.owe(Some(2), "first", "later@example.com", "later@shop.example", &notice(), CREATED_AT)?;
            tx.owe(Some(3), "first", "nobody@example.com", "nobody@shop.example", &notice(), CREATED_AT)
        })
        .unwrap();
    outbox.step().await.unwrap();
    outbox.step().await.unwrap();

    let mails = exim.mails();
    assert_eq!(outbox.paused(), None, "{}", exim.log());
    let status = |fault| store.read(|tx| -> Result<_, StoreError> { tx.deliveries_about(fault) }).unwrap();
    let [sent, later, never] = [1, 2, 3].map(|fault| status(fault).swap_remove(0));
    assert_eq!(sent.state, DeliveryState::Sent);
    assert!(sent.last_answer.unwrap().starts_with("250 OK id="));
    assert_eq!((later.state, later.attempts), (DeliveryState::Waiting, 1));
    assert_eq!(later.last_answer.as_deref(), Some("451 come back later"));
    assert_eq!(never.state, DeliveryState::GivenUp);
    assert_eq!(never.last_answer.as_deref(), Some("550 no such person"));

    assert_eq!(mails.len(), 2, "{}", exim.log());
    let parsed: Vec<_> = mails.iter().map(|mail| MessageParser::new().parse(mail).unwrap()).collect();
    let to = |address| {
        let mut mails = parsed.iter().filter(|m| m.to().unwrap().first().unwrap().address() == Some(address));
        mails.next().unwrap()
    };
    let fault = to(TO);
    assert_eq!(fault.message_id(), Some("first@shop.example"));
    assert_eq!(fault.subject(), Some("KeyError on web-3 in pricing/discounts.py:42"));
    assert_eq!(fault.header("Envelope-to").unwrap().as_text(), Some(TO));
    assert!(fault.body_text(0).unwrap().contains(">    42      return rates[code] * cart.total"));
    assert!(fault.body_html(0).unwrap().contains("<h1>KeyError</h1>"));
    let trouble = to("ops@shop.example");
    assert!(trouble.body_text(0).unwrap().contains("550 no such person"));
}

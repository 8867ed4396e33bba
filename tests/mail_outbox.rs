//! The outbox against a server that plays a script: what becomes of each delivery, and of all others.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as the test does")]

#[path = "support/notices.rs"]
mod notices;
#[path = "support/smtp.rs"]
mod smtp;

use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use blamed::clock::Clock;
use blamed::notify::outbox::Outbox;
use blamed::notify::transport::{Carrier, Outcome};
use blamed::notify::{Login, Security, Settings, Smtp, Transport, compose::compose};
use blamed::store::{DeliveryCounts, DeliveryState, DeliveryStatus, Store, StoreError};
use jiff::Timestamp;
use mail_parser::MessageParser;
use notices::{CREATED_AT, TO, notice};
use smtp::At::{Auth, Connect, Data, Ehlo, End, Mail, Rcpt, StartTls};
use smtp::Do::{HangUp, Say, Silence};
use smtp::{At, Do, Encryption, Server, certified};

/// A store, a clock that stands, and an outbox between them and a server.
struct House {
    store: Store,
    clock: Clock,
    outbox: Arc<Outbox>,
    dir: tempfile::TempDir,
}

impl House {
    fn new(transport: Transport) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path()).unwrap();
        let clock = Clock::fixed(Timestamp::from_millisecond(CREATED_AT).unwrap());
        let outbox = Arc::new(Outbox::new(store.clone(), clock.clone(), notices::settings(transport)));
        Self { store, clock, outbox, dir }
    }

    fn owe(&self, fault: i64, to: &str) -> i64 {
        let id = format!("f{fault}.{}@shop.example", to.replace('@', "-at-"));
        let now = self.clock.now().as_millisecond();
        let owed = |tx: &blamed::store::Tx<'_>| tx.owe(Some(fault), "first", to, &id, &notice(), now);
        assert!(self.store.write(owed).unwrap());
        let about = self.store.read(|tx| tx.deliveries_about(fault)).unwrap();
        about.iter().find(|d| d.recipient == to).unwrap().id
    }

    fn status(&self, fault: i64) -> DeliveryStatus {
        self.store.read(|tx| tx.deliveries_about(fault)).unwrap().swap_remove(0)
    }

    fn counts(&self) -> DeliveryCounts {
        self.store.read(|tx| -> Result<_, StoreError> { tx.count_deliveries() }).unwrap()
    }

    /// One step; how long until the next, in seconds.
    async fn step(&self) -> Option<u64> {
        let next = self.outbox.step().await.unwrap()?;
        let wait = next.duration_since(self.clock.now());
        Some(u64::try_from(wait.as_millis()).unwrap_or(0).div_ceil(1000))
    }

    /// Moves the clock on to when the outbox wanted to come again, and steps.
    async fn step_after(&self, wait: Option<u64>) -> Option<u64> {
        self.clock.advance(Duration::from_secs(wait.unwrap()));
        self.step().await
    }
}

fn smtp(port: u16) -> Smtp {
    Smtp {
        host: "127.0.0.1".to_owned(),
        port,
        security: Security::None,
        extra_roots: None,
        login: None,
        helo: Some("blamed.test".to_owned()),
        timeout: Duration::from_secs(10),
    }
}

fn house(server: &Server) -> House {
    House::new(Transport::Smtp(smtp(server.port)))
}

#[tokio::test]
async fn a_mail_is_sent_once() {
    let server = Server::start(&[]);
    let house = house(&server);
    house.owe(117, TO);
    assert_eq!(house.step().await, None);
    assert_eq!(house.step().await, None);
    let taken = server.taken();
    assert_eq!(taken.len(), 1);
    assert_eq!(
        (taken[0].from.as_str(), taken[0].to.as_slice()),
        ("blamed@shop.example", [TO.to_owned()].as_slice())
    );
    let mail = MessageParser::new().parse(&taken[0].data).unwrap();
    assert_eq!(mail.subject(), Some("KeyError on web-3 in pricing/discounts.py:42"));
    assert_eq!(mail.message_id(), Some("f117.mira.lang-at-example.com@shop.example"));
    let status = house.status(117);
    assert_eq!((status.state, status.attempts), (DeliveryState::Sent, 1));
    assert_eq!(status.last_answer.as_deref(), Some("250 2.0.0 taken as 1"));
    assert_eq!(status.finished_at, Some(CREATED_AT));
    assert!(server.said().contains(&"EHLO blamed.test".to_owned()));
}

#[tokio::test]
async fn a_refusal_for_now_is_tried_again_later() {
    for at in [Rcpt, Data, End] {
        let server = Server::start(&[
            (at, Say("451 4.7.1 <mira.lang@example.com> greylisted")),
            (at, Say("452 full")),
        ]);
        let house = house(&server);
        house.owe(117, TO);
        let wait = house.step().await;
        assert!((100..=120).contains(&wait.unwrap()), "{wait:?}");
        assert_eq!(house.outbox.paused(), None);
        let status = house.status(117);
        assert_eq!((status.state, status.attempts), (DeliveryState::Waiting, 1));
        assert_eq!(status.last_answer.as_deref(), Some("451 4.7.1 <mira.lang@example.com> greylisted"));
        assert_eq!(house.step().await, wait, "nothing is due yet");
        assert_eq!(server.connections(), 1);

        let wait = house.step_after(wait).await;
        assert!((200..=240).contains(&wait.unwrap()), "{wait:?}");
        assert_eq!(house.step_after(wait).await, None);
        let status = house.status(117);
        assert_eq!((status.state, status.attempts), (DeliveryState::Sent, 3));
        assert_eq!(server.taken().len(), 1);
    }
}

#[tokio::test]
async fn a_refusal_for_good_is_told_to_the_default_contact() {
    for at in [Rcpt, Data, End] {
        let server = Server::start(&[(at, Say("550 5.1.1 <mira.lang@example.com>: unknown"))]);
        let house = house(&server);
        house.owe(117, TO);
        assert_eq!(house.step().await, Some(0), "the trouble notice is due");
        let status = house.status(117);
        assert_eq!((status.state, status.attempts), (DeliveryState::GivenUp, 1));
        assert_eq!(status.last_answer.as_deref(), Some("550 5.1.1 <mira.lang@example.com>: unknown"));

        assert_eq!(house.step().await, None);
        let taken = server.taken();
        assert_eq!(taken.len(), 1);
        assert_eq!(taken[0].to, ["ops@shop.example"]);
        let mail = MessageParser::new().parse(&taken[0].data).unwrap();
        assert_eq!(mail.subject(), Some("[blamed] a mail could not be delivered"));
        let text = mail.body_text(0).unwrap();
        assert!(text.contains("https://blamed.shop.example/faults/117"), "{text}");
        assert!(text.contains("550 5.1.1 <…@example.com>: unknown"), "{text}");
        assert!(!String::from_utf8_lossy(&taken[0].data).contains("mira"), "{text}");
        assert_eq!(house.counts(), DeliveryCounts { waiting: 0, sent: 1, given_up: 1 });
    }
}

#[tokio::test]
async fn trouble_with_trouble_ends_there() {
    let no = (Rcpt, Say("550 no"));
    let server = Server::start(&[no, no, no, no]);
    let house = house(&server);
    house.owe(1, TO);
    house.owe(2, TO);
    house.step().await;
    house.step().await;
    assert_eq!(house.step().await, None);
    // Two mails to the same person, one notice about them.
    assert_eq!(house.counts(), DeliveryCounts { waiting: 0, sent: 0, given_up: 3 });
}

#[tokio::test]
async fn a_mail_is_given_up_after_its_last_try() {
    let server = Server::start(&[(Rcpt, Say("450 busy")); 28]);
    let house = house(&server);
    house.owe(117, TO);
    let mut wait = house.step().await;
    let mut days = 0.0;
    while house.status(117).state == DeliveryState::Waiting {
        days += f64::from(u32::try_from(wait.unwrap()).unwrap()) / 86_400.0;
        wait = house.step_after(wait).await;
    }
    assert!((4.5..5.5).contains(&days), "{days}");
    let status = house.status(117);
    assert_eq!((status.state, status.attempts), (DeliveryState::GivenUp, 28));
    assert_eq!(house.step().await, None);
    assert_eq!(server.taken()[0].to, ["ops@shop.example"]);
    assert!(
        house.store.write(|tx| tx.retry_delivery(status.id, house.clock.now().as_millisecond())).unwrap()
    );
    assert_eq!(house.step().await, None);
    assert_eq!(house.status(117).state, DeliveryState::Sent);
}

/// What makes all mails wait, uncounted, with a part of the reason given.
#[tokio::test]
async fn trouble_of_the_whole_server_pauses_all() {
    let cases: &[(At, Do, &str)] = &[
        (Connect, HangUp, "connecting: the server hung up"),
        (Connect, Say("554 5.7.1 go away"), "554 5.7.1 go away"),
        (Connect, Say("421 too busy"), "421 too busy"),
        (Ehlo, HangUp, "connecting: the server hung up"),
        (Ehlo, Say("550 who?"), "550 who?"),
        (Mail, HangUp, "the server hung up"),
        (
            Mail,
            Say("553 5.7.1 <blamed@shop.example> may not send"),
            "553 5.7.1 <…@shop.example> may not send",
        ),
        (Mail, Say("530 5.7.0 authentication required"), "530 5.7.0"),
        (Rcpt, HangUp, "the server hung up"),
        (Rcpt, Say("421 4.3.2 shutting down"), "421 4.3.2"),
        (Rcpt, Say("530 5.7.0 log in first"), "530 5.7.0"),
        (Data, HangUp, "the server hung up"),
        (End, Say("421 4.3.0 disk"), "421 4.3.0"),
    ];
    for &(at, act, reason) in cases {
        let server = Server::start(&[(at, act)]);
        let house = house(&server);
        house.owe(1, TO);
        let wait = house.step().await;
        assert!((13..=15).contains(&wait.unwrap()), "{at:?} {act:?}: {wait:?}");
        let pause = house.outbox.paused().unwrap();
        assert!(pause.reason.contains(reason), "{at:?} {act:?}: {}", pause.reason);
        let status = house.status(1);
        assert_eq!((status.state, status.attempts), (DeliveryState::Waiting, 0), "{at:?} {act:?}");
        assert_eq!(status.last_answer, Some(pause.reason));
        let connections = server.connections();

        house.owe(2, TO);
        assert_eq!(house.step().await, wait, "{at:?} {act:?}");
        assert_eq!(server.connections(), connections, "{at:?} {act:?}: nobody is asked during a pause");
        let wait = house.step_after(wait).await;
        assert_eq!(wait, Some(0), "{at:?} {act:?}: one got through, the rest follows");
        assert_eq!(house.outbox.paused(), None);
        assert_eq!(house.step().await, None);
        assert_eq!(server.taken().len(), 2);
    }
}

#[tokio::test]
async fn a_server_that_hangs_up_on_the_whole_mail_is_counted() {
    let server = Server::start(&[(End, HangUp)]);
    let house = house(&server);
    house.owe(117, TO);
    let wait = house.step().await;
    assert_eq!((house.outbox.paused(), house.status(117).attempts), (None, 1));
    assert!(house.status(117).last_answer.unwrap().starts_with("no answer after the whole mail was sent"));
    assert_eq!(house.step_after(wait).await, None);
    assert_eq!(house.status(117).state, DeliveryState::Sent);
}

#[tokio::test]
async fn a_silent_server_is_waited_for_only_so_long() {
    for (at, counted) in
        [(Connect, false), (Ehlo, false), (Mail, false), (Rcpt, false), (Data, false), (End, true)]
    {
        let server = Server::start(&[(at, Silence)]);
        let timeout = Duration::from_millis(200);
        let house = House::new(Transport::Smtp(Smtp { timeout, ..smtp(server.port) }));
        house.owe(117, TO);
        house.step().await;
        assert_eq!(house.outbox.paused().is_none(), counted, "{at:?}");
        let status = house.status(117);
        assert_eq!(status.attempts, u32::from(counted), "{at:?}");
        assert!(status.last_answer.unwrap().contains("no answer within 200ms"), "{at:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_away_is_noticed_when_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let house = House::new(Transport::Smtp(smtp(port)));
    for fault in 1..=20 {
        house.owe(fault, TO);
    }
    let mut wait = house.step().await;
    let since = house.clock.now();
    for (tries, longest) in [(1, 15), (2, 30), (3, 60), (4, 120), (5, 240), (6, 480), (7, 600), (8, 600)] {
        let pause = house.outbox.paused().unwrap();
        assert_eq!((pause.since, pause.tries), (since, tries));
        assert!(pause.reason.contains("refused"), "{}", pause.reason);
        assert!((longest * 9 / 10..=longest).contains(&wait.unwrap()), "{wait:?} of {longest}");
        wait = house.step_after(wait).await;
    }
    let server = Server::listen(TcpListener::bind(("127.0.0.1", port)).unwrap(), &[], Encryption::None);
    assert_eq!(house.step_after(wait).await, Some(0));
    assert_eq!((server.taken().len(), house.outbox.paused()), (1, None));
    assert_eq!(house.step().await, None);
    assert_eq!(house.counts(), DeliveryCounts { waiting: 0, sent: 20, given_up: 0 });
}

#[tokio::test]
async fn new_settings_end_a_pause() {
    let house = House::new(Transport::Smtp(smtp(1)));
    house.owe(117, TO);
    house.step().await;
    assert!(house.outbox.paused().is_some());
    let server = Server::start(&[]);
    house.outbox.use_settings(notices::settings(Transport::Smtp(smtp(server.port))));
    assert_eq!(house.outbox.paused(), None);
    assert_eq!(house.step().await, None);
    assert_eq!(server.taken().len(), 1);
}

#[tokio::test]
async fn many_mails_share_few_connections_and_one_refusal_stops_nobody() {
    let server = Server::start(&[(Rcpt, Say("550 no")), (Rcpt, Say("450 not now"))]);
    let house = house(&server);
    for fault in 1..=100 {
        house.owe(fault, TO);
    }
    house.step().await;
    assert_eq!(house.counts(), DeliveryCounts { waiting: 2, sent: 98, given_up: 1 });
    assert!(server.connections() <= 4, "{}", server.connections());
    let mut ids: Vec<_> = server
        .taken()
        .iter()
        .map(|t| MessageParser::new().parse(&t.data).unwrap().message_id().unwrap().to_owned())
        .collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 98);
}

#[tokio::test]
async fn a_connection_that_ends_between_two_mails_is_opened_again() {
    let server = Server::start(&[]);
    let transport = Transport::Smtp(smtp(server.port));
    let settings = notices::settings(transport.clone());
    let message = compose(&notice(), TO, "x@shop.example", CREATED_AT, &settings).unwrap();
    let mut carrier = Carrier::new(&transport);
    assert!(matches!(carrier.carry(&message).await, Outcome::Sent(_)));
    assert!(matches!(carrier.carry(&message).await, Outcome::Sent(_)));
    assert_eq!(server.connections(), 1);
    server.script(&[(Mail, Say("421 enough for one connection"))]);
    assert!(matches!(carrier.carry(&message).await, Outcome::Sent(_)));
    server.script(&[(Mail, HangUp)]);
    assert!(matches!(carrier.carry(&message).await, Outcome::Sent(_)));
    assert_eq!((server.connections(), server.taken().len()), (3, 4));
    carrier.close().await;
}

#[tokio::test]
async fn an_address_that_is_none_is_given_up_and_told() {
    let server = Server::start(&[]);
    let house = house(&server);
    house.owe(117, "nobody");
    house.step().await;
    let status = house.status(117);
    assert_eq!(status.state, DeliveryState::GivenUp);
    assert!(
        status.last_answer.unwrap().starts_with("not sent: the recipient's address cannot be written to")
    );
    house.step().await;
    assert_eq!(server.taken()[0].to, ["ops@shop.example"]);
}

#[tokio::test]
async fn a_store_that_fails_after_a_mail_was_sent_does_not_send_it_twice() {
    let server = Server::start(&[]);
    let house = house(&server);
    house.owe(1, TO);
    house.owe(2, TO);
    let beside = rusqlite::Connection::open(house.dir.path().join("blamed.sqlite3")).unwrap();
    beside
        .execute_batch("CREATE TRIGGER full BEFORE UPDATE ON outbox BEGIN SELECT RAISE(ABORT, 'full'); END")
        .unwrap();
    let error = house.outbox.step().await.unwrap_err().to_string();
    assert!(error.contains("full"), "{error}");
    let sent = server.taken().len();
    assert!((1..=2).contains(&sent));
    for _ in 0..3 {
        assert!(house.outbox.step().await.is_err());
    }
    assert_eq!(server.taken().len(), sent, "nothing is sent before what was sent is written down");
    beside.execute_batch("DROP TRIGGER full").unwrap();
    assert_eq!(house.step().await, None);
    assert_eq!(house.counts(), DeliveryCounts { waiting: 0, sent: 2, given_up: 0 });
    assert_eq!(server.taken().len(), 2);
}

#[tokio::test]
async fn a_notice_that_cannot_be_read_stops_nobody() {
    let server = Server::start(&[]);
    let house = house(&server);
    house.owe(1, TO);
    house.owe(2, TO);
    let beside = rusqlite::Connection::open(house.dir.path().join("blamed.sqlite3")).unwrap();
    beside.execute_batch("UPDATE outbox SET notice = '{\"kind\":\"else\"}' WHERE fault = 1").unwrap();
    house.step().await;
    assert_eq!(house.status(1).state, DeliveryState::GivenUp);
    assert_eq!(house.status(2).state, DeliveryState::Sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_loop_wakes_and_stops() {
    let server = Server::start(&[]);
    let house = house(&server);
    let running = tokio::spawn({
        let outbox = house.outbox.clone();
        async move { outbox.run().await }
    });
    for fault in 1..=3 {
        house.owe(fault, TO);
        house.outbox.wake();
        server.wait_for(usize::try_from(fault).unwrap());
    }
    house.outbox.stop();
    running.await.unwrap();
    assert_eq!(house.counts(), DeliveryCounts { waiting: 0, sent: 3, given_up: 0 });
    house.owe(4, TO);
    house.outbox.run().await;
    assert_eq!(house.counts().waiting, 1, "stopped is stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_finishes_the_mails_in_hand() {
    let server = Server::start(&[]);
    let house = house(&server);
    for fault in 1..=300 {
        house.owe(fault, TO);
    }
    let running = tokio::spawn({
        let outbox = house.outbox.clone();
        async move { outbox.run().await }
    });
    server.wait_for(5);
    house.outbox.stop();
    running.await.unwrap();
    let (counts, taken) = (house.counts(), server.taken().len());
    assert_eq!(usize::try_from(counts.sent).unwrap(), taken, "what was taken is written down");
    assert_eq!(counts.sent + counts.waiting, 300);
    assert!(counts.waiting > 0, "it did not go on");
}

#[tokio::test]
async fn a_folder_takes_mails_and_the_same_one_only_once() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("data/mail");
    let house = House::new(Transport::Folder(folder.clone()));
    let id = house.owe(117, TO);
    assert_eq!(house.step().await, None);
    let files = || -> Vec<PathBuf> {
        let mut all: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|f| f.unwrap().path()).collect();
        all.sort();
        all
    };
    let name = "f117.mira.lang-at-example.com@shop.example.eml";
    assert_eq!(files(), [folder.join(name)]);
    assert_eq!(house.status(117).last_answer, Some(format!("written to {name}")));
    let first = std::fs::read(folder.join(name)).unwrap();
    assert_eq!(
        MessageParser::new().parse(&first).unwrap().to().unwrap().first().unwrap().address(),
        Some(TO)
    );

    // As after a crash between the file and the store.
    let beside = rusqlite::Connection::open(house.dir.path().join("blamed.sqlite3")).unwrap();
    beside.execute("UPDATE outbox SET state = 'waiting' WHERE id = ?1", [id]).unwrap();
    assert_eq!(house.step().await, None);
    assert_eq!(files(), [folder.join(name)]);
    assert_eq!(std::fs::read(folder.join(name)).unwrap(), first, "the same mail on every try");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_pauses_all() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("file");
    std::fs::write(&file, "").unwrap();
    let house = House::new(Transport::Folder(file.join("mail")));
    house.owe(117, TO);
    house.step().await;
    assert!(house.outbox.paused().unwrap().reason.starts_with("the mail folder: "));
    assert_eq!(house.status(117).attempts, 0);
}

#[tokio::test]
async fn encrypted_and_logged_in() {
    let dir = tempfile::tempdir().unwrap();
    let roots = dir.path().join("roots.pem");
    let config = certified(&roots);
    for security in [Security::StartTls, Security::Tls] {
        let encryption = match security {
            Security::StartTls => Encryption::StartTls(config.clone()),
            _ => Encryption::Tls(config.clone()),
        };
        let start = |script: &[(At, Do)]| {
            Server::listen(TcpListener::bind("127.0.0.1:0").unwrap(), script, encryption.clone())
        };
        let settings = |server: &Server| Smtp {
            host: "localhost".to_owned(),
            security,
            extra_roots: Some(roots.clone()),
            login: Some(Login { user: "mailer".to_owned(), password: "hunter2".to_owned() }),
            ..smtp(server.port)
        };

        let server = start(&[]);
        let house = House::new(Transport::Smtp(settings(&server)));
        house.owe(117, TO);
        assert_eq!(house.step().await, None, "{security:?}: {:?}", house.outbox.paused());
        assert!(server.taken()[0].encrypted);
        // RFC 4616: NUL user NUL password, in base64.
        assert!(server.said().contains(&"AUTH PLAIN AG1haWxlcgBodW50ZXIy".to_owned()), "{:?}", server.said());
        assert!(Carrier::new(&Transport::Smtp(settings(&server))).reach().await.is_ok());

        let server = start(&[(Auth, Say("535 5.7.8 wrong password for mailer@shop.example"))]);
        let house = House::new(Transport::Smtp(settings(&server)));
        house.owe(117, TO);
        house.step().await;
        let reason = house.outbox.paused().unwrap().reason;
        assert!(reason.contains("login: 535 5.7.8 wrong password for …@shop.example"), "{reason}");
        assert_eq!(house.status(117).attempts, 0);

        let server = start(&[]);
        let stranger = Smtp { extra_roots: None, ..settings(&server) };
        let reason = Carrier::new(&Transport::Smtp(stranger)).reach().await.unwrap_err();
        assert!(reason.contains("certificate"), "{reason}");
        assert!(server.said().iter().all(|line| !line.starts_with("AUTH")), "{:?}", server.said());
    }

    // A server, or somebody between, that does not offer encryption gets neither password nor mail.
    for script in [&[][..], &[(StartTls, Say("454 4.7.0 not available"))][..]] {
        let encryption =
            if script.is_empty() { Encryption::None } else { Encryption::StartTls(config.clone()) };
        let server = Server::listen(TcpListener::bind("127.0.0.1:0").unwrap(), script, encryption);
        let login = Some(Login { user: "mailer".to_owned(), password: "hunter2".to_owned() });
        let settings = Smtp { security: Security::StartTls, login, ..smtp(server.port) };
        let house = House::new(Transport::Smtp(settings));
        house.owe(117, TO);
        house.step().await;
        assert!(house.outbox.paused().unwrap().reason.contains("STARTTLS"));
        assert!(server.said().iter().all(|line| !line.starts_with("AUTH") && !line.starts_with("MAIL")));
    }
}

#[test]
fn passwords_are_not_shown() {
    let login = Some(Login { user: "mailer".to_owned(), password: "hunter2".to_owned() });
    let settings: Settings = notices::settings(Transport::Smtp(Smtp { login, ..smtp(25) }));
    let shown = format!("{settings:?}");
    assert!(shown.contains("mailer") && !shown.contains("hunter2"), "{shown}");
}

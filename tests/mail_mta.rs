//! Mails through a real mail server: Exim (Debian's `exim4-daemon-light`), with a configuration, a queue
//! and a mailbox of the test's own. It runs once per connection, as inetd would start it, and delivers
//! before it ends, so nothing has to be waited for and nothing is left running.

#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as the test does")]

#[path = "support/notices.rs"]
mod notices;

use std::fs::Permissions;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use blamed::clock::Clock;
use blamed::notify::outbox::Outbox;
use blamed::notify::{Security, Smtp, Transport};
use blamed::store::{DeliveryState, Store, StoreError};
use jiff::Timestamp;
use mail_parser::MessageParser;
use notices::{CREATED_AT, TO, notice};

const EXIM: &str = "/usr/sbin/exim4";
/// Whom Exim runs as where the test is root's: `nobody` of every Debian.
const NOBODY: u32 = 65_534;

struct Exim {
    port: u16,
    dir: tempfile::TempDir,
    running: Arc<Mutex<Vec<Child>>>,
}

impl Exim {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let owner = std::fs::metadata(dir.path()).unwrap().uid();
        let (user, group) = match owner {
            0 => (NOBODY, NOBODY),
            user => (user, std::fs::metadata(dir.path()).unwrap().gid()),
        };
        let top = dir.path().display();
        std::fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        for name in ["queue", "mail"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::os::unix::fs::chown(dir.path().join(name), Some(user), Some(group)).unwrap();
        }
        let configuration = format!(
            "exim_user = {user}
             exim_group = {group}
             deliver_drop_privilege = true
             keep_environment =
             primary_hostname = mta.test
             spool_directory = {top}/queue
             log_file_path = {top}/queue/%slog
             host_lookup =
             tls_advertise_hosts =
             acl_smtp_rcpt = recipient
             begin acl
             recipient:
               defer  local_parts = later
                      message = come back later
               accept local_parts = mira.lang : ops
               deny   message = no such person
             begin routers
             everybody:
               driver = accept
               transport = folder
             begin transports
             folder:
               driver = appendfile
               directory = {top}/mail
               maildir_format
               create_directory
               envelope_to_add
               return_path_add
            "
        );
        let file = dir.path().join("exim.conf");
        std::fs::write(&file, configuration.replace("\n             ", "\n")).unwrap();

        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let running = Arc::new(Mutex::new(Vec::new()));
        let children = running.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let input = OwnedFd::from(stream.try_clone().unwrap());
                let mut exim = Command::new(EXIM);
                // `-odf`: each mail is in its mailbox before the next one is taken.
                exim.arg("-C").arg(&file).args(["-bs", "-odf"]);
                exim.stdin(input).stdout(OwnedFd::from(stream)).stderr(Stdio::null());
                children.lock().unwrap().push(exim.spawn().unwrap());
            }
        });
        Self { port, dir, running }
    }

    /// Waits for all conversations to end, and reads the mailbox.
    fn mails(&self) -> Vec<Vec<u8>> {
        for child in self.running.lock().unwrap().iter_mut() {
            child.wait().unwrap();
        }
        let Ok(new) = std::fs::read_dir(self.dir.path().join("mail/new")) else { return Vec::new() };
        new.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("queue/mainlog")).unwrap_or_default()
    }
}

impl Drop for Exim {
    fn drop(&mut self) {
        for child in self.running.lock().unwrap().iter_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[tokio::test]
async fn exim_takes_refuses_and_puts_off() {
    if !Path::new(EXIM).exists() {
        assert!(std::env::var_os("CI").is_none(), "{EXIM} is missing: install exim4-daemon-light");
        // Not by `println!`: what a test prints is shown only if it fails.
        let what = "skipped: exim_takes_refuses_and_puts_off needs";
        writeln!(std::io::stderr(), "{what} {EXIM} (Debian: exim4-daemon-light)").unwrap();
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

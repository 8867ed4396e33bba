//! A real mail server: Exim (Debian's `exim4-daemon-light`), with a configuration, a queue and a mailbox of the
//! test's own. It runs once per connection, as inetd would start it, and delivers before it ends, so nothing
//! has to be waited for and nothing is left running.

#![allow(dead_code, unreachable_pub, reason = "each test uses what it needs")]
#![allow(clippy::unwrap_used, reason = "a test's helpers fail by panicking, as the test does")]

use std::fs::Permissions;
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

const EXIM: &str = "/usr/sbin/exim4";
/// Whom Exim runs as where the test is root's: `nobody` of every Debian.
const NOBODY: u32 = 65_534;

pub struct Exim {
    pub port: u16,
    dir: tempfile::TempDir,
    running: Arc<Mutex<Vec<Child>>>,
}

impl Exim {
    pub fn start() -> Self {
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
    pub fn mails(&self) -> Vec<Vec<u8>> {
        for child in self.running.lock().unwrap().iter_mut() {
            child.wait().unwrap();
        }
        let Ok(new) = std::fs::read_dir(self.dir.path().join("mail/new")) else { return Vec::new() };
        new.map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }

    pub fn log(&self) -> String {
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

/// Whether there is an Exim; says so where there is none.
pub fn is_here(test: &str) -> bool {
    if Path::new(EXIM).exists() {
        return true;
    }
    assert!(std::env::var_os("CI").is_none(), "{EXIM} is missing: install exim4-daemon-light");
    // Not by `println!`: what a test prints is shown only if it fails.
    let _ = writeln!(std::io::stderr(), "skipped: {test} needs {EXIM} (Debian: exim4-daemon-light)");
    false
}

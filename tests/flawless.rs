//! The listener for clients of Flawless, spoken to as they do, and as they do not.

#[path = "support/daemon.rs"]
mod daemon;
#[path = "support/git.rs"]
mod git;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::Path;

use daemon::{Daemon, PATIENCE, mailed};
use git::{Repo, tree};

/// What `record_error` is answered with where it was done: a reply (2) with an empty struct.
const DONE: &[u8] = b"\x80\x01\x00\x02\x00\x00\x00\x0crecord_error\x00\x00\x00\x00\x00";

struct Connection(TcpStream);

impl Connection {
    fn to(daemon: &Daemon) -> Self {
        let stream = TcpStream::connect(daemon.flawless.as_ref().unwrap()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Sends a call in a frame, and answers the reply without its length.
    fn call(&mut self, message: &[u8]) -> Vec<u8> {
        self.0.write_all(&u32::try_from(message.len()).unwrap().to_be_bytes()).unwrap();
        self.0.write_all(message).unwrap();
        self.reply()
    }

    fn reply(&mut self) -> Vec<u8> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length).unwrap();
        let mut reply = vec![0; u32::from_be_bytes(length) as usize];
        self.0.read_exact(&mut reply).unwrap();
        reply
    }

    /// Whether the daemon hangs up without a word.
    fn is_over(&mut self) -> bool {
        match self.0.read(&mut [0; 16]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

/// A call by a name, without arguments.
fn call(name: &str) -> Vec<u8> {
    let length = u32::try_from(name.len()).unwrap().to_be_bytes();
    [&b"\x80\x01\x00\x01"[..], &length, name.as_bytes(), b"\x00\x00\x00\x09\x00"].concat()
}

fn configuration(repository: &Path, more: &str) -> String {
    format!(
        "data_dir = 'data'\n{more}[flawless]\nlisten = '127.0.0.1:0'\n[[project]]\nname = 'shop'\n\
         [[project.repository]]\npath = '{}'\n",
        repository.display()
    )
}

/// What a client of Flawless was seen to send: the frames of `nightly()`, line 17, which calls what raises.
fn captured() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/requests/flawless.thrift"))
        .unwrap()
}

#[test]
fn calls_are_answered_when_they_are_on_disk() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    let job = format!("{}    checkout(order)\n", "#\n".repeat(16));
    let orders = format!(
        "{}raise CheckoutError(order.order_id, \"bad price in catalogue\") from exc\n",
        "#\n".repeat(23)
    );
    repo.commit("Ada", &[], &tree(&[("bin/flawless_job.py", &job), ("shop/orders.py", &orders)]));
    let configuration = configuration(repo.path(), "");
    let daemon = Daemon::configured(folder.path(), &configuration);

    let mut connection = Connection::to(&daemon);
    assert_eq!(connection.call(&captured()), DONE);
    let ping = connection.call(&call("ping"));
    assert_eq!(ping, b"\x80\x01\x00\x02\x00\x00\x00\x04ping\x00\x00\x00\x09\x02\x00\x00\x01\x00");
    assert_eq!(connection.call(&call("quit"))[..4], *b"\x80\x01\x00\x03");
    assert_eq!(connection.call(&captured()), DONE);
    assert_eq!(mailed(&folder.path().join("data"), 1), ["ada@example.org"]);
    // What was answered has survived, and the line is the one that called what raises.
    daemon.kill();
    let store = blamed::store::Store::open_to_read(&folder.path().join("data")).unwrap().unwrap();
    let fault = store.read(|tx| tx.fault(blamed::store::FaultId(1))).unwrap().unwrap();
    let place = fault.place.unwrap();
    assert_eq!(
        (fault.count, place.path.to_string(), place.line.get()),
        (2, "bin/flawless_job.py".to_owned(), 17)
    );
}

#[test]
fn what_is_no_call_costs_only_itself() {
    let folder = tempfile::tempdir().unwrap();
    let mut repo = Repo::new();
    repo.commit("Ada", &[], &tree(&[("setup.py", "x = 1\n")]));
    let limit = "[limits]\nbody_bytes = 4096\n";
    let daemon = Daemon::configured(folder.path(), &configuration(repo.path(), limit));

    // Too large, or broken within its frame: the client hears why, and the connection goes on.
    let mut connection = Connection::to(&daemon);
    let told = connection.call(&vec![b'x'; 1 << 20]);
    assert!(String::from_utf8_lossy(&told).contains("more than 4096 bytes (limits.body_bytes)"), "{told:?}");
    let mut broken = call("record_error");
    broken.extend(b"\x00");
    let told = connection.call(&broken);
    assert_eq!(told[..4], *b"\x80\x01\x00\x03");
    assert!(String::from_utf8_lossy(&told).contains("without a request"), "{told:?}");
    assert_eq!(connection.call(b"")[..4], *b"\x80\x01\x00\x03");
    assert_eq!(connection.call(&call("ping")).len(), 21);

    // HTTP, and lengths that nobody means: hung up on.
    for not_ours in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\xff\xff\xff\xff", b"\x80\x01\x00\x01\x00\x00\x00\x04ping"]
    {
        let mut connection = Connection::to(&daemon);
        connection.0.write_all(not_ours).unwrap();
        assert!(connection.is_over(), "{not_ours:?}");
    }
    // Who leaves in the middle.
    let mut connection = Connection::to(&daemon);
    connection.0.write_all(b"\x00\x00\x01\x00\x80\x01").unwrap();
    connection.0.shutdown(Shutdown::Write).unwrap();
    assert!(connection.is_over());

    // Whoever says nothing does not keep the daemon from leaving in peace.
    let mut idle = Connection::to(&daemon);
    assert_eq!(idle.call(&call("ping")).len(), 21);
    assert!(daemon.stop());
    assert!(idle.is_over());
}

//! Letters on disk until a daemon has taken them.
//!
//! One file a letter, in a folder that is its owner's alone: a line of JSON that says where it goes, then the body.
//! A file appears whole (written beside, synced, renamed), is locked by whoever sends it, and is removed once the
//! daemon has answered. Any number of processes may share the folder; locks end with their process, so a `kill -9`
//! leaves nothing behind but a letter that goes again, under the same id.
//!
//! ```text
//! DIR/reports/1795622400000-4f1c….letter   waiting
//! DIR/refused/…                            what a daemon will never take, the newest
//! DIR/dropped                              how many found no room
//! DIR/away-…                               a daemon that did not answer: when it is tried again
//! ```

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Address, Letter, Trouble};
use crate::clock::Clock;
use crate::pipeline::random_id;

/// Bytes of waiting letters, unless it is said otherwise.
pub(in crate::cli) const MOST_BYTES: u64 = 64 << 20;
/// Waiting letters.
const MOST_LETTERS: usize = 10_000;
/// Refused letters that are kept to be looked at, and their bytes.
const MOST_REFUSED: usize = 100;
const MOST_REFUSED_BYTES: u64 = 8 << 20;
/// Bytes of one letter.
const MOST_LETTER_BYTES: u64 = 32 << 20;
/// After which time a file that was never finished is swept away.
const UNFINISHED: Duration = Duration::from_secs(3600);
/// How long a daemon that did not answer is left alone: the first time, and at most.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// The folder.
#[derive(Debug)]
pub(in crate::cli) struct Spool {
    folder: PathBuf,
    most_bytes: u64,
    /// Where no folder could be written, one that ends with the process.
    _temporary: Option<tempfile::TempDir>,
}

/// What came of a round of delivery.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::cli) struct Round {
    /// Letters that arrived.
    pub(in crate::cli) delivered: usize,
    /// Letters that wait, and why the last of them does.
    pub(in crate::cli) waiting: usize,
    pub(in crate::cli) trouble: Option<String>,
    /// When the first of the daemons that are left alone is tried again.
    pub(in crate::cli) again_in: Option<Duration>,
    /// What a daemon said to letters it will never take.
    pub(in crate::cli) refused: Vec<String>,
    /// How many reports found no room since this was last asked, told once somebody answers again.
    pub(in crate::cli) dropped: u64,
}

/// The first line of a letter's file.
#[derive(Serialize, Deserialize)]
struct Cover {
    #[serde(flatten)]
    to: Address,
    path: String,
    id: String,
    encoding: String,
}

/// When a daemon is tried again.
#[derive(Serialize, Deserialize, Default)]
struct Pause {
    tries: u32,
    until: i64,
}

impl Spool {
    /// The folder, made if it is not there.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub(in crate::cli) fn open(folder: &Path, most_bytes: u64) -> io::Result<Self> {
        for folder in [folder.to_owned(), folder.join("reports"), folder.join("refused")] {
            DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
            // What is in there has secrets in it.
            let mode = fs::metadata(&folder)?.permissions().mode();
            if mode & 0o077 != 0 {
                fs::set_permissions(&folder, fs::Permissions::from_mode(0o700))?;
            }
        }
        let spool = Self { folder: folder.to_owned(), most_bytes, _temporary: None };
        // Not every folder that is there can be written.
        drop(tempfile::Builder::new().prefix(".").suffix(".tmp").tempfile_in(spool.reports())?);
        Ok(spool)
    }

    /// A folder that ends with the process.
    ///
    /// # Errors
    /// It cannot be made.
    pub(in crate::cli) fn temporary() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("blamed-").tempdir()?;
        let spool = Self::open(folder.path(), MOST_BYTES)?;
        Ok(Self { _temporary: Some(folder), ..spool })
    }

    /// Where it is.
    pub(in crate::cli) fn folder(&self) -> &Path {
        &self.folder
    }

    fn reports(&self) -> PathBuf {
        self.folder.join("reports")
    }

    /// Keeps a letter. `false`: there is no room; it is counted as dropped, with the `reports` it holds.
    ///
    /// # Errors
    /// It cannot be written.
    pub(in crate::cli) fn put(&self, to: &Address, letter: &Letter, reports: u64) -> io::Result<bool> {
        if !self.has_room(letter.body.len() as u64)? {
            self.change_dropped(|dropped| dropped.saturating_add(reports))?;
            return Ok(false);
        }
        let cover = Cover {
            to: to.clone(),
            path: letter.path.clone(),
            id: letter.id.clone(),
            encoding: letter.encoding.clone(),
        };
        let name = format!("{:015}-{}", now(), &random_id()[..16]);
        let unfinished = self.reports().join(format!(".{name}.tmp"));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
            serde_json::to_writer(&mut file, &cover)?;
            file.write_all(b"\n")?;
            file.write_all(&letter.body)?;
            file.sync_data()?;
            fs::rename(&unfinished, self.reports().join(format!("{name}.letter")))
        })();
        if written.is_err() {
            let _ = fs::remove_file(&unfinished);
        }
        written.map(|()| true)
    }

    /// Whether a letter of so many bytes may still come.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(in crate::cli) fn has_room(&self, bytes: u64) -> io::Result<bool> {
        let (mut count, mut held) = (0, 0);
        for entry in fs::read_dir(self.reports())? {
            let entry = entry?;
            // Another process may just have sent it.
            let Ok(metadata) = entry.metadata() else { continue };
            let age = metadata.modified().ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
            if age > UNFINISHED && entry.path().extension().is_some_and(|end| end == "tmp") {
                let _ = fs::remove_file(entry.path());
                continue;
            }
            count += 1;
            held += metadata.len();
        }
        Ok(count < MOST_LETTERS && held + bytes <= self.most_bytes)
    }

    /// Waiting letters, oldest first.
    fn waiting(&self) -> io::Result<Vec<PathBuf>> {
        let mut letters: Vec<PathBuf> =
            fs::read_dir(self.reports())?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        letters.retain(|path| path.extension().is_some_and(|end| end == "letter"));
        letters.sort();
        Ok(letters)
    }

    /// Sends what waits, oldest first, until `stop`. A daemon that is away is left alone for a while, unless it
    /// is to be tried `at_once`.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub(in crate::cli) fn deliver(
        &self,
        at_once: bool,
        stop: impl Fn() -> bool,
        mut send: impl FnMut(&Address, &Letter) -> Result<(), Trouble>,
    ) -> io::Result<Round> {
        let mut round = Round::default();
        let (mut tried, mut away) = (HashSet::new(), HashSet::new());
        for path in self.waiting()? {
            let Some((_lock, letter)) = claim(&path)? else { continue };
            let Ok((to, letter)) = letter else {
                round.refused.push(format!("{} is no letter", path.display()));
                self.set_aside(&path)?;
                continue;
            };
            let pause = self.pause(&to).left();
            if stop() || away.contains(&to.server) || (!at_once && !pause.is_zero()) {
                round.waiting += 1;
                round.again_in = Some(round.again_in.map_or(pause, |other| other.min(pause)));
                continue;
            }
            if tried.insert(to.server.clone()) {
                // Before, not after: whoever is killed while a daemon is silent has tried it, too.
                self.lengthen_pause(&to, Duration::ZERO)?;
            }
            match send(&to, &letter) {
                Ok(()) => {
                    // First, so that whoever is killed between leaves no pause without a letter that would end it.
                    let _ = fs::remove_file(self.pause_file(&to));
                    fs::remove_file(&path)?;
                    round.delivered += 1;
                }
                Err(Trouble::Refused(said) | Trouble::NoAddress(said)) => {
                    self.set_aside(&path)?;
                    round.refused.push(said);
                    let _ = fs::remove_file(self.pause_file(&to));
                }
                Err(Trouble::Away(said, asked)) => {
                    self.lengthen_pause(&to, asked.unwrap_or_default().max(FIRST_PAUSE))?;
                    let pause = self.pause(&to).left();
                    round.again_in = Some(round.again_in.map_or(pause, |other| other.min(pause)));
                    away.insert(to.server);
                    round.waiting += 1;
                    round.trouble = Some(said);
                }
            }
        }
        if round.delivered > 0 {
            round.dropped = self.change_dropped(|_| 0)?;
        }
        Ok(round)
    }

    /// Moves a letter to where it is only looked at, and lets the oldest there go.
    fn set_aside(&self, path: &Path) -> io::Result<()> {
        let refused = self.folder.join("refused");
        fs::rename(path, refused.join(path.file_name().unwrap_or_default()))?;
        let mut kept: Vec<PathBuf> =
            fs::read_dir(&refused)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
        kept.sort();
        let mut bytes = 0;
        for (n, path) in kept.iter().rev().enumerate() {
            bytes += fs::metadata(path).map_or(0, |metadata| metadata.len());
            if n >= MOST_REFUSED || (n > 0 && bytes > MOST_REFUSED_BYTES) {
                let _ = fs::remove_file(path);
            }
        }
        Ok(())
    }

    /// Changes the count of dropped reports; gives what it was.
    fn change_dropped(&self, change: impl Fn(u64) -> u64) -> io::Result<u64> {
        let path = self.folder.join("dropped");
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        let mut text = String::new();
        Read::by_ref(&mut file).take(32).read_to_string(&mut text)?;
        let before = text.trim().parse().unwrap_or(0);
        if change(before) != before {
            file.seek(SeekFrom::Start(0))?;
            file.set_len(0)?;
            file.write_all(change(before).to_string().as_bytes())?;
        }
        Ok(before)
    }

    fn pause_file(&self, to: &Address) -> PathBuf {
        let digest: String =
            Sha256::digest(to.server.as_bytes()).iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        self.folder.join(format!("away-{digest}"))
    }

    fn pause(&self, to: &Address) -> Pause {
        let pause = fs::read(self.pause_file(to)).ok().and_then(|text| serde_json::from_slice(&text).ok());
        let pause: Pause = pause.unwrap_or_default();
        // A clock that was set back must not keep letters for ever.
        let latest = now().saturating_add(millis(LONGEST_PAUSE));
        Pause { until: if pause.until > latest { 0 } else { pause.until }, ..pause }
    }

    /// Leaves a daemon alone for at least so long, and for longer at each try in vain.
    fn lengthen_pause(&self, to: &Address, least: Duration) -> io::Result<()> {
        let tries = self.pause(to).tries;
        // The first try makes nobody wait who tries at the same time.
        let pause = if tries == 0 { Duration::ZERO } else { FIRST_PAUSE.saturating_mul(1 << tries.min(10)) };
        let until = now() + millis(pause.max(least).min(LONGEST_PAUSE));
        let text = serde_json::to_vec(&Pause { tries: tries.saturating_add(1), until })?;
        fs::write(self.pause_file(to), text)
    }
}

impl Pause {
    /// How long it still is.
    fn left(&self) -> Duration {
        Duration::from_millis(u64::try_from(self.until - now()).unwrap_or(0))
    }
}

/// Milliseconds since 1970.
fn now() -> i64 {
    Clock::system().now().as_millisecond()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// The lock on a letter's file, and what it holds.
type Claimed = (File, io::Result<(Address, Letter)>);

/// A letter that nobody else sends, and the lock on it. `None`: somebody does, or has. What is no letter is an
/// error that tells so.
fn claim(path: &Path) -> io::Result<Option<Claimed>> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        // Gone, or another user's.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let is_ours = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
    if !is_ours || file.metadata()?.nlink() == 0 {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    Read::by_ref(&mut file).take(MOST_LETTER_BYTES).read_to_end(&mut bytes)?;
    let end = bytes.iter().position(|&byte| byte == b'\n').unwrap_or(bytes.len());
    let letter = serde_json::from_slice(&bytes[..end]).map_err(io::Error::from).map(|cover: Cover| {
        let body = bytes.split_off((end + 1).min(bytes.len()));
        (cover.to, Letter { path: cover.path, id: cover.id, encoding: cover.encoding, body })
    });
    Ok(Some((file, letter)))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    fn address() -> Address {
        Address { server: "http://localhost:1".to_owned(), key: "k".to_owned() }
    }

    fn letter(text: &str) -> Letter {
        Letter::plain("/api/v1/reports", text.as_bytes())
    }

    fn spool(most_bytes: u64) -> (tempfile::TempDir, Spool) {
        let folder = tempfile::tempdir().unwrap();
        let spool = Spool::open(&folder.path().join("spool"), most_bytes).unwrap();
        (folder, spool)
    }

    fn away() -> Trouble {
        Trouble::Away("away".to_owned(), None)
    }

    #[test]
    fn letters_arrive_in_order_and_once() {
        let (_folder, spool) = spool(1 << 20);
        let sent: Vec<Letter> = (0..5).map(|n| letter(&n.to_string())).collect();
        for letter in &sent {
            assert!(spool.put(&address(), letter, 1).unwrap());
            std::thread::sleep(Duration::from_millis(2));
        }
        let mut got = Vec::new();
        let round = spool.deliver(
            false,
            || false,
            |to, letter| {
                assert_eq!(*to, address());
                got.push(letter.clone());
                Ok(())
            },
        );
        assert_eq!(round.unwrap().delivered, 5);
        assert_eq!(got, sent);
        assert_eq!(
            spool.deliver(false, || false, |_, _| panic!("nothing is left")).unwrap(),
            Round::default()
        );
    }

    #[test]
    fn what_is_on_disk_is_its_owners_alone() {
        let (_folder, spool) = spool(1 << 20);
        spool.put(&address(), &letter("secret"), 1).unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(spool.folder()), 0o700);
        assert_eq!(mode(&spool.reports()), 0o700);
        assert_eq!(mode(&spool.waiting().unwrap()[0]), 0o600);
    }

    #[test]
    fn a_daemon_that_is_away_is_left_alone_for_a_while() {
        let (_folder, spool) = spool(1 << 20);
        (0..3).for_each(|_| assert!(spool.put(&address(), &letter("x"), 1).unwrap()));
        let tries = AtomicUsize::new(0);
        let try_it = |now| {
            spool.deliver(
                now,
                || false,
                |_, _| {
                    tries.fetch_add(1, Ordering::Relaxed);
                    Err(away())
                },
            )
        };
        let round = try_it(false).unwrap();
        assert_eq!(
            (round.waiting, round.trouble.as_deref(), tries.load(Ordering::Relaxed)),
            (3, Some("away"), 1)
        );
        assert_eq!((try_it(false).unwrap().waiting, tries.load(Ordering::Relaxed)), (3, 1));
        assert_eq!((try_it(true).unwrap().waiting, tries.load(Ordering::Relaxed)), (3, 2));
        let round = spool.deliver(true, || false, |_, _| Ok(())).unwrap();
        assert_eq!((round.delivered, round.waiting), (3, 0));
        assert!(!spool.pause_file(&address()).exists());
    }

    #[test]
    fn what_finds_no_room_is_counted_and_told_once() {
        let (_folder, spool) = spool(2_000);
        let put = |n: usize| spool.put(&address(), &letter(&"x".repeat(n)), 7).unwrap();
        assert!(put(1_500));
        assert!(!put(1_500));
        assert!(!put(1_500));
        let round = spool.deliver(false, || false, |_, _| Ok(())).unwrap();
        assert_eq!((round.delivered, round.dropped), (1, 14));
        assert!(put(1_500));
        assert_eq!(spool.deliver(false, || false, |_, _| Ok(())).unwrap().dropped, 0);
    }

    #[test]
    fn what_is_refused_is_set_aside_and_does_not_come_again() {
        let (_folder, spool) = spool(1 << 20);
        spool.put(&address(), &letter("x"), 1).unwrap();
        fs::write(spool.reports().join("0.letter"), b"no letter").unwrap();
        let round = spool.deliver(false, || false, |_, _| Err(Trouble::Refused("422".to_owned()))).unwrap();
        assert_eq!((round.refused.len(), round.refused[1].as_str(), round.waiting), (2, "422", 0));
        assert_eq!(spool.waiting().unwrap().len(), 0);
        assert_eq!(fs::read_dir(spool.folder().join("refused")).unwrap().count(), 2);
    }

    #[test]
    fn many_at_once_send_each_letter_once() {
        let (_folder, spool) = spool(1 << 20);
        let count = AtomicUsize::new(0);
        let deliver = || {
            let send = |_: &Address, _: &Letter| {
                count.fetch_add(1, Ordering::Relaxed);
                Ok(())
            };
            spool.deliver(false, || false, send).unwrap();
        };
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        assert!(spool.put(&address(), &letter("x"), 1).unwrap());
                        deliver();
                    }
                });
            }
        });
        deliver();
        assert_eq!(count.load(Ordering::Relaxed), 100);
    }
}

//! Repositories served as hosts serve them: by git's own program for http behind a small server that asks for
//! a password, and by a real ssh daemon. Both on loopback.

#![allow(unreachable_pub, reason = "each test uses what it needs")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

/// Serves all repositories below a folder to whoever sends the right `Authorization`; ends with the test.
pub struct Http {
    pub port: u16,
    /// The first line of each request.
    pub asked: Arc<Mutex<Vec<String>>>,
}

impl Http {
    /// `basic`: base64 of `user:password`.
    pub fn serve(folder: &Path, basic: Option<&str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (folder, basic, seen) = (folder.to_owned(), basic.map(str::to_owned), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (folder, basic, seen) = (folder.clone(), basic.clone(), Arc::clone(&seen));
                // Whoever hangs up early is not our trouble.
                std::thread::spawn(move || drop(answer(stream, &folder, basic.as_deref(), &seen)));
            }
        });
        Self { port, asked }
    }
}

fn answer(
    stream: TcpStream,
    folder: &Path,
    basic: Option<&str>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    asked.lock().unwrap().push(first.trim().to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let header = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.clone());
    let mut stream = stream;
    if basic.is_some_and(|basic| header("authorization") != Some(format!("Basic {basic}"))) {
        return stream.write_all(
            b"HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"test\"\r\nContent-Length: 0\r\n\
              Connection: close\r\n\r\n",
        );
    }
    let length: usize = header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = first.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut git = Command::new("git")
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", folder)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", method)
        .env("PATH_INFO", path)
        .env("QUERY_STRING", query)
        .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
        .env("CONTENT_LENGTH", length.to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding").unwrap_or_default())
        .env("GIT_PROTOCOL", header("git-protocol").unwrap_or_default())
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    git.stdin.take().unwrap().write_all(&body)?;
    let output = git.wait_with_output()?;
    let head_end = output.stdout.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(0);
    let head = String::from_utf8_lossy(&output.stdout[..head_end]).into_owned();
    let status = head.lines().find_map(|line| line.strip_prefix("Status: ")).unwrap_or("200 OK");
    write!(stream, "HTTP/1.1 {status}\r\nConnection: close\r\n")?;
    stream.write_all(&output.stdout)
}

/// A real ssh daemon for the user that runs the tests, with keys and settings of its own.
pub struct Ssh {
    process: Child,
    pub port: u16,
    folder: PathBuf,
}

impl Ssh {
    /// `None`, with a line that says so, where there is no ssh daemon.
    pub fn serve(folder: &Path) -> Option<Self> {
        let sshd =
            ["/usr/sbin/sshd", "/usr/local/sbin/sshd"].into_iter().find(|file| Path::new(file).exists());
        let has_client = Command::new("ssh").arg("-V").stderr(Stdio::null()).status().is_ok();
        let Some(sshd) = sshd.filter(|_| has_client) else {
            let _ = writeln!(std::io::stderr(), "skipped: fetching by ssh; openssh-server is not installed");
            return None;
        };
        for key in ["host", "user", "stranger"] {
            let file = folder.join(key);
            let arguments = ["-q", "-t", "ed25519", "-N", "", "-C", key, "-f", file.to_str().unwrap()];
            assert!(Command::new("ssh-keygen").args(arguments).status().unwrap().success());
        }
        fs::copy(folder.join("user.pub"), folder.join("authorized")).unwrap();
        // Where it goes when it is started by root; elsewhere it is not asked for.
        let _ = fs::create_dir_all("/run/sshd");
        // Somebody else may take the port before the daemon has it; then another one is tried.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let settings = format!(
                "ListenAddress 127.0.0.1\nPort {port}\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized\n\
                 PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication yes\n\
                 KbdInteractiveAuthentication no\nPermitRootLogin yes\n",
                folder.display()
            );
            fs::write(folder.join("sshd_config"), settings).unwrap();
            let log = fs::File::create(folder.join("sshd.log")).unwrap();
            let process = Command::new(sshd)
                .args(["-D", "-e", "-f"])
                .arg(folder.join("sshd_config"))
                .stderr(log)
                .spawn()
                .unwrap();
            let mut ssh = Self { process, port, folder: folder.to_owned() };
            let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while std::time::Instant::now() < until && ssh.process.try_wait().unwrap().is_none() {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Some(ssh);
                }
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
        }
        panic!("no ssh daemon: {}", fs::read_to_string(folder.join("sshd.log")).unwrap());
    }

    /// The ssh command of a client with one of the keys, that knows the host or does not.
    pub fn command(&self, key: &str, knows_host: bool) -> String {
        let folder = self.folder.display();
        let public = fs::read_to_string(self.folder.join("host.pub")).unwrap();
        let known = if knows_host { format!("[127.0.0.1]:{} {public}", self.port) } else { String::new() };
        let hosts = self.folder.join(format!("known-{knows_host}"));
        fs::write(&hosts, known).unwrap();
        format!(
            "ssh -F none -oBatchMode=yes -oIdentitiesOnly=yes -oIdentityFile={folder}/{key} \
             -oUserKnownHostsFile={} -oGlobalKnownHostsFile=/dev/null",
            hosts.display()
        )
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

//! The daemon's listeners: connections are accepted, so many at once, until it is told to stop; what is under way
//! then has some time to end.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use axum::http::Request;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::{ServiceExt, service_fn};
use tower_http::catch_panic::CatchPanicLayer;

use super::Failure;
use super::idle::{Idle, LastUse};
use crate::config::Listen;
use crate::ingest::Intake;
use crate::store::ProjectId;

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections at once, of each listener. Of more, the one that lies idle the longest makes way; while all are in use,
/// they wait.
const MOST_CONNECTIONS: u32 = 512;
/// A connection over which something came or went in this time is in use.
const IN_USE: Duration = Duration::from_secs(1);
/// While all are in use: when to look again whether one of them is idle.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How long a connection may lie idle: longer than a client may wait for an answer.
const MOST_IDLE: Duration = Duration::from_secs(75);
/// Requests at once over one connection of HTTP/2, and bytes of their bodies on the way.
const MOST_STREAMS: u32 = 32;
const STREAM_WINDOW: u32 = 64 << 10;
const CONNECTION_WINDOW: u32 = 256 << 10;
/// How long what is under way may take when the daemon is told to stop.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait where a connection could not be accepted: for want of file descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// How long a client may take to agree on keys.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a connection that was just accepted has for its first request, when the daemon is told to stop:
/// its client was not refused, so it is answered.
const FIRST_REQUEST: Duration = Duration::from_millis(250);

/// What bytes come and go by.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Where HTTP connections come from.
pub(super) enum Listener {
    /// An address and a port.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl Listener {
    /// One that is open already.
    pub(super) fn tcp(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self::Tcp)
    }

    /// One that is open already.
    pub(super) fn unix(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(Self::Unix)
    }

    /// Opens one.
    ///
    /// # Errors
    /// The address is in use, or not ours.
    pub(super) async fn open(listen: &Listen) -> Result<Self, Failure> {
        let opened = match listen {
            Listen::Tcp(address) => TcpListener::bind(address).await.map(Self::Tcp),
            Listen::Unix(path) => open_unix(path).await.map(Self::Unix),
        };
        let hint = match listen {
            Listen::Tcp(_) => "pass another address with --listen; port 0 takes a free one",
            Listen::Unix(_) => {
                "its folder has to be there, and ours to write in; no other daemon may listen there"
            }
        };
        opened.map_err(|error| Failure::Wrong(format!("cannot listen on {listen}: {error}\n\nhint: {hint}")))
    }

    /// Its address and port; a Unix socket has none.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        let Self::Tcp(listener) = self else { return None };
        listener.local_addr().ok()
    }
}

/// What connections are served by. Another may take its place at any time: a connection is opened, and a request
/// answered, by what is there then.
#[derive(Clone)]
pub(super) struct Served {
    /// What answers requests; see [`guarded`].
    pub(super) routes: Router,
    /// What protects connections. `None`: they are in the clear.
    pub(super) tls: Option<TlsAcceptor>,
    /// What takes the reports of Flawless's clients, and whose they are. `None`: they are not taken.
    pub(super) flawless: Option<(Intake, ProjectId)>,
}

/// Routes of which one that panics harms nobody else.
pub(super) fn guarded(routes: Router) -> Router {
    routes.layer(CatchPanicLayer::new())
}

/// Gives one connection after the other, each with where it comes from.
trait Accept {
    type Stream;
    type Peer;

    fn next(&self) -> impl Future<Output = io::Result<(Self::Stream, Self::Peer)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;
    type Peer = SocketAddr;

    async fn next(&self) -> io::Result<(TcpStream, SocketAddr)> {
        self.accept().await
    }
}

impl Accept for Listener {
    type Stream = Box<dyn Stream>;
    /// A client of a Unix socket has no address.
    type Peer = Option<SocketAddr>;

    async fn next(&self) -> io::Result<(Self::Stream, Self::Peer)> {
        Ok(match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                (Box::new(stream), Some(peer))
            }
            Self::Unix(listener) => (Box::new(listener.accept().await?.0), None),
        })
    }
}

/// A socket in the file system; one that a daemon left there when it was killed makes way.
async fn open_unix(path: &Path) -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            let is_left = matches!(UnixStream::connect(path).await, Err(error) if error.kind() == io::ErrorKind::ConnectionRefused);
            if !is_left {
                return Err(error);
            }
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    // For the proxy, which is in our group.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Serves HTTP until told to stop; then gives what is under way some time, and leaves the rest: nothing of it
/// was acknowledged.
pub(super) async fn serve(
    listener: Listener,
    served: watch::Receiver<Served>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    server
        .http2()
        .max_concurrent_streams(MOST_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let under_way = GracefulShutdown::new();
    accept(&listener, &mut stopped, |stream, peer, place, used| {
        let tls = served.borrow().tls.clone();
        let (served, server, watcher) = (served.clone(), server.clone(), under_way.watcher());
        let connection = tokio::spawn(async move {
            let stream = Idle::new(stream, MOST_IDLE, used);
            let stream: Box<dyn Stream> = match tls {
                None => Box::new(stream),
                Some(tls) => match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                    Ok(Ok(stream)) => Box::new(stream),
                    Ok(Err(error)) => return tracing::debug!(%error, "a client could not agree on keys"),
                    Err(_) => return tracing::debug!("a client took too long to agree on keys"),
                },
            };
            let service = TowerToHyperService::new(service_fn(move |mut request: Request<_>| {
                if let Some(peer) = peer {
                    request.extensions_mut().insert(ConnectInfo(peer));
                }
                let routes = served.borrow().routes.clone();
                routes.oneshot(request)
            }));
            let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
            // How a client leaves is its own affair.
            let _ = watcher.watch(connection).await;
            drop(place);
        });
        Some(connection.abort_handle())
    })
    .await;
    // Where a service manager keeps the socket open, clients wait in it for the next daemon.
    drop(listener);
    if under_way.count() > 0 {
        tokio::time::sleep(FIRST_REQUEST).await;
    }
    give_grace(under_way.shutdown()).await;
}

/// Serves Flawless's clients until told to stop. A connection stays with who took it up.
pub(super) async fn serve_flawless(
    listener: TcpListener,
    served: watch::Receiver<Served>,
    mut stopped: watch::Receiver<bool>,
) {
    let told = stopped.clone();
    let places = accept(&listener, &mut stopped, |stream, peer, place, used| {
        let (intake, project) = served.borrow().flawless.clone()?;
        let told = told.clone();
        let stream = Idle::new(stream, MOST_IDLE, used);
        let connection = tokio::spawn(async move {
            if let Err(error) = intake.serve_flawless(project, stream, told).await {
                tracing::debug!(%peer, %error, "a connection of Flawless's clients ended");
            }
            drop(place);
        });
        Some(connection.abort_handle())
    })
    .await;
    drop(listener);
    // All have their places back when the last connection has ended.
    give_grace(async { drop(places.acquire_many(MOST_CONNECTIONS).await) }).await;
}

/// Accepts connections until told to stop, and has each taken with its place, which is dropped when it ends.
/// Gives the places.
async fn accept<A: Accept>(
    listener: &A,
    stopped: &mut watch::Receiver<bool>,
    mut take: impl FnMut(A::Stream, A::Peer, OwnedSemaphorePermit, LastUse) -> Option<AbortHandle>,
) -> Arc<Semaphore> {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS as usize));
    let mut taken: Vec<(AbortHandle, LastUse)> = Vec::new();
    loop {
        let accepted = async {
            let accepted = listener.next().await;
            loop {
                if let Ok(place) = Arc::clone(&places).try_acquire_owned() {
                    return (accepted, place);
                }
                make_way(&mut taken);
                let place = timeout(LOOK_AGAIN, Arc::clone(&places).acquire_owned()).await;
                if let Ok(place) = place {
                    return (accepted, place.expect("never closed"));
                }
            }
        };
        let (accepted, place) = tokio::select! {
            accepted = accepted => accepted,
            // An error says that the other end is gone, which is a reason to stop as well.
            _ = stopped.wait_for(|stop| *stop) => return places,
        };
        match accepted {
            Ok((stream, peer)) => {
                let used = LastUse::now();
                taken.retain(|(connection, _)| !connection.is_finished());
                taken.extend(take(stream, peer, place, used.clone()).map(|connection| (connection, used)));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Ends the connection that lies idle the longest, if any does: somebody who merely holds connections keeps nobody out.
fn make_way(taken: &mut Vec<(AbortHandle, LastUse)>) {
    taken.retain(|(connection, _)| !connection.is_finished());
    let longest = taken.iter().min_by_key(|(_, used)| used.get());
    if let Some((connection, _)) = longest.filter(|(_, used)| used.get().elapsed() >= IN_USE) {
        tracing::debug!("too many connections; the one that was idle the longest makes way");
        connection.abort();
    }
}

async fn give_grace(end: impl Future<Output = ()>) {
    if timeout(GRACE, end).await.is_err() {
        tracing::warn!(grace_s = GRACE.as_secs(), "some connections did not end in time; they are dropped");
    }
}

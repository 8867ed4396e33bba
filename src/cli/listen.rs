//! The daemon's listeners: connections are accepted, so many at once, until it is told to stop; what is under way
//! then has some time to end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ConnectInfo;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower_http::catch_panic::CatchPanicLayer;

use crate::ingest::Intake;
use crate::store::ProjectId;

/// How long a client may take to send the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections at once, of each listener; more wait to be accepted.
const MOST_CONNECTIONS: u32 = 512;
/// How long what is under way may take when the daemon is told to stop.
const GRACE: Duration = Duration::from_secs(5);
/// How long to wait where a connection could not be accepted: for want of file descriptors, mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves HTTP until told to stop; then gives what is under way some time, and leaves the rest: nothing of it
/// was acknowledged.
pub(super) async fn serve(listener: TcpListener, routes: Router, mut stopped: watch::Receiver<bool>) {
    let routes = routes.layer(CatchPanicLayer::new());
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    let under_way = GracefulShutdown::new();
    accept(listener, &mut stopped, |stream, peer, place| {
        let service = TowerToHyperService::new(routes.clone().layer(Extension(ConnectInfo(peer))));
        let connection = server.serve_connection(TokioIo::new(stream), service).into_owned();
        let connection = under_way.watch(connection);
        tokio::spawn(async move {
            // How a client leaves is its own affair.
            let _ = connection.await;
            drop(place);
        });
    })
    .await;
    give_grace(under_way.shutdown()).await;
}

/// Serves Flawless's clients, whose reports are those of `project`, until told to stop.
pub(super) async fn serve_flawless(
    listener: TcpListener,
    intake: Intake,
    project: ProjectId,
    mut stopped: watch::Receiver<bool>,
) {
    let told = stopped.clone();
    let places = accept(listener, &mut stopped, |stream, peer, place| {
        let (intake, told) = (intake.clone(), told.clone());
        tokio::spawn(async move {
            if let Err(error) = intake.serve_flawless(project, stream, told).await {
                tracing::debug!(%peer, %error, "a connection of Flawless's clients ended");
            }
            drop(place);
        });
    })
    .await;
    // All have their places back when the last connection has ended.
    give_grace(async { drop(places.acquire_many(MOST_CONNECTIONS).await) }).await;
}

/// Accepts connections until told to stop, and has each taken with its place, which is dropped when it ends.
/// Gives the places.
async fn accept(
    listener: TcpListener,
    stopped: &mut watch::Receiver<bool>,
    mut take: impl FnMut(TcpStream, SocketAddr, OwnedSemaphorePermit),
) -> Arc<Semaphore> {
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS as usize));
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.expect("never closed");
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            accepted = accepted => accepted,
            // An error says that the other end is gone, which is a reason to stop as well.
            _ = stopped.wait_for(|stop| *stop) => return places,
        };
        match accepted {
            Ok((stream, peer)) => take(stream, peer, place),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn give_grace(end: impl Future<Output = ()>) {
    if tokio::time::timeout(GRACE, end).await.is_err() {
        tracing::warn!(grace_s = GRACE.as_secs(), "some connections did not end in time; they are dropped");
    }
}

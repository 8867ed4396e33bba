//! What a service manager is told and asked for: readiness, the watchdog, sockets that it opened
//! (sd_notify(3), sd_listen_fds(3)). Without one, all of this does nothing.

use std::time::Duration;

use listenfd::ListenFd;
use sd_notify::NotifyState;

use super::Failure;
use super::listen::Listener;
use crate::pipeline::Pipeline;

/// Says that the daemon takes requests now, and where.
pub(super) fn ready(url: &str) {
    tell(&[NotifyState::Ready, NotifyState::Status(&format!("taking reports at {url}"))]);
}

/// Says that the daemon reads its configuration again; [`ready`] says that it has. The time is what
/// `Type=notify-reload` tells one reload from another by.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now, NotifyState::Status("reading the configuration")]),
        Err(error) => tracing::warn!(%error, "the service manager cannot be told"),
    }
}

/// Says that the daemon is on its way out.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping, NotifyState::Status("finishing what is under way")]);
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "the service manager cannot be told");
    }
}

/// Says again and again that the daemon is alive, as long as its ledger answers, where that is asked for: one
/// that hangs is restarted.
pub(super) async fn watchdog(pipeline: Pipeline) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let every = (patience / 3).max(Duration::from_millis(100));
    loop {
        // A ledger that says why it cannot write is alive; restarting makes no room on a disk.
        if tokio::time::timeout(patience / 2, pipeline.health()).await.is_ok() {
            tell(&[NotifyState::Watchdog]);
        }
        tokio::time::sleep(every).await;
    }
}

/// The sockets that the service manager has opened and keeps open over restarts, in the order of its
/// configuration; none without it.
///
/// # Errors
/// One of them is no listening stream socket.
pub(super) fn sockets() -> Result<Vec<Listener>, Failure> {
    let mut handed = ListenFd::from_env();
    let wrong = |error| {
        Failure::Wrong(format!(
            "the service manager handed over a socket that nobody can connect to: {error}\n\nhint: use ListenStream= \
             in its socket unit"
        ))
    };
    let mut sockets = Vec::new();
    for at in 0..handed.len() {
        // Asked for as the one kind, a socket of the other stays.
        let socket = match handed.take_tcp_listener(at) {
            Ok(Some(listener)) => Listener::tcp(listener),
            Ok(None) => continue,
            Err(_) => match handed.take_unix_listener(at).map_err(wrong)? {
                Some(listener) => Listener::unix(listener),
                None => continue,
            },
        };
        sockets.push(socket.map_err(wrong)?);
    }
    Ok(sockets)
}

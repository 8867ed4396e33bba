//! Connections that nobody uses: one over which nothing comes and nothing goes for too long is an error, so that it ends
//! and its place is free. Clients that went away without a word are known by nothing else.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// When bytes last came or went over a connection.
#[derive(Clone)]
pub(super) struct LastUse {
    begun: Instant,
    /// Milliseconds since then.
    at: Arc<AtomicU64>,
}

impl LastUse {
    /// Of a connection that was just made.
    pub(super) fn now() -> Self {
        Self { begun: Instant::now(), at: Arc::default() }
    }

    /// When it was.
    pub(super) fn get(&self) -> Instant {
        self.begun + Duration::from_millis(self.at.load(Ordering::Relaxed))
    }

    fn set(&self) {
        let since = self.begun.elapsed().as_millis();
        self.at.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// A stream that ends when it is idle.
pub(super) struct Idle<S> {
    stream: S,
    longest: Duration,
    used: LastUse,
    /// When to look whether it was used since.
    look: Pin<Box<Sleep>>,
}

impl<S> Idle<S> {
    /// Ends `stream` when it is idle for longer than `longest`; keeps `used`.
    pub(super) fn new(stream: S, longest: Duration, used: LastUse) -> Self {
        let look = Box::pin(sleep_until(used.get() + longest));
        Self { stream, longest, used, look }
    }

    /// What became of a read or a write: bytes went, or they are waited for, but not for ever.
    fn watched<T>(&mut self, context: &mut Context, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.used.set();
            return done;
        }
        while self.look.as_mut().poll(context).is_ready() {
            let until = self.used.get() + self.longest;
            if until <= Instant::now() {
                return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
            }
            self.look.as_mut().reset(until);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Idle<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context,
        buffer: &mut ReadBuf,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.watched(context, done)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Idle<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watched(context, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(context);
        self.watched(context, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_shutdown(context);
        self.watched(context, done)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn a_stream_ends_when_nothing_comes_or_goes() {
        let (mut client, server) = duplex(64);
        let mut server = Idle::new(server, Duration::from_millis(10), LastUse::now());
        client.write_all(b"x").await.unwrap();
        // It stays open, and silent.
        assert_eq!(server.read_u8().await.unwrap(), b'x');
        assert_eq!(server.read_u8().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        server.write_all(b"y").await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'y');
        // Nobody takes what is written.
        let written = server.write_all(&[0; 1000]).await;
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}

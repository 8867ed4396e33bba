//! Connections of Flawless's clients: a call, its reply, the next call, until they hang up.
//!
//! A call is answered when its report is on disk. What cannot be taken is answered with an error of Thrift's, which
//! the client raises and logs; it then stays away for a while by itself. There is no key in this protocol:
//! whoever reaches the listener reports to its project.

use std::io;
use std::time::Duration;

use axum::body::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::timeout;

use super::flawless::{self, Call, Request};
use super::{Intake, Problem};
use crate::store::ProjectId;

/// How long a client may say nothing between its calls.
const IDLE: Duration = Duration::from_secs(60);
/// How long it may take to send a call, or to take a reply.
const TRANSFER: Duration = Duration::from_secs(30);
/// How much of a call that is too large is read to its end, so that the client gets to hear why.
const DRAINED_BYTES: usize = 64 << 20;

impl Intake {
    /// Serves one connection, whose reports are those of `project`: until the client leaves, says nothing for
    /// too long or says what is no call; when `stopped` is told, after the call that has been read.
    ///
    /// # Errors
    /// How the connection ended, if not in peace.
    pub async fn serve_flawless(
        &self,
        project: ProjectId,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        mut stopped: watch::Receiver<bool>,
    ) -> io::Result<()> {
        let most = self.0.settings.body_bytes;
        loop {
            let mut length = [0; 4];
            tokio::select! {
                read = timeout(IDLE, stream.read_exact(&mut length)) => match read? {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
                    read => read?,
                },
                // An error says that the other end is gone, which is a reason to stop as well.
                _ = stopped.wait_for(|stop| *stop) => return Ok(()),
            };
            let length = u32::from_be_bytes(length) as usize;
            if length > DRAINED_BYTES {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "this is no framed Thrift"));
            }
            let call = timeout(TRANSFER, read_call(&mut stream, length, most)).await??;
            let reply = match call {
                Some(call) => self.answer_flawless(project, call).await,
                None => {
                    flawless::refusal(&[], &format!("a call of more than {most} bytes (limits.body_bytes)"))
                }
            };
            timeout(TRANSFER, stream.write_all(&reply)).await??;
        }
    }

    async fn answer_flawless(&self, project: ProjectId, call: Vec<u8>) -> Vec<u8> {
        let call = Bytes::from(call);
        match self.take_flawless(project, call.clone()).await {
            Ok(reply) => reply,
            Err(problem) => flawless::refusal(&call, problem.said()),
        }
    }

    /// Takes one call; gives the reply to it.
    async fn take_flawless(&self, project: ProjectId, call: Bytes) -> Result<Vec<u8>, Problem> {
        self.within_rate("flawless")?;
        let _turn = self.turn().await;
        let decoded = self.decode(call, move |inner, call| {
            let mut call: Call = flawless::decode(call)?;
            let reply = flawless::reply(&call);
            if let Request::RecordError(report) = &mut call.request {
                inner.make_ready(project, report);
            }
            Ok((call.request, reply))
        });
        let ((request, reply), _held) = decoded.await?;
        if let Request::RecordError(report) = request {
            self.0.pipeline.accept(project, vec![*report]).await?;
        }
        Ok(reply)
    }
}

/// Reads a call of so many bytes. `None`: they are more than may be, and were let go.
async fn read_call(
    stream: &mut (impl AsyncRead + Unpin),
    length: usize,
    most: usize,
) -> io::Result<Option<Vec<u8>>> {
    let mut frame = stream.take(length as u64);
    if length > most {
        tokio::io::copy(&mut frame, &mut tokio::io::sink()).await?;
        return Ok(None);
    }
    // Grows as the bytes come, so that a length alone claims no memory.
    let mut call = Vec::new();
    frame.read_to_end(&mut call).await?;
    if call.len() < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some(call))
}

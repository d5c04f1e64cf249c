//! The endpoints without sockets: the bytes that a client sends go in, those that it reads come out. For fuzzing and tests.

use super::activity::Activity;
use super::server::Server;
use hyper::rt::{Read, ReadBufCursor, Write};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use tokio::runtime::Runtime;

/// All endpoints, for one client at a time.
pub struct InMemory {
    server: Server,
    runtime: Runtime,
}

impl InMemory {
    pub(super) fn new(server: Server) -> io::Result<Self> {
        Ok(Self { server, runtime: tokio::runtime::Builder::new_current_thread().enable_time().build()? })
    }

    /// What a client at `peer` reads that sends `bytes` and then nothing.
    pub fn exchange(&self, bytes: &[u8], peer: SocketAddr) -> Vec<u8> {
        let activity = self.server.activity();
        let received = Arc::default();
        let stream = Stream {
            sent: bytes.to_vec(),
            read: 0,
            received: Arc::clone(&received),
            activity: Arc::clone(&activity),
            written: false,
            reader: None,
        };
        self.runtime.block_on(async { self.server.serve(stream, peer, &activity).await });
        std::mem::take(&mut received.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The client's side of a connection. It ends after the response to the last request.
struct Stream {
    sent: Vec<u8>,
    /// The number of bytes that the server has read.
    read: usize,
    received: Arc<Mutex<Vec<u8>>>,
    activity: Arc<Activity>,
    /// Whether something was written since the last flush.
    written: bool,
    /// The read that waits for the end of a response.
    reader: Option<Waker>,
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, mut into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let count = into.remaining().min(self.sent.len() - self.read);
        if count == 0 && self.activity.is_busy() {
            self.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        into.put_slice(&self.sent[self.read..self.read + count]);
        self.read += count;
        Poll::Ready(Ok(()))
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, from: &[u8]) -> Poll<io::Result<usize>> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(from);
        self.written = true;
        Poll::Ready(Ok(from.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.written) {
            self.activity.end_request();
            self.reader.take().into_iter().for_each(Waker::wake);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

//! A made-up connection between a device and its node: bytes both ways, as much as fits, until one
//! side closes or is cut off.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf as _, BytesMut};
use parking_lot::Mutex;
use tessera_frontend::DeviceStream;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf, Ready};
use tokio::sync::Notify;

/// Most bytes that one read or write moves.
const BURST_BYTES_MAX: usize = 4_096;

/// Both ways of one connection.
#[derive(Debug)]
struct Pipe {
    to_server: Way,
    to_device: Way,
}

/// One way.
#[derive(Debug, Default)]
struct Way {
    state: Mutex<State>,
    /// The server waits for it to be readable, or writable.
    changed: Notify,
    /// The device does.
    told: Notify,
}

#[derive(Debug, Default)]
struct State {
    bytes: VecDeque<u8>,
    capacity: usize,
    /// Nothing more comes; what is there can still be read.
    is_closed: bool,
    wakers: Vec<Waker>,
}

impl Way {
    fn new(capacity: usize) -> Self {
        let way = Self::default();
        way.state.lock().capacity = capacity;
        way
    }

    fn close(&self) {
        self.state.lock().is_closed = true;
        self.tell();
    }

    /// Closes it, and what was not read yet is lost.
    fn reset(&self) {
        self.state.lock().bytes.clear();
        self.close();
    }

    fn tell(&self) {
        let wakers = std::mem::take(&mut self.state.lock().wakers);
        wakers.into_iter().for_each(Waker::wake);
        self.changed.notify_waiters();
        self.told.notify_waiters();
    }

    fn is_readable(&self) -> bool {
        let state = self.state.lock();
        state.is_closed || !state.bytes.is_empty()
    }

    fn is_writable(&self) -> bool {
        let state = self.state.lock();
        state.is_closed || state.bytes.len() < state.capacity
    }

    /// `None`: nothing to read yet. Empty: nothing more comes.
    fn read(&self, most: usize) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        if state.bytes.is_empty() && !state.is_closed {
            return None;
        }
        let len = state.bytes.len().min(most).min(BURST_BYTES_MAX);
        let read = state.bytes.drain(..len).collect();
        drop(state);
        self.tell();
        Some(read)
    }

    /// How much was taken; `None`: there is no room yet.
    fn write(&self, bytes: &[u8]) -> Option<io::Result<usize>> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Some(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let room = state.capacity.saturating_sub(state.bytes.len());
        if room == 0 {
            return None;
        }
        let len = bytes.len().min(room).min(BURST_BYTES_MAX);
        state.bytes.extend(&bytes[..len]);
        drop(state);
        self.tell();
        Some(Ok(len))
    }

    fn wait(&self, cx: &Context<'_>) {
        self.state.lock().wakers.push(cx.waker().clone());
    }
}

/// Makes a connection: `capacity` bytes may be on their way, either way.
pub(crate) fn connect(capacity: usize) -> (DeviceEnd, ServerEnd) {
    let pipe = Arc::new(Pipe {
        to_server: Way::new(capacity),
        to_device: Way::new(capacity),
    });
    (DeviceEnd(Arc::clone(&pipe)), ServerEnd(pipe))
}

/// The device's side.
pub(crate) struct DeviceEnd(Arc<Pipe>);

impl fmt::Debug for DeviceEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DeviceEnd")
    }
}

impl DeviceEnd {
    /// Sends all of it; an error if the other side is gone.
    pub(crate) async fn send(&self, bytes: &mut BytesMut) -> io::Result<()> {
        let way = &self.0.to_server;
        while !bytes.is_empty() {
            let told = way.told.notified();
            match way.write(bytes) {
                Some(written) => bytes.advance(written?),
                None => told.await,
            }
        }
        Ok(())
    }

    /// Waits for bytes; `false` if there are none any more. Cancel safe.
    pub(crate) async fn receive(&self, into: &mut BytesMut) -> bool {
        loop {
            let told = self.0.to_device.told.notified();
            match self.0.to_device.read(BURST_BYTES_MAX) {
                Some(bytes) => {
                    into.extend_from_slice(&bytes);
                    return !bytes.is_empty();
                }
                None => told.await,
            }
        }
    }

    /// What is here now.
    pub(crate) fn here(&self, into: &mut BytesMut) {
        while let Some(bytes) = self.0.to_device.read(BURST_BYTES_MAX)
            && !bytes.is_empty()
        {
            into.extend_from_slice(&bytes);
        }
    }

    /// Ends the connection so that the server loses what it has not read.
    pub(crate) fn reset(&self) {
        self.0.to_server.reset();
    }
}

impl Drop for DeviceEnd {
    fn drop(&mut self) {
        self.0.to_server.close();
        self.0.to_device.reset();
    }
}

/// The server's side.
pub(crate) struct ServerEnd(Arc<Pipe>);

impl fmt::Debug for ServerEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerEnd")
    }
}

impl ServerEnd {
    /// What ends the connection when the server's process does.
    pub(crate) fn cord(&self) -> Cord {
        Cord(Arc::downgrade(&self.0))
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        self.0.to_server.reset();
        self.0.to_device.close();
    }
}

/// Cuts a connection from its server's process.
#[derive(Debug)]
pub(crate) struct Cord(std::sync::Weak<Pipe>);

impl Cord {
    /// The process is gone: what it wrote arrives, and nothing else.
    pub(crate) fn cut(&self) {
        if let Some(pipe) = self.0.upgrade() {
            pipe.to_server.reset();
            pipe.to_device.close();
        }
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.0.strong_count() == 0
    }
}

impl AsyncRead for ServerEnd {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let way = &self.0.to_server;
        match way.read(buf.remaining()) {
            Some(bytes) => {
                buf.put_slice(&bytes);
                Poll::Ready(Ok(()))
            }
            None => {
                way.wait(cx);
                Poll::Pending
            }
        }
    }
}

impl AsyncWrite for ServerEnd {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let way = &self.0.to_device;
        match way.write(bytes) {
            Some(written) => Poll::Ready(written),
            None => {
                way.wait(cx);
                Poll::Pending
            }
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.to_device.close();
        Poll::Ready(Ok(()))
    }
}

impl DeviceStream for ServerEnd {
    async fn readable(&self) -> io::Result<()> {
        self.ready(Interest::READABLE).await.map(drop)
    }

    async fn ready(&self, interest: Interest) -> io::Result<Ready> {
        loop {
            let (to_server, to_device) = (&self.0.to_server, &self.0.to_device);
            let (read, write) = (to_server.changed.notified(), to_device.changed.notified());
            let mut ready = Ready::EMPTY;
            if interest.is_readable() && to_server.is_readable() {
                ready |= Ready::READABLE;
            }
            if interest.is_writable() && to_device.is_writable() {
                ready |= Ready::WRITABLE;
            }
            if !ready.is_empty() {
                return Ok(ready);
            }
            tokio::select! {
                biased;
                () = read => {}
                () = write => {}
            }
        }
    }
}

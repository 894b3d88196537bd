//! One device's connection: the task that moves its bytes and drives the session machines.
//!
//! ```text
//! Opened ──CONNECT accepted──> Serving ──DISCONNECT, error, end signal──> Finishing ──> (gone)
//!    └──refused, silent, garbage────────────────────────────────────────────^
//! ```
//! While it serves, a turn is: take what publishers left, write, wait, read one burst, handle every
//! packet of it. Handling a packet never waits; what must wait (a subscription, a full receiver,
//! a throttled publish) comes back as a [`Step`] that runs in a boxed future, so that the task of
//! an idle connection stays small. A waiting task holds no buffer.

mod burst;
mod connect;
mod finish;
mod persistent;
mod publish;
mod session;
mod steps;
mod subscribe;

pub(crate) use publish::may_publish;
pub(crate) use steps::hold;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tessera_mqtt::{DecodeError, Decoder};
use tessera_session::{ClientDisconnect, Inbound, Refusal, Violation};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, Interest};

use self::session::{Completion, Session};
use self::steps::Step;
use crate::buffers;
use crate::outbox::EndReason;
use crate::shared::Shared;
use crate::stream::DeviceStream;

/// Answers and messages that may wait for the socket; past it nothing more is read.
const UNWRITTEN_BYTES_MAX: usize = 256 * 1024;
/// QoS 0 messages on their way into a store; past it nothing more is read.
const KEEPING_MAX: usize = 4_096;
/// A socket that takes nothing for this long while something waits is closed.
const WRITE_STALL_MAX: Duration = Duration::from_secs(30);

/// Why a connection is over.
#[derive(Debug)]
pub(crate) enum End {
    /// The client said DISCONNECT.
    Client(ClientDisconnect),
    /// The client closed the socket or the network did.
    Lost,
    /// The client broke the protocol.
    Violated(Refusal),
    /// The server ends it.
    Server(EndReason),
    /// CONNECT was refused; the answer is written.
    Refused,
    /// The socket took nothing for [`WRITE_STALL_MAX`].
    Stalled,
}

impl From<Violation> for End {
    fn from(violation: Violation) -> Self {
        Self::Violated(Refusal::from(&violation))
    }
}

impl From<DecodeError> for End {
    fn from(error: DecodeError) -> Self {
        Self::Violated(Refusal::from(&error))
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> Self {
        tracing::debug!(%error, "connection lost");
        Self::Lost
    }
}

/// What a waiting task was woken for.
#[derive(Debug)]
enum Wake {
    /// A publisher left something, the server ends the connection, or the socket takes bytes again.
    Signal,
    /// Something that had to be durable is.
    Completed(Completion),
    /// The socket has bytes, or is closed.
    Readable,
}

/// What one look at the unread bytes came to.
#[derive(Debug)]
pub(crate) enum Progress {
    /// Every whole packet was handled.
    Drained,
    /// Something must be waited for before the next packet.
    Step(Box<Step>),
}

/// One connection and its task's state.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    shared: Arc<Shared>,
    stream: S,
    peer: SocketAddr,
    decoder: Decoder,
    inbound: Inbound,
    /// Received and not handled yet; no memory while it is empty.
    unread: BytesMut,
    /// To be written; no memory while it is empty.
    unwritten: BytesMut,
    session: Option<Box<Session>>,
}

impl<S: DeviceStream> Connection<S> {
    pub(crate) fn new(shared: Arc<Shared>, stream: S, peer: SocketAddr) -> Self {
        Self {
            decoder: Decoder::server(shared.decode_limits),
            inbound: Inbound::new(
                Arc::clone(&shared.session_limits),
                Arc::clone(&shared.methods),
            ),
            shared,
            stream,
            peer,
            unread: BytesMut::new(),
            unwritten: BytesMut::new(),
            session: None,
        }
    }

    /// Serves the device until the connection is over, and cleans up after it.
    pub(crate) async fn run(mut self) {
        let Err(end) = self.serve().await;
        Box::pin(self.finish(end)).await;
    }

    async fn serve(&mut self) -> Result<std::convert::Infallible, End> {
        Box::pin(self.establish()).await?;
        // A client need not wait for CONNACK before it goes on (MQTT 5, 3.1.4).
        self.handle_unread().await?;
        loop {
            self.take_messages()?;
            self.write().await?;
            match self.wait().await? {
                Wake::Signal => {}
                // Packets may have been left unread because too many were unanswered.
                Wake::Completed(completion) => {
                    self.complete(completion)?;
                    self.handle_unread().await?;
                }
                Wake::Readable => {
                    self.read().await?;
                    self.handle_unread().await?;
                }
            }
        }
    }

    /// Handles every whole packet that was received, waiting where one must.
    async fn handle_unread(&mut self) -> Result<(), End> {
        loop {
            match self.handle_burst()? {
                Progress::Drained => return Ok(()),
                Progress::Step(step) => Box::pin(self.run_step(*step)).await?,
            }
        }
    }

    /// Takes what publishers left since the last turn, and what the inbox holds.
    fn take_messages(&mut self) -> Result<(), End> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        loop {
            let end = if self.unwritten.len() < UNWRITTEN_BYTES_MAX {
                session.take(&mut self.unwritten)
            } else {
                session.outbox.end_reason()
            };
            if let Some(reason) = end {
                return Err(End::Server(reason));
            }
            // What the pump put into the outbox is taken in the next round.
            if self.unwritten.len() >= UNWRITTEN_BYTES_MAX || !session.pump(&self.shared) {
                return Ok(());
            }
        }
    }

    /// Writes what the socket takes now.
    async fn write(&mut self) -> Result<(), End> {
        while !self.unwritten.is_empty() {
            let written = tokio::select! {
                biased;
                written = self.stream.write_buf(&mut self.unwritten) => Some(written?),
                () = std::future::ready(()) => None,
            };
            match written {
                Some(0) => return Err(End::Lost),
                Some(bytes) => self.shared.metrics.bytes_sent.add(bytes as u64),
                None => return Ok(()),
            }
        }
        if self.unwritten.capacity() > 0 {
            buffers::give_back(std::mem::take(&mut self.unwritten));
        }
        Ok(())
    }

    /// Waits for something to do.
    async fn wait(&mut self) -> Result<Wake, End> {
        let Some(session) = &mut self.session else {
            return Ok(Wake::Signal);
        };
        if self.unwritten.is_empty() && session.has_more_to_replay() {
            tokio::task::yield_now().await;
            return Ok(Wake::Signal);
        }
        let hears = self.inbound.wants_packets()
            && self.unwritten.len() < UNWRITTEN_BYTES_MAX
            && session.keeping < KEEPING_MAX;
        if !self.unwritten.is_empty() {
            return Box::pin(wait_blocked(&self.stream, session, hears)).await;
        }
        tokio::select! {
            biased;
            () = session.outbox.woken() => Ok(Wake::Signal),
            completion = session.completions.next() => Ok(Wake::Completed(completion)),
            ready = self.stream.readable(), if hears => {
                ready?;
                Ok(Wake::Readable)
            }
        }
    }

    /// Reads one burst.
    async fn read(&mut self) -> Result<(), End> {
        if self.unread.capacity() == 0 {
            self.unread = buffers::take();
        }
        self.unread.reserve(buffers::READ_BYTES_MIN);
        let read = tokio::select! {
            biased;
            read = self.stream.read_buf(&mut self.unread) => read?,
            // Woken in vain.
            () = std::future::ready(()) => return Ok(()),
        };
        if read == 0 {
            return Err(End::Lost);
        }
        self.shared.metrics.bytes_received.add(read as u64);
        if let Some(session) = &self.session {
            session.beat(&self.shared);
        }
        Ok(())
    }

    /// Gives the read buffer back if nothing is left in it.
    fn release_unread(&mut self) {
        if self.unread.is_empty() && self.unread.capacity() > 0 {
            buffers::give_back(std::mem::take(&mut self.unread));
        }
    }
}

/// Waiting while the socket takes no more: boxed, for it carries a timer.
async fn wait_blocked(
    stream: &impl DeviceStream,
    session: &mut Session,
    hears: bool,
) -> Result<Wake, End> {
    let interest = if hears {
        Interest::READABLE | Interest::WRITABLE
    } else {
        Interest::WRITABLE
    };
    tokio::select! {
        biased;
        () = session.outbox.woken() => Ok(Wake::Signal),
        completion = session.completions.next() => Ok(Wake::Completed(completion)),
        ready = stream.ready(interest) => {
            Ok(if ready?.is_readable() { Wake::Readable } else { Wake::Signal })
        }
        () = tokio::time::sleep(WRITE_STALL_MAX) => Err(End::Stalled),
    }
}

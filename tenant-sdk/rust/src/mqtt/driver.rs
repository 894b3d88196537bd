//! The task of one connection: moves bytes between socket and machine.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::BytesMut;
use tessera_mqtt::{Decoder, EncodeError, Packet};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::client::{Received, Reply, Request};
use super::error::{Closed, RequestError};
use super::machine::{Answer, Effect, Machine};

/// Bytes that may wait to be written before no more requests are taken.
const OUT_BYTES_MAX: usize = 256 << 10;
/// Bytes that one read asks for.
const READ_BYTES: usize = 16 << 10;
/// How long the last bytes may take to leave.
const FAREWELL_WITHIN: Duration = Duration::from_secs(5);
/// With keep alive turned off.
const FAR_AWAY: Duration = Duration::from_secs(365 * 24 * 3600);

pub(crate) struct Driver {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    decoder: Decoder,
    machine: Machine<Reply>,
    received: BytesMut,
    out: BytesMut,
    requests: mpsc::Receiver<Request>,
    /// Apart, so that a closed window does not hold them up.
    farewells: mpsc::Receiver<Reply>,
    /// Whether some [`super::Client`] is left.
    are_requests_open: bool,
    deliver: mpsc::Sender<Received>,
    /// A message that waits for room. Nothing is read meanwhile.
    waiting: Option<Received>,
    pings: Pings,
    farewell: Option<Reply>,
}

/// What one wait led to.
enum Turn {
    Moved,
    Asked(Request),
    NobodyAsks,
    Farewell(Reply),
    TimedOut,
}

/// When to say that we live, and until when the server has to answer.
struct Pings {
    /// Zero: keep alive is turned off.
    interval: Duration,
    due: Instant,
    pong_by: Option<Instant>,
}

impl Driver {
    pub(crate) fn new(
        (stream, decoder, received): (TcpStream, Decoder, BytesMut),
        machine: Machine<Reply>,
        keep_alive_seconds: u16,
        (requests, farewells): (mpsc::Receiver<Request>, mpsc::Receiver<Reply>),
        deliver: mpsc::Sender<Received>,
    ) -> Self {
        let (reader, writer) = stream.into_split();
        Self {
            reader,
            writer,
            decoder,
            machine,
            received,
            out: BytesMut::new(),
            requests,
            farewells,
            are_requests_open: true,
            deliver,
            waiting: None,
            pings: Pings::new(keep_alive_seconds),
            farewell: None,
        }
    }

    /// Runs until the connection ends, and says how in `closed` before anybody can miss it.
    pub(crate) async fn run(mut self, closed: Arc<OnceLock<Closed>>) {
        let how = match self.drive().await {
            Ok(()) => self.part().await,
            Err(how) => how,
        };
        closed.get_or_init(|| how);
        if let Some(reply) = self.farewell.take() {
            give(
                reply,
                Ok(Answer {
                    codes: Vec::new(),
                    text: None,
                }),
            );
        }
    }

    /// `Ok` when this side wants to end.
    async fn drive(&mut self) -> Result<(), Closed> {
        loop {
            self.handle_received()?;
            let has_room = self.out.len() < OUT_BYTES_MAX && self.machine.has_room();
            self.received.reserve(READ_BYTES);
            let turn = tokio::select! {
                read = self.reader.read_buf(&mut self.received), if self.waiting.is_none() => {
                    if read? == 0 {
                        return Err(Closed::WithoutWord);
                    }
                    Turn::Moved
                }
                written = self.writer.write_buf(&mut self.out), if !self.out.is_empty() => {
                    written?;
                    self.pings.sent(Instant::now());
                    Turn::Moved
                }
                permit = self.deliver.reserve(), if self.waiting.is_some() => {
                    // With nobody left who takes messages, this one is dropped too.
                    if let (Ok(permit), Some(message)) = (permit, self.waiting.take()) {
                        permit.send(message);
                    }
                    Turn::Moved
                }
                request = self.requests.recv(), if has_room && self.are_requests_open => {
                    request.map_or(Turn::NobodyAsks, Turn::Asked)
                }
                Some(reply) = self.farewells.recv() => Turn::Farewell(reply),
                () = self.deliver.closed(), if !self.are_requests_open => return Ok(()),
                () = sleep_until(self.pings.next()) => Turn::TimedOut,
            };
            match turn {
                Turn::Moved => {}
                Turn::Asked(request) => self.handle_request(request),
                Turn::NobodyAsks => self.are_requests_open = false,
                Turn::TimedOut => self.handle_timeout()?,
                Turn::Farewell(reply) => {
                    self.farewell = Some(reply);
                    return Ok(());
                }
            }
        }
    }

    /// Takes what was read, packet by packet, until a message has to wait.
    fn handle_received(&mut self) -> Result<(), Closed> {
        while self.waiting.is_none()
            && let Some(packet) = self.decoder.decode(&mut self.received)?
        {
            self.handle_packet(packet)?;
        }
        Ok(())
    }

    fn handle_packet(&mut self, packet: Packet) -> Result<(), Closed> {
        match self.machine.handle_packet(packet, &mut self.out)? {
            Effect::Nothing => {}
            Effect::Pong => self.pings.pong_by = None,
            Effect::Answered(reply, answer) => give(reply, Ok(answer)),
            Effect::Ended(how) => return Err(how),
            Effect::Deliver(message) => match self.deliver.try_send(message) {
                Ok(()) | Err(mpsc::error::TrySendError::Closed(_)) => {}
                Err(mpsc::error::TrySendError::Full(message)) => self.waiting = Some(message),
            },
        }
        Ok(())
    }

    fn handle_request(&mut self, request: Request) {
        let out = &mut self.out;
        let refused = match request {
            Request::Publish(message, reply) => match self.machine.publish(message, reply, out) {
                Ok(None) => return,
                Ok(Some(reply)) => {
                    return give(
                        reply,
                        Ok(Answer {
                            codes: Vec::new(),
                            text: None,
                        }),
                    );
                }
                Err(refused) => refused,
            },
            Request::Subscribe(filters, reply) => {
                match self.machine.subscribe(filters, reply, out) {
                    Ok(()) => return,
                    Err(refused) => refused,
                }
            }
            Request::Unsubscribe(filters, reply) => {
                match self.machine.unsubscribe(filters, reply, out) {
                    Ok(()) => return,
                    Err(refused) => refused,
                }
            }
        };
        let (reply, error): (Reply, EncodeError) = refused;
        give(reply, Err(RequestError::from(error)));
    }

    fn handle_timeout(&mut self) -> Result<(), Closed> {
        let now = Instant::now();
        if self.waiting.is_some() {
            // The answer cannot be read yet: that is our own doing.
            self.pings.forgive(now);
        } else if self.pings.pong_by.is_some_and(|by| by <= now) {
            return Err(Closed::Silent);
        }
        if self.pings.due <= now {
            self.machine
                .ping(&mut self.out)
                .map_err(|error| Closed::Protocol(error.to_string()))?;
            self.pings.asked(now);
        }
        Ok(())
    }

    /// Says goodbye, after what is still to be written.
    async fn part(&mut self) -> Closed {
        let sent = self.machine.disconnect(&mut self.out);
        let leave = async {
            self.writer.write_all_buf(&mut self.out).await?;
            self.writer.shutdown().await
        };
        match (sent, timeout(FAREWELL_WITHIN, leave).await) {
            (Ok(()), Ok(Ok(()))) => Closed::ByClient,
            (Ok(()), Ok(Err(error))) => error.into(),
            (Ok(()), Err(_elapsed)) => Closed::Silent,
            (Err(error), _) => Closed::Protocol(error.to_string()),
        }
    }
}

impl Pings {
    fn new(keep_alive_seconds: u16) -> Self {
        // Early enough that the network may take a while (the server waits one and a half).
        let interval = Duration::from_secs(u64::from(keep_alive_seconds)) * 3 / 4;
        let mut pings = Self {
            interval,
            due: Instant::now(),
            pong_by: None,
        };
        pings.sent(Instant::now());
        pings
    }

    fn sent(&mut self, now: Instant) {
        self.due = now
            + if self.interval.is_zero() {
                FAR_AWAY
            } else {
                self.interval
            };
    }

    fn asked(&mut self, now: Instant) {
        self.sent(now);
        self.pong_by.get_or_insert(now + self.interval);
    }

    fn forgive(&mut self, now: Instant) {
        if let Some(by) = &mut self.pong_by {
            *by = now + self.interval;
        }
    }

    fn next(&self) -> Instant {
        self.pong_by.map_or(self.due, |by| by.min(self.due))
    }
}

fn give(reply: Reply, answer: Result<Answer, RequestError>) {
    // Who asked may have stopped waiting.
    reply.send(answer).map_or_else(drop, drop);
}

#[cfg(test)]
mod tests;

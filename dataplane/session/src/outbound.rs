//! Outbound: messages to one client, under the outbox lock, driven by the tasks of publishers.
//!
//! A delivery takes one of three ways:
//! - QoS 0 is written, or dropped if the buffer is full.
//! - QoS 1 and 2 within the client's window are written under the next packet identifier.
//! - QoS 1 and 2 beyond it wait in a bounded queue; an acknowledgement writes them. When the queue
//!   is full the caller waits ([`Delivery::WouldOverflow`]): that is the back-pressure on
//!   publishers.
//!
//! A transient session numbers its deliveries itself and its messages live nowhere else. A
//! persistent session's are numbered by its inbox, which keeps them until
//! [`Outbound::acknowledged_below`] passes them.

mod acknowledge;
mod alias;
mod loan;
mod queue;
mod window;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tessera_mqtt::{
    Message, ProtocolVersion, PublishHeader, Qos, ReasonCode, SubscriptionId, TopicAliasUse,
    encode_publish, encoded_publish_len,
};

use alias::{Aliases, Choice};
use loan::Loans;
use queue::{Queue, Queued};
use window::{Admission, Window};

pub use acknowledge::AckOutcome;
pub use loan::{Loan, LoanTerms};
pub use queue::QUEUED_MESSAGE_BYTES;
pub use window::{SPAN_MAX, Sequence};

/// The largest packet that can be: a client that takes it takes any.
const PACKET_BYTES_MAX: u32 = 268_435_460;

/// Who numbers the QoS 1 and 2 deliveries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Numbering {
    /// This machine: a transient session. PUBREC is answered with PUBREL at once.
    Own,
    /// The session's inbox: [`Grant::sequence`] is always set, and PUBREL waits for
    /// [`Outbound::release`].
    Inbox,
}

/// What bounds one client's outbox besides what the client said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboundBounds {
    /// Unacknowledged QoS 1 and 2 messages, whatever more the client allows. Version 3 clients can
    /// say nothing.
    pub window_max: u16,
    /// Messages that wait for the window.
    pub queue_messages_max: usize,
    /// Bytes of those messages, each charged [`QUEUED_MESSAGE_BYTES`] more.
    pub queue_bytes_max: usize,
    /// Bytes in the caller's buffer from which on nothing more is written; one packet may overrun
    /// it.
    pub buffer_bytes_max: usize,
}

impl Default for OutboundBounds {
    fn default() -> Self {
        Self {
            window_max: 100,
            queue_messages_max: 1_000,
            queue_bytes_max: 1024 * 1024,
            buffer_bytes_max: 256 * 1024,
        }
    }
}

/// What Outbound is made of; [`Inbound::outbound_config`](crate::Inbound::outbound_config) fills it
/// in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutboundConfig {
    /// What the client speaks.
    pub version: ProtocolVersion,
    /// Who numbers.
    pub numbering: Numbering,
    /// The client's Receive Maximum, 1 to 65,535.
    pub receive_maximum: u16,
    /// The client's Maximum Packet Size in bytes.
    pub packet_bytes_max: u32,
    /// The client's Topic Alias Maximum.
    pub topic_alias_maximum: u16,
    /// The server's own bounds.
    pub bounds: OutboundBounds,
}

/// How one message goes to this client.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    /// The lesser of published and granted ([`delivered_qos`](crate::delivered_qos)).
    pub qos: Qos,
    /// RETAIN as it leaves ([`delivered_retain`](crate::delivered_retain)).
    pub retain: bool,
    /// This copy may have been sent before, on another connection (MQTT-3.3.1-1). Only with a
    /// sequence.
    pub dup: bool,
    /// The inbox's number; `None` for QoS 0 and under [`Numbering::Own`].
    pub sequence: Option<Sequence>,
    /// Of all matching subscriptions that have one.
    pub subscription_ids: &'a [SubscriptionId],
    /// Seconds that the message still has to live, now.
    pub expiry_seconds: Option<u32>,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// It is in the buffer.
    Written,
    /// It waits for the window or the buffer; an acknowledgement or [`Outbound::flush`] writes it.
    Queued,
    /// Larger than the client takes: counts as done (MQTT-3.1.2-25).
    DroppedTooLarge,
    /// QoS 0 and a full buffer.
    DroppedFull,
    /// QoS 1 or 2 and no room to wait: try again after an acknowledgement. Nothing was taken.
    WouldOverflow,
    /// This sequence was written, released or passed over before: nothing to do.
    Known,
    /// The connection has ended: nothing is written any more.
    Closed,
}

/// The messages to one client.
#[derive(Debug)]
pub struct Outbound {
    version: ProtocolVersion,
    numbering: Numbering,
    packet_bytes_max: u32,
    buffer_bytes_max: usize,
    window: Window,
    aliases: Aliases,
    queue: Queue,
    loans: Loans,
    dropped_while_queued: u64,
    closed: bool,
}

impl Outbound {
    /// A connection whose CONNACK has been written.
    pub fn new(config: OutboundConfig) -> Self {
        let bounds = config.bounds;
        Self {
            version: config.version,
            numbering: config.numbering,
            packet_bytes_max: config.packet_bytes_max,
            buffer_bytes_max: bounds.buffer_bytes_max,
            window: Window::new(config.receive_maximum.min(bounds.window_max).max(1)),
            aliases: Aliases::new(config.topic_alias_maximum),
            queue: Queue::new(bounds.queue_messages_max, bounds.queue_bytes_max),
            loans: Loans::default(),
            dropped_while_queued: 0,
            closed: false,
        }
    }

    /// Take up a persistent session, before anything is delivered. `cursor` is its first
    /// unacknowledged sequence; `released` are the later ones whose PUBREC was committed: each owes
    /// a PUBREL, which is written here (MQTT-4.4.0-1). The unacknowledged messages themselves come
    /// again by [`Self::deliver`], in order. A released sequence outside the [`SPAN_MAX`] from the
    /// cursor cannot be, and is left out.
    pub fn resume(&mut self, cursor: Sequence, released: &[Sequence], out: &mut BytesMut) {
        let span = cursor..Sequence(cursor.0.saturating_add(SPAN_MAX));
        let mut owed: Vec<Sequence> = released.to_vec();
        owed.retain(|sequence| span.contains(sequence));
        owed.sort_unstable();
        owed.dedup();
        self.window.resume(cursor, &owed);
        for sequence in owed {
            self.write_pubrel(sequence.packet_id(), ReasonCode::Success, out);
        }
    }

    /// Send a message. `now` counts from any fixed origin of the caller.
    ///
    /// Under [`Numbering::Inbox`] sequences come in ascending order: one passes over every lower
    /// one that was not given yet, as dropped by the inbox. So after [`Delivery::WouldOverflow`]
    /// give nothing higher before that one.
    pub fn deliver(
        &mut self,
        message: &Message,
        grant: &Grant<'_>,
        now: Duration,
        out: &mut BytesMut,
    ) -> Delivery {
        if self.closed {
            return Delivery::Closed;
        }
        match grant.qos {
            Qos::AtMostOnce if self.is_full(out) => Delivery::DroppedFull,
            Qos::AtMostOnce => self.write_publish(message, grant, None, out),
            Qos::AtLeastOnce | Qos::ExactlyOnce => self.deliver_numbered(message, grant, now, out),
        }
    }

    /// [`deliver`](Self::deliver) a message of a shared subscription to a session that ends with its
    /// connection: until the client acknowledges it, [`take_loans`](Self::take_loans) returns it.
    pub fn lend(
        &mut self,
        message: &Message,
        grant: &Grant<'_>,
        terms: &Arc<LoanTerms>,
        now: Duration,
        out: &mut BytesMut,
    ) -> Delivery {
        let sequence = self.window.next();
        let delivery = self.deliver(message, grant, now, out);
        match delivery {
            Delivery::Written => self.note_lent(sequence, grant.qos, terms, message),
            Delivery::Queued => self.queue.lend_last(terms),
            Delivery::DroppedTooLarge
            | Delivery::DroppedFull
            | Delivery::WouldOverflow
            | Delivery::Known
            | Delivery::Closed => {}
        }
        delivery
    }

    /// The client is gone, and its session with it: what it was lent and did not acknowledge. Those
    /// that were sent come before those that waited; of QoS 2 only what was not sent.
    pub fn take_loans(&mut self) -> Vec<Loan> {
        let mut loans = self.loans.take_open(&self.window);
        loans.extend(self.queue.loans());
        self.queue.clear();
        loans
    }

    /// The inbox's message of that sequence will never be delivered (expired, dropped by policy, no
    /// longer allowed): it counts as acknowledged. The order of calls does not matter, others are
    /// not touched. False: nothing was done, for the connection has ended or the sequence is
    /// [`SPAN_MAX`] ahead; a later delivery passes it over.
    pub fn skip(&mut self, sequence: Sequence) -> bool {
        !self.closed && self.window.skip(sequence)
    }

    /// Write what waits, as far as window and buffer allow; call it when the buffer was drained.
    /// How many messages were written.
    pub fn flush(&mut self, now: Duration, out: &mut BytesMut) -> usize {
        let mut written = 0;
        while !self.closed && !self.is_full(out) {
            let front = self.queue.front().map(|queued| queued.sequence);
            let Some(sequence) = front.map(|given| self.sequence(given)) else {
                break;
            };
            let admission = self.window.admit(sequence);
            if admission == Admission::Closed {
                break;
            }
            let Some(queued) = self.queue.pop() else {
                break;
            };
            if admission == Admission::Open && self.write_queued(&queued, sequence, now, out) {
                written += 1;
            } else {
                self.dropped_while_queued += 1;
            }
        }
        written
    }

    /// How many QoS 1 and 2 messages can be delivered now without waiting.
    pub fn window_room(&self) -> usize {
        self.window.room().saturating_sub(self.queue.len())
    }

    /// The first delivery that is not acknowledged: all before it are.
    pub fn acknowledged_below(&self) -> Sequence {
        self.window.acknowledged_below()
    }

    /// Messages that wait.
    pub fn queued_messages(&self) -> usize {
        self.queue.len()
    }

    /// Bytes that wait, as charged.
    pub const fn queued_bytes(&self) -> usize {
        self.queue.bytes()
    }

    /// Messages that expired, were skipped or proved too large while they waited, since the last
    /// call.
    pub const fn take_dropped_while_queued(&mut self) -> u64 {
        std::mem::replace(&mut self.dropped_while_queued, 0)
    }

    /// The connection has ended or its DISCONNECT is written: drop what waits, write nothing more.
    pub fn close(&mut self) {
        self.closed = true;
        self.queue.clear();
    }

    fn deliver_numbered(
        &mut self,
        message: &Message,
        grant: &Grant<'_>,
        now: Duration,
        out: &mut BytesMut,
    ) -> Delivery {
        let sequence = self.sequence(grant.sequence);
        let admission = self.window.admit(sequence);
        if admission == Admission::Known || self.is_queued(grant.sequence) {
            return Delivery::Known;
        }
        let waits = admission == Admission::Closed || !self.queue.is_empty() || self.is_full(out);
        if waits {
            return self.enqueue(message, grant, now);
        }
        self.write_publish(message, grant, Some(sequence), out)
    }

    fn enqueue(&mut self, message: &Message, grant: &Grant<'_>, now: Duration) -> Delivery {
        if !self.queue.has_room(message) {
            return Delivery::WouldOverflow;
        }
        self.queue.push(Queued {
            message: message.clone(),
            qos: grant.qos,
            retain: grant.retain,
            dup: grant.dup,
            sequence: grant.sequence,
            subscription_ids: grant.subscription_ids.into(),
            expiry_seconds: grant.expiry_seconds,
            since: now,
            loan: None,
        });
        Delivery::Queued
    }

    /// Whether it was written; otherwise it was dropped.
    fn write_queued(
        &mut self,
        queued: &Queued,
        sequence: Sequence,
        now: Duration,
        out: &mut BytesMut,
    ) -> bool {
        match queued.grant(now) {
            Some(grant) => {
                let delivery = self.write_publish(&queued.message, &grant, Some(sequence), out);
                let is_written = delivery == Delivery::Written;
                if is_written && let Some(terms) = &queued.loan {
                    self.note_lent(sequence, queued.qos, terms, &queued.message);
                }
                is_written
            }
            None => {
                self.pass_over(sequence);
                false
            }
        }
    }

    fn note_lent(
        &mut self,
        sequence: Sequence,
        qos: Qos,
        terms: &Arc<LoanTerms>,
        message: &Message,
    ) {
        let loan = Loan {
            terms: Arc::clone(terms),
            message: message.clone(),
        };
        self.loans.written(sequence, qos, loan, &self.window);
    }

    /// Encode one PUBLISH. Alias and sequence are taken only if it fits the client.
    fn write_publish(
        &mut self,
        message: &Message,
        grant: &Grant<'_>,
        sequence: Option<Sequence>,
        out: &mut BytesMut,
    ) -> Delivery {
        let choice = self.aliases.choose(&message.topic);
        let header = PublishHeader {
            qos: grant.qos,
            retain: grant.retain,
            dup: grant.dup && sequence.is_some(),
            packet_id: sequence.map(Sequence::packet_id),
            topic_alias: alias_use(choice),
            subscription_ids: grant.subscription_ids,
            expiry_seconds: grant.expiry_seconds,
        };
        if !self.fits(message, &header)
            || encode_publish(out, self.version, message, &header).is_err()
        {
            if let Some(sequence) = sequence {
                self.pass_over(sequence);
            }
            return Delivery::DroppedTooLarge;
        }
        if let Choice::Define(alias) = choice {
            self.aliases.define(alias, &message.topic);
        }
        if let Some(sequence) = sequence {
            self.window.written(sequence, grant.qos);
        }
        Delivery::Written
    }

    /// The delivery is not made. One that this machine numbers gives its number to the next.
    fn pass_over(&mut self, sequence: Sequence) {
        match self.numbering {
            Numbering::Inbox => self.window.pass_over(sequence),
            Numbering::Own => {}
        }
    }

    fn sequence(&self, given: Option<Sequence>) -> Sequence {
        given.unwrap_or_else(|| self.window.next())
    }

    /// Sequences are delivered in order, so that one up to the last queued is queued.
    fn is_queued(&self, sequence: Option<Sequence>) -> bool {
        sequence.is_some() && sequence <= self.queue.last_sequence()
    }

    /// Whether the client takes a packet of that size (MQTT-3.1.2-24).
    fn fits(&self, message: &Message, header: &PublishHeader<'_>) -> bool {
        if self.packet_bytes_max >= PACKET_BYTES_MAX {
            return true;
        }
        let len = encoded_publish_len(self.version, message, header);
        len.is_ok_and(|len| u32::try_from(len).is_ok_and(|len| len <= self.packet_bytes_max))
    }

    fn is_full(&self, out: &BytesMut) -> bool {
        out.len() >= self.buffer_bytes_max
    }
}

const fn alias_use(choice: Choice) -> Option<TopicAliasUse> {
    match choice {
        Choice::Plain => None,
        Choice::Known(alias) => Some(TopicAliasUse {
            alias,
            with_topic: false,
        }),
        Choice::Define(alias) => Some(TopicAliasUse {
            alias,
            with_topic: true,
        }),
    }
}

//! The server side of one MQTT connection, 3.1, 3.1.1 and 5, as two pure machines.
//!
//! # Contents
//! - [`inbound`]: [`Inbound`], owned by the connection's task. Packets in, [`Event`]s out; its
//!   answers (CONNACK, PUBACK, PUBREC, PUBCOMP, SUBACK, UNSUBACK, PINGRESP, AUTH, DISCONNECT) are
//!   written into the caller's buffer. The drawing of its states is there.
//! - [`outbound`]: [`Outbound`], under the outbox lock, driven by the tasks of publishers. PUBLISH
//!   and PUBREL to the client: packet identifiers, window, aliases, size limits, bounded queue.
//! - [`limits`]: what the server grants one connection.
//! - [`refusal`]: why and how a connection ends: [`Violation`], [`Refusal`], and their words in
//!   each version.
//! - [`auth`]: enhanced authentication, a method as a plug.
//! - [`subscription`]: what a subscription makes of a message (QoS, RETAIN, retained on subscribe).
//!
//! Start reading at [`Inbound::handle_packet`] and [`Outbound::deliver`].
//!
//! # How a shell drives them
//! 1. Decode a packet, call [`Inbound::handle_packet`]; on `Err(violation)` call
//!    [`Inbound::close`], flush, close.
//! 2. [`Event::Connect`]: authenticate, [`Inbound::set_limits`] to the tenant's, attach the
//!    session, [`Inbound::accept`] (or [`Inbound::close`]), then build [`Outbound`] from
//!    [`Inbound::outbound_config`] and, for a persistent session, call [`Outbound::resume`].
//! 3. [`Event::Publish`]: route; when all that must be durable is, [`Inbound::complete_publish`]
//!    with its ticket, in any order; then [`Inbound::write_acknowledgements`].
//! 4. [`Event::Acknowledged`]: take the outbox lock, [`Outbound::handle_ack`].
//! 5. Flush what was written into the buffers, once per burst; then [`Outbound::flush`], if the
//!    buffer was full.
//! 6. Handle no packet while [`Inbound::wants_packets`] is false.
//!
//! # Invariants
//! - No I/O, no clock, no randomness: time and random bytes are arguments.
//! - Every queue, ring and table has a named bound.
//! - Nothing that leaves is larger than the client's Maximum Packet Size: words are shed, and what is
//!   too large all the same is dropped and counts as done (MQTT-3.1.2-24, -25).
//! - After [`Inbound::close`] nothing is written (MQTT-3.14.4-1).
//!
//! # Decisions
//! - **Written, not returned.** Both machines write into the caller's `BytesMut` rather than
//!   returning packets: an answer then cannot leave without its size and problem-information
//!   checks.
//! - **A refusal on v3 closes.** A PUBLISH that was not taken is never acknowledged, so its version
//!   3 connection ends (MQTT 3.1.1, 3.3.5-2 leaves the choice); so does a subscription refused on
//!   3.1, whose SUBACK has no failure code.
//! - **An unknown PUBACK or PUBCOMP is ignored**: after a resumption it is a late answer, not a
//!   lie. An acknowledgement of the wrong kind for its message is a protocol error.
//! - **A QoS 2 identifier that is sent again before its PUBREC left** gets no second PUBREC: the
//!   one that leaves follows both.
//! - **An alias is recorded when the packet that defines it is in the buffer**, so that no dropped
//!   packet leaves the client without it.
//! - **A skipped sequence touches no other**; a delivered one passes over every lower one that was
//!   not given, because the inbox gives them in order.
//! - **QoS 0 may overtake QoS 1 and 2** while the client's window is closed: order is promised per
//!   topic and QoS (MQTT-4.6.0-5).

pub mod auth;
pub mod inbound;
pub mod limits;
pub mod outbound;
pub mod refusal;
pub mod subscription;

mod wire;

pub use auth::{AuthExchange, AuthMethod, AuthMethods, AuthStep, Identity};
pub use inbound::{
    Accepted, AckKind, ClientAck, ClientDisconnect, ConnectRequest, Event, Inbound, InboundPublish,
    RequestToken, SubscribeEntry, SubscribeOutcome, SubscribeRequest, Ticket, Timeout,
    UnsubscribeRequest, assign_client_id,
};
pub use limits::ServerLimits;
pub use outbound::{
    AckOutcome, Delivery, Grant, Loan, LoanTerms, Numbering, Outbound, OutboundBounds,
    OutboundConfig, Sequence,
};
pub use refusal::{Detail, Refusal, Violation};
pub use subscription::{delivered_qos, delivered_retain, sends_retained};

//! What Inbound tells its shell.

use std::time::Duration;

use tessera_mqtt::{
    ClientId, Connect, FilterSpec, Message, MqttString, PacketId, Qos, ReasonCode, SubscriptionId,
    SubscriptionOptions,
};

use crate::auth::Identity;
use crate::refusal::Detail;

/// What a packet means for the shell. What Inbound can answer alone it has answered already.
#[derive(Debug)]
pub enum Event {
    /// A client asks for a session: [`Inbound::accept`](crate::Inbound::accept) it or
    /// [`Inbound::close`](crate::Inbound::close). Nothing else is handled until then.
    Connect(Box<ConnectRequest>),
    /// A message to route.
    Publish(InboundPublish),
    /// A message that Inbound refused by itself and answers in its turn (or drops, QoS 0): to be
    /// counted.
    Refused(ReasonCode),
    /// PUBREL of a received QoS 2 message: make the removal of the identifier durable, then call
    /// [`Inbound::complete_release`](crate::Inbound::complete_release).
    Release(PacketId),
    /// For [`Outbound::handle_ack`](crate::Outbound::handle_ack).
    Acknowledged(ClientAck),
    /// Answer with [`Inbound::write_suback`](crate::Inbound::write_suback).
    Subscribe(SubscribeRequest),
    /// Answer with [`Inbound::write_unsuback`](crate::Inbound::write_unsuback).
    Unsubscribe(UnsubscribeRequest),
    /// The client leaves. Nothing may be written any more; close.
    Disconnect(ClientDisconnect),
    /// The client proved itself anew under the same identity.
    Reauthenticated,
    /// Nothing to do but to flush what was written.
    Nothing,
}

/// A CONNECT that passed every check of the protocol.
#[derive(Debug)]
pub struct ConnectRequest {
    /// The packet, as decoded: user name, password, will, properties.
    pub connect: Box<Connect>,
    /// The identifier that the client gave. `None`: [`assign_client_id`](crate::assign_client_id)
    /// one, and put it into [`Accepted::assigned_client_id`].
    pub client_id: Option<ClientId>,
    /// Throw the old session away.
    pub clean_start: bool,
    /// Who the client is, if an authentication method has proved it.
    pub identity: Option<Identity>,
}

/// What the shell decided about a CONNECT.
#[derive(Debug, Clone, Default)]
pub struct Accepted {
    /// The session existed. Must be false after clean start.
    pub session_present: bool,
    /// Set if, and only if, the client gave no identifier.
    pub assigned_client_id: Option<ClientId>,
    /// Session expiry, if the shell grants less than
    /// [`Inbound::session_expiry_seconds`](crate::Inbound::session_expiry_seconds).
    pub session_expiry_seconds: Option<u32>,
    /// QoS 2 identifiers that the session has received and that wait for their PUBREL.
    pub unreleased: Vec<PacketId>,
    /// Response Information, sent only if the client asked for it.
    pub response_information: Option<String>,
    /// Words that go along.
    pub detail: Detail,
}

/// A message that the client published.
#[derive(Debug)]
pub struct InboundPublish {
    /// With its alias resolved.
    pub message: Message,
    /// What [`Inbound::complete_publish`](crate::Inbound::complete_publish) wants; `None` for QoS
    /// 0.
    pub ticket: Option<Ticket>,
    /// The client's packet identifier; `None` for QoS 0. A QoS 2 message is given out once only,
    /// however often it is sent before its PUBREL.
    pub packet_id: Option<PacketId>,
}

/// The place of one PUBLISH in the order of acknowledgements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(crate) u64);

/// An acknowledgement of something that the server sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientAck {
    /// Which packet it was.
    pub kind: AckKind,
    /// Of which PUBLISH.
    pub packet_id: PacketId,
    /// 0x80 and above refuse the message; it counts as acknowledged (MQTT-4.4.0-2).
    pub reason: ReasonCode,
}

/// The acknowledgements that a receiver of messages sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckKind {
    /// Ends QoS 1.
    PubAck,
    /// First half of QoS 2.
    PubRec,
    /// Ends QoS 2.
    PubComp,
}

/// What the answer to a SUBSCRIBE or UNSUBSCRIBE needs: its packet identifier and how many codes it
/// takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestToken {
    pub(super) packet_id: PacketId,
    /// Entries that the shell sees.
    pub(super) entries: usize,
    /// Filters after those, past the decoder's bound: all are refused.
    pub(super) excess: usize,
}

/// A SUBSCRIBE whose form is in order.
#[derive(Debug)]
pub struct SubscribeRequest {
    /// For [`Inbound::write_suback`](crate::Inbound::write_suback).
    pub token: RequestToken,
    /// Of all its filters.
    pub subscription_id: Option<SubscriptionId>,
    /// At least one, in the client's order.
    pub entries: Vec<SubscribeEntry>,
}

/// One filter of a SUBSCRIBE.
#[derive(Debug)]
pub struct SubscribeEntry {
    /// As the client wrote it.
    pub text: MqttString,
    /// The filter, or why this one is refused whatever the shell says: pass the code on.
    pub target: Result<FilterSpec, ReasonCode>,
    /// As asked, the QoS lowered to the server's maximum.
    pub options: SubscriptionOptions,
}

/// What came of one filter: the granted QoS or the refusal.
pub type SubscribeOutcome = Result<Qos, ReasonCode>;

/// An UNSUBSCRIBE whose form is in order.
#[derive(Debug)]
pub struct UnsubscribeRequest {
    /// For [`Inbound::write_unsuback`](crate::Inbound::write_unsuback).
    pub token: RequestToken,
    /// At least one, in the client's order; `Err` is the code to answer for an ill-formed one.
    pub entries: Vec<Result<FilterSpec, ReasonCode>>,
}

/// How the client left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClientDisconnect {
    /// 0x00 drops the will, every other publishes it.
    pub reason: ReasonCode,
    /// A new session expiry, clamped; `None`: unchanged.
    pub session_expiry_seconds: Option<u32>,
}

/// What the connection is waiting for, and for how long it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Timeout {
    /// An accepted CONNECT is due so long after the connection was opened, whatever drips in
    /// meanwhile.
    Connect {
        /// Counted from the opening.
        since_open: Duration,
    },
    /// A packet is due so long after the last one (MQTT-3.1.2-22).
    Silence {
        /// 1.5 times the keep alive, counted from the last whole packet.
        since_packet: Duration,
    },
}

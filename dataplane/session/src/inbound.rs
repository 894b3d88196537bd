//! Inbound: what a client sends, and every answer that is not a message.
//!
//! One file per matter: `connect` and `close`, `authenticate`, `publish` (QoS 0 to 2, with `order`,
//! `receipt` and `alias`), `subscribe`, `disconnect`. What they tell the shell stands in `event`.

mod alias;
mod authenticate;
mod close;
mod connect;
mod disconnect;
mod event;
mod order;
mod publish;
mod receipt;
mod subscribe;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tessera_mqtt::{Packet, ProtocolVersion, ReasonCode, Will};

use crate::auth::AuthMethods;
use crate::limits::ServerLimits;
use crate::outbound::{Numbering, OutboundBounds, OutboundConfig};
use crate::refusal::Violation;
use crate::wire;
use alias::Aliases;
use authenticate::Auth;
use connect::Client;
use order::Order;
use receipt::Receipts;

pub use connect::assign_client_id;
pub use event::{
    Accepted, AckKind, ClientAck, ClientDisconnect, ConnectRequest, Event, InboundPublish,
    RequestToken, SubscribeEntry, SubscribeOutcome, SubscribeRequest, Ticket, Timeout,
    UnsubscribeRequest,
};

/// Where a connection stands.
///
/// ```text
///               CONNECT without a method                  accept
///   Opening ──────────────────────────────▶ Deciding ──────────────▶ Online ──┐ AUTH 0x19, 0x18:
///      │                                     ▲   │                     │  ◀────┘ proving anew
///      │ CONNECT with a method               │   │                     │
///      └──────────▶ Proving ──── proved ─────┘   │ close (CONNACK)     │ close (DISCONNECT 5)
///                   │  ▲ │                       │                     │ DISCONNECT of the client
///                   └──┘ │                       ▼                     ▼
///              AUTH 0x18 └───────────────────▶ Closed ◀────────────────┘
/// ```
///
/// Complication: a violation changes no state by itself; the shell answers it with
/// [`Inbound::close`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// CONNECT is due.
    Opening,
    /// CONNECT named an authentication method; its exchange goes on.
    Proving,
    /// The shell was handed the CONNECT and decides.
    Deciding,
    /// CONNACK 0x00 is written.
    Online,
    /// Nothing is handled or written any more.
    Closed,
}

/// What one client sends, for the whole life of its connection.
#[derive(Debug)]
pub struct Inbound {
    limits: Arc<ServerLimits>,
    methods: Arc<AuthMethods>,
    state: State,
    client: Client,
    auth: Option<Box<Auth>>,
    will: Option<Box<Will>>,
    aliases: Aliases,
    order: Order,
    receipts: Receipts,
    /// Messages that take a place of the receive maximum.
    in_flight: usize,
}

impl Inbound {
    /// A connection that was just opened. The limits are the listener's; once the tenant is known
    /// [`Self::set_limits`] replaces them.
    pub fn new(limits: Arc<ServerLimits>, methods: Arc<AuthMethods>) -> Self {
        Self {
            limits,
            methods,
            state: State::Opening,
            client: Client::default(),
            auth: None,
            will: None,
            aliases: Aliases::default(),
            order: Order::default(),
            receipts: Receipts::default(),
            in_flight: 0,
        }
    }

    /// Handle the client's next packet. What needs no shell is answered into `out`.
    ///
    /// # Errors
    /// The connection must end: hand the violation to [`Self::close`].
    pub fn handle_packet(
        &mut self,
        packet: Packet,
        out: &mut BytesMut,
    ) -> Result<Event, Violation> {
        match self.state {
            State::Online => self.handle_online(packet, out),
            State::Opening => self.handle_first(packet, out),
            State::Proving => self.handle_proving(packet, out),
            State::Deciding => Err(Violation::protocol("a packet before CONNACK")),
            State::Closed => Ok(Event::Nothing),
        }
    }

    /// Whether the next packet may be handled now. False while a CONNECT is being decided; while a
    /// version 3 client has as many unanswered messages as the server takes, having no receive
    /// maximum to hold it to (stop reading); and when all is over.
    pub fn wants_packets(&self) -> bool {
        match self.state {
            State::Opening | State::Proving => true,
            State::Deciding | State::Closed => false,
            State::Online => {
                self.client.version.is_v5()
                    || self.order.len() < usize::from(self.limits.receive_maximum)
            }
        }
    }

    /// What the connection waits for now, and how long it may. `None`: for ever, or it is over.
    pub fn poll_timeout(&self) -> Option<Timeout> {
        match self.state {
            State::Opening | State::Proving | State::Deciding => Some(Timeout::Connect {
                since_open: self.limits.connect_timeout,
            }),
            State::Online => self
                .keep_alive()
                .map(|since_packet| Timeout::Silence { since_packet }),
            State::Closed => None,
        }
    }

    /// What it came to wait for in vain.
    pub const fn handle_timeout(&self, timeout: Timeout) -> Violation {
        match timeout {
            Timeout::Connect { .. } => Violation::fixed(
                ReasonCode::ServerUnavailable,
                "no session within the connect timeout",
            ),
            Timeout::Silence { .. } => Violation::fixed(
                ReasonCode::KeepAliveTimeout,
                "nothing was heard for 1.5 times the keep alive",
            ),
        }
    }

    /// 1.5 times the keep alive that counts: the server's if CONNACK gave one, else the client's
    /// (MQTT-3.1.2-22, MQTT-3.2.2-22). `None`: the client may be silent for ever.
    pub fn keep_alive(&self) -> Option<Duration> {
        let seconds = self.granted_keep_alive_seconds();
        (seconds > 0).then(|| Duration::from_millis(u64::from(seconds) * 1_500))
    }

    /// What the client speaks; `None` before its CONNECT.
    pub const fn version(&self) -> Option<ProtocolVersion> {
        match self.state {
            State::Opening => None,
            State::Proving | State::Deciding | State::Online | State::Closed => {
                Some(self.client.version)
            }
        }
    }

    /// The will, as long as it is to be published when the connection ends.
    pub fn will(&self) -> Option<&Will> {
        self.will.as_deref()
    }

    /// Take the will, to publish it or to hand it on.
    pub const fn take_will(&mut self) -> Option<Box<Will>> {
        self.will.take()
    }

    /// What Outbound is made of for this client.
    pub const fn outbound_config(
        &self,
        numbering: Numbering,
        bounds: OutboundBounds,
    ) -> OutboundConfig {
        OutboundConfig {
            version: self.client.version,
            numbering,
            receive_maximum: self.client.receive_maximum,
            packet_bytes_max: self.client.packet_bytes_max,
            topic_alias_maximum: self.client.topic_alias_maximum,
            bounds,
        }
    }

    fn handle_online(&mut self, packet: Packet, out: &mut BytesMut) -> Result<Event, Violation> {
        match packet {
            Packet::Publish(publish) => self.handle_publish(publish),
            Packet::PubAck(ack) => Ok(acknowledged(AckKind::PubAck, &ack)),
            Packet::PubRec(ack) => Ok(acknowledged(AckKind::PubRec, &ack)),
            Packet::PubComp(ack) => Ok(acknowledged(AckKind::PubComp, &ack)),
            Packet::PubRel(ack) => self.handle_pubrel(ack.packet_id, out),
            Packet::Subscribe(subscribe) => self.handle_subscribe(subscribe),
            Packet::Unsubscribe(unsubscribe) => Ok(self.handle_unsubscribe(unsubscribe)),
            Packet::PingReq => {
                self.write(&Packet::PingResp, out);
                Ok(Event::Nothing)
            }
            Packet::Disconnect(disconnect) => self.handle_disconnect(&disconnect),
            Packet::Auth(auth) => self.handle_auth(&auth, out),
            Packet::Connect(_) => Err(Violation::protocol("a second CONNECT")),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err(Violation::protocol("a packet that only a server sends"))
            }
        }
    }

    /// Write an answer, less the words that the client cannot take. Nothing follows the end
    /// (MQTT-3.14.4-1).
    fn write(&self, packet: &Packet, out: &mut BytesMut) {
        if self.state == State::Closed {
            return;
        }
        wire::write(
            packet,
            self.client.version,
            self.client.packet_bytes_max,
            out,
        );
    }
}

fn acknowledged(kind: AckKind, ack: &tessera_mqtt::Ack) -> Event {
    Event::Acknowledged(ClientAck {
        kind,
        packet_id: ack.packet_id,
        reason: ack.reason,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbound::Outbound;

    #[test]
    fn an_idle_connection_costs_little() {
        assert!(size_of::<Inbound>() <= 256, "{}", size_of::<Inbound>());
        assert!(size_of::<Outbound>() <= 256, "{}", size_of::<Outbound>());
        assert!(size_of::<Event>() <= 192, "{}", size_of::<Event>());
    }
}

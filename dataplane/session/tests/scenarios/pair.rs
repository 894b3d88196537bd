//! A client without a machine of its own and the server's two machines, joined by bytes.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tessera_mqtt::{
    Ack, ClientId, ConnAck, Connect, DecodeLimits, Decoder, Disconnect, Message, MqttString,
    Packet, PacketId, ProtocolVersion, Publish, PublishTopic, Qos, ReasonCode, TopicName,
    Unsubscribe, UnsubscribeFilter, encode,
};
use tessera_session::{
    Accepted, AckOutcome, AuthMethods, ClientAck, ConnectRequest, Delivery, Event, Grant, Inbound,
    InboundPublish, Numbering, Outbound, OutboundBounds, Refusal, Sequence, ServerLimits, Ticket,
    Violation,
};

pub(crate) const V3S: [ProtocolVersion; 2] = [ProtocolVersion::V31, ProtocolVersion::V311];
pub(crate) const ALL: [ProtocolVersion; 3] = [
    ProtocolVersion::V31,
    ProtocolVersion::V311,
    ProtocolVersion::V5,
];

/// One connection.
pub(crate) struct Pair {
    pub(crate) version: ProtocolVersion,
    pub(crate) inbound: Inbound,
    pub(crate) outbound: Option<Outbound>,
    pub(crate) numbering: Numbering,
    pub(crate) bounds: OutboundBounds,
    pub(crate) now: Duration,
    server: Decoder,
    client: Decoder,
    to_server: BytesMut,
    to_client: BytesMut,
}

impl Pair {
    pub(crate) fn new(version: ProtocolVersion) -> Self {
        Self::with_limits(version, ServerLimits::default())
    }

    pub(crate) fn with_limits(version: ProtocolVersion, limits: ServerLimits) -> Self {
        Self::with_methods(version, limits, AuthMethods::default())
    }

    pub(crate) fn with_methods(
        version: ProtocolVersion,
        limits: ServerLimits,
        methods: AuthMethods,
    ) -> Self {
        Self {
            version,
            inbound: Inbound::new(Arc::new(limits), Arc::new(methods)),
            outbound: None,
            numbering: Numbering::Own,
            bounds: OutboundBounds::default(),
            now: Duration::ZERO,
            server: Decoder::server(DecodeLimits::DEFAULT),
            client: Decoder::client(version, DecodeLimits::UNLIMITED),
            to_server: BytesMut::new(),
            to_client: BytesMut::new(),
        }
    }

    /// A connection whose default CONNECT was accepted.
    pub(crate) fn online(version: ProtocolVersion) -> Self {
        Self::online_with(version, ServerLimits::default(), |_| {})
    }

    pub(crate) fn online_with(
        version: ProtocolVersion,
        limits: ServerLimits,
        change: impl FnOnce(&mut Connect),
    ) -> Self {
        let mut pair = Self::with_limits(version, limits);
        let mut connect = connect(version);
        change(&mut connect);
        pair.connect(connect);
        pair.accept(Accepted::default());
        pair
    }

    /// What the server's decoder takes from here on.
    pub(crate) const fn decode_within(&mut self, limits: DecodeLimits) {
        *self.server.limits_mut() = limits;
    }

    /// Send CONNECT; it must reach the shell.
    pub(crate) fn connect(&mut self, connect: Connect) -> ConnectRequest {
        match self.send(Packet::Connect(Box::new(connect))) {
            Event::Connect(request) => *request,
            other => panic!("expected a CONNECT, got {other:?}"),
        }
    }

    /// Accept; the CONNACK that the client got.
    pub(crate) fn accept(&mut self, accepted: Accepted) -> ConnAck {
        self.inbound.accept(accepted, &mut self.to_client);
        let config = self.inbound.outbound_config(self.numbering, self.bounds);
        self.outbound = Some(Outbound::new(config));
        match self.receive_one() {
            Packet::ConnAck(connack) => *connack,
            other => panic!("expected CONNACK, got {other:?}"),
        }
    }

    /// Send a packet that must be in order.
    pub(crate) fn send(&mut self, packet: Packet) -> Event {
        match self.try_send(packet) {
            Ok(event) => event,
            Err(refusal) => panic!("refused: {refusal:?}"),
        }
    }

    /// Send a packet that must end the connection.
    pub(crate) fn send_bad(&mut self, packet: Packet) -> Refusal {
        match self.try_send(packet) {
            Ok(event) => panic!("expected a refusal, got {event:?}"),
            Err(refusal) => refusal,
        }
    }

    pub(crate) fn try_send(&mut self, packet: Packet) -> Result<Event, Refusal> {
        let mut events = self.send_bytes(&encoded(&packet, self.version))?;
        assert_eq!(events.len(), 1);
        Ok(events.remove(0))
    }

    /// Send bytes as a shell would handle them; an error was answered and has closed.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) -> Result<Vec<Event>, Refusal> {
        self.to_server.extend_from_slice(bytes);
        let mut events = Vec::new();
        loop {
            let packet = match self.server.decode(&mut self.to_server) {
                Ok(Some(packet)) => packet,
                Ok(None) => return Ok(events),
                Err(error) => return Err(self.close(Refusal::from(&error))),
            };
            match self.inbound.handle_packet(packet, &mut self.to_client) {
                Ok(event) => events.push(event),
                Err(violation) => return Err(self.close(Refusal::from(&violation))),
            }
        }
    }

    pub(crate) fn close(&mut self, refusal: Refusal) -> Refusal {
        self.inbound.close(&refusal, &mut self.to_client);
        if let Some(outbound) = &mut self.outbound {
            outbound.close();
        }
        refusal
    }

    pub(crate) fn violate(&mut self, violation: &Violation) {
        self.close(Refusal::from(violation));
    }

    /// Every packet that the server wrote since the last call.
    pub(crate) fn receive(&mut self) -> Vec<Packet> {
        let mut packets = Vec::new();
        while let Some(packet) = self.client.decode(&mut self.to_client).unwrap() {
            packets.push(packet);
        }
        assert!(self.to_client.is_empty(), "half a packet");
        packets
    }

    pub(crate) fn receive_one(&mut self) -> Packet {
        let mut packets = self.receive();
        assert_eq!(packets.len(), 1, "{packets:?}");
        packets.remove(0)
    }

    pub(crate) fn receive_nothing(&mut self) {
        let packets = self.receive();
        assert!(packets.is_empty(), "{packets:?}");
    }

    /// The bytes that the server wrote since the last call, as they are.
    pub(crate) fn receive_bytes(&mut self) -> Vec<u8> {
        self.to_client.split().to_vec()
    }

    /// The server's DISCONNECT, which is the last that it says.
    pub(crate) fn receive_disconnect(&mut self) -> Disconnect {
        match self.receive_one() {
            Packet::Disconnect(disconnect) => disconnect,
            other => panic!("expected DISCONNECT, got {other:?}"),
        }
    }

    pub(crate) fn receive_connack(&mut self) -> ConnAck {
        match self.receive_one() {
            Packet::ConnAck(connack) => *connack,
            other => panic!("expected CONNACK, got {other:?}"),
        }
    }

    pub(crate) fn receive_publish(&mut self) -> Publish {
        match self.receive_one() {
            Packet::Publish(publish) => publish,
            other => panic!("expected PUBLISH, got {other:?}"),
        }
    }

    /// The client publishes a message that must reach the shell.
    pub(crate) fn publish(&mut self, qos: u8, number: u16) -> InboundPublish {
        match self.send(publish("t", qos, number)) {
            Event::Publish(publish) => publish,
            other => panic!("expected a message, got {other:?}"),
        }
    }

    /// The client publishes and gets its message routed.
    pub(crate) fn publish_settled(&mut self, qos: u8, number: u16) {
        let ticket = self.publish(qos, number).ticket.unwrap();
        self.settle(ticket, ReasonCode::Success);
    }

    /// Settle a ticket and write what may leave.
    pub(crate) fn settle(&mut self, ticket: Ticket, reason: ReasonCode) {
        self.inbound.complete_publish(ticket, reason, None).unwrap();
        self.inbound.write_acknowledgements(&mut self.to_client);
    }

    pub(crate) fn write_acknowledgements(&mut self) {
        self.inbound.write_acknowledgements(&mut self.to_client);
    }

    pub(crate) fn complete_release(&mut self, number: u16) {
        self.inbound
            .complete_release(id(number), &mut self.to_client);
    }

    pub(crate) fn with_inbound<R>(
        &mut self,
        act: impl FnOnce(&mut Inbound, &mut BytesMut) -> R,
    ) -> R {
        act(&mut self.inbound, &mut self.to_client)
    }

    pub(crate) fn with_outbound<R>(
        &mut self,
        act: impl FnOnce(&mut Outbound, Duration, &mut BytesMut) -> R,
    ) -> R {
        let outbound = self.outbound.as_mut().expect("online");
        act(outbound, self.now, &mut self.to_client)
    }

    /// The server delivers a message.
    pub(crate) fn deliver(&mut self, message: &Message, grant: &Grant<'_>) -> Delivery {
        self.with_outbound(|outbound, now, out| outbound.deliver(message, grant, now, out))
    }

    /// The server delivers `payload` on topic `t`.
    pub(crate) fn deliver_text(&mut self, payload: &'static str, qos: Qos) -> Delivery {
        self.deliver(&message("t", payload), &grant(qos))
    }

    /// The client acknowledges what it got.
    pub(crate) fn acknowledge(&mut self, packet: Packet) -> AckOutcome {
        self.try_acknowledge(packet).unwrap()
    }

    pub(crate) fn try_acknowledge(&mut self, packet: Packet) -> Result<AckOutcome, Violation> {
        let ack: ClientAck = match self.send(packet) {
            Event::Acknowledged(ack) => ack,
            other => panic!("expected an acknowledgement, got {other:?}"),
        };
        self.with_outbound(|outbound, now, out| outbound.handle_ack(ack, now, out))
    }

    pub(crate) fn release(&mut self, sequence: Sequence) {
        self.with_outbound(|outbound, _, out| outbound.release(sequence, out));
    }
}

fn encoded(packet: &Packet, version: ProtocolVersion) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode(packet, version, &mut bytes).unwrap();
    bytes
}

/// A default CONNECT of client `c`.
pub(crate) fn connect(version: ProtocolVersion) -> Connect {
    Connect::new(version, Some(client_id("c")))
}

pub(crate) fn client_id(text: &str) -> ClientId {
    ClientId::try_from(text).unwrap()
}

pub(crate) fn string(text: &str) -> MqttString {
    MqttString::try_from(text).unwrap()
}

pub(crate) fn topic(name: &str) -> TopicName {
    TopicName::try_from(name).unwrap()
}

pub(crate) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

pub(crate) fn qos(number: u8) -> Qos {
    Qos::try_from(number).unwrap()
}

pub(crate) fn message(name: &str, payload: &str) -> Message {
    Message::new(topic(name), payload.as_bytes().to_vec())
}

pub(crate) fn grant(qos: Qos) -> Grant<'static> {
    Grant {
        qos,
        retain: false,
        dup: false,
        sequence: None,
        subscription_ids: &[],
        expiry_seconds: None,
    }
}

/// Of the inbox's message of that sequence.
pub(crate) fn numbered(qos: Qos, sequence: u64) -> Grant<'static> {
    Grant {
        sequence: Some(Sequence(sequence)),
        ..grant(qos)
    }
}

/// Everything below is acknowledged.
pub(crate) fn progress(below: u64) -> AckOutcome {
    AckOutcome::Progress {
        acknowledged_below: Sequence(below),
    }
}

/// A client's PUBLISH. The number is left out for QoS 0.
pub(crate) fn publish(name: &str, level: u8, number: u16) -> Packet {
    Packet::Publish(publish_of(name, level, number))
}

pub(crate) fn publish_of(name: &str, level: u8, number: u16) -> Publish {
    let mut message = message(name, "payload");
    message.qos = qos(level);
    Publish::new(message, (level > 0).then(|| id(number)))
}

pub(crate) fn aliased(alias: PublishTopic) -> Packet {
    let mut publish = publish_of("t", 0, 0);
    publish.topic = alias;
    Packet::Publish(publish)
}

pub(crate) fn puback(number: u16) -> Packet {
    Packet::PubAck(Ack::new(id(number)))
}

pub(crate) fn pubrec(number: u16) -> Packet {
    Packet::PubRec(Ack::new(id(number)))
}

pub(crate) fn pubrel(number: u16) -> Packet {
    Packet::PubRel(Ack::new(id(number)))
}

pub(crate) fn pubcomp(number: u16) -> Packet {
    Packet::PubComp(Ack::new(id(number)))
}

pub(crate) fn unsubscribe(number: u16, filters: &[&str]) -> Packet {
    let filters = filters
        .iter()
        .map(|filter| UnsubscribeFilter::new(string(filter)));
    Packet::Unsubscribe(Unsubscribe::new(id(number), filters.collect()))
}

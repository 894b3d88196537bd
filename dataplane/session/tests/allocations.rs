//! Allocations of a connection in steady state: from the bytes of one client to those of another.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails says where"
)]

use std::sync::Arc;
use std::time::Duration;

use allocation_counter::measure;
use bytes::BytesMut;
use tessera_mqtt::{
    ClientId, Connect, DecodeLimits, Decoder, ForwardedProperties, ForwardedProperty, Message,
    Packet, PacketId, ProtocolVersion, Publish, Qos, ReasonCode, TopicName, encode,
};
use tessera_session::{
    Accepted, AckKind, AuthMethods, ClientAck, Delivery, Event, Grant, Inbound, Numbering,
    Outbound, OutboundBounds, ServerLimits,
};

const ALL: [ProtocolVersion; 3] = [
    ProtocolVersion::V31,
    ProtocolVersion::V311,
    ProtocolVersion::V5,
];

/// Messages that are counted, after [`WARM_UP`] others.
const MESSAGES: u16 = 1_000;
/// Messages after which rings and buffers have the size that they keep.
const WARM_UP: u16 = 100;

/// A publisher's connection, and one that its messages go to.
struct Path {
    decoder: Decoder,
    inbound: Inbound,
    outbound: Outbound,
    answers: BytesMut,
    delivered: BytesMut,
    /// QoS 1 messages that the receiver got.
    received: u16,
}

impl Path {
    fn open(version: ProtocolVersion) -> Self {
        let limits = Arc::new(ServerLimits::default());
        let mut decoder = Decoder::server(DecodeLimits::DEFAULT);
        let mut inbound = Inbound::new(limits, Arc::new(AuthMethods::default()));
        let connect = Connect::new(version, ClientId::try_from("c").ok());
        let mut read = BytesMut::new();
        encode(&Packet::Connect(Box::new(connect)), version, &mut read).unwrap();
        let mut answers = BytesMut::with_capacity(64 * 1024);
        let packet = decoder.decode(&mut read).unwrap().unwrap();
        inbound.handle_packet(packet, &mut answers).unwrap();
        inbound.accept(Accepted::default(), &mut answers);
        let config = inbound.outbound_config(Numbering::Own, OutboundBounds::default());
        Self {
            decoder,
            inbound,
            outbound: Outbound::new(config),
            answers,
            delivered: BytesMut::with_capacity(256 * 1024),
            received: 0,
        }
    }

    /// Everything in the read buffer, to its end: each message is delivered and acknowledged.
    fn run(&mut self, read: &mut BytesMut, count: u16) {
        let mut handled = 0;
        while let Some(packet) = self.decoder.decode(read).unwrap() {
            match self.inbound.handle_packet(packet, &mut self.answers) {
                Ok(Event::Publish(publish)) => {
                    self.deliver(&publish.message);
                    if let Some(ticket) = publish.ticket {
                        self.inbound
                            .complete_publish(ticket, ReasonCode::Success, None)
                            .unwrap();
                        self.inbound.write_acknowledgements(&mut self.answers);
                    }
                }
                other => panic!("expected a message, got {other:?}"),
            }
            handled += 1;
        }
        assert_eq!(handled, count);
    }

    fn deliver(&mut self, message: &Message) {
        let grant = Grant {
            qos: message.qos,
            retain: false,
            dup: false,
            sequence: None,
            subscription_ids: &[],
            expiry_seconds: message.expiry_seconds,
        };
        self.delivered.clear();
        let now = Duration::from_secs(1);
        let delivery = self
            .outbound
            .deliver(message, &grant, now, &mut self.delivered);
        assert_eq!(delivery, Delivery::Written);
        if message.qos == Qos::AtLeastOnce {
            self.acknowledge();
        }
    }

    /// The receiver acknowledges: its identifiers count up from 1.
    fn acknowledge(&mut self) {
        self.received += 1;
        let ack = ClientAck {
            kind: AckKind::PubAck,
            packet_id: PacketId::new(self.received).unwrap(),
            reason: ReasonCode::Success,
        };
        let now = Duration::from_secs(1);
        self.outbound
            .handle_ack(ack, now, &mut self.delivered)
            .unwrap();
    }
}

/// Allocations of [`MESSAGES`] messages from one read buffer, in steady state.
fn allocations(version: ProtocolVersion, qos: Qos, properties: &ForwardedProperties) -> u64 {
    let mut path = Path::open(version);
    path.run(&mut read_buffer(version, qos, properties, WARM_UP), WARM_UP);
    path.answers.clear();
    let mut read = read_buffer(version, qos, properties, MESSAGES);
    measure(|| path.run(&mut read, MESSAGES)).count_total
}

/// Publishes that one read brought. The first split of a read buffer makes it shared, which
/// allocates once per read; it is done here.
fn read_buffer(
    version: ProtocolVersion,
    qos: Qos,
    properties: &ForwardedProperties,
    count: u16,
) -> BytesMut {
    let message = Message {
        topic: TopicName::try_from("sensors/room-1/temp/c").unwrap(),
        payload: vec![b'x'; 64].into(),
        qos,
        retain: false,
        expiry_seconds: None,
        properties: properties.clone(),
    };
    let mut read = BytesMut::from(&[0][..]);
    for number in 1..=count {
        let packet_id = (qos != Qos::AtMostOnce).then(|| PacketId::new(number).unwrap());
        let publish = Publish::new(message.clone(), packet_id);
        encode(&Packet::Publish(publish), version, &mut read).unwrap();
    }
    drop(read.split_to(1));
    read
}

fn user_properties() -> ForwardedProperties {
    ForwardedProperties::from_properties([
        ForwardedProperty::ContentType("text/plain"),
        ForwardedProperty::User("k", "v"),
    ])
    .unwrap()
}

#[test]
fn a_qos_0_message_passes_without_an_allocation() {
    for version in ALL {
        let count = allocations(version, Qos::AtMostOnce, &ForwardedProperties::EMPTY);
        assert_eq!(count, 0, "{version:?}");
    }
    let count = allocations(ProtocolVersion::V5, Qos::AtMostOnce, &user_properties());
    assert_eq!(count, 0, "with properties");
}

#[test]
fn a_qos_1_message_passes_and_is_acknowledged_without_an_allocation() {
    for version in ALL {
        let count = allocations(version, Qos::AtLeastOnce, &ForwardedProperties::EMPTY);
        assert_eq!(count, 0, "{version:?}");
    }
}

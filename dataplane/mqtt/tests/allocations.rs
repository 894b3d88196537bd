//! Allocations of decoding and encoding, counted over 1,000 packets from one read buffer.
//!
//! The counts are exact, so that a new allocation is noticed. The read buffer begins with the
//! CONNECT of the connection, as it does in life: what the buffer allocates once, when it is first
//! shared, is counted to that.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails says where"
)]

use std::hint::black_box;

use allocation_counter::measure;
use bytes::BytesMut;
use tessera_mqtt::{
    ClientId, Connect, DecodeLimits, Decoder, ForwardedProperties, ForwardedProperty, Message,
    MqttString, Packet, PacketId, Password, PayloadFormat, ProtocolVersion, Publish, PublishHeader,
    Qos, Subscribe, SubscribeFilter, SubscriptionOptions, TopicName, Will, encode, encode_publish,
};

use ProtocolVersion::V5;

const PACKETS: u64 = 1_000;

#[test]
fn decoding_and_walking_a_thousand_publishes_allocates_nothing() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        for properties in [ForwardedProperties::EMPTY, four_properties()] {
            assert_eq!(
                decoding(&publish(qos, properties.clone())),
                0,
                "{qos:?} {properties:?}"
            );
        }
    }
}

#[test]
fn decoding_a_publish_whose_properties_have_gaps_allocates_nothing() {
    // Payload format, message expiry, content type: the second is taken out of between the others.
    let bytes = b"\x30\x0f\0\x01a\x0b\x01\x01\x02\0\0\0\x3c\x03\0\x01t";
    assert_eq!(decoding_bytes(bytes), 0);
}

#[test]
fn encoding_a_thousand_publishes_allocates_nothing() {
    for qos in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce] {
        for properties in [ForwardedProperties::EMPTY, four_properties()] {
            assert_eq!(
                encoding(&publish(qos, properties.clone())),
                0,
                "{qos:?} {properties:?}"
            );
        }
    }
}

#[test]
fn encoding_a_thousand_deliveries_of_one_message_allocates_nothing() {
    let message = message(Qos::AtLeastOnce, four_properties());
    let header = PublishHeader {
        qos: Qos::AtLeastOnce,
        packet_id: PacketId::new(7),
        expiry_seconds: Some(59),
        ..PublishHeader::default()
    };
    let mut out = BytesMut::with_capacity(1 << 20);
    let info = measure(|| {
        for _ in 0..PACKETS {
            encode_publish(&mut out, V5, &message, &header).unwrap();
        }
    });
    assert_eq!(info.count_total, 0);
}

#[test]
fn decoding_a_connect_allocates_its_packet_and_what_shares_the_buffer() {
    let mut bytes = BytesMut::new();
    encode(&connect(), V5, &mut bytes).unwrap();
    let info = measure(|| {
        let mut decoder = Decoder::server(DecodeLimits::DEFAULT);
        black_box(decoder.decode(&mut bytes).unwrap());
    });
    assert_eq!(info.count_total, 2);
}

#[test]
fn decoding_a_subscribe_of_ten_filters_allocates_one_list() {
    assert_eq!(decoding(&subscribe()), PACKETS);
}

#[test]
fn encoding_connect_and_subscribe_allocates_nothing() {
    assert_eq!(encoding(&connect()), 0);
    assert_eq!(encoding(&subscribe()), 0);
}

/// Allocations of decoding the packet a thousand times.
fn decoding(packet: &Packet) -> u64 {
    let mut bytes = BytesMut::new();
    encode(packet, V5, &mut bytes).unwrap();
    decoding_bytes(&bytes)
}

fn decoding_bytes(packet: &[u8]) -> u64 {
    let mut buf = BytesMut::new();
    encode(&connect(), V5, &mut buf).unwrap();
    for _ in 0..PACKETS {
        buf.extend_from_slice(packet);
    }
    let mut decoder = Decoder::server(DecodeLimits::DEFAULT);
    let first = decoder.decode(&mut buf).unwrap();
    let mut count = 0;
    let info = measure(|| {
        while let Some(packet) = decoder.decode(&mut buf).unwrap() {
            walk(&packet);
            count += 1;
        }
    });
    assert_eq!(count, PACKETS);
    assert!(first.is_some() && buf.is_empty());
    info.count_total
}

fn walk(packet: &Packet) {
    if let Packet::Publish(publish) = packet {
        for property in &publish.properties {
            black_box(property);
        }
    }
}

/// Allocations of encoding the packet a thousand times into one prepared buffer.
fn encoding(packet: &Packet) -> u64 {
    let mut out = BytesMut::with_capacity(1 << 20);
    let info = measure(|| {
        for _ in 0..PACKETS {
            encode(packet, V5, &mut out).unwrap();
        }
    });
    assert!(!out.is_empty());
    info.count_total
}

fn publish(qos: Qos, properties: ForwardedProperties) -> Packet {
    let packet_id = PacketId::new(7).filter(|_| qos != Qos::AtMostOnce);
    Packet::Publish(Publish::new(message(qos, properties), packet_id))
}

fn message(qos: Qos, properties: ForwardedProperties) -> Message {
    let topic = TopicName::try_from("sensors/room-1/temp/celc").unwrap();
    let mut message = Message::new(topic, vec![b'x'; 64]);
    message.qos = qos;
    message.expiry_seconds = Some(60);
    message.properties = properties;
    message
}

fn four_properties() -> ForwardedProperties {
    ForwardedProperties::from_properties([
        ForwardedProperty::PayloadFormat(PayloadFormat::Utf8),
        ForwardedProperty::ContentType("application/json"),
        ForwardedProperty::CorrelationData(b"01234567"),
        ForwardedProperty::User("trace", "0af7651916cd43dd"),
    ])
    .unwrap()
}

fn connect() -> Packet {
    let mut connect = Connect::new(V5, ClientId::try_from("sensor-7").ok());
    connect.username = MqttString::try_from("acme.sensor-7").ok();
    connect.password = Some(Password::new(&b"correct horse battery"[..]));
    connect.session_expiry_seconds = 3_600;
    connect.will = Some(Will {
        message: message(Qos::AtLeastOnce, four_properties()),
        delay_seconds: 30,
    });
    Packet::Connect(Box::new(connect))
}

fn subscribe() -> Packet {
    let filters = (0..10).map(|number| {
        let text = MqttString::try_from(format!("sensors/room-{number}/+/#")).unwrap();
        SubscribeFilter::new(text, SubscriptionOptions::new(Qos::AtLeastOnce))
    });
    Packet::Subscribe(Subscribe::new(PacketId::new(1).unwrap(), filters.collect()))
}

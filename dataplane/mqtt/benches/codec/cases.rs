//! The packets that are measured, MQTT 5 all of them.

use bytes::{Bytes, BytesMut};
use tessera_mqtt::{
    ClientId, Connect, ForwardedProperties, ForwardedProperty, Message, MqttString, Packet,
    PacketId, Password, PayloadFormat, ProtocolVersion, Publish, Qos, Subscribe, SubscribeFilter,
    SubscriptionOptions, TopicName, encode,
};

/// One packet.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) bytes: Bytes,
}

pub(crate) fn all() -> [Case; 5] {
    [
        case("publish_64", &publish(Qos::AtMostOnce)),
        case("publish_64_qos1", &publish(Qos::AtLeastOnce)),
        case("publish_five_properties", &publish_with_properties()),
        case("connect", &connect()),
        case("subscribe_10", &subscribe()),
    ]
}

/// A message of 64 bytes to a topic of 24.
pub(crate) fn message() -> Message {
    let topic = TopicName::try_from("sensors/room-1/temp/celc").unwrap();
    Message::new(topic, Bytes::from_static(&[b'x'; 64]))
}

fn case(name: &'static str, packet: &Packet) -> Case {
    let mut bytes = BytesMut::new();
    encode(packet, ProtocolVersion::V5, &mut bytes).unwrap();
    let bytes = bytes.freeze();
    Case { name, bytes }
}

fn publish(qos: Qos) -> Packet {
    let mut message = message();
    message.qos = qos;
    let packet_id = PacketId::new(7).filter(|_| qos != Qos::AtMostOnce);
    Packet::Publish(Publish::new(message, packet_id))
}

fn publish_with_properties() -> Packet {
    let mut message = message();
    message.expiry_seconds = Some(60);
    message.properties = ForwardedProperties::from_properties([
        ForwardedProperty::PayloadFormat(PayloadFormat::Utf8),
        ForwardedProperty::ContentType("application/json"),
        ForwardedProperty::CorrelationData(b"01234567"),
        ForwardedProperty::User("trace", "0af7651916cd43dd"),
    ])
    .unwrap();
    Packet::Publish(Publish::new(message, None))
}

fn connect() -> Packet {
    let id = ClientId::try_from("sensor-0123456789").unwrap();
    let mut connect = Connect::new(ProtocolVersion::V5, Some(id));
    connect.username = MqttString::try_from("acme.sensor-7").ok();
    connect.password = Some(Password::new(&b"correct horse battery"[..]));
    connect.session_expiry_seconds = 3_600;
    Packet::Connect(Box::new(connect))
}

fn subscribe() -> Packet {
    let filters = (0..10).map(|number| {
        let text = MqttString::try_from(format!("sensors/room-{number}/+/#")).unwrap();
        SubscribeFilter::new(text, SubscriptionOptions::new(Qos::AtLeastOnce))
    });
    let id = PacketId::new(1).unwrap();
    Packet::Subscribe(Subscribe::new(id, filters.collect()))
}

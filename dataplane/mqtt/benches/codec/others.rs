//! The crates whose packets are encoded by reference.

use std::hint::black_box;
use std::rc::Rc;

use bytes::BytesMut;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{PacketBuildResult, PacketBuilder, PacketData};
use mqtt_protocol_core::mqtt::packet as core;
use mqtt_protocol_core::mqtt::packet::GenericPacketTrait as _;
use rumqttc::v5::mqttbytes::v5 as rumqttc_v5;

use crate::measured::{Measured, shared};

/// Bytes of a packet that the crates take.
const BYTES_MAX: usize = 1 << 20;

pub(crate) struct ProtocolCore;

pub(crate) struct CoreReader {
    builder: PacketBuilder,
    buf: Vec<u8>,
    at: usize,
}

impl Measured for ProtocolCore {
    const NAME: &'static str = "mqtt-protocol-core";
    type Reader = CoreReader;
    type Packet = core::Packet;
    type Outgoing = Rc<core::Packet>;

    fn reader(bytes: &[u8]) -> CoreReader {
        CoreReader {
            builder: PacketBuilder::new(),
            buf: bytes.to_vec(),
            at: 0,
        }
    }

    fn decode<T>(reader: &mut CoreReader, look: impl FnOnce(&core::Packet) -> T) -> Option<T> {
        let mut cursor = Cursor::new(&reader.buf[reader.at..]);
        let raw = match reader.builder.feed(&mut cursor) {
            PacketBuildResult::Complete(raw) => raw,
            PacketBuildResult::Incomplete => return None,
            PacketBuildResult::Error(error) => panic!("{error}"),
        };
        reader.at += usize::try_from(cursor.position()).unwrap();
        let flags = raw.flags();
        let packet = match (raw.packet_type(), raw.data) {
            (3, PacketData::Publish(body)) => {
                core::v5_0::Publish::parse(flags, body).unwrap().0.into()
            }
            (1, PacketData::Normal(body)) => core::v5_0::Connect::parse(&body).unwrap().0.into(),
            (_, body) => core::v5_0::Subscribe::parse(body.as_slice())
                .unwrap()
                .0
                .into(),
        };
        Some(look(&packet))
    }

    fn walk(packet: &core::Packet) {
        let properties = match packet {
            core::Packet::V5_0Publish(publish) => &publish.props,
            core::Packet::V5_0Connect(connect) => &connect.props,
            core::Packet::V5_0Subscribe(subscribe) => {
                for entry in subscribe.entries() {
                    black_box(entry);
                }
                &subscribe.props
            }
            _ => return,
        };
        for property in properties {
            black_box(property);
        }
    }

    fn outgoing(packet: &core::Packet) -> Vec<Rc<core::Packet>> {
        shared(packet)
    }

    fn encode(packet: &mut Rc<core::Packet>, out: &mut BytesMut) {
        out.extend_from_slice(&packet.to_continuous_buffer());
    }
}

pub(crate) struct Mqttbytes;

impl Measured for Mqttbytes {
    const NAME: &'static str = "mqttbytes";
    type Reader = BytesMut;
    type Packet = mqttbytes::v5::Packet;
    type Outgoing = Rc<mqttbytes::v5::Packet>;

    fn reader(bytes: &[u8]) -> BytesMut {
        BytesMut::from(bytes)
    }

    fn decode<T>(buf: &mut BytesMut, look: impl FnOnce(&mqttbytes::v5::Packet) -> T) -> Option<T> {
        if buf.is_empty() {
            return None;
        }
        let decoded = mqttbytes::v5::read(buf, BYTES_MAX);
        Some(look(decoded.as_ref().unwrap()))
    }

    fn walk(packet: &mqttbytes::v5::Packet) {
        use mqttbytes::v5::Packet;
        match packet {
            Packet::Publish(publish) => {
                let Some(properties) = &publish.properties else {
                    return;
                };
                black_box(properties.payload_format_indicator);
                black_box(properties.message_expiry_interval);
                black_box(properties.topic_alias);
                black_box(properties.response_topic.as_deref());
                black_box(properties.correlation_data.as_deref());
                black_box(properties.content_type.as_deref());
                for property in &properties.user_properties {
                    black_box(property);
                }
            }
            Packet::Subscribe(subscribe) => {
                for filter in &subscribe.filters {
                    black_box(filter);
                }
            }
            Packet::Connect(connect) => {
                black_box(&connect.properties);
            }
            _ => {}
        }
    }

    fn outgoing(packet: &mqttbytes::v5::Packet) -> Vec<Rc<mqttbytes::v5::Packet>> {
        shared(packet)
    }

    fn encode(packet: &mut Rc<mqttbytes::v5::Packet>, out: &mut BytesMut) {
        use mqttbytes::v5::Packet;
        let written = match &**packet {
            Packet::Publish(publish) => publish.write(out),
            Packet::Subscribe(subscribe) => subscribe.write(out),
            Packet::Connect(connect) => connect.write(out),
            _ => panic!("a packet that is not measured"),
        };
        written.unwrap();
    }
}

/// The codec inside the client rumqttc.
pub(crate) struct Rumqttc;

impl Measured for Rumqttc {
    const NAME: &'static str = "rumqttc";
    type Reader = BytesMut;
    type Packet = rumqttc_v5::Packet;
    type Outgoing = Rc<rumqttc_v5::Packet>;

    fn reader(bytes: &[u8]) -> BytesMut {
        BytesMut::from(bytes)
    }

    fn decode<T>(buf: &mut BytesMut, look: impl FnOnce(&rumqttc_v5::Packet) -> T) -> Option<T> {
        if buf.is_empty() {
            return None;
        }
        let decoded = rumqttc_v5::Packet::read(buf, u32::try_from(BYTES_MAX).ok());
        Some(look(decoded.as_ref().unwrap()))
    }

    fn walk(packet: &rumqttc_v5::Packet) {
        use rumqttc_v5::Packet;
        match packet {
            Packet::Publish(publish) => {
                let Some(properties) = &publish.properties else {
                    return;
                };
                black_box(properties.payload_format_indicator);
                black_box(properties.message_expiry_interval);
                black_box(properties.topic_alias);
                black_box(properties.response_topic.as_deref());
                black_box(properties.correlation_data.as_deref());
                black_box(properties.content_type.as_deref());
                for property in &properties.user_properties {
                    black_box(property);
                }
            }
            Packet::Subscribe(subscribe) => {
                for filter in &subscribe.filters {
                    black_box(filter);
                }
            }
            Packet::Connect(connect, ..) => {
                black_box(&connect.properties);
            }
            _ => {}
        }
    }

    fn outgoing(packet: &rumqttc_v5::Packet) -> Vec<Rc<rumqttc_v5::Packet>> {
        shared(packet)
    }

    fn encode(packet: &mut Rc<rumqttc_v5::Packet>, out: &mut BytesMut) {
        packet.write(out, None).unwrap();
    }
}

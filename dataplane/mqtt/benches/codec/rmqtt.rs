//! rmqtt-codec, which encodes packets by value.

use std::hint::black_box;

use bytes::BytesMut;
use rmqtt_codec::v5::{Codec, Packet};
use tokio_util::codec::{Decoder as _, Encoder as _};

use crate::PACKETS;
use crate::measured::Measured;

pub(crate) struct Rmqtt;

pub(crate) struct Reader {
    codec: Codec,
    buf: BytesMut,
}

/// A packet that is encoded once, and the codec of its connection.
pub(crate) struct Outgoing {
    codec: Codec,
    packet: Option<Packet>,
}

impl Measured for Rmqtt {
    const NAME: &'static str = "rmqtt-codec";
    type Reader = Reader;
    type Packet = Packet;
    type Outgoing = Outgoing;

    fn reader(bytes: &[u8]) -> Reader {
        Reader {
            codec: Codec::default(),
            buf: BytesMut::from(bytes),
        }
    }

    fn decode<T>(reader: &mut Reader, look: impl FnOnce(&Packet) -> T) -> Option<T> {
        let decoded = reader.codec.decode(&mut reader.buf);
        decoded
            .as_ref()
            .unwrap()
            .as_ref()
            .map(|(packet, _)| look(packet))
    }

    fn walk(packet: &Packet) {
        match packet {
            Packet::Publish(publish) => {
                let Some(properties) = &publish.properties else {
                    return;
                };
                black_box(properties.is_utf8_payload);
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
                for filter in &subscribe.topic_filters {
                    black_box(filter);
                }
            }
            Packet::Connect(connect) => {
                black_box(connect.session_expiry_interval_secs);
                for property in &connect.user_properties {
                    black_box(property);
                }
            }
            _ => {}
        }
    }

    fn outgoing(packet: &Packet) -> Vec<Outgoing> {
        let one = || Outgoing {
            codec: Codec::default(),
            packet: Some(packet.clone()),
        };
        std::iter::repeat_with(one).take(PACKETS).collect()
    }

    fn encode(outgoing: &mut Outgoing, out: &mut BytesMut) {
        let packet = outgoing.packet.take().unwrap();
        outgoing.codec.encode(packet, out).unwrap();
    }
}

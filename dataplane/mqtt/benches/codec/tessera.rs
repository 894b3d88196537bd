//! This codec.

use std::hint::black_box;
use std::rc::Rc;

use bytes::BytesMut;
use criterion::{Criterion, Throughput};
use tessera_mqtt::{
    DecodeLimits, Decoder, ForwardedProperty, Packet, PacketId, PacketType, ProtocolVersion,
    PublishHeader, Qos, encode, encode_publish,
};

use crate::measured::{Measured, shared};
use crate::{PACKETS, cases};

pub(crate) struct Tessera;

pub(crate) struct Reader {
    decoder: Decoder,
    /// The packets are CONNECT: each comes on a connection of its own.
    connects: bool,
    buf: BytesMut,
}

impl Measured for Tessera {
    const NAME: &'static str = "tessera";
    type Reader = Reader;
    type Packet = Packet;
    type Outgoing = Rc<Packet>;

    fn reader(bytes: &[u8]) -> Reader {
        Reader {
            decoder: open_server(),
            connects: bytes[0] == 0x10,
            buf: BytesMut::from(bytes),
        }
    }

    fn decode<T>(reader: &mut Reader, look: impl FnOnce(&Packet) -> T) -> Option<T> {
        if reader.connects {
            reader.decoder = Decoder::server(DecodeLimits::DEFAULT);
        }
        let decoded = reader.decoder.decode(&mut reader.buf);
        decoded.as_ref().unwrap().as_ref().map(look)
    }

    fn walk(packet: &Packet) {
        if let Packet::Publish(publish) = packet {
            for property in &publish.properties {
                look_at(property);
            }
            black_box(publish.expiry_seconds);
        } else if let Packet::Subscribe(subscribe) = packet {
            for filter in &subscribe.filters {
                black_box(filter);
            }
        } else if let Packet::Connect(connect) = packet {
            for property in &connect.user_properties {
                black_box(property);
            }
            black_box(connect.session_expiry_seconds);
        }
    }

    fn outgoing(packet: &Packet) -> Vec<Rc<Packet>> {
        shared(packet)
    }

    fn encode(packet: &mut Rc<Packet>, out: &mut BytesMut) {
        encode(packet, ProtocolVersion::V5, out).unwrap();
    }
}

fn look_at(property: ForwardedProperty<'_>) {
    match property {
        ForwardedProperty::PayloadFormat(format) => {
            black_box(format);
        }
        ForwardedProperty::ContentType(text) | ForwardedProperty::ResponseTopic(text) => {
            black_box(text);
        }
        ForwardedProperty::CorrelationData(data) => {
            black_box(data);
        }
        ForwardedProperty::User(name, value) => {
            black_box(name);
            black_box(value);
        }
    }
}

/// A message on its way to one of many subscribers: no packet is built.
pub(crate) fn delivery_bench(criterion: &mut Criterion) {
    let message = cases::message();
    let header = PublishHeader {
        qos: Qos::AtLeastOnce,
        packet_id: PacketId::new(7),
        ..PublishHeader::default()
    };
    let mut out = BytesMut::with_capacity(4_096);
    let mut group = criterion.benchmark_group("encode/delivery");
    group.throughput(Throughput::Elements(PACKETS as u64));
    group.bench_function(Tessera::NAME, |bencher| {
        bencher.iter(|| {
            for _ in 0..PACKETS {
                out.clear();
                encode_publish(&mut out, ProtocolVersion::V5, black_box(&message), &header)
                    .unwrap();
                black_box(&out);
            }
        });
    });
    group.finish();
}

fn open_server() -> Decoder {
    let mut decoder = Decoder::server(DecodeLimits::DEFAULT);
    let mut connect = BytesMut::from(&b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\0\0"[..]);
    let packet = decoder.decode(&mut connect).unwrap();
    assert_eq!(
        packet.map(|packet| packet.packet_type()),
        Some(PacketType::Connect)
    );
    decoder
}

//! CPU per packet: decode, with every check and one full walk of the properties, and encode.

use bytes::{Bytes, BytesMut};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use tessera_mqtt::{
    ClientId, Connect, DecodeLimits, Decoder, ForwardedProperties, ForwardedProperty, Message,
    MqttString, Packet, PacketId, PayloadFormat, ProtocolVersion, Publish, PublishHeader, Qos,
    Subscribe, SubscribeFilter, SubscriptionOptions, TopicName, encode, encode_publish,
};

/// Packets that one read brings.
const PACKETS_PER_READ: u64 = 1_000;

criterion_group!(codec, benches);
criterion_main!(codec);

fn benches(criterion: &mut Criterion) {
    let cases = [
        ("publish_64", publish(ForwardedProperties::EMPTY)),
        ("publish_five_properties", publish(five_properties())),
        ("subscribe_10", subscribe()),
    ];
    for (name, packet) in &cases {
        decode_benches(criterion, name, packet);
        encode_benches(criterion, name, packet);
    }
    connect_benches(criterion);
    fan_out_bench(criterion);
}

fn decode_benches(criterion: &mut Criterion, name: &str, packet: &Packet) {
    let mut read = BytesMut::new();
    for _ in 0..PACKETS_PER_READ {
        encode(packet, ProtocolVersion::V5, &mut read).unwrap_or_else(|error| panic!("{error}"));
    }
    let mut group = criterion.benchmark_group("decode");
    group.throughput(Throughput::Elements(PACKETS_PER_READ));
    group.bench_function(name, |bencher| {
        bencher.iter_batched_ref(
            || (open_decoder(), read.clone()),
            |(decoder, buf)| while walk(decoder, buf) {},
            BatchSize::LargeInput,
        );
    });
    group.finish();
}

/// Decodes one packet and walks its properties.
fn walk(decoder: &mut Decoder, buf: &mut BytesMut) -> bool {
    let packet = decoder
        .decode(buf)
        .unwrap_or_else(|error| panic!("{error}"));
    if let Some(Packet::Publish(publish)) = &packet {
        for property in &publish.properties {
            black_box(property);
        }
    }
    black_box(packet).is_some()
}

fn encode_benches(criterion: &mut Criterion, name: &str, packet: &Packet) {
    let mut out = BytesMut::with_capacity(4_096);
    let mut group = criterion.benchmark_group("encode");
    group.bench_function(name, |bencher| {
        bencher.iter(|| {
            out.clear();
            encode(black_box(packet), ProtocolVersion::V5, &mut out)
        });
    });
    group.finish();
}

fn connect_benches(criterion: &mut Criterion) {
    let id = ClientId::try_from("sensor-0123456789").ok();
    let mut connect = Connect::new(ProtocolVersion::V5, id);
    connect.username = MqttString::try_from("acme.sensor-7").ok();
    connect.session_expiry_seconds = 3_600;
    let packet = Packet::Connect(Box::new(connect));
    let mut bytes = BytesMut::new();
    encode(&packet, ProtocolVersion::V5, &mut bytes).unwrap_or_else(|error| panic!("{error}"));
    criterion.bench_function("decode/connect", |bencher| {
        bencher.iter_batched_ref(
            || (Decoder::server(DecodeLimits::DEFAULT), bytes.clone()),
            |(decoder, buf)| decoder.decode(buf),
            BatchSize::SmallInput,
        );
    });
    encode_benches(criterion, "connect", &packet);
}

fn fan_out_bench(criterion: &mut Criterion) {
    let Packet::Publish(publish) = publish(ForwardedProperties::EMPTY) else {
        return;
    };
    let message = Message::new(topic(), publish.payload);
    let header = PublishHeader {
        qos: Qos::AtLeastOnce,
        packet_id: PacketId::new(1),
        ..PublishHeader::default()
    };
    let mut out = BytesMut::with_capacity(4_096);
    criterion.bench_function("encode/delivery", |bencher| {
        bencher.iter(|| {
            out.clear();
            encode_publish(&mut out, ProtocolVersion::V5, black_box(&message), &header)
        });
    });
}

fn open_decoder() -> Decoder {
    let mut decoder = Decoder::server(DecodeLimits::DEFAULT);
    let mut buf = BytesMut::new();
    let id = ClientId::try_from("c").ok();
    let connect = Packet::Connect(Box::new(Connect::new(ProtocolVersion::V5, id)));
    encode(&connect, ProtocolVersion::V5, &mut buf).unwrap_or_else(|error| panic!("{error}"));
    decoder
        .decode(&mut buf)
        .unwrap_or_else(|error| panic!("{error}"));
    decoder
}

fn topic() -> TopicName {
    TopicName::try_from("sensors/room-1/temp/celc").unwrap_or_else(|error| panic!("{error}"))
}

fn publish(properties: ForwardedProperties) -> Packet {
    let mut message = Message::new(topic(), Bytes::from_static(&[b'x'; 64]));
    if !properties.is_empty() {
        message.expiry_seconds = Some(60);
    }
    message.properties = properties;
    Packet::Publish(Publish::new(message, None))
}

/// With the message expiry, five.
fn five_properties() -> ForwardedProperties {
    ForwardedProperties::from_properties([
        ForwardedProperty::PayloadFormat(PayloadFormat::Utf8),
        ForwardedProperty::ContentType("application/json"),
        ForwardedProperty::CorrelationData(b"01234567"),
        ForwardedProperty::User("trace", "0af7651916cd43dd"),
    ])
    .unwrap_or_else(|error| panic!("{error}"))
}

fn subscribe() -> Packet {
    let filters = (0..10).map(|number| {
        let text = MqttString::try_from(format!("sensors/room-{number}/+/#"));
        let text = text.unwrap_or_else(|error| panic!("{error}"));
        SubscribeFilter::new(text, SubscriptionOptions::new(Qos::AtLeastOnce))
    });
    let id = PacketId::new(1).unwrap_or_else(|| panic!("1 is not 0"));
    Packet::Subscribe(Subscribe::new(id, filters.collect()))
}

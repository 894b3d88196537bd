//! Encoding what was decoded. Every decoded packet can be encoded for the version that it came in,
//! takes no more bytes than it came in, and decodes to the same packet; a PUBLISH can leave in any
//! version and QoS.

use bytes::BytesMut;
use tessera_mqtt::{
    DecodeLimits, Decoder, EncodeError, Fit, ForwardedProperties, Message, Packet, PacketId,
    PacketType, ProtocolVersion, Publish, PublishHeader, PublishTopic, Qos, TopicAlias,
    TopicAliasUse, TopicName, encode, encode_publish, encode_within, encoded_publish_len,
};

use super::input::{Input, Start, open_server};
use super::model::frame_len;

/// Packets of one input that are encoded.
const PACKETS_MAX: usize = 4;

/// What stands in the buffer before; it must stay.
const BEFORE: &[u8] = &[0xA5, 0x5A];

pub(crate) fn check(data: &[u8]) {
    let Some(input) = Input::read(data, None) else {
        return;
    };
    for (packet, version, frame) in input.packets().into_iter().take(PACKETS_MAX) {
        let packet = without_excess(packet);
        let encoded = check_reads_back(&packet, version, frame, &input);
        check_within(&packet, version, &encoded, input.knob);
        if let Packet::Publish(publish) = packet {
            let message = message_of(&publish, version, frame.len());
            check_leaves(&message, &publish, input.knob);
        }
    }
}

/// Filters past the bound were counted only; they cannot be encoded.
fn without_excess(packet: Packet) -> Packet {
    let mut packet = packet;
    if let Packet::Subscribe(subscribe) = &mut packet {
        subscribe.excess = 0;
    } else if let Packet::Unsubscribe(unsubscribe) = &mut packet {
        unsubscribe.excess = 0;
    }
    packet
}

fn check_reads_back(
    packet: &Packet,
    version: ProtocolVersion,
    frame: &[u8],
    input: &Input<'_>,
) -> BytesMut {
    let encoded = encoded(packet, version);
    assert_eq!(
        frame_len(&encoded),
        Some(encoded.len()),
        "the length is right"
    );
    assert!(
        encoded.len() <= frame.len(),
        "no more bytes than it came in"
    );
    let mut decoder = match (packet.packet_type(), input.start) {
        (PacketType::Connect, _) => Decoder::server(input.limits),
        (_, Start::Client) => Decoder::client(version, input.limits),
        (_, Start::Server | Start::Fresh) => open_server(version, input.limits),
    };
    let mut buf = encoded.clone();
    let decoded = decoder.decode(&mut buf);
    assert_eq!(decoded.as_ref(), Ok(&Some(packet.clone())), "it reads back");
    assert!(buf.is_empty());
    encoded
}

fn encoded(packet: &Packet, version: ProtocolVersion) -> BytesMut {
    let mut out = BytesMut::from(BEFORE);
    let result = encode(packet, version, &mut out);
    assert_eq!(result, Ok(()), "{packet:?} was decoded");
    let encoded = out.split_off(BEFORE.len());
    assert_eq!(out, BEFORE);
    encoded
}

/// Bounded by some length up to a little more than its own.
fn check_within(packet: &Packet, version: ProtocolVersion, encoded: &[u8], knob: u8) {
    let bytes_max = encoded.len().saturating_sub(usize::from(knob >> 1)) + usize::from(knob & 1);
    let mut out = BytesMut::from(BEFORE);
    let Ok(max) = u32::try_from(bytes_max) else {
        return;
    };
    let fit = encode_within(packet, version, max, &mut out);
    let written = out.split_off(BEFORE.len());
    assert_eq!(out, BEFORE);
    assert!(written.len() <= bytes_max);
    match fit {
        Ok(Fit::Whole) => assert_eq!(written, encoded),
        Ok(Fit::Trimmed) => {
            assert!(bytes_max < encoded.len() && !written.is_empty());
            assert_eq!(written[0], encoded[0]);
            assert_eq!(frame_len(&written), Some(written.len()));
        }
        Ok(Fit::Dropped) => assert!(bytes_max < encoded.len() && written.is_empty()),
        Err(error) => panic!("{error} of {packet:?}"),
    }
}

/// The message of a PUBLISH; its length is what was computed.
fn message_of(publish: &Publish, version: ProtocolVersion, frame_len: usize) -> Message {
    let topic = publish.topic.clone();
    let message = publish.clone().into_message(|topic| match topic {
        PublishTopic::Name(name) | PublishTopic::Define { name, .. } => Ok(name),
        PublishTopic::Alias(_) => TopicName::try_from("resolved"),
    });
    let message = message.unwrap_or_else(|error| panic!("a plain topic {error}"));
    let header = PublishHeader {
        qos: publish.qos,
        retain: publish.retain,
        dup: publish.dup,
        packet_id: publish.packet_id,
        topic_alias: topic.alias().map(|alias| TopicAliasUse {
            alias,
            with_topic: topic.name().is_some(),
        }),
        subscription_ids: &publish.subscription_ids,
        expiry_seconds: publish.expiry_seconds,
    };
    let len = encoded_publish_len(version, &message, &header);
    assert_eq!(len, Ok(frame_len), "a PUBLISH has one form");
    message
}

/// The message leaves in every version, with a header that the knob makes.
fn check_leaves(message: &Message, publish: &Publish, knob: u8) {
    for version in [
        ProtocolVersion::V31,
        ProtocolVersion::V311,
        ProtocolVersion::V5,
    ] {
        let header = PublishHeader {
            qos: match knob & 0b11 {
                0 => Qos::AtMostOnce,
                1 => Qos::AtLeastOnce,
                _ => Qos::ExactlyOnce,
            },
            retain: knob & 0b100 != 0,
            dup: knob & 0b1000 != 0,
            packet_id: publish
                .packet_id
                .or_else(|| PacketId::new(u16::from(knob & 0b1_0000))),
            topic_alias: TopicAlias::new(u16::from(knob & 0b10_0000)).map(|alias| TopicAliasUse {
                alias,
                with_topic: knob & 0b100_0000 != 0,
            }),
            subscription_ids: &publish.subscription_ids,
            expiry_seconds: publish.expiry_seconds.map(|seconds| seconds >> (knob >> 7)),
        };
        check_leaves_as(message, version, &header);
    }
}

fn check_leaves_as(message: &Message, version: ProtocolVersion, header: &PublishHeader<'_>) {
    let mut out = BytesMut::from(BEFORE);
    let written = encode_publish(&mut out, version, message, header);
    assert_eq!(encoded_publish_len(version, message, header), written);
    let mut frame = out.split_off(BEFORE.len());
    assert_eq!(out, BEFORE);
    let Ok(len) = written else {
        assert!(frame.is_empty(), "nothing is written");
        assert_eq!(written, Err(fault_of(version, header)));
        return;
    };
    assert_eq!(frame.len(), len);
    let mut decoder = Decoder::client(version, DecodeLimits::UNLIMITED);
    let decoded = decoder.decode(&mut frame);
    let Ok(Some(Packet::Publish(publish))) = decoded else {
        panic!("{decoded:?} of {message:?} with {header:?}")
    };
    assert_eq!(publish, expected(message, version, header));
}

/// Why a header cannot be written.
fn fault_of(version: ProtocolVersion, header: &PublishHeader<'_>) -> EncodeError {
    let qos = header.qos;
    let acknowledged = qos != Qos::AtMostOnce;
    let by_alias_alone = header.topic_alias.is_some_and(|used| !used.with_topic);
    if header.packet_id.is_some() != acknowledged || header.dup && !acknowledged {
        return EncodeError::PacketId { qos };
    }
    assert!(by_alias_alone && !version.is_v5(), "{header:?} can be said");
    let what = "topic alias";
    EncodeError::Version { version, what }
}

/// What a client of the version gets.
fn expected(message: &Message, version: ProtocolVersion, header: &PublishHeader<'_>) -> Publish {
    let mut publish = Publish::new(message.clone(), header.packet_id);
    publish.qos = header.qos;
    publish.retain = header.retain;
    publish.dup = header.dup;
    if !version.is_v5() {
        publish.expiry_seconds = None;
        publish.properties = ForwardedProperties::EMPTY;
        return publish;
    }
    publish.expiry_seconds = header.expiry_seconds;
    publish.subscription_ids = header.subscription_ids.iter().copied().collect();
    if let Some(TopicAliasUse { alias, with_topic }) = header.topic_alias {
        let name = message.topic.clone();
        publish.topic = match with_topic {
            true => PublishTopic::Define { name, alias },
            false => PublishTopic::Alias(alias),
        };
    }
    publish
}

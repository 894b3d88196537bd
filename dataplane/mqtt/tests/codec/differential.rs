//! Another codec, rumqttc's, takes what this one writes, and writes what this one takes.

use bytes::BytesMut;
use proptest::prelude::*;
use rumqttc::mqttbytes::v4;
use rumqttc::v5::mqttbytes::v5;
use tessera_mqtt::{DecodeLimits, Decoder, Packet, PacketType, ProtocolVersion, encode};

use crate::harness::open_server;
use crate::packets::{client_packets, connects, server_packets};

use ProtocolVersion::{V5, V311};

/// Bytes of a packet that the other codec takes and writes.
const BYTES_MAX: usize = 1 << 20;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn mqtt_3_1_1_goes_through_another_codec_and_comes_back(
        from_client in client_packets(V311),
        from_server in server_packets(V311),
        connect in connects(V311),
    ) {
        let server = Decoder::server(DecodeLimits::DEFAULT);
        comes_back(server, V311, &Packet::Connect(Box::new(connect)));
        comes_back(open_server(V311), V311, &from_client);
        comes_back(Decoder::client(V311, DecodeLimits::DEFAULT), V311, &from_server);
    }

    #[test]
    fn mqtt_5_goes_through_another_codec_and_comes_back(
        from_client in client_packets(V5),
        from_server in server_packets(V5),
        connect in connects(V5),
    ) {
        let server = Decoder::server(DecodeLimits::DEFAULT);
        comes_back(server, V5, &Packet::Connect(Box::new(connect)));
        comes_back(open_server(V5), V5, &from_client);
        comes_back(Decoder::client(V5, DecodeLimits::DEFAULT), V5, &from_server);
    }
}

fn comes_back(mut decoder: Decoder, version: ProtocolVersion, packet: &Packet) {
    let mut ours = BytesMut::new();
    encode(packet, version, &mut ours).unwrap();
    if is_exception(packet, version, &ours) {
        return;
    }
    let mut theirs = through_theirs(version, &mut ours.clone());
    assert_eq!(sorted(&theirs), sorted(&ours), "{packet:?}");
    let decoded = decoder.decode(&mut theirs).unwrap();
    assert_eq!(
        decoded.map(|packet| packet.packet_type()),
        Some(packet.packet_type())
    );
    assert!(theirs.is_empty());
}

/// The other codec writes properties in an order of its own.
fn sorted(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes.sort_unstable();
    bytes
}

/// What the other codec writes of what it read.
fn through_theirs(version: ProtocolVersion, bytes: &mut BytesMut) -> BytesMut {
    let mut out = BytesMut::new();
    if version == V5 {
        let max = u32::try_from(BYTES_MAX).ok();
        let packet = v5::Packet::read(bytes, max).unwrap();
        packet.write(&mut out, max).unwrap();
    } else {
        let packet = v4::Packet::read(bytes, BYTES_MAX).unwrap();
        packet.write(&mut out, BYTES_MAX).unwrap();
    }
    assert!(bytes.is_empty());
    out
}

/// What the other codec cannot take, or writes otherwise.
fn is_exception(packet: &Packet, version: ProtocolVersion, bytes: &[u8]) -> bool {
    if let Packet::Connect(connect) = packet {
        // It takes only text as password and as payload of a will, and knows no login without
        // both, nor of empty texts.
        let password = connect
            .password
            .as_ref()
            .map(|password| password.as_bytes());
        let username = connect
            .username
            .as_ref()
            .map(|username| username.as_bytes());
        let payload = connect.will.as_ref().map(|will| &*will.message.payload);
        let is_text = |bytes: Option<&[u8]>| std::str::from_utf8(bytes.unwrap_or_default()).is_ok();
        let has_login = |field: Option<&[u8]>| field.is_some_and(|field| !field.is_empty());
        return !is_text(password)
            || !is_text(payload)
            || has_login(password) != has_login(username)
            || username.is_some() && !has_login(username)
            || password.is_some() && !has_login(password);
    }
    if let Packet::Publish(publish) = packet {
        // It counts the bytes of large subscription identifiers otherwise than it writes them.
        return !publish.subscription_ids.is_empty();
    }
    let is_v5_ack = matches!(bytes[0] >> 4, 4..=7) && version == V5;
    let is_short_disconnect = packet.packet_type() == PacketType::Disconnect && bytes.len() < 4;
    // It does not know AUTH; and the property length that may be left out it needs, or writes.
    packet.packet_type() == PacketType::Auth || is_short_disconnect || is_v5_ack && bytes.len() == 5
}

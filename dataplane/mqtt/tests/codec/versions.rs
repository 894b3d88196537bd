//! Where the versions differ, and what cannot be said in one of them.

use bytes::BytesMut;
use tessera_mqtt::{
    Ack, Answer, Auth, ConnAck, Connect, ConnectReturnCode, Decoder, Disconnect, EncodeError, Fit,
    Message, MqttString, Packet, PacketId, PacketType, ProtocolVersion, Publish, PublishHeader,
    Qos, ReasonCode, SubAck, Subscribe, TopicAlias, TopicAliasUse, TopicName, UserProperties,
    encode, encode_publish, encode_within, encoded_publish_len,
};

use crate::harness::{LIMITS, feed, hex, open_server};

use ProtocolVersion::{V5, V31, V311};

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn message(topic: &str) -> Message {
    Message::new(TopicName::try_from(topic).unwrap(), &b"x"[..])
}

fn connects(bytes: &str) -> Connect {
    let (mut packets, error) = feed(&Decoder::server(LIMITS), &hex(bytes));
    assert_eq!(error, None);
    match packets.pop() {
        Some(Packet::Connect(connect)) => *connect,
        other => panic!("{other:?}"),
    }
}

#[test]
fn mqtt_3_1_marks_with_dup_what_is_sent_again() {
    for bytes in ["6a 02 0001", "8a 06 0001 0001 61 00", "aa 05 0001 0001 61"] {
        let bytes = hex(bytes);
        assert_eq!(feed(&open_server(V31), &bytes).1, None);
        let error = feed(&open_server(V311), &bytes).1.unwrap();
        assert_eq!(error.answer, Answer::Close);
    }
}

#[test]
fn mqtt_3_1_disregards_will_bits_without_a_will() {
    let connect = connects("10 0f 0006 4d5149736470 03 3a 003c 0001 63");
    assert_eq!(connect.will, None);
}

#[test]
fn mqtt_3_1_believes_the_remaining_length_more_than_the_flags() {
    let connect = connects("10 0f 0006 4d5149736470 03 c2 003c 0001 63");
    assert_eq!((connect.username, connect.password), (None, None));
    let connect = connects("10 12 0006 4d5149736470 03 c2 003c 0001 63 0001 75");
    assert_eq!(connect.username.unwrap().as_str(), "u");
    assert_eq!(connect.password, None);
}

#[test]
fn mqtt_3_1_needs_a_client_identifier() {
    let bytes = hex("10 0e 0006 4d5149736470 03 02 003c 0000");
    let error = feed(&Decoder::server(LIMITS), &bytes).1.unwrap();
    let rejected = ConnectReturnCode::IdentifierRejected;
    assert_eq!(error.answer, Answer::ConnAckV3(rejected));
}

#[test]
fn a_client_refuses_what_only_clients_send() {
    for version in [V31, V311, V5] {
        for first in [0x10, 0x82, 0xA2, 0xC0] {
            let error = feed(&Decoder::client(version, LIMITS), &[first, 0])
                .1
                .unwrap();
            assert_eq!(error.reason, ReasonCode::ProtocolError, "{first:02x}");
        }
    }
    for version in [V31, V311] {
        assert!(
            feed(&Decoder::client(version, LIMITS), &[0xE0, 0])
                .1
                .is_some()
        );
    }
}

#[test]
fn a_client_refuses_a_disconnect_that_only_clients_may_send() {
    for bytes in ["e0 01 04", "e0 07 00 05 11 00000001"] {
        let error = feed(&Decoder::client(V5, LIMITS), &hex(bytes)).1.unwrap();
        assert_eq!(error.reason, ReasonCode::ProtocolError);
    }
}

#[test]
fn a_client_refuses_codes_that_its_version_does_not_have() {
    for (version, bytes) in [
        (V31, "90 03 0001 80"),
        (V31, "20 02 01 00"),
        (V311, "90 03 0001 8f"),
        (V311, "90 03 0001 03"),
        (V311, "20 02 00 06"),
        (V311, "20 02 01 05"),
        (V311, "20 02 02 00"),
        (V5, "20 03 01 87 00"),
        (V5, "20 03 00 01 00"),
        (V5, "90 04 0001 00 03"),
        (V5, "b0 04 0001 00 97"),
        (V5, "90 03 0001 00"),
        (V5, "30 06 0001 61 02 0b 00"),
    ] {
        let outcome = feed(&Decoder::client(version, LIMITS), &hex(bytes));
        assert!(outcome.1.is_some(), "{version} {bytes}: {outcome:?}");
    }
}

#[test]
fn what_a_version_cannot_say_is_refused_where_leaving_it_out_would_lie() {
    let refused = |packet: Packet, version| {
        let mut out = BytesMut::from(&b"before"[..]);
        let error = encode(&packet, version, &mut out).unwrap_err();
        assert_eq!(out, &b"before"[..], "nothing is written");
        error
    };
    let is_version = |error| matches!(error, EncodeError::Version { .. });
    let quota = Ack::with_reason(id(1), ReasonCode::QuotaExceeded);
    let alias = TopicAlias::new(1).unwrap();
    let mut by_alias = Publish::new(message("a"), None);
    by_alias.topic = tessera_mqtt::PublishTopic::Alias(alias);
    let method = MqttString::try_from("m").unwrap();
    for packet in [
        Packet::PubAck(quota.clone()),
        Packet::PubRec(quota.clone()),
        Packet::Publish(by_alias),
        Packet::Auth(Auth::new(ReasonCode::Success, method, None)),
        Packet::Disconnect(Disconnect::new(ReasonCode::ServerBusy)),
        Packet::ConnAck(Box::new(ConnAck::new(ReasonCode::ProtocolError))),
    ] {
        assert!(is_version(refused(packet.clone(), V31)), "{packet:?}");
        assert!(is_version(refused(packet.clone(), V311)), "{packet:?}");
    }
    let failure = SubAck::new(id(1), vec![ReasonCode::NotAuthorized]);
    assert!(is_version(refused(Packet::SubAck(failure), V31)));
    for version in [V31, V311, V5] {
        assert!(matches!(
            refused(Packet::PubRel(quota.clone()), version),
            EncodeError::Reason { .. }
        ));
        assert_eq!(
            refused(
                Packet::Subscribe(Subscribe::new(id(1), Vec::new())),
                version
            ),
            EncodeError::Empty(PacketType::Subscribe)
        );
        let mut wrong = Publish::new(message("a"), Some(id(1)));
        let at_most_once = EncodeError::PacketId {
            qos: Qos::AtMostOnce,
        };
        assert_eq!(
            refused(Packet::Publish(wrong.clone()), version),
            at_most_once
        );
        wrong.packet_id = None;
        wrong.dup = true;
        assert_eq!(refused(Packet::Publish(wrong), version), at_most_once);
    }
}

#[test]
fn fields_of_more_than_65_535_bytes_are_refused_and_leave_nothing() {
    let mut connect = Connect::new(V5, None);
    connect.username = Some(MqttString::try_from("u").unwrap());
    connect.password = Some(tessera_mqtt::Password::new(vec![0; 65_536]));
    let mut out = BytesMut::new();
    let error = encode(&Packet::Connect(Box::new(connect)), V5, &mut out).unwrap_err();
    assert!(matches!(
        error,
        EncodeError::FieldTooLong { len: 65_536, .. }
    ));
    assert!(out.is_empty());
}

#[test]
fn a_failure_in_suback_of_3_1_1_is_0x80_whatever_it_is() {
    let mut out = BytesMut::new();
    let codes = vec![ReasonCode::Success, ReasonCode::TopicFilterInvalid];
    encode(&Packet::SubAck(SubAck::new(id(1), codes)), V311, &mut out).unwrap();
    assert_eq!(out, hex("90 04 0001 00 80"));
}

#[test]
fn words_are_left_out_when_the_peer_takes_no_larger_packet() {
    let mut ack = Ack::with_reason(id(1), ReasonCode::QuotaExceeded);
    ack.reason_string = Some(MqttString::try_from("full").unwrap());
    ack.user_properties = UserProperties::from_pairs([("limit", "messages")]).unwrap();
    let packet = Packet::PubAck(ack);
    let within = |bytes_max| {
        let mut out = BytesMut::from(&b"before"[..]);
        let fit = encode_within(&packet, V5, bytes_max, &mut out).unwrap();
        (fit, out.len() - 6)
    };
    assert_eq!(within(31), (Fit::Whole, 31));
    assert_eq!(within(30), (Fit::Trimmed, 13));
    assert_eq!(within(12), (Fit::Trimmed, 5));
    assert_eq!(within(4), (Fit::Dropped, 0));
}

#[test]
fn a_delivery_is_written_from_message_and_header() {
    let mut message = message("a/b");
    message.expiry_seconds = Some(99);
    let id_7 = tessera_mqtt::SubscriptionId::new(7).unwrap();
    let mut header = PublishHeader {
        qos: Qos::AtLeastOnce,
        dup: true,
        packet_id: Some(id(1)),
        topic_alias: Some(TopicAliasUse {
            alias: TopicAlias::new(2).unwrap(),
            with_topic: false,
        }),
        subscription_ids: &[id_7],
        expiry_seconds: Some(5),
        ..PublishHeader::default()
    };
    let check = |version, header: &PublishHeader<'_>, golden: &str| {
        let mut out = BytesMut::new();
        let len = encode_publish(&mut out, version, &message, header).unwrap();
        assert_eq!(out, hex(golden));
        assert_eq!(len, out.len());
        assert_eq!(encoded_publish_len(version, &message, header), Ok(len));
    };
    check(
        V5,
        &header,
        "3a 10 0000 0001 0a 23 0002 02 00000005 0b 07 78",
    );
    header.topic_alias = None;
    check(
        V5,
        &header,
        "3a 10 0003 612f62 0001 07 02 00000005 0b 07 78",
    );
    check(V311, &header, "3a 08 0003 612f62 0001 78");
}

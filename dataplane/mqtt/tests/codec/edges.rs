//! Small rules at their edges: what a packet shows when it is printed, and where a field ends.

use std::num::NonZeroU16;

use bytes::{Bytes, BytesMut};
use tessera_mqtt::{
    Auth, ClientId, ConnAck, Connect, DecodeLimits, Decoder, Disconnect, EncodeError,
    ForwardedProperties, ForwardedProperty, Message, MqttString, Packet, PacketId, PacketType,
    Password, PayloadFormat, ProtocolVersion, Publish, PublishHeader, PublishTopic, Qos,
    ReasonCode, SubAck, Subscribe, SubscribeFilter, SubscriptionId, SubscriptionOptions,
    TopicAlias, TopicAliasUse, TopicName, UnsubAck, Unsubscribe, UserProperties, encode,
    encode_publish,
};

use crate::harness::{feed, open_server};

const V5: ProtocolVersion = ProtocolVersion::V5;
/// Stands in everything that may be secret.
const SECRET: &str = "hunter2";

fn secret() -> Bytes {
    Bytes::from_static(SECRET.as_bytes())
}

fn message() -> Message {
    let topic = TopicName::try_from("a/b").unwrap();
    Message {
        properties: ForwardedProperties::from_properties([
            ForwardedProperty::ContentType("text/plain"),
            ForwardedProperty::PayloadFormat(PayloadFormat::Utf8),
        ])
        .unwrap(),
        ..Message::new(topic, SECRET)
    }
}

#[test]
fn what_is_printed_of_a_packet_says_much_and_no_secret() {
    let client = ClientId::try_from("device-7").unwrap();
    let mut connect = Connect::new(V5, Some(client));
    connect.password = Some(Password::new(SECRET));
    connect.authentication_data = Some(secret());
    let mut connack = ConnAck::new(ReasonCode::Banned);
    connack.authentication_data = Some(secret());
    connack.response_information = Some(MqttString::try_from(SECRET).unwrap());
    let method = MqttString::try_from("method").unwrap();
    let auth = Auth::new(ReasonCode::ContinueAuthentication, method, Some(secret()));
    for (printed, says) in [
        (
            format!("{connect:?}"),
            &["device-7", "Password(..)", "V5"][..],
        ),
        (format!("{connack:?}"), &["Banned", "receive_maximum"]),
        (
            format!("{auth:?}"),
            &["ContinueAuthentication", "data_bytes: Some(7)"],
        ),
        (
            format!("{:?}", message()),
            &["a/b", "payload_bytes: 7", "ContentType(\"text/plain\")"],
        ),
    ] {
        for word in says {
            assert!(printed.contains(word), "{word} in {printed}");
        }
        assert!(!printed.contains(SECRET), "{printed}");
        assert!(
            !printed.contains(&format!("{:?}", SECRET.as_bytes())),
            "{printed}"
        );
    }
}

#[test]
fn each_property_of_a_disconnect_is_written_when_it_stands_alone() {
    let plain = || Disconnect::new(ReasonCode::Success);
    let text = || Some(MqttString::try_from("x").unwrap());
    let alone = [
        Disconnect {
            session_expiry_seconds: Some(0),
            ..plain()
        },
        Disconnect {
            reason_string: text(),
            ..plain()
        },
        Disconnect {
            server_reference: text(),
            ..plain()
        },
        Disconnect {
            user_properties: UserProperties::from_pairs([("a", "b")]).unwrap(),
            ..plain()
        },
    ];
    for disconnect in alone {
        let packet = Packet::Disconnect(disconnect.clone());
        let mut out = BytesMut::new();
        encode(&packet, V5, &mut out).unwrap();
        // A Session Expiry Interval goes to servers only, a Server Reference to clients only.
        let decoder = if disconnect.server_reference.is_some() {
            Decoder::client(V5, DecodeLimits::DEFAULT)
        } else {
            open_server(V5)
        };
        assert_eq!(feed(&decoder, &out), (vec![packet], None));
    }
}

#[test]
fn each_property_of_a_publish_is_written_alone_and_beside_another() {
    let (alias, identifier) = (
        TopicAlias::new(3).unwrap(),
        SubscriptionId::new(300).unwrap(),
    );
    let plain = Publish::new(Message::new(TopicName::try_from("t").unwrap(), "m"), None);
    let content = [ForwardedProperty::ContentType("c")];
    let alone = [
        plain.clone(),
        Publish {
            expiry_seconds: Some(9),
            ..plain.clone()
        },
        Publish {
            subscription_ids: [identifier].into_iter().collect(),
            ..plain.clone()
        },
        Publish {
            topic: PublishTopic::Define {
                name: TopicName::try_from("t").unwrap(),
                alias,
            },
            ..plain.clone()
        },
        Publish {
            properties: ForwardedProperties::from_properties(content).unwrap(),
            ..plain
        },
    ];
    // Two next to each other as well: one does not undo the other.
    let [_, expires, numbered, defines, typed] = &alone;
    let pairs = [
        Publish {
            expiry_seconds: expires.expiry_seconds,
            ..defines.clone()
        },
        Publish {
            expiry_seconds: expires.expiry_seconds,
            ..numbered.clone()
        },
        Publish {
            properties: typed.properties.clone(),
            ..numbered.clone()
        },
    ];
    for publish in alone.iter().chain(&pairs) {
        let mut packet = BytesMut::new();
        encode(&Packet::Publish(publish.clone()), V5, &mut packet).unwrap();
        let is_defined = matches!(publish.topic, PublishTopic::Define { .. });
        let header = PublishHeader {
            qos: publish.qos,
            retain: publish.retain,
            dup: publish.dup,
            packet_id: None,
            topic_alias: is_defined.then_some(TopicAliasUse {
                alias,
                with_topic: true,
            }),
            subscription_ids: &publish.subscription_ids,
            expiry_seconds: publish.expiry_seconds,
        };
        let message = Message {
            properties: publish.properties.clone(),
            ..Message::new(TopicName::try_from("t").unwrap(), "m")
        };
        let mut delivery = BytesMut::new();
        encode_publish(&mut delivery, V5, &message, &header).unwrap();
        assert_eq!(packet, delivery);
        let decoder = Decoder::client(V5, DecodeLimits::DEFAULT);
        assert_eq!(
            feed(&decoder, &packet),
            (vec![Packet::Publish(publish.clone())], None)
        );
    }
}

#[test]
fn the_payload_format_is_what_the_property_says() {
    let none = Message::new(TopicName::try_from("t").unwrap(), &b"\xFF"[..]);
    assert_eq!(none.properties.payload_format(), PayloadFormat::Unspecified);
    assert!(none.payload_fits_format());
    let text = message();
    assert_eq!(text.properties.payload_format(), PayloadFormat::Utf8);
    assert!(text.payload_fits_format());
    let broken = Message {
        payload: Bytes::from_static(b"\xFF"),
        ..text
    };
    assert!(!broken.payload_fits_format());
}

#[test]
fn a_field_may_be_as_long_as_two_bytes_can_say() {
    let longest = "x".repeat(usize::from(u16::MAX));
    let fits = ForwardedProperties::from_properties([ForwardedProperty::ContentType(&longest)]);
    assert_eq!(fits.unwrap().as_bytes().len(), 3 + longest.len());
    let longer = longest + "x";
    let refused = ForwardedProperties::from_properties([ForwardedProperty::ContentType(&longer)]);
    assert!(refused.is_err());
}

#[test]
fn a_packet_that_may_not_come_is_told_by_its_name() {
    let mut connect = BytesMut::new();
    let packet = Packet::Connect(Box::new(Connect {
        receive_maximum: NonZeroU16::MAX,
        ..Connect::new(V5, None)
    }));
    encode(&packet, V5, &mut connect).unwrap();
    for (decoder, text) in [
        (open_server(V5), "a second CONNECT"),
        (
            Decoder::client(V5, DecodeLimits::DEFAULT),
            "a packet of the other side",
        ),
    ] {
        let (packets, error) = feed(&decoder, &connect);
        let error = error.unwrap().to_string();
        assert!(packets.is_empty() && error.contains(text), "{error}");
    }
}

#[test]
fn a_list_whose_first_filter_misleads_reads_back() {
    for lengths in [[100, 1], [1, 100], [130, 1], [1, 300], [60, 61], [61, 60]] {
        let filters = lengths.map(|length| {
            let text = MqttString::try_from("x".repeat(length)).unwrap();
            SubscribeFilter::new(text, SubscriptionOptions::new(Qos::AtLeastOnce))
        });
        let packet = Packet::Subscribe(Subscribe::new(id(), filters.to_vec()));
        for version in [ProtocolVersion::V311, V5] {
            // Something stands before it: places are counted from there.
            let mut out = BytesMut::from(&[0xC0, 0][..]);
            encode(&packet, version, &mut out).unwrap();
            let read = feed(&open_server(version), &out);
            assert_eq!(
                read,
                (vec![Packet::PingReq, packet.clone()], None),
                "{lengths:?}"
            );
        }
    }
}

#[test]
fn a_list_without_entries_is_not_written() {
    let empty = [
        (
            Packet::Subscribe(Subscribe::new(id(), vec![])),
            PacketType::Subscribe,
        ),
        (
            Packet::Unsubscribe(Unsubscribe::new(id(), vec![])),
            PacketType::Unsubscribe,
        ),
        (
            Packet::SubAck(SubAck::new(id(), vec![])),
            PacketType::SubAck,
        ),
        (
            Packet::UnsubAck(UnsubAck::new(id(), vec![])),
            PacketType::UnsubAck,
        ),
    ];
    for (packet, kind) in empty {
        let mut out = BytesMut::new();
        assert_eq!(encode(&packet, V5, &mut out), Err(EncodeError::Empty(kind)));
        assert!(out.is_empty());
    }
}

#[test]
fn a_password_may_be_as_long_as_two_bytes_can_say() {
    let mut connect = Connect::new(V5, None);
    for (length, fits) in [(65_535, true), (65_536, false)] {
        connect.password = Some(Password::new(vec![b'x'; length]));
        let packet = Packet::Connect(Box::new(connect.clone()));
        assert_eq!(
            encode(&packet, V5, &mut BytesMut::new()).is_ok(),
            fits,
            "{length}"
        );
    }
}

fn id() -> PacketId {
    PacketId::new(7).unwrap()
}

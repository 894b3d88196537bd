//! Each bound takes its own value and refuses the next.

use bytes::{Bytes, BytesMut};
use tessera_mqtt::{
    ClientId, Connect, DecodeLimits, Decoder, FilterError, ForwardedProperties, ForwardedProperty,
    Message, MqttString, Packet, PacketId, ProtocolVersion, Publish, Qos, ReasonCode, Subscribe,
    SubscribeFilter, SubscriptionOptions, TopicName, UserProperties, encode,
};

use crate::harness::{LIMITS, Outcome, feed, open_server};

use ProtocolVersion::V5;

const TIGHT: DecodeLimits = DecodeLimits {
    packet_bytes_max: 200,
    connect_bytes_max: 60,
    client_id_bytes_max: 10,
    topic_levels_max: 3,
    user_properties_max: 2,
    filters_max: 2,
};

fn decode(decoder: &Decoder, packet: &Packet) -> Outcome {
    let mut buf = BytesMut::new();
    encode(packet, V5, &mut buf).unwrap();
    feed(decoder, &buf)
}

fn sent_after_connect(packet: &Packet) -> Outcome {
    let mut decoder = open_server(V5);
    *decoder.limits_mut() = TIGHT;
    decode(&decoder, packet)
}

fn reason((packets, error): Outcome) -> Option<ReasonCode> {
    assert_ne!(packets.is_empty(), error.is_none());
    error.map(|error| error.reason)
}

fn publish(topic: &str, payload: usize, user_properties: usize) -> Packet {
    let mut message = Message::new(TopicName::try_from(topic).unwrap(), vec![0; payload]);
    let pairs = vec![ForwardedProperty::User("", ""); user_properties];
    message.properties = ForwardedProperties::from_properties(pairs).unwrap();
    Packet::Publish(Publish::new(message, None))
}

#[test]
fn bytes_of_a_packet() {
    // Two bytes of remaining length, three of topic, one of properties.
    assert_eq!(reason(sent_after_connect(&publish("a", 193, 0))), None);
    let too_large = Some(ReasonCode::PacketTooLarge);
    assert_eq!(reason(sent_after_connect(&publish("a", 194, 0))), too_large);
}

#[test]
fn levels_of_a_topic() {
    assert_eq!(reason(sent_after_connect(&publish("a/b/c", 0, 0))), None);
    assert_eq!(reason(sent_after_connect(&publish("//", 0, 0))), None);
    let invalid = Some(ReasonCode::TopicNameInvalid);
    assert_eq!(reason(sent_after_connect(&publish("///", 0, 0))), invalid);
    assert_eq!(
        reason(sent_after_connect(&publish("a/b/c/d", 0, 0))),
        invalid
    );
}

#[test]
fn user_properties_of_a_publish_and_of_a_connect() {
    let quota = Some(ReasonCode::QuotaExceeded);
    assert_eq!(reason(sent_after_connect(&publish("a", 0, 2))), None);
    assert_eq!(reason(sent_after_connect(&publish("a", 0, 3))), quota);
    let connect = |count| {
        let mut connect = Connect::new(V5, None);
        connect.user_properties = UserProperties::from_pairs(vec![("", ""); count]).unwrap();
        decode(&Decoder::server(TIGHT), &Packet::Connect(Box::new(connect)))
    };
    assert_eq!(reason(connect(2)), None);
    assert_eq!(reason(connect(3)), quota);
}

#[test]
fn bytes_of_a_connect_and_of_its_client_identifier() {
    let connect = |id: usize, username: usize| {
        let id = ClientId::try_from(&*"x".repeat(id)).unwrap();
        let mut connect = Connect::new(V5, Some(id));
        connect.username = MqttString::try_from("u".repeat(username)).ok();
        decode(&Decoder::server(TIGHT), &Packet::Connect(Box::new(connect)))
    };
    // 15 bytes and the user name's two beside both texts.
    assert_eq!(reason(connect(10, 33)), None);
    assert_eq!(reason(connect(10, 34)), Some(ReasonCode::PacketTooLarge));
    let invalid = Some(ReasonCode::ClientIdentifierNotValid);
    assert_eq!(reason(connect(11, 0)), invalid);
}

#[test]
fn filters_of_a_subscribe_and_their_levels() {
    let subscribe = |texts: &[&str]| {
        let filters = texts.iter().map(|text| {
            let text = MqttString::try_from(*text).unwrap();
            SubscribeFilter::new(text, SubscriptionOptions::new(Qos::AtMostOnce))
        });
        let subscribe = Subscribe::new(PacketId::new(1).unwrap(), filters.collect());
        let (packets, error) = sent_after_connect(&Packet::Subscribe(subscribe));
        match &packets[..] {
            [Packet::Subscribe(subscribe)] => subscribe.clone(),
            other => panic!("{other:?} {error:?}"),
        }
    };
    let two = subscribe(&["a", "b"]);
    assert_eq!((two.filters.len(), two.excess), (2, 0));
    let four = subscribe(&["a", "b", "c", "a#"]);
    assert_eq!((four.filters.len(), four.excess), (2, 2));
    let deep = subscribe(&["$share/g/a/b/c", "a/b/c/d"]);
    assert!(
        deep.filters[0].spec().is_ok(),
        "the share's own do not count"
    );
    let too_deep = Err(FilterError::Levels { max: 3 });
    assert_eq!(deep.filters[1].spec(), too_deep);
}

#[test]
fn a_packet_waits_for_its_last_byte_and_takes_no_more() {
    let mut decoder = Decoder::client(V5, LIMITS);
    let mut buf = BytesMut::new();
    encode(&publish("a", 3, 1), V5, &mut buf).unwrap();
    let whole: Bytes = buf.split().freeze();
    for cut in 0..whole.len() {
        buf.clear();
        buf.extend_from_slice(&whole[..cut]);
        assert_eq!(decoder.decode(&mut buf), Ok(None));
        assert_eq!(buf.len(), cut, "nothing is taken");
    }
    buf.clear();
    buf.extend_from_slice(&[&whole[..], b"\x30"].concat());
    assert!(decoder.decode(&mut buf).unwrap().is_some());
    assert_eq!(&*buf, b"\x30");
}

#[test]
fn no_local_on_a_shared_subscription_is_refused_past_the_bound_of_filters_too() {
    let mut decoder = open_server(V5);
    *decoder.limits_mut() = DecodeLimits {
        filters_max: 1,
        ..LIMITS
    };
    // SUBSCRIBE of `a`, and of `$share/g/a` with No Local (MQTT-3.8.3-4).
    let bytes = b"\x82\x14\0\x01\0\0\x01a\0\0\x0a$share/g/a\x04";
    assert_eq!(
        reason(feed(&decoder, bytes)),
        Some(ReasonCode::ProtocolError)
    );
}

//! The bytes of each packet type in each version, both ways.

use std::num::{NonZeroU16, NonZeroU32};

use bytes::{Bytes, BytesMut};
use tessera_mqtt::{
    Ack, Auth, ConnAck, Connect, DecodeLimits, Decoder, Disconnect, ForwardedProperties,
    ForwardedProperty, Message, MqttString, Packet, PacketId, Password, PayloadFormat,
    ProtocolVersion, Publish, PublishTopic, Qos, ReasonCode, RetainHandling, SubAck, Subscribe,
    SubscribeFilter, SubscriptionId, SubscriptionOptions, TopicAlias, TopicName, UnsubAck,
    Unsubscribe, UnsubscribeFilter, UserProperties, Will, encode,
};

use crate::harness::{hex, open_server};

use ProtocolVersion::{V5, V31, V311};

const ALL: [ProtocolVersion; 3] = [V31, V311, V5];

fn text(text: &str) -> MqttString {
    MqttString::try_from(text).unwrap()
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

fn pairs() -> UserProperties {
    UserProperties::from_pairs([("k", "v")]).unwrap()
}

fn message(topic: &str, payload: &'static [u8]) -> Message {
    Message::new(TopicName::try_from(topic).unwrap(), payload)
}

/// Encodes to these bytes and decodes from them.
#[track_caller]
fn check(decoder: &Decoder, version: ProtocolVersion, packet: &Packet, golden: &str) {
    let golden = hex(golden);
    let mut out = BytesMut::new();
    encode(packet, version, &mut out).unwrap();
    assert_eq!(out, golden, "encoded for {version}");
    let decoded = decoder.clone().decode(&mut out).unwrap();
    assert_eq!(decoded.as_ref(), Some(packet), "decoded from {version}");
}

#[track_caller]
fn from_client(version: ProtocolVersion, packet: &Packet, golden: &str) {
    check(&open_server(version), version, packet, golden);
}

#[track_caller]
fn from_server(version: ProtocolVersion, packet: &Packet, golden: &str) {
    check(
        &Decoder::client(version, DecodeLimits::DEFAULT),
        version,
        packet,
        golden,
    );
}

#[track_caller]
fn from_both(version: ProtocolVersion, packet: &Packet, golden: &str) {
    from_client(version, packet, golden);
    from_server(version, packet, golden);
}

#[track_caller]
fn connects(connect: Connect, golden: &str) {
    let version = connect.version;
    let packet = Packet::Connect(Box::new(connect));
    check(
        &Decoder::server(DecodeLimits::DEFAULT),
        version,
        &packet,
        golden,
    );
}

fn full_connect(version: ProtocolVersion) -> Connect {
    let mut connect = Connect::new(version, Some("dev".try_into().unwrap()));
    connect.clean_start = false;
    connect.keep_alive_seconds = 10;
    let mut will = message("w", b"bye");
    will.qos = Qos::AtLeastOnce;
    will.retain = true;
    connect.will = Some(Will {
        message: will,
        delay_seconds: 0,
    });
    connect.username = Some(text("u"));
    connect.password = Some(Password::new(&b"\xFF"[..]));
    connect
}

#[test]
fn connect() {
    let small = |version| Connect::new(version, Some("c".try_into().unwrap()));
    connects(small(V31), "10 0f 0006 4d5149736470 03 02 003c 0001 63");
    connects(small(V311), "10 0d 0004 4d515454 04 02 003c 0001 63");
    connects(small(V5), "10 0e 0004 4d515454 05 02 003c 00 0001 63");
    connects(
        Connect::new(V5, None),
        "10 0d 0004 4d515454 05 02 003c 00 0000",
    );
    let rest = "0003 646576 0001 77 0003 627965 0001 75 0001 ff";
    let golden = format!("10 1f 0006 4d5149736470 03 ec 000a {rest}");
    connects(full_connect(V31), &golden);
    connects(
        full_connect(V311),
        &format!("10 1d 0004 4d515454 04 ec 000a {rest}"),
    );
}

#[test]
fn connect_of_mqtt_5_with_every_property() {
    let mut connect = full_connect(V5);
    connect.session_expiry_seconds = 0x0102_0304;
    connect.receive_maximum = NonZeroU16::new(20).unwrap();
    connect.packet_bytes_max = NonZeroU32::new(4_096);
    connect.topic_alias_maximum = 5;
    connect.request_response_information = true;
    connect.request_problem_information = false;
    connect.authentication_method = Some(text("m"));
    connect.authentication_data = Some(Bytes::from_static(b"d"));
    connect.user_properties = pairs();
    let will = connect.will.as_mut().unwrap();
    will.delay_seconds = 7;
    will.message.expiry_seconds = Some(9);
    will.message.properties = every_forwarded_property();
    connects(
        connect,
        "10 68 0004 4d515454 05 ec 000a \
         23 11 01020304 21 0014 27 00001000 22 0005 19 01 17 00 15 0001 6d 16 0001 64 26 0001 6b 0001 76 \
         0003 646576 \
         26 18 00000007 02 00000009 01 01 03 0001 74 08 0001 72 09 0001 00 26 0001 6b 0001 76 26 0001 6b 0001 77 \
         0001 77 0003 627965 0001 75 0001 ff",
    );
}

fn every_forwarded_property() -> ForwardedProperties {
    ForwardedProperties::from_properties([
        ForwardedProperty::PayloadFormat(PayloadFormat::Utf8),
        ForwardedProperty::ContentType("t"),
        ForwardedProperty::ResponseTopic("r"),
        ForwardedProperty::CorrelationData(b"\0"),
        ForwardedProperty::User("k", "v"),
        ForwardedProperty::User("k", "w"),
    ])
    .unwrap()
}

#[test]
fn connack() {
    let packet = |connack| Packet::ConnAck(Box::new(connack));
    let mut connack = ConnAck::new(ReasonCode::Success);
    from_server(V31, &packet(connack.clone()), "20 02 00 00");
    connack.session_present = true;
    from_server(V311, &packet(connack.clone()), "20 02 01 00");
    from_server(V5, &packet(connack), "20 03 01 00 00");
    for (reason, code) in [
        (ReasonCode::UnsupportedProtocolVersion, "01"),
        (ReasonCode::ClientIdentifierNotValid, "02"),
        (ReasonCode::ServerUnavailable, "03"),
        (ReasonCode::BadUserNameOrPassword, "04"),
        (ReasonCode::NotAuthorized, "05"),
    ] {
        let refused = packet(ConnAck::new(reason));
        from_server(V31, &refused, &format!("20 02 00 {code}"));
        from_server(V311, &refused, &format!("20 02 00 {code}"));
        from_server(V5, &refused, &format!("20 03 00 {:02x} 00", reason.as_u8()));
    }
}

#[test]
fn connack_of_mqtt_5_with_every_property() {
    let mut connack = ConnAck::new(ReasonCode::Success);
    connack.session_expiry_seconds = Some(0);
    connack.receive_maximum = NonZeroU16::MIN;
    connack.maximum_qos = Qos::AtLeastOnce;
    connack.packet_bytes_max = NonZeroU32::new(256);
    connack.topic_alias_maximum = 2;
    connack.server_keep_alive_seconds = Some(30);
    connack.retain_available = false;
    connack.wildcard_subscription_available = false;
    connack.subscription_ids_available = false;
    connack.shared_subscription_available = false;
    connack.assigned_client_id = Some("a".try_into().unwrap());
    connack.reason_string = Some(text("s"));
    connack.response_information = Some(text("i"));
    connack.server_reference = Some(text("h"));
    connack.authentication_method = Some(text("m"));
    connack.authentication_data = Some(Bytes::from_static(b"d"));
    connack.user_properties = pairs();
    from_server(
        V5,
        &Packet::ConnAck(Box::new(connack)),
        "20 3f 00 00 3c 11 00000000 21 0001 24 01 27 00000100 22 0002 13 001e 25 00 28 00 29 00 2a 00 \
         12 0001 61 1f 0001 73 1a 0001 69 1c 0001 68 15 0001 6d 16 0001 64 26 0001 6b 0001 76",
    );
}

#[test]
fn publish() {
    let plain = Packet::Publish(Publish::new(message("a/b", b"hi"), None));
    from_both(V31, &plain, "30 07 0003 612f62 6869");
    from_both(V311, &plain, "30 07 0003 612f62 6869");
    from_both(V5, &plain, "30 08 0003 612f62 00 6869");

    let mut again = message("a", b"");
    again.qos = Qos::ExactlyOnce;
    again.retain = true;
    let mut again = Publish::new(again, Some(id(0x0102)));
    again.dup = true;
    let again = Packet::Publish(again);
    from_both(V31, &again, "3d 05 0001 61 0102");
    from_both(V311, &again, "3d 05 0001 61 0102");
    from_both(V5, &again, "3d 06 0001 61 0102 00");
}

#[test]
fn publish_of_mqtt_5_with_every_property() {
    let mut full = message("a", b"hi");
    full.qos = Qos::AtLeastOnce;
    full.expiry_seconds = Some(60);
    full.properties = every_forwarded_property();
    let mut full = Publish::new(full, Some(id(1)));
    let alias = TopicAlias::new(0x1234).unwrap();
    let forwarded = "01 01 03 0001 74 08 0001 72 09 0001 00 26 0001 6b 0001 76 26 0001 6b 0001 77";
    full.topic = PublishTopic::Alias(alias);
    let packet = Packet::Publish(full.clone());
    from_both(
        V5,
        &packet,
        &format!("32 2b 0000 0001 24 23 1234 02 0000003c {forwarded} 6869"),
    );
    full.topic = PublishTopic::Define {
        name: TopicName::try_from("a").unwrap(),
        alias,
    };
    full.subscription_ids = [1, 200, SubscriptionId::MAX]
        .into_iter()
        .filter_map(SubscriptionId::new)
        .collect();
    from_server(
        V5,
        &Packet::Publish(full),
        &format!(
            "32 36 0001 61 0001 2e 23 1234 02 0000003c 0b 01 0b c801 0b ffffff7f {forwarded} 6869"
        ),
    );
}

#[test]
fn acknowledgements() {
    type Make = fn(Ack) -> Packet;
    let all: [(Make, &str, ReasonCode); 4] = [
        (Packet::PubAck, "40", ReasonCode::QuotaExceeded),
        (Packet::PubRec, "50", ReasonCode::NoMatchingSubscribers),
        (Packet::PubRel, "62", ReasonCode::PacketIdentifierNotFound),
        (Packet::PubComp, "70", ReasonCode::PacketIdentifierNotFound),
    ];
    for (make, first, reason) in all {
        for version in ALL {
            from_both(version, &make(Ack::new(id(7))), &format!("{first} 02 0007"));
        }
        let code = format!("{:02x}", reason.as_u8());
        let mut ack = Ack::with_reason(id(7), reason);
        from_both(V5, &make(ack.clone()), &format!("{first} 03 0007 {code}"));
        ack.reason_string = Some(text("s"));
        ack.user_properties = pairs();
        let properties = "0b 1f 0001 73 26 0001 6b 0001 76";
        from_both(
            V5,
            &make(ack),
            &format!("{first} 0f 0007 {code} {properties}"),
        );
    }
}

#[test]
fn subscribe() {
    let filter = |filter, qos| SubscribeFilter::new(text(filter), SubscriptionOptions::new(qos));
    let mut subscribe = Subscribe::new(
        id(10),
        vec![
            filter("a/#", Qos::AtMostOnce),
            filter("$share/g/+", Qos::ExactlyOnce),
        ],
    );
    let v3 = "82 15 000a 0003 612f23 00 000a 2473686172652f672f2b 02";
    from_client(V31, &Packet::Subscribe(subscribe.clone()), v3);
    from_client(V311, &Packet::Subscribe(subscribe.clone()), v3);
    subscribe.subscription_id = SubscriptionId::new(300);
    subscribe.user_properties = pairs();
    subscribe.filters[0].options = SubscriptionOptions {
        qos: Qos::AtLeastOnce,
        no_local: true,
        retain_as_published: true,
        retain_handling: RetainHandling::DoNotSend,
    };
    subscribe.filters[1].options.retain_handling = RetainHandling::SendIfNew;
    from_client(
        V5,
        &Packet::Subscribe(subscribe),
        "82 20 000a 0a 0b ac02 26 0001 6b 0001 76 0003 612f23 2d 000a 2473686172652f672f2b 12",
    );
}

#[test]
fn suback() {
    use ReasonCode::{GrantedQos1, GrantedQos2, Success, TopicFilterInvalid, UnspecifiedError};
    let granted = SubAck::new(id(10), vec![Success, GrantedQos1, GrantedQos2]);
    from_server(V31, &Packet::SubAck(granted), "90 05 000a 00 01 02");
    let mut suback = SubAck::new(id(10), vec![GrantedQos2, UnspecifiedError]);
    from_server(V311, &Packet::SubAck(suback.clone()), "90 04 000a 02 80");
    suback.codes[1] = TopicFilterInvalid;
    suback.reason_string = Some(text("s"));
    suback.user_properties = pairs();
    let golden = "90 10 000a 0b 1f 0001 73 26 0001 6b 0001 76 02 8f";
    from_server(V5, &Packet::SubAck(suback), golden);
}

#[test]
fn unsubscribe_and_unsuback() {
    let filters = ["a/#", "b"].map(|filter| UnsubscribeFilter::new(text(filter)));
    let mut unsubscribe = Unsubscribe::new(id(11), filters.to_vec());
    for version in [V31, V311] {
        let packet = Packet::Unsubscribe(unsubscribe.clone());
        from_client(version, &packet, "a2 0a 000b 0003 612f23 0001 62");
        let unsuback = UnsubAck::new(id(11), Vec::new());
        from_server(version, &Packet::UnsubAck(unsuback), "b0 02 000b");
    }
    unsubscribe.user_properties = pairs();
    from_client(
        V5,
        &Packet::Unsubscribe(unsubscribe),
        "a2 12 000b 07 26 0001 6b 0001 76 0003 612f23 0001 62",
    );
    let codes = vec![ReasonCode::Success, ReasonCode::NoSubscriptionExisted];
    let mut unsuback = UnsubAck::new(id(11), codes);
    from_server(
        V5,
        &Packet::UnsubAck(unsuback.clone()),
        "b0 05 000b 00 00 11",
    );
    unsuback.reason_string = Some(text("s"));
    from_server(
        V5,
        &Packet::UnsubAck(unsuback),
        "b0 09 000b 04 1f 0001 73 00 11",
    );
}

#[test]
fn ping() {
    for version in ALL {
        from_client(version, &Packet::PingReq, "c0 00");
        from_server(version, &Packet::PingResp, "d0 00");
    }
}

#[test]
fn disconnect() {
    let bare = Packet::Disconnect(Disconnect::new(ReasonCode::Success));
    from_client(V31, &bare, "e0 00");
    from_client(V311, &bare, "e0 00");
    from_both(V5, &bare, "e0 00");
    let mut left = Disconnect::new(ReasonCode::DisconnectWithWill);
    from_client(V5, &Packet::Disconnect(left.clone()), "e0 01 04");
    left.session_expiry_seconds = Some(1);
    left.user_properties = pairs();
    let golden = "e0 0e 04 0c 11 00000001 26 0001 6b 0001 76";
    from_client(V5, &Packet::Disconnect(left), golden);
    let mut moved = Disconnect::new(ReasonCode::ServerMoved);
    moved.reason_string = Some(text("s"));
    moved.server_reference = Some(text("h"));
    from_server(
        V5,
        &Packet::Disconnect(moved),
        "e0 0a 9d 08 1f 0001 73 1c 0001 68",
    );
}

#[test]
fn auth() {
    let data = Some(Bytes::from_static(b"d"));
    let mut auth = Auth::new(ReasonCode::ContinueAuthentication, text("m"), data);
    from_both(
        V5,
        &Packet::Auth(auth.clone()),
        "f0 0a 18 08 15 0001 6d 16 0001 64",
    );
    auth.reason = ReasonCode::ReAuthenticate;
    auth.data = None;
    auth.reason_string = Some(text("s"));
    auth.user_properties = pairs();
    let golden = "f0 11 19 0f 15 0001 6d 1f 0001 73 26 0001 6b 0001 76";
    from_both(V5, &Packet::Auth(auth), golden);
}

#[test]
fn lengths_at_each_border_of_their_form() {
    for (payload, header) in [
        (124, "30 7f"),
        (125, "30 8001"),
        (16_380, "30 ff7f"),
        (16_381, "30 808001"),
        (2_097_148, "30 ffff7f"),
        (2_097_149, "30 80808001"),
    ] {
        let mut out = BytesMut::new();
        let publish = Publish::new(message("a", b""), None);
        let payload = Bytes::from(vec![0; payload]);
        let packet = Packet::Publish(Publish { payload, ..publish });
        encode(&packet, V311, &mut out).unwrap();
        assert!(out.starts_with(&hex(header)), "{header}");
        let mut decoder = Decoder::client(V311, DecodeLimits::UNLIMITED);
        assert_eq!(decoder.decode(&mut out), Ok(Some(packet)));
    }
}

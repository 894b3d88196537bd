//! Strings, names and lengths on the wire.

use bytes::Bytes;
use tessera_mqtt::{
    DecodeLimits, Message, ProtocolVersion, Publish, Qos, SubscriptionId, TopicName,
};
use tessera_session::{Delivery, Event, Grant, ServerLimits};

use crate::pair::{ALL, Pair, V3S, client_id, connect, grant, message, string, topic};

const V5: ProtocolVersion = ProtocolVersion::V5;

/// Through the server: published by one client, delivered to another.
fn through(version: ProtocolVersion, limits: &ServerLimits, name: &str) -> Publish {
    let mut publisher = Pair::online_with(version, limits.clone(), |_| {});
    publisher.decode_within(DecodeLimits::UNLIMITED);
    let sent = Publish::new(message(name, "payload"), None);
    let event = publisher.send(tessera_mqtt::Packet::Publish(sent));
    let Event::Publish(publish) = event else {
        panic!("{event:?}");
    };
    let mut subscriber = Pair::online_with(version, limits.clone(), |_| {});
    let delivery = subscriber.deliver(&publish.message, &grant(Qos::AtMostOnce));
    assert_eq!(delivery, Delivery::Written);
    subscriber.receive_publish()
}

#[test]
fn v5_mqtt_1_5_4_3_and_v3_mqtt_1_5_3_3_a_byte_order_mark_is_kept() {
    for version in ALL {
        let mut pair = Pair::new(version);
        let mut connect = connect(version);
        connect.client_id = Some(client_id("\u{FEFF}c"));
        let given = pair.connect(connect).client_id.unwrap();
        assert_eq!(given.as_bytes(), b"\xEF\xBB\xBFc");
        let name = "\u{FEFF}a/\u{FEFF}";
        let publish = through(version, &ServerLimits::default(), name);
        let bytes = publish.topic.name().unwrap().as_bytes();
        assert_eq!(bytes, b"\xEF\xBB\xBFa/\xEF\xBB\xBF");
    }
}

#[test]
fn v5_mqtt_4_7_3_3_and_v3_mqtt_4_7_3_3_a_name_has_up_to_65535_bytes() {
    let limits = ServerLimits {
        topic_bytes_max: 65_535,
        ..ServerLimits::default()
    };
    let longest = "x".repeat(65_535);
    for version in ALL {
        let publish = through(version, &limits, &longest);
        assert_eq!(publish.topic.name().unwrap().as_bytes().len(), 65_535);
    }
    let longer = Bytes::from(vec![b'x'; 65_536]);
    assert!(TopicName::try_from(longer.clone()).is_err());
    assert!(tessera_mqtt::MqttString::try_from(longer).is_err());
}

#[test]
fn v5_mqtt_1_5_5_1_lengths_and_identifiers_take_the_fewest_bytes() {
    let cases: [(u32, &[u8]); 6] = [
        (1, &[1]),
        (127, &[0x7F]),
        (128, &[0x80, 1]),
        (16_383, &[0xFF, 0x7F]),
        (16_384, &[0x80, 0x80, 1]),
        (268_435_455, &[0xFF, 0xFF, 0xFF, 0x7F]),
    ];
    for (number, expected) in cases {
        let mut pair = Pair::online(V5);
        let ids = [SubscriptionId::new(number).unwrap()];
        let with_id = Grant {
            subscription_ids: &ids,
            ..grant(Qos::AtMostOnce)
        };
        pair.deliver(&message("t", ""), &with_id);
        let length = u8::try_from(expected.len()).unwrap();
        let head = [0x30, 5 + length, 0, 1, b't', 1 + length, 0x0B];
        assert_eq!(pair.receive_bytes(), [&head, expected].concat());
    }
    for (payload_bytes, expected) in [(123, &[0x7F][..]), (124, &[0x80, 1])] {
        let mut pair = Pair::online(V5);
        pair.deliver(
            &message("t", &"x".repeat(payload_bytes)),
            &grant(Qos::AtMostOnce),
        );
        assert!(pair.receive_bytes()[1..].starts_with(expected));
    }
}

#[test]
fn v5_mqtt_2_2_2_1_no_properties_are_a_length_of_zero() {
    let mut pair = Pair::online(V5);
    pair.deliver(&message("t", "m"), &grant(Qos::AtMostOnce));
    assert_eq!(pair.receive_bytes(), [0x30, 5, 0, 1, b't', 0, b'm']);
    let events = pair.send_bytes(&[0x82, 7, 0, 9, 0, 0, 1, b't', 0]).unwrap();
    let [Event::Subscribe(request)] = &events[..] else {
        panic!("{events:?}");
    };
    pair.with_inbound(|inbound, out| {
        inbound.write_suback(request.token, &[Ok(Qos::AtMostOnce)], None, out)
    })
    .unwrap();
    assert_eq!(pair.receive_bytes(), [0x90, 4, 0, 9, 0, 0]);
}

/// What follows the protocol name, in the order that the standard gives.
fn full_connect(version: ProtocolVersion) -> Vec<u8> {
    let string = |text: &str| [&[0, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    let properties: &[u8] = if version.is_v5() { &[0] } else { &[] };
    let (name, level) = match version {
        ProtocolVersion::V31 => ("MQIsdp", 3),
        ProtocolVersion::V311 => ("MQTT", 4),
        ProtocolVersion::V5 => ("MQTT", 5),
    };
    let body = [
        string(name),
        vec![level, 0xEE, 0, 60],
        properties.to_vec(),
        string("client"),
        properties.to_vec(),
        string("will/topic"),
        string("will payload"),
        string("user"),
        string("password"),
    ]
    .concat();
    [vec![0x10, u8::try_from(body.len()).unwrap()], body].concat()
}

#[test]
fn v5_mqtt_3_1_3_1_and_3_1_2_9_and_v3_mqtt_3_1_3_1_and_3_1_2_9_the_payload_is_read_in_its_order() {
    for version in ALL {
        let mut pair = Pair::new(version);
        let events = pair.send_bytes(&full_connect(version)).unwrap();
        let [Event::Connect(request)] = &events[..] else {
            panic!("{events:?}");
        };
        let connect = &request.connect;
        assert_eq!(request.client_id, Some(client_id("client")));
        assert_eq!(connect.username, Some(string("user")));
        let password = connect.password.as_ref().unwrap();
        assert_eq!(password.as_bytes(), b"password");
        let will: &Message = &pair.inbound.will().unwrap().message;
        assert_eq!(
            (&will.topic, &will.payload[..]),
            (&topic("will/topic"), &b"will payload"[..])
        );
        assert_eq!((will.qos, will.retain), (Qos::AtLeastOnce, true));
    }
}

#[test]
fn v5_mqtt_3_1_2_17_and_19_and_v3_mqtt_3_1_2_19_and_21_what_the_flags_say_is_there_reaches_the_shell()
 {
    for version in V3S.into_iter().chain([V5]) {
        let mut with = connect(version);
        with.username = Some(string("user"));
        with.password = Some(tessera_mqtt::Password::new("secret"));
        let request = Pair::new(version).connect(with);
        assert_eq!(request.connect.username, Some(string("user")));
        assert!(request.connect.password.is_some());
        let request = Pair::new(version).connect(connect(version));
        assert_eq!(request.connect.username, None);
        assert!(request.connect.password.is_none());
    }
}

//! Strings in every field that holds one.

use tessera_mqtt::Qos;
use tessera_session::{Event, ServerLimits};

use super::{
    CLEAN, USERNAME, V311, WILL, closes, connect_of, is_alive, online, publish_of, send,
    subscribe_of, unsubscribe_of,
};
use crate::pair::{Pair, grant, topic};

/// Not well-formed UTF-8: a lone continuation, cut sequences, overlong forms, surrogates, past
/// U+10FFFF.
const ILL_FORMED: [&[u8]; 9] = [
    b"a\x80",
    b"a\xC3",
    b"\xE2\x82",
    b"\xC0\x80",
    b"\xC1\xBF",
    b"\xED\xA0\x80",
    b"\xED\xBF\xBF",
    b"\xF4\x90\x80\x80",
    b"\xFF",
];
/// With U+0000.
const WITH_NUL: [&[u8]; 3] = [b"\0", b"a\0b", b"a\0"];

#[test]
fn v3_mqtt_1_5_3_1_and_3_1_3_4_and_3_1_3_10_and_3_1_3_11_ill_formed_text_in_connect_is_closed() {
    for text in ILL_FORMED {
        for connect in connects_with(text) {
            closes(&mut Pair::new(V311), &connect);
        }
    }
}

#[test]
fn v3_mqtt_1_5_3_2_and_4_7_3_2_a_nul_in_connect_is_closed() {
    for text in WITH_NUL {
        for connect in connects_with(text) {
            closes(&mut Pair::new(V311), &connect);
        }
    }
}

#[test]
fn v3_mqtt_1_5_3_1_and_3_3_2_1_and_3_8_3_1_and_3_10_3_1_an_ill_formed_name_or_filter_is_closed() {
    for text in ILL_FORMED {
        for packet in packets_with(text) {
            closes(&mut online(), &packet);
        }
    }
}

#[test]
fn v3_mqtt_1_5_3_2_and_4_7_3_2_a_nul_in_a_name_or_filter_is_closed() {
    for text in WITH_NUL {
        for packet in packets_with(text) {
            closes(&mut online(), &packet);
        }
    }
}

#[test]
fn v3_mqtt_1_5_3_3_a_byte_order_mark_is_a_character_and_stays() {
    let name = b"\xEF\xBB\xBFa/\xEF\xBB\xBF";
    let mut pair = online();
    let event = send(&mut pair, &publish_of(0x30, name, 0, b"m"));
    let Event::Publish(publish) = event else {
        panic!("expected a message, got {event:?}");
    };
    assert_eq!(publish.message.topic.as_bytes(), name);
    pair.deliver(&publish.message, &grant(Qos::AtMostOnce));
    assert_eq!(pair.receive_bytes(), publish_of(0x30, name, 0, b"m"));
    let event = send(&mut pair, &subscribe_of(1, &[(name, 0)]));
    let Event::Subscribe(request) = event else {
        panic!("expected SUBSCRIBE, got {event:?}");
    };
    let filter = &request.entries[0].target.as_ref().unwrap().filter;
    assert!(filter.matches(&publish.message.topic));
    assert!(!filter.matches(&topic("a/")));

    let mut pair = Pair::new(V311);
    let event = send(&mut pair, &connect_of(CLEAN, &[b"\xEF\xBB\xBFc"]));
    let Event::Connect(request) = event else {
        panic!("expected CONNECT, got {event:?}");
    };
    let client_id = request.client_id.unwrap();
    assert_eq!(client_id.as_bytes(), b"\xEF\xBB\xBFc");
}

#[test]
fn v3_mqtt_4_7_3_3_the_longest_name_is_taken_and_leaves_whole() {
    let limits = ServerLimits {
        topic_bytes_max: usize::MAX,
        ..ServerLimits::default()
    };
    let mut pair = Pair::online_with(V311, limits, |_| {});
    let name = vec![b'n'; 65_535];
    let packet = publish_of(0x30, &name, 0, b"m");
    let event = send(&mut pair, &packet);
    let Event::Publish(publish) = event else {
        panic!("expected a message, got {event:?}");
    };
    pair.deliver(&publish.message, &grant(Qos::AtMostOnce));
    assert_eq!(pair.receive_bytes(), packet);
    let longer = vec![b'n'; 65_536];
    let longer = tessera_mqtt::TopicName::try_from(&*String::from_utf8(longer).unwrap());
    assert!(longer.is_err(), "no message can have a longer one");
    is_alive(&mut pair);
}

#[test]
fn v3_mqtt_4_7_3_1_an_empty_name_is_closed() {
    closes(&mut online(), &publish_of(0x30, b"", 0, b"m"));
    let connect = connect_of(CLEAN | WILL, &[b"c", b"", b"gone"]);
    closes(&mut Pair::new(V311), &connect);
}

fn connects_with(text: &[u8]) -> [Vec<u8>; 3] {
    [
        connect_of(CLEAN, &[text]),
        connect_of(CLEAN | WILL, &[b"c", text, b"gone"]),
        connect_of(CLEAN | USERNAME, &[b"c", text]),
    ]
}

fn packets_with(text: &[u8]) -> [Vec<u8>; 5] {
    [
        publish_of(0x30, text, 0, b"m"),
        publish_of(0x32, text, 1, b"m"),
        publish_of(0x34, text, 1, b"m"),
        subscribe_of(1, &[(b"fine", 0), (text, 0)]),
        unsubscribe_of(1, &[b"fine", text]),
    ]
}

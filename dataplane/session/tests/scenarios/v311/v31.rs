//! MQTT 3.1's own rules, where they differ from 3.1.1.

use tessera_mqtt::{ProtocolVersion, Qos, ReasonCode};
use tessera_session::{Accepted, ConnectRequest, Event};

use super::{
    CLEAN, PASSWORD, USERNAME, V311, WILL, WILL_QOS_1, WILL_RETAIN, closes, connect_as, is_alive,
    is_over, publish_of, refuses, send, subscribe_of,
};
use crate::pair::Pair;

const V31: ProtocolVersion = ProtocolVersion::V31;

fn connect_of(flags: u8, fields: &[&[u8]]) -> Vec<u8> {
    connect_as(b"MQIsdp", 3, flags, fields)
}

fn deciding(flags: u8, fields: &[&[u8]]) -> (Pair, Box<ConnectRequest>) {
    let mut pair = Pair::new(V31);
    match send(&mut pair, &connect_of(flags, fields)) {
        Event::Connect(request) => (pair, request),
        other => panic!("expected CONNECT, got {other:?}"),
    }
}

fn online() -> Pair {
    let (mut pair, _) = deciding(CLEAN | WILL, &[b"c", b"will", b"gone"]);
    pair.accept(Accepted::default());
    pair
}

#[test]
fn v31_its_name_and_level_are_accepted_and_no_others() {
    is_alive(&mut online());
    for level in [0, 1, 2, 4, 5] {
        let connect = connect_as(b"MQIsdp", level, CLEAN, &[b"c"]);
        refuses(&mut Pair::new(V31), &connect, &[0x20, 2, 0, 1]);
    }
    let mixed = connect_as(b"MQTT", 3, CLEAN, &[b"c"]);
    refuses(&mut Pair::new(V31), &mixed, &[0x20, 2, 0, 1]);
    for name in [&b"MQISDP"[..], b"MQIsd", b"MQIsdpp"] {
        closes(&mut Pair::new(V31), &connect_as(name, 3, CLEAN, &[b"c"]));
    }
}

#[test]
fn v31_client_identifiers_of_1_to_23_characters_are_accepted() {
    for len in 1..=23 {
        let (mut pair, request) = deciding(CLEAN, &[&vec![b'x'; len]]);
        assert_eq!(request.client_id.unwrap().as_bytes().len(), len);
        pair.accept(Accepted::default());
        is_alive(&mut pair);
    }
}

#[test]
fn v31_an_empty_or_too_long_client_identifier_is_told_0x02_and_closed() {
    for flags in [CLEAN, 0] {
        let empty = connect_of(flags, &[b""]);
        refuses(&mut Pair::new(V31), &empty, &[0x20, 2, 0, 2]);
        let long = connect_of(flags, &[&[b'x'; 24]]);
        refuses(&mut Pair::new(V31), &long, &[0x20, 2, 0, 2]);
    }
}

#[test]
fn v31_connack_has_no_session_present() {
    let (mut pair, _) = deciding(0, &[b"c"]);
    let accepted = Accepted {
        session_present: true,
        ..Accepted::default()
    };
    pair.with_inbound(|inbound, out| inbound.accept(accepted, out));
    assert_eq!(pair.receive_bytes(), [0x20, 2, 0, 0]);
    is_alive(&mut pair);
}

#[test]
fn v31_a_refused_subscription_closes_for_suback_has_no_failure_code() {
    for filters in [
        &[(&b"a#"[..], 0)][..],
        &[(b"a", 1), (b"b/#/c", 1)],
        &[(b"", 0), (b"a", 2)],
    ] {
        let mut pair = online();
        let Event::Subscribe(request) = send(&mut pair, &subscribe_of(1, filters)) else {
            panic!("expected SUBSCRIBE");
        };
        let outcomes: Vec<_> = request
            .entries
            .iter()
            .map(|entry| entry.target.as_ref().map(|_| entry.options.qos))
            .map(|outcome| outcome.map_err(|reason| *reason))
            .collect();
        let violation = pair
            .with_inbound(|inbound, out| inbound.write_suback(request.token, &outcomes, None, out))
            .unwrap_err();
        assert_eq!(violation.reason, ReasonCode::TopicFilterInvalid);
        pair.violate(&violation);
        assert!(pair.receive_bytes().is_empty());
        assert!(pair.inbound.will().is_some(), "it is published");
        is_over(&mut pair);
    }
}

#[test]
fn v31_a_granted_subscription_is_answered_with_its_qos() {
    let mut pair = online();
    let Event::Subscribe(request) = send(&mut pair, &subscribe_of(3, &[(b"a", 0), (b"b", 2)]))
    else {
        panic!("expected SUBSCRIBE");
    };
    let outcomes = [Ok(Qos::AtMostOnce), Ok(Qos::ExactlyOnce)];
    pair.with_inbound(|inbound, out| inbound.write_suback(request.token, &outcomes, None, out))
        .unwrap();
    assert_eq!(pair.receive_bytes(), [0x90, 4, 0, 3, 0, 2]);
    is_alive(&mut pair);
}

#[test]
fn v31_dup_may_mark_subscribe_unsubscribe_and_pubrel() {
    let mut pair = online();
    let subscribe = [0x8A, 6, 0, 1, 0, 1, b'a', 1];
    assert!(matches!(send(&mut pair, &subscribe), Event::Subscribe(_)));
    let unsubscribe = [0xAA, 5, 0, 2, 0, 1, b'a'];
    assert!(matches!(
        send(&mut pair, &unsubscribe),
        Event::Unsubscribe(_)
    ));
    pair.publish_settled(2, 3);
    assert_eq!(pair.receive_bytes(), [0x50, 2, 0, 3]);
    assert!(matches!(
        send(&mut pair, &[0x6A, 2, 0, 3]),
        Event::Release(_)
    ));
    pair.complete_release(3);
    assert_eq!(pair.receive_bytes(), [0x70, 2, 0, 3]);
    is_alive(&mut pair);
    // Not in 3.1.1, and nothing but DUP in 3.1.
    for bytes in [&subscribe[..], &unsubscribe, &[0x6A, 2, 0, 3]] {
        closes(&mut Pair::online(V311), bytes);
        let other = [&[bytes[0] & 0xF0][..], &bytes[1..]].concat();
        closes(&mut online(), &other);
    }
}

#[test]
fn v31_will_bits_without_will_flag_are_disregarded() {
    for bits in [
        WILL_QOS_1,
        WILL_RETAIN,
        WILL_QOS_1 | WILL_RETAIN,
        0b0001_1000,
    ] {
        let (mut pair, request) = deciding(CLEAN | bits, &[b"c"]);
        assert_eq!(request.connect.will, None);
        pair.accept(Accepted::default());
        is_alive(&mut pair);
    }
}

#[test]
fn v31_the_remaining_length_counts_more_than_the_flags_of_user_name_and_password() {
    let (_, request) = deciding(CLEAN | USERNAME | PASSWORD, &[b"c"]);
    let connect = request.connect;
    assert_eq!((connect.username, connect.password), (None, None));
    let (_, request) = deciding(CLEAN | USERNAME | PASSWORD, &[b"c", b"user"]);
    assert_eq!(request.connect.username.unwrap().as_bytes(), b"user");
    assert_eq!(request.connect.password, None);
}

#[test]
fn v31_a_violation_closes_without_a_word_and_keeps_the_will() {
    for bytes in [
        &connect_of(CLEAN, &[b"c"])[..],
        &[0x36, 5, 0, 1, b't', 0, 1],
        &publish_of(0x30, b"a/#", 0, b"m"),
        &subscribe_of(1, &[(b"a", 3)]),
        &[0x82, 2, 0, 1],
        &[0xF0, 0],
    ] {
        closes(&mut online(), bytes);
    }
}

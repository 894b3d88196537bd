//! Messages of the client: what is taken, what is answered, what closes.

use tessera_mqtt::ReasonCode;
use tessera_session::{Event, InboundPublish};

use super::{CLEAN, V311, WILL, closes, connect_of, is_alive, is_over, online, publish_of, send};
use crate::pair::{Pair, id};

/// The message that reaches the shell.
fn message(pair: &mut Pair, bytes: &[u8]) -> InboundPublish {
    match send(pair, bytes) {
        Event::Publish(publish) => publish,
        other => panic!("expected a message, got {other:?}"),
    }
}

fn settle(pair: &mut Pair, publish: &InboundPublish) {
    pair.settle(publish.ticket.unwrap(), ReasonCode::Success);
}

#[test]
fn v3_mqtt_2_3_1_5_a_qos_0_publish_has_no_identifier() {
    let mut pair = online();
    let publish = message(&mut pair, &publish_of(0x30, b"t", 0, &[0, 7]));
    assert_eq!((publish.packet_id, publish.ticket), (None, None));
    assert_eq!(
        &*publish.message.payload,
        [0, 7],
        "the payload begins at once"
    );
    pair.write_acknowledgements();
    is_alive(&mut pair);
}

#[test]
fn v3_mqtt_2_3_1_6_and_3_3_4_1_each_qos_is_answered_with_its_identifier() {
    let mut pair = online();
    message(&mut pair, &publish_of(0x30, b"t", 0, b"m"));
    pair.write_acknowledgements();
    assert!(pair.receive_bytes().is_empty(), "QoS 0 is not answered");

    let publish = message(&mut pair, &publish_of(0x32, b"t", 0x1234, b"m"));
    assert_eq!(publish.packet_id, Some(id(0x1234)));
    settle(&mut pair, &publish);
    assert_eq!(pair.receive_bytes(), [0x40, 2, 0x12, 0x34]);

    let publish = message(&mut pair, &publish_of(0x34, b"t", 0xFFFF, b"m"));
    settle(&mut pair, &publish);
    assert_eq!(pair.receive_bytes(), [0x50, 2, 0xFF, 0xFF]);
    let event = send(&mut pair, &[0x62, 2, 0xFF, 0xFF]);
    assert!(matches!(event, Event::Release(packet_id) if packet_id == id(0xFFFF)));
    pair.complete_release(0xFFFF);
    assert_eq!(pair.receive_bytes(), [0x70, 2, 0xFF, 0xFF]);
    is_alive(&mut pair);
}

#[test]
fn v3_mqtt_3_3_2_1_the_topic_is_the_first_field() {
    let mut pair = online();
    let publish = message(&mut pair, &publish_of(0x35, b"first", 2, b"\0\x05other"));
    assert_eq!(publish.message.topic.as_bytes(), b"first");
    assert_eq!(publish.packet_id, Some(id(2)));
    assert_eq!(&*publish.message.payload, b"\0\x05other");
    assert!(publish.message.retain);
}

#[test]
fn v3_mqtt_3_3_2_2_and_4_7_1_1_a_name_with_a_wildcard_is_closed() {
    for name in [&b"#"[..], b"+", b"a/#", b"a/+/b", b"a+b", b"a#"] {
        for first in [0x30, 0x32, 0x34] {
            closes(&mut online(), &publish_of(first, name, 1, b"m"));
        }
        let connect = connect_of(CLEAN | WILL, &[b"c", name, b"gone"]);
        closes(&mut Pair::new(V311), &connect);
    }
}

#[test]
fn v3_mqtt_4_3_2_2_after_puback_the_identifier_is_a_new_message() {
    let mut pair = online();
    for (first, payload) in [(0x32, b"one"), (0x32, b"two"), (0x3A, b"two")] {
        let publish = message(&mut pair, &publish_of(first, b"t", 9, payload));
        assert_eq!(&*publish.message.payload, payload);
        pair.write_acknowledgements();
        assert!(pair.receive_bytes().is_empty(), "not before it is settled");
        settle(&mut pair, &publish);
        assert_eq!(pair.receive_bytes(), [0x40, 2, 0, 9]);
    }
    is_alive(&mut pair);
}

#[test]
fn v3_mqtt_4_3_3_2_a_repeat_is_answered_and_not_delivered_until_pubrel_frees_the_identifier() {
    let mut pair = online();
    for round in [b"one", b"two"] {
        let publish = message(&mut pair, &publish_of(0x34, b"t", 9, round));
        assert_eq!(&*publish.message.payload, round, "a new message");
        settle(&mut pair, &publish);
        assert_eq!(pair.receive_bytes(), [0x50, 2, 0, 9]);
        for first in [0x3C, 0x34] {
            let event = send(&mut pair, &publish_of(first, b"t", 9, round));
            assert!(matches!(event, Event::Nothing), "{event:?}");
            pair.write_acknowledgements();
            assert_eq!(pair.receive_bytes(), [0x50, 2, 0, 9]);
        }
        assert!(matches!(
            send(&mut pair, &[0x62, 2, 0, 9]),
            Event::Release(_)
        ));
        pair.complete_release(9);
        assert_eq!(pair.receive_bytes(), [0x70, 2, 0, 9]);
    }
    // PUBREL once more, for PUBCOMP may have been lost: answered, nothing released.
    assert!(matches!(send(&mut pair, &[0x62, 2, 0, 9]), Event::Nothing));
    assert_eq!(pair.receive_bytes(), [0x70, 2, 0, 9]);
    is_alive(&mut pair);
}

#[test]
fn v3_mqtt_3_3_5_2_a_message_that_is_not_authorized_closes_unacknowledged() {
    for first in [0x32, 0x34] {
        let mut pair = online();
        let publish = message(&mut pair, &publish_of(first, b"t", 1, b"m"));
        let violation = pair
            .inbound
            .complete_publish(publish.ticket.unwrap(), ReasonCode::NotAuthorized, None)
            .unwrap_err();
        pair.violate(&violation);
        pair.write_acknowledgements();
        assert!(pair.receive_bytes().is_empty());
        assert!(pair.inbound.will().is_some());
        is_over(&mut pair);
    }
}

#[test]
fn v3_mqtt_4_8_0_2_a_message_that_could_not_be_stored_closes_unacknowledged() {
    let mut pair = online();
    let stored = message(&mut pair, &publish_of(0x32, b"t", 1, b"m"));
    let lost = message(&mut pair, &publish_of(0x32, b"t", 2, b"m"));
    settle(&mut pair, &stored);
    let reason = ReasonCode::UnspecifiedError;
    let violation = pair
        .inbound
        .complete_publish(lost.ticket.unwrap(), reason, None)
        .unwrap_err();
    pair.violate(&violation);
    pair.write_acknowledgements();
    assert_eq!(
        pair.receive_bytes(),
        [0x40, 2, 0, 1],
        "what was stored only"
    );
    assert!(pair.inbound.will().is_some());
    is_over(&mut pair);
}

#[test]
fn v3_mqtt_4_8_0_1_what_completes_after_the_close_is_not_said() {
    let mut pair = online();
    let released = message(&mut pair, &publish_of(0x34, b"t", 1, b"m"));
    settle(&mut pair, &released);
    assert_eq!(pair.receive_bytes(), [0x50, 2, 0, 1]);
    let event = send(&mut pair, &[0x62, 2, 0, 1]);
    assert!(matches!(event, Event::Release(_)));
    let open = message(&mut pair, &publish_of(0x32, b"t", 2, b"m"));
    closes(&mut pair, &[0x90, 3, 0, 1, 0]);
    settle(&mut pair, &open);
    pair.complete_release(1);
    is_over(&mut pair);
}

//! Messages of the server: identifiers, handshakes, what is sent again.

use std::collections::VecDeque;

use tessera_mqtt::{Packet, Qos};
use tessera_session::{Accepted, AckOutcome, Delivery, Event, Grant, Numbering, Sequence};

use super::{CLEAN, V311, connect_of, is_alive, online, publish_of, send};
use crate::pair::{Pair, grant, id, message, numbered, progress, puback, pubcomp, pubrec};

const QOS1: Qos = Qos::AtLeastOnce;
const QOS2: Qos = Qos::ExactlyOnce;

/// A connection that resumed a stored session: its queue begins at `cursor`, these were released.
fn resumed(cursor: u64, released: &[u64]) -> Pair {
    let mut pair = Pair::new(V311);
    pair.numbering = Numbering::Inbox;
    send(&mut pair, &connect_of(0, &[b"c"]));
    let connack = pair.accept(Accepted {
        session_present: true,
        ..Accepted::default()
    });
    assert!(connack.session_present);
    let released: Vec<Sequence> = released.iter().copied().map(Sequence).collect();
    pair.with_outbound(|outbound, _, out| outbound.resume(Sequence(cursor), &released, out));
    pair
}

fn again(qos: Qos, sequence: u64) -> Grant<'static> {
    Grant {
        dup: true,
        ..numbered(qos, sequence)
    }
}

#[test]
fn v3_mqtt_4_3_1_1_and_2_3_1_5_qos_0_leaves_bare_and_is_done() {
    let mut pair = online();
    assert_eq!(pair.deliver_text("m", Qos::AtMostOnce), Delivery::Written);
    assert_eq!(pair.receive_bytes(), publish_of(0x30, b"t", 0, b"m"));
    is_alive(&mut pair);
}

#[test]
fn v3_mqtt_3_3_1_2_qos_0_never_leaves_with_dup() {
    let mut pair = online();
    let dup = Grant {
        dup: true,
        ..grant(Qos::AtMostOnce)
    };
    pair.deliver(&message("t", "m"), &dup);
    assert_eq!(pair.receive_bytes(), publish_of(0x30, b"t", 0, b"m"));
}

#[test]
fn v3_mqtt_4_3_2_1_and_2_3_1_6_qos_1_is_unacknowledged_until_its_puback() {
    let mut pair = online();
    pair.deliver_text("one", QOS1);
    pair.deliver_text("two", QOS1);
    let expected = [
        publish_of(0x32, b"t", 1, b"one"),
        publish_of(0x32, b"t", 2, b"two"),
    ];
    assert_eq!(pair.receive_bytes(), expected.concat());
    assert_eq!(pair.acknowledge(puback(2)), AckOutcome::Nothing);
    assert_eq!(pair.acknowledge(puback(1)), progress(2));
    is_alive(&mut pair);
}

#[test]
fn v3_mqtt_4_3_3_1_and_2_3_1_6_qos_2_gets_pubrel_on_pubrec_and_waits_for_pubcomp() {
    let mut pair = online();
    pair.deliver_text("m", QOS2);
    assert_eq!(pair.receive_bytes(), publish_of(0x34, b"t", 1, b"m"));
    assert_eq!(pair.acknowledge(pubrec(1)), AckOutcome::Nothing);
    assert_eq!(pair.receive_bytes(), [0x62, 2, 0, 1]);
    // PUBREC once more: PUBREL again, never the PUBLISH.
    pair.acknowledge(pubrec(1));
    assert_eq!(pair.receive_bytes(), [0x62, 2, 0, 1]);
    assert_eq!(pair.acknowledge(pubcomp(1)), progress(1));
    is_alive(&mut pair);
}

#[test]
fn v3_mqtt_2_3_1_4_and_4_3_2_1_and_4_3_3_1_no_identifier_in_use_is_given_again() {
    const DELIVERIES: usize = 70_000;
    const IN_FLIGHT: usize = 7;
    let mut pair = online();
    let mut open: VecDeque<(u16, Qos)> = VecDeque::new();
    for number in 0..DELIVERIES {
        let qos = if number % 3 == 0 { QOS2 } else { QOS1 };
        assert_eq!(pair.deliver_text("m", qos), Delivery::Written);
        let publish = pair.receive_publish();
        let packet_id = publish.packet_id.expect("never 0").get();
        assert!(!publish.dup);
        assert!(open.iter().all(|(other, _)| *other != packet_id));
        open.push_back((packet_id, qos));
        if open.len() > IN_FLIGHT {
            let (packet_id, qos) = open.remove(number % IN_FLIGHT).unwrap();
            complete(&mut pair, packet_id, qos);
        }
    }
}

fn complete(pair: &mut Pair, packet_id: u16, qos: Qos) {
    if qos == QOS1 {
        pair.acknowledge(puback(packet_id));
        return;
    }
    pair.acknowledge(pubrec(packet_id));
    assert!(matches!(pair.receive_one(), Packet::PubRel(ack) if ack.packet_id == id(packet_id)));
    pair.acknowledge(pubcomp(packet_id));
}

#[test]
fn v3_mqtt_4_4_0_1_and_3_3_1_1_and_3_a_resumed_session_sends_again_what_was_not_acknowledged() {
    let mut pair = resumed(4, &[5]);
    let owed = [0x62, 2, 0, 6];
    assert_eq!(pair.receive_bytes(), owed, "PUBREL with its identifier");
    let text = message("t", "m");
    assert_eq!(pair.deliver(&text, &again(QOS1, 4)), Delivery::Written);
    assert_eq!(pair.deliver(&text, &again(QOS2, 5)), Delivery::Known);
    assert_eq!(pair.deliver(&text, &again(QOS2, 6)), Delivery::Written);
    assert_eq!(pair.deliver(&text, &numbered(QOS1, 7)), Delivery::Written);
    let expected = [
        publish_of(0x3A, b"t", 5, b"m"),
        publish_of(0x3C, b"t", 7, b"m"),
        publish_of(0x32, b"t", 8, b"m"),
    ];
    let expected = expected.concat();
    assert_eq!(
        pair.receive_bytes(),
        expected,
        "DUP on what was sent before"
    );
    assert_eq!(pair.acknowledge(pubcomp(6)), AckOutcome::Nothing);
    assert_eq!(pair.acknowledge(puback(5)), progress(6));
    is_alive(&mut pair);
}

#[test]
fn v3_mqtt_4_3_3_1_no_publish_follows_a_pubrel_not_even_on_another_connection() {
    let mut pair = resumed(0, &[0]);
    assert_eq!(pair.receive_bytes(), [0x62, 2, 0, 1]);
    assert_eq!(
        pair.deliver(&message("t", "m"), &again(QOS2, 0)),
        Delivery::Known
    );
    assert!(pair.receive_bytes().is_empty());
    assert_eq!(pair.acknowledge(pubcomp(1)), progress(1));
}

#[test]
fn v3_mqtt_3_3_1_3_a_message_that_came_with_dup_leaves_without() {
    for first in [0x3A, 0x3C] {
        let event = send(&mut online(), &publish_of(first, b"t", 1, b"m"));
        let Event::Publish(publish) = event else {
            panic!("expected a message, got {event:?}");
        };
        let mut subscriber = online();
        subscriber.deliver(&publish.message, &grant(QOS1));
        assert_eq!(subscriber.receive_bytes(), publish_of(0x32, b"t", 1, b"m"));
    }
}

#[test]
fn v3_mqtt_4_6_0_5_and_6_what_waited_for_the_window_leaves_in_order() {
    let mut pair = Pair::new(V311);
    pair.bounds.window_max = 2;
    send(&mut pair, &connect_of(CLEAN, &[b"c"]));
    pair.accept(Accepted::default());
    let texts = ["a", "b", "c", "d", "e"];
    for text in texts {
        pair.deliver_text(text, QOS1);
    }
    let mut got = Vec::new();
    for number in 1..=5 {
        for packet in pair.receive() {
            let Packet::Publish(publish) = packet else {
                panic!("expected PUBLISH, got {packet:?}");
            };
            got.push(String::from_utf8(publish.payload.to_vec()).unwrap());
        }
        pair.acknowledge(puback(number));
    }
    assert_eq!(got, texts);
}

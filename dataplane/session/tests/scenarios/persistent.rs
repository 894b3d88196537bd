//! Deliveries that an inbox numbers: resumption, release, what is passed over.

use std::num::NonZeroU32;

use tessera_mqtt::{Ack, Packet, ProtocolVersion, Qos, ReasonCode};
use tessera_session::{Accepted, AckOutcome, Delivery, Grant, Numbering, Sequence};

use crate::pair::{ALL, Pair, connect, id, message, numbered, progress, puback, pubcomp, pubrec};

const V5: ProtocolVersion = ProtocolVersion::V5;
const QOS1: Qos = Qos::AtLeastOnce;
const QOS2: Qos = Qos::ExactlyOnce;

/// A persistent session's connection.
fn persistent(version: ProtocolVersion) -> Pair {
    let mut pair = Pair::new(version);
    pair.numbering = Numbering::Inbox;
    let mut connect = connect(version);
    connect.clean_start = false;
    pair.connect(connect);
    pair.accept(Accepted::default());
    pair
}

#[test]
fn a_persistent_session_writes_pubrel_only_after_the_pubrec_is_durable() {
    let mut pair = persistent(V5);
    pair.deliver(&message("t", "m"), &numbered(QOS2, 0));
    pair.receive();
    assert_eq!(
        pair.acknowledge(pubrec(1)),
        AckOutcome::Received(Sequence(0))
    );
    assert_eq!(pair.acknowledge(pubrec(1)), AckOutcome::Nothing);
    pair.receive_nothing();
    pair.release(Sequence(0));
    pair.release(Sequence(0));
    assert_eq!(pair.receive(), [Packet::PubRel(Ack::new(id(1)))]);
    assert_eq!(pair.acknowledge(pubcomp(1)), progress(1));
}

#[test]
fn a_persistent_session_passes_over_a_message_that_is_too_large() {
    let mut pair = Pair::new(V5);
    pair.numbering = Numbering::Inbox;
    let mut connect = connect(V5);
    connect.packet_bytes_max = NonZeroU32::new(64);
    pair.connect(connect);
    pair.accept(Accepted::default());
    let large = message("t", &"x".repeat(100));
    let delivery = pair.deliver(&large, &numbered(QOS1, 0));
    assert_eq!(delivery, Delivery::DroppedTooLarge);
    let below = pair.with_outbound(|outbound, _, _| outbound.acknowledged_below());
    assert_eq!(below, Sequence(1));
}

#[test]
fn pubcomp_before_the_pubrec_is_durable_is_a_protocol_error() {
    let mut pair = persistent(V5);
    pair.deliver(&message("t", "m"), &numbered(QOS2, 0));
    pair.acknowledge(pubrec(1));
    let violation = pair.try_acknowledge(pubcomp(1)).unwrap_err();
    assert_eq!(violation.reason, ReasonCode::ProtocolError);
}

fn resumed(version: ProtocolVersion, cursor: u64, released: &[u64]) -> Pair {
    let mut pair = persistent(version);
    let released: Vec<Sequence> = released.iter().copied().map(Sequence).collect();
    pair.with_outbound(|outbound, _, out| outbound.resume(Sequence(cursor), &released, out));
    pair
}

#[test]
fn v5_mqtt_4_4_0_1_and_3_3_1_1_resumption_sends_pubrel_and_publish_with_dup_again() {
    for version in ALL {
        let mut pair = resumed(version, 5, &[6]);
        assert_eq!(pair.receive(), [Packet::PubRel(Ack::new(id(7)))]);
        for sequence in 5..9 {
            let again = Grant {
                dup: sequence < 7,
                ..numbered(QOS2, sequence)
            };
            let expected = match sequence {
                6 => Delivery::Known,
                _ => Delivery::Written,
            };
            assert_eq!(pair.deliver(&message("t", "m"), &again), expected);
        }
        let publishes: Vec<_> = pair
            .receive()
            .into_iter()
            .map(|packet| match packet {
                Packet::Publish(publish) => (publish.packet_id.unwrap().get(), publish.dup),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(publishes, [(6, true), (8, false), (9, false)]);
        // 6 completes first, but 5 is what the inbox must keep from.
        assert_eq!(pair.acknowledge(pubcomp(7)), AckOutcome::Nothing);
        assert_eq!(
            pair.acknowledge(pubrec(6)),
            AckOutcome::Received(Sequence(5))
        );
        pair.release(Sequence(5));
        assert_eq!(pair.acknowledge(pubcomp(6)), progress(7));
    }
}

#[test]
fn v5_mqtt_4_3_3_6_a_released_message_is_not_sent_again() {
    let mut pair = resumed(V5, 0, &[0]);
    pair.receive();
    let delivery = pair.deliver(&message("t", "m"), &numbered(QOS2, 0));
    assert_eq!(delivery, Delivery::Known);
    pair.receive_nothing();
    assert_eq!(pair.acknowledge(pubcomp(1)), progress(1));
    let delivery = pair.deliver(&message("t", "m"), &numbered(QOS2, 0));
    assert_eq!(delivery, Delivery::Known);
}

#[test]
fn what_the_inbox_dropped_meanwhile_counts_as_acknowledged() {
    let mut pair = resumed(V5, 0, &[]);
    pair.deliver(&message("t", "m"), &numbered(QOS1, 0));
    // 1 to 9 were dropped by the overflow policy; 10 comes, 11 expired.
    pair.deliver(&message("t", "m"), &numbered(QOS1, 10));
    assert!(pair.with_outbound(|outbound, _, _| outbound.skip(Sequence(11))));
    assert_eq!(pair.acknowledge(puback(11)), AckOutcome::Nothing);
    assert_eq!(pair.acknowledge(puback(1)), progress(12));
}

#[test]
fn a_skipped_message_behind_nothing_advances_at_once() {
    let mut pair = resumed(V5, 3, &[]);
    assert!(pair.with_outbound(|outbound, _, _| outbound.skip(Sequence(3))));
    assert!(
        pair.with_outbound(|outbound, _, _| outbound.skip(Sequence(3))),
        "again"
    );
    let below = pair.with_outbound(|outbound, _, _| outbound.acknowledged_below());
    assert_eq!(below, Sequence(4));
    let delivery = pair.deliver(&message("t", "m"), &numbered(QOS1, 3));
    assert_eq!(delivery, Delivery::Known);
}

#[test]
fn a_gap_of_any_width_is_passed_over_when_nothing_is_open() {
    let mut pair = resumed(V5, 0, &[]);
    let far = 10_000_000_000;
    assert_eq!(
        pair.deliver(&message("t", "m"), &numbered(QOS1, far)),
        Delivery::Written
    );
    let number = Sequence(far).packet_id().get();
    assert_eq!(pair.acknowledge(puback(number)), progress(far + 1));
}

#[test]
fn the_window_stalls_before_an_identifier_would_mean_two_messages() {
    let mut pair = Pair::new(V5);
    pair.numbering = Numbering::Inbox;
    pair.bounds.window_max = u16::MAX;
    pair.bounds.buffer_bytes_max = usize::MAX;
    pair.connect(connect(V5));
    pair.accept(Accepted::default());
    let text = message("t", "m");
    let span = tessera_session::outbound::SPAN_MAX;
    for sequence in 0..span {
        assert_eq!(
            pair.deliver(&text, &numbered(QOS1, sequence)),
            Delivery::Written
        );
    }
    // Everything but the first is acknowledged; it alone holds the span.
    for sequence in 1..span {
        pair.acknowledge(puback(Sequence(sequence).packet_id().get()));
    }
    assert_eq!(
        pair.with_outbound(|outbound, _, _| outbound.window_room()),
        0
    );
    assert!(!pair.with_outbound(|outbound, _, _| outbound.skip(Sequence(span))));
    assert_eq!(pair.deliver(&text, &numbered(QOS1, span)), Delivery::Queued);
    assert_eq!(pair.deliver(&text, &numbered(QOS1, span)), Delivery::Known);
    pair.receive();
    assert_eq!(pair.acknowledge(puback(1)), progress(span));
    let number = Sequence(span).packet_id();
    assert_eq!(pair.receive_publish().packet_id, Some(number));
}

#[test]
fn a_released_message_that_completes_ahead_of_unsent_ones_is_not_sent_again() {
    let mut pair = resumed(V5, 0, &[2]);
    pair.receive();
    pair.acknowledge(pubcomp(3));
    let deliveries =
        [0, 1, 2, 3].map(|sequence| pair.deliver(&message("t", "m"), &numbered(QOS1, sequence)));
    let written = Delivery::Written;
    assert_eq!(deliveries, [written, written, Delivery::Known, written]);
}

#[test]
fn skipping_one_message_loses_none_before_it() {
    let mut pair = resumed(V5, 0, &[]);
    for skipped in [3, 1] {
        assert!(pair.with_outbound(|outbound, _, _| outbound.skip(Sequence(skipped))));
    }
    let deliveries =
        [0, 1, 2, 3, 4].map(|sequence| pair.deliver(&message("t", "m"), &numbered(QOS1, sequence)));
    let (written, known) = (Delivery::Written, Delivery::Known);
    assert_eq!(deliveries, [written, known, written, known, written]);
    assert_eq!(pair.acknowledge(puback(1)), progress(2));
    assert_eq!(pair.acknowledge(puback(3)), progress(4));
    assert_eq!(pair.acknowledge(puback(5)), progress(5));
}

#[test]
fn a_connection_that_has_ended_skips_nothing() {
    let mut pair = resumed(V5, 0, &[]);
    pair.with_outbound(|outbound, _, _| outbound.close());
    let delivery = pair.deliver(&message("t", "m"), &numbered(QOS1, 0));
    assert_eq!(delivery, Delivery::Closed);
    assert!(!pair.with_outbound(|outbound, _, _| outbound.skip(Sequence(0))));
    let below = pair.with_outbound(|outbound, _, _| outbound.acknowledged_below());
    assert_eq!(below, Sequence(0));
}

#[test]
fn released_sequences_that_cannot_be_are_left_out() {
    let mut pair = resumed(
        V5,
        10,
        &[9, 10, u64::MAX, 10 + tessera_session::outbound::SPAN_MAX],
    );
    assert_eq!(pair.receive(), [Packet::PubRel(Ack::new(id(11)))]);
    assert_eq!(pair.acknowledge(pubcomp(11)), progress(11));
}

//! Messages that the client publishes: QoS 0 to 2, aliases, receive maximum, refusals.

use std::num::NonZeroU32;

use tessera_mqtt::{Ack, Packet, ProtocolVersion, ReasonCode};
use tessera_session::{Accepted, Event, ServerLimits, Ticket};

use crate::pair::{ALL, Pair, V3S, connect, id, publish, publish_of, pubrel};

const V5: ProtocolVersion = ProtocolVersion::V5;
const V311: ProtocolVersion = ProtocolVersion::V311;

fn receive_maximum(maximum: u16) -> ServerLimits {
    ServerLimits {
        receive_maximum: maximum,
        ..ServerLimits::default()
    }
}

fn released(pair: &mut Pair, number: u16) {
    match pair.send(pubrel(number)) {
        Event::Release(packet_id) => assert_eq!(packet_id, id(number)),
        other => panic!("expected a release, got {other:?}"),
    }
    pair.receive_nothing();
    pair.complete_release(number);
    assert_eq!(pair.receive(), [Packet::PubComp(Ack::new(id(number)))]);
}

#[test]
fn v5_mqtt_3_3_4_1_qos_0_is_given_out_and_not_answered() {
    for version in ALL {
        let mut pair = Pair::online(version);
        let publish = pair.publish(0, 0);
        assert_eq!(publish.ticket, None);
        assert_eq!(publish.packet_id, None);
        pair.write_acknowledgements();
        pair.receive_nothing();
    }
}

#[test]
fn v5_mqtt_4_3_2_4_puback_repeats_the_identifier_once_the_message_is_settled() {
    for version in ALL {
        let mut pair = Pair::online(version);
        let ticket = pair.publish(1, 77).ticket.unwrap();
        pair.write_acknowledgements();
        pair.receive_nothing();
        pair.settle(ticket, ReasonCode::Success);
        assert_eq!(pair.receive(), [Packet::PubAck(Ack::new(id(77)))]);
    }
}

#[test]
fn v5_mqtt_4_3_2_5_an_identifier_is_a_new_message_after_its_puback() {
    for version in ALL {
        let mut pair = Pair::online(version);
        for dup in [false, true] {
            let mut publish = publish_of("t", 1, 1);
            publish.dup = dup;
            let event = pair.send(Packet::Publish(publish));
            let Event::Publish(publish) = event else {
                panic!("{event:?}");
            };
            pair.settle(publish.ticket.unwrap(), ReasonCode::Success);
        }
        assert_eq!(pair.receive().len(), 2);
    }
}

#[test]
fn v5_mqtt_4_6_0_2_and_3_acknowledgements_leave_in_publish_order() {
    for version in ALL {
        let mut pair = Pair::online(version);
        let tickets: Vec<Ticket> = [(1, 10), (2, 11), (1, 12), (2, 13)]
            .map(|(level, number)| pair.publish(level, number).ticket.unwrap())
            .into();
        pair.settle(tickets[3], ReasonCode::Success);
        pair.settle(tickets[1], ReasonCode::Success);
        pair.receive_nothing();
        pair.settle(tickets[0], ReasonCode::Success);
        assert_eq!(
            pair.receive(),
            [
                Packet::PubAck(Ack::new(id(10))),
                Packet::PubRec(Ack::new(id(11)))
            ]
        );
        pair.settle(tickets[2], ReasonCode::Success);
        assert_eq!(
            pair.receive(),
            [
                Packet::PubAck(Ack::new(id(12))),
                Packet::PubRec(Ack::new(id(13)))
            ]
        );
    }
}

#[test]
fn v5_mqtt_4_3_3_8_and_11_and_12_qos_2_runs_its_four_steps_and_frees_the_identifier() {
    for version in ALL {
        let mut pair = Pair::online(version);
        for _ in 0..2 {
            pair.publish_settled(2, 5);
            assert_eq!(pair.receive(), [Packet::PubRec(Ack::new(id(5)))]);
            released(&mut pair, 5);
        }
    }
}

#[test]
fn v5_mqtt_4_3_3_10_a_repeat_before_pubrel_is_answered_and_not_given_out_again() {
    for version in ALL {
        let mut pair = Pair::online(version);
        let ticket = pair.publish(2, 5).ticket.unwrap();
        // Before PUBREC: the one that comes answers both.
        assert!(matches!(pair.send(publish("other", 2, 5)), Event::Nothing));
        pair.settle(ticket, ReasonCode::Success);
        assert_eq!(pair.receive(), [Packet::PubRec(Ack::new(id(5)))]);
        // After PUBREC: each is answered.
        for _ in 0..3 {
            assert!(matches!(pair.send(publish("t", 2, 5)), Event::Nothing));
            pair.write_acknowledgements();
            assert_eq!(pair.receive(), [Packet::PubRec(Ack::new(id(5)))]);
        }
        released(&mut pair, 5);
        assert!(pair.publish(2, 5).ticket.is_some(), "a new message");
    }
}

#[test]
fn a_million_repeats_behind_a_slow_message_grow_nothing() {
    let mut pair = Pair::online_with(V5, receive_maximum(2), |_| {});
    pair.publish_settled(2, 1);
    pair.receive();
    let slow = pair.publish(1, 2).ticket.unwrap();
    for _ in 0..1_000_000 {
        let Packet::Publish(again) = publish("t", 2, 1) else {
            unreachable!()
        };
        let event = pair.with_inbound(|inbound, out| {
            inbound.handle_packet(Packet::Publish(again), out).unwrap()
        });
        assert!(matches!(event, Event::Nothing));
    }
    pair.settle(slow, ReasonCode::Success);
    assert_eq!(pair.receive().len(), 2, "one PUBACK, one PUBREC");
}

#[test]
fn a_repeat_that_its_pubrel_overtakes_is_not_answered() {
    let mut pair = Pair::online(V5);
    pair.publish_settled(2, 1);
    let slow = pair.publish(1, 2).ticket.unwrap();
    assert!(matches!(pair.send(publish("t", 2, 1)), Event::Nothing));
    pair.receive();
    released(&mut pair, 1);
    pair.settle(slow, ReasonCode::Success);
    assert_eq!(pair.receive(), [Packet::PubAck(Ack::new(id(2)))]);
}

#[test]
fn v5_mqtt_4_3_3_9_an_identifier_is_new_after_a_pubrec_that_refused_it() {
    let mut pair = Pair::online(V5);
    let ticket = pair.publish(2, 5).ticket.unwrap();
    pair.settle(ticket, ReasonCode::QuotaExceeded);
    let expected = Ack::with_reason(id(5), ReasonCode::QuotaExceeded);
    assert_eq!(pair.receive(), [Packet::PubRec(expected)]);
    assert!(pair.publish(2, 5).ticket.is_some());
}

#[test]
fn v5_mqtt_3_7_2_1_pubrel_of_an_unknown_identifier_is_completed_with_0x92() {
    let mut pair = Pair::online(V5);
    assert!(matches!(pair.send(pubrel(9)), Event::Nothing));
    let expected = Ack::with_reason(id(9), ReasonCode::PacketIdentifierNotFound);
    assert_eq!(pair.receive(), [Packet::PubComp(expected)]);
}

#[test]
fn v3_mqtt_4_3_3_2_pubrel_of_an_unknown_identifier_is_completed() {
    for version in V3S {
        let mut pair = Pair::online(version);
        assert!(matches!(pair.send(pubrel(9)), Event::Nothing));
        assert_eq!(pair.receive_bytes(), [0x70, 2, 0, 9]);
    }
}

#[test]
fn a_second_pubrel_while_the_first_is_made_durable_gets_one_pubcomp() {
    for version in ALL {
        let mut pair = Pair::online(version);
        pair.publish_settled(2, 5);
        pair.receive();
        assert!(matches!(pair.send(pubrel(5)), Event::Release(_)));
        assert!(matches!(pair.send(pubrel(5)), Event::Nothing));
        pair.complete_release(5);
        pair.complete_release(5);
        assert_eq!(pair.receive(), [Packet::PubComp(Ack::new(id(5)))]);
    }
}

#[test]
fn pubrel_before_pubrec_ends_the_connection() {
    let mut pair = Pair::online(V5);
    pair.publish(2, 5);
    pair.send_bad(pubrel(5));
    assert_eq!(pair.receive_disconnect().reason, ReasonCode::ProtocolError);
}

#[test]
fn v5_mqtt_3_3_4_7_receive_maximum_exceeded_disconnects_0x93() {
    let mut pair = Pair::online_with(V5, receive_maximum(2), |_| {});
    pair.publish(1, 1);
    pair.publish(2, 2);
    pair.publish(0, 0);
    pair.send_bad(publish("t", 1, 3));
    let disconnect = pair.receive_disconnect();
    assert_eq!(disconnect.reason, ReasonCode::ReceiveMaximumExceeded);
    let text = disconnect.reason_string.unwrap();
    assert!(text.as_str().contains('2'), "names the bound: {text}");
}

#[test]
fn a_place_is_free_again_after_puback_pubcomp_or_a_refusal() {
    let mut pair = Pair::online_with(V5, receive_maximum(1), |_| {});
    for _ in 0..3 {
        pair.publish_settled(1, 1);
        pair.publish_settled(2, 2);
        released_after_receive(&mut pair, 2);
        let ticket = pair.publish(2, 3).ticket.unwrap();
        pair.settle(ticket, ReasonCode::NotAuthorized);
    }
    pair.publish_settled(2, 4);
    pair.receive();
    pair.send_bad(publish("t", 1, 5));
    let reason = pair.receive_disconnect().reason;
    assert_eq!(
        reason,
        ReasonCode::ReceiveMaximumExceeded,
        "PUBREC frees no place"
    );
}

fn released_after_receive(pair: &mut Pair, number: u16) {
    pair.receive();
    released(pair, number);
}

#[test]
fn version_3_is_not_read_from_while_too_much_is_unanswered() {
    for version in V3S {
        let mut pair = Pair::online_with(version, receive_maximum(2), |_| {});
        let first = pair.publish(1, 1).ticket.unwrap();
        assert!(pair.inbound.wants_packets());
        pair.publish(2, 2);
        assert!(!pair.inbound.wants_packets());
        pair.settle(first, ReasonCode::Success);
        assert!(pair.inbound.wants_packets());
    }
}

#[test]
fn version_3_may_have_more_unreleased_messages_than_the_receive_maximum() {
    let mut pair = Pair::online_with(V311, receive_maximum(2), |_| {});
    for number in 1..=50 {
        pair.publish_settled(2, number);
    }
    assert!(pair.inbound.wants_packets());
    assert_eq!(pair.receive().len(), 50);
}

#[test]
fn unreleased_identifiers_are_bounded() {
    let mut pair = Pair::online_with(V311, receive_maximum(2), |_| {});
    let bound = u16::try_from(tessera_session::limits::UNRELEASED_IDENTIFIERS_MAX).unwrap();
    for number in 1..=bound {
        pair.publish_settled(2, number);
    }
    let refusal = pair.send_bad(publish("t", 2, bound + 1));
    assert_eq!(refusal.reason, ReasonCode::QuotaExceeded);
}

#[test]
fn an_identifier_in_use_for_qos_2_refuses_qos_1_with_0x91() {
    let mut pair = Pair::online(V5);
    pair.publish_settled(2, 5);
    pair.receive();
    let event = pair.send(publish("t", 1, 5));
    assert!(matches!(
        event,
        Event::Refused(ReasonCode::PacketIdentifierInUse)
    ));
    pair.write_acknowledgements();
    let expected = Ack::with_reason(id(5), ReasonCode::PacketIdentifierInUse);
    assert_eq!(pair.receive(), [Packet::PubAck(expected)]);
    // Not even when its removal is under way.
    assert!(matches!(pair.send(pubrel(5)), Event::Release(_)));
    pair.send(publish("t", 2, 5));
    pair.write_acknowledgements();
    let expected = Ack::with_reason(id(5), ReasonCode::PacketIdentifierInUse);
    assert_eq!(pair.receive(), [Packet::PubRec(expected)]);
    let mut pair = Pair::online(V311);
    pair.publish_settled(2, 5);
    pair.send_bad(publish("t", 1, 5));
}

#[test]
fn v5_mqtt_4_4_0_1_a_resumed_identifier_is_known_and_takes_no_place_until_sent_again() {
    for version in ALL {
        let mut pair = Pair::with_limits(version, receive_maximum(1));
        let mut connect = connect(version);
        connect.clean_start = false;
        pair.connect(connect);
        pair.accept(Accepted {
            session_present: true,
            unreleased: vec![id(7), id(3), id(7)],
            ..Accepted::default()
        });
        assert!(matches!(pair.send(publish("t", 2, 7)), Event::Nothing));
        pair.write_acknowledgements();
        assert_eq!(pair.receive(), [Packet::PubRec(Ack::new(id(7)))]);
        released(&mut pair, 3);
        released(&mut pair, 7);
        pair.publish_settled(1, 1);
    }
}

#[test]
fn a_resumed_identifier_that_is_sent_again_counts_against_the_receive_maximum() {
    let mut pair = Pair::with_limits(V5, receive_maximum(1));
    pair.connect(connect(V5));
    pair.accept(Accepted {
        unreleased: vec![id(7)],
        ..Accepted::default()
    });
    pair.send(publish("t", 2, 7));
    pair.send(publish("t", 2, 7));
    pair.send_bad(publish("t", 1, 8));
    pair.receive();
}

#[test]
fn no_matching_subscribers_is_a_success_in_every_version() {
    for version in ALL {
        let mut pair = Pair::online(version);
        let ticket = pair.publish(1, 1).ticket.unwrap();
        pair.settle(ticket, ReasonCode::NoMatchingSubscribers);
        let Packet::PubAck(ack) = pair.receive_one() else {
            panic!("expected PUBACK");
        };
        let expected = match version {
            ProtocolVersion::V5 => ReasonCode::NoMatchingSubscribers,
            ProtocolVersion::V31 | ProtocolVersion::V311 => ReasonCode::Success,
        };
        assert_eq!(ack.reason, expected);
    }
}

#[test]
fn v5_mqtt_3_1_2_25_an_answer_that_cannot_fit_is_dropped_and_counts_as_done() {
    let mut pair = Pair::with_limits(V5, receive_maximum(1));
    let mut connect = connect(V5);
    connect.packet_bytes_max = NonZeroU32::new(2);
    pair.connect(connect);
    pair.with_inbound(|inbound, out| inbound.accept(Accepted::default(), out));
    for _ in 0..3 {
        pair.publish_settled(1, 1);
    }
    assert!(matches!(pair.send(Packet::PingReq), Event::Nothing));
    assert_eq!(pair.receive_bytes(), [0xD0, 0]);
}

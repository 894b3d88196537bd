//! Acknowledgements and answers: their identifiers, and the words that go with them.

use std::num::NonZeroU32;

use tessera_mqtt::{
    Ack, Packet, PacketId, ProtocolVersion, Qos, ReasonCode, Subscribe, SubscribeFilter,
    SubscriptionOptions, UserProperties,
};
use tessera_session::{Accepted, Detail, Event, Numbering, Sequence, ServerLimits};

use crate::pair::{
    ALL, Pair, connect, id, message, numbered, progress, puback, pubcomp, publish, pubrec, pubrel,
    string, unsubscribe,
};

const V5: ProtocolVersion = ProtocolVersion::V5;

/// The first, the last, and those around a byte's border.
const IDENTIFIERS: [u16; 4] = [1, 255, 256, 65_535];

#[test]
fn v5_mqtt_2_2_1_5_and_3_3_4_1_and_4_3_2_4_and_4_3_3_8_and_11_and_v3_mqtt_2_3_1_6_and_3_3_4_1_answers_repeat_the_identifier()
 {
    for version in ALL {
        let mut pair = Pair::online(version);
        for number in IDENTIFIERS {
            pair.publish_settled(1, number);
            assert_eq!(pair.receive(), [Packet::PubAck(Ack::new(id(number)))]);
            pair.publish_settled(2, number);
            assert_eq!(pair.receive(), [Packet::PubRec(Ack::new(id(number)))]);
            assert!(matches!(pair.send(pubrel(number)), Event::Release(_)));
            pair.complete_release(number);
            assert_eq!(pair.receive(), [Packet::PubComp(Ack::new(id(number)))]);
        }
    }
}

#[test]
fn v5_mqtt_4_3_3_4_and_2_2_1_5_and_v3_mqtt_2_3_1_6_pubrel_repeats_the_identifier_of_its_publish() {
    for version in ALL {
        for number in IDENTIFIERS {
            let mut pair = persistent(version);
            let sequence = u64::from(number) - 1;
            pair.with_outbound(|outbound, _, out| outbound.resume(Sequence(sequence), &[], out));
            pair.deliver(&message("t", "m"), &numbered(Qos::ExactlyOnce, sequence));
            assert_eq!(pair.receive_publish().packet_id, Some(id(number)));
            pair.acknowledge(pubrec(number));
            pair.release(Sequence(sequence));
            assert_eq!(pair.receive(), [Packet::PubRel(Ack::new(id(number)))]);
            assert_eq!(pair.acknowledge(pubcomp(number)), progress(sequence + 1));
        }
    }
}

fn persistent(version: ProtocolVersion) -> Pair {
    let mut pair = Pair::new(version);
    pair.numbering = Numbering::Inbox;
    let mut connect = connect(version);
    connect.clean_start = false;
    pair.connect(connect);
    pair.accept(Accepted::default());
    pair
}

fn subscribe(number: u16) -> Packet {
    let options = SubscriptionOptions::new(Qos::AtMostOnce);
    let filters = vec![SubscribeFilter::new(string("t"), options)];
    Packet::Subscribe(Subscribe::new(id(number), filters))
}

#[test]
fn v5_mqtt_2_2_1_6_and_3_8_4_2_and_3_10_4_5_and_v3_mqtt_2_3_1_7_suback_and_unsuback_repeat_it() {
    for version in ALL {
        let mut pair = Pair::online(version);
        for number in IDENTIFIERS {
            let Event::Subscribe(request) = pair.send(subscribe(number)) else {
                panic!("expected SUBSCRIBE");
            };
            let outcomes = [Ok(Qos::AtMostOnce)];
            pair.with_inbound(|inbound, out| {
                inbound.write_suback(request.token, &outcomes, None, out)
            })
            .unwrap();
            let Packet::SubAck(suback) = pair.receive_one() else {
                panic!("expected SUBACK");
            };
            assert_eq!(suback.packet_id, id(number));
            let Event::Unsubscribe(request) = pair.send(unsubscribe(number, &["none"])) else {
                panic!("expected UNSUBSCRIBE");
            };
            let codes = [ReasonCode::NoSubscriptionExisted];
            pair.with_inbound(|inbound, out| {
                inbound.write_unsuback(request.token, &codes, None, out);
            });
            let Packet::UnsubAck(unsuback) = pair.receive_one() else {
                panic!("expected UNSUBACK");
            };
            assert_eq!(unsuback.packet_id, id(number));
        }
    }
}

fn words() -> Detail {
    Detail {
        text: Some("publishes_per_second 100 reached on plan free".into()),
        user_properties: UserProperties::from_pairs([("limit", "publishes_per_second")]).unwrap(),
    }
}

/// The client's Maximum Packet Size, and which words then fit.
const FITS: [(u32, bool, bool); 3] = [(1_000, true, true), (60, true, false), (20, false, false)];

fn within(bytes_max: u32) -> Pair {
    Pair::online_with(V5, ServerLimits::default(), |connect| {
        connect.packet_bytes_max = NonZeroU32::new(bytes_max);
    })
}

#[test]
fn v5_mqtt_3_5_2_2_and_3_a_pubrec_that_refuses_carries_its_words_as_far_as_they_fit() {
    for (bytes_max, has_text, has_properties) in FITS {
        let mut pair = within(bytes_max);
        let ticket = pair.publish(2, 1).ticket.unwrap();
        let detail = Some(Box::new(words()));
        pair.inbound
            .complete_publish(ticket, ReasonCode::QuotaExceeded, detail)
            .unwrap();
        pair.write_acknowledgements();
        let Packet::PubRec(ack) = pair.receive_one() else {
            panic!("expected PUBREC");
        };
        assert_eq!(ack.reason, ReasonCode::QuotaExceeded);
        assert_eq!(ack.reason_string.is_some(), has_text, "{bytes_max}");
        assert_eq!(
            !ack.user_properties.is_empty(),
            has_properties,
            "{bytes_max}"
        );
        assert!(
            pair.publish(2, 1).ticket.is_some(),
            "the identifier is free"
        );
    }
}

#[test]
fn v5_mqtt_3_11_2_1_and_2_unsuback_carries_its_words_as_far_as_they_fit() {
    for (bytes_max, has_text, has_properties) in FITS {
        let mut pair = within(bytes_max);
        let Event::Unsubscribe(request) = pair.send(unsubscribe(1, &["t"])) else {
            panic!("expected UNSUBSCRIBE");
        };
        let codes = [ReasonCode::NotAuthorized];
        pair.with_inbound(|inbound, out| {
            inbound.write_unsuback(request.token, &codes, Some(&words()), out);
        });
        let Packet::UnsubAck(unsuback) = pair.receive_one() else {
            panic!("expected UNSUBACK");
        };
        assert_eq!(unsuback.codes, codes);
        assert_eq!(unsuback.reason_string.is_some(), has_text, "{bytes_max}");
        assert_eq!(!unsuback.user_properties.is_empty(), has_properties);
    }
}

#[test]
fn v5_mqtt_3_1_2_29_no_words_on_pubrec_suback_and_unsuback_without_problem_information() {
    let mut pair = Pair::online_with(V5, ServerLimits::default(), |connect| {
        connect.request_problem_information = false;
    });
    let ticket = pair.publish(2, 1).ticket.unwrap();
    let detail = Some(Box::new(words()));
    pair.inbound
        .complete_publish(ticket, ReasonCode::QuotaExceeded, detail)
        .unwrap();
    pair.write_acknowledgements();
    let bare = Ack::with_reason(id(1), ReasonCode::QuotaExceeded);
    assert_eq!(pair.receive(), [Packet::PubRec(bare)]);
    let Event::Subscribe(request) = pair.send(subscribe(1)) else {
        panic!("expected SUBSCRIBE");
    };
    let outcomes = [Err(ReasonCode::QuotaExceeded)];
    pair.with_inbound(|inbound, out| {
        inbound.write_suback(request.token, &outcomes, Some(&words()), out)
    })
    .unwrap();
    assert_eq!(pair.receive_bytes(), [0x90, 4, 0, 1, 0, 0x97]);
    let Event::Unsubscribe(request) = pair.send(unsubscribe(1, &["t"])) else {
        panic!("expected UNSUBSCRIBE");
    };
    let codes = [ReasonCode::NotAuthorized];
    pair.with_inbound(|inbound, out| {
        inbound.write_unsuback(request.token, &codes, Some(&words()), out);
    });
    assert_eq!(pair.receive_bytes(), [0xB0, 4, 0, 1, 0, 0x87]);
}

#[test]
fn v5_mqtt_3_6_2_2_and_3_and_3_7_2_2_and_3_pubrel_and_pubcomp_carry_no_words_and_never_outgrow_the_client()
 {
    for bytes_max in 1..=12 {
        let mut pair = Pair::new(V5);
        let mut connect = connect(V5);
        connect.packet_bytes_max = NonZeroU32::new(bytes_max);
        pair.connect(connect);
        pair.with_inbound(|inbound, out| inbound.accept(Accepted::default(), out));
        let config = pair.inbound.outbound_config(Numbering::Own, pair.bounds);
        pair.outbound = Some(tessera_session::Outbound::new(config));
        pair.receive_bytes();
        // Known and unknown identifiers, both ways.
        pair.send(pubrel(9));
        check_bare(&mut pair, 0x70, &[0, 9, 0x92], bytes_max);
        pair.acknowledge(pubrec(9));
        check_bare(&mut pair, 0x62, &[0, 9, 0x92], bytes_max);
        pair.publish_settled(2, 5);
        pair.receive_bytes();
        pair.send(pubrel(5));
        pair.complete_release(5);
        check_bare(&mut pair, 0x70, &[0, 5], bytes_max);
        assert!(
            pair.publish(2, 5).ticket.is_some(),
            "sent or not, it is done"
        );
    }
}

/// The packet left without words, or not at all if it does not fit.
fn check_bare(pair: &mut Pair, first: u8, body: &[u8], bytes_max: u32) {
    let length = u8::try_from(body.len()).unwrap();
    let whole = [&[first, length], body].concat();
    let fits = u32::from(length) + 2 <= bytes_max;
    let expected = if fits { whole } else { Vec::new() };
    assert_eq!(pair.receive_bytes(), expected, "{bytes_max}");
}

#[test]
fn v5_mqtt_3_4_2_1_and_3_5_2_1_and_3_6_2_1_and_3_7_2_1_what_a_client_may_say_is_taken() {
    let said = |number, reason| Ack::with_reason(id(number), reason);
    for reason in ReasonCode::ALL {
        let is_listed = |packet| reason.is_listed_for(packet);
        let mut pair = Pair::online(V5);
        if is_listed(tessera_mqtt::PacketType::PubAck) {
            pair.deliver_text("m", Qos::AtLeastOnce);
            let outcome = pair.acknowledge(Packet::PubAck(said(1, *reason)));
            assert_eq!(outcome, progress(1), "{reason}");
        }
        let mut pair = Pair::online(V5);
        if is_listed(tessera_mqtt::PacketType::PubRec) {
            pair.deliver_text("m", Qos::ExactlyOnce);
            pair.receive();
            pair.acknowledge(Packet::PubRec(said(1, *reason)));
            let released: usize = if reason.is_failure() { 0 } else { 1 };
            assert_eq!(pair.receive().len(), released, "{reason}");
        }
        let mut pair = Pair::online(V5);
        if is_listed(tessera_mqtt::PacketType::PubComp) {
            pair.deliver_text("m", Qos::ExactlyOnce);
            pair.acknowledge(pubrec(1));
            let outcome = pair.acknowledge(Packet::PubComp(said(1, *reason)));
            assert_eq!(outcome, progress(1), "{reason}");
        }
    }
}

#[test]
fn a_pubrel_with_a_reason_still_ends_its_handshake() {
    let mut pair = Pair::online(V5);
    pair.publish_settled(2, 5);
    pair.receive();
    let not_found = Ack::with_reason(id(5), ReasonCode::PacketIdentifierNotFound);
    assert!(matches!(
        pair.send(Packet::PubRel(not_found)),
        Event::Release(_)
    ));
    pair.complete_release(5);
    assert_eq!(pair.receive(), [Packet::PubComp(Ack::new(id(5)))]);
}

#[test]
fn v5_mqtt_4_3_3_13_a_receivers_handshake_goes_on_though_its_message_has_expired() {
    let mut pair = Pair::online(V5);
    let Packet::Publish(mut sent) = publish("t", 2, 5) else {
        unreachable!("a PUBLISH was asked for");
    };
    sent.expiry_seconds = Some(0);
    let Event::Publish(received) = pair.send(Packet::Publish(sent.clone())) else {
        panic!("expected a message");
    };
    assert_eq!(received.message.expiry_seconds, Some(0));
    // Nobody gets it; it counts as taken all the same.
    pair.settle(received.ticket.unwrap(), ReasonCode::NoMatchingSubscribers);
    let taken = Ack::with_reason(id(5), ReasonCode::NoMatchingSubscribers);
    assert_eq!(pair.receive(), [Packet::PubRec(taken)]);
    assert!(matches!(pair.send(Packet::Publish(sent)), Event::Nothing));
    pair.write_acknowledgements();
    assert_eq!(pair.receive(), [Packet::PubRec(Ack::new(id(5)))]);
    assert!(matches!(
        pair.send(pubrel(5)),
        Event::Release(PacketId { .. })
    ));
    pair.complete_release(5);
    assert_eq!(pair.receive(), [Packet::PubComp(Ack::new(id(5)))]);
    pair.deliver_text("m", Qos::AtLeastOnce);
    assert_eq!(pair.acknowledge(puback(1)), progress(1), "the rest goes on");
}

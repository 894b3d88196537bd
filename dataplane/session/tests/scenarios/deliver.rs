//! Messages that the server delivers.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use tessera_mqtt::{
    Ack, Connect, Message, Packet, ProtocolVersion, Publish, PublishTopic, Qos, ReasonCode,
    SubscriptionId,
};
use tessera_session::{
    Accepted, AckOutcome, Delivery, Grant, OutboundBounds, Sequence, ServerLimits,
};

use crate::pair::{
    ALL, Pair, V3S, connect, grant, id, message, progress, puback, pubcomp, publish, pubrec, topic,
};

const V5: ProtocolVersion = ProtocolVersion::V5;
const QOS0: Qos = Qos::AtMostOnce;
const QOS1: Qos = Qos::AtLeastOnce;
const QOS2: Qos = Qos::ExactlyOnce;

fn online(change: impl FnOnce(&mut Connect)) -> Pair {
    Pair::online_with(V5, ServerLimits::default(), change)
}

fn window_of(receive_maximum: u16) -> Pair {
    online(|connect| connect.receive_maximum = NonZeroU16::new(receive_maximum).unwrap())
}

fn refuse(number: u16) -> Ack {
    Ack::with_reason(id(number), ReasonCode::UnspecifiedError)
}

fn payloads(packets: &[Packet]) -> Vec<String> {
    let publishes = packets.iter().filter_map(|packet| match packet {
        Packet::Publish(publish) => Some(publish),
        _ => None,
    });
    publishes
        .map(|publish| String::from_utf8(publish.payload.to_vec()).unwrap())
        .collect()
}

#[test]
fn v5_mqtt_3_3_1_2_and_2_2_1_2_and_4_3_1_1_qos_0_leaves_with_neither_dup_nor_identifier() {
    for version in ALL {
        let mut pair = Pair::online(version);
        let dup = Grant {
            dup: true,
            ..grant(QOS0)
        };
        assert_eq!(pair.deliver(&message("t", "m"), &dup), Delivery::Written);
        let publish = pair.receive_publish();
        assert!(!publish.dup);
        assert_eq!(publish.packet_id, None);
        assert_eq!(publish.topic, PublishTopic::Name(topic("t")));
        assert_eq!(&*publish.payload, b"m");
    }
}

#[test]
fn v5_mqtt_2_2_1_4_identifiers_count_up_and_wrap_past_65535() {
    for (sequence, number) in [(0, 1), (1, 2), (65_534, 65_535), (65_535, 1), (131_070, 1)] {
        assert_eq!(Sequence(sequence).packet_id(), id(number));
    }
}

#[test]
fn v5_mqtt_4_3_2_1_and_2_and_3_qos_1_is_open_until_its_puback() {
    for version in ALL {
        let mut pair = Pair::online(version);
        pair.deliver_text("m", QOS1);
        let publish = pair.receive_publish();
        assert!(!publish.dup);
        assert_eq!(publish.packet_id, Some(id(1)));
        assert_eq!(pair.acknowledge(puback(1)), progress(1));
        assert_eq!(pair.acknowledge(puback(1)), AckOutcome::Nothing);
    }
}

#[test]
fn v5_mqtt_4_3_3_4_and_5_qos_2_gets_pubrel_on_pubrec_and_is_open_until_pubcomp() {
    for version in ALL {
        let mut pair = Pair::online(version);
        pair.deliver_text("m", QOS2);
        assert_eq!(pair.receive_publish().packet_id, Some(id(1)));
        assert_eq!(pair.acknowledge(pubrec(1)), AckOutcome::Nothing);
        assert_eq!(pair.receive(), [Packet::PubRel(Ack::new(id(1)))]);
        assert_eq!(pair.acknowledge(pubcomp(1)), progress(1));
    }
}

#[test]
fn v5_mqtt_4_4_0_2_a_refused_message_counts_as_acknowledged() {
    let mut pair = window_of(1);
    pair.deliver_text("a", QOS1);
    assert_eq!(pair.acknowledge(Packet::PubAck(refuse(1))), progress(1));
    pair.deliver_text("b", QOS2);
    pair.receive();
    assert_eq!(pair.acknowledge(Packet::PubRec(refuse(2))), progress(2));
    pair.receive_nothing();
    assert_eq!(pair.deliver_text("c", QOS1), Delivery::Written);
}

#[test]
fn v5_mqtt_3_3_4_9_and_4_9_0_1_and_2_the_clients_receive_maximum_is_kept() {
    for maximum in [1, 2, 7] {
        let mut pair = window_of(maximum);
        for _ in 0..maximum {
            assert_eq!(pair.deliver_text("m", QOS1), Delivery::Written);
        }
        for _ in 0..3 {
            assert_eq!(pair.deliver_text("m", QOS1), Delivery::Queued);
        }
        assert_eq!(pair.receive().len(), usize::from(maximum));
        pair.acknowledge(puback(1));
        assert_eq!(pair.receive().len(), 1);
    }
}

#[test]
fn v5_mqtt_3_3_4_10_and_4_9_0_3_everything_else_goes_on_while_the_window_is_closed() {
    let mut pair = window_of(1);
    pair.deliver_text("first", QOS2);
    pair.deliver_text("second", QOS1);
    pair.receive();
    assert_eq!(pair.deliver_text("now", QOS0), Delivery::Written);
    assert_eq!(payloads(&pair.receive()), ["now"]);
    pair.send(Packet::PingReq);
    pair.acknowledge(pubrec(1));
    assert_eq!(
        pair.receive(),
        [Packet::PingResp, Packet::PubRel(Ack::new(id(1)))]
    );
}

#[test]
fn qos_2_holds_its_place_of_the_window_until_pubcomp() {
    let mut pair = window_of(1);
    pair.deliver_text("a", QOS2);
    pair.deliver_text("b", QOS2);
    pair.acknowledge(pubrec(1));
    assert_eq!(payloads(&pair.receive()), ["a"]);
    pair.acknowledge(pubcomp(1));
    assert_eq!(payloads(&pair.receive()), ["b"]);
}

#[test]
fn v5_mqtt_4_6_0_5_what_waited_leaves_before_what_came_later() {
    let mut pair = window_of(2);
    let texts = ["a", "b", "c", "d", "e"];
    for text in texts {
        pair.deliver_text(text, QOS1);
    }
    let mut seen = payloads(&pair.receive());
    for number in [2, 1, 3, 4, 5] {
        pair.acknowledge(puback(number));
        seen.extend(payloads(&pair.receive()));
    }
    assert_eq!(seen, texts);
}

#[test]
fn the_window_bound_of_the_server_holds_where_the_client_allows_more() {
    for version in ALL {
        let mut pair = Pair::new(version);
        pair.bounds.window_max = 3;
        pair.connect(connect(version));
        pair.accept(Accepted::default());
        for expected in [2, 1, 0, 0] {
            pair.deliver_text("m", QOS1);
            let room = pair.with_outbound(|outbound, _, _| outbound.window_room());
            assert_eq!(room, expected);
        }
        assert_eq!(pair.receive().len(), 3);
    }
}

#[test]
fn the_queue_is_bounded_in_messages_and_then_holds_the_publisher_back() {
    let mut pair = Pair::new(V5);
    pair.bounds = OutboundBounds {
        window_max: 1,
        queue_messages_max: 2,
        ..OutboundBounds::default()
    };
    pair.connect(connect(V5));
    pair.accept(Accepted::default());
    let deliveries = ["a", "b", "c", "d"].map(|text| pair.deliver_text(text, QOS1));
    assert_eq!(
        deliveries,
        [
            Delivery::Written,
            Delivery::Queued,
            Delivery::Queued,
            Delivery::WouldOverflow
        ]
    );
    pair.acknowledge(puback(1));
    assert_eq!(pair.deliver_text("d", QOS1), Delivery::Queued);
    for number in 2..=4 {
        pair.acknowledge(puback(number));
    }
    assert_eq!(payloads(&pair.receive()), ["a", "b", "c", "d"]);
}

#[test]
fn the_queue_is_bounded_in_bytes_but_takes_one_message_of_any_size() {
    let mut pair = Pair::new(V5);
    pair.bounds.window_max = 1;
    pair.bounds.queue_bytes_max = 1_000;
    pair.connect(connect(V5));
    pair.accept(Accepted::default());
    pair.deliver_text("a", QOS1);
    let large = message("t", &"x".repeat(5_000));
    assert_eq!(pair.deliver(&large, &grant(QOS1)), Delivery::Queued);
    assert_eq!(pair.deliver_text("b", QOS1), Delivery::WouldOverflow);
    let bytes = pair.with_outbound(|outbound, _, _| outbound.queued_bytes());
    assert!(bytes > 5_000);
    pair.acknowledge(puback(1));
    let bytes = pair.with_outbound(|outbound, _, _| outbound.queued_bytes());
    assert_eq!(bytes, 0);
}

#[test]
fn a_full_buffer_drops_qos_0_and_keeps_qos_1_until_it_is_drained() {
    let mut pair = Pair::new(V5);
    pair.bounds.buffer_bytes_max = 20;
    pair.connect(connect(V5));
    pair.accept(Accepted::default());
    let text = message("t", "0123456789012345");
    assert_eq!(pair.deliver(&text, &grant(QOS0)), Delivery::Written);
    assert_eq!(pair.deliver(&text, &grant(QOS0)), Delivery::DroppedFull);
    assert_eq!(pair.deliver(&text, &grant(QOS1)), Delivery::Queued);
    assert_eq!(pair.receive().len(), 1);
    let written = pair.with_outbound(|outbound, now, out| outbound.flush(now, out));
    assert_eq!(written, 1);
    assert_eq!(pair.receive_publish().packet_id, Some(id(1)));
}

#[test]
fn v5_mqtt_3_1_2_24_and_25_a_message_larger_than_the_client_takes_is_dropped_as_done() {
    let mut pair = online(|connect| connect.packet_bytes_max = NonZeroU32::new(64));
    let large = message("t", &"x".repeat(100));
    for qos in [QOS0, QOS1, QOS2] {
        assert_eq!(pair.deliver(&large, &grant(qos)), Delivery::DroppedTooLarge);
    }
    pair.receive_nothing();
    pair.deliver_text("fits", QOS1);
    assert_eq!(pair.receive_publish().packet_id, Some(id(1)));
}

#[test]
fn the_largest_message_that_fits_is_delivered() {
    for payload_bytes in 80..110 {
        let mut pair = online(|connect| connect.packet_bytes_max = NonZeroU32::new(100));
        let sized = message("t", &"x".repeat(payload_bytes));
        let delivery = pair.deliver(&sized, &grant(QOS0));
        let bytes = pair.receive_bytes();
        match delivery {
            Delivery::Written => assert!(bytes.len() <= 100),
            _ => {
                assert_eq!(delivery, Delivery::DroppedTooLarge);
                assert!(payload_bytes + 6 > 100 && bytes.is_empty());
            }
        }
    }
}

#[test]
fn v5_mqtt_3_3_4_3_and_4_a_delivery_carries_its_subscription_identifiers() {
    let ids = [7, 268_435_455].map(|number| SubscriptionId::new(number).unwrap());
    let mut pair = window_of(1);
    let with_ids = Grant {
        subscription_ids: &ids,
        ..grant(QOS1)
    };
    pair.deliver(&message("t", "m"), &with_ids);
    pair.deliver(&message("t", "queued"), &with_ids);
    assert_eq!(pair.receive_publish().subscription_ids.as_slice(), ids);
    pair.acknowledge(puback(1));
    assert_eq!(pair.receive_publish().subscription_ids.as_slice(), ids);
}

fn expiring(seconds: u32, qos: Qos) -> Grant<'static> {
    Grant {
        expiry_seconds: Some(seconds),
        ..grant(qos)
    }
}

#[test]
fn v5_mqtt_3_3_2_5_and_6_a_message_that_waits_counts_its_expiry_down_and_is_dropped_at_0() {
    let mut pair = window_of(1);
    pair.deliver(&message("t", "a"), &expiring(100, QOS1));
    assert_eq!(pair.receive_publish().expiry_seconds, Some(100));
    pair.now = Duration::from_millis(500);
    pair.deliver(&message("t", "dies"), &expiring(10, QOS1));
    pair.deliver(&message("t", "lives"), &expiring(30, QOS1));
    pair.deliver_text("eternal", QOS1);
    pair.now = Duration::from_millis(10_600);
    pair.acknowledge(puback(1));
    let publish = pair.receive_publish();
    assert_eq!(&*publish.payload, b"lives");
    assert_eq!(publish.expiry_seconds, Some(20));
    assert_eq!(
        publish.packet_id,
        Some(id(2)),
        "the dropped one gave its number on"
    );
    let dropped = pair.with_outbound(|outbound, _, _| outbound.take_dropped_while_queued());
    assert_eq!(dropped, 1);
    pair.acknowledge(puback(2));
    assert_eq!(pair.receive_publish().expiry_seconds, None);
}

#[test]
fn v5_mqtt_4_3_3_7_an_open_handshake_outlives_its_messages_expiry() {
    let mut pair = window_of(1);
    pair.deliver(&message("t", "m"), &expiring(1, QOS2));
    pair.receive();
    pair.now = Duration::from_secs(100);
    pair.acknowledge(pubrec(1));
    assert_eq!(pair.receive(), [Packet::PubRel(Ack::new(id(1)))]);
    assert_eq!(pair.acknowledge(pubcomp(1)), progress(1));
}

#[test]
fn retain_leaves_as_it_is_granted() {
    for version in ALL {
        let mut pair = Pair::online(version);
        for retain in [false, true] {
            let retained = Grant {
                retain,
                ..grant(QOS0)
            };
            pair.deliver(&message("t", "m"), &retained);
            assert_eq!(pair.receive_publish().retain, retain);
        }
    }
}

fn topic_of(publish: &Publish) -> (Option<&str>, Option<u16>) {
    let name = publish.topic.name().map(|name| name.as_str());
    (name, publish.topic.alias().map(|alias| alias.get()))
}

#[test]
fn v5_mqtt_3_3_2_11_and_3_1_2_26_aliases_are_defined_once_within_the_clients_maximum() {
    let mut pair = online(|connect| connect.topic_alias_maximum = 2);
    let mut topics = Vec::new();
    for name in ["a", "b", "a", "b", "c", "a"] {
        pair.deliver(&message(name, "m"), &grant(QOS0));
        let publish = pair.receive_publish();
        let (name, alias) = topic_of(&publish);
        topics.push((name.map(str::to_owned), alias));
    }
    let expected = [
        (Some("a"), Some(1)),
        (Some("b"), Some(2)),
        (None, Some(1)),
        (None, Some(2)),
        (Some("c"), None),
        (None, Some(1)),
    ];
    let expected = expected.map(|(name, alias)| (name.map(str::to_owned), alias));
    assert_eq!(topics, expected);
}

#[test]
fn v5_mqtt_3_1_2_27_no_aliases_without_the_clients_leave() {
    for version in ALL {
        let mut pair = Pair::online(version);
        for _ in 0..3 {
            pair.deliver_text("m", QOS0);
            let publish = pair.receive_publish();
            assert_eq!(topic_of(&publish), (Some("t"), None));
        }
    }
}

#[test]
fn an_alias_is_never_used_before_a_packet_that_was_sent_defined_it() {
    let mut pair = online(|connect| {
        connect.topic_alias_maximum = 5;
        connect.packet_bytes_max = NonZeroU32::new(64);
        connect.receive_maximum = NonZeroU16::MIN;
    });
    // The first that would define it is too large, the second waits, the third defines it.
    let large = message("t", &"x".repeat(100));
    assert_eq!(
        pair.deliver(&large, &grant(QOS0)),
        Delivery::DroppedTooLarge
    );
    pair.deliver(&message("other", "m"), &grant(QOS1));
    assert_eq!(pair.deliver_text("waits", QOS1), Delivery::Queued);
    assert_eq!(pair.deliver_text("defines", QOS0), Delivery::Written);
    let packets = pair.receive();
    let Packet::Publish(last) = &packets[1] else {
        panic!("{packets:?}");
    };
    assert_eq!(topic_of(last), (Some("t"), Some(2)));
    pair.acknowledge(puback(1));
    assert_eq!(topic_of(&pair.receive_publish()), (None, Some(2)));
}

#[test]
fn acknowledgements_of_nothing_are_ignored() {
    for version in ALL {
        let mut pair = Pair::online(version);
        assert_eq!(pair.acknowledge(puback(9)), AckOutcome::Nothing);
        assert_eq!(pair.acknowledge(pubcomp(9)), AckOutcome::Nothing);
        pair.receive_nothing();
    }
}

#[test]
fn v5_mqtt_3_6_2_1_pubrec_of_nothing_is_answered_with_pubrel_0x92() {
    let mut pair = Pair::online(V5);
    pair.acknowledge(pubrec(9));
    let expected = Ack::with_reason(id(9), ReasonCode::PacketIdentifierNotFound);
    assert_eq!(pair.receive(), [Packet::PubRel(expected)]);
    pair.acknowledge(Packet::PubRec(refuse(9)));
    pair.receive_nothing();
    for version in V3S {
        let mut pair = Pair::online(version);
        pair.acknowledge(pubrec(9));
        assert_eq!(pair.receive_bytes(), [0x62, 2, 0, 9]);
    }
}

#[test]
fn an_acknowledgement_of_the_wrong_kind_is_a_protocol_error() {
    type Answer = fn(u16) -> Packet;
    let cases: [(Qos, &[Answer], Answer); 6] = [
        (QOS1, &[], pubrec),
        (QOS1, &[], pubcomp),
        (QOS2, &[], puback),
        (QOS2, &[], pubcomp),
        (QOS2, &[pubrec], puback),
        (QOS1, &[], pubcomp),
    ];
    for version in ALL {
        for (qos, before, wrong) in cases {
            let mut pair = Pair::online(version);
            pair.deliver_text("m", qos);
            for packet in before {
                pair.acknowledge(packet(1));
            }
            let violation = pair.try_acknowledge(wrong(1)).unwrap_err();
            assert_eq!(violation.reason, ReasonCode::ProtocolError);
        }
    }
}

#[test]
fn a_repeated_pubrec_after_pubrel_gets_pubrel_again() {
    let mut pair = Pair::online(V5);
    pair.deliver_text("m", QOS2);
    pair.receive();
    for _ in 0..2 {
        pair.acknowledge(pubrec(1));
        assert_eq!(pair.receive(), [Packet::PubRel(Ack::new(id(1)))]);
    }
}

#[test]
fn a_message_goes_through_both_machines_unchanged() {
    let mut publisher = Pair::online(V5);
    let event = publisher.send(publish("a/😀", 1, 1));
    let tessera_session::Event::Publish(publish) = event else {
        panic!("{event:?}");
    };
    let sent: Message = publish.message;
    let mut subscriber = Pair::online(V5);
    subscriber.deliver(&sent, &grant(QOS1));
    let received = subscriber.receive_publish();
    assert_eq!(received.topic, PublishTopic::Name(topic("a/😀")));
    assert_eq!(received.payload, sent.payload);
}

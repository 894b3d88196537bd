//! What another broker does differently from the standard, each shown not to be so here. Numbered as
//! in the list of its gaps.

use std::num::{NonZeroU16, NonZeroU32};
use std::time::Duration;

use tessera_mqtt::{
    Ack, ForwardedProperties, ForwardedProperty, Packet, ProtocolVersion, Publish, Qos, ReasonCode,
    Subscribe, SubscribeFilter, SubscriptionOptions,
};
use tessera_session::{Accepted, Delivery, Event, Grant, Numbering, Sequence, ServerLimits};

use crate::pair::{
    ALL, Pair, client_id, connect, grant, id, message, numbered, progress, puback, pubcomp,
    publish, pubrel, string, topic,
};

const V5: ProtocolVersion = ProtocolVersion::V5;

/// A connection that takes a session up.
fn resumed(version: ProtocolVersion, accepted: Accepted) -> Pair {
    let mut pair = Pair::new(version);
    pair.numbering = Numbering::Inbox;
    let mut connect = connect(version);
    connect.clean_start = false;
    pair.connect(connect);
    pair.accept(Accepted {
        session_present: true,
        ..accepted
    });
    pair
}

#[test]
fn gap_1_what_is_sent_again_is_marked_as_a_duplicate_in_version_5_too() {
    for version in ALL {
        for qos in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let mut pair = resumed(version, Accepted::default());
            let again = Grant {
                dup: true,
                ..numbered(qos, 0)
            };
            pair.deliver(&message("t", "m"), &again);
            let first_byte = pair.receive_bytes()[0];
            assert_eq!(first_byte, 0x38 | qos.as_u8() << 1, "{version}");
        }
    }
}

#[test]
fn gap_2_what_was_received_exactly_once_stays_so_over_a_reconnect() {
    for version in ALL {
        let mut pair = resumed(
            version,
            Accepted {
                unreleased: vec![id(7)],
                ..Accepted::default()
            },
        );
        assert!(matches!(pair.send(publish("t", 2, 7)), Event::Nothing));
        pair.write_acknowledgements();
        assert_eq!(pair.receive(), [Packet::PubRec(Ack::new(id(7)))]);
        assert!(matches!(pair.send(pubrel(7)), Event::Release(_)));
        pair.complete_release(7);
        assert_eq!(pair.receive(), [Packet::PubComp(Ack::new(id(7)))]);
    }
}

#[test]
fn gap_2_a_pubrel_that_is_owed_leaves_on_the_next_connection() {
    for version in ALL {
        let mut pair = resumed(version, Accepted::default());
        pair.with_outbound(|outbound, _, out| outbound.resume(Sequence(3), &[Sequence(3)], out));
        assert_eq!(pair.receive(), [Packet::PubRel(Ack::new(id(4)))]);
        assert_eq!(pair.acknowledge(pubcomp(4)), progress(4));
    }
}

#[test]
fn gap_3_nothing_is_sent_again_on_the_same_connection() {
    for version in ALL {
        let mut pair = Pair::online(version);
        pair.deliver_text("one", Qos::AtLeastOnce);
        pair.deliver_text("two", Qos::ExactlyOnce);
        assert_eq!(pair.receive().len(), 2);
        pair.now = Duration::from_hours(24);
        let written = pair.with_outbound(|outbound, now, out| outbound.flush(now, out));
        assert_eq!(written, 0);
        pair.send(Packet::PingReq);
        assert_eq!(pair.receive(), [Packet::PingResp]);
        // They are still owed.
        assert_eq!(pair.acknowledge(puback(1)), progress(1));
    }
}

#[test]
fn gap_4_a_receive_maximum_below_8_is_kept() {
    for maximum in 1..=8 {
        let mut pair = Pair::online_with(V5, ServerLimits::default(), |connect| {
            connect.receive_maximum = NonZeroU16::new(maximum).unwrap();
        });
        for _ in 0..10 {
            pair.deliver_text("m", Qos::AtLeastOnce);
        }
        assert_eq!(pair.receive().len(), usize::from(maximum));
        for number in 1..=10 - maximum {
            pair.acknowledge(puback(number));
            assert_eq!(pair.receive().len(), 1, "one for one");
        }
    }
}

#[test]
fn gap_7_a_client_that_takes_more_than_the_server_gives_is_welcome() {
    let limits = ServerLimits {
        packet_bytes_max: 1_000,
        topic_alias_maximum: 2,
        receive_maximum: 5,
        ..ServerLimits::default()
    };
    let mut pair = Pair::with_limits(V5, limits);
    let mut connect = connect(V5);
    connect.packet_bytes_max = NonZeroU32::new(u32::MAX);
    connect.topic_alias_maximum = u16::MAX;
    connect.receive_maximum = NonZeroU16::MAX;
    pair.connect(connect);
    let connack = pair.accept(Accepted::default());
    assert_eq!(connack.reason, ReasonCode::Success);
    assert_eq!(connack.packet_bytes_max, NonZeroU32::new(1_000));
    assert_eq!(connack.topic_alias_maximum, 2);
    pair.publish(0, 0);
}

#[test]
fn gap_8_no_local_on_a_shared_subscription_is_a_protocol_error() {
    let mut pair = Pair::online(V5);
    let mut options = SubscriptionOptions::new(Qos::AtMostOnce);
    options.no_local = true;
    let filters = vec![SubscribeFilter::new(string("$share/group/t"), options)];
    let subscribe = Packet::Subscribe(Subscribe::new(id(1), filters));
    // The decoder refuses it; so does the machine by itself.
    let refused = pair.with_inbound(|inbound, out| inbound.handle_packet(subscribe.clone(), out));
    assert_eq!(refused.unwrap_err().reason, ReasonCode::ProtocolError);
    pair.send_bad(subscribe);
    assert_eq!(pair.receive_disconnect().reason, ReasonCode::ProtocolError);
    assert!(!pair.inbound.wants_packets());
}

fn aliasing() -> Pair {
    let mut pair = Pair::new(V5);
    pair.numbering = Numbering::Inbox;
    pair.bounds.buffer_bytes_max = 200;
    let mut connect = connect(V5);
    connect.topic_alias_maximum = 3;
    connect.packet_bytes_max = NonZeroU32::new(100);
    pair.connect(connect);
    pair.accept(Accepted::default());
    pair
}

/// The topic as a client knows it that remembers its aliases.
fn resolve(known: &mut Vec<(u16, String)>, publish: &Publish) -> String {
    let name = publish.topic.name().map(|name| name.as_str().to_owned());
    match (name, publish.topic.alias()) {
        (Some(name), None) => name,
        (Some(name), Some(alias)) => {
            known.retain(|(number, _)| *number != alias.get());
            known.push((alias.get(), name.clone()));
            name
        }
        (None, Some(alias)) => {
            let entry = known.iter().find(|(number, _)| *number == alias.get());
            entry.expect("an alias that was defined").1.clone()
        }
        (None, None) => panic!("neither name nor alias"),
    }
}

#[test]
fn gap_9_no_alias_is_used_whose_definition_was_dropped() {
    let large = "x".repeat(150);
    let mut pair = aliasing();
    let mut known = Vec::new();
    let mut sent = Vec::new();
    let mut received = Vec::new();
    for sequence in 0..300_u64 {
        let name = format!("t/{}", sequence * 7 % 5);
        let delivery = match sequence % 4 {
            // Too large, a repeat, a full buffer: each drops what might have been a definition.
            0 => pair.deliver(&message(&name, &large), &grant(Qos::AtMostOnce)),
            1 => pair.deliver(
                &message(&name, "m"),
                &numbered(Qos::AtLeastOnce, sequence / 8),
            ),
            2 => pair.deliver(&message(&name, "m"), &grant(Qos::AtMostOnce)),
            _ => pair.deliver(&message(&name, &"y".repeat(60)), &grant(Qos::AtMostOnce)),
        };
        if delivery == Delivery::Written {
            sent.push(name);
        }
        if sequence % 9 == 0 {
            for packet in pair.receive() {
                if let Packet::Publish(publish) = packet {
                    received.push(resolve(&mut known, &publish));
                }
            }
        }
    }
    for packet in pair.receive() {
        if let Packet::Publish(publish) = packet {
            received.push(resolve(&mut known, &publish));
        }
    }
    assert_eq!(received, sent);
    assert!(!known.is_empty() && sent.len() > 50);
}

#[test]
fn gap_9_an_aliased_message_carries_the_same_properties() {
    let properties = [
        ForwardedProperty::ContentType("text/plain"),
        ForwardedProperty::User("a", "1"),
    ];
    let mut with_properties = message("t", "m");
    with_properties.properties = ForwardedProperties::from_properties(properties).unwrap();
    let mut pair = aliasing();
    for named in [true, false] {
        pair.deliver(&with_properties, &grant(Qos::AtMostOnce));
        let publish = pair.receive_publish();
        assert_eq!(publish.topic.name().is_some(), named);
        assert!(publish.properties.iter().eq(properties));
    }
}

#[test]
fn gap_10_supplementary_characters_are_characters_everywhere() {
    for version in ALL {
        let mut pair = Pair::new(version);
        let mut connect = connect(version);
        connect.client_id = Some(client_id("😀"));
        connect.username = Some(string("🦀.user"));
        connect.will = Some(tessera_mqtt::Will {
            message: message("will/😀", "gone"),
            delay_seconds: 0,
        });
        let request = pair.connect(connect);
        assert_eq!(request.client_id, Some(client_id("😀")));
        assert_eq!(request.connect.username, Some(string("🦀.user")));
        pair.accept(Accepted::default());
        assert_eq!(pair.inbound.will().unwrap().message.topic, topic("will/😀"));
        let Event::Publish(received) = pair.send(publish("a/😀/b", 0, 0)) else {
            panic!("expected a message");
        };
        pair.deliver(&received.message, &grant(Qos::AtMostOnce));
        let delivered = pair.receive_publish();
        assert_eq!(delivered.topic.name(), Some(&topic("a/😀/b")));
        let options = SubscriptionOptions::new(Qos::AtMostOnce);
        let filters = vec![SubscribeFilter::new(string("😀/+/#"), options)];
        let event = pair.send(Packet::Subscribe(Subscribe::new(id(1), filters)));
        assert!(matches!(event, Event::Subscribe(request) if request.entries[0].target.is_ok()));
    }
}

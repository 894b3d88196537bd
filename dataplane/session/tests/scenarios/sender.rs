//! The server as a sender: identifiers, DUP, and what keeps a delivery open.

use tessera_mqtt::{Ack, Packet, ProtocolVersion, Qos};
use tessera_session::{Accepted, AckOutcome, Delivery, Event, Grant, Numbering, Sequence};

use crate::pair::{
    ALL, Pair, connect, grant, id, message, numbered, progress, puback, pubcomp, publish_of, pubrec,
};

const QOS1: Qos = Qos::AtLeastOnce;
const QOS2: Qos = Qos::ExactlyOnce;

/// A connection of a session whose inbox numbers the deliveries, the first of them open.
fn resumed(version: ProtocolVersion, cursor: u64, released: &[u64]) -> Pair {
    let mut pair = Pair::new(version);
    pair.numbering = Numbering::Inbox;
    let mut connect = connect(version);
    connect.clean_start = false;
    pair.connect(connect);
    pair.accept(Accepted {
        session_present: true,
        ..Accepted::default()
    });
    let released: Vec<Sequence> = released.iter().copied().map(Sequence).collect();
    pair.with_outbound(|outbound, _, out| outbound.resume(Sequence(cursor), &released, out));
    pair
}

fn again(sequence: u64) -> Grant<'static> {
    Grant {
        dup: true,
        ..numbered(QOS2, sequence)
    }
}

#[test]
fn v5_mqtt_4_3_3_1_and_2_and_3_and_v3_mqtt_4_3_3_1_a_new_qos_2_message_is_open_until_its_pubrec() {
    for version in ALL {
        let mut pair = Pair::online(version);
        pair.deliver_text("a", QOS2);
        pair.deliver_text("b", QOS2);
        let sent: Vec<_> = pair
            .receive()
            .into_iter()
            .map(|packet| match packet {
                Packet::Publish(publish) => (publish.packet_id, publish.dup, publish.qos),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(
            sent,
            [(Some(id(1)), false, QOS2), (Some(id(2)), false, QOS2)]
        );
        // Neither time nor the other message's handshake ends the first.
        pair.acknowledge(pubrec(2));
        assert_eq!(pair.receive(), [Packet::PubRel(Ack::new(id(2)))]);
        assert_eq!(pair.acknowledge(pubcomp(2)), AckOutcome::Nothing);
        let below = pair.with_outbound(|outbound, _, _| outbound.acknowledged_below());
        assert_eq!(below, Sequence(0));
        assert_eq!(pair.acknowledge(pubrec(1)), AckOutcome::Nothing);
        assert_eq!(pair.receive(), [Packet::PubRel(Ack::new(id(1)))]);
        assert_eq!(pair.acknowledge(pubcomp(1)), progress(2));
    }
}

#[test]
fn v5_mqtt_4_3_3_3_and_5_and_4_4_0_1_what_the_client_did_not_answer_is_sent_again_on_the_next_connection()
 {
    for version in ALL {
        // No PUBREC came: the message again, marked.
        let mut pair = resumed(version, 0, &[]);
        pair.receive_nothing();
        assert_eq!(
            pair.deliver(&message("t", "m"), &again(0)),
            Delivery::Written
        );
        let publish = pair.receive_publish();
        assert_eq!((publish.packet_id, publish.dup), (Some(id(1)), true));
        // PUBREC came, no PUBCOMP: PUBREL again, and not the message.
        let mut pair = resumed(version, 0, &[0]);
        assert_eq!(pair.receive(), [Packet::PubRel(Ack::new(id(1)))]);
        assert_eq!(pair.deliver(&message("t", "m"), &again(0)), Delivery::Known);
        pair.receive_nothing();
        // PUBCOMP came: nothing again.
        let mut pair = resumed(version, 1, &[]);
        pair.receive_nothing();
    }
}

#[test]
fn v5_mqtt_2_2_1_4_and_4_3_2_1_and_4_3_3_1_and_v3_mqtt_2_3_1_4_no_identifier_is_given_twice_at_a_time()
 {
    for version in ALL {
        let mut pair = Pair::online(version);
        pair.bounds.window_max = 10;
        let mut open = Vec::new();
        for round in 0..70_000_u32 {
            let qos = if round % 2 == 0 { QOS1 } else { QOS2 };
            assert_eq!(
                pair.deliver(&message("t", ""), &grant(qos)),
                Delivery::Written
            );
            let publish = pair.receive_publish();
            let number = publish.packet_id.unwrap().get();
            assert!(!open.contains(&(number, QOS1)) && !open.contains(&(number, QOS2)));
            open.push((number, qos));
            if open.len() == 5 {
                finish(&mut pair, open.remove(0));
            }
        }
    }
}

fn finish(pair: &mut Pair, (number, qos): (u16, Qos)) {
    match qos {
        Qos::AtMostOnce => {}
        Qos::AtLeastOnce => {
            pair.acknowledge(puback(number));
        }
        Qos::ExactlyOnce => {
            pair.acknowledge(pubrec(number));
            pair.receive_one();
            pair.acknowledge(pubcomp(number));
        }
    }
}

#[test]
fn v5_mqtt_3_3_1_3_and_v3_mqtt_3_3_1_3_dup_of_a_publisher_does_not_reach_a_subscriber() {
    for version in ALL {
        for level in [1, 2] {
            let mut publisher = Pair::online(version);
            let mut sent = publish_of("t", level, 7);
            sent.dup = true;
            let Event::Publish(received) = publisher.send(Packet::Publish(sent)) else {
                panic!("expected a message");
            };
            let mut subscriber = Pair::online(version);
            subscriber.deliver(&received.message, &grant(received.message.qos));
            assert!(!subscriber.receive_publish().dup);
        }
    }
}

//! The first byte of every packet, both ways.

use tessera_mqtt::{Qos, ReasonCode};
use tessera_session::{Accepted, Event};

use super::{
    CLEAN, PINGREQ, V311, closes, connect_of, framed, hears_no_more, is_alive, online, publish_of,
    send, subscribe_of, unsubscribe_of,
};
use crate::pair::{Pair, id, pubrec};

/// That packet with each wrong value of its low four bits.
fn with_wrong_flags(packet: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let right = packet[0];
    (0..16)
        .map(move |flags| right & 0xF0 | flags)
        .filter(move |first| *first != right)
        .map(|first| [&[first][..], &packet[1..]].concat())
}

#[test]
fn v3_mqtt_2_2_2_2_and_3_1_4_1_connect_with_other_flags_is_closed() {
    let connect = connect_of(CLEAN, &[b"c"]);
    for wrong in with_wrong_flags(&connect) {
        closes(&mut Pair::new(V311), &wrong);
    }
}

#[test]
fn v3_mqtt_2_2_2_2_acknowledgements_and_pingreq_with_other_flags_are_closed() {
    for first in [0x40, 0x50, 0x70] {
        for wrong in with_wrong_flags(&[first, 2, 0, 1]) {
            closes(&mut online(), &wrong);
        }
        let mut pair = online();
        let event = send(&mut pair, &[first, 2, 0, 1]);
        assert!(matches!(event, Event::Acknowledged(_)));
        is_alive(&mut pair);
    }
    for wrong in with_wrong_flags(&PINGREQ) {
        closes(&mut online(), &wrong);
    }
}

#[test]
fn v3_mqtt_2_2_2_2_and_3_6_1_1_pubrel_with_other_flags_is_closed() {
    let pubrel = [0x62, 2, 0, 1];
    for wrong in with_wrong_flags(&pubrel) {
        let mut pair = online();
        pair.publish_settled(2, 1);
        assert_eq!(pair.receive_bytes(), [0x50, 2, 0, 1]);
        closes(&mut pair, &wrong);
    }
    let mut pair = online();
    pair.publish_settled(2, 1);
    assert!(matches!(send(&mut pair, &pubrel), Event::Release(_)));
}

#[test]
fn v3_mqtt_2_2_2_2_and_3_8_1_1_subscribe_with_other_flags_is_closed() {
    let subscribe = subscribe_of(1, &[(b"a", 0)]);
    for wrong in with_wrong_flags(&subscribe) {
        closes(&mut online(), &wrong);
    }
    assert!(matches!(
        send(&mut online(), &subscribe),
        Event::Subscribe(_)
    ));
}

#[test]
fn v3_mqtt_2_2_2_2_and_3_10_1_1_unsubscribe_with_other_flags_is_closed() {
    let unsubscribe = unsubscribe_of(1, &[b"a"]);
    for wrong in with_wrong_flags(&unsubscribe) {
        closes(&mut online(), &wrong);
    }
    let event = send(&mut online(), &unsubscribe);
    assert!(matches!(event, Event::Unsubscribe(_)));
}

#[test]
fn v3_mqtt_2_2_2_2_and_3_14_1_1_disconnect_with_other_flags_is_no_farewell() {
    for wrong in with_wrong_flags(&[0xE0, 0]) {
        let mut pair = online();
        closes(&mut pair, &wrong);
        assert!(pair.inbound.will().is_some(), "it is published");
    }
    let mut pair = online();
    assert!(matches!(send(&mut pair, &[0xE0, 0]), Event::Disconnect(_)));
    assert!(pair.receive_bytes().is_empty());
    hears_no_more(&mut pair);
}

#[test]
fn v3_mqtt_3_3_1_2_and_4_and_2_2_2_2_publish_with_qos_3_or_dup_at_qos_0_is_closed() {
    for flags in 0..16 {
        let packet = publish_of(0x30 | flags, b"t", 1, b"m");
        let is_qos_3 = flags & 0b0110 == 0b0110;
        let is_dup_qos_0 = flags & 0b1110 == 0b1000;
        let mut pair = online();
        if is_qos_3 || is_dup_qos_0 {
            closes(&mut pair, &packet);
        } else {
            assert!(matches!(send(&mut pair, &packet), Event::Publish(_)));
        }
    }
}

#[test]
fn v3_mqtt_4_8_0_1_and_2_2_2_2_packets_that_no_client_sends_are_closed() {
    let bodies: [&[u8]; 3] = [&[], &[0, 1], &[0, 1, 0]];
    // Type 0, CONNACK, SUBACK, UNSUBACK, PINGRESP, and 15 which is none.
    for first in [0x00, 0x20, 0x90, 0xB0, 0xD0, 0xF0] {
        for body in bodies {
            closes(&mut online(), &framed(first, body));
        }
    }
    for bytes in [
        // A remaining length of five bytes.
        &[0xC0, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F][..],
        // Bytes after the end of a packet, and packets that are too short.
        &[0xC0, 1, 0],
        &[0xE0, 1, 0],
        &[0x40, 3, 0, 1, 0],
        &[0x40, 1, 0],
        &[0x40, 0],
        &[0x82, 1, 0],
        &[0x30, 1, 0],
        &[0x30, 3, 0, 9, b't'],
        &[0x32, 4, 0, 1, b't', 0],
    ] {
        closes(&mut online(), bytes);
    }
}

#[test]
fn v3_mqtt_2_2_2_1_every_packet_of_the_server_has_the_listed_flags() {
    let mut pair = Pair::new(V311);
    send(&mut pair, &connect_of(CLEAN, &[b"c"]));
    pair.with_inbound(|inbound, out| inbound.accept(Accepted::default(), out));
    let mut firsts = vec![pair.receive_bytes()[0]];
    let mut pair = online();
    pair.publish_settled(1, 1);
    firsts.push(pair.receive_bytes()[0]);
    pair.publish_settled(2, 2);
    firsts.push(pair.receive_bytes()[0]);
    send(&mut pair, &[0x62, 2, 0, 2]);
    pair.complete_release(2);
    firsts.push(pair.receive_bytes()[0]);
    pair.deliver_text("m", Qos::ExactlyOnce);
    firsts.push(pair.receive_bytes()[0]);
    pair.acknowledge(pubrec(1));
    firsts.push(pair.receive_bytes()[0]);
    firsts.extend(answers_to_requests(&mut pair));
    send(&mut pair, &PINGREQ);
    firsts.push(pair.receive_bytes()[0]);
    assert_eq!(
        firsts,
        [0x20, 0x40, 0x50, 0x70, 0x34, 0x62, 0x90, 0xB0, 0xD0]
    );
}

fn answers_to_requests(pair: &mut Pair) -> [u8; 2] {
    let Event::Subscribe(request) = send(pair, &subscribe_of(1, &[(b"a", 0)])) else {
        panic!("expected SUBSCRIBE");
    };
    let outcomes = [Ok(Qos::AtMostOnce)];
    pair.with_inbound(|inbound, out| inbound.write_suback(request.token, &outcomes, None, out))
        .unwrap();
    let suback = pair.receive_bytes()[0];
    let Event::Unsubscribe(request) = send(pair, &unsubscribe_of(1, &[b"a"])) else {
        panic!("expected UNSUBSCRIBE");
    };
    let codes = [ReasonCode::Success];
    pair.with_inbound(|inbound, out| inbound.write_unsuback(request.token, &codes, None, out));
    [suback, pair.receive_bytes()[0]]
}

#[test]
fn v3_mqtt_2_3_1_1_an_identifier_of_0_is_closed() {
    for packet in [
        publish_of(0x32, b"t", 0, b"m"),
        publish_of(0x34, b"t", 0, b"m"),
        subscribe_of(0, &[(b"a", 0)]),
        unsubscribe_of(0, &[b"a"]),
    ] {
        closes(&mut online(), &packet);
    }
    for number in [1, u16::MAX] {
        let mut pair = online();
        let event = send(&mut pair, &publish_of(0x32, b"t", number, b"m"));
        assert!(matches!(event, Event::Publish(publish) if publish.packet_id == Some(id(number))));
    }
}

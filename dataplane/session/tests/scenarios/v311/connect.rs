//! CONNECT: its name, its flags, its payload.

use tessera_mqtt::{Connect, ProtocolVersion, Qos, ReasonCode};
use tessera_session::{Accepted, ConnectRequest, Event, ServerLimits, assign_client_id};

use super::{
    CLEAN, PASSWORD, USERNAME, V311, WILL, WILL_QOS_1, WILL_RETAIN, closes, connect_as, connect_of,
    framed, is_alive, is_over, online, refuses, send,
};
use crate::pair::{Pair, client_id};

/// The payload that these flags promise.
fn fields_of(flags: u8) -> Vec<&'static [u8]> {
    let mut fields: Vec<&[u8]> = vec![b"client"];
    if flags & WILL != 0 {
        fields.extend([&b"will/topic"[..], b"will message"]);
    }
    if flags & USERNAME != 0 {
        fields.push(b"user");
    }
    if flags & PASSWORD != 0 {
        fields.push(b"secret");
    }
    fields
}

fn request(event: Event) -> ConnectRequest {
    match event {
        Event::Connect(request) => *request,
        other => panic!("expected a CONNECT, got {other:?}"),
    }
}

/// Whether the standard allows that byte of connect flags.
fn is_allowed(flags: u8) -> bool {
    let will_bits = flags & 0b0011_1000;
    flags & 1 == 0
        && (flags & WILL != 0 || will_bits == 0)
        && flags & 0b0001_1000 != 0b0001_1000
        && (flags & USERNAME != 0 || flags & PASSWORD == 0)
}

/// The CONNECT says what its flags say, no more and no less.
fn says_what_was_sent(connect: &Connect, flags: u8) {
    assert_eq!(connect.clean_start, flags & CLEAN != 0);
    assert_eq!(connect.client_id, Some(client_id("client")));
    match &connect.will {
        None => assert_eq!(flags & WILL, 0),
        Some(will) => {
            assert_ne!(flags & WILL, 0);
            assert_eq!(will.message.topic.as_str(), "will/topic");
            assert_eq!(&*will.message.payload, b"will message");
            assert_eq!(will.message.qos.as_u8(), (flags >> 3) & 0b11);
            assert_eq!(will.message.retain, flags & WILL_RETAIN != 0);
        }
    }
    let username = connect.username.as_ref().map(|name| name.as_str());
    assert_eq!(username, (flags & USERNAME != 0).then_some("user"));
    let password = connect.password.as_ref().map(|bytes| bytes.as_bytes());
    assert_eq!(
        password,
        (flags & PASSWORD != 0).then_some(b"secret".as_slice())
    );
}

#[test]
fn v3_mqtt_3_1_2_1_a_wrong_protocol_name_is_closed() {
    for name in [
        &b"mqtt"[..],
        b"MQTS",
        b"MQT",
        b"MQTTT",
        b"MQISDP",
        b"MQIsdpX",
        b"",
    ] {
        closes(
            &mut Pair::new(V311),
            &connect_as(name, 4, CLEAN, &[b"client"]),
        );
    }
}

#[test]
fn v3_mqtt_3_1_2_1_the_name_of_3_1_is_served_as_3_1_or_not_at_all() {
    let mut pair = Pair::new(ProtocolVersion::V31);
    send(&mut pair, &connect_as(b"MQIsdp", 3, CLEAN, &[b"client"]));
    assert_eq!(pair.inbound.version(), Some(ProtocolVersion::V31));
    let newer = connect_as(b"MQIsdp", 4, CLEAN, &[b"client"]);
    refuses(&mut Pair::new(V311), &newer, &[0x20, 2, 0, 1]);
}

#[test]
fn v3_mqtt_3_1_2_2_and_3_2_2_5_an_unsupported_level_is_told_0x01_and_closed() {
    for level in 0..=3 {
        let connect = connect_as(b"MQTT", level, CLEAN, &[b"client"]);
        refuses(&mut Pair::new(V311), &connect, &[0x20, 2, 0, 1]);
    }
}

#[test]
fn v3_mqtt_3_1_2_3_and_11_and_13_and_14_and_15_and_22_flags_that_contradict_are_closed() {
    let mut closed = 0;
    for flags in (0..=u8::MAX).filter(|flags| !is_allowed(*flags)) {
        let connect = connect_of(flags, &fields_of(flags));
        closes(&mut Pair::new(V311), &connect);
        closed += 1;
    }
    // Will: 1 of 8 ways without it, 6 of 8 with it; user name and password: 3 of 4; clean: both.
    assert_eq!(closed, 256 - (1 + 6) * 3 * 2);
}

#[test]
fn v3_mqtt_3_1_2_9_and_19_and_21_and_3_1_3_1_and_3_flags_that_agree_bring_their_fields_in_order() {
    for flags in (0..=u8::MAX).filter(|flags| is_allowed(*flags)) {
        let mut pair = Pair::new(V311);
        let event = send(&mut pair, &connect_of(flags, &fields_of(flags)));
        says_what_was_sent(&request(event).connect, flags);
        assert_eq!(pair.inbound.will().is_some(), flags & WILL != 0);
        pair.accept(Accepted::default());
        is_alive(&mut pair);
    }
}

#[test]
fn v3_mqtt_3_1_2_9_and_19_and_21_and_3_1_4_1_a_promised_field_that_is_missing_is_closed() {
    for flags in [
        CLEAN,
        CLEAN | WILL,
        CLEAN | WILL | WILL_QOS_1 | WILL_RETAIN,
        CLEAN | USERNAME,
        CLEAN | USERNAME | PASSWORD,
        CLEAN | WILL | USERNAME | PASSWORD,
    ] {
        let fields = fields_of(flags);
        for kept in 0..fields.len() {
            closes(&mut Pair::new(V311), &connect_of(flags, &fields[..kept]));
        }
    }
}

#[test]
fn v3_mqtt_3_1_2_11_and_18_and_20_and_3_1_4_1_a_field_that_no_flag_promised_is_closed() {
    for (promised, sent) in [
        (CLEAN, CLEAN | WILL),
        (CLEAN, CLEAN | USERNAME),
        (CLEAN | USERNAME, CLEAN | USERNAME | PASSWORD),
        (
            CLEAN | USERNAME | PASSWORD,
            CLEAN | WILL | USERNAME | PASSWORD,
        ),
    ] {
        let connect = connect_of(promised, &fields_of(sent));
        closes(&mut Pair::new(V311), &connect);
    }
}

#[test]
fn v3_mqtt_3_1_4_1_a_connect_cut_short_anywhere_is_closed_without_connack() {
    let whole = connect_of(
        CLEAN | WILL | USERNAME | PASSWORD,
        &fields_of(WILL | USERNAME | PASSWORD),
    );
    let body = &whole[2..];
    for len in 0..body.len() {
        closes(&mut Pair::new(V311), &framed(0x10, &body[..len]));
    }
    closes(
        &mut Pair::new(V311),
        &framed(0x10, &[body, &[0][..]].concat()),
    );
    send(&mut Pair::new(V311), &whole);
}

#[test]
fn v3_mqtt_3_1_0_2_a_second_connect_is_a_violation_and_closes() {
    for bytes in [
        connect_of(CLEAN, &[b"c"]),
        connect_of(0, &[b"other"]),
        connect_as(b"MQTT", 9, CLEAN, &[b"c"]),
    ] {
        let refusal = closes(&mut online(), &bytes);
        assert_eq!(refusal.reason, ReasonCode::ProtocolError);
    }
}

#[test]
fn v3_mqtt_3_1_3_5_identifiers_of_1_to_23_letters_and_digits_are_accepted() {
    let letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let starts = 0..letters.len();
    let texts =
        starts.flat_map(|start| (1..=23).filter_map(move |len| letters.get(start..start + len)));
    for text in texts {
        let mut pair = Pair::new(V311);
        let event = send(&mut pair, &connect_of(CLEAN, &[text.as_bytes()]));
        assert_eq!(request(event).client_id, Some(client_id(text)));
        pair.accept(Accepted::default());
        is_alive(&mut pair);
    }
}

#[test]
fn v3_mqtt_3_1_3_6_an_empty_identifier_is_left_to_be_assigned() {
    let mut pair = Pair::new(V311);
    let event = send(&mut pair, &connect_of(CLEAN, &[b""]));
    assert_eq!(request(event).client_id, None);
    let assigned = Accepted {
        assigned_client_id: Some(assign_client_id([7; 16])),
        ..Accepted::default()
    };
    pair.with_inbound(|inbound, out| inbound.accept(assigned, out));
    assert_eq!(pair.receive_bytes(), [0x20, 2, 0, 0]);
    is_alive(&mut pair);
}

#[test]
fn v3_mqtt_3_1_3_8_an_empty_identifier_without_clean_session_is_told_0x02_and_closed() {
    let connect = connect_of(0, &[b""]);
    refuses(&mut Pair::new(V311), &connect, &[0x20, 2, 0, 2]);
}

#[test]
fn v3_mqtt_3_1_3_9_a_refused_identifier_is_told_0x02_and_closed() {
    let limits = ServerLimits {
        client_id_bytes_max: 30,
        ..ServerLimits::default()
    };
    let mut pair = Pair::with_limits(V311, limits);
    let connect = connect_of(CLEAN | WILL, &[&[b'x'; 31], b"will", b"gone"]);
    pair.send_bytes(&connect).unwrap_err();
    assert_eq!(pair.receive_bytes(), [0x20, 2, 0, 2]);
    assert_eq!(pair.inbound.will(), None, "nothing of it is published");
    is_over(&mut pair);
}

#[test]
fn v3_mqtt_3_1_2_8_and_9_the_will_is_stored_with_its_qos_and_retain_and_survives_a_violation() {
    for (flags, qos, retain) in [
        (WILL, Qos::AtMostOnce, false),
        (WILL | WILL_QOS_1, Qos::AtLeastOnce, false),
        (WILL | WILL_QOS_1 | WILL_RETAIN, Qos::AtLeastOnce, true),
        (WILL | WILL_QOS_1 << 1, Qos::ExactlyOnce, false),
    ] {
        let mut pair = Pair::new(V311);
        send(&mut pair, &connect_of(flags | CLEAN, &fields_of(flags)));
        pair.accept(Accepted::default());
        closes(&mut pair, &[0x00, 0]);
        let will = pair.inbound.take_will().expect("to be published").message;
        assert_eq!((will.qos, will.retain), (qos, retain));
        assert_eq!(&*will.payload, b"will message");
        assert_eq!(pair.inbound.will(), None, "once");
    }
}

#[test]
fn v3_mqtt_3_1_2_12_without_will_flag_there_is_nothing_to_publish() {
    let mut pair = Pair::online(V311);
    assert_eq!(pair.inbound.will(), None);
    closes(&mut pair, &[0x00, 0]);
    assert_eq!(pair.inbound.take_will(), None);
}

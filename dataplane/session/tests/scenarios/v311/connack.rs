//! CONNACK: what an accepted and a refused client gets.

use tessera_mqtt::ReasonCode;
use tessera_session::{Accepted, Event, Refusal};

use super::{CLEAN, V311, WILL, connect_of, is_alive, is_over, send};
use crate::pair::Pair;

fn deciding(flags: u8, fields: &[&[u8]]) -> Pair {
    let mut pair = Pair::new(V311);
    let event = send(&mut pair, &connect_of(flags, fields));
    assert!(matches!(event, Event::Connect(_)));
    pair
}

fn accept(pair: &mut Pair, session_present: bool) {
    let accepted = Accepted {
        session_present,
        ..Accepted::default()
    };
    pair.with_inbound(|inbound, out| inbound.accept(accepted, out));
}

#[test]
fn v3_mqtt_3_1_4_4_and_3_2_0_1_and_3_2_2_1_a_clean_session_is_accepted_with_two_zeroes() {
    let mut pair = deciding(CLEAN, &[b"c"]);
    assert!(pair.receive_bytes().is_empty(), "nothing before CONNACK");
    accept(&mut pair, false);
    assert_eq!(pair.receive_bytes(), [0x20, 2, 0, 0]);
    is_alive(&mut pair);
    accept(&mut pair, false);
    assert!(pair.receive_bytes().is_empty(), "one CONNACK");
}

#[test]
fn v3_mqtt_3_2_2_2_and_3_session_present_says_whether_state_was_stored() {
    for (session_present, byte) in [(true, 1), (false, 0)] {
        let mut pair = deciding(0, &[b"c"]);
        accept(&mut pair, session_present);
        assert_eq!(pair.receive_bytes(), [0x20, 2, byte, 0]);
        is_alive(&mut pair);
    }
}

#[test]
fn v3_mqtt_3_2_2_4_and_5_a_refusal_says_session_present_0_and_closes() {
    for (reason, code) in [
        (ReasonCode::UnsupportedProtocolVersion, 1),
        (ReasonCode::ClientIdentifierNotValid, 2),
        (ReasonCode::ServerUnavailable, 3),
        (ReasonCode::BadUserNameOrPassword, 4),
        (ReasonCode::NotAuthorized, 5),
    ] {
        let mut pair = deciding(WILL, &[b"c", b"will", b"gone"]);
        pair.close(Refusal::new(reason, "no"));
        assert_eq!(pair.receive_bytes(), [0x20, 2, 0, code]);
        assert_eq!(pair.inbound.will(), None, "nothing of it is published");
        is_over(&mut pair);
    }
}

#[test]
fn v3_mqtt_3_2_2_6_where_no_listed_code_fits_it_is_closed_without_connack() {
    for reason in [
        ReasonCode::TopicNameInvalid,
        ReasonCode::RetainNotSupported,
        ReasonCode::PayloadFormatInvalid,
        ReasonCode::Success,
    ] {
        let mut pair = deciding(CLEAN, &[b"c"]);
        pair.close(Refusal::new(reason, "no"));
        assert!(pair.receive_bytes().is_empty(), "{reason}");
        is_over(&mut pair);
    }
}

#[test]
fn v3_mqtt_3_1_4_5_nothing_is_processed_after_a_refused_connect() {
    let mut pair = deciding(CLEAN, &[b"c"]);
    assert!(!pair.inbound.wants_packets(), "while it is decided");
    pair.close(Refusal::new(ReasonCode::NotAuthorized, "no"));
    assert_eq!(pair.receive_bytes(), [0x20, 2, 0, 5]);
    for bytes in [&[0x30, 3, 0, 1, b't'][..], &[0x82, 6, 0, 1, 0, 1, b't', 0]] {
        assert!(matches!(send(&mut pair, bytes), Event::Nothing));
    }
    assert!(pair.receive_bytes().is_empty());
    is_over(&mut pair);
}

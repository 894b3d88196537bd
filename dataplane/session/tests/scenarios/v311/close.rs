//! PINGREQ, DISCONNECT and silence.

use std::time::Duration;

use tessera_session::{Accepted, Event, Timeout};

use super::{
    CLEAN, PINGREQ, PINGRESP, V311, WILL, connect_of, hears_no_more, is_alive, is_over, online,
    send,
};
use crate::pair::Pair;

#[test]
fn v3_mqtt_3_12_4_1_pingreq_is_answered_with_pingresp() {
    let mut pair = online();
    for _ in 0..3 {
        assert!(matches!(send(&mut pair, &PINGREQ), Event::Nothing));
        assert_eq!(pair.receive_bytes(), PINGRESP);
    }
    assert!(pair.inbound.will().is_some());
}

#[test]
fn v3_mqtt_3_14_4_3_and_3_1_2_8_and_10_disconnect_drops_the_will() {
    let mut pair = online();
    let event = send(&mut pair, &[0xE0, 0]);
    let Event::Disconnect(left) = event else {
        panic!("expected DISCONNECT, got {event:?}");
    };
    assert_eq!(
        left.session_expiry_seconds, None,
        "the session stays as it was"
    );
    assert_eq!(pair.inbound.take_will(), None);
    assert!(pair.receive_bytes().is_empty());
    hears_no_more(&mut pair);
}

#[test]
fn v3_mqtt_3_1_2_24_silence_of_one_and_a_half_times_keep_alive_closes_as_a_lost_network_does() {
    let mut pair = online();
    let timeout = pair.inbound.poll_timeout().unwrap();
    let since_packet = Duration::from_secs(90);
    assert_eq!(timeout, Timeout::Silence { since_packet });
    is_alive(&mut pair);
    let violation = pair.inbound.handle_timeout(timeout);
    pair.violate(&violation);
    assert!(pair.receive_bytes().is_empty());
    assert!(pair.inbound.will().is_some(), "it is published");
    is_over(&mut pair);
}

#[test]
fn v3_mqtt_3_1_2_24_a_keep_alive_of_0_waits_for_ever() {
    let mut connect = connect_of(WILL, &[b"c", b"will", b"gone"]);
    connect[11] = 0;
    let mut pair = Pair::new(V311);
    send(&mut pair, &connect);
    pair.accept(Accepted::default());
    assert_eq!(pair.inbound.poll_timeout(), None);
    is_alive(&mut pair);
}

#[test]
fn v3_mqtt_3_1_2_4_and_6_clean_session_says_whether_the_session_outlives_its_connection() {
    for (flags, clean, expiry) in [(0, false, 24 * 60 * 60), (CLEAN, true, 0)] {
        let mut pair = Pair::new(V311);
        let event = send(&mut pair, &connect_of(flags, &[b"c"]));
        let Event::Connect(request) = event else {
            panic!("expected CONNECT, got {event:?}");
        };
        assert_eq!(request.clean_start, clean);
        assert_eq!(pair.inbound.session_expiry_seconds(), expiry);
        pair.accept(Accepted::default());
        is_alive(&mut pair);
    }
}

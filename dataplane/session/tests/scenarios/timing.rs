//! Keep alive and the connect timeout. Time is the shell's; the machine says how much of it there
//! is.

use std::time::Duration;

use tessera_mqtt::{Packet, ProtocolVersion, ReasonCode};
use tessera_session::{Accepted, Event, ServerLimits, Timeout};

use crate::pair::{ALL, Pair, V3S, connect};

fn online(version: ProtocolVersion, asked: u16, maximum: Option<u16>) -> (Pair, Option<u16>) {
    let limits = ServerLimits {
        keep_alive_max_seconds: maximum,
        ..ServerLimits::default()
    };
    let mut pair = Pair::with_limits(version, limits);
    let mut connect = connect(version);
    connect.keep_alive_seconds = asked;
    pair.connect(connect);
    let connack = pair.accept(Accepted::default());
    (pair, connack.server_keep_alive_seconds)
}

#[test]
fn v5_mqtt_3_1_2_22_and_3_2_2_22_silence_is_1_5_times_the_clients_keep_alive() {
    for version in ALL {
        let (pair, server) = online(version, 10, None);
        assert_eq!(server, None);
        assert_eq!(pair.inbound.keep_alive(), Some(Duration::from_secs(15)));
        let since_packet = Duration::from_secs(15);
        assert_eq!(
            pair.inbound.poll_timeout(),
            Some(Timeout::Silence { since_packet })
        );
    }
}

#[test]
fn v5_mqtt_3_1_2_21_a_server_keep_alive_is_sent_and_counts() {
    for (asked, expected) in [
        (0, Some(60)),
        (61, Some(60)),
        (u16::MAX, Some(60)),
        (60, None),
    ] {
        let (pair, server) = online(ProtocolVersion::V5, asked, Some(60));
        assert_eq!(server, expected);
        assert_eq!(pair.inbound.keep_alive(), Some(Duration::from_secs(90)));
    }
}

#[test]
fn version_3_keeps_its_own_keep_alive_for_it_cannot_be_told_another() {
    for version in V3S {
        let (pair, _) = online(version, 100, Some(60));
        assert_eq!(pair.inbound.keep_alive(), Some(Duration::from_secs(150)));
    }
}

#[test]
fn a_keep_alive_of_0_waits_for_ever() {
    for version in ALL {
        let (pair, _) = online(version, 0, None);
        assert_eq!(pair.inbound.keep_alive(), None);
        assert_eq!(pair.inbound.poll_timeout(), None);
    }
}

#[test]
fn silence_disconnects_version_5_with_0x8d_and_closes_version_3() {
    for version in ALL {
        let (mut pair, _) = online(version, 10, None);
        let timeout = pair.inbound.poll_timeout().unwrap();
        let violation = pair.inbound.handle_timeout(timeout);
        pair.violate(&violation);
        match version {
            ProtocolVersion::V5 => {
                assert_eq!(
                    pair.receive_disconnect().reason,
                    ReasonCode::KeepAliveTimeout
                );
            }
            ProtocolVersion::V31 | ProtocolVersion::V311 => pair.receive_nothing(),
        }
        assert_eq!(pair.inbound.poll_timeout(), None);
    }
}

#[test]
fn a_connect_is_due_within_the_connect_timeout_and_silence_before_it_is_not_answered() {
    let mut pair = Pair::new(ProtocolVersion::V5);
    let timeout = pair.inbound.poll_timeout().unwrap();
    let since_open = ServerLimits::default().connect_timeout;
    assert_eq!(timeout, Timeout::Connect { since_open });
    let violation = pair.inbound.handle_timeout(timeout);
    pair.violate(&violation);
    pair.receive_nothing();
}

#[test]
fn v5_mqtt_3_12_4_1_pingreq_is_answered_with_pingresp() {
    for version in ALL {
        let mut pair = Pair::online(version);
        assert!(matches!(pair.send(Packet::PingReq), Event::Nothing));
        assert_eq!(pair.receive_bytes(), [0xD0, 0]);
    }
}

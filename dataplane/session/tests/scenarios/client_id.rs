//! Client identifiers: given, assigned, refused.

use tessera_mqtt::{Connect, Packet, ProtocolVersion, ReasonCode};
use tessera_session::{Accepted, ServerLimits, assign_client_id};

use crate::pair::{ALL, Pair, client_id, connect};

const V5: ProtocolVersion = ProtocolVersion::V5;
const V311: ProtocolVersion = ProtocolVersion::V311;
const V31: ProtocolVersion = ProtocolVersion::V31;

/// The CONNECT is refused by the protocol itself, with this code.
fn refused_with(limits: ServerLimits, connect: Connect) -> ReasonCode {
    let mut pair = Pair::with_limits(connect.version, limits);
    pair.send_bad(Packet::Connect(Box::new(connect)));
    pair.receive_connack().reason
}

#[test]
fn v5_mqtt_3_1_3_6_and_7_and_3_2_2_16_an_empty_client_id_gets_one_assigned() {
    let mut pair = Pair::new(V5);
    let mut connect = connect(V5);
    connect.client_id = None;
    let request = pair.connect(connect);
    assert_eq!(request.client_id, None);
    let assigned = assign_client_id([0xAB; 16]);
    assert_ne!(assigned, assign_client_id([0xAC; 16]));
    let connack = pair.accept(Accepted {
        assigned_client_id: Some(assigned.clone()),
        ..Accepted::default()
    });
    assert_eq!(assigned.as_str(), format!("auto-{}", "ab".repeat(16)));
    assert_eq!(connack.assigned_client_id, Some(assigned));
}

#[test]
fn v3_mqtt_3_1_3_6_an_empty_client_id_with_clean_session_is_accepted() {
    let mut pair = Pair::new(V311);
    let mut connect = connect(V311);
    connect.client_id = None;
    assert_eq!(pair.connect(connect).client_id, None);
    let connack = pair.accept(Accepted {
        assigned_client_id: Some(assign_client_id([1; 16])),
        ..Accepted::default()
    });
    assert_eq!(connack.reason, ReasonCode::Success);
}

#[test]
fn v3_mqtt_3_1_3_8_an_empty_client_id_without_clean_session_gets_return_code_2() {
    let mut pair = Pair::new(V311);
    let bytes = [0x10, 12, 0, 4, b'M', b'Q', b'T', b'T', 4, 0, 0, 60, 0, 0];
    pair.send_bytes(&bytes).unwrap_err();
    assert_eq!(pair.receive_bytes(), [0x20, 2, 0, 2]);
}

#[test]
fn v5_mqtt_3_1_3_8_and_v3_mqtt_3_1_3_9_too_long_a_client_id_is_refused() {
    let limits = || ServerLimits {
        client_id_bytes_max: 30,
        ..ServerLimits::default()
    };
    for version in ALL {
        let mut connect = connect(version);
        connect.client_id = Some(client_id(&"x".repeat(31)));
        let reason = refused_with(limits(), connect);
        assert_eq!(reason, ReasonCode::ClientIdentifierNotValid, "{version}");
    }
}

#[test]
fn v5_mqtt_3_1_3_5_client_ids_of_1_to_23_letters_and_digits_are_accepted() {
    for version in ALL {
        for text in ["a", "0", "abcdefghijklmnopqrstuvw", "ABCXYZ0123456789"] {
            let mut connect = connect(version);
            connect.client_id = Some(client_id(text));
            let mut pair = Pair::new(version);
            assert_eq!(pair.connect(connect).client_id, Some(client_id(text)));
        }
    }
}

#[test]
fn v31_client_ids_have_at_most_23_characters() {
    let long = |version| {
        let mut connect = connect(version);
        connect.client_id = Some(client_id(&"é".repeat(24)));
        connect
    };
    let reason = refused_with(ServerLimits::default(), long(V31));
    assert_eq!(reason, ReasonCode::ClientIdentifierNotValid);
    Pair::new(V311).connect(long(V311));
    let mut connect = connect(V31);
    connect.client_id = Some(client_id(&"é".repeat(23)));
    Pair::new(V31).connect(connect);
}

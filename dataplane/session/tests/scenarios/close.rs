//! DISCONNECT of both sides.

use std::num::NonZeroU32;

use bytes::Bytes;
use tessera_mqtt::{
    Disconnect, Message, Packet, PacketType, ProtocolVersion, Qos, ReasonCode, UserProperties, Will,
};
use tessera_session::{ClientDisconnect, Delivery, Detail, Event, Refusal, ServerLimits};

use crate::pair::{ALL, Pair, V3S, puback, publish, pubrel, string, topic};

const V5: ProtocolVersion = ProtocolVersion::V5;

fn with_will(version: ProtocolVersion, session_expiry_seconds: u32) -> Pair {
    Pair::online_with(version, ServerLimits::default(), |connect| {
        connect.session_expiry_seconds = session_expiry_seconds;
        connect.will = Some(Will {
            message: Message::new(topic("will"), Bytes::from_static(b"gone")),
            delay_seconds: 5,
        });
    })
}

fn disconnect(reason: ReasonCode, session_expiry_seconds: Option<u32>) -> Packet {
    Packet::Disconnect(Disconnect {
        session_expiry_seconds,
        ..Disconnect::new(reason)
    })
}

fn left(event: Event) -> ClientDisconnect {
    match event {
        Event::Disconnect(left) => left,
        other => panic!("expected DISCONNECT, got {other:?}"),
    }
}

#[test]
fn v5_mqtt_3_14_4_3_and_v3_mqtt_3_14_4_3_a_normal_disconnect_drops_the_will() {
    for version in ALL {
        let mut pair = with_will(version, 0);
        left(pair.send(disconnect(ReasonCode::Success, None)));
        assert_eq!(pair.inbound.will(), None);
        pair.receive_nothing();
    }
}

#[test]
fn v5_mqtt_3_1_2_8_every_other_disconnect_keeps_the_will() {
    let reasons = ReasonCode::ALL
        .iter()
        .filter(|reason| reason.client_may_disconnect_with() && **reason != ReasonCode::Success);
    for reason in reasons {
        let mut pair = with_will(V5, 0);
        assert_eq!(left(pair.send(disconnect(*reason, None))).reason, *reason);
        assert!(pair.inbound.will().is_some(), "{reason}");
    }
}

#[test]
fn v3_mqtt_3_1_2_8_a_violation_keeps_the_will() {
    for version in ALL {
        let mut pair = with_will(version, 0);
        pair.send_bytes(&[0x36, 0]).unwrap_err();
        assert!(pair.inbound.will().is_some());
    }
}

#[test]
fn disconnect_may_change_the_session_expiry_within_the_limits() {
    for (asked, expected) in [
        (None, None),
        (Some(0), Some(0)),
        (Some(u32::MAX), Some(86_400)),
    ] {
        let mut pair = with_will(V5, 10);
        let left = left(pair.send(disconnect(ReasonCode::Success, asked)));
        assert_eq!(left.session_expiry_seconds, expected);
    }
}

#[test]
fn a_session_expiry_raised_from_0_disconnects_0x82_and_keeps_the_will() {
    let mut pair = with_will(V5, 0);
    pair.send_bad(disconnect(ReasonCode::Success, Some(1)));
    assert_eq!(pair.receive_disconnect().reason, ReasonCode::ProtocolError);
    assert!(pair.inbound.will().is_some());
    let mut pair = with_will(V5, 0);
    left(pair.send(disconnect(ReasonCode::Success, Some(0))));
}

#[test]
fn v5_mqtt_3_14_4_1_nothing_is_written_after_disconnect() {
    let mut pair = Pair::online(V5);
    pair.close(Refusal::new(ReasonCode::SessionTakenOver, "taken over"));
    assert_eq!(
        pair.receive_disconnect().reason,
        ReasonCode::SessionTakenOver
    );
    assert_eq!(pair.deliver_text("late", Qos::AtMostOnce), Delivery::Closed);
    assert_eq!(
        pair.deliver_text("late", Qos::AtLeastOnce),
        Delivery::Closed
    );
    for packet in [Packet::PingReq, publish("t", 1, 1), puback(1)] {
        assert!(matches!(pair.send(packet), Event::Nothing));
    }
    pair.write_acknowledgements();
    pair.close(Refusal::new(ReasonCode::ServerShuttingDown, "again"));
    pair.receive_nothing();
}

#[test]
fn no_late_acknowledgement_leaves_after_the_connection_closed() {
    let mut pair = Pair::online(V5);
    pair.publish_settled(2, 1);
    assert!(matches!(pair.send(pubrel(1)), Event::Release(_)));
    let ticket = pair.publish(1, 2).ticket.unwrap();
    pair.close(Refusal::new(ReasonCode::ServerShuttingDown, "bye"));
    pair.receive();
    pair.complete_release(1);
    pair.settle(ticket, ReasonCode::Success);
    pair.receive_nothing();
}

#[test]
fn v5_mqtt_3_14_2_1_every_end_says_a_listed_code() {
    for reason in ReasonCode::ALL {
        let mut pair = Pair::online(V5);
        pair.close(Refusal::new(*reason, "the end"));
        let said = pair.receive_disconnect().reason;
        assert!(said.server_may_disconnect_with());
        if reason.server_may_disconnect_with() {
            assert_eq!(said, *reason);
        }
    }
}

#[test]
fn version_3_is_closed_without_a_word() {
    for version in V3S {
        let mut pair = Pair::online(version);
        pair.close(Refusal::new(ReasonCode::SessionTakenOver, "taken over"));
        pair.receive_nothing();
    }
}

#[test]
fn v5_mqtt_3_14_2_2_disconnect_carries_words_and_no_session_expiry() {
    let mut pair = Pair::online_with(V5, ServerLimits::default(), |connect| {
        connect.request_problem_information = false;
    });
    let user_properties = UserProperties::from_pairs([("limit", "connections")]).unwrap();
    pair.close(Refusal {
        detail: Detail {
            text: Some("connections 10 reached on plan free".into()),
            user_properties: user_properties.clone(),
        },
        server_reference: Some("b.example.com".to_owned()),
        ..Refusal::new(ReasonCode::ServerMoved, "")
    });
    let disconnect = pair.receive_disconnect();
    let expected = string("connections 10 reached on plan free");
    assert_eq!(disconnect.reason_string, Some(expected));
    assert_eq!(disconnect.user_properties, user_properties);
    assert_eq!(disconnect.server_reference, Some(string("b.example.com")));
    assert_eq!(disconnect.session_expiry_seconds, None);
}

#[test]
fn v5_mqtt_3_14_2_3_and_4_disconnect_sheds_words_that_outgrow_the_client() {
    let mut pair = Pair::online_with(V5, ServerLimits::default(), |connect| {
        connect.packet_bytes_max = NonZeroU32::new(30);
    });
    let user_properties = UserProperties::from_pairs([("k", &*"v".repeat(50))]).unwrap();
    let text = Some("short".into());
    pair.close(Refusal {
        detail: Detail {
            text,
            user_properties,
        },
        ..Refusal::new(ReasonCode::ServerBusy, "")
    });
    let disconnect = pair.receive_disconnect();
    assert!(disconnect.user_properties.is_empty());
    assert_eq!(disconnect.reason_string, Some(string("short")));
}

#[test]
fn v5_mqtt_4_13_1_1_a_malformed_packet_disconnects_with_its_code() {
    let cases: [(&[u8], ReasonCode); 4] = [
        (&[0x36, 0], ReasonCode::MalformedPacket),
        (&[0xC0, 1, 0], ReasonCode::MalformedPacket),
        (&[0x82, 3, 0, 1, 0], ReasonCode::ProtocolError),
        (&[0x20, 3, 0, 0, 0], ReasonCode::ProtocolError),
    ];
    for (bytes, reason) in cases {
        let mut pair = Pair::online(V5);
        pair.send_bytes(bytes).unwrap_err();
        assert_eq!(pair.receive_disconnect().reason, reason, "{bytes:02X?}");
    }
}

#[test]
fn every_packet_that_only_a_server_sends_ends_the_connection() {
    for packet in [
        PacketType::ConnAck,
        PacketType::SubAck,
        PacketType::PingResp,
    ] {
        let mut pair = Pair::online(V5);
        let first = u8::try_from(packet as usize).unwrap() << 4;
        pair.send_bytes(&[first, 0]).unwrap_err();
        assert_eq!(pair.receive_disconnect().reason, ReasonCode::ProtocolError);
    }
}

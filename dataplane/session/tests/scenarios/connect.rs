//! CONNECT and CONNACK.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use bytes::Bytes;
use tessera_mqtt::{
    ConnAck, Connect, Message, Packet, ProtocolVersion, Qos, ReasonCode, UserProperties, Will,
};
use tessera_session::{Accepted, Detail, Event, Numbering, OutboundBounds, Refusal, ServerLimits};

use crate::pair::{ALL, Pair, V3S, connect, publish, string, topic};

const V5: ProtocolVersion = ProtocolVersion::V5;
const V311: ProtocolVersion = ProtocolVersion::V311;
const V31: ProtocolVersion = ProtocolVersion::V31;

fn connack_for(limits: ServerLimits, change: impl FnOnce(&mut Connect)) -> ConnAck {
    let mut pair = Pair::with_limits(V5, limits);
    let mut connect = connect(V5);
    change(&mut connect);
    pair.connect(connect);
    pair.accept(Accepted::default())
}

fn will(qos: Qos, retain: bool) -> Will {
    let mut message = Message::new(topic("last/words"), Bytes::from_static(b"gone"));
    message.qos = qos;
    message.retain = retain;
    Will {
        message,
        delay_seconds: 0,
    }
}

/// The CONNECT is refused by the protocol itself; what the client got.
fn refused(limits: ServerLimits, connect: Connect) -> Vec<Packet> {
    let mut pair = Pair::with_limits(connect.version, limits);
    pair.send_bad(Packet::Connect(Box::new(connect)));
    assert_eq!(pair.inbound.will(), None, "no will of a refused connection");
    pair.receive()
}

fn refused_with(limits: ServerLimits, connect: Connect) -> ReasonCode {
    match refused(limits, connect).as_slice() {
        [Packet::ConnAck(connack)] => connack.reason,
        other => panic!("expected one CONNACK, got {other:?}"),
    }
}

#[test]
fn v5_mqtt_3_1_4_5_and_v3_mqtt_3_1_4_4_an_accepted_connect_is_answered_by_connack_0() {
    for version in ALL {
        let mut pair = Pair::new(version);
        pair.connect(connect(version));
        let connack = pair.accept(Accepted::default());
        assert_eq!(connack.reason, ReasonCode::Success);
        assert!(!connack.session_present);
    }
}

#[test]
fn v5_mqtt_3_2_2_1_and_v3_mqtt_3_2_2_2_and_3_connack_flags_are_session_present_alone() {
    for session_present in [false, true] {
        for version in ALL {
            let mut pair = Pair::new(version);
            let mut connect = connect(version);
            connect.clean_start = false;
            pair.connect(connect);
            let accepted = Accepted {
                session_present,
                ..Accepted::default()
            };
            pair.with_inbound(|inbound, out| inbound.accept(accepted, out));
            let connack = pair.receive_bytes();
            // 3.1 has no such flag.
            let flags = u8::from(session_present && version != V31);
            assert_eq!(connack[2..4], [flags, 0], "{version}");
            if version != V5 {
                assert_eq!(connack[..2], [0x20, 2], "four bytes in all");
            }
        }
    }
}

#[test]
fn v5_mqtt_3_2_2_3_session_present_is_what_the_shell_found() {
    for session_present in [false, true] {
        let mut pair = Pair::new(V5);
        let mut connect = connect(V5);
        connect.clean_start = false;
        pair.connect(connect);
        let connack = pair.accept(Accepted {
            session_present,
            ..Accepted::default()
        });
        assert_eq!(connack.session_present, session_present);
    }
}

#[test]
fn v5_mqtt_3_1_0_1_another_first_packet_is_not_answered() {
    for version in ALL {
        let mut pair = Pair::new(version);
        pair.send_bad(Packet::PingReq);
        pair.receive_nothing();
    }
}

#[test]
fn v5_mqtt_3_1_0_2_a_second_connect_disconnects_0x82() {
    let mut pair = Pair::online(V5);
    pair.send_bad(Packet::Connect(Box::new(connect(V5))));
    assert_eq!(pair.receive_disconnect().reason, ReasonCode::ProtocolError);
}

#[test]
fn v3_mqtt_3_1_0_2_a_second_connect_closes_without_a_word() {
    for version in V3S {
        let mut pair = Pair::online(version);
        pair.send_bad(Packet::Connect(Box::new(connect(version))));
        pair.receive_nothing();
    }
}

#[test]
fn v5_mqtt_3_1_4_6_nothing_is_handled_while_a_connect_is_decided() {
    for version in ALL {
        let mut pair = Pair::new(version);
        pair.connect(connect(version));
        assert!(!pair.inbound.wants_packets());
        let refusal = Refusal::new(ReasonCode::NotAuthorized, "no");
        pair.close(refusal);
        assert_eq!(pair.receive_connack().reason, ReasonCode::NotAuthorized);
        assert!(!pair.inbound.wants_packets());
        assert!(matches!(pair.send(publish("t", 0, 0)), Event::Nothing));
        pair.receive_nothing();
    }
}

#[test]
fn clean_start_and_expiry_reach_the_shell() {
    let cases = [
        (V5, true, 0, 0),
        (V5, false, 0, 0),
        (V5, false, 60, 60),
        (V5, true, 60, 60),
        (V5, false, u32::MAX, 1_000),
        (V311, true, 0, 0),
        (V311, false, 0, 1_000),
        (V31, false, 0, 1_000),
    ];
    for (version, clean_start, asked, granted) in cases {
        let limits = ServerLimits {
            session_expiry_max_seconds: 1_000,
            ..ServerLimits::default()
        };
        let mut pair = Pair::with_limits(version, limits);
        let mut connect = connect(version);
        connect.clean_start = clean_start;
        connect.session_expiry_seconds = asked;
        let request = pair.connect(connect);
        assert_eq!(request.clean_start, clean_start);
        assert_eq!(
            pair.inbound.session_expiry_seconds(),
            granted,
            "{version} {asked}"
        );
    }
}

#[test]
fn a_session_expiry_for_ever_is_granted_only_where_it_may_be() {
    let for_ever = ServerLimits {
        session_expiry_max_seconds: u32::MAX,
        ..ServerLimits::default()
    };
    let ask = |connect: &mut Connect| connect.session_expiry_seconds = u32::MAX;
    assert_eq!(connack_for(for_ever, ask).session_expiry_seconds, None);
    let a_day = ServerLimits::default();
    assert_eq!(connack_for(a_day, ask).session_expiry_seconds, Some(86_400));
}

#[test]
fn a_shell_that_grants_less_session_expiry_says_so() {
    let mut pair = Pair::new(V5);
    let mut connect = connect(V5);
    connect.session_expiry_seconds = 60;
    pair.connect(connect);
    let connack = pair.accept(Accepted {
        session_expiry_seconds: Some(0),
        ..Accepted::default()
    });
    assert_eq!(connack.session_expiry_seconds, Some(0));
}

#[test]
fn v5_mqtt_3_2_2_9_connack_says_what_is_not_granted() {
    let limits = ServerLimits {
        receive_maximum: 7,
        packet_bytes_max: 4_096,
        topic_alias_maximum: 3,
        maximum_qos: Qos::AtLeastOnce,
        retain_available: false,
        wildcards_available: false,
        shared_available: false,
        subscription_ids_available: false,
        ..ServerLimits::default()
    };
    let connack = connack_for(limits, |_| {});
    assert_eq!(connack.receive_maximum, NonZeroU16::new(7).unwrap());
    assert_eq!(connack.packet_bytes_max, NonZeroU32::new(4_096));
    assert_eq!(connack.topic_alias_maximum, 3);
    assert_eq!(connack.maximum_qos, Qos::AtLeastOnce);
    assert!(!connack.retain_available);
    assert!(!connack.wildcard_subscription_available);
    assert!(!connack.shared_subscription_available);
    assert!(!connack.subscription_ids_available);
}

#[test]
fn larger_client_maxima_are_capped_and_do_not_refuse_the_connect() {
    let connack = connack_for(ServerLimits::default(), |connect| {
        connect.packet_bytes_max = NonZeroU32::new(u32::MAX);
        connect.topic_alias_maximum = u16::MAX;
    });
    assert_eq!(connack.reason, ReasonCode::Success);
}

#[test]
fn v5_mqtt_3_2_2_12_a_will_above_the_maximum_qos_is_refused_0x9b() {
    let limits = ServerLimits {
        maximum_qos: Qos::AtLeastOnce,
        ..ServerLimits::default()
    };
    let mut connect = connect(V5);
    connect.will = Some(will(Qos::ExactlyOnce, false));
    assert_eq!(refused_with(limits, connect), ReasonCode::QosNotSupported);
}

#[test]
fn v5_mqtt_3_2_2_13_a_retained_will_without_retain_is_refused_0x9a() {
    let limits = ServerLimits {
        retain_available: false,
        ..ServerLimits::default()
    };
    let mut connect = connect(V5);
    connect.will = Some(will(Qos::AtMostOnce, true));
    assert_eq!(
        refused_with(limits, connect),
        ReasonCode::RetainNotSupported
    );
}

#[test]
fn v3_mqtt_3_2_2_6_a_refusal_without_return_code_closes_without_connack() {
    let limits = || ServerLimits {
        retain_available: false,
        ..ServerLimits::default()
    };
    for version in V3S {
        let mut connect = connect(version);
        connect.will = Some(will(Qos::AtMostOnce, true));
        assert!(refused(limits(), connect).is_empty());
    }
}

#[test]
fn the_tenants_limits_are_held_against_the_will_too() {
    let mut pair = Pair::new(V5);
    let mut connect = connect(V5);
    connect.will = Some(will(Qos::ExactlyOnce, false));
    connect.session_expiry_seconds = 100;
    pair.connect(connect);
    let limits = Arc::new(ServerLimits {
        session_expiry_max_seconds: 10,
        ..ServerLimits::default()
    });
    pair.inbound.set_limits(limits).unwrap();
    assert_eq!(pair.inbound.session_expiry_seconds(), 10);
    let limits = Arc::new(ServerLimits {
        maximum_qos: Qos::AtMostOnce,
        ..ServerLimits::default()
    });
    let violation = pair.inbound.set_limits(limits).unwrap_err();
    assert_eq!(violation.reason, ReasonCode::QosNotSupported);
    pair.violate(&violation);
    assert_eq!(pair.receive_connack().reason, ReasonCode::QosNotSupported);
}

#[test]
fn a_will_on_the_servers_own_topics_is_refused_0x90() {
    let mut connect = connect(V5);
    let mut will = will(Qos::AtMostOnce, false);
    will.message.topic = topic("$SYS/broker");
    connect.will = Some(will);
    assert_eq!(
        refused_with(ServerLimits::default(), connect),
        ReasonCode::TopicNameInvalid
    );
}

#[test]
fn v5_mqtt_3_1_2_7_the_will_is_kept_from_connect_on() {
    for version in ALL {
        let mut connect = connect(version);
        connect.will = Some(will(Qos::AtLeastOnce, true));
        let mut pair = Pair::new(version);
        pair.connect(connect);
        pair.accept(Accepted::default());
        let kept = pair.inbound.take_will().expect("a will");
        assert_eq!(*kept, will(Qos::AtLeastOnce, true));
        assert_eq!(pair.inbound.will(), None);
    }
}

#[test]
fn v5_mqtt_3_1_2_28_response_information_only_if_it_was_asked_for() {
    for asked in [false, true] {
        let mut pair = Pair::new(V5);
        let mut connect = connect(V5);
        connect.request_response_information = asked;
        pair.connect(connect);
        let connack = pair.accept(Accepted {
            response_information: Some("replies/".to_owned()),
            ..Accepted::default()
        });
        assert_eq!(connack.response_information.is_some(), asked);
    }
}

#[test]
fn v5_mqtt_3_2_2_19_and_20_connack_sheds_words_that_outgrow_the_client() {
    let words = || Detail {
        text: Some("long words of welcome".into()),
        user_properties: UserProperties::from_pairs([("name", "value")]).unwrap(),
    };
    let connack = |bytes_max: u32| {
        let mut pair = Pair::new(V5);
        let mut connect = connect(V5);
        connect.packet_bytes_max = NonZeroU32::new(bytes_max);
        pair.connect(connect);
        pair.accept(Accepted {
            detail: words(),
            ..Accepted::default()
        })
    };
    let whole = connack(1_000);
    assert!(whole.reason_string.is_some() && !whole.user_properties.is_empty());
    let shed = connack(40);
    assert!(shed.reason_string.is_some() && shed.user_properties.is_empty());
    let bare = connack(20);
    assert!(bare.reason_string.is_none() && bare.user_properties.is_empty());
}

#[test]
fn v5_mqtt_3_1_2_29_connack_has_words_though_problem_information_is_off() {
    let mut pair = Pair::new(V5);
    let mut connect = connect(V5);
    connect.request_problem_information = false;
    pair.connect(connect);
    pair.close(Refusal::new(ReasonCode::Banned, "for a reason"));
    let connack = pair.receive_connack();
    assert_eq!(connack.reason_string, Some(string("for a reason")));
}

#[test]
fn refusals_map_to_the_return_codes_of_version_3() {
    let cases = [
        (ReasonCode::ClientIdentifierNotValid, Some(2)),
        (ReasonCode::ServerUnavailable, Some(3)),
        (ReasonCode::QuotaExceeded, Some(3)),
        (ReasonCode::BadUserNameOrPassword, Some(4)),
        (ReasonCode::NotAuthorized, Some(5)),
        (ReasonCode::Banned, Some(5)),
        (ReasonCode::PayloadFormatInvalid, None),
    ];
    for version in V3S {
        for (reason, code) in cases {
            let mut pair = Pair::new(version);
            pair.connect(connect(version));
            pair.close(Refusal::new(
                reason,
                "words that version 3 has no place for",
            ));
            let expected = code.map_or(Vec::new(), |code| vec![0x20, 2, 0, code]);
            assert_eq!(pair.receive_bytes(), expected, "{version} {reason}");
        }
    }
}

#[test]
fn v5_mqtt_3_2_2_6_and_7_and_8_every_refusal_says_a_listed_code_and_session_present_0_and_closes() {
    for reason in ReasonCode::ALL {
        let mut pair = Pair::new(V5);
        pair.connect(connect(V5));
        pair.close(Refusal::new(*reason, "no"));
        let connack = pair.receive_connack();
        assert!(connack.reason.is_failure(), "{reason}");
        assert!(!connack.session_present);
        if reason.is_failure() && reason.is_listed_for(tessera_mqtt::PacketType::ConnAck) {
            assert_eq!(connack.reason, *reason);
        }
        assert!(!pair.inbound.wants_packets());
        assert!(matches!(pair.send(Packet::PingReq), Event::Nothing));
        pair.receive_nothing();
    }
}

#[test]
fn a_redirection_names_the_other_server() {
    let mut pair = Pair::new(V5);
    pair.connect(connect(V5));
    pair.close(Refusal {
        server_reference: Some("eu.example.com:8883".to_owned()),
        ..Refusal::new(ReasonCode::UseAnotherServer, "moved")
    });
    let connack = pair.receive_connack();
    assert_eq!(connack.reason, ReasonCode::UseAnotherServer);
    assert_eq!(
        connack.server_reference,
        Some(string("eu.example.com:8883"))
    );
}

#[test]
fn v5_mqtt_3_2_0_2_a_second_accept_writes_nothing() {
    let mut pair = Pair::online(V5);
    pair.with_inbound(|inbound, out| inbound.accept(Accepted::default(), out));
    pair.receive_nothing();
}

#[test]
fn a_malformed_connect_is_answered_as_its_decoder_allows() {
    let reserved = [
        0x10, 14, 0, 4, b'M', b'Q', b'T', b'T', 5, 3, 0, 60, 0, 0, 1, b'c',
    ];
    let mut pair = Pair::new(V5);
    pair.send_bytes(&reserved).unwrap_err();
    assert_eq!(pair.receive_connack().reason, ReasonCode::MalformedPacket);
    let mut pair = Pair::new(V5);
    pair.send_bytes(b"GET / HTTP/1.1\r\n\r\n").unwrap_err();
    pair.receive_nothing();
}

#[test]
fn outbound_is_made_of_what_the_client_said() {
    let mut pair = Pair::new(V5);
    let mut connect = connect(V5);
    connect.receive_maximum = NonZeroU16::new(3).unwrap();
    connect.packet_bytes_max = NonZeroU32::new(99);
    connect.topic_alias_maximum = 4;
    pair.connect(connect);
    let config = pair
        .inbound
        .outbound_config(Numbering::Inbox, OutboundBounds::default());
    assert_eq!(config.version, V5);
    assert_eq!(config.receive_maximum, 3);
    assert_eq!(config.packet_bytes_max, 99);
    assert_eq!(config.topic_alias_maximum, 4);
}

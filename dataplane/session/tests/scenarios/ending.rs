//! How a connection ends: what may be said when, redirection, and ends that cannot be told.

use std::num::NonZeroU32;
use std::sync::Arc;

use bytes::Bytes;
use tessera_mqtt::{Connect, Disconnect, Packet, ProtocolVersion, Qos, ReasonCode, Will};
use tessera_session::{
    Accepted, AuthExchange, AuthMethod, AuthMethods, AuthStep, Delivery, Event, Refusal,
    ServerLimits,
};

use crate::pair::{ALL, Pair, V3S, connect, message, string};

const V5: ProtocolVersion = ProtocolVersion::V5;
const SERVER: &str = "eu.example.com:8883";

fn refusal() -> Refusal {
    Refusal::new(ReasonCode::ServerBusy, "busy")
}

/// Asks for ever.
#[derive(Debug)]
struct Asking;

impl AuthMethod for Asking {
    fn name(&self) -> &'static str {
        "ASKING"
    }

    fn begin(&self, _connect: Option<&Connect>) -> Box<dyn AuthExchange> {
        Box::new(Self)
    }
}

impl AuthExchange for Asking {
    fn handle_data(&mut self, data: Option<&Bytes>) -> AuthStep {
        AuthStep::Continue(data.cloned())
    }
}

fn asking(bytes_max: u32) -> Pair {
    let methods = AuthMethods::new([Arc::new(Asking) as Arc<dyn AuthMethod>]);
    let mut pair = Pair::with_methods(V5, ServerLimits::default(), methods);
    let mut connect = connect(V5);
    connect.authentication_method = Some(string("ASKING"));
    connect.authentication_data = Some(Bytes::from_static(b"?"));
    connect.packet_bytes_max = NonZeroU32::new(bytes_max);
    let event = pair.send(Packet::Connect(Box::new(connect)));
    assert!(matches!(event, Event::Nothing));
    pair
}

#[test]
fn v5_mqtt_3_14_0_1_before_connack_0_the_end_is_a_connack_or_nothing() {
    let mut opening = Pair::new(V5);
    opening.close(refusal());
    opening.receive_nothing();
    let mut proving = asking(1_000);
    proving.receive();
    proving.close(refusal());
    assert_eq!(proving.receive_connack().reason, ReasonCode::ServerBusy);
    let mut deciding = Pair::new(V5);
    deciding.connect(connect(V5));
    deciding.close(refusal());
    assert_eq!(deciding.receive_connack().reason, ReasonCode::ServerBusy);
    let mut online = Pair::online(V5);
    online.close(refusal());
    assert_eq!(online.receive_disconnect().reason, ReasonCode::ServerBusy);
}

#[test]
fn v5_mqtt_3_15_2_2_and_3_auth_carries_no_words_and_never_outgrows_the_client() {
    let mut whole = asking(1_000);
    let auth = whole.receive_bytes();
    let expected = [
        &[0xF0, 15, 0x18, 13, 0x15, 0, 6][..],
        b"ASKING",
        &[0x16, 0, 1, b'?'],
    ]
    .concat();
    assert_eq!(auth, expected);
    let length = u32::try_from(expected.len()).unwrap();
    for bytes_max in [length, length - 1, 3] {
        let mut pair = asking(bytes_max);
        let leaves = if bytes_max < length {
            0
        } else {
            expected.len()
        };
        assert_eq!(pair.receive_bytes().len(), leaves);
        assert!(pair.inbound.wants_packets(), "the exchange goes on");
    }
}

#[test]
fn v5_mqtt_4_13_2_1_an_end_that_does_not_fit_the_client_is_an_end_all_the_same() {
    for bytes_max in [1, 2, 1_000] {
        let mut pair = Pair::new(V5);
        let mut connect = connect(V5);
        connect.packet_bytes_max = NonZeroU32::new(bytes_max);
        connect.will = Some(Will {
            message: message("will", "gone"),
            delay_seconds: 0,
        });
        pair.connect(connect);
        pair.with_inbound(|inbound, out| inbound.accept(Accepted::default(), out));
        pair.receive_bytes();
        pair.close(refusal());
        assert_eq!(
            pair.receive_bytes().is_empty(),
            bytes_max < 3,
            "{bytes_max}"
        );
        assert!(!pair.inbound.wants_packets());
        assert!(matches!(pair.send(Packet::PingReq), Event::Nothing));
        pair.receive_nothing();
        assert!(pair.inbound.will().is_some(), "to be published");
    }
}

#[test]
fn a_client_is_sent_elsewhere_by_connack_and_by_disconnect_for_now_and_for_good() {
    for reason in [ReasonCode::UseAnotherServer, ReasonCode::ServerMoved] {
        let elsewhere = || Refusal {
            server_reference: Some(SERVER.to_owned()),
            ..Refusal::new(reason, "")
        };
        let mut deciding = Pair::new(V5);
        deciding.connect(connect(V5));
        deciding.close(elsewhere());
        let connack = deciding.receive_connack();
        assert_eq!(connack.reason, reason);
        assert_eq!(connack.server_reference, Some(string(SERVER)));
        assert!(!deciding.inbound.wants_packets());
        let mut online = Pair::online(V5);
        online.close(elsewhere());
        let disconnect = online.receive_disconnect();
        assert_eq!(disconnect.reason, reason);
        assert_eq!(disconnect.server_reference, Some(string(SERVER)));
        assert_eq!(
            online.deliver_text("late", Qos::AtMostOnce),
            Delivery::Closed
        );
        for version in V3S {
            let mut pair = Pair::new(version);
            pair.connect(connect(version));
            pair.close(elsewhere());
            assert_eq!(pair.receive_bytes(), [0x20, 2, 0, 3], "{version}");
        }
    }
}

#[test]
fn v5_mqtt_3_14_2_1_every_reason_that_a_client_may_leave_with_is_taken_and_nothing_is_answered() {
    let reasons = ReasonCode::ALL.iter();
    for reason in reasons.filter(|reason| reason.client_may_disconnect_with()) {
        let mut pair = Pair::online(V5);
        let event = pair.send(Packet::Disconnect(Disconnect::new(*reason)));
        assert!(matches!(event, Event::Disconnect(left) if left.reason == *reason));
        pair.close(refusal());
        pair.receive_nothing();
    }
}

#[test]
fn v5_mqtt_3_1_2_10_and_v3_mqtt_3_1_2_10_a_will_is_given_out_once_and_not_after_a_farewell() {
    let with_will = |version| {
        Pair::online_with(version, ServerLimits::default(), |connect| {
            connect.will = Some(Will {
                message: message("will", "gone"),
                delay_seconds: 0,
            });
        })
    };
    for version in ALL {
        let mut lost = with_will(version);
        assert!(lost.inbound.take_will().is_some());
        assert_eq!(lost.inbound.take_will(), None);
        let mut left = with_will(version);
        left.send(Packet::Disconnect(Disconnect::new(ReasonCode::Success)));
        assert_eq!(left.inbound.take_will(), None);
    }
}

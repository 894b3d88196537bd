//! Enhanced authentication, with a method that asks for a word and takes one.

use std::sync::Arc;

use bytes::Bytes;
use tessera_mqtt::{Auth, Connect, Packet, ProtocolVersion, ReasonCode, Will};
use tessera_session::{
    Accepted, AuthExchange, AuthMethod, AuthMethods, AuthStep, Event, Identity, ServerLimits,
};

use crate::pair::{Pair, connect, message, publish, string};

const V5: ProtocolVersion = ProtocolVersion::V5;

/// CONNECT carries a name, the server asks, the client answers the name backwards.
#[derive(Debug)]
struct Backwards;

#[derive(Debug)]
struct Exchange {
    name: Option<String>,
}

impl AuthMethod for Backwards {
    fn name(&self) -> &str {
        "BACKWARDS"
    }

    fn begin(&self, _connect: Option<&Connect>) -> Box<dyn AuthExchange> {
        Box::new(Exchange { name: None })
    }
}

impl AuthExchange for Exchange {
    fn handle_data(&mut self, data: Option<&Bytes>) -> AuthStep {
        let Some(text) = data.and_then(|data| String::from_utf8(data.to_vec()).ok()) else {
            return AuthStep::Refused;
        };
        match &self.name {
            None => {
                let question = Bytes::from(format!("{text}?"));
                self.name = Some(text);
                AuthStep::Continue(Some(question))
            }
            Some(name) if name.chars().rev().eq(text.chars()) => AuthStep::Proved {
                identity: Identity(name.clone()),
                data: Some(Bytes::from_static(b"welcome")),
            },
            Some(_) => AuthStep::Refused,
        }
    }
}

fn pair() -> Pair {
    let methods = AuthMethods::new([Arc::new(Backwards) as Arc<dyn AuthMethod>]);
    Pair::with_methods(V5, ServerLimits::default(), methods)
}

fn connect_with(method: &str) -> Packet {
    let mut connect = connect(V5);
    connect.authentication_method = Some(string(method));
    connect.authentication_data = Some(Bytes::from_static(b"anna b"));
    connect.will = Some(Will {
        message: message("will", "gone"),
        delay_seconds: 0,
    });
    Packet::Connect(Box::new(connect))
}

fn auth(reason: ReasonCode, data: &'static str) -> Packet {
    auth_of("BACKWARDS", reason, data)
}

fn auth_of(method: &str, reason: ReasonCode, data: &'static str) -> Packet {
    Packet::Auth(Auth::new(reason, string(method), Some(data.into())))
}

const CONTINUE: ReasonCode = ReasonCode::ContinueAuthentication;
const AGAIN: ReasonCode = ReasonCode::ReAuthenticate;

fn online() -> Pair {
    let mut pair = pair();
    assert!(matches!(
        pair.send(connect_with("BACKWARDS")),
        Event::Nothing
    ));
    pair.receive();
    let event = pair.send(auth(CONTINUE, "b anna"));
    let Event::Connect(request) = event else {
        panic!("expected a CONNECT, got {event:?}");
    };
    assert_eq!(request.identity, Some(Identity("anna b".to_owned())));
    let connack = pair.accept(Accepted::default());
    assert_eq!(connack.authentication_method, Some(string("BACKWARDS")));
    assert_eq!(
        connack.authentication_data.as_deref(),
        Some(&b"welcome"[..])
    );
    pair
}

fn disconnected(mut pair: Pair, packet: Packet) -> ReasonCode {
    pair.send_bad(packet);
    pair.receive_disconnect().reason
}

#[test]
fn v5_mqtt_4_12_0_2_and_5_the_exchange_ends_in_a_connect_that_knows_who_it_is() {
    let mut pair = pair();
    pair.send(connect_with("BACKWARDS"));
    let expected = Auth::new(CONTINUE, string("BACKWARDS"), Some("anna b?".into()));
    assert_eq!(pair.receive(), [Packet::Auth(expected)]);
    assert!(pair.inbound.wants_packets());
    online();
}

#[test]
fn v5_mqtt_4_12_0_1_an_unknown_method_is_refused_0x8c() {
    for method in ["SCRAM-SHA-256", "backwards", ""] {
        let mut pair = pair();
        pair.send_bad(connect_with(method));
        let connack = pair.receive_connack();
        assert_eq!(connack.reason, ReasonCode::BadAuthenticationMethod);
        assert_eq!(pair.inbound.will(), None);
    }
}

#[test]
fn v5_mqtt_4_12_0_4_a_wrong_answer_is_refused_0x87() {
    let mut pair = pair();
    pair.send(connect_with("BACKWARDS"));
    pair.receive();
    pair.send_bad(auth(CONTINUE, "anna b"));
    assert_eq!(pair.receive_connack().reason, ReasonCode::NotAuthorized);
    assert_eq!(pair.inbound.will(), None);
}

#[test]
fn v5_mqtt_3_1_2_30_only_auth_and_disconnect_may_come_before_connack() {
    let mut pair = pair();
    pair.send(connect_with("BACKWARDS"));
    pair.receive();
    pair.send_bad(publish("t", 0, 0));
    assert_eq!(pair.receive_connack().reason, ReasonCode::ProtocolError);
}

#[test]
fn a_client_that_leaves_before_connack_leaves_no_will() {
    let mut pair = pair();
    pair.send(connect_with("BACKWARDS"));
    pair.receive();
    let leave = tessera_mqtt::Disconnect::new(ReasonCode::DisconnectWithWill);
    assert!(matches!(
        pair.send(Packet::Disconnect(leave)),
        Event::Disconnect(_)
    ));
    assert_eq!(pair.inbound.will(), None);
}

#[test]
fn v5_mqtt_4_12_0_5_another_method_or_reason_during_login_is_a_protocol_error() {
    for packet in [
        auth_of("OTHER", CONTINUE, "b anna"),
        auth(AGAIN, "b anna"),
        auth(ReasonCode::Success, "b anna"),
    ] {
        let mut pair = pair();
        pair.send(connect_with("BACKWARDS"));
        pair.receive();
        pair.send_bad(packet);
        assert_eq!(pair.receive_connack().reason, ReasonCode::ProtocolError);
    }
}

#[test]
fn v5_mqtt_4_12_0_6_and_7_auth_without_a_method_is_a_protocol_error() {
    let mut pair = pair();
    pair.connect(connect(V5));
    let connack = pair.accept(Accepted::default());
    assert_eq!(connack.authentication_method, None);
    assert_eq!(
        disconnected(pair, auth(AGAIN, "anna b")),
        ReasonCode::ProtocolError
    );
}

#[test]
fn v5_mqtt_4_12_1_1_a_client_proves_itself_anew_while_messages_go_on() {
    let mut pair = online();
    for _ in 0..2 {
        assert!(matches!(pair.send(auth(AGAIN, "anna b")), Event::Nothing));
        let expected = Auth::new(CONTINUE, string("BACKWARDS"), Some("anna b?".into()));
        assert_eq!(pair.receive(), [Packet::Auth(expected)]);
        pair.publish(0, 0);
        assert!(matches!(
            pair.send(auth(CONTINUE, "b anna")),
            Event::Reauthenticated
        ));
        let data = Some("welcome".into());
        let expected = Auth::new(ReasonCode::Success, string("BACKWARDS"), data);
        assert_eq!(pair.receive(), [Packet::Auth(expected)]);
    }
}

#[test]
fn v5_mqtt_4_12_1_2_failed_reauthentication_disconnects_0x87() {
    let mut pair = online();
    pair.send(auth(AGAIN, "anna b"));
    pair.receive();
    assert_eq!(
        disconnected(pair, auth(CONTINUE, "wrong")),
        ReasonCode::NotAuthorized
    );
}

#[test]
fn reauthentication_as_somebody_else_disconnects_0x87() {
    let mut pair = online();
    pair.send(auth(AGAIN, "bert"));
    pair.receive();
    assert_eq!(
        disconnected(pair, auth(CONTINUE, "treb")),
        ReasonCode::NotAuthorized
    );
}

#[test]
fn reauthentication_with_another_method_disconnects_0x82() {
    let packet = auth_of("OTHER", AGAIN, "anna b");
    assert_eq!(disconnected(online(), packet), ReasonCode::ProtocolError);
}

#[test]
fn auth_out_of_turn_while_online_disconnects_0x82() {
    assert_eq!(
        disconnected(online(), auth(CONTINUE, "x")),
        ReasonCode::ProtocolError
    );
    let mut pair = online();
    pair.send(auth(AGAIN, "anna b"));
    pair.receive();
    assert_eq!(
        disconnected(pair, auth(AGAIN, "anna b")),
        ReasonCode::ProtocolError
    );
}

//! What a published message may say: aliases, grants, properties, and how it is refused.

use std::num::NonZeroU32;

use tessera_mqtt::{
    Ack, ForwardedProperties, ForwardedProperty, Message, Packet, PayloadFormat, ProtocolVersion,
    PublishTopic, Qos, ReasonCode, TopicAlias, UserProperties,
};
use tessera_session::{Detail, Event, ServerLimits};

use crate::pair::{Pair, V3S, aliased, publish, publish_of, string, topic};

const V5: ProtocolVersion = ProtocolVersion::V5;
const V311: ProtocolVersion = ProtocolVersion::V311;

fn alias(number: u16) -> TopicAlias {
    TopicAlias::new(number).unwrap()
}

fn message(event: Event) -> Message {
    match event {
        Event::Publish(publish) => publish.message,
        other => panic!("expected a message, got {other:?}"),
    }
}

#[test]
fn v3_mqtt_3_3_5_2_a_refused_message_is_never_acknowledged() {
    for version in V3S {
        let mut pair = Pair::online(version);
        let first = pair.publish(1, 1).ticket.unwrap();
        let second = pair.publish(1, 2).ticket.unwrap();
        let detail = Some(Box::new(Detail::text("quota exceeded")));
        let refused = pair
            .inbound
            .complete_publish(first, ReasonCode::QuotaExceeded, detail);
        assert_eq!(refused.unwrap_err().text, "quota exceeded");
        pair.settle(second, ReasonCode::Success);
        pair.receive_nothing();
    }
}

#[test]
fn v5_mqtt_3_4_2_1_and_3_5_2_1_a_refusal_says_a_listed_code() {
    let mut pair = Pair::online(V5);
    for reason in ReasonCode::ALL.iter().filter(|reason| reason.is_failure()) {
        for level in [1, 2] {
            let ticket = pair.publish(level, 1).ticket.unwrap();
            pair.settle(ticket, *reason);
            let (Packet::PubAck(ack) | Packet::PubRec(ack)) = pair.receive_one() else {
                panic!("expected PUBACK or PUBREC");
            };
            assert!(ack.reason.is_failure());
            assert!(ack.reason.is_listed_for(tessera_mqtt::PacketType::PubAck));
        }
    }
}

fn words() -> Detail {
    Detail {
        text: Some("publishes_per_second 100 reached on plan free".into()),
        user_properties: UserProperties::from_pairs([("limit", "publishes_per_second")]).unwrap(),
    }
}

fn refused_puback(change: impl FnOnce(&mut tessera_mqtt::Connect)) -> Ack {
    let mut pair = Pair::online_with(V5, ServerLimits::default(), change);
    let ticket = pair.publish(1, 1).ticket.unwrap();
    let reason = ReasonCode::QuotaExceeded;
    pair.inbound
        .complete_publish(ticket, reason, Some(Box::new(words())))
        .unwrap();
    pair.write_acknowledgements();
    match pair.receive_one() {
        Packet::PubAck(ack) => ack,
        other => panic!("expected PUBACK, got {other:?}"),
    }
}

#[test]
fn v5_mqtt_3_4_2_2_and_3_a_refusal_carries_its_words_as_far_as_they_fit() {
    let whole = refused_puback(|_| {});
    let text = "publishes_per_second 100 reached on plan free";
    assert_eq!(whole.reason_string, Some(string(text)));
    assert_eq!(
        whole.user_properties.get("limit"),
        Some("publishes_per_second")
    );
    let shed = refused_puback(|connect| connect.packet_bytes_max = NonZeroU32::new(60));
    assert!(shed.reason_string.is_some() && shed.user_properties.is_empty());
    let bare = refused_puback(|connect| connect.packet_bytes_max = NonZeroU32::new(20));
    assert!(bare.reason_string.is_none() && bare.user_properties.is_empty());
}

#[test]
fn v5_mqtt_3_1_2_29_no_words_on_puback_without_problem_information() {
    let ack = refused_puback(|connect| connect.request_problem_information = false);
    assert_eq!(ack.reason, ReasonCode::QuotaExceeded);
    assert!(ack.reason_string.is_none() && ack.user_properties.is_empty());
}

#[test]
fn v5_mqtt_3_3_2_12_an_alias_stands_for_the_name_it_was_defined_with() {
    let mut pair = Pair::online(V5);
    let define = |name: &str, number| PublishTopic::Define {
        name: topic(name),
        alias: alias(number),
    };
    assert_eq!(
        message(pair.send(aliased(define("a", 1)))).topic,
        topic("a")
    );
    assert_eq!(
        message(pair.send(aliased(define("b", 16)))).topic,
        topic("b")
    );
    let use_of = |number| aliased(PublishTopic::Alias(alias(number)));
    assert_eq!(message(pair.send(use_of(1))).topic, topic("a"));
    assert_eq!(message(pair.send(use_of(16))).topic, topic("b"));
    assert_eq!(
        message(pair.send(aliased(define("c", 1)))).topic,
        topic("c")
    );
    assert_eq!(message(pair.send(use_of(1))).topic, topic("c"));
}

#[test]
fn an_alias_is_defined_even_by_a_message_that_is_refused_or_a_repeat() {
    let mut pair = Pair::online(V5);
    pair.publish_settled(2, 1);
    let mut repeat = publish_of("t", 2, 1);
    repeat.topic = PublishTopic::Define {
        name: topic("a"),
        alias: alias(1),
    };
    assert!(matches!(pair.send(Packet::Publish(repeat)), Event::Nothing));
    let event = pair.send(aliased(PublishTopic::Alias(alias(1))));
    assert_eq!(message(event).topic, topic("a"));
}

#[test]
fn v5_mqtt_3_3_2_9_an_alias_above_the_maximum_disconnects_0x94() {
    let mut pair = Pair::online(V5);
    pair.send_bad(aliased(PublishTopic::Define {
        name: topic("a"),
        alias: alias(17),
    }));
    assert_eq!(
        pair.receive_disconnect().reason,
        ReasonCode::TopicAliasInvalid
    );
}

#[test]
fn v5_mqtt_3_3_2_7_an_alias_of_another_connection_disconnects_0x82() {
    for number in [1, 16] {
        let mut pair = Pair::online(V5);
        pair.send_bad(aliased(PublishTopic::Alias(alias(number))));
        assert_eq!(pair.receive_disconnect().reason, ReasonCode::ProtocolError);
    }
}

#[test]
fn v5_mqtt_3_3_4_6_a_subscription_identifier_from_a_client_disconnects_0x82() {
    let mut pair = Pair::online(V5);
    pair.send_bytes(&[0x30, 7, 0, 1, b't', 2, 0x0B, 1, b'x'])
        .unwrap_err();
    assert_eq!(pair.receive_disconnect().reason, ReasonCode::ProtocolError);
}

#[test]
fn v5_mqtt_3_2_2_11_a_qos_above_the_maximum_disconnects_0x9b() {
    let limits = ServerLimits {
        maximum_qos: Qos::AtLeastOnce,
        ..ServerLimits::default()
    };
    let mut pair = Pair::online_with(V5, limits.clone(), |_| {});
    pair.publish(1, 1);
    pair.send_bad(publish("t", 2, 2));
    assert_eq!(
        pair.receive_disconnect().reason,
        ReasonCode::QosNotSupported
    );
    let mut pair = Pair::online_with(V311, limits, |_| {});
    pair.send_bad(publish("t", 2, 2));
    pair.receive_nothing();
}

#[test]
fn v5_mqtt_3_2_2_14_retain_without_retain_available_disconnects_0x9a() {
    let limits = ServerLimits {
        retain_available: false,
        ..ServerLimits::default()
    };
    let mut pair = Pair::online_with(V5, limits, |_| {});
    let mut retained = publish_of("t", 0, 0);
    retained.retain = true;
    pair.send_bad(Packet::Publish(retained));
    assert_eq!(
        pair.receive_disconnect().reason,
        ReasonCode::RetainNotSupported
    );
}

/// What a version 5 client hears of a message that is refused, and that it may go on.
fn refusal_of(limits: ServerLimits, change: impl Fn(&mut tessera_mqtt::Publish)) -> ReasonCode {
    let mut pair = Pair::online_with(V5, limits, |_| {});
    let mut at_most_once = publish_of("t", 0, 0);
    change(&mut at_most_once);
    assert!(matches!(
        pair.send(Packet::Publish(at_most_once)),
        Event::Refused(_)
    ));
    pair.receive_nothing();
    let mut at_least_once = publish_of("t", 1, 1);
    change(&mut at_least_once);
    assert!(matches!(
        pair.send(Packet::Publish(at_least_once)),
        Event::Refused(_)
    ));
    pair.write_acknowledgements();
    match pair.receive_one() {
        Packet::PubAck(ack) => ack.reason,
        other => panic!("expected PUBACK, got {other:?}"),
    }
}

fn on(name: &'static str) -> impl Fn(&mut tessera_mqtt::Publish) {
    move |publish| publish.topic = PublishTopic::Name(topic(name))
}

#[test]
fn the_servers_own_topics_are_refused_0x90() {
    for name in ["$SYS", "$SYS/broker/load", "$queue/t"] {
        let reason = refusal_of(ServerLimits::default(), on(name));
        assert_eq!(reason, ReasonCode::TopicNameInvalid, "{name}");
    }
    let mut pair = Pair::online(V5);
    for name in ["$SYSTEM", "$other/t", "a/$SYS"] {
        message(pair.send(publish(name, 0, 0)));
    }
}

#[test]
fn topics_past_the_tenants_limits_are_refused_0x90() {
    let limits = ServerLimits {
        topic_levels_max: 3,
        topic_bytes_max: 10,
        ..ServerLimits::default()
    };
    let invalid = ReasonCode::TopicNameInvalid;
    assert_eq!(refusal_of(limits.clone(), on("a/b/c/d")), invalid);
    assert_eq!(refusal_of(limits.clone(), on("///")), invalid);
    assert_eq!(refusal_of(limits.clone(), on("elevenbytes")), invalid);
    let mut pair = Pair::online_with(V5, limits, |_| {});
    for name in ["a/b/c", "//", "ten bytes."] {
        message(pair.send(publish(name, 0, 0)));
    }
}

#[test]
fn a_payload_that_is_not_the_utf8_it_is_said_to_be_is_refused_0x99() {
    let utf8 = [ForwardedProperty::PayloadFormat(PayloadFormat::Utf8)];
    let properties = ForwardedProperties::from_properties(utf8).unwrap();
    let reason = refusal_of(ServerLimits::default(), |publish| {
        publish.properties = properties.clone();
        publish.payload = vec![0xFF].into();
    });
    assert_eq!(reason, ReasonCode::PayloadFormatInvalid);
}

#[test]
fn a_refused_message_closes_version_3_if_it_wants_an_acknowledgement() {
    for version in V3S {
        let mut pair = Pair::online(version);
        assert!(matches!(
            pair.send(publish("$SYS/a", 0, 0)),
            Event::Refused(_)
        ));
        pair.send_bad(publish("$SYS/a", 1, 1));
        pair.receive_nothing();
    }
}

#[test]
fn forwarded_properties_reach_the_shell_unchanged_and_in_order() {
    let properties = [
        ForwardedProperty::User("b", "1"),
        ForwardedProperty::ContentType("text/plain"),
        ForwardedProperty::User("a", "2"),
        ForwardedProperty::ResponseTopic("reply/to"),
        ForwardedProperty::CorrelationData(&[0, 255]),
        ForwardedProperty::User("b", "3"),
        ForwardedProperty::PayloadFormat(PayloadFormat::Utf8),
    ];
    let mut pair = Pair::online(V5);
    let mut publish = publish_of("t", 0, 0);
    publish.properties = ForwardedProperties::from_properties(properties).unwrap();
    publish.expiry_seconds = Some(9);
    let message = message(pair.send(Packet::Publish(publish)));
    assert!(message.properties.iter().eq(properties));
    assert_eq!(message.expiry_seconds, Some(9));
}

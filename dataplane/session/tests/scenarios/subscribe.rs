//! SUBSCRIBE and UNSUBSCRIBE.

use std::num::NonZeroU32;

use tessera_mqtt::{
    FilterSpec, Packet, ProtocolVersion, Qos, ReasonCode, RetainHandling, SubAck, Subscribe,
    SubscribeFilter, SubscriptionId, SubscriptionOptions, UserProperties,
};
use tessera_session::{
    Detail, Event, ServerLimits, SubscribeOutcome, SubscribeRequest, UnsubscribeRequest,
};

use crate::pair::{ALL, Pair, V3S, id, string, unsubscribe};

const V5: ProtocolVersion = ProtocolVersion::V5;
const V311: ProtocolVersion = ProtocolVersion::V311;
const V31: ProtocolVersion = ProtocolVersion::V31;

fn subscribe_of(filters: &[&str]) -> Subscribe {
    let options = SubscriptionOptions::new(Qos::ExactlyOnce);
    let filters = filters
        .iter()
        .map(|filter| SubscribeFilter::new(string(filter), options));
    Subscribe::new(id(10), filters.collect())
}

fn request(pair: &mut Pair, subscribe: Subscribe) -> SubscribeRequest {
    match pair.send(Packet::Subscribe(subscribe)) {
        Event::Subscribe(request) => request,
        other => panic!("expected SUBSCRIBE, got {other:?}"),
    }
}

fn targets(limits: ServerLimits, filters: &[&str]) -> Vec<Result<FilterSpec, ReasonCode>> {
    let mut pair = Pair::online_with(V5, limits, |_| {});
    let request = request(&mut pair, subscribe_of(filters));
    request
        .entries
        .into_iter()
        .map(|entry| entry.target)
        .collect()
}

fn spec(text: &str) -> FilterSpec {
    FilterSpec::try_from(text).unwrap()
}

fn answer(pair: &mut Pair, request: &SubscribeRequest, outcomes: &[SubscribeOutcome]) -> SubAck {
    pair.with_inbound(|inbound, out| inbound.write_suback(request.token, outcomes, None, out))
        .unwrap();
    match pair.receive_one() {
        Packet::SubAck(suback) => suback,
        other => panic!("expected SUBACK, got {other:?}"),
    }
}

#[test]
fn v5_mqtt_3_8_4_1_and_2_and_6_and_7_and_3_9_3_1_suback_repeats_the_identifier_with_a_code_per_filter_in_order()
 {
    let mut pair = Pair::online(V5);
    let request = request(&mut pair, subscribe_of(&["a", "b/+", "c/#", "d"]));
    let outcomes = [
        Ok(Qos::AtMostOnce),
        Ok(Qos::AtLeastOnce),
        Ok(Qos::ExactlyOnce),
        Err(ReasonCode::NotAuthorized),
    ];
    let suback = answer(&mut pair, &request, &outcomes);
    assert_eq!(suback.packet_id, id(10));
    assert_eq!(
        suback.codes,
        [
            ReasonCode::Success,
            ReasonCode::GrantedQos1,
            ReasonCode::GrantedQos2,
            ReasonCode::NotAuthorized
        ]
    );
}

#[test]
fn v5_mqtt_3_8_4_5_every_filter_of_a_subscribe_reaches_the_shell_with_its_options() {
    let mut pair = Pair::online(V5);
    let mut subscribe = subscribe_of(&["a/+", "$share/g/b", "$oshare/g/c"]);
    subscribe.filters[0].options.no_local = true;
    subscribe.filters[0].options.retain_as_published = true;
    subscribe.filters[1].options.retain_handling = RetainHandling::SendIfNew;
    subscribe.filters[2].options.retain_handling = RetainHandling::DoNotSend;
    subscribe.subscription_id = SubscriptionId::new(9);
    let request = request(&mut pair, subscribe);
    assert_eq!(request.subscription_id, SubscriptionId::new(9));
    let targets: Vec<_> = request
        .entries
        .iter()
        .map(|entry| entry.target.clone())
        .collect();
    assert_eq!(
        targets,
        [
            Ok(spec("a/+")),
            Ok(spec("$share/g/b")),
            Ok(spec("$oshare/g/c"))
        ]
    );
    assert!(request.entries[0].options.no_local);
    assert!(request.entries[0].options.retain_as_published);
    let entries = request.entries.iter();
    let handling: Vec<_> = entries.map(|entry| entry.options.retain_handling).collect();
    assert_eq!(
        handling,
        [
            RetainHandling::Send,
            RetainHandling::SendIfNew,
            RetainHandling::DoNotSend
        ]
    );
    assert_eq!(request.entries[1].text, string("$share/g/b"));
}

#[test]
fn v3_mqtt_3_9_3_2_suback_of_3_1_1_says_every_failure_as_0x80() {
    let mut pair = Pair::online(V311);
    let request = request(&mut pair, subscribe_of(&["a", "b", "c"]));
    let outcomes = [
        Err(ReasonCode::QuotaExceeded),
        Ok(Qos::AtLeastOnce),
        Err(ReasonCode::TopicFilterInvalid),
    ];
    pair.with_inbound(|inbound, out| inbound.write_suback(request.token, &outcomes, None, out))
        .unwrap();
    assert_eq!(pair.receive_bytes(), [0x90, 5, 0, 10, 0x80, 1, 0x80]);
}

#[test]
fn v31_has_no_failure_code_so_that_a_refused_subscription_closes() {
    let mut pair = Pair::online(V31);
    let granted = request(&mut pair, subscribe_of(&["a", "b"]));
    let outcomes = [Ok(Qos::AtMostOnce), Ok(Qos::ExactlyOnce)];
    pair.with_inbound(|inbound, out| inbound.write_suback(granted.token, &outcomes, None, out))
        .unwrap();
    assert_eq!(pair.receive_bytes(), [0x90, 4, 0, 10, 0, 2]);
    let refused = request(&mut pair, subscribe_of(&["a", "b"]));
    let outcomes = [Ok(Qos::AtMostOnce), Err(ReasonCode::NotAuthorized)];
    let violation = pair
        .with_inbound(|inbound, out| inbound.write_suback(refused.token, &outcomes, None, out))
        .unwrap_err();
    assert_eq!(violation.reason, ReasonCode::NotAuthorized);
    pair.violate(&violation);
    pair.receive_nothing();
}

#[test]
fn v5_mqtt_3_8_3_4_no_local_on_a_shared_subscription_disconnects_0x82() {
    for filter in ["$share/g/t", "$oshare/g/t"] {
        let mut pair = Pair::online(V5);
        let mut subscribe = subscribe_of(&["a", filter]);
        subscribe.filters[1].options.no_local = true;
        pair.send_bad(Packet::Subscribe(subscribe));
        assert_eq!(pair.receive_disconnect().reason, ReasonCode::ProtocolError);
    }
}

#[test]
fn v5_mqtt_4_7_1_1_and_2_and_4_8_2_1_and_2_ill_formed_filters_are_answered_0x8f_each() {
    let ill_formed = [
        "a/#/b",
        "a#",
        "a+",
        "#/",
        "$share/g",
        "$share/g/",
        "$share//t",
        "$share/a+/t",
    ];
    let mut filters = vec!["fine"];
    filters.extend(ill_formed);
    let mut targets = targets(ServerLimits::default(), &filters).into_iter();
    assert_eq!(targets.next(), Some(Ok(spec("fine"))));
    for (target, filter) in targets.zip(ill_formed) {
        assert_eq!(target, Err(ReasonCode::TopicFilterInvalid), "{filter}");
    }
}

#[test]
fn filters_that_connack_did_not_grant_are_refused_with_their_own_codes() {
    let limits = ServerLimits {
        wildcards_available: false,
        shared_available: false,
        ..ServerLimits::default()
    };
    assert_eq!(
        targets(limits, &["a", "a/+", "#", "$share/g/a", "$share/g/#"]),
        [
            Ok(spec("a")),
            Err(ReasonCode::WildcardSubscriptionsNotSupported),
            Err(ReasonCode::WildcardSubscriptionsNotSupported),
            Err(ReasonCode::SharedSubscriptionsNotSupported),
            Err(ReasonCode::SharedSubscriptionsNotSupported),
        ]
    );
}

#[test]
fn a_subscription_identifier_where_none_is_available_is_refused_0xa1() {
    let limits = ServerLimits {
        subscription_ids_available: false,
        ..ServerLimits::default()
    };
    let mut pair = Pair::online_with(V5, limits, |_| {});
    let mut subscribe = subscribe_of(&["a"]);
    subscribe.subscription_id = SubscriptionId::new(1);
    let request = request(&mut pair, subscribe);
    let refused = Err(ReasonCode::SubscriptionIdentifiersNotSupported);
    assert_eq!(request.entries[0].target, refused);
}

#[test]
fn filters_past_the_tenants_limits_are_refused() {
    let limits = ServerLimits {
        topic_levels_max: 3,
        topic_bytes_max: 10,
        filters_per_packet_max: 4,
        ..ServerLimits::default()
    };
    assert_eq!(
        targets(
            limits,
            &[
                "a/b/c",
                "a/b/c/d",
                "elevenbytes",
                "$share/g/a/b/#",
                "a",
                "b"
            ]
        ),
        [
            Ok(spec("a/b/c")),
            Err(ReasonCode::TopicFilterInvalid),
            Err(ReasonCode::TopicFilterInvalid),
            Ok(spec("$share/g/a/b/#")),
            Err(ReasonCode::QuotaExceeded),
            Err(ReasonCode::QuotaExceeded),
        ]
    );
}

#[test]
fn filters_past_the_decoders_bound_are_answered_0x97_each() {
    let mut pair = Pair::online(V5);
    let filters = vec!["t"; 1_030];
    let request = request(&mut pair, subscribe_of(&filters));
    assert_eq!(request.entries.len(), 1_024);
    let outcomes = vec![Ok(Qos::AtMostOnce); 1_024];
    let suback = answer(&mut pair, &request, &outcomes);
    assert_eq!(suback.codes.len(), 1_030);
    assert_eq!(suback.codes[1_024..], [ReasonCode::QuotaExceeded; 6]);
}

#[test]
fn v5_mqtt_3_2_2_10_a_subscription_is_accepted_at_the_maximum_qos_instead() {
    for version in ALL {
        let limits = ServerLimits {
            maximum_qos: Qos::AtMostOnce,
            ..ServerLimits::default()
        };
        let mut pair = Pair::online_with(version, limits, |_| {});
        let request = request(&mut pair, subscribe_of(&["a"]));
        assert!(request.entries[0].target.is_ok());
        assert_eq!(request.entries[0].options.qos, Qos::AtMostOnce);
    }
}

#[test]
fn v5_mqtt_3_9_3_2_every_outcome_says_a_listed_code() {
    let mut pair = Pair::online(V5);
    for reason in ReasonCode::ALL {
        let request = request(&mut pair, subscribe_of(&["a"]));
        let code = answer(&mut pair, &request, &[Err(*reason)]).codes[0];
        assert!(code.is_failure(), "{reason}");
        assert!(code.is_listed_for(tessera_mqtt::PacketType::SubAck));
    }
}

#[test]
fn v5_mqtt_3_9_2_1_and_2_suback_carries_its_words_as_far_as_they_fit() {
    let words = Detail {
        text: Some("subscriptions 10 reached on plan free".into()),
        user_properties: UserProperties::from_pairs([("limit", "subscriptions")]).unwrap(),
    };
    let cases = [
        (None, true, true),
        (Some(50), true, false),
        (Some(20), false, false),
    ];
    for (bytes_max, has_text, has_properties) in cases {
        let mut pair = Pair::online_with(V5, ServerLimits::default(), |connect| {
            connect.packet_bytes_max = bytes_max.and_then(NonZeroU32::new);
        });
        let request = request(&mut pair, subscribe_of(&["a"]));
        let outcomes = [Err(ReasonCode::QuotaExceeded)];
        pair.with_inbound(|inbound, out| {
            inbound.write_suback(request.token, &outcomes, Some(&words), out)
        })
        .unwrap();
        let Packet::SubAck(suback) = pair.receive_one() else {
            panic!("expected SUBACK");
        };
        assert_eq!(suback.reason_string.is_some(), has_text, "{bytes_max:?}");
        assert_eq!(!suback.user_properties.is_empty(), has_properties);
    }
}

fn unsubscribe_request(pair: &mut Pair, filters: &[&str]) -> UnsubscribeRequest {
    match pair.send(unsubscribe(11, filters)) {
        Event::Unsubscribe(request) => request,
        other => panic!("expected UNSUBSCRIBE, got {other:?}"),
    }
}

#[test]
fn v5_mqtt_3_10_4_4_and_5_and_6_and_3_11_3_1_unsuback_repeats_the_identifier_with_a_code_per_filter_in_order()
 {
    let mut pair = Pair::online(V5);
    let request = unsubscribe_request(&mut pair, &["a", "$share/g/b", "c#"]);
    assert_eq!(
        request.entries,
        [
            Ok(spec("a")),
            Ok(spec("$share/g/b")),
            Err(ReasonCode::TopicFilterInvalid)
        ]
    );
    let codes = [
        ReasonCode::Success,
        ReasonCode::NoSubscriptionExisted,
        ReasonCode::TopicFilterInvalid,
    ];
    pair.with_inbound(|inbound, out| inbound.write_unsuback(request.token, &codes, None, out));
    let Packet::UnsubAck(unsuback) = pair.receive_one() else {
        panic!("expected UNSUBACK");
    };
    assert_eq!(unsuback.packet_id, id(11));
    assert_eq!(unsuback.codes, codes);
}

#[test]
fn v3_mqtt_3_10_4_4_unsuback_of_version_3_is_the_identifier_alone() {
    for version in V3S {
        let mut pair = Pair::online(version);
        let request = unsubscribe_request(&mut pair, &["a"]);
        let codes = [ReasonCode::NoSubscriptionExisted];
        pair.with_inbound(|inbound, out| {
            inbound.write_unsuback(request.token, &codes, None, out);
        });
        assert_eq!(pair.receive_bytes(), [0xB0, 2, 0, 11]);
    }
}

#[test]
fn v5_mqtt_3_11_3_2_every_unsuback_says_a_listed_code() {
    let mut pair = Pair::online(V5);
    for reason in ReasonCode::ALL {
        let request = unsubscribe_request(&mut pair, &["a"]);
        pair.with_inbound(|inbound, out| {
            inbound.write_unsuback(request.token, &[*reason], None, out);
        });
        let Packet::UnsubAck(unsuback) = pair.receive_one() else {
            panic!("expected UNSUBACK");
        };
        assert!(unsuback.codes[0].is_listed_for(tessera_mqtt::PacketType::UnsubAck));
    }
}

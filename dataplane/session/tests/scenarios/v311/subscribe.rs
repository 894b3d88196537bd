//! SUBSCRIBE and UNSUBSCRIBE.

use tessera_mqtt::{FilterSpec, Qos, ReasonCode};
use tessera_session::{
    Event, ServerLimits, SubscribeOutcome, SubscribeRequest, UnsubscribeRequest, delivered_qos,
};

use super::{V311, closes, framed, is_alive, online, send, subscribe_of, unsubscribe_of};
use crate::pair::{Pair, topic};

fn request(pair: &mut Pair, bytes: &[u8]) -> SubscribeRequest {
    match send(pair, bytes) {
        Event::Subscribe(request) => request,
        other => panic!("expected SUBSCRIBE, got {other:?}"),
    }
}

fn unsubscribe_request(pair: &mut Pair, bytes: &[u8]) -> UnsubscribeRequest {
    match send(pair, bytes) {
        Event::Unsubscribe(request) => request,
        other => panic!("expected UNSUBSCRIBE, got {other:?}"),
    }
}

fn answer(pair: &mut Pair, request: &SubscribeRequest, outcomes: &[SubscribeOutcome]) -> Vec<u8> {
    pair.with_inbound(|inbound, out| inbound.write_suback(request.token, outcomes, None, out))
        .unwrap();
    pair.receive_bytes()
}

/// The shell grants what it was asked for, if the filter is in order.
fn grants(request: &SubscribeRequest) -> Vec<SubscribeOutcome> {
    let entries = request.entries.iter();
    let outcome = |target: &Result<FilterSpec, ReasonCode>, qos| match target {
        Ok(_) => Ok(qos),
        Err(reason) => Err(*reason),
    };
    entries
        .map(|entry| outcome(&entry.target, entry.options.qos))
        .collect()
}

#[test]
fn v3_mqtt_3_8_4_1_and_2_and_2_3_1_7_suback_repeats_the_identifier() {
    let mut pair = online();
    for number in [1_u16, 0x1234, 0xFFFF] {
        let request = request(&mut pair, &subscribe_of(number, &[(b"a", 1)]));
        let [high, low] = number.to_be_bytes();
        assert_eq!(
            answer(&mut pair, &request, &[Ok(Qos::AtLeastOnce)]),
            [0x90, 3, high, low, 1]
        );
    }
    is_alive(&mut pair);
}

#[test]
fn v3_mqtt_3_8_4_4_and_5_and_3_9_3_1_several_filters_get_one_suback_with_a_code_each_in_order() {
    let mut pair = online();
    let filters: [(&[u8], u8); 5] = [(b"a", 2), (b"b/+", 0), (b"c#", 1), (b"d", 1), (b"a", 0)];
    let request = request(&mut pair, &subscribe_of(7, &filters));
    let texts: Vec<&[u8]> = request
        .entries
        .iter()
        .map(|entry| entry.text.as_bytes())
        .collect();
    assert_eq!(texts, filters.map(|(filter, _)| filter));
    let outcomes = grants(&request);
    assert_eq!(
        answer(&mut pair, &request, &outcomes),
        [0x90, 7, 0, 7, 2, 0, 0x80, 1, 0]
    );
    is_alive(&mut pair);
}

#[test]
fn v3_mqtt_3_9_3_2_every_outcome_is_one_of_the_four_codes() {
    let mut pair = online();
    for reason in ReasonCode::ALL {
        let request = request(&mut pair, &subscribe_of(1, &[(b"a", 0)]));
        assert_eq!(
            answer(&mut pair, &request, &[Err(*reason)]),
            [0x90, 3, 0, 1, 0x80],
            "{reason}"
        );
    }
    for (qos, code) in [
        (Qos::AtMostOnce, 0),
        (Qos::AtLeastOnce, 1),
        (Qos::ExactlyOnce, 2),
    ] {
        let request = request(&mut pair, &subscribe_of(1, &[(b"a", 2)]));
        assert_eq!(
            answer(&mut pair, &request, &[Ok(qos)]),
            [0x90, 3, 0, 1, code]
        );
    }
}

#[test]
fn v3_mqtt_3_8_3_4_reserved_bits_or_qos_3_are_closed() {
    for options in 3..=u8::MAX {
        closes(&mut online(), &subscribe_of(1, &[(b"a", options)]));
        closes(
            &mut online(),
            &subscribe_of(1, &[(b"a", 0), (b"b", options)]),
        );
    }
    for options in 0..3 {
        let request = request(&mut online(), &subscribe_of(1, &[(b"a", options)]));
        assert_eq!(request.entries[0].options.qos.as_u8(), options);
    }
}

#[test]
fn v3_mqtt_3_8_3_3_and_3_10_3_2_a_request_without_filters_is_closed() {
    for first in [0x82, 0xA2] {
        closes(&mut online(), &framed(first, &[0, 1]));
        closes(&mut online(), &framed(first, &[]));
    }
    // A filter without options byte.
    closes(&mut online(), &framed(0x82, &[0, 1, 0, 1, b'a']));
}

#[test]
fn v3_mqtt_3_8_3_2_where_wildcards_are_not_supported_their_subscriptions_are_refused() {
    let limits = ServerLimits {
        wildcards_available: false,
        ..ServerLimits::default()
    };
    let mut pair = Pair::online_with(V311, limits, |_| {});
    let filters: [(&[u8], u8); 4] = [(b"a", 1), (b"#", 1), (b"a/+", 1), (b"a/+/b", 1)];
    let request = request(&mut pair, &subscribe_of(1, &filters));
    let outcomes = grants(&request);
    assert_eq!(
        answer(&mut pair, &request, &outcomes),
        [0x90, 6, 0, 1, 1, 0x80, 0x80, 0x80]
    );
    is_alive(&mut pair);
}

#[test]
fn v3_mqtt_4_7_1_2_and_3_and_4_7_3_1_an_ill_formed_filter_is_refused_and_no_other() {
    let mut pair = online();
    for ill_formed in [
        &b"a/#/b"[..],
        b"#/",
        b"##",
        b"a#",
        b"#a",
        b"a/b#",
        b"a+",
        b"+a",
        b"a/b+/c",
        b"++",
        b"",
    ] {
        let filters = [(&b"before"[..], 1), (ill_formed, 1), (b"after/+/#", 2)];
        let request = request(&mut pair, &subscribe_of(1, &filters));
        assert!(request.entries[1].target.is_err(), "{ill_formed:?}");
        let outcomes = grants(&request);
        assert_eq!(
            answer(&mut pair, &request, &outcomes),
            [0x90, 5, 0, 1, 1, 0x80, 2]
        );
    }
    is_alive(&mut pair);
}

#[test]
fn v3_mqtt_3_8_4_6_the_lower_of_published_and_granted_qos_is_delivered() {
    let limits = ServerLimits {
        maximum_qos: Qos::AtLeastOnce,
        ..ServerLimits::default()
    };
    let mut pair = Pair::online_with(V311, limits, |_| {});
    let request = request(&mut pair, &subscribe_of(1, &[(b"a", 2)]));
    let outcomes = grants(&request);
    assert_eq!(
        answer(&mut pair, &request, &outcomes),
        [0x90, 3, 0, 1, 1],
        "granted lower"
    );
    for published in 0..3_u8 {
        for granted in 0..3_u8 {
            let [one, other] = [published, granted].map(|qos| Qos::try_from(qos).unwrap());
            assert_eq!(delivered_qos(one, other).as_u8(), published.min(granted));
        }
    }
}

#[test]
fn v3_mqtt_3_10_4_4_and_6_and_2_3_1_7_several_filters_get_one_unsuback_with_the_identifier() {
    let mut pair = online();
    for (number, filters) in [(1_u16, &[&b"a"[..]][..]), (0xFFFF, &[b"a", b"b/#", b"c"])] {
        let request = unsubscribe_request(&mut pair, &unsubscribe_of(number, filters));
        let texts: Vec<&[u8]> = request
            .entries
            .iter()
            .map(|entry| entry.as_ref().unwrap().filter.as_bytes())
            .collect();
        assert_eq!(texts, filters, "each is to be removed");
        let codes = vec![ReasonCode::Success; filters.len()];
        pair.with_inbound(|inbound, out| inbound.write_unsuback(request.token, &codes, None, out));
        let [high, low] = number.to_be_bytes();
        assert_eq!(pair.receive_bytes(), [0xB0, 2, high, low]);
    }
    is_alive(&mut pair);
}

#[test]
fn v3_mqtt_3_10_4_5_what_was_not_subscribed_is_answered_all_the_same() {
    let mut pair = online();
    let request = unsubscribe_request(&mut pair, &unsubscribe_of(9, &[b"never", b"a#"]));
    let codes = [
        ReasonCode::NoSubscriptionExisted,
        ReasonCode::TopicFilterInvalid,
    ];
    pair.with_inbound(|inbound, out| inbound.write_unsuback(request.token, &codes, None, out));
    assert_eq!(pair.receive_bytes(), [0xB0, 2, 0, 9]);
    is_alive(&mut pair);
}

#[test]
fn v3_mqtt_4_7_1_2_and_3_and_4_7_2_1_and_4_7_3_4_filters_match_what_the_standards_examples_say() {
    for (filter, matching, others) in [
        (
            "sport/tennis/player1/#",
            &[
                "sport/tennis/player1",
                "sport/tennis/player1/ranking",
                "sport/tennis/player1/score/wimbledon",
            ][..],
            &["sport/tennis/player2", "sport/tennis"][..],
        ),
        ("sport/#", &["sport"], &["sports"]),
        ("#", &["a", "/", "a/b/c"], &["$dev", "$dev/a"]),
        (
            "sport/tennis/+",
            &["sport/tennis/player1", "sport/tennis/"],
            &["sport/tennis/player1/ranking", "sport/tennis"],
        ),
        ("sport/+", &["sport/"], &["sport"]),
        ("+/+", &["/finance", "a/b"], &["finance", "$dev/a"]),
        ("/+", &["/finance"], &["finance", "/finance/a"]),
        ("+", &["finance"], &["/finance", "$dev"]),
        (
            "+/monitor/Clients",
            &["a/monitor/Clients"],
            &["$dev/monitor/Clients"],
        ),
        ("$dev/#", &["$dev", "$dev/a"], &["dev/a"]),
        (
            "$dev/monitor/+",
            &["$dev/monitor/Clients"],
            &["monitor/Clients"],
        ),
        (
            "ACCOUNTS",
            &["ACCOUNTS"],
            &["Accounts", "ACCOUNTS/", "/ACCOUNTS"],
        ),
        (
            "Accounts payable",
            &["Accounts payable"],
            &["Accounts  payable"],
        ),
        ("caf\u{e9}", &["caf\u{e9}"], &["cafe\u{301}", "cafe"]),
        ("\u{212b}", &["\u{212b}"], &["\u{c5}", "A\u{30a}"]),
    ] {
        let request = request(&mut online(), &subscribe_of(1, &[(filter.as_bytes(), 0)]));
        let target = &request.entries[0].target.as_ref().unwrap().filter;
        for name in matching {
            assert!(target.matches(&topic(name)), "{filter} {name}");
        }
        for name in others {
            assert!(!target.matches(&topic(name)), "{filter} {name}");
        }
    }
}

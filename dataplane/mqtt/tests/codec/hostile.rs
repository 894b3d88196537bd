//! The two tables of packets that a server refuses, and bytes at random.

use bytes::BytesMut;
use proptest::prelude::*;
use tessera_mqtt::{
    Answer, DecodeError, DecodeLimits, Decoder, FilterError, Packet, PacketType, ProtocolVersion,
    ReasonCode,
};

use crate::harness::{LIMITS, Outcome, connect_bytes, feed, hex, open_server, rows};

#[test]
fn each_of_the_24_malformed_packets_is_refused_as_stated() {
    let mut count = 0;
    for row in rows(include_str!("data/malformed.txt")) {
        let [what, stated, bytes] = row[..] else {
            panic!("{row:?}")
        };
        let bytes = hex(bytes);
        let is_connect = bytes[0] == 0x10;
        let decoder = if is_connect {
            Decoder::server(LIMITS)
        } else {
            open_server(ProtocolVersion::V5)
        };
        let outcome = feed(&decoder, &bytes);
        if stated.starts_with("SUBACK 0x8F") {
            check(what, "filter 8F", &outcome);
        } else {
            let code = stated
                .trim_start_matches("CONNACK ")
                .trim_start_matches("0x");
            let answer = if is_connect { "connack" } else { "disconnect" };
            check(what, &format!("{answer} {}", &code[..2]), &outcome);
        }
        count += 1;
    }
    assert_eq!(count, 24);
}

#[test]
fn each_hostile_input_gets_the_reaction_of_its_version() {
    for row in rows(include_str!("data/reactions.txt")) {
        let [number, what, v5, v5_reaction, v3, v3_reaction, ..] = row[..] else {
            panic!("{row:?}")
        };
        let what = format!("{number} {what}");
        run(&what, ProtocolVersion::V5, v5, v5_reaction);
        run(&what, ProtocolVersion::V311, v3, v3_reaction);
        if !v3_reaction.starts_with("first") {
            run(&what, ProtocolVersion::V31, v3, v3_reaction);
        }
    }
}

fn run(what: &str, version: ProtocolVersion, bytes: &str, reaction: &str) {
    if bytes == "-" {
        return;
    }
    let bytes = hex(bytes);
    let what = format!("MQTT {version}: {what}");
    if let Some(reaction) = reaction.strip_prefix("first ") {
        check(&what, reaction, &feed(&Decoder::server(LIMITS), &bytes));
        return;
    }
    check(&what, reaction, &feed(&open_server(version), &bytes));
    // The same, coalesced with what came before it and with what comes after.
    let coalesced = [&connect_bytes(version)[..], &[0xC0, 0], &bytes, &[0xC0, 0]].concat();
    let (mut packets, error) = feed(&Decoder::server(LIMITS), &coalesced);
    let connect = packets.remove(0).packet_type();
    assert_eq!(
        (connect, packets.remove(0)),
        (PacketType::Connect, Packet::PingReq)
    );
    if error.is_none() {
        assert_eq!(packets.pop(), Some(Packet::PingReq), "{what}");
    }
    check(&what, reaction, &(packets, error));
}

fn check(what: &str, reaction: &str, (packets, error): &Outcome) {
    let (kind, value) = reaction.split_once(' ').unwrap_or((reaction, ""));
    let code = || ReasonCode::try_from(u8::from_str_radix(value, 16).unwrap()).unwrap();
    let got = error.map(|error| (error.answer, error.reason));
    match kind {
        "accept" => {
            assert_eq!((packets.len(), error), (1, &None), "{what}");
            assert!(filter_errors(&packets[0]).is_empty(), "{what}");
        }
        "close" => assert_eq!(got.map(|got| got.0), Some(Answer::Close), "{what}"),
        "disconnect" => assert_eq!(got, Some((Answer::Disconnect, code())), "{what}"),
        "connack" => assert_eq!(got, Some((Answer::ConnAckV5, code())), "{what}"),
        "connack3" => {
            let Some(Answer::ConnAckV3(sent)) = got.map(|got| got.0) else {
                panic!("{what}: {error:?}")
            };
            assert_eq!(sent.as_u8(), value.parse::<u8>().unwrap(), "{what}");
        }
        "filter" => {
            assert_eq!((packets.len(), error, value), (1, &None, "8F"), "{what}");
            assert_eq!(filter_errors(&packets[0]).len(), 1, "{what}");
        }
        "excess" => {
            assert_eq!((packets.len(), error), (1, &None), "{what}");
            assert_eq!(
                excess(&packets[0]),
                value.parse::<usize>().unwrap(),
                "{what}"
            );
        }
        other => panic!("{other}"),
    }
}

fn filter_errors(packet: &Packet) -> Vec<FilterError> {
    if let Packet::Subscribe(subscribe) = packet {
        let filters = subscribe.filters.iter();
        return filters.filter_map(|filter| filter.spec().err()).collect();
    }
    if let Packet::Unsubscribe(unsubscribe) = packet {
        let filters = unsubscribe.filters.iter();
        return filters.filter_map(|filter| filter.spec().err()).collect();
    }
    Vec::new()
}

fn excess(packet: &Packet) -> usize {
    if let Packet::Subscribe(subscribe) = packet {
        return subscribe.excess;
    }
    if let Packet::Unsubscribe(unsubscribe) = packet {
        return unsubscribe.excess;
    }
    0
}

#[test]
fn an_error_names_the_packet_what_is_wrong_and_the_bound() {
    let (_, error) = feed(&open_server(ProtocolVersion::V5), &hex("30fdff3f"));
    assert_eq!(
        error.unwrap().to_string(),
        "PUBLISH: the packet is too large, the bound is 1048576 (0x95 packet too large)"
    );
}

#[test]
fn a_tiny_connect_that_is_over_the_limit_is_refused_and_not_waited_for() {
    let limits = DecodeLimits {
        connect_bytes_max: 3,
        ..LIMITS
    };
    let (_, error) = feed(&Decoder::server(limits), &hex("10 02 0004"));
    assert_eq!(
        error.map(|error| error.reason),
        Some(ReasonCode::PacketTooLarge)
    );
}

#[test]
fn limits_may_change_between_packets() {
    let mut decoder = open_server(ProtocolVersion::V5);
    let mut buf = BytesMut::from(hex("30 05 0001 61 00 78").as_slice());
    decoder.limits_mut().packet_bytes_max = 6;
    let error: DecodeError = decoder.decode(&mut buf).unwrap_err();
    assert_eq!(
        (error.reason, error.bound),
        (ReasonCode::PacketTooLarge, Some(6))
    );
}

fn decoders() -> impl Strategy<Value = Decoder> {
    let versions = [
        ProtocolVersion::V31,
        ProtocolVersion::V311,
        ProtocolVersion::V5,
    ];
    let mut all = vec![Decoder::server(LIMITS)];
    for version in versions {
        all.push(open_server(version));
        all.push(Decoder::client(version, LIMITS));
    }
    proptest::sample::select(all)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn bytes_at_random_never_panic(decoder in decoders(), bytes: Vec<u8>) {
        feed(&decoder, &bytes);
    }

    #[test]
    fn a_random_body_behind_a_right_header_never_panics(
        decoder in decoders(),
        packet in 1_u8..=15,
        publish_flags in 0_u8..16,
        body in proptest::collection::vec(
            prop_oneof![Just(0_u8), Just(1), Just(2), 0_u8..0x2B, any::<u8>()], 0..60),
    ) {
        let flags = match packet {
            3 => publish_flags,
            6 | 8 | 10 => 2,
            _ => 0,
        };
        let len = u8::try_from(body.len()).unwrap();
        feed(&decoder, &[&[packet << 4 | flags, len][..], &body].concat());
    }
}

//! The codec's table of hostile packets, against a whole connection: what leaves, and what stays.
//!
//! The rows that carry statements in their last cell prove them here.

use tessera_mqtt::{DecodeLimits, Packet, ProtocolVersion, ReasonCode};
use tessera_session::{Event, ServerLimits, SubscribeOutcome};

use crate::pair::{Pair, message};

/// The limits that the table names.
const LIMITS: DecodeLimits = DecodeLimits {
    packet_bytes_max: 1 << 20,
    connect_bytes_max: 65_555,
    client_id_bytes_max: 1_024,
    topic_levels_max: 128,
    user_properties_max: 128,
    filters_max: 1_024,
};

const V5: ProtocolVersion = ProtocolVersion::V5;
const V311: ProtocolVersion = ProtocolVersion::V311;
const V31: ProtocolVersion = ProtocolVersion::V31;

#[test]
fn each_hostile_packet_gets_its_reaction_and_leaves_its_state() {
    let table = include_str!("../../../mqtt/tests/codec/data/reactions.txt");
    for row in table.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = row.split(" | ").collect();
        let what = format!("{} {}", cells[0], cells[1]);
        run(&what, V5, cells[2], cells[3]);
        run(&what, V311, cells[4], cells[5]);
        if !cells[5].starts_with("first") {
            run(&what, V31, cells[4], cells[5]);
        }
    }
}

fn run(what: &str, version: ProtocolVersion, bytes: &str, reaction: &str) {
    let what = format!("{what}, {version}");
    if reaction.ends_with("accept") || reaction == "-" {
        return;
    }
    let bytes = hex(bytes);
    let Some(reaction) = reaction.strip_prefix("first ") else {
        online(&what, version, &bytes, reaction);
        return;
    };
    let client = if reaction.starts_with("connack3") {
        V311
    } else {
        version
    };
    let mut pair = Pair::new(client);
    pair.decode_within(LIMITS);
    pair.send_bytes(&bytes).expect_err(&what);
    match reaction.split_once(' ') {
        None => pair.receive_nothing(),
        Some(("connack", code)) => {
            let connack = pair.receive_connack();
            assert_eq!(connack.reason.as_u8(), byte(code), "{what}");
            assert!(!connack.session_present, "{what}");
        }
        Some((_, code)) => {
            let code = code.parse().unwrap();
            assert_eq!(pair.receive_bytes(), [0x20, 2, 0, code], "{what}");
        }
    }
    assert_over(&mut pair, &what);
    assert_eq!(pair.inbound.will(), None, "{what}");
}

/// After an accepted CONNECT with a will.
fn online(what: &str, version: ProtocolVersion, bytes: &[u8], reaction: &str) {
    let mut pair = Pair::online_with(version, ServerLimits::default(), |connect| {
        connect.will = Some(tessera_mqtt::Will {
            message: message("will", "gone"),
            delay_seconds: 0,
        });
    });
    pair.decode_within(LIMITS);
    let outcome = pair.send_bytes(bytes);
    match reaction.split_once(' ') {
        Some(("filter", code)) => {
            answered(&mut pair, outcome.expect(what), what, byte(code), 1);
        }
        Some(("excess", count)) => {
            let count = count.parse().unwrap();
            answered(&mut pair, outcome.expect(what), what, 0x97, count);
        }
        Some((_, code)) => {
            outcome.expect_err(what);
            let said = pair.receive_disconnect().reason;
            assert_eq!(said.as_u8(), byte(code), "{what}");
            assert_lost(&mut pair, what);
        }
        None => {
            outcome.expect_err(what);
            pair.receive_nothing();
            assert_lost(&mut pair, what);
        }
    }
}

/// The connection goes on, and `count` filters are answered with that code.
fn answered(pair: &mut Pair, mut events: Vec<Event>, what: &str, code: u8, count: usize) {
    assert_eq!(events.len(), 1, "{what}");
    let codes = match events.remove(0) {
        Event::Subscribe(request) => {
            let entries = request.entries.iter();
            let outcomes: Vec<SubscribeOutcome> = entries
                .map(|entry| entry.target.as_ref().map(|_| entry.options.qos))
                .map(|outcome| outcome.map_err(|code| *code))
                .collect();
            let written = pair.with_inbound(|inbound, out| {
                inbound.write_suback(request.token, &outcomes, None, out)
            });
            if let Err(violation) = written {
                assert_eq!(pair.version, V31, "{what}: it has no failure code");
                pair.violate(&violation);
                pair.receive_nothing();
                assert_lost(pair, what);
                return;
            }
            match pair.receive_one() {
                Packet::SubAck(suback) => suback.codes,
                other => panic!("{what}: {other:?}"),
            }
        }
        Event::Unsubscribe(request) => {
            let entries = request.entries.iter();
            let codes: Vec<ReasonCode> = entries
                .map(|entry| {
                    entry
                        .as_ref()
                        .map_or_else(|code| *code, |_| ReasonCode::Success)
                })
                .collect();
            pair.with_inbound(|inbound, out| {
                inbound.write_unsuback(request.token, &codes, None, out);
            });
            match pair.receive_one() {
                Packet::UnsubAck(unsuback) => unsuback.codes,
                other => panic!("{what}: {other:?}"),
            }
        }
        other => panic!("{what}: {other:?}"),
    };
    let expected = said(pair.version, &codes, code);
    let refused = codes.iter().filter(|said| said.as_u8() == expected).count();
    assert!(codes.is_empty() || refused >= count, "{what}: {codes:?}");
    assert!(pair.inbound.will().is_some(), "{what}");
    pair.send(Packet::PingReq);
    assert_eq!(pair.receive(), [Packet::PingResp], "{what}: it goes on");
}

/// SUBACK of version 3 has one failure code; UNSUBACK does not list 0x97.
fn said(version: ProtocolVersion, codes: &[ReasonCode], code: u8) -> u8 {
    let is_listed = codes.iter().any(|said| said.as_u8() == code);
    if version == V5 && is_listed {
        code
    } else {
        0x80
    }
}

/// The connection is over, its will is kept to be published.
fn assert_lost(pair: &mut Pair, what: &str) {
    assert_over(pair, what);
    assert!(pair.inbound.will().is_some(), "{what}: the will is kept");
}

/// Nothing is read, written or waited for any more.
fn assert_over(pair: &mut Pair, what: &str) {
    assert!(!pair.inbound.wants_packets(), "{what}");
    assert_eq!(pair.inbound.poll_timeout(), None, "{what}");
    let event = pair.with_inbound(|inbound, out| inbound.handle_packet(Packet::PingReq, out));
    assert!(matches!(event, Ok(Event::Nothing)), "{what}");
    pair.receive_nothing();
}

fn byte(code: &str) -> u8 {
    u8::from_str_radix(code, 16).unwrap()
}

/// Bytes of hexadecimal digits; `xx*n` repeats.
fn hex(text: &str) -> Vec<u8> {
    let words = text.split_whitespace();
    let bytes = words.flat_map(|word| {
        let (digits, times) = word.split_once('*').unwrap_or((word, "1"));
        let pairs = (0..digits.len()).step_by(2);
        let unit: Vec<u8> = pairs.map(|at| byte(&digits[at..at + 2])).collect();
        unit.repeat(times.parse().unwrap())
    });
    bytes.collect()
}

//! Writes the seed corpus: the rows of the tests' data files, the bytes of the golden tests, and
//! encodings of generated packets. The same at every run.

#[path = "../../tests/codec/harness.rs"]
#[allow(dead_code, reason = "only the readers of data files are used")]
mod harness;
#[path = "../../tests/codec/packets.rs"]
#[allow(dead_code, reason = "only some strategies are used")]
mod packets;

use std::fs;
use std::path::Path;

use bytes::BytesMut;
use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use tessera_mqtt::{Packet, ProtocolVersion, encode};

use harness::{hex, rows};
use packets::{client_packets, connects, server_packets};

use ProtocolVersion::{V5, V31, V311};

/// Bytes of an input: with the two that steer, what the fuzz targets take.
const INPUT_BYTES_MAX: usize = 1_024;
/// Generated packets of one version from one side.
const GENERATED: usize = 60;

/// Values of the first byte, see `input` of the checks.
const SERVER: u8 = 0;
const CLIENT: u8 = 1;
const FRESH: u8 = 2;
const TIGHT: u8 = 4;

/// Properties of MQTT 5 in an order that no encoder here writes: those that are forwarded, and user
/// properties, with others between them.
const INTERLEAVED: [(u8, &str); 5] = [
    (SERVER, "3010 000161 0b 0101 0200000001 03000174 78"),
    (SERVER, "3012 000161 0e 2600016b000176 230001 09000164"),
    (CLIENT, "3010 000161 0b 0b01 03000174 0bff7f 0101 78"),
    (
        SERVER,
        "4016 0001 00 12 2600016b000176 1f000177 2600016b000176",
    ),
    (
        FRESH,
        "1020 00044d515454 05 06 003c 00 000163 0b 0101 1800000001 03000174 000177 000162",
    ),
];

/// Bytes that steer, and a stream, for these versions.
struct Seed {
    control: u8,
    versions: &'static [ProtocolVersion],
    stream: Vec<u8>,
}

fn main() {
    let mut seeds = Vec::new();
    from_reactions(&mut seeds);
    from_malformed(&mut seeds);
    from_golden(&mut seeds);
    from_interleaved(&mut seeds);
    for version in [&[V31], &[V311], &[V5]] {
        from_generated(&mut seeds, version);
    }
    for seed in &seeds {
        write(seed);
    }
    println!("{} streams", seeds.len());
}

fn from_reactions(seeds: &mut Vec<Seed>) {
    for row in rows(include_str!("../../tests/codec/data/reactions.txt")) {
        let [_, _, v5, v5_reaction, v3, v3_reaction] = row[..] else {
            panic!("{row:?}")
        };
        push_row(seeds, v5, v5_reaction, &[V5]);
        push_row(seeds, v3, v3_reaction, &[V31, V311]);
    }
}

fn push_row(
    seeds: &mut Vec<Seed>,
    bytes: &str,
    reaction: &str,
    versions: &'static [ProtocolVersion],
) {
    if bytes == "-" {
        return;
    }
    let is_first = reaction.starts_with("first");
    seeds.push(Seed {
        control: if is_first { FRESH } else { SERVER },
        versions,
        stream: hex(bytes),
    });
}

fn from_malformed(seeds: &mut Vec<Seed>) {
    for row in rows(include_str!("../../tests/codec/data/malformed.txt")) {
        let [_, _, bytes] = row[..] else {
            panic!("{row:?}")
        };
        let stream = hex(bytes);
        seeds.push(Seed {
            control: if stream[0] == 0x10 { FRESH } else { SERVER },
            versions: &[V5],
            stream,
        });
    }
}

/// Every literal of the golden tests that is hexadecimal.
fn from_golden(seeds: &mut Vec<Seed>) {
    let text = include_str!("../../tests/codec/golden.rs");
    for literal in text.split('"') {
        let digits: String = literal.split_whitespace().collect();
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if digits.len() < 4 || digits.len() % 2 != 0 || !is_hex {
            continue;
        }
        let stream = hex(&digits);
        for control in [SERVER, CLIENT, FRESH] {
            if (control == FRESH) == (stream[0] == 0x10) {
                seeds.push(Seed {
                    control,
                    versions: &[V31, V311, V5],
                    stream: stream.clone(),
                });
            }
        }
    }
}

fn from_interleaved(seeds: &mut Vec<Seed>) {
    seeds.extend(INTERLEAVED.map(|(control, bytes)| Seed {
        control,
        versions: &[V5],
        stream: hex(bytes),
    }));
}

fn from_generated(seeds: &mut Vec<Seed>, versions: &'static [ProtocolVersion]) {
    let version = versions[0];
    let connects = connects(version)
        .prop_map(|connect| Packet::Connect(Box::new(connect)))
        .boxed();
    let sources: [(u8, BoxedStrategy<Packet>); 3] = [
        (SERVER, client_packets(version)),
        (CLIENT, server_packets(version)),
        (FRESH, connects),
    ];
    let mut runner = TestRunner::deterministic();
    for (control, packets) in sources {
        for number in 0..GENERATED {
            let packet = packets.new_tree(&mut runner).unwrap().current();
            let mut stream = BytesMut::new();
            encode(&packet, version, &mut stream).unwrap();
            seeds.push(Seed {
                control: if number % 4 == 0 {
                    control | TIGHT
                } else {
                    control
                },
                versions,
                stream: stream.to_vec(),
            });
        }
    }
}

/// Writes an input for each target that takes it.
fn write(seed: &Seed) {
    for version in seed.versions {
        let (target, bits) = match version {
            V31 => ("decode_v31", 0),
            V311 => ("decode_v311", 1),
            V5 => ("decode_v5", 2),
        };
        let knob = fnv(&seed.stream).to_be_bytes()[7];
        let mut input = vec![seed.control | bits << 3, knob];
        input.extend_from_slice(&seed.stream);
        if input.len() > INPUT_BYTES_MAX {
            continue;
        }
        for target in [target, "round_trip", "differential"] {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("corpus")
                .join(target);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join(format!("{:016x}", fnv(&input))), &input).unwrap();
        }
    }
}

/// A short name for bytes: FNV-1a.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3)
    })
}

//! What must hold of the codec for every input. Plain functions: the fuzz targets call them, and
//! so does the ordinary test that replays the corpus, which includes this file as a module.
//!
//! # Contents
//! - [`TARGETS`]: every check by name. Each takes bytes of the form that `input` describes.
//! - `input`: from bytes to a decoder, a stream and a way to cut it.
//! - `model`: the grammar of frames, texts, topics and filters a second time, plainly.
//! - `decode`, with `invariants`: cuts change nothing, limits hold, packets are what they promise.
//! - `round_trip`: what was decoded is encoded, and decodes to the same.
//! - `differential`, with `fields_v3`, `fields_v5`: another codec takes what this one takes.

mod decode;
mod differential;
mod fields_v3;
mod fields_v5;
mod input;
mod invariants;
mod model;
mod round_trip;

use tessera_mqtt::ProtocolVersion;

/// A check: panics if something does not hold.
pub type Check = fn(&[u8]);

/// Every check, by the name of its fuzz target and of its folder in the corpus.
pub const TARGETS: [(&str, Check); 5] = [
    ("decode_v31", decode_v31),
    ("decode_v311", decode_v311),
    ("decode_v5", decode_v5),
    ("round_trip", round_trip),
    ("differential", differential),
];

/// Decoding MQTT 3.1.
pub fn decode_v31(data: &[u8]) {
    decode::check(data, ProtocolVersion::V31);
}

/// Decoding MQTT 3.1.1.
pub fn decode_v311(data: &[u8]) {
    decode::check(data, ProtocolVersion::V311);
}

/// Decoding MQTT 5.
pub fn decode_v5(data: &[u8]) {
    decode::check(data, ProtocolVersion::V5);
}

/// Decoding, encoding and decoding again; of a PUBLISH, encoding it as another one too.
pub fn round_trip(data: &[u8]) {
    round_trip::check(data);
}

/// What this codec takes, another one takes, and reads the same in it.
pub fn differential(data: &[u8]) {
    differential::check(data);
}

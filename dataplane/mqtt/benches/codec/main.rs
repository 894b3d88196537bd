//! CPU per packet, this codec beside others in one run: `cargo bench -p tessera-mqtt --bench codec`.
//!
//! One line per direction, case and crate, `decode/publish_64/tessera`; the time is that of
//! [`PACKETS`] packets, so that its microseconds are nanoseconds per packet.
//!
//! # What is alike for all
//! - The same bytes. Each crate encodes the packet that it decoded from them, and before anything
//!   is measured it is checked that it takes every packet and writes the same bytes back, give or
//!   take the order of properties.
//! - Decoding takes [`PACKETS`] packets out of one read buffer, filled before the clock runs, fed
//!   the way the crate wants it. It includes every check that the crate makes, one walk over the
//!   packet's properties or filters with each value read as the crate gives it, and letting go of
//!   the packet. The packet is looked at where the decoder left it: nobody pays for a move.
//! - Encoding appends one packet, by reference, to one prepared write buffer, emptied after each.
//! - The allocator is the system's. Whoever allocates pays for it.
//!
//! # What is not alike
//! - Checks. Nobody is given a check that it lacks. Of the 24 malformed packets that this codec
//!   refuses, mqtt-protocol-core refuses 14, mqttbytes 7 and rmqtt-codec 16; all three take a topic
//!   name with U+0000 or a wildcard, DUP with QoS 0 and a remaining length that is not minimal.
//! - mqtt-protocol-core reads from a plain slice: its packet builder copies a packet out of the
//!   read buffer, the others share the buffer. It encodes into a vector of its own, which is copied
//!   on; its other way, a list of slices for a vectored write, is not measured.
//! - mqttbytes copies text into strings. It has not been maintained since 2021; its successor is
//!   inside rumqttc, which is measured too, though no crate of its own.
//! - rmqtt-codec encodes packets by value. Here each is cloned before the clock runs, which favours
//!   it: a server that sends one message to many clones.
//! - Text that this codec keeps as bytes is checked again for each `&str` given out; the walk over
//!   properties pays for that.

#![expect(clippy::unwrap_used, reason = "a measurement that fails says where")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "three types of packet are measured, of enums that are others'"
)]

mod cases;
mod measured;
mod others;
mod rmqtt;
mod tessera;

use criterion::{Criterion, criterion_group, criterion_main};

use crate::cases::Case;
use crate::measured::{Measured, check, decode_bench, encode_bench};

/// Packets in one read buffer, and in one measurement of encoding.
pub(crate) const PACKETS: usize = 1_000;

criterion_group!(codec, benches);
criterion_main!(codec);

fn benches(criterion: &mut Criterion) {
    for case in cases::all() {
        beside_others(criterion, &case);
    }
    tessera::delivery_bench(criterion);
}

fn beside_others(criterion: &mut Criterion, case: &Case) {
    one::<tessera::Tessera>(criterion, case);
    one::<others::ProtocolCore>(criterion, case);
    one::<others::Mqttbytes>(criterion, case);
    one::<rmqtt::Rmqtt>(criterion, case);
    one::<others::Rumqttc>(criterion, case);
}

fn one<M: Measured>(criterion: &mut Criterion, case: &Case) {
    check::<M>(case);
    decode_bench::<M>(criterion, case);
    encode_bench::<M>(criterion, case);
}

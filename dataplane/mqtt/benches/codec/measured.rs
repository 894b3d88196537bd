//! What a crate must do to be measured, and the measurements, which are the same for all.

use std::hint::black_box;
use std::rc::Rc;

use bytes::BytesMut;
use criterion::{BatchSize, Criterion, Throughput};

use crate::PACKETS;
use crate::cases::Case;

/// A crate that is measured.
pub(crate) trait Measured {
    const NAME: &'static str;
    /// The read buffer, and what the decoder remembers between packets.
    type Reader;
    /// What decoding gives.
    type Packet;
    /// What encoding takes.
    type Outgoing;

    /// A reader of these bytes, which begin with a packet. Not measured.
    fn reader(bytes: &[u8]) -> Self::Reader;

    /// Decodes the next packet and shows it where it lies, so that nobody pays for moving it.
    /// `None` at the end.
    fn decode<T>(reader: &mut Self::Reader, look: impl FnOnce(&Self::Packet) -> T) -> Option<T>;

    /// Reads each property or filter once.
    fn walk(packet: &Self::Packet);

    /// The packet, to be encoded [`PACKETS`] times. Not measured.
    fn outgoing(packet: &Self::Packet) -> Vec<Self::Outgoing>;

    /// Appends the packet.
    fn encode(packet: &mut Self::Outgoing, out: &mut BytesMut);
}

/// One packet, to be encoded [`PACKETS`] times by reference.
pub(crate) fn shared<P: Clone>(packet: &P) -> Vec<Rc<P>> {
    std::iter::repeat_n(Rc::new(packet.clone()), PACKETS).collect()
}

/// Whether the crate takes every packet and writes the same bytes, in whichever order.
pub(crate) fn check<M: Measured>(case: &Case) {
    let sorted = |bytes: &[u8]| {
        let mut bytes = bytes.to_vec();
        bytes.sort_unstable();
        bytes
    };
    let mut reader = M::reader(&case.bytes.repeat(PACKETS));
    for _ in 0..PACKETS {
        assert!(M::decode(&mut reader, |_| ()).is_some(), "{}", M::NAME);
    }
    assert!(M::decode(&mut reader, |_| ()).is_none(), "{}", M::NAME);
    let mut out = BytesMut::new();
    M::encode(&mut outgoing::<M>(case)[0], &mut out);
    assert_eq!(sorted(&out), sorted(&case.bytes), "{}", M::NAME);
}

pub(crate) fn decode_bench<M: Measured>(criterion: &mut Criterion, case: &Case) {
    let bytes = case.bytes.repeat(PACKETS);
    let mut group = criterion.benchmark_group(format!("decode/{}", case.name));
    group.throughput(Throughput::Elements(PACKETS as u64));
    group.bench_function(M::NAME, |bencher| {
        bencher.iter_batched_ref(
            || M::reader(&bytes),
            |reader| while M::decode(reader, look::<M>).is_some() {},
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

pub(crate) fn encode_bench<M: Measured>(criterion: &mut Criterion, case: &Case) {
    let mut out = BytesMut::with_capacity(4_096);
    let mut group = criterion.benchmark_group(format!("encode/{}", case.name));
    group.throughput(Throughput::Elements(PACKETS as u64));
    group.bench_function(M::NAME, |bencher| {
        bencher.iter_batched_ref(
            || outgoing::<M>(case),
            |packets| {
                for packet in packets {
                    out.clear();
                    M::encode(black_box(packet), &mut out);
                    black_box(&out);
                }
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

fn look<M: Measured>(packet: &M::Packet) {
    M::walk(packet);
    black_box(packet);
}

fn outgoing<M: Measured>(case: &Case) -> Vec<M::Outgoing> {
    M::decode(&mut M::reader(&case.bytes), M::outgoing).unwrap()
}

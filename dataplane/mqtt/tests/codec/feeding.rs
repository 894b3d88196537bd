//! However the bytes come, the packets are the same.

use bytes::BytesMut;
use proptest::prelude::*;
use tessera_mqtt::{DecodeLimits, Decoder, Packet, ProtocolVersion, encode};

use crate::packets::{client_packets, server_packets, versions};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_stream_decodes_alike_however_it_is_cut(
        (version, packets) in streams(server_packets),
        cuts in proptest::collection::vec(1_usize..40, 1..40),
    ) {
        let decoder = Decoder::client(version, DecodeLimits::DEFAULT);
        check(decoder, version, &packets, &cuts);
    }

    #[test]
    fn a_clients_stream_decodes_alike_however_it_is_cut(
        (version, packets) in streams(client_packets),
        cuts in proptest::collection::vec(1_usize..40, 1..40),
    ) {
        check(crate::harness::open_server(version), version, &packets, &cuts);
    }
}

fn streams(
    packets: fn(ProtocolVersion) -> BoxedStrategy<Packet>,
) -> impl Strategy<Value = (ProtocolVersion, Vec<Packet>)> {
    versions().prop_flat_map(move |version| {
        (
            Just(version),
            proptest::collection::vec(packets(version), 1..6),
        )
    })
}

fn check(mut decoder: Decoder, version: ProtocolVersion, packets: &[Packet], cuts: &[usize]) {
    let mut stream = BytesMut::new();
    for packet in packets {
        encode(packet, version, &mut stream).unwrap();
    }
    let mut buf = BytesMut::new();
    let mut decoded = Vec::new();
    let mut cuts = cuts.iter().cycle();
    while !stream.is_empty() {
        let cut = *cuts.next().unwrap();
        buf.unsplit(stream.split_to(cut.min(stream.len())));
        while let Some(packet) = decoder.decode(&mut buf).unwrap() {
            decoded.push(packet);
        }
    }
    assert_eq!(decoded, packets);
}

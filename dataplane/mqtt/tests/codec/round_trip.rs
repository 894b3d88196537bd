//! Every packet of every version reads back as it was written.

use bytes::BytesMut;
use proptest::prelude::*;
use tessera_mqtt::{DecodeLimits, Decoder, Fit, Packet, ProtocolVersion, encode, encode_within};

use crate::harness::open_server;
use crate::packets::{client_packets, connects, server_packets, versions};

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    #[test]
    fn what_a_client_sends_reads_back(
        (version, packet) in versions().prop_flat_map(|v| (Just(v), client_packets(v))),
    ) {
        reads_back(open_server(version), version, &packet);
    }

    #[test]
    fn what_a_server_sends_reads_back(
        (version, packet) in versions().prop_flat_map(|v| (Just(v), server_packets(v))),
    ) {
        let decoder = Decoder::client(version, DecodeLimits::DEFAULT);
        reads_back(decoder, version, &packet);
    }

    #[test]
    fn a_connect_reads_back(connect in versions().prop_flat_map(connects)) {
        let version = connect.version;
        let decoder = Decoder::server(DecodeLimits::DEFAULT);
        reads_back(decoder, version, &Packet::Connect(Box::new(connect)));
    }

    #[test]
    fn a_packet_never_outgrows_what_the_peer_takes(
        (version, packet) in versions().prop_flat_map(|v| (Just(v), server_packets(v))),
        bytes_max in 0_u32..80,
    ) {
        let mut out = BytesMut::new();
        let fit = encode_within(&packet, version, bytes_max, &mut out).unwrap();
        prop_assert!(out.len() <= usize::try_from(bytes_max).unwrap());
        if fit != Fit::Dropped {
            let mut decoder = Decoder::client(version, DecodeLimits::DEFAULT);
            let decoded = decoder.decode(&mut out).unwrap().unwrap();
            prop_assert_eq!(decoded.packet_type(), packet.packet_type());
        }
        prop_assert!(out.is_empty());
    }
}

fn reads_back(mut decoder: Decoder, version: ProtocolVersion, packet: &Packet) {
    let mut out = BytesMut::new();
    encode(packet, version, &mut out).unwrap();
    let bytes = out.clone();
    let decoded = decoder.decode(&mut out).unwrap();
    assert_eq!(decoded.as_ref(), Some(packet));
    assert!(out.is_empty());
    encode(packet, version, &mut out).unwrap();
    assert_eq!(out, bytes);
}

//! Decoding: the result does not depend on cuts, limits hold, errors can be answered, and packets
//! hold what they promise.

use bytes::BytesMut;
use tessera_mqtt::{
    Answer, DecodeError, DecodeLimits, Decoder, Packet, PacketType, ProtocolVersion, ReasonCode,
};

use super::input::{Input, Start};
use super::invariants::{self, Origin};
use super::model::frame_len;

/// Bytes of a stream that are fed byte by byte; what follows comes whole.
const SINGLY_BYTES: usize = 256;

/// All packets up to an error or to the end of the stream.
#[derive(Debug, PartialEq, Eq)]
struct Outcome {
    packets: Vec<Packet>,
    /// The version before the error.
    version: Option<ProtocolVersion>,
    error: Option<DecodeError>,
}

pub(crate) fn check(data: &[u8], version: ProtocolVersion) {
    let Some(input) = Input::read(data, Some(version)) else {
        return;
    };
    let whole = feed(&input, [input.stream]);
    let (singly, rest) = input.stream.split_at(input.stream.len().min(SINGLY_BYTES));
    assert_eq!(
        whole,
        feed(&input, singly.chunks(1).chain([rest])),
        "whole, and byte by byte"
    );
    assert_eq!(whole, feed(&input, input.pieces()), "whole, and in pieces");
    check_order(&input, &whole);
    if let Some(version) = whole.version {
        let origin = Origin {
            version,
            to_server: input.start != Start::Client,
            limits: input.limits,
        };
        for packet in &whole.packets {
            invariants::check(packet, &origin);
        }
    }
    if let Some(error) = &whole.error {
        check_error(error, whole.version, input.start);
    }
}

fn feed<'a>(input: &Input<'_>, pieces: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut decoder = input.decoder();
    let mut outcome = Outcome {
        packets: Vec::new(),
        version: decoder.version(),
        error: None,
    };
    let mut buf = BytesMut::with_capacity(input.stream.len());
    for piece in pieces {
        buf.extend_from_slice(piece);
        while let Some(packet) = step(&mut decoder, &mut buf, &input.limits, &mut outcome) {
            outcome.packets.push(packet);
            outcome.version = decoder.version();
        }
        if outcome.error.is_some() {
            break;
        }
    }
    outcome
}

/// Decodes once. A packet takes its frame, no more and no less; without one nothing is taken.
fn step(
    decoder: &mut Decoder,
    buf: &mut BytesMut,
    limits: &DecodeLimits,
    outcome: &mut Outcome,
) -> Option<Packet> {
    let before = buf.len();
    let frame = frame_len(buf);
    match decoder.decode(buf) {
        Ok(Some(packet)) => {
            assert_eq!(Some(before - buf.len()), frame, "a packet is its frame");
            let bytes_max = if packet.packet_type() == PacketType::Connect {
                limits.connect_bytes_max.min(limits.packet_bytes_max)
            } else {
                limits.packet_bytes_max
            };
            assert!(u32::try_from(before - buf.len()).is_ok_and(|len| len <= bytes_max));
            Some(packet)
        }
        Ok(None) => {
            assert_eq!(buf.len(), before, "nothing is taken");
            assert!(frame.is_none_or(|len| len > before), "all of it was there");
            None
        }
        Err(error) => {
            assert_eq!(decoder.decode(buf), Err(error), "it stays failed");
            assert_eq!(decoder.version(), None);
            outcome.error = Some(error);
            None
        }
    }
}

/// CONNECT comes first, and once.
fn check_order(input: &Input<'_>, outcome: &Outcome) {
    let is_connect = |packet: &Packet| packet.packet_type() == PacketType::Connect;
    let mut packets = outcome.packets.iter();
    if input.start == Start::Fresh {
        assert!(packets.next().is_none_or(is_connect), "CONNECT is first");
    } else {
        assert_eq!(outcome.version, Some(input.version));
    }
    assert!(!packets.any(is_connect), "CONNECT is once");
}

/// An error can be said to the peer.
fn check_error(error: &DecodeError, version: Option<ProtocolVersion>, start: Start) {
    let reason = error.reason;
    assert!(reason.is_failure() && !error.text.is_empty(), "{error:?}");
    let can_be_said = match (error.answer, version) {
        (Answer::Close, None | Some(ProtocolVersion::V31 | ProtocolVersion::V311)) => true,
        (Answer::ConnAckV3(code), None) => code.as_u8() != 0,
        (Answer::ConnAckV5, None) => reason.is_listed_for(PacketType::ConnAck),
        (Answer::Disconnect, Some(ProtocolVersion::V5)) => match start {
            Start::Client => reason.client_may_disconnect_with(),
            Start::Server | Start::Fresh => reason.server_may_disconnect_with(),
        },
        _ => false,
    };
    assert!(can_be_said, "{error:?} of {version:?}");
    if matches!(
        reason,
        ReasonCode::PacketTooLarge | ReasonCode::QuotaExceeded
    ) {
        assert!(error.bound.is_some(), "{error:?}");
    }
}

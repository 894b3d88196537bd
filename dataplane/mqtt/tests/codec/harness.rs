//! Feeding bytes to a decoder in every way, and reading the data files.

use bytes::BytesMut;
use tessera_mqtt::{DecodeError, DecodeLimits, Decoder, Packet, ProtocolVersion};

/// The limits that the data files name.
pub(crate) const LIMITS: DecodeLimits = DecodeLimits {
    packet_bytes_max: 1 << 20,
    connect_bytes_max: 65_555,
    client_id_bytes_max: 1_024,
    topic_levels_max: 128,
    user_properties_max: 128,
    filters_max: 1_024,
};

/// All packets up to an error or to the end of the bytes.
pub(crate) type Outcome = (Vec<Packet>, Option<DecodeError>);

/// Feeds the bytes whole, byte by byte and, if they are few, cut in two at each place; the outcome
/// is the same each time.
pub(crate) fn feed(decoder: &Decoder, bytes: &[u8]) -> Outcome {
    let whole = feed_cut(decoder, [bytes]);
    let single = feed_cut(decoder, bytes.chunks(1));
    assert_eq!(whole, single, "byte by byte");
    let cuts = if bytes.len() < 300 { bytes.len() } else { 0 };
    for at in 1..cuts {
        let (left, right) = bytes.split_at(at);
        assert_eq!(whole, feed_cut(decoder, [left, right]), "cut at {at}");
    }
    whole
}

fn feed_cut<'a>(decoder: &Decoder, parts: impl IntoIterator<Item = &'a [u8]>) -> Outcome {
    let mut decoder = decoder.clone();
    let mut buf = BytesMut::new();
    let mut packets = Vec::new();
    for part in parts {
        buf.extend_from_slice(part);
        loop {
            match decoder.decode(&mut buf) {
                Ok(Some(packet)) => packets.push(packet),
                Ok(None) => break,
                Err(error) => {
                    assert_eq!(decoder.decode(&mut buf), Err(error), "it stays failed");
                    return (packets, Some(error));
                }
            }
        }
    }
    (packets, None)
}

/// A server's decoder that has taken a CONNECT of this version.
pub(crate) fn open_server(version: ProtocolVersion) -> Decoder {
    let mut decoder = Decoder::server(LIMITS);
    let mut buf = BytesMut::from(connect_bytes(version).as_slice());
    assert!(decoder.decode(&mut buf).unwrap().is_some());
    assert!(buf.is_empty());
    assert_eq!(decoder.version(), Some(version));
    decoder
}

/// A small CONNECT.
pub(crate) fn connect_bytes(version: ProtocolVersion) -> Vec<u8> {
    hex(match version {
        ProtocolVersion::V31 => "10 0f 0006 4d5149736470 03 02 003c 0001 63",
        ProtocolVersion::V311 => "10 0d 0004 4d515454 04 02 003c 0001 63",
        ProtocolVersion::V5 => "10 0e 0004 4d515454 05 02 003c 00 0001 63",
    })
}

/// Bytes of hexadecimal digits; blanks are skipped, `xx*n` repeats.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in text.split_whitespace() {
        let (digits, times) = word.split_once('*').unwrap_or((word, "1"));
        let unit: Vec<u8> = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap())
            .collect();
        bytes.extend(unit.repeat(times.parse().unwrap()));
    }
    bytes
}

/// The rows of a data file: cells between bars.
pub(crate) fn rows(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(" | ").collect())
}

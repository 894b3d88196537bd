//! The form of an input: two bytes that steer, then what the peer sends.
//!
//! ```text
//! byte 0: bits 0, 1  start: 0 a server after CONNECT, 1 a client, 2 and 3 a server before CONNECT
//!         bit 2      limits: 0 the defaults, 1 tight ones
//!         bits 3, 4  version: 0 is 3.1, 1 is 3.1.1, 2 and 3 are 5; where the target does not say it
//! byte 1: the knob: how the stream is cut, or how a packet is encoded
//! ```

use std::sync::LazyLock;

use bytes::BytesMut;
use tessera_mqtt::{DecodeLimits, Decoder, Packet, ProtocolVersion};

use ProtocolVersion::{V5, V31, V311};

/// Limits that small inputs reach.
const TIGHT: DecodeLimits = DecodeLimits {
    packet_bytes_max: 200,
    connect_bytes_max: 100,
    client_id_bytes_max: 6,
    topic_levels_max: 3,
    user_properties_max: 2,
    filters_max: 2,
};

/// Which end decodes, and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// A server that took a CONNECT of the version.
    Server,
    /// A client of the version.
    Client,
    /// A server that awaits a CONNECT of any version.
    Fresh,
}

/// An input, read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) version: ProtocolVersion,
    pub(crate) start: Start,
    pub(crate) limits: DecodeLimits,
    pub(crate) knob: u8,
    pub(crate) stream: &'a [u8],
}

impl<'a> Input<'a> {
    /// Reads an input; `None`: it is too short to be one.
    pub(crate) fn read(data: &'a [u8], version: Option<ProtocolVersion>) -> Option<Self> {
        let [control, knob, stream @ ..] = data else {
            return None;
        };
        let start = match control & 0b11 {
            0 => Start::Server,
            1 => Start::Client,
            _ => Start::Fresh,
        };
        let limits = match control & 0b100 {
            0 => DecodeLimits::DEFAULT,
            _ => TIGHT,
        };
        let own = match control >> 3 & 0b11 {
            0 => V31,
            1 => V311,
            _ => V5,
        };
        Some(Self {
            version: version.unwrap_or(own),
            start,
            limits,
            knob: *knob,
            stream,
        })
    }

    /// The decoder at its start.
    pub(crate) fn decoder(&self) -> Decoder {
        match self.start {
            Start::Server => open_server(self.version, self.limits),
            Start::Client => Decoder::client(self.version, self.limits),
            Start::Fresh => Decoder::server(self.limits),
        }
    }

    /// The stream, cut as the knob says: pieces of two lengths of 1 to 16 bytes by turns.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut lengths = [self.knob & 0x0F, self.knob >> 4].into_iter().cycle();
        let mut rest = self.stream;
        std::iter::from_fn(move || {
            let len = usize::from(lengths.next()?) + 1;
            let (piece, after) = rest.split_at(len.min(rest.len()));
            rest = after;
            (!piece.is_empty()).then_some(piece)
        })
    }

    /// Every packet up to the first error, each with the version that it was decoded for and its
    /// bytes.
    pub(crate) fn packets(&self) -> Vec<(Packet, ProtocolVersion, &'a [u8])> {
        let mut decoder = self.decoder();
        let mut buf = BytesMut::from(self.stream);
        let mut packets = Vec::new();
        while let Ok(Some(packet)) = decoder.decode(&mut buf) {
            let version = decoder.version().unwrap_or(self.version);
            let taken: usize = packets
                .iter()
                .map(|(_, _, frame): &(_, _, &[u8])| frame.len())
                .sum();
            let frame = &self.stream[taken..self.stream.len() - buf.len()];
            packets.push((packet, version, frame));
        }
        packets
    }
}

/// A server's decoder that has taken a small CONNECT of this version.
pub(crate) fn open_server(version: ProtocolVersion, limits: DecodeLimits) -> Decoder {
    static OPEN: LazyLock<[Decoder; 3]> = LazyLock::new(|| [V31, V311, V5].map(after_connect));
    let mut decoder = match version {
        V31 => OPEN[0].clone(),
        V311 => OPEN[1].clone(),
        V5 => OPEN[2].clone(),
    };
    *decoder.limits_mut() = limits;
    decoder
}

fn after_connect(version: ProtocolVersion) -> Decoder {
    let connect: &[u8] = match version {
        V31 => b"\x10\x0f\0\x06MQIsdp\x03\x02\0\x3c\0\x01c",
        V311 => b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x01c",
        V5 => b"\x10\x0e\0\x04MQTT\x05\x02\0\x3c\0\0\x01c",
    };
    let mut decoder = Decoder::server(DecodeLimits::DEFAULT);
    let decoded = decoder.decode(&mut BytesMut::from(connect));
    assert!(matches!(decoded, Ok(Some(Packet::Connect(_)))));
    decoder
}

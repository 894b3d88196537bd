//! Packets as this client may get them.

use bytes::BytesMut;
use tessera_mqtt::{Packet, PacketType, ProtocolVersion, ReasonCode, encode_within};

/// Write a packet, less the words that do not fit; one that does not fit at all is dropped
/// (MQTT-3.1.2-25).
///
/// The machines build only what the version can say: an encoder's refusal is their mistake, which
/// tests show and which in production costs this one packet.
pub(crate) fn write(packet: &Packet, version: ProtocolVersion, bytes_max: u32, out: &mut BytesMut) {
    let result = encode_within(packet, version, bytes_max, out);
    debug_assert!(result.is_ok(), "{packet:?} in {version}: {result:?}");
}

/// PUBACK or PUBREC that says this as well as it can.
pub(crate) fn puback_reason(reason: ReasonCode) -> ReasonCode {
    let nearest = match reason.as_u8() {
        0x95 | 0x96 => ReasonCode::QuotaExceeded,
        _ => reason,
    };
    listed(nearest, PacketType::PubAck)
}

/// A SUBACK code that says this as well as it can.
pub(crate) fn suback_reason(reason: ReasonCode) -> ReasonCode {
    if !reason.is_failure() {
        return ReasonCode::UnspecifiedError;
    }
    listed(reason, PacketType::SubAck)
}

/// An UNSUBACK code that says this as well as it can.
pub(crate) fn unsuback_reason(reason: ReasonCode) -> ReasonCode {
    listed(reason, PacketType::UnsubAck)
}

/// CONNACK that says this as well as it can. Never a success.
pub(crate) fn connack_reason(reason: ReasonCode) -> ReasonCode {
    let nearest = match reason.as_u8() {
        ..0x80 => ReasonCode::UnspecifiedError,
        0x8B | 0x8D | 0x8E | 0x98 | 0xA0 => ReasonCode::ServerUnavailable,
        0x91..=0x94 => ReasonCode::ProtocolError,
        0x96 => ReasonCode::ConnectionRateExceeded,
        _ => reason,
    };
    listed(nearest, PacketType::ConnAck)
}

/// DISCONNECT that says this as well as it can.
pub(crate) fn disconnect_reason(reason: ReasonCode) -> ReasonCode {
    let nearest = match reason.as_u8() {
        0x84 | 0x85 | 0x91 | 0x92 => ReasonCode::ProtocolError,
        0x86 | 0x8A | 0x8C => ReasonCode::NotAuthorized,
        0x88 => ReasonCode::ServerBusy,
        _ => reason,
    };
    if nearest.server_may_disconnect_with() {
        return nearest;
    }
    ReasonCode::UnspecifiedError
}

fn listed(reason: ReasonCode, packet: PacketType) -> ReasonCode {
    if reason.is_listed_for(packet) {
        return reason;
    }
    ReasonCode::UnspecifiedError
}

#[cfg(test)]
mod tests;

//! Encoding a packet of any type.

use bytes::BytesMut;

use crate::error::EncodeError;
use crate::packet::Packet;
use crate::text::MqttString;
use crate::user_properties::UserProperties;
use crate::values::ProtocolVersion;
use crate::{ack, auth, connack, connect, disconnect, publish, subscribe, unsubscribe};

/// Appends a packet. What the version cannot carry is left out where that changes no meaning, and
/// refused where it does (a negative PUBACK, a topic by alias alone).
///
/// # Errors
/// The packet contradicts itself, the standard or the version; nothing is written then.
#[inline]
pub fn encode(
    packet: &Packet,
    version: ProtocolVersion,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    match packet {
        Packet::Connect(connect) => connect::encode(connect, version, out),
        Packet::ConnAck(connack) => connack::encode(connack, version, out),
        Packet::Publish(publish) => publish::encode(publish, version, out),
        Packet::PubAck(ack) | Packet::PubRec(ack) | Packet::PubRel(ack) | Packet::PubComp(ack) => {
            ack::encode(packet.packet_type(), ack, version, out)
        }
        Packet::Subscribe(subscribe) => subscribe::encode(subscribe, version, out),
        Packet::SubAck(suback) => subscribe::encode_suback(suback, version, out),
        Packet::Unsubscribe(unsubscribe) => unsubscribe::encode(unsubscribe, version, out),
        Packet::UnsubAck(unsuback) => unsubscribe::encode_unsuback(unsuback, version, out),
        Packet::PingReq | Packet::PingResp => {
            out.extend_from_slice(&[packet.packet_type().first_byte(), 0]);
            Ok(())
        }
        Packet::Disconnect(disconnect) => disconnect::encode(disconnect, version, out),
        Packet::Auth(auth) => auth::encode(auth, version, out),
    }
}

/// How a packet fits the peer's Maximum Packet Size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// Written whole.
    Whole,
    /// Written without user properties, or without reason string too.
    Trimmed,
    /// Not written: too large all the same.
    Dropped,
}

/// Appends a packet of at most `bytes_max` bytes: user properties, then the reason string are left
/// out if it would be larger (MQTT-3.4.2-2, -3 and their like); else it is not written
/// (MQTT-3.1.2-25). A PUBLISH is never trimmed.
///
/// # Errors
/// As [`encode`].
pub fn encode_within(
    packet: &Packet,
    version: ProtocolVersion,
    bytes_max: u32,
    out: &mut BytesMut,
) -> Result<Fit, EncodeError> {
    let start = out.len();
    let fits = |out: &mut BytesMut| {
        let fits = u32::try_from(out.len() - start).is_ok_and(|len| len <= bytes_max);
        if !fits {
            out.truncate(start);
        }
        fits
    };
    encode(packet, version, out)?;
    if fits(out) {
        return Ok(Fit::Whole);
    }
    let mut trimmed = packet.clone();
    for trim in [trim_user_properties, trim_reason_string] {
        if trim(&mut trimmed) {
            encode(&trimmed, version, out)?;
            if fits(out) {
                return Ok(Fit::Trimmed);
            }
        }
    }
    Ok(Fit::Dropped)
}

/// Leaves the user properties out; whether there were any that may be left out.
fn trim_user_properties(packet: &mut Packet) -> bool {
    words_of(packet).is_some_and(|(_, properties)| !std::mem::take(properties).is_empty())
}

/// Leaves the reason string out; whether there was one.
fn trim_reason_string(packet: &mut Packet) -> bool {
    words_of(packet).is_some_and(|(reason_string, _)| reason_string.take().is_some())
}

/// The fields that may be left out.
fn words_of(packet: &mut Packet) -> Option<(&mut Option<MqttString>, &mut UserProperties)> {
    match packet {
        Packet::ConnAck(p) => Some((&mut p.reason_string, &mut p.user_properties)),
        Packet::PubAck(p) | Packet::PubRec(p) | Packet::PubRel(p) | Packet::PubComp(p) => {
            Some((&mut p.reason_string, &mut p.user_properties))
        }
        Packet::SubAck(p) => Some((&mut p.reason_string, &mut p.user_properties)),
        Packet::UnsubAck(p) => Some((&mut p.reason_string, &mut p.user_properties)),
        Packet::Disconnect(p) => Some((&mut p.reason_string, &mut p.user_properties)),
        Packet::Auth(p) => Some((&mut p.reason_string, &mut p.user_properties)),
        Packet::Connect(_)
        | Packet::Publish(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::PingReq
        | Packet::PingResp => None,
    }
}

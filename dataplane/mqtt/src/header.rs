//! The fixed header: type, direction, flags, length, limit, in this order and before any body.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::cursor::{Context, Role};
use crate::error::Fault;
use crate::packet::PacketType;
use crate::publish;
use crate::reason::ReasonCode;
use crate::sink::read_varint;
use crate::values::ProtocolVersion;

/// A fixed header that was checked.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) packet: PacketType,
    pub(crate) flags: u8,
    /// Its own bytes.
    pub(crate) len: usize,
    /// Its own bytes and the body's.
    pub(crate) packet_len: usize,
}

impl Header {
    /// The header of any packet after CONNECT. `None`: it is not complete.
    #[inline]
    pub(crate) fn read(first: u8, buf: &[u8], context: Context<'_>) -> Result<Option<Self>, Fault> {
        let (packet, flags) = split_first(first)?;
        // Nearly every packet is a PUBLISH, which either side may send.
        if packet == PacketType::Publish {
            publish::check_flags(flags)?;
        } else {
            check_direction(packet, context)?;
            check_flags(packet, flags, context.version)?;
        }
        let Some(header) = Self::with_length(packet, flags, buf)? else {
            return Ok(None);
        };
        header.check_limit(context.limits.packet_bytes_max)?;
        Ok(Some(header))
    }

    /// The header of the first packet, which must be CONNECT. Its limit is not checked yet.
    pub(crate) fn read_connect(first: u8, buf: &[u8]) -> Result<Option<Self>, Fault> {
        let (packet, flags) = split_first(first)?;
        if packet != PacketType::Connect {
            return Err(Fault::protocol("the first packet is not CONNECT"));
        }
        check_flags(packet, flags, ProtocolVersion::V5)?;
        Self::with_length(packet, flags, buf)
    }

    /// Bounds the whole packet.
    pub(crate) fn check_limit(self, bytes_max: u32) -> Result<(), Fault> {
        let max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        if self.packet_len <= max {
            return Ok(());
        }
        let text = "the packet is too large";
        Err(Fault::bounded(ReasonCode::PacketTooLarge, text, max))
    }

    /// Takes a packet, all of which is there, out of the buffer; gives its body.
    pub(crate) fn take_body(self, buf: &mut BytesMut) -> Bytes {
        let mut body = buf.split_to(self.packet_len).freeze();
        body.advance(self.len);
        body
    }

    fn with_length(packet: PacketType, flags: u8, buf: &[u8]) -> Result<Option<Self>, Fault> {
        let Some((remaining, len)) = read_varint(&buf[1..])? else {
            return Ok(None);
        };
        let too_long = |_| Fault::malformed("a length that this machine cannot hold");
        Ok(Some(Self {
            packet,
            flags,
            len: 1 + len,
            packet_len: 1 + len + usize::try_from(remaining).map_err(too_long)?,
        }))
    }
}

#[inline]
fn split_first(first: u8) -> Result<(PacketType, u8), Fault> {
    let packet = PacketType::from_number(first >> 4);
    let packet = packet.ok_or_else(|| Fault::malformed("packet type 0 is reserved"))?;
    Ok((packet, first & 0x0F))
}

/// Whether the peer may send a packet of this type at all.
fn check_direction(packet: PacketType, context: Context<'_>) -> Result<(), Fault> {
    let (to_server, is_v5) = (context.role == Role::Server, context.version.is_v5());
    let allowed = match packet {
        PacketType::Publish
        | PacketType::PubAck
        | PacketType::PubRec
        | PacketType::PubRel
        | PacketType::PubComp => true,
        PacketType::Subscribe | PacketType::Unsubscribe | PacketType::PingReq => to_server,
        PacketType::ConnAck | PacketType::SubAck | PacketType::UnsubAck | PacketType::PingResp => {
            !to_server
        }
        PacketType::Disconnect => to_server || is_v5,
        PacketType::Auth if !is_v5 => return Err(Fault::malformed("packet type 15 is reserved")),
        PacketType::Auth => true,
        PacketType::Connect if to_server => return Err(Fault::protocol("a second CONNECT")),
        PacketType::Connect => false,
    };
    if allowed {
        return Ok(());
    }
    Err(Fault::protocol("a packet of the other side"))
}

/// Whether the flags of the first byte are what the standard fixes (MQTT-2.1.3-1).
fn check_flags(packet: PacketType, flags: u8, version: ProtocolVersion) -> Result<(), Fault> {
    let fixed = packet.first_byte() & 0x0F;
    // MQTT 3.1 marks what is sent again, on all that it gives QoS 1.
    let v31_dup = version == ProtocolVersion::V31 && fixed == 0b0010 && flags == 0b1010;
    if flags == fixed || v31_dup {
        return Ok(());
    }
    Err(Fault::malformed(
        "reserved flags of the fixed header are wrong",
    ))
}

//! PUBACK, PUBREC, PUBREL, PUBCOMP: the same form with different lists of reason codes.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::cursor::{Context, Cursor, PACKET_ID_ZERO, read_reason};
use crate::error::{EncodeError, Fault};
use crate::packet::PacketType;
use crate::property;
use crate::reason::ReasonCode;
use crate::scan::MISPLACED;
use crate::sink::{put_packet, put_prefixed, put_text_property, put_user_properties};
use crate::text::MqttString;
use crate::user_properties::UserProperties;
use crate::values::{PacketId, ProtocolVersion};

/// An acknowledgement of a PUBLISH, or of another acknowledgement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ack {
    /// The PUBLISH's packet identifier.
    pub packet_id: PacketId,
    /// How it went. Below MQTT 5 always [`ReasonCode::Success`].
    pub reason: ReasonCode,
    /// Words for people.
    pub reason_string: Option<MqttString>,
    /// The sender's own.
    pub user_properties: UserProperties,
}

impl Ack {
    /// Success without words.
    pub const fn new(packet_id: PacketId) -> Self {
        Self::with_reason(packet_id, ReasonCode::Success)
    }

    /// This code without words.
    pub const fn with_reason(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self {
            packet_id,
            reason,
            reason_string: None,
            user_properties: UserProperties::EMPTY,
        }
    }
}

/// Decodes a body without words; `None` if there may be some, or too much.
pub(crate) fn decode_bare(
    packet: PacketType,
    body: &[u8],
    version: ProtocolVersion,
) -> Result<Option<Ack>, Fault> {
    let (id, reason) = match (body, version) {
        ([high, low], _) => ([*high, *low], ReasonCode::Success),
        ([high, low, reason], ProtocolVersion::V5) => {
            ([*high, *low], read_reason(*reason, packet)?)
        }
        _ => return Ok(None),
    };
    let id = PacketId::new(u16::from_be_bytes(id)).ok_or(PACKET_ID_ZERO)?;
    Ok(Some(Ack::with_reason(id, reason)))
}

/// Decodes any body that is not bare.
pub(crate) fn decode(packet: PacketType, frame: Bytes, context: Context<'_>) -> Result<Ack, Fault> {
    let mut body = Cursor::new(frame);
    let mut ack = Ack::new(body.packet_id()?);
    if !context.version.is_v5() {
        body.finish()?;
        return Ok(ack);
    }
    ack.reason = body.reason(packet)?;
    let mut section = body.properties(context.limits)?;
    while let Some(identifier) = section.next_identifier()? {
        match identifier {
            property::REASON_STRING => ack.reason_string = section.string()?,
            _ => return Err(MISPLACED),
        }
    }
    ack.user_properties = section.finish();
    body.finish()?;
    Ok(ack)
}

pub(crate) fn encode(
    packet: PacketType,
    ack: &Ack,
    version: ProtocolVersion,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let reason = ack.reason;
    if !reason.is_listed_for(packet) {
        return Err(EncodeError::Reason { packet, reason });
    }
    let refuses = matches!(packet, PacketType::PubAck | PacketType::PubRec) && reason.is_failure();
    if refuses && !version.is_v5() {
        let what = "negative acknowledgement";
        return Err(EncodeError::Version { version, what });
    }
    put_packet(out, packet.first_byte(), |out| {
        out.put_u16(ack.packet_id.get());
        let has_properties = ack.reason_string.is_some() || !ack.user_properties.is_empty();
        if !version.is_v5() || (reason == ReasonCode::Success && !has_properties) {
            return Ok(());
        }
        out.put_u8(reason.as_u8());
        if !has_properties {
            return Ok(());
        }
        put_prefixed(out, |out| {
            put_text_property(out, property::REASON_STRING, ack.reason_string.as_ref());
            put_user_properties(out, &ack.user_properties);
            Ok(())
        })
    })
}

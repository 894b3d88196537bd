//! UNSUBSCRIBE and UNSUBACK.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::cursor::{Context, Cursor};
use crate::error::{EncodeError, Fault};
use crate::filter::{FilterError, FilterSpec, SentFilter};
use crate::packet::PacketType;
use crate::property;
use crate::reason::ReasonCode;
use crate::scan::MISPLACED;
use crate::sink::{
    check_not_empty, put_packet, put_prefixed, put_text_property, put_user_properties,
};
use crate::subscribe::NOT_A_FILTER;
use crate::text::MqttString;
use crate::user_properties::UserProperties;
use crate::values::{PacketId, ProtocolVersion};

/// UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe {
    /// What UNSUBACK repeats.
    pub packet_id: PacketId,
    /// What is no longer wanted, in order: at least one.
    pub filters: Vec<UnsubscribeFilter>,
    /// Filters after those, which were past [`crate::DecodeLimits::filters_max`]: each is to be
    /// answered with 0x80. Not encoded.
    pub excess: usize,
    /// The client's own.
    pub user_properties: UserProperties,
}

impl Unsubscribe {
    /// Of these filters, without properties.
    pub const fn new(packet_id: PacketId, filters: Vec<UnsubscribeFilter>) -> Self {
        Self {
            packet_id,
            filters,
            excess: 0,
            user_properties: UserProperties::EMPTY,
        }
    }
}

/// One filter of an UNSUBSCRIBE: its text, and what it says if it says anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubscribeFilter {
    sent: SentFilter,
}

impl UnsubscribeFilter {
    /// This text, well formed or not.
    pub fn new(text: MqttString) -> Self {
        Self {
            sent: SentFilter::read(text, usize::MAX),
        }
    }

    /// The text as it was sent.
    pub const fn text(&self) -> &MqttString {
        self.sent.text()
    }

    /// What it says.
    ///
    /// # Errors
    /// It is ill formed: UNSUBACK answers 0x8F (MQTT 5).
    pub const fn spec(&self) -> Result<&FilterSpec, FilterError> {
        self.sent.spec()
    }
}

/// UNSUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck {
    /// The UNSUBSCRIBE's.
    pub packet_id: PacketId,
    /// A code per filter, in their order. Below MQTT 5 there are none: none is read, none written.
    pub codes: Vec<ReasonCode>,
    /// Words for people.
    pub reason_string: Option<MqttString>,
    /// The server's own.
    pub user_properties: UserProperties,
}

impl UnsubAck {
    /// These codes without words.
    pub const fn new(packet_id: PacketId, codes: Vec<ReasonCode>) -> Self {
        Self {
            packet_id,
            codes,
            reason_string: None,
            user_properties: UserProperties::EMPTY,
        }
    }
}

pub(crate) fn decode(frame: Bytes, context: Context<'_>) -> Result<Unsubscribe, Fault> {
    let mut body = Cursor::new(frame);
    let mut unsubscribe = Unsubscribe::new(body.packet_id()?, Vec::new());
    if context.version.is_v5() {
        let mut section = body.properties(context.limits)?;
        if section.next_identifier()?.is_some() {
            return Err(MISPLACED);
        }
        unsubscribe.user_properties = section.finish();
    }
    if body.is_empty() {
        return Err(Fault::protocol("there is no topic filter"));
    }
    while !body.is_empty() {
        let text = body.string(NOT_A_FILTER)?;
        if unsubscribe.filters.len() == context.limits.filters_max {
            unsubscribe.excess += 1;
            continue;
        }
        let sent = SentFilter::read(text, context.limits.topic_levels_max);
        unsubscribe.filters.push(UnsubscribeFilter { sent });
    }
    Ok(unsubscribe)
}

pub(crate) fn encode(
    unsubscribe: &Unsubscribe,
    version: ProtocolVersion,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    check_not_empty(unsubscribe.filters.len(), PacketType::Unsubscribe)?;
    put_packet(out, PacketType::Unsubscribe.first_byte(), |out| {
        out.put_u16(unsubscribe.packet_id.get());
        if version.is_v5() {
            put_prefixed(out, |out| {
                put_user_properties(out, &unsubscribe.user_properties);
                Ok(())
            })?;
        }
        for filter in &unsubscribe.filters {
            property::put_field(out, filter.text().as_bytes());
        }
        Ok(())
    })
}

pub(crate) fn decode_unsuback(frame: Bytes, context: Context<'_>) -> Result<UnsubAck, Fault> {
    let mut body = Cursor::new(frame);
    let mut unsuback = UnsubAck::new(body.packet_id()?, Vec::new());
    if !context.version.is_v5() {
        body.finish()?;
        return Ok(unsuback);
    }
    let mut section = body.properties(context.limits)?;
    while let Some(identifier) = section.next_identifier()? {
        match identifier {
            property::REASON_STRING => unsuback.reason_string = section.string()?,
            _ => return Err(MISPLACED),
        }
    }
    unsuback.user_properties = section.finish();
    if body.is_empty() {
        return Err(Fault::protocol("there is no reason code"));
    }
    unsuback.codes.reserve_exact(body.remaining());
    while !body.is_empty() {
        unsuback.codes.push(body.reason(PacketType::UnsubAck)?);
    }
    Ok(unsuback)
}

pub(crate) fn encode_unsuback(
    unsuback: &UnsubAck,
    version: ProtocolVersion,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let packet = PacketType::UnsubAck;
    put_packet(out, packet.first_byte(), |out| {
        out.put_u16(unsuback.packet_id.get());
        if !version.is_v5() {
            return Ok(());
        }
        check_not_empty(unsuback.codes.len(), packet)?;
        put_prefixed(out, |out| {
            put_text_property(
                out,
                property::REASON_STRING,
                unsuback.reason_string.as_ref(),
            );
            put_user_properties(out, &unsuback.user_properties);
            Ok(())
        })?;
        for reason in unsuback.codes.iter().copied() {
            if !reason.is_listed_for(packet) {
                return Err(EncodeError::Reason { packet, reason });
            }
            out.put_u8(reason.as_u8());
        }
        Ok(())
    })
}

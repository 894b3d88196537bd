//! SUBSCRIBE and SUBACK.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::cursor::{Context, Cursor};
use crate::error::{EncodeError, Fault};
use crate::filter::{FilterError, FilterSpec, SentFilter, Shape};
use crate::packet::PacketType;
use crate::property;
use crate::reason::{ReasonCode, v3_suback_code};
use crate::scan::{MISPLACED, SUBSCRIPTION_ID_ZERO};
use crate::sink::{
    check_not_empty, put_packet, put_packet_of_about, put_prefixed, put_text_property,
    put_user_properties, put_varint,
};
use crate::text::MqttString;
use crate::user_properties::UserProperties;
use crate::values::{PacketId, ProtocolVersion, Qos, SubscriptionId};

/// SUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe {
    /// What SUBACK repeats.
    pub packet_id: PacketId,
    /// What deliveries for these subscriptions carry.
    pub subscription_id: Option<SubscriptionId>,
    /// What is asked for, in order: at least one.
    pub filters: Vec<SubscribeFilter>,
    /// Filters after those, well formed or not, past [`crate::DecodeLimits::filters_max`]: each is to be
    /// answered with 0x97. Not encoded.
    pub excess: usize,
    /// The client's own.
    pub user_properties: UserProperties,
}

impl Subscribe {
    /// Of these filters, without properties.
    pub const fn new(packet_id: PacketId, filters: Vec<SubscribeFilter>) -> Self {
        Self {
            packet_id,
            subscription_id: None,
            filters,
            excess: 0,
            user_properties: UserProperties::EMPTY,
        }
    }
}

/// One filter of a SUBSCRIBE: its text, and what it says if it says anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscribeFilter {
    sent: SentFilter,
    /// How it is subscribed to.
    pub options: SubscriptionOptions,
}

impl SubscribeFilter {
    /// This text, well formed or not.
    pub fn new(text: MqttString, options: SubscriptionOptions) -> Self {
        Self {
            sent: SentFilter::read(text, usize::MAX),
            options,
        }
    }

    /// The text as it was sent.
    pub const fn text(&self) -> &MqttString {
        self.sent.text()
    }

    /// What it says.
    ///
    /// # Errors
    /// It is ill formed: SUBACK answers 0x8F (MQTT 5), 0x80 (3.1.1), or the connection closes (3.1).
    pub const fn spec(&self) -> Result<&FilterSpec, FilterError> {
        self.sent.spec()
    }
}

/// Subscription options (MQTT 5, 3.8.3.1). Below MQTT 5 only the QoS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct SubscriptionOptions {
    /// The maximum QoS.
    pub qos: Qos,
    /// What the subscriber publishes itself does not come back.
    pub no_local: bool,
    /// RETAIN stays as it was published; otherwise it is 0 on live messages.
    pub retain_as_published: bool,
    /// Which retained messages come at once.
    pub retain_handling: RetainHandling,
}

impl SubscriptionOptions {
    /// This QoS, everything else as in 3.1.1.
    pub const fn new(qos: Qos) -> Self {
        Self {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        }
    }

    /// The byte on the wire of MQTT 5.
    pub const fn as_u8(self) -> u8 {
        self.qos.as_u8()
            | (self.no_local as u8) << 2
            | (self.retain_as_published as u8) << 3
            | self.retain_handling.as_u8() << 4
    }

    fn decode(byte: u8, version: ProtocolVersion) -> Result<Self, Fault> {
        let reserved = match version {
            ProtocolVersion::V5 => 0b1100_0000,
            ProtocolVersion::V31 | ProtocolVersion::V311 => 0b1111_1100,
        };
        if byte & reserved != 0 {
            return Err(Fault::malformed("reserved bits of the options are set"));
        }
        Ok(Self {
            qos: Qos::try_from(byte & 0b11)
                .map_err(|_| Fault::malformed("QoS 3 does not exist"))?,
            no_local: byte & 0b100 != 0,
            retain_as_published: byte & 0b1000 != 0,
            retain_handling: match byte >> 4 {
                0 => RetainHandling::Send,
                1 => RetainHandling::SendIfNew,
                2 => RetainHandling::DoNotSend,
                _ => return Err(Fault::protocol("retain handling 3 does not exist")),
            },
        })
    }
}

/// Which retained messages a new subscription gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(u8)]
pub enum RetainHandling {
    /// 0: all that match.
    #[default]
    Send = 0,
    /// 1: all that match, if the subscription did not exist.
    SendIfNew = 1,
    /// 2: none.
    DoNotSend = 2,
}

impl RetainHandling {
    /// 0, 1 or 2.
    pub const fn as_u8(self) -> u8 {
        match self {
            Self::Send => 0,
            Self::SendIfNew => 1,
            Self::DoNotSend => 2,
        }
    }
}

/// SUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck {
    /// The SUBSCRIBE's.
    pub packet_id: PacketId,
    /// Granted QoS or failure, a code per filter, in their order. 3.1.1 says each failure as 0x80;
    /// 3.1 knows none.
    pub codes: Vec<ReasonCode>,
    /// Words for people.
    pub reason_string: Option<MqttString>,
    /// The server's own.
    pub user_properties: UserProperties,
}

impl SubAck {
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

pub(crate) fn decode(frame: Bytes, context: Context<'_>) -> Result<Subscribe, Fault> {
    let mut body = Cursor::new(frame);
    let mut subscribe = Subscribe::new(body.packet_id()?, Vec::new());
    if context.version.is_v5() {
        let mut section = body.properties(context.limits)?;
        while let Some(identifier) = section.next_identifier()? {
            match identifier {
                property::SUBSCRIPTION_ID => {
                    let id = SubscriptionId::new(section.cursor.varint()?);
                    subscribe.subscription_id = Some(id.ok_or(SUBSCRIPTION_ID_ZERO)?);
                }
                _ => return Err(MISPLACED),
            }
        }
        subscribe.user_properties = section.finish();
    }
    if body.is_empty() {
        return Err(Fault::protocol("there is no topic filter"));
    }
    let (filters_max, levels_max) = (context.limits.filters_max, context.limits.topic_levels_max);
    let filters = expected_filters(body.rest()).min(filters_max);
    subscribe.filters.reserve_exact(filters);
    while !body.is_empty() {
        let text = body.string(NOT_A_FILTER)?;
        let options = SubscriptionOptions::decode(body.u8()?, context.version)?;
        let shape = Shape::of(text.as_bytes(), levels_max);
        let has_room = subscribe.filters.len() < filters_max;
        if has_room && matches!(shape, Shape::Plain) {
            // Built where it stays: moving it would cost more than reading it.
            subscribe
                .filters
                .extend(std::iter::once_with(|| SubscribeFilter {
                    sent: SentFilter::plain(text),
                    options,
                }));
            continue;
        }
        let sent = SentFilter::of(shape, text, levels_max);
        if options.no_local && sent.spec().is_ok_and(FilterSpec::is_shared) {
            return Err(Fault::protocol("no local is set on a shared subscription"));
        }
        if has_room {
            subscribe.filters.push(SubscribeFilter { sent, options });
        } else {
            subscribe.excess += 1;
        }
    }
    Ok(subscribe)
}

/// Filters in a payload, if all are as long as the first. Sizes the list without walking over the
/// payload twice; if it is wrong, the list grows, or has room to spare.
fn expected_filters(payload: &[u8]) -> usize {
    property::split_field(payload).map_or(0, |(first, _)| payload.len() / (3 + first.len()))
}

/// What is said of a filter that is no UTF-8 string.
pub(crate) const NOT_A_FILTER: &str = "topic filter is not a valid UTF-8 string";

pub(crate) fn encode(
    subscribe: &Subscribe,
    version: ProtocolVersion,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let packet = PacketType::Subscribe;
    let Some((first, others)) = subscribe.filters.split_first() else {
        return Err(EncodeError::Empty(packet));
    };
    // As if all were as long as the first.
    let expected_len = (3 + first.text().len()) * subscribe.filters.len();
    put_packet_of_about(out, packet.first_byte(), expected_len, |out| {
        out.put_u16(subscribe.packet_id.get());
        let has_properties =
            subscribe.subscription_id.is_some() | !subscribe.user_properties.is_empty();
        if version.is_v5() && !has_properties {
            out.put_u8(0);
        } else if version.is_v5() {
            put_prefixed(out, |out| {
                if let Some(id) = subscribe.subscription_id {
                    out.put_u8(property::SUBSCRIPTION_ID);
                    put_varint(out, id.get());
                }
                put_user_properties(out, &subscribe.user_properties);
                Ok(())
            })?;
        }
        put_filters(out, first, others, version);
        Ok(())
    })
}

/// Writes each filter behind its length and before its options. The options of one and the length
/// of the next are one append: each costs as much as what it appends.
fn put_filters(
    out: &mut BytesMut,
    first: &SubscribeFilter,
    others: &[SubscribeFilter],
    version: ProtocolVersion,
) {
    // Below MQTT 5 only the QoS.
    let options_mask = if version.is_v5() { 0xFF } else { 0b11 };
    property::put_field(out, first.text().as_bytes());
    let mut options = first.options.as_u8() & options_mask;
    for filter in others {
        let text = filter.text().as_bytes();
        let [high, low] = property::field_len(text).to_be_bytes();
        out.put_slice(&[options, high, low]);
        out.put_slice(text);
        options = filter.options.as_u8() & options_mask;
    }
    out.put_u8(options);
}

pub(crate) fn decode_suback(frame: Bytes, context: Context<'_>) -> Result<SubAck, Fault> {
    let mut body = Cursor::new(frame);
    let mut suback = SubAck::new(body.packet_id()?, Vec::new());
    if context.version.is_v5() {
        let mut section = body.properties(context.limits)?;
        while let Some(identifier) = section.next_identifier()? {
            match identifier {
                property::REASON_STRING => suback.reason_string = section.string()?,
                _ => return Err(MISPLACED),
            }
        }
        suback.user_properties = section.finish();
    }
    if body.is_empty() {
        return Err(Fault::protocol("there is no reason code"));
    }
    suback.codes.reserve_exact(body.remaining());
    while !body.is_empty() {
        let code = body.reason(PacketType::SubAck)?;
        let listed = match context.version {
            ProtocolVersion::V5 => true,
            ProtocolVersion::V311 => code.as_u8() <= 2 || code.as_u8() == 0x80,
            ProtocolVersion::V31 => code.as_u8() <= 2,
        };
        if !listed {
            return Err(Fault::protocol("a return code that does not exist"));
        }
        suback.codes.push(code);
    }
    Ok(suback)
}

pub(crate) fn encode_suback(
    suback: &SubAck,
    version: ProtocolVersion,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let packet = PacketType::SubAck;
    check_not_empty(suback.codes.len(), packet)?;
    put_packet(out, packet.first_byte(), |out| {
        out.put_u16(suback.packet_id.get());
        if version.is_v5() {
            put_prefixed(out, |out| {
                put_text_property(out, property::REASON_STRING, suback.reason_string.as_ref());
                put_user_properties(out, &suback.user_properties);
                Ok(())
            })?;
        }
        for reason in suback.codes.iter().copied() {
            if !reason.is_listed_for(packet) {
                return Err(EncodeError::Reason { packet, reason });
            }
            let code = match version {
                ProtocolVersion::V5 => Some(reason.as_u8()),
                ProtocolVersion::V31 | ProtocolVersion::V311 => v3_suback_code(reason, version),
            };
            let what = "failure code in SUBACK";
            out.put_u8(code.ok_or(EncodeError::Version { version, what })?);
        }
        Ok(())
    })
}

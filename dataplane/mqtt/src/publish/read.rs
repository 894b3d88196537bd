//! Decoding PUBLISH: checks on the bytes where they lie, then slices of them.

use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};

use super::{Publish, PublishTopic};
use crate::cursor::{Context, PACKET_ID_ZERO, Role};
use crate::error::Fault;
use crate::filter::level_count;
use crate::forwarded::ForwardedProperties;
use crate::header::Header;
use crate::limits::DecodeLimits;
use crate::property;
use crate::reason::ReasonCode;
use crate::scan::{Place, Scan, close_gaps, cut_short, scan};
use crate::sink::read_varint;
use crate::topic::{TopicError, TopicName, check_topic_name};
use crate::values::{PacketId, Qos};

/// Whether the flags of a PUBLISH are allowed.
pub(crate) const fn check_flags(flags: u8) -> Result<(), Fault> {
    match flags & 0b0110 {
        0b0110 => Err(Fault::malformed("QoS 3 does not exist")),
        0 if flags & 0b1000 != 0 => Err(Fault::malformed("DUP is set with QoS 0")),
        _ => Ok(()),
    }
}

/// A PUBLISH, all of which was checked, before it is cut into slices.
#[derive(Debug)]
pub(crate) struct Checked {
    header: Header,
    topic: Range<usize>,
    packet_id: Option<PacketId>,
    found: Scan,
    payload_start: usize,
}

impl Checked {
    /// Checks a packet whose header was checked. Moves properties inside the frame if it must.
    pub(crate) fn new(
        header: Header,
        frame: &mut BytesMut,
        context: Context<'_>,
    ) -> Result<Self, Fault> {
        let (topic, rest) = property::split_field(&frame[header.len..]).ok_or_else(cut_short)?;
        let topic_start = header.len + 2;
        let topic_range = topic_start..topic_start + topic.len();
        check_topic(topic, context.limits)?;
        let (packet_id, rest) = split_packet_id(qos_of(header.flags), rest)?;
        let variable_end = frame.len() - rest.len();
        let (found, payload_start) = if context.version.is_v5() {
            decode_properties(frame, variable_end, context)?
        } else {
            (Scan::default(), variable_end)
        };
        if topic_range.is_empty() && found.topic_alias.is_none() {
            return Err(NO_TOPIC);
        }
        Ok(Self {
            header,
            topic: topic_range,
            packet_id,
            found,
            payload_start,
        })
    }

    /// The packet, as slices of its frame.
    #[inline]
    pub(crate) fn cut(self, frame: Bytes) -> Publish {
        let found = self.found;
        let topic = match (found.topic_alias, self.topic.is_empty()) {
            (Some(alias), true) => PublishTopic::Alias(alias),
            (Some(alias), false) => PublishTopic::Define {
                name: TopicName::from_checked(frame.slice(self.topic)),
                alias,
            },
            (None, _) => PublishTopic::Name(TopicName::from_checked(frame.slice(self.topic))),
        };
        let properties = forwarded(&frame, found.forwarded);
        let payload = skip(frame, self.payload_start);
        Publish {
            topic,
            payload,
            qos: qos_of(self.header.flags),
            retain: self.header.flags & 0b0001 != 0,
            dup: self.header.flags & 0b1000 != 0,
            packet_id: self.packet_id,
            expiry_seconds: found.expiry_seconds,
            subscription_ids: found.subscription_ids,
            properties,
        }
    }
}

fn forwarded(frame: &Bytes, range: Range<usize>) -> ForwardedProperties {
    if range.is_empty() {
        return ForwardedProperties::EMPTY;
    }
    ForwardedProperties::from_checked(frame.slice(range))
}

const NO_TOPIC: Fault = Fault::new(
    ReasonCode::ProtocolError,
    "topic name is empty and there is no alias",
);

/// The topic of a PUBLISH, which may be empty here.
fn check_topic(topic: &[u8], limits: &DecodeLimits) -> Result<(), Fault> {
    match check_topic_name(topic) {
        Ok(()) | Err(TopicError::Empty) => check_levels(topic, limits),
        Err(error) => Err(topic_fault(error)),
    }
}

/// The fault of a topic name of a PUBLISH or a will.
#[cold]
pub(crate) const fn topic_fault(error: TopicError) -> Fault {
    let (reason, text) = match error {
        TopicError::String(_) => (
            ReasonCode::MalformedPacket,
            "topic name is not a valid UTF-8 string",
        ),
        TopicError::Empty => (ReasonCode::TopicNameInvalid, "topic name is empty"),
        TopicError::Wildcard => (ReasonCode::TopicNameInvalid, "topic name holds a wildcard"),
        TopicError::Reserved => (
            ReasonCode::TopicNameInvalid,
            "topic name begins as a shared subscription does",
        ),
    };
    Fault::new(reason, text)
}

/// Bounds the levels of a topic name. A name of n bytes has at most n + 1, so that short ones need
/// no count.
pub(crate) fn check_levels(topic: &[u8], limits: &DecodeLimits) -> Result<(), Fault> {
    let max = limits.topic_levels_max;
    if topic.len() < max || level_count(topic) <= max {
        return Ok(());
    }
    let text = "topic name has too many levels";
    Err(Fault::bounded(ReasonCode::TopicNameInvalid, text, max))
}

const fn qos_of(flags: u8) -> Qos {
    match flags & 0b0110 {
        0 => Qos::AtMostOnce,
        0b0010 => Qos::AtLeastOnce,
        _ => Qos::ExactlyOnce,
    }
}

fn split_packet_id(qos: Qos, rest: &[u8]) -> Result<(Option<PacketId>, &[u8]), Fault> {
    if qos == Qos::AtMostOnce {
        return Ok((None, rest));
    }
    let (id, rest) = rest.split_first_chunk().ok_or_else(cut_short)?;
    let id = PacketId::new(u16::from_be_bytes(*id)).ok_or(PACKET_ID_ZERO)?;
    Ok((Some(id), rest))
}

/// Reads the section that begins at `at`; gives where it ends.
fn decode_properties(
    frame: &mut BytesMut,
    at: usize,
    context: Context<'_>,
) -> Result<(Scan, usize), Fault> {
    let (len, len_len) = read_varint(&frame[at..])?.ok_or_else(cut_short)?;
    let start = at + len_len;
    let end = usize::try_from(len)
        .ok()
        .and_then(|len| start.checked_add(len))
        .filter(|end| *end <= frame.len())
        .ok_or_else(cut_short)?;
    if start == end {
        return Ok((Scan::default(), end));
    }
    let place = match context.role {
        Role::Server => Place::ToServer,
        Role::Client => Place::ToClient,
    };
    let section = &mut frame[start..end];
    let mut found = scan(section, place, context.limits)?;
    if found.has_gaps {
        found.forwarded = 0..close_gaps(section);
    }
    found.forwarded = found.forwarded.start + start..found.forwarded.end + start;
    Ok((found, end))
}

/// The payload: what is left of the frame. An empty one does not hold on to the buffer.
fn skip(mut frame: Bytes, start: usize) -> Bytes {
    if start == frame.len() {
        return Bytes::new();
    }
    frame.advance(start);
    frame
}

//! Decoding PUBLISH: checks on the bytes where they lie, then slices of them.

use std::ops::Range;

use bytes::{Buf as _, Bytes, BytesMut};

use super::{Publish, PublishTopic};
use crate::cursor::{Context, PACKET_ID_ZERO, Role};
use crate::error::{DecodeError, Fault};
use crate::filter::level_count;
use crate::forwarded::ForwardedProperties;
use crate::header::Header;
use crate::limits::DecodeLimits;
use crate::packet::Packet;
use crate::property;
use crate::reason::ReasonCode;
use crate::scan::{Place, Scan, close_gaps, cut_short};
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

/// A PUBLISH, all of which is there and all of which was checked but its properties.
#[derive(Debug)]
pub(crate) struct Checked {
    header: Header,
    topic_len: usize,
    packet_id: Option<PacketId>,
    /// Where its properties stand. Below MQTT 5, where the payload begins.
    section: Range<usize>,
}

impl Checked {
    /// Checks a packet whose header was checked.
    #[inline]
    pub(crate) fn new(header: Header, frame: &[u8], context: Context<'_>) -> Result<Self, Fault> {
        let (topic, rest) = property::split_field(&frame[header.len..]).ok_or_else(cut_short)?;
        check_topic(topic, context.limits)?;
        let (packet_id, rest) = split_packet_id(qos_of(header.flags), rest)?;
        let variable_end = frame.len() - rest.len();
        let section = if context.version.is_v5() {
            section_of(frame, variable_end)?
        } else {
            variable_end..variable_end
        };
        if topic.is_empty() && section.is_empty() {
            return Err(NO_TOPIC);
        }
        Ok(Self {
            header,
            topic_len: topic.len(),
            packet_id,
            section,
        })
    }

    pub(crate) const fn has_properties(&self) -> bool {
        self.section.start < self.section.end
    }

    /// Checks the properties. Moves them inside the frame if it must.
    pub(crate) fn read_properties(
        &self,
        found: &mut Scan,
        frame: &mut [u8],
        context: Context<'_>,
    ) -> Result<(), Fault> {
        let place = match context.role {
            Role::Server => Place::ToServer,
            Role::Client => Place::ToClient,
        };
        let section = &mut frame[self.section.clone()];
        found.read(section, place, context.limits)?;
        if found.has_gaps {
            found.forwarded = 0..close_gaps(section);
        }
        if self.topic_len == 0 && found.topic_alias.is_none() {
            return Err(NO_TOPIC);
        }
        Ok(())
    }

    /// Takes the packet out of the buffer that it begins, as slices.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "built where it is returned: moving it costs as much as cutting it"
    )]
    #[inline]
    pub(crate) fn cut(
        self,
        found: Scan,
        buf: &mut BytesMut,
    ) -> Result<Option<Packet>, DecodeError> {
        let header = self.header;
        let topic_start = header.len + 2;
        let mut frame = buf.split_to(header.packet_len).freeze();
        frame.advance(topic_start);
        let name = |frame: &Bytes| TopicName::from_checked(frame.slice(..self.topic_len));
        let topic = match (found.topic_alias, self.topic_len) {
            (None, _) => PublishTopic::Name(name(&frame)),
            (Some(alias), 0) => PublishTopic::Alias(alias),
            (Some(alias), _) => PublishTopic::Define {
                name: name(&frame),
                alias,
            },
        };
        let properties = forwarded(&frame, found.forwarded, self.section.start - topic_start);
        Ok(Some(Packet::Publish(Publish {
            topic,
            payload: skip(frame, self.section.end - topic_start),
            qos: qos_of(header.flags),
            retain: header.flags & 0b0001 != 0,
            dup: header.flags & 0b1000 != 0,
            packet_id: self.packet_id,
            expiry_seconds: found.expiry_seconds,
            subscription_ids: found.subscription_ids,
            properties,
        })))
    }
}

/// The forwarded properties, in a section that begins at `start`.
#[inline]
fn forwarded(rest: &Bytes, range: Range<usize>, start: usize) -> ForwardedProperties {
    if range.is_empty() {
        return ForwardedProperties::EMPTY;
    }
    ForwardedProperties::from_checked(rest.slice(start + range.start..start + range.end))
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

/// Where the properties stand whose length stands at `at`.
#[inline]
fn section_of(frame: &[u8], at: usize) -> Result<Range<usize>, Fault> {
    let (len, len_len) = read_varint(&frame[at..])?.ok_or_else(cut_short)?;
    let start = at + len_len;
    usize::try_from(len)
        .ok()
        .and_then(|len| start.checked_add(len))
        .filter(|end| *end <= frame.len())
        .map(|end| start..end)
        .ok_or_else(cut_short)
}

/// The payload: what is left of the frame. An empty one does not hold on to the buffer.
#[inline]
fn skip(mut frame: Bytes, start: usize) -> Bytes {
    if start == frame.len() {
        return Bytes::new();
    }
    frame.advance(start);
    frame
}

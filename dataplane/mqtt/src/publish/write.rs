//! Encoding PUBLISH: lengths first, then at most five copies onto the end of the buffer.

use bytes::BytesMut;

use super::{Publish, PublishHeader, TopicAliasUse};
use crate::error::EncodeError;
use crate::message::Message;
use crate::property;
use crate::sink::{checked_len, varint_bytes, varint_len};
use crate::topic::TopicName;
use crate::values::{ProtocolVersion, Qos};

/// Appends one delivery of a message; gives the bytes written. Copies, but allocates only if `out`
/// must grow.
///
/// # Errors
/// [`EncodeError::PacketId`], [`EncodeError::Version`] or [`EncodeError::PacketTooLong`]; nothing
/// is written then.
pub fn encode_publish(
    out: &mut BytesMut,
    version: ProtocolVersion,
    message: &Message,
    header: &PublishHeader<'_>,
) -> Result<usize, EncodeError> {
    let body = Body::of(message, header);
    let lengths = Lengths::of(version, &body, header)?;
    Ok(put(out, lengths, &body, header))
}

/// The bytes that [`encode_publish`] would write, to be held against a Maximum Packet Size.
///
/// # Errors
/// As [`encode_publish`].
pub fn encoded_publish_len(
    version: ProtocolVersion,
    message: &Message,
    header: &PublishHeader<'_>,
) -> Result<usize, EncodeError> {
    Ok(Lengths::of(version, &Body::of(message, header), header)?.packet_len())
}

/// Encodes a packet of the model.
pub(crate) fn encode(
    publish: &Publish,
    version: ProtocolVersion,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let header = PublishHeader {
        qos: publish.qos,
        retain: publish.retain,
        dup: publish.dup,
        packet_id: publish.packet_id,
        topic_alias: publish.topic.alias().map(|alias| TopicAliasUse {
            alias,
            with_topic: publish.topic.name().is_some(),
        }),
        subscription_ids: &publish.subscription_ids,
        expiry_seconds: publish.expiry_seconds,
    };
    let body = Body {
        topic: publish.topic.name().map_or(&[], TopicName::as_bytes),
        properties: publish.properties.as_bytes(),
        payload: &publish.payload,
    };
    let lengths = Lengths::of(version, &body, &header)?;
    put(out, lengths, &body, &header);
    Ok(())
}

/// The bytes of a PUBLISH that are copied as they are.
#[derive(Debug, Clone, Copy)]
struct Body<'a> {
    topic: &'a [u8],
    properties: &'a [u8],
    payload: &'a [u8],
}

impl<'a> Body<'a> {
    fn of(message: &'a Message, header: &PublishHeader<'_>) -> Self {
        let with_topic = header.topic_alias.is_none_or(|alias| alias.with_topic);
        let topic = message.topic.as_bytes();
        Self {
            topic: if with_topic { topic } else { &[] },
            properties: message.properties.as_bytes(),
            payload: &message.payload,
        }
    }
}

/// What stands in the length fields of a PUBLISH.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    remaining: u32,
    /// None below MQTT 5.
    properties: Option<u32>,
}

impl Lengths {
    fn of(
        version: ProtocolVersion,
        body: &Body<'_>,
        header: &PublishHeader<'_>,
    ) -> Result<Self, EncodeError> {
        let qos = header.qos;
        let acknowledged = qos != Qos::AtMostOnce;
        if header.packet_id.is_some() != acknowledged || (header.dup && !acknowledged) {
            return Err(EncodeError::PacketId { qos });
        }
        let packet_id = if acknowledged { 2 } else { 0 };
        let others = 2 + body.topic.len() + packet_id + body.payload.len();
        if version.is_v5() {
            let len = properties_bytes(body, header);
            let properties = checked_len(len)?;
            Ok(Self {
                remaining: checked_len(others + varint_len(properties) + len)?,
                properties: Some(properties),
            })
        } else if body.topic.is_empty() {
            let what = "topic alias";
            Err(EncodeError::Version { version, what })
        } else {
            Ok(Self {
                remaining: checked_len(others)?,
                properties: None,
            })
        }
    }

    fn packet_len(self) -> usize {
        let remaining = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        1 + varint_len(self.remaining) + remaining
    }
}

fn properties_bytes(body: &Body<'_>, header: &PublishHeader<'_>) -> usize {
    let ids = header.subscription_ids.iter();
    let ids: usize = ids.map(|id| 1 + varint_len(id.get())).sum();
    let alias = if header.topic_alias.is_some() { 3 } else { 0 };
    let expiry = if header.expiry_seconds.is_some() {
        5
    } else {
        0
    };
    alias + expiry + ids + body.properties.len()
}

/// Writes a packet; gives its length.
fn put(out: &mut BytesMut, lengths: Lengths, body: &Body<'_>, header: &PublishHeader<'_>) -> usize {
    let len = lengths.packet_len();
    out.reserve(len + HEAD_BYTES);
    let flags = u8::from(header.dup) << 3 | header.qos.as_u8() << 1 | u8::from(header.retain);
    let topic_len = u16::try_from(body.topic.len()).unwrap_or_default();
    Head::default()
        .with([0x30 | flags])
        .with_varint(lengths.remaining)
        .with(topic_len.to_be_bytes())
        .put(out);
    out.extend_from_slice(body.topic);
    let mut head = Head::default();
    if let Some(id) = header.packet_id {
        head = head.with(id.get().to_be_bytes());
    }
    match lengths.properties {
        Some(len) => put_properties(out, head.with_varint(len), body, header),
        None => head.put(out),
    }
    out.extend_from_slice(body.payload);
    len
}

/// Writes the properties behind what already stands in the head.
fn put_properties(out: &mut BytesMut, head: Head, body: &Body<'_>, header: &PublishHeader<'_>) {
    head.put(out);
    if let Some(used) = header.topic_alias {
        let alias = used.alias.get().to_be_bytes();
        Head::default()
            .with([property::TOPIC_ALIAS])
            .with(alias)
            .put(out);
    }
    if let Some(seconds) = header.expiry_seconds {
        let seconds = seconds.to_be_bytes();
        Head::default()
            .with([property::MESSAGE_EXPIRY])
            .with(seconds)
            .put(out);
    }
    for id in header.subscription_ids {
        let head = Head::default().with([property::SUBSCRIPTION_ID]);
        head.with_varint(id.get()).put(out);
    }
    if !body.properties.is_empty() {
        out.extend_from_slice(body.properties);
    }
}

/// Bytes that a head holds. The longest run of short fields has seven.
const HEAD_BYTES: usize = 8;

/// Short fields, put together in a register: the first in the lowest byte.
#[derive(Debug, Clone, Copy, Default)]
struct Head {
    word: u64,
    len: usize,
}

impl Head {
    fn with<const N: usize>(mut self, bytes: [u8; N]) -> Self {
        for byte in bytes {
            self.word |= u64::from(byte) << (8 * self.len);
            self.len += 1;
        }
        self
    }

    fn with_varint(mut self, value: u32) -> Self {
        let bytes = u32::from_le_bytes(varint_bytes(value));
        self.word |= u64::from(bytes) << (8 * self.len);
        self.len += varint_len(value);
        self
    }

    /// All eight bytes are written, which is one store, and those that do not count taken back.
    fn put(self, out: &mut BytesMut) {
        let end = out.len() + self.len;
        out.extend_from_slice(&self.word.to_le_bytes());
        out.truncate(end);
    }
}

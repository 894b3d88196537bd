//! Encoding PUBLISH: lengths first, then one field after the other.

use bytes::{BufMut as _, BytesMut};

use super::{Publish, PublishHeader, TopicAliasUse};
use crate::error::EncodeError;
use crate::message::Message;
use crate::property;
use crate::sink::{checked_len, put_u16_property, put_u32_property, put_varint, varint_len};
use crate::topic::TopicName;
use crate::values::{ProtocolVersion, Qos, SubscriptionId};

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
    #[inline]
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

#[inline]
fn properties_bytes(body: &Body<'_>, header: &PublishHeader<'_>) -> usize {
    let ids = match header.subscription_ids {
        [] => 0,
        ids => subscription_ids_bytes(ids),
    };
    let alias = if header.topic_alias.is_some() { 3 } else { 0 };
    let expiry = if header.expiry_seconds.is_some() {
        5
    } else {
        0
    };
    alias + expiry + ids + body.properties.len()
}

#[inline(never)]
fn subscription_ids_bytes(ids: &[SubscriptionId]) -> usize {
    ids.iter().map(|id| 1 + varint_len(id.get())).sum()
}

/// Writes a packet; gives its length.
#[inline(always)]
fn put(out: &mut BytesMut, lengths: Lengths, body: &Body<'_>, header: &PublishHeader<'_>) -> usize {
    let len = lengths.packet_len();
    out.reserve(len);
    let flags = u8::from(header.dup) << 3 | header.qos.as_u8() << 1 | u8::from(header.retain);
    let first = 0x30 | flags;
    let topic_len = u16::try_from(body.topic.len()).unwrap_or_default();
    let [high, low] = topic_len.to_be_bytes();
    match u8::try_from(lengths.remaining) {
        // Each append costs as much as what it appends.
        Ok(remaining @ ..0x80) => out.put_slice(&[first, remaining, high, low]),
        _ => {
            out.put_u8(first);
            put_varint(out, lengths.remaining);
            out.put_u16(topic_len);
        }
    }
    out.put_slice(body.topic);
    if let Some(id) = header.packet_id {
        out.put_u16(id.get());
    }
    if let Some(len) = lengths.properties {
        put_varint(out, len);
        if len > 0 {
            let PublishHeader {
                topic_alias,
                expiry_seconds,
                subscription_ids,
                ..
            } = *header;
            put_properties(out, topic_alias, expiry_seconds, subscription_ids);
            out.extend_from_slice(body.properties);
        }
    }
    out.extend_from_slice(body.payload);
    len
}

/// Writes the properties that are not forwarded. By value, so that they need not lie in memory.
#[inline(never)]
fn put_properties(
    out: &mut BytesMut,
    topic_alias: Option<TopicAliasUse>,
    expiry_seconds: Option<u32>,
    subscription_ids: &[SubscriptionId],
) {
    if let Some(used) = topic_alias {
        put_u16_property(out, property::TOPIC_ALIAS, used.alias.get());
    }
    if let Some(seconds) = expiry_seconds {
        put_u32_property(out, property::MESSAGE_EXPIRY, seconds);
    }
    for id in subscription_ids {
        out.put_u8(property::SUBSCRIPTION_ID);
        put_varint(out, id.get());
    }
}

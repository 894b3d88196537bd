//! Encoding PUBLISH: lengths first, then at most five copies onto the end of the buffer.

use bytes::BytesMut;

use super::{Publish, PublishHeader, TopicAliasUse};
use crate::error::EncodeError;
use crate::message::Message;
use crate::property;
use crate::sink::{checked_len, varint_bytes, varint_len};
use crate::topic::TopicName;
use crate::values::{PacketId, ProtocolVersion, Qos, SubscriptionId, TopicAlias};

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
    Ok(Layout::new(version, Body::of(message, header), header)?.put(out))
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
    Ok(Layout::new(version, Body::of(message, header), header)?.packet_len())
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
    Layout::new(version, body, &header)?.put(out);
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
        Self {
            topic: if with_topic {
                message.topic.as_bytes()
            } else {
                &[]
            },
            properties: message.properties.as_bytes(),
            payload: &message.payload,
        }
    }
}

/// A PUBLISH whose lengths are known.
#[derive(Debug)]
struct Layout<'a> {
    first_byte: u8,
    remaining: u32,
    properties_len: Option<u32>,
    packet_id: Option<PacketId>,
    alias: Option<TopicAlias>,
    expiry_seconds: Option<u32>,
    subscription_ids: &'a [SubscriptionId],
    body: Body<'a>,
}

impl<'a> Layout<'a> {
    fn new(
        version: ProtocolVersion,
        body: Body<'a>,
        header: &PublishHeader<'a>,
    ) -> Result<Self, EncodeError> {
        let qos = header.qos;
        let acknowledged = qos != Qos::AtMostOnce;
        if header.packet_id.is_some() != acknowledged || (header.dup && !acknowledged) {
            return Err(EncodeError::PacketId { qos });
        }
        let mut layout = Self {
            first_byte: 0x30
                | u8::from(header.dup) << 3
                | qos.as_u8() << 1
                | u8::from(header.retain),
            remaining: 0,
            properties_len: None,
            packet_id: header.packet_id,
            alias: header.topic_alias.map(|used| used.alias),
            expiry_seconds: header.expiry_seconds,
            subscription_ids: header.subscription_ids,
            body,
        };
        let mut remaining = 2 + body.topic.len() + body.payload.len();
        if acknowledged {
            remaining += 2;
        }
        if version.is_v5() {
            let len = checked_len(layout.properties_bytes())?;
            layout.properties_len = Some(len);
            remaining += varint_len(len) + layout.properties_bytes();
        } else if body.topic.is_empty() {
            let what = "topic alias";
            return Err(EncodeError::Version { version, what });
        }
        layout.remaining = checked_len(remaining)?;
        Ok(layout)
    }

    fn properties_bytes(&self) -> usize {
        let ids = self.subscription_ids.iter();
        let ids: usize = ids.map(|id| 1 + varint_len(id.get())).sum();
        let alias = if self.alias.is_some() { 3 } else { 0 };
        let expiry = if self.expiry_seconds.is_some() { 5 } else { 0 };
        alias + expiry + ids + self.body.properties.len()
    }

    fn packet_len(&self) -> usize {
        let remaining = usize::try_from(self.remaining).unwrap_or(usize::MAX);
        1 + varint_len(self.remaining) + remaining
    }

    fn put(&self, out: &mut BytesMut) -> usize {
        let len = self.packet_len();
        out.reserve(len);
        let mut head = Head::default();
        head.push(&[self.first_byte]);
        head.push_varint(self.remaining);
        let topic_len = u16::try_from(self.body.topic.len()).unwrap_or_default();
        head.push(&topic_len.to_be_bytes());
        out.extend_from_slice(head.as_slice());
        out.extend_from_slice(self.body.topic);
        self.put_variable(out);
        out.extend_from_slice(self.body.payload);
        len
    }

    /// What stands between topic and payload.
    fn put_variable(&self, out: &mut BytesMut) {
        let mut head = Head::default();
        if let Some(id) = self.packet_id {
            head.push(&id.get().to_be_bytes());
        }
        let Some(properties_len) = self.properties_len else {
            out.extend_from_slice(head.as_slice());
            return;
        };
        head.push_varint(properties_len);
        if let Some(alias) = self.alias {
            head.push(&[property::TOPIC_ALIAS]);
            head.push(&alias.get().to_be_bytes());
        }
        if let Some(seconds) = self.expiry_seconds {
            head.push(&[property::MESSAGE_EXPIRY]);
            head.push(&seconds.to_be_bytes());
        }
        out.extend_from_slice(head.as_slice());
        for id in self.subscription_ids {
            let mut head = Head::default();
            head.push(&[property::SUBSCRIPTION_ID]);
            head.push_varint(id.get());
            out.extend_from_slice(head.as_slice());
        }
        out.extend_from_slice(self.body.properties);
    }
}

/// Bytes of the longest fixed run of a PUBLISH: identifier, property length, alias, expiry.
const HEAD_BYTES_MAX: usize = 2 + 4 + 3 + 5;

/// A few bytes on the stack, appended to the buffer at once.
#[derive(Debug, Default)]
struct Head {
    bytes: [u8; HEAD_BYTES_MAX],
    len: usize,
}

impl Head {
    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn push_varint(&mut self, value: u32) {
        self.push(&varint_bytes(value)[..varint_len(value)]);
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

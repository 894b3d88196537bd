//! Encoding PUBLISH: lengths first, then one field after the other. What has no property, which is
//! nearly every message, takes a shorter way to the same bytes: [`put_plain`].

use bytes::{BufMut as _, BytesMut};

use super::{Publish, PublishHeader, PublishTopic, TopicAliasUse};
use crate::error::EncodeError;
use crate::message::Message;
use crate::property;
use crate::sink::{checked_len, put_u16_property, put_u32_property, put_varint, varint_len};
use crate::topic::TopicName;
use crate::values::{PacketId, ProtocolVersion, Qos, SubscriptionId};

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
    let has_properties = header.topic_alias.is_some()
        | header.expiry_seconds.is_some()
        | !header.subscription_ids.is_empty()
        | !message.properties.is_empty();
    if version.is_v5() && !has_properties {
        let (flags, packet_id) = (Flags::of(header), header.packet_id);
        return put_plain(out, flags, packet_id, &message.topic, &message.payload);
    }
    put_any(out, version, &Body::of(message, header), header)
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
    Ok(packet_len(
        Lengths::of(version, &Body::of(message, header), header)?.remaining,
    ))
}

/// Encodes a packet of the model.
pub(crate) fn encode(
    publish: &Publish,
    version: ProtocolVersion,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let has_properties = publish.expiry_seconds.is_some()
        | !publish.subscription_ids.is_empty()
        | !publish.properties.is_empty();
    match &publish.topic {
        PublishTopic::Name(topic) if version.is_v5() && !has_properties => {
            let flags = Flags {
                qos: publish.qos,
                retain: publish.retain,
                dup: publish.dup,
            };
            put_plain(out, flags, publish.packet_id, topic, &publish.payload).map(|_| ())
        }
        PublishTopic::Name(_) | PublishTopic::Define { .. } | PublishTopic::Alias(_) => {
            encode_any(publish, version, out)
        }
    }
}

/// Not as rare as it says: told that it is, the compiler makes one straight line of [`put_plain`],
/// whose appends are calls otherwise.
#[cold]
#[inline(never)]
fn encode_any(
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
    put_any(out, version, &body, &header).map(|_| ())
}

/// Writes a PUBLISH of MQTT 5 by topic name without a property; gives its length.
#[inline(always)]
fn put_plain(
    out: &mut BytesMut,
    flags: Flags,
    packet_id: Option<PacketId>,
    topic: &TopicName,
    payload: &[u8],
) -> Result<usize, EncodeError> {
    flags.check(packet_id)?;
    let topic = topic.as_bytes();
    let packet_id_len = if packet_id.is_some() { 2 } else { 0 };
    let remaining = checked_len(2 + topic.len() + packet_id_len + 1 + payload.len())?;
    let len = packet_len(remaining);
    out.reserve(len);
    put_head(out, flags, remaining, topic);
    match packet_id.map(|id| id.get().to_be_bytes()) {
        Some([high, low]) => out.put_slice(&[high, low, 0]),
        None => out.put_u8(0),
    }
    out.extend_from_slice(payload);
    Ok(len)
}

/// What the lower half of the first byte says.
#[derive(Debug, Clone, Copy)]
struct Flags {
    qos: Qos,
    retain: bool,
    dup: bool,
}

impl Flags {
    const fn of(header: &PublishHeader<'_>) -> Self {
        Self {
            qos: header.qos,
            retain: header.retain,
            dup: header.dup,
        }
    }

    /// Whether there is a packet identifier where the QoS wants one, and DUP only there.
    #[inline]
    fn check(self, packet_id: Option<PacketId>) -> Result<(), EncodeError> {
        let qos = self.qos;
        let acknowledged = qos != Qos::AtMostOnce;
        if packet_id.is_some() != acknowledged || (self.dup && !acknowledged) {
            return Err(EncodeError::PacketId { qos });
        }
        Ok(())
    }

    #[inline]
    fn first_byte(self) -> u8 {
        0x30 | u8::from(self.dup) << 3 | self.qos.as_u8() << 1 | u8::from(self.retain)
    }
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
        Flags::of(header).check(header.packet_id)?;
        let packet_id = if header.packet_id.is_some() { 2 } else { 0 };
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
}

/// Of the whole packet.
#[inline]
fn packet_len(remaining: u32) -> usize {
    1 + varint_len(remaining) + usize::try_from(remaining).unwrap_or(usize::MAX)
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

/// Writes any PUBLISH; gives its length.
#[inline(always)]
fn put_any(
    out: &mut BytesMut,
    version: ProtocolVersion,
    body: &Body<'_>,
    header: &PublishHeader<'_>,
) -> Result<usize, EncodeError> {
    let lengths = Lengths::of(version, body, header)?;
    let len = packet_len(lengths.remaining);
    out.reserve(len);
    put_head(out, Flags::of(header), lengths.remaining, body.topic);
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
    Ok(len)
}

/// Writes what every PUBLISH begins with.
#[inline(always)]
fn put_head(out: &mut BytesMut, flags: Flags, remaining: u32, topic: &[u8]) {
    let first = flags.first_byte();
    let topic_len = u16::try_from(topic.len()).unwrap_or_default();
    let [high, low] = topic_len.to_be_bytes();
    match u8::try_from(remaining) {
        // Each append costs as much as what it appends.
        Ok(remaining @ ..0x80) => out.extend_from_slice(&[first, remaining, high, low]),
        _ => {
            out.put_u8(first);
            put_varint(out, remaining);
            out.put_u16(topic_len);
        }
    }
    out.extend_from_slice(topic);
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

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::{Body, Flags, PublishHeader, put_any, put_plain};
    use crate::message::Message;
    use crate::topic::TopicName;
    use crate::values::{PacketId, ProtocolVersion, Qos};

    #[test]
    fn the_short_way_writes_and_refuses_what_the_long_way_does() {
        let topic = TopicName::try_from("a/b").unwrap();
        let ids = [None, PacketId::new(0x1234)];
        let lengths = [
            0, 1, 121, 122, 123, 16_376, 16_377, 16_379, 2_097_145, 2_097_147,
        ];
        for (qos, dup) in [Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce]
            .map(|qos| [(qos, false), (qos, true)])
            .concat()
        {
            for (packet_id, len) in ids.map(|id| lengths.map(|len| (id, len))).concat() {
                let message = Message::new(topic.clone(), vec![b'x'; len]);
                let header = PublishHeader {
                    qos,
                    dup,
                    retain: len % 2 == 1,
                    packet_id,
                    ..PublishHeader::default()
                };
                let (mut short, mut long) = (BytesMut::from("~"), BytesMut::from("~"));
                let body = Body::of(&message, &header);
                assert_eq!(
                    put_plain(
                        &mut short,
                        Flags::of(&header),
                        packet_id,
                        &topic,
                        body.payload
                    ),
                    put_any(&mut long, ProtocolVersion::V5, &body, &header),
                    "{header:?} {len}"
                );
                assert!(short == long, "{header:?} {len}");
            }
        }
    }
}

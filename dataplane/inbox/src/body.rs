//! The stored form of a message: once in a command, once in a block, whatever number of queues.
//!
//! ```text
//! flags(1) · writer(16) · [expiry seconds(4)] · len(2) topic · length properties · payload
//! ```

use bytes::Bytes;
use tessera_mqtt::{ForwardedProperties, Message, Qos, TopicName};
use tessera_tenancy::PrincipalId;

use crate::encoding::{Reader, Writer};

const FLAG_QOS: u8 = 0b0000_0011;
const FLAG_RETAIN: u8 = 0b0000_0100;
const FLAG_EXPIRY: u8 = 0b0000_1000;

/// A message and who wrote it, as bytes.
pub(crate) fn encode_body(message: &Message, writer: PrincipalId) -> Vec<u8> {
    let mut out = Writer::with_capacity(message.body_bytes() + 32);
    let retain = if message.retain { FLAG_RETAIN } else { 0 };
    let expiry = if message.expiry_seconds.is_some() {
        FLAG_EXPIRY
    } else {
        0
    };
    out.byte(message.qos.as_u8() | retain | expiry)
        .raw(writer.as_bytes());
    if let Some(seconds) = message.expiry_seconds {
        out.word(seconds);
    }
    out.name(message.topic.as_bytes())
        .blob(message.properties.as_bytes())
        .raw(&message.payload);
    out.finish()
}

/// What [`encode_body`] wrote; the message shares the bytes.
pub(crate) fn decode_body(body: &Bytes) -> Option<(Message, PrincipalId)> {
    let mut reader = Reader::new(body);
    let flags = reader.byte()?;
    let writer = PrincipalId::from_bytes(reader.id()?);
    let expiry_seconds = read_expiry(flags, &mut reader)?;
    let topic = TopicName::try_from(body.slice_ref(reader.name()?)).ok()?;
    let properties = ForwardedProperties::from_stored(body.slice_ref(reader.blob()?)).ok()?;
    let message = Message {
        topic,
        payload: body.slice_ref(reader.rest()),
        qos: Qos::try_from(flags & FLAG_QOS).ok()?,
        retain: flags & FLAG_RETAIN != 0,
        expiry_seconds,
        properties,
    };
    Some((message, writer))
}

/// Whether the message is worthless from the start: its expiry interval is 0.
pub(crate) fn is_expired_at_birth(body: &[u8]) -> Option<bool> {
    let mut reader = Reader::new(body);
    let flags = reader.byte()?;
    reader.id()?;
    Some(read_expiry(flags, &mut reader)? == Some(0))
}

/// What is left of an expiry interval, in whole seconds begun. `None`: nothing is left.
pub(crate) fn seconds_left(expiry_seconds: u32, stored_at_ms: u64, now_ms: u64) -> Option<u32> {
    let total_ms = u64::from(expiry_seconds) * 1_000;
    let left_ms = total_ms.saturating_sub(now_ms.saturating_sub(stored_at_ms));
    match u32::try_from(left_ms.div_ceil(1_000)) {
        Ok(0) | Err(_) => None,
        Ok(seconds) => Some(seconds),
    }
}

/// Outer `None`: the bytes end. Inner: the message never expires.
fn read_expiry(flags: u8, reader: &mut Reader<'_>) -> Option<Option<u32>> {
    if flags & FLAG_EXPIRY == 0 {
        return Some(None);
    }
    reader.word().map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tessera_mqtt::ForwardedProperty;
    use tessera_tenancy::encode_hex;

    const WRITER: PrincipalId = PrincipalId::from_bytes([0x22; 16]);

    fn message() -> Message {
        let properties = [ForwardedProperty::User("k", "v")];
        Message {
            qos: Qos::AtLeastOnce,
            retain: true,
            expiry_seconds: Some(60),
            properties: ForwardedProperties::from_properties(properties).unwrap(),
            ..Message::new(TopicName::try_from("a/b").unwrap(), &b"hi"[..])
        }
    }

    #[test]
    fn a_body_is_golden() {
        let golden = "0d222222222222222222222222222222220000003c0003612f62072600016b0001766869";
        assert_eq!(encode_hex(&encode_body(&message(), WRITER)), golden);
    }

    #[test]
    fn seconds_that_began_are_still_left() {
        assert_eq!(seconds_left(2, 1_000, 1_000), Some(2));
        assert_eq!(seconds_left(2, 1_000, 1_001), Some(2));
        assert_eq!(seconds_left(2, 1_000, 2_000), Some(1));
        assert_eq!(seconds_left(2, 1_000, 2_999), Some(1));
        assert_eq!(seconds_left(2, 1_000, 3_000), None);
        assert_eq!(seconds_left(0, 1_000, 1_000), None);
        assert_eq!(
            seconds_left(2, 1_000, 0),
            Some(2),
            "a reader's clock may be behind"
        );
    }

    proptest! {
        #[test]
        fn a_body_reads_back(payload: Vec<u8>, expiry_seconds: Option<u32>, retain: bool, qos in 0_u8..3) {
            let message = Message {
                payload: payload.into(),
                expiry_seconds,
                retain,
                qos: Qos::try_from(qos).unwrap(),
                ..message()
            };
            let body = Bytes::from(encode_body(&message, WRITER));
            prop_assert_eq!(is_expired_at_birth(&body), Some(expiry_seconds == Some(0)));
            prop_assert_eq!(decode_body(&body), Some((message, WRITER)));
        }

        #[test]
        fn no_body_panics_a_reader(body: Vec<u8>) {
            let _ = is_expired_at_birth(&body);
            let _ = decode_body(&Bytes::from(body));
        }
    }
}

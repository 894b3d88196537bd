//! The stored form of a message without its topic, which is in the key.
//!
//! ```text
//! body  = flags(1) · writer(16) · [expiry seconds(4)] · length properties · payload
//! value = form(1) = 01 · stored at ms(8) · body
//! ```

use bytes::Bytes;
use tessera_mqtt::{ForwardedProperties, Message, Qos, TopicName};
use tessera_tenancy::PrincipalId;

use crate::encoding::{Reader, Writer};
use crate::message::RetainedMessage;

const FORM: u8 = 1;

const FLAG_QOS: u8 = 0b0000_0011;
const FLAG_EXPIRY: u8 = 0b0000_0100;

/// A message and who wrote it, as bytes.
pub(crate) fn encode_body(message: &Message, writer: PrincipalId) -> Vec<u8> {
    let mut out = Writer::with_capacity(message.payload.len() + 32);
    let expiry = if message.expiry_seconds.is_some() {
        FLAG_EXPIRY
    } else {
        0
    };
    out.byte(message.qos.as_u8() | expiry)
        .raw(writer.as_bytes());
    if let Some(seconds) = message.expiry_seconds {
        out.word(seconds);
    }
    out.blob(message.properties.as_bytes())
        .raw(&message.payload);
    out.finish()
}

/// When a message stored now expires; `None`: never. Outer `None`: not a body.
pub(crate) fn due_of(body: &[u8], stored_at_ms: u64) -> Option<Option<u64>> {
    let mut reader = Reader::new(body);
    let flags = reader.byte()?;
    reader.id()?;
    let seconds = read_expiry(flags, &mut reader)?;
    let due = |seconds| stored_at_ms.saturating_add(u64::from(seconds) * 1_000);
    Some(seconds.map(due))
}

/// The value of a row.
pub(crate) fn encode_value(body: &[u8], stored_at_ms: u64) -> Vec<u8> {
    let mut out = Writer::with_capacity(body.len() + 9);
    out.byte(FORM).long(stored_at_ms).raw(body);
    out.finish()
}

/// When the message of a row was stored, and its body.
pub(crate) fn split_value(value: &[u8]) -> Option<(u64, &[u8])> {
    let mut reader = Reader::new(value);
    if reader.byte()? != FORM {
        return None;
    }
    Some((reader.long()?, reader.rest()))
}

/// What a row has, if it has not expired. Outer `None`: the row is damaged. The message shares the
/// bytes of the value.
pub(crate) fn decode_value(
    topic: TopicName,
    value: &Bytes,
    now_ms: u64,
) -> Option<Option<RetainedMessage>> {
    let (stored_at_ms, body) = split_value(value)?;
    let mut reader = Reader::new(body);
    let flags = reader.byte()?;
    let writer = PrincipalId::from_bytes(reader.id()?);
    let expiry_seconds = read_expiry(flags, &mut reader)?;
    let left = expiry_seconds.map(|seconds| seconds_left(seconds, stored_at_ms, now_ms));
    if left == Some(0) {
        return Some(None);
    }
    let properties = ForwardedProperties::from_stored(value.slice_ref(reader.blob()?)).ok()?;
    let message = Message {
        topic,
        payload: value.slice_ref(reader.rest()),
        qos: Qos::try_from(flags & FLAG_QOS).ok()?,
        retain: true,
        expiry_seconds,
        properties,
    };
    Some(Some(RetainedMessage {
        message,
        writer,
        stored_at_ms,
        expiry_seconds: left,
    }))
}

/// What is left of an expiry interval, in whole seconds begun.
fn seconds_left(expiry_seconds: u32, stored_at_ms: u64, now_ms: u64) -> u32 {
    let total_ms = u64::from(expiry_seconds) * 1_000;
    let left_ms = total_ms.saturating_sub(now_ms.saturating_sub(stored_at_ms));
    u32::try_from(left_ms.div_ceil(1_000)).unwrap_or(u32::MAX)
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
    fn a_value_is_golden() {
        let value = encode_value(&encode_body(&message(), WRITER), 258);
        let golden = "010000000000000102 05222222222222222222222222222222220000003c\
                      072600016b0001766869";
        assert_eq!(encode_hex(&value), golden.replace(' ', ""));
    }

    #[test]
    fn a_message_is_there_until_its_last_second_has_passed() {
        let value = Bytes::from(encode_value(&encode_body(&message(), WRITER), 1_000));
        let left = |now_ms| {
            let found = decode_value(message().topic, &value, now_ms).unwrap();
            found.map(|found| found.expiry_seconds.unwrap())
        };
        assert_eq!(left(0), Some(60), "a reader's clock may be behind");
        assert_eq!(left(1_000), Some(60));
        assert_eq!(left(2_000), Some(59));
        assert_eq!(left(60_999), Some(1));
        assert_eq!(left(61_000), None);
        assert_eq!(
            due_of(&encode_body(&message(), WRITER), 1_000),
            Some(Some(61_000))
        );
    }

    proptest! {
        #[test]
        fn a_value_reads_back(payload: Vec<u8>, forever: bool, qos in 0_u8..3, stored_at_ms in 0_u64..1 << 40) {
            let message = Message {
                payload: payload.into(),
                expiry_seconds: (!forever).then_some(5),
                qos: Qos::try_from(qos).unwrap(),
                ..message()
            };
            let value = Bytes::from(encode_value(&encode_body(&message, WRITER), stored_at_ms));
            let found = decode_value(message.topic.clone(), &value, stored_at_ms).unwrap().unwrap();
            prop_assert_eq!(found.message, message);
            prop_assert_eq!((found.writer, found.stored_at_ms), (WRITER, stored_at_ms));
        }

        #[test]
        fn no_value_panics_a_reader(value: Vec<u8>) {
            let _ = due_of(&value, 0);
            let _ = decode_value(message().topic, &Bytes::from(value), 0);
        }
    }
}

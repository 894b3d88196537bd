//! Writing: lengths, fields and properties onto the end of a buffer; and the variable byte integer
//! both ways.

use bytes::{BufMut as _, BytesMut};

use crate::error::{EncodeError, Fault};
use crate::packet::PacketType;
use crate::property::put_field;
use crate::text::{FIELD_BYTES_MAX, MqttString};
use crate::user_properties::UserProperties;

/// The largest variable byte integer (MQTT 5, 1.5.5), and so the largest remaining length.
pub(crate) const VARINT_MAX: u32 = 268_435_455;

/// Reads a variable byte integer and its length in bytes. `None`: more bytes are needed.
#[inline]
pub(crate) fn read_varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, Fault> {
    match bytes.first() {
        Some(byte) if *byte < 0x80 => Ok(Some((u32::from(*byte), 1))),
        _ => read_long_varint(bytes),
    }
}

fn read_long_varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, Fault> {
    let mut value = 0;
    for (at, byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            if at > 0 && *byte == 0 {
                return Err(Fault::malformed("a length is not in its shortest form"));
            }
            return Ok(Some((value, at + 1)));
        }
    }
    if bytes.len() >= 4 {
        return Err(Fault::malformed("a length has more than four bytes"));
    }
    Ok(None)
}

/// Bytes that a variable byte integer takes.
pub(crate) const fn varint_len(value: u32) -> usize {
    match value {
        0..=0x7F => 1,
        0x80..=0x3FFF => 2,
        0x4000..=0x1F_FFFF => 3,
        _ => 4,
    }
}

/// The bytes of a variable byte integer, of which the first [`varint_len`] count.
pub(crate) fn varint_bytes(value: u32) -> [u8; 4] {
    if value <= 0x7F {
        return value.to_le_bytes();
    }
    let group = |shift: u32| {
        let more = u32::from(value >> shift > 0x7F) << 7;
        ((value >> shift) & 0x7F | more).to_le_bytes()[0]
    };
    [group(0), group(7), group(14), group(21)]
}

/// A variable byte integer of at most [`VARINT_MAX`].
#[inline]
pub(crate) fn put_varint(out: &mut BytesMut, value: u32) {
    match u8::try_from(value) {
        Ok(byte) if byte < 0x80 => out.put_u8(byte),
        _ => put_long_varint(out, value),
    }
}

#[inline(never)]
fn put_long_varint(out: &mut BytesMut, value: u32) {
    match varint_bytes(value) {
        [first, second, ..] if value < 0x4000 => out.put_slice(&[first, second]),
        bytes => out.put_slice(&bytes[..varint_len(value)]),
    }
}

/// Writes one packet: what `body` writes, behind its first byte and remaining length. On an error
/// nothing stays written.
#[inline]
pub(crate) fn put_packet(
    out: &mut BytesMut,
    first_byte: u8,
    body: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    put_packet_of_about(out, first_byte, 0, body)
}

/// As [`put_packet`], of a body that is expected to have so many bytes. Only one that takes another
/// length field than was expected moves.
#[inline]
pub(crate) fn put_packet_of_about(
    out: &mut BytesMut,
    first_byte: u8,
    expected_len: usize,
    body: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    out.put_u8(first_byte);
    let result = put_prefixed_of_about(out, expected_len, body);
    if result.is_err() {
        out.truncate(start);
    }
    result
}

/// Writes what `body` writes, behind its length as a variable byte integer.
///
/// One byte is kept free for the length; a body of 128 bytes or more moves up once.
#[inline]
pub(crate) fn put_prefixed(
    out: &mut BytesMut,
    body: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    put_prefixed_of_about(out, 0, body)
}

#[inline]
fn put_prefixed_of_about(
    out: &mut BytesMut,
    expected_len: usize,
    body: impl FnOnce(&mut BytesMut) -> Result<(), EncodeError>,
) -> Result<(), EncodeError> {
    let start = out.len();
    put_varint(out, checked_len(expected_len).unwrap_or(VARINT_MAX));
    let body_start = out.len();
    body(out)?;
    let value = checked_len(out.len() - body_start)?;
    match u8::try_from(value) {
        Ok(byte @ ..0x80) if body_start == start + 1 => out[start] = byte,
        _ => put_long_prefix(out, start, body_start, value),
    }
    Ok(())
}

/// Writes the length of what stands from `body_start` on at `start`; moves the body if it must.
#[inline(never)]
fn put_long_prefix(out: &mut BytesMut, start: usize, body_start: usize, value: u32) {
    let (prefix, end) = (varint_len(value), out.len());
    let moved_start = start + prefix;
    if moved_start != body_start {
        let moved_end = end - body_start + moved_start;
        out.resize(end.max(moved_end), 0);
        out.copy_within(body_start..end, moved_start);
        out.truncate(moved_end);
    }
    for (place, byte) in out[start..moved_start].iter_mut().zip(varint_bytes(value)) {
        *place = byte;
    }
}

/// A length that a variable byte integer can say.
pub(crate) fn checked_len(len: usize) -> Result<u32, EncodeError> {
    u32::try_from(len)
        .ok()
        .filter(|value| *value <= VARINT_MAX)
        .ok_or(EncodeError::PacketTooLong { len })
}

/// A list must have an entry.
pub(crate) const fn check_not_empty(len: usize, packet: PacketType) -> Result<(), EncodeError> {
    match len {
        0 => Err(EncodeError::Empty(packet)),
        _ => Ok(()),
    }
}

/// A binary field.
pub(crate) fn put_binary(
    out: &mut BytesMut,
    field: &'static str,
    bytes: &[u8],
) -> Result<(), EncodeError> {
    if bytes.len() > FIELD_BYTES_MAX {
        let len = bytes.len();
        return Err(EncodeError::FieldTooLong { field, len });
    }
    put_field(out, bytes);
    Ok(())
}

/// A property of one byte.
pub(crate) fn put_u8_property(out: &mut BytesMut, identifier: u8, value: u8) {
    out.put_slice(&[identifier, value]);
}

/// A property of two bytes.
pub(crate) fn put_u16_property(out: &mut BytesMut, identifier: u8, value: u16) {
    let [high, low] = value.to_be_bytes();
    out.put_slice(&[identifier, high, low]);
}

/// A property of four bytes.
pub(crate) fn put_u32_property(out: &mut BytesMut, identifier: u8, value: u32) {
    let [a, b, c, d] = value.to_be_bytes();
    out.put_slice(&[identifier, a, b, c, d]);
}

/// A string property, if there is one.
pub(crate) fn put_text_property(out: &mut BytesMut, identifier: u8, text: Option<&MqttString>) {
    if let Some(text) = text {
        out.put_u8(identifier);
        put_field(out, text.as_bytes());
    }
}

/// The user properties of a packet.
pub(crate) fn put_user_properties(out: &mut BytesMut, properties: &UserProperties) {
    if !properties.is_empty() {
        out.extend_from_slice(properties.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut as _, BytesMut};

    use super::{put_packet_of_about, put_varint};

    #[test]
    fn a_packet_is_the_same_whatever_length_was_expected() {
        let lengths = [0, 1, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152];
        for len in lengths {
            let bytes: Vec<u8> = (0..=u8::MAX).cycle().take(len).collect();
            let mut wanted = BytesMut::from(&b"~\x82"[..]);
            put_varint(&mut wanted, u32::try_from(len).unwrap());
            wanted.put_slice(&bytes);
            for expected_len in lengths.into_iter().chain([usize::MAX]) {
                let mut out = BytesMut::from("~");
                put_packet_of_about(&mut out, 0x82, expected_len, |out| {
                    out.put_slice(&bytes);
                    Ok(())
                })
                .unwrap();
                assert!(out == wanted, "{len} bytes, expected {expected_len}");
            }
        }
    }
}

//! UTF-8 strings of MQTT: checked once, cheap to clone.

use std::borrow::Borrow;
use std::fmt;

use bytes::Bytes;

/// Bytes of the longest string or binary field: what its two-byte length can say.
pub(crate) const FIELD_BYTES_MAX: usize = 65_535;

/// Why bytes are not an MQTT string.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StringError {
    /// More than 65,535 bytes (MQTT 5, 1.5.4).
    #[error("has {len} bytes, at most 65535 are allowed")]
    TooLong {
        /// What was given, in bytes.
        len: usize,
    },
    /// Not well-formed UTF-8; surrogates and overlong forms are not (MQTT-1.5.4-1).
    #[error("is not well-formed UTF-8")]
    IllFormed,
    /// Holds U+0000 (MQTT-1.5.4-2).
    #[error("holds U+0000")]
    Nul,
}

/// A UTF-8 string of at most 65,535 bytes without U+0000. All of Unicode is allowed, U+FEFF and
/// control characters included. A clone shares the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MqttString(Bytes);

impl MqttString {
    /// The empty string.
    pub const EMPTY: Self = Self(Bytes::new());

    /// The text. Checks UTF-8 again; where only bytes are compared, use [`Self::as_bytes`].
    pub fn as_str(&self) -> &str {
        checked_str(&self.0)
    }

    /// The bytes: UTF-8 without NUL.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Bytes, not characters.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it is the empty string.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Part of this string. `start` and `end` stand next to ASCII characters.
    pub(crate) fn slice(&self, start: usize, end: usize) -> Self {
        Self(self.0.slice(start..end))
    }

    /// A string of bytes that were checked by [`check_utf8`] and are within the length.
    pub(crate) const fn from_checked(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl TryFrom<Bytes> for MqttString {
    type Error = StringError;

    fn try_from(bytes: Bytes) -> Result<Self, StringError> {
        check_string(&bytes)?;
        Ok(Self(bytes))
    }
}

impl TryFrom<&str> for MqttString {
    type Error = StringError;

    fn try_from(text: &str) -> Result<Self, StringError> {
        check_string(text.as_bytes())?;
        Ok(Self(Bytes::copy_from_slice(text.as_bytes())))
    }
}

impl TryFrom<String> for MqttString {
    type Error = StringError;

    fn try_from(text: String) -> Result<Self, StringError> {
        Self::try_from(Bytes::from(text))
    }
}

impl From<MqttString> for Bytes {
    fn from(text: MqttString) -> Self {
        text.0
    }
}

impl fmt::Display for MqttString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for MqttString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl AsRef<[u8]> for MqttString {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for MqttString {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

/// What the newtypes over [`MqttString`] have in common.
macro_rules! text_type {
    ($name:ident) => {
        impl $name {
            /// The text. Checks UTF-8 again; where only bytes are compared, use `as_bytes`.
            pub fn as_str(&self) -> &str {
                self.0.as_str()
            }

            /// The bytes: UTF-8 without NUL.
            pub fn as_bytes(&self) -> &[u8] {
                self.0.as_bytes()
            }

            /// The same text as a plain string. Shares the bytes.
            pub fn as_mqtt_string(&self) -> &MqttString {
                &self.0
            }
        }

        impl From<$name> for Bytes {
            fn from(text: $name) -> Self {
                text.0.into()
            }
        }

        impl From<$name> for MqttString {
            fn from(text: $name) -> Self {
                text.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(&self.0, f)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<[u8]> for $name {
            fn as_ref(&self) -> &[u8] {
                self.0.as_bytes()
            }
        }

        impl std::borrow::Borrow<[u8]> for $name {
            fn borrow(&self) -> &[u8] {
                self.0.as_bytes()
            }
        }
    };
}
pub(crate) use text_type;

/// Why bytes are not a client identifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClientIdError {
    /// Not a string of MQTT.
    #[error(transparent)]
    String(#[from] StringError),
    /// Empty: the server assigns one then.
    #[error("is empty")]
    Empty,
}

/// A client identifier: 1 to 65,535 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(MqttString);

text_type!(ClientId);

impl TryFrom<MqttString> for ClientId {
    type Error = ClientIdError;

    fn try_from(text: MqttString) -> Result<Self, ClientIdError> {
        if text.is_empty() {
            return Err(ClientIdError::Empty);
        }
        Ok(Self(text))
    }
}

impl TryFrom<Bytes> for ClientId {
    type Error = ClientIdError;

    fn try_from(bytes: Bytes) -> Result<Self, ClientIdError> {
        Self::try_from(MqttString::try_from(bytes)?)
    }
}

impl TryFrom<&str> for ClientId {
    type Error = ClientIdError;

    fn try_from(text: &str) -> Result<Self, ClientIdError> {
        Self::try_from(MqttString::try_from(text)?)
    }
}

/// Whether bytes are UTF-8 without U+0000, of any length.
#[inline]
pub(crate) fn check_utf8(bytes: &[u8]) -> Result<(), StringError> {
    if is_plain_ascii(bytes) {
        return Ok(());
    }
    check_utf8_slowly(bytes)
}

#[cold]
fn check_utf8_slowly(bytes: &[u8]) -> Result<(), StringError> {
    if std::str::from_utf8(bytes).is_err() {
        return Err(StringError::IllFormed);
    }
    if bytes.contains(&0) {
        return Err(StringError::Nul);
    }
    Ok(())
}

/// Whether every byte is U+0001 to U+007F.
#[inline(always)]
fn is_plain_ascii(bytes: &[u8]) -> bool {
    !any_byte(bytes, |byte| (byte == 0) | !byte.is_ascii())
}

/// Whether `wanted` is true for some byte. It is asked for every byte, sixteen at a time, so that
/// the compiler can ask them at once.
#[inline]
pub(crate) fn any_byte(bytes: &[u8], wanted: impl Fn(u8) -> bool + Copy) -> bool {
    #[inline]
    fn any<const N: usize>(chunk: &[u8; N], wanted: impl Fn(u8) -> bool) -> bool {
        chunk
            .iter()
            .fold(false, |found, byte| found | wanted(*byte))
    }
    if let Some(last) = bytes.last_chunk::<16>() {
        // The last sixteen overlap those before them if they must.
        let (chunks, _) = bytes.as_chunks::<16>();
        let found = any(last, wanted);
        return chunks
            .iter()
            .fold(found, |found, chunk| found | any(chunk, wanted));
    }
    match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) => any(first, wanted) | any(last, wanted),
        _ => bytes.iter().any(|byte| wanted(*byte)),
    }
}

/// The text of bytes that were checked before.
pub(crate) fn checked_str(bytes: &[u8]) -> &str {
    let text = std::str::from_utf8(bytes);
    debug_assert!(text.is_ok(), "checked when it was made");
    text.unwrap_or_default()
}

fn check_string(bytes: &[u8]) -> Result<(), StringError> {
    if bytes.len() > FIELD_BYTES_MAX {
        return Err(StringError::TooLong { len: bytes.len() });
    }
    check_utf8(bytes)
}

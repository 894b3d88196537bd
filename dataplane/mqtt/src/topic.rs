//! Topic names: what a message is published to.

use bytes::Bytes;

use crate::text::{MqttString, StringError, any_byte, check_utf8, text_type};

/// Why text is not a topic name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Not a string of MQTT.
    #[error(transparent)]
    String(#[from] StringError),
    /// Empty (MQTT-4.7.3-1).
    #[error("is empty")]
    Empty,
    /// Holds `+` or `#` (MQTT-3.3.2-2).
    #[error("holds a wildcard")]
    Wildcard,
    /// Begins with `$share/` or `$oshare/`, which name shared subscriptions.
    #[error("begins as a shared subscription does")]
    Reserved,
}

/// A topic name: 1 to 65,535 bytes, no wildcard, not under `$share/` or `$oshare/`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(MqttString);

text_type!(TopicName);

impl TopicName {
    /// Its levels, from the left: the parts between the slashes, which may be empty.
    pub fn levels(&self) -> TopicLevels<'_> {
        TopicLevels::new(self.as_bytes())
    }

    /// Whether it begins with `$`: such topics no filter that begins with a wildcard matches
    /// (MQTT-4.7.2-1).
    pub fn is_dollar(&self) -> bool {
        self.as_bytes().first() == Some(&b'$')
    }

    /// A name of bytes that passed [`check_topic_name`] and are within the length.
    pub(crate) const fn from_checked(bytes: Bytes) -> Self {
        Self(MqttString::from_checked(bytes))
    }
}

impl TryFrom<MqttString> for TopicName {
    type Error = TopicError;

    fn try_from(text: MqttString) -> Result<Self, TopicError> {
        check_topic_name(text.as_bytes())?;
        Ok(Self(text))
    }
}

impl TryFrom<Bytes> for TopicName {
    type Error = TopicError;

    fn try_from(bytes: Bytes) -> Result<Self, TopicError> {
        Self::try_from(MqttString::try_from(bytes)?)
    }
}

impl TryFrom<&str> for TopicName {
    type Error = TopicError;

    fn try_from(text: &str) -> Result<Self, TopicError> {
        Self::try_from(MqttString::try_from(text)?)
    }
}

/// The levels of a topic name. Iterative and lazy: a name of 65,535 slashes costs no stack.
#[derive(Debug, Clone)]
pub struct TopicLevels<'a> {
    rest: Option<&'a [u8]>,
}

impl<'a> TopicLevels<'a> {
    pub(crate) const fn new(text: &'a [u8]) -> Self {
        Self { rest: Some(text) }
    }
}

impl<'a> Iterator for TopicLevels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let rest = self.rest?;
        match rest.iter().position(|byte| *byte == b'/') {
            Some(at) => {
                self.rest = Some(&rest[at + 1..]);
                Some(&rest[..at])
            }
            None => {
                self.rest = None;
                Some(rest)
            }
        }
    }
}

impl std::iter::FusedIterator for TopicLevels<'_> {}

/// What shared subscriptions begin with: plain and ordered.
pub(crate) const SHARE_PREFIX: &[u8] = b"$share/";
pub(crate) const ORDERED_SHARE_PREFIX: &[u8] = b"$oshare/";

/// Whether bytes of any length may be a topic name.
///
/// One pass over plain ASCII; anything else takes the long way.
#[inline]
pub(crate) fn check_topic_name(bytes: &[u8]) -> Result<(), TopicError> {
    match bytes.first() {
        None => return Err(TopicError::Empty),
        Some(_) if is_shared(bytes) => return Err(TopicError::Reserved),
        Some(_) => {}
    }
    if is_plain_ascii_topic(bytes) {
        return Ok(());
    }
    check_topic_slowly(bytes)
}

/// Whether text is of the form of a shared subscription.
#[inline]
pub(crate) fn is_shared(bytes: &[u8]) -> bool {
    bytes.first() == Some(&b'$')
        && (bytes.starts_with(SHARE_PREFIX) || bytes.starts_with(ORDERED_SHARE_PREFIX))
}

#[cold]
fn check_topic_slowly(bytes: &[u8]) -> Result<(), TopicError> {
    check_utf8(bytes)?;
    if bytes.iter().any(|byte| matches!(byte, b'+' | b'#')) {
        return Err(TopicError::Wildcard);
    }
    Ok(())
}

/// Whether every byte is ASCII and none of NUL, `+`, `#`.
fn is_plain_ascii_topic(bytes: &[u8]) -> bool {
    !any_byte(bytes, |byte| {
        (byte == 0) | (byte == b'+') | (byte == b'#') | !byte.is_ascii()
    })
}

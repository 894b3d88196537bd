//! User properties: pairs of strings, in order, kept as checked bytes.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::property;
use crate::text::{FIELD_BYTES_MAX, StringError, check_utf8, checked_str};

/// The user properties of one packet in their order. A clone shares the bytes.
///
/// The bytes are the pairs as they stand on the wire, each behind its property identifier.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct UserProperties(Bytes);

impl UserProperties {
    /// None.
    pub const EMPTY: Self = Self(Bytes::new());

    /// These pairs, in this order.
    ///
    /// # Errors
    /// A name or value is not an MQTT string.
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, StringError> {
        let mut bytes = BytesMut::new();
        for (name, value) in pairs {
            put_pair(&mut bytes, name, value)?;
        }
        Ok(Self(bytes.freeze()))
    }

    /// The pairs, in their order.
    pub fn iter(&self) -> UserPropertiesIter<'_> {
        UserPropertiesIter { rest: &self.0 }
    }

    /// The first value of that name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As they stand on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Pairs that were checked as they were read.
    pub(crate) const fn from_checked(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl<'a> IntoIterator for &'a UserProperties {
    type Item = (&'a str, &'a str);
    type IntoIter = UserPropertiesIter<'a>;

    fn into_iter(self) -> UserPropertiesIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for UserProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// The pairs of [`UserProperties`].
#[derive(Debug, Clone)]
pub struct UserPropertiesIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for UserPropertiesIter<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<(&'a str, &'a str)> {
        let (_identifier, rest) = self.rest.split_first()?;
        let (name, rest) = property::split_field(rest)?;
        let (value, rest) = property::split_field(rest)?;
        self.rest = rest;
        Some((checked_str(name), checked_str(value)))
    }
}

impl std::iter::FusedIterator for UserPropertiesIter<'_> {}

/// Appends one checked pair with its identifier.
pub(crate) fn put_pair(out: &mut BytesMut, name: &str, value: &str) -> Result<(), StringError> {
    for text in [name, value] {
        if text.len() > FIELD_BYTES_MAX {
            return Err(StringError::TooLong { len: text.len() });
        }
        check_utf8(text.as_bytes())?;
    }
    out.put_u8(property::USER_PROPERTY);
    property::put_field(out, name.as_bytes());
    property::put_field(out, value.as_bytes());
    Ok(())
}

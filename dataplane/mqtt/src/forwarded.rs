//! The properties of a message that a server forwards unaltered, kept as checked bytes.

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::error::Fault;
use crate::limits::DecodeLimits;
use crate::property;
use crate::scan::{Place, scan};
use crate::text::{FIELD_BYTES_MAX, StringError, checked_str};
use crate::user_properties::put_pair;

/// Payload format, content type, response topic, correlation data and user properties of one
/// message, in the order in which they came. A clone shares the bytes.
///
/// The bytes are the properties as they stand on the wire; a PUBLISH carries them out as they are.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct ForwardedProperties(Bytes);

impl ForwardedProperties {
    /// None.
    pub const EMPTY: Self = Self(Bytes::new());

    /// These properties, in this order.
    ///
    /// # Errors
    /// One other than a user property stands twice, or a value is too long.
    pub fn from_properties<'a>(
        properties: impl IntoIterator<Item = ForwardedProperty<'a>>,
    ) -> Result<Self, PropertyError> {
        let mut bytes = BytesMut::new();
        for property in properties {
            put_property(&mut bytes, property)?;
        }
        Self::from_stored(bytes.freeze())
    }

    /// What [`Self::as_bytes`] gave, checked again.
    ///
    /// # Errors
    /// The bytes are not properties that are forwarded, or not valid ones.
    pub fn from_stored(bytes: Bytes) -> Result<Self, PropertyError> {
        let found = scan(&bytes, Place::ToServer, &DecodeLimits::UNLIMITED)?;
        if found.has_gaps || found.forwarded != (0..bytes.len()) {
            return Err(PropertyError::Invalid("a property that is not forwarded"));
        }
        Ok(Self(bytes))
    }

    /// The properties, in their order.
    pub fn iter(&self) -> ForwardedPropertiesIter<'_> {
        ForwardedPropertiesIter { rest: &self.0 }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As they stand on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What the payload is said to be.
    pub fn payload_format(&self) -> PayloadFormat {
        let found = self.iter().find_map(|property| match property {
            ForwardedProperty::PayloadFormat(format) => Some(format),
            ForwardedProperty::ContentType(_)
            | ForwardedProperty::ResponseTopic(_)
            | ForwardedProperty::CorrelationData(_)
            | ForwardedProperty::User(..) => None,
        });
        found.unwrap_or(PayloadFormat::Unspecified)
    }

    /// Properties that [`scan`] checked.
    pub(crate) const fn from_checked(bytes: Bytes) -> Self {
        Self(bytes)
    }
}

impl<'a> IntoIterator for &'a ForwardedProperties {
    type Item = ForwardedProperty<'a>;
    type IntoIter = ForwardedPropertiesIter<'a>;

    fn into_iter(self) -> ForwardedPropertiesIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for ForwardedProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

/// One property that is forwarded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedProperty<'a> {
    /// What the payload is.
    PayloadFormat(PayloadFormat),
    /// By convention a MIME type.
    ContentType(&'a str),
    /// Where an answer is to go: a topic name.
    ResponseTopic(&'a str),
    /// What the answer is to carry.
    CorrelationData(&'a [u8]),
    /// A pair of the application's own.
    User(&'a str, &'a str),
}

/// What a payload is said to be (MQTT 5, 3.3.2.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum PayloadFormat {
    /// 0: bytes. Also without the property.
    #[default]
    Unspecified,
    /// 1: UTF-8.
    Utf8,
}

/// Why properties are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PropertyError {
    /// A string is not one of MQTT.
    #[error(transparent)]
    String(#[from] StringError),
    /// A rule of MQTT 5, 3.3.2.3, is broken.
    #[error("{0}")]
    Invalid(&'static str),
}

impl From<Fault> for PropertyError {
    fn from(fault: Fault) -> Self {
        Self::Invalid(fault.text)
    }
}

/// The properties of [`ForwardedProperties`].
#[derive(Debug, Clone)]
pub struct ForwardedPropertiesIter<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for ForwardedPropertiesIter<'a> {
    type Item = ForwardedProperty<'a>;

    #[inline]
    fn next(&mut self) -> Option<ForwardedProperty<'a>> {
        let (identifier, rest) = self.rest.split_first()?;
        if *identifier == property::PAYLOAD_FORMAT {
            let (format, rest) = rest.split_first()?;
            self.rest = rest;
            return Some(ForwardedProperty::PayloadFormat(match format {
                0 => PayloadFormat::Unspecified,
                _ => PayloadFormat::Utf8,
            }));
        }
        let (field, rest) = property::split_field(rest)?;
        self.rest = rest;
        match *identifier {
            property::CONTENT_TYPE => Some(ForwardedProperty::ContentType(checked_str(field))),
            property::RESPONSE_TOPIC => Some(ForwardedProperty::ResponseTopic(checked_str(field))),
            property::CORRELATION_DATA => Some(ForwardedProperty::CorrelationData(field)),
            _ => {
                let (value, rest) = property::split_field(rest)?;
                self.rest = rest;
                Some(ForwardedProperty::User(
                    checked_str(field),
                    checked_str(value),
                ))
            }
        }
    }
}

impl std::iter::FusedIterator for ForwardedPropertiesIter<'_> {}

fn put_property(out: &mut BytesMut, property: ForwardedProperty<'_>) -> Result<(), PropertyError> {
    let (identifier, field) = match property {
        ForwardedProperty::PayloadFormat(format) => {
            out.put_u8(property::PAYLOAD_FORMAT);
            out.put_u8(u8::from(format == PayloadFormat::Utf8));
            return Ok(());
        }
        ForwardedProperty::User(name, value) => return Ok(put_pair(out, name, value)?),
        ForwardedProperty::ContentType(text) => (property::CONTENT_TYPE, text.as_bytes()),
        ForwardedProperty::ResponseTopic(text) => (property::RESPONSE_TOPIC, text.as_bytes()),
        ForwardedProperty::CorrelationData(data) => (property::CORRELATION_DATA, data),
    };
    if field.len() > FIELD_BYTES_MAX {
        return Err(StringError::TooLong { len: field.len() }.into());
    }
    out.put_u8(identifier);
    property::put_field(out, field);
    Ok(())
}

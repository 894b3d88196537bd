//! One application message.

use std::fmt;

use bytes::{Bytes, BytesMut};

use crate::forwarded::{ForwardedProperties, PayloadFormat};
use crate::topic::TopicName;
use crate::values::Qos;

/// One application message, version-neutral. A clone shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub topic: TopicName,
    /// What it says.
    pub payload: Bytes,
    /// The QoS it was published with.
    pub qos: Qos,
    /// Whether it is to be retained, or was.
    pub retain: bool,
    /// Seconds after which it is worthless; `None`: never.
    pub expiry_seconds: Option<u32>,
    /// What a server forwards unaltered.
    pub properties: ForwardedProperties,
}

impl Message {
    /// A message of QoS 0, not retained, without expiry and properties.
    pub fn new(topic: TopicName, payload: impl Into<Bytes>) -> Self {
        Self {
            topic,
            payload: payload.into(),
            qos: Qos::AtMostOnce,
            retain: false,
            expiry_seconds: None,
            properties: ForwardedProperties::EMPTY,
        }
    }

    /// Bytes of topic, payload and properties: what holding it costs, less bookkeeping.
    pub fn body_bytes(&self) -> usize {
        self.topic.as_bytes().len() + self.payload.len() + self.properties.as_bytes().len()
    }

    /// Whether the payload is what its Payload Format Indicator says. If not, 0x99 may be answered
    /// (MQTT 5, 3.3.2.3.2). Reads the payload only if it says UTF-8.
    pub fn payload_fits_format(&self) -> bool {
        match self.properties.payload_format() {
            PayloadFormat::Unspecified => true,
            PayloadFormat::Utf8 => std::str::from_utf8(&self.payload).is_ok(),
        }
    }

    /// The same message in one allocation of its own. A decoded message holds on to the whole read
    /// buffer that it was decoded from; one that is kept for long must not.
    #[must_use]
    pub fn detached(&self) -> Self {
        let mut own = BytesMut::with_capacity(self.body_bytes());
        let mut copy = |part: &[u8]| {
            own.extend_from_slice(part);
            own.split().freeze()
        };
        Self {
            topic: TopicName::from_checked(copy(self.topic.as_bytes())),
            payload: copy(&self.payload),
            properties: ForwardedProperties::from_checked(copy(self.properties.as_bytes())),
            ..*self
        }
    }
}

impl fmt::Debug for Message {
    /// Everything but the payload, of which only the length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic)
            .field("payload_bytes", &self.payload.len())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("expiry_seconds", &self.expiry_seconds)
            .field("properties", &self.properties)
            .finish()
    }
}

//! CONNECT.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use bytes::Bytes;

use crate::message::Message;
use crate::text::{ClientId, MqttString};
use crate::user_properties::UserProperties;
use crate::values::ProtocolVersion;

mod read;
mod write;

pub(crate) use read::{decode, sniff_version};
pub(crate) use write::encode;

/// CONNECT. What a version does not have is at its default.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect {
    /// What the client speaks.
    pub version: ProtocolVersion,
    /// Clean Start; in 3.x Clean Session.
    pub clean_start: bool,
    /// Keep Alive in seconds; 0 turns it off.
    pub keep_alive_seconds: u16,
    /// The client identifier. `None`: empty, the server assigns one. Never `None` in 3.1, nor in
    /// 3.1.1 without `clean_start`.
    pub client_id: Option<ClientId>,
    /// What is published if the connection ends without a word.
    pub will: Option<Will>,
    /// The user name.
    pub username: Option<MqttString>,
    /// The password. Only MQTT 5 allows it without user name.
    pub password: Option<Password>,
    /// Session Expiry Interval in seconds, default 0. In 3.x always 0: `clean_start` says it all.
    pub session_expiry_seconds: u32,
    /// How many QoS 1 and 2 messages the client takes at once, default 65,535.
    pub receive_maximum: NonZeroU16,
    /// The largest packet that the client takes, in bytes; `None`: any.
    pub packet_bytes_max: Option<NonZeroU32>,
    /// The largest topic alias that the client takes, default 0: none.
    pub topic_alias_maximum: u16,
    /// Whether CONNACK may carry Response Information, default no.
    pub request_response_information: bool,
    /// Whether any packet may carry reason strings and user properties, default yes; otherwise only
    /// PUBLISH, CONNACK and DISCONNECT.
    pub request_problem_information: bool,
    /// The method of an enhanced authentication.
    pub authentication_method: Option<MqttString>,
    /// Its first data; only with a method.
    pub authentication_data: Option<Bytes>,
    /// The client's own.
    pub user_properties: UserProperties,
}

impl Connect {
    /// A clean start with a keep alive of 60 seconds, everything else at its default.
    pub const fn new(version: ProtocolVersion, client_id: Option<ClientId>) -> Self {
        Self {
            version,
            clean_start: true,
            keep_alive_seconds: 60,
            client_id,
            will: None,
            username: None,
            password: None,
            session_expiry_seconds: 0,
            receive_maximum: NonZeroU16::MAX,
            packet_bytes_max: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::EMPTY,
        }
    }
}

impl fmt::Debug for Connect {
    /// Everything but what may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("clean_start", &self.clean_start)
            .field("keep_alive_seconds", &self.keep_alive_seconds)
            .field("client_id", &self.client_id)
            .field("will", &self.will)
            .field("username", &self.username)
            .field("password", &self.password)
            .field("session_expiry_seconds", &self.session_expiry_seconds)
            .field("receive_maximum", &self.receive_maximum)
            .field("packet_bytes_max", &self.packet_bytes_max)
            .field("topic_alias_maximum", &self.topic_alias_maximum)
            .field("authentication_method", &self.authentication_method)
            .field("user_properties", &self.user_properties)
            .finish_non_exhaustive()
    }
}

/// What a server publishes for a client whose connection ended without a word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Will {
    /// The message.
    pub message: Message,
    /// Seconds to wait before it is published, default 0.
    pub delay_seconds: u32,
}

/// A password: any bytes. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(Bytes);

impl Password {
    /// These bytes. More than 65,535 cannot be sent.
    pub fn new(bytes: impl Into<Bytes>) -> Self {
        Self(bytes.into())
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

//! How to connect.

use std::fmt;
use std::num::NonZeroU16;
use std::time::Duration;

use tessera_mqtt::{ClientId, Connect, MqttString, Password, ProtocolVersion, Will};

use super::error::ConnectError;

/// How long CONNACK may take, unless told otherwise.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Keep alive, unless told otherwise.
const KEEP_ALIVE_SECONDS: u16 = 60;
/// `QoS` 1 and 2 messages that the server may send ahead, unless told otherwise.
const RECEIVE_MAXIMUM: NonZeroU16 = NonZeroU16::MIN.saturating_add(255);
/// Largest packet that is taken, unless told otherwise.
const PACKET_BYTES_MAX: u32 = 16 << 20;
/// Messages that wait for the caller, unless told otherwise.
const MESSAGES_MAX: usize = 256;

/// How to connect: to whom, as whom, and within which bounds.
#[derive(Clone)]
pub struct ConnectOptions {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) connect: Connect,
    username: Option<String>,
    client_id: Option<String>,
    pub(crate) timeout: Duration,
    pub(crate) packet_bytes_max: u32,
    pub(crate) messages_max: usize,
}

impl fmt::Debug for ConnectOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectOptions")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("username", &self.username)
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

impl ConnectOptions {
    /// MQTT 5, a clean start, a client identifier of the server's choice, keep alive 60 s, and at most
    /// 10 s until CONNACK.
    pub fn new(host: impl Into<String>, port: u16) -> Self {
        let mut connect = Connect::new(ProtocolVersion::V5, None);
        connect.keep_alive_seconds = KEEP_ALIVE_SECONDS;
        connect.receive_maximum = RECEIVE_MAXIMUM;
        Self {
            host: host.into(),
            port,
            connect,
            username: None,
            client_id: None,
            timeout: CONNECT_TIMEOUT,
            packet_bytes_max: PACKET_BYTES_MAX,
            messages_max: MESSAGES_MAX,
        }
    }

    /// What to speak. Default MQTT 5.
    #[must_use]
    pub const fn version(mut self, version: ProtocolVersion) -> Self {
        self.connect.version = version;
        self
    }

    /// User name and password: `<tenant slug>.<username>` and `tsd_…`.
    #[must_use]
    pub fn login(mut self, username: impl Into<String>, password: impl Into<String>) -> Self {
        self.username = Some(username.into());
        self.connect.password = Some(Password::new(password.into()));
        self
    }

    /// The client identifier. Default: the server chooses, which MQTT 3.1 does not allow.
    #[must_use]
    pub fn client_id(mut self, client_id: impl Into<String>) -> Self {
        self.client_id = Some(client_id.into());
        self
    }

    /// Resumes the session of this client identifier, and keeps it for as long after the connection
    /// ends. In 3.x it is kept as long as the server keeps any. Default: a clean start, and nothing is
    /// kept.
    #[must_use]
    pub const fn persistent_session(mut self, expiry_seconds: u32) -> Self {
        self.connect.clean_start = false;
        if self.connect.version.is_v5() {
            self.connect.session_expiry_seconds = expiry_seconds;
        }
        self
    }

    /// Keep alive in seconds; 0 turns it off. Default 60.
    #[must_use]
    pub const fn keep_alive_seconds(mut self, seconds: u16) -> Self {
        self.connect.keep_alive_seconds = seconds;
        self
    }

    /// What is published if the connection ends without a word.
    #[must_use]
    pub fn will(mut self, will: Will) -> Self {
        self.connect.will = Some(will);
        self
    }

    /// `QoS` 1 and 2 messages that the server may send ahead (MQTT 5). Default 256.
    #[must_use]
    pub const fn receive_maximum(mut self, messages: NonZeroU16) -> Self {
        self.connect.receive_maximum = messages;
        self
    }

    /// How long connecting may take, CONNACK included. Default 10 s.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Messages that wait for the caller before reading stops. Default 256, at least 1.
    #[must_use]
    pub const fn messages_max(mut self, messages: usize) -> Self {
        self.messages_max = if messages == 0 { 1 } else { messages };
        self
    }

    /// Bytes of the largest packet that is taken. Default 16,777,216.
    #[must_use]
    pub const fn packet_bytes_max(mut self, bytes: u32) -> Self {
        self.packet_bytes_max = bytes;
        self
    }

    /// The packet to send first.
    pub(crate) fn to_connect(&self) -> Result<Connect, ConnectError> {
        let mut connect = self.connect.clone();
        connect.username = self
            .username
            .as_deref()
            .map(MqttString::try_from)
            .transpose()?;
        connect.client_id = match self.client_id.as_deref() {
            None | Some("") => None,
            Some(text) => Some(ClientId::try_from(text)?),
        };
        connect.packet_bytes_max = std::num::NonZeroU32::new(self.packet_bytes_max);
        Ok(connect)
    }
}

//! What can go wrong with a connection and with what is asked over it.

use tessera_mqtt::{ClientIdError, DecodeError, EncodeError, ReasonCode, StringError};

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// A user name that cannot be sent.
    #[error("the user name cannot be sent: {0}")]
    Username(#[from] StringError),
    /// A client identifier that cannot be sent.
    #[error("the client identifier cannot be sent: {0}")]
    ClientId(#[from] ClientIdError),
    /// The options contradict the version.
    #[error("these options cannot be sent: {0}")]
    Encode(#[from] EncodeError),
    /// The server was not reached.
    #[error("{address}: {source}")]
    Io {
        /// Where to.
        address: String,
        /// Why.
        source: std::io::Error,
    },
    /// CONNACK did not come in time.
    #[error("{address} did not answer within {seconds} s")]
    Timeout {
        /// Who.
        address: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The server refused.
    #[error("connection refused: {}", words(*reason, text.as_deref()))]
    Refused {
        /// Its code.
        reason: ReasonCode,
        /// Its words, if it has any.
        text: Option<String>,
    },
    /// What answered does not speak MQTT, or ended before CONNACK.
    #[error("no MQTT server at {address}: {closed}")]
    Protocol {
        /// Where.
        address: String,
        /// What happened.
        closed: Closed,
    },
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Closed {
    /// This side ended it.
    #[error("disconnected")]
    ByClient,
    /// The server said why.
    #[error("the server ended the connection: {}", words(*reason, text.as_deref()))]
    ByServer {
        /// Its code.
        reason: ReasonCode,
        /// Its words, if it has any.
        text: Option<String>,
    },
    /// The stream ended without a word. In MQTT 3.x that is how a server refuses.
    #[error("the server closed the connection without a word")]
    WithoutWord,
    /// The server did not answer a PINGREQ.
    #[error("the server is silent")]
    Silent,
    /// Reading or writing failed.
    #[error("{0}")]
    Io(String),
    /// The server sent what the standard does not allow.
    #[error("the server broke the protocol: {0}")]
    Protocol(String),
}

impl From<DecodeError> for Closed {
    fn from(error: DecodeError) -> Self {
        Self::Protocol(error.to_string())
    }
}

impl From<std::io::Error> for Closed {
    fn from(error: std::io::Error) -> Self {
        Self::Io(error.to_string())
    }
}

/// Why a publish, subscribe or unsubscribe did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The server refused, and says why.
    #[error("refused: {}", words(*reason, text.as_deref()))]
    Refused {
        /// Its code.
        reason: ReasonCode,
        /// Its words, if it has any.
        text: Option<String>,
    },
    /// The connection ended before there was an answer: whether it was done is not known.
    #[error("no answer: {0}")]
    Closed(Closed),
    /// It cannot be sent as it is.
    #[error("{0}")]
    Invalid(String),
}

impl From<EncodeError> for RequestError {
    fn from(error: EncodeError) -> Self {
        Self::Invalid(error.to_string())
    }
}

fn words(reason: ReasonCode, text: Option<&str>) -> String {
    let (name, code) = (reason.name(), reason.as_u8());
    match text {
        Some(text) => format!("{text} ({name}, 0x{code:02X})"),
        None => format!("{name} (0x{code:02X})"),
    }
}

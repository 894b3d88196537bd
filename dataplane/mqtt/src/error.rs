//! Why bytes are refused, and what may be answered; why a packet cannot be written.

use std::fmt;

use crate::packet::PacketType;
use crate::reason::{ConnectReturnCode, ReasonCode};
use crate::values::{ProtocolVersion, Qos};

/// Why the peer's bytes were refused. The connection is to be closed after [`Self::answer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeError {
    /// The reason code that says it.
    pub reason: ReasonCode,
    /// What was wrong, in words that may stand in a Reason String.
    pub text: &'static str,
    /// The bound that was passed, if it was one.
    pub bound: Option<u64>,
    /// The packet's type, if it was one.
    pub packet: Option<PacketType>,
    /// What may be sent before the close.
    pub answer: Answer,
}

/// What may be sent before the connection closes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: no MQTT, or a version whose standard wants a plain close.
    Close,
    /// CONNACK of 3.1 and 3.1.1 with this code.
    ConnAckV3(ConnectReturnCode),
    /// CONNACK of MQTT 5 with the error's reason.
    ConnAckV5,
    /// DISCONNECT of MQTT 5 with the error's reason. A server that has not sent CONNACK yet sends
    /// that instead (MQTT-3.14.0-1).
    Disconnect,
}

impl std::error::Error for DecodeError {}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(packet) = self.packet {
            write!(f, "{packet}: ")?;
        }
        f.write_str(self.text)?;
        if let Some(bound) = self.bound {
            write!(f, ", the bound is {bound}")?;
        }
        write!(f, " ({})", self.reason)
    }
}

/// What is wrong with a packet's body: a [`DecodeError`] before it is known where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) reason: ReasonCode,
    pub(crate) text: &'static str,
    pub(crate) bound: Option<u64>,
}

impl Fault {
    pub(crate) const fn new(reason: ReasonCode, text: &'static str) -> Self {
        Self {
            reason,
            text,
            bound: None,
        }
    }

    #[cold]
    pub(crate) const fn malformed(text: &'static str) -> Self {
        Self::new(ReasonCode::MalformedPacket, text)
    }

    #[cold]
    pub(crate) const fn protocol(text: &'static str) -> Self {
        Self::new(ReasonCode::ProtocolError, text)
    }

    #[cold]
    pub(crate) fn bounded(reason: ReasonCode, text: &'static str, bound: usize) -> Self {
        Self {
            reason,
            text,
            bound: u64::try_from(bound).ok(),
        }
    }
}

/// Why a packet cannot be written. Nothing of it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A remaining length or property length above 268,435,455.
    #[error("{len} bytes do not fit a packet")]
    PacketTooLong {
        /// What it would be, in bytes.
        len: usize,
    },
    /// A binary field above 65,535 bytes.
    #[error("the {field} has {len} bytes, at most 65535 are allowed")]
    FieldTooLong {
        /// Which.
        field: &'static str,
        /// Its bytes.
        len: usize,
    },
    /// A PUBLISH of QoS 1 or 2 without packet identifier, or of QoS 0 with one or with DUP.
    #[error("a PUBLISH of QoS {} has the wrong packet identifier or DUP", .qos.as_u8())]
    PacketId {
        /// Its QoS.
        qos: Qos,
    },
    /// SUBSCRIBE, SUBACK, UNSUBSCRIBE or UNSUBACK about nothing.
    #[error("a {0} needs at least one entry")]
    Empty(PacketType),
    /// A reason code that the standard does not list for the packet.
    #[error("{packet} cannot say {reason}")]
    Reason {
        /// The packet.
        packet: PacketType,
        /// The code.
        reason: ReasonCode,
    },
    /// The version has no way to say it.
    #[error("MQTT {version} has no {what}")]
    Version {
        /// The version.
        version: ProtocolVersion,
        /// What it lacks.
        what: &'static str,
    },
    /// Fields that contradict one another.
    #[error("{0}")]
    Contradiction(&'static str),
}

//! Why and how a connection ends, and what goes with a refusal.

use std::borrow::Cow;

use tessera_mqtt::{Answer, DecodeError, ReasonCode, UserProperties};

/// The client broke the protocol, or was refused in a way that only a close can tell: the
/// connection must end. Hand it to [`Inbound::close`](crate::Inbound::close).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text} ({reason})")]
pub struct Violation {
    /// What a version 5 client is told.
    pub reason: ReasonCode,
    /// The same in words; names the bound where there is one.
    pub text: Cow<'static, str>,
}

impl Violation {
    /// A violation for that reason.
    pub fn new(reason: ReasonCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            text: text.into(),
        }
    }

    pub(crate) const fn fixed(reason: ReasonCode, text: &'static str) -> Self {
        Self {
            reason,
            text: Cow::Borrowed(text),
        }
    }

    pub(crate) const fn protocol(text: &'static str) -> Self {
        Self::fixed(ReasonCode::ProtocolError, text)
    }
}

/// Words that go with an answer of version 5. A client that asked for no problem information gets
/// them on CONNACK and DISCONNECT only (MQTT-3.1.2-29); they are left out where they do not fit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Detail {
    /// Reason String.
    pub text: Option<Cow<'static, str>>,
    /// User Properties, e.g. `limit`, `value`, `retry_after`.
    pub user_properties: UserProperties,
}

impl Detail {
    /// Just a reason string.
    pub fn text(text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            text: Some(text.into()),
            user_properties: UserProperties::EMPTY,
        }
    }
}

/// How the server ends a connection: CONNACK before the client was accepted, DISCONNECT (version 5)
/// after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What a version 5 client is told; version 3 gets the nearest CONNACK return code, or just the
    /// close.
    pub reason: ReasonCode,
    /// In words.
    pub detail: Detail,
    /// Server Reference, with 0x9C and 0x9D.
    pub server_reference: Option<String>,
    /// What a decoder allows to be sent before there was a CONNECT; `None` elsewhere.
    pub answer: Option<Answer>,
}

impl Refusal {
    /// A refusal for that reason.
    pub fn new(reason: ReasonCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            reason,
            detail: Detail::text(text),
            server_reference: None,
            answer: None,
        }
    }
}

impl From<&Violation> for Refusal {
    fn from(violation: &Violation) -> Self {
        Self::new(violation.reason, violation.text.clone())
    }
}

impl From<&DecodeError> for Refusal {
    fn from(error: &DecodeError) -> Self {
        Self {
            answer: Some(error.answer),
            ..Self::new(error.reason, error.to_string())
        }
    }
}

//! Enhanced authentication (MQTT 5, 4.12): a method is a plug, the order of packets is Inbound's.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use tessera_mqtt::{Connect, MqttString};

/// Who an exchange has proved the client to be. Re-authentication must prove the same one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity(pub String);

/// What an exchange answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthStep {
    /// More is needed: AUTH 0x18 with this data.
    Continue(Option<Bytes>),
    /// Proved. The data goes out with CONNACK, or with AUTH 0x00 after re-authentication.
    Proved {
        /// Who the client is.
        identity: Identity,
        /// The method's last word.
        data: Option<Bytes>,
    },
    /// Refused (0x87). Says nothing of why.
    Refused,
}

/// One run of a method with one client.
pub trait AuthExchange: Send + fmt::Debug {
    /// The client's next data.
    fn handle_data(&mut self, data: Option<&Bytes>) -> AuthStep;
}

/// An authentication method.
pub trait AuthMethod: Send + Sync + fmt::Debug {
    /// As clients name it; compared byte by byte.
    fn name(&self) -> &str;

    /// Begin an exchange. `connect` is the client's CONNECT; there is none in re-authentication. A
    /// method that needs a nonce draws it here: methods are the shell's.
    fn begin(&self, connect: Option<&Connect>) -> Box<dyn AuthExchange>;
}

/// The methods that a listener offers. Empty: every method is refused with 0x8C.
#[derive(Debug, Clone, Default)]
pub struct AuthMethods(Vec<Arc<dyn AuthMethod>>);

impl AuthMethods {
    /// These methods.
    pub fn new(methods: impl IntoIterator<Item = Arc<dyn AuthMethod>>) -> Self {
        Self(methods.into_iter().collect())
    }

    pub(crate) fn find(&self, name: &MqttString) -> Option<&Arc<dyn AuthMethod>> {
        let mut methods = self.0.iter();
        methods.find(|method| method.name().as_bytes() == name.as_bytes())
    }
}

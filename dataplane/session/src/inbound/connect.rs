//! CONNECT, and the CONNACK that accepts it.

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;

use bytes::BytesMut;
use tessera_mqtt::{ClientId, ConnAck, Connect, MqttString, Packet, ProtocolVersion, ReasonCode};

use super::close::reason_string;
use super::event::{Accepted, ConnectRequest, Event};
use super::{Inbound, State};
use crate::limits::{ServerLimits, V31_CLIENT_ID_CHARACTERS_MAX};
use crate::refusal::Violation;

/// What CONNECT said that matters later.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    pub(super) version: ProtocolVersion,
    pub(super) clean_start: bool,
    pub(super) keep_alive_seconds: u16,
    /// As asked; version 3 asks for 0 or for ever.
    pub(super) session_expiry_seconds: u32,
    pub(super) receive_maximum: u16,
    pub(super) packet_bytes_max: u32,
    pub(super) topic_alias_maximum: u16,
    pub(super) problem_information: bool,
    response_information: bool,
    has_client_id: bool,
}

impl Default for Client {
    fn default() -> Self {
        Self::from(&Connect::new(ProtocolVersion::V5, None))
    }
}

impl From<&Connect> for Client {
    fn from(connect: &Connect) -> Self {
        let session_expiry_seconds = match connect.version {
            ProtocolVersion::V5 => connect.session_expiry_seconds,
            ProtocolVersion::V31 | ProtocolVersion::V311 if connect.clean_start => 0,
            ProtocolVersion::V31 | ProtocolVersion::V311 => u32::MAX,
        };
        Self {
            version: connect.version,
            clean_start: connect.clean_start,
            keep_alive_seconds: connect.keep_alive_seconds,
            session_expiry_seconds,
            receive_maximum: connect.receive_maximum.get(),
            packet_bytes_max: connect.packet_bytes_max.map_or(u32::MAX, NonZeroU32::get),
            topic_alias_maximum: connect.topic_alias_maximum,
            problem_information: connect.request_problem_information,
            response_information: connect.request_response_information,
            has_client_id: connect.client_id.is_some(),
        }
    }
}

/// An identifier for a client that gave none, of 16 random bytes: no other session has it
/// (MQTT-3.2.2-16).
pub fn assign_client_id(random: [u8; 16]) -> ClientId {
    let mut text = String::from("auto-");
    for byte in random {
        for digit in [byte >> 4, byte & 0x0F] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
    }
    match ClientId::try_from(text.as_str()) {
        Ok(client_id) => client_id,
        Err(_) => unreachable!("letters and digits are a client identifier"),
    }
}

impl Inbound {
    /// The tenant is known: its limits replace the listener's. Only while a CONNECT is being
    /// decided.
    ///
    /// # Errors
    /// The CONNECT asks for what these limits do not grant.
    pub fn set_limits(&mut self, limits: Arc<ServerLimits>) -> Result<(), Violation> {
        self.limits = limits;
        self.check_will()
    }

    /// How long the session outlives its connection, clamped to the limits; 0: not at all;
    /// `u32::MAX`: for ever. Version 3: 0 with clean session, else the longest.
    pub fn session_expiry_seconds(&self) -> u32 {
        let maximum = self.limits.session_expiry_max_seconds;
        self.client.session_expiry_seconds.min(maximum)
    }

    /// Accept the CONNECT: writes CONNACK 0x00. Without effect but while a CONNECT is being
    /// decided.
    pub fn accept(&mut self, accepted: Accepted, out: &mut BytesMut) {
        if self.state != State::Deciding {
            return;
        }
        debug_assert!(!(self.client.clean_start && accepted.session_present));
        debug_assert_eq!(
            self.client.has_client_id,
            accepted.assigned_client_id.is_none()
        );
        self.receipts.resume(&accepted.unreleased);
        self.state = State::Online;
        let connack = self.connack(accepted);
        self.write(&Packet::ConnAck(Box::new(connack)), out);
    }

    /// The first packet of a connection (MQTT-3.1.0-1).
    pub(super) fn handle_first(
        &mut self,
        packet: Packet,
        out: &mut BytesMut,
    ) -> Result<Event, Violation> {
        let Packet::Connect(connect) = packet else {
            return Err(Violation::protocol("the first packet is not CONNECT"));
        };
        self.client = Client::from(&*connect);
        self.state = State::Deciding;
        self.will = connect.will.clone().map(Box::new);
        self.check_client_id(connect.client_id.as_ref())?;
        self.check_will()?;
        match connect.authentication_method.clone() {
            None => Ok(self.request(connect)),
            Some(method) => {
                let data = connect.authentication_data.clone();
                self.begin_auth(method, data.as_ref(), connect, out)
            }
        }
    }

    /// The CONNECT goes to the shell.
    pub(super) fn request(&self, connect: Box<Connect>) -> Event {
        Event::Connect(Box::new(ConnectRequest {
            client_id: connect.client_id.clone(),
            clean_start: connect.clean_start,
            identity: self.identity().cloned(),
            connect,
        }))
    }

    /// The keep alive that counts. A version 3 client cannot be given another than its own.
    pub(super) fn granted_keep_alive_seconds(&self) -> u16 {
        self.server_keep_alive_seconds()
            .unwrap_or(self.client.keep_alive_seconds)
    }

    /// Set if the client must use another keep alive than it asked for.
    fn server_keep_alive_seconds(&self) -> Option<u16> {
        let maximum = self.limits.keep_alive_max_seconds?;
        let asked = self.client.keep_alive_seconds;
        let is_too_long = asked == 0 || asked > maximum;
        (is_too_long && self.client.version.is_v5()).then_some(maximum)
    }

    fn check_client_id(&self, client_id: Option<&ClientId>) -> Result<(), Violation> {
        let invalid = |text: String| Violation::new(ReasonCode::ClientIdentifierNotValid, text);
        let bytes_max = self.limits.client_id_bytes_max;
        let Some(client_id) = client_id else {
            return Ok(());
        };
        if client_id.as_bytes().len() > bytes_max {
            return Err(invalid(format!(
                "the client identifier has over {bytes_max} bytes"
            )));
        }
        let characters_max = V31_CLIENT_ID_CHARACTERS_MAX;
        if self.client.version == ProtocolVersion::V31
            && client_id.as_str().chars().nth(characters_max).is_some()
        {
            let text =
                format!("a client identifier of 3.1 has at most {characters_max} characters");
            return Err(invalid(text));
        }
        Ok(())
    }

    fn check_will(&self) -> Result<(), Violation> {
        let Some(will) = self.will() else {
            return Ok(());
        };
        if will.message.qos > self.limits.maximum_qos {
            let text = "the QoS of the will is above the maximum";
            return Err(Violation::fixed(ReasonCode::QosNotSupported, text));
        }
        if will.message.retain && !self.limits.retain_available {
            let text = "retained messages are not available";
            return Err(Violation::fixed(ReasonCode::RetainNotSupported, text));
        }
        match self.check_message(&will.message) {
            Some((reason, text)) => Err(Violation::new(reason, text)),
            None => Ok(()),
        }
    }

    fn connack(&mut self, accepted: Accepted) -> ConnAck {
        let (authentication_method, authentication_data) = self.take_auth_result();
        let granted = accepted.session_expiry_seconds;
        let session_expiry = granted.unwrap_or_else(|| self.session_expiry_seconds());
        let limits = &*self.limits;
        let response_information = accepted
            .response_information
            .filter(|_| self.client.response_information);
        ConnAck {
            session_present: accepted.session_present,
            session_expiry_seconds: (session_expiry != self.client.session_expiry_seconds)
                .then_some(session_expiry),
            receive_maximum: NonZeroU16::new(limits.receive_maximum).unwrap_or(NonZeroU16::MIN),
            maximum_qos: limits.maximum_qos,
            retain_available: limits.retain_available,
            packet_bytes_max: NonZeroU32::new(limits.packet_bytes_max),
            assigned_client_id: accepted.assigned_client_id,
            topic_alias_maximum: limits.topic_alias_maximum,
            reason_string: reason_string(&accepted.detail),
            wildcard_subscription_available: limits.wildcards_available,
            subscription_ids_available: limits.subscription_ids_available,
            shared_subscription_available: limits.shared_available,
            server_keep_alive_seconds: self.server_keep_alive_seconds(),
            response_information: response_information
                .and_then(|text| MqttString::try_from(text).ok()),
            authentication_method,
            authentication_data,
            user_properties: accepted.detail.user_properties,
            ..ConnAck::new(ReasonCode::Success)
        }
    }
}

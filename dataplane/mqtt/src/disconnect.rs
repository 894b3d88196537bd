//! DISCONNECT.

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::cursor::{Context, Cursor, Role};
use crate::error::{EncodeError, Fault};
use crate::packet::PacketType;
use crate::property;
use crate::reason::ReasonCode;
use crate::scan::MISPLACED;
use crate::sink::{
    put_packet, put_prefixed, put_text_property, put_u32_property, put_user_properties,
};
use crate::text::MqttString;
use crate::user_properties::UserProperties;
use crate::values::ProtocolVersion;

/// DISCONNECT: why the sender closes the connection. Below MQTT 5 only clients send it, bare.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect {
    /// Why.
    pub reason: ReasonCode,
    /// A new Session Expiry Interval in seconds: from clients only.
    pub session_expiry_seconds: Option<u32>,
    /// Words for people.
    pub reason_string: Option<MqttString>,
    /// Where to go instead: from servers only.
    pub server_reference: Option<MqttString>,
    /// The sender's own.
    pub user_properties: UserProperties,
}

impl Disconnect {
    /// This code without words.
    pub const fn new(reason: ReasonCode) -> Self {
        Self {
            reason,
            session_expiry_seconds: None,
            reason_string: None,
            server_reference: None,
            user_properties: UserProperties::EMPTY,
        }
    }

    fn has_properties(&self) -> bool {
        self.session_expiry_seconds.is_some()
            || self.reason_string.is_some()
            || self.server_reference.is_some()
            || !self.user_properties.is_empty()
    }
}

pub(crate) fn decode(frame: Bytes, context: Context<'_>) -> Result<Disconnect, Fault> {
    let mut body = Cursor::new(frame);
    let mut disconnect = Disconnect::new(ReasonCode::Success);
    if !context.version.is_v5() || body.is_empty() {
        body.finish()?;
        return Ok(disconnect);
    }
    disconnect.reason = body.reason(PacketType::Disconnect)?;
    let sender_may = match context.role {
        Role::Server => disconnect.reason.client_may_disconnect_with(),
        Role::Client => disconnect.reason.server_may_disconnect_with(),
    };
    if !sender_may {
        return Err(Fault::protocol("a reason code of the other side"));
    }
    if body.is_empty() {
        return Ok(disconnect);
    }
    let mut section = body.properties(context.limits)?;
    while let Some(identifier) = section.next_identifier()? {
        match (identifier, context.role) {
            (property::REASON_STRING, _) => disconnect.reason_string = section.string()?,
            (property::SESSION_EXPIRY, Role::Server) => {
                disconnect.session_expiry_seconds = Some(section.cursor.u32()?);
            }
            (property::SERVER_REFERENCE, Role::Client) => {
                disconnect.server_reference = section.string()?;
            }
            (property::SESSION_EXPIRY | property::SERVER_REFERENCE, _) => {
                return Err(Fault::protocol("a property of the other side"));
            }
            _ => return Err(MISPLACED),
        }
    }
    disconnect.user_properties = section.finish();
    body.finish()?;
    Ok(disconnect)
}

pub(crate) fn encode(
    disconnect: &Disconnect,
    version: ProtocolVersion,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let packet = PacketType::Disconnect;
    let reason = disconnect.reason;
    if !reason.is_listed_for(packet) {
        return Err(EncodeError::Reason { packet, reason });
    }
    if !version.is_v5() && reason != ReasonCode::Success {
        let what = "reason in DISCONNECT";
        return Err(EncodeError::Version { version, what });
    }
    put_packet(out, packet.first_byte(), |out| {
        let has_properties = disconnect.has_properties();
        if !version.is_v5() || (reason == ReasonCode::Success && !has_properties) {
            return Ok(());
        }
        out.put_u8(reason.as_u8());
        if !has_properties {
            return Ok(());
        }
        put_prefixed(out, |out| {
            if let Some(seconds) = disconnect.session_expiry_seconds {
                put_u32_property(out, property::SESSION_EXPIRY, seconds);
            }
            let texts = [
                (property::REASON_STRING, &disconnect.reason_string),
                (property::SERVER_REFERENCE, &disconnect.server_reference),
            ];
            for (identifier, text) in texts {
                put_text_property(out, identifier, text.as_ref());
            }
            put_user_properties(out, &disconnect.user_properties);
            Ok(())
        })
    })
}

//! AUTH: the steps of an enhanced authentication (MQTT 5 only).

use std::fmt;

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::cursor::{Context, Cursor};
use crate::error::{EncodeError, Fault};
use crate::packet::PacketType;
use crate::property;
use crate::reason::ReasonCode;
use crate::scan::MISPLACED;
use crate::sink::{put_binary, put_packet, put_prefixed, put_text_property, put_user_properties};
use crate::text::MqttString;
use crate::user_properties::UserProperties;
use crate::values::ProtocolVersion;

/// AUTH: one step of an enhanced authentication.
#[derive(Clone, PartialEq, Eq)]
pub struct Auth {
    /// Success, continue or re-authenticate.
    pub reason: ReasonCode,
    /// The method. Missing only in an AUTH of remaining length 0, which says success.
    pub method: Option<MqttString>,
    /// What the method says.
    pub data: Option<Bytes>,
    /// Words for people.
    pub reason_string: Option<MqttString>,
    /// The sender's own.
    pub user_properties: UserProperties,
}

impl Auth {
    /// One step of this method without words.
    pub const fn new(reason: ReasonCode, method: MqttString, data: Option<Bytes>) -> Self {
        Self {
            reason,
            method: Some(method),
            data,
            reason_string: None,
            user_properties: UserProperties::EMPTY,
        }
    }

    /// What a remaining length of 0 says.
    const BARE: Self = Self {
        reason: ReasonCode::Success,
        method: None,
        data: None,
        reason_string: None,
        user_properties: UserProperties::EMPTY,
    };
}

impl fmt::Debug for Auth {
    /// Everything but the data, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("reason", &self.reason)
            .field("method", &self.method)
            .field("data_bytes", &self.data.as_ref().map(Bytes::len))
            .field("reason_string", &self.reason_string)
            .field("user_properties", &self.user_properties)
            .finish()
    }
}

pub(crate) fn decode(frame: Bytes, context: Context<'_>) -> Result<Auth, Fault> {
    let mut body = Cursor::new(frame);
    let mut auth = Auth::BARE;
    if body.is_empty() {
        return Ok(auth);
    }
    auth.reason = body.reason(PacketType::Auth)?;
    let mut section = body.properties(context.limits)?;
    while let Some(identifier) = section.next_identifier()? {
        match identifier {
            property::AUTHENTICATION_METHOD => auth.method = section.string()?,
            property::AUTHENTICATION_DATA => auth.data = Some(section.cursor.binary()?),
            property::REASON_STRING => auth.reason_string = section.string()?,
            _ => return Err(MISPLACED),
        }
    }
    auth.user_properties = section.finish();
    body.finish()?;
    if auth.method.is_none() {
        return Err(Fault::protocol("authentication method is missing"));
    }
    Ok(auth)
}

pub(crate) fn encode(
    auth: &Auth,
    version: ProtocolVersion,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let packet = PacketType::Auth;
    let reason = auth.reason;
    if !version.is_v5() {
        let what = "AUTH";
        return Err(EncodeError::Version { version, what });
    }
    if !reason.is_listed_for(packet) {
        return Err(EncodeError::Reason { packet, reason });
    }
    if auth.method.is_none() && *auth != Auth::BARE {
        return Err(EncodeError::Contradiction("an AUTH without its method"));
    }
    put_packet(out, packet.first_byte(), |out| {
        if auth.method.is_none() {
            return Ok(());
        }
        out.put_u8(reason.as_u8());
        put_prefixed(out, |out| {
            put_text_property(out, property::AUTHENTICATION_METHOD, auth.method.as_ref());
            if let Some(data) = &auth.data {
                out.put_u8(property::AUTHENTICATION_DATA);
                put_binary(out, "authentication data", data)?;
            }
            put_text_property(out, property::REASON_STRING, auth.reason_string.as_ref());
            put_user_properties(out, &auth.user_properties);
            Ok(())
        })
    })
}

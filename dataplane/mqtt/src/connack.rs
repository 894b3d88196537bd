//! CONNACK.

use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use bytes::{BufMut as _, Bytes, BytesMut};

use crate::cursor::{Context, Cursor};
use crate::error::{EncodeError, Fault};
use crate::packet::PacketType;
use crate::property;
use crate::reason::{ConnectReturnCode, ReasonCode};
use crate::scan::MISPLACED;
use crate::sink::{
    put_binary, put_packet, put_prefixed, put_text_property, put_u8_property, put_u16_property,
    put_u32_property, put_user_properties,
};
use crate::text::{ClientId, MqttString};
use crate::user_properties::UserProperties;
use crate::values::{ProtocolVersion, Qos};

/// CONNACK. What a version does not have is at its default.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server resumed a session. Only with success; never in 3.1.
    pub session_present: bool,
    /// How it went. In 3.x one that [`ReasonCode::connect_return_code`] can say.
    pub reason: ReasonCode,
    /// The session expiry that applies, in seconds; `None`: the one asked for.
    pub session_expiry_seconds: Option<u32>,
    /// How many QoS 1 and 2 messages the server takes at once, default 65,535.
    pub receive_maximum: NonZeroU16,
    /// The highest QoS that the server takes, default 2.
    pub maximum_qos: Qos,
    /// Whether the server retains, default yes.
    pub retain_available: bool,
    /// The largest packet that the server takes, in bytes; `None`: any.
    pub packet_bytes_max: Option<NonZeroU32>,
    /// The client identifier that the server chose.
    pub assigned_client_id: Option<ClientId>,
    /// The largest topic alias that the server takes, default 0: none.
    pub topic_alias_maximum: u16,
    /// Words for people.
    pub reason_string: Option<MqttString>,
    /// Whether filters may hold wildcards, default yes.
    pub wildcard_subscription_available: bool,
    /// Whether subscriptions may have identifiers, default yes.
    pub subscription_ids_available: bool,
    /// Whether subscriptions may be shared, default yes.
    pub shared_subscription_available: bool,
    /// The keep alive that applies, in seconds; `None`: the one asked for.
    pub server_keep_alive_seconds: Option<u16>,
    /// What response topics may begin with.
    pub response_information: Option<MqttString>,
    /// Where to go instead.
    pub server_reference: Option<MqttString>,
    /// The method of the enhanced authentication.
    pub authentication_method: Option<MqttString>,
    /// Its last data.
    pub authentication_data: Option<Bytes>,
    /// The server's own.
    pub user_properties: UserProperties,
}

impl ConnAck {
    /// This code, everything else at its default.
    pub const fn new(reason: ReasonCode) -> Self {
        Self {
            session_present: false,
            reason,
            session_expiry_seconds: None,
            receive_maximum: NonZeroU16::MAX,
            maximum_qos: Qos::ExactlyOnce,
            retain_available: true,
            packet_bytes_max: None,
            assigned_client_id: None,
            topic_alias_maximum: 0,
            reason_string: None,
            wildcard_subscription_available: true,
            subscription_ids_available: true,
            shared_subscription_available: true,
            server_keep_alive_seconds: None,
            response_information: None,
            server_reference: None,
            authentication_method: None,
            authentication_data: None,
            user_properties: UserProperties::EMPTY,
        }
    }
}

impl fmt::Debug for ConnAck {
    /// Everything but what may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnAck")
            .field("session_present", &self.session_present)
            .field("reason", &self.reason)
            .field("session_expiry_seconds", &self.session_expiry_seconds)
            .field("receive_maximum", &self.receive_maximum)
            .field("maximum_qos", &self.maximum_qos)
            .field("retain_available", &self.retain_available)
            .field("packet_bytes_max", &self.packet_bytes_max)
            .field("assigned_client_id", &self.assigned_client_id)
            .field("topic_alias_maximum", &self.topic_alias_maximum)
            .field("reason_string", &self.reason_string)
            .field("server_keep_alive_seconds", &self.server_keep_alive_seconds)
            .field("server_reference", &self.server_reference)
            .field("authentication_method", &self.authentication_method)
            .field("user_properties", &self.user_properties)
            .finish_non_exhaustive()
    }
}

pub(crate) fn decode(frame: Bytes, context: Context<'_>) -> Result<ConnAck, Fault> {
    let mut body = Cursor::new(frame);
    let session_present = match (body.u8()?, context.version) {
        (0, _) => false,
        (1, ProtocolVersion::V311 | ProtocolVersion::V5) => true,
        _ => return Err(Fault::malformed("reserved acknowledge flags are set")),
    };
    let reason = if context.version.is_v5() {
        body.reason(PacketType::ConnAck)?
    } else {
        let code = ConnectReturnCode::from_u8(body.u8()?);
        let unknown = Fault::protocol("a return code that does not exist");
        code.ok_or(unknown)?.reason()
    };
    if session_present && reason != ReasonCode::Success {
        return Err(Fault::protocol("session present with a failure"));
    }
    let mut connack = ConnAck::new(reason);
    connack.session_present = session_present;
    if context.version.is_v5() {
        read_properties(&mut body, &mut connack, context)?;
    }
    body.finish()?;
    Ok(connack)
}

fn read_properties(
    body: &mut Cursor,
    connack: &mut ConnAck,
    context: Context<'_>,
) -> Result<(), Fault> {
    let mut section = body.properties(context.limits)?;
    while let Some(identifier) = section.next_identifier()? {
        let value = &mut *section.cursor;
        match identifier {
            property::SESSION_EXPIRY => connack.session_expiry_seconds = Some(value.u32()?),
            property::RECEIVE_MAXIMUM => {
                connack.receive_maximum = value.non_zero_u16("receive maximum is 0")?;
            }
            property::MAXIMUM_QOS => {
                connack.maximum_qos = match value.flag("maximum QoS is neither 0 nor 1")? {
                    false => Qos::AtMostOnce,
                    true => Qos::AtLeastOnce,
                };
            }
            property::MAXIMUM_PACKET_SIZE => {
                let bytes = value.non_zero_u32("maximum packet size is 0")?;
                connack.packet_bytes_max = Some(bytes);
            }
            property::TOPIC_ALIAS_MAXIMUM => connack.topic_alias_maximum = value.u16()?,
            property::SERVER_KEEP_ALIVE => {
                connack.server_keep_alive_seconds = Some(value.u16()?);
            }
            property::RETAIN_AVAILABLE
            | property::WILDCARD_SUBSCRIPTION_AVAILABLE
            | property::SUBSCRIPTION_IDS_AVAILABLE
            | property::SHARED_SUBSCRIPTION_AVAILABLE => {
                *available(connack, identifier) =
                    value.flag("a property of availability is neither 0 nor 1")?;
            }
            property::ASSIGNED_CLIENT_ID => {
                let text =
                    value.string("assigned client identifier is not a valid UTF-8 string")?;
                let empty = Fault::protocol("assigned client identifier is empty");
                connack.assigned_client_id = Some(ClientId::try_from(text).map_err(|_| empty)?);
            }
            property::AUTHENTICATION_DATA => connack.authentication_data = Some(value.binary()?),
            property::AUTHENTICATION_METHOD => {
                connack.authentication_method = section.string()?;
            }
            property::REASON_STRING => connack.reason_string = section.string()?,
            property::RESPONSE_INFORMATION => connack.response_information = section.string()?,
            property::SERVER_REFERENCE => connack.server_reference = section.string()?,
            _ => return Err(MISPLACED),
        }
    }
    connack.user_properties = section.finish();
    Ok(())
}

/// The field of a property that says what the server can do.
const fn available(connack: &mut ConnAck, identifier: u8) -> &mut bool {
    match identifier {
        property::RETAIN_AVAILABLE => &mut connack.retain_available,
        property::WILDCARD_SUBSCRIPTION_AVAILABLE => &mut connack.wildcard_subscription_available,
        property::SUBSCRIPTION_IDS_AVAILABLE => &mut connack.subscription_ids_available,
        _ => &mut connack.shared_subscription_available,
    }
}

pub(crate) fn encode(
    connack: &ConnAck,
    version: ProtocolVersion,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let packet = PacketType::ConnAck;
    let reason = connack.reason;
    if !reason.is_listed_for(packet) {
        return Err(EncodeError::Reason { packet, reason });
    }
    if connack.session_present && reason != ReasonCode::Success {
        return Err(EncodeError::Contradiction("session present with a failure"));
    }
    let session_present = connack.session_present && version != ProtocolVersion::V31;
    let code = if version.is_v5() {
        reason.as_u8()
    } else {
        let code = reason.connect_return_code();
        let what = "return code in CONNACK for this";
        code.ok_or(EncodeError::Version { version, what })?.as_u8()
    };
    put_packet(out, packet.first_byte(), |out| {
        out.put_slice(&[u8::from(session_present), code]);
        if version.is_v5() {
            put_prefixed(out, |out| put_properties(out, connack))?;
        }
        Ok(())
    })
}

fn put_properties(out: &mut BytesMut, connack: &ConnAck) -> Result<(), EncodeError> {
    if let Some(seconds) = connack.session_expiry_seconds {
        put_u32_property(out, property::SESSION_EXPIRY, seconds);
    }
    if connack.receive_maximum != NonZeroU16::MAX {
        put_u16_property(
            out,
            property::RECEIVE_MAXIMUM,
            connack.receive_maximum.get(),
        );
    }
    if connack.maximum_qos != Qos::ExactlyOnce {
        put_u8_property(out, property::MAXIMUM_QOS, connack.maximum_qos.as_u8());
    }
    if let Some(bytes) = connack.packet_bytes_max {
        put_u32_property(out, property::MAXIMUM_PACKET_SIZE, bytes.get());
    }
    if connack.topic_alias_maximum != 0 {
        put_u16_property(
            out,
            property::TOPIC_ALIAS_MAXIMUM,
            connack.topic_alias_maximum,
        );
    }
    if let Some(seconds) = connack.server_keep_alive_seconds {
        put_u16_property(out, property::SERVER_KEEP_ALIVE, seconds);
    }
    let abilities = [
        (property::RETAIN_AVAILABLE, connack.retain_available),
        (
            property::WILDCARD_SUBSCRIPTION_AVAILABLE,
            connack.wildcard_subscription_available,
        ),
        (
            property::SUBSCRIPTION_IDS_AVAILABLE,
            connack.subscription_ids_available,
        ),
        (
            property::SHARED_SUBSCRIPTION_AVAILABLE,
            connack.shared_subscription_available,
        ),
    ];
    for (identifier, _) in abilities.iter().filter(|(_, available)| !available) {
        put_u8_property(out, *identifier, 0);
    }
    put_texts(out, connack)
}

fn put_texts(out: &mut BytesMut, connack: &ConnAck) -> Result<(), EncodeError> {
    let assigned = connack.assigned_client_id.as_ref();
    let texts = [
        (
            property::ASSIGNED_CLIENT_ID,
            assigned.map(ClientId::as_mqtt_string),
        ),
        (property::REASON_STRING, connack.reason_string.as_ref()),
        (
            property::RESPONSE_INFORMATION,
            connack.response_information.as_ref(),
        ),
        (
            property::SERVER_REFERENCE,
            connack.server_reference.as_ref(),
        ),
        (
            property::AUTHENTICATION_METHOD,
            connack.authentication_method.as_ref(),
        ),
    ];
    for (identifier, text) in texts {
        put_text_property(out, identifier, text);
    }
    if let Some(data) = &connack.authentication_data {
        out.put_u8(property::AUTHENTICATION_DATA);
        put_binary(out, "authentication data", data)?;
    }
    put_user_properties(out, &connack.user_properties);
    Ok(())
}

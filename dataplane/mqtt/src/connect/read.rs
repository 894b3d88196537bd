//! Decoding CONNECT. Every error says what CONNACK may answer.

use bytes::Bytes;

use super::{Connect, Password, Will};
use crate::cursor::Cursor;
use crate::error::{Answer, Fault};
use crate::forwarded::ForwardedProperties;
use crate::limits::DecodeLimits;
use crate::message::Message;
use crate::property;
use crate::publish::{check_levels, topic_fault};
use crate::reason::{ConnectReturnCode, ReasonCode};
use crate::scan::{MISPLACED, Place, Scan, close_gaps, scan};
use crate::text::ClientId;
use crate::topic::TopicName;
use crate::values::{ProtocolVersion, Qos};

/// Why a CONNECT was refused, and what may be said about it.
#[derive(Debug)]
pub(crate) struct ConnectFault {
    pub(crate) fault: Fault,
    pub(crate) answer: Answer,
}

/// Decodes a body.
pub(crate) fn decode(frame: Bytes, limits: &DecodeLimits) -> Result<Box<Connect>, ConnectFault> {
    let mut body = Cursor::new(frame);
    let version = read_version(&mut body)?;
    read_rest(&mut body, version, limits).map_err(|fault| ConnectFault {
        fault,
        answer: answer_for(version, fault.reason),
    })
}

/// What may be answered to a CONNECT of that version.
pub(crate) const fn answer_for(version: ProtocolVersion, reason: ReasonCode) -> Answer {
    match (version, reason) {
        (ProtocolVersion::V5, _) => Answer::ConnAckV5,
        (_, ReasonCode::ClientIdentifierNotValid) => {
            Answer::ConnAckV3(ConnectReturnCode::IdentifierRejected)
        }
        (ProtocolVersion::V31 | ProtocolVersion::V311, _) => Answer::Close,
    }
}

/// The answer to a CONNECT that is too large, from the beginning of its body. `None`: more bytes
/// are needed.
pub(crate) fn sniff_version(body: &[u8], reason: ReasonCode) -> Option<Answer> {
    let (len, rest) = body.split_first_chunk()?;
    let name = usize::from(u16::from_be_bytes(*len));
    if !matches!(name, 4 | 6) {
        return Some(Answer::Close);
    }
    match (rest.get(..name)?, *rest.get(name)?) {
        (b"MQTT", 5) => Some(answer_for(ProtocolVersion::V5, reason)),
        _ => Some(Answer::Close),
    }
}

const UNSUPPORTED: Fault = Fault::new(
    ReasonCode::UnsupportedProtocolVersion,
    "unsupported protocol name or level",
);

/// Reads the protocol name and level.
fn read_version(body: &mut Cursor) -> Result<ProtocolVersion, ConnectFault> {
    let close = |fault| ConnectFault {
        fault,
        answer: Answer::Close,
    };
    let name = known_name(body.field_bytes().map_err(close)?);
    let unsupported = |answer| ConnectFault {
        fault: UNSUPPORTED,
        answer,
    };
    let v3 = Answer::ConnAckV3(ConnectReturnCode::UnacceptableProtocolVersion);
    match name {
        Some(Name::Mqtt) => match body.u8().map_err(close)? {
            4 => Ok(ProtocolVersion::V311),
            5 => Ok(ProtocolVersion::V5),
            0..=3 => Err(unsupported(v3)),
            _ => Err(unsupported(Answer::ConnAckV5)),
        },
        Some(Name::MqIsdp) => match body.u8().map_err(close)? {
            3 => Ok(ProtocolVersion::V31),
            _ => Err(unsupported(v3)),
        },
        None => Err(unsupported(Answer::Close)),
    }
}

/// The protocol names.
#[derive(Debug, Clone, Copy)]
enum Name {
    Mqtt,
    MqIsdp,
}

fn known_name(name: &[u8]) -> Option<Name> {
    match name {
        b"MQTT" => Some(Name::Mqtt),
        b"MQIsdp" => Some(Name::MqIsdp),
        _ => None,
    }
}

/// The connect flags (MQTT 5, 3.1.2.3).
#[derive(Debug, Clone, Copy)]
struct Flags {
    clean_start: bool,
    will: Option<WillFlags>,
    username: bool,
    password: bool,
}

#[derive(Debug, Clone, Copy)]
struct WillFlags {
    qos: Qos,
    retain: bool,
}

impl Flags {
    fn decode(byte: u8, version: ProtocolVersion) -> Result<Self, Fault> {
        if byte & 0b0000_0001 != 0 {
            return Err(Fault::malformed("the reserved connect flag is set"));
        }
        let has_will = byte & 0b0000_0100 != 0;
        let will_bits = byte & 0b0011_1000;
        // MQTT 3.1 disregards them without a will.
        if !has_will && will_bits != 0 && version != ProtocolVersion::V31 {
            return Err(Fault::malformed(
                "will QoS or will retain without will flag",
            ));
        }
        let will = if has_will {
            let qos = Qos::try_from((byte >> 3) & 0b11)
                .map_err(|_| Fault::malformed("will QoS 3 does not exist"))?;
            let retain = byte & 0b0010_0000 != 0;
            Some(WillFlags { qos, retain })
        } else {
            None
        };
        let flags = Self {
            clean_start: byte & 0b0000_0010 != 0,
            will,
            username: byte & 0b1000_0000 != 0,
            password: byte & 0b0100_0000 != 0,
        };
        if flags.password && !flags.username && !version.is_v5() {
            return Err(Fault::malformed("password without user name"));
        }
        Ok(flags)
    }
}

/// Reads everything after the protocol level.
fn read_rest(
    body: &mut Cursor,
    version: ProtocolVersion,
    limits: &DecodeLimits,
) -> Result<Box<Connect>, Fault> {
    let flags = Flags::decode(body.u8()?, version)?;
    let mut connect = Box::new(Connect::new(version, None));
    connect.clean_start = flags.clean_start;
    connect.keep_alive_seconds = body.u16()?;
    if version.is_v5() {
        read_properties(body, &mut connect, limits)?;
    }
    connect.client_id = read_client_id(body, &connect, limits)?;
    if let Some(will) = flags.will {
        connect.will = Some(read_will(body, will, version, limits)?);
    }
    // MQTT 3.1: the remaining length takes precedence over the flags.
    let promised =
        |flag: bool, body: &Cursor| flag && !(version == ProtocolVersion::V31 && body.is_empty());
    if promised(flags.username, body) {
        connect.username = Some(body.string("user name is not a valid UTF-8 string")?);
    }
    if promised(flags.password, body) {
        connect.password = Some(Password::new(body.binary()?));
    }
    body.finish()?;
    Ok(connect)
}

fn read_properties(
    body: &mut Cursor,
    connect: &mut Connect,
    limits: &DecodeLimits,
) -> Result<(), Fault> {
    let mut section = body.properties(limits)?;
    while let Some(identifier) = section.next_identifier()? {
        let value = &mut *section.cursor;
        match identifier {
            property::SESSION_EXPIRY => connect.session_expiry_seconds = value.u32()?,
            property::RECEIVE_MAXIMUM => {
                connect.receive_maximum = value.non_zero_u16("receive maximum is 0")?;
            }
            property::MAXIMUM_PACKET_SIZE => {
                let bytes = value.non_zero_u32("maximum packet size is 0")?;
                connect.packet_bytes_max = Some(bytes);
            }
            property::TOPIC_ALIAS_MAXIMUM => connect.topic_alias_maximum = value.u16()?,
            property::REQUEST_RESPONSE_INFORMATION => {
                let fault = "request response information is neither 0 nor 1";
                connect.request_response_information = value.flag(fault)?;
            }
            property::REQUEST_PROBLEM_INFORMATION => {
                let fault = "request problem information is neither 0 nor 1";
                connect.request_problem_information = value.flag(fault)?;
            }
            property::AUTHENTICATION_METHOD => {
                connect.authentication_method = section.string()?;
            }
            property::AUTHENTICATION_DATA => connect.authentication_data = Some(value.binary()?),
            _ => return Err(MISPLACED),
        }
    }
    connect.user_properties = section.finish();
    if connect.authentication_data.is_some() && connect.authentication_method.is_none() {
        return Err(Fault::protocol("authentication data without method"));
    }
    Ok(())
}

fn read_client_id(
    body: &mut Cursor,
    connect: &Connect,
    limits: &DecodeLimits,
) -> Result<Option<ClientId>, Fault> {
    const INVALID: ReasonCode = ReasonCode::ClientIdentifierNotValid;
    let text = body.string("client identifier is not a valid UTF-8 string")?;
    let max = limits.client_id_bytes_max;
    if text.len() > max {
        return Err(Fault::bounded(
            INVALID,
            "client identifier is too long",
            max,
        ));
    }
    let id = ClientId::try_from(text).ok();
    let may_be_empty = match connect.version {
        ProtocolVersion::V31 => false,
        ProtocolVersion::V311 => connect.clean_start,
        ProtocolVersion::V5 => true,
    };
    if id.is_none() && !may_be_empty {
        return Err(Fault::new(INVALID, "client identifier is empty"));
    }
    Ok(id)
}

fn read_will(
    body: &mut Cursor,
    flags: WillFlags,
    version: ProtocolVersion,
    limits: &DecodeLimits,
) -> Result<Will, Fault> {
    let (found, properties) = if version.is_v5() {
        read_will_properties(body, limits)?
    } else {
        (Scan::default(), ForwardedProperties::EMPTY)
    };
    let topic = body.string("will topic is not a valid UTF-8 string")?;
    check_levels(topic.as_bytes(), limits)?;
    let topic = TopicName::try_from(topic).map_err(topic_fault)?;
    let message = Message {
        topic,
        payload: body.binary()?,
        qos: flags.qos,
        retain: flags.retain,
        expiry_seconds: found.expiry_seconds,
        properties,
    };
    Ok(Will {
        message,
        delay_seconds: found.delay_seconds,
    })
}

fn read_will_properties(
    body: &mut Cursor,
    limits: &DecodeLimits,
) -> Result<(Scan, ForwardedProperties), Fault> {
    let section = body.section()?;
    let found = scan(&section, Place::Will, limits)?;
    let forwarded = if found.has_gaps {
        let mut copy = section.to_vec();
        let len = close_gaps(&mut copy);
        copy.truncate(len);
        Bytes::from(copy)
    } else {
        section.slice(found.forwarded.clone())
    };
    Ok((found, ForwardedProperties::from_checked(forwarded)))
}

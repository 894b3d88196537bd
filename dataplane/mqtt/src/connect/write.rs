//! Encoding CONNECT.

use std::num::NonZeroU16;

use bytes::{BufMut as _, BytesMut};

use super::{Connect, Will};
use crate::error::EncodeError;
use crate::packet::PacketType;
use crate::property;
use crate::property::put_field;
use crate::sink::{
    put_binary, put_packet, put_prefixed, put_text_property, put_u8_property, put_u16_property,
    put_u32_property, put_user_properties,
};
use crate::text::ClientId;
use crate::values::ProtocolVersion;

pub(crate) fn encode(
    connect: &Connect,
    version: ProtocolVersion,
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    check(connect, version)?;
    put_packet(out, PacketType::Connect.first_byte(), |out| {
        put_field(out, version.protocol_name().as_bytes());
        let [high, low] = connect.keep_alive_seconds.to_be_bytes();
        out.put_slice(&[version.level(), flags(connect), high, low]);
        if version.is_v5() {
            put_prefixed(out, |out| put_properties(out, connect))?;
        }
        put_field(
            out,
            connect.client_id.as_ref().map_or(&[], ClientId::as_bytes),
        );
        if let Some(will) = &connect.will {
            put_will(out, will, version)?;
        }
        if let Some(username) = &connect.username {
            put_field(out, username.as_bytes());
        }
        if let Some(password) = &connect.password {
            put_binary(out, "password", password.as_bytes())?;
        }
        Ok(())
    })
}

fn check(connect: &Connect, version: ProtocolVersion) -> Result<(), EncodeError> {
    if connect.version != version {
        let text = "a CONNECT of another version than is spoken";
        return Err(EncodeError::Contradiction(text));
    }
    if connect.password.is_some() && connect.username.is_none() && !version.is_v5() {
        let what = "password without user name";
        return Err(EncodeError::Version { version, what });
    }
    let may_be_empty = match version {
        ProtocolVersion::V31 => false,
        ProtocolVersion::V311 => connect.clean_start,
        ProtocolVersion::V5 => true,
    };
    if connect.client_id.is_none() && !may_be_empty {
        let what = "assigned client identifier of a session that is kept";
        return Err(EncodeError::Version { version, what });
    }
    if connect.authentication_data.is_some() && connect.authentication_method.is_none() {
        let text = "authentication data without method";
        return Err(EncodeError::Contradiction(text));
    }
    Ok(())
}

fn flags(connect: &Connect) -> u8 {
    let will = connect.will.as_ref().map_or(0, |will| {
        0b100 | will.message.qos.as_u8() << 3 | u8::from(will.message.retain) << 5
    });
    u8::from(connect.clean_start) << 1
        | will
        | u8::from(connect.password.is_some()) << 6
        | u8::from(connect.username.is_some()) << 7
}

fn put_properties(out: &mut BytesMut, connect: &Connect) -> Result<(), EncodeError> {
    if connect.session_expiry_seconds != 0 {
        put_u32_property(
            out,
            property::SESSION_EXPIRY,
            connect.session_expiry_seconds,
        );
    }
    if connect.receive_maximum != NonZeroU16::MAX {
        put_u16_property(
            out,
            property::RECEIVE_MAXIMUM,
            connect.receive_maximum.get(),
        );
    }
    if let Some(bytes) = connect.packet_bytes_max {
        put_u32_property(out, property::MAXIMUM_PACKET_SIZE, bytes.get());
    }
    if connect.topic_alias_maximum != 0 {
        put_u16_property(
            out,
            property::TOPIC_ALIAS_MAXIMUM,
            connect.topic_alias_maximum,
        );
    }
    if connect.request_response_information {
        put_u8_property(out, property::REQUEST_RESPONSE_INFORMATION, 1);
    }
    if !connect.request_problem_information {
        put_u8_property(out, property::REQUEST_PROBLEM_INFORMATION, 0);
    }
    let method = connect.authentication_method.as_ref();
    put_text_property(out, property::AUTHENTICATION_METHOD, method);
    if let Some(data) = &connect.authentication_data {
        out.put_u8(property::AUTHENTICATION_DATA);
        put_binary(out, "authentication data", data)?;
    }
    put_user_properties(out, &connect.user_properties);
    Ok(())
}

fn put_will(out: &mut BytesMut, will: &Will, version: ProtocolVersion) -> Result<(), EncodeError> {
    let message = &will.message;
    if version.is_v5() {
        put_prefixed(out, |out| {
            if will.delay_seconds != 0 {
                put_u32_property(out, property::WILL_DELAY, will.delay_seconds);
            }
            if let Some(seconds) = message.expiry_seconds {
                put_u32_property(out, property::MESSAGE_EXPIRY, seconds);
            }
            out.extend_from_slice(message.properties.as_bytes());
            Ok(())
        })?;
    }
    put_field(out, message.topic.as_bytes());
    put_binary(out, "will payload", &message.payload)
}

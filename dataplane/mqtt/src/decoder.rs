//! From bytes to packets: what is due on a connection; the bodies are each family's own.

use bytes::{Buf as _, Bytes, BytesMut};

use crate::ack::Ack;
use crate::cursor::{Context, Role};
use crate::error::{Answer, DecodeError, Fault};
use crate::header::Header;
use crate::limits::DecodeLimits;
use crate::packet::{Packet, PacketType};
use crate::scan::Scan;
use crate::values::ProtocolVersion;
use crate::{ack, auth, connack, connect, disconnect, publish, subscribe, unsubscribe};

/// Decodes one direction of one connection.
///
/// ```text
/// server: AwaitConnect ──CONNECT──> Open(version) ──error──> Failed
///              └───────────error───────────────────────────────^
/// client: Open(version) ──error──> Failed
/// ```
#[derive(Debug, Clone)]
pub struct Decoder {
    role: Role,
    state: State,
    limits: DecodeLimits,
}

#[derive(Debug, Clone, Copy)]
enum State {
    AwaitConnect,
    Open(ProtocolVersion),
    Failed(DecodeError),
}

impl Decoder {
    /// Of what a client sends. The first packet must be CONNECT, which tells the version.
    pub const fn server(limits: DecodeLimits) -> Self {
        Self {
            role: Role::Server,
            state: State::AwaitConnect,
            limits,
        }
    }

    /// Of what a server sends to a client that spoke this version.
    pub const fn client(version: ProtocolVersion, limits: DecodeLimits) -> Self {
        Self {
            role: Role::Client,
            state: State::Open(version),
            limits,
        }
    }

    /// The version, once it is known and while no error has occurred.
    pub const fn version(&self) -> Option<ProtocolVersion> {
        match self.state {
            State::Open(version) => Some(version),
            State::AwaitConnect | State::Failed(_) => None,
        }
    }

    /// The limits, to be changed once more is known of the peer. They hold from the next packet on.
    pub const fn limits_mut(&mut self) -> &mut DecodeLimits {
        &mut self.limits
    }

    /// Takes the next packet out of the buffer. `None`: it is not complete, and nothing was taken.
    ///
    /// The packet's bytes are shared with the buffer, not copied.
    ///
    /// # Errors
    /// The bytes are not what the standard or a limit allows. Every later call says the same.
    pub fn decode(&mut self, buf: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
        let version = match self.state {
            State::Open(version) => version,
            State::AwaitConnect => return self.decode_connect(buf),
            State::Failed(error) => return Err(error),
        };
        let context = Context {
            version,
            role: self.role,
            limits: &self.limits,
        };
        let Some(first) = buf.first().copied() else {
            return Ok(None);
        };
        let header = match Header::read(first, buf, context) {
            Ok(Some(header)) if buf.len() >= header.packet_len => header,
            Ok(_) => return Ok(None),
            Err(fault) => return Err(self.fail_open(version, fault, first)),
        };
        if header.packet == PacketType::Publish {
            return self.decode_publish(header, version, buf);
        }
        match decode_body(header, buf, context) {
            Ok(packet) => Ok(Some(packet)),
            Err(fault) => Err(self.fail_open(version, fault, first)),
        }
    }

    #[inline]
    fn decode_publish(
        &mut self,
        header: Header,
        version: ProtocolVersion,
        buf: &mut BytesMut,
    ) -> Result<Option<Packet>, DecodeError> {
        let context = Context {
            version,
            role: self.role,
            limits: &self.limits,
        };
        let frame = &mut buf[..header.packet_len];
        let first = frame[0];
        let fault = match publish::Checked::new(header, frame, context) {
            Ok(checked) if checked.has_properties() => {
                let mut found = Scan::default();
                match checked.read_properties(&mut found, frame, context) {
                    Ok(()) => return checked.cut(found, buf),
                    Err(fault) => fault,
                }
            }
            Ok(checked) => return checked.cut(Scan::default(), buf),
            Err(fault) => fault,
        };
        Err(self.fail_open(version, fault, first))
    }

    #[inline(never)]
    fn decode_connect(&mut self, buf: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
        let Some(first) = buf.first().copied() else {
            return Ok(None);
        };
        let header = match Header::read_connect(first, buf) {
            Ok(Some(header)) => header,
            Ok(None) => return Ok(None),
            Err(fault) => return Err(self.fail(fault, first, Answer::Close)),
        };
        let limits = self.limits;
        let bytes_max = limits.connect_bytes_max.min(limits.packet_bytes_max);
        if let Err(fault) = header.check_limit(bytes_max) {
            // The beginning says whether the client understands an answer.
            let answer = match connect::sniff_version(&buf[header.len..], fault.reason) {
                Some(answer) => answer,
                None if buf.len() < header.packet_len => return Ok(None),
                None => Answer::Close,
            };
            return Err(self.fail(fault, first, answer));
        }
        if buf.len() < header.packet_len {
            return Ok(None);
        }
        match connect::decode(header.take_body(buf), &limits) {
            Ok(connect) => {
                self.state = State::Open(connect.version);
                Ok(Some(Packet::Connect(connect)))
            }
            Err(refused) => Err(self.fail(refused.fault, first, refused.answer)),
        }
    }

    #[cold]
    fn fail_open(&mut self, version: ProtocolVersion, fault: Fault, first: u8) -> DecodeError {
        let answer = match version {
            ProtocolVersion::V5 => Answer::Disconnect,
            ProtocolVersion::V31 | ProtocolVersion::V311 => Answer::Close,
        };
        self.fail(fault, first, answer)
    }

    #[cold]
    fn fail(&mut self, fault: Fault, first: u8, answer: Answer) -> DecodeError {
        let error = DecodeError {
            reason: fault.reason,
            text: fault.text,
            bound: fault.bound,
            packet: PacketType::from_number(first >> 4),
            answer,
        };
        self.state = State::Failed(error);
        error
    }
}

/// Decodes a packet, all of which is there, and takes it out of the buffer.
fn decode_body(header: Header, buf: &mut BytesMut, context: Context<'_>) -> Result<Packet, Fault> {
    let packet = header.packet;
    match packet {
        PacketType::PubAck => decode_ack(header, buf, context).map(Packet::PubAck),
        PacketType::PubRec => decode_ack(header, buf, context).map(Packet::PubRec),
        PacketType::PubRel => decode_ack(header, buf, context).map(Packet::PubRel),
        PacketType::PubComp => decode_ack(header, buf, context).map(Packet::PubComp),
        PacketType::PingReq => decode_empty(header, buf).map(|()| Packet::PingReq),
        PacketType::PingResp => decode_empty(header, buf).map(|()| Packet::PingResp),
        PacketType::Connect
        | PacketType::ConnAck
        | PacketType::Publish
        | PacketType::Subscribe
        | PacketType::SubAck
        | PacketType::Unsubscribe
        | PacketType::UnsubAck
        | PacketType::Disconnect
        | PacketType::Auth => decode_rare(packet, header.take_body(buf), context),
    }
}

/// An acknowledgement, mostly without words: then no part of the buffer is shared.
fn decode_ack(header: Header, buf: &mut BytesMut, context: Context<'_>) -> Result<Ack, Fault> {
    let body = &buf[header.len..header.packet_len];
    if let Some(ack) = ack::decode_bare(header.packet, body, context.version)? {
        buf.advance(header.packet_len);
        return Ok(ack);
    }
    ack::decode(header.packet, header.take_body(buf), context)
}

fn decode_empty(header: Header, buf: &mut BytesMut) -> Result<(), Fault> {
    if header.packet_len > header.len {
        return Err(Fault::malformed("bytes follow the last field"));
    }
    buf.advance(header.packet_len);
    Ok(())
}

#[inline(never)]
fn decode_rare(packet: PacketType, body: Bytes, context: Context<'_>) -> Result<Packet, Fault> {
    Ok(match packet {
        PacketType::ConnAck => Packet::ConnAck(Box::new(connack::decode(body, context)?)),
        PacketType::Subscribe => Packet::Subscribe(subscribe::decode(body, context)?),
        PacketType::SubAck => Packet::SubAck(subscribe::decode_suback(body, context)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(unsubscribe::decode(body, context)?),
        PacketType::UnsubAck => Packet::UnsubAck(unsubscribe::decode_unsuback(body, context)?),
        PacketType::Disconnect => Packet::Disconnect(disconnect::decode(body, context)?),
        PacketType::Auth => Packet::Auth(auth::decode(body, context)?),
        PacketType::Connect
        | PacketType::Publish
        | PacketType::PubAck
        | PacketType::PubRec
        | PacketType::PubRel
        | PacketType::PubComp
        | PacketType::PingReq
        | PacketType::PingResp => return Err(Fault::protocol("a packet out of its place")),
    })
}

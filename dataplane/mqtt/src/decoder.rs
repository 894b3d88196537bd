//! From bytes to packets: framing, direction, flags, limits; the bodies are each family's own.

use bytes::{Buf as _, BytesMut};

use crate::cursor::{Context, Role};
use crate::error::{Answer, DecodeError, Fault};
use crate::limits::DecodeLimits;
use crate::packet::{Packet, PacketType};
use crate::reason::ReasonCode;
use crate::sink::read_varint;
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
        let frame = match Frame::find(buf, context) {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(None),
            Err(fault) => return Err(self.fail_open(version, fault, PacketType::of(buf))),
        };
        match decode_frame(frame, buf, context) {
            Ok(packet) => Ok(Some(packet)),
            Err(fault) => Err(self.fail_open(version, fault, Some(frame.packet))),
        }
    }

    #[cold]
    fn fail_open(
        &mut self,
        version: ProtocolVersion,
        fault: Fault,
        packet: Option<PacketType>,
    ) -> DecodeError {
        let answer = match version {
            ProtocolVersion::V5 => Answer::Disconnect,
            ProtocolVersion::V31 | ProtocolVersion::V311 => Answer::Close,
        };
        self.fail(fault, packet, answer)
    }

    #[cold]
    fn fail(&mut self, fault: Fault, packet: Option<PacketType>, answer: Answer) -> DecodeError {
        let error = DecodeError {
            reason: fault.reason,
            text: fault.text,
            bound: fault.bound,
            packet,
            answer,
        };
        self.state = State::Failed(error);
        error
    }

    fn decode_connect(&mut self, buf: &mut BytesMut) -> Result<Option<Packet>, DecodeError> {
        let Some(first) = buf.first().copied() else {
            return Ok(None);
        };
        let packet = PacketType::from_number(first >> 4);
        let close = |fault: Fault| wrap(fault, packet, Answer::Close);
        if packet != Some(PacketType::Connect) {
            return Err(close(Fault::protocol("the first packet is not CONNECT")));
        }
        check_flags(PacketType::Connect, first & 0x0F, ProtocolVersion::V5).map_err(close)?;
        let Some(header) = Header::read(buf).map_err(close)? else {
            return Ok(None);
        };
        let bytes_max = self
            .limits
            .connect_bytes_max
            .min(self.limits.packet_bytes_max);
        if let Err(fault) = header.check(bytes_max) {
            // The beginning says whether the client understands an answer.
            let body = &buf[header.len..];
            return match connect::sniff_version(body, fault.reason) {
                Some(answer) => Err(wrap(fault, packet, answer)),
                None if body.len() < header.remaining => Ok(None),
                None => Err(close(fault)),
            };
        }
        let Some(frame) = header.take_frame(buf) else {
            return Ok(None);
        };
        let connect = connect::decode(frame.freeze(), &self.limits)
            .map_err(|refused| wrap(refused.fault, packet, refused.answer))?;
        self.state = State::Open(connect.version);
        Ok(Some(Packet::Connect(Box::new(connect))))
    }
}

/// A fixed header whose length is known.
#[derive(Debug, Clone, Copy)]
struct Header {
    /// Its own bytes.
    len: usize,
    /// The bytes that follow.
    remaining: usize,
}

impl Header {
    fn read(buf: &[u8]) -> Result<Option<Self>, Fault> {
        let Some((remaining, len)) = read_varint(&buf[1..])? else {
            return Ok(None);
        };
        let too_long = |_| Fault::malformed("a length that this machine cannot hold");
        Ok(Some(Self {
            len: 1 + len,
            remaining: usize::try_from(remaining).map_err(too_long)?,
        }))
    }

    fn check(self, bytes_max: u32) -> Result<(), Fault> {
        let max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        if self.len + self.remaining <= max {
            return Ok(());
        }
        let text = "the packet is too large";
        Err(Fault::bounded(ReasonCode::PacketTooLarge, text, max))
    }

    /// Takes header and body out of the buffer if all is there; gives the body.
    fn take_frame(self, buf: &mut BytesMut) -> Option<BytesMut> {
        let len = self.len + self.remaining;
        if buf.len() < len {
            return None;
        }
        let mut frame = buf.split_to(len);
        frame.advance(self.len);
        Some(frame)
    }
}

const NO_TYPE: Fault = Fault::new(ReasonCode::MalformedPacket, "packet type 0 is reserved");

#[cold]
const fn wrap(fault: Fault, packet: Option<PacketType>, answer: Answer) -> DecodeError {
    DecodeError {
        reason: fault.reason,
        text: fault.text,
        bound: fault.bound,
        packet,
        answer,
    }
}

/// Whether the peer may send a packet of this type at all.
const fn check_direction(
    packet: PacketType,
    role: Role,
    version: ProtocolVersion,
) -> Result<(), Fault> {
    let allowed = match packet {
        PacketType::Connect => false,
        PacketType::Publish
        | PacketType::PubAck
        | PacketType::PubRec
        | PacketType::PubRel
        | PacketType::PubComp => true,
        PacketType::Subscribe | PacketType::Unsubscribe | PacketType::PingReq => {
            matches!(role, Role::Server)
        }
        PacketType::ConnAck | PacketType::SubAck | PacketType::UnsubAck | PacketType::PingResp => {
            matches!(role, Role::Client)
        }
        PacketType::Disconnect => version.is_v5() || matches!(role, Role::Server),
        PacketType::Auth => version.is_v5(),
    };
    match (allowed, packet) {
        (true, _) => Ok(()),
        (false, PacketType::Connect) => Err(Fault::protocol("a second CONNECT")),
        (false, PacketType::Auth) => Err(Fault::malformed("packet type 15 is reserved")),
        (false, _) => Err(Fault::protocol("a packet of the other side")),
    }
}

/// Whether the flags of the first byte are what the standard fixes (MQTT-2.1.3-1).
const fn check_flags(packet: PacketType, flags: u8, version: ProtocolVersion) -> Result<(), Fault> {
    if matches!(packet, PacketType::Publish) {
        return publish::check_flags(flags);
    }
    let fixed = packet.first_byte() & 0x0F;
    // MQTT 3.1 marks what is sent again, on all that it gives QoS 1.
    let v31_dup = matches!(version, ProtocolVersion::V31) && fixed == 0b0010 && flags == 0b1010;
    if flags == fixed || v31_dup {
        return Ok(());
    }
    Err(Fault::malformed(
        "reserved flags of the fixed header are wrong",
    ))
}

fn decode_body(
    packet: PacketType,
    flags: u8,
    frame: BytesMut,
    context: Context<'_>,
) -> Result<Packet, Fault> {
    if packet == PacketType::Publish {
        return publish::decode(flags, frame, context).map(Packet::Publish);
    }
    let frame = frame.freeze();
    Ok(match packet {
        PacketType::Publish | PacketType::Connect => return Err(NO_TYPE),
        PacketType::ConnAck => Packet::ConnAck(Box::new(connack::decode(frame, context)?)),
        PacketType::PubAck => Packet::PubAck(ack::decode(packet, frame, context)?),
        PacketType::PubRec => Packet::PubRec(ack::decode(packet, frame, context)?),
        PacketType::PubRel => Packet::PubRel(ack::decode(packet, frame, context)?),
        PacketType::PubComp => Packet::PubComp(ack::decode(packet, frame, context)?),
        PacketType::Subscribe => Packet::Subscribe(subscribe::decode(frame, context)?),
        PacketType::SubAck => Packet::SubAck(subscribe::decode_suback(frame, context)?),
        PacketType::Unsubscribe => Packet::Unsubscribe(unsubscribe::decode(frame, context)?),
        PacketType::UnsubAck => Packet::UnsubAck(unsubscribe::decode_unsuback(frame, context)?),
        PacketType::PingReq | PacketType::PingResp if !frame.is_empty() => {
            return Err(Fault::malformed("bytes follow the last field"));
        }
        PacketType::PingReq => Packet::PingReq,
        PacketType::PingResp => Packet::PingResp,
        PacketType::Disconnect => Packet::Disconnect(disconnect::decode(frame, context)?),
        PacketType::Auth => Packet::Auth(auth::decode(frame, context)?),
    })
}

//! Another codec takes what this one takes, and reads the same in it.
//!
//! One way: this codec refuses much that the other takes. The other is `rmqtt-codec`: of those
//! that were measured it refuses most, and it alone knows MQTT 3.1.

use bytes::BytesMut;
use rmqtt_codec::{v3, v5};
use tessera_mqtt::{Connect, DecodeLimits, Message, Packet, ProtocolVersion};
use tokio_util::codec::Decoder as _;

use super::input::{Input, open_server};
use super::{fields_v3, fields_v5};

pub(crate) fn check(data: &[u8]) {
    let Some(input) = Input::read(data, None) else {
        return;
    };
    for (packet, version, frame) in input.packets() {
        let packet = with_excess(packet, version, frame);
        let mut buf = BytesMut::from(frame);
        let exception = Exception::of(&packet, version, frame);
        if version.is_v5() {
            let theirs = v5::Codec::default().decode(&mut buf);
            if let Some(theirs) = taken(theirs, exception, &packet) {
                fields_v5::check(&packet, &theirs);
            }
        } else {
            let theirs = v3::Codec::default().decode(&mut buf);
            if let Some(theirs) = taken(theirs, exception, &packet) {
                fields_v3::check(&packet, &theirs);
            }
        }
    }
}

/// The packet with the filters past the bound, which were only counted; the other has no bound.
fn with_excess(packet: Packet, version: ProtocolVersion, frame: &[u8]) -> Packet {
    let excess = match &packet {
        Packet::Subscribe(subscribe) => subscribe.excess,
        Packet::Unsubscribe(unsubscribe) => unsubscribe.excess,
        Packet::Connect(_)
        | Packet::ConnAck(_)
        | Packet::Publish(_)
        | Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::SubAck(_)
        | Packet::UnsubAck(_)
        | Packet::PingReq
        | Packet::PingResp
        | Packet::Disconnect(_)
        | Packet::Auth(_) => 0,
    };
    if excess == 0 {
        return packet;
    }
    let mut unlimited = open_server(version, DecodeLimits::UNLIMITED);
    match unlimited.decode(&mut BytesMut::from(frame)) {
        // A shared filter of too many levels may ask for no local; it is refused without that bound.
        Err(_) | Ok(None) => packet,
        Ok(Some(whole)) => whole,
    }
}

/// The other's packet. It takes what is no exception, and refuses what is one: an exception that
/// is no longer needed must go.
fn taken<P, E: std::fmt::Debug>(
    theirs: Result<Option<(P, u32)>, E>,
    exception: Option<Exception>,
    packet: &Packet,
) -> Option<P> {
    match (theirs, exception) {
        (Ok(Some((theirs, _))), None) => Some(theirs),
        (Err(_), Some(_)) => None,
        (Err(error), None) => panic!("the other refuses {packet:?}: {error:?}"),
        (Ok(_), Some(exception)) => panic!("no exception any more: {}", exception.reason()),
        (Ok(None), None) => panic!("the other wants more than {packet:?}"),
    }
}

/// What the other codec refuses without need.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exception {
    EmptyClientIdKeepsSession,
    MessageExpiryZero,
    EmptyFilter,
    DupOfV31,
    WillBitsOfV31,
    MissingLoginOfV31,
}

impl Exception {
    /// Why it is one.
    const fn reason(self) -> &'static str {
        match self {
            Self::EmptyClientIdKeepsSession => {
                "MQTT 5 assigns a client identifier without clean start too (3.1.3.1)"
            }
            Self::MessageExpiryZero => "a message expiry of 0 is not excluded (MQTT 5, 3.3.2.3.3)",
            Self::EmptyFilter => {
                "an empty filter is answered with 0x80 in SUBACK (the other does so in MQTT 5)"
            }
            Self::DupOfV31 => "MQTT 3.1 marks PUBREL, SUBSCRIBE and UNSUBSCRIBE that come again",
            Self::WillBitsOfV31 => "MQTT 3.1 disregards will QoS and retain without a will (3.1)",
            Self::MissingLoginOfV31 => {
                "MQTT 3.1 lets user name and password be missing at the end (3.1)"
            }
        }
    }

    /// The exception that a packet is, if it is one.
    fn of(packet: &Packet, version: ProtocolVersion, frame: &[u8]) -> Option<Self> {
        let is_v31 = version == ProtocolVersion::V31;
        if let Packet::Connect(connect) = packet {
            return Self::of_connect(connect, frame);
        }
        if is_v31 && frame[0] & 0x0F == 0b1010 && frame[0] >> 4 != 3 {
            return Some(Self::DupOfV31);
        }
        let is_empty = match packet {
            Packet::Subscribe(p) => p.filters.iter().any(|filter| filter.text().is_empty()),
            Packet::Unsubscribe(p) => p.filters.iter().any(|filter| filter.text().is_empty()),
            Packet::Publish(p) if p.expiry_seconds == Some(0) => {
                return Some(Self::MessageExpiryZero);
            }
            Packet::Publish(_)
            | Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::PubAck(_)
            | Packet::PubRec(_)
            | Packet::PubRel(_)
            | Packet::PubComp(_)
            | Packet::SubAck(_)
            | Packet::UnsubAck(_)
            | Packet::PingReq
            | Packet::PingResp
            | Packet::Disconnect(_)
            | Packet::Auth(_) => false,
        };
        (is_empty && !version.is_v5()).then_some(Self::EmptyFilter)
    }

    fn of_connect(connect: &Connect, frame: &[u8]) -> Option<Self> {
        let expires_at_once = |message: &Message| message.expiry_seconds == Some(0);
        let will = connect.will.as_ref();
        match connect.version {
            ProtocolVersion::V31 => {
                let flags = connect_flags_of_v31(frame);
                let misses_login = flags & 0x80 != 0 && connect.username.is_none()
                    || flags & 0x40 != 0 && connect.password.is_none();
                if will.is_none() && flags & 0b0011_1000 != 0 {
                    return Some(Self::WillBitsOfV31);
                }
                misses_login.then_some(Self::MissingLoginOfV31)
            }
            ProtocolVersion::V311 => None,
            ProtocolVersion::V5 if connect.client_id.is_none() && !connect.clean_start => {
                Some(Self::EmptyClientIdKeepsSession)
            }
            ProtocolVersion::V5 => will
                .is_some_and(|will| expires_at_once(&will.message))
                .then_some(Self::MessageExpiryZero),
        }
    }
}

/// The connect flags behind a fixed header, `MQIsdp` and the level.
fn connect_flags_of_v31(frame: &[u8]) -> u8 {
    let length_bytes = frame.iter().skip(1).take_while(|byte| **byte >= 0x80);
    frame[2 + length_bytes.count() + 2 + 6 + 1]
}

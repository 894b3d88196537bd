//! The last words to a client, and the words that go with any answer.

use bytes::BytesMut;
use tessera_mqtt::{
    Ack, Answer, ConnAck, Disconnect, MqttString, Packet, PacketId, ProtocolVersion, ReasonCode,
    UserProperties,
};

use super::event::AckKind;
use super::{Inbound, State};
use crate::refusal::{Detail, Refusal};
use crate::wire;

impl Inbound {
    /// Write why the connection ends, as far as its state and version have words for it: CONNACK
    /// before it was accepted, DISCONNECT of version 5 after, else nothing. Nothing is written
    /// after it (MQTT-3.14.4-1). A will of an accepted connection stays to be published.
    pub fn close(&mut self, refusal: &Refusal, out: &mut BytesMut) {
        match self.state {
            State::Opening => answer_undecoded(refusal, out),
            State::Proving | State::Deciding => {
                self.will = None;
                self.write_refusal(refusal, out);
            }
            State::Online if self.client.version.is_v5() => self.write_disconnect(refusal, out),
            State::Online | State::Closed => {}
        }
        self.state = State::Closed;
    }

    /// Reason String and User Properties of an answer that is neither CONNACK nor DISCONNECT
    /// (MQTT-3.1.2-29).
    pub(super) fn words(&self, detail: Option<&Detail>) -> (Option<MqttString>, UserProperties) {
        match detail {
            Some(detail) if self.client.problem_information => {
                (reason_string(detail), detail.user_properties.clone())
            }
            Some(_) | None => (None, UserProperties::EMPTY),
        }
    }

    /// Write PUBACK, PUBREC or PUBCOMP.
    pub(super) fn write_ack(
        &self,
        kind: AckKind,
        packet_id: PacketId,
        reason: ReasonCode,
        detail: Option<&Detail>,
        out: &mut BytesMut,
    ) {
        let (reason_string, user_properties) = self.words(detail);
        let ack = Ack {
            packet_id,
            reason,
            reason_string,
            user_properties,
        };
        self.write(&ack_packet(kind, ack), out);
    }

    fn write_refusal(&self, refusal: &Refusal, out: &mut BytesMut) {
        let reason = match self.client.version {
            ProtocolVersion::V5 => wire::connack_reason(refusal.reason),
            ProtocolVersion::V31 | ProtocolVersion::V311 => {
                // No return code fits: close without CONNACK (3.1.1: MQTT-3.2.2-6).
                match refusal.reason.connect_return_code() {
                    Some(code) if refusal.reason.is_failure() => code.reason(),
                    Some(_) | None => return,
                }
            }
        };
        self.write(&connack(reason, refusal), out);
    }

    fn write_disconnect(&self, refusal: &Refusal, out: &mut BytesMut) {
        let disconnect = Disconnect {
            reason: wire::disconnect_reason(refusal.reason),
            session_expiry_seconds: None,
            reason_string: reason_string(&refusal.detail),
            server_reference: server_reference(refusal),
            user_properties: refusal.detail.user_properties.clone(),
        };
        self.write(&Packet::Disconnect(disconnect), out);
    }
}

/// The bytes of a CONNECT that no CONNECT came of: its decoder knows what may be said.
fn answer_undecoded(refusal: &Refusal, out: &mut BytesMut) {
    let (reason, version) = match refusal.answer {
        Some(Answer::ConnAckV3(code)) => (code.reason(), ProtocolVersion::V311),
        Some(Answer::ConnAckV5) => (wire::connack_reason(refusal.reason), ProtocolVersion::V5),
        Some(Answer::Close | Answer::Disconnect) | None => return,
    };
    wire::write(&connack(reason, refusal), version, u32::MAX, out);
}

fn connack(reason: ReasonCode, refusal: &Refusal) -> Packet {
    Packet::ConnAck(Box::new(ConnAck {
        reason_string: reason_string(&refusal.detail),
        server_reference: server_reference(refusal),
        user_properties: refusal.detail.user_properties.clone(),
        ..ConnAck::new(reason)
    }))
}

fn ack_packet(kind: AckKind, ack: Ack) -> Packet {
    match kind {
        AckKind::PubAck => Packet::PubAck(ack),
        AckKind::PubRec => Packet::PubRec(ack),
        AckKind::PubComp => Packet::PubComp(ack),
    }
}

/// Words that are no MQTT string are left out.
pub(super) fn reason_string(detail: &Detail) -> Option<MqttString> {
    MqttString::try_from(detail.text.as_deref()?).ok()
}

fn server_reference(refusal: &Refusal) -> Option<MqttString> {
    MqttString::try_from(refusal.server_reference.as_deref()?).ok()
}

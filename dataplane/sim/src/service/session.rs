//! What a client keeps of its session from one connection to the next, and how it answers packets.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use tessera_mqtt::{Ack, Message, Packet, PacketId, Publish, Qos, SubAck, TopicName};

use crate::contract::{self as contract, Act, Connection, Delivery, MessageId, Payload, Who};
use crate::service::recorder::Recorder;
use crate::service::tenants::Refused;

/// How far a message that the client publishes has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Sent, and not acknowledged.
    Sent,
    /// Of QoS 2: PUBREC came, PUBCOMP did not.
    Received,
}

#[derive(Debug, Clone)]
struct Inflight {
    packet: u16,
    publish: contract::Publish,
    stage: Stage,
}

/// A request that waits for its SUBACK or UNSUBACK; there is one at most.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) connection: Connection,
    pub(crate) packet: u16,
    pub(crate) filters: Vec<Arc<str>>,
    pub(crate) is_steady: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Session {
    inflight: Vec<Inflight>,
    /// QoS 2 packet identifiers that were received and not released.
    received: BTreeSet<u16>,
    last_packet: u16,
    pub(crate) asked: Option<Asked>,
    /// The client's steady subscriptions stand.
    pub(crate) is_steady: bool,
    /// Other filters that it subscribed to.
    pub(crate) passing: Vec<Arc<str>>,
}

impl Session {
    /// Nothing is on its way.
    pub(crate) fn is_settled(&self) -> bool {
        let is_idle = self.inflight.is_empty() && self.received.is_empty();
        is_idle && self.asked.is_none() && self.is_steady
    }

    pub(crate) fn inflight(&self) -> usize {
        self.inflight.len()
    }

    pub(crate) fn next_packet(&mut self) -> u16 {
        loop {
            self.last_packet = self.last_packet.checked_add(1).unwrap_or(1);
            let packet = self.last_packet;
            if !self.inflight.iter().any(|one| one.packet == packet) {
                return packet;
            }
        }
    }

    /// The PUBLISH of a message that is new. It is written down before it is returned.
    pub(crate) fn publish(
        &mut self,
        recorder: &Recorder,
        who: Who,
        mut publish: contract::Publish,
    ) -> Result<Packet, Refused> {
        if publish.qos > Qos::AtMostOnce {
            publish.packet = Some(self.next_packet());
        }
        let packet = packet_of(&publish)?;
        if let Some(id) = publish.packet {
            self.inflight.push(Inflight {
                packet: id,
                publish: publish.clone(),
                stage: Stage::Sent,
            });
        }
        recorder.act(who, Act::Publish(publish));
        Ok(packet)
    }

    /// What the standard has a client send again on a new connection of its session, in order.
    pub(crate) fn resend(&mut self, recorder: &Recorder, who: Who) -> Result<Vec<Packet>, Refused> {
        let mut packets = Vec::new();
        for one in &self.inflight {
            match one.stage {
                Stage::Sent => {
                    let publish = contract::Publish {
                        dup: true,
                        ..one.publish.clone()
                    };
                    packets.push(packet_of(&publish)?);
                    recorder.act(who, Act::Publish(publish));
                }
                Stage::Received => packets.push(Packet::PubRel(ack(one.packet)?)),
            }
        }
        Ok(packets)
    }

    /// Takes a packet and writes down what it says; the answer, if there is one to give.
    pub(crate) fn handle_packet(
        &mut self,
        recorder: &Recorder,
        who: Who,
        packet: Packet,
    ) -> Result<Option<Packet>, Refused> {
        match packet {
            Packet::Publish(publish) => self.handle_publish(recorder, who, publish),
            Packet::PubAck(ack) => {
                self.end_publish(recorder, who, &ack);
                Ok(None)
            }
            Packet::PubRec(ack) => Ok(self.handle_pubrec(recorder, who, &ack)),
            Packet::PubRel(ack) => {
                self.received.remove(&ack.packet_id.get());
                Ok(Some(Packet::PubComp(Ack::new(ack.packet_id))))
            }
            Packet::PubComp(ack) => {
                let id = ack.packet_id.get();
                self.inflight.retain(|one| one.packet != id);
                Ok(None)
            }
            Packet::SubAck(suback) => {
                self.handle_suback(recorder, who, &suback);
                Ok(None)
            }
            Packet::UnsubAck(unsuback) => {
                let packet = unsuback.packet_id.get();
                recorder.act(who, Act::UnsubAck { packet });
                self.asked
                    .take_if(|asked| (asked.connection, asked.packet) == (who.connection, packet));
                Ok(None)
            }
            Packet::PingResp | Packet::Disconnect(_) => Ok(None),
            Packet::Connect(_)
            | Packet::ConnAck(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Auth(_) => Err(Refused(format!("the server sent {packet:?}"))),
        }
    }

    /// What comes on a connection that was taken over: written down for the checker to find, without
    /// an answer. `is_same`: it was of this session.
    pub(crate) fn handle_late(
        &mut self,
        recorder: &Recorder,
        who: Who,
        packet: Packet,
        is_same: bool,
    ) -> Result<(), Refused> {
        let is_of_session = matches!(packet, Packet::PubAck(_) | Packet::PubRec(_));
        let is_of_connection = matches!(
            packet,
            Packet::Publish(_) | Packet::SubAck(_) | Packet::UnsubAck(_)
        );
        if is_of_connection || (is_of_session && is_same) {
            self.handle_packet(recorder, who, packet)?;
        }
        Ok(())
    }

    fn handle_publish(
        &mut self,
        recorder: &Recorder,
        who: Who,
        publish: Publish,
    ) -> Result<Option<Packet>, Refused> {
        let topic = publish
            .topic
            .name()
            .ok_or_else(|| Refused("an alias was not allowed".to_owned()))?;
        let id = publish.packet_id;
        let is_new = match (publish.qos, id) {
            (Qos::ExactlyOnce, Some(id)) => self.received.insert(id.get()),
            (Qos::AtMostOnce | Qos::AtLeastOnce | Qos::ExactlyOnce, _) => true,
        };
        if is_new {
            let delivery = Delivery {
                payload: payload_of(&publish.payload),
                topic: topic.as_str().into(),
                qos: publish.qos,
                dup: publish.dup,
                retain: publish.retain,
                packet: id.map(PacketId::get),
                expiry_seconds: publish.expiry_seconds,
            };
            recorder.act(who, Act::Deliver(delivery));
        }
        Ok(id.map(|id| match publish.qos {
            Qos::AtMostOnce | Qos::AtLeastOnce => Packet::PubAck(Ack::new(id)),
            Qos::ExactlyOnce => Packet::PubRec(Ack::new(id)),
        }))
    }

    fn handle_pubrec(&mut self, recorder: &Recorder, who: Who, ack: &Ack) -> Option<Packet> {
        let id = ack.packet_id.get();
        if ack.reason.is_failure() {
            self.end_publish(recorder, who, ack);
            return None;
        }
        let found = self.inflight.iter_mut().find(|one| one.packet == id);
        if let Some(one) = found
            && one.stage == Stage::Sent
        {
            one.stage = Stage::Received;
            let message = one.publish.message;
            recorder.act(who, Act::Published { message });
        }
        Some(Packet::PubRel(Ack::new(ack.packet_id)))
    }

    /// PUBACK, or a PUBREC that refuses.
    fn end_publish(&mut self, recorder: &Recorder, who: Who, ack: &Ack) {
        let id = ack.packet_id.get();
        let Some(at) = self.inflight.iter().position(|one| one.packet == id) else {
            return;
        };
        let message = self.inflight.remove(at).publish.message;
        let act = if ack.reason.is_failure() {
            Act::Refused { message }
        } else {
            Act::Published { message }
        };
        recorder.act(who, act);
    }

    fn handle_suback(&mut self, recorder: &Recorder, who: Who, suback: &SubAck) {
        let granted = suback.codes.iter();
        let granted = granted.map(|code| Qos::try_from(code.as_u8()).ok());
        let granted: Vec<Option<Qos>> = granted.collect();
        let packet = suback.packet_id.get();
        let is_answer =
            |asked: &mut Asked| (asked.connection, asked.packet) == (who.connection, packet);
        let asked = self.asked.take_if(is_answer);
        if let Some(asked) = asked {
            if asked.is_steady {
                self.is_steady = granted.iter().all(Option::is_some);
            } else {
                self.passing.extend(asked.filters);
            }
        }
        recorder.act(who, Act::SubAck { packet, granted });
    }
}

/// What the payload of a message of the run says.
pub(crate) fn payload_of(payload: &[u8]) -> Payload {
    if payload.is_empty() {
        return Payload::Empty;
    }
    // Anything else is a message that nobody published.
    let number = payload.try_into().map_or(u64::MAX, u64::from_be_bytes);
    Payload::Message(MessageId(number))
}

/// The payload that says this number.
pub(crate) fn payload(message: MessageId) -> Bytes {
    Bytes::copy_from_slice(&message.0.to_be_bytes())
}

fn packet_of(publish: &contract::Publish) -> Result<Packet, Refused> {
    let payload = if publish.is_empty {
        Bytes::new()
    } else {
        payload(publish.message)
    };
    let mut message = Message::new(TopicName::try_from(&*publish.topic)?, payload);
    message.qos = publish.qos;
    message.retain = publish.retain;
    message.expiry_seconds = publish.expiry_seconds;
    let id = publish.packet.and_then(PacketId::new);
    let mut packet = Publish::new(message, id);
    packet.dup = publish.dup;
    Ok(Packet::Publish(packet))
}

fn ack(packet: u16) -> Result<Ack, Refused> {
    let id =
        PacketId::new(packet).ok_or_else(|| Refused("a packet identifier is not 0".to_owned()))?;
    Ok(Ack::new(id))
}

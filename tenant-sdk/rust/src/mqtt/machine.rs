//! The client's side of one connection after CONNACK: pure, without sockets or clock.
//!
//! ```text
//! leaving  QoS 1:  Publish ─PUBACK─> answered
//!          QoS 2:  Publish ─PUBREC─> Release (PUBREL sent) ─PUBCOMP─> answered
//! arriving QoS 2:  PUBLISH (handed out, PUBREC) ─PUBREL─> forgotten (PUBCOMP)
//! ```

use std::collections::{HashMap, HashSet};

use bytes::BytesMut;
use tessera_mqtt::{
    Ack, Disconnect, EncodeError, Message, MqttString, Packet, PacketId, ProtocolVersion, Publish,
    PublishTopic, Qos, ReasonCode, Subscribe, SubscribeFilter, Unsubscribe, UnsubscribeFilter,
    encode,
};

use super::client::Received;
use super::error::Closed;

/// What is promised by CONNACK.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Granted {
    pub(crate) version: ProtocolVersion,
    /// `QoS` 1 and 2 messages on their way at once.
    pub(crate) receive_maximum: u16,
    /// Bytes of the largest packet that the server takes.
    pub(crate) packet_bytes_max: u32,
}

/// The server's answer to a request: a code for each thing asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) codes: Vec<ReasonCode>,
    pub(crate) text: Option<String>,
}

/// What a packet leads to. `R` is whom to tell: a channel, in tests a number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Effect<R> {
    Nothing,
    Deliver(Received),
    Answered(R, Answer),
    Pong,
    Ended(Closed),
}

/// What is waited for under a packet identifier.
#[derive(Debug)]
enum InFlight<R> {
    /// `QoS` 1 published.
    Publish(R),
    /// `QoS` 2 published.
    PublishTwice(R),
    /// PUBREL sent; the answer of PUBREC is kept.
    Release(R, Answer),
    Subscribe(R),
    Unsubscribe(R),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine<R> {
    granted: Granted,
    last_id: u16,
    in_flight: HashMap<PacketId, InFlight<R>>,
    /// `QoS` 1 and 2 messages among them.
    publishing: u16,
    received_twice: HashSet<PacketId>,
}

impl<R> Machine<R> {
    pub(crate) fn new(granted: Granted) -> Self {
        Self {
            granted,
            last_id: 0,
            in_flight: HashMap::new(),
            publishing: 0,
            received_twice: HashSet::new(),
        }
    }

    /// Whether another request may be made now: the server's window is open.
    pub(crate) const fn has_room(&self) -> bool {
        self.publishing < self.granted.receive_maximum
    }

    /// Writes a PUBLISH. Gives `reply` back if nothing more is to come: `QoS` 0, or an error.
    pub(crate) fn publish(
        &mut self,
        message: Message,
        reply: R,
        out: &mut BytesMut,
    ) -> Result<Option<R>, (R, EncodeError)> {
        let qos = message.qos;
        let packet_id = match qos {
            Qos::AtMostOnce => None,
            Qos::AtLeastOnce | Qos::ExactlyOnce => Some(self.next_id()),
        };
        let packet = Packet::Publish(Publish::new(message, packet_id));
        if let Err(error) = self.write(&packet, out) {
            return Err((reply, error));
        }
        let Some(packet_id) = packet_id else {
            return Ok(Some(reply));
        };
        self.publishing += 1;
        let waiting = match qos {
            Qos::AtMostOnce | Qos::AtLeastOnce => InFlight::Publish(reply),
            Qos::ExactlyOnce => InFlight::PublishTwice(reply),
        };
        self.in_flight.insert(packet_id, waiting);
        Ok(None)
    }

    pub(crate) fn subscribe(
        &mut self,
        filters: Vec<SubscribeFilter>,
        reply: R,
        out: &mut BytesMut,
    ) -> Result<(), (R, EncodeError)> {
        let packet_id = self.next_id();
        let packet = Packet::Subscribe(Subscribe::new(packet_id, filters));
        self.request(&packet, packet_id, InFlight::Subscribe(reply), out)
    }

    pub(crate) fn unsubscribe(
        &mut self,
        filters: Vec<UnsubscribeFilter>,
        reply: R,
        out: &mut BytesMut,
    ) -> Result<(), (R, EncodeError)> {
        let packet_id = self.next_id();
        let packet = Packet::Unsubscribe(Unsubscribe::new(packet_id, filters));
        self.request(&packet, packet_id, InFlight::Unsubscribe(reply), out)
    }

    pub(crate) fn ping(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.write(&Packet::PingReq, out)
    }

    pub(crate) fn disconnect(&self, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.write(
            &Packet::Disconnect(Disconnect::new(ReasonCode::Success)),
            out,
        )
    }

    /// Takes a packet of the server's; what it must be answered with is written to `out`.
    pub(crate) fn handle_packet(
        &mut self,
        packet: Packet,
        out: &mut BytesMut,
    ) -> Result<Effect<R>, Closed> {
        match packet {
            Packet::Publish(publish) => self.handle_publish(publish, out),
            Packet::PubAck(ack) => self.handle_puback(ack),
            Packet::PubRec(ack) => self.handle_pubrec(ack, out),
            Packet::PubComp(ack) => self.handle_pubcomp(&ack),
            Packet::PubRel(ack) => self.handle_pubrel(&ack, out),
            Packet::SubAck(ack) => match self.in_flight.remove(&ack.packet_id) {
                Some(InFlight::Subscribe(reply)) => Ok(Effect::Answered(
                    reply,
                    answer(ack.codes, ack.reason_string),
                )),
                other => Err(unexpected("SUBACK", other.is_some())),
            },
            Packet::UnsubAck(ack) => match self.in_flight.remove(&ack.packet_id) {
                Some(InFlight::Unsubscribe(reply)) => Ok(Effect::Answered(
                    reply,
                    answer(ack.codes, ack.reason_string),
                )),
                other => Err(unexpected("UNSUBACK", other.is_some())),
            },
            Packet::PingResp => Ok(Effect::Pong),
            Packet::Disconnect(disconnect) => Ok(Effect::Ended(Closed::ByServer {
                reason: disconnect.reason,
                text: disconnect
                    .reason_string
                    .map(|text| text.as_str().to_owned()),
            })),
            Packet::ConnAck(_) | Packet::Auth(_) => Err(Closed::Protocol(
                "a second CONNACK, or an AUTH nobody asked for".to_owned(),
            )),
            Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq => Err(Closed::Protocol("a packet of a client".to_owned())),
        }
    }

    fn handle_publish(
        &mut self,
        publish: Publish,
        out: &mut BytesMut,
    ) -> Result<Effect<R>, Closed> {
        let (qos, dup, packet_id) = (publish.qos, publish.dup, publish.packet_id);
        let subscription_ids = publish.subscription_ids.to_vec();
        let message = publish.into_message(|topic| match topic {
            PublishTopic::Name(name) => Ok(name),
            // None was allowed in CONNECT.
            PublishTopic::Define { .. } | PublishTopic::Alias(_) => Err(Closed::Protocol(
                "a topic alias that was not allowed".to_owned(),
            )),
        })?;
        let received = Effect::Deliver(Received {
            message,
            dup,
            subscription_ids,
        });
        let Some(packet_id) = packet_id else {
            return Ok(received);
        };
        match qos {
            Qos::AtMostOnce => Ok(received),
            Qos::AtLeastOnce => {
                self.acknowledge(Packet::PubAck(Ack::new(packet_id)), out)?;
                Ok(received)
            }
            Qos::ExactlyOnce => {
                self.acknowledge(Packet::PubRec(Ack::new(packet_id)), out)?;
                let is_new = self.received_twice.insert(packet_id);
                Ok(if is_new { received } else { Effect::Nothing })
            }
        }
    }

    fn handle_puback(&mut self, ack: Ack) -> Result<Effect<R>, Closed> {
        match self.in_flight.remove(&ack.packet_id) {
            Some(InFlight::Publish(reply)) => {
                self.publishing -= 1;
                Ok(Effect::Answered(
                    reply,
                    answer(vec![ack.reason], ack.reason_string),
                ))
            }
            other => Err(unexpected("PUBACK", other.is_some())),
        }
    }

    fn handle_pubrec(&mut self, ack: Ack, out: &mut BytesMut) -> Result<Effect<R>, Closed> {
        let id = ack.packet_id;
        match self.in_flight.remove(&id) {
            // A refusal ends the exchange (MQTT 5, 4.3.3).
            Some(InFlight::PublishTwice(reply)) if ack.reason.is_failure() => {
                self.publishing -= 1;
                Ok(Effect::Answered(
                    reply,
                    answer(vec![ack.reason], ack.reason_string),
                ))
            }
            Some(InFlight::PublishTwice(reply)) => {
                let kept = answer(vec![ack.reason], ack.reason_string);
                self.in_flight.insert(id, InFlight::Release(reply, kept));
                self.acknowledge(Packet::PubRel(Ack::new(id)), out)?;
                Ok(Effect::Nothing)
            }
            Some(released @ InFlight::Release(..)) => {
                self.in_flight.insert(id, released);
                self.acknowledge(Packet::PubRel(Ack::new(id)), out)?;
                Ok(Effect::Nothing)
            }
            other => Err(unexpected("PUBREC", other.is_some())),
        }
    }

    fn handle_pubcomp(&mut self, ack: &Ack) -> Result<Effect<R>, Closed> {
        match self.in_flight.remove(&ack.packet_id) {
            Some(InFlight::Release(reply, kept)) => {
                self.publishing -= 1;
                Ok(Effect::Answered(reply, kept))
            }
            other => Err(unexpected("PUBCOMP", other.is_some())),
        }
    }

    fn handle_pubrel(&mut self, ack: &Ack, out: &mut BytesMut) -> Result<Effect<R>, Closed> {
        // One that is not known was received on a former connection: it is done all the same.
        let known = self.received_twice.remove(&ack.packet_id);
        let reason = if known || !self.granted.version.is_v5() {
            ReasonCode::Success
        } else {
            ReasonCode::PacketIdentifierNotFound
        };
        self.acknowledge(
            Packet::PubComp(Ack {
                reason,
                ..Ack::new(ack.packet_id)
            }),
            out,
        )?;
        Ok(Effect::Nothing)
    }

    fn request(
        &mut self,
        packet: &Packet,
        packet_id: PacketId,
        waiting: InFlight<R>,
        out: &mut BytesMut,
    ) -> Result<(), (R, EncodeError)> {
        match (self.write(packet, out), waiting) {
            (Ok(()), waiting) => {
                self.in_flight.insert(packet_id, waiting);
                Ok(())
            }
            (
                Err(error),
                InFlight::Subscribe(reply)
                | InFlight::Unsubscribe(reply)
                | InFlight::Publish(reply)
                | InFlight::PublishTwice(reply)
                | InFlight::Release(reply, _),
            ) => Err((reply, error)),
        }
    }

    fn acknowledge(&self, packet: Packet, out: &mut BytesMut) -> Result<(), Closed> {
        self.write(&packet, out)
            .map_err(|error| Closed::Protocol(error.to_string()))
    }

    fn write(&self, packet: &Packet, out: &mut BytesMut) -> Result<(), EncodeError> {
        let start = out.len();
        encode(packet, self.granted.version, out)?;
        let len = out.len() - start;
        let len_max = usize::try_from(self.granted.packet_bytes_max).unwrap_or(usize::MAX);
        if len > len_max {
            out.truncate(start);
            return Err(EncodeError::PacketTooLong { len });
        }
        Ok(())
    }

    /// The next identifier that nothing waits under. There is one: at most `receive_maximum` messages
    /// and the few other requests that the driver lets through are in flight.
    fn next_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last_id)
                && !self.in_flight.contains_key(&id)
            {
                return id;
            }
        }
    }
}

fn answer(codes: Vec<ReasonCode>, text: Option<MqttString>) -> Answer {
    Answer {
        codes,
        text: text.map(|text| text.as_str().to_owned()),
    }
}

fn unexpected(packet: &str, is_in_use: bool) -> Closed {
    let what = if is_in_use {
        "of something else"
    } else {
        "that nothing waits under"
    };
    Closed::Protocol(format!("{packet} with an identifier {what}"))
}

#[cfg(test)]
mod tests;

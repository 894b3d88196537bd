//! PUBLISH of the client, its acknowledgement, PUBREL.

use std::borrow::Cow;

use bytes::BytesMut;
use tessera_mqtt::{Message, PacketId, Publish, Qos, ReasonCode, TopicName};

use super::Inbound;
use super::event::{AckKind, Event, InboundPublish, Ticket};
use super::order::{Answers, Ready};
use super::receipt::Stage;
use crate::limits::{UNANSWERED_V3_MAX, UNRELEASED_IDENTIFIERS_MAX};
use crate::refusal::{Detail, Violation};
use crate::wire;

/// First levels of topics that are the server's own: nobody publishes there.
const RESERVED_FIRST_LEVELS: [&[u8]; 2] = [b"$SYS", b"$queue"];

impl Inbound {
    /// The message of that ticket is settled: what must be durable is, or it was refused. Its
    /// acknowledgement leaves in its turn, by [`Self::write_acknowledgements`]. A reason that
    /// PUBACK cannot say becomes 0x80.
    ///
    /// # Errors
    /// The message was refused and version 3 cannot say so: it is never acknowledged, the
    /// connection must end.
    pub fn complete_publish(
        &mut self,
        ticket: Ticket,
        reason: ReasonCode,
        detail: Option<Box<Detail>>,
    ) -> Result<(), Violation> {
        let said = wire::puback_reason(reason);
        if said.is_failure() && !self.client.version.is_v5() {
            let text = detail.and_then(|detail| detail.text);
            return Err(Violation::new(
                reason,
                text.unwrap_or_else(|| "a message was refused".into()),
            ));
        }
        let detail = detail.filter(|_| self.client.problem_information);
        self.order.complete(ticket, said, detail);
        Ok(())
    }

    /// Write each PUBACK and PUBREC whose turn it is, in PUBLISH order. How many.
    pub fn write_acknowledgements(&mut self, out: &mut BytesMut) -> usize {
        let mut written = 0;
        while let Some(ready) = self.order.pop_ready() {
            written += usize::from(self.write_acknowledgement(ready, out));
        }
        written
    }

    /// The removal of that identifier is durable: write PUBCOMP. From here on it means a new
    /// message (MQTT-4.3.3-12).
    pub fn complete_release(&mut self, packet_id: PacketId, out: &mut BytesMut) {
        if self.receipts.stage(packet_id) == Some(Stage::Releasing) {
            self.forget(packet_id);
            self.write_ack(AckKind::PubComp, packet_id, ReasonCode::Success, None, out);
        }
    }

    pub(super) fn handle_publish(&mut self, publish: Publish) -> Result<Event, Violation> {
        self.check_grants(&publish)?;
        let maximum = self.limits.topic_alias_maximum;
        let packet_id = publish.packet_id;
        let aliases = &mut self.aliases;
        let message = publish.into_message(|topic| aliases.resolve(topic, maximum))?;
        match (message.qos, packet_id) {
            (Qos::AtMostOnce, _) => self.receive(message, None),
            (Qos::AtLeastOnce, Some(packet_id)) => self.receive_qos1(message, packet_id),
            (Qos::ExactlyOnce, Some(packet_id)) => self.receive_qos2(message, packet_id),
            (Qos::AtLeastOnce | Qos::ExactlyOnce, None) => {
                Err(Violation::protocol("no packet identifier"))
            }
        }
    }

    pub(super) fn handle_pubrel(
        &mut self,
        packet_id: PacketId,
        out: &mut BytesMut,
    ) -> Result<Event, Violation> {
        match self.receipts.stage(packet_id) {
            Some(Stage::Held { .. }) => {
                self.receipts.set(packet_id, Stage::Releasing);
                Ok(Event::Release(packet_id))
            }
            // Its PUBCOMP comes.
            Some(Stage::Releasing) => Ok(Event::Nothing),
            Some(Stage::Routing) => Err(Violation::protocol("PUBREL before PUBREC")),
            None => {
                let reason = ReasonCode::PacketIdentifierNotFound;
                self.write_ack(AckKind::PubComp, packet_id, reason, None, out);
                Ok(Event::Nothing)
            }
        }
    }

    fn receive_qos1(&mut self, message: Message, packet_id: PacketId) -> Result<Event, Violation> {
        if self.receipts.stage(packet_id).is_some() {
            return self.refuse_identifier(Answers::PubAck, packet_id);
        }
        self.take_place()?;
        let ticket = self.order.enter(Answers::PubAck, packet_id);
        self.receive(message, Some((ticket, packet_id)))
    }

    fn receive_qos2(&mut self, message: Message, packet_id: PacketId) -> Result<Event, Violation> {
        match self.receipts.stage(packet_id) {
            None => {}
            // The PUBREC that is to come answers both.
            Some(Stage::Routing | Stage::Held { repeat: true }) => return Ok(Event::Nothing),
            Some(Stage::Held { repeat: false }) => return self.receive_again(packet_id),
            Some(Stage::Releasing) => {
                return self.refuse_identifier(Answers::PubRecRefused, packet_id);
            }
        }
        if self.receipts.is_full() {
            let text = format!("{UNRELEASED_IDENTIFIERS_MAX} messages wait for their PUBREL");
            return Err(Violation::new(ReasonCode::QuotaExceeded, text));
        }
        self.take_place()?;
        self.receipts.insert(packet_id);
        let ticket = self.order.enter(Answers::PubRec, packet_id);
        self.receive(message, Some((ticket, packet_id)))
    }

    /// A QoS 2 message that is known already: acknowledged, not routed again (MQTT-4.3.3-10).
    fn receive_again(&mut self, packet_id: PacketId) -> Result<Event, Violation> {
        if !self.receipts.is_counted(packet_id) {
            self.take_place()?;
            self.receipts.count(packet_id);
        }
        self.receipts.set(packet_id, Stage::Held { repeat: true });
        let ticket = self.order.enter(Answers::Repeat, packet_id);
        self.order.complete(ticket, ReasonCode::Success, None);
        Ok(Event::Nothing)
    }

    /// The identifier is in use for another message.
    fn refuse_identifier(
        &mut self,
        answers: Answers,
        packet_id: PacketId,
    ) -> Result<Event, Violation> {
        let reason = ReasonCode::PacketIdentifierInUse;
        self.take_place()?;
        let ticket = self.order.enter(answers, packet_id);
        self.complete_publish(ticket, reason, None)?;
        Ok(Event::Refused(reason))
    }

    /// To the shell, unless the message itself is not acceptable.
    fn receive(
        &mut self,
        message: Message,
        place: Option<(Ticket, PacketId)>,
    ) -> Result<Event, Violation> {
        let (ticket, packet_id) = place.unzip();
        let Some((reason, text)) = self.check_message(&message) else {
            return Ok(Event::Publish(InboundPublish {
                message,
                ticket,
                packet_id,
            }));
        };
        if let Some(ticket) = ticket {
            let detail = Some(Box::new(Detail::text(text)));
            self.complete_publish(ticket, reason, detail)?;
        }
        Ok(Event::Refused(reason))
    }

    /// What CONNACK told the client not to send.
    fn check_grants(&self, publish: &Publish) -> Result<(), Violation> {
        let limits = &self.limits;
        if publish.qos > limits.maximum_qos {
            let text = format!("the maximum QoS is {}", limits.maximum_qos.as_u8());
            return Err(Violation::new(ReasonCode::QosNotSupported, text));
        }
        if publish.retain && !limits.retain_available {
            let text = "retained messages are not available";
            return Err(Violation::fixed(ReasonCode::RetainNotSupported, text));
        }
        if !publish.subscription_ids.is_empty() {
            let text = "a client sent a subscription identifier in PUBLISH";
            return Err(Violation::protocol(text));
        }
        Ok(())
    }

    /// Why this message is refused though the connection may go on.
    pub(super) fn check_message(
        &self,
        message: &Message,
    ) -> Option<(ReasonCode, Cow<'static, str>)> {
        let topic = &message.topic;
        let invalid = ReasonCode::TopicNameInvalid;
        if topic.is_dollar() && is_reserved(topic) {
            return Some((invalid, "the topic is the server's own".into()));
        }
        let bytes_max = self.limits.topic_bytes_max;
        if topic.as_bytes().len() > bytes_max {
            return Some((
                invalid,
                format!("the topic has more than {bytes_max} bytes").into(),
            ));
        }
        let levels_max = self.limits.topic_levels_max;
        // A topic has at most one level more than it has bytes.
        if topic.as_bytes().len() >= levels_max && level_count(topic) > levels_max {
            return Some((
                invalid,
                format!("the topic has more than {levels_max} levels").into(),
            ));
        }
        if !message.properties.is_empty() && !message.payload_fits_format() {
            let text = "the payload is not the UTF-8 that it is said to be";
            return Some((ReasonCode::PayloadFormatInvalid, text.into()));
        }
        None
    }

    /// One more message in flight. A version 3 client has no receive maximum; its shell stops
    /// reading.
    fn take_place(&mut self) -> Result<(), Violation> {
        let maximum = usize::from(self.limits.receive_maximum);
        if self.client.version.is_v5() && self.in_flight >= maximum {
            let text = format!("more than {maximum} messages of QoS 1 and 2 in flight");
            return Err(Violation::new(ReasonCode::ReceiveMaximumExceeded, text));
        }
        if self.order.len() >= UNANSWERED_V3_MAX {
            let text = format!("more than {UNANSWERED_V3_MAX} messages unanswered");
            return Err(Violation::new(ReasonCode::ReceiveMaximumExceeded, text));
        }
        self.in_flight += 1;
        Ok(())
    }

    fn give_place_back(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    fn forget(&mut self, packet_id: PacketId) {
        if self.receipts.remove(packet_id) {
            self.give_place_back();
        }
    }

    /// Whether something was written: a repeat that its PUBREL overtook needs nothing.
    fn write_acknowledgement(&mut self, ready: Ready, out: &mut BytesMut) -> bool {
        let packet_id = ready.packet_id;
        let kind = match ready.answers {
            Answers::PubAck => {
                self.give_place_back();
                AckKind::PubAck
            }
            Answers::PubRecRefused => {
                self.give_place_back();
                AckKind::PubRec
            }
            Answers::PubRec if ready.reason.is_failure() => {
                self.forget(packet_id);
                AckKind::PubRec
            }
            Answers::PubRec => {
                self.receipts.set(packet_id, Stage::Held { repeat: false });
                AckKind::PubRec
            }
            Answers::Repeat => {
                if self.receipts.stage(packet_id) != Some(Stage::Held { repeat: true }) {
                    return false;
                }
                self.receipts.set(packet_id, Stage::Held { repeat: false });
                AckKind::PubRec
            }
        };
        self.write_ack(kind, packet_id, ready.reason, ready.detail.as_deref(), out);
        true
    }
}

fn level_count(topic: &TopicName) -> usize {
    1 + topic
        .as_bytes()
        .iter()
        .filter(|byte| **byte == b'/')
        .count()
}

fn is_reserved(topic: &TopicName) -> bool {
    let first = topic.levels().next();
    first.is_some_and(|first| RESERVED_FIRST_LEVELS.contains(&first))
}

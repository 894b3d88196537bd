//! Acknowledgements of what was delivered, and the PUBREL between two of them.

use std::time::Duration;

use bytes::BytesMut;
use tessera_mqtt::{Ack, Packet, PacketId, ReasonCode};

use super::window::Slot;
use super::{Numbering, Outbound, Sequence};
use crate::inbound::{AckKind, ClientAck};
use crate::refusal::Violation;
use crate::wire;

/// What an acknowledgement did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckOutcome {
    /// Nothing that the session must remember.
    Nothing,
    /// All deliveries below are acknowledged, more than before: the inbox may forget them.
    Progress {
        /// The first that is not.
        acknowledged_below: Sequence,
    },
    /// PUBREC under [`Numbering::Inbox`]: make it durable, then call [`Outbound::release`].
    Received(Sequence),
}

impl Outbound {
    /// The client acknowledged something. Opens the window and writes what waited for it.
    ///
    /// # Errors
    /// An acknowledgement of the wrong kind for its message (0x82). One for no message at all is
    /// not an error.
    pub fn handle_ack(
        &mut self,
        ack: ClientAck,
        now: Duration,
        out: &mut BytesMut,
    ) -> Result<AckOutcome, Violation> {
        if self.closed {
            return Ok(AckOutcome::Nothing);
        }
        let before = self.window.acknowledged_below();
        let received = match ack.kind {
            AckKind::PubAck => self.handle_puback(ack.packet_id)?,
            AckKind::PubRec => self.handle_pubrec(ack, out)?,
            AckKind::PubComp => self.handle_pubcomp(ack.packet_id)?,
        };
        self.flush(now, out);
        let acknowledged_below = self.window.acknowledged_below();
        Ok(match received {
            Some(sequence) => AckOutcome::Received(sequence),
            None if acknowledged_below > before => AckOutcome::Progress { acknowledged_below },
            None => AckOutcome::Nothing,
        })
    }

    /// The PUBREC of that delivery is durable: write its PUBREL. The message is never sent again
    /// (MQTT-4.3.3-6).
    pub fn release(&mut self, sequence: Sequence, out: &mut BytesMut) {
        if self.window.slot(sequence) == Some(Slot::Received) {
            self.window.set_released(sequence);
            self.write_pubrel(sequence.packet_id(), ReasonCode::Success, out);
        }
    }

    fn handle_puback(&mut self, packet_id: PacketId) -> Result<Option<Sequence>, Violation> {
        let Some((sequence, slot)) = self.window.find(packet_id) else {
            return Ok(None);
        };
        match slot {
            Slot::PubAckDue => self.window.set_done(sequence),
            Slot::Unsent | Slot::Done => {}
            Slot::PubRecDue | Slot::Received | Slot::PubCompDue => {
                return Err(Violation::protocol("PUBACK for a message of QoS 2"));
            }
        }
        Ok(None)
    }

    fn handle_pubrec(
        &mut self,
        ack: ClientAck,
        out: &mut BytesMut,
    ) -> Result<Option<Sequence>, Violation> {
        let found = self.window.find(ack.packet_id);
        match found {
            Some((sequence, Slot::PubRecDue)) if ack.reason.is_failure() => {
                self.window.set_done(sequence);
                Ok(None)
            }
            Some((sequence, Slot::PubRecDue)) => {
                self.window.set_received(sequence);
                Ok(self.receive(sequence, out))
            }
            Some((_, Slot::PubAckDue)) => Err(Violation::protocol("PUBREC for a message of QoS 1")),
            // It is being made durable.
            Some((_, Slot::Received)) => Ok(None),
            Some((_, Slot::PubCompDue)) => {
                self.write_pubrel(ack.packet_id, ReasonCode::Success, out);
                Ok(None)
            }
            Some((_, Slot::Unsent | Slot::Done)) | None => {
                if !ack.reason.is_failure() {
                    let reason = ReasonCode::PacketIdentifierNotFound;
                    self.write_pubrel(ack.packet_id, reason, out);
                }
                Ok(None)
            }
        }
    }

    fn handle_pubcomp(&mut self, packet_id: PacketId) -> Result<Option<Sequence>, Violation> {
        let Some((sequence, slot)) = self.window.find(packet_id) else {
            return Ok(None);
        };
        match slot {
            Slot::PubCompDue => self.window.set_done(sequence),
            Slot::Unsent | Slot::Done => {}
            Slot::PubAckDue => {
                return Err(Violation::protocol("PUBCOMP for a message of QoS 1"));
            }
            Slot::PubRecDue | Slot::Received => {
                return Err(Violation::protocol("PUBCOMP before PUBREL"));
            }
        }
        Ok(None)
    }

    /// What the shell must make durable before PUBREL, if anybody must.
    fn receive(&mut self, sequence: Sequence, out: &mut BytesMut) -> Option<Sequence> {
        match self.numbering {
            Numbering::Inbox => Some(sequence),
            Numbering::Own => {
                self.release(sequence, out);
                None
            }
        }
    }

    pub(super) fn write_pubrel(&self, packet_id: PacketId, reason: ReasonCode, out: &mut BytesMut) {
        if self.closed {
            return;
        }
        let ack = Ack::with_reason(packet_id, reason);
        wire::write(
            &Packet::PubRel(ack),
            self.version,
            self.packet_bytes_max,
            out,
        );
    }
}

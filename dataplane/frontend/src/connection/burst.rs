//! Handling the packets of one burst: never waits.

use tessera_mqtt::ReasonCode;
use tessera_session::{ClientAck, Event, Refusal, Ticket};

use super::session::{Completion, PublishOutcome};
use super::steps::Step;
use super::{Connection, End, Progress};
use crate::stream::DeviceStream;

/// Deliveries after which a burst lets other tasks run (protocols F).
const DELIVERIES_PER_TURN: usize = 256;

impl<S: DeviceStream> Connection<S> {
    /// Handles whole packets until none is left or one must wait.
    pub(super) fn handle_burst(&mut self) -> Result<Progress, End> {
        let mut deliveries = 0;
        while self.inbound.wants_packets() {
            let Some(packet) = self.decoder.decode(&mut self.unread)? else {
                break;
            };
            let event = self.inbound.handle_packet(packet, &mut self.unwritten)?;
            if let Some(step) = self.handle_event(event, &mut deliveries)? {
                return Ok(Progress::Step(Box::new(step)));
            }
            if deliveries >= DELIVERIES_PER_TURN {
                return Ok(Progress::Step(Box::new(Step::Yield)));
            }
        }
        self.release_unread();
        self.inbound.write_acknowledgements(&mut self.unwritten);
        self.after_acknowledgements();
        Ok(Progress::Drained)
    }

    fn handle_event(&mut self, event: Event, deliveries: &mut usize) -> Result<Option<Step>, End> {
        match event {
            Event::Publish(publish) => {
                *deliveries += 1;
                self.handle_publish(publish)
            }
            Event::Acknowledged(ack) => self.handle_ack(ack).map(|()| None),
            Event::Release(packet_id) => {
                self.release(packet_id);
                Ok(None)
            }
            Event::Subscribe(request) => Ok(Some(Step::Subscribe(request))),
            Event::Unsubscribe(request) => Ok(Some(Step::Unsubscribe(request))),
            Event::Disconnect(disconnect) => Err(End::Client(disconnect)),
            Event::Refused(_reason) => {
                self.shared.metrics.publishes_refused.add(1);
                Ok(None)
            }
            // Only the first packet is a CONNECT, and it is handled before a burst.
            Event::Connect(_) | Event::Reauthenticated | Event::Nothing => Ok(None),
        }
    }

    /// An acknowledgement of the client: frees its place in the window, which lets queued
    /// messages out.
    fn handle_ack(&mut self, ack: ClientAck) -> Result<(), End> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let now = self.shared.clock.now();
        let outcome = session
            .outbox
            .with(|outbound, out| outbound.handle_ack(ack, now, out))?;
        session.note_ack(&self.shared, outcome);
        Ok(())
    }

    /// Something that had to be durable is, or failed.
    pub(super) fn complete(&mut self, completion: Completion) -> Result<(), End> {
        let mut next = Some(completion);
        while let Some(completion) = next {
            self.complete_one(completion)?;
            next = self
                .session
                .as_mut()
                .and_then(|session| session.completions.take_ready());
        }
        self.inbound.write_acknowledgements(&mut self.unwritten);
        self.after_acknowledgements();
        Ok(())
    }

    fn complete_one(&mut self, completion: Completion) -> Result<(), End> {
        match completion {
            Completion::Publish { ticket, outcome } => self.complete_publish(ticket, outcome),
            Completion::PublishOnce { ticket, outcome } => {
                self.complete_publish(ticket, outcome.map_err(lost)?)
            }
            Completion::Released { packet_id, outcome } => {
                outcome.map_err(lost)?;
                self.inbound
                    .complete_release(packet_id, &mut self.unwritten);
                Ok(())
            }
            Completion::Received { sequence, outcome } => {
                outcome.map_err(lost)?;
                if let Some(session) = &self.session {
                    session.release_towards_client(sequence);
                }
                Ok(())
            }
            Completion::Kept => {
                if let Some(session) = &mut self.session {
                    session.keeping -= 1;
                }
                Ok(())
            }
            Completion::Acknowledged { outcome } => {
                if let Some(session) = &mut self.session {
                    session.home.note_acknowledged(outcome.is_ok());
                }
                Ok(())
            }
        }
    }

    /// Puts a publish's acknowledgement in its turn.
    pub(super) fn complete_publish(
        &mut self,
        ticket: Ticket,
        outcome: PublishOutcome,
    ) -> Result<(), End> {
        self.inbound
            .complete_publish(ticket, outcome.code, outcome.detail)?;
        Ok(())
    }
}

/// A state of the session could not be made durable: the client must come back and try again.
fn lost(error: String) -> End {
    End::Violated(Refusal::new(ReasonCode::UnspecifiedError, error))
}

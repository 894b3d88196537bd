//! What handling a packet leaves to be waited for.

use std::time::Duration;

use tessera_mqtt::{Message, ReasonCode};
use tessera_session::{Delivery, InboundPublish, SubscribeRequest, Ticket, UnsubscribeRequest};

use super::session::PublishOutcome;
use super::{Connection, End};
use crate::outbox::{ConnectionId, EndReason};
use crate::shared::Shared;
use crate::stream::DeviceStream;
use crate::targets::LocalTarget;

/// How long a publisher is held back by a receiver that does not take its messages, before the
/// receiver is ended.
const HOLD_MAX: Duration = Duration::from_secs(5);

/// Something that must be waited for before the next packet is handled.
#[derive(Debug)]
pub(crate) enum Step {
    /// The tenant's rate is reached: reading pauses, then the publish is tried again.
    Pause {
        publish: InboundPublish,
        wait: Duration,
    },
    /// QoS 2 of a persistent session: its identifier is made durable before the fan-out.
    PublishOnce(InboundPublish),
    /// Receivers are full: the publisher waits for them.
    Hold(Hold),
    Subscribe(SubscribeRequest),
    Unsubscribe(UnsubscribeRequest),
    /// Others shall have their turn.
    Yield,
}

/// A message that some receivers could not take.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) message: Message,
    pub(crate) receivers: Vec<LocalTarget>,
    /// To be completed afterwards; `None` if it is completed elsewhere.
    pub(crate) ticket: Option<Ticket>,
}

impl<S: DeviceStream> Connection<S> {
    /// Runs a step to its end. What the client is owed meanwhile is written first.
    pub(crate) async fn run_step(&mut self, step: Step) -> Result<(), End> {
        self.release_unread();
        self.take_messages()?;
        self.write().await?;
        match step {
            Step::Pause { publish, wait } => {
                tokio::time::sleep(wait).await;
                match self.handle_publish(publish)? {
                    Some(again) => Box::pin(self.run_step(again)).await,
                    None => Ok(()),
                }
            }
            Step::PublishOnce(publish) => match self.publish_once(publish).await? {
                Some(again) => Box::pin(self.run_step(again)).await,
                None => Ok(()),
            },
            Step::Hold(hold) => self.hold(hold).await,
            Step::Subscribe(request) => self.subscribe(request).await,
            Step::Unsubscribe(request) => self.unsubscribe(request).await,
            Step::Yield => {
                tokio::task::yield_now().await;
                Ok(())
            }
        }
    }

    async fn hold(&mut self, held: Hold) -> Result<(), End> {
        let own = self
            .session
            .as_ref()
            .map_or(ConnectionId::NOBODY, |session| session.outbox.id());
        hold(&self.shared, &held.message, &held.receivers, own).await;
        let Some(ticket) = held.ticket else {
            return Ok(());
        };
        self.complete_publish(ticket, PublishOutcome::plain(ReasonCode::Success))
    }
}

/// Waits until full receivers have the message; one that does not take it in time is ended.
pub(crate) async fn hold(
    shared: &Shared,
    message: &Message,
    receivers: &[LocalTarget],
    own: ConnectionId,
) {
    let deadline = tokio::time::Instant::now() + HOLD_MAX;
    for receiver in receivers {
        // Its own acknowledgements cannot be read while it is held: it would wait for itself.
        let waited =
            receiver.outbox.id() != own && deliver_by(shared, receiver, message, deadline).await;
        if !waited {
            receiver.outbox.end(EndReason::SlowReceiver);
        }
    }
}

/// Delivers as soon as there is room. `false` if there was none by the deadline.
async fn deliver_by(
    shared: &Shared,
    receiver: &LocalTarget,
    message: &Message,
    deadline: tokio::time::Instant,
) -> bool {
    loop {
        let room = receiver.outbox.room();
        tokio::pin!(room);
        // Registered before the try: room that comes between the two is not missed.
        room.as_mut().enable();
        match receiver.deliver(message, shared.clock.now()) {
            Delivery::WouldOverflow => {}
            Delivery::Written
            | Delivery::Queued
            | Delivery::DroppedTooLarge
            | Delivery::DroppedFull
            | Delivery::Known
            | Delivery::Closed => return true,
        }
        if tokio::time::timeout_at(deadline, room).await.is_err() {
            return false;
        }
    }
}

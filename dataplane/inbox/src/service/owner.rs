//! What the owner of a persistent session does with it.

use std::sync::Arc;

use tessera_mqtt::{FilterSpec, PacketId, SubscriptionId, SubscriptionOptions};

use super::Inbox;
use super::attach::fence_of;
use crate::answer::Answer;
use crate::bounds::{PACKET_IDS_MAX, SUBSCRIPTIONS_MAX};
use crate::command::{Command, Fence};
use crate::error::SessionError;
use crate::lane::{Drive, Duty, Lane};
use crate::query::{self, FetchBounds};
use crate::queue::{Fetched, PublishOrigin};
use crate::registry::Ownership;
use crate::rows::{Mark, Presence};
use crate::session::{SessionKind, SessionRef};

impl Inbox {
    /// Records that a route is about to be added in dist; [`confirm`](Self::confirm) follows once
    /// it is, then SUBACK. Answers whether the client had the subscription (retain handling 1).
    ///
    /// Changes of one filter are made one after another, each confirmed before the next.
    pub async fn subscribe(
        &self,
        session: &SessionRef,
        filter: &FilterSpec,
        options: SubscriptionOptions,
        subscription_id: Option<SubscriptionId>,
    ) -> Result<bool, SessionError> {
        let text = filter.to_string();
        let command = Command::Subscribe {
            fence: self.fence(session)?,
            filter: text.as_bytes(),
            options: options.as_u8(),
            subscription_id: subscription_id.map_or(0, SubscriptionId::get),
        };
        let answer = self.command(session, command).await?;
        if answer == Answer::Full {
            return Err(SessionError::TooManySubscriptions {
                limit: SUBSCRIPTIONS_MAX,
            });
        }
        existed(&answer)
    }

    /// Records that a route is about to be removed in dist; [`confirm`](Self::confirm) follows once
    /// it is, then UNSUBACK. `false`: there is no such subscription and nothing to remove.
    pub async fn unsubscribe(
        &self,
        session: &SessionRef,
        filter: &FilterSpec,
    ) -> Result<bool, SessionError> {
        let text = filter.to_string();
        let command = Command::Unsubscribe {
            fence: self.fence(session)?,
            filter: text.as_bytes(),
        };
        existed(&self.command(session, command).await?)
    }

    /// The route was added or removed, as was last recorded for this filter.
    pub async fn confirm(
        &self,
        session: &SessionRef,
        filter: &FilterSpec,
    ) -> Result<(), SessionError> {
        let text = filter.to_string();
        let command = Command::Confirm {
            fence: self.fence(session)?,
            filter: text.as_bytes(),
        };
        done(&self.command(session, command).await?)
    }

    /// Messages from the sequence `from` on: at most so many, of at most so many bytes together
    /// (but at least one). Start at [`Attached::cursor`](crate::Attached::cursor), go on at
    /// [`Fetched::next`]. Reads on the caller's thread, a few thousand messages at most.
    ///
    /// `now_ms` is the caller's Unix time in milliseconds: what has expired by then is skipped.
    pub fn fetch(
        &self,
        session: &SessionRef,
        from: u64,
        messages_max: usize,
        bytes_max: usize,
        now_ms: u64,
    ) -> Result<Fetched, SessionError> {
        let lane = self.lane(session)?;
        let (tenant, client) = (session.tenant, session.client.as_bytes());
        let bounds = FetchBounds {
            messages_max,
            bytes_max,
        };
        let fetched = self.read(tenant, client, |rows| {
            let row = query::session(rows, tenant, client)?.filter(|row| {
                row.incarnation == session.incarnation.0
                    && row.epoch == session.epoch.0
                    && row.presence == Presence::Online
            });
            let fetch = |row| query::fetch(rows, tenant, client, &row, from, bounds, now_ms);
            row.map(fetch).transpose()
        })?;
        let fetched = fetched.ok_or(SessionError::Stale)?;
        lane.note_sent(fetched.next);
        Ok(fetched)
    }

    /// Everything below is acknowledged and leaves the queue. Idempotent. Calls that come while one
    /// is being committed are committed together; each returns once its own is.
    pub async fn acknowledge(&self, session: &SessionRef, below: u64) -> Result<(), SessionError> {
        let lane = self.lane(session)?;
        loop {
            let progress = lane.progress();
            match lane.want(below) {
                Duty::Done => return Ok(()),
                // Whoever commits may fail: then it is up to one of those who wait.
                Duty::Wait => progress.await,
                Duty::Drive(drive) => return self.drive(session, drive).await,
            }
        }
    }

    /// PUBREC of a QoS 2 delivery came: once this returns, PUBREL may leave.
    pub async fn received(&self, session: &SessionRef, sequence: u64) -> Result<(), SessionError> {
        self.mark(session, sequence, Mark::Released).await
    }

    /// PUBCOMP of a QoS 2 delivery came, or it was not sent and is not to be, before earlier deliveries
    /// were acknowledged: it is not sent again. Otherwise [`acknowledge`](Self::acknowledge) says all.
    pub async fn completed(&self, session: &SessionRef, sequence: u64) -> Result<(), SessionError> {
        self.mark(session, sequence, Mark::Completed).await
    }

    /// A QoS 2 PUBLISH came: gives it the number under which the fan-out is stored once, however
    /// often it is tried. The same for the same identifier until its PUBREL.
    pub async fn qos2_publishing(
        &self,
        session: &SessionRef,
        id: PacketId,
    ) -> Result<PublishOrigin, SessionError> {
        let command = Command::Publishing {
            fence: self.fence(session)?,
            id: id.get(),
        };
        let answer = self.command(session, command).await?;
        if answer == Answer::Full {
            return Err(SessionError::TooManyPacketIds {
                limit: PACKET_IDS_MAX,
            });
        }
        let Answer::Number { number, floor } = answer else {
            return Err(refusal(&answer));
        };
        let (client, incarnation) = (session.client.clone(), session.incarnation);
        Ok(PublishOrigin {
            client,
            incarnation,
            number,
            floor,
        })
    }

    /// Every receiver of the message has it: once this returns, PUBREC may leave, and the message
    /// is not to be routed again whatever happens.
    pub async fn qos2_received(
        &self,
        session: &SessionRef,
        id: PacketId,
    ) -> Result<(), SessionError> {
        let command = Command::PublishReceived {
            fence: self.fence(session)?,
            id: id.get(),
        };
        done(&self.command(session, command).await?)
    }

    /// PUBREL came: once this returns the identifier is free and PUBCOMP may leave. Idempotent.
    pub async fn qos2_released(
        &self,
        session: &SessionRef,
        id: PacketId,
    ) -> Result<(), SessionError> {
        let command = Command::PublishReleased {
            fence: self.fence(session)?,
            id: id.get(),
        };
        done(&self.command(session, command).await?)
    }

    async fn mark(
        &self,
        session: &SessionRef,
        sequence: u64,
        mark: Mark,
    ) -> Result<(), SessionError> {
        let command = Command::Mark {
            fence: self.fence(session)?,
            sequence,
            mark,
        };
        done(&self.command(session, command).await?)
    }

    /// Commits acknowledgements for all who wait.
    async fn drive(&self, session: &SessionRef, drive: Drive<'_>) -> Result<(), SessionError> {
        let below = drive.below;
        loop {
            let command = Command::Acknowledge {
                fence: fence_of(session),
                below,
            };
            let answer = self.command(session, command).await?;
            if answer != Answer::More {
                done(&answer)?;
                drive.finish();
                return Ok(());
            }
        }
    }

    async fn command(
        &self,
        session: &SessionRef,
        command: Command<'_>,
    ) -> Result<Answer, SessionError> {
        Ok(self
            .propose(session.tenant, session.client.as_bytes(), command)
            .await?)
    }

    /// The fence of a session that is still the caller's, as far as this process knows; the group
    /// knows for certain.
    fn fence<'a>(&self, session: &'a SessionRef) -> Result<Fence<'a>, SessionError> {
        self.lane(session).map(|_| fence_of(session))
    }

    fn lane(&self, session: &SessionRef) -> Result<Arc<Lane>, SessionError> {
        if session.kind == SessionKind::Transient {
            return Err(SessionError::Transient);
        }
        let ours = Ownership {
            incarnation: session.incarnation,
            epoch: session.epoch,
        };
        let client = session.client.as_bytes();
        let lane = self
            .inner
            .registry
            .with(session.tenant, client, |registered| {
                registered
                    .lane
                    .clone()
                    .filter(|_| registered.ownership == ours)
            });
        lane.flatten().ok_or(SessionError::Stale)
    }
}

pub(super) fn done(answer: &Answer) -> Result<(), SessionError> {
    if *answer == Answer::Done {
        Ok(())
    } else {
        Err(refusal(answer))
    }
}

fn existed(answer: &Answer) -> Result<bool, SessionError> {
    let Answer::Existed(existed) = answer else {
        return Err(refusal(answer));
    };
    Ok(*existed)
}

/// What an answer that is not the expected one means.
fn refusal(answer: &Answer) -> SessionError {
    match answer {
        Answer::Stale => SessionError::Stale,
        Answer::Unknown => SessionError::Unknown,
        Answer::Malformed
        | Answer::Done
        | Answer::More
        | Answer::Full
        | Answer::Existed(_)
        | Answer::Attach { .. }
        | Answer::Ended { .. }
        | Answer::Number { .. }
        | Answer::Inserted(_) => SessionError::Answer,
    }
}

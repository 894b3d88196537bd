//! The publish walk of a connection: limits, authorisation, match, fan-out, acknowledgement.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tessera_inbox::PublishOrigin;
use tessera_limits::{Refusal, TenantLimits};
use tessera_mqtt::{PacketId, Qos, ReasonCode, TopicName};
use tessera_session::{InboundPublish, Ticket};
use tessera_tenancy::Policy;

use super::session::{Completion, PublishOutcome, Session};
use super::steps::{Hold, Step};
use super::{Connection, End};
use crate::route::{Durable, DurableError, Publication, Routed, route};

/// How long reading may pause for a tenant's rate before publishes are refused (design §8).
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A connection's standing with its tenant's rate.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// Since when the rate has been exceeded without a pause of [`PAUSE_MAX`].
    over_since: Option<Duration>,
    last_over: Duration,
}

enum Verdict {
    Pass,
    Pause(Duration),
    Refuse(Refusal),
}

impl Throttle {
    fn check(&mut self, limits: &TenantLimits, now: Duration) -> Verdict {
        let Err(refusal) = limits.publishes(1, Instant::now()) else {
            if now.saturating_sub(self.last_over) >= PAUSE_MAX {
                self.over_since = None;
            }
            return Verdict::Pass;
        };
        self.last_over = now;
        let over_for = now.saturating_sub(*self.over_since.get_or_insert(now));
        match refusal.retry_after {
            Some(wait) if over_for + wait <= PAUSE_MAX => Verdict::Pause(wait),
            Some(_) | None => Verdict::Refuse(refusal),
        }
    }
}

impl Connection {
    /// Routes a message of the client. What cannot be done at once comes back as a step.
    pub(super) fn handle_publish(&mut self, publish: InboundPublish) -> Result<Option<Step>, End> {
        let Some(session) = &mut self.session else {
            return Ok(None);
        };
        match session
            .throttle
            .check(&session.tenant.limits, self.shared.clock.now())
        {
            Verdict::Pass => {}
            Verdict::Pause(wait) => return Ok(Some(Step::Pause { publish, wait })),
            Verdict::Refuse(refusal) => {
                return self.refuse(publish.ticket, PublishOutcome::at_limit(&refusal));
            }
        }
        self.shared.metrics.messages_received.add(1);
        if !may_publish(session.identity.policy, &publish.message.topic) {
            return self.refuse(
                publish.ticket,
                PublishOutcome::plain(ReasonCode::NotAuthorized),
            );
        }
        if publish.message.qos == Qos::ExactlyOnce && session.home.is_persistent() {
            return Ok(Some(Step::PublishOnce(publish)));
        }
        self.fan_out(publish, None)
    }

    /// Hands the message to its receivers and sees to its acknowledgement.
    pub(super) fn fan_out(
        &mut self,
        publish: InboundPublish,
        origin: Option<PublishOrigin>,
    ) -> Result<Option<Step>, End> {
        let Some(session) = &mut self.session else {
            return Ok(None);
        };
        let Session {
            memo,
            tenant,
            identity,
            origin: publisher,
            ..
        } = &mut **session;
        let targets = memo.targets(tenant, &publish.message.topic, publisher);
        let once = origin.is_some().then_some(publish.packet_id).flatten();
        let publication = Publication {
            message: publish.message,
            writer: identity.principal,
            client: publisher.client.clone(),
            origin,
        };
        let routed = route(&self.shared, tenant, &publication, &targets);
        let reached = !targets.is_empty() || publication.message.retain;
        self.settle(publish.ticket, once, &publication, routed, reached)
    }

    fn settle(
        &mut self,
        ticket: Option<Ticket>,
        once: Option<PacketId>,
        publication: &Publication,
        routed: Routed,
        reached: bool,
    ) -> Result<Option<Step>, End> {
        let Some(session) = &mut self.session else {
            return Ok(None);
        };
        let durable = !routed.durable.is_empty() || once.is_some();
        let hold = (!routed.held.is_empty()).then(|| Hold {
            message: publication.message.clone(),
            receivers: routed.held,
            ticket: if durable { None } else { ticket },
        });
        match ticket {
            Some(ticket) if durable => {
                session.await_durable(&self.shared, ticket, once, routed.durable);
            }
            None if durable => session.keep(routed.durable),
            Some(ticket) if hold.is_none() => {
                let code = if reached {
                    ReasonCode::Success
                } else {
                    ReasonCode::NoMatchingSubscribers
                };
                self.complete_publish(ticket, PublishOutcome::plain(code))?;
            }
            Some(_) | None => {}
        }
        Ok(hold.map(Step::Hold))
    }

    /// Answers a message that was not taken: QoS 0 is dropped, version 3 is closed.
    fn refuse(
        &mut self,
        ticket: Option<Ticket>,
        outcome: PublishOutcome,
    ) -> Result<Option<Step>, End> {
        self.shared.metrics.publishes_refused.add(1);
        if let Some(ticket) = ticket {
            self.complete_publish(ticket, outcome)?;
        }
        Ok(None)
    }
}

impl Session {
    /// QoS 0 with something to store: nobody is told, but what this connection subscribes to next
    /// shall find it.
    fn keep(&mut self, durable: Vec<Durable>) {
        self.keeping += 1;
        self.completions.push(async move {
            for pending in durable {
                if let Err(error) = pending.await {
                    tracing::debug!(%error, "QoS 0 message not stored");
                }
            }
            Completion::Kept
        });
    }

    fn await_durable(
        &mut self,
        shared: &Arc<crate::shared::Shared>,
        ticket: Ticket,
        once: Option<PacketId>,
        durable: Vec<Durable>,
    ) {
        let received = once.map(|id| self.home.received_once(shared, id));
        self.completions.push(async move {
            let mut outcome = PublishOutcome::plain(ReasonCode::Success);
            for pending in durable {
                if let Err(error) = pending.await {
                    outcome = refusal_of(&error);
                }
            }
            if outcome.code == ReasonCode::Success
                && let Some(received) = received
                && let Err(error) = received.await
            {
                outcome = PublishOutcome::refused(ReasonCode::UnspecifiedError, error);
            }
            Completion::Publish { ticket, outcome }
        });
    }
}

fn refusal_of(error: &DurableError) -> PublishOutcome {
    let code = match error {
        DurableError::RetainedFull => ReasonCode::QuotaExceeded,
        DurableError::Link(_) => ReasonCode::QuotaExceeded,
        DurableError::Store(_) | DurableError::Timeout | DurableError::Lapsed => {
            ReasonCode::UnspecifiedError
        }
    };
    PublishOutcome::refused(code, error.to_string())
}

/// Whether a principal may publish to a topic. The topics that belong to the server are refused
/// before, by the session, in a will too.
pub(crate) const fn may_publish(policy: Policy, _topic: &TopicName) -> bool {
    match policy {
        Policy::AllowAll => true,
    }
}

//! The publish walk of a connection: limits, authorisation, match, fan-out, acknowledgement.

use std::sync::Arc;
use std::time::Duration;

use tessera_inbox::PublishOrigin;
use tessera_limits::{Refusal, TenantLimits};
use tessera_mqtt::{PacketId, ProtocolVersion, Qos, ReasonCode, TopicName};
use tessera_session::{InboundPublish, Ticket};
use tessera_tenancy::Policy;

use super::session::{Completion, PublishOutcome, Session};
use super::steps::{Hold, Step};
use super::{Connection, End};
use crate::bounds::{full_name, full_value};
use crate::clock::instant;
use crate::once::{Joined, Run, RunEnd};
use crate::route::{Durable, DurableError, Publication, Routed, route};
use crate::shared::Shared;
use crate::stream::DeviceStream;

/// How long reading may pause for a tenant's rate before publishes are refused (design §8).
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// A connection's standing with its tenant's rate.
#[derive(Debug, Default)]
pub(crate) struct Throttle {
    /// Since when the rate has been exceeded without a pause of [`PAUSE_MAX`].
    over_since: Option<Duration>,
    last_over: Duration,
}

/// A QoS 2 message of a persistent session, which goes to everybody once.
#[derive(Debug, Clone)]
struct Once {
    id: PacketId,
    origin: PublishOrigin,
    run: Arc<Run>,
}

enum Verdict {
    Pass,
    Pause(Duration),
    Refuse(Refusal),
}

impl Throttle {
    fn check(&mut self, limits: &TenantLimits, now: Duration) -> Verdict {
        let Err(refusal) = limits.publishes(1, instant()) else {
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

impl<S: DeviceStream> Connection<S> {
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

    /// A message that is sent again while the first one is on its way goes to nobody: it is answered
    /// with what that one comes to.
    pub(super) fn fan_out_once(
        &mut self,
        publish: InboundPublish,
        origin: PublishOrigin,
    ) -> Result<Option<Step>, End> {
        let (Some(session), Some(id)) = (&mut self.session, publish.packet_id) else {
            return Ok(None);
        };
        match session.tenant.once.join(&origin) {
            Joined::First(run) => self.fan_out(publish, Some(Once { id, origin, run })),
            Joined::Again(run) => {
                if let Some(ticket) = publish.ticket {
                    let once = Once { id, origin, run };
                    session.await_run(&self.shared, ticket, once, self.inbound.version());
                }
                Ok(None)
            }
        }
    }

    /// Hands the message to its receivers and sees to its acknowledgement.
    fn fan_out(
        &mut self,
        publish: InboundPublish,
        once: Option<Once>,
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
        let publication = Publication {
            message: publish.message,
            writer: identity.principal,
            client: publisher.client.clone(),
            origin: once.as_ref().map(|once| once.origin.clone()),
            refusable: true,
        };
        let routed = route(&self.shared, tenant, &publication, &targets);
        let reached = !targets.is_empty() || publication.message.retain;
        self.settle(publish.ticket, once, &publication, routed, reached)
    }

    fn settle(
        &mut self,
        ticket: Option<Ticket>,
        once: Option<Once>,
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
        match (ticket, once) {
            (Some(ticket), Some(once)) => {
                session.run_once(&self.shared, once.clone(), routed.durable);
                session.await_run(&self.shared, ticket, once, self.inbound.version());
            }
            (Some(ticket), None) if durable => session.await_durable(ticket, routed.durable),
            (None, _) if durable => session.keep(routed.durable),
            (Some(ticket), None) if hold.is_none() => {
                let code = if reached {
                    ReasonCode::Success
                } else {
                    ReasonCode::NoMatchingSubscribers
                };
                self.complete_publish(ticket, PublishOutcome::plain(code))?;
            }
            (Some(_) | None, _) => {}
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

    fn await_durable(&mut self, ticket: Ticket, durable: Vec<Durable>) {
        self.completions.push(async move {
            let outcome = match all(durable).await {
                Ok(()) => PublishOutcome::plain(ReasonCode::Success),
                Err(error) => refusal_of(&error),
            };
            Completion::Publish { ticket, outcome }
        });
    }

    /// Goes on though the connection ends: receivers may have the message by now, so the publisher's
    /// session must come to know it before the client sends it again.
    fn run_once(&self, shared: &Arc<Shared>, once: Once, durable: Vec<Durable>) {
        let received = self.home.received_once(shared, once.id);
        let (shared_too, tenant) = (Arc::clone(shared), Arc::clone(&self.tenant));
        shared.detach(async move {
            let end = match all(durable).await {
                Err(error) => RunEnd::Failed(error),
                Ok(()) => match received.await {
                    Ok(()) => RunEnd::Received,
                    Err(error) => {
                        tracing::debug!(tenant = %tenant.id, %error, "a publish not noted");
                        RunEnd::Reached
                    }
                },
            };
            tenant.once.end(&once.origin, &once.run, end);
            shared_too.tenants.release(tenant);
        });
    }

    fn await_run(
        &mut self,
        shared: &Arc<Shared>,
        ticket: Ticket,
        once: Once,
        version: Option<ProtocolVersion>,
    ) {
        let received = self.home.received_once(shared, once.id);
        let freed = self.home.released(shared, once.id);
        let tenant = Arc::clone(&self.tenant);
        self.completions.push(async move {
            let outcome = match once.run.ended().await {
                RunEnd::Received => Ok(PublishOutcome::plain(ReasonCode::Success)),
                RunEnd::Reached => received.await.map(|()| {
                    tenant.once.forget(&once.origin);
                    PublishOutcome::plain(ReasonCode::Success)
                }),
                // After this a client of version 5 takes the identifier for another message; one of
                // version 3 is left, and sends this one again.
                RunEnd::Failed(error) if version.is_some_and(ProtocolVersion::is_v5) => {
                    freed.await.map(|()| refusal_of(&error))
                }
                RunEnd::Failed(error) => Ok(refusal_of(&error)),
            };
            Completion::PublishOnce { ticket, outcome }
        });
    }
}

/// Waits for all, and fails with the last that does.
async fn all(durable: Vec<Durable>) -> Result<(), DurableError> {
    let mut outcome = Ok(());
    for pending in durable {
        if let Err(error) = pending.await {
            outcome = Err(error);
        }
    }
    outcome
}

fn refusal_of(error: &DurableError) -> PublishOutcome {
    let code = match error {
        DurableError::QueueFull(full) => {
            let (name, value) = (full_name(*full), full_value(*full));
            return PublishOutcome::full(error.to_string(), name, value);
        }
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

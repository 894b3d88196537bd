//! SUBSCRIBE and UNSUBSCRIBE: members, routes, intents, and the replay of retained messages.
//!
//! A SUBACK leaves only after the route is visible to every publisher (promise 6): a transient
//! session adds its member and, if it is the filter's first here, the node's route; a persistent one
//! records its intent, adds its route, confirms.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use tessera_dist::{Receiver, RouteError, RouteOptions};
use tessera_inbox::{InsertRequest, Target};
use tessera_mqtt::{FilterSpec, Message, Qos, ReasonCode, SubscriptionId, SubscriptionOptions};
use tessera_retain::{MatchCursor, RetainedMessage};
use tessera_session::{
    Grant, Refusal, SubscribeEntry, SubscribeOutcome, SubscribeRequest, UnsubscribeRequest,
    sends_retained,
};
use tessera_tenancy::TenantId;

use super::session::Session;
use super::{Connection, End};
use crate::bounds::INBOX_BOUNDS;
use crate::drops::DropReason;
use crate::local::{Member, RouteDuty};
use crate::outbox::OUTBOX_BYTES_MAX;
use crate::route::dist_incarnation;
use crate::shared::Shared;
use crate::stream::DeviceStream;

/// Subscriptions of one session.
pub(crate) const SUBSCRIPTIONS_MAX: usize = 10_000;
/// Retained messages read from the store at a time.
const REPLAY_PAGE: usize = 64;

/// What a session subscribes to. The inbox has it too if the session is persistent.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions(pub(crate) HashMap<FilterSpec, ()>);

/// Retained messages that are still to be sent for new subscriptions.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    pending: VecDeque<ReplayOf>,
    /// Messages queued in the inbox since the client was last up to date.
    queued: usize,
}

#[derive(Debug)]
struct ReplayOf {
    filter: FilterSpec,
    options: SubscriptionOptions,
    subscription_id: Option<SubscriptionId>,
    after: Option<MatchCursor>,
    page: VecDeque<RetainedMessage>,
    read_to_end: bool,
}

impl<S: DeviceStream> Connection<S> {
    pub(super) async fn subscribe(&mut self, request: SubscribeRequest) -> Result<(), End> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let mut outcomes = Vec::with_capacity(request.entries.len());
        for entry in &request.entries {
            let outcome = session
                .subscribe(&self.shared, entry, request.subscription_id)
                .await;
            outcomes.push(outcome.map_err(unknown)?);
        }
        let tenant = session.tenant.id;
        let shown = self.shared.show_everywhere(tenant).await;
        shown.map_err(unknown)?;
        let out = &mut self.unwritten;
        self.inbound
            .write_suback(request.token, &outcomes, None, out)?;
        Ok(())
    }

    pub(super) async fn unsubscribe(&mut self, request: UnsubscribeRequest) -> Result<(), End> {
        let Some(session) = &mut self.session else {
            return Ok(());
        };
        let mut codes = Vec::with_capacity(request.entries.len());
        for entry in &request.entries {
            codes.push(match entry {
                Ok(filter) => {
                    let outcome = session.unsubscribe(&self.shared, filter).await;
                    outcome.map_err(unknown)?
                }
                Err(code) => *code,
            });
        }
        let tenant = session.tenant.id;
        let shown = self.shared.catch_up_everywhere(tenant).await;
        shown.map_err(|error| unknown(error.to_string()))?;
        self.inbound
            .write_unsuback(request.token, &codes, None, &mut self.unwritten);
        Ok(())
    }
}

/// Nobody knows whether the request took effect: an answer either way might be wrong, so the connection
/// ends without one.
fn unknown(error: String) -> End {
    tracing::warn!(%error, "subscriptions not changed for sure");
    End::Violated(Refusal::new(ReasonCode::UnspecifiedError, error))
}

/// Why a subscription was not stored.
#[derive(Debug)]
enum NotStored {
    /// It never will be.
    Refused(String),
    /// It may have been, or may come to be.
    Unknown(String),
}

impl From<RouteError> for NotStored {
    fn from(error: RouteError) -> Self {
        let text = error.to_string();
        match error {
            RouteError::Refused(_) => Self::Refused(text),
            RouteError::Propose(_) | RouteError::UnexpectedReply => Self::Unknown(text),
        }
    }
}

impl NotStored {
    fn into_text(self) -> String {
        let (Self::Refused(text) | Self::Unknown(text)) = self;
        text
    }
}

impl Shared {
    /// Before a SUBACK, among several nodes: all of them know the routes, and this one the retained
    /// messages.
    async fn show_everywhere(self: &Arc<Self>, tenant: TenantId) -> Result<(), String> {
        let shown = self.catch_up_everywhere(tenant).await;
        shown.map_err(|error| error.to_string())?;
        let caught_up = self.retain.catch_up(tenant).await;
        caught_up.map_err(|error| error.to_string())
    }
}

impl Session {
    /// What the client is told; an error: nobody knows.
    async fn subscribe(
        &mut self,
        shared: &Arc<Shared>,
        entry: &SubscribeEntry,
        subscription_id: Option<SubscriptionId>,
    ) -> Result<SubscribeOutcome, String> {
        let filter = match &entry.target {
            Ok(filter) => filter,
            Err(code) => return Ok(Err(*code)),
        };
        let known = self.subscriptions.0.contains_key(filter);
        if !known && self.subscriptions.0.len() >= SUBSCRIPTIONS_MAX {
            return Ok(Err(ReasonCode::QuotaExceeded));
        }
        let options = entry.options;
        let added = if self.home.is_persistent() {
            self.add_persistent(shared, filter, options, subscription_id)
                .await
        } else {
            self.add_transient(shared, filter, options, subscription_id)
                .await
        };
        match added {
            Ok(()) => {}
            Err(NotStored::Refused(error)) => {
                tracing::debug!(tenant = %self.tenant.id, %error, "subscription not stored");
                return Ok(Err(ReasonCode::UnspecifiedError));
            }
            Err(NotStored::Unknown(error)) => return Err(error),
        }
        self.subscriptions.0.insert(filter.clone(), ());
        if sends_retained(options.retain_handling, !known, filter.is_shared()) {
            self.replay.begin(filter, options, subscription_id);
        }
        Ok(Ok(options.qos))
    }

    async fn add_transient(
        &mut self,
        shared: &Arc<Shared>,
        filter: &FilterSpec,
        options: SubscriptionOptions,
        subscription_id: Option<SubscriptionId>,
    ) -> Result<(), NotStored> {
        let _turn = shared.filter_locks.lock(self.tenant.id, filter).await;
        let member = Member {
            outbox: Arc::clone(&self.outbox),
            options,
            subscription_id,
        };
        match self.tenant.local.insert(filter, member) {
            RouteDuty::None | RouteDuty::Remove => Ok(()),
            RouteDuty::Add => {
                let added = shared.add_node_route(self.tenant.id, filter).await;
                if added.is_err() {
                    self.tenant.local.remove(filter, &self.outbox);
                }
                Ok(added?)
            }
        }
    }

    async fn add_persistent(
        &mut self,
        shared: &Arc<Shared>,
        filter: &FilterSpec,
        options: SubscriptionOptions,
        subscription_id: Option<SubscriptionId>,
    ) -> Result<(), NotStored> {
        let home = &self.home.session;
        shared
            .inbox
            .subscribe(home, filter, options, subscription_id)
            .await
            .map_err(|error| NotStored::Unknown(error.to_string()))?;
        self.add_intended(shared, filter, options, subscription_id)
            .await
    }

    /// The second half of a persistent subscription: its route, then the confirmation. Also run for
    /// intents that an earlier connection left unfinished.
    pub(super) async fn finish_intent(
        &mut self,
        shared: &Arc<Shared>,
        filter: &FilterSpec,
        options: SubscriptionOptions,
        subscription_id: Option<SubscriptionId>,
    ) -> Result<(), String> {
        self.add_intended(shared, filter, options, subscription_id)
            .await
            .map_err(NotStored::into_text)
    }

    async fn add_intended(
        &mut self,
        shared: &Arc<Shared>,
        filter: &FilterSpec,
        options: SubscriptionOptions,
        subscription_id: Option<SubscriptionId>,
    ) -> Result<(), NotStored> {
        let options = RouteOptions {
            qos: options.qos,
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            subscription_id,
        };
        shared
            .dist
            .add_route(self.tenant.id, filter, &self.receiver(), options)
            .await?;
        shared
            .inbox
            .confirm(&self.home.session, filter)
            .await
            .map_err(|error| NotStored::Unknown(error.to_string()))
    }

    /// What the client is told; an error: nobody knows.
    async fn unsubscribe(
        &mut self,
        shared: &Arc<Shared>,
        filter: &FilterSpec,
    ) -> Result<ReasonCode, String> {
        let known = self.subscriptions.0.remove(filter).is_some();
        self.replay.forget(filter);
        if !known {
            return Ok(ReasonCode::NoSubscriptionExisted);
        }
        let removed = if self.home.is_persistent() {
            self.remove_persistent(shared, filter).await
        } else {
            self.remove_transient(shared, filter).await
        };
        removed.map(|()| ReasonCode::Success)
    }

    pub(super) async fn remove_transient(
        &mut self,
        shared: &Arc<Shared>,
        filter: &FilterSpec,
    ) -> Result<(), String> {
        let _turn = shared.filter_locks.lock(self.tenant.id, filter).await;
        match self.tenant.local.remove(filter, &self.outbox) {
            RouteDuty::None | RouteDuty::Add => Ok(()),
            RouteDuty::Remove => shared.remove_node_route(self.tenant.id, filter).await,
        }
    }

    async fn remove_persistent(
        &mut self,
        shared: &Arc<Shared>,
        filter: &FilterSpec,
    ) -> Result<(), String> {
        let home = &self.home.session;
        shared
            .inbox
            .unsubscribe(home, filter)
            .await
            .map_err(|error| error.to_string())?;
        self.finish_leaving(shared, filter).await
    }

    /// The second half of a persistent removal. Also run for those left unfinished.
    pub(super) async fn finish_leaving(
        &mut self,
        shared: &Arc<Shared>,
        filter: &FilterSpec,
    ) -> Result<(), String> {
        shared
            .dist
            .remove_route(self.tenant.id, filter, &self.receiver())
            .await
            .map_err(|error| error.to_string())?;
        shared
            .inbox
            .confirm(&self.home.session, filter)
            .await
            .map_err(|error| error.to_string())
    }

    fn receiver(&self) -> Receiver {
        Receiver::Persistent {
            client: self.home.session.client.clone(),
            incarnation: dist_incarnation(self.home.session.incarnation),
        }
    }

    /// Sends retained messages while the client's window and queue take them. `true` if any went.
    pub(super) fn pump_replay(&mut self, shared: &Arc<Shared>) -> bool {
        if self.home.is_drained() {
            self.replay.queued = 0;
        }
        let mut moved = false;
        while self.may_replay() {
            let Some(replay) = self.replay.pending.front_mut() else {
                return moved;
            };
            if let Some(retained) = replay.page.pop_front() {
                let (qos, subscription_id) = (replay.options.qos, replay.subscription_id);
                self.send_retained(shared, retained, qos, subscription_id);
                moved = true;
            } else if replay.read_to_end || !replay.read_page(shared, self.tenant.id) {
                self.replay.pending.pop_front();
            }
        }
        moved
    }

    /// Whether a retained message would find room: in the window, in the buffer, and, where it goes
    /// through the inbox, without pushing others out of the queue.
    fn may_replay(&self) -> bool {
        self.keeping == 0
            && self.replay.queued < REPLAY_PAGE
            && self
                .outbox
                .look(|outbound, bytes| outbound.window_room() > 0 && bytes < OUTBOX_BYTES_MAX / 2)
    }

    /// Whether there is something to do that no signal will tell.
    pub(crate) fn has_more_to_replay(&self) -> bool {
        !self.replay.pending.is_empty() && self.may_replay()
    }

    fn send_retained(
        &mut self,
        shared: &Arc<Shared>,
        retained: RetainedMessage,
        granted: Qos,
        subscription_id: Option<SubscriptionId>,
    ) {
        let topic = &retained.message.topic;
        let may_still =
            shared
                .authenticator
                .may_still_publish(self.tenant.id, retained.writer, topic);
        if !may_still {
            self.outbox.note_dropped(DropReason::NotAuthorized, 1);
            return;
        }
        let qos = retained.message.qos.min(granted);
        if self.home.is_persistent() && qos > Qos::AtMostOnce {
            self.replay.queued += 1;
            self.queue_retained(shared, retained, qos, subscription_id);
            return;
        }
        let ids: Vec<SubscriptionId> = subscription_id.into_iter().collect();
        let grant = Grant {
            qos,
            retain: true,
            dup: false,
            sequence: None,
            subscription_ids: &ids,
            expiry_seconds: retained.expiry_seconds,
        };
        self.outbox
            .deliver(&retained.message, &grant, None, shared.clock.now());
    }

    /// Through the inbox: its numbers are the client's packet identifiers.
    fn queue_retained(
        &self,
        shared: &Arc<Shared>,
        retained: RetainedMessage,
        qos: Qos,
        subscription_id: Option<SubscriptionId>,
    ) {
        let message = Message {
            expiry_seconds: retained.expiry_seconds,
            ..retained.message
        };
        let request = InsertRequest {
            message: Arc::new(message),
            writer: retained.writer,
            bounds: INBOX_BOUNDS,
            origin: None,
            targets: vec![Target {
                client: self.home.session.client.clone(),
                incarnation: self.home.session.incarnation,
                qos,
                retain: true,
                subscription_ids: subscription_id.into_iter().collect(),
            }],
        };
        match shared.inbox.submit_insert(self.tenant.id, &request) {
            Ok(pending) => shared.detach(async move {
                if let Err(error) = pending.await {
                    tracing::debug!(%error, "retained message not queued");
                }
            }),
            Err(error) => tracing::debug!(%error, "retained message not queued"),
        }
    }
}

impl Replay {
    fn begin(
        &mut self,
        filter: &FilterSpec,
        options: SubscriptionOptions,
        subscription_id: Option<SubscriptionId>,
    ) {
        self.pending.push_back(ReplayOf {
            filter: filter.clone(),
            options,
            subscription_id,
            after: None,
            page: VecDeque::new(),
            read_to_end: false,
        });
    }

    fn forget(&mut self, filter: &FilterSpec) {
        self.pending.retain(|replay| replay.filter != *filter);
    }
}

impl ReplayOf {
    /// Reads the next page. `false` if the store could not be read.
    fn read_page(&mut self, shared: &Shared, tenant: TenantId) -> bool {
        let now = shared.seams.now_ms();
        let filter = &self.filter.filter;
        match shared
            .retain
            .matching(tenant, filter, self.after.as_ref(), REPLAY_PAGE, now)
        {
            Ok(matches) => {
                self.read_to_end = matches.next.is_none();
                self.after = matches.next;
                self.page = matches.messages.into();
                true
            }
            Err(error) => {
                tracing::debug!(%tenant, %error, "retained messages not read");
                false
            }
        }
    }
}

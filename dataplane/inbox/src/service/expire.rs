//! Background: sessions whose time has passed, sessions whose owner is gone.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;

use tessera_mqtt::ClientId;
use tessera_shard::{Proposal, ReadError};
use tessera_tenancy::TenantId;

use super::{Inbox, discarded_routes, submit};
use crate::answer::Answer;
use crate::command::Command;
use crate::error::SessionError;
use crate::query;
use crate::registry::SessionKey;
use crate::session::Expired;
use crate::sweep::{FoundOnline, Look, Position, due_sessions, first_due, look_around};

/// Sessions without an owner that one step sets offline.
const ABANDONED_PER_STEP: usize = 256;

/// Tenants that one step serves.
const TENANTS_PER_STEP: usize = 16;

/// Sessions of one tenant that one step ends; then it is the next tenant's turn.
const SESSIONS_PER_TURN: usize = 32;

/// How long a tenant whose shard another node leads is left to that node before this one looks again
/// who does.
pub(super) const NOT_LED_PAUSE_MS: u64 = 1_000;

/// What is left of the round.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Tenants with sessions that have ended, each once, in the order of their turns.
    tenants: VecDeque<TenantId>,
    /// A look through all rows, which shard and where.
    around: Option<(usize, Position)>,
    running: bool,
}

impl Inbox {
    /// One bounded step of ending sessions whose expiry has passed, in turns of tenants. Call it
    /// again while [`Expired::more`], then after a pause. `now_ms` says where to look; what ends is
    /// decided by the group's own time.
    ///
    /// It also sets sessions offline whose owner is gone without a word: in the first round, all
    /// that a former process of this node left online.
    pub async fn expire(&self, now_ms: u64) -> Result<Expired, SessionError> {
        let mut round = self.inner.round.lock().await;
        let mut expired = Expired::default();
        self.release_abandoned(&mut expired).await?;
        self.step_around(&mut round, &mut expired).await?;
        if !round.running && round.around.is_none() {
            let (led, others) = self.split_led(self.inner.due.take(now_ms));
            for tenant in others {
                self.inner.due.note(tenant, now_ms + NOT_LED_PAUSE_MS);
            }
            round.tenants.extend(led);
        }
        for _ in 0..TENANTS_PER_STEP.min(round.tenants.len()) {
            let Some(tenant) = round.tenants.pop_front() else {
                break;
            };
            match self.expire_tenant(tenant, now_ms, &mut expired).await {
                Ok(true) => round.tenants.push_back(tenant),
                Ok(false) => {}
                Err(error) => {
                    round.tenants.push_back(tenant);
                    round.running = true;
                    return Err(error);
                }
            }
        }
        round.running = !round.tenants.is_empty();
        expired.more = round.running || round.around.is_some();
        Ok(expired)
    }

    /// Has the next rounds look at all connections: the session of some node has ended.
    pub fn look_around(&self) {
        self.inner.look_around.store(true, Ordering::Release);
    }

    /// The tenants whose shard this node leads, and the others.
    pub(super) fn split_led(&self, tenants: Vec<TenantId>) -> (Vec<TenantId>, Vec<TenantId>) {
        let is_led = |tenant: &TenantId| self.leads(&self.inner.store.shard_for(*tenant, &[]));
        tenants.into_iter().partition(is_led)
    }

    /// One turn of a tenant; `true` if it ended some sessions and has more to end.
    async fn expire_tenant(
        &self,
        tenant: TenantId,
        now_ms: u64,
        expired: &mut Expired,
    ) -> Result<bool, SessionError> {
        let shard = self.inner.store.shard_for(tenant, &[]);
        let (keys, more) =
            shard.read(|rows| due_sessions(rows, tenant, now_ms, SESSIONS_PER_TURN))?;
        let mut proposals: Vec<(&SessionKey, Proposal)> = Vec::with_capacity(keys.len());
        for key in &keys {
            let client = key.client();
            let proposal = submit(&shard, tenant, &Command::Expire { client })?;
            proposals.push((key, proposal));
        }
        let mut progress = false;
        for (key, proposal) in proposals {
            progress |= note_ended(key, Answer::decode(&proposal.await?).as_ref(), expired);
        }
        if more && progress {
            return Ok(true);
        }
        if let Some(due_ms) = shard.read(|rows| first_due(rows, tenant))? {
            self.inner.due.note(tenant, due_ms);
        }
        Ok(false)
    }

    /// One step of looking through all rows, if that is due: at the start, or after more attaches
    /// were given up than were noted.
    async fn step_around(
        &self,
        round: &mut Round,
        expired: &mut Expired,
    ) -> Result<(), SessionError> {
        if round.around.is_none() && self.inner.look_around.swap(false, Ordering::AcqRel) {
            round.around = Some((0, Position::default()));
        }
        let Some((at, position)) = &round.around else {
            return Ok(());
        };
        let Some(shard) = self.inner.store.shards().nth(*at) else {
            round.around = None;
            return Ok(());
        };
        let look_for = match &self.inner.nodes {
            None => Look::Online,
            Some(_) => Look::Registered,
        };
        let around = shard.read(|rows| look_around(rows, look_for, position))?;
        for (tenant, due_ms) in around.dues {
            self.inner.due.note(tenant, due_ms);
        }
        for (tenant, due_ms) in around.wills_due {
            self.inner.wills_due.note(tenant, due_ms);
        }
        if self.leads(&shard) {
            let gone = around
                .online
                .into_iter()
                .filter(|found| self.is_gone(found));
            let gone: Vec<_> = gone.collect();
            self.release_all(&gone, expired).await?;
        }
        round.around = Some(match around.next {
            Some(position) => (*at, position),
            None => (*at + 1, Position::default()),
        });
        Ok(())
    }

    async fn release_abandoned(&self, expired: &mut Expired) -> Result<(), SessionError> {
        let mut keys: Vec<SessionKey> = {
            let mut abandoned = self.inner.abandoned.lock();
            let from = abandoned.len().saturating_sub(ABANDONED_PER_STEP);
            abandoned.drain(from..).collect()
        };
        keys.sort_unstable();
        keys.dedup();
        let found: Result<Vec<_>, _> = keys.iter().map(|key| self.find_online(key)).collect();
        let released = match found {
            Ok(found) => {
                let found: Vec<_> = found.into_iter().flatten().collect();
                self.release_all(&found, expired).await
            }
            Err(error) => Err(error.into()),
        };
        if released.is_err() {
            self.inner.abandoned.lock().extend(keys);
        }
        released
    }

    /// Sets sessions offline that nobody owns here. Each in its client's turn, so that no attach is
    /// between its commit and its registration; all turns are held until the commit, so no key may
    /// stand here twice.
    async fn release_all(
        &self,
        found: &[FoundOnline],
        expired: &mut Expired,
    ) -> Result<(), SessionError> {
        let mut proposals = Vec::new();
        for FoundOnline { key, registered } in found {
            if self.has_owner(key) {
                continue;
            }
            // So many who wait for the client's turn will attach it: there is nothing to release.
            let Ok(turn) = self.inner.turns.enter(key).await else {
                continue;
            };
            if self.has_owner(key) {
                continue;
            }
            let registration = registered.map(|row| row.registration);
            let client = key.client();
            let shard = self.shard(key.tenant(), client);
            let proposal = submit(
                &shard,
                key.tenant(),
                &Command::Release {
                    client,
                    registration,
                },
            )?;
            proposals.push((key, turn, proposal));
        }
        for (key, turn, proposal) in proposals {
            let answer = proposal.await?;
            drop(turn);
            note_ended(key, Answer::decode(&answer).as_ref(), expired);
        }
        Ok(())
    }

    /// Whether nobody has a connection that was found.
    fn is_gone(&self, found: &FoundOnline) -> bool {
        let (Some(nodes), Some(row)) = (&self.inner.nodes, found.registered) else {
            return !self.has_owner(&found.key);
        };
        if row.owner == nodes.own() {
            return !self.has_owner(&found.key);
        }
        !nodes.is_live(found.key.tenant(), row.owner)
    }

    /// A client that may be online without an owner here; `None` if it is another node's.
    fn find_online(&self, key: &SessionKey) -> Result<Option<FoundOnline>, ReadError> {
        let registered = match &self.inner.nodes {
            None => None,
            Some(nodes) => {
                let (tenant, client) = (key.tenant(), key.client());
                let row = self.read(tenant, client, |rows| {
                    query::registration(rows, tenant, client)
                })?;
                let Some(row) = row.filter(|row| row.owner == nodes.own()) else {
                    return Ok(None);
                };
                Some(row)
            }
        };
        let key = key.clone();
        Ok(Some(FoundOnline { key, registered }))
    }

    fn has_owner(&self, key: &SessionKey) -> bool {
        self.inner
            .registry
            .with(key.tenant(), key.client(), |_| ())
            .is_some()
    }
}

/// Notes what was removed; `true` if anything was.
fn note_ended(key: &SessionKey, answer: Option<&Answer>, expired: &mut Expired) -> bool {
    let Some(Answer::Ended { done, removed }) = answer else {
        return false;
    };
    let client = bytes::Bytes::copy_from_slice(key.client());
    if let Ok(client) = ClientId::try_from(client) {
        discarded_routes(key.tenant(), &client, removed, &mut expired.discarded);
    }
    // A session that was only set offline has nothing removed, and no incarnation.
    let removed_some = removed.incarnation != 0;
    expired.sessions += usize::from(*done && removed_some);
    removed_some
}

//! Background: sessions whose time has passed, sessions whose owner is gone.

use std::sync::atomic::Ordering;

use tessera_mqtt::ClientId;
use tessera_shard::{Proposal, Scope};

use super::{Inbox, discarded_routes};
use crate::answer::Answer;
use crate::command::Command;
use crate::error::SessionError;
use crate::registry::SessionKey;
use crate::session::Expired;
use crate::sweep::{Position, sweep};

/// Sessions without an owner that one step sets offline.
const ABANDONED_PER_STEP: usize = 256;

/// Where the round over all shards and tenants is.
#[derive(Debug, Default)]
pub(super) struct Round {
    shard: usize,
    position: Position,
    /// This round looks at the sessions that are online as well.
    with_online: bool,
}

impl Inbox {
    /// One bounded step of ending sessions whose expiry has passed, fair over tenants. Call it again
    /// while [`Expired::more`], then after a pause. `now_ms` says where to look; what ends is decided
    /// by the group's own time.
    ///
    /// It also sets sessions offline whose owner is gone without a word: all that a former process
    /// of this node left online, in the first round.
    pub async fn expire(&self, now_ms: u64) -> Result<Expired, SessionError> {
        let mut round = self.inner.round.lock().await;
        let mut expired = Expired::default();
        self.release_abandoned(&mut expired).await?;
        if round.shard == 0 && round.position == Position::default() {
            round.with_online |= self.inner.look_for_abandoned.swap(false, Ordering::AcqRel);
        }
        let Some(shard) = self.inner.store.shards().nth(round.shard).cloned() else {
            *round = Round::default();
            return Ok(expired);
        };
        let page = shard.read(|rows| sweep(rows, &round.position, now_ms, round.with_online))?;
        self.release_all(&page.online, &mut expired).await?;
        self.expire_all(&page.due, &mut expired).await?;
        match page.next {
            Some(position) => round.position = position,
            None => {
                round.position = Position::default();
                round.shard += 1;
            }
        }
        expired.more = round.shard < self.inner.store.shards().count();
        if !expired.more {
            *round = Round::default();
        }
        Ok(expired)
    }

    async fn expire_all(
        &self,
        due: &[SessionKey],
        expired: &mut Expired,
    ) -> Result<(), SessionError> {
        let mut proposals: Vec<(&SessionKey, Proposal)> = Vec::with_capacity(due.len());
        for key in due {
            let command = Command::Expire { client: key.client() }.encode();
            let shard = self.shard(key.tenant(), key.client());
            proposals.push((key, shard.submit(Scope::Tenant(key.tenant()), command)?));
        }
        for (key, proposal) in proposals {
            note_ended(key, Answer::decode(&proposal.await?).as_ref(), expired);
        }
        Ok(())
    }

    async fn release_abandoned(&self, expired: &mut Expired) -> Result<(), SessionError> {
        let keys: Vec<SessionKey> = {
            let mut abandoned = self.inner.abandoned.lock();
            let from = abandoned.len().saturating_sub(ABANDONED_PER_STEP);
            abandoned.drain(from..).collect()
        };
        let released = self.release_all(&keys, expired).await;
        if released.is_err() {
            self.inner.abandoned.lock().extend(keys);
        }
        released
    }

    /// Sets sessions offline that nobody owns here. Each in its client's turn, so that no attach is
    /// between its commit and its registration.
    async fn release_all(
        &self,
        keys: &[SessionKey],
        expired: &mut Expired,
    ) -> Result<(), SessionError> {
        let mut proposals = Vec::new();
        for key in keys.iter().filter(|key| !self.has_owner(key)) {
            // So many who wait for the client's turn will attach it: there is nothing to release.
            let Ok(turn) = self.inner.turns.enter(key).await else { continue };
            if self.has_owner(key) {
                continue;
            }
            let command = Command::Release { client: key.client() }.encode();
            let shard = self.shard(key.tenant(), key.client());
            proposals.push((key, turn, shard.submit(Scope::Tenant(key.tenant()), command)?));
        }
        for (key, turn, proposal) in proposals {
            let answer = proposal.await?;
            drop(turn);
            note_ended(key, Answer::decode(&answer).as_ref(), expired);
        }
        Ok(())
    }

    fn has_owner(&self, key: &SessionKey) -> bool {
        self.inner.registry.with(key.tenant(), key.client(), |_| ()).is_some()
    }
}

fn note_ended(key: &SessionKey, answer: Option<&Answer>, expired: &mut Expired) {
    let Some(Answer::Ended { done, removed }) = answer else { return };
    let client = bytes::Bytes::copy_from_slice(key.client());
    if let Ok(client) = ClientId::try_from(client) {
        discarded_routes(key.tenant(), &client, removed, &mut expired.discarded);
    }
    let ended = *done && removed.incarnation != 0;
    expired.sessions += usize::from(ended);
}

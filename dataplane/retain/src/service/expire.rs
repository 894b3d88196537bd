//! Background: messages that have expired.

use std::collections::VecDeque;

use tessera_tenancy::TenantId;

use super::{Retain, submit};
use crate::command::{Answer, Command};
use crate::error::ExpireError;
use crate::message::Expired;
use crate::query::{first_due, look_around};

/// Tenants that one step serves, with one command each.
const TENANTS_PER_STEP: usize = 16;

/// How long a tenant whose shard another node leads is left to that node before this one looks again
/// who does.
const NOT_LED_PAUSE_MS: u64 = 1_000;

/// What is left of the round.
#[derive(Debug)]
pub(super) struct Round {
    /// Tenants with messages that have expired, each once, in the order of their turns.
    tenants: VecDeque<TenantId>,
    /// A look through all rows, once after a start: which shard, and from which tenant on.
    around: Option<(usize, [u8; 16])>,
}

impl Default for Round {
    fn default() -> Self {
        Self {
            tenants: VecDeque::new(),
            around: Some((0, [0; 16])),
        }
    }
}

impl Retain {
    /// One bounded step of removing messages that have expired, in turns of tenants. Call it again
    /// while [`Expired::more`], then after a pause. `now_ms` says where to look; what is removed is
    /// decided by the group's own time.
    pub async fn expire(&self, now_ms: u64) -> Result<Expired, ExpireError> {
        let mut round = self.round.lock().await;
        self.step_around(&mut round)?;
        if round.tenants.is_empty() && round.around.is_none() {
            round.tenants.extend(self.due.take(now_ms));
        }
        let mut expired = Expired::default();
        for _ in 0..TENANTS_PER_STEP.min(round.tenants.len()) {
            let Some(tenant) = round.tenants.pop_front() else {
                break;
            };
            if !self.leads(tenant) {
                self.due.note(tenant, now_ms + NOT_LED_PAUSE_MS);
                continue;
            }
            match self.expire_tenant(tenant).await {
                Ok((messages, more)) => {
                    expired.messages += messages;
                    round.tenants.extend(more.then_some(tenant));
                }
                Err(error) => {
                    round.tenants.push_back(tenant);
                    return Err(error);
                }
            }
        }
        expired.more = !round.tenants.is_empty() || round.around.is_some();
        Ok(expired)
    }

    fn leads(&self, tenant: TenantId) -> bool {
        !self.has_peers || self.store.shard_for(tenant, &[]).status().is_leader
    }

    /// One turn of a tenant: how many messages it removed, and whether there are more.
    async fn expire_tenant(&self, tenant: TenantId) -> Result<(u64, bool), ExpireError> {
        let shard = self.store.shard_for(tenant, &[]);
        let answer = submit(&shard, tenant, &Command::Expire)?.await?;
        let Some(Answer::Expired { messages, more }) = Answer::decode(&answer) else {
            return Err(ExpireError::Answer);
        };
        if !more && let Some(due_ms) = shard.read(|rows| first_due(rows, tenant))? {
            self.due.note(tenant, due_ms);
        }
        Ok((messages, more))
    }

    fn step_around(&self, round: &mut Round) -> Result<(), ExpireError> {
        let Some((at, from)) = round.around else {
            return Ok(());
        };
        let Some(shard) = self.store.shards().nth(at) else {
            round.around = None;
            return Ok(());
        };
        let found = shard.read(|rows| look_around(rows, from))?;
        for (tenant, due_ms) in found.dues {
            self.due.note(tenant, due_ms);
        }
        round.around = Some(found.next.map_or((at + 1, [0; 16]), |next| (at, next)));
        Ok(())
    }
}

//! Obeys commands: deterministic and total. One file per family of commands.

mod acknowledge;
mod attach;
mod change;
mod insert;
mod overflow;
mod publish;
mod remove;
mod subscription;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tessera_shard::{ApplyContext, RowError, RowsMut, Scope, StateMachine};
use tessera_tenancy::TenantId;

use crate::answer::Answer;
use crate::command::Command;
use crate::registry::Registry;
use crate::session::Owner;

use change::Change;

/// One shard's state machine.
pub(crate) struct Machine {
    registry: Arc<Registry>,
    /// Owners whose queues grew since the last commit: at most one for each target applied.
    woken: Mutex<Vec<Arc<dyn Owner>>>,
}

impl Machine {
    /// A machine that wakes the owners in this registry.
    pub(crate) fn new(registry: Arc<Registry>) -> Self {
        Self { registry, woken: Mutex::default() }
    }

    fn note_grown(&self, tenant: TenantId, clients: &[Vec<u8>]) {
        if clients.is_empty() || self.registry.is_empty() {
            return;
        }
        let mut woken = self.woken.lock();
        for client in clients {
            let owner = self.registry.owner(tenant, client);
            let known = |owner: &Arc<dyn Owner>| woken.last().is_some_and(|w| Arc::ptr_eq(w, owner));
            if let Some(owner) = owner.filter(|owner| !known(owner)) {
                woken.push(owner);
            }
        }
    }
}

impl StateMachine for Machine {
    fn apply(
        &self,
        cx: &ApplyContext,
        rows: &mut dyn RowsMut,
        scope: Scope,
        command: &[u8],
    ) -> Result<Bytes, RowError> {
        let (Scope::Tenant(tenant), Some(command)) = (scope, Command::decode(command)) else {
            return Ok(Answer::Malformed.encode());
        };
        let (answer, grown) = obey(cx, rows, tenant, &command)?;
        self.note_grown(tenant, &grown);
        Ok(answer.encode())
    }

    fn committed(&self) {
        let woken = std::mem::take(&mut *self.woken.lock());
        for owner in woken {
            owner.available();
        }
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").finish_non_exhaustive()
    }
}

/// Obeys one command of one tenant; answers it and names the clients whose queues grew.
pub(crate) fn obey(
    cx: &ApplyContext,
    rows: &mut dyn RowsMut,
    tenant: TenantId,
    command: &Command<'_>,
) -> Result<(Answer, Vec<Vec<u8>>), RowError> {
    let mut change = Change::begin(cx, rows, tenant)?;
    let answer = dispatch(&mut change, command)?;
    Ok((answer, change.finish()?))
}

fn dispatch(change: &mut Change<'_>, command: &Command<'_>) -> Result<Answer, RowError> {
    match command {
        Command::Attach(attach) => attach::attach(change, attach),
        Command::Detach { fence, expiry_seconds, sent_below } => {
            attach::detach(change, *fence, *expiry_seconds, *sent_below)
        }
        Command::Release { client } => attach::release(change, client),
        Command::Expire { client } => remove::expire(change, client),
        Command::Subscribe { fence, filter, options, subscription_id } => {
            subscription::subscribe(change, *fence, filter, *options, *subscription_id)
        }
        Command::Unsubscribe { fence, filter } => {
            subscription::unsubscribe(change, *fence, filter)
        }
        Command::Confirm { fence, filter } => subscription::confirm(change, *fence, filter),
        Command::Insert(insert) => insert::insert(change, insert),
        Command::Acknowledge { fence, below } => {
            acknowledge::acknowledge(change, *fence, *below)
        }
        Command::Mark { fence, sequence, mark } => {
            acknowledge::mark(change, *fence, *sequence, *mark)
        }
        Command::Publishing { fence, id } => publish::publishing(change, *fence, *id),
        Command::PublishReceived { fence, id } => publish::received(change, *fence, *id),
        Command::PublishReleased { fence, id } => publish::released(change, *fence, *id),
    }
}

#[cfg(test)]
mod tests;

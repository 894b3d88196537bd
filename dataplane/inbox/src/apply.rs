//! Obeys commands: deterministic and total. One file per family of commands.

mod acknowledge;
mod attach;
mod change;
mod insert;
mod overflow;
mod publish;
mod registration;
mod remove;
mod subscription;
mod will;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use tessera_shard::{ApplyContext, RowError, Rows, RowsMut, Scope, StateMachine};
use tessera_tenancy::TenantId;

use crate::answer::Answer;
use crate::command::Command;
use crate::due::DueTenants;
use crate::registry::Registry;
use crate::session::Owner;

use change::Change;

/// One shard's state machine.
pub(crate) struct Machine {
    registry: Arc<Registry>,
    due: Arc<DueTenants>,
    wills_due: Arc<DueTenants>,
    /// Set when all rows are to be looked through for what ends.
    look_around: Arc<AtomicBool>,
    pending: Mutex<Pending>,
}

/// What was applied since the last commit: told once readers see it.
#[derive(Default)]
struct Pending {
    /// Owners whose queues grew, each once, by address; with their places in the order in which they
    /// did, which is that of their waking.
    woken: BTreeMap<usize, (usize, Arc<dyn Owner>)>,
    /// Tenants with sessions that end, and when the first does.
    due: BTreeMap<TenantId, u64>,
    /// Tenants with wills that wait, and when the first is due.
    wills_due: BTreeMap<TenantId, u64>,
}

/// What a command did besides its rows.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Effects {
    /// Clients whose queues grew.
    pub(crate) grown: Vec<Vec<u8>>,
    /// When the first of the sessions that were set offline ends.
    pub(crate) due_ms: Option<u64>,
    /// When the first of the wills that were started is due.
    pub(crate) will_due_ms: Option<u64>,
}

impl Machine {
    /// A machine that wakes the owners in this registry and notes what ends and which wills are due.
    pub(crate) fn new(
        registry: Arc<Registry>,
        due: Arc<DueTenants>,
        wills_due: Arc<DueTenants>,
        look_around: Arc<AtomicBool>,
    ) -> Self {
        Self {
            registry,
            due,
            wills_due,
            look_around,
            pending: Mutex::default(),
        }
    }

    fn note(&self, tenant: TenantId, effects: &Effects) {
        if let Some(due_ms) = effects.due_ms {
            note_first(&mut self.pending.lock().due, tenant, due_ms);
        }
        if let Some(due_ms) = effects.will_due_ms {
            note_first(&mut self.pending.lock().wills_due, tenant, due_ms);
        }
        if effects.grown.is_empty() || self.registry.is_empty() {
            return;
        }
        let mut pending = self.pending.lock();
        for client in &effects.grown {
            if let Some(owner) = self.registry.owner(tenant, client) {
                let (address, place) =
                    (Arc::as_ptr(&owner).cast::<()>().addr(), pending.woken.len());
                pending.woken.entry(address).or_insert((place, owner));
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
        let (answer, effects) = obey(cx, rows, tenant, &command)?;
        self.note(tenant, &effects);
        Ok(answer.encode())
    }

    fn committed(&self) {
        let pending = std::mem::take(&mut *self.pending.lock());
        for (tenant, due_ms) in pending.due {
            self.due.note(tenant, due_ms);
        }
        for (tenant, due_ms) in pending.wills_due {
            self.wills_due.note(tenant, due_ms);
        }
        let mut woken: Vec<_> = pending.woken.into_values().collect();
        woken.sort_unstable_by_key(|(place, _)| *place);
        for (_, owner) in woken {
            owner.available();
        }
    }

    /// After a snapshot: what came with it was not told one by one.
    fn opened(&self, _rows: &dyn Rows) -> Result<(), RowError> {
        self.look_around.store(true, Ordering::Release);
        for owner in self.registry.owners() {
            owner.available();
        }
        Ok(())
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine").finish_non_exhaustive()
    }
}

fn note_first(dues: &mut BTreeMap<TenantId, u64>, tenant: TenantId, due_ms: u64) {
    let first = dues.entry(tenant).or_insert(due_ms);
    *first = due_ms.min(*first);
}

/// Obeys one command of one tenant.
pub(crate) fn obey(
    cx: &ApplyContext,
    rows: &mut dyn RowsMut,
    tenant: TenantId,
    command: &Command<'_>,
) -> Result<(Answer, Effects), RowError> {
    let mut change = Change::begin(cx, rows, tenant)?;
    let answer = dispatch(&mut change, command)?;
    Ok((answer, change.finish()?))
}

fn dispatch(change: &mut Change<'_>, command: &Command<'_>) -> Result<Answer, RowError> {
    match command {
        Command::Attach(attach) => attach::attach(change, attach),
        Command::Detach {
            fence,
            expiry_seconds,
            sent_below,
            will,
        } => attach::detach(change, *fence, *expiry_seconds, *sent_below, *will),
        Command::Release {
            client,
            registration,
        } => attach::release(change, client, *registration),
        Command::Leave {
            client,
            registration,
        } => registration::leave(change, client, *registration),
        Command::Expire { client } => remove::expire(change, client),
        Command::Subscribe {
            fence,
            filter,
            options,
            subscription_id,
        } => subscription::subscribe(change, *fence, filter, *options, *subscription_id),
        Command::Unsubscribe { fence, filter } => subscription::unsubscribe(change, *fence, filter),
        Command::Confirm { fence, filter } => subscription::confirm(change, *fence, filter),
        Command::Insert(insert) => insert::insert(change, insert),
        Command::Acknowledge { fence, below } => acknowledge::acknowledge(change, *fence, *below),
        Command::Mark {
            fence,
            sequence,
            mark,
        } => acknowledge::mark(change, *fence, *sequence, *mark),
        Command::Publishing { fence, id } => publish::publishing(change, *fence, *id),
        Command::PublishReceived { fence, id } => publish::received(change, *fence, *id),
        Command::PublishReleased { fence, id } => publish::released(change, *fence, *id),
        Command::LeaveWill {
            client,
            number,
            end,
        } => will::leave(change, client, *number, *end),
        Command::ForgetWill { client, number } => will::forget(change, client, *number),
    }
}

#[cfg(test)]
mod tests;

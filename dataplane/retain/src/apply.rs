//! Obeys commands: deterministic and total.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tessera_shard::{ApplyContext, RowError, RowsMut, Scope, StateMachine};
use tessera_tenancy::TenantId;

use crate::body::{due_of, encode_value, split_value};
use crate::command::{Answer, Command};
use crate::due::DueTenants;
use crate::encoding::{Reader, Writer};
use crate::keys::{Row, due_until};
use crate::message::{PutOutcome, RetainBounds, TenantFigures};
use crate::path::is_path;

/// Messages that one expire command removes: three rows each, within the 1,000 rows of a command
/// (protocols E).
const EXPIRED_MAX: usize = 300;

const FIGURES_FORM: u8 = 1;

/// One shard's state machine. All its state is rows.
#[derive(Debug)]
pub(crate) struct Machine {
    due: Arc<DueTenants>,
    /// What was applied since the last commit: told once readers see it.
    pending: Mutex<BTreeMap<TenantId, u64>>,
}

impl Machine {
    /// A machine that notes what expires.
    pub(crate) fn new(due: Arc<DueTenants>) -> Self {
        Self {
            due,
            pending: Mutex::default(),
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
        let (answer, due_ms) = obey(cx, rows, tenant, &command)?;
        if let Some(due_ms) = due_ms {
            let mut pending = self.pending.lock();
            let first = pending.entry(tenant).or_insert(due_ms);
            *first = due_ms.min(*first);
        }
        Ok(answer.encode())
    }

    fn committed(&self) {
        for (tenant, due_ms) in std::mem::take(&mut *self.pending.lock()) {
            self.due.note(tenant, due_ms);
        }
    }
}

/// Obeys one command of one tenant; answers it and says when what it stored expires.
pub(crate) fn obey(
    cx: &ApplyContext,
    rows: &mut dyn RowsMut,
    tenant: TenantId,
    command: &Command<'_>,
) -> Result<(Answer, Option<u64>), RowError> {
    let before = read_figures(rows.get(&Row::Figures.key(tenant))?.as_deref())?;
    let mut change = Change {
        rows,
        tenant,
        now_ms: cx.time_ms,
        figures: before,
        due_ms: None,
    };
    let answer = match *command {
        Command::Put { path, .. } | Command::Clear { path } if !is_path(path) => Answer::Malformed,
        Command::Put { path, bounds, body } => change.put(path, bounds, body)?,
        Command::Clear { path } => {
            let existed = change.remove(path)?;
            Answer::Put(PutOutcome::Cleared { existed })
        }
        Command::Expire => change.expire()?,
    };
    let due_ms = change.due_ms;
    change.finish(before)?;
    Ok((answer, due_ms))
}

/// What one command changes.
struct Change<'a> {
    rows: &'a mut dyn RowsMut,
    tenant: TenantId,
    now_ms: u64,
    figures: TenantFigures,
    due_ms: Option<u64>,
}

impl Change<'_> {
    fn put(&mut self, path: &[u8], bounds: RetainBounds, body: &[u8]) -> Result<Answer, RowError> {
        let Some(due_ms) = due_of(body, self.now_ms) else {
            return Ok(Answer::Malformed);
        };
        if due_ms.is_some_and(|due_ms| due_ms <= self.now_ms) {
            self.remove(path)?;
            return Ok(Answer::Put(PutOutcome::Expired));
        }
        let value = encode_value(body, self.now_ms);
        let key = Row::Message { path }.key(self.tenant);
        let before = self.rows.get(&key)?.map(|value| cost(path, &value));
        if !self.has_room(bounds, before, cost(path, &value)) {
            return Ok(Answer::Put(PutOutcome::Full));
        }
        let replaced = self.remove(path)?;
        self.rows.put(&key, &value)?;
        if let Some(due_ms) = due_ms {
            self.rows
                .put(&Row::Due { due_ms, path }.key(self.tenant), &[])?;
        }
        self.due_ms = due_ms;
        self.figures.messages += 1;
        self.figures.bytes += cost(path, &value);
        Ok(Answer::Put(PutOutcome::Stored { replaced }))
    }

    /// Whether the tenant may keep it. What does not take more than before may always be kept: a
    /// bound that was lowered freezes nothing.
    fn has_room(&self, bounds: RetainBounds, before: Option<u64>, cost: u64) -> bool {
        let freed = before.unwrap_or_default();
        let bytes = self
            .figures
            .bytes
            .saturating_sub(freed)
            .saturating_add(cost);
        let messages_fit = before.is_some() || self.figures.messages < bounds.messages_max;
        let bytes_fit = bytes <= bounds.bytes_max || cost <= freed;
        messages_fit && bytes_fit
    }

    /// Removes a topic's message and what finds it; answers whether there was one.
    fn remove(&mut self, path: &[u8]) -> Result<bool, RowError> {
        let key = Row::Message { path }.key(self.tenant);
        let Some(value) = self.rows.get(&key)? else {
            return Ok(false);
        };
        let due = split_value(&value).and_then(|(stored_at_ms, body)| due_of(body, stored_at_ms));
        let due = due.ok_or(RowError::undecodable("retained message"))?;
        if let Some(due_ms) = due {
            self.rows
                .delete(&Row::Due { due_ms, path }.key(self.tenant))?;
        }
        self.rows.delete(&key)?;
        self.figures.messages = self.figures.messages.saturating_sub(1);
        self.figures.bytes = self.figures.bytes.saturating_sub(cost(path, &value));
        Ok(true)
    }

    fn expire(&mut self) -> Result<Answer, RowError> {
        let (from, until) = due_until(self.tenant, self.now_ms);
        let mut due = Vec::new();
        let mut more = false;
        self.rows.scan(&from, &until, &mut |key, _| {
            more = due.len() >= EXPIRED_MAX;
            if more {
                return ControlFlow::Break(());
            }
            due.push(key.to_vec());
            ControlFlow::Continue(())
        })?;
        let mut messages = 0;
        for key in due {
            let Some((_, Row::Due { path, .. })) = Row::parse(&key) else {
                return Err(RowError::undecodable("key"));
            };
            messages += u64::from(self.remove(path)?);
            self.rows.delete(&key)?;
        }
        Ok(Answer::Expired { messages, more })
    }

    fn finish(self, before: TenantFigures) -> Result<(), RowError> {
        if self.figures == before {
            return Ok(());
        }
        let mut out = Writer::with_capacity(20);
        out.byte(FIGURES_FORM)
            .number(self.figures.messages)
            .number(self.figures.bytes);
        self.rows.put(&Row::Figures.key(self.tenant), &out.finish())
    }
}

/// What a tenant keeps, by the value of its row.
pub(crate) fn read_figures(value: Option<&[u8]>) -> Result<TenantFigures, RowError> {
    let Some(value) = value else {
        return Ok(TenantFigures::default());
    };
    let mut reader = Reader::new(value);
    let mut read = || {
        let known = reader.byte()? == FIGURES_FORM;
        let figures = TenantFigures {
            messages: reader.number()?,
            bytes: reader.number()?,
        };
        known.then_some(figures)
    };
    read().ok_or(RowError::undecodable("figures"))
}

/// What a message counts for.
fn cost(path: &[u8], value: &[u8]) -> u64 {
    u64::try_from(path.len() + value.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;

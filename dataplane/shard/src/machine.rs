//! What a store gives to the engine: a deterministic state machine over ordered rows.

use std::ops::ControlFlow;

use bytes::Bytes;
use tessera_tenancy::TenantId;

use crate::error::RowError;
use crate::range::ShardId;

/// Whose rows a command may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Rows of one tenant: every key that is written must start with its 16 bytes.
    Tenant(TenantId),
    /// Rows of the group itself, and of any tenant in its range: node sessions, background steps.
    Group,
}

/// Where and when a command is applied. The same on every replica.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ApplyContext {
    /// The shard that applies.
    pub shard: ShardId,
    /// The term of the leader that took the batch. Who leads in that term decided on no other
    /// leader's word.
    pub term: u64,
    /// The log index of the batch that the command came in. Commands of one batch share it.
    pub index: u64,
    /// Place of the command in its batch: `(index, ordinal)` names a command.
    pub ordinal: u32,
    /// Group time, Unix milliseconds: the largest time of any batch so far. Never goes back.
    pub time_ms: u64,
}

/// One shard's logic. One value per shard; shared by the applying thread and by readers.
pub trait StateMachine: Send + Sync + 'static {
    /// Changes rows as `command` says, and answers it.
    ///
    /// Deterministic and total: no clock, configuration, randomness or hash order; a command that
    /// cannot be obeyed gets an answer that says so. An error is for storage only: it fences the
    /// node. What is written is seen by later commands at once, and by [`Rows`] of readers once
    /// [`committed`](Self::committed) runs.
    fn apply(
        &self,
        cx: &ApplyContext,
        rows: &mut dyn RowsMut,
        scope: Scope,
        command: &[u8],
    ) -> Result<Bytes, RowError>;

    /// Everything applied since the last call is visible to readers: publish derived memory and
    /// wake-ups. Runs before the proposals are answered, on the applying thread: keep it short.
    fn committed(&self) {}

    /// Rebuilds derived memory from rows: after opening, before the log is replayed on top, after
    /// a snapshot took the place of all rows, and after a split took the later keys away. The
    /// shard that has them then begins with its own machine and a copy of the local rows.
    fn opened(&self, rows: &dyn Rows) -> Result<(), RowError> {
        let _ = rows;
        Ok(())
    }
}

/// Called with each key and value of a scan, in key order. `Break` ends the scan.
pub type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'a;

/// Rows of one shard at one moment. Keys are whole: 16 bytes of tenant first. A scan is cut to
/// the shard's key range.
///
/// Local rows are a second key space that belongs to the group itself and stays with it.
///
/// Every value is verified against its checksum; a mismatch is [`RowError::Corrupt`].
pub trait Rows {
    /// Whether a key is in the shard's key range. After a split, local rows may speak of others.
    fn covers(&self, key: &[u8]) -> bool;

    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, RowError>;

    /// Rows with `from <= key < until` in key order. An empty `until` means to the end.
    fn scan(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), RowError>;

    /// The value of a local `key`.
    fn get_local(&self, key: &[u8]) -> Result<Option<Bytes>, RowError>;

    /// Local rows with `from <= key < until` in key order. An empty `until` means to the end.
    fn scan_local(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), RowError>;
}

/// Rows that a command may change.
pub trait RowsMut: Rows {
    /// Sets `key`. Refused outside the shard's key range and outside the command's scope.
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowError>;

    /// Removes `key`; `true` if it was there. Refused as [`put`](Self::put) is.
    fn delete(&mut self, key: &[u8]) -> Result<bool, RowError>;

    /// Sets a local `key`.
    fn put_local(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowError>;

    /// Removes a local `key`; `true` if it was there.
    fn delete_local(&mut self, key: &[u8]) -> Result<bool, RowError>;
}

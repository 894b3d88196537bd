//! What the engine is measured with.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tessera_shard::{ApplyContext, RowError, RowsMut, Scope, StateMachine};

/// Entries that this process has applied, on any of its nodes.
static ENTRIES: AtomicU64 = AtomicU64::new(0);

/// See [`ENTRIES`].
pub(crate) fn entries_applied() -> u64 {
    ENTRIES.load(Ordering::Relaxed)
}

/// Bytes of a row that a filling command makes.
const FILLED_ROW_BYTES: usize = 1000;
/// A command that makes rows: this, the first row's number and how many, four bytes each.
pub(crate) const FILL: &[u8] = b"fill";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Machine {
    /// Does nothing: what is measured is the log.
    Nothing,
    /// Writes the command as a row; its key is the first eight bytes.
    Writes,
}

impl Machine {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Writes => "a row",
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
        if cx.ordinal == 0 {
            ENTRIES.fetch_add(1, Ordering::Relaxed);
        }
        let Scope::Tenant(tenant) = scope else {
            return Ok(Bytes::new());
        };
        if let Some(fill) = command.strip_prefix(FILL) {
            let number = |at: usize| u32::from_be_bytes(fill[at..at + 4].try_into().unwrap());
            for row in number(0)..number(0) + number(4) {
                let key = [&tenant.as_bytes()[..], &row.to_be_bytes()].concat();
                rows.put(&key, &[0xa5; FILLED_ROW_BYTES])?;
            }
        } else if *self == Self::Writes {
            let key = [tenant.as_bytes(), &command[..8]].concat();
            rows.put(&key, command)?;
        }
        Ok(Bytes::new())
    }
}

/// A filling command, and the bytes that it stores.
pub(crate) fn fill(first: u32, count: u32) -> (Bytes, u64) {
    let command = [FILL, &first.to_be_bytes(), &count.to_be_bytes()].concat();
    let row_bytes = u64::try_from(FILLED_ROW_BYTES).unwrap();
    (command.into(), u64::from(count) * row_bytes)
}

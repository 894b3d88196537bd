//! How full the disk is, as a state that callers act on.
//!
//! What counts is live bytes: a file of the engine does not shrink when rows go, but what they left
//! in it is written again first. Counting them reads whole tables, so it is done only once files
//! are large enough for it to matter.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use redb::{ReadableDatabase as _, ReadableTableMetadata as _};
use tokio::sync::watch;

use crate::checksum::Definition;
use crate::database::SharedDatabase;
use crate::disk::Storage;
use crate::error::RowError;

/// From here on operators are told, in percent of the capacity.
pub const DISK_HIGH_PERCENT: u64 = 90;
/// From here on writes are refused, but for those that only free, in percent of the capacity.
pub const DISK_FULL_PERCENT: u64 = 95;
/// How often it is looked at: a disk that has room again is noticed within this and the time that
/// counting takes.
pub(crate) const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// How much may be stored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Capacity {
    /// What the file system of the folder has. Nothing on a made-up disk.
    #[default]
    Measured,
    /// So many bytes for the engine's files.
    Bytes(u64),
}

/// How full the disk is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DiskState {
    /// There is room.
    #[default]
    Roomy,
    /// At or above [`DISK_HIGH_PERCENT`].
    High,
    /// At or above [`DISK_FULL_PERCENT`]: only what frees is written.
    Full,
}

impl DiskState {
    fn of(used: u64, capacity: u64) -> Self {
        let is_at =
            |percent: u64| u128::from(used) * 100 >= u128::from(capacity) * u128::from(percent);
        if is_at(DISK_FULL_PERCENT) {
            Self::Full
        } else if is_at(DISK_HIGH_PERCENT) {
            Self::High
        } else {
            Self::Roomy
        }
    }
}

/// The state, for those who watch it and for those who ask at each command.
#[derive(Debug, Default)]
pub(crate) struct Gauge {
    state: watch::Sender<DiskState>,
    is_full: AtomicBool,
}

impl Gauge {
    pub(crate) fn is_full(&self) -> bool {
        self.is_full.load(Ordering::Relaxed)
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<DiskState> {
        self.state.subscribe()
    }

    pub(crate) fn set(&self, state: DiskState) {
        self.is_full
            .store(state == DiskState::Full, Ordering::Relaxed);
        let is_new = self.state.send_if_modified(|current| {
            let is_new = *current != state;
            *current = state;
            is_new
        });
        if is_new {
            tracing::warn!(?state, "the disk's state has changed");
        }
    }
}

/// A database file and its tables.
#[derive(Clone)]
pub(crate) struct Counted {
    pub(crate) path: PathBuf,
    pub(crate) database: SharedDatabase,
    pub(crate) tables: [Definition; 2],
}

/// How full the disk is now; `None` if nobody says how large it is. Blocks.
pub(crate) fn measure(
    storage: &Storage,
    folder: &Path,
    capacity: Capacity,
    files: &[Counted],
) -> Result<Option<DiskState>, RowError> {
    let failed = |error: io::Error| RowError::Storage(error.to_string().into());
    let mut file_bytes = 0;
    for file in files {
        file_bytes += storage.len(&file.path).map_err(failed)?;
    }
    let (used, capacity) = match capacity {
        Capacity::Bytes(bytes) => (file_bytes, bytes),
        Capacity::Measured => match storage.space(folder).map_err(failed)? {
            Some((free, total)) => (total.saturating_sub(free), total),
            None => return Ok(None),
        },
    };
    let state = DiskState::of(used, capacity);
    if state == DiskState::Roomy {
        return Ok(Some(state));
    }
    let mut live_bytes = 0;
    for file in files {
        live_bytes += live(file)?;
    }
    let reusable = file_bytes.saturating_sub(live_bytes);
    Ok(Some(DiskState::of(used.saturating_sub(reusable), capacity)))
}

fn live(file: &Counted) -> Result<u64, RowError> {
    let Some(database) = file.database.get() else {
        return Ok(0);
    };
    let txn = database.begin_read().map_err(RowError::storage)?;
    let mut bytes = 0;
    for table in file.tables {
        let table = txn.open_table(table).map_err(RowError::storage)?;
        let stats = table.stats().map_err(RowError::storage)?;
        bytes += stats.stored_bytes() + stats.metadata_bytes() + stats.fragmented_bytes();
    }
    Ok(bytes)
}

/// What a proposer asks at each command.
pub(crate) type SharedGauge = Arc<Gauge>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_marks_are_at_90_and_95_percent() {
        for (used, expected) in [
            (0, DiskState::Roomy),
            (899, DiskState::Roomy),
            (900, DiskState::High),
            (949, DiskState::High),
            (950, DiskState::Full),
            (u64::MAX, DiskState::Full),
        ] {
            assert_eq!(DiskState::of(used, 1000), expected, "{used}");
        }
    }
}

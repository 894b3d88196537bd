//! The store, as the nodes' streams read it.

use std::sync::Arc;

use tessera_push::{Head, PushSource, SnapshotSource};
use tessera_store::{ConfigHeadRow, SnapshotReader, Store, StoreError};
use tessera_tenancy::{Change, Revision};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Reads for streams, a bounded number at once, so that requests find connections, too.
#[derive(Debug, Clone)]
pub(crate) struct StoreSource {
    pub(crate) store: Store,
    pub(crate) reads: Arc<Semaphore>,
}

pub(crate) struct StoreSnapshot {
    reader: SnapshotReader,
    _permit: Option<OwnedSemaphorePermit>,
}

impl PushSource for StoreSource {
    type Error = StoreError;
    type Snapshot = StoreSnapshot;

    async fn changes_after(
        &self,
        after: Revision,
        limit: usize,
    ) -> Result<Vec<Change>, StoreError> {
        let _permit = self.permit().await;
        self.store.changes_after(after, rows(limit)).await
    }

    async fn snapshot(&self) -> Result<StoreSnapshot, StoreError> {
        let permit = self.permit().await;
        Ok(StoreSnapshot {
            reader: self.store.snapshot().await?,
            _permit: permit,
        })
    }
}

impl StoreSource {
    /// `None` only if the semaphore were closed, which nobody does.
    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.reads.clone().acquire_owned().await.ok()
    }
}

impl SnapshotSource for StoreSnapshot {
    type Error = StoreError;

    fn revision(&self) -> Revision {
        self.reader.revision()
    }

    async fn next_page(&mut self, limit: usize) -> Result<Vec<Change>, StoreError> {
        self.reader.next_page(rows(limit)).await
    }
}

pub(crate) const fn head_of(row: ConfigHeadRow) -> Head {
    Head {
        timeline: row.timeline,
        revision: row.revision,
        oldest_change: row.oldest_change,
    }
}

fn rows(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}

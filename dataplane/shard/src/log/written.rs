//! How far the batches of this node's proposer are on disk here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use openraft::EntryPayload;
use tokio::sync::Notify;

use crate::batch::ProposerId;
use crate::raft_types::Entry;

/// What the log tells a proposer whose batches it writes.
#[derive(Debug)]
pub(crate) struct Written {
    proposer: ProposerId,
    /// The largest number of its batches that was written.
    number: AtomicU64,
    /// The proposer waits to be told.
    is_awaited: AtomicBool,
    wake: Arc<Notify>,
}

impl Written {
    pub(crate) const fn new(proposer: ProposerId, wake: Arc<Notify>) -> Self {
        Self {
            proposer,
            number: AtomicU64::new(0),
            is_awaited: AtomicBool::new(false),
            wake,
        }
    }

    /// Whether the batch of this number is not written yet. If so, the proposer is woken by the next
    /// one that is.
    pub(crate) fn is_behind(&self, number: u64) -> bool {
        if self.number.load(Ordering::SeqCst) >= number {
            return false;
        }
        self.is_awaited.store(true, Ordering::SeqCst);
        // It may have been written since the first look.
        self.number.load(Ordering::SeqCst) < number
    }

    /// Entries are on disk.
    pub(super) fn note(&self, entries: &[Entry]) {
        let number = entries.iter().rev().find_map(|entry| self.number_of(entry));
        let Some(number) = number else { return };
        self.number.fetch_max(number, Ordering::SeqCst);
        if self.is_awaited.swap(false, Ordering::SeqCst) {
            self.wake.notify_one();
        }
    }

    fn number_of(&self, entry: &Entry) -> Option<u64> {
        match &entry.payload {
            EntryPayload::Normal(batch) => {
                let (header, _) = batch.decode()?;
                (header.proposer == self.proposer).then_some(header.number)
            }
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use tessera_tenancy::{Incarnation, NodeId};

    use super::*;
    use crate::batch::{BatchHeader, EncodedBatch};
    use crate::raft_types::log_id;

    fn proposer(node: u64) -> ProposerId {
        ProposerId {
            node: NodeId(node),
            incarnation: Incarnation(1),
            making: 1,
        }
    }

    fn entry(node: u64, number: u64) -> Entry {
        let header = BatchHeader {
            proposer: proposer(node),
            number,
            time_ms: 0,
            epoch: 1,
        };
        let batch = EncodedBatch::new(&header, std::iter::empty(), 0);
        Entry {
            log_id: log_id(1, number),
            payload: EntryPayload::Normal(batch),
        }
    }

    #[test]
    fn a_proposer_that_waits_is_woken_by_its_own_batches_only_and_once() {
        let wake = Arc::new(Notify::new());
        let written = Written::new(proposer(1), Arc::clone(&wake));
        let mut woken = Box::pin(wake.notified());
        let mut is_woken = || futures_util::FutureExt::now_or_never(&mut woken).is_some();
        written.note(&[entry(1, 1)]);
        assert!(!is_woken(), "nobody waits");
        assert!(!written.is_behind(1) && written.is_behind(3));
        written.note(&[entry(2, 9)]);
        assert!(written.is_behind(3) && !is_woken());
        written.note(&[entry(1, 2), entry(1, 3), entry(2, 10)]);
        assert!(is_woken() && !written.is_behind(3));
    }
}

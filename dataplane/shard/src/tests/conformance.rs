//! openraft's own suite for stores, on ours.

use std::sync::Arc;
use std::time::Duration;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;
use tokio::sync::Notify;

use super::kit::Counters;
use crate::disk::Storage;
use crate::fence::Fence;
use crate::log::{GroupLog, LogHandle, NodeLog};
use crate::raft_types::Types;
use crate::range::{StoreKind, initial_ranges};
use crate::state::{CheckpointPolicy, Extent, StateHandle, Stripe};
use crate::workers::Workers;

struct Builder;

/// Ends the threads and removes the files of one store.
struct Guard {
    _folder: TempDir,
    log: NodeLog,
    stripe: Stripe,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.log.begin_close();
        self.stripe.begin_close();
    }
}

impl StoreBuilder<Types, LogHandle, StateHandle, Guard> for Builder {
    async fn build(&self) -> Result<(Guard, LogHandle, StateHandle), StorageError<Types>> {
        let folder = tempfile::tempdir().unwrap();
        let fence = Fence::new();
        let log = NodeLog::open(
            &Storage::Files,
            &folder.path().join("log"),
            1 << 20,
            Workers::Threads,
            fence.clone(),
        )
        .unwrap();
        let policy = CheckpointPolicy {
            interval: Duration::from_secs(5),
            bytes: 1 << 20,
        };
        let path = folder.path().join("state");
        let stripe = Stripe::open(
            &Storage::Files,
            &path,
            1 << 20,
            policy,
            Workers::Threads,
            fence,
            Arc::new(Notify::new()),
        )
        .unwrap();
        let record = initial_ranges(StoreKind::Dist, 1, 1, &[])
            .unwrap()
            .remove(0);
        let extent = Extent {
            shard: record.shard,
            range: Arc::new(record.range),
            epoch: record.epoch,
        };
        let group_log = GroupLog::load(&log, record.shard).unwrap();
        let group = stripe
            .add_group(extent, Arc::new(Counters::default()))
            .unwrap();
        let state = StateHandle {
            group,
            stripe: stripe.clone(),
            log: Arc::clone(&group_log),
        };
        Ok((
            Guard {
                _folder: folder,
                log,
                stripe,
            },
            LogHandle(group_log),
            state,
        ))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_store_passes_the_conformance_suite_of_openraft() {
    Suite::test_all(Builder).await.unwrap();
}

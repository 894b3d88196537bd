//! Replicas that are made after a split of their range.

use std::time::Duration;

use bytes::Bytes;
use tessera_tenancy::{ClusterId, NodeId};

use super::cluster::{Cluster, until};
use super::determinism::simulate;
use super::kit::{count, key_of, tenant};
use crate::range::RangeRecord;
use crate::wire::{Envelope, Request, read_answer};
use crate::{StateDigest, StoreKind};

/// The key at which the tests split: inside tenant 7.
fn middle() -> Vec<u8> {
    key_of(tenant(7), b"m")
}

#[test]
fn a_member_that_first_comes_after_a_split_has_what_was_written_before_it() {
    simulate(async {
        let mut cluster = Cluster::simulated(61);
        // Node 3 is a member from the start, and not there: nothing is purged.
        cluster.found(1, &[1, 2, 3].map(NodeId), 1).await;
        cluster.start(2).await;
        for _ in 0..5 {
            cluster.add(1, 7, b"a").await;
        }
        let (_, shard) = cluster.led().await;
        assert_eq!(shard.status().purged, None);
        shard.split(&middle()).await.unwrap();
        cluster.start(3).await;
        let store = &cluster.nodes[&3].store;
        let command = Bytes::from_static(b"a");
        let added = store.propose(tenant(7), b"a", command).await.unwrap();
        assert_eq!(added[..], 6u64.to_le_bytes());
        let first = until(|| store.find_shard(tenant(7), b"a")).await;
        until(|| (first.status().applied == shard.status().applied).then_some(())).await;
        assert_eq!(count(store, tenant(7), b"a"), 6);
        assert!(shard.status().purged.is_some());
        cluster.assert_one_digest(7, b"a").await;
        cluster.end().await;
    });
}

#[test]
fn a_replica_that_is_made_after_a_split_takes_no_snapshot_of_before_it() {
    simulate(async {
        let mut cluster = Cluster::simulated(62);
        cluster.begin(&[1], 1).await;
        let names = cluster.add_until_purged().await;
        let (_, shard) = cluster.led().await;
        cluster.start(2).await;
        // Node 2 hears of the range as it will be, as from a leader that knows of the split already.
        let extent = shard.replica().state.group.extent();
        let (before, _) = extent.range.split(&middle()).unwrap();
        let record = RangeRecord {
            shard: shard.id(),
            epoch: 2,
            stripe: 0,
            range: before,
            founders: Vec::new(),
        };
        let envelope = Envelope {
            cluster: ClusterId::from_bytes([9; 16]),
            kind: StoreKind::Inbox,
            shard: shard.id(),
            epoch: 2,
        };
        let hosting = Request::Host(record, 0).encode(&envelope).unwrap();
        let hosted = cluster.nodes[&2].engine.handle_request(NodeId(1), hosting);
        let hosted: Result<(), _> = read_answer(&hosted.await);
        hosted.unwrap();
        shard.add_learner(NodeId(2)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        let fresh = cluster.shard(2, 7).await;
        assert_eq!(fresh.digest().await, Ok(None::<StateDigest>));
        assert_eq!(fresh.status().applied, None);

        shard.split(&middle()).await.unwrap();
        until(|| (fresh.status().applied == shard.status().applied).then_some(())).await;
        cluster.assert_same(2, names).await;
        cluster.assert_one_digest(7, b"").await;
        cluster.end().await;
    });
}

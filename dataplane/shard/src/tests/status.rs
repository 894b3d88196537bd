//! What a replica says of itself, and of what its log file holds.

use tessera_tenancy::NodeId;

use super::cluster::{Cluster, until};
use super::determinism::simulate;
use super::kit::{Counters, key_of, tenant};
use crate::{LogChecksum, Members, Shard, ShardStatus};

/// The status of each replica of tenant 7's shard, once all of them have applied the same.
async fn settled(cluster: &Cluster) -> Vec<ShardStatus> {
    let mut shards = Vec::new();
    for node in cluster.nodes.keys() {
        shards.push(cluster.shard(*node, 7).await);
    }
    until(|| {
        let all: Vec<_> = shards.iter().map(Shard::status).collect();
        let last = all.iter().find(|status| status.is_leader)?.last;
        let is_settled = |status: &ShardStatus| {
            (status.last, status.committed, status.applied) == (last, last, last)
        };
        all.iter().all(is_settled).then_some(all)
    })
    .await
}

async fn log_of(shard: &Shard<Counters>) -> Vec<LogChecksum> {
    shard.log_checksums(0, u64::MAX).await.unwrap()
}

#[test]
fn replicas_say_who_leads_how_far_they_are_and_which_keys_they_have() {
    simulate(async {
        let mut cluster = Cluster::simulated(51);
        cluster.begin(&[1, 2, 3], 1).await;
        cluster.add(2, 7, b"a").await;
        let first = settled(&cluster).await;
        let leader = cluster.leader(1, 7).await;
        let members = Members {
            voters: [1, 2, 3].map(NodeId).to_vec(),
            learners: Vec::new(),
        };
        for (status, node) in first.iter().zip(1..) {
            assert_eq!(status.term, first[0].term);
            assert_eq!(status.leader, Some(NodeId(leader)));
            assert_eq!(status.is_leader, node == leader);
            assert_eq!(status.members, members);
            let range = (status.epoch, &status.start[..], status.end.as_deref());
            assert_eq!(range, (1, &[][..], None));
        }
        let at = key_of(tenant(7), b"m");
        let shard = cluster.shard(leader, 7).await;
        shard.split(&at).await.unwrap();
        cluster.stop(leader).await;
        cluster.add(leader % 3 + 1, 7, b"a").await;
        for (status, before) in settled(&cluster).await.iter().zip(&first) {
            assert!(status.term > before.term, "another one was elected");
            assert!(status.applied > before.applied);
            let range = (status.epoch, &status.start[..], status.end.as_deref());
            assert_eq!(range, (2, &[][..], Some(&at[..])));
        }
        cluster.end().await;
    });
}

#[test]
fn replicas_hold_the_same_entries_from_where_their_log_is_purged() {
    simulate(async {
        let mut cluster = Cluster::simulated(52);
        cluster.begin(&[1, 2, 3], 1).await;
        cluster.add(1, 7, b"a").await;
        settled(&cluster).await;
        let first = log_of(&cluster.shard(1, 7).await).await;
        assert_eq!(first[0].position.index, 0);
        for node in [2, 3] {
            assert_eq!(log_of(&cluster.shard(node, 7).await).await, first);
        }
        let shard = cluster.shard(1, 7).await;
        assert_eq!(shard.log_checksums(1, 1).await.unwrap(), first[1..2]);
        assert_eq!(shard.log_checksums(900, u64::MAX).await, Ok(Vec::new()));

        cluster.add_until_purged().await;
        let (_, shard) = cluster.led().await;
        let purged = shard.status().purged.unwrap().index;
        let kept = log_of(&shard).await;
        assert_eq!(kept[0].position.index, purged + 1);
        assert_eq!(kept.last().map(|last| last.position), shard.status().last);
        cluster.end().await;
    });
}

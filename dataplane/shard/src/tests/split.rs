//! A range is split, by a word and by size, under load, and with replicas that miss it.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use tessera_tenancy::{Incarnation, NodeId};

use super::cluster::{Cluster, until};
use super::determinism::simulate;
use super::kit::{Counters, ECHO, count, key_of, tenant};
use crate::batch::{BatchHeader, EncodedBatch, ProposerId};
use crate::raft_types::BatchReply;
use crate::{ChangeError, ProposeError, Scope, Shard};

/// The key at which the tests split: inside tenant 7.
fn middle() -> Vec<u8> {
    key_of(tenant(7), b"m")
}

/// The shard of a tenant's name on `node`, which has a replica of it.
fn find(cluster: &Cluster, node: u64, name: &[u8]) -> Option<Shard<Counters>> {
    cluster.nodes[&node].store.find_shard(tenant(7), name)
}

/// Adds one to a counter of tenant 7 through `node`, wherever its range is.
async fn add(cluster: &Cluster, node: u64, name: &[u8]) -> u64 {
    let store = &cluster.nodes[&node].store;
    let command = Bytes::copy_from_slice(name);
    let count = store.propose(tenant(7), name, command).await.unwrap();
    u64::from_le_bytes(count[..].try_into().unwrap())
}

/// Waits until `node` has a replica for the name that has applied it `expected` times.
async fn assert_count(cluster: &Cluster, node: u64, name: &[u8], expected: u64) {
    until(|| {
        let shard = find(cluster, node, name)?;
        let is_installing = shard.replica().state.group.is_installing();
        let store = &cluster.nodes[&node].store;
        (!is_installing && count(store, tenant(7), name) == expected).then_some(())
    })
    .await;
}

/// Splits at [`middle`], on whichever node leads.
async fn split(cluster: &Cluster) {
    loop {
        let (_, shard) = cluster.led().await;
        match shard.split(&middle()).await {
            Ok(_child) => return,
            Err(ChangeError::NotLeader { .. }) => {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_split_gives_the_later_keys_to_a_new_shard_that_is_there_after_a_restart() {
    simulate(async {
        let mut cluster = Cluster::simulated(21);
        cluster.begin(&[1, 2, 3], 1).await;
        for node in 1..=3 {
            add(&cluster, node, b"a").await;
            add(&cluster, node, b"z").await;
        }
        let old = find(&cluster, 1, b"z").unwrap();
        split(&cluster).await;
        let moved = until(|| {
            let shard = find(&cluster, 1, b"z")?;
            (shard.id() != old.id()).then_some(shard)
        })
        .await;
        assert_eq!(find(&cluster, 1, b"a").unwrap().id(), old.id());
        assert_eq!(
            find(&cluster, 1, b"m").unwrap().id(),
            moved.id(),
            "the key itself moved"
        );
        let late = old
            .submit(Scope::Tenant(tenant(7)), Bytes::from_static(b"z"))
            .err();
        assert_eq!(late, Some(ProposeError::RangeMoved { shard: old.id() }));
        for node in 1..=3 {
            assert_eq!(add(&cluster, node, b"a").await, 3 + node);
            assert_eq!(add(&cluster, node, b"z").await, 3 + node);
        }
        for node in 1..=3 {
            cluster.stop(node).await;
        }
        for node in 1..=3 {
            cluster.start(node).await;
        }
        for node in 1..=3 {
            assert_eq!(find(&cluster, node, b"z").unwrap().id(), moved.id());
            assert_eq!(add(&cluster, node, b"a").await, 6 + node);
            assert_eq!(add(&cluster, node, b"z").await, 6 + node);
        }
        cluster.end().await;
    });
}

#[test]
fn a_split_under_load_loses_and_doubles_nothing() {
    simulate(async {
        let mut cluster = Cluster::simulated(22);
        cluster.begin(&[1, 2, 3], 1).await;
        add(&cluster, 1, b"warm").await;
        let names = (0..600u64).map(|i| (i % 3 + 1, i.wrapping_mul(0x9e37_79b9_7f4a_7c15)));
        let names: Vec<_> = names
            .map(|(node, name)| (node, name.to_be_bytes()))
            .collect();
        let adding = async {
            for some in names.chunks(60) {
                let adds = some.iter().map(|(node, name)| add(&cluster, *node, name));
                for (count, (_, name)) in join_all(adds).await.into_iter().zip(some) {
                    assert_eq!(count, 1, "{name:?} was applied once");
                }
            }
        };
        let splitting = async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            split(&cluster).await;
        };
        tokio::join!(adding, splitting);
        for (_, name) in &names {
            assert_count(&cluster, 2, name, 1).await;
        }
        cluster.assert_one_digest(7, b"a").await;
        cluster.assert_one_digest(7, b"z").await;
        cluster.end().await;
    });
}

#[test]
fn a_batch_for_the_range_of_before_changes_nothing_and_is_told_so_also_when_it_is_repeated() {
    simulate(async {
        let mut cluster = Cluster::simulated(26);
        cluster.begin(&[1, 2, 3], 1).await;
        add(&cluster, 1, b"z").await;
        split(&cluster).await;
        let (leader, parent) = cluster.led().await;
        let batch = |epoch, number| {
            let header = BatchHeader {
                proposer: ProposerId {
                    node: NodeId(9),
                    incarnation: Incarnation(1),
                    making: 1,
                },
                number,
                time_ms: 0,
                epoch,
            };
            let scope = Scope::Tenant(tenant(7));
            EncodedBatch::new(&header, std::iter::once((scope, &b"a"[..])), 1)
        };
        let moved = |number| (batch(1, number), BatchReply::Moved);
        let one = Bytes::copy_from_slice(&1u64.to_le_bytes());
        let applied = (batch(2, 3), BatchReply::Answers(vec![one]));
        for (batch, expected) in [moved(1), moved(1), moved(2), applied, moved(2)] {
            let written = parent
                .replica()
                .raft
                .call(|raft| async move { raft.client_write(batch).await })
                .await
                .unwrap();
            assert_eq!(written.data, expected);
        }
        assert!(cluster.nodes[&leader].engine.fenced().borrow().is_none());
        cluster.end().await;
    });
}

#[test]
fn a_replica_that_missed_the_split_refuses_the_child_until_it_makes_it_from_the_log() {
    simulate(async {
        let mut cluster = Cluster::simulated(23);
        cluster.begin(&[1, 2, 3], 1).await;
        add(&cluster, 3, b"z").await;
        let (leader, _) = cluster.led().await;
        let missing = leader % 3 + 1;
        // It hears of the child, but not of the split: both lead on the same node.
        cluster.board.isolate(NodeId(missing));
        split(&cluster).await;
        until(|| find(&cluster, leader, b"z").filter(|shard| shard.id().as_u64() & (1 << 55) != 0))
            .await;
        let child = find(&cluster, leader, b"z").unwrap();
        assert_eq!(add(&cluster, leader, b"z").await, 2);
        let early = crate::wire::Request::Host(
            crate::range::RangeRecord {
                shard: child.id(),
                epoch: 2,
                stripe: 0,
                range: (*child.replica().state.group.extent().range).clone(),
                founders: Vec::new(),
            },
            1,
        );
        let envelope = crate::wire::Envelope {
            cluster: tessera_tenancy::ClusterId::from_bytes([9; 16]),
            kind: crate::StoreKind::Inbox,
            shard: child.id(),
            epoch: 2,
        };
        let early = early.encode(&envelope).unwrap();
        let engine = &cluster.nodes[&missing].engine;
        let answer = engine.handle_request(NodeId(leader), early).await;
        let refused: Result<(), _> = crate::wire::read_answer(&answer);
        assert_eq!(refused, Err(crate::wire::Refusal::Covered));
        cluster.board.heal();
        assert_count(&cluster, missing, b"z", 2).await;
        assert_eq!(find(&cluster, missing, b"z").unwrap().id(), child.id());
        assert_eq!(add(&cluster, missing, b"z").await, 3);
        assert_eq!(add(&cluster, missing, b"a").await, 1);
        cluster.end().await;
    });
}

#[test]
fn a_replica_that_takes_the_parents_later_snapshot_gets_the_child_from_its_leader() {
    simulate(async {
        let mut cluster = Cluster::simulated(24);
        cluster.laggard_log_bytes_max = 0;
        cluster.begin(&[1, 2, 3], 1).await;
        add(&cluster, 3, b"a").await;
        add(&cluster, 3, b"z").await;
        let (leader, _) = cluster.led().await;
        let missing = leader % 3 + 1;
        cluster.stop(missing).await;
        split(&cluster).await;
        add(&cluster, leader, b"z").await;
        // Past what is counted as one part of the log.
        let large = Bytes::from([ECHO, &vec![7; 300_000]].concat());
        for _ in 0..8 {
            let store = &cluster.nodes[&leader].store;
            store.propose(tenant(7), b"a", large.clone()).await.unwrap();
        }
        let parent = find(&cluster, leader, b"a").unwrap();
        let split_at = parent.replica().state.log.purged();
        let mut added = 1;
        while parent.replica().state.log.purged() <= split_at.max(Some(12)) {
            added = add(&cluster, leader, b"a").await;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        cluster.start(missing).await;
        assert_count(&cluster, missing, b"a", added).await;
        assert_count(&cluster, missing, b"z", 2).await;
        assert_eq!(add(&cluster, missing, b"z").await, 3);
        cluster.assert_one_digest(7, b"a").await;
        cluster.assert_one_digest(7, b"z").await;
        cluster.end().await;
    });
}

#[test]
fn no_split_during_a_change_of_members_nor_at_a_key_outside_and_one_by_size() {
    simulate(async {
        let mut cluster = Cluster::simulated(25);
        cluster.begin(&[1, 2, 3], 1).await;
        for name in 0..100u8 {
            add(&cluster, 1, &[name]).await;
        }
        cluster.start(4).await;
        let (leader, shard) = cluster.led().await;
        let at = middle();
        let (added, refused) = tokio::join!(shard.add_learner(NodeId(4)), shard.split(&at));
        assert_eq!((added, refused), (Ok(()), Err(ChangeError::InProgress)));
        assert_eq!(
            shard.split(&[]).await,
            Err(ChangeError::NotSplit),
            "nothing comes before it"
        );
        let other = cluster.shard(leader % 3 + 1, 7).await;
        let elsewhere = other.split(&at).await;
        assert_eq!(
            elsewhere,
            Err(ChangeError::NotLeader {
                leader: Some(NodeId(leader))
            })
        );

        assert_eq!(shard.split_if_larger(100_000).await, Ok(None));
        let child = shard.split_if_larger(1000).await.unwrap().unwrap();
        let halves = [40u8, 60].map(|name| [name]);
        let later =
            until(|| find(&cluster, leader, &halves[1]).filter(|shard| shard.id() == child));
        later.await;
        assert_eq!(find(&cluster, leader, &halves[0]).unwrap().id(), shard.id());
        for name in halves {
            assert_eq!(add(&cluster, leader, &name).await, 2);
        }
        // That is the child's now.
        assert_eq!(shard.split(&at).await, Err(ChangeError::NotSplit));
        cluster.end().await;
    });
}

//! Members come and go, and those that are far behind get a snapshot.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver as _;
use openraft::raft::{VoteRequest, VoteResponse};
use tessera_tenancy::NodeId;

use super::cluster::{Cluster, until};
use super::determinism::simulate;
use super::kit::{Counters, ECHO, ERASE, FILL, count, key_of, tenant};
use crate::raft::Inner;
use crate::raft_types::{Types, log_id};
use crate::state::View;
use crate::{ChangeError, Faults, Members, ProposeError, ReadError, Scope, Shard};

fn ids(numbers: &[u64]) -> Vec<NodeId> {
    numbers.iter().copied().map(NodeId).collect()
}

impl Cluster {
    /// The shard of tenant 7 on its leader.
    pub(super) async fn led(&self) -> (u64, Shard<Counters>) {
        let leader = self.leader(*self.nodes.keys().next().unwrap(), 7).await;
        (leader, self.shard(leader, 7).await)
    }

    /// Adds counters until the leader's log begins after the first of them.
    pub(super) async fn add_until_purged(&self) -> u64 {
        let (leader, shard) = self.led().await;
        let from = shard.replica().state.log.purged();
        let mut added = 0u64;
        while shard.replica().state.log.purged() <= from.max(Some(20)) {
            self.add(leader, 7, &added.to_le_bytes()).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            added += 1;
        }
        added
    }

    /// Waits until `node` has applied what the leader has, and compares all counters.
    pub(super) async fn assert_same(&self, node: u64, names: u64) {
        let (leader, _) = self.led().await;
        for name in 0..names {
            let expected = self.count(leader, 7, &name.to_le_bytes()).await;
            let name = name.to_le_bytes();
            until(|| {
                let store = &self.nodes[&node].store;
                let shard = store.find_shard(tenant(7), b"")?;
                let is_installing = shard.replica().state.group.is_installing();
                (!is_installing && count(store, tenant(7), &name) == expected).then_some(())
            })
            .await;
        }
    }
}

#[test]
fn a_learner_gets_a_snapshot_becomes_a_voter_leads_and_leaves() {
    simulate(async {
        let mut cluster = Cluster::simulated(11);
        cluster.begin(&[1, 2], 1).await;
        let names = cluster.add_until_purged().await;
        cluster.start(3).await;
        let (leader, shard) = cluster.led().await;
        let other = 3 - leader;
        shard.add_learner(NodeId(3)).await.unwrap();
        cluster.assert_same(3, names).await;
        let members = Members {
            voters: ids(&[1, 2]),
            learners: ids(&[3]),
        };
        assert_eq!(shard.members(), members);
        shard.promote(NodeId(3)).await.unwrap();
        assert_eq!(shard.members().voters, ids(&[1, 2, 3]));
        shard.transfer_leader(NodeId(3)).await.unwrap();
        let refused = shard.remove(NodeId(other)).await;
        assert_eq!(
            refused,
            Err(ChangeError::NotLeader {
                leader: Some(NodeId(3))
            })
        );

        let shard = cluster.shard(3, 7).await;
        let own = shard.remove(NodeId(3)).await;
        assert_eq!(own, Err(ChangeError::Leads { node: NodeId(3) }));
        let nobody = shard.remove(NodeId(8)).await;
        assert_eq!(nobody, Err(ChangeError::NotMember { node: NodeId(8) }));
        shard.remove(NodeId(other)).await.unwrap();
        assert_eq!(shard.members().voters, ids(&[leader.min(3), leader.max(3)]));
        let store = &cluster.nodes[&other].store;
        assert!(
            store.find_shard(tenant(7), b"").is_none(),
            "its replica is gone"
        );
        cluster.add(3, 7, b"without it").await;
        // It may come back: with what it missed, and nothing of what it had.
        shard.add_learner(NodeId(other)).await.unwrap();
        cluster.assert_same(other, names).await;
        cluster.assert_one_digest(7, b"").await;
        cluster.end().await;
    });
}

#[test]
fn one_change_at_a_time() {
    simulate(async {
        let mut cluster = Cluster::simulated(12);
        cluster.begin(&[1, 2, 3], 1).await;
        cluster.add(1, 7, b"a").await;
        let (_, shard) = cluster.led().await;
        cluster.start(4).await;
        cluster.start(5).await;
        let (first, second) =
            tokio::join!(shard.add_learner(NodeId(4)), shard.add_learner(NodeId(5)));
        assert_eq!((first, second), (Ok(()), Err(ChangeError::InProgress)));
        cluster.end().await;
    });
}

#[test]
fn a_replica_past_the_kept_log_gets_a_snapshot_that_resumes_after_a_crash_at_any_sync() {
    simulate(async {
        let mut cluster = Cluster::simulated(13);
        cluster.laggard_log_bytes_max = 0;
        cluster.begin(&[1, 2, 3], 1).await;
        // Node 3 has rows that the snapshot has no longer, and ends while others go on.
        cluster.add(3, 7, b"old").await;
        let gone = Bytes::from([FILL, b"12345678", b"rest"].concat());
        let shard = cluster.shard(3, 7).await;
        shard.propose(Scope::Tenant(tenant(7)), gone).await.unwrap();
        let key = key_of(tenant(7), b"12345678");
        until(|| shard.read(|rows| rows.get(&key)).unwrap()).await;
        drop(shard);
        let leader = cluster.leader(1, 7).await;
        if leader == 3 {
            let shard = cluster.shard(3, 7).await;
            shard.transfer_leader(NodeId(1)).await.unwrap();
        }
        cluster.stop(3).await;
        let large = Bytes::from([ECHO, &vec![7; 300_000]].concat());
        let (_, shard) = cluster.led().await;
        let erase = Bytes::from([ERASE, b"12345678"].concat());
        let erased = shard.propose(Scope::Tenant(tenant(7)), erase).await;
        erased.unwrap();
        for _ in 0..8 {
            shard
                .propose(Scope::Tenant(tenant(7)), large.clone())
                .await
                .unwrap();
        }
        for name in 0..3000u64 {
            let command = Bytes::copy_from_slice(&name.to_le_bytes());
            drop(shard.submit(Scope::Tenant(tenant(7)), command).unwrap());
        }
        let names = cluster.add_until_purged().await;
        let disk = cluster.disk(3);
        disk.record(5);
        cluster.start(3).await;
        cluster.assert_same(3, names).await;
        let spooled = disk
            .history()
            .into_iter()
            .any(|asked| asked.starts_with("spool-"));
        assert!(spooled, "it got a snapshot");
        cluster.assert_one_digest(7, b"").await;
        let images = disk.recorded();
        assert!(images.len() > 6, "{} syncs", images.len());
        for (i, image) in images.into_iter().enumerate() {
            // All begin anew: a running leader remembers what node 3 had on its later disk.
            for node in 1..=3 {
                cluster.stop(node).await;
            }
            cluster.set_disk(3, image);
            for node in 1..=3 {
                cluster.start(node).await;
            }
            cluster.assert_same(3, 1).await;
            assert_eq!(
                cluster.count(3, 7, &2999u64.to_le_bytes()).await,
                1,
                "image {i}"
            );
            assert_eq!(cluster.count(3, 7, b"old").await, 1, "image {i}");
            cluster.assert_one_digest(7, b"").await;
        }
        cluster.end().await;
    });
}

#[test]
fn a_node_that_left_and_came_back_in_one_life_is_not_answered_with_what_it_asked_before() {
    simulate(async {
        let mut cluster = Cluster::simulated(14);
        cluster.begin(&[1, 2, 3], 1).await;
        let (leader, shard) = cluster.led().await;
        let other = leader % 3 + 1;
        for expected in 1..=3 {
            assert_eq!(cluster.add(other, 7, b"a").await, expected);
        }
        for round in 0..2 {
            shard.remove(NodeId(other)).await.unwrap();
            let store = &cluster.nodes[&other].store;
            assert!(store.find_shard(tenant(7), b"").is_none());
            shard.add_learner(NodeId(other)).await.unwrap();
            for expected in 1..=3 {
                let expected = 3 * (round + 1) + expected;
                assert_eq!(cluster.add(other, 7, b"a").await, expected, "round {round}");
            }
        }
        assert_eq!(cluster.count(leader, 7, b"a").await, 9);
        cluster.end().await;
    });
}

#[test]
fn a_replica_that_is_retired_says_not_applied_only_of_what_it_has_not_sent() {
    simulate(async {
        let mut cluster = Cluster::simulated(15);
        cluster.begin(&[1, 2, 3], 1).await;
        cluster.add(1, 7, b"warm").await;
        let (leader, led) = cluster.led().await;
        let other = leader % 3 + 1;
        let shard = cluster.shard(other, 7).await;
        cluster.add(other, 7, b"warm").await;
        // What it sends arrives, but no answer comes back.
        cluster.board.cut(NodeId(leader), NodeId(other));
        let submit = |name| {
            let command = Bytes::from_static(name);
            shard.submit(Scope::Tenant(tenant(7)), command).unwrap()
        };
        let sent = submit(b"sent");
        let store = &cluster.nodes[&leader].store;
        until(|| (count(store, tenant(7), b"sent") == 1).then_some(())).await;
        let queued = submit(b"queued");
        let retire = crate::wire::Request::Retire(log_id(9, 1_000));
        let envelope = crate::wire::Envelope {
            cluster: tessera_tenancy::ClusterId::from_bytes([9; 16]),
            kind: crate::StoreKind::Inbox,
            shard: shard.id(),
            epoch: 1,
        };
        let retire = retire.encode(&envelope).unwrap();
        let engine = &cluster.nodes[&other].engine;
        engine.handle_request(NodeId(leader), retire).await;
        assert_eq!(sent.await, Err(ProposeError::Unavailable));
        let moved = ProposeError::RangeMoved { shard: shard.id() };
        assert_eq!(queued.await, Err(moved));
        assert_eq!(cluster.count(leader, 7, b"queued").await, 0);
        drop(led);
        cluster.end().await;
    });
}

#[test]
fn a_snapshot_whose_last_part_or_answer_is_lost_is_not_waited_for_for_minutes() {
    simulate(async {
        for seed in 30..38 {
            let mut cluster = Cluster::simulated(seed);
            cluster.begin(&[1, 2], 1).await;
            let names = cluster.add_until_purged().await;
            cluster.start(3).await;
            let (_, shard) = cluster.led().await;
            cluster.board.set_faults(Faults {
                lost_per_mille: 300,
                ..Faults::default()
            });
            // It may be told to be unknown, and yet be done.
            let added = shard.add_learner(NodeId(3)).await;
            assert!(added.is_ok(), "seed {seed}: {added:?}");
            let began = Duration::from_millis(300);
            tokio::time::sleep(began).await;
            cluster.board.set_faults(Faults::default());
            cluster.assert_same(3, names).await;
            assert_eq!(cluster.add(3, 7, b"after").await, 1, "seed {seed}");
            cluster.end().await;
        }
    });
}

#[test]
fn a_learner_that_has_not_caught_up_is_not_promoted() {
    simulate(async {
        let mut cluster = Cluster::simulated(16);
        cluster.begin(&[1, 2, 3], 1).await;
        cluster.start(4).await;
        let (leader, shard) = cluster.led().await;
        cluster.add(leader, 7, b"a").await;
        cluster.board.isolate(NodeId(4));
        shard.add_learner(NodeId(4)).await.unwrap();
        let behind = Err(ChangeError::NotCaughtUp { node: NodeId(4) });
        assert_eq!(shard.promote(NodeId(4)).await, behind);
        assert_eq!(shard.members().learners, ids(&[4]));
        cluster.board.heal();
        cluster.assert_same(4, 1).await;
        shard.promote(NodeId(4)).await.unwrap();
        assert_eq!(shard.members().voters, ids(&[1, 2, 3, 4]));
        let nobody = shard.promote(NodeId(8)).await;
        assert_eq!(nobody, Err(ChangeError::NotMember { node: NodeId(8) }));
        cluster.end().await;
    });
}

#[test]
fn a_change_that_nobody_ends_is_ended() {
    simulate(async {
        let mut cluster = Cluster::simulated(17);
        cluster.begin(&[1, 2, 3], 1).await;
        let (leader, shard) = cluster.led().await;
        cluster.add(leader, 7, b"a").await;
        let other = leader % 3 + 1;
        // Its first step is begun, and whoever would take the second is gone.
        let go = ChangeMembers::RemoveVoters(BTreeSet::from([other]));
        let begin = |raft: Inner| async move {
            let begun = raft.change_membership(go, false).now_or_never();
            assert!(begun.is_none(), "it was done at once");
        };
        shard.replica().raft.call(begin).await;
        let joint = until(|| {
            let (_, members) = shard.replica().state.group.applied();
            let configs = members.membership().get_joint_config().len();
            (configs == 2).then_some(configs)
        });
        joint.await;
        let store = &cluster.nodes[&other].store;
        until(|| store.find_shard(tenant(7), b"").is_none().then_some(())).await;
        assert_eq!(shard.members().voters.len(), 2);
        cluster.add(leader, 7, b"a").await;
        shard.add_learner(NodeId(other)).await.unwrap();
        cluster.end().await;
    });
}

/// Who asks for a change has seen the voters of before and after: a change on top of what is left of
/// another one would take the group one voter further than it says.
#[test]
fn nothing_is_removed_on_top_of_a_removal_that_is_half_done() {
    simulate(async {
        let mut cluster = Cluster::simulated(20);
        cluster.begin(&[1, 2, 3, 4], 1).await;
        let (leader, shard) = cluster.led().await;
        cluster.add(leader, 7, b"a").await;
        let (first, second) = (leader % 4 + 1, (leader + 1) % 4 + 1);
        let go = ChangeMembers::RemoveVoters(BTreeSet::from([first]));
        let begin = |raft: Inner| async move {
            let begun = raft.change_membership(go, false).now_or_never();
            assert!(begun.is_none(), "it was done at once");
        };
        shard.replica().raft.call(begin).await;
        let is_half = || {
            let metrics = shard.replica().raft.metrics();
            let members = metrics.borrow_watched().membership_config.clone();
            let configs = members.membership().get_joint_config().len();
            (configs == 2).then_some(())
        };
        until(is_half).await;
        assert_eq!(shard.members().voters, ids(&[1, 2, 3, 4]));
        let refused = shard.remove(NodeId(second)).await;
        assert_eq!(refused, Err(ChangeError::InProgress));
        until(|| (shard.members().voters.len() == 3).then_some(())).await;
        assert!(shard.members().voters.contains(&NodeId(second)));
        shard.remove(NodeId(second)).await.unwrap();
        assert_eq!(shard.members().voters.len(), 2);
        cluster.end().await;
    });
}

#[test]
fn a_removal_whose_caller_went_away_goes_on_and_the_replica_is_told() {
    simulate(async {
        let mut cluster = Cluster::simulated(18);
        cluster.begin(&[1, 2, 3], 1).await;
        let (leader, shard) = cluster.led().await;
        cluster.add(leader, 7, b"a").await;
        let other = leader % 3 + 1;
        let begun = shard.remove(NodeId(other)).now_or_never();
        assert_eq!(begun, None);
        let store = &cluster.nodes[&other].store;
        until(|| store.find_shard(tenant(7), b"").is_none().then_some(())).await;
        assert_eq!(shard.members().voters.len(), 2);
        cluster.end().await;
    });
}

/// What it had promised as a member of before is gone with its old replica: of the old members, it and
/// another one that missed its removal must not make a leader.
#[test]
fn a_node_that_comes_back_votes_for_nobody_who_missed_that_it_was_removed() {
    simulate(async {
        let mut cluster = Cluster::simulated(19);
        cluster.begin(&[1, 2, 3], 1).await;
        let (leader, shard) = cluster.led().await;
        cluster.add(leader, 7, b"a").await;
        let (back, third) = (leader % 3 + 1, (leader + 1) % 3 + 1);
        let (before, _) = shard.replica().state.group.applied();
        shard.remove(NodeId(back)).await.unwrap();
        let store = &cluster.nodes[&back].store;
        until(|| store.find_shard(tenant(7), b"").is_none().then_some(())).await;
        shard.add_learner(NodeId(back)).await.unwrap();
        until(|| store.find_shard(tenant(7), b"")).await;
        let (now, _) = shard.replica().state.group.applied();
        // No leader is heard of any more, so that only the candidate's log counts.
        cluster.board.cut(NodeId(leader), NodeId(back));
        tokio::time::sleep(Duration::from_secs(5)).await;
        let link = cluster.shard(third, 7).await;
        let ask = async |last| {
            let vote = openraft::Vote::new(1_000, third);
            let request = crate::wire::Request::Vote(VoteRequest::new(vote, last));
            let link = &link.replica().link;
            let within = Duration::from_secs(1);
            let answer = link.call(NodeId(back), &request, within).await;
            answer
                .ok()
                .map(|answer: VoteResponse<Types>| answer.vote_granted)
        };
        assert_eq!(ask(before).await, None);
        assert_eq!(ask(now).await, Some(true));
        cluster.end().await;
    });
}

#[test]
fn a_handle_of_a_replica_that_was_removed_reads_nothing_any_more() {
    simulate(async {
        let mut cluster = Cluster::simulated(16);
        cluster.begin(&[1, 2, 3], 1).await;
        cluster.add(1, 7, b"a").await;
        let (leader, shard) = cluster.led().await;
        let other = leader % 3 + 1;
        let handle = cluster.shard(other, 7).await;
        let key = key_of(tenant(7), b"a");
        until(|| handle.read(|rows| rows.get(&key)).unwrap()).await;
        shard.remove(NodeId(other)).await.unwrap();
        let removed = ReadError::NotLeader { leader: None };
        assert_eq!(handle.read(|rows| rows.get(&key)), Err(removed.clone()));
        let read = handle.read_linearizable(|rows| rows.get(&key)).await;
        assert!(read.is_err(), "{read:?}");
        assert_eq!(handle.digest().await, Err(removed.clone()));
        assert_eq!(handle.log_checksums(0, u64::MAX).await, Err(removed));
        cluster.end().await;
    });
}

#[test]
fn what_is_read_while_rows_are_replaced_is_not_told() {
    simulate(async {
        let mut cluster = Cluster::simulated(17);
        cluster.begin(&[1], 1).await;
        cluster.add(1, 7, b"a").await;
        let shard = cluster.shard(1, 7).await;
        let state = &shard.replica().state;
        assert!(state.view(View::now).is_ok());
        let looked = |steps: &[bool]| {
            let view = state.view(|database, extent| {
                for is_installing in steps {
                    state.group.set_installing(*is_installing);
                }
                View::now(database, extent)
            });
            view.map(drop)
        };
        assert_eq!(looked(&[true]), Err(ReadError::Installing), "it began");
        assert_eq!(looked(&[]), Err(ReadError::Installing), "it goes on");
        state.group.set_installing(false);
        let meanwhile = looked(&[true, false]);
        assert_eq!(meanwhile, Err(ReadError::Installing), "it began and ended");
        assert!(state.view(View::now).is_ok());
        cluster.end().await;
    });
}

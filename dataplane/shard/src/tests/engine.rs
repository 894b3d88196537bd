//! The engine on a healthy disk.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use proptest::prelude::*;
use tessera_tenancy::{ClusterId, Incarnation, NodeId, TenantId};

use super::kit::{
    Counters, ECHO, add, copy_folder, count, key_of, open, open_store, options, tenant,
};
use crate::batch::{BatchHeader, EncodedBatch, ProposerId};
use crate::dedupe::ANSWERS_BYTES_MAX;
use crate::raft_types::BatchReply;
use crate::{COMMAND_BYTES_MAX, Engine, OpenError, ProposeError, Scope, Shard, Store, StoreKind};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_proposed_is_read_and_is_there_after_a_reopening() {
    let temp = tempfile::tempdir().unwrap();
    let (engine, store) = open(temp.path(), 1).await;
    for number in 0..=255 {
        assert_eq!(add(&store, tenant(number), b"a").await, 1);
    }
    assert_eq!(add(&store, tenant(3), b"a").await, 2);
    assert_eq!(count(&store, tenant(3), b"a"), 2);
    engine.shutdown().await;
    let (engine, store) = open(temp.path(), 2).await;
    let rows: u64 = store
        .shards()
        .map(|shard| shard.machine().rows_at_opening.load(Ordering::Relaxed))
        .sum();
    assert_eq!(rows, 256, "each machine saw its own range's rows");
    assert_eq!(add(&store, tenant(3), b"a").await, 3);
    let shard = store.shard_for(tenant(3), b"a");
    let read = shard.read_linearizable(|rows| rows.get(&key_of(tenant(3), b"a")));
    assert_eq!(
        read.await.unwrap().as_deref(),
        Some(&3u64.to_le_bytes()[..])
    );
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_of_a_scope_are_applied_in_the_order_of_their_submission() {
    let temp = tempfile::tempdir().unwrap();
    let (engine, store) = open(temp.path(), 1).await;
    let shard = store.shard_for(tenant(1), b"");
    let submit = |scope| shard.submit(scope, Bytes::from_static(b"n")).unwrap();
    let scopes = [
        Scope::Tenant(tenant(1)),
        Scope::Tenant(tenant(2)),
        Scope::Group,
    ];
    let proposals = scopes.map(|scope| (0..5000).map(|_| submit(scope)).collect::<Vec<_>>());
    for proposals in proposals {
        let answers = join_all(proposals).await;
        for (expected, answer) in (1u64..).zip(answers) {
            assert_eq!(answer.unwrap()[..], expected.to_le_bytes());
        }
    }
    engine.shutdown().await;
}

/// Proposes a batch past the proposer, as one that repeats, skips or comes from elsewhere.
async fn propose_batch(
    shard: &Shard<Counters>,
    node: u64,
    incarnation: u64,
    number: u64,
    commands: &[&[u8]],
) -> BatchReply {
    let proposer = ProposerId {
        node: NodeId(node),
        incarnation: Incarnation(incarnation),
        making: 1,
    };
    let header = BatchHeader {
        proposer,
        number,
        time_ms: 5_000,
        epoch: 1,
    };
    let parts = commands.iter().map(|command| (Scope::Group, *command));
    let batch = EncodedBatch::new(&header, parts, 0);
    shard
        .replica()
        .raft
        .call(|raft| async move { raft.client_write(batch).await })
        .await
        .unwrap()
        .data
}

fn counts(counts: &[u64]) -> BatchReply {
    let answers = counts
        .iter()
        .map(|count| Bytes::copy_from_slice(&count.to_le_bytes()));
    BatchReply::Answers(answers.collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_batch_changes_nothing_and_is_answered_as_before_also_after_a_restart() {
    let temp = tempfile::tempdir().unwrap();
    let (engine, store) = open(temp.path(), 1).await;
    let shard = store.shard_for(tenant(1), b"");
    let applied = &shard.machine().applied;
    assert_eq!(
        propose_batch(&shard, 7, 1, 1, &[b"x", b"x", b"y"]).await,
        counts(&[1, 2, 1])
    );
    assert_eq!(
        propose_batch(&shard, 7, 1, 1, &[b"x", b"x", b"y"]).await,
        counts(&[1, 2, 1])
    );
    assert_eq!(
        propose_batch(&shard, 7, 1, 3, &[b"x"]).await,
        BatchReply::Gap { expected: 2 }
    );
    assert_eq!(propose_batch(&shard, 7, 1, 2, &[b"x"]).await, counts(&[3]));
    assert_eq!(applied.load(Ordering::Relaxed), 4);
    let large = [ECHO, &vec![0; ANSWERS_BYTES_MAX]].concat();
    assert!(matches!(
        propose_batch(&shard, 7, 1, 3, &[&large]).await,
        BatchReply::Answers(_)
    ));
    assert_eq!(
        propose_batch(&shard, 7, 1, 3, &[&large]).await,
        BatchReply::Forgotten
    );
    engine.shutdown().await;

    let (engine, store) = open(temp.path(), 2).await;
    let shard = store.shard_for(tenant(1), b"");
    assert_eq!(propose_batch(&shard, 7, 1, 2, &[b"x"]).await, counts(&[3]));
    assert_eq!(propose_batch(&shard, 7, 1, 4, &[b"x"]).await, counts(&[4]));
    assert_eq!(
        propose_batch(&shard, 7, 2, 1, &[b"x"]).await,
        counts(&[5]),
        "its next life"
    );
    assert_eq!(
        propose_batch(&shard, 7, 1, 5, &[b"x"]).await,
        BatchReply::Stale
    );
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn group_time_never_goes_back_not_even_over_a_restart() {
    let temp = tempfile::tempdir().unwrap();
    let now = Arc::new(AtomicU64::new(5_000));
    for (incarnation, times) in [
        (1, [(6_000, 6_000), (4_000, 6_000)]),
        (2, [(100, 6_000), (7_000, 7_000)]),
    ] {
        let mut options = options(temp.path(), incarnation);
        let clock = Arc::clone(&now);
        options.clock = Arc::new(move || clock.load(Ordering::Relaxed));
        let engine = Engine::open(options).unwrap();
        let store = open_store(&engine).await;
        for (clock, group_time) in times {
            now.store(clock, Ordering::Relaxed);
            add(&store, tenant(1), b"a").await;
            let seen = store
                .shard_for(tenant(1), b"a")
                .machine()
                .time_ms
                .load(Ordering::Relaxed);
            assert_eq!(seen, group_time);
        }
        engine.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_is_refused_to_other_nodes_clusters_and_past_lives() {
    let temp = tempfile::tempdir().unwrap();
    let (engine, _store) = open(temp.path(), 5).await;
    assert!(matches!(
        Engine::open(options(temp.path(), 6)),
        Err(OpenError::Locked { .. })
    ));
    let again = engine
        .open_store(StoreKind::Inbox, 4, |_| Counters::default())
        .await;
    assert!(matches!(
        again,
        Err(OpenError::AlreadyOpen {
            kind: StoreKind::Inbox
        })
    ));
    let none = engine
        .open_store(StoreKind::Dist, 0, |_| Counters::default())
        .await;
    assert!(matches!(none, Err(OpenError::RangeCount { given: 0 })));
    engine.shutdown().await;
    let after = engine
        .open_store(StoreKind::Dist, 1, |_| Counters::default())
        .await;
    assert!(matches!(after, Err(OpenError::Closed)));

    let stale = Engine::open(options(temp.path(), 5));
    assert!(matches!(
        stale,
        Err(OpenError::StaleIncarnation {
            last: Incarnation(5),
            ..
        })
    ));
    let mut other = options(temp.path(), 6);
    other.node = NodeId(2);
    assert!(matches!(
        Engine::open(other.clone()),
        Err(OpenError::Foreign { .. })
    ));
    (other.node, other.cluster) = (NodeId(1), ClusterId::from_bytes([1; 16]));
    assert!(matches!(
        Engine::open(other),
        Err(OpenError::Foreign { .. })
    ));
    std::fs::write(temp.path().join("format"), "tessera shard storage 4\n").unwrap();
    let newer = Engine::open(options(temp.path(), 6));
    assert!(matches!(
        newer,
        Err(OpenError::NewerFormat {
            found: 4,
            supported: 3,
            ..
        })
    ));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_a_large_command_and_a_foreign_tenant_are_refused() {
    let temp = tempfile::tempdir().unwrap();
    let mut options = options(temp.path(), 1);
    options.queue_bytes_max = 10_000;
    let engine = Engine::open(options).unwrap();
    let store = open_store(&engine).await;
    let shard = store.shard_for(tenant(0), b"");
    let large = Bytes::from(vec![0; COMMAND_BYTES_MAX + 1]);
    let refused = shard.submit(Scope::Group, large).err();
    assert!(matches!(refused, Some(ProposeError::TooLarge { .. })));
    let refused = shard.submit(Scope::Tenant(tenant(255)), Bytes::new()).err();
    assert_eq!(
        refused,
        Some(ProposeError::OutsideRange { shard: shard.id() })
    );
    let mut taken = Vec::new();
    // Submitting does not wait, so the queue fills up however fast it is served.
    let busy = loop {
        match shard.submit(Scope::Group, Bytes::from(vec![b'k'; 1000])) {
            Ok(proposal) => taken.push(proposal),
            Err(error) => break error,
        }
    };
    assert!(
        matches!(
            busy,
            ProposeError::Busy {
                limit_bytes: 10_000,
                ..
            }
        ),
        "{busy}"
    );
    assert!(
        join_all(taken).await.iter().all(Result::is_ok),
        "what was taken is done"
    );
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_purged_to_what_is_durable_and_a_restart_replays_only_the_rest() {
    let temp = tempfile::tempdir().unwrap();
    let folder = temp.path().join("live");
    let mut options = options(&folder, 1);
    options.checkpoint_interval = Duration::from_secs(3600);
    options.checkpoint_bytes = 200_000;
    let engine = Engine::open(options).unwrap();
    let store = open_store(&engine).await;
    let shard = store.shard_for(tenant(1), b"");
    let mut added = 0;
    while shard
        .replica()
        .state
        .log
        .purged()
        .is_none_or(|purged| purged < 50)
    {
        add(&store, tenant(1), &u64::to_le_bytes(added % 100)).await;
        added += 1;
    }
    let (purged, applied) = positions(&shard);
    let copy = temp.path().join("copy");
    copy_folder(&folder, &copy);
    engine.shutdown().await;

    let (engine, store) = open(&copy, 2).await;
    let replayed = store
        .shard_for(tenant(1), b"")
        .machine()
        .applied
        .load(Ordering::Relaxed);
    assert!(
        replayed <= applied - purged,
        "{replayed} of {applied} applied, {purged} purged"
    );
    let total: u64 = (0..100)
        .map(|i| count(&store, tenant(1), &u64::to_le_bytes(i)))
        .sum();
    assert_eq!(total, added);
    engine.shutdown().await;
}

/// The purged and the applied index of a shard.
fn positions(shard: &Shard<Counters>) -> (u64, u64) {
    let state = &shard.replica().state;
    (
        state.log.purged().unwrap(),
        state.group.applied().0.unwrap().index,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_that_ends_before_the_log_begins_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let mut options = options(temp.path(), 1);
    options.checkpoint_interval = Duration::from_millis(1);
    let engine = Engine::open(options).unwrap();
    let store = open_store(&engine).await;
    let shard = store.shard_for(tenant(1), b"");
    while shard.replica().state.log.purged().is_none() {
        add(&store, tenant(1), b"a").await;
    }
    engine.shutdown().await;
    for stripe in ["state-inbox-0.redb", "state-inbox-1.redb"] {
        // One file on a machine with one core.
        let _missing = std::fs::remove_file(temp.path().join(stripe));
    }
    let engine = Engine::open(super::kit::options(temp.path(), 2)).unwrap();
    let opened = engine
        .open_store(StoreKind::Inbox, 4, |_| Counters::default())
        .await;
    assert!(
        matches!(opened, Err(OpenError::StateBehindLog { applied: 0, .. })),
        "{opened:?}"
    );
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_keeps_its_engine_alive_and_ranges_are_made_once() {
    let temp = tempfile::tempdir().unwrap();
    let (engine, store) = open(temp.path(), 1).await;
    drop(engine);
    assert_eq!(add(&store, tenant(1), b"a").await, 1);
    let ids: Vec<_> = store.shards().map(|shard| shard.id()).collect();
    assert_eq!(ids.len(), 4);
    let copy = temp.path().join("copy");
    copy_folder(temp.path(), &copy);
    let engine = Engine::open(options(&copy, 2)).unwrap();
    let store = engine
        .open_store(StoreKind::Inbox, 9, |_| Counters::default())
        .await
        .unwrap();
    assert_eq!(
        store.shards().map(|shard| shard.id()).collect::<Vec<_>>(),
        ids
    );
    assert_eq!(count(&store, tenant(1), b"a"), 1);
    engine.shutdown().await;
}

#[tokio::test]
async fn an_abandoned_proposal_still_takes_effect_and_committed_runs_before_answers() {
    let temp = tempfile::tempdir().unwrap();
    let (engine, store) = open(temp.path(), 1).await;
    let shard = store.shard_for(tenant(1), b"a");
    drop(
        shard
            .submit(Scope::Tenant(tenant(1)), Bytes::from_static(b"a"))
            .unwrap(),
    );
    assert_eq!(add(&store, tenant(1), b"a").await, 2);
    assert!(shard.machine().commits.load(Ordering::Relaxed) >= 1);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_small_tenant_does_not_wait_for_what_a_neighbour_queued() {
    let temp = tempfile::tempdir().unwrap();
    let (engine, store) = open(temp.path(), 1).await;
    let shard = store.shard_for(tenant(1), b"");
    let large = Bytes::from([ECHO, &vec![0; 32 * 1024]].concat());
    let submit = || {
        shard
            .submit(Scope::Tenant(tenant(1)), large.clone())
            .unwrap()
    };
    let mut flood: FuturesUnordered<_> = (0..800).map(|_| submit()).collect();
    let small = shard.propose(Scope::Tenant(tenant(2)), Bytes::from_static(b"a"));
    small.await.unwrap();
    let mut answered = 0;
    while let Some(Some(_)) = flood.next().now_or_never() {
        answered += 1;
    }
    assert!(answered < 400, "{answered} of 800 were served first");
    while let Some(answer) = flood.next().await {
        answer.unwrap();
    }
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_whose_log_was_removed_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (engine, store) = open(temp.path(), 1).await;
    add(&store, tenant(1), b"a").await;
    engine.shutdown().await;
    std::fs::remove_file(temp.path().join("log.redb")).unwrap();
    let engine = Engine::open(options(temp.path(), 2)).unwrap();
    let opened = engine
        .open_store(StoreKind::Inbox, 4, |_| Counters::default())
        .await;
    assert!(
        matches!(
            opened,
            Err(OpenError::LogLost {
                kind: StoreKind::Inbox,
                ..
            })
        ),
        "{opened:?}"
    );
    engine.shutdown().await;
}

fn opened_in(folder: &Path) -> (tokio::runtime::Runtime, Engine, Store<Counters>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let (engine, store) = runtime.block_on(open(folder, 1));
    (runtime, engine, store)
}

#[test]
fn a_key_is_routed_to_the_one_shard_whose_range_has_it() {
    let temp = tempfile::tempdir().unwrap();
    let (runtime, engine, store) = opened_in(temp.path());
    proptest!(|(id: [u8; 16], rest in prop::collection::vec(any::<u8>(), 0..20))| {
        let tenant = TenantId::from_bytes(id);
        let key = key_of(tenant, &rest);
        let owners: Vec<_> = store
            .shards()
            .filter(|shard| shard.replica().state.group.extent().range.contains(&key))
            .map(|shard| shard.id())
            .collect();
        prop_assert_eq!(owners, vec![store.shard_for(tenant, &rest).id()]);
    });
    runtime.block_on(engine.shutdown());
}

//! The order of syncs and acknowledgements, and what a failing disk does.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{FutureExt as _, poll};
use openraft::storage::{IOFlushed, RaftLogReader as _, RaftLogStorage as _};
use openraft::type_config::TypeConfigExt as _;

use super::disk::TestDisk;
use super::kit::{Counters, FOREIGN, PANIC, add, count, open_on, open_store, options, tenant};
use crate::disk::Storage;
use crate::fence::Fence;
use crate::log::{GroupLog, LogHandle, NodeLog};
use crate::raft_types::{Types, Vote};
use crate::{Engine, ProposeError, ReadError, Scope, ShardId, Store, Workers};

const LOG: &str = "log.redb";

async fn open_in(disk: &TestDisk, folder: &std::path::Path) -> (Engine, Store<Counters>) {
    let engine = open_on(options(folder, 1), disk).unwrap();
    let store = open_store(&engine).await;
    (engine, store)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proposal_is_answered_only_after_its_entry_is_synced() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
    let (engine, store) = open_in(&disk, temp.path()).await;
    for _ in 0..20 {
        let before = disk.syncs(LOG);
        disk.hold("log");
        let mut proposal = Box::pin(add(&store, tenant(1), b"a"));
        assert!(poll!(&mut proposal).is_pending());
        disk.until_held().await;
        let applied = store
            .shard_for(tenant(1), b"a")
            .machine()
            .applied
            .load(Ordering::Relaxed);
        assert!(poll!(&mut proposal).is_pending());
        disk.release();
        assert_eq!(
            proposal.await,
            applied + 1,
            "not even applied before the sync"
        );
        assert!(disk.syncs(LOG) > before);
    }
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_vote_is_given_only_after_it_and_every_append_before_it_are_synced() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
    let path = temp.path().join(LOG);
    let storage = Storage::Other(Arc::new(disk.clone()));
    let log = NodeLog::open(&storage, &path, 1 << 20, Workers::Threads, Fence::new()).unwrap();
    let group = GroupLog::load(&log, ShardId::from_u64(1)).unwrap();
    let (mut handle, mut voter) = (LogHandle(Arc::clone(&group)), LogHandle(group));
    disk.hold("log");
    let entry = openraft::testing::blank_ent::<Types>(1, 1, 0);
    let (done, mut flushed) = Types::oneshot();
    let (appended, vote) = (IOFlushed::signal(done), Vote::new(2, 1));
    handle.append([entry], appended).await.unwrap();
    assert_eq!(
        handle.try_get_log_entries(0..9).await.unwrap().len(),
        1,
        "readable at once"
    );
    let mut voting = Box::pin(voter.save_vote(&vote));
    assert!(poll!(&mut voting).is_pending());
    disk.until_held().await;
    assert!(poll!(&mut voting).is_pending());
    assert!(poll!(&mut flushed).is_pending());
    assert_eq!(
        handle.read_vote().await.unwrap(),
        None,
        "nobody acts on it before"
    );
    disk.release();
    voting.await.unwrap();
    assert!(flushed.await.unwrap().is_ok(), "the append came first");
    assert_eq!(handle.read_vote().await.unwrap(), Some(vote));
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gathers_in_a_shard_during_a_sync_is_one_entry() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
    let (engine, store) = open_in(&disk, temp.path()).await;
    let shard = store.shard_for(tenant(0), b"");
    let last = || shard.replica().state.group.applied().0.unwrap().index;
    let before = last();
    disk.hold("log");
    let submit = || shard.submit(Scope::Group, Bytes::new()).unwrap();
    let first = submit();
    disk.until_held().await;
    let mut gathered = Vec::new();
    for _ in 0..100 {
        gathered.push(submit());
        // The proposer may form a batch of them.
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    disk.release();
    assert!(first.await.is_ok());
    assert!(join_all(gathered).await.iter().all(Result::is_ok));
    assert_eq!(last(), before + 2);
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_gathers_during_a_sync_shares_the_next_one() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
    let (engine, store) = open_in(&disk, temp.path()).await;
    disk.hold("log");
    let first = store
        .shard_for(tenant(0), b"")
        .submit(Scope::Group, Bytes::new())
        .unwrap();
    disk.until_held().await;
    let before = disk.syncs(LOG);
    // 400 commands of 100 tenants in four groups.
    let names = (0..400u16).zip((0..100u8).cycle());
    let names = names.map(|(i, number)| (tenant(number * 2), i.to_le_bytes()));
    let adds = names.map(|(tenant, name)| {
        let command = Bytes::copy_from_slice(&name);
        store
            .shard_for(tenant, &name)
            .submit(Scope::Tenant(tenant), command)
            .unwrap()
    });
    let adds: Vec<_> = adds.collect();
    disk.release();
    first.await.unwrap();
    assert!(
        join_all(adds)
            .await
            .into_iter()
            .all(|answer| answer.is_ok())
    );
    let syncs = disk.syncs(LOG) - before;
    assert!(syncs <= 40, "{syncs} syncs for 401 commands");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_of_the_log_fences_the_whole_node() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
    let (engine, store) = open_in(&disk, temp.path()).await;
    assert_eq!(add(&store, tenant(200), b"a").await, 1);
    let mut fenced = engine.fenced();
    assert!(fenced.borrow().is_none());
    disk.fail("log");
    let shard = store.shard_for(tenant(0), b"a");
    let failed = shard.propose(Scope::Tenant(tenant(0)), "a".into());
    assert_eq!(failed.await, Err(ProposeError::Fenced));
    let cause = fenced
        .wait_for(Option::is_some)
        .await
        .unwrap()
        .clone()
        .unwrap();
    assert_eq!(cause.during, "writing the log");
    for number in [0, 100, 200] {
        let shard = store.shard_for(tenant(number), b"a");
        let again = shard
            .propose(Scope::Tenant(tenant(number)), "a".into())
            .await;
        assert_eq!(
            again,
            Err(ProposeError::Fenced),
            "another group of the node too"
        );
        assert_eq!(shard.read(|_| Ok(())), Err(ReadError::Fenced));
    }
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_checkpoint_fences_the_node() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
    let mut options = options(temp.path(), 1);
    options.checkpoint_interval = Duration::from_millis(1);
    let engine = open_on(options, &disk).unwrap();
    let store = open_store(&engine).await;
    disk.fail("state");
    let mut fenced = engine.fenced();
    let shard = store.shard_for(tenant(1), b"a");
    let answer = shard.propose(Scope::Tenant(tenant(1)), "a".into());
    // It may be answered before the checkpoint fails: it is in the log.
    let answered = answer.await;
    assert!(
        matches!(answered, Ok(_) | Err(ProposeError::Fenced)),
        "{answered:?}"
    );
    let cause = fenced
        .wait_for(Option::is_some)
        .await
        .unwrap()
        .clone()
        .unwrap();
    assert_eq!(cause.during, "committing state");
    engine.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_and_a_write_outside_the_scope_stop_the_node_and_change_nothing() {
    for command in [PANIC, FOREIGN] {
        let (temp, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
        let (engine, store) = open_in(&disk, temp.path()).await;
        let shard = store.shard_for(tenant(1), b"");
        let answer = shard.propose(Scope::Tenant(tenant(1)), Bytes::from_static(command));
        assert_eq!(answer.await, Err(ProposeError::Fenced));
        assert!(engine.fenced().borrow().is_some());
        engine.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_finishes_what_was_taken() {
    let (temp, disk) = (tempfile::tempdir().unwrap(), TestDisk::new());
    let (engine, store) = open_in(&disk, temp.path()).await;
    disk.hold("log");
    let shard = store.shard_for(tenant(1), b"a");
    let submit = || {
        shard
            .submit(Scope::Tenant(tenant(1)), Bytes::from_static(b"a"))
            .unwrap()
    };
    let taken: Vec<_> = (0..100).map(|_| submit()).collect();
    disk.until_held().await;
    let mut shutdown = Box::pin(engine.shutdown());
    assert!(shutdown.as_mut().now_or_never().is_none());
    disk.release();
    shutdown.await;
    assert!(
        join_all(taken)
            .await
            .into_iter()
            .all(|answer| answer.is_ok())
    );
    let refused = shard.submit(Scope::Tenant(tenant(1)), Bytes::new());
    assert_eq!(refused.err(), Some(ProposeError::Closed));
    assert_eq!(shard.read(|_| Ok(())), Err(ReadError::Closed));
    // The disk is in memory; the same files again.
    let engine = open_on(options(temp.path(), 2), &disk).unwrap();
    let store = open_store(&engine).await;
    assert_eq!(count(&store, tenant(1), b"a"), 100);
    engine.shutdown().await;
}

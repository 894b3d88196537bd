//! The threads of engines end with them. A process of its own, so that nobody else has such threads.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails says where"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tempfile::TempDir;
use tessera_shard::{
    ApplyContext, Engine, EngineOptions, RowError, RowsMut, Scope, StateMachine, Store, StoreKind,
    Switchboard,
};
use tessera_tenancy::{ClusterId, Incarnation, NodeId};
use tokio::runtime::Runtime;

/// How long threads may take to end: each commits once more before.
const ENDING_MAX: Duration = Duration::from_secs(20);

struct Nothing;

impl StateMachine for Nothing {
    fn apply(
        &self,
        _cx: &ApplyContext,
        _rows: &mut dyn RowsMut,
        _scope: Scope,
        _command: &[u8],
    ) -> Result<Bytes, RowError> {
        Ok(Bytes::new())
    }
}

/// Engines of one cluster, and their stores.
struct Cluster {
    engines: Vec<Engine>,
    stores: Vec<Store<Nothing>>,
    board: Switchboard,
    folder: TempDir,
}

impl Cluster {
    async fn open(nodes: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let board = Switchboard::new(Arc::new(|| 0));
        let ids: Vec<_> = (1..=nodes).map(NodeId).collect();
        let (mut engines, mut stores) = (Vec::new(), Vec::new());
        for id in &ids {
            let mut options = options(&folder.path().join(id.0.to_string()), *id);
            options.transport = Some(board.transport_of(*id));
            let engine = Engine::open(options).unwrap();
            board.connect(*id, engine.downgrade());
            if *id == NodeId(1) {
                engine.init_store(StoreKind::Inbox, 4, &ids).await.unwrap();
            }
            let joined = engine.join_store(StoreKind::Inbox, |_| Nothing).await;
            stores.push(joined.unwrap());
            engines.push(engine);
        }
        Self {
            engines,
            stores,
            board,
            folder,
        }
    }

    async fn write(&self) {
        for shard in self.stores[0].shards() {
            shard.propose(Scope::Group, Bytes::new()).await.unwrap();
        }
    }

    /// Proposals whose answers nobody waits for.
    fn leave_some_in_flight(&self) {
        for shard in self.stores[0].shards() {
            for _ in 0..100 {
                drop(shard.submit(Scope::Group, Bytes::new()).unwrap());
            }
        }
    }
}

fn options(folder: &Path, node: NodeId) -> EngineOptions {
    let cluster = ClusterId::from_bytes([9; 16]);
    EngineOptions::new(folder, node, cluster, Incarnation(1), Arc::new(|| 0))
}

/// Threads of the engine's names in this process.
fn engine_threads() -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok())
        .filter(|name| name.starts_with("tessera-"))
        .count()
}

fn check_all_end() {
    let until = Instant::now() + ENDING_MAX;
    while engine_threads() > 0 {
        assert!(Instant::now() < until, "{} are left", engine_threads());
        std::thread::yield_now();
    }
}

#[test]
fn the_threads_of_an_engine_that_nobody_shuts_down_end_with_its_last_handle() {
    for nodes in [1, 3] {
        // The runtime goes on, with whatever the engines left to it.
        let runtime = Runtime::new().unwrap();
        runtime.block_on(async {
            let cluster = Cluster::open(nodes).await;
            cluster.write().await;
            assert!(engine_threads() >= 2, "a log and a state file at least");
            cluster.leave_some_in_flight();
        });
        check_all_end();
        // The runtime goes first, and everything that it ran.
        let ending = Runtime::new().unwrap();
        let cluster = ending.block_on(Cluster::open(nodes));
        ending.block_on(cluster.write());
        cluster.leave_some_in_flight();
        drop(ending);
        assert!(engine_threads() >= 2);
        let Cluster {
            engines,
            stores,
            board,
            folder,
        } = cluster;
        drop((engines, stores, board));
        check_all_end();
        drop(folder);
    }
}

//! Engines of this process.

use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures_util::future::join_all;
use tempfile::TempDir;
use tessera_shard::{
    Engine, EngineOptions, ProposeError, Scope, Shard, Store, StoreKind, Switchboard,
};
use tessera_tenancy::{ClusterId, Incarnation, NodeId, TenantId};

use crate::disk::CountingDisk;
use crate::machine::Machine;

/// One or three engines that have the same groups.
pub(crate) struct Nodes {
    folder: TempDir,
    pub(crate) disk: CountingDisk,
    engines: Vec<Engine>,
    #[expect(
        dead_code,
        reason = "the engines reach each other as long as it is there"
    )]
    board: Switchboard,
    /// Of the first node, in key order.
    pub(crate) shards: Vec<Shard<Machine>>,
}

impl Nodes {
    /// Opens `nodes` engines with groups of these kinds, and waits until all have a leader.
    pub(crate) async fn open(nodes: u64, kinds: &[(StoreKind, usize)], machine: Machine) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let disk = CountingDisk::default();
        let board = Switchboard::new(Arc::new(|| 0));
        let ids: Vec<_> = (1..=nodes).map(NodeId).collect();
        let (mut engines, mut stores) = (Vec::new(), Vec::new());
        for id in &ids {
            let mut options = options(&folder.path().join(id.0.to_string()), *id, 1);
            options.seams.disk = Some(Arc::new(disk.clone()));
            options.transport = Some(board.transport_of(*id));
            let engine = Engine::open(options).unwrap();
            board.connect(*id, engine.downgrade());
            for (kind, groups) in kinds {
                if *id == NodeId(1) {
                    engine.init_store(*kind, *groups, &ids).await.unwrap();
                }
                stores.push(engine.join_store(*kind, move |_| machine).await.unwrap());
            }
            engines.push(engine);
        }
        let shards: Vec<_> = stores[..kinds.len()]
            .iter()
            .flat_map(Store::shards)
            .collect();
        join_all(shards.iter().map(answered)).await;
        Self {
            folder,
            disk,
            engines,
            board,
            shards,
        }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn copies(&self) -> u64 {
        u64::try_from(self.engines.len()).unwrap()
    }

    pub(crate) async fn close(self) {
        for engine in &self.engines {
            engine.shutdown().await;
        }
    }
}

/// Returns once a shard answers: many groups at once need their time to elect.
async fn answered(shard: &Shard<Machine>) {
    loop {
        match shard.propose(Scope::Group, Bytes::new()).await {
            Ok(_) => return,
            Err(error) => assert_eq!(error, ProposeError::Unavailable),
        }
    }
}

/// Options of an engine on real files.
pub(crate) fn options(folder: &Path, node: NodeId, incarnation: u64) -> EngineOptions {
    std::fs::create_dir_all(folder).unwrap();
    let clock = || {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        u64::try_from(since.as_millis()).unwrap()
    };
    let cluster = ClusterId::from_bytes([9; 16]);
    EngineOptions::new(
        folder,
        node,
        cluster,
        Incarnation(incarnation),
        Arc::new(clock),
    )
}

/// The tenant of a writer in one of `groups` even ranges.
pub(crate) fn tenant(writer: usize, group: usize, groups: usize) -> TenantId {
    let mut id = [0; 16];
    id[0] = u8::try_from(group * 256 / groups).unwrap();
    id[8..].copy_from_slice(&u64::try_from(writer).unwrap().to_be_bytes());
    TenantId::from_bytes(id)
}

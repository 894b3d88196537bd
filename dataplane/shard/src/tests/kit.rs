//! A small machine to drive the engine with, and how tests open one.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use tessera_tenancy::{ClusterId, Incarnation, NodeId, TenantId};

use super::disk::TestDisk;
use crate::{
    ApplyContext, Engine, EngineOptions, OpenError, RowError, Rows, RowsMut, Scope, ShardId,
    StateMachine, Store, StoreKind,
};

/// Adds to named counters. A command is the key; its answer the counter after it, eight bytes.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Commands applied by this process.
    pub(super) applied: AtomicU64,
    /// Calls of `committed`.
    pub(super) commits: AtomicU64,
    /// The group time of the last command.
    pub(super) time_ms: AtomicU64,
    /// Rows seen when it was opened.
    pub(super) rows_at_opening: AtomicU64,
}

/// A command that writes under a fixed key whatever its scope.
pub(super) const FOREIGN: &[u8] = b"write another tenant's row";
/// A command that panics.
pub(super) const PANIC: &[u8] = b"panic";
/// A command that answers with a value of its own.
pub(super) const ECHO: &[u8] = b"echo";

/// A command that stores what follows its name of eight bytes.
pub(super) const FILL: &[u8] = b"fill";
/// A command that removes what was stored under the name that follows.
pub(super) const ERASE: &[u8] = b"erase";

impl StateMachine for Counters {
    fn apply(
        &self,
        cx: &ApplyContext,
        rows: &mut dyn RowsMut,
        scope: Scope,
        command: &[u8],
    ) -> Result<Bytes, RowError> {
        self.applied.fetch_add(1, Ordering::Relaxed);
        self.time_ms.store(cx.time_ms, Ordering::Relaxed);
        if command == FOREIGN {
            rows.put(tenant(77).as_bytes(), b"x")?;
        }
        assert!(command != PANIC, "told to panic");
        if command.starts_with(ECHO) {
            return Ok(Bytes::copy_from_slice(command));
        }
        if let Scope::Tenant(tenant) = scope {
            if let Some(rest) = command.strip_prefix(FILL) {
                let (name, value) = rest.split_at(8);
                rows.put(&key_of(tenant, name), value)?;
                return Ok(Bytes::new());
            }
            if let Some(name) = command.strip_prefix(ERASE) {
                rows.delete(&key_of(tenant, name))?;
                return Ok(Bytes::new());
            }
        }
        match scope {
            Scope::Group => {
                let count = add_one(rows.get_local(command)?.as_deref());
                rows.put_local(command, &count)?;
                Ok(count)
            }
            Scope::Tenant(tenant) => {
                let key = key_of(tenant, command);
                let count = add_one(rows.get(&key)?.as_deref());
                rows.put(&key, &count)?;
                Ok(count)
            }
        }
    }

    fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Relaxed);
    }

    fn opened(&self, rows: &dyn Rows) -> Result<(), RowError> {
        let mut count = 0;
        rows.scan(&[], &[], &mut |_, _| {
            count += 1;
            std::ops::ControlFlow::Continue(())
        })?;
        self.rows_at_opening.store(count, Ordering::Relaxed);
        Ok(())
    }
}

fn add_one(count: Option<&[u8]>) -> Bytes {
    let count = count.map_or(0, |count| u64::from_le_bytes(count.try_into().unwrap()));
    Bytes::copy_from_slice(&(count + 1).to_le_bytes())
}

pub(super) fn tenant(number: u8) -> TenantId {
    TenantId::from_bytes([number; 16])
}

pub(super) fn key_of(tenant: TenantId, rest: &[u8]) -> Vec<u8> {
    [tenant.as_bytes(), rest].concat()
}

/// Options of node 1 with a clock that stands still.
pub(super) fn options(folder: &Path, incarnation: u64) -> EngineOptions {
    let cluster = ClusterId::from_bytes([9; 16]);
    let clock = Arc::new(|| 1_000);
    EngineOptions::new(folder, NodeId(1), cluster, Incarnation(incarnation), clock)
}

/// Opens an engine on a made-up disk.
pub(super) fn open_on(mut options: EngineOptions, disk: &TestDisk) -> Result<Engine, OpenError> {
    options.seams.disk = Some(Arc::new(disk.clone()));
    Engine::open(options)
}

pub(super) async fn open_store(engine: &Engine) -> Store<Counters> {
    engine
        .open_store(StoreKind::Inbox, 4, |_: ShardId| Counters::default())
        .await
        .unwrap()
}

/// Opens the folder's next life with the store of counters.
pub(super) async fn open(folder: &Path, incarnation: u64) -> (Engine, Store<Counters>) {
    let engine = Engine::open(options(folder, incarnation)).unwrap();
    let store = open_store(&engine).await;
    (engine, store)
}

/// Adds one to a tenant's counter and returns what it is then.
pub(super) async fn add(store: &Store<Counters>, tenant: TenantId, name: &[u8]) -> u64 {
    let shard = store.shard_for(tenant, name);
    let answer = shard
        .propose(Scope::Tenant(tenant), Bytes::copy_from_slice(name))
        .await;
    u64::from_le_bytes(answer.unwrap()[..].try_into().unwrap())
}

/// What a tenant's counter is; 0 if it was never added to.
pub(super) fn count(store: &Store<Counters>, tenant: TenantId, name: &[u8]) -> u64 {
    let row = store
        .shard_for(tenant, name)
        .read(|rows| rows.get(&key_of(tenant, name)))
        .unwrap();
    row.map_or(0, |count| u64::from_le_bytes(count[..].try_into().unwrap()))
}

pub(super) fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.path().is_dir() {
            continue;
        }
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

/// A machine that reads nothing when it is opened and refuses nothing.
#[derive(Debug)]
pub(super) struct Blind;

impl StateMachine for Blind {
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

//! The engine of one node: one log, its stores, its fence.

use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::database::{Disk, Files};
use crate::error::OpenError;
use crate::fence::{Fence, FenceCause};
use crate::folder::{Folder, sync_names};
use crate::log::{self, NodeLog};
use crate::machine::StateMachine;
use crate::options::EngineOptions;
use crate::range::{RangeRecord, ShardId, StoreKind, initial_ranges};
use crate::replica::{OpenStore, ReplicaSetup, stripe_path};
use crate::store::Store;

const LOG_FILE: &str = "log.redb";

/// The storage of one node. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    options: EngineOptions,
    folder: Folder,
    disk: Arc<dyn Disk>,
    fence: Fence,
    log: NodeLog,
    /// Held by an opening, so that two of one kind do not race.
    opening: tokio::sync::Mutex<()>,
    stores: Mutex<Stores>,
}

#[derive(Default)]
struct Stores {
    open: Vec<Arc<OpenStore>>,
    is_shut_down: bool,
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("options", &self.0.options)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens or makes the folder. Blocks for file I/O.
    pub fn open(options: EngineOptions) -> Result<Self, OpenError> {
        Self::open_on(options, Arc::new(Files))
    }

    pub(crate) fn open_on(options: EngineOptions, disk: Arc<dyn Disk>) -> Result<Self, OpenError> {
        let folder = Folder::open(&options.folder)?;
        let fence = Fence::new();
        let path = folder.file(LOG_FILE);
        let log = NodeLog::open(&*disk, &path, options.log_cache_bytes, fence.clone())?;
        let inner = Inner {
            options,
            folder,
            disk,
            fence,
            log,
            opening: tokio::sync::Mutex::default(),
            stores: Mutex::default(),
        };
        match inner.claim() {
            Ok(()) => Ok(Self(Arc::new(inner))),
            Err(error) => {
                inner.close_log();
                Err(error)
            }
        }
    }

    /// Opens a store: makes its ranges if there are none yet (`initial_ranges` even cuts of the
    /// first byte; ignored later), replays the log and returns once this node leads every shard.
    pub async fn open_store<M: StateMachine>(
        &self,
        kind: StoreKind,
        initial_ranges: usize,
        make: impl Fn(ShardId) -> M,
    ) -> Result<Store<M>, OpenError> {
        let _opening = self.0.opening.lock().await;
        self.0.check_open(kind)?;
        let records = self.0.ensure_ranges(kind, initial_ranges).await?;
        let machines: Vec<Arc<M>> = records
            .iter()
            .map(|record| Arc::new(make(record.shard)))
            .collect();
        let shared = machines
            .iter()
            .map(|machine| Arc::clone(machine) as Arc<dyn StateMachine>);
        let members = records.into_iter().zip(shared).collect();
        let open = Arc::new(OpenStore::open(&self.0.setup(), kind, members).await?);
        let store = Store::new(self.clone(), &open, machines);
        let is_shut_down = {
            let mut stores = self.0.stores.lock();
            stores.open.push(Arc::clone(&open));
            stores.is_shut_down
        };
        if is_shut_down {
            open.shutdown().await;
            return Err(OpenError::Closed);
        }
        Ok(store)
    }

    /// `Some` once storage failed: nothing is acknowledged any more, and the process should
    /// restart, which verifies what is on disk.
    pub fn fenced(&self) -> watch::Receiver<Option<FenceCause>> {
        self.0.fence.subscribe()
    }

    /// Takes no more proposals, finishes those in flight, makes state durable, closes the files.
    /// After it returns the folder can be opened again. Stores that are still held answer that the
    /// engine is shut down.
    pub async fn shutdown(&self) {
        let stores = {
            let mut stores = self.0.stores.lock();
            stores.is_shut_down = true;
            std::mem::take(&mut stores.open)
        };
        for store in stores {
            store.shutdown().await;
        }
        let inner = Arc::clone(&self.0);
        let closed = tokio::task::spawn_blocking(move || inner.close_log());
        if let Err(error) = closed.await {
            self.0.fence.trip("closing the log", &error);
        }
        self.0.folder.release();
    }
}

impl Inner {
    /// Makes the folder this node's, for this life of its process.
    fn claim(&self) -> Result<(), OpenError> {
        let options = &self.options;
        sync_names(&options.folder).map_err(|source| OpenError::io(&options.folder, source))?;
        let database = self.log.database().get_open()?;
        let claimed = log::read_claim(&database)?;
        if let Some((node, cluster, last)) = claimed {
            if (node, cluster) != (options.node, options.cluster) {
                return Err(OpenError::Foreign { node, cluster });
            }
            if options.incarnation <= last {
                return Err(OpenError::StaleIncarnation {
                    given: options.incarnation,
                    last,
                });
            }
        }
        // The writer has nothing to do yet, so this does not wait for it.
        log::write_claim(
            &database,
            options.node,
            options.cluster,
            options.incarnation,
        )?;
        Ok(())
    }

    fn check_open(&self, kind: StoreKind) -> Result<(), OpenError> {
        let stores = self.stores.lock();
        if stores.is_shut_down {
            return Err(OpenError::Closed);
        }
        if stores.open.iter().any(|store| store.kind() == kind) {
            return Err(OpenError::AlreadyOpen { kind });
        }
        Ok(())
    }

    /// The ranges of a kind in key order, made if there are none yet.
    async fn ensure_ranges(
        &self,
        kind: StoreKind,
        count: usize,
    ) -> Result<Vec<RangeRecord>, OpenError> {
        let stored = log::read_ranges(&*self.log.database().get_open()?, kind)?;
        if !stored.is_empty() {
            return Ok(stored);
        }
        let path = stripe_path(&self.options.folder, kind, 0);
        if path.exists() {
            return Err(OpenError::LogLost { kind, path });
        }
        let stripes = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let records =
            initial_ranges(kind, count, stripes).ok_or(OpenError::RangeCount { given: count })?;
        self.log
            .write_ranges(kind, &records)
            .await
            .map_err(|_failed| OpenError::Fenced)?;
        Ok(records)
    }

    /// Blocks until what is queued is written.
    fn close_log(&self) {
        self.log.close();
        self.log.database().close();
    }

    fn setup(&self) -> ReplicaSetup {
        ReplicaSetup {
            options: self.options.clone(),
            disk: Arc::clone(&self.disk),
            fence: self.fence.clone(),
            log: self.log.clone(),
        }
    }
}

impl Drop for Inner {
    /// Without a shutdown: the threads end by themselves, and the next opening replays the log.
    fn drop(&mut self) {
        self.log.begin_close();
    }
}

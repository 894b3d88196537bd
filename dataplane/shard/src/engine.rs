//! The engine of one node: one log, its stores, its fence.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use futures_util::future::try_join_all;
use parking_lot::Mutex;
use tessera_tenancy::NodeId;
use tokio::sync::watch;

use crate::disk::Storage;
use crate::error::OpenError;
use crate::fence::{Fence, FenceCause};
use crate::folder::Folder;
use crate::log::{ENTRIES, META, NodeLog, read_claim, write_claim};
use crate::machine::StateMachine;
use crate::options::EngineOptions;
use crate::peer::Link;
use crate::range::{ShardId, StoreKind, initial_ranges};
use crate::replica::ReplicaSetup;
use crate::replicas::{OpenStore, recorded, stripe_path};
use crate::serve::serve;
use crate::space::{CHECK_INTERVAL, Counted, DiskState, SharedGauge, measure};
use crate::store::{Machines, Store};
use crate::transport::MESSAGE_BYTES_MAX;
use crate::wire::{Refusal, Request, refuse};

const LOG_FILE: &str = "log.redb";

/// The storage of one node. Cheap to clone.
#[derive(Clone)]
pub struct Engine(Arc<Inner>);

struct Inner {
    setup: ReplicaSetup,
    /// None on a made-up disk.
    folder: Option<Folder>,
    /// Somebody looks how full the disk is.
    is_measured: AtomicBool,
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
            .field("options", &self.0.setup.options)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens or makes the folder. Blocks for file I/O. Within a runtime.
    pub fn open(options: EngineOptions) -> Result<Self, OpenError> {
        let storage = options.seams.storage();
        let folder = match &storage {
            Storage::Files => Some(Folder::open(&options.folder)?),
            Storage::Other(_) => None,
        };
        let fence = Fence::new();
        let path = options.folder.join(LOG_FILE);
        let (cache, workers) = (options.log_cache_bytes, options.seams.workers);
        let log = NodeLog::open(&storage, &path, cache, workers, fence.clone())?;
        let link = Arc::new(Link {
            cluster: options.cluster,
            node: options.node,
            transport: options.transport.clone(),
            workers,
            transfers: AtomicU64::new(0),
        });
        let setup = ReplicaSetup {
            options,
            storage,
            fence,
            log,
            link,
            gauge: SharedGauge::default(),
            // 0 is what batches of the form before have.
            makings: Arc::new(AtomicU64::new(1)),
        };
        let inner = Inner {
            setup,
            folder,
            is_measured: AtomicBool::new(false),
            opening: tokio::sync::Mutex::default(),
            stores: Mutex::default(),
        };
        match inner.claim() {
            Ok(()) => Ok(Self(Arc::new(inner))),
            Err(error) => {
                inner.abandon_log();
                Err(error)
            }
        }
    }

    /// Opens a store that this node may have alone: makes its ranges if there are none yet
    /// (`initial_ranges` even cuts of the first byte; ignored later), replays the log and returns
    /// once this node leads every shard that it has alone.
    pub async fn open_store<M: StateMachine>(
        &self,
        kind: StoreKind,
        initial_ranges: usize,
        make: impl Fn(ShardId) -> M + Send + Sync + 'static,
    ) -> Result<Store<M>, OpenError> {
        let _opening = self.0.opening.lock().await;
        self.0.check_open(kind)?;
        if recorded(&self.0.setup, kind)?.is_empty() {
            let alone = [self.0.setup.options.node];
            self.0.make_ranges(kind, initial_ranges, &alone).await?;
        }
        let (open, store) = self.open_recorded(kind, make).await?;
        // All at once: they share the fsyncs.
        let replicas = open.replicas().all();
        try_join_all(replicas.iter().map(|replica| replica.lead_if_alone())).await?;
        Ok(store)
    }

    /// Makes the ranges of a store whose groups begin with these members. Once per cluster, on one
    /// of them; all of them then [`join_store`](Self::join_store).
    pub async fn init_store(
        &self,
        kind: StoreKind,
        initial_ranges: usize,
        members: &[NodeId],
    ) -> Result<(), OpenError> {
        let _opening = self.0.opening.lock().await;
        self.0.check_open(kind)?;
        let node = self.0.setup.options.node;
        if !members.contains(&node) {
            return Err(OpenError::NotFounder { node });
        }
        if !recorded(&self.0.setup, kind)?.is_empty() {
            return Err(OpenError::HasRanges { kind });
        }
        self.0.make_ranges(kind, initial_ranges, members).await
    }

    /// Opens the replicas that this node has, maybe none: others come when their leaders ask for
    /// them. Waits for nothing: a shard answers once its group has a leader.
    pub async fn join_store<M: StateMachine>(
        &self,
        kind: StoreKind,
        make: impl Fn(ShardId) -> M + Send + Sync + 'static,
    ) -> Result<Store<M>, OpenError> {
        let _opening = self.0.opening.lock().await;
        self.0.check_open(kind)?;
        Ok(self.open_recorded(kind, make).await?.1)
    }

    async fn open_recorded<M: StateMachine>(
        &self,
        kind: StoreKind,
        make: impl Fn(ShardId) -> M + Send + Sync + 'static,
    ) -> Result<(Arc<OpenStore>, Store<M>), OpenError> {
        if !self.0.is_measured.swap(true, Ordering::AcqRel) {
            self.0.measure().await;
            tokio::spawn(keep_measuring(self.downgrade()));
        }
        let records = recorded(&self.0.setup, kind)?;
        let machines = Machines::new();
        let make = machines.maker(make);
        let open = OpenStore::open(self.0.setup.clone(), kind, records, make).await?;
        let store = Store::new(self.clone(), Arc::clone(open.replicas()), machines);
        let is_shut_down = {
            let mut stores = self.0.stores.lock();
            stores.open.push(Arc::clone(&open));
            stores.is_shut_down
        };
        if is_shut_down {
            open.shutdown().await;
            return Err(OpenError::Closed);
        }
        Ok((open, store))
    }

    /// Answers another node's [`Transport::call`](crate::Transport::call). May wait: for the disk,
    /// or for a forwarded command to be applied. Drop it when nobody waits any more.
    pub async fn handle_request(&self, _from: NodeId, request: Bytes) -> Bytes {
        if request.len() > MESSAGE_BYTES_MAX {
            return refuse(Refusal::Malformed);
        }
        match self.0.serve(&request).await {
            Ok(answer) => answer,
            Err(why) => refuse(why),
        }
    }

    /// A handle that does not keep the engine alive.
    pub fn downgrade(&self) -> WeakEngine {
        WeakEngine(Arc::downgrade(&self.0))
    }

    /// `Some` once storage failed: nothing is acknowledged any more, and the process should
    /// restart, which verifies what is on disk.
    pub fn fenced(&self) -> watch::Receiver<Option<FenceCause>> {
        self.0.setup.fence.subscribe()
    }

    /// How full the disk is. Looked at every 2 s.
    pub fn disk_state(&self) -> watch::Receiver<DiskState> {
        self.0.setup.gauge.subscribe()
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
        self.0.setup.log.close().await;
        self.0.setup.log.database().close();
        if let Some(folder) = &self.0.folder {
            folder.release();
        }
    }
}

/// Looks how full the disk is as long as the engine is there and open.
async fn keep_measuring(engine: WeakEngine) {
    loop {
        tokio::time::sleep(CHECK_INTERVAL).await;
        match engine.upgrade() {
            Some(engine) if !engine.0.stores.lock().is_shut_down => engine.0.measure().await,
            Some(_) | None => return,
        }
    }
}

/// An engine, if it is still there.
#[derive(Clone)]
pub struct WeakEngine(Weak<Inner>);

impl fmt::Debug for WeakEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WeakEngine")
    }
}

impl WeakEngine {
    /// The engine.
    pub fn upgrade(&self) -> Option<Engine> {
        self.0.upgrade().map(Engine)
    }
}

impl Inner {
    /// Makes the folder this node's, for this life of its process.
    fn claim(&self) -> Result<(), OpenError> {
        let ReplicaSetup {
            options,
            storage,
            log,
            ..
        } = &self.setup;
        let synced = storage.sync_names(&options.folder);
        synced.map_err(|source| OpenError::io(&options.folder, source))?;
        let database = log.database().get_open()?;
        let claimed = read_claim(&database)?;
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
        write_claim(
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

    /// Records the first ranges of a kind, of which there must be none yet.
    async fn make_ranges(
        &self,
        kind: StoreKind,
        count: usize,
        members: &[NodeId],
    ) -> Result<(), OpenError> {
        let ReplicaSetup {
            options,
            storage,
            log,
            ..
        } = &self.setup;
        let path = stripe_path(&options.folder, kind, 0);
        let exists = storage.exists(&path);
        if exists.map_err(|source| OpenError::io(&path, source))? {
            return Err(OpenError::LogLost { kind, path });
        }
        let records = initial_ranges(kind, count, options.stripes, members);
        let records = records.ok_or(OpenError::RangeCount { given: count })?;
        let written = log.write_ranges(kind, &records).await;
        written.map_err(|_failed| OpenError::Fenced)
    }

    /// Looks how full the disk is.
    async fn measure(&self) {
        let ReplicaSetup {
            options,
            storage,
            log,
            ..
        } = &self.setup;
        let mut files = vec![Counted {
            path: options.folder.join(LOG_FILE),
            database: log.database().clone(),
            tables: [ENTRIES, META],
        }];
        for store in &self.stores.lock().open {
            files.extend(store.files());
        }
        let (storage, folder) = (storage.clone(), options.folder.clone());
        let capacity = options.capacity;
        let measure = move || measure(&storage, &folder, capacity, &files);
        match self.setup.workers().run(measure).await {
            Some(Ok(Some(state))) => self.setup.gauge.set(state),
            Some(Ok(None)) => {}
            Some(Err(error)) => tracing::warn!(%error, "how full the disk is cannot be told"),
            None => tracing::warn!("looking how full the disk is panicked"),
        }
    }

    /// The opening failed: the file is let go of at once, the writer ends by itself.
    fn abandon_log(&self) {
        self.setup.log.begin_close();
        self.setup.log.database().close();
    }

    fn store(&self, kind: StoreKind) -> Option<Arc<OpenStore>> {
        let stores = self.stores.lock();
        stores
            .open
            .iter()
            .find(|store| store.kind() == kind)
            .cloned()
    }

    async fn serve(&self, request: &Bytes) -> Result<Bytes, Refusal> {
        let (envelope, request) = Request::decode(request)?;
        if envelope.cluster != self.setup.options.cluster {
            return Err(Refusal::Foreign);
        }
        if self.setup.fence.is_tripped() {
            return Err(Refusal::Unavailable);
        }
        let store = self.store(envelope.kind).ok_or(Refusal::Unavailable)?;
        serve(&store, envelope.shard, request).await
    }
}

impl Drop for Inner {
    /// Without a shutdown: the threads end by themselves, and the next opening replays the log.
    fn drop(&mut self) {
        self.setup.log.begin_close();
    }
}

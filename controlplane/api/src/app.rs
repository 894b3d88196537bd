//! What all requests share.

use std::sync::Arc;

use tessera_domain::CursorKey;
use tessera_push::Hub;
use tessera_store::Store;
use tessera_tenancy::{FrameKey, ServerKey};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Requests that are worked on at once; beyond, they are refused.
pub(crate) const REQUESTS_MAX: usize = 256;
/// Streams to nodes at once.
pub(crate) const STREAMS_MAX: usize = 1_024;
/// Streams that read from the database at once: the pool is there for requests, too.
pub(crate) const STREAM_READS_MAX: usize = 4;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct App {
    pub(crate) store: Store,
    pub(crate) hub: Hub,
    pub(crate) server_key: ServerKey,
    pub(crate) push_key: FrameKey,
    pub(crate) cursors: CursorKey,
    pub(crate) document: String,
    pub(crate) requests: Arc<Semaphore>,
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) stream_reads: Arc<Semaphore>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stopping: CancellationToken,
}

impl App {
    pub(crate) fn new(
        store: Store,
        hub: Hub,
        server_key: ServerKey,
        push_key: FrameKey,
        document: String,
    ) -> Self {
        Self {
            cursors: CursorKey::new(&server_key),
            store,
            hub,
            server_key,
            push_key,
            document,
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            stream_reads: Arc::new(Semaphore::new(STREAM_READS_MAX)),
            tasks: TaskTracker::new(),
            stopping: CancellationToken::new(),
        }
    }
}

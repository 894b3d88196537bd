//! One tenant's messages to the connections of another node: a stream of numbered batches, one on its
//! way at a time, sent again under its number until it is answered or the node's session has ended.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tessera_dist::NodeSession;
use tessera_tenancy::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::wire::{Batch, Item, Outcome, Request, Response};
use crate::shared::Shared;

/// Messages that may wait for one node.
const LINK_MESSAGES_MAX: usize = 4_096;
/// Bytes of those messages.
const LINK_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Messages of one batch.
const BATCH_MESSAGES_MAX: usize = 1_024;
/// Bytes of one batch; a larger message goes alone.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Pause before a batch is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Why a message did not go to another node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkError {
    /// As much waits for the node as may.
    #[error("{LINK_MESSAGES_MAX} messages or {LINK_BYTES_MAX} bytes wait for another node")]
    Full,
    /// The link ended: this node is shutting down.
    #[error("the way to another node has ended")]
    Ended,
}

/// The way to the connections of one tenant on one other node.
#[derive(Debug)]
pub(crate) struct Link {
    queue: mpsc::Sender<Outgoing>,
    room: Arc<Semaphore>,
}

#[derive(Debug)]
struct Outgoing {
    item: Item,
    told: oneshot::Sender<Outcome>,
    _room: OwnedSemaphorePermit,
}

impl Link {
    pub(crate) fn begin(shared: &Arc<Shared>, tenant: TenantId, to: NodeSession) -> Self {
        let (queue, outgoing) = mpsc::channel(LINK_MESSAGES_MAX);
        let stream = Stream {
            shared: Arc::clone(shared),
            tenant,
            to,
            number: shared.next_stream.fetch_add(1, Ordering::Relaxed),
            sequence: 0,
        };
        shared.detach(stream.run(outgoing));
        Self {
            queue,
            room: Arc::new(Semaphore::new(LINK_BYTES_MAX)),
        }
    }

    /// Puts a message in line, in the order of the calls. What became of it comes through the
    /// receiver.
    pub(crate) fn send(&self, item: Item) -> Result<oneshot::Receiver<Outcome>, LinkError> {
        let bytes = item.bytes().min(LINK_BYTES_MAX);
        let permits = u32::try_from(bytes).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).try_acquire_many_owned(permits);
        let _room = room.map_err(|_full| LinkError::Full)?;
        let (told, outcome) = oneshot::channel();
        let outgoing = Outgoing { item, told, _room };
        self.queue.try_send(outgoing).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LinkError::Full,
            mpsc::error::TrySendError::Closed(_) => LinkError::Ended,
        })?;
        Ok(outcome)
    }
}

struct Stream {
    shared: Arc<Shared>,
    tenant: TenantId,
    to: NodeSession,
    number: u64,
    sequence: u64,
}

impl Stream {
    async fn run(mut self, mut outgoing: mpsc::Receiver<Outgoing>) {
        let shutdown = self.shared.shutdown.clone();
        loop {
            let first = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                first = outgoing.recv() => first,
            };
            let Some(first) = first else { return };
            let (items, told) = gather(first, &mut outgoing);
            let outcomes = tokio::select! {
                biased;
                () = shutdown.cancelled() => return,
                outcomes = self.deliver(items) => outcomes,
            };
            for (told, outcome) in told.into_iter().zip(outcomes) {
                // Nobody waits for a QoS 0 message.
                told.send(outcome).unwrap_or_default();
            }
        }
    }

    /// Sends a batch until it is answered, or nobody is there any more.
    async fn deliver(&mut self, items: Vec<Item>) -> Vec<Outcome> {
        let nobody = vec![Outcome::Nobody; items.len()];
        self.sequence += 1;
        let own = self.shared.dist.node_session();
        let request = Request::Deliver(Batch {
            tenant: self.tenant.into(),
            from: (own.node.0, own.number),
            to: self.to.number,
            stream: self.number,
            sequence: self.sequence,
            items,
        });
        let Some(peers) = self.shared.peers.clone() else {
            return nobody;
        };
        while self.shared.dist.is_live(self.tenant, self.to) {
            match peers.call(self.to.node, &request).await {
                Some(Response::Delivered(outcomes)) if outcomes.len() == nobody.len() => {
                    return outcomes;
                }
                Some(Response::Gone) => return nobody,
                Some(
                    Response::Delivered(_)
                    | Response::Renewed(_)
                    | Response::Done
                    | Response::Unavailable,
                )
                | None => tokio::time::sleep(RETRY_PAUSE).await,
            }
        }
        nobody
    }
}

/// The next batch, and whom to tell.
fn gather(
    first: Outgoing,
    outgoing: &mut mpsc::Receiver<Outgoing>,
) -> (Vec<Item>, Vec<oneshot::Sender<Outcome>>) {
    let mut bytes = first.item.bytes();
    let (mut items, mut told) = (vec![first.item], vec![first.told]);
    while items.len() < BATCH_MESSAGES_MAX
        && bytes < BATCH_BYTES_MAX
        && let Ok(next) = outgoing.try_recv()
    {
        bytes += next.item.bytes();
        items.push(next.item);
        told.push(next.told);
    }
    (items, told)
}

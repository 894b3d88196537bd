//! What the engine asks of openraft. Every call runs to its end, though its caller goes away.
//!
//! A call that finds the core of Raft ending waits for the core's task and notes how it ended. Were
//! such a call dropped half way, nobody could note that any more, and every later call would panic
//! (openraft 0.10.0-alpha.37, `join_core_task`). Callers are dropped by timeouts and by connections
//! that break, so their calls are carried on without them.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use openraft::alias::WatchReceiverOf;
use openraft::async_runtime::WatchReceiver as _;
use openraft::metrics::{RaftDataMetrics, Wait};
use tessera_tenancy::NodeId;
use tokio::runtime::Handle;

use crate::raft_types::{Metrics, Types};
use crate::state::StateHandle;

/// openraft's own handle.
pub(crate) type Inner = openraft::Raft<Types, StateHandle>;

/// Raft of one replica. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Raft(Inner);

impl fmt::Debug for Raft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Raft")
    }
}

impl Raft {
    pub(crate) const fn new(inner: Inner) -> Self {
        Self(inner)
    }

    /// Asks the core of Raft, or tells it something.
    pub(crate) fn call<F>(&self, call: impl FnOnce(Inner) -> F) -> Whole<F>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        Whole::new(call(self.0.clone()))
    }

    /// What the core last said of itself.
    pub(crate) fn metrics(&self) -> WatchReceiverOf<Types, Metrics> {
        self.0.metrics()
    }

    pub(crate) fn data_metrics(&self) -> WatchReceiverOf<Types, RaftDataMetrics<Types>> {
        self.0.data_metrics()
    }

    pub(crate) fn wait(&self, within: Duration) -> Wait<Types> {
        self.0.wait(Some(within))
    }

    pub(crate) fn is_leader(&self) -> bool {
        self.0.is_leader()
    }

    /// Who led when it was last heard of.
    pub(crate) fn leader(&self) -> Option<NodeId> {
        let metrics = self.0.metrics();
        metrics.borrow_watched().current_leader.map(NodeId)
    }
}

/// A call that is carried on in the background when it is dropped.
#[must_use = "a call does nothing unless it is awaited"]
pub(crate) struct Whole<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Whole<F> {
    pub(crate) fn new(call: F) -> Self {
        Self(Some(Box::pin(call)))
    }
}

impl<F: Future<Output: Send> + Send + 'static> Future for Whole<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(call) = &mut self.0 else {
            return Poll::Pending;
        };
        let polled = call.as_mut().poll(context);
        if polled.is_ready() {
            self.0 = None;
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Whole<F> {
    fn drop(&mut self) {
        // Without a runtime there is no core either.
        if let (Some(call), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(call);
        }
    }
}

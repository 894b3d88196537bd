//! A transport for engines of one process, with faults for tests.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tessera_tenancy::NodeId;
use tokio::time::sleep;

use crate::engine::WeakEngine;
use crate::runtime::Random;
use crate::transport::{Transport, TransportError};

/// Connects engines of one process. Cheap to clone.
///
/// Requests and answers are lost, held back (and so reordered) and doubled as [`Faults`] say; each
/// draw comes from the given randomness, in the order of the calls.
#[derive(Clone)]
pub struct Switchboard(Arc<Shared>);

struct Shared {
    random: Random,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    engines: BTreeMap<NodeId, WeakEngine>,
    faults: Faults,
    /// Messages from the first node do not reach the second.
    cut: BTreeSet<(NodeId, NodeId)>,
}

/// What happens to each message, in either direction. The default is nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Of 1,000 messages so many are lost.
    pub lost_per_mille: u64,
    /// Of 1,000 requests so many are delivered twice.
    pub doubled_per_mille: u64,
    /// Each message takes up to this long, so that later ones overtake it.
    pub delay_max: Duration,
}

impl fmt::Debug for Switchboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Switchboard")
    }
}

impl Switchboard {
    /// A switchboard without faults; `random` decides on those that are set later.
    pub fn new(random: Random) -> Self {
        Self(Arc::new(Shared {
            random,
            state: Mutex::default(),
        }))
    }

    /// The transport of `node`, for its engine's options.
    pub fn transport_of(&self, node: NodeId) -> Arc<dyn Transport> {
        Arc::new(Line {
            from: node,
            shared: Arc::downgrade(&self.0),
        })
    }

    /// From now on requests to `node` reach this engine.
    pub fn connect(&self, node: NodeId, engine: WeakEngine) {
        self.0.state.lock().engines.insert(node, engine);
    }

    /// From now on `node` is unreachable, as if its process had ended.
    pub fn disconnect(&self, node: NodeId) {
        self.0.state.lock().engines.remove(&node);
    }

    /// What happens to messages from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.0.state.lock().faults = faults;
    }

    /// Loses everything that `from` sends to `to`. Cut both ways for a partition.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.0.state.lock().cut.insert((from, to));
    }

    /// Cuts `node` off from all others that are connected, both ways.
    pub fn isolate(&self, node: NodeId) {
        let mut state = self.0.state.lock();
        let others: Vec<_> = state.engines.keys().copied().collect();
        for other in others {
            state.cut.insert((node, other));
            state.cut.insert((other, node));
        }
    }

    /// Mends every cut.
    pub fn heal(&self) {
        self.0.state.lock().cut.clear();
    }
}

/// What becomes of one message.
enum Fate {
    Lost,
    Delivered { after: Duration, twice: bool },
}

impl Shared {
    fn fate(&self, from: NodeId, to: NodeId) -> Fate {
        let (faults, is_cut) = {
            let state = self.state.lock();
            (state.faults, state.cut.contains(&(from, to)))
        };
        let is_one_of = |per_mille: u64| per_mille > 0 && (self.random)() % 1000 < per_mille;
        if is_cut || is_one_of(faults.lost_per_mille) {
            return Fate::Lost;
        }
        let delay_us = u64::try_from(faults.delay_max.as_micros()).unwrap_or(u64::MAX);
        let after = match delay_us {
            0 => Duration::ZERO,
            delay_us => Duration::from_micros((self.random)() % delay_us),
        };
        Fate::Delivered {
            after,
            twice: is_one_of(faults.doubled_per_mille),
        }
    }

    async fn carry(
        self: Arc<Self>,
        from: NodeId,
        to: NodeId,
        request: Bytes,
    ) -> Result<Bytes, TransportError> {
        let Fate::Delivered { after, twice } = self.fate(from, to) else {
            return never().await;
        };
        pause(after).await;
        let engine = self.state.lock().engines.get(&to).cloned();
        let engine = engine.and_then(|engine| engine.upgrade());
        let Some(engine) = engine else {
            return Err(TransportError::Unreachable { to });
        };
        // On a task of its own: a request that has arrived is served although its caller gives up.
        let (served, again) = (engine.clone(), request.clone());
        let answer = tokio::spawn(async move { served.handle_request(from, request).await });
        if twice {
            tokio::spawn(async move { engine.handle_request(from, again).await });
        }
        let answer = answer.await;
        let Fate::Delivered { after, .. } = self.fate(to, from) else {
            return never().await;
        };
        pause(after).await;
        answer.map_err(|_panicked| TransportError::Unreachable { to })
    }
}

/// A lost message: its caller waits until it gives up.
async fn never() -> Result<Bytes, TransportError> {
    std::future::pending().await
}

async fn pause(after: Duration) {
    if !after.is_zero() {
        sleep(after).await;
    }
}

/// One node's end of the lines.
#[derive(Debug)]
struct Line {
    from: NodeId,
    shared: Weak<Shared>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shared")
    }
}

impl Transport for Line {
    fn call(
        &self,
        to: NodeId,
        request: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        match self.shared.upgrade() {
            Some(shared) => shared.carry(self.from, to, request).boxed(),
            None => std::future::ready(Err(TransportError::Unreachable { to })).boxed(),
        }
    }
}

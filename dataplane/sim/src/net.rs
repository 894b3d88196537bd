//! The network between the nodes, with everything that goes wrong in one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tessera_shard::{Transport, TransportError, WeakEngine};
use tessera_tenancy::NodeId;
use tokio::sync::oneshot;

use crate::journal::{FaultKind, Journal};
use crate::observer::Observer;
use crate::rng::{Rng, hash_bytes};

/// A message that takes longer than this counts as delayed.
const DELAYED: Duration = Duration::from_millis(20);

/// What the network does to messages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NetFaults {
    pub(crate) lost_per_mille: u64,
    pub(crate) doubled_per_mille: u64,
    /// Messages that take up to `delay_max` instead of up to `usual_max`.
    pub(crate) delayed_per_mille: u64,
    pub(crate) usual_max: Duration,
    pub(crate) delay_max: Duration,
}

impl NetFaults {
    /// None, but for the time that messages take.
    pub(crate) const fn none(usual_max: Duration) -> Self {
        Self {
            lost_per_mille: 0,
            doubled_per_mille: 0,
            delayed_per_mille: 0,
            usual_max,
            delay_max: usual_max,
        }
    }
}

/// Who answers at the end of a line.
pub(crate) trait Answers: Send + Sync {
    /// The answer to a request; `None`: there is nobody any more.
    fn answer(&self, from: NodeId, request: Bytes) -> Option<BoxFuture<'static, Bytes>>;
}

impl Answers for WeakEngine {
    fn answer(&self, from: NodeId, request: Bytes) -> Option<BoxFuture<'static, Bytes>> {
        let engine = self.upgrade()?;
        Some(async move { engine.handle_request(from, request).await }.boxed())
    }
}

/// Connects the nodes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct SimNet(Arc<Shared>);

struct Shared {
    journal: Journal,
    /// Reads what leaders send.
    observer: Option<Arc<Observer>>,
    state: Mutex<State>,
}

struct State {
    rng: Rng,
    faults: NetFaults,
    /// The life of each node's process that has not ended.
    alive: BTreeMap<NodeId, u64>,
    /// Those that can be reached.
    up: BTreeMap<NodeId, (u64, Arc<dyn Answers>)>,
    /// Messages from the first node do not reach the second.
    cut: BTreeSet<(NodeId, NodeId)>,
    sent: u64,
    /// The latest sent of the requests that arrived, by sender and receiver.
    arrived: BTreeMap<(NodeId, NodeId), u64>,
}

impl fmt::Debug for SimNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SimNet")
    }
}

impl SimNet {
    pub(crate) fn new(
        faults: NetFaults,
        rng: Rng,
        journal: Journal,
        observer: Option<Arc<Observer>>,
    ) -> Self {
        let state = State {
            rng,
            faults,
            alive: BTreeMap::new(),
            up: BTreeMap::new(),
            cut: BTreeSet::new(),
            sent: 0,
            arrived: BTreeMap::new(),
        };
        Self(Arc::new(Shared {
            journal,
            observer,
            state: Mutex::new(state),
        }))
    }

    /// The way to others for the `life`th process of `node`.
    pub(crate) fn line(&self, node: NodeId, life: u64) -> Arc<dyn Transport> {
        self.0.state.lock().alive.insert(node, life);
        Arc::new(Line {
            node,
            life,
            net: self.clone(),
        })
    }

    /// A process is up.
    pub(crate) fn connect(&self, node: NodeId, life: u64, who: Arc<dyn Answers>) {
        self.0.state.lock().up.insert(node, (life, who));
    }

    /// The process of the node has ended: it sends and receives nothing any more.
    pub(crate) fn disconnect(&self, node: NodeId) {
        let mut state = self.0.state.lock();
        state.alive.remove(&node);
        state.up.remove(&node);
    }

    pub(crate) fn set_faults(&self, faults: NetFaults) {
        self.0.state.lock().faults = faults;
    }

    pub(crate) fn cut(&self, from: NodeId, to: NodeId) {
        self.0.state.lock().cut.insert((from, to));
    }

    pub(crate) fn mend(&self, from: NodeId, to: NodeId) {
        self.0.state.lock().cut.remove(&(from, to));
    }

    pub(crate) fn mend_all(&self) {
        self.0.state.lock().cut.clear();
    }

    /// One copy of a request, there and back. `None`: nobody will ever answer it.
    async fn carry(self, way: Way, request: Bytes, number: u64, delay: Duration) -> Answered {
        tokio::time::sleep(delay).await;
        let (life, who) = match self.arrive(&way, number) {
            Arrival::Lost => return None,
            Arrival::Nobody => return Some(Err(TransportError::Unreachable { to: way.to })),
            Arrival::At(life, who) => (life, who),
        };
        let Some(answering) = who.answer(way.from, request) else {
            return Some(Err(TransportError::Unreachable { to: way.to }));
        };
        drop(who);
        let answer = answering.await;
        let back = self.answer(&way, life, number, &answer)?;
        tokio::time::sleep(back).await;
        Some(Ok(answer))
    }

    /// What a request finds where it was sent.
    fn arrive(&self, way: &Way, number: u64) -> Arrival {
        let mut state = self.0.state.lock();
        if state.cut.contains(&(way.from, way.to)) {
            return Arrival::Lost;
        }
        let last = state.arrived.entry((way.from, way.to)).or_default();
        if *last > number {
            self.0.journal.count(FaultKind::MessageReordered);
        }
        *last = (*last).max(number);
        let numbers = [way.from.0, way.to.0, number];
        self.0.journal.note("arrive", &numbers);
        match state.up.get(&way.to) {
            Some((life, who)) => Arrival::At(*life, Arc::clone(who)),
            None => Arrival::Nobody,
        }
    }

    /// How long an answer takes; `None` if it is lost.
    fn answer(&self, way: &Way, life: u64, number: u64, answer: &[u8]) -> Option<Duration> {
        let mut state = self.0.state.lock();
        let is_same = state.up.get(&way.to).is_some_and(|(up, _)| *up == life);
        if !is_same || state.cut.contains(&(way.to, way.from)) {
            return None;
        }
        let numbers = [way.to.0, way.from.0, number, hash_bytes(answer)];
        self.0.journal.note("answer", &numbers);
        state.delay(&self.0.journal)
    }

    /// Sends a request: for each copy that will arrive how long it takes.
    fn send(&self, way: &Way, life: u64, request: &[u8]) -> (u64, Vec<Duration>) {
        let mut state = self.0.state.lock();
        state.sent += 1;
        let number = state.sent;
        let is_alive = state.alive.get(&way.from) == Some(&life);
        if !is_alive || state.cut.contains(&(way.from, way.to)) {
            return (number, Vec::new());
        }
        let numbers = [way.from.0, way.to.0, number, hash_bytes(request)];
        self.0.journal.note("send", &numbers);
        if let Some(observer) = &self.0.observer {
            observer.sent(request);
        }
        let mut copies: Vec<_> = state.delay(&self.0.journal).into_iter().collect();
        let doubled_per_mille = state.faults.doubled_per_mille;
        if !copies.is_empty() && state.rng.chance(doubled_per_mille) {
            self.0.journal.count(FaultKind::MessageDoubled);
            copies.extend(state.delay(&self.0.journal));
        }
        (number, copies)
    }
}

type Answered = Option<Result<Bytes, TransportError>>;

enum Arrival {
    Lost,
    Nobody,
    At(u64, Arc<dyn Answers>),
}

#[derive(Debug, Clone, Copy)]
struct Way {
    from: NodeId,
    to: NodeId,
}

impl State {
    /// How long the next message takes; `None` if it is lost.
    fn delay(&mut self, journal: &Journal) -> Option<Duration> {
        let faults = self.faults;
        if self.rng.chance(faults.lost_per_mille) {
            journal.count(FaultKind::MessageLost);
            return None;
        }
        let is_delayed = self.rng.chance(faults.delayed_per_mille);
        let max = if is_delayed {
            faults.delay_max
        } else {
            faults.usual_max
        };
        let max = u64::try_from(max.as_micros()).unwrap_or(u64::MAX);
        let delay = self.rng.micros(50, max.max(51));
        if delay >= DELAYED {
            journal.count(FaultKind::MessageDelayed);
        }
        Some(delay)
    }
}

/// One process's end of the lines.
struct Line {
    node: NodeId,
    life: u64,
    net: SimNet,
}

impl fmt::Debug for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line of node {}", self.node)
    }
}

impl Transport for Line {
    fn call(
        &self,
        to: NodeId,
        request: Bytes,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        let way = Way {
            from: self.node,
            to,
        };
        let (net, life) = (self.net.clone(), self.life);
        async move {
            let (number, copies) = net.send(&way, life, &request);
            let (answer, answered) = oneshot::channel();
            let answer = Arc::new(Mutex::new(Some(answer)));
            for delay in copies {
                let (answer, net) = (Arc::clone(&answer), net.clone());
                let request = request.clone();
                // On a task of its own: a message that is on its way arrives although its sender
                // gave up, or died.
                tokio::spawn(async move {
                    if let Some(answered) = net.carry(way, request, number, delay).await
                        && let Some(answer) = answer.lock().take()
                    {
                        // Nobody waits any more: the answer is dropped.
                        drop(answer.send(answered));
                    }
                });
            }
            drop(answer);
            match answered.await {
                Ok(answered) => answered,
                // Lost: the caller waits until it gives up.
                Err(_lost) => std::future::pending().await,
            }
        }
        .boxed()
    }
}

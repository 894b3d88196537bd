//! Everything that a run of the whole data plane has.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use parking_lot::Mutex;
use tessera_tenancy::NodeId;
use tokio::sync::Notify;

use crate::contract::{Act, Client, Connect, Tenant, Who};
use crate::disk::SimDisk;
use crate::journal::Journal;
use crate::net::{NetFaults, SimNet};
use crate::rng::Rng;
use crate::service::node::{Node, Stop};
use crate::service::pipe::{self, DeviceEnd};
use crate::service::plan::Plan;
use crate::service::recorder::Recorder;

/// See the module.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) journal: Journal,
    pub(crate) recorder: Recorder,
    pub(crate) phases: Phases,
    pub(crate) nodes: Vec<Arc<Node>>,
    /// Between engines.
    pub(crate) shards: SimNet,
    /// Between front ends.
    pub(crate) peers: SimNet,
    ports: AtomicU16,
}

impl World {
    pub(crate) fn new(plan: Plan, journal: Journal) -> Arc<Self> {
        let seed = plan.seed;
        let quiet = NetFaults::none(plan.net.usual_max);
        let net = |part| SimNet::new(quiet, Rng::of_part(seed, part), journal.clone(), None);
        let (shards, peers) = (net(2), net(3));
        let nodes = (1..=plan.nodes).map(|id| {
            let rng = Rng::of_part(seed, 100 + id);
            let disk = SimDisk::new(id, plan.disk, rng, journal.clone());
            let skew_ms = Rng::of_part(seed, 200 + id).between(0, plan.engine.skew_ms_max);
            Arc::new(Node::new(NodeId(id), disk, skew_ms))
        });
        Arc::new(Self {
            nodes: nodes.collect(),
            recorder: Recorder::new(journal.clone()),
            phases: Phases::default(),
            shards,
            peers,
            plan,
            journal,
            ports: AtomicU16::new(1),
        })
    }

    pub(crate) fn start(self: &Arc<Self>) {
        for node in &self.nodes {
            tokio::spawn(Arc::clone(node).supervise(Arc::clone(self)));
        }
    }

    /// Opens a connection to a node that is up; `None` if the one that was tried is not.
    pub(crate) fn dial(&self, rng: &mut Rng, client: (Tenant, Client)) -> Option<(DeviceEnd, Who)> {
        let node = &self.nodes[rng.index(self.nodes.len())];
        let process = node.process()?;
        let capacity = rng.pick(&self.plan.pipe_bytes);
        let (device, server) = pipe::connect(capacity);
        let port = self.ports.fetch_add(1, Ordering::Relaxed);
        let peer = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let who = self.recorder.who(client.0, client.1, node.id.0);
        process.serve(server, peer);
        Some((device, who))
    }

    /// Writes down that a CONNECT leaves.
    pub(crate) fn connects(&self, who: Who, ask: Connect) {
        self.recorder.act(who, Act::Connect(ask));
    }

    pub(crate) fn set_net_faults(&self, faults: NetFaults) {
        self.shards.set_faults(faults);
        self.peers.set_faults(faults);
    }

    pub(crate) fn cut(&self, from: NodeId, to: NodeId) {
        self.shards.cut(from, to);
        self.peers.cut(from, to);
    }

    pub(crate) fn mend(&self, from: NodeId, to: NodeId) {
        self.shards.mend(from, to);
        self.peers.mend(from, to);
    }

    /// From now on nothing goes wrong any more.
    pub(crate) fn heal(&self) {
        self.set_net_faults(NetFaults::none(self.plan.net.usual_max));
        self.shards.mend_all();
        self.peers.mend_all();
        for node in &self.nodes {
            node.disk.heal();
        }
    }

    /// All nodes lose power at once.
    pub(crate) fn lights_out(&self) {
        for node in &self.nodes {
            node.order(Stop::CutPower, std::time::Duration::from_millis(100));
        }
    }
}

/// What clients do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Phase {
    /// Nothing new: what is on its way is brought to its end.
    #[default]
    Settle,
    Work,
    Over,
}

/// The phase, and its changes. Wakes those who wait in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct Phases {
    now: Mutex<Phase>,
    changed: Notify,
}

impl Phases {
    pub(crate) fn now(&self) -> Phase {
        *self.now.lock()
    }

    pub(crate) fn set(&self, phase: Phase) {
        *self.now.lock() = phase;
        self.changed.notify_waiters();
    }

    /// Returns once the phase is another than `known`. Cancel safe.
    pub(crate) async fn other_than(&self, known: Phase) {
        loop {
            let changed = self.changed.notified();
            if self.now() != known {
                return;
            }
            changed.await;
        }
    }
}

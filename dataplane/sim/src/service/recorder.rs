//! The history in the making, shared by all clients of a run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use crate::contract::{
    Act, Client, Connection, Event, History, MessageId, Micros, Node, Tenant, Who,
};
use crate::journal::Journal;
use crate::rng::hash_bytes;

/// See the module. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Recorder(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    journal: Journal,
    history: Mutex<History>,
    connections: AtomicU32,
    messages: AtomicU64,
    /// Processes of nodes that ended.
    ends: AtomicU64,
    last: AtomicU64,
}

impl Recorder {
    pub(crate) fn new(journal: Journal) -> Self {
        Self(Arc::new(Shared {
            journal,
            history: Mutex::default(),
            connections: AtomicU32::new(0),
            messages: AtomicU64::new(1),
            ends: AtomicU64::new(0),
            last: AtomicU64::new(0),
        }))
    }

    pub(crate) fn event(&self, event: Event) {
        let at = micros(self.0.journal.elapsed());
        self.0.last.store(at, Ordering::Relaxed);
        let mut history = self.0.history.lock();
        let place = history.entries().len();
        history.push(Micros(at), event);
        let words = history.entries()[place].to_string();
        drop(history);
        let number = u64::try_from(place).unwrap_or(u64::MAX);
        let numbers = [number, hash_bytes(words.as_bytes())];
        self.0.journal.note("act", &numbers);
        self.0.journal.say(|| format!("#{place} {words}"));
    }

    pub(crate) fn act(&self, who: Who, act: Act) {
        self.event(Event::Act { who, act });
    }

    /// A node's process is about to end.
    pub(crate) fn node_ends(&self, node: u64) {
        let node = u16::try_from(node).ok().map(Node);
        self.event(Event::NodeEnded { node });
        self.0.ends.fetch_add(1, Ordering::Relaxed);
    }

    /// How many ended so far.
    pub(crate) fn ends(&self) -> u64 {
        self.0.ends.load(Ordering::Relaxed)
    }

    /// How long nothing has happened.
    pub(crate) fn quiet_for(&self) -> Duration {
        let last = Duration::from_micros(self.0.last.load(Ordering::Relaxed));
        self.0.journal.elapsed().saturating_sub(last)
    }

    pub(crate) fn who(&self, tenant: Tenant, client: Client, node: u64) -> Who {
        let connection = self.0.connections.fetch_add(1, Ordering::Relaxed);
        Who {
            tenant,
            client,
            connection: Connection(connection),
            node: u16::try_from(node).ok().map(Node),
        }
    }

    pub(crate) fn message(&self) -> MessageId {
        MessageId(self.0.messages.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn take(&self) -> History {
        std::mem::take(&mut *self.0.history.lock())
    }
}

fn micros(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

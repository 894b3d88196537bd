//! The history in the making, shared by all clients of the run.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tessera_sim::contract::{
    Act, Client, Connection, Event, History, MessageId, Micros, Tenant, Who,
};

/// See the module.
#[derive(Debug)]
pub(crate) struct Recorder {
    begun: Instant,
    history: Mutex<History>,
    connections: AtomicU32,
    messages: AtomicU64,
    kills: AtomicU64,
    /// Microseconds from the beginning to the last entry.
    last: AtomicU64,
}

impl Recorder {
    /// `run` tells the messages of this run from those of earlier ones.
    pub(crate) fn new(run: u32) -> Self {
        Self {
            begun: Instant::now(),
            history: Mutex::new(History::default()),
            connections: AtomicU32::new(0),
            messages: AtomicU64::new(u64::from(run) << 32),
            kills: AtomicU64::new(0),
            last: AtomicU64::new(0),
        }
    }

    pub(crate) fn event(&self, event: Event) {
        let mut history = self.history();
        // Under the lock, so that times and places have the same order.
        let at = micros(self.begun.elapsed());
        self.last.store(at, Ordering::Relaxed);
        history.push(Micros(at), event);
    }

    pub(crate) fn act(&self, who: Who, act: Act) {
        self.event(Event::Act { who, act });
    }

    /// All nodes are about to be killed.
    pub(crate) fn kill(&self) {
        self.event(Event::NodeEnded { node: None });
        self.kills.fetch_add(1, Ordering::SeqCst);
    }

    pub(crate) fn kills(&self) -> u64 {
        self.kills.load(Ordering::SeqCst)
    }

    /// How long nothing has happened.
    pub(crate) fn quiet_for(&self) -> Duration {
        let last = Duration::from_micros(self.last.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(last)
    }

    pub(crate) fn who(&self, tenant: Tenant, client: Client) -> Who {
        let connection = self.connections.fetch_add(1, Ordering::Relaxed);
        Who {
            tenant,
            client,
            connection: Connection(connection),
            node: None,
        }
    }

    pub(crate) fn message(&self) -> MessageId {
        MessageId(self.messages.fetch_add(1, Ordering::Relaxed))
    }

    pub(crate) fn take(&self) -> History {
        std::mem::take(&mut *self.history())
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn micros(elapsed: Duration) -> u64 {
    u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX)
}

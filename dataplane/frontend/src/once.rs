//! QoS 2 publishes that are on their way to their receivers, for those that are sent again.
//!
//! A client that lost its connection before PUBREC came sends its message again (MQTT-4.4.0-1). By then
//! receivers without a queue may have the first one, so the second must not go to anybody: it joins the
//! first, and is answered with what that comes to. What survives this process is in the inbox's shards,
//! which store a numbered publish once (protocols D).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tessera_inbox::{PublishOrigin, SessionIncarnation};
use tessera_mqtt::ClientId;
use tokio::sync::Notify;

use crate::route::DurableError;

/// Publishes of a tenant that reached everybody and whose clients were not told yet: they are those of
/// connections that were taken over meanwhile. The oldest is forgotten for one more.
const REACHED_MAX: usize = 4096;

/// The publishes of one tenant.
#[derive(Debug, Default)]
pub(crate) struct OnceRuns(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    runs: BTreeMap<Key, Arc<Run>>,
    /// In the order in which they ended.
    reached: VecDeque<Key>,
}

/// Which publish: the same for one that is sent again.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    client: ClientId,
    incarnation: u64,
    number: u64,
}

/// One publish on its way.
#[derive(Debug, Default)]
pub(crate) struct Run {
    end: OnceLock<RunEnd>,
    ended: Notify,
}

/// What it came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunEnd {
    /// Everybody has it, and the publisher's session knows it: PUBREC may leave.
    Received,
    /// Everybody has it. The session had another owner by then, and must still be told.
    Reached,
    /// Not everybody has it.
    Failed(DurableError),
}

/// Whether a publish is on its way already.
#[derive(Debug)]
pub(crate) enum Joined {
    First(Arc<Run>),
    Again(Arc<Run>),
}

impl OnceRuns {
    /// Begins a publish, or finds the one that was begun.
    pub(crate) fn join(&self, origin: &PublishOrigin) -> Joined {
        let mut known = self.0.lock();
        let key = Key::of(origin);
        if let Some(run) = known.runs.get(&key) {
            return Joined::Again(Arc::clone(run));
        }
        let run = Arc::<Run>::default();
        known.runs.insert(key, Arc::clone(&run));
        Joined::First(run)
    }

    /// Tells those who joined. Only one that the session must still be told of is remembered: one that
    /// failed is to be tried again, and one that was received is in the session.
    pub(crate) fn end(&self, origin: &PublishOrigin, run: &Run, end: RunEnd) {
        let mut known = self.0.lock();
        let key = Key::of(origin);
        match end {
            RunEnd::Received | RunEnd::Failed(_) => {
                known.runs.remove(&key);
            }
            RunEnd::Reached => known.remember(key),
        }
        drop(known);
        run.end.get_or_init(|| end);
        run.ended.notify_waiters();
    }

    /// The session was told.
    pub(crate) fn forget(&self, origin: &PublishOrigin) {
        self.0.lock().runs.remove(&Key::of(origin));
    }
}

impl Known {
    fn remember(&mut self, key: Key) {
        if self.reached.len() >= REACHED_MAX
            && let Some(oldest) = self.reached.pop_front()
        {
            self.runs.remove(&oldest);
        }
        self.reached.push_back(key);
    }
}

impl Key {
    fn of(origin: &PublishOrigin) -> Self {
        let PublishOrigin {
            client,
            incarnation: SessionIncarnation(incarnation),
            number,
            floor: _,
        } = origin;
        Self {
            client: client.clone(),
            incarnation: *incarnation,
            number: *number,
        }
    }
}

impl Run {
    /// What it came to, once it has.
    pub(crate) async fn ended(&self) -> RunEnd {
        loop {
            let notified = self.ended.notified();
            if let Some(end) = self.end.get() {
                return end.clone();
            }
            notified.await;
        }
    }
}

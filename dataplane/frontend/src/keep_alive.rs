//! One coarse timing wheel for the keep-alive of all connections (MQTT-3.1.2-22).
//!
//! A timer per connection would cost memory and a heap operation per packet. Here a read stores the
//! current tick in the connection's [`Pulse`], and the wheel looks at a connection again only when
//! it could have gone silent.
//!
//! ```text
//! watch ──> slot[due] ──turn──> silent? ──yes──> expired
//!              ^                   │ no
//!              └── due again <─────┘
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Length of a tick. A silent connection outlives its time by two ticks at most, and by the stalls
/// of the task that turns the wheel; it is never ended early.
pub(crate) const TICK: Duration = Duration::from_millis(250);
/// Slots of the wheel. An entry due after more than a turn stays in its slot for further turns.
const SLOTS: usize = 1_024;

/// The sign of life of one connection.
#[derive(Debug)]
pub(crate) struct Pulse {
    last_tick: AtomicU32,
    timeout_ticks: u32,
}

impl Pulse {
    /// A read happened at this tick.
    pub(crate) fn beat(&self, tick: u32) {
        self.last_tick.store(tick, Ordering::Relaxed);
    }

    /// The tick it was heard in may have been nearly over: that one does not count.
    fn due(&self) -> u32 {
        self.last_tick
            .load(Ordering::Relaxed)
            .saturating_add(self.timeout_ticks)
            .saturating_add(1)
    }
}

/// What the wheel tells when a pulse has stopped.
pub(crate) trait Watched: Send + Sync + 'static {
    /// Called once. `false` when the connection is gone already.
    fn expire(&self);
    /// Whether the connection is gone and the entry can be forgotten.
    fn is_gone(&self) -> bool;
}

struct Entry<W> {
    due: u32,
    pulse: Arc<Pulse>,
    watched: W,
}

/// The wheel. Its clock is the number of ticks that its owner counted.
pub(crate) struct Wheel<W> {
    tick: AtomicU32,
    slots: Box<[Mutex<Vec<Entry<W>>>]>,
}

impl<W> std::fmt::Debug for Wheel<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wheel")
            .field("tick", &self.tick)
            .finish_non_exhaustive()
    }
}

impl<W: Watched> Wheel<W> {
    pub(crate) fn new() -> Self {
        Self {
            tick: AtomicU32::new(0),
            slots: (0..SLOTS).map(|_| Mutex::new(Vec::new())).collect(),
        }
    }

    /// The current tick, for [`Pulse::beat`].
    pub(crate) fn tick(&self) -> u32 {
        self.tick.load(Ordering::Relaxed)
    }

    /// Watches a connection that must be heard at least every `timeout`.
    pub(crate) fn watch(&self, timeout: Duration, watched: W) -> Arc<Pulse> {
        let ticks = timeout.as_millis().div_ceil(TICK.as_millis());
        let pulse = Arc::new(Pulse {
            last_tick: AtomicU32::new(self.tick()),
            timeout_ticks: u32::try_from(ticks).unwrap_or(u32::MAX),
        });
        self.insert(Entry {
            due: pulse.due(),
            pulse: Arc::clone(&pulse),
            watched,
        });
        pulse
    }

    /// One tick has passed: expires what is silent. Cost: the entries of one slot.
    pub(crate) fn turn(&self) {
        let now = self.tick.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        let entries = std::mem::take(&mut *self.slot(now).lock());
        for mut entry in entries {
            if entry.watched.is_gone() {
                continue;
            }
            if entry.due <= now {
                entry.due = entry.pulse.due();
                if entry.due <= now {
                    entry.watched.expire();
                    continue;
                }
            }
            self.insert(entry);
        }
    }

    fn insert(&self, entry: Entry<W>) {
        // An entry due now is looked at in the next tick: this slot may be past already.
        let at = entry.due.max(self.tick().saturating_add(1));
        self.slot(at).lock().push(entry);
    }

    fn slot(&self, tick: u32) -> &Mutex<Vec<Entry<W>>> {
        &self.slots[tick as usize % SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[derive(Clone, Default)]
    struct Probe(Arc<(AtomicBool, AtomicBool)>);

    impl Watched for Probe {
        fn expire(&self) {
            assert!(!self.0.0.swap(true, Ordering::SeqCst), "expired twice");
        }
        fn is_gone(&self) -> bool {
            self.0.1.load(Ordering::SeqCst)
        }
    }

    impl Probe {
        fn expired(&self) -> bool {
            self.0.0.load(Ordering::SeqCst)
        }
    }

    #[test]
    fn a_silent_connection_expires_once_and_not_before_its_time() {
        for seconds in [1_u32, 15, 90, 3_000] {
            let (wheel, probe) = (Wheel::new(), Probe::default());
            wheel.watch(Duration::from_secs(seconds.into()), probe.clone());
            // Watched at the very end of a tick: the first turn comes at once.
            for _ in 0..=seconds * 4 {
                assert!(!probe.expired(), "{seconds} s: too early");
                wheel.turn();
            }
            assert!(probe.expired(), "{seconds} s: too late");
            (0..2_000).for_each(|_| wheel.turn());
        }
    }

    #[test]
    fn a_beat_postpones() {
        let (wheel, probe) = (Wheel::new(), Probe::default());
        let pulse = wheel.watch(Duration::from_secs(2), probe.clone());
        for _ in 0..10 {
            (0..7).for_each(|_| wheel.turn());
            pulse.beat(wheel.tick());
        }
        (0..8).for_each(|_| wheel.turn());
        assert!(!probe.expired());
        wheel.turn();
        assert!(probe.expired());
    }

    #[test]
    fn a_gone_connection_is_forgotten() {
        let (wheel, probe) = (Wheel::new(), Probe::default());
        wheel.watch(Duration::from_secs(1), probe.clone());
        probe.0.1.store(true, Ordering::SeqCst);
        (0..10).for_each(|_| wheel.turn());
        assert!(!probe.expired());
        assert!(wheel.slots.iter().all(|slot| slot.lock().is_empty()));
    }
}

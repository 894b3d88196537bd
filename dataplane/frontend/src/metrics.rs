//! What the front end counts, over all tenants.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::drops::Drops;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        if more > 0 {
            self.0.fetch_add(more, Ordering::Relaxed);
        }
    }

    /// Its value.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that goes up and down.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

impl Gauge {
    pub(crate) fn add(&self, change: i64) {
        self.0.fetch_add(change, Ordering::Relaxed);
    }

    /// Its value.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The counters of one front end.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Connections with an accepted CONNECT.
    pub connections: Gauge,
    /// CONNECT packets that were accepted.
    pub connects_accepted: Counter,
    /// CONNECT packets that were refused, and connections that never sent a good one.
    pub connects_refused: Counter,
    /// PUBLISH packets received.
    pub messages_received: Counter,
    /// Messages written or queued towards clients.
    pub messages_delivered: Counter,
    /// Messages not delivered to a session, by reason.
    pub messages_dropped: Drops,
    /// PUBLISH packets refused by a limit.
    pub publishes_refused: Counter,
    /// Bytes read from devices.
    pub bytes_received: Counter,
    /// Bytes written to devices.
    pub bytes_sent: Counter,
}

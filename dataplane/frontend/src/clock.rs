//! The process's clocks, read once per burst.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Monotonic time since the front end was made, and wall-clock time. Cheap to copy.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    /// Monotonic time since the start.
    pub(crate) fn now(self) -> Duration {
        self.origin.elapsed()
    }

    /// Unix milliseconds.
    pub(crate) fn unix_ms() -> u64 {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

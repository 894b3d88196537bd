//! The process's clocks, read once per burst, and what else a front end takes from its machine.

use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::BuildHasher as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// What a front end takes from the machine it runs on, for a simulation to replace. The default is
/// the machine. Monotonic time is tokio's.
#[derive(Clone, Default)]
pub struct Seams {
    /// Unix milliseconds. Default: the system's clock.
    pub unix_ms: Option<tessera_shard::Clock>,
    /// Where assigned client identifiers are drawn from. Default: the system.
    pub random: Option<tessera_shard::Random>,
}

impl fmt::Debug for Seams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seams")
            .field("unix_ms", &self.unix_ms.is_some())
            .field("random", &self.random.is_some())
            .finish()
    }
}

impl Seams {
    /// Unix milliseconds.
    pub fn now_ms(&self) -> u64 {
        self.unix_ms.as_ref().map_or_else(system_ms, |now| now())
    }

    /// A number that nobody can guess, to key hashes with.
    pub(crate) fn key(&self) -> u64 {
        match &self.random {
            None => RandomState::new().hash_one(()),
            Some(random) => random(),
        }
    }

    /// Bytes that nobody can guess.
    pub(crate) fn random(&self) -> Result<[u8; 16], getrandom::Error> {
        let mut bytes = [0; 16];
        match &self.random {
            None => getrandom::fill(&mut bytes)?,
            Some(random) => {
                for part in bytes.as_chunks_mut::<8>().0 {
                    *part = random().to_le_bytes();
                }
            }
        }
        Ok(bytes)
    }
}

fn system_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// Monotonic time since the front end was made. Cheap to copy.
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
}

/// Now, for limits: they count in instants of the system.
pub(crate) fn instant() -> std::time::Instant {
    Instant::now().into_std()
}

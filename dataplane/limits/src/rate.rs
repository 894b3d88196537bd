//! A rate per second that changes under what was already spent.
//!
//! ```text
//!   spent ──────────────┐
//!   now ────────────────┴──> whole again      debt = whole again − now
//!   |<── debt ──>|
//!   |<────── burst: 2 s ──────>|              n pass while debt + n·t ≤ burst, t = 1 s / rate
//! ```
//! The debt is time, so it means the same under every rate.

use std::num::NonZeroU32;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use governor::clock::Clock;
use governor::middleware::{NoOpMiddleware, RateLimitingMiddleware, StateInformationMiddleware};
use governor::nanos::Nanos;
use governor::state::{NotKeyed, StateStore};
use governor::{Quota, RateLimiter};
use tessera_tenancy::LimitRow;

/// What passes at once after a pause: so many seconds' worth of the rate.
pub const BURST_SECONDS: u32 = 2;

/// A debt beyond this is no debt but a clock that went back: a burst takes at most 2.2 s (2 s and
/// the rounding of the fastest rate), and readings that two threads took for one moment differ by
/// less than the rest.
const DEBT_MAX: Duration = Duration::from_secs(4);

/// What a tenant may spend per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rate {
    /// Everything passes and nothing is charged.
    Unlimited,
    /// Nothing passes.
    Closed,
    /// So much passes.
    Metered(Quota),
}

impl Rate {
    /// The rate of a limit's value. One above the largest that the limit may have counts as that.
    pub(crate) fn new(row: &LimitRow, per_second: Option<u64>) -> Self {
        let Some(per_second) = per_second else {
            return Self::Unlimited;
        };
        let per_second = per_second.min(row.value_max);
        let cells = u32::try_from(per_second).unwrap_or(u32::MAX);
        let Some(burst) = NonZeroU32::new(cells.saturating_mul(BURST_SECONDS)) else {
            return Self::Closed;
        };
        // Rounded up, so that a rate which does not divide a second is never exceeded.
        let interval = Duration::from_nanos(1_000_000_000_u64.div_ceil(u64::from(cells)));
        Quota::with_period(interval).map_or(Self::Closed, |quota| {
            Self::Metered(quota.allow_burst(burst))
        })
    }
}

/// What was spent: the moment at which the burst is whole again.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    /// Where nanoseconds are counted from: the first time that was told.
    epoch: OnceLock<Instant>,
    /// Nanoseconds since the epoch.
    whole_at: AtomicU64,
}

/// More was asked for than is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exhausted {
    /// When the same would pass; `None` if it is more than a whole burst.
    pub(crate) retry_after: Option<Duration>,
}

impl Meter {
    /// Charges all of `n` or nothing.
    pub(crate) fn take(&self, quota: Quota, n: NonZeroU32, now: Instant) -> Result<(), Exhausted> {
        let debt = self.debt_at(quota, now);
        match limiter::<NoOpMiddleware<Nanos>>(quota, debt).check_n(n) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(refused)) => Err(Exhausted {
                retry_after: Some(refused.wait_time_from(Nanos::new(0))),
            }),
            Err(_more_than_a_burst) => Err(Exhausted { retry_after: None }),
        }
    }

    /// Charges as much of `at_most` as is left, and says how much that was.
    pub(crate) fn take_up_to(
        &self,
        quota: Quota,
        at_most: NonZeroU32,
        now: Instant,
    ) -> Result<NonZeroU32, Exhausted> {
        if self.take(quota, at_most, now).is_ok() {
            return Ok(at_most);
        }
        let debt = self.debt_at(quota, now);
        let first = limiter::<StateInformationMiddleware>(quota, debt).check();
        let left = first
            .map_err(|refused| Exhausted {
                retry_after: Some(refused.wait_time_from(Nanos::new(0))),
            })?
            .remaining_burst_capacity();
        // Another thread may take the rest between the two; then the first is all there is.
        let more = NonZeroU32::new(left.min(at_most.get() - 1))
            .filter(|more| self.take(quota, *more, now).is_ok());
        Ok(more.map_or(NonZeroU32::MIN, |more| more.saturating_add(1)))
    }

    fn debt_at(&self, quota: Quota, now: Instant) -> Debt<'_> {
        let epoch = *self.epoch.get_or_init(|| now);
        let now = nanos(now.saturating_duration_since(epoch));
        let debt = Debt {
            whole_at: &self.whole_at,
            now,
        };
        debt.survive_a_step_back(quota);
        debt
    }
}

/// The state that governor decides on: what is owed at one moment, which is governor's zero.
#[derive(Debug, Clone, Copy)]
struct Debt<'a> {
    whole_at: &'a AtomicU64,
    now: u64,
}

impl Debt<'_> {
    /// A clock that went back would keep the tenant out until it has caught up. From there on a
    /// whole burst is owed instead: nothing passes at once, and all is well after two seconds.
    fn survive_a_step_back(&self, quota: Quota) {
        let seen = self.whole_at.load(Ordering::Relaxed);
        if seen.saturating_sub(self.now) > nanos(DEBT_MAX) {
            let whole_at = self.now + nanos(quota.burst_size_replenished_in());
            // Where another thread was faster, it did the same or charged a debt that holds.
            let _lost =
                self.whole_at
                    .compare_exchange(seen, whole_at, Ordering::AcqRel, Ordering::Relaxed);
        }
    }
}

impl StateStore for Debt<'_> {
    type Key = NotKeyed;

    fn measure_and_replace<T, F, E>(&self, _key: &NotKeyed, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let mut seen = self.whole_at.load(Ordering::Acquire);
        loop {
            let owed = Nanos::new(seen.saturating_sub(self.now));
            let (outcome, owed) = decide(Some(owed))?;
            let whole_at = self.now.saturating_add(owed.as_u64());
            match self.whole_at.compare_exchange_weak(
                seen,
                whole_at,
                Ordering::AcqRel,
                Ordering::Acquire,
            ) {
                Ok(_) => return Ok(outcome),
                Err(changed) => seen = changed,
            }
        }
    }
}

/// A clock that stands at zero: a limiter lives for one decision, whose moment is its zero.
struct Moment;

impl Clock for Moment {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(0)
    }
}

/// A limiter for one decision. Building it is two multiplications.
fn limiter<M: RateLimitingMiddleware<Nanos>>(
    quota: Quota,
    debt: Debt<'_>,
) -> RateLimiter<NotKeyed, Debt<'_>, Moment, M> {
    RateLimiter::new(quota, debt, Moment)
}

/// Bounded at half of the range, 292 years, so that sums of two never overflow.
fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos())
        .unwrap_or(u64::MAX)
        .min(u64::MAX / 2)
}

//! How long to wait before a process that ended is started again.

use std::time::Duration;

/// The first pause; it doubles with each life that was short.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// No pause is longer.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// A life this long was a good one: the next pause is the first again.
const GOOD_LIFE: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    short_lives: u32,
}

impl Backoff {
    /// The pause after a life of this length.
    pub(crate) fn pause_after(&mut self, life: Duration) -> Duration {
        if life >= GOOD_LIFE {
            self.short_lives = 0;
        }
        let doubled = 2_u32.saturating_pow(self.short_lives);
        self.short_lives = self.short_lives.saturating_add(1);
        PAUSE_FIRST.saturating_mul(doubled).min(PAUSE_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_to_their_bound_and_a_good_life_forgives() {
        let mut backoff = Backoff::default();
        let pauses: Vec<u128> = (0..9)
            .map(|_| backoff.pause_after(Duration::from_secs(1)).as_millis())
            .collect();
        assert_eq!(
            pauses,
            [100, 200, 400, 800, 1_600, 3_200, 6_400, 10_000, 10_000]
        );
        assert_eq!(backoff.pause_after(GOOD_LIFE), PAUSE_FIRST);
        assert_eq!(backoff.pause_after(Duration::ZERO), PAUSE_FIRST * 2);
    }
}

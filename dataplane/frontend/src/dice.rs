//! Chance for choices that nothing depends on: who of several gets a message.

use std::sync::atomic::{AtomicU64, Ordering};

/// What the state grows by with every cast (`SplitMix64`): odd, so that it comes by every number.
const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A generator that any number of threads cast at once, without a lock. The same seed gives the same
/// numbers. Not for secrets.
#[derive(Debug)]
pub(crate) struct Dice(AtomicU64);

impl Dice {
    /// With this seed.
    pub(crate) const fn new(seed: u64) -> Self {
        Self(AtomicU64::new(seed))
    }

    /// A number below `bound`, each as likely; 0 if there is none.
    pub(crate) fn below(&self, bound: usize) -> usize {
        let bound = u128::try_from(bound).unwrap_or_default();
        // The high half of the product: no division, and no bias that a count of members shows.
        usize::try_from((u128::from(self.cast()) * bound) >> 64).unwrap_or_default()
    }

    fn cast(&self) -> u64 {
        let mut mixed = self.0.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_numbers_that_its_authors_published() {
        let dice = Dice::new(1_234_567);
        let first = [(); 3].map(|()| dice.cast());
        let published = [
            6_457_827_717_110_365_317,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(first, published);
    }

    #[test]
    fn every_number_below_the_bound_is_as_likely() {
        const BOUND: usize = 7;
        const CASTS: u32 = 70_000;
        let dice = Dice::new(42);
        let mut counts = [0_u32; BOUND];
        for _ in 0..CASTS {
            counts[dice.below(BOUND)] += 1;
        }
        // Six standard deviations of a fair die are 556.
        for count in counts {
            assert!(count.abs_diff(10_000) < 556, "{counts:?}");
        }
        assert_eq!((dice.below(1), dice.below(0)), (0, 0));
    }
}

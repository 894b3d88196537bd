//! What a round does, drawn from the seed alone.

use std::time::Duration;

use crate::engine_wire::mixed;

/// Rounds on the same folders; then they begin anew, which bounds what is stored.
pub(super) const ROUNDS_PER_FOLDER: u32 = 25;
/// Splits asked for on the same folders: bounds the groups of a host.
const SPLITS_PER_FOLDER: u32 = 16;
/// Writes of one load, from and up to.
const WRITES: (u64, u64) = (100, 1_500);
/// Connections of one load, from and up to.
const CONNECTIONS: (u64, u64) = (2, 9);
/// Unanswered writes of one connection, from and up to.
const WINDOW: (u64, u64) = (1, 65);
/// Longest time from the begin of a load to a kill that the clock decides, in milliseconds.
const LOAD_MS: u64 = 1_500;
/// Longest times from the start of a host to a kill that falls into its opening or its elections.
const OPENING_MS: [u64; 3] = [30, 150, 1_000];
/// Longest time from a split's asking to the kill.
const SPLIT_MS: u64 = 40;
/// From how many bytes on a range is split by size.
const SPLIT_BYTES: u64 = 10_000;

/// A round.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    /// The folders begin anew, and the first lives of the host end so soon after their starts.
    pub(super) begins_anew: Option<Vec<Duration>>,
    /// Each ends with a kill. The first falls on a host that has recovered, the later ones on one that
    /// has just been started.
    pub(super) strikes: Vec<Strike>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Strike {
    /// Writes, and a kill meanwhile or soon after.
    Load(Load),
    /// A kill this long after the start.
    Opening(Duration),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) writes: u64,
    pub(super) connections: u64,
    pub(super) window: u64,
    pub(super) splits: Vec<Split>,
    pub(super) kill: Kill,
}

/// A split that is asked for during a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) after_answers: u64,
    /// Picks an id of those that were given out so far.
    pub(super) draw: u64,
    pub(super) if_larger: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kill {
    AfterAnswers(u64),
    /// Since the load began; maybe after it ended.
    After(Duration),
    /// Since the last split was asked for.
    AfterSplit(Duration),
}

impl Plan {
    /// The same for the same seed and round.
    pub(super) fn draw(seed: u64, round: u32) -> Self {
        let mut draws = Draws(mixed(seed) ^ mixed(u64::from(round)));
        let at = round % ROUNDS_PER_FOLDER;
        let begins_anew = (at == 0).then(|| {
            let lives = draws.between((0, 3));
            (0..lives).map(|_| draws.opening()).collect()
        });
        // Spread evenly, so that early rounds split as late ones do.
        let splits_upto = |at: u32| at * SPLITS_PER_FOLDER / ROUNDS_PER_FOLDER;
        let mut splits = splits_upto(at + 1) - splits_upto(at);
        let mut strikes = vec![Strike::Load(draws.load(&mut splits))];
        match draws.between((0, 10)) {
            0..=4 => {}
            5 | 6 => strikes.push(Strike::Opening(draws.opening())),
            7 => strikes.extend([(); 3].map(|()| Strike::Opening(draws.opening()))),
            _ => strikes.push(Strike::Load(draws.load(&mut splits))),
        }
        Self {
            begins_anew,
            strikes,
        }
    }
}

/// Draws from a seed.
struct Draws(u64);

impl Draws {
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    const fn between(&mut self, (least, end): (u64, u64)) -> u64 {
        least + self.next() % (end - least)
    }

    const fn up_to_ms(&mut self, most: u64) -> Duration {
        Duration::from_millis(self.between((0, most + 1)))
    }

    fn opening(&mut self) -> Duration {
        let kind = usize::try_from(self.between((0, 3))).unwrap_or(0);
        self.up_to_ms(OPENING_MS[kind])
    }

    /// Takes from the splits that are left.
    fn load(&mut self, splits: &mut u32) -> Load {
        let writes = self.between(WRITES);
        let splits: Vec<_> = (0..std::mem::take(splits))
            .map(|_| self.split(writes))
            .collect();
        let kill = match self.between((0, 8)) {
            0..=1 => Kill::After(self.up_to_ms(LOAD_MS)),
            2..=5 if !splits.is_empty() => Kill::AfterSplit(self.up_to_ms(SPLIT_MS)),
            _ => Kill::AfterAnswers(self.between((0, writes + 1))),
        };
        Load {
            writes,
            connections: self.between(CONNECTIONS),
            window: self.between(WINDOW),
            splits,
            kill,
        }
    }

    const fn split(&mut self, writes: u64) -> Split {
        Split {
            after_answers: self.between((0, writes / 2 + 1)),
            draw: self.next(),
            if_larger: if self.between((0, 3)) == 0 {
                Some(SPLIT_BYTES)
            } else {
                None
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_names_its_rounds() {
        let rounds = |seed| (0..50).map(|round| Plan::draw(seed, round)).collect();
        let (one, same, other): (Vec<_>, Vec<_>, Vec<_>) = (rounds(1), rounds(1), rounds(2));
        assert_eq!(one, same);
        assert_ne!(one, other);
    }

    #[test]
    fn all_that_a_round_may_be_comes_up() {
        let plans: Vec<_> = (0..200).map(|round| Plan::draw(1, round)).collect();
        let strikes = || plans.iter().flat_map(|plan| &plan.strikes);
        let loads = || {
            strikes().filter_map(|strike| match strike {
                Strike::Load(load) => Some(load),
                Strike::Opening(_) => None,
            })
        };
        let openings = strikes().count() - loads().count();
        let killed = |is: fn(&Kill) -> bool| loads().filter(|load| is(&load.kill)).count();
        assert!(openings > 20, "{openings}");
        assert!(plans.iter().any(|plan| plan.strikes.len() == 4));
        assert!(killed(|kill| matches!(kill, Kill::AfterAnswers(_))) > 20);
        assert!(killed(|kill| matches!(kill, Kill::After(_))) > 20);
        assert!(killed(|kill| matches!(kill, Kill::AfterSplit(_))) > 20);
        let splits = loads().flat_map(|load| &load.splits).count();
        assert_eq!(splits, 128, "16 on each of eight folders");
        let begins = plans.iter().filter(|plan| plan.begins_anew.is_some());
        assert_eq!(begins.count(), 8);
    }
}

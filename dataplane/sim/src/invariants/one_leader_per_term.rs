//! Election safety: at most one leader per term and shard.

use std::collections::BTreeMap;

use crate::observer::Led;

pub(crate) const NAME: &str = "one leader per term";

/// Who led, by shard and term.
#[derive(Debug, Default)]
pub(crate) struct OneLeaderPerTerm(BTreeMap<(u64, u64), u64>);

impl OneLeaderPerTerm {
    /// A node leads; `true` if nobody was known to lead that term.
    pub(crate) fn led(&mut self, led: &Led) -> Result<bool, String> {
        let place = (led.shard, led.term);
        match self.0.insert(place, led.node) {
            None => Ok(true),
            Some(first) if first == led.node => Ok(false),
            Some(first) => Err(format!("{led:?}, and so did node {first}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_leader_of_a_term_is_noticed() {
        let led = |term, node| Led {
            shard: 1,
            term,
            node,
        };
        let mut leaders = OneLeaderPerTerm::default();
        assert_eq!(leaders.led(&led(1, 1)), Ok(true));
        assert_eq!(leaders.led(&led(1, 1)), Ok(false));
        assert_eq!(leaders.led(&led(2, 2)), Ok(true));
        assert!(leaders.led(&led(1, 2)).is_err());
    }
}

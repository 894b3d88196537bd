//! Election safety: at most one leader per term and shard.

use std::collections::BTreeMap;

use crate::observer::Led;

pub(crate) const NAME: &str = "one leader per term";

/// Who led, by shard and term.
#[derive(Debug, Default)]
pub(crate) struct OneLeaderPerTerm(BTreeMap<(u64, u64), u64>);

impl OneLeaderPerTerm {
    pub(crate) fn led(&mut self, led: &Led) -> Result<(), String> {
        let first = *self.0.entry((led.shard, led.term)).or_insert(led.node);
        if first == led.node {
            return Ok(());
        }
        Err(format!("{led:?}, and so did node {first}"))
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
        leaders.led(&led(1, 1)).unwrap();
        leaders.led(&led(1, 1)).unwrap();
        leaders.led(&led(2, 2)).unwrap();
        assert!(leaders.led(&led(1, 2)).is_err());
    }
}

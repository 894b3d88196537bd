//! State machine safety: what one replica applied at a place of the log, no other replica and no
//! later life applies differently.

use std::collections::BTreeMap;

use crate::observer::Applied;

pub(crate) const NAME: &str = "state machine safety";

/// The command at each place: its hash and time.
#[derive(Debug, Default)]
pub(crate) struct StateMachineSafety(BTreeMap<(u64, u64, u32), (u64, u64)>);

impl StateMachineSafety {
    pub(crate) fn applied(&mut self, applied: &Applied) -> Result<(), String> {
        let place = (applied.shard, applied.index, applied.ordinal);
        let command = (applied.hash, applied.time_ms);
        let first = *self.0.entry(place).or_insert(command);
        if first == command {
            return Ok(());
        }
        Err(format!(
            "{applied:?} where another replica applied {first:?}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::applied_once::tests::applied;

    #[test]
    fn two_commands_at_one_place_are_noticed() {
        let mut safety = StateMachineSafety::default();
        safety.applied(&applied(1, 5, 0, 7)).unwrap();
        safety.applied(&applied(2, 5, 0, 7)).unwrap();
        safety.applied(&applied(2, 5, 1, 8)).unwrap();
        assert!(safety.applied(&applied(3, 5, 1, 9)).is_err());
    }
}

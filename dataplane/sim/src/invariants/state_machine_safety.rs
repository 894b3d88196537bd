//! State machine safety: what one replica committed or applied at a place of the log, no other
//! replica and no later life commits or applies differently.

use std::collections::BTreeMap;

use tessera_shard::LogChecksum;

use crate::observer::Applied;

pub(crate) const NAME: &str = "state machine safety";

/// What is at each place.
#[derive(Debug, Default)]
pub(crate) struct StateMachineSafety {
    /// The command that was applied, its hash and time: by shard, index and ordinal.
    applied: BTreeMap<(u64, u64, u32), (u64, u64)>,
    /// The entry that was committed, by shard and index.
    committed: BTreeMap<(u64, u64), LogChecksum>,
}

impl StateMachineSafety {
    pub(crate) fn applied(&mut self, applied: &Applied) -> Result<(), String> {
        let place = (applied.shard, applied.index, applied.ordinal);
        let command = (applied.hash, applied.time_ms);
        let first = *self.applied.entry(place).or_insert(command);
        if first == command {
            return Ok(());
        }
        Err(format!(
            "{applied:?} where another replica applied {first:?}"
        ))
    }

    /// Entries of a log that its replica knows to be committed.
    pub(crate) fn committed<'a>(
        &mut self,
        node: u64,
        shard: u64,
        entries: impl Iterator<Item = &'a LogChecksum>,
    ) -> Result<(), String> {
        for entry in entries {
            let place = (shard, entry.position.index);
            let first = *self.committed.entry(place).or_insert(*entry);
            if first != *entry {
                return Err(format!(
                    "node {node} committed {entry:x?} of {shard:x}, another {first:x?}"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::applied_once::tests::applied;
    use crate::invariants::log_matching::tests::stored;

    #[test]
    fn two_commands_at_one_place_are_noticed() {
        let mut safety = StateMachineSafety::default();
        safety.applied(&applied(1, 5, 0, 7)).unwrap();
        safety.applied(&applied(2, 5, 0, 7)).unwrap();
        safety.applied(&applied(2, 5, 1, 8)).unwrap();
        assert!(safety.applied(&applied(3, 5, 1, 9)).is_err());
    }

    #[test]
    fn two_entries_that_were_committed_at_one_place_are_noticed() {
        let mut safety = StateMachineSafety::default();
        let mut commit = |node, entry| safety.committed(node, 1, [entry].iter());
        commit(1, stored(2, 5, 7)).unwrap();
        commit(2, stored(2, 5, 7)).unwrap();
        assert!(commit(3, stored(3, 5, 7)).is_err());
        assert!(commit(3, stored(2, 5, 8)).is_err());
        commit(3, stored(3, 6, 7)).unwrap();
    }
}

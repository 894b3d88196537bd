//! Applied once: an operation has one place in the log, and a replica applies each place once, in
//! order, as long as its process lives.

use std::collections::BTreeMap;

use crate::machine::{OpId, Register};
use crate::observer::Applied;

pub(crate) const NAME: &str = "applied once";

/// Places by operation, and how far each machine is.
#[derive(Debug, Default)]
pub(crate) struct AppliedOnce {
    places: BTreeMap<OpId, (u64, u64, u32)>,
    /// By machine.
    reached: BTreeMap<u64, (u64, u32)>,
}

impl AppliedOnce {
    pub(crate) fn applied(&mut self, applied: &Applied) -> Result<(), String> {
        let place = (applied.shard, applied.index, applied.ordinal);
        let first = *self.places.entry(applied.op).or_insert(place);
        if first != place {
            return Err(format!("{applied:?} was applied at {first:?} before"));
        }
        let now = (applied.index, applied.ordinal);
        match self.reached.insert(applied.machine, now) {
            Some(before) if before >= now => {
                Err(format!("{applied:?} behind {before:?} by one machine"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl AppliedOnce {
    /// Where an operation was applied: shard, index and ordinal.
    pub(crate) fn place(&self, op: OpId) -> Option<(u64, u64, u32)> {
        self.places.get(&op).copied()
    }
}

/// The same of a row at the end.
pub(crate) fn check_row(register: &Register) -> Result<(), String> {
    let mut ops = register.ops.clone();
    ops.sort_unstable();
    match ops.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(format!("{:?} stands twice in {:?}", pair[0], register.ops)),
        None => Ok(()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Operation `op`, applied by a node at a place of shard 1.
    pub(crate) fn applied(node: u64, index: u64, ordinal: u32, op: u64) -> Applied {
        Applied {
            node,
            machine: node,
            shard: 1,
            index,
            ordinal,
            op: OpId(op),
            hash: op,
            time_ms: 0,
            digest: op,
        }
    }

    #[test]
    fn a_second_place_of_an_operation_is_noticed() {
        let mut once = AppliedOnce::default();
        once.applied(&applied(1, 5, 0, 7)).unwrap();
        once.applied(&applied(2, 5, 0, 7)).unwrap();
        assert!(once.applied(&applied(1, 6, 0, 7)).is_err());
    }

    #[test]
    fn a_place_that_a_machine_applies_twice_is_noticed() {
        let mut once = AppliedOnce::default();
        once.applied(&applied(1, 5, 0, 7)).unwrap();
        assert!(once.applied(&applied(1, 5, 0, 7)).is_err());
        let mut reopened = applied(1, 5, 0, 7);
        reopened.machine = 2;
        once.applied(&reopened).unwrap();
    }

    #[test]
    fn an_operation_twice_in_a_row_is_noticed() {
        let mut register = Register {
            chain: 0,
            ops: vec![OpId(1), OpId(2)],
        };
        check_row(&register).unwrap();
        register.ops.push(OpId(1));
        assert!(check_row(&register).is_err());
    }
}

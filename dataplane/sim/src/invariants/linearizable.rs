//! Linearizability: each register behaves as if every operation took effect at one moment between
//! its beginning and its end.

use crate::history::{Op, explain};
use crate::linearizability::Verdict;
use crate::machine::Key;

pub(crate) const NAME: &str = "linearizable";

pub(crate) fn check(key: Key, ops: &[Op]) -> Result<(), String> {
    match explain(ops) {
        Verdict::Linearizable => Ok(()),
        Verdict::Not => Err(format!("no order explains the answers of {key:?}: {ops:?}")),
        Verdict::TooLong => Err(format!("{} operations of {key:?} are too many", ops.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{Ask, Outcome};
    use crate::machine::{Change, OpId};

    #[test]
    fn a_history_without_an_order_is_noticed() {
        let key = Key {
            tenant: 1,
            register: 1,
        };
        let op = |id, ask, begun| Op {
            id: OpId(id),
            key,
            ask,
            outcome: Outcome::Done { chain: 0 },
            begun,
            ended: begun + 1,
        };
        let write = op(1, Ask::Change(Change::Write), 1);
        check(key, &[write]).unwrap();
        assert!(check(key, &[write, op(2, Ask::Read, 3)]).is_err());
    }
}

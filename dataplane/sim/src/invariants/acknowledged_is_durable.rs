//! Acknowledged means durable: every change that a client was told of is in its row at the end,
//! nothing is there that nobody asked for, and nothing that was refused.

use crate::history::{Ask, Op, Outcome};
use crate::machine::{Change, Key, Register, chain_after};

pub(crate) const NAME: &str = "acknowledged is durable";

/// The row of `key` at the end, and every operation on it.
pub(crate) fn check(key: Key, ops: &[Op], row: &Register) -> Result<(), String> {
    let change_of = |op: &Op| match op.ask {
        Ask::Change(change) => Some(change),
        Ask::Read => None,
    };
    for op in ops.iter().filter(|op| change_of(op).is_some()) {
        let is_there = row.ops.contains(&op.id);
        let must_be_there = match op.outcome {
            Outcome::Done { .. } => Some(true),
            Outcome::Refused => Some(false),
            Outcome::Open | Outcome::Unknown => None,
        };
        if must_be_there.is_some_and(|must| must != is_there) {
            return Err(format!("{op:?} of {key:?}: in its row is {is_there}"));
        }
    }
    let mut chain = 0;
    for id in &row.ops {
        let asked = ops.iter().find(|op| op.id == *id);
        let change = asked.and_then(change_of);
        let change = change.ok_or_else(|| format!("{id:?} in {key:?}, which nobody asked for"))?;
        chain = chain_after(change, chain, *id);
    }
    if chain == row.chain {
        return Ok(());
    }
    let writes = ops.iter().filter(|op| op.ask == Ask::Change(Change::Write));
    Err(format!(
        "the chain of {key:?} is not that of its {} writes",
        writes.count()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::OpId;

    const KEY: Key = Key {
        tenant: 1,
        register: 1,
    };

    fn write(outcome: Outcome) -> [Op; 1] {
        [Op {
            id: OpId(1),
            key: KEY,
            ask: Ask::Change(Change::Write),
            outcome,
            begun: 1,
            ended: 2,
        }]
    }

    fn row(ops: &[u64]) -> Register {
        let ops: Vec<_> = ops.iter().map(|op| OpId(*op)).collect();
        let chain = ops
            .iter()
            .fold(0, |chain, op| chain_after(Change::Write, chain, *op));
        Register { chain, ops }
    }

    #[test]
    fn what_was_lost_invented_or_refused_is_noticed() {
        let done = write(Outcome::Done { chain: 0 });
        check(KEY, &done, &row(&[1])).unwrap();
        assert!(check(KEY, &done, &row(&[])).is_err());
        assert!(check(KEY, &done, &row(&[1, 2])).is_err());
        let unknown = write(Outcome::Unknown);
        check(KEY, &unknown, &row(&[])).unwrap();
        check(KEY, &unknown, &row(&[1])).unwrap();
        assert!(check(KEY, &write(Outcome::Refused), &row(&[1])).is_err());
    }

    #[test]
    fn a_chain_that_does_not_follow_is_noticed() {
        let mut wrong = row(&[1]);
        wrong.chain += 1;
        assert!(check(KEY, &write(Outcome::Done { chain: 0 }), &wrong).is_err());
    }
}

//! What the clients asked for and what they were told.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use crate::linearizability::{self, Operation, Verdict};
use crate::machine::{Change, Key, OpId, Register, chain_after};

/// What a client asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    Change(Change),
    /// A linearizable read.
    Read,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Under way.
    Open,
    /// Done: the chain that a change answered, or that a read saw.
    Done { chain: u64 },
    /// Whether it was or will be done is not known.
    Unknown,
    /// It was not done and will not be.
    Refused,
}

/// One operation. `begun` and `ended` are places in the order of all beginnings and ends; one of
/// unknown outcome has no end, it may take effect at any time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) id: OpId,
    pub(crate) key: Key,
    pub(crate) ask: Ask,
    pub(crate) outcome: Outcome,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
}

/// Whether one order of a register's operations explains all answers.
pub(crate) fn explain(ops: &[Op]) -> Verdict {
    let ops = ops.iter().filter(|op| op.tells_something()).copied();
    let ops: Vec<Op> = ops.collect();
    linearizability::check(&ops, 0)
}

impl Op {
    /// Refused operations were not done, and reads without an answer tell nothing.
    fn tells_something(&self) -> bool {
        match (self.ask, self.outcome) {
            (_, Outcome::Done { .. }) => true,
            (_, Outcome::Refused) | (Ask::Read, Outcome::Open | Outcome::Unknown) => false,
            (Ask::Change(_), Outcome::Open | Outcome::Unknown) => true,
        }
    }
}

/// A write answers the chain before it, so every operation sees what the register holds.
impl Operation for Op {
    type State = u64;

    fn begun(&self) -> u64 {
        self.begun
    }

    fn ended(&self) -> u64 {
        self.ended
    }

    fn is_done(&self) -> bool {
        matches!(self.outcome, Outcome::Done { .. })
    }

    fn is_write(&self) -> bool {
        self.ask == Ask::Change(Change::Write)
    }

    fn observes(&self) -> bool {
        true
    }

    fn after(&self, chain: &u64) -> Option<u64> {
        let told = match self.outcome {
            Outcome::Done { chain } => Some(chain),
            Outcome::Open | Outcome::Unknown | Outcome::Refused => None,
        };
        let (after, answer) = match self.ask {
            Ask::Read => (*chain, *chain),
            Ask::Change(change) => {
                let after = chain_after(change, *chain, self.id);
                let answer = match change {
                    Change::Write => *chain,
                    Change::Append => after,
                };
                (after, answer)
            }
        };
        told.is_none_or(|told| told == answer).then_some(after)
    }
}

/// Every operation of a run.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    ops: Vec<Op>,
    moments: u64,
    /// What reads saw, stale ones too.
    seen: Vec<(Key, Register)>,
}

impl History {
    pub(crate) fn begin(&self, key: Key, ask: Ask) -> OpId {
        let mut inner = self.0.lock();
        inner.moments += 1;
        let id = OpId(u64::try_from(inner.ops.len()).unwrap_or(u64::MAX) + 1);
        let op = Op {
            id,
            key,
            ask,
            outcome: Outcome::Open,
            begun: inner.moments,
            ended: u64::MAX,
        };
        inner.ops.push(op);
        id
    }

    pub(crate) fn end(&self, id: OpId, outcome: Outcome) {
        let mut inner = self.0.lock();
        inner.moments += 1;
        let ended = match outcome {
            Outcome::Done { .. } | Outcome::Refused => inner.moments,
            Outcome::Open | Outcome::Unknown => u64::MAX,
        };
        let at = usize::try_from(id.0).unwrap_or(0).saturating_sub(1);
        if let Some(op) = inner.ops.get_mut(at) {
            op.outcome = outcome;
            op.ended = ended;
        }
    }

    /// A read saw this.
    pub(crate) fn saw(&self, key: Key, register: Register) {
        self.0.lock().seen.push((key, register));
    }

    pub(crate) fn seen(&self) -> Vec<(Key, Register)> {
        self.0.lock().seen.clone()
    }

    pub(crate) fn by_key(&self) -> BTreeMap<Key, Vec<Op>> {
        let mut keys: BTreeMap<Key, Vec<Op>> = BTreeMap::new();
        for op in &self.0.lock().ops {
            keys.entry(op.key).or_default().push(*op);
        }
        keys
    }

    /// Operations that were answered.
    pub(crate) fn done(&self) -> u64 {
        self.count(|outcome| matches!(outcome, Outcome::Done { .. }))
    }

    pub(crate) fn unknown(&self) -> u64 {
        self.count(|outcome| outcome == Outcome::Unknown)
    }

    pub(crate) fn open(&self) -> u64 {
        self.count(|outcome| outcome == Outcome::Open)
    }

    fn count(&self, is: impl Fn(Outcome) -> bool) -> u64 {
        let inner = self.0.lock();
        let counted = inner.ops.iter().filter(|op| is(op.outcome)).count();
        u64::try_from(counted).unwrap_or(u64::MAX)
    }
}

//! Whether one order of a register's operations explains everything that clients were told.
//!
//! A depth-first search over which operation takes effect next, after Wing and Gong, that tries no
//! pair of (operations that took effect, state) twice, after Lowe. Operations with an unknown
//! outcome may take effect at any time after they began, or never.

use std::collections::HashSet;

use crate::history::{Ask, Op, Outcome};
use crate::machine::{Change, chain_after};

/// Most steps of one search: a history that needs more says nothing, and is an error of the load.
const STEPS_MAX: usize = 2_000_000;

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Linearizable,
    Not,
    /// Too many operations at once.
    TooLong,
}

/// Searches an order of the operations of one register.
pub(crate) fn check(ops: &[Op]) -> Verdict {
    let ops = ops.iter().filter(|op| matters(op)).copied();
    let mut ops: Vec<Op> = ops.collect();
    ops.sort_by_key(|op| op.begun);
    Search::new(&ops).run()
}

/// Refused operations were not done, and reads without an answer tell nothing.
fn matters(op: &Op) -> bool {
    match (op.ask, op.outcome) {
        (_, Outcome::Done { .. }) => true,
        (_, Outcome::Refused) | (Ask::Read, Outcome::Open | Outcome::Unknown) => false,
        (Ask::Change(_), Outcome::Open | Outcome::Unknown) => true,
    }
}

/// A set of operations, a bit each.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Taken(Vec<u64>);

impl Taken {
    fn new(len: usize) -> Self {
        Self(vec![0; len.div_ceil(64)])
    }

    fn has(&self, at: usize) -> bool {
        self.0[at / 64] >> (at % 64) & 1 == 1
    }

    fn toggle(&mut self, at: usize) {
        self.0[at / 64] ^= 1 << (at % 64);
    }
}

/// A step that was taken: which operation, and the chain before it.
struct Step {
    at: usize,
    before: u64,
}

struct Search<'a> {
    ops: &'a [Op],
    taken: Taken,
    tried: HashSet<(Taken, u64)>,
    path: Vec<Step>,
    chain: u64,
    /// Answered operations that did not take effect yet.
    left: usize,
    steps: usize,
}

impl<'a> Search<'a> {
    fn new(ops: &'a [Op]) -> Self {
        Self {
            ops,
            taken: Taken::new(ops.len()),
            tried: HashSet::new(),
            path: Vec::new(),
            chain: 0,
            left: ops.iter().filter(|op| is_done(op)).count(),
            steps: 0,
        }
    }

    fn run(mut self) -> Verdict {
        let mut from = 0;
        while self.left > 0 {
            self.steps += 1;
            if self.steps > STEPS_MAX {
                return Verdict::TooLong;
            }
            match self.next(from) {
                Some(at) => {
                    self.take(at);
                    from = 0;
                }
                None => match self.undo() {
                    Some(at) => from = at + 1,
                    None => return Verdict::Not,
                },
            }
        }
        Verdict::Linearizable
    }

    /// The next operation, at or after `from`, that may take effect now and leads to something new.
    fn next(&mut self, from: usize) -> Option<usize> {
        // Whatever ended before another one began took effect before it.
        let left = self.ops.iter().enumerate();
        let left = left.filter(|(at, _)| !self.taken.has(*at));
        let horizon = left.map(|(_, op)| op.ended).min()?;
        for at in from..self.ops.len() {
            let op = &self.ops[at];
            if op.begun > horizon {
                return None;
            }
            if self.taken.has(at) || self.is_pointless(op) {
                continue;
            }
            let Some(chain) = step(op, self.chain) else {
                continue;
            };
            self.taken.toggle(at);
            let is_new = self.tried.insert((self.taken.clone(), chain));
            self.taken.toggle(at);
            if is_new {
                return Some(at);
            }
        }
        None
    }

    /// A write of unknown outcome right behind a change of unknown outcome: nobody can have seen
    /// that change, so an order without it is as good.
    fn is_pointless(&self, op: &Op) -> bool {
        let is_unknown_write = op.ask == Ask::Change(Change::Write) && !is_done(op);
        let last = self.path.last().map(|step| &self.ops[step.at]);
        is_unknown_write && last.is_some_and(|last| !is_done(last))
    }

    fn take(&mut self, at: usize) {
        let op = &self.ops[at];
        let before = self.chain;
        self.chain = step(op, before).unwrap_or(before);
        self.taken.toggle(at);
        self.left -= usize::from(is_done(op));
        self.path.push(Step { at, before });
    }

    fn undo(&mut self) -> Option<usize> {
        let Step { at, before } = self.path.pop()?;
        self.chain = before;
        self.taken.toggle(at);
        self.left += usize::from(is_done(&self.ops[at]));
        Some(at)
    }
}

const fn is_done(op: &Op) -> bool {
    matches!(op.outcome, Outcome::Done { .. })
}

/// The chain after an operation takes effect; `None` if its client was told something else.
fn step(op: &Op, chain: u64) -> Option<u64> {
    let told = match op.outcome {
        Outcome::Done { chain } => Some(chain),
        Outcome::Open | Outcome::Unknown | Outcome::Refused => None,
    };
    let (after, answer) = match op.ask {
        Ask::Read => (chain, chain),
        Ask::Change(change) => {
            let after = chain_after(change, chain, op.id);
            let answer = match change {
                Change::Write => chain,
                Change::Append => after,
            };
            (after, answer)
        }
    };
    told.is_none_or(|told| told == answer).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Key, OpId};

    const KEY: Key = Key {
        tenant: 0,
        register: 0,
    };

    fn op(id: u64, ask: Ask, outcome: Outcome, begun: u64, ended: u64) -> Op {
        Op {
            id: OpId(id),
            key: KEY,
            ask,
            outcome,
            begun,
            ended,
        }
    }

    fn write(id: u64, before: u64, begun: u64, ended: u64) -> Op {
        let outcome = Outcome::Done { chain: before };
        op(id, Ask::Change(Change::Write), outcome, begun, ended)
    }

    fn lost_write(id: u64, begun: u64) -> Op {
        let ask = Ask::Change(Change::Write);
        op(id, ask, Outcome::Unknown, begun, u64::MAX)
    }

    fn read(id: u64, chain: u64, begun: u64, ended: u64) -> Op {
        op(id, Ask::Read, Outcome::Done { chain }, begun, ended)
    }

    fn chain(id: u64) -> u64 {
        chain_after(Change::Write, 0, OpId(id))
    }

    #[test]
    fn one_after_the_other_is_linearizable() {
        let ops = [
            write(1, 0, 1, 2),
            read(2, chain(1), 3, 4),
            write(3, chain(1), 5, 6),
        ];
        assert_eq!(check(&ops), Verdict::Linearizable);
    }

    #[test]
    fn a_stale_read_is_refused() {
        let ops = [write(1, 0, 1, 2), read(2, 0, 3, 4)];
        assert_eq!(check(&ops), Verdict::Not);
    }

    #[test]
    fn a_read_during_a_write_sees_either() {
        for seen in [0, chain(1)] {
            let ops = [write(1, 0, 1, 4), read(2, seen, 2, 3)];
            assert_eq!(check(&ops), Verdict::Linearizable);
        }
    }

    #[test]
    fn reads_do_not_go_back() {
        let ops = [
            write(1, 0, 1, 10),
            read(2, chain(1), 2, 3),
            read(3, 0, 4, 5),
        ];
        assert_eq!(check(&ops), Verdict::Not);
    }

    #[test]
    fn an_unknown_write_may_take_effect_late_or_never_but_not_twice() {
        let lost = lost_write(1, 1);
        assert_eq!(check(&[lost, read(2, 0, 2, 3)]), Verdict::Linearizable);
        let late = [lost, read(2, 0, 2, 3), read(3, chain(1), 4, 5)];
        assert_eq!(check(&late), Verdict::Linearizable);
        let twice = [
            lost,
            read(2, chain(1), 2, 3),
            write(3, chain(1), 4, 5),
            read(4, chain(3), 6, 7),
            read(5, chain(1), 8, 9),
        ];
        assert_eq!(check(&twice), Verdict::Not);
    }

    #[test]
    fn a_refused_write_is_never_seen() {
        let ask = Ask::Change(Change::Write);
        let refused = op(1, ask, Outcome::Refused, 1, 2);
        assert_eq!(check(&[refused, read(2, chain(1), 3, 4)]), Verdict::Not);
    }

    #[test]
    fn a_lost_append_is_noticed() {
        let append = |id, chain, begun, ended| {
            let outcome = Outcome::Done { chain };
            op(id, Ask::Change(Change::Append), outcome, begun, ended)
        };
        let first = chain_after(Change::Append, 0, OpId(1));
        let second = chain_after(Change::Append, 0, OpId(2));
        let ops = [append(1, first, 1, 2), append(2, second, 3, 4)];
        assert_eq!(check(&ops), Verdict::Not);
    }

    #[test]
    fn many_unknown_writes_are_searched_quickly() {
        let mut ops: Vec<_> = (1..=40).map(|id| lost_write(id, id)).collect();
        for id in 0..40u64 {
            let at = 100 + id * 2;
            ops.push(read(100 + id, chain(40 - id), at, at + 1));
        }
        assert_eq!(check(&ops), Verdict::Linearizable);
        ops.push(read(200, chain(40), 300, 301));
        assert_eq!(check(&ops), Verdict::Not);
    }
}

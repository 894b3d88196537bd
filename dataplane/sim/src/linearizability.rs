//! Whether one order of a register's operations explains everything that clients were told.
//!
//! A depth-first search over which operation takes effect next, after Wing and Gong, that tries no
//! pair of (operations that took effect, state) twice, after Lowe. Operations with an unknown
//! outcome may take effect at any time after they began, until a time that is known, or never.

use std::collections::HashSet;

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

/// One operation of a register. Those that tell nothing are left out.
pub(crate) trait Operation: Copy {
    /// What the register holds.
    type State: Clone + Eq + std::hash::Hash;

    /// Its place in the order of all beginnings and ends.
    fn begun(&self) -> u64;
    /// The place of its end; the largest number if its outcome is unknown.
    fn ended(&self) -> u64;
    /// The place after which it does not take effect any more, if its outcome is unknown.
    fn until(&self) -> u64 {
        u64::MAX
    }
    /// It surely takes effect.
    fn is_done(&self) -> bool;
    /// It sets the register whatever that holds.
    fn is_write(&self) -> bool;
    /// Its answer, or whether it may take effect, depends on what the register holds.
    fn observes(&self) -> bool;
    /// The register after it takes effect; `None` if its client was told something else.
    fn after(&self, state: &Self::State) -> Option<Self::State>;
}

/// Searches an order of the operations of one register that holds `start` at first.
pub(crate) fn check<O: Operation>(ops: &[O], start: O::State) -> Verdict {
    let mut ops = ops.to_vec();
    ops.sort_by_key(Operation::begun);
    Search::new(&ops, start).run()
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

/// A step that was taken: which operation, and what was before it.
struct Step<S> {
    at: usize,
    before: S,
    latest: u64,
    first: usize,
    first_done: usize,
}

struct Search<'a, O: Operation> {
    ops: &'a [O],
    taken: Taken,
    tried: HashSet<(Taken, O::State)>,
    path: Vec<Step<O::State>>,
    state: O::State,
    /// Operations that are done and did not take effect yet.
    left: usize,
    /// The latest beginning of those that took effect.
    latest: u64,
    /// No operation before this one can take effect any more.
    first: usize,
    /// All operations before this one that are done took effect.
    first_done: usize,
    steps: usize,
}

impl<'a, O: Operation> Search<'a, O> {
    fn new(ops: &'a [O], start: O::State) -> Self {
        Self {
            ops,
            taken: Taken::new(ops.len()),
            tried: HashSet::new(),
            path: Vec::new(),
            state: start,
            left: ops.iter().filter(|op| op.is_done()).count(),
            latest: 0,
            first: 0,
            first_done: 0,
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
                Some((at, state)) => {
                    self.take(at, state);
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
    fn next(&mut self, from: usize) -> Option<(usize, O::State)> {
        let horizon = self.horizon()?;
        let seers = self.seers(horizon);
        for at in from.max(self.first)..self.ops.len() {
            let op = &self.ops[at];
            if op.begun() > horizon {
                return None;
            }
            if self.is_over(at) || self.is_pointless(op) {
                continue;
            }
            let Some(state) = op.after(&self.state) else {
                continue;
            };
            if op.is_write() && !op.is_done() && !self.is_seen(at, &state, &seers) {
                continue;
            }
            if self.tried.insert((self.after(at), state.clone())) {
                return Some((at, state));
            }
        }
        None
    }

    /// It took effect, or cannot any more: something took effect that began after its time.
    fn is_over(&self, at: usize) -> bool {
        let op = &self.ops[at];
        self.taken.has(at) || (!op.is_done() && op.until() < self.latest)
    }

    /// What is over once this one took effect.
    fn after(&self, at: usize) -> Taken {
        let mut over = self.taken.clone();
        over.toggle(at);
        let latest = self.latest.max(self.ops[at].begun());
        for (other, op) in self.ops.iter().enumerate() {
            if op.begun() > latest {
                break;
            }
            if !op.is_done() && op.until() < latest && !over.has(other) {
                over.toggle(other);
            }
        }
        over
    }

    /// Whatever ended before another one began took effect before it: nothing that begins later than
    /// this can be the next. `None` if all that is done took effect.
    fn horizon(&self) -> Option<u64> {
        let mut horizon = None;
        for (at, op) in self.ops.iter().enumerate().skip(self.first_done) {
            if horizon.is_some_and(|horizon| op.begun() > horizon) {
                break;
            }
            if op.is_done() && !self.taken.has(at) {
                let ended = op.ended();
                horizon = Some(horizon.map_or(ended, |horizon: u64| horizon.min(ended)));
            }
        }
        horizon
    }

    /// Operations that may come next and see what the register holds.
    fn seers(&self, horizon: u64) -> Vec<usize> {
        let ops = self.ops.iter().enumerate().skip(self.first);
        let ops = ops.take_while(|(_, op)| op.begun() <= horizon);
        let ops = ops.filter(|(at, op)| op.observes() && !self.is_over(*at));
        ops.map(|(at, _)| at).collect()
    }

    /// Whether another operation that may come right after `at` sees what that leaves. A write of
    /// unknown outcome that nothing sees might as well not have been.
    fn is_seen(&self, at: usize, state: &O::State, seers: &[usize]) -> bool {
        let mut others = seers.iter().filter(|other| **other != at);
        others.any(|other| self.ops[*other].after(state).is_some())
    }

    /// A write right behind a change of unknown outcome that does not see it: nobody can have seen
    /// that change, so an order without it is as good. So is one without a write of unknown outcome
    /// there.
    fn is_pointless(&self, op: &O) -> bool {
        let is_blind = op.is_write() && (!op.is_done() || !op.observes());
        let last = self.path.last().map(|step| &self.ops[step.at]);
        is_blind && last.is_some_and(|last| !last.is_done())
    }

    fn take(&mut self, at: usize, state: O::State) {
        let before = std::mem::replace(&mut self.state, state);
        self.path.push(Step {
            at,
            before,
            latest: self.latest,
            first: self.first,
            first_done: self.first_done,
        });
        self.taken.toggle(at);
        self.left -= usize::from(self.ops[at].is_done());
        self.latest = self.latest.max(self.ops[at].begun());
        while self.first < self.ops.len() && self.is_over(self.first) {
            self.first += 1;
        }
        while self.first_done < self.ops.len()
            && (self.taken.has(self.first_done) || !self.ops[self.first_done].is_done())
        {
            self.first_done += 1;
        }
    }

    fn undo(&mut self) -> Option<usize> {
        let step = self.path.pop()?;
        self.state = step.before;
        self.latest = step.latest;
        self.first = step.first;
        self.first_done = step.first_done;
        self.taken.toggle(step.at);
        self.left += usize::from(self.ops[step.at].is_done());
        Some(step.at)
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict;
    use crate::history::{Ask, Op, Outcome, explain as check};
    use crate::machine::{Change, Key, OpId, chain_after};

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

//! What was written and what is there: the checks of a round, without a process or a socket.
//!
//! ```text
//! sent ──> Unknown ──> Kept: acknowledged, or a check found it
//!             └──────> Gone: refused, or a check after a kill did not find it
//! ```
//!
//! What is kept must be there exactly once, on every node and in every later round. What is gone must
//! never come: whoever might still have applied it was killed before the check.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use crate::engine_wire::{Replica, Row, WriteId, fingerprint};

/// Something that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Violation {
    /// It was acknowledged, or found before.
    Missing { node: u64, id: WriteId },
    /// It was applied more than once, or is there more than once.
    Doubled { node: Option<u64>, id: WriteId },
    /// It was never sent, or it was refused or gone.
    Phantom { node: Option<u64>, id: WriteId },
    /// It is not stored as it was sent.
    Altered { node: u64, id: WriteId },
    /// Two replicas at one index differ.
    Differs { one: Replica, other: Replica },
    /// A split was acknowledged and its shard is not there.
    SplitLost { child: u64 },
    /// The host ended without having been killed.
    Ended { how: String },
    /// A task of the host panicked, maybe unnoticed.
    Panicked { line: String },
    /// Nothing was answered for too long.
    Stalled { why: String },
    /// The host did not come back in time.
    NotBack { why: String },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing { node, id } => write!(f, "{} is missing on node {node}", id.0),
            Self::Doubled { node, id } => write!(f, "{} is doubled ({})", id.0, place(*node)),
            Self::Phantom { node, id } => write!(f, "{} is a phantom ({})", id.0, place(*node)),
            Self::Altered { node, id } => write!(f, "{} is altered on node {node}", id.0),
            Self::Differs { one, other } => write!(f, "{one:?} and {other:?} differ"),
            Self::SplitLost { child } => write!(f, "the split into {child:016x} is lost"),
            Self::Ended { how } => write!(f, "the host ended by itself: {how}"),
            Self::Panicked { line } => write!(f, "the host says: {line}"),
            Self::Stalled { why } => write!(f, "the load stood still: {why}"),
            Self::NotBack { why } => write!(f, "not back in time: {why}"),
        }
    }
}

fn place(node: Option<u64>) -> String {
    node.map_or_else(
        || "as it was answered".to_owned(),
        |node| format!("on node {node}"),
    )
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Unknown,
    Kept,
    Gone,
}

/// What became of the writes whose outcome was unknown.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unknown {
    pub(super) writes: u64,
    pub(super) found: u64,
}

/// Every write on these folders, and every split.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    writes: BTreeMap<WriteId, Fate>,
    children: BTreeSet<u64>,
    /// Seen from answers, since the last check.
    violations: Vec<Violation>,
}

impl Ledger {
    /// Before it is sent.
    pub(super) fn sent(&mut self, id: WriteId) {
        self.writes.insert(id, Fate::Unknown);
    }

    /// Answered as applied for the time that is said.
    pub(super) fn acknowledged(&mut self, id: WriteId, applied: u32) {
        match self.writes.insert(id, Fate::Kept) {
            Some(Fate::Unknown) => {}
            Some(Fate::Kept | Fate::Gone) | None => {
                self.violations.push(Violation::Phantom { node: None, id });
            }
        }
        if applied != 1 {
            self.violations.push(Violation::Doubled { node: None, id });
        }
    }

    /// Answered as not applied.
    pub(super) fn refused(&mut self, id: WriteId) {
        self.writes.insert(id, Fate::Gone);
    }

    /// A split was acknowledged.
    pub(super) fn split(&mut self, child: u64) {
        self.children.insert(child);
    }

    /// What a node must have and has not.
    pub(super) fn missing(&self, rows: &[Row]) -> Vec<WriteId> {
        let found: BTreeSet<_> = rows.iter().map(|row| row.id).collect();
        let kept = self.writes.iter().filter(|(_, fate)| **fate == Fate::Kept);
        kept.map(|(id, _)| *id)
            .filter(|id| !found.contains(id))
            .collect()
    }

    /// Compares with what the nodes have, once they are quiet after a kill; from then on what they
    /// have of the unknown is kept, and what they have not is gone.
    pub(super) fn check(
        &mut self,
        rows: &BTreeMap<u64, Vec<Row>>,
        replicas: &[Replica],
    ) -> (Vec<Violation>, Unknown) {
        let mut violations = std::mem::take(&mut self.violations);
        let found: BTreeSet<_> = rows.values().flatten().map(|row| row.id).collect();
        let mut unknown = Unknown::default();
        for (id, fate) in &mut self.writes {
            if *fate == Fate::Unknown {
                let is_found = found.contains(id);
                *fate = if is_found { Fate::Kept } else { Fate::Gone };
                unknown.writes += 1;
                unknown.found += u64::from(is_found);
            }
        }
        for (node, rows) in rows {
            violations.extend(self.check_rows(*node, rows));
        }
        violations.extend(differing(replicas));
        let shards: BTreeSet<_> = replicas.iter().map(|replica| replica.shard).collect();
        let lost = self.children.difference(&shards);
        violations.extend(lost.map(|child| Violation::SplitLost { child: *child }));
        (violations, unknown)
    }

    fn check_rows(&self, node: u64, rows: &[Row]) -> Vec<Violation> {
        let mut violations = Vec::new();
        let mut seen = BTreeSet::new();
        for row in rows {
            let id = row.id;
            let is_first = seen.insert(id);
            if !is_first || row.applied != 1 {
                let node = Some(node);
                violations.push(Violation::Doubled { node, id });
            }
            match self.writes.get(&id) {
                Some(Fate::Kept) => {}
                Some(Fate::Unknown | Fate::Gone) | None => {
                    let node = Some(node);
                    violations.push(Violation::Phantom { node, id });
                }
            }
            if row.place != id.place() || row.fingerprint != fingerprint(id.text().as_bytes()) {
                violations.push(Violation::Altered { node, id });
            }
        }
        let missing = self.missing(rows).into_iter();
        violations.extend(missing.map(|id| Violation::Missing { node, id }));
        violations
    }
}

/// Replicas of a shard that are at one index and not the same. Sorted by shard.
pub(super) fn differing(replicas: &[Replica]) -> Vec<Violation> {
    let shards = replicas.chunk_by(|one, other| one.shard == other.shard);
    let pairs = shards.flat_map(|replicas| {
        let first = replicas.iter().enumerate();
        first.flat_map(|(at, one)| replicas[at + 1..].iter().map(move |other| (one, other)))
    });
    let is_different = |(one, other): &(&Replica, &Replica)| {
        one.index == other.index && (one.epoch, one.digest) != (other.epoch, other.digest)
    };
    pairs
        .filter(is_different)
        .map(|(one, other)| Violation::Differs {
            one: *one,
            other: *other,
        })
        .collect()
}

/// The first shard that is not on all nodes at one index; `None` if all are. Sorted by shard.
pub(super) fn uneven(replicas: &[Replica], nodes: u64) -> Option<u64> {
    let mut shards = replicas.chunk_by(|one, other| one.shard == other.shard);
    let is_uneven = |replicas: &&[Replica]| {
        let is_at_one = replicas
            .iter()
            .all(|replica| replica.index == replicas[0].index);
        u64::try_from(replicas.len()) != Ok(nodes) || !is_at_one
    };
    shards.find(is_uneven).map(|replicas| replicas[0].shard)
}

/// A panic that the host reported on standard error.
pub(super) fn panicked(log: &str) -> Option<Violation> {
    let line = log.lines().find(|line| line.contains(" panicked at "))?;
    let line = line.to_owned();
    Some(Violation::Panicked { line })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes 1 and 2 are acknowledged, 3 is unknown, 4 refused.
    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        (1..=4).for_each(|id| ledger.sent(WriteId(id)));
        ledger.acknowledged(WriteId(1), 1);
        ledger.acknowledged(WriteId(2), 1);
        ledger.refused(WriteId(4));
        ledger
    }

    fn row(id: u64) -> Row {
        let id = WriteId(id);
        Row {
            id,
            place: id.place(),
            applied: 1,
            fingerprint: fingerprint(id.text().as_bytes()),
        }
    }

    fn replica(node: u64, index: u64, digest: u64) -> Replica {
        Replica {
            shard: 1,
            node,
            index,
            epoch: 1,
            digest,
        }
    }

    /// What a check finds where nodes 1 and 2 have these rows.
    fn check(ledger: &mut Ledger, one: &[Row], two: &[Row]) -> Vec<Violation> {
        let rows = BTreeMap::from([(1, one.to_vec()), (2, two.to_vec())]);
        ledger.check(&rows, &[]).0
    }

    #[test]
    fn what_was_acknowledged_and_maybe_what_is_unknown_is_there() {
        let rows = BTreeMap::from([(1, vec![row(1), row(2), row(3)])]);
        let (violations, unknown) = ledger().check(&rows, &[]);
        assert_eq!(violations, []);
        let (writes, found) = (1, 1);
        assert_eq!(unknown, Unknown { writes, found });
        let without = [row(1), row(2)];
        assert_eq!(check(&mut ledger(), &without, &without), []);
    }

    #[test]
    fn missing_is_reported_on_the_node_where_it_is_missing() {
        let (whole, cut) = ([row(1), row(2)], [row(1)]);
        let id = WriteId(2);
        let missing = Violation::Missing { node: 2, id };
        assert_eq!(check(&mut ledger(), &whole, &cut), [missing]);
    }

    #[test]
    fn what_was_found_once_must_stay() {
        let mut ledger = ledger();
        let (all, later) = ([row(1), row(2), row(3)], [row(1), row(2)]);
        assert_eq!(check(&mut ledger, &all, &all), []);
        let missing = [1, 2].map(|node| Violation::Missing {
            node,
            id: WriteId(3),
        });
        assert_eq!(check(&mut ledger, &later, &later), missing);
    }

    #[test]
    fn doubled_is_reported_by_its_count_by_its_rows_and_by_its_answer() {
        let mut twice = row(2);
        twice.applied = 2;
        let doubled = |node| Violation::Doubled {
            node,
            id: WriteId(2),
        };
        let good = [row(1), row(2)];
        let found = check(&mut ledger(), &[row(1), twice], &good);
        assert_eq!(found, [doubled(Some(1))]);
        let found = check(&mut ledger(), &[row(1), row(2), row(2)], &good);
        assert_eq!(found, [doubled(Some(1))]);
        let mut ledger = Ledger::default();
        ledger.sent(WriteId(2));
        ledger.acknowledged(WriteId(2), 2);
        assert_eq!(check(&mut ledger, &[row(2)], &[row(2)]), [doubled(None)]);
    }

    #[test]
    fn a_phantom_was_never_sent_or_refused_or_gone() {
        let phantom = |node, id| Violation::Phantom {
            node,
            id: WriteId(id),
        };
        let good = [row(1), row(2)];
        for id in [4, 99] {
            let found = check(&mut ledger(), &[row(1), row(2), row(id)], &good);
            assert_eq!(found, [phantom(Some(1), id)]);
        }
        let mut ledger = ledger();
        assert_eq!(check(&mut ledger, &good, &good), []);
        let revived = [row(1), row(2), row(3)];
        let expected = [1, 2].map(|node| phantom(Some(node), 3));
        assert_eq!(check(&mut ledger, &revived, &revived), expected);
        ledger.acknowledged(WriteId(77), 1);
        let found = check(&mut ledger, &good, &good);
        assert!(found.contains(&phantom(None, 77)), "{found:?}");
    }

    #[test]
    fn another_text_and_another_place_are_reported() {
        let (mut other_text, mut other_place) = (row(2), row(2));
        other_text.fingerprint ^= 1;
        other_place.place ^= 1;
        for altered in [other_text, other_place] {
            let found = check(&mut ledger(), &[row(1), altered], &[row(1), row(2)]);
            let (node, id) = (1, WriteId(2));
            assert_eq!(found, [Violation::Altered { node, id }]);
        }
    }

    #[test]
    fn replicas_that_differ_at_one_index_are_reported_and_others_are_uneven() {
        let (one, same, other) = (replica(1, 5, 7), replica(2, 5, 7), replica(3, 5, 8));
        assert_eq!(differing(&[one, same]), []);
        let expected = [one, same].map(|one| Violation::Differs { one, other });
        assert_eq!(differing(&[one, same, other]), expected);
        let (violations, _) = Ledger::default().check(&BTreeMap::new(), &[one, other]);
        assert_eq!(violations, [Violation::Differs { one, other }]);
        let behind = replica(3, 4, 8);
        assert_eq!(differing(&[one, same, behind]), []);
        assert_eq!(uneven(&[one, same, behind], 3), Some(1));
        assert_eq!(uneven(&[one, same], 3), Some(1));
        assert_eq!(uneven(&[one, same, replica(3, 5, 7)], 3), None);
    }

    #[test]
    fn a_panic_is_reported() {
        let line = "thread 'tokio-rt-worker' (7) panicked at src/lib.rs:1:2:".to_owned();
        let log = format!("WARN something else\n{line}\nits message\n");
        assert_eq!(panicked(&log), Some(Violation::Panicked { line }));
        assert_eq!(panicked("WARN something else\n"), None);
    }

    #[test]
    fn a_split_that_was_acknowledged_must_be_there() {
        let mut ledger = Ledger::default();
        ledger.split(1);
        ledger.split(2);
        let (violations, _) = ledger.check(&BTreeMap::new(), &[replica(1, 5, 7)]);
        assert_eq!(violations, [Violation::SplitLost { child: 2 }]);
    }
}

//! Leader completeness: who leads a term has every entry that was committed up to then, and whoever
//! a leader confirms a read to has applied everything that was acknowledged before the read.

use std::collections::BTreeMap;

use tessera_shard::LogPosition;

use crate::machine::Digest;

pub(crate) const NAME: &str = "leader completeness";

/// A place in a shard's log: index and ordinal.
pub(crate) type Place = (u64, u32);

/// What was committed and acknowledged so far.
#[derive(Debug, Default)]
pub(crate) struct LeaderCompleteness {
    /// The furthest place that was acknowledged, by shard.
    acknowledged: BTreeMap<u64, Place>,
    /// The furthest entry that was known to be committed, by shard and the term of who knew it.
    committed: BTreeMap<(u64, u64), LogPosition>,
}

impl LeaderCompleteness {
    pub(crate) fn acknowledged(&mut self, shard: u64, place: Place) {
        let furthest = self.acknowledged.entry(shard).or_default();
        *furthest = (*furthest).max(place);
    }

    pub(crate) fn furthest(&self, shard: u64) -> Place {
        self.acknowledged.get(&shard).copied().unwrap_or_default()
    }

    /// A replica that is in `term` knows this to be committed: so leaders of that term and of all
    /// later ones have it. (An older leader that has not heard of them need not.)
    pub(crate) fn committed(&mut self, shard: u64, term: u64, upto: LogPosition) {
        let furthest = self.committed.entry((shard, term)).or_insert(upto);
        *furthest = (*furthest).max(upto);
    }

    /// A node leads `term`, and its log ends with `last`.
    pub(crate) fn led(
        &self,
        shard: u64,
        term: u64,
        last: Option<LogPosition>,
    ) -> Result<(), String> {
        let known = self.committed.range((shard, 0)..=(shard, term));
        let Some(committed) = known.map(|(_, position)| *position).max() else {
            return Ok(());
        };
        // Terms never fall along a log.
        let has = |last: LogPosition| last.index >= committed.index && last.term >= committed.term;
        if last.is_some_and(has) {
            return Ok(());
        }
        Err(format!(
            "the leader of term {term} of {shard:x} has {last:?}, {committed:?} was committed"
        ))
    }
}

/// A read of `shard` that began when `before` was acknowledged was confirmed, and saw `digest`.
pub(crate) fn check(shard: u64, before: Place, digest: &Digest) -> Result<(), String> {
    let has = if digest.shard == shard {
        (digest.index, digest.ordinal)
    } else {
        Place::default()
    };
    if has >= before {
        return Ok(());
    }
    Err(format!(
        "{has:?} of shard {shard:x} was confirmed behind {before:?}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_confirmed_read_behind_an_acknowledgement_is_noticed() {
        let mut completeness = LeaderCompleteness::default();
        completeness.acknowledged(1, (5, 2));
        completeness.acknowledged(1, (5, 0));
        let digest = |ordinal| Digest {
            shard: 1,
            index: 5,
            ordinal,
            digest: 0,
        };
        check(1, completeness.furthest(1), &digest(2)).unwrap();
        assert!(check(1, completeness.furthest(1), &digest(1)).is_err());
    }

    #[test]
    fn a_leader_without_a_committed_entry_is_noticed() {
        let at = |term, index| LogPosition { term, index };
        let mut completeness = LeaderCompleteness::default();
        completeness.committed(1, 3, at(2, 9));
        completeness.committed(1, 3, at(2, 7));
        completeness.led(1, 3, Some(at(3, 10))).unwrap();
        completeness.led(1, 2, Some(at(1, 4))).unwrap();
        completeness.led(2, 3, None).unwrap();
        for lacking in [None, Some(at(3, 8)), Some(at(1, 12))] {
            assert!(completeness.led(1, 3, lacking).is_err(), "{lacking:?}");
            assert!(completeness.led(1, 4, lacking).is_err(), "{lacking:?}");
        }
    }
}

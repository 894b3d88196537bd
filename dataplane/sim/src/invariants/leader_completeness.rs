//! Leader completeness: whoever a leader confirms a read to has applied everything that was
//! acknowledged before the read.

use std::collections::BTreeMap;

use crate::machine::Digest;

pub(crate) const NAME: &str = "leader completeness";

/// A place in a shard's log: index and ordinal.
pub(crate) type Place = (u64, u32);

/// The furthest place that was acknowledged, by shard.
#[derive(Debug, Default)]
pub(crate) struct LeaderCompleteness(BTreeMap<u64, Place>);

impl LeaderCompleteness {
    pub(crate) fn acknowledged(&mut self, shard: u64, place: Place) {
        let furthest = self.0.entry(shard).or_default();
        *furthest = (*furthest).max(place);
    }

    pub(crate) fn furthest(&self, shard: u64) -> Place {
        self.0.get(&shard).copied().unwrap_or_default()
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
}

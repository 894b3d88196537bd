//! One digest: replicas that stand at the same place of the log have the same state.

use std::collections::BTreeMap;

use tessera_shard::StateDigest;

use crate::machine::Digest;
use crate::observer::Applied;

pub(crate) const NAME: &str = "one digest";

/// The digest at each place.
#[derive(Debug, Default)]
pub(crate) struct OneDigest {
    /// The machine's, by shard, index and ordinal.
    machine: BTreeMap<(u64, u64, u32), u64>,
    /// The engine's, by shard, index and epoch.
    engine: BTreeMap<(u64, u64, u64), u64>,
}

impl OneDigest {
    pub(crate) fn applied(&mut self, applied: &Applied) -> Result<(), String> {
        let place = (applied.shard, applied.index, applied.ordinal);
        let first = *self.machine.entry(place).or_insert(applied.digest);
        if first == applied.digest {
            return Ok(());
        }
        Err(format!("{applied:?}, but another replica has {first:x}"))
    }

    /// The engine's digest of a replica.
    pub(crate) fn digested(
        &mut self,
        node: u64,
        shard: u64,
        digest: &StateDigest,
    ) -> Result<(), String> {
        let place = (shard, digest.index, digest.epoch);
        let first = *self.engine.entry(place).or_insert(digest.digest);
        if first == digest.digest {
            return Ok(());
        }
        Err(format!(
            "node {node} has {digest:?} of {shard:x}, another one {first:x}"
        ))
    }

    /// A replica says where it stands.
    pub(crate) fn stands(&self, node: u64, shard: u64, digest: &Digest) -> Result<(), String> {
        if digest.shard != shard {
            // Nothing was applied since it was made or split off.
            return Ok(());
        }
        let place = (shard, digest.index, digest.ordinal);
        if self.machine.get(&place) == Some(&digest.digest) {
            return Ok(());
        }
        Err(format!(
            "node {node} has {digest:?} of shard {shard:x}, which nobody applied"
        ))
    }
}

/// All rows of one shard at the end, from each of its replicas.
pub(crate) fn check_rows(shard: u64, rows: &BTreeMap<u64, u64>) -> Result<(), String> {
    let mut digests = rows.values();
    let first = digests.next();
    if digests.all(|digest| Some(digest) == first) {
        return Ok(());
    }
    Err(format!("rows of shard {shard:x} by node: {rows:x?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::applied_once::tests::applied;

    #[test]
    fn another_state_at_the_same_place_is_noticed() {
        let mut digests = OneDigest::default();
        digests.applied(&applied(1, 5, 0, 7)).unwrap();
        let mut other = applied(2, 5, 0, 7);
        other.digest = 1;
        assert!(digests.applied(&other).is_err());
        let mut stands = Digest {
            shard: 1,
            index: 5,
            ordinal: 0,
            digest: 7,
        };
        digests.stands(3, 1, &stands).unwrap();
        stands.digest = 8;
        assert!(digests.stands(3, 1, &stands).is_err());
        let mut engine = StateDigest {
            index: 5,
            epoch: 1,
            digest: 7,
        };
        digests.digested(1, 1, &engine).unwrap();
        engine.digest = 8;
        assert!(digests.digested(2, 1, &engine).is_err());
    }

    #[test]
    fn replicas_with_other_rows_are_noticed() {
        check_rows(1, &BTreeMap::from([(1, 5), (2, 5)])).unwrap();
        assert!(check_rows(1, &BTreeMap::from([(1, 5), (2, 6)])).is_err());
    }
}

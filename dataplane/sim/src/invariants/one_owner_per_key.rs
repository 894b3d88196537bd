//! No key is owned twice, and ranges cover the space: at the end every member routes a key to the
//! same shard. And all along a key's operations were applied by one shard, then by the shard that
//! was split off with it, and never again by the one before.

use std::collections::BTreeMap;

use crate::machine::Key;

pub(crate) const NAME: &str = "one owner per key";

/// The shard that each node routes `key` to.
pub(crate) fn check(key: Key, owners: &BTreeMap<u64, Option<u64>>) -> Result<(), String> {
    let mut shards = owners.values();
    let first = shards.next().copied().flatten();
    if first.is_some() && shards.all(|shard| *shard == first) {
        return Ok(());
    }
    Err(format!("owners of {key:?} by node: {owners:x?}"))
}

/// The shards that applied the operations of `key`, in the order of its row.
pub(crate) fn check_order(key: Key, shards: &[u64]) -> Result<(), String> {
    let mut owners = shards.to_vec();
    owners.dedup();
    let mut once = owners.clone();
    once.sort_unstable();
    once.dedup();
    if once.len() == owners.len() {
        return Ok(());
    }
    Err(format!(
        "owners of {key:?} one after the other: {owners:x?}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Key = Key {
        tenant: 1,
        register: 1,
    };

    #[test]
    fn a_key_without_an_owner_or_with_two_is_noticed() {
        check(KEY, &BTreeMap::from([(1, Some(5)), (2, Some(5))])).unwrap();
        assert!(check(KEY, &BTreeMap::from([(1, Some(5)), (2, Some(6))])).is_err());
        assert!(check(KEY, &BTreeMap::from([(1, None)])).is_err());
    }

    #[test]
    fn an_owner_of_before_that_applies_again_is_noticed() {
        check_order(KEY, &[5, 5, 6, 6]).unwrap();
        assert!(check_order(KEY, &[5, 6, 5]).is_err());
    }
}

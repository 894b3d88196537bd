//! A split loses and doubles nothing: all members have the same shards at the end, as many as there
//! were and were split off, and each key's rows are read by one of them.

use std::collections::{BTreeMap, BTreeSet};

pub(crate) const NAME: &str = "split conserves";

/// The shards of each member at the end. `splits` were acknowledged, others may have happened.
pub(crate) fn check(
    initial: usize,
    splits: u64,
    shards: &BTreeMap<u64, BTreeSet<u64>>,
    rows: &BTreeMap<u64, usize>,
) -> Result<(), String> {
    let first = shards.values().next();
    if shards.values().any(|of_node| Some(of_node) != first) {
        return Err(format!("shards by node: {shards:x?}"));
    }
    let least = initial + usize::try_from(splits).unwrap_or(usize::MAX);
    let count = first.map_or(0, BTreeSet::len);
    if count < least {
        return Err(format!("{count} shards after {splits} splits of {initial}"));
    }
    let mut counts = rows.values();
    let first = counts.next();
    if counts.any(|count| Some(count) != first) {
        return Err(format!("rows by node: {rows:?}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_or_a_row_too_few_is_noticed() {
        let shards = |of_second: &[u64]| {
            let (first, second) = (BTreeSet::from([1, 2]), of_second.iter().copied().collect());
            BTreeMap::from([(1, first), (2, second)])
        };
        let rows = |second| BTreeMap::from([(1, 7), (2, second)]);
        check(1, 1, &shards(&[1, 2]), &rows(7)).unwrap();
        assert!(check(1, 1, &shards(&[1]), &rows(7)).is_err());
        assert!(check(1, 2, &shards(&[1, 2]), &rows(7)).is_err());
        assert!(check(1, 1, &shards(&[1, 2]), &rows(6)).is_err());
    }
}

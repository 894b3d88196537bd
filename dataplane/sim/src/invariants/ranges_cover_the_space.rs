//! Ranges cover the space: once nothing moves any more, the shards of each member own every key, and
//! each key once.

use crate::invariants::one_owner_per_epoch::Owned;

pub(crate) const NAME: &str = "ranges cover the space";

/// The ranges of all shards that a member has a replica of, in any order.
pub(crate) fn check(node: u64, mut ranges: Vec<Owned>) -> Result<(), String> {
    ranges.sort_by(|a, b| a.start.cmp(&b.start));
    let begins = ranges.iter().map(|owned| Some(owned.start.as_slice()));
    let ends = ranges.iter().map(|owned| owned.end.as_deref());
    // Each begins where the one before it ends, the first with the first key; the last has no end.
    let should_begin = std::iter::once(Some(&[][..])).chain(ends);
    let is_whole = begins.chain(std::iter::once(None)).eq(should_begin);
    if is_whole {
        return Ok(());
    }
    Err(format!("node {node} has {ranges:x?}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::one_owner_per_epoch::tests::owned;

    #[test]
    fn a_hole_and_an_overlap_and_a_missing_end_are_noticed() {
        check(1, vec![owned("", "")]).unwrap();
        check(1, vec![owned("m", ""), owned("", "m")]).unwrap();
        for broken in [
            vec![],
            vec![owned("a", "")],
            vec![owned("", "m")],
            vec![owned("", "m"), owned("n", "")],
            vec![owned("", "n"), owned("m", "")],
            vec![owned("", ""), owned("m", "")],
        ] {
            assert!(check(1, broken.clone()).is_err(), "{broken:?}");
        }
    }
}

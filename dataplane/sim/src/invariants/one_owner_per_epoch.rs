//! No range is owned twice in an epoch: a shard has one range in an epoch, two shards never have a
//! key in the same one, and a shard's range only shrinks.

use std::collections::BTreeMap;

pub(crate) const NAME: &str = "one owner per epoch";

/// The keys `start <= key < end`; all from `start` on without an `end`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Option<Vec<u8>>,
}

/// Who owned what: by epoch and shard.
#[derive(Debug, Default)]
pub(crate) struct OneOwnerPerEpoch(BTreeMap<(u64, u64), Owned>);

impl OneOwnerPerEpoch {
    /// A replica of `shard` says that the shard owns this in `epoch`.
    pub(crate) fn owns(&mut self, shard: u64, epoch: u64, owned: &Owned) -> Result<(), String> {
        if let Some(known) = self.0.get(&(epoch, shard)) {
            if known == owned {
                return Ok(());
            }
            return Err(format!(
                "shard {shard:x} owns {owned:x?} in epoch {epoch}, elsewhere {known:x?}"
            ));
        }
        for ((at, other), theirs) in &self.0 {
            let is_broken = if *other == shard {
                let (earlier, later) = if *at < epoch {
                    (theirs, owned)
                } else {
                    (owned, theirs)
                };
                !earlier.covers(later)
            } else {
                *at == epoch && owned.overlaps(theirs)
            };
            if is_broken {
                return Err(format!(
                    "shard {shard:x} owns {owned:x?} in epoch {epoch}, shard {other:x} {theirs:x?} in \
                     epoch {at}"
                ));
            }
        }
        self.0.insert((epoch, shard), owned.clone());
        Ok(())
    }
}

impl Owned {
    fn overlaps(&self, other: &Self) -> bool {
        let ends_after =
            |owned: &Self, key: &[u8]| owned.end.as_deref().is_none_or(|end| key < end);
        ends_after(self, &other.start) && ends_after(other, &self.start)
    }

    fn covers(&self, other: &Self) -> bool {
        let ends_within = match (&self.end, &other.end) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(end), Some(other)) => other <= end,
        };
        self.start <= other.start && ends_within
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn owned(start: &str, end: &str) -> Owned {
        Owned {
            start: start.into(),
            end: (!end.is_empty()).then(|| end.into()),
        }
    }

    #[test]
    fn a_key_with_two_owners_in_an_epoch_is_noticed() {
        let mut owners = OneOwnerPerEpoch::default();
        owners.owns(1, 1, &owned("", "m")).unwrap();
        owners.owns(2, 1, &owned("m", "")).unwrap();
        // Split: the later part of shard 2 is shard 3 from epoch 2 on.
        owners.owns(3, 2, &owned("s", "")).unwrap();
        assert!(owners.owns(2, 2, &owned("m", "t")).is_err());
        owners.owns(2, 2, &owned("m", "s")).unwrap();
        owners.owns(2, 1, &owned("m", "")).unwrap();
    }

    #[test]
    fn another_range_in_the_same_epoch_and_one_that_grows_are_noticed() {
        let mut owners = OneOwnerPerEpoch::default();
        owners.owns(1, 2, &owned("", "m")).unwrap();
        assert!(owners.owns(1, 2, &owned("", "n")).is_err());
        assert!(owners.owns(1, 3, &owned("", "n")).is_err());
        assert!(owners.owns(1, 3, &owned("", "")).is_err());
        assert!(owners.owns(1, 1, &owned("b", "")).is_err());
        owners.owns(1, 1, &owned("", "")).unwrap();
        owners.owns(1, 3, &owned("", "c")).unwrap();
    }
}

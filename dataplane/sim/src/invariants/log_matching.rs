//! Log matching: entries of one index and term are one entry, whoever sends them and whenever.

use std::collections::BTreeMap;

use crate::wire::Append;

pub(crate) const NAME: &str = "log matching";

/// The payload of each entry by shard, term and index.
#[derive(Debug, Default)]
pub(crate) struct LogMatching(BTreeMap<(u64, u64, u64), u64>);

impl LogMatching {
    pub(crate) fn sent(&mut self, append: &Append) -> Result<(), String> {
        for entry in &append.entries {
            let place = (append.shard, entry.term, entry.index);
            let first = *self.0.entry(place).or_insert(entry.hash);
            if first != entry.hash {
                let leader = append.leader;
                return Err(format!(
                    "node {leader} sent {entry:?}, it was {first:x} before"
                ));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Entry;

    #[test]
    fn another_entry_of_the_same_index_and_term_is_noticed() {
        let append = |hash| Append {
            shard: 1,
            term: 2,
            leader: 1,
            before: None,
            committed: None,
            entries: vec![Entry {
                term: 2,
                index: 5,
                hash,
            }],
        };
        let mut matching = LogMatching::default();
        matching.sent(&append(7)).unwrap();
        matching.sent(&append(7)).unwrap();
        assert!(matching.sent(&append(8)).is_err());
    }
}

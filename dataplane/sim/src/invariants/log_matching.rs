//! Log matching: entries of one index and term are one entry, on the wire and in every log file, and
//! everything before them is the same.

use std::collections::BTreeMap;

use tessera_shard::LogChecksum;

use crate::wire::Append;

pub(crate) const NAME: &str = "log matching";

/// What is known of each entry, by shard, term and index.
#[derive(Debug, Default)]
pub(crate) struct LogMatching {
    /// The payload that was sent.
    sent: BTreeMap<(u64, u64, u64), u64>,
    /// What a file held, and the term of the entry before it.
    stored: BTreeMap<(u64, u64, u64), Stored>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stored {
    checksum: u32,
    /// Not known of the first entry that was read.
    term_before: Option<u64>,
}

impl LogMatching {
    pub(crate) fn sent(&mut self, append: &Append) -> Result<(), String> {
        for entry in &append.entries {
            let place = (append.shard, entry.term, entry.index);
            let first = *self.sent.entry(place).or_insert(entry.hash);
            if first != entry.hash {
                let leader = append.leader;
                return Err(format!(
                    "node {leader} sent {entry:?}, it was {first:x} before"
                ));
            }
        }
        Ok(())
    }

    /// A log file has these entries one after the other.
    pub(crate) fn stored(
        &mut self,
        node: u64,
        shard: u64,
        entries: &[LogChecksum],
    ) -> Result<(), String> {
        let mut term_before = None;
        for entry in entries {
            let position = entry.position;
            let now = Stored {
                checksum: entry.checksum,
                term_before,
            };
            let place = (shard, position.term, position.index);
            let known = self.stored.entry(place).or_insert(now);
            let is_same_before = match (known.term_before, term_before) {
                (Some(known), Some(now)) => known == now,
                (None, _) | (_, None) => true,
            };
            if known.checksum != now.checksum || !is_same_before {
                return Err(format!(
                    "node {node} has {now:x?} at {position:?} of {shard:x}, another {known:x?}"
                ));
            }
            known.term_before = known.term_before.or(term_before);
            term_before = Some(position.term);
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::wire::Entry;
    use tessera_shard::LogPosition;

    pub(crate) fn stored(term: u64, index: u64, checksum: u32) -> LogChecksum {
        let position = LogPosition { term, index };
        LogChecksum { position, checksum }
    }

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

    #[test]
    fn logs_that_differ_at_an_entry_or_before_one_that_is_the_same_are_noticed() {
        let mut matching = LogMatching::default();
        let log = [stored(1, 5, 7), stored(1, 6, 8), stored(3, 7, 9)];
        matching.stored(1, 1, &log).unwrap();
        matching.stored(2, 1, &log[1..]).unwrap();
        // A log that lost an election ends otherwise.
        matching.stored(3, 1, &[log[0], stored(2, 6, 1)]).unwrap();
        assert!(matching.stored(2, 1, &[stored(1, 6, 0)]).is_err());
        let other_before = [stored(2, 6, 1), log[2]];
        assert!(matching.stored(3, 1, &other_before).is_err());
        matching.stored(3, 2, &other_before).unwrap();
    }
}

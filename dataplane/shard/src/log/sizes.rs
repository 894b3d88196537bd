//! How many bytes of a log are where, so that a purge can keep so many for replicas behind.

use std::collections::VecDeque;

/// How finely the bytes of a log are counted.
const SIZE_PART_BYTES: u64 = 1024 * 1024;

/// How many bytes of entries lie in which part of the log, coarsely, since it was opened.
#[derive(Debug, Default)]
pub(super) struct Sizes(VecDeque<Part>);

/// Consecutive entries up to `last`.
#[derive(Debug)]
struct Part {
    last: u64,
    bytes: u64,
}

impl Sizes {
    pub(super) fn add(&mut self, index: u64, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        match self.0.back_mut() {
            Some(part) if part.bytes < SIZE_PART_BYTES && part.last < index => {
                part.last = index;
                part.bytes += bytes;
            }
            Some(_) | None => self.0.push_back(Part { last: index, bytes }),
        }
    }

    pub(super) fn purge(&mut self, upto: u64) {
        while self.0.front().is_some_and(|part| part.last <= upto) {
            self.0.pop_front();
        }
    }

    pub(super) fn truncate(&mut self, next: u64) {
        while self.0.back().is_some_and(|part| part.last >= next) {
            self.0.pop_back();
        }
    }

    /// The index behind which there are at most `bytes`, about; 0 if there are no more in all.
    pub(super) fn index_before_last(&self, bytes: u64) -> u64 {
        let mut behind = 0;
        for part in self.0.iter().rev() {
            behind += part.bytes;
            if behind > bytes {
                return part.last;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_index_behind_which_so_many_bytes_lie_follows_appends_purges_and_truncations() {
        let mut sizes = Sizes::default();
        for index in 1..=40 {
            sizes.add(index, 512 * 1024);
        }
        assert_eq!(sizes.index_before_last(u64::MAX), 0);
        // Parts of a mebibyte: two entries each.
        assert_eq!(sizes.index_before_last(4 * SIZE_PART_BYTES), 32);
        assert_eq!(sizes.index_before_last(0), 40);
        sizes.truncate(39);
        assert_eq!(sizes.index_before_last(4 * SIZE_PART_BYTES), 30);
        sizes.purge(36);
        assert_eq!(sizes.index_before_last(4 * SIZE_PART_BYTES), 0);
        assert_eq!(sizes.index_before_last(0), 38);
    }
}

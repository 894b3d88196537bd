//! One file: what a reader sees, and what a power cut may leave of it.

use std::collections::BTreeMap;

/// Contents, and for each sector that changed since the last sync what it held then.
#[derive(Debug, Default)]
pub(super) struct Image {
    live: Vec<u8>,
    /// By sector; shorter than a sector where the durable file ended.
    unsynced: BTreeMap<usize, Vec<u8>>,
    durable_len: usize,
    /// Its name is durable.
    is_named: bool,
    syncs: u32,
    /// Syncs that there had been when a sector was last written.
    written: Vec<u32>,
}

/// What became of the sectors that were not synced.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) kept: u64,
    pub(super) lost: u64,
}

impl Image {
    pub(super) const fn len(&self) -> usize {
        self.live.len()
    }

    pub(super) const fn is_named(&self) -> bool {
        self.is_named
    }

    pub(super) fn read(&self, offset: usize, len: usize) -> Option<&[u8]> {
        self.live.get(offset..offset.checked_add(len)?)
    }

    pub(super) fn write(&mut self, sector: usize, offset: usize, data: &[u8]) {
        let end = offset + data.len();
        if end > self.live.len() {
            self.live.resize(end, 0);
        }
        for at in offset / sector..end.div_ceil(sector) {
            self.remember(sector, at);
        }
        self.live[offset..end].copy_from_slice(data);
    }

    pub(super) fn set_len(&mut self, sector: usize, len: usize) {
        for at in len / sector..self.live.len().div_ceil(sector) {
            self.remember(sector, at);
        }
        self.live.resize(len, 0);
    }

    pub(super) fn sync(&mut self) {
        self.unsynced.clear();
        self.durable_len = self.live.len();
        self.is_named = true;
        self.syncs += 1;
    }

    /// The page cache is gone: each unsynced sector is kept or not.
    pub(super) fn settle(
        &mut self,
        sector: usize,
        is_len_kept: bool,
        mut is_kept: impl FnMut() -> bool,
    ) -> Settled {
        let mut settled = Settled::default();
        let len = if is_len_kept {
            self.live.len()
        } else {
            self.durable_len
        };
        let unsynced = std::mem::take(&mut self.unsynced);
        self.live.resize(len, 0);
        for (at, durable) in unsynced {
            if is_kept() {
                settled.kept += 1;
                continue;
            }
            settled.lost += 1;
            let from = (at * sector).min(len);
            let until = (from + sector).min(len);
            let old = &durable[..durable.len().min(until - from)];
            self.live[from..from + old.len()].copy_from_slice(old);
            self.live[from + old.len()..until].fill(0);
        }
        self.durable_len = len;
        settled
    }

    /// Where `len` bytes stand behind each `mark` that were not written since `age` syncs.
    pub(super) fn rottable(&self, sector: usize, mark: &[u8], len: usize, age: u32) -> Vec<usize> {
        let is_old = |at: usize| {
            let sectors = at / sector..=(at + len) / sector;
            sectors.into_iter().all(|at| {
                let written = self.written.get(at).copied().unwrap_or(0);
                !self.unsynced.contains_key(&at) && self.syncs >= written + age
            })
        };
        let found = places(&self.live, mark)
            .into_iter()
            .map(|at| at + mark.len());
        found
            .filter(|at| at + len <= self.live.len() && is_old(*at))
            .collect()
    }

    /// Flips a bit where the medium stores it.
    pub(super) fn flip(&mut self, byte: usize, bit: u8) {
        self.live[byte] ^= 1 << bit;
    }

    /// Puts `right` back where it was flipped to `wrong`, if that is still there.
    pub(super) fn mend(&mut self, at: usize, wrong: &[u8], right: &[u8]) {
        if let Some(stored) = self.live.get_mut(at..at + wrong.len())
            && stored == wrong
        {
            stored.copy_from_slice(right);
        }
    }

    /// Whether these bytes are somewhere.
    pub(super) fn holds(&self, bytes: &[u8]) -> bool {
        let is_in = |stored: &[u8]| !places(stored, bytes).is_empty();
        is_in(&self.live) || self.unsynced.values().any(|durable| is_in(durable))
    }

    fn remember(&mut self, sector: usize, at: usize) {
        let from = (at * sector).min(self.durable_len).min(self.live.len());
        let until = (from + sector).min(self.durable_len).min(self.live.len());
        let live = &self.live;
        self.unsynced
            .entry(at)
            .or_insert_with(|| live[from..until].to_vec());
        if self.written.len() <= at {
            self.written.resize(at + 1, 0);
        }
        self.written[at] = self.syncs;
    }
}

/// Every place of `needle`, which is not empty.
fn places(hay: &[u8], needle: &[u8]) -> Vec<usize> {
    let first = needle[0];
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(next) = hay[at..].iter().position(|byte| *byte == first) {
        at += next;
        if hay[at..].starts_with(needle) {
            found.push(at);
        }
        at += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTOR: usize = 4;

    fn image() -> Image {
        let mut image = Image::default();
        image.write(SECTOR, 0, b"aaaabbbbcc");
        image.sync();
        image
    }

    #[test]
    fn unsynced_sectors_are_kept_or_lost_one_by_one() {
        let mut image = image();
        image.write(SECTOR, 2, b"XXXXXXXXYYYY");
        let mut coin = [false, true, false, true].into_iter().cycle();
        let settled = image.settle(SECTOR, true, || coin.next().unwrap());
        assert_eq!(image.read(0, image.len()).unwrap(), b"aaaaXXXXcc\0\0YY");
        assert_eq!(settled, Settled { kept: 2, lost: 2 });
    }

    #[test]
    fn what_was_cut_off_comes_back_with_the_old_length() {
        let mut image = image();
        image.set_len(SECTOR, 3);
        image.settle(SECTOR, false, || false);
        assert_eq!(image.read(0, image.len()).unwrap(), b"aaaabbbbcc");
    }

    #[test]
    fn what_was_synced_stays() {
        let mut image = image();
        image.write(SECTOR, 0, b"zz");
        image.sync();
        image.settle(SECTOR, false, || false);
        assert_eq!(image.read(0, 10).unwrap(), b"zzaabbbbcc");
    }

    #[test]
    fn a_flipped_bit_is_mended_and_its_copies_are_known() {
        let mut image = image();
        let right = image.read(4, 4).unwrap().to_vec();
        image.flip(5, 3);
        let wrong = image.read(4, 4).unwrap().to_vec();
        image.mend(4, &wrong, &right);
        assert_eq!(image.read(0, image.len()).unwrap(), b"aaaabbbbcc");
        assert!(!image.holds(&wrong));
        image.write(SECTOR, 10, &wrong);
        assert!(image.holds(&wrong));
    }

    #[test]
    fn only_what_is_long_durable_rots() {
        let mut image = image();
        assert!(image.rottable(SECTOR, b"ab", 2, 3).is_empty());
        for _ in 0..3 {
            image.sync();
        }
        assert_eq!(image.rottable(SECTOR, b"ab", 2, 3), vec![5]);
        assert!(image.rottable(SECTOR, b"ab", 2, 5).is_empty());
        image.write(SECTOR, 4, b"b");
        assert!(image.rottable(SECTOR, b"ab", 2, 3).is_empty());
    }
}

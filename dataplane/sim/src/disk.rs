//! A disk in memory that behaves as badly as real ones do.
//!
//! Writes go to a page cache and reach the medium, sector by sector, when the file is synced. A
//! power cut keeps any of the unsynced sectors and loses the others. A failed sync does the same to
//! the sectors of its file, and later syncs do not bring them back. A process that ends leaves the
//! page cache as it is.

mod image;
mod life;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tessera_shard::Disk;
use tokio::sync::Notify;

use crate::disk::image::Image;
use crate::disk::life::Life;
use crate::journal::{FaultKind, Journal};
use crate::machine::MARK;
use crate::rng::{Rng, hash_bytes};

/// Bytes behind a mark in which bits flip: the number of an operation and some of its padding, the
/// chain and the first operation of a register, or the digest of a shard and its place.
const MARKED_LEN: usize = 16;
/// Syncs since which what was written may rot: before that, redb cannot tell a rotten page from one
/// that was torn while it was written, and falls back to the commit before.
const ROT_AGE_SYNCS: u32 = 6;
/// The same in files of states. They are committed in two phases of a sync each, and redb does not
/// fall back from such a commit.
const ROT_AGE_SYNCS_OF_STATE: u32 = 2;
const STATE_PREFIX: &str = "state-";
/// A snapshot that was received, and is synced before it is taken in.
const SPOOL_PREFIX: &str = "spool-";
/// What others have on a disk that is nearly full.
const OTHERS_BYTES: u64 = 1 << 30;
/// What is free on one that is not.
const ROOM_BYTES: u64 = 1 << 34;
/// Time for each started page of 4,096 bytes that is read or written.
const PAGE_COST: Duration = Duration::from_micros(4);

/// What kind of disk it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DiskProfile {
    /// Bytes that are written as one: 512 or 4096.
    pub(crate) sector: usize,
    /// Time of a sync.
    pub(crate) sync: Duration,
}

/// One node's disk. Cheap to clone; outlives the node's processes.
#[derive(Debug, Clone)]
pub(crate) struct SimDisk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Power was cut by the disk itself, in the middle of something.
    cut: Notify,
}

#[derive(Debug)]
struct State {
    node: u64,
    profile: DiskProfile,
    rng: Rng,
    journal: Journal,
    files: BTreeMap<String, Image>,
    /// The process that may use it now. Others find the power off.
    life: Option<u64>,
    lives: u64,
    cost: Duration,
    slow_factor: u32,
    /// Writes and syncs until the power is cut.
    cut_in: Option<u64>,
    /// The same, from when the next snapshot is taken in.
    cut_in_install: Option<u64>,
    failing_syncs: u32,
    failing_writes: u32,
    /// Bytes of all files, at most.
    capacity: Option<usize>,
    /// The process was told of an error, or may read a flipped bit.
    is_hurt: bool,
    flips: Vec<Flip>,
    /// Bits that flip once the process has ended.
    flips_once_off: usize,
}

/// What stood behind a mark before and after a bit of it flipped.
#[derive(Debug, Clone)]
struct Flip {
    file: String,
    at: usize,
    right: Vec<u8>,
    wrong: Vec<u8>,
}

impl SimDisk {
    pub(crate) fn new(node: u64, profile: DiskProfile, rng: Rng, journal: Journal) -> Self {
        let state = State {
            node,
            profile,
            rng,
            journal,
            files: BTreeMap::new(),
            life: None,
            lives: 0,
            cost: Duration::ZERO,
            slow_factor: 1,
            cut_in: None,
            cut_in_install: None,
            failing_syncs: 0,
            failing_writes: 0,
            capacity: None,
            is_hurt: false,
            flips: Vec::new(),
            flips_once_off: 0,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            cut: Notify::new(),
        }))
    }

    /// The disk for a new process of the node.
    pub(crate) fn begin_life(&self) -> Arc<dyn Disk> {
        let mut state = self.0.state.lock();
        state.lives += 1;
        state.life = Some(state.lives);
        state.cost = Duration::ZERO;
        state.is_hurt = !state.flips.is_empty() || state.capacity.is_some();
        let life = state.lives;
        Arc::new(Life {
            shared: Arc::clone(&self.0),
            life,
        })
    }

    /// The process has ended; the page cache stays.
    pub(crate) fn end_life(&self) {
        let mut state = self.0.state.lock();
        state.life = None;
        state.cut_in = None;
        let count = std::mem::take(&mut state.flips_once_off);
        if count > 0 {
            state.flip(count);
        }
    }

    /// The power is cut.
    pub(crate) fn cut_power(&self) {
        self.0.state.lock().cut_power();
    }

    /// The power will be cut in the middle of the `operations`th write or sync from now.
    pub(crate) fn cut_power_after(&self, operations: u64) {
        self.0.state.lock().cut_in = Some(operations);
    }

    /// The same, from when the next snapshot was received and is taken in.
    pub(crate) fn cut_power_in_install(&self, operations: u64) {
        self.0.state.lock().cut_in_install = Some(operations);
    }

    /// Returns once the power was cut so.
    pub(crate) async fn until_cut(&self) {
        self.0.cut.notified().await;
    }

    pub(crate) fn fail_next_sync(&self) {
        self.0.state.lock().failing_syncs = 1;
    }

    pub(crate) fn fail_next_write(&self) {
        self.0.state.lock().failing_writes = 1;
    }

    /// Everything takes so many times longer.
    pub(crate) fn set_slow(&self, factor: u32) {
        self.0.state.lock().slow_factor = factor;
    }

    /// From now on files cannot grow by more than `room` bytes.
    pub(crate) fn fill(&self, room: usize) {
        let mut state = self.0.state.lock();
        state.capacity = Some(state.used() + room);
    }

    /// There is space again.
    pub(crate) fn make_room(&self) {
        self.0.state.lock().capacity = None;
    }

    /// Flips bits of what was stored a while ago, each at another of up to `count` places.
    pub(crate) fn flip(&self, count: usize) {
        self.0.state.lock().flip(count);
    }

    /// The same once the process has ended: the next one reads them from the medium.
    pub(crate) fn flip_once_off(&self, count: usize) {
        self.0.state.lock().flips_once_off = count;
    }

    /// Undoes all flips. `false` if something flipped was copied elsewhere before it was noticed:
    /// then the node's data is beyond repair.
    pub(crate) fn mend_flips(&self) -> bool {
        let mut state = self.0.state.lock();
        let flips = std::mem::take(&mut state.flips);
        for flip in &flips {
            if let Some(image) = state.files.get_mut(&flip.file) {
                image.mend(flip.at, &flip.wrong, &flip.right);
            }
        }
        let is_copied = |flip: &Flip| state.files.values().any(|image| image.holds(&flip.wrong));
        !flips.iter().any(is_copied)
    }

    /// Nothing fails any more. Flipped bits stay: they are mended while no process runs.
    pub(crate) fn heal(&self) {
        let mut state = self.0.state.lock();
        state.cut_in = None;
        state.cut_in_install = None;
        state.failing_syncs = 0;
        state.failing_writes = 0;
        state.flips_once_off = 0;
        state.slow_factor = 1;
        state.capacity = None;
    }

    /// Whether a process has it.
    pub(crate) fn is_on(&self) -> bool {
        self.0.state.lock().life.is_some()
    }

    /// Whether bits are flipped.
    pub(crate) fn is_flipped(&self) -> bool {
        !self.0.state.lock().flips.is_empty()
    }

    /// Whether bits are flipped, or will be.
    pub(crate) fn is_rotting(&self) -> bool {
        let state = self.0.state.lock();
        !state.flips.is_empty() || state.flips_once_off > 0
    }

    /// Whether the process of now has a reason to be fenced.
    pub(crate) fn is_hurt(&self) -> bool {
        self.0.state.lock().is_hurt
    }
}

impl State {
    fn used(&self) -> usize {
        self.files.values().map(Image::len).sum()
    }

    fn charge(&mut self, bytes: usize) {
        let pages = u32::try_from(bytes.div_ceil(4096)).unwrap_or(u32::MAX);
        self.cost += PAGE_COST * pages * self.slow_factor;
    }

    fn cut_power(&mut self) {
        self.life = None;
        self.cut_in = None;
        let names: Vec<_> = self.files.keys().cloned().collect();
        for name in names {
            let is_named = self.files.get(&name).is_some_and(Image::is_named);
            if !is_named && self.rng.chance(500) {
                self.files.remove(&name);
                continue;
            }
            self.settle(&name);
        }
    }

    /// Decides on the unsynced sectors of a file.
    fn settle(&mut self, name: &str) {
        let Some(image) = self.files.get_mut(name) else {
            return;
        };
        let rng = &mut self.rng;
        let kept_per_mille = rng.pick(&[0, 0, 200, 500, 800, 1000]);
        let is_len_kept = rng.chance(500);
        let settled = image.settle(self.profile.sector, is_len_kept, || {
            rng.chance(kept_per_mille)
        });
        self.journal
            .count_many(FaultKind::UnsyncedLost, settled.lost);
        if settled.kept > 0 && settled.lost > 0 {
            self.journal.count(FaultKind::WriteTorn);
        }
        self.note("settle", name, &[settled.kept, settled.lost]);
    }

    /// One more write or sync; `true` if the power goes in the middle of it.
    fn is_last(&mut self) -> bool {
        match &mut self.cut_in {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }

    /// Flips a bit each at up to `count` places of one file.
    fn flip(&mut self, count: usize) {
        let sector = self.profile.sector;
        let files = self.files.iter().map(|(name, image)| {
            let places = image.rottable(sector, MARK, MARKED_LEN, rot_age(name));
            (name.clone(), places)
        });
        let mut files: Vec<_> = files.filter(|(_, places)| !places.is_empty()).collect();
        if files.is_empty() {
            return;
        }
        // A log has many more places than a file of rows; its share is to be no larger.
        let (name, mut places) = files.swap_remove(self.rng.index(files.len()));
        for _ in 0..count.min(places.len()) {
            let at = places.swap_remove(self.rng.index(places.len()));
            self.flip_at(&name, at);
        }
        self.is_hurt = true;
    }

    fn flip_at(&mut self, name: &str, at: usize) {
        let byte = at + self.rng.index(MARKED_LEN);
        let bit = u8::try_from(self.rng.below(8)).unwrap_or(0);
        let Some(image) = self.files.get_mut(name) else {
            return;
        };
        let marked = |image: &Image| image.read(at, MARKED_LEN).map(<[u8]>::to_vec);
        let right = marked(image).unwrap_or_default();
        image.flip(byte, bit);
        let wrong = marked(image).unwrap_or_default();
        self.journal.count(FaultKind::BitFlipped);
        self.note("flip", name, &[as_u64(byte), u64::from(bit)]);
        self.flips.push(Flip {
            file: name.to_owned(),
            at,
            right,
            wrong,
        });
    }

    fn note(&self, event: &'static str, name: &str, numbers: &[u64]) {
        let mut all = vec![self.node, hash_bytes(name.as_bytes())];
        all.extend_from_slice(numbers);
        self.journal.note(event, &all);
    }
}

impl State {
    fn image(&mut self, name: &str) -> io::Result<&mut Image> {
        let image = self.files.get_mut(name);
        image.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    /// Refuses what would make a file longer than there is space for.
    fn check_room(&mut self, name: &str, len: usize) -> io::Result<()> {
        let used = self.used();
        let grown = len.saturating_sub(self.image(name)?.len());
        match self.capacity {
            Some(capacity) if grown > 0 && used + grown > capacity => {
                self.is_hurt = true;
                self.journal.count(FaultKind::DiskFull);
                self.note("full", name, &[as_u64(len)]);
                Err(io::ErrorKind::StorageFull.into())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn write(&mut self, name: &str, offset: usize, data: &[u8]) -> io::Result<()> {
        self.charge(data.len());
        self.check_room(name, offset + data.len())?;
        if self.failing_writes > 0 {
            self.failing_writes -= 1;
            self.is_hurt = true;
            self.journal.count(FaultKind::WriteFailed);
            self.note("write failed", name, &[as_u64(offset)]);
            return Err(io::Error::other("made up: the write failed"));
        }
        let sector = self.profile.sector;
        let numbers = [as_u64(offset), as_u64(data.len()), hash_bytes(data)];
        self.note("write", name, &numbers);
        self.image(name)?.write(sector, offset, data);
        self.end_operation()
    }

    fn set_len(&mut self, name: &str, len: usize) -> io::Result<()> {
        self.charge(0);
        self.check_room(name, len)?;
        self.note("set len", name, &[as_u64(len)]);
        let sector = self.profile.sector;
        self.image(name)?.set_len(sector, len);
        self.end_operation()
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.cost += self.profile.sync * self.slow_factor;
        self.end_operation()?;
        if self.failing_syncs > 0 {
            self.failing_syncs -= 1;
            self.is_hurt = true;
            self.journal.count(FaultKind::SyncFailed);
            self.note("sync failed", name, &[]);
            self.settle(name);
            return Err(io::Error::other("made up: the sync failed"));
        }
        self.note("sync", name, &[]);
        self.image(name)?.sync();
        if name.starts_with(SPOOL_PREFIX) && self.cut_in_install.is_some() {
            self.cut_in = self.cut_in_install.take();
        }
        Ok(())
    }

    fn end_operation(&mut self) -> io::Result<()> {
        if self.is_last() {
            self.journal.count(FaultKind::PowerCutMidWrite);
            self.cut_power();
            return Err(power_is_off());
        }
        Ok(())
    }
}

fn rot_age(name: &str) -> u32 {
    if name.starts_with(STATE_PREFIX) {
        ROT_AGE_SYNCS_OF_STATE
    } else {
        ROT_AGE_SYNCS
    }
}

fn power_is_off() -> io::Error {
    io::Error::other("the power is off")
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn as_usize(number: u64) -> io::Result<usize> {
    usize::try_from(number).map_err(io::Error::other)
}

//! A disk for tests: it can hold a sync back, fail it, and lose power.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use tokio::sync::watch;

use crate::{Disk, DiskFile};

/// Bytes that a disk writes as one: a write that was not synced may be torn between them.
const SECTOR: usize = 512;

/// Files in memory, by name. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct TestDisk(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// One lock for all files, so that a power cut hits them at one moment.
    state: Mutex<State>,
    changed: Condvar,
    /// How many syncs are held back now.
    held: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, File>,
    /// Syncs of files whose name starts so are held back.
    holding: Option<&'static str>,
    /// Syncs of files whose name starts so fail.
    failing: Option<&'static str>,
    /// Everything that was written and synced, in order; bytes by their checksum.
    history: Vec<String>,
    recording: Option<Recording>,
    /// Bytes that all files may have together.
    limit: Option<usize>,
}

#[derive(Debug, Default)]
struct File {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
    syncs: u64,
}

#[derive(Debug, Clone)]
enum Change {
    Len(usize),
    Write(usize, Vec<u8>),
}

impl TestDisk {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            held: watch::Sender::new(0),
        }))
    }

    /// From now on syncs of these files wait for [`release`](Self::release).
    pub(super) fn hold(&self, prefix: &'static str) {
        self.0.state.lock().holding = Some(prefix);
    }

    pub(super) fn release(&self) {
        self.0.state.lock().holding = None;
        self.0.changed.notify_all();
    }

    /// Returns once a sync is held back.
    pub(super) async fn until_held(&self) {
        self.0
            .held
            .subscribe()
            .wait_for(|held| *held > 0)
            .await
            .unwrap();
    }

    /// From now on syncs of these files fail.
    pub(super) fn fail(&self, prefix: &'static str) {
        self.0.state.lock().failing = Some(prefix);
    }

    /// From now on files may have so many bytes together; any number if none is given.
    pub(super) fn set_limit(&self, limit: Option<usize>) {
        self.0.state.lock().limit = limit;
    }

    /// Bytes of all files together.
    pub(super) fn used(&self) -> usize {
        self.0
            .state
            .lock()
            .files
            .values()
            .map(|file| file.live.len())
            .sum()
    }

    /// Syncs of a file so far.
    pub(super) fn syncs(&self, name: &str) -> u64 {
        self.0.state.lock().files[name].syncs
    }

    /// What the disk was asked to write and to sync, in this order.
    pub(super) fn history(&self) -> Vec<String> {
        self.0.state.lock().history.clone()
    }

    /// What a power cut now leaves on disk: everything synced, and of the rest what `keep` says,
    /// sector by sector. Files of a running engine are left alone.
    pub(super) fn cut(&self, folder: &Path, keep: impl FnMut() -> bool) {
        for (name, image) in self.0.state.lock().images(keep) {
            std::fs::write(folder.join(name), image).unwrap();
        }
    }

    /// From now on remembers what a power cut would leave, before and after each sync.
    pub(super) fn record(&self, seed: u64) {
        self.0.state.lock().recording = Some(Recording {
            seed,
            images: Vec::new(),
        });
    }

    /// Every disk that was remembered.
    pub(super) fn recorded(&self) -> Vec<Self> {
        let recording = self.0.state.lock().recording.take();
        let images = recording.map(|recording| recording.images);
        images.into_iter().flatten().map(Self::of).collect()
    }

    fn of(images: Images) -> Self {
        let disk = Self::new();
        let files = images.into_iter().map(|(name, image)| {
            let file = File {
                live: image.clone(),
                durable: image,
                ..File::default()
            };
            (name, file)
        });
        disk.0.state.lock().files = files.collect();
        disk
    }
}

/// Files and what they hold.
type Images = Vec<(String, Vec<u8>)>;

#[derive(Debug)]
struct Recording {
    seed: u64,
    images: Vec<Images>,
}

impl State {
    fn images(&self, mut keep: impl FnMut() -> bool) -> Images {
        let image_of = |file: &File, keep: &mut dyn FnMut() -> bool| {
            let mut image = file.durable.clone();
            for change in &file.unsynced {
                match change {
                    Change::Len(len) => {
                        if keep() {
                            image.resize(*len, 0);
                        }
                    }
                    Change::Write(at, bytes) => {
                        for (i, sector) in bytes.chunks(SECTOR).enumerate() {
                            if keep() {
                                write_at(&mut image, at + i * SECTOR, sector);
                            }
                        }
                    }
                }
            }
            image
        };
        let files = self.files.iter();
        files
            .map(|(name, file)| (name.clone(), image_of(file, &mut keep)))
            .collect()
    }

    fn remember(&mut self) {
        let Some(mut recording) = self.recording.take() else {
            return;
        };
        let random = &mut recording.seed;
        let images = self.images(|| {
            *random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            *random >> 63 == 1
        });
        recording.images.push(images);
        self.recording = Some(recording);
    }
}

impl Disk for TestDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let name = name_of(path);
        self.0.state.lock().files.entry(name.clone()).or_default();
        Ok(Box::new(Backend {
            disk: Arc::clone(&self.0),
            name,
        }))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(self.0.state.lock().files.contains_key(&name_of(path)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.state.lock().files.remove(&name_of(path));
        Ok(())
    }
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

#[derive(Debug)]
struct Backend {
    disk: Arc<Shared>,
    name: String,
}

impl Backend {
    fn with<R>(&self, work: impl FnOnce(&mut File) -> R) -> R {
        work(self.disk.state.lock().files.get_mut(&self.name).unwrap())
    }

    fn is(&self, prefix: Option<&str>) -> bool {
        prefix.is_some_and(|prefix| self.name.starts_with(prefix))
    }
}

impl DiskFile for Backend {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|file| file.live.len()) as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = index(offset);
        self.with(|file| {
            let bytes = file.live.get(offset..offset + out.len());
            out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = index(len);
        let mut state = self.disk.state.lock();
        let all: usize = state.files.values().map(|file| file.live.len()).sum();
        let limit = state.limit;
        let file = state.files.get_mut(&self.name).unwrap();
        if limit.is_some_and(|limit| all - file.live.len() + len > limit) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        file.live.resize(len, 0);
        file.unsynced.push(Change::Len(len));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        while self.is(state.holding) {
            self.disk.held.send_modify(|held| *held += 1);
            self.disk.changed.wait(&mut state);
            self.disk.held.send_modify(|held| *held -= 1);
        }
        if self.is(state.failing) {
            return Err(io::Error::other("the disk failed"));
        }
        state.history.push(format!("{} synced", self.name));
        state.remember();
        let file = state.files.get_mut(&self.name).unwrap();
        for change in std::mem::take(&mut file.unsynced) {
            match change {
                Change::Len(len) => file.durable.resize(len, 0),
                Change::Write(at, bytes) => write_at(&mut file.durable, at, &bytes),
            }
        }
        file.syncs += 1;
        state.remember();
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let check = crc32fast::hash(data);
        let asked = format!(
            "{} at {offset}: {} bytes {check:08x}",
            self.name,
            data.len()
        );
        self.disk.state.lock().history.push(asked);
        let offset = index(offset);
        self.with(|file| {
            write_at(&mut file.live, offset, data);
            file.unsynced.push(Change::Write(offset, data.to_vec()));
        });
        Ok(())
    }
}

fn write_at(image: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    if image.len() < at + bytes.len() {
        image.resize(at + bytes.len(), 0);
    }
    image[at..at + bytes.len()].copy_from_slice(bytes);
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap()
}

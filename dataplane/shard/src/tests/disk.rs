//! A disk for tests: it can hold a sync back, fail it, and lose power.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};
use redb::{Builder, Database, DatabaseError, StorageBackend};
use tokio::sync::watch;

use crate::database::Disk;

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

    /// Syncs of a file so far.
    pub(super) fn syncs(&self, name: &str) -> u64 {
        self.0.state.lock().files[name].syncs
    }

    /// What a power cut now leaves on disk: everything synced, and of the rest what `keep` says,
    /// sector by sector. Files of a running engine are left alone.
    pub(super) fn cut(&self, folder: &Path, mut keep: impl FnMut() -> bool) {
        let state = self.0.state.lock();
        for (name, file) in &state.files {
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
            std::fs::write(folder.join(name), image).unwrap();
        }
    }
}

impl Disk for TestDisk {
    fn open(&self, path: &Path, builder: &Builder) -> Result<Database, DatabaseError> {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        self.0.state.lock().files.entry(name.clone()).or_default();
        builder.create_with_backend(Backend {
            disk: Arc::clone(&self.0),
            name,
        })
    }
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

impl StorageBackend for Backend {
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
        self.with(|file| {
            file.live.resize(len, 0);
            file.unsynced.push(Change::Len(len));
        });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.state.lock();
        while self.is(state.holding) {
            self.disk.held.send_modify(|held| *held += 1);
            self.disk.changed.wait(&mut state);
            self.disk.held.send_modify(|held| *held -= 1);
        }
        if self.is(state.failing) {
            return Err(io::Error::other("the disk failed"));
        }
        let file = state.files.get_mut(&self.name).unwrap();
        for change in std::mem::take(&mut file.unsynced) {
            match change {
                Change::Len(len) => file.durable.resize(len, 0),
                Change::Write(at, bytes) => write_at(&mut file.durable, at, &bytes),
            }
        }
        file.syncs += 1;
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
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

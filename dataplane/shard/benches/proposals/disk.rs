//! Real files that count what is asked of them.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tessera_shard::{Disk, DiskFile};

/// What was asked of a kind of files so far.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    syncs: AtomicU64,
    bytes: AtomicU64,
}

/// The same at one moment, or between two.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    pub(crate) syncs: u64,
    pub(crate) bytes: u64,
}

/// Real files; logs are counted apart from everything else.
#[derive(Debug, Clone, Default)]
pub(crate) struct CountingDisk {
    pub(crate) log: Arc<Counts>,
    pub(crate) state: Arc<Counts>,
}

impl Counts {
    pub(crate) fn asked(&self) -> Asked {
        Asked {
            syncs: self.syncs.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

impl Asked {
    pub(crate) const fn since(self, before: Self) -> Self {
        Self {
            syncs: self.syncs - before.syncs,
            bytes: self.bytes - before.bytes,
        }
    }
}

impl Disk for CountingDisk {
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let is_log = path.file_name().is_some_and(|name| name == "log.redb");
        let counts = if is_log { &self.log } else { &self.state };
        Ok(Box::new(CountingFile::open(path, counts)?))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// A real file that counts.
#[derive(Debug)]
pub(crate) struct CountingFile {
    file: File,
    counts: Arc<Counts>,
}

impl CountingFile {
    pub(crate) fn open(path: &Path, counts: &Arc<Counts>) -> io::Result<Self> {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        Ok(Self {
            file: options.open(path)?,
            counts: Arc::clone(counts),
        })
    }
}

impl DiskFile for CountingFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let bytes = u64::try_from(data.len()).unwrap_or(u64::MAX);
        self.counts.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.file.write_all_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.counts.syncs.fetch_add(1, Ordering::Relaxed);
        self.file.sync_data()
    }
}

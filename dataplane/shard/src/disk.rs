//! Where files come from: the real disk, or one that a simulation makes up.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redb::{Builder, Database, DatabaseError, StorageBackend};

use crate::folder::sync_names;

/// Files for an engine, instead of real ones.
///
/// The engine does what it does on real files: reads and writes at any offset, and relies only on
/// what was written before a [`sync`](DiskFile::sync) that returned. A folder on such a disk has no
/// lock and no format file: both guard real folders against other processes and versions.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Opens the file for reading and writing; an empty one is made if there is none. Its name is
    /// there after a crash once the file was synced.
    fn open(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;

    /// Whether there is such a file.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Removes a file; none is no error. On return it is gone for good.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Free bytes and bytes in all; `None` if there is no end to it.
    fn space(&self) -> io::Result<Option<(u64, u64)>> {
        Ok(None)
    }

    /// How long the disk took for what was asked of it since the last call. Asked by workers that
    /// are tasks (see [`Workers`](crate::Workers)): they wait for that long before they tell
    /// anybody of the result, so that time, and crashes, can pass in between.
    fn latency(&self) -> Duration {
        Duration::ZERO
    }
}

/// One file of a [`Disk`].
pub trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Bytes of the file.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has none.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts or extends the file; new bytes are zero.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Fills `out` from `offset` on; an error if the file ends before.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;

    /// Writes at `offset`, extending the file if needed. Not durable before a sync.
    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()>;

    /// Makes everything written so far durable.
    fn sync(&self) -> io::Result<()>;
}

/// The disk that an engine is on.
#[derive(Debug, Clone)]
pub(crate) enum Storage {
    /// Plain files, without a detour through [`DiskFile`].
    Files,
    Other(Arc<dyn Disk>),
}

impl Storage {
    pub(crate) fn open_database(
        &self,
        path: &Path,
        builder: &Builder,
    ) -> Result<Database, DatabaseError> {
        match self {
            Self::Files => builder.create(path),
            Self::Other(disk) => {
                let file = disk.open(path)?;
                builder.create_with_backend(Backend(file))
            }
        }
    }

    /// Opens or makes a file that is not a database.
    pub(crate) fn open_file(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        match self {
            Self::Files => {
                let file = File::options()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(false)
                    .open(path)?;
                Ok(Box::new(RealFile(file)))
            }
            Self::Other(disk) => disk.open(path),
        }
    }

    pub(crate) fn exists(&self, path: &Path) -> io::Result<bool> {
        match self {
            Self::Files => path.try_exists(),
            Self::Other(disk) => disk.exists(path),
        }
    }

    pub(crate) fn remove(&self, path: &Path) -> io::Result<()> {
        match self {
            Self::Files => match fs::remove_file(path) {
                Ok(()) => path.parent().map_or(Ok(()), sync_names),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            },
            Self::Other(disk) => disk.remove(path),
        }
    }

    /// Bytes of a file; 0 if there is none.
    pub(crate) fn len(&self, path: &Path) -> io::Result<u64> {
        if !self.exists(path)? {
            return Ok(0);
        }
        match self {
            Self::Files => Ok(fs::metadata(path)?.len()),
            Self::Other(disk) => disk.open(path)?.len(),
        }
    }

    /// Free bytes where the folder is, and bytes in all, if somebody knows.
    pub(crate) fn space(&self, folder: &Path) -> io::Result<Option<(u64, u64)>> {
        match self {
            Self::Files => {
                let stat = rustix::fs::statvfs(folder)?;
                // What is kept for the administrator is nobody's: neither free nor used.
                let used = stat.f_blocks.saturating_sub(stat.f_bfree);
                let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
                Ok(Some((bytes(stat.f_bavail), bytes(used + stat.f_bavail))))
            }
            Self::Other(disk) => disk.space(),
        }
    }

    /// Makes the names of a folder's files durable.
    pub(crate) fn sync_names(&self, folder: &Path) -> io::Result<()> {
        match self {
            Self::Files => sync_names(folder),
            Self::Other(_) => Ok(()),
        }
    }

    pub(crate) fn latency(&self) -> Duration {
        match self {
            Self::Files => Duration::ZERO,
            Self::Other(disk) => disk.latency(),
        }
    }
}

#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, offset)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_all_at(data, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

/// A made-up file as redb wants it.
#[derive(Debug)]
struct Backend(Box<dyn DiskFile>);

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}

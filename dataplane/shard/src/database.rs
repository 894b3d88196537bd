//! A redb file that can be closed while handles to it are still around.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::RwLock;
use redb::{Builder, Database};

use crate::disk::Storage;
use crate::error::{OpenError, RowError};

/// An open database. Clones share it; once closed it is closed for all.
#[derive(Debug, Clone)]
pub(crate) struct SharedDatabase(Arc<RwLock<Option<Arc<Database>>>>);

impl SharedDatabase {
    /// Opens a file, or makes one. `begin` puts into it what it has from the start, and is repeated at
    /// each opening.
    pub(crate) fn open(
        storage: &Storage,
        path: &Path,
        cache_bytes: usize,
        begin: impl FnOnce(&Self) -> Result<(), RowError>,
    ) -> Result<Self, OpenError> {
        let failed = |source| OpenError::io(path, source);
        let making = Making::begin(storage, path).map_err(failed)?;
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes);
        let database =
            storage
                .open_database(path, &builder)
                .map_err(|error| OpenError::Database {
                    path: path.to_owned(),
                    text: error.to_string(),
                })?;
        let database = Self(Arc::new(RwLock::new(Some(Arc::new(database)))));
        begin(&database)?;
        making.map_or(Ok(()), |making| making.end(storage).map_err(failed))?;
        Ok(database)
    }

    /// `None` once closed.
    pub(crate) fn get(&self) -> Option<Arc<Database>> {
        self.0.read().clone()
    }

    /// The database, for users that end before it is closed.
    pub(crate) fn get_open(&self) -> Result<Arc<Database>, RowError> {
        self.get()
            .ok_or_else(|| RowError::Storage("the database is closed".into()))
    }

    /// Closes the file once the last operation on it has ended.
    pub(crate) fn close(&self) {
        self.0.write().take();
    }
}

/// A file that is being made: its mark is on disk from before its first byte until it is whole, and
/// nothing is told to be in it before the mark is gone. One that a crash left half made is begun anew.
struct Making {
    path: PathBuf,
    mark: PathBuf,
}

impl Making {
    /// Marks a file that is not there yet or only half made; `None` if it is whole.
    fn begin(storage: &Storage, path: &Path) -> io::Result<Option<Self>> {
        let mut mark = OsString::from(path);
        mark.push(".making");
        let mark = PathBuf::from(mark);
        if storage.exists(&mark)? {
            storage.remove(path)?;
        } else if storage.len(path)? == 0 {
            storage.open_file(&mark)?.sync()?;
            sync_name(storage, &mark)?;
        } else {
            return Ok(None);
        }
        let path = path.to_owned();
        Ok(Some(Self { path, mark }))
    }

    /// The file is whole, and on disk.
    fn end(self, storage: &Storage) -> io::Result<()> {
        sync_name(storage, &self.path)?;
        storage.remove(&self.mark)
    }
}

fn sync_name(storage: &Storage, path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |folder| storage.sync_names(folder))
}

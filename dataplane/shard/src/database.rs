//! A redb file that can be closed while handles to it are still around.

use std::path::Path;
use std::sync::Arc;

use parking_lot::RwLock;
use redb::{Builder, Database};

use crate::disk::Storage;
use crate::error::{OpenError, RowError};

/// An open database. Clones share it; once closed it is closed for all.
#[derive(Debug, Clone)]
pub(crate) struct SharedDatabase(Arc<RwLock<Option<Arc<Database>>>>);

impl SharedDatabase {
    pub(crate) fn open(
        storage: &Storage,
        path: &Path,
        cache_bytes: usize,
    ) -> Result<Self, OpenError> {
        let mut builder = Builder::new();
        builder.set_cache_size(cache_bytes);
        let database =
            storage
                .open_database(path, &builder)
                .map_err(|error| OpenError::Database {
                    path: path.to_owned(),
                    text: error.to_string(),
                })?;
        Ok(Self(Arc::new(RwLock::new(Some(Arc::new(database))))))
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

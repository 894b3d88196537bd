//! What the configuration is kept on: durable rows in key order, lent by the node.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::RwLock;

/// The disk did not do what it was asked. Its text names what failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("configuration on disk: {0}")]
pub struct DiskError(pub String);

/// Rows to set (`Some`) and to remove (`None`).
pub type RowWrites = Vec<(Vec<u8>, Option<Vec<u8>>)>;

/// Is shown one row; `Break` ends the scan.
pub type Visit<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Durable rows in the order of their keys. Its calls block; they may come from many threads.
pub trait Disk: Send + Sync {
    /// The value of a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError>;

    /// Shows the rows whose keys start with `prefix`, in order, until `visit` breaks. `visit` does
    /// not call the disk.
    fn scan(&self, prefix: &[u8], visit: Visit<'_>) -> Result<(), DiskError>;

    /// Does all of `rows`, or none. Durable when it returns.
    fn write(&self, rows: RowWrites) -> Result<(), DiskError>;
}

/// A disk that is not one: rows in memory, gone with the last clone. For tests, which restart by
/// opening a clone. Never for a node: it would forget its configuration.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    rows: Arc<RwLock<BTreeMap<Vec<u8>, Vec<u8>>>>,
}

impl MemoryDisk {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// How many rows there are.
    pub fn row_count(&self) -> usize {
        self.rows.read().len()
    }
}

impl Disk for MemoryDisk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(self.rows.read().get(key).cloned())
    }

    fn scan(&self, prefix: &[u8], visit: Visit<'_>) -> Result<(), DiskError> {
        let rows = self.rows.read();
        for (key, value) in rows.range(prefix.to_vec()..) {
            if !key.starts_with(prefix) || visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    fn write(&self, writes: RowWrites) -> Result<(), DiskError> {
        let mut rows = self.rows.write();
        for (key, value) in writes {
            match value {
                Some(value) => rows.insert(key, value),
                None => rows.remove(&key),
            };
        }
        Ok(())
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDisk")
            .field("rows", &self.row_count())
            .finish()
    }
}

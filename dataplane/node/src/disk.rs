//! The configuration's disk: a local store of the shard engine, under `config`'s trait.

use std::ops::ControlFlow;

use tessera_config::{Disk, DiskError, RowWrites};
use tessera_shard::{LocalStore, LocalStoreError};

/// Lends a local store to the configuration.
#[derive(Debug)]
pub(crate) struct ConfigDisk(pub(crate) LocalStore);

impl Disk for ConfigDisk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        self.0.get(key).map_err(to_disk_error)
    }

    fn scan(
        &self,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Result<(), DiskError> {
        self.0.scan(prefix, visit).map_err(to_disk_error)
    }

    fn write(&self, rows: RowWrites) -> Result<(), DiskError> {
        self.0.write(rows).map_err(to_disk_error)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "stands in map_err")]
fn to_disk_error(error: LocalStoreError) -> DiskError {
    DiskError(error.to_string())
}

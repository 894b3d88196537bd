//! Rows in memory, for tests of `apply` and `query` without an engine.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use bytes::Bytes;
use tessera_shard::{RowError, Rows, RowsMut, Visit};

/// Ordered rows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MemoryRows(pub(crate) BTreeMap<Vec<u8>, Vec<u8>>);

impl Rows for MemoryRows {
    fn covers(&self, _key: &[u8]) -> bool {
        true
    }

    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, RowError> {
        Ok(self.0.get(key).map(|value| Bytes::copy_from_slice(value)))
    }

    fn scan(&self, from: &[u8], until: &[u8], visit: &mut Visit<'_>) -> Result<(), RowError> {
        if !until.is_empty() && from >= until {
            return Ok(());
        }
        let until = if until.is_empty() {
            Bound::Unbounded
        } else {
            Bound::Excluded(until)
        };
        for (key, value) in self.0.range::<[u8], _>((Bound::Included(from), until)) {
            if let ControlFlow::Break(()) = visit(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn get_local(&self, _: &[u8]) -> Result<Option<Bytes>, RowError> {
        Ok(None)
    }

    fn scan_local(&self, _: &[u8], _: &[u8], _: &mut Visit<'_>) -> Result<(), RowError> {
        Ok(())
    }
}

impl RowsMut for MemoryRows {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), RowError> {
        self.0.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<bool, RowError> {
        Ok(self.0.remove(key).is_some())
    }

    fn put_local(&mut self, _: &[u8], _: &[u8]) -> Result<(), RowError> {
        Err(RowError::undecodable("this store has no local rows"))
    }

    fn delete_local(&mut self, _: &[u8]) -> Result<bool, RowError> {
        Ok(false)
    }
}

//! A small durable key-value file of this node: the last good configuration.

use std::fmt;
use std::path::Path;

use redb::{Builder, Database, DatabaseError, Durability, ReadableDatabase as _};

use crate::checksum::{Definition, Tag, insert_sealed, unseal};
use crate::folder::sync_names;
use crate::machine::Visit;

const ROWS: Definition = Definition::new("configuration");
/// Cache of the file. Its users keep what is hot in a cache of their own.
const CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Why a local store failed.
#[derive(Debug, thiserror::Error)]
pub enum LocalStoreError {
    /// Another process has the file open.
    #[error("local store: in use by another process")]
    Locked,
    /// The file could not be opened, read or written.
    #[error("local store: {0}")]
    Storage(String),
    /// A stored value does not fit its checksum.
    #[error("local store: a stored value is damaged")]
    Corrupt,
}

/// One file of rows. Blocking; safe to share between threads.
pub struct LocalStore(Database);

impl fmt::Debug for LocalStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalStore")
    }
}

impl LocalStore {
    /// Opens or makes the file. One process at a time.
    pub fn open(path: &Path) -> Result<Self, LocalStoreError> {
        let opened = Builder::new().set_cache_size(CACHE_BYTES).create(path);
        let store = match opened {
            Ok(database) => Self(database),
            Err(DatabaseError::DatabaseAlreadyOpen) => return Err(LocalStoreError::Locked),
            Err(error) => return Err(failed(error)),
        };
        store.write(Vec::new())?;
        if let Some(folder) = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty())
        {
            sync_names(folder).map_err(failed)?;
        }
        Ok(store)
    }

    /// The value of `key`.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, LocalStoreError> {
        let txn = self.0.begin_read().map_err(failed)?;
        let table = txn.open_table(ROWS).map_err(failed)?;
        let Some(guard) = table.get(key).map_err(failed)? else {
            return Ok(None);
        };
        let value = unseal(Tag::LocalStore, key, guard.value()).ok_or(LocalStoreError::Corrupt)?;
        Ok(Some(value.to_vec()))
    }

    /// Rows whose key starts with `prefix`, in key order. `Break` ends the scan.
    pub fn scan(&self, prefix: &[u8], visit: &mut Visit<'_>) -> Result<(), LocalStoreError> {
        let txn = self.0.begin_read().map_err(failed)?;
        let table = txn.open_table(ROWS).map_err(failed)?;
        for row in table.range(prefix..).map_err(failed)? {
            let (key, stored) = row.map_err(failed)?;
            let key = key.value();
            if !key.starts_with(prefix) {
                break;
            }
            let value =
                unseal(Tag::LocalStore, key, stored.value()).ok_or(LocalStoreError::Corrupt)?;
            if visit(key, value).is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Sets (`Some`) and removes (`None`) rows, all or none, on disk when it returns.
    pub fn write(&self, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) -> Result<(), LocalStoreError> {
        let mut txn = self.0.begin_write().map_err(failed)?;
        txn.set_durability(Durability::Immediate).map_err(failed)?;
        txn.set_quick_repair(true);
        let mut table = txn.open_table(ROWS).map_err(failed)?;
        for (key, value) in changes {
            match value {
                Some(value) => {
                    insert_sealed(&mut table, Tag::LocalStore, &key, &[&value]).map_err(failed)?;
                }
                None => drop(table.remove(key.as_slice()).map_err(failed)?),
            }
        }
        drop(table);
        txn.commit().map_err(failed)
    }
}

fn failed(error: impl Into<redb::Error>) -> LocalStoreError {
    LocalStoreError::Storage(error.into().to_string())
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;

    fn rows(store: &LocalStore, prefix: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut rows = Vec::new();
        let collect = &mut |key: &[u8], value: &[u8]| {
            rows.push((key.to_vec(), value.to_vec()));
            ControlFlow::Continue(())
        };
        store.scan(prefix, collect).unwrap();
        rows
    }

    fn row(key: &str, value: &str) -> (Vec<u8>, Vec<u8>) {
        (key.into(), value.into())
    }

    #[test]
    fn rows_are_there_after_reopening_and_scans_keep_to_their_prefix() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("config.redb");
        let store = LocalStore::open(&path).unwrap();
        let set = ["a/1", "b/1", "b/2", "c/1"].map(|key| (key.into(), Some(key.into())));
        store.write(set.into()).unwrap();
        store
            .write(vec![
                (b"b/1".to_vec(), None),
                (b"b/3".to_vec(), Some(vec![])),
            ])
            .unwrap();
        drop(store);
        let store = LocalStore::open(&path).unwrap();
        assert_eq!(rows(&store, b"b/"), [row("b/2", "b/2"), row("b/3", "")]);
        assert_eq!(store.get(b"b/1").unwrap(), None);
        assert_eq!(store.get(b"a/1").unwrap().as_deref(), Some(&b"a/1"[..]));
    }

    #[test]
    fn a_scan_ends_when_told() {
        let temp = tempfile::tempdir().unwrap();
        let store = LocalStore::open(&temp.path().join("f")).unwrap();
        store
            .write(vec![
                (b"a".to_vec(), Some(vec![1])),
                (b"b".to_vec(), Some(vec![2])),
            ])
            .unwrap();
        let mut seen = 0;
        store
            .scan(b"", &mut |_, _| {
                seen += 1;
                ControlFlow::Break(())
            })
            .unwrap();
        assert_eq!(seen, 1);
    }

    #[test]
    fn a_second_opener_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("f");
        let _first = LocalStore::open(&path).unwrap();
        assert!(matches!(
            LocalStore::open(&path),
            Err(LocalStoreError::Locked)
        ));
    }

    #[test]
    fn a_damaged_value_is_never_served() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("f");
        let store = LocalStore::open(&path).unwrap();
        let value = vec![0xd7; 64];
        store
            .write(vec![(b"key".to_vec(), Some(value.clone()))])
            .unwrap();
        drop(store);
        let mut bytes = std::fs::read(&path).unwrap();
        let mut flipped = 0;
        for at in 0..bytes.len() - value.len() {
            if bytes[at..].starts_with(&value) {
                bytes[at + 5] ^= 4;
                flipped += 1;
            }
        }
        assert!(flipped > 0);
        std::fs::write(&path, bytes).unwrap();
        let store = LocalStore::open(&path).unwrap();
        assert!(matches!(store.get(b"key"), Err(LocalStoreError::Corrupt)));
        let scanned = store.scan(b"", &mut |_, _| ControlFlow::Continue(()));
        assert!(matches!(scanned, Err(LocalStoreError::Corrupt)));
    }
}

//! What the file holds of a group's log, for comparing replicas.

use std::ops::Range;

use redb::{ReadTransaction, ReadableDatabase as _};

use crate::checksum::{Tag, unseal};
use crate::error::{ReadError, RowError};
use crate::log::group::GroupLog;
use crate::log::rows::{ENTRIES, decode_entry, entry_key};
use crate::status::{LogChecksum, LogPosition};

/// Most entries that one call reads.
pub(crate) const CHECKSUMS_MAX: u64 = 4096;

const MISSING: RowError = RowError::undecodable("log: an entry is missing");

impl GroupLog {
    /// The entries of `from..=upto` that are on disk and not purged, at most [`CHECKSUMS_MAX`]; each
    /// is verified. Blocks.
    pub(crate) fn checksums(&self, from: u64, upto: u64) -> Result<Vec<LogChecksum>, ReadError> {
        let (range, txn) = self.durable(from, upto)?;
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let table = txn.open_table(ENTRIES).map_err(RowError::storage)?;
        let (from, until) = (
            entry_key(self.shard, range.start),
            entry_key(self.shard, range.end),
        );
        let rows = table
            .range(from.as_slice()..until.as_slice())
            .map_err(RowError::storage)?;
        let mut checksums = Vec::new();
        for (row, expected) in rows.zip(range.clone()) {
            let (key, value) = row.map_err(RowError::storage)?;
            let checksum = checksum(key.value(), value.value())?;
            if checksum.position.index != expected {
                return Err(MISSING.into());
            }
            checksums.push(checksum);
        }
        let count = u64::try_from(checksums.len()).unwrap_or(u64::MAX);
        if count == range.end - range.start {
            Ok(checksums)
        } else {
            Err(MISSING.into())
        }
    }

    /// The part of `from..=upto` that is on disk, and the file as it is now: taken together, so
    /// that nothing is purged or truncated in between.
    fn durable(&self, from: u64, upto: u64) -> Result<(Range<u64>, ReadTransaction), ReadError> {
        let database = self.node_log.database().get().ok_or(ReadError::Closed)?;
        let state = self.state.lock();
        let from = from.max(state.first);
        let end = state.durable.map_or(0, |durable| durable.min(upto) + 1);
        let txn = database.begin_read().map_err(RowError::storage)?;
        Ok((from..end.min(from.saturating_add(CHECKSUMS_MAX)), txn))
    }
}

fn checksum(key: &[u8], stored: &[u8]) -> Result<LogChecksum, RowError> {
    let entry = decode_entry(key, stored)?;
    let value = unseal(Tag::Entries, key, stored).unwrap_or_default();
    Ok(LogChecksum {
        position: LogPosition::of(entry.log_id),
        checksum: crc32fast::hash(value),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use openraft::EntryPayload;
    use openraft::storage::{IOFlushed, RaftLogStorage as _};
    use openraft::type_config::TypeConfigExt as _;

    use super::*;
    use crate::Workers;
    use crate::disk::Storage;
    use crate::fence::Fence;
    use crate::log::{LogHandle, NodeLog};
    use crate::raft_types::{Entry, Types, log_id};
    use crate::range::{ShardId, StoreKind};

    const SHARD: ShardId = ShardId::initial(StoreKind::Inbox, 0);

    fn open(folder: &Path) -> (NodeLog, LogHandle) {
        let (files, path) = (Storage::Files, folder.join("log.redb"));
        let log = NodeLog::open(&files, &path, 1 << 20, Workers::Threads, Fence::new()).unwrap();
        let group = LogHandle(GroupLog::load(&log, SHARD).unwrap());
        (log, group)
    }

    fn entry(index: u64) -> Entry {
        Entry {
            log_id: log_id(1, index),
            payload: EntryPayload::Blank,
        }
    }

    /// Appends entries, and waits for the file to have them if `is_awaited`.
    async fn append(group: &mut LogHandle, entries: Range<u64>, is_awaited: bool) {
        let entries = entries.map(entry);
        let (done, flushed) = Types::oneshot();
        let done = if is_awaited {
            IOFlushed::signal(done)
        } else {
            IOFlushed::noop()
        };
        group.append(entries, done).await.unwrap();
        if is_awaited {
            flushed.await.unwrap().unwrap();
        }
    }

    fn indexes(group: &LogHandle, from: u64, upto: u64) -> Result<Vec<u64>, ReadError> {
        let read = group.0.checksums(from, upto)?.into_iter();
        Ok(read.map(|entry| entry.position.index).collect())
    }

    #[tokio::test]
    async fn what_is_on_disk_and_not_purged_is_told_and_nothing_else() {
        let temp = tempfile::tempdir().unwrap();
        let (log, mut group) = open(temp.path());
        assert_eq!(indexes(&group, 0, u64::MAX), Ok(vec![]));
        append(&mut group, 0..5, true).await;
        assert_eq!(indexes(&group, 0, u64::MAX), Ok(vec![0, 1, 2, 3, 4]));
        assert_eq!(indexes(&group, 2, 3), Ok(vec![2, 3]));
        assert_eq!(indexes(&group, 5, 9), Ok(vec![]));
        group.truncate_after(Some(log_id(1, 3))).await.unwrap();
        group.purge(log_id(1, 0)).await.unwrap();
        assert_eq!(indexes(&group, 0, u64::MAX), Ok(vec![1, 2, 3]));
        log.close().await;
        append(&mut group, 4..6, false).await;
        assert_eq!(indexes(&group, 0, u64::MAX), Ok(vec![1, 2, 3]));
        log.database().close();
        assert_eq!(indexes(&group, 0, u64::MAX), Err(ReadError::Closed));
    }

    #[tokio::test]
    async fn an_entry_that_is_damaged_or_missing_is_told() {
        let temp = tempfile::tempdir().unwrap();
        let (log, mut group) = open(temp.path());
        append(&mut group, 0..5, true).await;
        let change = |index, value: Option<&[u8]>| {
            let txn = log.database().get_open().unwrap().begin_write().unwrap();
            let mut table = txn.open_table(ENTRIES).unwrap();
            let key = entry_key(SHARD, index);
            let was = match value {
                Some(value) => table.insert(key.as_slice(), value).unwrap(),
                None => table.remove(key.as_slice()).unwrap(),
            };
            let was = was.unwrap().value().to_vec();
            drop(table);
            txn.commit().unwrap();
            was
        };
        let whole = change(2, Some(b"other"));
        let mut flipped = whole.clone();
        flipped[7] ^= 4;
        change(2, Some(&flipped));
        let damaged = RowError::Corrupt { what: "log entry" }.into();
        assert_eq!(indexes(&group, 0, u64::MAX), Err(damaged));
        change(2, Some(&whole));
        for index in [4, 0, 2] {
            change(index, None);
            assert_eq!(indexes(&group, 0, u64::MAX), Err(MISSING.into()), "{index}");
        }
    }
}

//! What the engine is compared with: redb alone, and a file alone.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redb::{Builder, Database, Durability, StorageBackend, TableDefinition};
use tessera_shard::DiskFile as _;

use crate::COMMAND_BYTES;
use crate::disk::{Asked, CountingFile, Counts};
use crate::measured::{Measured, Stopwatch};

const TABLE: TableDefinition<'static, &[u8], &[u8]> = TableDefinition::new("records");
/// As the engine's log has it.
const CACHE_BYTES: usize = 32 * 1024 * 1024;
/// Commits of a round at least, however long they take.
const COMMITS_MIN: u64 = 5;

/// How redb gets the records of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rows {
    /// A row for each.
    PerRecord,
    /// One row for all, as the engine's log has them.
    PerCommit,
}

/// Rows are appended and committed durably, and nothing else.
pub(crate) struct BareRedb {
    database: Database,
    counts: Arc<Counts>,
    next: u64,
}

impl BareRedb {
    pub(crate) fn open(path: &Path) -> Self {
        let counts = Arc::new(Counts::default());
        let file = CountingFile::open(path, &counts).unwrap();
        let mut builder = Builder::new();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder.create_with_backend(Backend(file)).unwrap();
        Self {
            database,
            counts,
            next: 0,
        }
    }

    pub(crate) fn round(&mut self, rows: Rows, batch: usize, length: Duration) -> Measured {
        let before = self.counts.asked();
        let (count, bytes) = match rows {
            Rows::PerRecord => (batch, COMMAND_BYTES),
            Rows::PerCommit => (1, COMMAND_BYTES * batch),
        };
        let value = vec![0xa5; bytes];
        let mut measured = repeat(batch, length, || self.commit(&value, count));
        measured.log = self.counts.asked().since(before);
        measured
    }

    /// Commits one record; how long it took.
    pub(crate) fn once(&mut self) -> Duration {
        let started = Instant::now();
        self.commit(&[0xa5; COMMAND_BYTES], 1);
        started.elapsed()
    }

    fn commit(&mut self, value: &[u8], count: usize) {
        let mut txn = self.database.begin_write().unwrap();
        txn.set_durability(Durability::Immediate).unwrap();
        let mut table = txn.open_table(TABLE).unwrap();
        for _ in 0..count {
            let mut key = [1; 16];
            key[8..].copy_from_slice(&self.next.to_be_bytes());
            table.insert(&key[..], value).unwrap();
            self.next += 1;
        }
        drop(table);
        txn.commit().unwrap();
    }
}

/// Records are appended and synced, and nothing else.
pub(crate) struct BareFile(File);

impl BareFile {
    pub(crate) fn open(path: &Path) -> Self {
        Self(File::create(path).unwrap())
    }

    /// Appends one record and syncs; how long it took.
    pub(crate) fn once(&mut self) -> Duration {
        let started = Instant::now();
        self.append(&[0xa5; COMMAND_BYTES]);
        started.elapsed()
    }

    pub(crate) fn round(&mut self, batch: usize, length: Duration) -> Measured {
        let records = vec![0xa5; COMMAND_BYTES * batch];
        repeat(batch, length, || self.append(&records))
    }

    fn append(&mut self, records: &[u8]) {
        self.0.write_all(records).unwrap();
        self.0.sync_data().unwrap();
    }
}

fn repeat(batch: usize, length: Duration, mut commit: impl FnMut()) -> Measured {
    let mut latencies_us = Vec::new();
    let (mut commits, watch) = (0, Stopwatch::start());
    let until = Instant::now() + length;
    while commits < COMMITS_MIN || Instant::now() < until {
        let started = Instant::now();
        commit();
        latencies_us.push(u32::try_from(started.elapsed().as_micros()).unwrap());
        commits += 1;
    }
    let (seconds, cpu_seconds) = watch.read();
    latencies_us.sort_unstable();
    let records = commits * u64::try_from(batch).unwrap();
    let log = Asked {
        syncs: commits,
        bytes: records * u64::try_from(COMMAND_BYTES).unwrap(),
    };
    Measured {
        records,
        entries: commits,
        seconds,
        cpu_seconds,
        log,
        state: Asked::default(),
        latencies_us,
    }
}

#[derive(Debug)]
struct Backend(CountingFile);

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

//! A snapshot as bytes: how it is read from rows, kept in a file, and read back.
//!
//! ```text
//! record: area u8 | key part | value part      parts behind their length
//! ```
//!
//! The first record is the header (the group's time and range); the others are rows of the engine,
//! of the machine, and of tenants, in this order.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::bytes_io::{Reader, put_part};
use crate::disk::{DiskFile, Storage};
use crate::error::RowError;
use crate::machine::Rows as _;
use crate::range::RangeRecord;
use crate::state::group::{KEY_APPLIED, KEY_EXTENT, KEY_INSTALLING, KEY_MEMBERSHIP};
use crate::state::rows::{Area, Extent, View};

/// Bytes that a snapshot is read, sent and stored by, about.
pub(crate) const CHUNK_BYTES: usize = 512 * 1024;

const DAMAGED: RowError = RowError::undecodable("snapshot");

/// Whose row a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RecordArea {
    Header,
    Engine,
    Machine,
    Tenants,
}

impl RecordArea {
    const fn byte(self) -> u8 {
        match self {
            Self::Header => 0,
            Self::Engine => 1,
            Self::Machine => 2,
            Self::Tenants => 3,
        }
    }

    const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Self::Header),
            1 => Some(Self::Engine),
            2 => Some(Self::Machine),
            3 => Some(Self::Tenants),
            4.. => None,
        }
    }
}

/// Turns the rows of a view into records, block by block.
pub(crate) struct Records {
    view: View,
    header: Option<Vec<u8>>,
    area: Option<RecordArea>,
    /// Where the next block begins.
    from: Vec<u8>,
}

impl Records {
    pub(super) fn new(view: View, time_ms: u64) -> Self {
        let extent = view.extent();
        let record = record_of(extent);
        let mut header = time_ms.to_le_bytes().to_vec();
        header.extend_from_slice(&record.encode());
        Self {
            view,
            header: Some(header),
            area: Some(RecordArea::Engine),
            from: Vec::new(),
        }
    }

    /// The next block of whole records, of about [`CHUNK_BYTES`] or one larger record; empty at the
    /// end.
    pub(crate) fn next_block(&mut self) -> Result<Vec<u8>, RowError> {
        let mut block = Vec::new();
        if let Some(header) = self.header.take() {
            put_record(&mut block, RecordArea::Header, &[], &header);
        }
        while let Some(area) = self.area {
            if block.len() >= CHUNK_BYTES {
                break;
            }
            if !self.fill(area, &mut block)? {
                self.from.clear();
                self.area = match area {
                    RecordArea::Header | RecordArea::Engine => Some(RecordArea::Machine),
                    RecordArea::Machine => Some(RecordArea::Tenants),
                    RecordArea::Tenants => None,
                };
            }
        }
        Ok(block)
    }

    /// Appends rows of an area; `true` if there may be more.
    fn fill(&mut self, area: RecordArea, block: &mut Vec<u8>) -> Result<bool, RowError> {
        let mut last = None;
        let visit = &mut |key: &[u8], value: &[u8]| {
            let is_position = area == RecordArea::Engine
                && [KEY_APPLIED, KEY_MEMBERSHIP, KEY_INSTALLING, KEY_EXTENT].contains(&key);
            if !is_position {
                put_record(block, area, key, value);
            }
            if block.len() < CHUNK_BYTES {
                return std::ops::ControlFlow::Continue(());
            }
            last = Some([key, &[0]].concat());
            std::ops::ControlFlow::Break(())
        };
        match area {
            RecordArea::Header | RecordArea::Engine => {
                self.view.scan_area(Area::Engine, &self.from, &[], visit)?;
            }
            RecordArea::Machine => self.view.scan_area(Area::Machine, &self.from, &[], visit)?,
            RecordArea::Tenants => self.view.scan(&self.from, &[], visit)?,
        }
        let has_more = last.is_some();
        self.from = last.unwrap_or_default();
        Ok(has_more)
    }
}

fn record_of(extent: &Extent) -> RangeRecord {
    RangeRecord {
        shard: extent.shard,
        epoch: extent.epoch,
        stripe: 0,
        range: (*extent.range).clone(),
        founders: Vec::new(),
    }
}

fn put_record(block: &mut Vec<u8>, area: RecordArea, key: &[u8], value: &[u8]) {
    block.push(area.byte());
    put_part(block, key);
    put_part(block, value);
}

/// What a header says: the group's time and its range.
pub(super) fn read_header(extent: &Extent, value: &[u8]) -> Result<(u64, Extent), RowError> {
    let mut reader = Reader::new(value);
    let time_ms = reader.u64().ok_or(DAMAGED)?;
    let record = RangeRecord::decode(extent.shard, reader.rest()).ok_or(DAMAGED)?;
    let extent = Extent {
        shard: extent.shard,
        range: Arc::new(record.range),
        epoch: record.epoch,
    };
    Ok((time_ms, extent))
}

/// A snapshot in a file of its own. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Spool {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    pub(super) len: u64,
    pub(super) check: u32,
}

/// A spool that is being written.
#[derive(Debug)]
pub(crate) struct SpoolWriter {
    path: PathBuf,
    file: Box<dyn DiskFile>,
    len: u64,
    hasher: crc32fast::Hasher,
}

impl SpoolWriter {
    /// Begins anew: what the file had is gone. Blocks.
    pub(crate) fn begin(storage: &Storage, path: &Path) -> io::Result<Self> {
        let file = storage.open_file(path)?;
        file.set_len(0)?;
        Ok(Self {
            path: path.to_owned(),
            file,
            len: 0,
            hasher: crc32fast::Hasher::new(),
        })
    }

    pub(crate) const fn len(&self) -> u64 {
        self.len
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write(self.len, bytes)?;
        self.hasher.update(bytes);
        self.len += u64::try_from(bytes.len()).map_err(io::Error::other)?;
        Ok(())
    }

    /// Makes the file durable.
    pub(crate) fn finish(self, storage: &Storage) -> io::Result<Spool> {
        self.file.sync()?;
        if let Some(folder) = self.path.parent() {
            storage.sync_names(folder)?;
        }
        Ok(Spool {
            path: self.path,
            file: self.file.into(),
            len: self.len,
            check: self.hasher.finalize(),
        })
    }
}

impl Spool {
    /// The checksum of the whole file.
    pub(crate) const fn check(&self) -> u32 {
        self.check
    }

    /// The epoch of the range that it is a snapshot of. Blocks.
    pub(crate) fn epoch(&self, extent: &Extent) -> Result<u64, RowError> {
        let header = self.reader().next()?.ok_or(DAMAGED)?;
        read_header(extent, &header.value).map(|(_, extent)| extent.epoch)
    }

    /// A spool of an earlier life; `None` if it is not what was written. Reads all of it.
    pub(super) fn reopen(
        storage: &Storage,
        path: &Path,
        len: u64,
        check: u32,
    ) -> io::Result<Option<Self>> {
        if !storage.exists(path)? {
            return Ok(None);
        }
        let file = storage.open_file(path)?;
        if file.len()? < len {
            return Ok(None);
        }
        let (mut hasher, mut at) = (crc32fast::Hasher::new(), 0);
        let mut buffer = vec![0; CHUNK_BYTES];
        while at < len {
            let count = usize::try_from(len - at).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
            let part = &mut buffer[..count];
            file.read(at, part)?;
            hasher.update(part);
            at += u64::try_from(count).map_err(io::Error::other)?;
        }
        let is_whole = hasher.finalize() == check;
        Ok(is_whole.then(|| Self {
            path: path.to_owned(),
            file: file.into(),
            len,
            check,
        }))
    }

    /// The file is no longer needed.
    pub(super) fn remove(self, storage: &Storage) -> io::Result<()> {
        drop(self.file);
        storage.remove(&self.path)
    }

    pub(super) fn reader(&self) -> SpoolReader {
        SpoolReader {
            file: Arc::clone(&self.file),
            at: 0,
            len: self.len,
            buffer: Vec::new(),
            taken: 0,
        }
    }
}

/// Reads the records of a spool in order.
pub(super) struct SpoolReader {
    file: Arc<dyn DiskFile>,
    /// Up to where the file is in the buffer.
    at: u64,
    len: u64,
    buffer: Vec<u8>,
    /// Up to where the buffer was given out.
    taken: usize,
}

/// A record of a spool.
pub(super) struct Record {
    pub(super) area: RecordArea,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

impl SpoolReader {
    /// The next record; `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Record>, RowError> {
        loop {
            let rest = self.buffer.get(self.taken..).unwrap_or_default();
            if rest.is_empty() && self.at == self.len {
                return Ok(None);
            }
            let mut reader = Reader::new(rest);
            if let Some(record) = read_record(&mut reader) {
                self.taken = self.buffer.len() - reader.rest().len();
                return Ok(Some(record));
            }
            if self.at == self.len {
                return Err(DAMAGED);
            }
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> Result<(), RowError> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let left = usize::try_from(self.len - self.at).unwrap_or(CHUNK_BYTES);
        let (old, count) = (self.buffer.len(), left.min(CHUNK_BYTES));
        self.buffer.resize(old + count, 0);
        let part = self.buffer.get_mut(old..).unwrap_or_default();
        self.file
            .read(self.at, part)
            .map_err(|error| RowError::Storage(error.to_string().into()))?;
        self.at += u64::try_from(count).unwrap_or(0);
        Ok(())
    }
}

fn read_record(reader: &mut Reader<'_>) -> Option<Record> {
    let area = RecordArea::from_byte(reader.u8()?)?;
    let (key, value) = (reader.part()?.to_vec(), reader.part()?.to_vec());
    Some(Record { area, key, value })
}

//! The rows of the log file.
//!
//! - entries: `shard u64 | index u64` (big-endian, so that a group's entries lie in order) →
//!   `form u8 | kind u8 | term u64 | payload`. Under the largest index lies the committed position:
//!   right behind the newest entry, so that writing it with an append touches no other page.
//! - meta: `kind u8 | …` → votes and purged positions by shard; ranges by kind; the node.

use bytes::Bytes;
use openraft::EntryPayload;

use crate::batch::EncodedBatch;
use crate::bytes_io::Reader;
use crate::checksum::{Definition, Tag, insert_sealed, unseal};
use crate::error::RowError;
use crate::raft_types::{Entry, LogId, Membership, Vote, log_id};
use crate::range::{ShardId, StoreKind};

pub(crate) const ENTRIES: Definition = Definition::new("entries");
pub(crate) const META: Definition = Definition::new("meta");

/// The form of entries that is written.
const ENTRY_FORM: u8 = 1;
const KIND_BLANK: u8 = 0;
const KIND_BATCH: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;

/// What a row of the meta table holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MetaKind {
    Vote,
    Purged,
}

pub(crate) fn meta_key(kind: MetaKind, shard: ShardId) -> [u8; 9] {
    let kind = match kind {
        MetaKind::Vote => b'v',
        MetaKind::Purged => b'p',
    };
    keyed(kind, shard.as_u64())
}

/// Where it says that this node left a group, and since which change of its members.
pub(crate) fn tombstone_key(shard: ShardId) -> [u8; 9] {
    keyed(b't', shard.as_u64())
}

/// The row that names the node a folder belongs to.
pub(crate) const NODE_KEY: &[u8] = b"n";

/// The key of a range's record.
pub(crate) fn range_key(kind: StoreKind, shard: ShardId) -> [u8; 10] {
    let mut key = [0; 10];
    key[..2].copy_from_slice(&range_prefix(kind));
    key[2..].copy_from_slice(&shard.as_u64().to_be_bytes());
    key
}

pub(crate) const fn range_prefix(kind: StoreKind) -> [u8; 2] {
    [b'r', kind.code()]
}

/// Where the committed position of a group lies among its entries.
pub(crate) fn committed_key(shard: ShardId) -> [u8; 16] {
    entry_key(shard, u64::MAX)
}

pub(crate) fn entry_key(shard: ShardId, index: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&shard.as_u64().to_be_bytes());
    key[8..].copy_from_slice(&index.to_be_bytes());
    key
}

fn keyed(kind: u8, number: u64) -> [u8; 9] {
    let mut key = [kind; 9];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

pub(crate) fn insert_entry(
    table: &mut crate::checksum::SealedTable<'_>,
    shard: ShardId,
    entry: &Entry,
) -> Result<(), RowError> {
    let membership;
    let (kind, payload) = match &entry.payload {
        EntryPayload::Blank => (KIND_BLANK, &[][..]),
        EntryPayload::Normal(batch) => (KIND_BATCH, batch.as_bytes()),
        EntryPayload::Membership(members) => {
            membership = encode_membership(members)?;
            (KIND_MEMBERSHIP, &membership[..])
        }
    };
    let term = entry.log_id.leader_id.term.to_le_bytes();
    let key = entry_key(shard, entry.log_id.index);
    insert_sealed(
        table,
        Tag::Entries,
        &key,
        &[&[ENTRY_FORM, kind], &term, payload],
    )
    .map_err(RowError::storage)
}

pub(crate) fn decode_entry(key: &[u8], stored: &[u8]) -> Result<Entry, RowError> {
    const DAMAGED: RowError = RowError::undecodable("log entry");
    let value = unseal(Tag::Entries, key, stored).ok_or(DAMAGED)?;
    read_entry(key, value).ok_or(DAMAGED)
}

fn read_entry(key: &[u8], value: &[u8]) -> Option<Entry> {
    let index = u64::from_be_bytes(key.get(8..)?.try_into().ok()?);
    let mut reader = Reader::new(value);
    if reader.u8()? != ENTRY_FORM {
        return None;
    }
    let kind = reader.u8()?;
    let log_id = log_id(reader.u64()?, index);
    let payload = match kind {
        KIND_BLANK if reader.is_empty() => EntryPayload::Blank,
        KIND_BATCH => EntryPayload::Normal(EncodedBatch::from_stored(Bytes::copy_from_slice(
            reader.rest(),
        ))),
        KIND_MEMBERSHIP => EntryPayload::Membership(postcard::from_bytes(reader.rest()).ok()?),
        KIND_BLANK | 3.. => return None,
    };
    Some(Entry { log_id, payload })
}

pub(crate) fn encode_membership(members: &Membership) -> Result<Vec<u8>, RowError> {
    postcard::to_stdvec(members).map_err(|error| RowError::Storage(error.to_string().into()))
}

pub(crate) fn encode_log_id(id: &LogId) -> [u8; 16] {
    let mut out = [0; 16];
    out[..8].copy_from_slice(&id.leader_id.term.to_le_bytes());
    out[8..].copy_from_slice(&id.index.to_le_bytes());
    out
}

pub(crate) fn read_log_id(reader: &mut Reader<'_>) -> Option<LogId> {
    Some(log_id(reader.u64()?, reader.u64()?))
}

pub(crate) fn encode_vote(vote: &Vote) -> [u8; 17] {
    let mut out = [0; 17];
    out[..8].copy_from_slice(&vote.leader_id.term.to_le_bytes());
    out[8..16].copy_from_slice(&vote.leader_id.voted_for.to_le_bytes());
    out[16] = u8::from(vote.committed);
    out
}

pub(crate) fn read_vote(bytes: &[u8]) -> Option<Vote> {
    let mut reader = Reader::new(bytes);
    let (term, node) = (reader.u64()?, reader.u64()?);
    let vote = match reader.u8()? {
        0 => Vote::new(term, node),
        1 => Vote::new_committed(term, node),
        2.. => return None,
    };
    reader.is_empty().then_some(vote)
}

/// A row of a position, in either table, verified.
pub(crate) fn read_meta<R>(
    table: &redb::ReadOnlyTable<&'static [u8], &'static [u8]>,
    key: &[u8],
    decode: impl FnOnce(&[u8]) -> Option<R>,
) -> Result<Option<R>, RowError> {
    const DAMAGED: RowError = RowError::undecodable("log position");
    let Some(guard) = table.get(key).map_err(RowError::storage)? else {
        return Ok(None);
    };
    let value = unseal(Tag::Meta, key, guard.value()).ok_or(DAMAGED)?;
    decode(value).map(Some).ok_or(DAMAGED)
}

//! The form of an append: the bulk of what nodes send, so batches are not copied when it is read.

use bytes::Bytes;
use openraft::EntryPayload;
use openraft::raft::AppendEntriesRequest;

use crate::batch::EncodedBatch;
use crate::bytes_io::{Reader, put_part};
use crate::log::{encode_vote, read_vote};
use crate::raft_types::{Entry, LogId, Types, log_id};

const KIND_BLANK: u8 = 0;
const KIND_BATCH: u8 = 1;
const KIND_MEMBERSHIP: u8 = 2;
/// Bytes of a vote.
pub(super) const VOTE_LEN: usize = 17;

pub(super) fn put_append(out: &mut Vec<u8>, append: &AppendEntriesRequest<Types>) -> Option<()> {
    out.extend_from_slice(&encode_vote(&append.vote));
    put_id(out, append.prev_log_id.as_ref());
    put_id(out, append.leader_commit.as_ref());
    let count = u32::try_from(append.entries.len()).ok()?;
    out.extend_from_slice(&count.to_le_bytes());
    for entry in &append.entries {
        out.extend_from_slice(&entry.log_id.leader_id.term.to_le_bytes());
        out.extend_from_slice(&entry.log_id.index.to_le_bytes());
        match &entry.payload {
            EntryPayload::Blank => {
                out.push(KIND_BLANK);
                put_part(out, &[]);
            }
            EntryPayload::Normal(batch) => {
                out.push(KIND_BATCH);
                put_part(out, batch.as_bytes());
            }
            EntryPayload::Membership(members) => {
                out.push(KIND_MEMBERSHIP);
                put_part(out, &postcard::to_stdvec(members).ok()?);
            }
        }
    }
    Some(())
}

pub(super) fn read_append(
    whole: &Bytes,
    reader: &mut Reader<'_>,
) -> Option<AppendEntriesRequest<Types>> {
    let vote = read_vote(reader.take(VOTE_LEN)?)?;
    let prev_log_id = read_id(reader)?;
    let leader_commit = read_id(reader)?;
    let count = reader.u32()?;
    let entries = (0..count)
        .map(|_| read_entry(whole, reader))
        .collect::<Option<_>>()?;
    reader.is_empty().then_some(AppendEntriesRequest {
        vote,
        prev_log_id,
        entries,
        leader_commit,
    })
}

fn read_entry(whole: &Bytes, reader: &mut Reader<'_>) -> Option<Entry> {
    let log_id = log_id(reader.u64()?, reader.u64()?);
    let kind = reader.u8()?;
    let part = reader.part()?;
    let payload = match kind {
        KIND_BLANK if part.is_empty() => EntryPayload::Blank,
        KIND_BATCH => EntryPayload::Normal(EncodedBatch::from_stored(whole.slice_ref(part))),
        KIND_MEMBERSHIP => EntryPayload::Membership(postcard::from_bytes(part).ok()?),
        KIND_BLANK | 3.. => return None,
    };
    Some(Entry { log_id, payload })
}

fn put_id(out: &mut Vec<u8>, id: Option<&LogId>) {
    out.push(u8::from(id.is_some()));
    if let Some(id) = id {
        out.extend_from_slice(&id.leader_id.term.to_le_bytes());
        out.extend_from_slice(&id.index.to_le_bytes());
    }
}

/// The outer `None` is damage, the inner one no id.
#[expect(clippy::option_option, reason = "both are told apart at once")]
fn read_id(reader: &mut Reader<'_>) -> Option<Option<LogId>> {
    match reader.u8()? {
        0 => Some(None),
        1 => Some(Some(log_id(reader.u64()?, reader.u64()?))),
        2.. => None,
    }
}

//! Requests, and the envelope around them.

use bytes::Bytes;
use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest, VoteRequest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tessera_tenancy::ClusterId;

use crate::batch::EncodedBatch;
use crate::bytes_io::{Reader, put_part};
use crate::log::{encode_vote, read_vote};
use crate::raft_types::{BatchReply, LogId, SnapshotMeta, Types, Vote, log_id};
use crate::range::{RangeRecord, ShardId, StoreKind};
use crate::wire::append::{VOTE_LEN, put_append, read_append};

/// The form that is written; a newer one is refused.
const FORM: u8 = 1;
const DONE: u8 = 0;

/// What stands in front of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Envelope {
    pub(crate) cluster: ClusterId,
    pub(crate) kind: StoreKind,
    pub(crate) shard: ShardId,
    /// The epoch of the range as the sender knows it.
    pub(crate) epoch: u64,
}

/// What one node asks of another.
#[derive(Debug, Clone)]
pub(crate) enum Request {
    Append(AppendEntriesRequest<Types>),
    Vote(VoteRequest<Types>),
    PreVote(VoteRequest<Types>),
    TransferLeader(TransferLeaderRequest<Types>),
    /// Batches of a proposer on another node, in order.
    Forward(Vec<EncodedBatch>),
    /// The index that a linearizable read elsewhere must have applied.
    ReadIndex,
    /// Make a replica of this range, empty. The number is the log index of the group's members as
    /// the sender knows them.
    Host(RangeRecord, u64),
    /// The receiver is no member since the change at this place in the log: its replica goes.
    Retire(LogId),
    /// A part of a snapshot.
    Snapshot(SnapshotPart),
}

/// A part of a snapshot, in order; the last one says what the whole is.
#[derive(Debug, Clone)]
pub(crate) struct SnapshotPart {
    /// The leader that sends it, and which of its transfers this is.
    pub(crate) vote: Vote,
    pub(crate) transfer: u64,
    /// How many bytes came before.
    pub(crate) offset: u64,
    pub(crate) bytes: Bytes,
    pub(crate) last: Option<SnapshotEnd>,
}

/// What a whole snapshot is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct SnapshotEnd {
    pub(crate) meta: SnapshotMeta,
    /// Checksum over all its bytes.
    pub(crate) check: u32,
}

/// What became of a forwarded batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ForwardOutcome {
    Reply(BatchReply),
    /// Not taken, or lost with its leader: send it again, there if it is known where.
    NotLeader(Option<u64>),
    /// The node is closing or fenced.
    Ended,
}

/// Why a request was not done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// It does not decode, or is of a newer form.
    Malformed,
    /// It comes from another cluster.
    Foreign,
    /// The store is not open here, is closing, or the node is fenced.
    Unavailable,
    /// There is no replica of the shard here.
    UnknownShard,
    /// A replica here still covers keys of the range that was to be made.
    Covered,
    /// This node was removed from the group, and does not begin it again by itself.
    Removed,
}

impl Refusal {
    const ALL: [Self; 6] = [
        Self::Malformed,
        Self::Foreign,
        Self::Unavailable,
        Self::UnknownShard,
        Self::Covered,
        Self::Removed,
    ];

    const fn code(self) -> u8 {
        match self {
            Self::Malformed => 1,
            Self::Foreign => 2,
            Self::Unavailable => 3,
            Self::UnknownShard => 4,
            Self::Covered => 5,
            Self::Removed => 6,
        }
    }
}

const TAG_APPEND: u8 = 1;
const TAG_VOTE: u8 = 2;
const TAG_PRE_VOTE: u8 = 3;
const TAG_TRANSFER: u8 = 4;
const TAG_FORWARD: u8 = 5;
const TAG_READ_INDEX: u8 = 6;
const TAG_HOST: u8 = 7;
const TAG_SNAPSHOT: u8 = 8;
const TAG_RETIRE: u8 = 9;

impl Request {
    /// `None` if it cannot be encoded.
    pub(crate) fn encode(&self, envelope: &Envelope) -> Option<Bytes> {
        let mut out = Vec::with_capacity(128 + self.bulk());
        out.push(FORM);
        out.extend_from_slice(envelope.cluster.as_bytes());
        out.push(envelope.kind.code());
        out.extend_from_slice(&envelope.shard.as_u64().to_le_bytes());
        out.extend_from_slice(&envelope.epoch.to_le_bytes());
        out.push(self.tag());
        match self {
            Self::Append(append) => put_append(&mut out, append)?,
            Self::Vote(vote) | Self::PreVote(vote) => put_serde(&mut out, vote)?,
            Self::TransferLeader(transfer) => put_serde(&mut out, transfer)?,
            Self::Forward(batches) => {
                for batch in batches {
                    put_part(&mut out, batch.as_bytes());
                }
            }
            Self::ReadIndex => {}
            Self::Host(record, since) => {
                out.extend_from_slice(&since.to_le_bytes());
                out.extend_from_slice(&record.encode());
            }
            Self::Retire(since) => {
                out.extend_from_slice(&since.index.to_le_bytes());
                out.extend_from_slice(&since.leader_id.term.to_le_bytes());
            }
            Self::Snapshot(part) => put_snapshot(&mut out, part)?,
        }
        Some(out.into())
    }

    pub(crate) fn decode(bytes: &Bytes) -> Result<(Envelope, Self), Refusal> {
        let mut reader = Reader::new(bytes);
        let envelope = read_envelope(&mut reader).ok_or(Refusal::Malformed)?;
        let request = read_request(bytes, &envelope, reader).ok_or(Refusal::Malformed)?;
        Ok((envelope, request))
    }

    const fn tag(&self) -> u8 {
        match self {
            Self::Append(_) => TAG_APPEND,
            Self::Vote(_) => TAG_VOTE,
            Self::PreVote(_) => TAG_PRE_VOTE,
            Self::TransferLeader(_) => TAG_TRANSFER,
            Self::Forward(_) => TAG_FORWARD,
            Self::ReadIndex => TAG_READ_INDEX,
            Self::Host(..) => TAG_HOST,
            Self::Retire(_) => TAG_RETIRE,
            Self::Snapshot(_) => TAG_SNAPSHOT,
        }
    }

    /// About how many bytes its batches have.
    fn bulk(&self) -> usize {
        match self {
            Self::Append(append) => append.entries.iter().map(crate::log::payload_bytes).sum(),
            Self::Forward(batches) => batches.iter().map(EncodedBatch::len).sum(),
            Self::Snapshot(part) => part.bytes.len(),
            Self::Vote(_)
            | Self::PreVote(_)
            | Self::TransferLeader(_)
            | Self::ReadIndex
            | Self::Host(..)
            | Self::Retire(_) => 0,
        }
    }
}

/// An answer to a request that was done.
pub(crate) fn answer(body: &impl Serialize) -> Bytes {
    let mut out = vec![FORM, DONE];
    match put_serde(&mut out, body) {
        Some(()) => out.into(),
        None => refuse(Refusal::Unavailable),
    }
}

/// An answer to one that was not.
pub(crate) fn refuse(why: Refusal) -> Bytes {
    vec![FORM, why.code()].into()
}

/// What an answer says.
pub(crate) fn read_answer<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let mut reader = Reader::new(bytes);
    if reader.u8() != Some(FORM) {
        return Err(Refusal::Malformed);
    }
    match reader.u8() {
        Some(DONE) => postcard::from_bytes(reader.rest()).map_err(|_| Refusal::Malformed),
        Some(code) => {
            let known = Refusal::ALL.into_iter().find(|why| why.code() == code);
            Err(known.unwrap_or(Refusal::Malformed))
        }
        None => Err(Refusal::Malformed),
    }
}

fn read_envelope(reader: &mut Reader<'_>) -> Option<Envelope> {
    if reader.u8()? != FORM {
        return None;
    }
    Some(Envelope {
        cluster: ClusterId::from_bytes(reader.array()?),
        kind: StoreKind::from_code(reader.u8()?)?,
        shard: ShardId::from_u64(reader.u64()?),
        epoch: reader.u64()?,
    })
}

fn read_request(whole: &Bytes, envelope: &Envelope, mut reader: Reader<'_>) -> Option<Request> {
    Some(match reader.u8()? {
        TAG_APPEND => Request::Append(read_append(whole, &mut reader)?),
        TAG_VOTE => Request::Vote(read_serde(reader)?),
        TAG_PRE_VOTE => Request::PreVote(read_serde(reader)?),
        TAG_TRANSFER => Request::TransferLeader(read_serde(reader)?),
        TAG_FORWARD => {
            let mut batches = Vec::new();
            while !reader.is_empty() {
                let batch = whole.slice_ref(reader.part()?);
                batches.push(EncodedBatch::from_stored(batch));
            }
            Request::Forward(batches)
        }
        TAG_READ_INDEX => Request::ReadIndex,
        TAG_HOST => {
            let since = reader.u64()?;
            Request::Host(RangeRecord::decode(envelope.shard, reader.rest())?, since)
        }
        TAG_RETIRE => {
            let index = reader.u64()?;
            Request::Retire(log_id(reader.u64()?, index))
        }
        TAG_SNAPSHOT => Request::Snapshot(read_snapshot(whole, reader)?),
        0 | 10.. => return None,
    })
}

/// `vote [17] | transfer u64 | offset u64 | bytes part | is_last u8 | end?`
fn put_snapshot(out: &mut Vec<u8>, part: &SnapshotPart) -> Option<()> {
    out.extend_from_slice(&encode_vote(&part.vote));
    out.extend_from_slice(&part.transfer.to_le_bytes());
    out.extend_from_slice(&part.offset.to_le_bytes());
    put_part(out, &part.bytes);
    out.push(u8::from(part.last.is_some()));
    part.last
        .as_ref()
        .map_or(Some(()), |end| put_serde(out, end))
}

fn read_snapshot(whole: &Bytes, mut reader: Reader<'_>) -> Option<SnapshotPart> {
    let vote = read_vote(reader.take(VOTE_LEN)?)?;
    let (transfer, offset) = (reader.u64()?, reader.u64()?);
    let bytes = whole.slice_ref(reader.part()?);
    let last = match reader.u8()? {
        0 => None,
        1 => Some(read_serde(reader)?),
        2.. => return None,
    };
    Some(SnapshotPart {
        vote,
        transfer,
        offset,
        bytes,
        last,
    })
}

fn put_serde(out: &mut Vec<u8>, value: &impl Serialize) -> Option<()> {
    let taken = std::mem::take(out);
    *out = postcard::to_extend(value, taken).ok()?;
    Some(())
}

fn read_serde<T: DeserializeOwned>(reader: Reader<'_>) -> Option<T> {
    postcard::from_bytes(reader.rest()).ok()
}

//! Snapshots on their way: from a leader's rows, in parts of bounded size, into a file of the replica
//! that is too far behind for the log.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use openraft::alias::SnapshotOf;
use openraft::storage::Snapshot;
use tessera_tenancy::NodeId;
use tokio::sync::OwnedMutexGuard;

use crate::peer::{CallError, GroupLink};
use crate::raft::Raft;
use crate::raft_types::{Types, Vote};
use crate::state::{CHUNK_BYTES, SnapshotData, Spool, SpoolWriter, StateHandle};
use crate::transport::TransportError;
use crate::wire::{Refusal, Request, SnapshotEnd, SnapshotPart};

/// How long a snapshot may take to be sent. While it is read it keeps pages of the state file from
/// reuse; past this it begins anew from newer rows.
pub(crate) const SNAPSHOT_TIME_MAX: Duration = Duration::from_mins(15);
/// How long the receiver of a part may take to store it.
const PART_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a part is sent before the transfer is given up.
const PART_TRIES: usize = 5;
/// How often the last part is: each asks for [`PART_TIMEOUT`] whether the rows are in place, 10 minutes
/// in all. A single long wait would not notice that the request or its answer was lost.
const LAST_PART_TRIES: usize = 60;

/// Why a snapshot did not arrive.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SendError {
    #[error(transparent)]
    Call(#[from] CallError),
    #[error("reading the snapshot: {0}")]
    Read(#[from] io::Error),
}

/// Sends a snapshot. The vote that the receiver knows: larger than `vote` if there is a later leader.
pub(crate) async fn send_snapshot(
    group: &GroupLink,
    to: NodeId,
    vote: Vote,
    snapshot: SnapshotOf<Types, SnapshotData>,
) -> Result<Vote, SendError> {
    let SnapshotData::View(view) = snapshot.snapshot else {
        return Err(io::Error::other("a received snapshot is not sent on").into());
    };
    let workers = group.link.workers;
    let mut sender = Sender {
        group,
        to,
        vote,
        transfer: group.link.transfers.fetch_add(1, Ordering::Relaxed),
        offset: 0,
        hasher: crc32fast::Hasher::new(),
    };
    let mut records = view.records().map_err(io::Error::other)?;
    loop {
        let read = workers.run(move || (records.next_block(), records)).await;
        let (block, rest) = read.ok_or_else(|| io::Error::other("a panic"))?;
        records = rest;
        let block = Bytes::from(block.map_err(io::Error::other)?);
        if block.is_empty() {
            break;
        }
        if let Some(later) = sender.send_block(&block).await? {
            return Ok(later);
        }
    }
    let end = SnapshotEnd {
        meta: snapshot.meta,
        check: sender.hasher.clone().finalize(),
    };
    sender.send(Bytes::new(), Some(end)).await
}

struct Sender<'a> {
    group: &'a GroupLink,
    to: NodeId,
    vote: Vote,
    transfer: u64,
    offset: u64,
    hasher: crc32fast::Hasher,
}

impl Sender<'_> {
    /// Sends a block in parts; the receiver's vote if it is a later one.
    async fn send_block(&mut self, block: &Bytes) -> Result<Option<Vote>, SendError> {
        for at in (0..block.len()).step_by(CHUNK_BYTES) {
            let part = block.slice(at..block.len().min(at + CHUNK_BYTES));
            let answered = self.send(part.clone(), None).await?;
            if answered > self.vote {
                return Ok(Some(answered));
            }
            self.hasher.update(&part);
            self.offset += u64::try_from(part.len()).map_err(io::Error::other)?;
        }
        Ok(None)
    }

    async fn send(&self, bytes: Bytes, last: Option<SnapshotEnd>) -> Result<Vote, SendError> {
        let tries_max = if last.is_some() {
            LAST_PART_TRIES
        } else {
            PART_TRIES
        };
        let request = Request::Snapshot(SnapshotPart {
            vote: self.vote,
            transfer: self.transfer,
            offset: self.offset,
            bytes,
            last,
        });
        let mut tries = 0;
        loop {
            let called = self.group.call(self.to, &request, PART_TIMEOUT).await;
            tries += 1;
            match called {
                Ok(vote) => return Ok(vote),
                Err(CallError::Transport(TransportError::Timeout { .. })) if tries < tries_max => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// The snapshot that a replica receives now.
#[derive(Debug, Default)]
pub(crate) struct Receiver(Arc<tokio::sync::Mutex<Receiving>>);

#[derive(Debug, Default)]
enum Receiving {
    #[default]
    Nothing,
    Parts {
        transfer: (Vote, u64),
        writer: SpoolWriter,
    },
    /// All of it, and what Raft said of it.
    Installed { transfer: (Vote, u64), answer: Vote },
}

impl Receiver {
    /// Takes in a part. The vote that this node knows. Goes on although nobody waits any more: the
    /// file of a snapshot is not begun anew while its rows are put in place.
    pub(crate) async fn receive(
        &self,
        raft: &Raft,
        state: &StateHandle,
        part: SnapshotPart,
    ) -> Result<Vote, Refusal> {
        let known = raft
            .call(|raft| async move { raft.with_raft_state(|state| *state.vote_ref()).await })
            .await;
        let known = known.map_err(|_ended| Refusal::Unavailable)?;
        if known > part.vote {
            return Ok(known);
        }
        let receiving = Arc::clone(&self.0).lock_owned().await;
        let (raft, state) = (raft.clone(), state.clone());
        let taking = tokio::spawn(take_in(receiving, raft, state, part));
        taking.await.unwrap_or(Err(Refusal::Unavailable))
    }
}

async fn take_in(
    mut receiving: OwnedMutexGuard<Receiving>,
    raft: Raft,
    state: StateHandle,
    part: SnapshotPart,
) -> Result<Vote, Refusal> {
    let transfer = (part.vote, part.transfer);
    if let Receiving::Installed {
        transfer: installed,
        answer,
    } = &*receiving
        && *installed == transfer
    {
        return Ok(*answer);
    }
    let writer = receiving.writer(transfer, &part, &state).await?;
    let Some(end) = part.last else {
        *receiving = Receiving::Parts { transfer, writer };
        return Ok(part.vote);
    };
    let (spool, epoch) = finish(&state, writer).await?;
    if spool.check() != end.check {
        return Err(Refusal::Malformed);
    }
    if epoch < state.group.extent().epoch {
        // Its leader has not come to a split yet that this replica was made after: rows of before
        // would lie over those of the split-off shard.
        return Err(Refusal::Unavailable);
    }
    let snapshot = Snapshot {
        meta: end.meta,
        snapshot: SnapshotData::Spool(spool),
    };
    let installed = raft
        .call(|raft| async move { raft.install_full_snapshot(part.vote, snapshot).await })
        .await;
    let answer = installed.map_err(|_ended| Refusal::Unavailable)?.vote;
    *receiving = Receiving::Installed { transfer, answer };
    Ok(answer)
}

impl Receiving {
    /// The writer of the transfer's spool with the part in it.
    async fn writer(
        &mut self,
        transfer: (Vote, u64),
        part: &SnapshotPart,
        state: &StateHandle,
    ) -> Result<SpoolWriter, Refusal> {
        let begun = match std::mem::take(self) {
            Self::Parts {
                transfer: begun,
                writer,
            } if begun == transfer => Some(writer),
            Self::Nothing | Self::Parts { .. } | Self::Installed { .. } => None,
        };
        let (stripe, shard) = (state.stripe.clone(), state.group.shard());
        let (offset, bytes) = (part.offset, part.bytes.clone());
        let workers = stripe.workers();
        let written = workers.run(move || {
            let mut writer = match begun {
                Some(writer) => writer,
                None => stripe.begin_spool(shard).ok()?,
            };
            let end = offset.checked_add(u64::try_from(bytes.len()).ok()?)?;
            if writer.len() == offset {
                writer.append(&bytes).ok()?;
            }
            // A repeated part is there already; a part before this one is missing otherwise.
            (writer.len() >= end).then_some(writer)
        });
        written.await.flatten().ok_or(Refusal::Malformed)
    }
}

/// Makes a spool durable, and looks which epoch of the range it has.
async fn finish(state: &StateHandle, writer: SpoolWriter) -> Result<(Spool, u64), Refusal> {
    let owner = state.clone();
    let finished = state.stripe.workers().run(move || {
        let spool = owner.stripe.finish_spool(writer).ok()?;
        let epoch = spool.epoch(&owner.group.extent()).ok()?;
        Some((spool, epoch))
    });
    finished.await.flatten().ok_or(Refusal::Unavailable)
}

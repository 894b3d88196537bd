//! From commands to log entries: fair queues, numbered batches, several in flight.
//!
//! A batch is formed as soon as there is a command and room in flight, never waiting for more.
//! Under load the room is taken, commands gather in the queues meanwhile, and batches grow by
//! themselves. What is in flight is bounded, so the queue builds up here, where it is served
//! fairly, and not in Raft.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use openraft::error::ClientWriteError;
use parking_lot::Mutex;
use tessera_tenancy::NodeId;
use tokio::sync::{Notify, oneshot};

use crate::batch::{BatchHeader, COMMAND_OVERHEAD, EncodedBatch, ProposerId};
use crate::dedupe::ANSWERS_KEPT;
use crate::error::ProposeError;
use crate::fair::FairQueue;
use crate::fence::Fence;
use crate::machine::Scope;
use crate::options::{COMMAND_BYTES_MAX, Clock};
use crate::raft_types::{BatchReply, OnComplete, Types, WriteResult};
use crate::state::{Extent, StateHandle};

pub(crate) type Raft = openraft::Raft<Types, StateHandle>;

/// Bytes of one batch; a larger command goes alone.
const BATCH_BYTES_MAX: usize = 512 * 1024;
/// Commands of one batch.
const BATCH_COMMANDS_MAX: usize = 4096;
/// Batches in flight: no more than the answers that a group keeps, so that any can be repeated.
#[expect(clippy::cast_possible_truncation, reason = "the constant is 8")]
const BATCHES_IN_FLIGHT_MAX: usize = ANSWERS_KEPT as usize;
/// What a queued command takes besides its bytes: bounds a queue of tiny ones.
const QUEUED_OVERHEAD: usize = 128;

/// Bounds of a proposer, from the engine's options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ProposerLimits {
    pub(crate) queue_bytes_max: usize,
    pub(crate) in_flight_bytes_max: usize,
}

/// The queues of one shard.
pub(crate) struct Proposer {
    extent: Extent,
    fence: Fence,
    limits: ProposerLimits,
    queue: Mutex<Queue>,
    /// Something was queued, came back, or was closed.
    wake: Notify,
}

struct Queue {
    waiting: FairQueue<Pending>,
    phase: Phase,
    in_flight_batches: usize,
    in_flight_bytes: usize,
}

/// `Open` → `Closing` (finishes what was taken) → `Ended`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Open,
    Closing,
    /// Nothing is taken any more, for this reason.
    Ended(ProposeError),
}

struct Pending {
    command: Bytes,
    answer: oneshot::Sender<Result<Bytes, ProposeError>>,
}

/// A formed batch: its commands, and what it takes of the room in flight.
struct Formed {
    commands: Vec<(Scope, Pending)>,
    bytes: usize,
}

impl fmt::Debug for Proposer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposer")
            .field("shard", &self.extent.shard)
            .finish_non_exhaustive()
    }
}

impl Proposer {
    pub(crate) fn new(extent: Extent, fence: Fence, limits: ProposerLimits) -> Self {
        Self {
            extent,
            fence,
            limits,
            queue: Mutex::new(Queue {
                waiting: FairQueue::new(),
                phase: Phase::Open,
                in_flight_batches: 0,
                in_flight_bytes: 0,
            }),
            wake: Notify::new(),
        }
    }

    /// Takes a command into its scope's queue, or refuses it.
    pub(crate) fn submit(&self, scope: Scope, command: Bytes) -> Result<Proposal, ProposeError> {
        self.check(scope, &command)?;
        let cost = command.len() + COMMAND_OVERHEAD;
        let (answer, answered) = oneshot::channel();
        {
            let mut queue = self.queue.lock();
            match &queue.phase {
                Phase::Open => {}
                Phase::Closing => return Err(ProposeError::Closed),
                Phase::Ended(why) => return Err(why.clone()),
            }
            let (queued_bytes, limit_bytes) = (queue.waiting.bytes(), self.limits.queue_bytes_max);
            if !queue.waiting.is_empty() && queued_bytes + cost + QUEUED_OVERHEAD > limit_bytes {
                return Err(ProposeError::Busy {
                    queued_bytes,
                    limit_bytes,
                });
            }
            queue
                .waiting
                .push(scope, cost + QUEUED_OVERHEAD, Pending { command, answer });
        }
        self.wake.notify_one();
        Ok(Proposal {
            answered,
            fence: self.fence.clone(),
        })
    }

    fn check(&self, scope: Scope, command: &Bytes) -> Result<(), ProposeError> {
        if command.len() > COMMAND_BYTES_MAX {
            let (bytes, limit_bytes) = (command.len(), COMMAND_BYTES_MAX);
            return Err(ProposeError::TooLarge { bytes, limit_bytes });
        }
        match scope {
            Scope::Tenant(tenant) if !self.extent.range.touches(tenant) => {
                Err(ProposeError::OutsideRange {
                    shard: self.extent.shard,
                })
            }
            Scope::Tenant(_) | Scope::Group => Ok(()),
        }
    }

    /// Takes no more commands; [`run`](Self::run) ends once those taken are answered.
    pub(crate) fn close(&self) {
        let mut queue = self.queue.lock();
        if queue.phase == Phase::Open {
            queue.phase = Phase::Closing;
        }
        drop(queue);
        self.wake.notify_one();
    }

    /// Forms batches and proposes them until the proposer is closed or the node fenced.
    pub(crate) async fn run(self: Arc<Self>, raft: Raft, id: ProposerId, clock: Clock) {
        let mut number = 0;
        loop {
            tokio::select! {
                () = self.wake.notified() => {}
                () = self.fence.tripped() => self.end(&ProposeError::Fenced),
            }
            while let Some(formed) = self.form() {
                number += 1;
                let header = BatchHeader {
                    proposer: id,
                    number,
                    time_ms: clock(),
                };
                self.propose(&raft, &header, formed).await;
            }
            if self.is_done() {
                return;
            }
        }
    }

    /// The next batch, if there is one and room for it.
    fn form(&self) -> Option<Formed> {
        let mut queue = self.queue.lock();
        let has_room = queue.in_flight_batches < BATCHES_IN_FLIGHT_MAX
            && (queue.in_flight_batches == 0
                || queue.in_flight_bytes < self.limits.in_flight_bytes_max);
        if queue.waiting.is_empty() || !has_room {
            return None;
        }
        let commands = queue.waiting.form(BATCH_BYTES_MAX, BATCH_COMMANDS_MAX);
        let bytes = commands
            .iter()
            .map(|(_, pending)| pending.command.len())
            .sum();
        queue.in_flight_batches += 1;
        queue.in_flight_bytes += bytes;
        Some(Formed { commands, bytes })
    }

    async fn propose(self: &Arc<Self>, raft: &Raft, header: &BatchHeader, formed: Formed) {
        let Formed { commands, bytes } = formed;
        let parts = commands
            .iter()
            .map(|(scope, pending)| (*scope, &pending.command[..]));
        let batch = EncodedBatch::new(header, parts, bytes);
        let answers: Vec<_> = commands
            .into_iter()
            .map(|(_, pending)| pending.answer)
            .collect();
        let proposer = Arc::clone(self);
        let done = OnComplete::new(move |result| proposer.complete(bytes, answers, result));
        // When Raft has ended the answers are dropped with the closure, which tells their askers.
        if raft.client_write_ff(batch, Some(done)).await.is_err() {
            let fenced = self.fence.is_tripped();
            self.end(if fenced {
                &ProposeError::Fenced
            } else {
                &ProposeError::Closed
            });
        }
    }

    /// Called by whoever finished a batch: the applying thread, or Raft when it refused it.
    fn complete(
        &self,
        bytes: usize,
        answers: Vec<oneshot::Sender<Result<Bytes, ProposeError>>>,
        result: WriteResult,
    ) {
        match outcome(result) {
            Ok(replies) => {
                for (answer, reply) in answers.into_iter().zip(replies) {
                    // An asker that is gone no longer needs its answer.
                    drop(answer.send(Ok(reply)));
                }
            }
            Err(why) => {
                // A hole in the numbers: nothing after it can be applied in this life.
                if why != ProposeError::AnswerForgotten {
                    self.end(&why);
                }
                for answer in answers {
                    drop(answer.send(Err(why.clone())));
                }
            }
        }
        {
            let mut queue = self.queue.lock();
            queue.in_flight_batches -= 1;
            queue.in_flight_bytes -= bytes;
        }
        self.wake.notify_one();
    }

    /// Takes nothing any more and refuses what waits.
    fn end(&self, why: &ProposeError) {
        let waiting = {
            let mut queue = self.queue.lock();
            if !matches!(queue.phase, Phase::Ended(_)) {
                queue.phase = Phase::Ended(why.clone());
            }
            queue.waiting.drain()
        };
        for pending in waiting {
            drop(pending.answer.send(Err(why.clone())));
        }
        self.wake.notify_one();
    }

    fn is_done(&self) -> bool {
        let queue = self.queue.lock();
        match queue.phase {
            Phase::Open => false,
            Phase::Closing => queue.waiting.is_empty() && queue.in_flight_batches == 0,
            Phase::Ended(_) => true,
        }
    }
}

/// The replies of a batch that was applied; else why nothing of it counts.
fn outcome(result: WriteResult) -> Result<Vec<Bytes>, ProposeError> {
    match result {
        Ok(response) => match response.data {
            BatchReply::Answers(answers) => Ok(answers),
            BatchReply::Nothing => Ok(Vec::new()),
            BatchReply::Forgotten => Err(ProposeError::AnswerForgotten),
            BatchReply::Gap { .. } | BatchReply::Stale => {
                Err(ProposeError::NotLeader { leader: None })
            }
        },
        Err(ClientWriteError::ForwardToLeader(forward)) => Err(ProposeError::NotLeader {
            leader: forward.leader_id.map(NodeId),
        }),
        Err(
            ClientWriteError::ChangeMembershipError(_)
            | ClientWriteError::LogEntryDiscarded(_)
            | ClientWriteError::PreconditionFailed(_),
        ) => Err(ProposeError::NotLeader { leader: None }),
    }
}

/// A command that was taken: resolves once it is durable and applied. Dropping it cancels nothing.
pub struct Proposal {
    answered: oneshot::Receiver<Result<Bytes, ProposeError>>,
    fence: Fence,
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Proposal")
    }
}

impl Future for Proposal {
    type Output = Result<Bytes, ProposeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.answered).poll(cx).map(|answered| {
            answered.unwrap_or_else(|_dropped| {
                let is_fenced = self.fence.is_tripped();
                Err(if is_fenced {
                    ProposeError::Fenced
                } else {
                    ProposeError::Closed
                })
            })
        })
    }
}

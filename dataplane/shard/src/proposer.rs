//! From commands to log entries: fair queues, numbered batches, several in flight.
//!
//! A batch is formed as soon as there is a command, never waiting for more, unless one before it is
//! on its way to this node's disk: it could not be written earlier anyway. Meanwhile commands gather
//! in the queues, and batches grow by themselves. What is in flight is bounded, so the queue builds up here, where it is served
//! fairly, and not in Raft.
//!
//! Batches go to the leader, which is this node or another one. A batch that a leader did not take,
//! or lost, or said nothing of in time, is sent again under its number; see `flights`.

mod flights;
mod run;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;

use crate::batch::{COMMAND_OVERHEAD, ProposerId};
use crate::dedupe::ANSWERS_KEPT;
use crate::error::ProposeError;
use crate::fair::FairQueue;
use crate::fence::Fence;
use crate::log::{GroupLog, Written};
use crate::machine::Scope;
use crate::options::COMMAND_BYTES_MAX;
use crate::proposer::flights::{Asker, Flights};
use crate::space::SharedGauge;
use crate::state::Group;

pub(crate) use run::{Courier, forward};

/// Bytes of one batch; a larger command goes alone.
const BATCH_BYTES_MAX: usize = 512 * 1024;
/// Commands of one batch.
const BATCH_COMMANDS_MAX: usize = 4096;
/// Batches in flight, from the oldest on: no more than the answers that a group keeps, so that any
/// can be repeated.
const BATCHES_IN_FLIGHT_MAX: u64 = ANSWERS_KEPT;
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
    id: ProposerId,
    group: Arc<Group>,
    written: Arc<Written>,
    fence: Fence,
    gauge: SharedGauge,
    limits: ProposerLimits,
    queue: Mutex<Queue>,
    /// Something was queued, came back, or was closed.
    wake: Arc<Notify>,
}

struct Queue {
    waiting: FairQueue<Pending>,
    phase: Phase,
    flights: Flights,
    /// What the last leader that did not take a batch said of who leads.
    redirect: Option<Redirect>,
    /// When something was last answered, or began to wait.
    progress_at: Instant,
}

/// A leader did not take a batch: who leads, as far as it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Redirect(Option<u64>);

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
    asker: Asker,
    /// The epoch of the range that its sender went by.
    epoch: u64,
}

impl fmt::Debug for Proposer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proposer")
            .field("group", &self.group)
            .finish_non_exhaustive()
    }
}

impl Proposer {
    pub(crate) fn new(
        id: ProposerId,
        group: Arc<Group>,
        log: &GroupLog,
        fence: Fence,
        gauge: SharedGauge,
        limits: ProposerLimits,
    ) -> Self {
        let wake = Arc::new(Notify::new());
        let written = Arc::new(Written::new(id, Arc::clone(&wake)));
        log.tell(Arc::clone(&written));
        Self {
            id,
            group,
            written,
            fence,
            gauge,
            limits,
            queue: Mutex::new(Queue {
                waiting: FairQueue::new(),
                phase: Phase::Open,
                flights: Flights::default(),
                redirect: None,
                progress_at: Instant::now(),
            }),
            wake,
        }
    }

    /// Whether the disk has room for what may grow.
    pub(crate) fn check_room(&self) -> Result<(), ProposeError> {
        if self.gauge.is_full() {
            return Err(ProposeError::DiskFull);
        }
        Ok(())
    }

    /// Takes a command into its scope's queue, or refuses it. It was sent here because the range had
    /// its key at `epoch`.
    pub(crate) fn submit(
        &self,
        epoch: u64,
        scope: Scope,
        command: Bytes,
    ) -> Result<Proposal, ProposeError> {
        self.check(epoch, scope, &command)?;
        let cost = command.len() + COMMAND_OVERHEAD + QUEUED_OVERHEAD;
        let (asker, answered) = oneshot::channel();
        {
            let mut queue = self.queue.lock();
            match &queue.phase {
                Phase::Open => {}
                Phase::Closing => return Err(ProposeError::Closed),
                Phase::Ended(why) => return Err(why.clone()),
            }
            let (queued_bytes, limit_bytes) = (queue.waiting.bytes(), self.limits.queue_bytes_max);
            if !queue.waiting.is_empty() && queued_bytes + cost > limit_bytes {
                return Err(ProposeError::Busy {
                    queued_bytes,
                    limit_bytes,
                });
            }
            if queue.is_idle() {
                queue.progress_at = Instant::now();
            }
            queue.waiting.push(
                scope,
                cost,
                Pending {
                    command,
                    asker,
                    epoch,
                },
            );
        }
        self.wake.notify_one();
        Ok(Proposal {
            answered,
            fence: self.fence.clone(),
        })
    }

    fn check(&self, epoch: u64, scope: Scope, command: &Bytes) -> Result<(), ProposeError> {
        if command.len() > COMMAND_BYTES_MAX {
            let (bytes, limit_bytes) = (command.len(), COMMAND_BYTES_MAX);
            return Err(ProposeError::TooLarge { bytes, limit_bytes });
        }
        let extent = self.group.extent();
        let shard = extent.shard;
        if epoch != extent.epoch {
            return Err(ProposeError::RangeMoved { shard });
        }
        match scope {
            Scope::Tenant(tenant) if !extent.range.touches(tenant) => {
                Err(ProposeError::OutsideRange { shard })
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

    /// Takes nothing any more and refuses what waits. What is in flight may be applied: whoever
    /// waits for it is not told that it was not.
    pub(crate) fn end(&self, why: &ProposeError) {
        let (waiting, in_flight) = {
            let mut queue = self.queue.lock();
            if !matches!(queue.phase, Phase::Ended(_)) {
                queue.phase = Phase::Ended(why.clone());
            }
            (queue.take_waiting(), queue.flights.take_askers())
        };
        tell_all(waiting, why);
        tell_all(in_flight, &once_sent(why));
        self.wake.notify_one();
    }
}

impl Queue {
    fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.flights.is_empty()
    }

    /// Everybody who waits, in a queue or for a batch in flight.
    fn take_askers(&mut self) -> Vec<Asker> {
        let mut askers = self.flights.take_askers();
        askers.extend(self.take_waiting());
        askers
    }

    /// Everybody whose command is in no batch yet.
    fn take_waiting(&mut self) -> Vec<Asker> {
        let waiting = self.waiting.drain().into_iter();
        waiting.map(|pending| pending.asker).collect()
    }
}

/// What a reason means for a command that may have reached the group already.
fn once_sent(why: &ProposeError) -> ProposeError {
    match why {
        ProposeError::Busy { .. }
        | ProposeError::TooLarge { .. }
        | ProposeError::OutsideRange { .. }
        | ProposeError::DiskFull
        | ProposeError::Unavailable
        | ProposeError::RangeMoved { .. } => ProposeError::Unavailable,
        ProposeError::AnswerForgotten | ProposeError::Fenced | ProposeError::Closed => why.clone(),
    }
}

fn tell_all(askers: Vec<Asker>, why: &ProposeError) {
    for asker in askers {
        // An asker that is gone no longer needs its answer.
        drop(asker.send(Err(why.clone())));
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

//! Forms batches and brings them to whoever leads.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use openraft::error::ClientWriteError;
use tessera_tenancy::NodeId;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};

use crate::batch::{BatchHeader, EncodedBatch};
use crate::error::ProposeError;
use crate::machine::Scope;
use crate::options::Clock;
use crate::peer::GroupLink;
use crate::proposer::{
    BATCH_BYTES_MAX, BATCH_COMMANDS_MAX, BATCHES_IN_FLIGHT_MAX, Pending, Phase, Proposer, Queue,
    Redirect, tell_all,
};
use crate::raft::{Inner, Raft};
use crate::raft_types::{BatchReply, OnComplete, WriteResult};
use crate::wire::{ForwardOutcome, Request};

/// What a proposer brings its batches with.
pub(crate) struct Courier {
    pub(crate) raft: Raft,
    pub(crate) link: GroupLink,
    pub(crate) clock: Clock,
    /// How long the shard may answer nothing.
    pub(crate) patience: Duration,
    /// How long a leader elsewhere may take for what it was sent.
    pub(crate) forward_timeout: Duration,
    /// How long to wait before looking for a leader again.
    pub(crate) pause: Duration,
}

/// Where batches go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Here,
    There(NodeId),
    /// Nobody is known to lead; looked for again then.
    Unknown(Instant),
}

/// What is left to do for a proposer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// Something waits or is in flight.
    Something,
    /// It is done for good.
    Done,
}

impl Proposer {
    /// Forms batches and proposes them until the proposer is closed or the node fenced.
    pub(crate) async fn run(self: Arc<Self>, courier: Courier) {
        let mut target = Target::Here;
        let mut fenced = pin!(self.fence.tripped());
        // Not reset at each turn: that would cost a timer per batch.
        let check_every = courier.patience / 4;
        let mut check = pin!(sleep(check_every));
        loop {
            self.form(&courier, target);
            target = self.deliver(&courier, target).await;
            let left = self.left(target);
            if left == Left::Done {
                return;
            }
            let retry_at = self.retry_at(&courier, target);
            tokio::select! {
                biased;
                () = &mut fenced => {
                    self.end(&ProposeError::Fenced);
                    return;
                }
                () = self.wake.notified() => {}
                () = sleep_until(retry_at.unwrap_or_else(Instant::now)), if retry_at.is_some() => {}
                () = &mut check, if left == Left::Something => {
                    self.tell_of_stall(courier.patience);
                    check.set(sleep(check_every));
                }
            }
        }
    }

    /// Forms batches as long as there are commands and room for them.
    fn form(&self, courier: &Courier, target: Target) {
        let mut queue = self.queue.lock();
        while self.is_time(&queue, target) {
            let commands = queue.waiting.form(BATCH_BYTES_MAX, BATCH_COMMANDS_MAX);
            let epoch = self.group.extent().epoch;
            let is_current = |(_, pending): &(Scope, Pending)| pending.epoch == epoch;
            let (commands, moved): (Vec<_>, Vec<_>) = if commands.iter().all(is_current) {
                (commands, Vec::new())
            } else {
                commands.into_iter().partition(is_current)
            };
            let moved = moved.into_iter().map(|(_, pending)| pending.asker);
            tell_all(moved.collect(), &self.moved());
            if commands.is_empty() {
                continue;
            }
            let bytes = commands
                .iter()
                .map(|(_, pending)| pending.command.len())
                .sum();
            let header = BatchHeader {
                proposer: self.id,
                number: queue.flights.next_number(),
                time_ms: (courier.clock)(),
                epoch,
            };
            let parts = commands
                .iter()
                .map(|(scope, pending)| (*scope, &pending.command[..]));
            let batch = EncodedBatch::new(&header, parts, bytes);
            let askers = commands.into_iter().map(|(_, pending)| pending.asker);
            let askers = askers.collect();
            queue.flights.add(batch, askers, bytes);
        }
    }

    /// Whether the next batch is formed now.
    fn is_time(&self, queue: &Queue, target: Target) -> bool {
        let limits = &self.limits;
        if queue.waiting.is_empty()
            || !queue
                .flights
                .has_room(BATCHES_IN_FLIGHT_MAX, limits.in_flight_bytes_max)
        {
            return false;
        }
        let is_full = queue.waiting.bytes() >= BATCH_BYTES_MAX;
        let is_here = match target {
            Target::Here => true,
            Target::There(_) | Target::Unknown(_) => false,
        };
        // What is behind the last one that was sent is sent with the next write of the log.
        let last = queue.flights.last_sent();
        is_full || !is_here || last.is_none_or(|last| !self.written.is_behind(last))
    }

    /// Sends what is to be sent. Where the next goes.
    async fn deliver(self: &Arc<Self>, courier: &Courier, target: Target) -> Target {
        let target = match self.queue.lock().redirect.take() {
            Some(Redirect(leader)) => courier.target(leader, target),
            None => target,
        };
        let target = match target {
            Target::Unknown(at) if at <= Instant::now() => {
                let leader = courier.raft.leader().map(|node| node.0);
                courier.target(leader, target)
            }
            Target::Unknown(_) | Target::Here | Target::There(_) => target,
        };
        match target {
            Target::Here => {
                self.propose(courier).await;
                target
            }
            Target::There(leader) => self.forward(courier, leader).await,
            Target::Unknown(_) => target,
        }
    }

    async fn propose(self: &Arc<Self>, courier: &Courier) {
        let unsent = self.queue.lock().flights.send();
        for (number, batch) in unsent {
            let sent = Sent {
                proposer: Arc::clone(self),
                number,
                is_answered: false,
            };
            let done = OnComplete::new(move |result| sent.complete(result));
            // When Raft has ended, the closure is dropped and `Sent` notices.
            let write = |raft: Inner| async move { raft.client_write_ff(batch, Some(done)).await };
            drop(courier.raft.call(write).await);
        }
    }

    async fn forward(&self, courier: &Courier, leader: NodeId) -> Target {
        let unsent = self.queue.lock().flights.send();
        if unsent.is_empty() {
            return Target::There(leader);
        }
        let (numbers, batches): (Vec<_>, Vec<_>) = unsent.into_iter().unzip();
        let request = Request::Forward(batches);
        let called = courier
            .link
            .call(leader, &request, courier.forward_timeout)
            .await;
        let outcomes: Vec<ForwardOutcome> = called.unwrap_or_default();
        let mut target = Target::There(leader);
        if outcomes.len() != numbers.len() {
            let mut queue = self.queue.lock();
            numbers
                .iter()
                .for_each(|number| queue.flights.unsend(*number));
            return courier.target(None, target);
        }
        for (number, outcome) in numbers.into_iter().zip(outcomes) {
            match outcome {
                ForwardOutcome::Reply(reply) => self.settle(number, reply),
                ForwardOutcome::NotLeader(hint) => {
                    self.queue.lock().flights.unsend(number);
                    let hint = hint.filter(|hint| *hint != leader.0);
                    target = courier.target(hint, target);
                }
                ForwardOutcome::Ended => {
                    self.queue.lock().flights.unsend(number);
                    target = courier.target(None, target);
                }
            }
        }
        target
    }

    /// What a group said of a batch.
    fn settle(&self, number: u64, reply: BatchReply) {
        let answered = match reply {
            BatchReply::Answers(answers) => Ok(answers),
            BatchReply::Nothing => Ok(Vec::new()),
            BatchReply::Forgotten => Err(ProposeError::AnswerForgotten),
            BatchReply::Moved => Err(self.moved()),
            // Answers to other commands than batches.
            BatchReply::Split(_) | BatchReply::NotSplit => Ok(Vec::new()),
            // A batch before it was lost: both are sent again, in order.
            BatchReply::Gap { .. } => return self.queue.lock().flights.unsend(number),
            BatchReply::Stale => return self.end(&ProposeError::Closed),
        };
        let askers = {
            let mut queue = self.queue.lock();
            queue.progress_at = Instant::now();
            queue.flights.settle(number)
        };
        match (answered, askers) {
            (Ok(answers), Some(askers)) => {
                for (asker, answer) in askers.into_iter().zip(answers) {
                    // An asker that is gone no longer needs its answer.
                    drop(asker.send(Ok(answer)));
                }
            }
            (Err(why), Some(askers)) => tell_all(askers, &why),
            (Ok(_) | Err(_), None) => {}
        }
    }

    fn moved(&self) -> ProposeError {
        ProposeError::RangeMoved {
            shard: self.group.shard(),
        }
    }

    /// Tells those who wait if the shard answered nothing for too long. Their batches stay in
    /// flight.
    fn tell_of_stall(&self, patience: Duration) {
        let askers = {
            let mut queue = self.queue.lock();
            if queue.progress_at.elapsed() < patience {
                return;
            }
            queue.progress_at = Instant::now();
            queue.take_askers()
        };
        tell_all(askers, &ProposeError::Unavailable);
    }

    /// When to go on though nothing wakes this proposer.
    fn retry_at(&self, courier: &Courier, target: Target) -> Option<Instant> {
        match target {
            Target::Unknown(at) => Some(at),
            // A gap in what another node applied: the one before is on its way, or sent again too.
            Target::There(_) if self.queue.lock().flights.has_unsent() => {
                Some(Instant::now() + courier.pause)
            }
            Target::There(_) | Target::Here => None,
        }
    }

    fn left(&self, target: Target) -> Left {
        let queue = self.queue.lock();
        let is_idle = queue.is_idle();
        match queue.phase {
            Phase::Open if is_idle => Left::Nothing,
            Phase::Open => Left::Something,
            Phase::Closing => {
                // Without a leader there is nothing to wait for.
                let is_stuck = matches!(target, Target::Unknown(_));
                if !is_idle && !is_stuck {
                    return Left::Something;
                }
                drop(queue);
                self.end(&ProposeError::Closed);
                Left::Done
            }
            Phase::Ended(_) => Left::Done,
        }
    }
}

impl Courier {
    /// Where to go when `leader` is said to lead; not back to where `from` just failed.
    fn target(&self, leader: Option<u64>, from: Target) -> Target {
        match leader.map(NodeId) {
            Some(leader) if leader == self.link.link.node && from != Target::Here => Target::Here,
            Some(leader) if leader != self.link.link.node && from != Target::There(leader) => {
                Target::There(leader)
            }
            Some(_) | None => Target::Unknown(Instant::now() + self.pause),
        }
    }
}

/// A batch that this node's Raft has.
struct Sent {
    proposer: Arc<Proposer>,
    number: u64,
    is_answered: bool,
}

impl Sent {
    /// Called by whoever finished the batch: the applying writer, or Raft when it refused it.
    fn complete(mut self, result: WriteResult) {
        self.is_answered = true;
        match outcome(result) {
            ForwardOutcome::Reply(reply) => self.proposer.settle(self.number, reply),
            ForwardOutcome::NotLeader(leader) => {
                let mut queue = self.proposer.queue.lock();
                queue.flights.unsend(self.number);
                queue.redirect = Some(Redirect(leader));
            }
            ForwardOutcome::Ended => {}
        }
        self.proposer.wake.notify_one();
    }
}

impl Drop for Sent {
    /// Raft has ended, and with it what it had.
    fn drop(&mut self) {
        if !self.is_answered {
            let is_fenced = self.proposer.fence.is_tripped();
            self.proposer.end(if is_fenced {
                &ProposeError::Fenced
            } else {
                &ProposeError::Closed
            });
        }
    }
}

/// Proposes batches of another node's proposer, in order. What became of each.
pub(crate) async fn forward(raft: &Raft, batches: Vec<EncodedBatch>) -> Vec<ForwardOutcome> {
    let mut waiting = Vec::with_capacity(batches.len());
    for batch in batches {
        let (told, answered) = oneshot::channel();
        let done = OnComplete::new(move |result| {
            // The asker may have given up.
            drop(told.send(outcome(result)));
        });
        // When Raft has ended, the closure is dropped and the receiver notices.
        let write = |raft: Inner| async move { raft.client_write_ff(batch, Some(done)).await };
        drop(raft.call(write).await);
        waiting.push(answered);
    }
    let mut outcomes = Vec::with_capacity(waiting.len());
    for answered in waiting {
        outcomes.push(answered.await.unwrap_or(ForwardOutcome::Ended));
    }
    outcomes
}

fn outcome(result: WriteResult) -> ForwardOutcome {
    match result {
        Ok(response) => ForwardOutcome::Reply(response.data),
        Err(
            ClientWriteError::ForwardToLeader(forward)
            | ClientWriteError::LogEntryDiscarded(forward),
        ) => ForwardOutcome::NotLeader(forward.leader_id),
        Err(
            ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_),
        ) => ForwardOutcome::NotLeader(None),
    }
}

//! Sees every command that any replica applies, and checks it against all others.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use tessera_shard::{LogChecksum, LogPosition, ShardStatus, StateDigest};

use crate::invariants::leader_completeness::Place;
use crate::invariants::{
    AppliedOnce, LeaderCompleteness, LogMatching, OneDigest, OneLeaderPerTerm, OneOwnerPerEpoch,
    StateMachineSafety, applied_once, leader_completeness, log_matching, one_digest,
    one_leader_per_term, one_owner_per_epoch, state_machine_safety,
};
use crate::journal::Journal;
use crate::machine::{Digest, OpId};
use crate::watch::owned_by;
use crate::wire::{self, Append};

/// A command that a replica applied. `(shard, index, ordinal)` names its place in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Applied {
    pub(crate) node: u64,
    /// Which machine of the run: another one in each life, and for each replica that is made.
    pub(crate) machine: u64,
    pub(crate) shard: u64,
    pub(crate) index: u64,
    pub(crate) ordinal: u32,
    pub(crate) op: OpId,
    /// Of the command and of the row that it changed.
    pub(crate) hash: u64,
    pub(crate) time_ms: u64,
    /// Of the shard's state, after it.
    pub(crate) digest: u64,
}

/// A leader that was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Led {
    pub(crate) shard: u64,
    pub(crate) term: u64,
    pub(crate) node: u64,
}

/// Told by all machines of a run, and by the network.
#[derive(Debug)]
pub(crate) struct Observer {
    journal: Journal,
    machines: AtomicU64,
    checks: Mutex<Checks>,
}

#[derive(Debug, Default)]
struct Checks {
    safety: StateMachineSafety,
    once: AppliedOnce,
    digests: OneDigest,
    leaders: OneLeaderPerTerm,
    matching: LogMatching,
    completeness: LeaderCompleteness,
    owners: OneOwnerPerEpoch,
}

impl Observer {
    pub(crate) fn new(journal: Journal) -> Self {
        Self {
            journal,
            machines: AtomicU64::new(0),
            checks: Mutex::default(),
        }
    }

    /// The number of a new machine.
    pub(crate) fn number_machine(&self) -> u64 {
        self.machines.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn applied(&self, applied: &Applied) {
        let numbers = [
            applied.node,
            applied.shard,
            applied.index,
            u64::from(applied.ordinal),
            applied.op.0,
            applied.digest,
        ];
        self.journal.note("apply", &numbers);
        let mut checks = self.checks.lock();
        let journal = &self.journal;
        journal.check(state_machine_safety::NAME, checks.safety.applied(applied));
        journal.check(applied_once::NAME, checks.once.applied(applied));
        journal.check(one_digest::NAME, checks.digests.applied(applied));
    }

    /// A request is on the wire.
    pub(crate) fn sent(&self, request: &[u8]) {
        let Some(append) = wire::read_append(request) else {
            return;
        };
        self.journal.count_append();
        self.journal.say(|| {
            let Append {
                shard,
                before,
                committed,
                entries,
                ..
            } = &append;
            let last = entries.last();
            format!("append to {shard:x} behind {before:?}, committed {committed:?}, to {last:?}")
        });
        let led = Led {
            shard: append.shard,
            term: append.term,
            node: append.leader,
        };
        let mut checks = self.checks.lock();
        self.led(&mut checks, &led);
        let held = checks.matching.sent(&append);
        self.journal.check(log_matching::NAME, held);
    }

    /// A replica says this of itself.
    pub(crate) fn says(&self, node: u64, shard: u64, status: &ShardStatus) {
        let index = |position: Option<LogPosition>| position.map_or(0, |position| position.index);
        let numbers = [
            node,
            shard,
            status.term,
            status.epoch,
            index(status.last),
            index(status.applied),
        ];
        self.journal.note("status", &numbers);
        let mut checks = self.checks.lock();
        if let Some(committed) = status.committed {
            checks.completeness.committed(shard, status.term, committed);
        }
        if status.is_leader {
            let term = status.term;
            self.led(&mut checks, &Led { shard, term, node });
            let held = checks.completeness.led(shard, term, status.last);
            self.journal.check(leader_completeness::NAME, held);
        }
        let held = checks.owners.owns(shard, status.epoch, &owned_by(status));
        self.journal.check(one_owner_per_epoch::NAME, held);
    }

    /// The log file of a replica holds this, of which it knew that it is committed up to there.
    pub(crate) fn logged(
        &self,
        node: u64,
        shard: u64,
        committed: Option<LogPosition>,
        entries: &[LogChecksum],
    ) {
        let mut checks = self.checks.lock();
        let held = checks.matching.stored(node, shard, entries);
        self.journal.check(log_matching::NAME, held);
        let is_committed = |entry: &&LogChecksum| {
            committed.is_some_and(|committed| entry.position.index <= committed.index)
        };
        let entries = entries.iter().filter(is_committed);
        let held = checks.safety.committed(node, shard, entries);
        self.journal.check(state_machine_safety::NAME, held);
    }

    fn led(&self, checks: &mut Checks, led: &Led) {
        match checks.leaders.led(led) {
            Ok(true) => self.journal.count_election(),
            Ok(false) => {}
            Err(detail) => self.journal.violated(one_leader_per_term::NAME, detail),
        }
    }

    /// A client was told that its change is done.
    pub(crate) fn acknowledged(&self, op: OpId) {
        let mut checks = self.checks.lock();
        match checks.once.place(op) {
            Some((shard, index, ordinal)) => {
                checks.completeness.acknowledged(shard, (index, ordinal));
            }
            None => {
                let detail = format!("{op:?} was acknowledged and never applied");
                self.journal.violated(leader_completeness::NAME, detail);
            }
        }
    }

    /// How far a shard is acknowledged.
    pub(crate) fn furthest(&self, shard: u64) -> Place {
        self.checks.lock().completeness.furthest(shard)
    }

    /// A linearizable read that began at `before` saw this.
    pub(crate) fn confirmed(&self, shard: u64, before: Place, digest: &Digest) {
        let held = leader_completeness::check(shard, before, digest);
        self.journal.check(leader_completeness::NAME, held);
    }

    /// The shards that applied these operations.
    pub(crate) fn shards_of(&self, ops: &[OpId]) -> Vec<u64> {
        let checks = self.checks.lock();
        let places = ops.iter().filter_map(|op| checks.once.place(*op));
        places.map(|(shard, _, _)| shard).collect()
    }

    /// The engine's own digest of a replica.
    pub(crate) fn digested(&self, node: u64, shard: u64, digest: &StateDigest) {
        let numbers = [node, shard, digest.index, digest.digest];
        self.journal.note("digest", &numbers);
        let mut checks = self.checks.lock();
        let held = checks.digests.digested(node, shard, digest);
        self.journal.check(one_digest::NAME, held);
    }

    /// A replica's state was read and stands there.
    pub(crate) fn stands(&self, node: u64, shard: u64, digest: &Digest) {
        let checks = self.checks.lock();
        let held = checks.digests.stands(node, shard, digest);
        self.journal.check(one_digest::NAME, held);
    }
}

//! What happened in a run: a hash over everything, counts, and the first broken invariant.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::rng::{hash_bytes, mix_in};

/// Most lines that a traced run keeps: what comes later is in the hash only.
const LINES_MAX: usize = 2_000_000;

/// A fault, as the end of a run counts them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FaultKind {
    /// A process ended without a word; the page cache survived.
    ProcessKilled,
    /// A node lost power: what was not synced is kept, torn or lost.
    PowerCut,
    /// The same in the middle of a write or a sync.
    PowerCutMidWrite,
    /// All nodes lost power at once.
    PowerCutEverywhere,
    /// A shutdown and a start, in good order.
    CleanRestart,
    /// Sectors that were written, not synced, and gone after a power cut.
    UnsyncedLost,
    /// Of one write some sectors were kept and some lost.
    WriteTorn,
    /// A sync failed, and what it covered is kept or gone.
    SyncFailed,
    /// A write failed.
    WriteFailed,
    /// No space was left for a write.
    DiskFull,
    /// A write was refused because the disk was nearly full.
    RefusedForSpace,
    /// The disk was many times slower for a while.
    DiskSlow,
    /// A stored bit changed.
    BitFlipped,
    /// A changed bit was noticed: the node was fenced or refused to start.
    FlipNoticed,
    /// A message was lost.
    MessageLost,
    /// A request arrived twice.
    MessageDoubled,
    /// A message took long.
    MessageDelayed,
    /// A request overtook an earlier one.
    MessageReordered,
    /// Messages of one node no longer reached another.
    CutOneWay,
    /// Two sides no longer reached each other.
    CutBothWays,
    /// A leader handed a shard over.
    LeaderTransferred,
    /// A member was added, promoted or removed.
    MembersChanged,
    /// A node was lost for good or beyond repair, and another one took its place.
    NodeReplaced,
}

impl FaultKind {
    /// All of them.
    pub const ALL: [Self; 23] = [
        Self::ProcessKilled,
        Self::PowerCut,
        Self::PowerCutMidWrite,
        Self::PowerCutEverywhere,
        Self::CleanRestart,
        Self::UnsyncedLost,
        Self::WriteTorn,
        Self::SyncFailed,
        Self::WriteFailed,
        Self::DiskFull,
        Self::RefusedForSpace,
        Self::DiskSlow,
        Self::BitFlipped,
        Self::FlipNoticed,
        Self::MessageLost,
        Self::MessageDoubled,
        Self::MessageDelayed,
        Self::MessageReordered,
        Self::CutOneWay,
        Self::CutBothWays,
        Self::LeaderTransferred,
        Self::MembersChanged,
        Self::NodeReplaced,
    ];

    /// Its words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ProcessKilled => "process killed",
            Self::PowerCut => "power cut",
            Self::PowerCutMidWrite => "power cut mid-write",
            Self::PowerCutEverywhere => "power cut everywhere",
            Self::CleanRestart => "clean restart",
            Self::UnsyncedLost => "unsynced sector lost",
            Self::WriteTorn => "write torn",
            Self::SyncFailed => "sync failed",
            Self::WriteFailed => "write failed",
            Self::DiskFull => "disk full",
            Self::RefusedForSpace => "refused for space",
            Self::DiskSlow => "disk slow",
            Self::BitFlipped => "bit flipped",
            Self::FlipNoticed => "flip noticed",
            Self::MessageLost => "message lost",
            Self::MessageDoubled => "message doubled",
            Self::MessageDelayed => "message delayed",
            Self::MessageReordered => "message reordered",
            Self::CutOneWay => "cut one way",
            Self::CutBothWays => "cut both ways",
            Self::LeaderTransferred => "leader transferred",
            Self::MembersChanged => "members changed",
            Self::NodeReplaced => "node replaced",
        }
    }
}

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// The invariant's name, which is its file's.
    pub invariant: &'static str,
    /// What was seen.
    pub detail: String,
    /// When, since the run began.
    pub at: Duration,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {:?}: {}", self.invariant, self.at, self.detail)
    }
}

/// Everything that happens is told to it. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Journal(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    violated: Notify,
}

#[derive(Debug)]
struct State {
    begun: Instant,
    hash: u64,
    events: u64,
    lines: Option<Vec<String>>,
    faults: BTreeMap<FaultKind, u64>,
    elections: u64,
    splits: u64,
    appends: u64,
    violation: Option<Violation>,
}

/// What is left of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) hash: u64,
    pub(crate) events: u64,
    pub(crate) lines: Vec<String>,
    pub(crate) faults: BTreeMap<FaultKind, u64>,
    pub(crate) elections: u64,
    pub(crate) splits: u64,
    pub(crate) appends: u64,
    pub(crate) violation: Option<Violation>,
}

impl Journal {
    /// Begins now. With `is_traced` it keeps a line for each event.
    pub(crate) fn new(is_traced: bool) -> Self {
        let state = State {
            begun: Instant::now(),
            hash: 0,
            events: 0,
            lines: is_traced.then(Vec::new),
            faults: BTreeMap::new(),
            elections: 0,
            splits: 0,
            appends: 0,
            violation: None,
        };
        Self(Arc::new(Shared {
            state: Mutex::new(state),
            violated: Notify::new(),
        }))
    }

    /// Notes an event: its name and numbers go into the hash, with the time.
    pub(crate) fn note(&self, event: &'static str, numbers: &[u64]) {
        let mut state = self.0.state.lock();
        let at = state.begun.elapsed();
        let nanos = u64::try_from(at.as_nanos()).unwrap_or(u64::MAX);
        let mut hash = mix_in(state.hash, hash_bytes(event.as_bytes()));
        hash = mix_in(hash, nanos);
        for number in numbers {
            hash = mix_in(hash, *number);
        }
        state.hash = hash;
        state.events += 1;
        if let Some(lines) = &mut state.lines
            && lines.len() < LINES_MAX
        {
            lines.push(format!("{:>12.6} {event} {numbers:x?}", at.as_secs_f64()));
        }
    }

    /// Adds words to a trace; they are not part of the hash.
    pub(crate) fn say(&self, words: impl FnOnce() -> String) {
        let mut state = self.0.state.lock();
        let at = state.begun.elapsed();
        if let Some(lines) = &mut state.lines
            && lines.len() < LINES_MAX
        {
            lines.push(format!("{:>12.6}   {}", at.as_secs_f64(), words()));
        }
    }

    pub(crate) fn count(&self, fault: FaultKind) {
        self.count_many(fault, 1);
    }

    pub(crate) fn count_many(&self, fault: FaultKind, times: u64) {
        *self.0.state.lock().faults.entry(fault).or_default() += times;
    }

    pub(crate) fn count_election(&self) {
        self.0.state.lock().elections += 1;
    }

    pub(crate) fn count_split(&self) {
        self.0.state.lock().splits += 1;
    }

    /// Splits that were acknowledged.
    pub(crate) fn splits(&self) -> u64 {
        self.0.state.lock().splits
    }

    /// An append was read off the wire.
    pub(crate) fn count_append(&self) {
        self.0.state.lock().appends += 1;
    }

    /// An invariant broke. Only the first one is kept: what follows follows from it.
    pub(crate) fn violated(&self, invariant: &'static str, detail: String) {
        let mut state = self.0.state.lock();
        let at = state.begun.elapsed();
        if state.violation.is_none() {
            let violation = Violation {
                invariant,
                detail,
                at,
            };
            if let Some(lines) = &mut state.lines {
                lines.push(format!("VIOLATION {violation}"));
            }
            state.violation = Some(violation);
            self.0.violated.notify_one();
        }
    }

    /// Returns once an invariant broke. For one waiter.
    pub(crate) async fn until_violated(&self) {
        self.0.violated.notified().await;
    }

    /// The verdict of a check.
    pub(crate) fn check(&self, invariant: &'static str, held: Result<(), String>) {
        if let Err(detail) = held {
            self.violated(invariant, detail);
        }
    }

    /// Time since it began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.0.state.lock().begun.elapsed()
    }

    pub(crate) fn record(&self) -> Record {
        let state = self.0.state.lock();
        Record {
            hash: state.hash,
            events: state.events,
            lines: state.lines.clone().unwrap_or_default(),
            faults: state.faults.clone(),
            elections: state.elections,
            splits: state.splits,
            appends: state.appends,
            violation: state.violation.clone(),
        }
    }
}

//! Reads one push stream, line by line. No I/O of its own: whoever holds the connection hands the
//! lines in.

use std::fmt;

use tessera_tenancy::{
    Change, Frame, FrameKey, FrameOpenError, PushEnvelope, Revision, TenantId, TimelineId,
};

use crate::config::{Config, expect_timeline};
use crate::disk::DiskError;
use crate::draft::InvalidChange;
use crate::snapshot::Staging;

/// The largest revision: the control plane counts in 63 bits.
const REVISION_MAX: Revision = Revision(i64::MAX.unsigned_abs());

/// Why a line was refused. Nothing of it is in force, and its stream takes no further line: the
/// reader asks for a new one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PushRefused {
    /// Not a signed frame of at most [`Frame::LINE_BYTES_MAX`].
    #[error(transparent)]
    Line(#[from] FrameOpenError),
    /// Signed for another stream.
    #[error("the nonce is another stream's")]
    Nonce,
    /// A frame was lost, repeated or moved.
    #[error("frame {found} where {expected} was due")]
    Number {
        /// The one that was due.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// A frame that may not stand there.
    #[error("{frame} may not come {at}")]
    Order {
        /// What came.
        frame: &'static str,
        /// Where.
        at: &'static str,
    },
    /// Another history than the one in force: an older one, restored, or another installation's.
    #[error("timeline {theirs} is not {ours}, which is in force; adopting it needs an operator")]
    ForeignTimeline {
        /// In force.
        ours: TimelineId,
        /// What came.
        theirs: TimelineId,
    },
    /// The same history, but shorter than what is applied: it was restored without a new timeline.
    #[error("the history ends at {found}, but {applied} is applied")]
    HistoryTooShort {
        /// What is in force.
        applied: Revision,
        /// What came.
        found: Revision,
    },
    /// A history that was adopted can only begin with a snapshot.
    #[error("an adopted timeline must begin with a snapshot")]
    SnapshotNeeded,
    /// A revision that nobody can have reached.
    #[error("revision {found} is above {REVISION_MAX}")]
    RevisionTooLarge {
        /// What came.
        found: Revision,
    },
    /// More changes than a frame may hold.
    #[error("{count} changes in a frame, {} are allowed", Frame::CHANGES_MAX)]
    TooManyChanges {
        /// What came.
        count: usize,
    },
    /// Changes of a frame are not in ascending order.
    #[error("revision {after} after {before}")]
    NotAscending {
        /// The one that stood before.
        before: Revision,
        /// The one that is not above it.
        after: Revision,
    },
    /// Changes are missing.
    #[error("revision {found} where {expected} was due")]
    Gap {
        /// The one that was due.
        expected: Revision,
        /// The one that came.
        found: Revision,
    },
    /// Another revision than the snapshot's, inside it or at its end.
    #[error("revision {found} in a snapshot at {snapshot}")]
    SnapshotRevision {
        /// The snapshot's.
        snapshot: Revision,
        /// What came.
        found: Revision,
    },
    /// A snapshot named credentials of a tenant that it did not name.
    #[error("the snapshot names credentials of {tenant}, but not the tenant")]
    SnapshotIncomplete {
        /// The tenant that is missing.
        tenant: TenantId,
    },
    /// Another stream began a snapshot since.
    #[error("another stream began a snapshot")]
    Superseded,
    /// A change that cannot be part of the configuration.
    #[error("change {revision} of {tenant}: {cause}")]
    Change {
        /// Its revision.
        revision: Revision,
        /// Its tenant.
        tenant: TenantId,
        /// What is wrong with it.
        cause: InvalidChange,
    },
    /// An earlier line was refused.
    #[error("the stream is over")]
    Over,
    /// The disk failed. It is not known what is durable and a listener may not have been told of
    /// all that is: the process must end, and open the disk again.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl PushRefused {
    /// Whether the process must end, rather than ask for another stream.
    pub const fn is_fatal(&self) -> bool {
        matches!(self, Self::Disk(_))
    }
}

/// How far the stream brought the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The revision that this line put in force, if it put one in force. It is durable, and every
    /// listener was told: it may be acknowledged.
    pub applied: Option<Revision>,
    /// The newest revision that the stream has told of. Above the configuration's: it is behind.
    pub head: Revision,
}

/// Reads the lines of one stream and applies what they say.
///
/// ```text
/// Start ── Hello ──> Open ─┬─ Changes ──> Following ── Changes ──> Following
///                          └─ SnapshotBegin ──> Snapshot ── SnapshotEnd ──> Following
/// any ── refused ──> Over          Heartbeat stays where it is, from Open on
/// ```
pub struct PushStream {
    config: Config,
    key: FrameKey,
    nonce: String,
    /// The number that is due.
    number: u64,
    head: Revision,
    adopted: Option<TimelineId>,
    state: State,
}

enum State {
    /// Nothing came yet.
    Start,
    /// Hello came; a snapshot may follow.
    Open(Opened),
    /// Inside a snapshot.
    Snapshot(Staging),
    /// Changes came, or a whole snapshot: changes follow.
    Following(TimelineId),
    /// A line was refused.
    Over,
}

/// What Hello said.
struct Opened {
    timeline: TimelineId,
    /// An operator allowed a history that is not the one in force.
    adopting: bool,
}

impl PushStream {
    /// A reader of the stream that was asked for with `nonce`.
    pub fn new(config: &Config, key: FrameKey, nonce: impl Into<String>) -> Self {
        Self {
            config: config.clone(),
            key,
            nonce: nonce.into(),
            number: 0,
            head: Revision::ZERO,
            adopted: None,
            state: State::Start,
        }
    }

    /// Lets a snapshot of this timeline replace the configuration whatever is in force: an
    /// operator's word after the control plane's database was restored.
    #[must_use]
    pub const fn adopting(mut self, timeline: TimelineId) -> Self {
        self.adopted = Some(timeline);
        self
    }

    /// Takes one line, without its line feed. Blocks for the disk: what the line says is durable and
    /// told when it returns. After an error every further line is refused.
    pub fn handle_line(&mut self, line: &str) -> Result<Progress, PushRefused> {
        let state = std::mem::replace(&mut self.state, State::Over);
        if matches!(state, State::Over) {
            return Err(PushRefused::Over);
        }
        let frame = self.open(line)?;
        let before = self.config.position();
        self.state = self.step(state, frame)?;
        let after = self.config.position();
        Ok(Progress {
            applied: (after != before).then_some(after.1),
            head: self.head,
        })
    }

    fn open(&mut self, line: &str) -> Result<Frame, PushRefused> {
        let PushEnvelope {
            nonce,
            number,
            frame,
        } = self.key.open(line)?;
        if nonce != self.nonce {
            return Err(PushRefused::Nonce);
        }
        if number != self.number {
            return Err(PushRefused::Number {
                expected: self.number,
                found: number,
            });
        }
        // 64 bits of frames are never reached.
        self.number = self.number.wrapping_add(1);
        Ok(frame)
    }

    fn step(&mut self, state: State, frame: Frame) -> Result<State, PushRefused> {
        match frame {
            Frame::Hello { timeline, head } => self.handle_hello(state, timeline, head),
            Frame::SnapshotBegin { revision } => self.handle_snapshot_begin(state, revision),
            Frame::Changes { changes } => self.handle_changes(state, &changes),
            Frame::SnapshotEnd { revision } => handle_snapshot_end(state, revision),
            Frame::Heartbeat { head } => self.handle_heartbeat(state, head),
        }
    }

    fn handle_hello(
        &mut self,
        state: State,
        timeline: TimelineId,
        head: Revision,
    ) -> Result<State, PushRefused> {
        match state {
            State::Start => {}
            State::Open(_) | State::Snapshot(_) | State::Following(_) | State::Over => {
                return Err(state.refuse("hello"));
            }
        }
        let in_force = self.config.memory().read().timeline_in_force();
        let adopting = in_force != Some(timeline) && self.adopted == Some(timeline);
        if !adopting {
            expect_timeline(in_force, timeline)?;
        }
        if in_force == Some(timeline) {
            self.expect_not_behind(head)?;
        }
        self.raise_head(head)?;
        Ok(State::Open(Opened { timeline, adopting }))
    }

    fn handle_snapshot_begin(
        &mut self,
        state: State,
        revision: Revision,
    ) -> Result<State, PushRefused> {
        match state {
            State::Open(opened) => {
                self.raise_head(revision)?;
                let Opened { timeline, adopting } = opened;
                Staging::begin(&self.config, timeline, revision, adopting).map(State::Snapshot)
            }
            State::Start | State::Snapshot(_) | State::Following(_) | State::Over => {
                Err(state.refuse("a snapshot's begin"))
            }
        }
    }

    fn handle_changes(&mut self, state: State, changes: &[Change]) -> Result<State, PushRefused> {
        let count = changes.len();
        if count > Frame::CHANGES_MAX {
            return Err(PushRefused::TooManyChanges { count });
        }
        match state {
            State::Open(Opened { adopting: true, .. }) => Err(PushRefused::SnapshotNeeded),
            State::Open(Opened { timeline, .. }) | State::Following(timeline) => {
                self.apply(timeline, changes)?;
                Ok(State::Following(timeline))
            }
            State::Snapshot(mut staging) => {
                stage(&mut staging, changes)?;
                Ok(State::Snapshot(staging))
            }
            State::Start | State::Over => Err(state.refuse("changes")),
        }
    }

    fn apply(&mut self, timeline: TimelineId, changes: &[Change]) -> Result<(), PushRefused> {
        for change in changes {
            self.raise_head(change.revision)?;
        }
        self.config.apply(timeline, changes)?;
        self.config.sweep_step()
    }

    fn handle_heartbeat(&mut self, state: State, head: Revision) -> Result<State, PushRefused> {
        match &state {
            State::Start | State::Over => return Err(state.refuse("a heartbeat")),
            // What is in force may be another history's, or be about to be replaced.
            State::Open(Opened { adopting: true, .. }) | State::Snapshot(_) => {}
            State::Open(_) | State::Following(_) => {
                self.expect_not_behind(head)?;
                self.config.sweep_step()?;
            }
        }
        self.raise_head(head)?;
        Ok(state)
    }

    /// A history that ends before what is applied has lost something.
    fn expect_not_behind(&self, found: Revision) -> Result<(), PushRefused> {
        let applied = self.config.position().1;
        if found < applied {
            return Err(PushRefused::HistoryTooShort { applied, found });
        }
        Ok(())
    }

    fn raise_head(&mut self, found: Revision) -> Result<(), PushRefused> {
        if found > REVISION_MAX {
            return Err(PushRefused::RevisionTooLarge { found });
        }
        self.head = self.head.max(found);
        Ok(())
    }
}

fn stage(staging: &mut Staging, changes: &[Change]) -> Result<(), PushRefused> {
    for change in changes {
        expect_snapshots(staging, change.revision)?;
    }
    staging.stage(changes)
}

fn handle_snapshot_end(state: State, revision: Revision) -> Result<State, PushRefused> {
    match state {
        State::Snapshot(staging) => {
            expect_snapshots(&staging, revision)?;
            let timeline = staging.timeline();
            staging.finish()?;
            Ok(State::Following(timeline))
        }
        State::Start | State::Open(_) | State::Following(_) | State::Over => {
            Err(state.refuse("a snapshot's end"))
        }
    }
}

fn expect_snapshots(staging: &Staging, found: Revision) -> Result<(), PushRefused> {
    let snapshot = staging.revision();
    if found != snapshot {
        return Err(PushRefused::SnapshotRevision { snapshot, found });
    }
    Ok(())
}

impl State {
    const fn refuse(&self, frame: &'static str) -> PushRefused {
        let at = match self {
            Self::Start => "before hello",
            Self::Open(_) => "after hello",
            Self::Snapshot(_) => "inside a snapshot",
            Self::Following(_) => "after changes",
            Self::Over => "after a refusal",
        };
        PushRefused::Order { frame, at }
    }
}

impl fmt::Debug for PushStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PushStream")
            .field("number", &self.number)
            .field("head", &self.head)
            .finish_non_exhaustive()
    }
}

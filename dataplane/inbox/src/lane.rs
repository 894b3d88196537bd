//! What the owner of a persistent session has in memory: how far it sent, and acknowledgements that
//! are gathered while one of them is being committed.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// One owner's lane.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    sent_below: AtomicU64,
    acks: Mutex<Acks>,
    progress: Notify,
}

/// ```text
/// Idle ── want(below) ──> Driven: one caller commits the largest `wanted`, again while it grew
///  ^                         │
///  └── nothing new, error ───┘   the others wait for `done`
/// ```
#[derive(Debug, Default)]
struct Acks {
    wanted: u64,
    done: u64,
    driven: bool,
}

/// What a caller of [`Lane::want`] has to do.
#[derive(Debug)]
pub(crate) enum Duty<'a> {
    /// Nothing: it is committed.
    Done,
    /// Commit for all; then say so.
    Drive(Drive<'a>),
    /// Somebody else does.
    Wait,
}

/// The right to commit. Dropping it hands the duty on.
#[derive(Debug)]
pub(crate) struct Drive<'a> {
    lane: &'a Lane,
    pub(crate) below: u64,
}

impl Lane {
    /// The client may have everything below.
    pub(crate) fn note_sent(&self, below: u64) {
        self.sent_below.fetch_max(below, Ordering::AcqRel);
    }

    pub(crate) fn sent_below(&self) -> u64 {
        self.sent_below.load(Ordering::Acquire)
    }

    /// Asks for everything below to be acknowledged.
    pub(crate) fn want(&self, below: u64) -> Duty<'_> {
        let mut acks = self.acks.lock();
        acks.wanted = acks.wanted.max(below);
        if acks.done >= below {
            return Duty::Done;
        }
        if acks.driven {
            return Duty::Wait;
        }
        acks.driven = true;
        Duty::Drive(Drive {
            lane: self,
            below: acks.wanted,
        })
    }

    /// Resolves after the next end of a drive. Make it before [`want`](Self::want).
    pub(crate) fn progress(&self) -> tokio::sync::futures::Notified<'_> {
        self.progress.notified()
    }
}

impl Drive<'_> {
    /// Everything up to [`Self::below`] is committed.
    pub(crate) fn finish(self) {
        let mut acks = self.lane.acks.lock();
        acks.done = acks.done.max(self.below);
    }
}

impl Drop for Drive<'_> {
    fn drop(&mut self) {
        self.lane.acks.lock().driven = false;
        self.lane.progress.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_are_gathered_while_one_is_committed() {
        let lane = Lane::default();
        let Duty::Drive(first) = lane.want(5) else {
            panic!("nobody drives")
        };
        assert_eq!(first.below, 5);
        assert!(matches!(lane.want(6), Duty::Wait));
        assert!(matches!(lane.want(9), Duty::Wait));
        first.finish();
        assert!(matches!(lane.want(5), Duty::Done));
        let Duty::Drive(second) = lane.want(6) else {
            panic!("nobody drives")
        };
        assert_eq!(second.below, 9, "one commit for both");
        second.finish();
        assert!(matches!(lane.want(9), Duty::Done));
    }

    #[test]
    fn a_drive_that_is_given_up_is_handed_on() {
        let lane = Lane::default();
        drop(lane.want(5));
        assert!(matches!(lane.want(5), Duty::Drive(_)));
    }
}

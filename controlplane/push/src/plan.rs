//! What a node that asks for the stream gets.

use tessera_tenancy::{Revision, TimelineId};

use crate::source::Head;

/// Where a node says it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The history it knows; `None` if it has nothing yet.
    pub timeline: Option<TimelineId>,
    /// The last revision that it applied.
    pub after: Revision,
}

/// How its stream starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// With the whole configuration.
    Snapshot,
    /// With the changes after this revision.
    ChangesAfter(Revision),
}

/// The node applied revisions that this history does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the node applied revision {after}, but the newest one of its timeline is {head}: history was lost"
)]
pub struct Ahead {
    /// What the node applied.
    pub after: Revision,
    /// The newest committed revision.
    pub head: Revision,
}

/// Decides how the stream of a node starts.
pub fn start_for(position: Position, head: &Head) -> Result<Start, Ahead> {
    if position.timeline != Some(head.timeline) {
        return Ok(Start::Snapshot);
    }
    if position.after > head.revision {
        return Err(Ahead {
            after: position.after,
            head: head.revision,
        });
    }
    let known = head
        .oldest_change
        .is_some_and(|oldest| position.after.next() >= oldest);
    if known || position.after == head.revision {
        return Ok(Start::ChangesAfter(position.after));
    }
    Ok(Start::Snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: TimelineId = TimelineId::from_bytes([1; 16]);

    fn start(
        timeline: Option<TimelineId>,
        after: u64,
        head: u64,
        oldest: u64,
    ) -> Result<Start, Ahead> {
        let head = Head {
            timeline: HERE,
            revision: Revision(head),
            oldest_change: (oldest > 0).then_some(Revision(oldest)),
        };
        start_for(
            Position {
                timeline,
                after: Revision(after),
            },
            &head,
        )
    }

    #[test]
    fn a_node_gets_changes_while_they_are_kept() {
        let changes = |after| Ok(Start::ChangesAfter(Revision(after)));
        assert_eq!(start(Some(HERE), 9, 20, 10), changes(9));
        assert_eq!(start(Some(HERE), 8, 20, 10), Ok(Start::Snapshot));
        assert_eq!(start(Some(HERE), 20, 20, 0), changes(20));
        assert_eq!(start(Some(HERE), 0, 0, 0), changes(0));
    }

    #[test]
    fn a_new_node_and_one_of_another_history_get_a_snapshot() {
        let elsewhere = TimelineId::from_bytes([2; 16]);
        assert_eq!(start(None, 0, 20, 1), Ok(Start::Snapshot));
        assert_eq!(start(Some(elsewhere), 99, 20, 1), Ok(Start::Snapshot));
    }

    #[test]
    fn a_node_ahead_of_its_history_is_refused() {
        let ahead = Ahead {
            after: Revision(21),
            head: Revision(20),
        };
        assert_eq!(start(Some(HERE), 21, 20, 1), Err(ahead));
    }
}

//! Leases of node sessions (protocols A), pure: a node acts under its session only while the leader
//! of the shard has lately heard of it; a leader ends the session of a node that it has not heard of
//! for longer than that.
//!
//! The holder counts a lease from *sending* its renewal, the grantor from *answering*: whatever the
//! way in between took, the holder's ends first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::route::NodeSession;

/// How long a renewal lasts.
pub(crate) const LEASE: Duration = Duration::from_secs(2);
/// What two clocks may drift apart in that time, and more.
const DRIFT_MARGIN: Duration = Duration::from_millis(500);

/// What one shard's leader knows of node sessions. Times are of one monotonic clock.
#[derive(Debug, Default)]
pub(crate) struct Grants {
    /// The term in which the shard is led here.
    led: Option<u64>,
    /// When each was last answered, or was first seen.
    answered: BTreeMap<NodeSession, Duration>,
    /// Those that are being ended: no renewal any more.
    ending: BTreeSet<NodeSession>,
}

impl Grants {
    /// Called often: whether the shard is led here, and in which term. What an earlier leader granted
    /// is not known: every session is given a full lease from when it is first seen in the term.
    /// Whether the term is a new one.
    pub(crate) fn note_led(&mut self, term: Option<u64>) -> bool {
        if self.led == term {
            return false;
        }
        self.led = term;
        self.answered.clear();
        // Ends of another term come to nothing.
        self.ending.clear();
        term.is_some()
    }

    /// A renewal is about to be answered; `false`: it is refused.
    pub(crate) fn grant(&mut self, session: NodeSession, term: u64, now: Duration) -> bool {
        let is_granted = self.led == Some(term) && !self.ending.contains(&session);
        if is_granted {
            self.answered.insert(session, now);
        }
        is_granted
    }

    /// Of these sessions, those that nobody can hold any more: to be ended in the term that was noted.
    pub(crate) fn overdue(&mut self, live: &[NodeSession], now: Duration) -> Vec<NodeSession> {
        if self.led.is_none() {
            return Vec::new();
        }
        self.answered.retain(|session, _| live.contains(session));
        self.ending.retain(|session| live.contains(session));
        let mut is_overdue = |session: &NodeSession| {
            let last = *self.answered.entry(*session).or_insert(now);
            now.saturating_sub(last) > LEASE + DRIFT_MARGIN
        };
        let live = live.iter().copied();
        let overdue: Vec<_> = live.filter(|session| is_overdue(session)).collect();
        self.ending.extend(&overdue);
        overdue
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tessera_tenancy::NodeId;

    use super::*;

    const fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn session(node: u64) -> NodeSession {
        let node = NodeId(node);
        NodeSession { node, number: 1 }
    }

    #[test]
    fn a_session_is_overdue_once_its_lease_and_the_margin_have_passed() {
        let mut grants = Grants::default();
        assert!(grants.note_led(Some(1)));
        assert!(!grants.note_led(Some(1)));
        let live = [session(1), session(2)];
        assert_eq!(grants.overdue(&live, at(0)), []);
        assert!(grants.grant(session(1), 1, at(1_000)));
        assert_eq!(grants.overdue(&live, at(2_500)), []);
        assert_eq!(grants.overdue(&live, at(2_501)), [session(2)]);
        assert_eq!(grants.overdue(&live, at(3_500)), [session(2)]);
        assert_eq!(grants.overdue(&live, at(3_501)), live);
        assert!(!grants.grant(session(1), 1, at(3_502)), "it is being ended");
        assert!(!grants.grant(session(3), 2, at(3_502)), "another term");
        assert!(grants.grant(session(3), 1, at(3_502)));
    }

    #[test]
    fn a_new_leader_waits_for_a_full_lease_and_one_that_does_not_lead_ends_nothing() {
        let mut grants = Grants::default();
        assert_eq!(grants.overdue(&[session(1)], at(1_000_000)), []);
        grants.note_led(Some(1));
        assert_eq!(grants.overdue(&[session(1)], at(1_000_000)), []);
        assert_eq!(grants.overdue(&[session(1)], at(1_002_500)), []);
        assert!(grants.grant(session(1), 1, at(1_002_500)));
        grants.note_led(Some(2));
        assert_eq!(grants.overdue(&[session(1)], at(1_002_600)), []);
        assert_eq!(grants.overdue(&[session(1)], at(1_005_100)), []);
        assert_eq!(grants.overdue(&[session(1)], at(1_005_101)), [session(1)]);
        assert!(!grants.note_led(None));
        assert_eq!(grants.overdue(&[session(1)], at(9_000_000)), []);
    }

    #[test]
    fn a_session_that_begins_under_an_old_leader_is_given_a_full_lease() {
        let mut grants = Grants::default();
        grants.note_led(Some(1));
        assert_eq!(grants.overdue(&[], at(0)), []);
        assert_eq!(grants.overdue(&[session(1)], at(60_000)), []);
        assert_eq!(grants.overdue(&[session(1)], at(62_500)), []);
        assert_eq!(grants.overdue(&[session(1)], at(62_501)), [session(1)]);
    }

    proptest! {
        /// Whatever the delays, and however the two clocks stand to each other: when the grantor
        /// calls a session overdue, the holder's lease is over.
        #[test]
        fn the_holder_is_past_its_lease_before_the_grantor_ends_it(
            renewals in prop::collection::vec((0..700_u64, 0..900_u64), 0..20),
            until in 0..6_000_u64,
        ) {
            let (mut grants, mut now, mut held_until) = (Grants::default(), 0, 0);
            grants.note_led(Some(1));
            prop_assert!(grants.overdue(&[session(1)], at(0)).is_empty());
            for (pause, way) in renewals {
                let sent = now + pause;
                now = sent + way;
                if grants.overdue(&[session(1)], at(now)).is_empty() {
                    prop_assert!(grants.grant(session(1), 1, at(now)));
                    held_until = sent + u64::try_from(LEASE.as_millis()).unwrap();
                } else {
                    prop_assert!(held_until < now);
                    return Ok(());
                }
            }
            let then = now + until;
            if !grants.overdue(&[session(1)], at(then)).is_empty() {
                prop_assert!(held_until < then);
            }
        }
    }
}

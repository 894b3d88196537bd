//! Acknowledgements that complete in any order and leave in PUBLISH order.

use std::collections::VecDeque;

use tessera_mqtt::{PacketId, ReasonCode};

use super::event::Ticket;
use crate::refusal::Detail;

/// What a place in the ring answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// QoS 1, by PUBACK.
    PubAck,
    /// QoS 2, by PUBREC.
    PubRec,
    /// A QoS 2 message that was sent again, by PUBREC.
    Repeat,
    /// A QoS 2 message whose identifier is in use for another one, by a PUBREC that refuses it.
    PubRecRefused,
}

/// The answer that is next in order and complete.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) answers: Answers,
    pub(super) packet_id: PacketId,
    pub(super) reason: ReasonCode,
    pub(super) detail: Option<Box<Detail>>,
}

#[derive(Debug)]
struct Place {
    answers: Answers,
    packet_id: PacketId,
    outcome: Option<(ReasonCode, Option<Box<Detail>>)>,
}

/// One place per PUBLISH of QoS 1 and 2 that is not answered yet. Bounded by the receive maximum
/// (of QoS 1) and the unreleased identifiers (of QoS 2), which the caller checks first.
#[derive(Debug, Default)]
pub(super) struct Order {
    ring: VecDeque<Place>,
    /// The ticket of `ring[0]`.
    first: u64,
}

impl Order {
    pub(super) fn enter(&mut self, answers: Answers, packet_id: PacketId) -> Ticket {
        let ticket = Ticket(self.first + self.ring.len() as u64);
        self.ring.push_back(Place {
            answers,
            packet_id,
            outcome: None,
        });
        ticket
    }

    /// Settle a place. A ticket that was settled before, or is not of this connection, changes
    /// nothing.
    pub(super) fn complete(
        &mut self,
        ticket: Ticket,
        reason: ReasonCode,
        detail: Option<Box<Detail>>,
    ) {
        let index = ticket.0.checked_sub(self.first);
        let index = index.and_then(|index| usize::try_from(index).ok());
        if let Some(place) = index.and_then(|index| self.ring.get_mut(index))
            && place.outcome.is_none()
        {
            place.outcome = Some((reason, detail));
        }
    }

    /// Take the next answer, if the oldest PUBLISH has one.
    pub(super) fn pop_ready(&mut self) -> Option<Ready> {
        let (reason, detail) = self.ring.front_mut()?.outcome.take()?;
        let place = self.ring.pop_front()?;
        self.first += 1;
        Some(Ready {
            answers: place.answers,
            packet_id: place.packet_id,
            reason,
            detail,
        })
    }

    /// How many wait.
    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet_id(number: u64) -> PacketId {
        PacketId::new(u16::try_from(number).unwrap() + 1).unwrap()
    }

    #[test]
    fn a_ticket_settles_once() {
        let mut order = Order::default();
        let ticket = order.enter(Answers::PubAck, packet_id(0));
        order.complete(ticket, ReasonCode::Success, None);
        order.complete(ticket, ReasonCode::QuotaExceeded, None);
        assert_eq!(order.pop_ready().unwrap().reason, ReasonCode::Success);
        order.complete(ticket, ReasonCode::Success, None);
        assert_eq!(order.pop_ready(), None);
    }

    proptest! {
        #[test]
        fn answers_leave_in_publish_order_and_never_early(
            completions in Just((0_u64..40).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let mut order = Order::default();
            let tickets: Vec<Ticket> = (0..40)
                .map(|n| order.enter(Answers::PubAck, packet_id(n)))
                .collect();
            let mut completed = std::collections::BTreeSet::new();
            let mut left = 0;
            for n in completions {
                order.complete(tickets[usize::try_from(n).unwrap()], ReasonCode::Success, None);
                completed.insert(n);
                while let Some(ready) = order.pop_ready() {
                    prop_assert_eq!(ready.packet_id, packet_id(left));
                    prop_assert!(completed.contains(&left));
                    left += 1;
                }
                prop_assert!(!completed.contains(&left), "held back though ready");
            }
            prop_assert_eq!(left, 40);
            prop_assert_eq!(order.len(), 0);
        }
    }
}

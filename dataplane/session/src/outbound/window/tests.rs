//! The window against a list of what is open.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

const MAX: u16 = 5;

#[derive(Debug, Clone, Copy)]
enum Step {
    /// The next delivery, after a gap.
    Deliver {
        gap: u64,
        qos: Qos,
    },
    /// One that is still to come.
    Skip {
        ahead: u64,
    },
    Receive(usize),
    Release(usize),
    Finish(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let qos = prop_oneof![Just(Qos::AtLeastOnce), Just(Qos::ExactlyOnce)];
    let gap = prop_oneof![8 => Just(0), 1 => 1..4_u64, 1 => 60_000..70_000_u64];
    prop_oneof![
        5 => (gap, qos).prop_map(|(gap, qos)| Step::Deliver { gap, qos }),
        1 => (0..4_u64).prop_map(|ahead| Step::Skip { ahead }),
        3 => any::<usize>().prop_map(Step::Receive),
        3 => any::<usize>().prop_map(Step::Release),
        4 => any::<usize>().prop_map(Step::Finish),
    ]
}

/// What is open, by sequence, and the first sequence that was never passed.
#[derive(Debug)]
struct Model {
    open: BTreeMap<u64, Slot>,
    skipped: BTreeSet<u64>,
    next: u64,
}

impl Model {
    fn below(&self) -> u64 {
        let unsent = (self.next..).find(|n| !self.skipped.contains(n));
        let open = self.open.keys().next().copied();
        open.or(unsent).unwrap()
    }

    fn pick(&self, choice: usize, slot: Slot) -> Option<Sequence> {
        let mut fits = self.open.iter().filter(|(_, state)| **state == slot);
        let count = fits.clone().count();
        let (sequence, _) = fits.nth(choice.checked_rem(count)?)?;
        Some(Sequence(*sequence))
    }

    fn apply(&mut self, window: &mut Window, step: Step) {
        match step {
            Step::Deliver { gap, qos } => self.deliver(window, Sequence(self.next + gap), qos),
            Step::Skip { ahead } => {
                let sequence = self.next + ahead;
                if window.skip(Sequence(sequence)) {
                    self.skipped.insert(sequence);
                } else {
                    assert!(sequence - self.below() >= SPAN_MAX);
                }
            }
            Step::Receive(choice) => {
                if let Some(sequence) = self.pick(choice, Slot::PubRecDue) {
                    window.set_received(sequence);
                    self.open.insert(sequence.0, Slot::Received);
                }
            }
            Step::Release(choice) => {
                if let Some(sequence) = self.pick(choice, Slot::Received) {
                    window.set_released(sequence);
                    self.open.insert(sequence.0, Slot::PubCompDue);
                }
            }
            Step::Finish(choice) => {
                let ends = [Slot::PubAckDue, Slot::PubCompDue][choice % 2];
                if let Some(sequence) = self.pick(choice / 2, ends) {
                    window.set_done(sequence);
                    self.open.remove(&sequence.0);
                }
            }
        }
    }

    fn deliver(&mut self, window: &mut Window, sequence: Sequence, qos: Qos) {
        let spans = !self.open.is_empty() && sequence.0 - self.below() >= SPAN_MAX;
        let expected = if self.skipped.contains(&sequence.0) {
            Admission::Known
        } else if self.open.len() >= usize::from(MAX) || spans {
            Admission::Closed
        } else {
            Admission::Open
        };
        assert_eq!(window.admit(sequence), expected);
        if expected == Admission::Open {
            window.written(sequence, qos);
            self.open.insert(sequence.0, Slot::written(qos));
            self.next = sequence.0 + 1;
        }
    }

    fn check(&self, window: &Window) {
        assert_eq!(window.open, self.open.len());
        assert_eq!(window.acknowledged_below(), Sequence(self.below()));
        let open_room = usize::from(MAX) - self.open.len();
        let span_room = SPAN_MAX.saturating_sub(window.next().0 - self.below());
        assert_eq!(
            window.room(),
            open_room.min(usize::try_from(span_room).unwrap())
        );
        for (sequence, slot) in &self.open {
            let sequence = Sequence(*sequence);
            assert_eq!(window.find(sequence.packet_id()), Some((sequence, *slot)));
        }
    }
}

proptest! {
    #[test]
    fn the_window_is_what_is_open(
        start in 0..200_000_u64,
        steps in prop::collection::vec(step(), 0..80),
    ) {
        let mut window = Window::new(MAX);
        window.resume(Sequence(start), &[]);
        let mut model = Model { open: BTreeMap::new(), skipped: BTreeSet::new(), next: start };
        for step in steps {
            model.apply(&mut window, step);
            model.check(&window);
        }
    }

    #[test]
    fn no_two_deliveries_within_the_span_have_the_same_identifier(
        start in any::<u32>(),
        distance in 1..SPAN_MAX,
    ) {
        let first = Sequence(u64::from(start));
        let second = Sequence(u64::from(start) + distance);
        prop_assert_ne!(first.packet_id(), second.packet_id());
    }

    #[test]
    fn a_resumed_window_knows_what_was_released(
        cursor in 0..100_000_u64,
        released in prop::collection::btree_set(0..30_u64, 0..5),
    ) {
        let released: Vec<Sequence> =
            released.into_iter().map(|offset| Sequence(cursor + offset)).collect();
        let mut window = Window::new(MAX);
        window.resume(Sequence(cursor), &released);
        let before: Vec<Admission> =
            (cursor..cursor + 30).map(|n| window.admit(Sequence(n))).collect();
        for (n, admission) in (cursor..).zip(before) {
            let is_released = released.contains(&Sequence(n));
            prop_assert_eq!(admission == Admission::Known, is_released);
        }
        for sequence in &released {
            let found = window.find(sequence.packet_id());
            prop_assert_eq!(found, Some((*sequence, Slot::PubCompDue)));
            window.set_done(*sequence);
            prop_assert_eq!(window.admit(*sequence), Admission::Known, "complete is not unsent");
        }
        prop_assert_eq!(window.room(), usize::from(MAX));
    }
}

#[test]
fn within_the_longest_span_no_two_deliveries_have_one_identifier() {
    let first = Sequence(0);
    let last = Sequence(SPAN_MAX);
    assert_eq!(last.next(), Sequence(SPAN_MAX + 1));
    assert_ne!(first.packet_id(), last.packet_id());
    assert_eq!(first.packet_id(), last.next().packet_id());
}

#[test]
fn what_a_resumed_session_has_released_is_not_skipped() {
    let mut window = Window::new(10);
    window.resume(Sequence(5), &[Sequence(6)]);
    assert!(window.skip(Sequence(6)));
    assert_eq!(window.slot(Sequence(6)), Some(Slot::PubCompDue));
    assert!(window.skip(Sequence(5)));
    assert_eq!(window.acknowledged_below(), Sequence(6));
}

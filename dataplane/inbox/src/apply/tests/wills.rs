//! Wills, from CONNECT to the day they are forgotten.

use super::*;
use crate::bounds::{WILL_GRACE_MS, WILLS_MAX};
use crate::command::NewWill;
use crate::sweep::{due_wills, first_will_due};
use crate::will::DueWill;

/// A session that is stored for ten seconds, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kept {
    Stored,
    Not,
}

const ACME: u8 = 1;

impl World {
    /// Attaches with a will; what came of it and the will's number.
    fn attach_with_will(
        &mut self,
        client: &str,
        kept: Kept,
        clean_start: bool,
        delay_seconds: u32,
        payload: &str,
    ) -> (AttachOutcome, u64) {
        let body = body(payload, None);
        let will = NewWill {
            delay_seconds,
            body: &body,
        };
        let (outcome, number) = self.attach_again(client, kept, clean_start, Some(will));
        (outcome, number.unwrap())
    }

    fn attach_again(
        &mut self,
        client: &str,
        kept: Kept,
        clean_start: bool,
        will: Option<NewWill<'_>>,
    ) -> (AttachOutcome, Option<u64>) {
        let attach = Attach {
            client: client.as_bytes(),
            principal: OWN,
            clean_start,
            create: kept == Kept::Stored,
            expiry_seconds: if kept == Kept::Stored { 10 } else { 0 },
            will,
            owner: None,
        };
        let answer = self.obey(tenant(ACME), &Command::Attach(attach));
        invariants::check(&self.rows);
        let Answer::Attach { outcome, will, .. } = answer else {
            panic!("{answer:?}")
        };
        (outcome, will)
    }

    /// Ends a connection that has a stored session or none.
    fn leave(&mut self, client: &str, outcome: AttachOutcome, number: u64, end: WillEnd) {
        let command = match outcome {
            AttachOutcome::Owned {
                incarnation, epoch, ..
            } => Command::Detach {
                fence: Fence {
                    client: client.as_bytes(),
                    incarnation,
                    epoch,
                },
                expiry_seconds: None,
                sent_below: 0,
                will: end,
            },
            AttachOutcome::Absent => Command::LeaveWill {
                client: client.as_bytes(),
                number,
                end,
            },
            AttachOutcome::More | AttachOutcome::OtherPrincipal => panic!("{outcome:?}"),
        };
        self.obey(tenant(ACME), &command);
        invariants::check(&self.rows);
    }

    fn due(&self) -> Vec<DueWill> {
        due_wills(&self.rows, tenant(ACME), self.time_ms, 100).unwrap()
    }

    fn due_payloads(&self) -> Vec<String> {
        let due = self.due();
        due.iter().map(|will| text(&will.message.payload)).collect()
    }

    /// Milliseconds until the first will is due.
    fn due_in(&self) -> Option<u64> {
        let due_ms = first_will_due(&self.rows, tenant(ACME)).unwrap()?;
        Some(due_ms.saturating_sub(self.time_ms))
    }

    fn wills(&self) -> usize {
        rows_of(self, |row| matches!(row, Row::Will { .. }))
    }
}

#[test]
fn a_will_waits_for_its_delay_or_the_end_of_its_session() {
    for (kept, delay_seconds, due_in) in [
        (Kept::Stored, 0, 0),
        (Kept::Stored, 4, 4_000),
        (Kept::Stored, 3_600, 10_000),
        (Kept::Not, 0, 0),
        (Kept::Not, 4, 0),
    ] {
        let mut world = World::new();
        let (outcome, number) = world.attach_with_will("c", kept, false, delay_seconds, "bye");
        assert_eq!(world.due_in(), None, "its connection lives");
        world.leave("c", outcome, number, WillEnd::Published);
        assert_eq!(world.due_in(), Some(due_in), "{kept:?} {delay_seconds}");
        world.time_ms += due_in;
        let due = world.due();
        assert_eq!(text(&due[0].message.payload), "bye");
        assert_eq!((due[0].number.0, due[0].writer), (number, OWN));
        let forget = Command::ForgetWill {
            client: b"c",
            number,
        };
        for _ in 0..2 {
            assert_eq!(world.obey(tenant(ACME), &forget), Answer::Done);
            invariants::check(&world.rows);
            assert_eq!((world.wills(), world.due_in()), (0, None));
        }
    }
}

#[test]
fn a_farewell_drops_the_will() {
    for kept in [Kept::Stored, Kept::Not] {
        let mut world = World::new();
        let (outcome, number) = world.attach_with_will("c", kept, false, 0, "bye");
        world.leave("c", outcome, number, WillEnd::Dropped);
        assert_eq!((world.wills(), world.due_in()), (0, None));
    }
}

#[test]
fn a_client_that_is_back_in_its_session_within_the_delay_has_no_will_to_be_published() {
    let mut world = World::new();
    let (outcome, number) = world.attach_with_will("c", Kept::Stored, false, 4, "bye");
    world.leave("c", outcome, number, WillEnd::Published);
    world.time_ms += 3_999;
    world.attach_again("c", Kept::Stored, false, None);
    assert_eq!((world.wills(), world.due_in()), (0, None));
}

#[test]
fn a_client_that_is_back_after_the_delay_does_not_stop_its_will() {
    let mut world = World::new();
    let (outcome, number) = world.attach_with_will("c", Kept::Stored, false, 4, "bye");
    world.leave("c", outcome, number, WillEnd::Published);
    world.time_ms += 4_000;
    world.attach_again("c", Kept::Stored, false, None);
    assert_eq!(world.due_payloads(), ["bye"]);
}

#[test]
fn the_end_of_a_session_ends_every_delay() {
    let mut world = World::new();
    let (outcome, number) = world.attach_with_will("c", Kept::Stored, false, 9, "old");
    world.leave("c", outcome, number, WillEnd::Published);
    world.attach_with_will("c", Kept::Stored, true, 9, "new");
    assert_eq!(world.due_payloads(), ["old"]);
    assert_eq!(world.wills(), 2);
}

#[test]
fn a_takeover_publishes_a_will_unless_it_has_a_delay_and_the_session_goes_on() {
    for (kept, clean_start, delay_seconds, due) in [
        (Kept::Stored, false, 0, 1),
        (Kept::Stored, false, 1, 0),
        (Kept::Stored, true, 0, 1),
        (Kept::Stored, true, 1, 1),
        (Kept::Not, false, 0, 1),
        (Kept::Not, false, 1, 1),
    ] {
        let mut world = World::new();
        let (outcome, number) = world.attach_with_will("c", kept, false, delay_seconds, "old");
        world.attach_again("c", kept, clean_start, None);
        assert_eq!(
            world.due().len(),
            due,
            "{kept:?} {clean_start} {delay_seconds}"
        );
        // The former connection's own end comes late and changes nothing.
        let before = world.wills();
        world.leave("c", outcome, number, WillEnd::Dropped);
        assert_eq!(world.wills(), before);
    }
}

#[test]
fn a_will_of_a_process_that_is_gone_waits_for_the_client_to_be_back() {
    for (kept, delay_seconds) in [(Kept::Stored, 0), (Kept::Stored, 3), (Kept::Not, 0)] {
        let mut world = World::new();
        world.attach_with_will("c", kept, false, delay_seconds, "bye");
        let release = Command::Release {
            client: b"c",
            registration: None,
        };
        for _ in 0..2 {
            world.obey(tenant(ACME), &release);
            invariants::check(&world.rows);
            assert_eq!(world.due_in(), Some(WILL_GRACE_MS), "{kept:?}");
        }
        for clean_start in [false, true] {
            let mut back = world.clone();
            back.time_ms += WILL_GRACE_MS - 1;
            back.attach_again("c", kept, clean_start, None);
            assert_eq!((back.wills(), back.due_in()), (0, None), "{kept:?}");
        }
        world.time_ms += WILL_GRACE_MS;
        world.attach_again("c", kept, true, None);
        assert_eq!(world.due_payloads(), ["bye"]);
    }
}

#[test]
fn a_longer_delay_is_not_shortened_by_the_servers_going_away() {
    let mut world = World::new();
    world.attach_with_will("c", Kept::Stored, false, 8, "bye");
    world.obey(
        tenant(ACME),
        &Command::Release {
            client: b"c",
            registration: None,
        },
    );
    assert_eq!(world.due_in(), Some(8_000));
    world.attach_again("c", Kept::Stored, true, None);
    assert_eq!(world.due_payloads(), ["bye"], "its session has ended");
}

#[test]
fn another_principal_neither_takes_the_session_nor_touches_its_will() {
    let mut world = World::new();
    world.attach_with_will("c", Kept::Stored, false, 0, "bye");
    let before = world.rows.clone();
    let (outcome, _) = world.attach_as(tenant(ACME), "c", OTHER, true, 10);
    assert_eq!(outcome, AttachOutcome::OtherPrincipal);
    assert_eq!(world.rows, before);
}

#[test]
fn wills_that_nobody_publishes_are_bounded() {
    let mut world = World::new();
    for at in 0..WILLS_MAX + 5 {
        world.attach_with_will("c", Kept::Not, false, 0, &at.to_string());
        assert!(world.wills() <= WILLS_MAX);
    }
    assert_eq!(world.due_payloads().len(), WILLS_MAX - 1);
    assert_eq!(world.due_payloads()[0], "5", "the oldest went");
}

#[test]
fn a_will_that_is_published_again_is_queued_once() {
    let mut world = World::new();
    let (reader, _) = world.attach(tenant(ACME), "reader", false);
    let (outcome, number) = world.attach_with_will("c", Kept::Not, false, 0, "bye");
    world.leave("c", outcome, number, WillEnd::Published);
    let will = world.due().remove(0);
    let origin = will.origin();
    let body = body("bye", None);
    let insert = Command::Insert(Insert {
        body: &body,
        bounds: ROOMY,
        origin: Some(Origin {
            client: origin.client.as_bytes(),
            incarnation: origin.incarnation.0,
            number: origin.number,
            floor: origin.floor,
            after: None,
            last: true,
        }),
        targets: vec![target("reader", reader.incarnation, Qos::AtLeastOnce)],
    });
    world.obey(tenant(ACME), &insert);
    world.obey(tenant(ACME), &insert);
    assert_eq!(world.queue(&reader).len(), 1);
    let publishers = |world: &World| rows_of(world, |row| matches!(row, Row::Publisher { .. }));
    assert_eq!(publishers(&world), 1);
    let forget = Command::ForgetWill {
        client: b"c",
        number,
    };
    world.obey(tenant(ACME), &forget);
    assert_eq!(publishers(&world), 0);
}

#[test]
fn a_will_of_one_tenant_is_not_anothers() {
    let mut world = World::new();
    let (outcome, number) = world.attach_with_will("c", Kept::Stored, false, 0, "bye");
    let beta = world.attach(tenant(2), "c", false).0;
    world.obey(
        tenant(2),
        &Command::Release {
            client: b"c",
            registration: None,
        },
    );
    let forget = Command::ForgetWill {
        client: b"c",
        number,
    };
    world.obey(tenant(2), &forget);
    assert_eq!((world.wills(), beta.tenant), (1, tenant(2)));
    world.leave("c", outcome, number, WillEnd::Published);
    assert_eq!(world.due_payloads(), ["bye"]);
    assert!(
        due_wills(&world.rows, tenant(2), u64::MAX, 9)
            .unwrap()
            .is_empty()
    );
}

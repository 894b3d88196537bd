//! Messages: how they are stored, dropped and forgotten.

use super::*;
use crate::bounds::{OVERFLOW_ROWS_MAX, PACKET_IDS_MAX, REMOVED_BLOCKS_MAX, REMOVED_ROWS_MAX};
use crate::rows::Mark;
use crate::run::RUN_REFERENCES_MAX;

#[test]
fn an_entry_of_many_messages_is_one_run_and_few_blocks() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    let (b, _) = world.attach(tenant(1), "b", false);
    world.index += 1;
    let body = body(&"x".repeat(40), None);
    for _ in 0..RUN_REFERENCES_MAX {
        let targets = [&a, &b].map(|o| target(&o.client, o.incarnation, Qos::AtLeastOnce));
        let insert = Insert {
            body: &body,
            bounds: ROOMY,
            origin: None,
            targets: targets.to_vec(),
        };
        world.obey_same_entry(tenant(1), &Command::Insert(insert));
    }
    assert_eq!(
        runs(&world),
        2,
        "a run for each queue, not for each message"
    );
    assert_eq!(blocks(&world), 2, "8 KiB in a block");
    invariants::check(&world.rows);
    world.insert(&a, "next entry");
    assert_eq!((runs(&world), blocks(&world)), (3, 3));
}

#[test]
fn a_body_goes_with_the_last_run_that_refers_to_it() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    let (b, _) = world.attach(tenant(1), "b", false);
    let body = body("shared", None);
    let targets = [&a, &b].map(|o| target(&o.client, o.incarnation, Qos::AtLeastOnce));
    let insert = Insert {
        body: &body,
        bounds: ROOMY,
        origin: None,
        targets: targets.to_vec(),
    };
    world.obey(tenant(1), &Command::Insert(insert));
    let acknowledge = |world: &mut World, owned: &Owned| {
        world.obey(
            tenant(1),
            &Command::Acknowledge {
                fence: owned.fence(),
                below: 1,
            },
        )
    };
    assert_eq!(acknowledge(&mut world, &a), Answer::Done);
    assert_eq!(blocks(&world), 1);
    assert_eq!(acknowledge(&mut world, &b), Answer::Done);
    assert_eq!(blocks(&world), 0);
    invariants::check(&world.rows);
}

#[test]
fn a_large_body_has_a_block_of_its_own() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    world.index += 1;
    for payload in ["x".repeat(20_000), "small".into(), "y".repeat(20_000)] {
        let body = body(&payload, None);
        let targets = vec![target("a", a.incarnation, Qos::AtLeastOnce)];
        let insert = Insert {
            body: &body,
            bounds: ROOMY,
            origin: None,
            targets,
        };
        world.obey_same_entry(tenant(1), &Command::Insert(insert));
    }
    assert_eq!((runs(&world), blocks(&world)), (1, 3));
    assert_eq!(world.queue(&a).len(), 3);
    invariants::check(&world.rows);
}

#[test]
fn a_message_without_life_is_not_stored_and_an_expired_one_is_skipped() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    let mut qos = [Qos::AtLeastOnce, Qos::ExactlyOnce].into_iter().cycle();
    let mut insert = |world: &mut World, expiry_seconds| {
        let body = body("m", expiry_seconds);
        let targets = vec![target("a", a.incarnation, qos.next().unwrap())];
        let insert = Insert {
            body: &body,
            bounds: ROOMY,
            origin: None,
            targets,
        };
        world.obey(tenant(1), &Command::Insert(insert))
    };
    assert_eq!(
        insert(&mut world, Some(0)),
        Answer::Inserted(vec![InsertOutcome::Expired])
    );
    for expiry_seconds in [Some(1), Some(1), None, Some(3)] {
        let stored = Answer::Inserted(vec![InsertOutcome::Stored]);
        assert_eq!(insert(&mut world, expiry_seconds), stored);
    }
    world.time_ms += 1_500;
    let fetched = world.fetch(&a, 0);
    let left: Vec<_> = fetched
        .messages
        .iter()
        .map(|queued| (queued.sequence, queued.expiry_seconds))
        .collect();
    assert_eq!(left, [(2, None), (3, Some(2))]);
    assert_eq!(
        (fetched.skipped, fetched.next),
        (std::iter::once(0..2).collect(), 4)
    );
    assert_eq!(fetched.unsent, [0], "QoS 1 needs no word");
}

#[test]
fn a_dropped_message_that_the_client_may_have_still_owes_its_release() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    let bounds = QueueBounds {
        messages_max: 2,
        ..ROOMY
    };
    let insert = |world: &mut World, sent_below| {
        let body = body("m", None);
        let targets = vec![InsertTarget {
            sent_below,
            ..target("a", a.incarnation, Qos::ExactlyOnce)
        }];
        let insert = Insert {
            body: &body,
            bounds,
            origin: None,
            targets,
        };
        world.obey(tenant(1), &Command::Insert(insert));
    };
    for sent_below in [0, 0, 1, 1] {
        insert(&mut world, sent_below);
    }
    let marks = query::marks(&world.rows, tenant(1), b"a", 0..u64::MAX).unwrap();
    assert_eq!(marks, [(0, Mark::Released)], "0 was sent, 1 was not");
    let fetched = world.fetch(&a, 0);
    let sequences: Vec<_> = fetched
        .messages
        .iter()
        .map(|queued| queued.sequence)
        .collect();
    assert_eq!(sequences, [2, 3]);
    assert_eq!(fetched.skipped, std::iter::once(1..2).collect::<Vec<_>>());
    let acknowledge = Command::Acknowledge {
        fence: a.fence(),
        below: 2,
    };
    assert_eq!(world.obey(tenant(1), &acknowledge), Answer::Done);
    assert!(
        query::marks(&world.rows, tenant(1), b"a", 0..u64::MAX)
            .unwrap()
            .is_empty()
    );
}

#[test]
fn many_acknowledgements_go_in_steps() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    let count = REMOVED_ROWS_MAX + 10;
    for _ in 0..count {
        world.insert(&a, "m");
    }
    let below = u64::try_from(count).unwrap();
    let acknowledge = Command::Acknowledge {
        fence: a.fence(),
        below,
    };
    let mut steps = 1;
    while world.obey(tenant(1), &acknowledge) == Answer::More {
        invariants::check(&world.rows);
        steps += 1;
    }
    assert_eq!(steps, count.div_ceil(REMOVED_BLOCKS_MAX));
    assert_eq!((runs(&world), blocks(&world)), (0, 0));
    invariants::check(&world.rows);
}

#[test]
fn a_qos_2_publish_has_one_number_until_it_is_released() {
    let mut world = World::new();
    let (p, _) = world.attach(tenant(1), "p", false);
    let publishing = |world: &mut World, id| {
        world.obey(
            tenant(1),
            &Command::Publishing {
                fence: p.fence(),
                id,
            },
        )
    };
    assert_eq!(
        publishing(&mut world, 7),
        Answer::Number {
            number: 0,
            floor: 0
        }
    );
    assert_eq!(
        publishing(&mut world, 8),
        Answer::Number {
            number: 1,
            floor: 0
        }
    );
    assert_eq!(
        publishing(&mut world, 7),
        Answer::Number {
            number: 0,
            floor: 0
        }
    );
    assert!(
        query::received_qos2(&world.rows, tenant(1), b"p")
            .unwrap()
            .is_empty()
    );
    let received = Command::PublishReceived {
        fence: p.fence(),
        id: 7,
    };
    assert_eq!(world.obey(tenant(1), &received), Answer::Done);
    let done = query::received_qos2(&world.rows, tenant(1), b"p").unwrap();
    assert_eq!(done.iter().map(|id| id.get()).collect::<Vec<_>>(), [7]);
    assert_eq!(
        publishing(&mut world, 9),
        Answer::Number {
            number: 2,
            floor: 1
        }
    );
    let released = Command::PublishReleased {
        fence: p.fence(),
        id: 7,
    };
    assert_eq!(world.obey(tenant(1), &released), Answer::Done);
    assert_eq!(world.obey(tenant(1), &released), Answer::Done);
    assert_eq!(world.obey(tenant(1), &received), Answer::Unknown);
    assert_eq!(
        publishing(&mut world, 7),
        Answer::Number {
            number: 3,
            floor: 1
        }
    );
}

#[test]
fn a_session_holds_so_many_packet_identifiers() {
    let mut world = World::new();
    let (p, _) = world.attach(tenant(1), "p", false);
    let publishing = |world: &mut World, id| {
        world.obey(
            tenant(1),
            &Command::Publishing {
                fence: p.fence(),
                id,
            },
        )
    };
    let max = u16::try_from(PACKET_IDS_MAX).unwrap();
    for id in 1..=max {
        assert!(matches!(publishing(&mut world, id), Answer::Number { .. }));
    }
    assert_eq!(publishing(&mut world, max + 1), Answer::Full);
}

fn publish(
    world: &mut World,
    number: u64,
    floor: u64,
    last: bool,
    targets: &[&Owned],
) -> Vec<InsertOutcome> {
    let body = body(&format!("publish {number}"), None);
    let origin = Origin {
        client: b"p",
        incarnation: 1,
        number,
        floor,
        after: None,
        last,
    };
    let targets = targets
        .iter()
        .map(|o| target(&o.client, o.incarnation, Qos::ExactlyOnce));
    let targets = targets.collect();
    let insert = Insert {
        body: &body,
        bounds: ROOMY,
        origin: Some(origin),
        targets,
    };
    let answer = world.obey(tenant(1), &Command::Insert(insert));
    let Answer::Inserted(outcomes) = answer else {
        panic!("{answer:?}")
    };
    outcomes
}

#[test]
fn a_publish_that_is_tried_again_is_stored_once() {
    use InsertOutcome::{Duplicate, Stored};
    let mut world = World::new();
    let [a, b, c] = ["a", "b", "c"].map(|client| world.attach(tenant(1), client, false).0);
    assert_eq!(publish(&mut world, 5, 5, true, &[&a, &b]), [Stored, Stored]);
    assert_eq!(
        publish(&mut world, 5, 5, true, &[&a, &b, &c]),
        [Duplicate; 3]
    );
    assert_eq!(
        publish(&mut world, 7, 5, false, &[&a]),
        [Stored],
        "the first part of two"
    );
    assert_eq!(
        publish(&mut world, 6, 5, true, &[&a]),
        [Stored],
        "numbers may overtake"
    );
    assert_eq!(
        publish(&mut world, 7, 5, false, &[&a, &b]),
        [Duplicate, Stored]
    );
    assert_eq!(
        publish(&mut world, 7, 5, true, &[&a, &b, &c]),
        [Duplicate, Duplicate, Stored]
    );
    assert_eq!(
        publish(&mut world, 8, 8, true, &[&c]),
        [Stored],
        "all below 8 are settled"
    );
    assert_eq!(
        publish(&mut world, 7, 5, true, &[&a]),
        [Duplicate],
        "a late one stays out"
    );
    assert_eq!(
        [&a, &b, &c].map(|owned| world.queue(owned).len()),
        [3, 2, 2]
    );
    let publisher = Row::Publisher {
        client: b"p",
        incarnation: 1,
    }
    .key(tenant(1));
    assert!(
        world.rows.0[&publisher].len() < 8,
        "what is settled is forgotten"
    );
    invariants::check(&world.rows);
}

#[test]
fn steps_are_bounded_by_blocks_too() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    let body = body(&"x".repeat(9_000), None);
    // Each run has as many blocks as messages.
    for _ in 0..4 {
        world.index += 1;
        for _ in 0..REMOVED_BLOCKS_MAX - 50 {
            let targets = vec![target("a", a.incarnation, Qos::AtLeastOnce)];
            let insert = Insert {
                body: &body,
                bounds: ROOMY,
                origin: None,
                targets,
            };
            world.obey_same_entry(tenant(1), &Command::Insert(insert));
        }
    }
    let acknowledge = Command::Acknowledge {
        fence: a.fence(),
        below: u64::MAX,
    };
    assert_eq!(world.obey(tenant(1), &acknowledge), Answer::More);
    invariants::check(&world.rows);
    let (outcome, _) = world.attach_as(tenant(1), "a", OWN, true, 60);
    assert!(
        matches!(outcome, AttachOutcome::Owned { .. }),
        "the rest is one step"
    );
    assert_eq!(blocks(&world), 0);
    invariants::check(&world.rows);
}

#[test]
fn a_bound_that_was_lowered_far_is_reached_in_steps() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    let bounds = QueueBounds {
        messages_max: 1,
        ..ROOMY
    };
    let count = OVERFLOW_ROWS_MAX + 10;
    for _ in 0..count {
        world.insert(&a, "m");
    }
    // Each message has a run and a block of its own here, and blocks are the first bound.
    const BLOCKS: u32 = 200;
    let first = world.insert_within(&a, "first", bounds);
    let second = world.insert_within(&a, "second", bounds);
    assert_eq!(
        first,
        InsertOutcome::Overflowed {
            dropped: BLOCKS + 1,
            stored: false
        }
    );
    assert_eq!(
        second,
        InsertOutcome::Overflowed {
            dropped: 66,
            stored: true
        }
    );
    assert_eq!(world.queue(&a).len(), 1);
    invariants::check(&world.rows);
}

//! Full queues that refuse the publisher.

use proptest::prelude::*;

use super::*;

const FULL: InsertOutcome = InsertOutcome::Refused {
    full: QueueBound::Messages,
};

/// Queues of so many messages.
fn up_to(messages_max: u32) -> QueueBounds {
    QueueBounds {
        messages_max,
        overflow: OverflowPolicy::RefusePublisher,
        ..ROOMY
    }
}

/// A part of publish `number`, to be stored after `after`.
fn part(
    world: &mut World,
    number: u64,
    bounds: QueueBounds,
    (after, last): (Option<&Owned>, bool),
    targets: &[&Owned],
) -> Vec<InsertOutcome> {
    let body = body(&number.to_string(), None);
    let origin = Origin {
        client: b"p",
        incarnation: 1,
        number,
        floor: 0,
        after: after.map(|owned| owned.client.as_bytes()),
        last,
    };
    let targets = targets
        .iter()
        .map(|o| target(&o.client, o.incarnation, Qos::ExactlyOnce));
    let insert = Insert {
        body: &body,
        bounds,
        origin: Some(origin),
        targets: targets.collect(),
    };
    let answer = world.obey(tenant(1), &Command::Insert(insert));
    let Answer::Inserted(outcomes) = answer else {
        panic!("{answer:?}")
    };
    outcomes
}

/// A publish of one part.
fn publish(
    world: &mut World,
    number: u64,
    bounds: QueueBounds,
    targets: &[&Owned],
) -> Vec<InsertOutcome> {
    part(world, number, bounds, (None, true), targets)
}

fn acknowledge(world: &mut World, owned: &Owned, below: u64) {
    let command = Command::Acknowledge {
        fence: owned.fence(),
        below,
    };
    assert_eq!(world.obey(owned.tenant, &command), Answer::Done);
}

fn payloads(world: &World, owned: &Owned) -> Vec<String> {
    let queue = world.queue(owned).into_iter();
    queue.map(|(_, payload)| payload).collect()
}

#[test]
fn a_queue_that_refuses_keeps_what_it_has_and_names_the_bound() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    assert_eq!(
        world.insert_within(&a, "1", up_to(1)),
        InsertOutcome::Stored
    );
    let before = world.rows.clone();
    assert_eq!(world.insert_within(&a, "2", up_to(1)), FULL);
    let bytes = QueueBounds {
        bytes_max: 60,
        ..up_to(10)
    };
    let full = QueueBound::Bytes;
    assert_eq!(
        world.insert_within(&a, &"x".repeat(30), bytes),
        InsertOutcome::Refused { full }
    );
    assert_eq!(
        world.insert_within(&a, &"x".repeat(80), bytes),
        InsertOutcome::Refused { full },
        "what no queue could ever hold"
    );
    assert_eq!(world.rows, before, "nothing was changed");
    acknowledge(&mut world, &a, 1);
    assert_eq!(
        world.insert_within(&a, "2", up_to(1)),
        InsertOutcome::Stored
    );
    assert_eq!(payloads(&world, &a), ["2"]);
    invariants::check(&world.rows);
}

#[test]
fn without_an_origin_only_the_full_queue_refuses() {
    let mut world = World::new();
    let [a, b] = ["a", "b"].map(|client| world.attach(tenant(1), client, false).0);
    world.insert(&a, "before");
    let body = body("next", None);
    let targets = [&a, &b].map(|o| target(&o.client, o.incarnation, Qos::AtLeastOnce));
    let insert = Insert {
        body: &body,
        bounds: up_to(1),
        origin: None,
        targets: targets.to_vec(),
    };
    let answer = world.obey(tenant(1), &Command::Insert(insert));
    assert_eq!(answer, Answer::Inserted(vec![FULL, InsertOutcome::Stored]));
    assert_eq!(payloads(&world, &a), ["before"]);
    assert_eq!(payloads(&world, &b), ["next"]);
    invariants::check(&world.rows);
}

#[test]
fn a_refused_publish_leaves_no_trace_and_its_repeat_is_stored_once() {
    use InsertOutcome::{Duplicate, Stored, Withheld};
    let mut world = World::new();
    let [a, b, c] = ["a", "b", "c"].map(|client| world.attach(tenant(1), client, false).0);
    let all = [&a, &b, &c];
    world.insert(&b, "before");
    let before = world.rows.clone();
    for _ in 0..2 {
        let refused = publish(&mut world, 5, up_to(1), &all);
        assert_eq!(refused, [Withheld, FULL, Withheld]);
        assert_eq!(world.rows, before);
    }
    acknowledge(&mut world, &b, 1);
    assert_eq!(publish(&mut world, 5, up_to(1), &all), [Stored; 3]);
    assert_eq!(
        publish(&mut world, 5, up_to(1), &all),
        [Duplicate; 3],
        "full again, but it is there"
    );
    for owned in all {
        assert_eq!(payloads(&world, owned), ["5"]);
    }
    invariants::check(&world.rows);
}

#[test]
fn copies_for_one_client_go_together() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    let refused = publish(&mut world, 5, up_to(1), &[&a, &a]);
    assert_eq!(refused, [InsertOutcome::Withheld, FULL]);
    assert_eq!(payloads(&world, &a).len(), 0);
    let stored = publish(&mut world, 5, up_to(2), &[&a, &a]);
    assert_eq!(stored, [InsertOutcome::Stored; 2]);
}

#[test]
fn a_part_whose_predecessor_was_refused_is_withheld() {
    use InsertOutcome::{Duplicate, Stored, Withheld};
    let mut world = World::new();
    let [a, b, c] = ["a", "b", "c"].map(|client| world.attach(tenant(1), client, false).0);
    world.insert(&b, "before");
    let parts = |world: &mut World, bounds| {
        let first = part(world, 5, bounds, (None, false), &[&a]);
        let second = part(world, 5, bounds, (Some(&a), false), &[&b]);
        let third = part(world, 5, bounds, (Some(&b), true), &[&c]);
        [first[0], second[0], third[0]]
    };
    assert_eq!(parts(&mut world, up_to(1)), [Stored, FULL, Withheld]);
    assert_eq!(parts(&mut world, up_to(1)), [Duplicate, FULL, Withheld]);
    assert_eq!(parts(&mut world, ROOMY), [Duplicate, Stored, Stored]);
    assert_eq!(parts(&mut world, up_to(1)), [Duplicate; 3]);
    for owned in [&a, &b, &c] {
        assert_eq!(payloads(&world, owned).last().unwrap(), "5");
    }
    invariants::check(&world.rows);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// A publisher repeats each publish until it is taken; readers acknowledge when they like, and
    /// the publish is cut anywhere.
    #[test]
    fn what_is_repeated_until_it_is_taken_is_in_every_queue_once(
        bound in 1_u32..4,
        publishes in prop::collection::vec((0_usize..4, prop::collection::vec(0_usize..3, 0..6)), 1..12),
    ) {
        let mut world = World::new();
        let owned = ["a", "b", "c"].map(|client| world.attach(tenant(1), client, false).0);
        let mut heard: [Vec<String>; 3] = Default::default();
        for (number, (cut, readers)) in (1..).zip(publishes) {
            let mut readers = readers.into_iter().chain(0..3);
            loop {
                let (first, second) = owned.split_at(cut.min(3));
                let mut outcomes = Vec::new();
                if !first.is_empty() {
                    let targets: Vec<_> = first.iter().collect();
                    let place = (None, second.is_empty());
                    outcomes.extend(part(&mut world, number, up_to(bound), place, &targets));
                }
                if !second.is_empty() {
                    let targets: Vec<_> = second.iter().collect();
                    let place = (first.last(), true);
                    outcomes.extend(part(&mut world, number, up_to(bound), place, &targets));
                }
                let is_in = |outcome: &InsertOutcome| {
                    matches!(outcome, InsertOutcome::Stored | InsertOutcome::Duplicate)
                };
                if outcomes.iter().all(is_in) {
                    break;
                }
                prop_assert!(outcomes.contains(&FULL), "{:?}", outcomes);
                let reader = readers.next().unwrap();
                heard[reader].extend(payloads(&world, &owned[reader]));
                acknowledge(&mut world, &owned[reader], u64::MAX);
            }
            invariants::check(&world.rows);
        }
        for (reader, owned) in owned.iter().enumerate() {
            heard[reader].extend(payloads(&world, owned));
        }
        let numbers = heard[0].len();
        let expected: Vec<String> = (1..=numbers).map(|number| number.to_string()).collect();
        for one in &heard {
            prop_assert_eq!(one, &expected);
        }
    }
}

//! One promise a test.

use super::*;
use crate::bounds::{PACKET_IDS_MAX, REMOVED_ROWS_MAX, SUBSCRIPTIONS_MAX, TARGETS_MAX};
use crate::keys::Row;
use crate::rows::Mark;
use crate::run::RUN_REFERENCES_MAX;
use crate::session::SubscriptionState;

fn rows_of(world: &World, is: impl Fn(Row<'_>) -> bool) -> usize {
    world
        .rows
        .0
        .keys()
        .filter(|key| is(Row::parse(key).unwrap().1))
        .count()
}

fn blocks(world: &World) -> usize {
    rows_of(world, |row| matches!(row, Row::Block(_)))
}

fn runs(world: &World) -> usize {
    rows_of(world, |row| matches!(row, Row::Queue { .. }))
}

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
fn another_principal_gets_no_session_and_no_discard() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    world.insert(&a, "kept");
    for clean_start in [false, true] {
        let (outcome, removed) = world.attach_as(tenant(1), "a", OTHER, clean_start, 60);
        assert_eq!(outcome, AttachOutcome::OtherPrincipal);
        assert_eq!(removed, Removed::default());
    }
    assert_eq!(world.queue(&a).len(), 1);
    let (outcome, _) = world.attach_as(tenant(2), "a", OTHER, false, 60);
    assert!(
        matches!(outcome, AttachOutcome::Owned { resumed: false, .. }),
        "another tenant may"
    );
}

#[test]
fn an_expired_session_is_nobodys() {
    let mut world = World::new();
    let (outcome, _) = world.attach_as(tenant(1), "a", OWN, false, 10);
    let AttachOutcome::Owned {
        incarnation, epoch, ..
    } = outcome
    else {
        panic!("{outcome:?}")
    };
    let a = Owned {
        tenant: tenant(1),
        client: "a".into(),
        incarnation,
        epoch,
    };
    world.insert(&a, "gone");
    let detach = Command::Detach {
        fence: a.fence(),
        expiry_seconds: None,
        sent_below: 0,
    };
    world.obey(tenant(1), &detach);
    invariants::check(&world.rows);
    world.time_ms += 9_999;
    assert_eq!(world.insert(&a, "in time"), InsertOutcome::Stored);
    assert_eq!(
        world.obey(tenant(1), &Command::Expire { client: b"a" }),
        Answer::Done
    );
    world.time_ms += 1;
    assert_eq!(world.insert(&a, "too late"), InsertOutcome::NoSubscription);
    let (outcome, removed) = world.attach_as(tenant(1), "a", OTHER, false, 10);
    assert_eq!(
        outcome,
        AttachOutcome::Owned {
            incarnation: incarnation + 1,
            epoch: 1,
            resumed: false
        },
        "the binding ends with the session"
    );
    assert_eq!(removed.incarnation, incarnation);
    assert_eq!(
        query::figures(&world.rows, tenant(1))
            .unwrap()
            .queue_messages,
        0
    );
    invariants::check(&world.rows);
}

#[test]
fn expiry_removes_all_rows_and_names_the_routes() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    subscribe(&mut world, &a, "x/#");
    world.insert(&a, "gone");
    let id = 7;
    world.obey(
        tenant(1),
        &Command::Publishing {
            fence: a.fence(),
            id,
        },
    );
    let mark = Command::Mark {
        fence: a.fence(),
        sequence: 0,
        mark: Mark::Released,
    };
    world.obey(tenant(1), &mark);
    let detach = Command::Detach {
        fence: a.fence(),
        expiry_seconds: Some(1),
        sent_below: 1,
    };
    world.obey(tenant(1), &detach);
    world.time_ms += 1_000;
    let removed = Removed {
        incarnation: a.incarnation,
        filters: vec![b"x/#".to_vec()],
    };
    let answer = world.obey(tenant(1), &Command::Expire { client: b"a" });
    assert_eq!(
        answer,
        Answer::Ended {
            done: true,
            removed
        }
    );
    assert_eq!(world.rows.0.len(), 1, "only the figures are left");
    invariants::check(&world.rows);
}

#[test]
fn a_large_session_is_discarded_in_steps_and_is_dead_from_the_first() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    for at in 0..REMOVED_ROWS_MAX + 10 {
        subscribe(&mut world, &a, &format!("f/{at}"));
    }
    world.insert(&a, "gone");
    let (outcome, removed) = world.attach_as(tenant(1), "a", OWN, true, 60);
    assert_eq!(outcome, AttachOutcome::More);
    assert_eq!(removed.filters.len(), REMOVED_ROWS_MAX);
    assert_eq!(world.insert(&a, "refused"), InsertOutcome::NoSubscription);
    let figures = query::figures(&world.rows, tenant(1)).unwrap();
    assert_eq!(
        (
            figures.sessions,
            figures.subscriptions,
            figures.queue_messages
        ),
        (0, 0, 0)
    );
    let (outcome, removed) = world.attach_as(tenant(1), "a", OWN, true, 60);
    assert!(matches!(
        outcome,
        AttachOutcome::Owned { resumed: false, .. }
    ));
    assert_eq!(removed.filters.len(), 10);
    assert_eq!(blocks(&world), 0);
    invariants::check(&world.rows);
}

#[test]
fn subscriptions_are_intended_confirmed_left_and_gone() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    let state = |world: &World| {
        let stored = query::subscriptions(&world.rows, tenant(1), b"a").unwrap();
        stored.first().map(|stored| stored.state)
    };
    let confirm = Command::Confirm {
        fence: a.fence(),
        filter: b"x",
    };
    let unsubscribe = Command::Unsubscribe {
        fence: a.fence(),
        filter: b"x",
    };
    assert_eq!(subscribe(&mut world, &a, "x"), Answer::Existed(false));
    assert_eq!(state(&world), Some(SubscriptionState::Intended));
    assert_eq!(world.obey(tenant(1), &confirm), Answer::Done);
    assert_eq!(state(&world), Some(SubscriptionState::Confirmed));
    assert_eq!(subscribe(&mut world, &a, "x"), Answer::Existed(true));
    assert_eq!(world.obey(tenant(1), &confirm), Answer::Done);
    assert_eq!(world.obey(tenant(1), &unsubscribe), Answer::Existed(true));
    assert_eq!(state(&world), Some(SubscriptionState::Leaving));
    assert_eq!(world.obey(tenant(1), &confirm), Answer::Done);
    assert_eq!(state(&world), None);
    assert_eq!(world.obey(tenant(1), &unsubscribe), Answer::Existed(false));
    assert_eq!(world.obey(tenant(1), &confirm), Answer::Unknown);
    invariants::check(&world.rows);
}

#[test]
fn a_session_has_so_many_subscriptions() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    for at in 0..SUBSCRIPTIONS_MAX {
        subscribe(&mut world, &a, &at.to_string());
    }
    assert_eq!(subscribe(&mut world, &a, "one more"), Answer::Full);
    assert_eq!(
        subscribe(&mut world, &a, "0"),
        Answer::Existed(true),
        "a change is no more"
    );
}

#[test]
fn a_message_without_life_is_not_stored_and_an_expired_one_is_skipped() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    let insert = |world: &mut World, expiry_seconds| {
        let body = body("m", expiry_seconds);
        let targets = vec![target("a", a.incarnation, Qos::AtLeastOnce)];
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
    for expiry_seconds in [Some(1), None, Some(3)] {
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
    assert_eq!(left, [(1, None), (2, Some(2))]);
    assert_eq!(
        (fetched.skipped, fetched.next),
        (std::iter::once(0..1).collect(), 3)
    );
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
fn what_a_lost_owner_sent_is_taken_for_all() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    world.insert(&a, "m");
    assert!(matches!(
        world.obey(tenant(1), &Command::Release { client: b"a" }),
        Answer::Ended { done: true, .. }
    ));
    let row = query::session(&world.rows, tenant(1), b"a")
        .unwrap()
        .unwrap();
    assert_eq!(row.sent_below, 1);
    assert_eq!(
        world.obey(tenant(1), &Command::Release { client: b"a" }),
        Answer::Done
    );
    invariants::check(&world.rows);
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
    assert_eq!(world.obey(tenant(1), &acknowledge), Answer::More);
    invariants::check(&world.rows);
    assert_eq!(world.obey(tenant(1), &acknowledge), Answer::Done);
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
fn tenants_with_the_same_names_never_meet() {
    let mut world = World::new();
    let [a, b] = [1, 2].map(|byte| world.attach(tenant(byte), "same", false).0);
    world.index += 1;
    for owned in [&a, &b, &a] {
        let body = body(&owned.tenant.to_string(), None);
        let targets = vec![target("same", owned.incarnation, Qos::AtLeastOnce)];
        let insert = Insert {
            body: &body,
            bounds: ROOMY,
            origin: None,
            targets,
        };
        world.obey_same_entry(owned.tenant, &Command::Insert(insert));
    }
    for (owned, count) in [(&a, 2), (&b, 1)] {
        let queue = world.queue(owned);
        assert_eq!(queue.len(), count);
        assert!(
            queue
                .iter()
                .all(|(_, payload)| *payload == owned.tenant.to_string())
        );
    }
    world.attach(tenant(1), "same", true);
    assert_eq!(
        world.queue(&b).len(),
        1,
        "a discard in one tenant is not felt in the other"
    );
    invariants::check(&world.rows);
}

#[test]
fn a_command_that_cannot_be_obeyed_is_answered_and_changes_nothing() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    let before = world.rows.clone();
    let body = body("m", None);
    let too_many = vec![target("a", a.incarnation, Qos::AtLeastOnce); TARGETS_MAX + 1];
    let insert = Insert {
        body: &body,
        bounds: ROOMY,
        origin: None,
        targets: too_many,
    };
    assert_eq!(
        world.obey(tenant(1), &Command::Insert(insert)),
        Answer::Malformed
    );
    let insert = Insert {
        body: b"",
        bounds: ROOMY,
        origin: None,
        targets: vec![],
    };
    assert_eq!(
        world.obey(tenant(1), &Command::Insert(insert)),
        Answer::Malformed
    );
    let machine = Machine::new(Arc::new(Registry::new()), Arc::default());
    let cx = ApplyContext {
        shard: ShardId::from_u64(1),
        index: 9,
        ordinal: 0,
        time_ms: 9,
    };
    let commands: [(Scope, &[u8]); 3] = [
        (Scope::Tenant(tenant(1)), b""),
        (Scope::Tenant(tenant(1)), b"\x01\xFF"),
        (Scope::Group, &Command::Expire { client: b"a" }.encode()),
    ];
    for (scope, command) in commands {
        let answer = machine.apply(&cx, &mut world.rows, scope, command).unwrap();
        assert_eq!(Answer::decode(&answer), Some(Answer::Malformed));
    }
    assert_eq!(world.rows, before);
}

fn subscribe(world: &mut World, owned: &Owned, filter: &str) -> Answer {
    let (fence, filter) = (owned.fence(), filter.as_bytes());
    let command = Command::Subscribe {
        fence,
        filter,
        options: 1,
        subscription_id: 0,
    };
    world.obey(owned.tenant, &command)
}

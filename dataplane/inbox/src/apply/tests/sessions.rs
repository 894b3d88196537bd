//! Sessions: who has them, how they end.

use super::*;
use crate::bounds::{REMOVED_ROWS_MAX, SUBSCRIPTIONS_MAX, TARGETS_MAX};
use crate::rows::Mark;
use crate::session::{LiveGrant, SubscriptionState};

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
        will: WillEnd::Dropped,
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
        will: WillEnd::Dropped,
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
fn what_a_lost_owner_sent_is_taken_for_all() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    world.insert(&a, "m");
    assert!(matches!(
        world.obey(
            tenant(1),
            &Command::Release {
                client: b"a",
                registration: None
            }
        ),
        Answer::Ended { done: true, .. }
    ));
    let row = query::session(&world.rows, tenant(1), b"a")
        .unwrap()
        .unwrap();
    assert_eq!(row.sent_below, 1);
    assert_eq!(
        world.obey(
            tenant(1),
            &Command::Release {
                client: b"a",
                registration: None
            }
        ),
        Answer::Done
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
    let machine = Machine::new(
        Arc::new(Registry::new()),
        Arc::default(),
        Arc::default(),
        Arc::default(),
    );
    let cx = ApplyContext {
        shard: ShardId::from_u64(1),
        term: 1,
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

#[derive(Default)]
struct Woken(std::sync::atomic::AtomicUsize);

impl Owner for Woken {
    fn taken_over(&self) {}

    fn available(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn deliver_live(&self, _: &Message, _: &LiveGrant<'_>) {}
}

#[test]
fn owners_are_woken_and_ends_are_noted_once_readers_see_them() {
    let mut world = World::new();
    let (a, _) = world.attach(tenant(1), "a", false);
    let (registry, due) = (Arc::new(Registry::new()), Arc::new(DueTenants::default()));
    let look_around = Arc::<AtomicBool>::default();
    let machine = Machine::new(
        Arc::clone(&registry),
        Arc::clone(&due),
        Arc::default(),
        Arc::clone(&look_around),
    );
    let owner = Arc::new(Woken::default());
    registry.insert(
        SessionKey::of_bytes(tenant(1), b"a"),
        Registered {
            owner: Arc::clone(&owner) as Arc<dyn Owner>,
            principal: OWN,
            ownership: Ownership {
                incarnation: SessionIncarnation(a.incarnation),
                epoch: OwnerEpoch(a.epoch),
            },
            lane: None,
            registration: None,
        },
    );
    let body = body("m", None);
    let targets = vec![target("a", a.incarnation, Qos::AtLeastOnce)];
    let insert = Insert {
        body: &body,
        bounds: ROOMY,
        origin: None,
        targets,
    };
    let detach = Command::Detach {
        fence: a.fence(),
        expiry_seconds: Some(2),
        sent_below: 0,
        will: WillEnd::Dropped,
    };
    let cx = ApplyContext {
        shard: ShardId::from_u64(1),
        term: 1,
        index: 9,
        ordinal: 0,
        time_ms: 1_000,
    };
    for command in [
        Command::Insert(insert.clone()),
        Command::Insert(insert),
        detach,
    ] {
        let scope = Scope::Tenant(tenant(1));
        machine
            .apply(&cx, &mut world.rows, scope, &command.encode())
            .unwrap();
    }
    let woken = || owner.0.load(Ordering::Relaxed);
    assert_eq!((woken(), due.take(u64::MAX)), (0, vec![]));
    machine.committed();
    assert_eq!((woken(), due.take(2_999)), (1, vec![]));
    assert_eq!(due.take(3_000), [tenant(1)]);
    // A snapshot brings messages and ends that no command told of.
    machine.opened(&world.rows).unwrap();
    assert_eq!((woken(), look_around.load(Ordering::Relaxed)), (2, true));
}

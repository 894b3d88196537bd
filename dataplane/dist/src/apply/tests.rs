use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::prelude::*;
use tessera_shard::{ShardId, Visit};

use super::*;
use crate::route::Route;
use crate::testing::{MemoryRows, persistent, route, routes, tenant, transient};
use crate::tries::TenantRoutes;

const CX: ApplyContext = ApplyContext {
    shard: ShardId::from_u64(1),
    term: 1,
    index: 1,
    ordinal: 0,
    time_ms: 0,
};

fn apply(machine: &Routes, rows: &mut MemoryRows, scope: Scope, command: &Command) -> Reply {
    let reply = machine.apply(&CX, rows, scope, &command.encode()).unwrap();
    machine.committed();
    Reply::decode(&reply).unwrap()
}

fn open(rows: &mut MemoryRows, incarnation: u64, number_min: u64) -> Reply {
    let command = Command::OpenNodeSession {
        node: NodeId(1),
        incarnation: Incarnation(incarnation),
        number_min,
    };
    apply(&Routes::default(), rows, Scope::Group, &command)
}

fn add(route: &Route) -> Command {
    Command::AddRoute {
        identity: Identity::new(&route.filter, &route.receiver),
        receiver: route.receiver.clone(),
        options: route.options,
    }
}

fn remove(route: &Route) -> Command {
    Command::RemoveRoute {
        identity: Identity::new(&route.filter, &route.receiver),
        receiver: route.receiver.clone(),
    }
}

const fn remove_ended(limit: u32) -> Command {
    Command::RemoveEndedRoutes {
        node: NodeId(1),
        limit,
    }
}

/// Removes everything that has ended; how many steps it took.
fn clear(machine: &Routes, rows: &mut MemoryRows, limit: u32) -> usize {
    for step in 1.. {
        match apply(machine, rows, Scope::Group, &remove_ended(limit)) {
            Reply::Removed { more: true, .. } => {}
            Reply::Removed { more: false, .. } => return step,
            Reply::Done | Reply::Opened { .. } | Reply::Refused(_) => panic!("not removed"),
        }
    }
    0
}

fn stored(rows: &MemoryRows, tenant: TenantId) -> Vec<Route> {
    let tries = Tries::default();
    shown(&load(&tries, rows, tenant))
}

fn load(tries: &Tries, rows: &MemoryRows, tenant: TenantId) -> Arc<TenantRoutes> {
    let routes = tries.tenant(tenant);
    let step = |from: &[u8], until: &[u8], visit: &mut Visit<'_>| rows.scan(from, until, visit);
    while !tries.load_step(&routes, step).unwrap() {}
    routes
}

fn shown(routes: &TenantRoutes) -> Vec<Route> {
    let mut shown = Vec::new();
    routes
        .snapshot()
        .for_each(&mut |route| shown.push(route.clone()));
    shown.sort();
    shown
}

#[test]
fn a_larger_incarnation_gets_a_larger_number_and_a_repeat_the_same() {
    let rows = &mut MemoryRows::default();
    assert_eq!(open(rows, 5, 0), Reply::Opened { number: 1 });
    assert_eq!(open(rows, 5, 0), Reply::Opened { number: 1 });
    assert_eq!(open(rows, 5, 7), Reply::Opened { number: 7 });
    assert_eq!(open(rows, 5, 3), Reply::Opened { number: 7 });
    assert_eq!(open(rows, 6, 0), Reply::Opened { number: 8 });
    assert_eq!(open(rows, 5, 0), Reply::Refused(Refusal::Superseded));
    assert_eq!(open(rows, 6, 0), Reply::Opened { number: 8 });
}

#[test]
fn adding_and_removing_again_changes_nothing() {
    let (machine, rows) = (Routes::default(), &mut MemoryRows::default());
    let scope = Scope::Tenant(tenant(1));
    open(rows, 1, 0);
    for route in [
        route("a/+", transient(1, 1)),
        route("a/+", persistent("c", 1)),
    ] {
        assert_eq!(apply(&machine, rows, scope, &add(&route)), Reply::Done);
        let once = rows.clone();
        assert_eq!(apply(&machine, rows, scope, &add(&route)), Reply::Done);
        assert_eq!((&rows.rows, &rows.local), (&once.rows, &once.local));
        assert_eq!(stored(rows, tenant(1)), std::slice::from_ref(&route));
        for _ in 0..2 {
            assert_eq!(apply(&machine, rows, scope, &remove(&route)), Reply::Done);
            assert!(rows.rows.is_empty());
        }
    }
    assert_eq!(rows.local.len(), 1, "the node session");
}

#[test]
fn a_session_that_is_not_open_takes_no_route() {
    let (machine, rows) = (Routes::default(), &mut MemoryRows::default());
    let scope = Scope::Tenant(tenant(1));
    let ended = Reply::Refused(Refusal::SessionEnded);
    assert_eq!(
        apply(&machine, rows, scope, &add(&route("a", transient(1, 1)))),
        ended
    );
    open(rows, 1, 0);
    open(rows, 2, 0);
    assert_eq!(
        apply(&machine, rows, scope, &add(&route("a", transient(1, 1)))),
        ended
    );
    assert_eq!(
        apply(&machine, rows, scope, &add(&route("a", transient(1, 3)))),
        ended
    );
    assert!(rows.rows.is_empty());
    assert_eq!(
        apply(&machine, rows, scope, &add(&route("a", transient(1, 2)))),
        Reply::Done
    );
}

#[test]
fn ended_sessions_lose_their_routes_in_bounded_steps_and_nothing_else_does() {
    let (machine, rows) = (Routes::default(), &mut MemoryRows::default());
    let tenants = [tenant(1), tenant(2)];
    open(rows, 1, 0);
    let other_node = Command::OpenNodeSession {
        node: NodeId(2),
        incarnation: Incarnation(1),
        number_min: 0,
    };
    apply(&machine, rows, Scope::Group, &other_node);
    let kept = [route("k", persistent("c", 1)), route("k", transient(2, 1))];
    for tenant in tenants {
        for number in 0..12 {
            let route = route(&format!("t/{number}"), transient(1, 1));
            apply(&machine, rows, Scope::Tenant(tenant), &add(&route));
        }
        for route in &kept {
            apply(&machine, rows, Scope::Tenant(tenant), &add(route));
        }
    }
    assert_eq!(clear(&machine, rows, 5), 1, "nothing has ended");
    open(rows, 2, 0);
    let new = route("t/0", transient(1, 2));
    apply(&machine, rows, Scope::Tenant(tenants[0]), &add(&new));
    assert_eq!(clear(&machine, rows, 5), 5, "24 routes, 5 a step");
    let sorted = |mut routes: Vec<Route>| {
        routes.sort();
        routes
    };
    let [first, second] = kept;
    assert_eq!(
        stored(rows, tenants[0]),
        sorted(vec![first.clone(), second.clone(), new])
    );
    assert_eq!(stored(rows, tenants[1]), sorted(vec![first, second]));
    assert_eq!(
        rows.local.len(),
        2 + 3,
        "sessions, and one entry a transient route"
    );
}

#[test]
fn a_step_removes_no_more_than_its_bound() {
    let (machine, rows) = (Routes::default(), &mut MemoryRows::default());
    open(rows, 1, 0);
    for number in 0..=ENDED_ROUTES_PER_STEP {
        let route = route(&number.to_string(), transient(1, 1));
        apply(&machine, rows, Scope::Tenant(tenant(1)), &add(&route));
    }
    open(rows, 2, 0);
    let step = apply(&machine, rows, Scope::Group, &remove_ended(u32::MAX));
    let routes = ENDED_ROUTES_PER_STEP;
    assert_eq!(step, Reply::Removed { routes, more: true });
}

#[test]
fn a_command_in_the_wrong_scope_is_refused() {
    let (machine, rows) = (Routes::default(), &mut MemoryRows::default());
    let malformed = Reply::Refused(Refusal::Malformed);
    let route = route("a", persistent("c", 1));
    assert_eq!(apply(&machine, rows, Scope::Group, &add(&route)), malformed);
    assert_eq!(
        apply(&machine, rows, Scope::Group, &remove(&route)),
        malformed
    );
    let scope = Scope::Tenant(tenant(1));
    assert_eq!(apply(&machine, rows, scope, &remove_ended(1)), malformed);
    assert!(rows.rows.is_empty() && rows.local.is_empty());
}

#[test]
fn a_key_that_no_row_can_have_is_refused_and_not_a_storage_failure() {
    let (machine, rows) = (Routes::default(), &mut MemoryRows::default());
    let longest = route(&"x".repeat(65_535), persistent(&"c".repeat(65_535), 1));
    let scope = Scope::Tenant(tenant(1));
    let too_long = Reply::Refused(Refusal::TooLong);
    assert_eq!(apply(&machine, rows, scope, &add(&longest)), too_long);
    assert_eq!(apply(&machine, rows, scope, &remove(&longest)), Reply::Done);
}

#[derive(Debug, Clone)]
enum Move {
    Open(u64),
    Add(u8, Route),
    Remove(u8, Route),
    Clear(u32),
}

fn moves() -> impl Strategy<Value = Move> {
    prop_oneof![
        1 => (1..4_u64).prop_map(Move::Open),
        8 => (1..3_u8, routes()).prop_map(|(tenant, route)| Move::Add(tenant, route)),
        3 => (1..3_u8, routes()).prop_map(|(tenant, route)| Move::Remove(tenant, route)),
        1 => (1..4_u32).prop_map(Move::Clear),
    ]
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer(
        ordinal in 0..6_u8,
        body in prop::collection::vec(any::<u8>(), 0..60),
        group: bool,
    ) {
        let (machine, mut rows) = (Routes::default(), MemoryRows::default());
        let scope = if group { Scope::Group } else { Scope::Tenant(tenant(1)) };
        for command in [[&[1, ordinal], &*body].concat(), body] {
            let reply = machine.apply(&CX, &mut rows, scope, &command).unwrap();
            prop_assert!(Reply::decode(&reply).is_ok());
        }
    }

    #[test]
    fn memory_rows_and_the_lists_of_sessions_agree_after_any_moves(
        moves in prop::collection::vec(moves(), 0..60),
    ) {
        let (machine, mut rows) = (Routes::default(), MemoryRows::default());
        let tenants = [tenant(1), tenant(2)];
        let live = tenants.map(|tenant| load(&machine.tries, &rows, tenant));
        let again = Routes::default();
        let mut rows_again = MemoryRows::default();
        for step in moves {
            let (scope, command) = match step {
                Move::Open(incarnation) => (Scope::Group, Command::OpenNodeSession {
                    node: NodeId(1),
                    incarnation: Incarnation(incarnation),
                    number_min: 0,
                }),
                Move::Add(number, route) => (Scope::Tenant(tenant(number)), add(&route)),
                Move::Remove(number, route) => (Scope::Tenant(tenant(number)), remove(&route)),
                Move::Clear(limit) => (Scope::Group, remove_ended(limit)),
            };
            let reply = apply(&machine, &mut rows, scope, &command);
            prop_assert_eq!(reply, apply(&again, &mut rows_again, scope, &command));
        }
        prop_assert_eq!(&rows.rows, &rows_again.rows, "deterministic");
        let mut listed = BTreeSet::new();
        for (tenant, live) in tenants.into_iter().zip(live) {
            let stored = stored(&rows, tenant);
            prop_assert_eq!(&shown(&live), &stored);
            for route in stored {
                if let Receiver::Transient(session) = route.receiver {
                    let identity = Identity::new(&route.filter, &route.receiver);
                    listed.insert(session_route_key(session, tenant, identity.as_bytes()));
                }
            }
        }
        let lists = rows.local.into_keys().filter(|key| key[0] == 2).collect();
        prop_assert_eq!(listed, lists);
    }
}

#[test]
fn routes_that_a_split_took_away_are_left_to_the_shard_that_has_them() {
    let (machine, rows) = (Routes::default(), &mut MemoryRows::default());
    open(rows, 1, 0);
    let route = route("a", transient(1, 1));
    for tenant in [tenant(1), tenant(2)] {
        apply(&machine, rows, Scope::Tenant(tenant), &add(&route));
    }
    let child = MemoryRows {
        rows: rows.rows.split_off(tenant(2).as_bytes().as_slice()),
        ..rows.clone()
    };
    rows.end = Some(tenant(2).as_bytes().to_vec());
    open(rows, 2, 0);
    assert_eq!(clear(&machine, rows, 10), 1);
    assert!(stored(rows, tenant(1)).is_empty());
    assert_eq!(stored(&child, tenant(2)), [route]);
}

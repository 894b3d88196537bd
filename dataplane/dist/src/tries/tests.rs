use proptest::prelude::*;

use super::*;
use crate::keys::{route_key, route_value};
use crate::route::Route;
use crate::testing::{MemoryRows, persistent, route, tenant};

/// A shard with one thing in it: rows that a change reaches before it is published.
#[derive(Default)]
struct Shard {
    rows: MemoryRows,
    tries: Tries,
}

impl Shard {
    fn with_routes(numbers: std::ops::Range<usize>) -> Self {
        let mut shard = Self::default();
        for neighbour in [tenant(0), tenant(2)] {
            let route = nth(1);
            let identity = Identity::new(&route.filter, &route.receiver);
            let key = route_key(neighbour, identity.as_bytes());
            shard.rows.rows.insert(key, route_value(route.options));
        }
        for number in numbers {
            shard.commit(&nth(number), true);
        }
        shard
    }

    fn commit(&mut self, route: &Route, add: bool) {
        self.apply(route, add);
        self.tries.publish();
    }

    fn apply(&mut self, route: &Route, add: bool) {
        let identity = Identity::new(&route.filter, &route.receiver);
        let key = route_key(tenant(1), identity.as_bytes());
        if add {
            self.rows.rows.insert(key, route_value(route.options));
        } else {
            self.rows.rows.remove(&key);
        }
        self.tries.note(Change {
            tenant: tenant(1),
            identity,
            options: add.then_some(route.options),
        });
    }

    fn load_step(&self, routes: &TenantRoutes) -> bool {
        let step = self.tries.load_step(routes, |from, until, visit| {
            self.rows.scan(from, until, visit)
        });
        step.unwrap()
    }

    fn load(&self) -> Arc<TenantRoutes> {
        let routes = self.tries.tenant(tenant(1));
        while !self.load_step(&routes) {}
        routes
    }

    #[track_caller]
    fn check(&self, routes: &TenantRoutes) {
        let snapshot = routes.snapshot();
        let mut shown = Vec::new();
        snapshot.for_each(&mut |route| {
            let identity = Identity::new(&route.filter, &route.receiver);
            shown.push(route_key(tenant(1), identity.as_bytes()));
        });
        shown.sort();
        let own = |key: &&Vec<u8>| key.starts_with(tenant(1).as_bytes());
        let stored = self.rows.rows.keys().filter(own);
        assert!(shown.iter().eq(stored), "memory and rows differ");
        assert_eq!(snapshot.len(), shown.len());
    }
}

fn nth(number: usize) -> Route {
    route(&format!("d/{number:06}"), persistent("c", 1))
}

#[test]
fn a_large_tenant_is_read_in_several_steps() {
    let shard = Shard::with_routes(0..2 * ROWS_PER_LOAD_STEP + 1);
    let routes = shard.tries.tenant(tenant(1));
    assert!(!routes.is_loaded());
    assert!(!shard.load_step(&routes));
    assert!(!shard.load_step(&routes));
    assert!(shard.load_step(&routes));
    assert!(routes.is_loaded());
    shard.check(&routes);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn changes_that_commit_while_a_tenant_is_read_are_neither_lost_nor_undone(
        changes in prop::collection::vec((0..1_100_usize, any::<[bool; 3]>()), 0..40),
    ) {
        let mut shard = Shard::with_routes(100..1_000);
        let routes = shard.tries.tenant(tenant(1));
        for (number, [add, publish, step]) in changes {
            if step {
                shard.load_step(&routes);
            }
            // What is not published at once is readable, and published with a later one.
            shard.apply(&nth(number), add);
            if publish {
                shard.tries.publish();
            }
        }
        let routes = shard.load();
        shard.tries.publish();
        shard.check(&routes);
    }
}

#[test]
fn the_generation_grows_with_each_visible_change_only() {
    let mut shard = Shard::with_routes(0..3);
    let routes = shard.load();
    let mut last = routes.generation();
    let mut step = |shard: &mut Shard, number, add, visible| {
        let before = routes.snapshot();
        shard.commit(&nth(number), add);
        let now = routes.generation();
        assert_eq!(now > last, visible);
        assert_eq!(routes.snapshot().len() != before.len(), visible);
        last = now;
    };
    step(&mut shard, 5, true, true);
    step(&mut shard, 5, true, false);
    step(&mut shard, 9, false, false);
    step(&mut shard, 5, false, true);
}

#[test]
fn a_generation_never_comes_back_with_other_routes() {
    let mut shard = Shard::with_routes(0..1);
    let first = shard.load().generation();
    shard.tries.memory.evict_idle();
    shard.tries.memory.evict_idle();
    assert_eq!(shard.tries.memory.len(), 0);
    shard.commit(&nth(1), true);
    assert!(shard.load().generation() > first);
}

#[test]
fn a_snapshot_stays_as_it_was_taken() {
    let mut shard = Shard::with_routes(0..3);
    let routes = shard.load();
    let snapshot = routes.snapshot();
    shard.commit(&nth(7), true);
    shard.commit(&nth(1), false);
    assert_eq!(snapshot.get(&nth(7).filter, &nth(7).receiver), None);
    assert!(snapshot.get(&nth(1).filter, &nth(1).receiver).is_some());
    shard.check(&routes);
}

#[test]
fn only_what_nobody_holds_is_dropped() {
    let mut shard = Shard::with_routes(0..1);
    let routes = shard.load();
    for _ in 0..3 {
        assert_eq!(shard.tries.memory.evict_idle(), 0, "held");
    }
    shard.commit(&nth(0), false);
    assert!(routes.snapshot().is_empty());
    assert_eq!(shard.tries.memory.evict_idle(), 0, "held, though empty");
    shard.commit(&nth(1), true);
    assert_eq!(routes.snapshot().len(), 1, "a holder sees every change");

    drop(shard.load());
    drop(routes);
    assert_eq!(
        shard.tries.memory.evict_idle(),
        0,
        "asked for since the last call"
    );
    drop(shard.tries.tenant(tenant(1)));
    assert_eq!(shard.tries.memory.evict_idle(), 0, "asked for again");
    assert_eq!(shard.tries.memory.evict_idle(), 1);
    shard.check(&shard.load());
}

#[test]
fn a_tenant_that_nobody_holds_goes_with_its_last_route() {
    let mut shard = Shard::with_routes(0..2);
    drop(shard.load());
    shard.commit(&nth(0), false);
    assert_eq!(shard.tries.memory.len(), 1);
    shard.commit(&nth(1), false);
    assert_eq!(shard.tries.memory.len(), 0);

    drop(shard.load());
    assert_eq!(shard.tries.memory.evict_idle(), 1, "empty from the start");
}

#[test]
fn another_tenants_change_is_not_seen() {
    let shard = Shard::with_routes(0..1);
    let routes = shard.load();
    let generation = routes.generation();
    let stranger = nth(5);
    shard.tries.note(Change {
        tenant: tenant(2),
        identity: Identity::new(&stranger.filter, &stranger.receiver),
        options: Some(stranger.options),
    });
    shard.tries.publish();
    assert_eq!(routes.generation(), generation);
    shard.check(&routes);
    let strangers = shard.tries.tenant(tenant(3));
    assert!(shard.load_step(&strangers));
    assert!(strangers.snapshot().is_empty());
}

#[test]
fn replaced_rows_replace_what_readers_hold() {
    let mut shard = Shard::with_routes(0..10);
    let routes = shard.load();
    let generation = routes.generation();
    shard.apply(&nth(50), true);
    shard.rows = Shard::with_routes(5..20).rows;
    shard.tries.rebuild(&shard.rows).unwrap();
    shard.tries.publish();
    assert!(routes.generation() > generation);
    shard.check(&routes);
}

#[test]
fn rows_that_are_replaced_while_they_are_read_are_read_anew() {
    let mut shard = Shard::with_routes(0..600);
    let routes = shard.tries.tenant(tenant(1));
    assert!(!shard.load_step(&routes));
    shard.rows = Shard::with_routes(400..800).rows;
    shard.tries.rebuild(&shard.rows).unwrap();
    shard.check(&shard.load());
}

#[test]
fn a_damaged_row_is_an_error_and_not_a_missing_route() {
    let mut shard = Shard::with_routes(0..3);
    let routes = shard.tries.tenant(tenant(1));
    let key = shard.rows.rows.keys().nth(2).unwrap().clone();
    let value = shard.rows.rows.insert(key.clone(), vec![9]).unwrap();
    let step = |shard: &Shard| {
        shard.tries.load_step(&routes, |from, until, visit| {
            shard.rows.scan(from, until, visit)
        })
    };
    assert!(step(&shard).is_err());
    assert!(!routes.is_loaded());
    shard.rows.rows.insert(key, value);
    assert_eq!(step(&shard), Ok(true), "after an error it goes on");
    shard.check(&routes);
}

#[test]
fn who_holds_a_trie_keeps_it_while_a_split_moves_its_tenant() {
    let mut parent = Shard::with_routes(0..10);
    let routes = parent.load();
    let mut child = Shard {
        rows: MemoryRows {
            rows: parent.rows.rows.split_off(tenant(1).as_bytes().as_slice()),
            ..MemoryRows::default()
        },
        tries: Tries::new(Arc::clone(&parent.tries.memory)),
    };
    parent.rows.end = Some(tenant(1).as_bytes().to_vec());
    parent.tries.rebuild(&parent.rows).unwrap();
    child.check(&routes);
    child.tries.rebuild(&child.rows).unwrap();
    child.check(&routes);
    child.commit(&nth(11), true);
    child.check(&routes);
}

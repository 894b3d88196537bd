use super::*;

use tessera_limits::{ConnectionPermit, RefusalCause, TenantStanding};

#[test]
fn the_last_free_slot_is_granted_and_the_next_refused_with_its_reason() {
    let bench = Bench::new(Some(2), None);
    let _held = [(); 2].map(|()| bench.limits.try_connect().unwrap());
    let refusal = bench.limits.try_connect().unwrap_err();
    assert_eq!(refusal.limit, LimitCode::Connections);
    assert_eq!(refusal.value, 2);
    assert_eq!(refusal.retry_after, None);
    assert_eq!(refusal.to_string(), "connections 2 reached on plan free");
    assert_eq!(bench.limits.refusals(LimitCode::Connections), 1);
}

#[test]
fn a_dropped_permit_gives_its_slot_back() {
    let bench = Bench::new(Some(1), None);
    for _ in 0..3 {
        let permit = bench.limits.try_connect().unwrap();
        assert!(bench.limits.try_connect().is_err());
        drop(permit);
    }
    assert_eq!(bench.limits.connections(), 0);
}

#[test]
fn raising_lets_more_in_at_once() {
    let bench = Bench::new(Some(1), None);
    let _one = bench.limits.try_connect().unwrap();
    assert!(bench.limits.try_connect().is_err());
    bench.directory.set(TENANT, &record(Some(2), None));
    let _two = bench.limits.try_connect().unwrap();
    assert!(bench.limits.try_connect().is_err());
}

#[test]
fn lowering_cuts_nobody_off_and_lets_nobody_in_until_there_is_room() {
    let bench = Bench::new(Some(4), None);
    let mut held: Vec<ConnectionPermit> = (0..4)
        .map(|_| bench.limits.try_connect().unwrap())
        .collect();
    bench.directory.set(TENANT, &record(Some(2), None));
    assert_eq!(bench.limits.connections(), 4);
    for left in [4, 3, 2] {
        assert_eq!(held.len(), left);
        assert!(bench.limits.try_connect().is_err(), "with {left}");
        held.pop();
    }
    held.push(bench.limits.try_connect().unwrap());
    assert!(bench.limits.try_connect().is_err());
}

#[test]
fn zero_lets_nobody_in_and_unlimited_everybody() {
    let bench = Bench::new(Some(0), None);
    assert!(bench.limits.try_connect().is_err());
    bench.directory.set(TENANT, &record(None, None));
    let _held: Vec<_> = (0..1_000)
        .map(|_| bench.limits.try_connect().unwrap())
        .collect();
}

#[test]
fn a_take_over_passes_at_the_limit_and_counts_once() {
    let bench = Bench::new(Some(1), None);
    let old = bench.limits.try_connect().unwrap();
    let new = old.take_over().unwrap();
    assert_eq!(bench.limits.connections(), 1);
    drop(old);
    assert_eq!(bench.limits.connections(), 1);
    assert!(bench.limits.try_connect().is_err());
    drop(new);
    assert_eq!(bench.limits.connections(), 0);
}

#[test]
fn a_suspended_tenant_is_refused_until_it_is_resumed() {
    let bench = Bench::new(Some(9), None);
    let held = bench.limits.try_connect().unwrap();
    bench
        .directory
        .set(TENANT, &suspended(record(Some(9), None)));
    for refusal in [
        bench.limits.try_connect().unwrap_err(),
        held.take_over().unwrap_err(),
        bench.limits.publishes(1, bench.origin).unwrap_err(),
    ] {
        assert_eq!(refusal.cause, RefusalCause::TenantSuspended);
        assert_eq!((refusal.value, refusal.retry_after), (0, None));
    }
    assert_eq!(bench.limits.status(), TenantStanding::Suspended);
    assert_eq!(bench.limits.refusals(LimitCode::Connections), 0);
    assert_eq!(bench.limits.refusals_by_standing(), 3);
    bench.directory.set(TENANT, &record(Some(9), None));
    assert!(bench.limits.try_connect().is_ok());
}

#[test]
fn a_removed_tenant_is_refused_through_every_old_handle() {
    let bench = Bench::new(None, None);
    let held = bench.limits.try_connect().unwrap();
    bench.directory.remove(TENANT);
    assert!(bench.directory.tenant(TENANT).is_none());
    for refusal in [
        bench.limits.try_connect().unwrap_err(),
        held.take_over().unwrap_err(),
        bench.limits.publishes(1, bench.origin).unwrap_err(),
        bench.limits.take_publishes(n(1), bench.origin).unwrap_err(),
    ] {
        assert_eq!(refusal.cause, RefusalCause::TenantRemoved);
    }
    assert_eq!(bench.limits.limit(LimitCode::Connections), Some(0));
    assert!(bench.directory.tenants().is_empty());
}

#[test]
fn a_tenant_that_returns_while_it_is_held_keeps_its_count() {
    let bench = Bench::new(Some(1), None);
    let held = bench.limits.try_connect().unwrap();
    bench.directory.remove(TENANT);
    bench.directory.set(TENANT, &record(Some(1), None));
    let again = bench.directory.tenant(TENANT).unwrap();
    assert!(again.try_connect().is_err());
    drop(held);
    assert!(again.try_connect().is_ok());
}

#[test]
fn the_generation_grows_with_every_real_change() {
    let bench = Bench::new(Some(1), Some(1));
    let first = bench.limits.generation();
    bench.directory.set(TENANT, &record(Some(1), Some(1)));
    assert_eq!(bench.limits.generation(), first, "nothing changed");
    bench.directory.set(TENANT, &record(Some(2), Some(1)));
    let second = bench.limits.generation();
    assert!(second > first);
    bench.directory.remove(TENANT);
    assert!(bench.limits.generation() > second);
}

#[test]
fn racing_threads_never_hold_more_than_the_limit() {
    let bench = Bench::new(Some(3), None);
    let limits = &bench.limits;
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(move || {
                for _ in 0..2_000 {
                    let permit = limits.try_connect();
                    assert!(limits.connections() <= 3);
                    drop(permit);
                }
            });
        }
    });
    assert_eq!(limits.connections(), 0);
}

#[test]
fn removed_tenants_do_not_pile_up() {
    let directory = Directory::new();
    for number in 0..10_000_u128 {
        let tenant = TenantId::from_bytes(number.to_be_bytes());
        directory.set(tenant, &record(Some(1), Some(1)));
        directory.remove(tenant);
    }
    assert!(directory.tenants().is_empty());
    let remembered = format!("{directory:?}").matches("(Weak)").count();
    assert!(remembered <= 64, "{remembered}");
}

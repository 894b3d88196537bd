use super::*;

#[test]
fn two_seconds_worth_passes_at_once_and_then_the_rate() {
    let bench = Bench::new(None, Some(100));
    assert_eq!(bench.drain(bench.at(0), 1_000), 200);
    assert_eq!(bench.drain(bench.at(1_000), 1_000), 100);
    assert_eq!(bench.drain(bench.at(1_010), 1_000), 1);
    assert_eq!(
        bench.drain(bench.at(60_000), 1_000),
        200,
        "a burst, no more"
    );
}

#[test]
fn a_sender_at_its_rate_is_never_refused() {
    for rate in [1, 3, 7, 100, 1_000] {
        let bench = Bench::new(None, Some(rate));
        for message in 0..5 * rate {
            // One nanosecond late per message: intervals are rounded up.
            let nanos = message * (1_000_000_000_u64.div_ceil(rate));
            let now = bench.origin + Duration::from_nanos(nanos);
            assert!(
                bench.limits.publishes(1, now).is_ok(),
                "{message} at {rate}/s"
            );
        }
    }
}

#[test]
fn the_refusal_names_the_exact_moment() {
    let bench = Bench::new(None, Some(100));
    bench.limits.publishes(200, bench.at(0)).unwrap();
    let refusal = bench.limits.publishes(5, bench.at(0)).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "publishes_per_second 100 reached on plan free"
    );
    let wait = refusal.retry_after.unwrap();
    assert_eq!(wait, Duration::from_millis(50));
    let almost = bench.at(0) + wait - Duration::from_nanos(1);
    assert!(bench.limits.publishes(5, almost).is_err());
    assert!(bench.limits.publishes(5, bench.at(0) + wait).is_ok());
    assert_eq!(bench.limits.refusals(LimitCode::PublishesPerSecond), 2);
}

#[test]
fn what_does_not_pass_whole_charges_nothing() {
    let bench = Bench::new(None, Some(10));
    bench.limits.publishes(15, bench.at(0)).unwrap();
    assert!(bench.limits.publishes(6, bench.at(0)).is_err());
    assert_eq!(bench.drain(bench.at(0), 100), 5);
}

#[test]
fn more_than_a_burst_is_refused_without_a_time_and_passes_in_blocks() {
    let bench = Bench::new(None, Some(1));
    let refusal = bench.limits.publishes(3, bench.at(0)).unwrap_err();
    assert_eq!(refusal.retry_after, None);
    assert_eq!(bench.limits.take_publishes(n(3), bench.at(0)), Ok(n(2)));
    let refusal = bench.limits.take_publishes(n(3), bench.at(0)).unwrap_err();
    assert_eq!(refusal.retry_after, Some(Duration::from_secs(1)));
    assert_eq!(bench.limits.take_publishes(n(3), bench.at(1_000)), Ok(n(1)));
}

#[test]
fn no_change_of_the_rate_gives_spent_credit_back() {
    for detour in [
        vec![Some(1)],
        vec![Some(1_000_000)],
        vec![Some(1), Some(1_000_000)],
        vec![Some(0)],
        vec![None],
        vec![Some(7), None, Some(0), Some(1_000)],
    ] {
        let bench = Bench::new(None, Some(100));
        bench.limits.publishes(200, bench.at(0)).unwrap();
        for rate in &detour {
            bench.set_publishes(*rate);
        }
        bench.set_publishes(Some(100));
        assert_eq!(bench.drain(bench.at(0), 1), 0, "{detour:?}");
        assert_eq!(bench.drain(bench.at(500), 1_000), 50, "{detour:?}");
    }
}

#[test]
fn the_spent_part_of_the_burst_stays_spent_under_the_new_rate() {
    for (rate, left) in [(10, 5), (100, 50), (1_000, 500)] {
        let bench = Bench::new(None, Some(100));
        bench.limits.publishes(150, bench.at(0)).unwrap();
        bench.set_publishes(Some(rate));
        assert_eq!(bench.drain(bench.at(0), 10_000), left, "at {rate}/s");
    }
}

#[test]
fn removing_and_setting_again_gives_nothing_back() {
    let bench = Bench::new(None, Some(10));
    bench.limits.publishes(20, bench.at(0)).unwrap();
    bench.directory.remove(TENANT);
    bench.set_publishes(Some(10));
    let again = bench.directory.tenant(TENANT).unwrap();
    assert!(again.publishes(1, bench.at(0)).is_err());
}

#[test]
fn zero_stops_everything_and_unlimited_nothing() {
    let bench = Bench::new(None, Some(0));
    let refusal = bench.limits.publishes(1, bench.at(0)).unwrap_err();
    assert_eq!((refusal.value, refusal.retry_after), (0, None));
    assert!(bench.limits.take_publishes(n(1), bench.at(99_000)).is_err());
    assert!(bench.limits.publishes(0, bench.at(0)).is_ok());
    bench.set_publishes(None);
    assert!(bench.limits.publishes(u32::MAX, bench.at(0)).is_ok());
    assert_eq!(
        bench.limits.take_publishes(n(u32::MAX), bench.at(0)),
        Ok(n(u32::MAX))
    );
}

#[test]
fn a_value_above_the_registry_counts_as_its_largest() {
    let max = LimitCode::PublishesPerSecond.row().value_max;
    let bench = Bench::new(None, Some(u64::MAX));
    let burst = u32::try_from(2 * max).unwrap();
    assert!(bench.limits.publishes(burst, bench.at(0)).is_ok());
    assert!(bench.limits.publishes(1, bench.at(0)).is_err());
}

#[test]
fn a_clock_that_leaps_ahead_gives_one_burst() {
    let bench = Bench::new(None, Some(10));
    bench.limits.publishes(20, bench.at(0)).unwrap();
    let far = bench.origin + Duration::from_secs(10 * 365 * 86_400);
    assert_eq!(bench.drain(far, 100), 20);
}

#[test]
fn a_clock_that_steps_back_gives_nothing_and_locks_nobody_out() {
    let bench = Bench::new(None, Some(10));
    assert!(bench.limits.publishes(0, bench.at(0)).is_ok());
    let hour = 3_600_000;
    bench.limits.publishes(1, bench.at(0)).unwrap();
    bench.limits.publishes(20, bench.at(hour)).unwrap();
    assert_eq!(bench.drain(bench.at(1_000), 100), 0);
    assert_eq!(bench.drain(bench.at(2_000), 100), 10);
    assert_eq!(bench.drain(bench.at(9_000), 100), 20);
}

#[test]
fn a_reading_a_little_behind_gives_nothing() {
    let bench = Bench::new(None, Some(1_000));
    bench.limits.publishes(1, bench.at(0)).unwrap();
    bench.limits.publishes(2_000, bench.at(5_000)).unwrap();
    for step in 0..100 {
        assert_eq!(bench.drain(bench.at(4_000 + step), 10), 0);
        assert_eq!(bench.drain(bench.at(5_000), 10), 0);
    }
}

#[test]
fn racing_threads_spend_one_burst_between_them() {
    let bench = Bench::new(None, Some(5_000));
    let now = bench.at(0);
    let passed: u32 = std::thread::scope(|scope| {
        let threads = [1, 3, 7, 50].map(|block| {
            let limits = &bench.limits;
            scope.spawn(move || {
                let mut passed = 0;
                while let Ok(taken) = limits.take_publishes(n(block), now) {
                    passed += taken.get();
                }
                passed
            })
        });
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum()
    });
    assert_eq!(passed, 10_000);
}

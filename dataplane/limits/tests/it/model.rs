//! Random lives of a tenant against what must hold of each.

use super::*;

use proptest::prelude::*;
use tessera_limits::{ConnectionPermit, Refusal};

#[derive(Debug, Clone)]
enum Step {
    Set {
        connections: Option<u64>,
        publishes: Option<u64>,
        suspended: bool,
    },
    Remove,
    Connect,
    TakeOver(usize),
    Drop(usize),
    Wait {
        nanos: u64,
    },
    Publish(u32),
    Take(u32),
}

fn limit(max: u64) -> impl Strategy<Value = Option<u64>> {
    prop_oneof![1 => Just(None), 1 => Just(Some(0)), 6 => (1..max).prop_map(Some)]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => (limit(6), limit(2_000), prop::bool::weighted(0.1)).prop_map(
            |(connections, publishes, suspended)| Step::Set { connections, publishes, suspended },
        ),
        1 => Just(Step::Remove),
        6 => Just(Step::Connect),
        2 => any::<usize>().prop_map(Step::TakeOver),
        4 => any::<usize>().prop_map(Step::Drop),
        4 => (0..900_000_000_u64).prop_map(|nanos| Step::Wait { nanos }),
        6 => (1..3_000_u32).prop_map(Step::Publish),
        6 => (1..3_000_u32).prop_map(Step::Take),
    ]
}

/// What is true of the tenant, kept in the plainest way.
struct Model {
    /// `None` while removed or suspended.
    bounds: Option<(Option<u64>, Option<u64>)>,
    /// One number per slot, as many times as it has permits.
    slots: Vec<u32>,
    next_slot: u32,
    now: u64,
    /// Every metered grant: when, and how much time it takes at the rate that granted it.
    spent: Vec<(u64, u64)>,
}

impl Model {
    fn connections(&self) -> u64 {
        let mut slots = self.slots.clone();
        slots.sort_unstable();
        slots.dedup();
        slots.len() as u64
    }

    fn may_connect(&self) -> bool {
        match self.bounds {
            None => false,
            Some((None, _)) => true,
            Some((Some(bound), _)) => self.connections() < bound,
        }
    }

    fn interval(&self) -> Option<u64> {
        let rate = self.bounds?.1?;
        (rate > 0).then(|| 1_000_000_000_u64.div_ceil(rate))
    }

    fn charge(&mut self, publishes: u32) {
        match self.bounds {
            None | Some((_, Some(0))) => assert_eq!(publishes, 0, "fails closed"),
            Some((_, None)) => {}
            Some((_, Some(_))) => {
                let time = self.interval().unwrap() * u64::from(publishes);
                self.spent.push((self.now, time));
            }
        }
    }

    /// Whichever span of grants is looked at took no more than its time and one burst. The burst is
    /// two seconds and what rounding adds to its messages: a nanosecond each.
    fn check_every_span(&self) {
        const BURST: u64 = 2_000_000_000 + 2 * 2_000;
        for (first, (from, _)) in self.spent.iter().enumerate() {
            let mut sum = 0;
            for (until, time) in &self.spent[first..] {
                sum += time;
                assert!(
                    sum <= until - from + BURST,
                    "{sum} ns in {} ns",
                    until - from
                );
            }
        }
    }
}

struct Subject {
    bench: Bench,
    permits: Vec<ConnectionPermit>,
    model: Model,
}

impl Subject {
    fn new() -> Self {
        Self {
            bench: Bench::new(Some(0), Some(0)),
            permits: Vec::new(),
            model: Model {
                bounds: Some((Some(0), Some(0))),
                slots: Vec::new(),
                next_slot: 0,
                now: 0,
                spent: Vec::new(),
            },
        }
    }

    fn now(&self) -> Instant {
        self.bench.origin + Duration::from_nanos(self.model.now)
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Set {
                connections,
                publishes,
                suspended: off,
            } => {
                let record = record(connections, publishes);
                let record = if off { suspended(record) } else { record };
                self.bench.directory.set(TENANT, &record);
                self.model.bounds = (!off).then_some((connections, publishes));
            }
            Step::Remove => {
                self.bench.directory.remove(TENANT);
                self.model.bounds = None;
            }
            Step::Connect => self.connect(),
            Step::TakeOver(at) => self.take_over(at),
            Step::Drop(at) => {
                if !self.permits.is_empty() {
                    let at = at % self.permits.len();
                    drop(self.permits.swap_remove(at));
                    self.model.slots.swap_remove(at);
                }
            }
            Step::Wait { nanos } => self.model.now += nanos,
            Step::Publish(count) => {
                let outcome = self.bench.limits.publishes(count, self.now());
                self.model.charge(outcome.as_ref().map_or(0, |()| count));
                self.check_retry_after(count, outcome.err());
            }
            Step::Take(at_most) => {
                let taken = self.bench.limits.take_publishes(n(at_most), self.now());
                let taken = taken.map_or(0, NonZeroU32::get);
                assert!(taken <= at_most);
                self.model.charge(taken);
            }
        }
        assert_eq!(self.bench.limits.connections(), self.model.connections());
    }

    fn connect(&mut self) {
        let granted = self.bench.limits.try_connect();
        assert_eq!(granted.is_ok(), self.model.may_connect());
        if let Ok(permit) = granted {
            self.permits.push(permit);
            self.model.slots.push(self.model.next_slot);
            self.model.next_slot += 1;
        }
    }

    fn take_over(&mut self, at: usize) {
        if self.permits.is_empty() {
            return;
        }
        let at = at % self.permits.len();
        let taken = self.permits[at].take_over();
        assert_eq!(taken.is_ok(), self.model.bounds.is_some());
        if let Ok(permit) = taken {
            self.permits.push(permit);
            self.model.slots.push(self.model.slots[at]);
        }
    }

    /// A promised moment is kept: a nanosecond earlier is refused, then it passes.
    fn check_retry_after(&mut self, count: u32, refusal: Option<Refusal>) {
        let Some(wait) = refusal.and_then(|refusal| refusal.retry_after) else {
            return;
        };
        let then = self.now() + wait;
        assert!(
            self.bench
                .limits
                .publishes(count, then - Duration::from_nanos(1))
                .is_err()
        );
        assert!(self.bench.limits.publishes(count, then).is_ok());
        self.model.now += u64::try_from(wait.as_nanos()).unwrap();
        self.model.charge(count);
    }
}

proptest! {
    #[test]
    fn every_life_keeps_its_bounds(steps in prop::collection::vec(step(), 1..120)) {
        let mut subject = Subject::new();
        for step in steps {
            subject.run(step);
        }
        subject.model.check_every_span();
        subject.permits.clear();
        prop_assert_eq!(subject.bench.limits.connections(), 0);
    }

    #[test]
    fn an_idle_tenant_always_gets_its_burst(rate in 1..=100_000_000_u64, idle_ms in 2_300..9_000_u64) {
        let bench = Bench::new(None, Some(rate));
        let burst = u32::try_from(2 * rate).unwrap();
        prop_assert!(bench.limits.publishes(burst, bench.at(0)).is_ok());
        prop_assert!(bench.limits.publishes(burst, bench.at(idle_ms)).is_ok());
        prop_assert!(bench.limits.publishes(1, bench.at(idle_ms)).is_err());
    }

    #[test]
    fn the_rate_is_never_exceeded_and_met_within_a_tenth(rate in 1..=100_000_000_u64) {
        let bench = Bench::new(None, Some(rate));
        let burst = u32::try_from(2 * rate).unwrap();
        bench.limits.publishes(burst, bench.at(0)).unwrap();
        let passed = u64::from(
            bench.limits.take_publishes(n(u32::MAX), bench.at(1_000)).map_or(0, NonZeroU32::get),
        );
        prop_assert!(passed <= rate);
        prop_assert!(passed + 1 >= rate - rate / 10, "{} of {}", passed, rate);
    }
}

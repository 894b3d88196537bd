//! Plans and overrides. Effective is the override where there is one, else the plan's.

use std::collections::BTreeMap;

use tessera_tenancy::{LimitCode, LimitValues, PlanDefaults};

use crate::text::{Violation, member};

/// A plan that every installation starts with.
#[derive(Debug, Clone, Copy)]
pub struct SeedPlan {
    /// Its slug.
    pub slug: &'static str,
    /// What it takes of a limit's defaults.
    pub pick: fn(&PlanDefaults) -> Option<u64>,
}

/// The plans that every installation starts with.
pub const PLANS: [SeedPlan; 4] = [
    SeedPlan {
        slug: "free",
        pick: |defaults| defaults.free,
    },
    SeedPlan {
        slug: "pro",
        pick: |defaults| defaults.pro,
    },
    SeedPlan {
        slug: "enterprise",
        pick: |defaults| defaults.enterprise,
    },
    SeedPlan {
        slug: "dev",
        pick: |defaults| defaults.dev,
    },
];

impl SeedPlan {
    /// What it grants.
    pub fn limits(&self) -> LimitValues {
        LimitValues::from_defaults(self.pick)
    }
}

/// One override.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Override {
    /// The value; `None` is unlimited.
    pub limit: Option<u64>,
    /// Why, in the words of who did it.
    pub reason: Option<String>,
}

/// All overrides of a tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides(BTreeMap<LimitCode, Override>);

impl Overrides {
    /// The override of one limit, if there is one.
    pub fn get(&self, code: LimitCode) -> Option<&Override> {
        self.0.get(&code)
    }

    /// Overrides a limit.
    pub fn set(&mut self, code: LimitCode, to: Override) {
        self.0.insert(code, to);
    }

    /// Back to the plan.
    pub fn remove(&mut self, code: LimitCode) {
        self.0.remove(&code);
    }

    /// Each override, in the order of the registry.
    pub fn iter(&self) -> impl Iterator<Item = (LimitCode, &Override)> {
        self.0.iter().map(|(code, value)| (*code, value))
    }

    /// What nodes enforce.
    pub fn effective(&self, plan: LimitValues) -> LimitValues {
        self.iter()
            .fold(plan, |values, (code, to)| values.with(code, to.limit))
    }
}

/// The limit that a body names under `/quotas`.
pub fn check_name(name: &str) -> Result<LimitCode, Violation> {
    name.parse().map_err(|_| {
        let known: Vec<_> = tessera_tenancy::LIMITS.iter().map(|row| row.name).collect();
        let detail = format!("no such quota; there are: {}", known.join(", "));
        Violation::new(member("/quotas", name), "unknown_quota", detail)
    })
}

/// A value that may be set: 1 to the platform's maximum, or unlimited.
pub fn check_value(code: LimitCode, limit: Option<u64>) -> Result<(), Violation> {
    let pointer = || member(&member("/quotas", code.name()), "limit");
    let maximum = code.row().value_max;
    match limit {
        None => Ok(()),
        Some(0) => {
            let detail = "0 lets nothing pass: suspend the tenant instead; for unlimited say null";
            Err(Violation::new(pointer(), "below_minimum", detail))
        }
        Some(value) if value > maximum => {
            let detail = format!("the platform allows at most {maximum}, not {value}");
            Err(Violation::new(pointer(), "above_platform_maximum", detail))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tessera_tenancy::LIMITS;

    fn limited(limit: Option<u64>) -> Override {
        Override {
            limit,
            reason: None,
        }
    }

    #[test]
    fn an_override_wins_and_its_removal_gives_the_plan_back() {
        let plan = PLANS[0].limits();
        let mut overrides = Overrides::default();
        overrides.set(LimitCode::Connections, limited(Some(7)));
        assert_eq!(
            overrides.effective(plan).get(LimitCode::Connections),
            Some(7)
        );
        overrides.set(LimitCode::Connections, limited(None));
        assert_eq!(overrides.effective(plan).get(LimitCode::Connections), None);
        overrides.remove(LimitCode::Connections);
        assert_eq!(overrides.effective(plan), plan);
    }

    #[test]
    fn values_out_of_range_are_refused_by_name() {
        for row in &LIMITS {
            let code = |limit| check_value(row.code, limit).unwrap_err().code;
            assert_eq!(code(Some(0)), "below_minimum");
            assert_eq!(code(Some(row.value_max + 1)), "above_platform_maximum");
            assert_eq!(check_value(row.code, Some(row.value_max)), Ok(()));
            assert_eq!(check_value(row.code, None), Ok(()));
        }
        assert_eq!(
            check_name("conections").unwrap_err().pointer,
            "/quotas/conections"
        );
    }

    #[test]
    fn plans_grant_what_may_be_set() {
        for plan in &PLANS {
            for row in &LIMITS {
                assert_eq!(check_value(row.code, plan.limits().get(row.code)), Ok(()));
            }
        }
    }

    proptest! {
        #[test]
        fn an_override_touches_no_other_limit(at in 0..LIMITS.len(), limit: Option<u64>) {
            let plan = PLANS[1].limits();
            let mut overrides = Overrides::default();
            overrides.set(LIMITS[at].code, limited(limit));
            for row in &LIMITS {
                let expected = if row.code == LIMITS[at].code { limit } else { plan.get(row.code) };
                prop_assert_eq!(overrides.effective(plan).get(row.code), expected);
            }
        }
    }
}

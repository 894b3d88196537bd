//! One tenant's limits.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tessera_tenancy::{
    LimitCode, LimitValues, PlanSlug, TenantId, TenantRecord, TenantSettings, TenantStatus,
};

use crate::connections::{ConnectionPermit, Connections};
use crate::rate::{Meter, Rate};
use crate::refusal::{Refusal, RefusalCause};

/// Whether a tenant may do anything at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TenantStanding {
    /// Serves devices, within its limits.
    Active,
    /// Serves none until it is resumed.
    Suspended,
    /// Is gone. Only who held it before still sees it.
    Removed,
}

/// What one tenant may do in this process. Shared by all of its connections.
#[derive(Debug)]
pub struct TenantLimits {
    tenant: TenantId,
    terms: ArcSwap<Terms>,
    connections: Connections,
    publishes: Meter,
    refusals: Refusals,
}

/// All that a change replaces.
#[derive(Debug, PartialEq, Eq)]
struct Terms {
    generation: u64,
    standing: TenantStanding,
    plan: PlanSlug,
    limits: LimitValues,
    settings: TenantSettings,
    publishes: Rate,
}

/// What was refused since the tenant was first set.
#[derive(Debug, Default)]
struct Refusals {
    connections: AtomicU64,
    publishes_per_second: AtomicU64,
    standing: AtomicU64,
}

impl TenantLimits {
    pub(crate) fn new(tenant: TenantId, record: &TenantRecord) -> Self {
        Self {
            tenant,
            terms: ArcSwap::from_pointee(Terms::of(1, record)),
            connections: Connections::default(),
            publishes: Meter::default(),
            refusals: Refusals::default(),
        }
    }

    /// Counts one more connection, if the limit has room for it.
    pub fn try_connect(self: &Arc<Self>) -> Result<ConnectionPermit, Refusal> {
        // The terms are read under the lock under which they change: after a change has returned,
        // nothing is granted on the former ones.
        let granted = self.connections.grant(|used| {
            let terms = self.terms.load();
            let value = terms.allowed(LimitCode::Connections)?;
            match value {
                Some(value) if used >= value => Err(terms.reached(LimitCode::Connections, None)),
                Some(_) | None => Ok(()),
            }
        });
        granted
            .map(|()| ConnectionPermit::new(Arc::clone(self)))
            .map_err(|refusal| self.count(refusal))
    }

    /// Charges `n` PUBLISH packets that came at `now`: all of them, or none.
    ///
    /// More than a burst at once never passes: `retry_after` is then `None`, and the caller takes
    /// what it needs in parts, with [`take_publishes`](Self::take_publishes).
    pub fn publishes(&self, n: u32, now: Instant) -> Result<(), Refusal> {
        let Some(n) = NonZeroU32::new(n) else {
            return Ok(());
        };
        self.charge(|meter, quota| meter.take(quota, n, now), Ok(()))
    }

    /// Charges up to `at_most` PUBLISH packets and says how many: a block of credits for what one
    /// read brought. Credits that are not used are lost.
    pub fn take_publishes(&self, at_most: NonZeroU32, now: Instant) -> Result<NonZeroU32, Refusal> {
        self.charge(
            |meter, quota| meter.take_up_to(quota, at_most, now),
            Ok(at_most),
        )
    }

    /// Whose limits these are.
    pub const fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// Grows with every change of the limits, the plan, the settings or the standing; never goes back.
    pub fn generation(&self) -> u64 {
        self.terms.load().generation
    }

    /// Whether the tenant may do anything at all.
    pub fn status(&self) -> TenantStanding {
        self.terms.load().standing
    }

    /// The plan that refusals name.
    pub fn plan(&self) -> PlanSlug {
        self.terms.load().plan.clone()
    }

    /// How the tenant behaves, whatever the standing.
    pub fn settings(&self) -> TenantSettings {
        self.terms.load().settings
    }

    /// What one limit is set to, whatever the standing. `None` is unlimited.
    pub fn limit(&self, code: LimitCode) -> Option<u64> {
        self.terms.load().limits.get(code)
    }

    /// Connections counted now. After a lowering it may be above the limit.
    pub fn connections(&self) -> u64 {
        self.connections.used()
    }

    /// How often a limit was reached since the tenant was first set.
    pub fn refusals(&self, code: LimitCode) -> u64 {
        self.refusals.of(code).load(Ordering::Relaxed)
    }

    /// How often something was refused because the tenant was suspended or removed.
    pub fn refusals_by_standing(&self) -> u64 {
        self.refusals.standing.load(Ordering::Relaxed)
    }

    /// Puts the tenant on new terms. What is counted and what was spent stay. Calls are serialised
    /// by the directory.
    pub(crate) fn change(&self, record: &TenantRecord) {
        let former = self.terms.load_full();
        let terms = Terms::of(former.generation, record);
        if terms != *former {
            self.replace(terms);
        }
    }

    /// Lets nothing pass any more.
    pub(crate) fn close(&self) {
        let former = self.terms.load_full();
        self.replace(Terms {
            generation: former.generation,
            standing: TenantStanding::Removed,
            plan: former.plan.clone(),
            limits: LimitValues::CLOSED,
            settings: former.settings,
            publishes: Rate::Closed,
        });
    }

    pub(crate) fn take_over(&self) -> Result<(), Refusal> {
        let allowed = self.terms.load().allowed(LimitCode::Connections);
        allowed
            .map(|_value| ())
            .map_err(|refusal| self.count(refusal))
    }

    pub(crate) const fn counted(&self) -> &Connections {
        &self.connections
    }

    fn replace(&self, mut terms: Terms) {
        terms.generation += 1;
        self.connections
            .exclusively(|| self.terms.store(Arc::new(terms)));
    }

    fn charge<T>(
        &self,
        take: impl FnOnce(&Meter, governor::Quota) -> Result<T, crate::rate::Exhausted>,
        unmetered: Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        const LIMIT: LimitCode = LimitCode::PublishesPerSecond;
        let terms = self.terms.load();
        terms
            .allowed(LIMIT)
            .and_then(|_value| match terms.publishes {
                Rate::Unlimited => unmetered,
                Rate::Closed => Err(terms.reached(LIMIT, None)),
                Rate::Metered(quota) => take(&self.publishes, quota)
                    .map_err(|exhausted| terms.reached(LIMIT, exhausted.retry_after)),
            })
            .map_err(|refusal| self.count(refusal))
    }

    #[cold]
    fn count(&self, refusal: Refusal) -> Refusal {
        let counter = match refusal.cause {
            RefusalCause::LimitReached => self.refusals.of(refusal.limit),
            RefusalCause::TenantSuspended | RefusalCause::TenantRemoved => &self.refusals.standing,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        refusal
    }
}

impl Terms {
    fn of(generation: u64, record: &TenantRecord) -> Self {
        let limits = record.limits;
        Self {
            generation,
            standing: match record.status {
                TenantStatus::Active => TenantStanding::Active,
                TenantStatus::Suspended => TenantStanding::Suspended,
            },
            plan: record.plan.clone(),
            limits,
            settings: record.settings,
            publishes: Rate::new(
                LimitCode::PublishesPerSecond.row(),
                limits.get(LimitCode::PublishesPerSecond),
            ),
        }
    }

    /// The value of a limit, if the tenant stands at all.
    fn allowed(&self, limit: LimitCode) -> Result<Option<u64>, Refusal> {
        match self.standing {
            TenantStanding::Active => Ok(self.limits.get(limit)),
            TenantStanding::Suspended => {
                Err(self.refusal(limit, 0, RefusalCause::TenantSuspended, None))
            }
            TenantStanding::Removed => {
                Err(self.refusal(limit, 0, RefusalCause::TenantRemoved, None))
            }
        }
    }

    fn reached(&self, limit: LimitCode, retry_after: Option<Duration>) -> Refusal {
        let value = self.limits.get(limit).unwrap_or(u64::MAX);
        self.refusal(limit, value, RefusalCause::LimitReached, retry_after)
    }

    fn refusal(
        &self,
        limit: LimitCode,
        value: u64,
        cause: RefusalCause,
        retry_after: Option<Duration>,
    ) -> Refusal {
        Refusal {
            limit,
            value,
            plan: self.plan.clone(),
            cause,
            retry_after,
        }
    }
}

impl Refusals {
    const fn of(&self, code: LimitCode) -> &AtomicU64 {
        match code {
            LimitCode::Connections => &self.connections,
            LimitCode::PublishesPerSecond => &self.publishes_per_second,
        }
    }
}

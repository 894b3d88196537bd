//! Limits against what they promise. No test sleeps: the time is an argument.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do: by a panic"
)]

mod connections;
mod model;
mod publishes;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tessera_limits::{Directory, TenantLimits};
use tessera_tenancy::{
    LimitCode, LimitValues, TenantId, TenantRecord, TenantSettings, TenantStatus,
};

const TENANT: TenantId = TenantId::from_bytes([7; 16]);

/// A moment to count from. Which one does not matter.
#[expect(
    clippy::disallowed_methods,
    reason = "there is no other way to make an instant"
)]
fn origin() -> Instant {
    Instant::now()
}

fn record(connections: Option<u64>, publishes: Option<u64>) -> TenantRecord {
    TenantRecord {
        slug: "acme".parse().unwrap(),
        status: TenantStatus::Active,
        plan: "free".parse().unwrap(),
        limits: LimitValues::CLOSED
            .with(LimitCode::Connections, connections)
            .with(LimitCode::PublishesPerSecond, publishes),
        settings: TenantSettings::default(),
    }
}

fn suspended(mut record: TenantRecord) -> TenantRecord {
    record.status = TenantStatus::Suspended;
    record
}

/// A directory with one tenant.
struct Bench {
    directory: Directory,
    limits: Arc<TenantLimits>,
    origin: Instant,
}

impl Bench {
    fn new(connections: Option<u64>, publishes: Option<u64>) -> Self {
        let directory = Directory::new();
        directory.set(TENANT, &record(connections, publishes));
        let limits = directory.tenant(TENANT).unwrap();
        Self {
            directory,
            limits,
            origin: origin(),
        }
    }

    fn at(&self, millis: u64) -> Instant {
        self.origin + Duration::from_millis(millis)
    }

    fn set_publishes(&self, publishes: Option<u64>) {
        self.directory
            .set(TENANT, &record(Some(u64::MAX), publishes));
    }

    /// How many single publishes pass at one moment, counted up to a bound.
    fn drain(&self, now: Instant, at_most: u32) -> u32 {
        let passed = (0..at_most).take_while(|_| self.limits.publishes(1, now).is_ok());
        u32::try_from(passed.count()).unwrap()
    }
}

fn n(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).unwrap()
}

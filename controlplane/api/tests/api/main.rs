//! The control plane against a real PostgreSQL, over real connections.
//!
//! One private cluster for the process, a database of its own for each test. Nothing is skipped:
//! where no PostgreSQL is found, the tests fail and say what to install.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::wildcard_enum_match_arm,
    reason = "all of it is test code, its helpers too: what fails is the test"
)]

mod authority;
mod credentials;
mod document;
mod hostile;
mod idempotency;
mod outage;
mod postgres;
mod pruning;
mod push;
mod queries;
mod quotas;
mod rig;
mod row_security;
mod settings;
mod tenants;

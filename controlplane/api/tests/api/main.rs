//! The control plane against a real PostgreSQL, over real connections.
//!
//! One private cluster for the process, a database of its own for each test. Nothing is skipped:
//! where no PostgreSQL is found, the tests fail and say what to install.

mod authority;
mod credentials;
mod document;
mod hostile;
mod idempotency;
mod outage;
mod postgres;
mod push;
mod queries;
mod quotas;
mod rig;
mod row_security;
mod tenants;

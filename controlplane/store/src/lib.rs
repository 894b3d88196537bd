//! The only SQL: Postgres through sqlx, an aggregate a file.
//!
//! # Contents
//! - [`Store`]: the pool, as the restricted role; [`Tx`]: one transaction, told by a [`View`] what it
//!   may see.
//! - [`migrate()`]: brings a database up to date, as its owner.
//! - [`tenants`], [`credentials`], [`quotas`], [`organizations`], [`plans`], [`api_keys`]: aggregates.
//! - [`changes`]: the revision counter and the outbox that nodes are told from; [`snapshot`]: the
//!   whole configuration at one revision.
//! - [`idempotency`]: stored answers; [`nodes`]: what nodes reported; [`listen`]: news of changes.
//!
//! # Invariants
//! - Every transaction says first what it may see; one that says nothing sees nothing. No path
//!   bypasses row security, and a role that could is refused at the start.
//! - Whoever changes what nodes know takes the next revision in the same transaction, after all
//!   other locks. Locks are taken in the order tenant, credential, counter.
//! - A secret stands here as its digest only.
//!
//! # Decisions
//! - A change is stored whole, as it is pushed, so that what a node gets is what was committed.
//! - Queries are checked at compile time against `.sqlx`; `prepare-queries.sh` writes it and a test
//!   of `tessera-api` compares it with a database. A build needs no database.
//! - Deleting a tenant deletes its rows at once. A grace period needs a state of its own.

pub mod api_keys;
pub mod changes;
pub mod credentials;
pub mod error;
pub mod idempotency;
pub mod listen;
pub mod migrate;
pub mod nodes;
pub mod organizations;
pub mod plans;
pub mod quotas;
pub mod snapshot;
pub mod store;
pub mod tenants;

mod convert;

pub use api_keys::{ApiKeyNew, ApiKeyRow, CreateApiKeyError};
pub use changes::ConfigHeadRow;
pub use credentials::{
    CreateCredentialError, CredentialNew, CredentialRef, CredentialRow, SecretNew,
};
pub use error::StoreError;
pub use idempotency::{Claim, StoredAnswer};
pub use listen::News;
pub use migrate::{MigrateError, migrate};
pub use nodes::NodeRow;
pub use organizations::{
    CreateOrganizationError, OrganizationNew, OrganizationRef, OrganizationRow,
};
pub use plans::PlanRow;
pub use quotas::QuotaRows;
pub use snapshot::SnapshotReader;
pub use store::{Store, StoreOptions, Tx, View};
pub use tenants::{CreateTenantError, TenantNew, TenantRef, TenantRow, TenantUpdate};

//! The shapes of the REST API: requests, answers, error codes. The server, the SDK and the API
//! document all read these.
//!
//! # Contents
//! - [`problem`]: [`Problem`] (RFC 9457) and [`ErrorCode`], the stable word of each refusal.
//! - [`page`]: [`Page`], a list with its cursor, and [`Applied`], how far a write has got.
//! - [`organizations`], [`plans`], [`tenants`], [`credentials`], [`api_keys`], [`quotas`]: resources.
//! - [`platform`]: nodes and the head of the configuration.
//! - [`whoami`], [`health`]: about the caller, about the process.
//! - [`headers`]: the names of headers and parameters that the API gives a meaning to.
//!
//! # Invariants
//! - Requests refuse unknown members; answers tolerate them, so that v1 can grow.
//! - A request holds plain texts; the server parses them and names each wrong one by its pointer.
//! - A secret never shows in `Debug`.
//!
//! # Decisions
//! - `revision` is the resource's own number and stands in its `ETag` as `"r<revision>"`;
//!   `config_revision` is the number of the pushed change, which nodes report when they applied it.
//! - An answer to a write has `applied` only if the caller asked with `?wait=applied`.

#![warn(missing_docs)]

pub mod api_keys;
pub mod credentials;
pub mod headers;
pub mod health;
pub mod organizations;
pub mod page;
pub mod plans;
pub mod platform;
pub mod problem;
pub mod quotas;
pub mod secret;
pub mod tenants;
pub mod whoami;

pub use api_keys::{ApiKey, ApiKeyCreate, ApiKeyWithSecret, Role};
pub use credentials::{Credential, CredentialCreate, CredentialWithSecret, LiveSecret};
pub use health::{Health, HealthStatus};
pub use organizations::{Organization, OrganizationCreate};
pub use page::{Applied, Page, WriteAccepted};
pub use plans::{Plan, PlanLimit};
pub use platform::{ConfigHead, Node};
pub use problem::{ErrorCode, FieldError, Problem};
pub use quotas::{AtLimit, Quota, QuotaOverride, QuotaSource, Quotas, QuotasPatch, QuotasPut};
pub use secret::Secret;
pub use tenants::{
    QueueOverflow, SharedSubscriptionStrategy, Tenant, TenantCreate, TenantEnsure, TenantPatch,
    TenantSettings, TenantStatus,
};
pub use whoami::{Whoami, WhoamiTenant};

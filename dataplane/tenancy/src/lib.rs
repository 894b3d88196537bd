//! The words that both planes share: ids, names, secrets, limits, revisions and the wire form of
//! a pushed change.
//!
//! # Contents
//! - [`ids`]: typed ids. A [`TenantId`] is the first component of every stored key.
//! - [`names`]: slugs and user names, parsed once at the edge.
//! - [`secret`]: generated secrets (`tsd_…`, `tsk_…`), their digests at rest.
//! - [`limits`]: the one registry of limits, a row each.
//! - [`settings`]: the one registry of settings: how a tenant behaves.
//! - [`change`]: what the control plane pushes and how a frame is signed.
//!
//! # Invariants
//! - No I/O, no clock, no randomness: random bytes are arguments.
//! - A type stands here only if both planes say the word.

#![warn(missing_docs)]

pub mod change;
pub mod ids;
pub mod limits;
pub mod names;
pub mod secret;
pub mod settings;

mod base32;
mod hex;

pub use change::{
    Change, ChangeBody, CredentialRecord, CredentialSecret, Frame, FrameKey, FrameOpenError,
    Policy, PushEnvelope, Revision, SignedFrame, TenantRecord, TenantStatus, TimelineId,
};
pub use hex::{decode_hex, encode_hex};
pub use ids::{
    ApiKeyId, ClusterId, CredentialId, IdParseError, Incarnation, NodeId, OrganizationId,
    PrincipalId, TenantId,
};
pub use limits::{LIMITS, LimitCode, LimitRow, LimitValues, PlanDefaults};
pub use names::{DeviceUsername, NameError, PlanSlug, TenantSlug};
pub use secret::{GeneratedSecret, KeyId, SecretDigest, SecretError, SecretKind, ServerKey};
pub use settings::{QueueOverflow, SettingCode, SharedSubscriptionStrategy, TenantSettings};

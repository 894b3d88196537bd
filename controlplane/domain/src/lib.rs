//! The pure rules of the control plane. REST asks them, the store keeps what they decided.
//!
//! # Contents
//! - [`role`]: what an API key may do: [`Role`] and [`Scope`].
//! - [`quota`]: plans, overrides, and the effective limits that nodes are told.
//! - [`setting`]: what a body may say of settings.
//! - [`text`]: labels, names for people, reserved slugs.
//! - [`precondition`]: `If-Match` against a resource's revision.
//! - [`cursor`]: opaque, signed list positions.
//! - [`idempotency`]: keys of repeatable requests, and how a stored answer is sealed.
//! - [`secrets`]: which live secrets a credential keeps when it is rotated.
//!
//! # Invariants
//! - No I/O, no clock, no randomness: the time and random bytes are arguments.
//! - A rule that refuses a member of a body says so with a [`Violation`]: where, a stable word, why.
//!
//! # Decisions
//! - A quota of 0 is refused: it reads as "unlimited" to some and as "nothing" to others. To let
//!   nothing pass, suspend the tenant; for unlimited, say null.
//! - The stored answer to an idempotent request may hold a secret that is shown once, so it is
//!   kept encrypted under the server key and the caller's own idempotency key.

pub mod cursor;
pub mod idempotency;
pub mod precondition;
pub mod quota;
pub mod role;
pub mod secrets;
pub mod setting;
pub mod text;

pub use cursor::{CursorError, CursorKey, ListName};
pub use idempotency::{IdempotencyKey, IdempotencyKeyError, SealedAnswer};
pub use precondition::{IfMatch, IfMatchError};
pub use quota::{Override, Overrides, PLANS, SeedPlan};
pub use role::{Role, Scope, UnknownRole};
pub use text::Violation;

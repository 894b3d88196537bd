//! What each tenant may do now: connections counted exactly, publishes metered, both changed live.
//!
//! # Contents
//! - [`Directory`]: the tenants of this process, set and removed as the configuration changes.
//! - [`TenantLimits`]: one tenant's limits. Connections hold it and ask it.
//! - [`ConnectionPermit`]: one counted connection, given back when it is dropped.
//! - [`Refusal`]: which limit, how much, on which plan, until when. Nothing is refused without one.
//!
//! # Invariants
//! - At the moment of a grant there are at most as many permits as `connections` says, whatever was
//!   raised, lowered, removed or set again meanwhile. Lowering cuts nobody off.
//! - Over any span of time the publishes admitted take no more than that span plus the burst,
//!   [`BURST_SECONDS`], each publish taking one second divided by the rate that admitted it. No
//!   sequence of changes gives back what was spent.
//! - What is not known to be allowed is refused: a limit of 0, a suspended tenant, a removed one
//!   (also through an `Arc` from before), a tenant that [`Directory::tenant`] does not find.
//! - No clock: the time is an argument. One that stands still or jumps admits at most one burst.
//!
//! # Cost
//! A check of publishes is two atomic loads and one exchange, without a lock; a connection takes a
//! lock of its tenant's; a look-up in the directory is one hash under a shared lock. A tenant takes
//! some 300 bytes, a permit 40. A refusal copies the plan's name.
//!
//! # Decisions
//! - **The state outlives the limiter.** governor fixes a rate at construction. Replacing a limiter
//!   and charging the new one for what the old one had spent races with checks in flight, and lets a
//!   lowering followed by a raise give credit back. So only the rate is swapped; what was spent is
//!   kept beside it as the moment at which the burst is whole again, in time rather than in
//!   messages, and governor decides on it. The spent *part* of the burst survives every change.
//! - **A permit is a slot that can be shared.** Taking over a live session must always pass, also
//!   at the limit. [`ConnectionPermit::take_over`] lets the new connection stand in the old one's
//!   slot, so that the two count as one while they change places.
//! - **Shares over several nodes** (a tenant's rate leased to nodes by demand) come to the directory
//!   as values: it enforces what it is told for this process.

#![warn(missing_docs)]

mod connections;
mod directory;
mod rate;
mod refusal;
mod tenant;

pub use connections::ConnectionPermit;
pub use directory::Directory;
pub use rate::BURST_SECONDS;
pub use refusal::{Refusal, RefusalCause};
pub use tenant::{TenantLimits, TenantStanding};

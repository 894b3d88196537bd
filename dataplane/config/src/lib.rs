//! The applied configuration of a node: which tenants and credentials there are, kept on its disk.
//!
//! ```text
//!  signed lines ──> PushStream ──> Config ──> Disk            (lent by the node, durable)
//!                   verifies,        │  └───> memory: tenants; a bounded cache of credentials
//!                   orders           └──────> Listeners       (after it is durable, in order)
//! ```
//!
//! # Contents
//! - [`Config`]: the last good configuration. Looked up by every connection; cheap to clone.
//! - [`PushStream`]: reads the lines of one push stream, without I/O of its own.
//! - [`PushRefused`], [`InvalidChange`]: why a push was refused.
//! - [`Disk`]: what it is kept on, a trait that the node implements; [`MemoryDisk`] for tests.
//! - [`Listener`]: is told of each applied change.
//!
//! # Invariants
//! - A push is applied whole or refused whole. After a refusal, after a crash at any point, and
//!   without the control plane for ever, the last good configuration is the effective one.
//! - A frame of changes is one atomic write, together with its revision. A snapshot is staged beside
//!   the rows in force and takes their place by one row; what it did not name is gone with it.
//! - What a lookup returns was in force at some moment during the lookup, and nothing older than the
//!   last change that a listener was told of.
//! - Slugs are unique; user names are unique in their tenant; a key id finds one credential. A push
//!   that would break this is refused.
//!
//! # Cost
//! - Memory: some 400 bytes a tenant (at most [`ConfigOptions::tenants_max`]), and the cache: at
//!   most [`ConfigOptions::credentials_cached_max`] entries of at most 1,000 bytes, and
//!   [`ConfigOptions::absences_cached_max`] of at most 400 bytes. Credentials do not live in memory.
//! - Lookups: a tenant is one hash under a shared lock; a credential in the cache one more, otherwise
//!   one read of the disk; by key id two reads.
//! - Applying *c* changes: O(c) reads and one durable write, however large the configuration is.
//!   Removing a tenant is three rows at once; its credentials are swept in bounded steps later.
//! - A snapshot of *n* rows: O(n) reads and writes in frames of [`Frame::CHANGES_MAX`], memory for its
//!   tenants only, twice the disk until the former rows are swept.
//!
//! # Decisions
//! - **Two slots on disk**, one in force and one staged, rather than a snapshot in memory: credentials
//!   come by the million, and one write of all of them would be as large.
//! - **A cached credential is stamped with its tenant's epoch**, which every change of the tenant's
//!   raises. A reader that is overtaken by a change stores an entry that nobody will believe, so no
//!   order of lookups and changes leaves a stale one, and absences need no care of their own. The
//!   price: a change of one credential sends the next lookups of that tenant to the disk.
//! - **Revisions are dense.** A gap means that something was missed, and the stream is refused. What
//!   is already applied is skipped, so any overlap is harmless.
//! - **A failing disk ends the process.** After [`PushRefused::Disk`] it is not known what is durable
//!   and a listener may not have been told; nothing more is applied until the disk is opened again.
//!   A lookup that the disk cannot answer finds nothing, and is counted and logged.
//!
//! [`Frame::CHANGES_MAX`]: tessera_tenancy::Frame::CHANGES_MAX

#![warn(missing_docs)]

mod cache;
mod config;
mod disk;
mod draft;
mod keys;
mod listener;
mod memory;
mod rows;
mod snapshot;
mod stream;
mod sweep;

pub use config::{Config, ConfigOptions, KeyIdOwner, OpenError};
pub use disk::{Disk, DiskError, MemoryDisk, RowWrites, Visit};
pub use draft::InvalidChange;
pub use listener::{ConfigChange, Listener};
pub use stream::{Progress, PushRefused, PushStream};

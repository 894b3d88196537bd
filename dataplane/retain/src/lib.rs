//! Retained messages: one register per topic (design §6).
//!
//! # Contents
//! - [`Retain`]: the service. [`Retain::submit_put`] sets or clears a topic, [`Retain::matching`]
//!   reads what a filter matches, [`Retain::expire`] is the background step.
//! - `keys`, `path`: rows and how a topic is one (the tables are there). `body`: a stored message.
//! - `command`: what the log carries. `apply`: how it is obeyed.
//! - `seek`: a filter as a walk over sorted paths. `query`: reads. `due`: tenants with what expires.
//!
//! # Invariants
//! - `apply` is deterministic and total: it reads rows, the command and the group's time, nothing else.
//! - The last put or clear of a topic, in the order of the log, is what readers see.
//! - Every key starts with the tenant; no topic of one tenant is read for another.
//! - A page of a match is bounded in messages, bytes and rows looked at.
//!
//! # Decisions
//! - **Length before bytes in every level**, so that a subtree is a prefix and no character of a
//!   topic can end a level. The price: topics sort by the length of a level first.
//! - **Due rows rather than timers**: a message with an expiry has a second row keyed by its time, and
//!   memory holds one time for each tenant, known from the commits and, after a start, from one look
//!   through the rows. A tenant with nothing due costs nothing.
//! - **Readers hide what has expired** by their own clock; rows go later, by the group's.
//! - **The figures count stored bytes**: path and value, so that bounds hold for what disks hold.
//! - A bound that is lowered removes nothing: it refuses what would take more than before.
//! - A tenant's topics are read from one shard; a range that is split inside one tenant needs a
//!   match over its parts, in key order, with the same cursor.

mod apply;
mod body;
mod command;
mod due;
mod encoding;
mod error;
mod keys;
mod message;
mod path;
mod query;
mod seek;
mod service;

#[cfg(test)]
mod memory_rows;

pub use error::{ExpireError, PutError};
pub use message::{
    Expired, MatchCursor, Matches, PutOutcome, PutRequest, RetainBounds, RetainedMessage,
    TenantFigures,
};
pub use service::{Retain, RetainOptions};

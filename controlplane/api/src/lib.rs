//! The REST API on axum; wires the control plane.
//!
//! # Contents
//! - [`control`]: [`Control`] and [`run`]: from options to a serving process.
//! - [`options`]: [`ControlOptions`] and the key files.
//! - [`document`]: the API document, made from the routes.
//! - `edge`: what happens to every request: its id, its bounds, and how a refusal is written.
//! - `json`, `extract`: strict bodies, parameters and paths.
//! - `caller`: who is calling, and what it may do.
//! - [`mod@write`]: one write: authority, idempotency, transaction, waiting for the nodes. `outcome` is what
//!   it came to, `precondition` what its caller has read. `read`: one read.
//! - `routes`: a file for each resource, and the nodes' streams.
//! - `jobs`: news from the database, what nodes said, pruning.
//! - `serve`: connections, bounded in number and time.
//!
//! # Invariants
//! - Every refusal is a problem (RFC 9457) with a stable code, the path and the request's id.
//! - Nothing is read of a body before the caller is known, nor more of it than its bound.
//! - A tenant that the caller may not see is answered like one that does not exist: the transaction
//!   sees no other tenant, and rights are looked at only after the tenant was found.
//! - A write answers within [`write::DATABASE_LIMIT`], plus [`write::WAIT_LIMIT`] if it waits.
//!
//! # Decisions
//! - A refusal that was decided inside the transaction (409, 412, …) is stored under its
//!   `Idempotency-Key` like a success; one that never got there (400, 401, 422) is not.
//! - `applied` is counted anew when a stored answer is replayed, since that is what its caller asks.
//! - Connection-level errors that hyper answers by itself (a malformed head, over-long headers) have
//!   no body.
//! - HTTP/1.1 only, without TLS: a proxy in front terminates both.

pub mod control;
pub mod document;
pub mod options;
pub mod write;

mod app;
mod caller;
mod edge;
mod error;
mod extract;
mod jobs;
mod json;
mod list;
mod outcome;
mod precondition;
mod push_source;
mod random;
mod read;
mod routes;
mod serve;
mod shape;

pub use control::{Control, run};
pub use options::ControlOptions;

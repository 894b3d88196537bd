//! One node of the data plane: frontend, dist, inbox and retain wired into a process.
//!
//! # Contents
//! - [`run`]: starts the roles in order, serves until told to stop, stops them in reverse.
//! - [`NodeOptions`]: what a node is started with.
//! - `push_client`: follows the control plane; `disk`: where the configuration is kept.
//! - `background`: expiry of sessions and retained messages, in bounded steps.
//! - `admin`: `/healthz`, `/readyz`, `/metrics`, `/tenants/{id}`. `figures`: what a tenant has here.
//!
//! # Invariants
//! - A node serves from its last good configuration, without the control plane or its database, for
//!   ever; only one that never had a configuration waits for its first.
//! - A storage error ends the process: the next start verifies what is on disk.
//! - The node id, the cluster id and a growing incarnation are on disk before anything is served.

mod admin;
mod disk;
mod figures;
mod metrics;
mod options;
mod push_client;
mod run;

pub use options::NodeOptions;
pub use run::{NodeError, run};

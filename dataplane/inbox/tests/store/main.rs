//! The inbox over a real engine in a temporary folder.

#![expect(
    clippy::unwrap_used,
    reason = "a step of a test that fails ends the test"
)]

mod full;
mod node;
mod owners;
mod queues;
mod restarts;
mod two_tenants;

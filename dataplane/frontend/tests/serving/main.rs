//! The front end over real sockets and real stores, on a configuration pushed as a node gets it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails says where"
)]

mod client;
mod harness;

mod isolation;
mod limits;
mod messages;
mod sessions;
mod v311;

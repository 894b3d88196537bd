//! The front end over real sockets and real stores, on a configuration pushed as a node gets it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails says where"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects; anything else fails it"
)]

mod client;
mod harness;

mod cluster;
mod crossing;
mod isolation;
mod lifetimes;
mod limits;
mod messages;
mod once;
mod reauthorised;
mod retained;
mod sessions;
mod settings;
mod shared;
mod subscriptions;
mod v311;
mod wills;

//! The codec from outside: golden bytes, hostile bytes, round trips, feeding.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod differential;
mod edges;
mod feeding;
mod filters;
mod golden;
mod harness;
mod hostile;
mod limits;
mod packets;
mod reasons;
mod round_trip;
mod values;
mod versions;
mod zero_copy;

//! The configuration, driven through signed lines as a control plane sends them.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do: by a panic"
)]

mod crash;
mod listeners;
mod model;
mod poison;
mod races;
mod streams;
mod support;

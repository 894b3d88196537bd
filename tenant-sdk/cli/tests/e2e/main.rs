//! The product end to end: `tessera dev` with its real processes, PostgreSQL included, and real clients.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at what it did not expect; this lint knows test functions only"
)]

mod clients;
mod dev;
mod figures;
mod first_message;
mod lifecycle;
mod limits;
mod refusals;
mod standalone;
mod tenants;

//! Scenarios: client bytes in, server bytes out. A name that carries a statement's number proves
//! it.

#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test names what it expects; anything else fails it"
)]

#[cfg(test)]
mod pair;

#[cfg(test)]
mod answers;
#[cfg(test)]
mod auth;
#[cfg(test)]
mod chaos;
#[cfg(test)]
mod client_id;
#[cfg(test)]
mod close;
#[cfg(test)]
mod connect;
#[cfg(test)]
mod deliver;
#[cfg(test)]
mod deviations;
#[cfg(test)]
mod edges;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod loans;
#[cfg(test)]
mod message;
#[cfg(test)]
mod model;
#[cfg(test)]
mod persistent;
#[cfg(test)]
mod publish;
#[cfg(test)]
mod reactions;
#[cfg(test)]
mod sender;
#[cfg(test)]
mod subscribe;
#[cfg(test)]
mod text;
#[cfg(test)]
mod timing;
#[cfg(test)]
mod v311;

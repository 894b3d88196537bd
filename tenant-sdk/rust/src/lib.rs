//! Rust SDK: the REST client and a small MQTT client.
//!
//! # Contents
//! - [`rest`]: [`rest::Client`] over the `/v1` API: typed errors by code, retries that are safe to
//!   repeat, `ETag`s carried by what was read, lists page by page.
//! - [`mqtt`]: [`mqtt::connect`] for MQTT 5 and 3.1.1 over TCP: publish, subscribe, receive.
//! - [`types`]: the shapes of the REST API.
//!
//! # Invariants
//! - A secret never shows in `Debug`.
//! - A request is repeated only if that cannot do it twice: see [`rest::RetryPolicy`].
//! - Every queue is bounded, and every wait ends by a deadline or with the connection.
//!
//! # Decisions
//! - The MQTT client does not reconnect by itself: who lost what in between is the caller's to say.
//! - No TLS yet: the API and the broker of development mode listen on the loopback interface.

#![warn(missing_docs)]

pub mod mqtt;
pub mod rest;

pub use tessera_api_types as types;

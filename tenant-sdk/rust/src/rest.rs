//! The REST client.
//!
//! ```no_run
//! # async fn example() -> Result<(), tessera_sdk::rest::Error> {
//! use tessera_sdk::rest::Client;
//!
//! let client = Client::builder("http://127.0.0.1:7880").api_key("tsk_…").build()?;
//! let mut tenants = client.tenants();
//! while let Some(tenant) = tenants.next().await? {
//!     println!("{}", tenant.slug);
//! }
//! # Ok(()) }
//! ```

mod client;
mod error;
mod listing;
mod path;
mod resources;
mod retry;
mod versioned;

pub use client::{Client, ClientBuilder};
pub use error::{ApiError, Error};
pub use listing::Listing;
pub use resources::{TenantClient, Wait};
pub use retry::RetryPolicy;
pub use versioned::Versioned;

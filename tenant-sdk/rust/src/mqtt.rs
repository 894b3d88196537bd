//! A small asynchronous MQTT client over TCP: MQTT 5, 3.1.1 and 3.1.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use tessera_sdk::mqtt::{self, ConnectOptions, Qos};
//!
//! let options = ConnectOptions::new("127.0.0.1", 1883).login("demo.device-1", "tsd_…");
//! let mut connected = mqtt::connect(options).await?;
//! connected.client.subscribe("sensors/#", Qos::AtLeastOnce).await?;
//! while let Some(received) = connected.messages.next().await {
//!     println!("{}", received.message.topic);
//! }
//! # Ok(()) }
//! ```
//!
//! # Invariants
//! - Publishing waits for the acknowledgement that its `QoS` asks for: `Ok` means that the server
//!   answers for the message.
//! - A message of `QoS` 2 is handed out once, however often it arrives on this connection.
//! - Memory is bounded: by [`ConnectOptions`] for what arrives, by the server's Receive Maximum for what
//!   leaves. Who does not take messages stops the server, not this process.

mod client;
mod driver;
mod error;
mod machine;
mod options;

pub use client::{Client, Connected, Messages, Received, connect};
pub use error::{Closed, ConnectError, RequestError};
pub use options::ConnectOptions;
pub use tessera_mqtt::{
    ClientId, ConnAck, ForwardedProperties, Message, ProtocolVersion, Qos, ReasonCode,
    RetainHandling, SubscribeFilter, SubscriptionOptions, TopicFilter, TopicName, UserProperties,
    Will,
};

//! Sans-io codec for MQTT 3.1, 3.1.1 and 5, both directions.
//!
//! # Contents
//! - [`Decoder`]: bytes to [`Packet`]s. One per connection and direction; a server's learns the
//!   version from CONNECT. [`DecodeLimits`] bounds what it takes, [`DecodeError`] says why not and
//!   what may be answered.
//! - [`encode`], [`encode_within`], [`encode_publish`]: packets to bytes.
//! - [`Message`]: one application message, whatever version it came in or leaves in.
//! - [`TopicName`], [`TopicFilter`], [`FilterSpec`], [`ClientId`], [`MqttString`]: checked text.
//! - [`ForwardedProperties`], [`UserProperties`]: properties kept as checked bytes, read lazily.
//! - One file per packet family: its model, its decoder, its encoder.
//!
//! # Invariants
//! - No I/O, no clock, no randomness, no `unsafe`.
//! - Whatever stands in a [`Packet`] was checked: text is UTF-8 without U+0000, a [`TopicName`] has
//!   no wildcard, a packet identifier is not 0.
//! - A limit is checked before what it bounds is read or allocated. A packet's body is looked at
//!   once, when all of it is there.
//! - The result does not depend on how the bytes were cut: byte by byte, whole, coalesced.
//! - Decoding and encoding a PUBLISH allocate nothing: topic, payload and properties are slices of
//!   the read buffer, and go out as they came.
//! - No input panics.
//!
//! # Decisions
//! - An error closes the decoder: every later call gives the same error.
//! - A topic filter that is UTF-8 but ill formed is not an error of the packet: SUBACK answers it
//!   with 0x8F. So is each filter past [`DecodeLimits::filters_max`], with 0x97.
//! - `$share/…` and `$oshare/…` are read as shared subscriptions in every version, and are never a
//!   [`TopicName`] nor a plain [`TopicFilter`].
//! - A known property in a packet that may not hold it is malformed, 0x81 (MQTT 5, 2.2.2.2); but a
//!   Subscription Identifier in a client's PUBLISH is 0x82, as the standard says there.
//! - A reason code that the standard does not list for a packet is a protocol error, 0x82.
//! - MQTT 3.1 differs where its text does: DUP may be set on PUBREL, SUBSCRIBE and UNSUBSCRIBE; will
//!   QoS and will retain are disregarded without a will; a user name or password that the flags
//!   promise may be missing at the end. Its 23 characters of a client identifier are left to the
//!   session, which has an answer for a longer one.
//! - `as_str` checks UTF-8 again, because without `unsafe` it must; hot paths use `as_bytes`.

#![warn(missing_docs)]

mod ack;
mod auth;
mod connack;
mod connect;
mod cursor;
mod decoder;
mod disconnect;
mod encode;
mod error;
mod filter;
mod forwarded;
mod header;
mod limits;
mod message;
mod packet;
mod property;
mod publish;
mod reason;
mod scan;
mod sink;
mod subscribe;
mod text;
mod topic;
mod unsubscribe;
mod user_properties;
mod values;

pub use ack::Ack;
pub use auth::Auth;
pub use connack::ConnAck;
pub use connect::{Connect, Password, Will};
pub use decoder::Decoder;
pub use disconnect::Disconnect;
pub use encode::{Fit, encode, encode_within};
pub use error::{Answer, DecodeError, EncodeError};
pub use filter::{
    FilterError, FilterLevel, FilterLevels, FilterSpec, Share, ShareName, TopicFilter,
};
pub use forwarded::{
    ForwardedProperties, ForwardedPropertiesIter, ForwardedProperty, PayloadFormat, PropertyError,
};
pub use limits::DecodeLimits;
pub use message::Message;
pub use packet::{Packet, PacketType};
pub use publish::{
    Publish, PublishHeader, PublishTopic, SubscriptionIds, TopicAliasUse, encode_publish,
    encoded_publish_len,
};
pub use reason::{ConnectReturnCode, ReasonCode, UnknownReasonCode};
pub use subscribe::{RetainHandling, SubAck, Subscribe, SubscribeFilter, SubscriptionOptions};
pub use text::{ClientId, ClientIdError, MqttString, StringError};
pub use topic::{TopicError, TopicLevels, TopicName};
pub use unsubscribe::{UnsubAck, Unsubscribe, UnsubscribeFilter};
pub use user_properties::{UserProperties, UserPropertiesIter};
pub use values::{PacketId, ProtocolVersion, Qos, SubscriptionId, TopicAlias, UnknownQos};

//! What front ends say to each other, as bytes. Both ends run the same version for now.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tessera_dist::Renewal;
use tessera_mqtt::{
    ClientId, FilterSpec, ForwardedProperties, Message, Qos, SubscriptionId, TopicName,
};
use tessera_shard::ShardId;
use tessera_tenancy::TenantId;

/// A question.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// To a leader: hold my session for another while.
    Renew { node: u64, number: u64 },
    /// Show every route that was committed before this.
    CatchUp { tenant: TenantBytes },
    /// A client registered under this number: close what registered before.
    Fence {
        tenant: TenantBytes,
        client: Vec<u8>,
        registration: u64,
    },
    /// Messages for connections there.
    Deliver(Batch),
}

/// An answer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Response {
    Renewed(Renewed),
    Done,
    /// What became of each item of a batch.
    Delivered(Vec<Outcome>),
    /// The batch is of a stream, or for a session, that is no more.
    Gone,
    /// Not now: ask again.
    Unavailable,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Renewed {
    granted: Vec<u64>,
    has_ended: bool,
}

/// A tenant's id.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct TenantBytes([u8; 16]);

/// Messages of one tenant, in order: the next of a stream, or the last one again.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Batch {
    pub(crate) tenant: TenantBytes,
    /// Who sends: its node and the number of its node session.
    pub(crate) from: (u64, u64),
    /// The number of the node session that it is for.
    pub(crate) to: u64,
    /// Which stream of the sender: a later one has a larger number.
    pub(crate) stream: u64,
    /// From 1 on.
    pub(crate) sequence: u64,
    pub(crate) items: Vec<Item>,
}

/// One message, and to whom.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Item {
    /// To everybody there whose filter matches.
    Everybody(WireMessage),
    /// To one member of a shared subscription.
    OneOf {
        message: WireMessage,
        filter: String,
        /// The publisher, who may have a favourite.
        publisher: Vec<u8>,
        writer: [u8; 16],
    },
    /// QoS 0 to the owner of a persistent session.
    Owner {
        message: WireMessage,
        client: Vec<u8>,
        incarnation: u64,
        retain: bool,
        subscription_ids: Vec<u32>,
    },
}

/// What became of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// Everybody whom it was for has it, or is gone.
    Taken,
    /// Of a shared subscription: there is no member.
    Nobody,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct WireMessage {
    topic: Bytes,
    payload: Bytes,
    qos: u8,
    retain: bool,
    expiry_seconds: Option<u32>,
    properties: Bytes,
}

impl From<&Message> for WireMessage {
    fn from(message: &Message) -> Self {
        Self {
            topic: Bytes::copy_from_slice(message.topic.as_bytes()),
            payload: message.payload.clone(),
            qos: message.qos.as_u8(),
            retain: message.retain,
            expiry_seconds: message.expiry_seconds,
            properties: Bytes::copy_from_slice(message.properties.as_bytes()),
        }
    }
}

impl WireMessage {
    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        self.topic.len() + self.payload.len() + self.properties.len()
    }

    /// `None`: it is none of MQTT.
    pub(crate) fn read(self) -> Option<Message> {
        Some(Message {
            topic: TopicName::try_from(self.topic).ok()?,
            payload: self.payload,
            qos: Qos::try_from(self.qos).ok()?,
            retain: self.retain,
            expiry_seconds: self.expiry_seconds,
            properties: ForwardedProperties::from_stored(self.properties).ok()?,
        })
    }
}

impl Item {
    /// Bytes that it holds.
    pub(crate) fn bytes(&self) -> usize {
        let (Self::Everybody(message) | Self::OneOf { message, .. } | Self::Owner { message, .. }) =
            self;
        message.bytes()
    }
}

impl From<TenantId> for TenantBytes {
    fn from(tenant: TenantId) -> Self {
        Self(*tenant.as_bytes())
    }
}

impl From<TenantBytes> for TenantId {
    fn from(TenantBytes(bytes): TenantBytes) -> Self {
        Self::from_bytes(bytes)
    }
}

impl From<Renewal> for Renewed {
    fn from(renewal: Renewal) -> Self {
        Self {
            granted: renewal.granted.iter().map(|shard| shard.as_u64()).collect(),
            has_ended: renewal.has_ended,
        }
    }
}

impl From<Renewed> for Renewal {
    fn from(renewed: Renewed) -> Self {
        let granted = renewed.granted.into_iter().map(ShardId::from_u64);
        Self {
            granted: granted.collect(),
            has_ended: renewed.has_ended,
        }
    }
}

pub(crate) fn client_id(bytes: &[u8]) -> Option<ClientId> {
    ClientId::try_from(Bytes::copy_from_slice(bytes)).ok()
}

pub(crate) fn filter(text: &str) -> Option<FilterSpec> {
    FilterSpec::try_from(text).ok()
}

pub(crate) fn subscription_ids(ids: &[u32]) -> Vec<SubscriptionId> {
    ids.iter()
        .copied()
        .filter_map(SubscriptionId::new)
        .collect()
}

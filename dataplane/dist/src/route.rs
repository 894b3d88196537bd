//! What is stored of a subscription: who gets the messages of which filter, and how.

use std::fmt;

use tessera_mqtt::{ClientId, FilterSpec, Qos, SubscriptionId};
use tessera_tenancy::NodeId;

/// One route: the messages that `filter` matches go to `receiver`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// The filter, with its share group if it has one.
    pub filter: FilterSpec,
    /// Who gets the messages.
    pub receiver: Receiver,
    /// How they are delivered.
    pub options: RouteOptions,
}

/// Who gets the messages of a route.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Receiver {
    /// The front end of a node: one route for each node and filter, however many of its clients
    /// subscribe to it. Ends with the node session.
    Transient(NodeSession),
    /// An inbox. Ends with that incarnation of the client's session.
    Persistent {
        /// Whose inbox.
        client: ClientId,
        /// Which life of that client's session.
        incarnation: SessionIncarnation,
    },
}

/// One life of a node's front end, as the shards know it (protocols A). A restarted node gets a
/// larger number, and inherits no route.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeSession {
    /// The node that runs the front end.
    pub node: NodeId,
    /// Larger at each opening by that node; at least 1.
    pub number: u64,
}

/// One life of a client's persistent session. The inbox numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionIncarnation(pub u64);

impl fmt::Display for SessionIncarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How the messages of a route are delivered: the subscription options that outlive SUBSCRIBE
/// (MQTT 5, 3.8.3.1) and the subscription identifier (3.8.2.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteOptions {
    /// The granted maximum.
    pub qos: Qos,
    /// Not to the client that published it.
    pub no_local: bool,
    /// Keep the RETAIN flag of the publisher.
    pub retain_as_published: bool,
    /// What the client called the subscription.
    pub subscription_id: Option<SubscriptionId>,
}

//! What follows from a history: messages, connections, subscriptions and how long each stood.
//!
//! Clients do not know when a server acts. So a subscription has two ends: from `maybe_gone` on it may
//! be gone, from `surely_gone` on it is. What must come is judged by the first, what may come by the
//! second.

use std::collections::BTreeMap;
use std::sync::Arc;

use tessera_mqtt::Qos;

use super::history::{
    Client, Connect, Connection, Counted, Delivery, End, History, MessageId, Micros, Moment,
    Payload, Tenant, Will,
};
use super::matching::{Group, takes};
use super::replay::Replay;
use super::{Moments, Rules};

/// A client of a tenant.
pub(crate) type Key = (Tenant, Client);

/// A message of a client.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) id: MessageId,
    pub(crate) publisher: Key,
    /// Which session of the publisher's.
    pub(crate) session: u32,
    pub(crate) topic: Arc<str>,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    pub(crate) is_empty: bool,
    pub(crate) expiry_seconds: Option<u32>,
    /// Never empty; the first is when it was published.
    pub(crate) sends: Vec<Moment>,
    pub(crate) acked: Option<Moment>,
}

impl Message {
    pub(crate) fn begun(&self) -> Moment {
        self.sends.first().copied().unwrap_or(Moment(0))
    }
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) key: Key,
    pub(crate) connection: Connection,
    pub(crate) ask: Connect,
    pub(crate) connect: Moment,
    pub(crate) connected: Option<Moment>,
    /// Which session of the client's, from its CONNACK on.
    pub(crate) session: u32,
    pub(crate) epoch: Option<u64>,
    pub(crate) disconnect: Option<Moment>,
    /// Its node's process ended.
    pub(crate) node_ended: Option<Moment>,
    pub(crate) closed: Option<(Moment, End)>,
    /// The next CONNECT of the client that was answered: when it left and when its CONNACK came.
    pub(crate) superseded: Option<(Moment, Moment)>,
}

/// One filter of one session.
#[derive(Debug)]
pub(crate) struct Sub {
    pub(crate) key: Key,
    /// Which session of the client's.
    pub(crate) session: u32,
    pub(crate) filter: Arc<str>,
    pub(crate) group: Option<Group>,
    pub(crate) no_local: bool,
    pub(crate) retain_as_published: bool,
    pub(crate) invoked: Moment,
    pub(crate) acked: Option<Moment>,
    pub(crate) granted: Qos,
    /// Its session outlives its connections.
    pub(crate) is_persistent: bool,
    pub(crate) maybe_gone: Option<Moment>,
    pub(crate) surely_gone: Option<Moment>,
    /// UNSUBSCRIBE left.
    pub(crate) leaving: Option<Moment>,
    /// UNSUBACK came.
    pub(crate) unsubscribed: Option<Moment>,
}

impl Sub {
    /// Whether it surely stands, from its SUBACK on and still then.
    pub(crate) fn surely_stands(&self, from: Moment, still: Moment) -> bool {
        let begun = self.acked.is_some_and(|acked| acked < from);
        begun && self.maybe_gone.is_none_or(|gone| gone > still)
    }

    /// Whether it may stand at some time from `from` to `to`.
    pub(crate) fn may_stand(&self, from: Moment, to: Moment) -> bool {
        self.invoked < to && self.surely_gone.is_none_or(|gone| gone > from)
    }
}

/// A delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received<'a> {
    pub(crate) moment: Moment,
    pub(crate) key: Key,
    pub(crate) connection: Connection,
    pub(crate) session: u32,
    pub(crate) delivery: &'a Delivery,
}

impl Received<'_> {
    /// It may be a retained message's to a new subscription: a live one says so only if it was asked
    /// to.
    pub(crate) const fn may_be_replay(&self) -> bool {
        self.delivery.retain
    }

    pub(crate) const fn message(&self) -> Option<MessageId> {
        match self.delivery.payload {
            Payload::Message(id) => Some(id),
            Payload::Empty => None,
        }
    }
}

/// What a CONNACK said of a session that cannot be.
#[derive(Debug)]
pub(crate) struct SessionFault {
    pub(crate) kind: SessionFaultKind,
    /// The CONNECT and its CONNACK, and what came before.
    pub(crate) moments: Vec<Moment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SessionFaultKind {
    /// It was there, and is not.
    Lost,
    /// There was none, or a clean start was asked for.
    MadeUp,
    /// It should have expired long ago.
    Outlived,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    pub(crate) history: &'a History,
    pub(crate) rules: &'a Rules,
    pub(crate) messages: BTreeMap<MessageId, Message>,
    /// In the order in which they were published first.
    pub(crate) published: Vec<MessageId>,
    /// Messages that could be a will, with their connection.
    pub(crate) wills: BTreeMap<MessageId, (Connection, Will)>,
    pub(crate) links: BTreeMap<Connection, Link>,
    pub(crate) subs: Vec<Sub>,
    pub(crate) subs_of: BTreeMap<Key, Vec<usize>>,
    /// Those of a client that take a topic, for each topic that it received.
    pub(crate) by_topic: BTreeMap<Key, BTreeMap<Arc<str>, Vec<usize>>>,
    pub(crate) received: Vec<Received<'a>>,
    pub(crate) received_of: BTreeMap<MessageId, Vec<usize>>,
    /// All CONNACKs.
    pub(crate) connects: Moments,
    /// From when to when each client was connected.
    pub(crate) connected: BTreeMap<Key, Vec<(Moment, Option<Moment>)>>,
    pub(crate) quiets: Moments,
    /// When processes of nodes ended.
    pub(crate) node_ends: Moments,
    pub(crate) dropped: BTreeMap<Key, u64>,
    pub(crate) fired: BTreeMap<MessageId, Moments>,
    pub(crate) session_faults: Vec<SessionFault>,
    /// CONNACKs to clients whose session surely is there.
    pub(crate) sessions_judged: u64,
    pub(crate) counted: Vec<(Moment, Counted)>,
    /// PUBACKs and PUBRECs.
    pub(crate) acks: Vec<(Moment, Connection, MessageId)>,
    /// Reads of retained messages: topic, begin, end, what was seen.
    pub(crate) reads: Vec<Read>,
    /// Something that no history should say.
    pub(crate) nonsense: Option<String>,
}

/// Where a message comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) publisher: Key,
    pub(crate) topic: &'a Arc<str>,
    pub(crate) qos: Qos,
    pub(crate) retain: bool,
    /// It was not delivered before that: of a will, the CONNECT that brought it.
    pub(crate) begun: Moment,
}

/// A read of a retained message.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) tenant: Tenant,
    pub(crate) topic: Arc<str>,
    pub(crate) begun: Moment,
    pub(crate) ended: Moment,
    pub(crate) saw: Option<MessageId>,
}

impl<'a> Facts<'a> {
    pub(crate) fn new(history: &'a History, rules: &'a Rules) -> Self {
        let mut facts = Replay::new(history, rules).run();
        for received in &facts.received {
            let topics = facts.by_topic.entry(received.key).or_default();
            let topic = &received.delivery.topic;
            if !topics.contains_key(topic) {
                let subs = facts.subs_of.get(&received.key).cloned();
                let mut subs = subs.unwrap_or_default();
                let takes_it = |sub: &Sub| takes(&sub.filter, topic);
                subs.retain(|at| facts.subs.get(*at).is_some_and(takes_it));
                topics.insert(Arc::clone(topic), subs);
            }
        }
        facts
    }

    pub(crate) fn at(&self, moment: Moment) -> Micros {
        self.history.at(moment)
    }

    /// The client's connection lasts at `moment`.
    pub(crate) fn is_connected(&self, key: Key, moment: Moment) -> bool {
        let Some(spans) = self.connected.get(&key) else {
            return false;
        };
        let after = spans.partition_point(|(from, _)| *from < moment);
        let last = after.checked_sub(1).and_then(|at| spans.get(at));
        last.is_some_and(|(_, to)| to.is_none_or(|to| to > moment))
    }

    /// The first quiet moment after `from`: what clients sent before is over by then.
    pub(crate) fn rest_after(&self, from: Moment) -> Option<Moment> {
        let first = self.quiets.partition_point(|quiet| *quiet <= from);
        self.quiets.get(first).copied()
    }

    /// The first quiet moment after `from` at which all of these clients are connected.
    pub(crate) fn quiet_after(&self, from: Moment, keys: &[Key]) -> Option<Moment> {
        let first = self.quiets.partition_point(|quiet| *quiet <= from);
        let quiets = self.quiets.get(first..).unwrap_or_default();
        let is_due = |quiet: &&Moment| keys.iter().all(|key| self.is_connected(*key, **quiet));
        quiets.iter().find(is_due).copied()
    }

    /// Where a message comes from, be it a will.
    pub(crate) fn origin(&self, id: MessageId) -> Option<Origin<'_>> {
        if let Some(message) = self.messages.get(&id) {
            return Some(Origin {
                publisher: message.publisher,
                topic: &message.topic,
                qos: message.qos,
                retain: message.retain,
                begun: message.begun(),
            });
        }
        let (connection, will) = self.wills.get(&id)?;
        let link = self.links.get(connection)?;
        Some(Origin {
            publisher: link.key,
            topic: &will.topic,
            qos: will.qos,
            retain: will.retain,
            begun: link.connect,
        })
    }

    /// Deliveries of a message, of any kind, in order.
    pub(crate) fn deliveries(&self, id: MessageId) -> impl Iterator<Item = &Received<'a>> {
        let found = self.received_of.get(&id).map_or(&[][..], Vec::as_slice);
        found.iter().filter_map(|at| self.received.get(*at))
    }

    /// Subscriptions of a client whose filter takes a topic on which it received something.
    pub(crate) fn subs_for(&self, key: Key, topic: &str) -> impl Iterator<Item = &Sub> {
        let topics = self.by_topic.get(&key);
        let found = topics.and_then(|topics| topics.get(topic));
        let found = found.map_or(&[][..], Vec::as_slice);
        found.iter().filter_map(|at| self.subs.get(*at))
    }

    /// Whether the message had expired by then, if its server took it as early as it could.
    pub(crate) fn may_have_expired(&self, message: &Message, by: Moment) -> bool {
        message.expiry_seconds.is_some_and(|seconds| {
            let expiry = Micros::from_seconds(seconds.into());
            let earliest = self.at(message.begun()).plus(expiry);
            self.at(by).plus(self.rules.clock_slack) >= earliest
        })
    }

    /// Whether the rules let this QoS 2 message come again to this receiver.
    pub(crate) fn may_repeat(&self, message: &Message, received: &Received<'_>) -> bool {
        let mut subs = self.subs_for(received.key, &message.topic);
        self.rules.resent_may_repeat
            && message.sends.len() > 1
            && subs.all(|sub| !sub.is_persistent || sub.invoked > received.moment)
    }

    /// When a node served again after one ended.
    pub(crate) fn served_again(&self, ended: Moment) -> Option<Moment> {
        let after = self
            .connects
            .partition_point(|connected| *connected < ended);
        self.connects.get(after).copied()
    }
}

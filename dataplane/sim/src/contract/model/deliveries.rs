//! What the model does with a message.

use std::sync::Arc;

use tessera_mqtt::Qos;

use super::{EXPIRY_SECONDS, Key, Model, Mutant, Op, Queued};
use crate::contract::history::{
    Act, Client, Delivery, MessageId, Micros, Payload, Publish, Tenant,
};
use crate::contract::matching::{group, takes};

impl Model {
    pub(super) fn publish_new(&mut self, op: &Op) {
        let Op::Publish {
            key,
            topic,
            qos,
            retain,
            is_empty,
            expires,
            times: _,
        } = op
        else {
            return;
        };
        self.last_message += 1;
        let publish = Publish {
            message: MessageId(self.last_message),
            topic: (*topic).into(),
            qos: *qos,
            retain: *retain,
            is_empty: *is_empty,
            expiry_seconds: expires.then_some(EXPIRY_SECONDS),
            packet: None,
            dup: false,
        };
        self.publish((Tenant(key.0), Client(key.1)), &publish);
    }

    fn publish(&mut self, key: Key, publish: &Publish) {
        let Some(connection) = self.connection(key) else {
            return;
        };
        self.act(key, connection, Act::Publish(publish.clone()));
        let expires = publish.expiry_seconds.map(|seconds| {
            let expiry = Micros::from_seconds(seconds.into());
            self.now.plus(expiry)
        });
        if publish.retain && !self.errs(Mutant::ForgetsARetained) {
            let topic = (key.0, Arc::clone(&publish.topic));
            if publish.is_empty {
                self.retained.remove(&topic);
            } else {
                self.retained.insert(topic, (publish.message, expires));
            }
        }
        let payload = if publish.is_empty {
            Payload::Empty
        } else {
            Payload::Message(publish.message)
        };
        self.route(key.0, payload, &publish.topic, publish.qos, expires);
        if publish.qos > Qos::AtMostOnce {
            let message = publish.message;
            self.act(key, connection, Act::Published { message });
        }
    }

    pub(super) fn route(
        &mut self,
        tenant: Tenant,
        payload: Payload,
        topic: &Arc<str>,
        qos: Qos,
        expires: Option<Micros>,
    ) {
        let queued = |qos: Qos, by: Option<Arc<str>>| Queued {
            payload,
            topic: Arc::clone(topic),
            qos,
            expires,
            by,
        };
        let is_crossing = self.errs(Mutant::CrossesTenants);
        let mut groups: Vec<Arc<str>> = Vec::new();
        let keys: Vec<Key> = self.sessions.keys().copied().collect();
        for key in keys {
            if key.0 != tenant && !is_crossing {
                continue;
            }
            let subs = self.sessions.get(&key).map(|session| session.subs.clone());
            let subs = subs.unwrap_or_default();
            let subs = subs.into_iter().filter(|(filter, _)| takes(filter, topic));
            let (shared, plain): (Vec<_>, Vec<_>) =
                subs.partition(|(filter, _)| group(filter).is_some());
            if let Some(granted) = plain.iter().map(|(_, qos)| *qos).max()
                && !self.errs(Mutant::LosesAMessage)
            {
                self.enqueue(key, queued(qos.min(granted), None));
            }
            for (filter, granted) in shared {
                if self.errs(Mutant::SharesWithAll) {
                    self.enqueue(key, queued(qos.min(granted), Some(Arc::clone(&filter))));
                }
                if !groups.contains(&filter) {
                    groups.push(filter);
                }
            }
        }
        for filter in groups {
            if let Some(member) = self.member(tenant, &filter) {
                let granted = self
                    .sessions
                    .get(&member)
                    .and_then(|it| it.subs.get(&filter));
                let granted = granted.copied().unwrap_or_default();
                self.enqueue(member, queued(qos.min(granted), Some(filter)));
            }
        }
    }

    /// The member whose turn it is, of those with a connection if there are any.
    pub(super) fn member(&mut self, tenant: Tenant, filter: &Arc<str>) -> Option<Key> {
        let members = self.sessions.iter();
        let members: Vec<(Key, bool)> = members
            .filter(|(key, session)| key.0 == tenant && session.subs.contains_key(filter))
            .map(|(key, session)| (*key, session.connection.is_some()))
            .collect();
        let connected = members.iter().filter(|(_, is_connected)| *is_connected);
        let mut keys: Vec<Key> = connected.map(|(key, _)| *key).collect();
        if keys.is_empty() {
            keys = members.iter().map(|(key, _)| *key).collect();
        }
        self.turns += 1;
        keys.get(self.turns.checked_rem(keys.len())?).copied()
    }

    pub(super) fn enqueue(&mut self, key: Key, queued: Queued) {
        let is_double = queued.qos == Qos::ExactlyOnce && self.errs(Mutant::DoublesQos2);
        let Some(session) = self.sessions.get_mut(&key) else {
            return;
        };
        if is_double {
            session.queue.push_back(queued.clone());
        }
        session.queue.push_back(queued);
        self.drain(key);
    }

    pub(super) fn drain(&mut self, key: Key) {
        let waiting = self
            .sessions
            .get(&key)
            .map_or(0, |session| session.queue.len());
        let is_reordered = waiting > 1 && self.errs(Mutant::Reorders);
        let Some(session) = self.sessions.get_mut(&key) else {
            return;
        };
        let Some(mut connection) = session.connection else {
            return;
        };
        let mut queue = std::mem::take(&mut session.queue);
        let former = session.former;
        if is_reordered {
            queue.make_contiguous().reverse();
        }
        if let Some(former) = former
            && !queue.is_empty()
            && self.errs(Mutant::ServesTheFormerOwner)
        {
            connection = former;
        }
        for queued in queue {
            let is_over = queued.expires.is_some_and(|expires| self.now >= expires);
            if is_over && !self.errs(Mutant::DeliversExpired) {
                continue;
            }
            let delivery = Delivery {
                payload: queued.payload,
                topic: queued.topic,
                qos: queued.qos,
                dup: false,
                retain: false,
                packet: None,
                expiry_seconds: None,
            };
            self.act(key, connection, Act::Deliver(delivery));
        }
    }
}

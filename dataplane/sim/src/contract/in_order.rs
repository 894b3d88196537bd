//! C3: to one receiver, the messages of one session of a publisher on one topic and at one QoS come
//! for the first time in the order in which they were published. Messages that may have come by a
//! shared subscription are left out: a group hands on what a dying member had.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tessera_mqtt::Qos;

use super::facts::{Facts, Key, Message, Received, Sub};
use super::history::{MessageId, Moment};
use super::verdict::{Clause, Judged, Ruling};

/// What is in order: publisher and its session, topic, QoS published and delivered, receiver and its
/// session.
type Stream<'f> = (Key, u32, &'f Arc<str>, Qos, Qos, Key, u32);

/// The youngest message that was delivered: when it was published, and its delivery.
type Youngest = (Moment, Moment, MessageId);

pub(crate) fn judge(facts: &Facts<'_>) -> Judged {
    let mut ruling = Ruling::new(facts.history, Clause::InOrder);
    let mut seen: BTreeSet<(MessageId, Key, u32)> = BTreeSet::new();
    let mut streams: BTreeMap<Stream<'_>, Youngest> = BTreeMap::new();
    for received in &facts.received {
        let Some(message) = received.message().and_then(|id| facts.messages.get(&id)) else {
            continue;
        };
        let is_first = seen.insert((message.id, received.key, received.session));
        let is_excused = may_be_shared(facts, received) || is_overdue(facts, message, received);
        if !is_first || received.may_be_replay() || is_excused {
            continue;
        }
        let stream = (
            message.publisher,
            message.session,
            &message.topic,
            message.qos,
            received.delivery.qos,
            received.key,
            received.session,
        );
        let this = (message.begun(), received.moment, message.id);
        match streams.get_mut(&stream) {
            None => drop(streams.insert(stream, this)),
            Some(youngest) => {
                ruling.judge();
                if youngest.0 > this.0 {
                    tell(youngest, &this, received, &mut ruling);
                } else {
                    *youngest = this;
                }
            }
        }
    }
    ruling.end()
}

fn tell(youngest: &Youngest, this: &Youngest, received: &Received<'_>, ruling: &mut Ruling<'_>) {
    let what = format!(
        "message {} came after message {}, which was published later on {}",
        this.2.0, youngest.2.0, received.delivery.topic
    );
    ruling.offend(what, &[youngest.0, youngest.1, this.0, this.1]);
}

fn may_be_shared(facts: &Facts<'_>, received: &Received<'_>) -> bool {
    let mut subs = facts.subs_for(received.key, &received.delivery.topic);
    subs.any(|sub| sub.group.is_some() && sub.invoked < received.moment)
}

/// It was published before the receiver had subscribed, and came because it was sent again.
fn is_overdue(facts: &Facts<'_>, message: &Message, received: &Received<'_>) -> bool {
    let mut subs = facts.subs_for(received.key, &message.topic);
    let stood = |sub: &Sub| {
        let is_same = sub.session == received.session;
        is_same && sub.acked.is_some_and(|acked| acked < message.begun())
    };
    message.sends.len() > 1 && !subs.any(stood)
}

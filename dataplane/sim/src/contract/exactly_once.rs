//! C4: a message published and delivered at QoS 2 reaches each session at most once: as itself, and as a
//! member of each group. Copies of retained messages for new subscriptions do not count.

use std::collections::{BTreeMap, BTreeSet};

use tessera_mqtt::Qos;

use super::facts::{Facts, Key, Message, Received};
use super::history::{MessageId, Moment};
use super::verdict::{Clause, Judged, Ruling};

pub(crate) fn judge(facts: &Facts<'_>) -> Judged {
    let mut ruling = Ruling::new(facts.history, Clause::ExactlyOnce);
    let mut delivered: BTreeMap<(MessageId, Key, u32), Vec<Moment>> = BTreeMap::new();
    for received in &facts.received {
        let Some(message) = received.message().and_then(|id| facts.messages.get(&id)) else {
            continue;
        };
        let is_twice_two =
            message.qos == Qos::ExactlyOnce && received.delivery.qos == Qos::ExactlyOnce;
        if !is_twice_two || received.may_be_replay() {
            continue;
        }
        let moments = delivered
            .entry((message.id, received.key, received.session))
            .or_default();
        moments.push(received.moment);
        ruling.judge();
        let is_excused = facts.may_repeat(message, received);
        if moments.len() > copies_max(facts, message, received) && !is_excused {
            let (tenant, client) = received.key;
            let what = format!(
                "message {} came too often to client {} of tenant {}",
                message.id.0, client.0, tenant.0
            );
            let mut moments = moments.clone();
            moments.push(message.begun());
            ruling.offend(what, &moments);
        }
    }
    ruling.end()
}

fn copies_max(facts: &Facts<'_>, message: &Message, received: &Received<'_>) -> usize {
    let subs = facts.subs_for(received.key, &message.topic);
    let subs = subs.filter(|sub| sub.may_stand(message.begun(), received.moment));
    let ways: BTreeSet<_> = subs.map(|sub| &sub.group).collect();
    ways.len().max(1)
}

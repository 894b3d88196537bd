//! C2: what is delivered was published before, by a client or as a will, in the same tenant and on
//! that topic, at no lower QoS; and the receiver has a subscription that takes it.

use std::collections::BTreeMap;

use super::facts::{Facts, Origin, Received, Sub};
use super::history::{MessageId, Moment, Tenant};
use super::verdict::{Clause, Judged, Ruling};

pub(crate) fn judge(facts: &Facts<'_>) -> Judged {
    let mut ruling = Ruling::new(facts.history, Clause::DeliveryHasACause);
    let empty = empty_publishes(facts);
    for received in &facts.received {
        ruling.judge();
        let topic = (received.key.0, &*received.delivery.topic);
        let wrong = match received.message() {
            Some(message) => wrong_message(facts, received, message),
            None => match empty.get(&topic) {
                Some(begun) if *begun < received.moment => None,
                Some(_) | None => Some("nobody published an empty payload there".to_owned()),
            },
        };
        let wrong = wrong.or_else(|| wrong_receiver(facts, received));
        if let Some(wrong) = wrong {
            let origin = received.message().and_then(|id| facts.origin(id));
            let begun = origin.map(|origin| origin.begun);
            let moments: Vec<Moment> = begun.into_iter().chain([received.moment]).collect();
            ruling.offend(wrong, &moments);
        }
    }
    ruling.end()
}

/// The first publish without a payload on each topic.
fn empty_publishes<'f>(facts: &'f Facts<'_>) -> BTreeMap<(Tenant, &'f str), Moment> {
    let mut first = BTreeMap::new();
    for message in facts
        .published
        .iter()
        .filter_map(|id| facts.messages.get(id))
    {
        if message.is_empty {
            let topic = (message.publisher.0, &*message.topic);
            first.entry(topic).or_insert_with(|| message.begun());
        }
    }
    first
}

fn wrong_message(facts: &Facts<'_>, received: &Received<'_>, id: MessageId) -> Option<String> {
    let Some(origin) = facts.origin(id) else {
        return Some(format!("nobody published message {}", id.0));
    };
    let delivery = received.delivery;
    if origin.publisher.0 != received.key.0 {
        let (theirs, ours) = (origin.publisher.0.0, received.key.0.0);
        return Some(format!(
            "tenant {ours} received message {} of tenant {theirs}",
            id.0
        ));
    }
    let wrong = if origin.begun > received.moment {
        "came before it was published"
    } else if origin.topic != &delivery.topic {
        "came on another topic"
    } else if delivery.qos > origin.qos {
        "came at a higher QoS than it was published"
    } else if delivery.retain && !origin.retain {
        "came as retained, and was not published so"
    } else if is_only_own(facts, received, &origin) {
        "came back to its publisher, who asked for nothing of its own"
    } else {
        return None;
    };
    Some(format!("message {} {wrong}", id.0))
}

/// Whether every subscription that could have brought it refuses the client's own messages.
fn is_only_own(facts: &Facts<'_>, received: &Received<'_>, origin: &Origin<'_>) -> bool {
    if origin.publisher != received.key || received.delivery.retain {
        return false;
    }
    let topic = &received.delivery.topic;
    let mut subs = facts.subs_for(received.key, topic).peekable();
    subs.peek().is_some() && subs.all(|sub| sub.no_local)
}

fn wrong_receiver(facts: &Facts<'_>, received: &Received<'_>) -> Option<String> {
    let topic = &received.delivery.topic;
    let now = received.moment;
    // On a connection that was taken over, by its own session: whether it may still come is C6's to
    // judge.
    let link = facts.links.get(&received.connection);
    let taken_over = link.and_then(|link| link.superseded);
    let from = taken_over.map_or(now, |(connect, _)| connect.min(now));
    let subs: Vec<&Sub> = facts.subs_for(received.key, topic).collect();
    // What UNSUBACK ended is C7's to judge.
    let was_ended = |sub: &&&Sub| sub.session == received.session && sub.unsubscribed.is_some();
    let stands = |sub: &&&Sub| sub.may_stand(from, now);
    if !subs.iter().any(|sub| stands(&sub) || was_ended(&sub)) {
        return Some(format!(
            "the receiver has no subscription that takes {topic}"
        ));
    }
    let granted = subs.iter().map(|sub| sub.granted).max()?;
    let is_above = received.delivery.qos > granted;
    is_above.then(|| format!("it came at a higher QoS than was granted on {topic}"))
}

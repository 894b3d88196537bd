//! What must have been delivered by when.

use std::collections::BTreeMap;
use std::sync::Arc;

use tessera_mqtt::Qos;

use super::facts::{Facts, Key, Message, Sub};
use super::history::{Moment, Tenant};
use super::matching::takes;
use super::verdict::Ruling;

/// A message that a client must have by a quiet moment.
#[derive(Debug, Clone, Copy)]
struct Due<'f> {
    message: &'f Message,
    sub: &'f Sub,
    quiet: Moment,
}

/// Judges whether acknowledged messages reached those who had subscribed before: persistent sessions
/// or transient ones.
pub(crate) fn judge_deliveries(facts: &Facts<'_>, is_persistent: bool, ruling: &mut Ruling<'_>) {
    let mut missing: BTreeMap<Key, Vec<Due<'_>>> = BTreeMap::new();
    for due in all(facts) {
        if due.sub.is_persistent != is_persistent {
            continue;
        }
        ruling.judge();
        let mut deliveries = facts.deliveries(due.message.id);
        let is_there = |moment, key| moment <= due.quiet && key == due.sub.key;
        if !deliveries.any(|one| is_there(one.moment, one.key)) {
            missing.entry(due.sub.key).or_default().push(due);
        }
    }
    for (key, missing) in missing {
        let announced = facts.dropped.get(&key).copied().unwrap_or(0);
        let announced = usize::try_from(announced).unwrap_or(usize::MAX);
        for due in missing.iter().skip(announced) {
            tell_missing(due, missing.len(), announced, ruling);
        }
    }
}

fn tell_missing(due: &Due<'_>, missing: usize, announced: usize, ruling: &mut Ruling<'_>) {
    let Due {
        message,
        sub,
        quiet,
    } = due;
    let what = format!(
        "message {} on {} was acknowledged after client {} of tenant {} had subscribed to {}, and did \
         not come; it misses {missing}, and {announced} were announced as dropped",
        message.id.0, message.topic, sub.key.1.0, sub.key.0.0, sub.filter
    );
    let moments = [
        sub.acked,
        Some(message.begun()),
        message.acked,
        Some(*quiet),
    ];
    let moments: Vec<Moment> = moments.into_iter().flatten().collect();
    ruling.offend(what, &moments);
}

/// Plain subscriptions of one topic, as publishes pass by.
#[derive(Debug)]
struct Standing {
    /// By their SUBACK; those from `next` on are still to come.
    candidates: Vec<usize>,
    next: usize,
    live: Vec<usize>,
}

impl Standing {
    fn new(facts: &Facts<'_>, tenant: Tenant, topic: &str) -> Self {
        let subs = facts.subs.iter().enumerate();
        let candidates = subs.filter(|(_, sub)| {
            let is_plain = sub.group.is_none() && sub.acked.is_some();
            is_plain && sub.key.0 == tenant && takes(&sub.filter, topic)
        });
        let mut candidates: Vec<usize> = candidates.map(|(at, _)| at).collect();
        candidates.sort_by_key(|at| facts.subs.get(*at).and_then(|sub| sub.acked));
        Self {
            candidates,
            next: 0,
            live: Vec::new(),
        }
    }

    /// Goes on to `moment`, which never goes back.
    fn advance(&mut self, facts: &Facts<'_>, moment: Moment) {
        let sub = |at: usize| facts.subs.get(at);
        while let Some(at) = self.candidates.get(self.next)
            && sub(*at).is_some_and(|sub| sub.acked < Some(moment))
        {
            self.live.push(*at);
            self.next += 1;
        }
        let stands = |sub: &Sub| sub.maybe_gone.is_none_or(|gone| gone > moment);
        self.live.retain(|at| sub(*at).is_some_and(stands));
    }
}

/// Everything that is due, a message and a client at most once.
fn all<'f>(facts: &'f Facts<'_>) -> Vec<Due<'f>> {
    let mut topics: BTreeMap<(Tenant, &Arc<str>), Standing> = BTreeMap::new();
    let mut found = Vec::new();
    for message in facts
        .published
        .iter()
        .filter_map(|id| facts.messages.get(id))
    {
        if message.is_empty || message.qos == Qos::AtMostOnce || message.acked.is_none() {
            continue;
        }
        let tenant = message.publisher.0;
        let standing = topics
            .entry((tenant, &message.topic))
            .or_insert_with(|| Standing::new(facts, tenant, &message.topic));
        standing.advance(facts, message.begun());
        let mut keys: Vec<Key> = Vec::new();
        for sub in standing.live.iter().filter_map(|at| facts.subs.get(*at)) {
            if let Some(quiet) = due_at(facts, message, sub)
                && !keys.contains(&sub.key)
            {
                keys.push(sub.key);
                found.push(Due {
                    message,
                    sub,
                    quiet,
                });
            }
        }
    }
    found
}

/// The quiet moment by which the subscription must have brought the message, if there is one.
fn due_at(facts: &Facts<'_>, message: &Message, sub: &Sub) -> Option<Moment> {
    let is_own = sub.no_local && sub.key == message.publisher;
    if is_own || sub.granted == Qos::AtMostOnce {
        return None;
    }
    let quiet = facts.quiet_after(message.acked?, &[sub.key])?;
    let stands = sub.surely_stands(message.begun(), quiet);
    (stands && !facts.may_have_expired(message, quiet)).then_some(quiet)
}

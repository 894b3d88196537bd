//! C8: a will is published once if its connection ends without a farewell, after its delay, unless the
//! session is resumed before; and never otherwise. Its subscribers show it.

use std::collections::BTreeMap;
use std::sync::Arc;

use tessera_mqtt::Qos;

use super::facts::{Facts, Link, Received, Sub};
use super::history::{End, Micros, Moment, Tenant, Will};
use super::matching::takes;
use super::verdict::{Clause, Judged, Ruling};

pub(crate) fn judge(facts: &Facts<'_>) -> Judged {
    let mut ruling = Ruling::new(facts.history, Clause::WillsFireOnce);
    let mut keys: Vec<&Link> = facts.links.values().collect();
    keys.sort_by_key(|link| (link.key, link.connect));
    let mut watchers: BTreeMap<(Tenant, &Arc<str>), Vec<&Sub>> = BTreeMap::new();
    for (at, link) in keys.iter().enumerate() {
        let Some(will) = &link.ask.will else {
            continue;
        };
        let next = keys.get(at + 1..).unwrap_or_default();
        let same = next.iter().take_while(|next| next.key == link.key);
        let life = Life::new(facts, link, will, same.copied());
        let seen = Seen::new(facts, will);
        judge_seen(facts, link, &life, &seen, &mut ruling);
        judge_twice(facts, will, &seen, &mut ruling);
        let watchers = watchers
            .entry((link.key.0, &will.topic))
            .or_insert_with(|| subs_taking(facts, link.key.0, &will.topic));
        judge_due(facts, (link, will), &life, watchers, &mut ruling);
    }
    ruling.end()
}

/// What is to become of a will.
#[derive(Debug)]
struct Life {
    /// The connection ended with a farewell.
    is_discarded: bool,
    /// When the connection may have ended first; `None`: it lasts.
    ended_first: Option<Moment>,
    /// It is not published before.
    earliest: Micros,
    /// The session was resumed in time.
    is_resumed: bool,
    /// It surely is to be published then.
    due: Option<Micros>,
}

impl Life {
    fn new<'f>(
        facts: &Facts<'_>,
        link: &Link,
        will: &Will,
        mut later: impl Iterator<Item = &'f Link>,
    ) -> Self {
        let superseded = link.superseded.map(|(connect, _)| connect);
        let closed = link.closed.map(|(moment, _)| moment);
        let ends = [link.disconnect, link.node_ended, superseded, closed];
        let ended_first = ends.into_iter().flatten().min();
        let is_discarded = matches!(link.closed, Some((_, End::Farewell)));
        let ended_last = surely_abrupt(link).map(|moment| facts.at(moment));
        let delay = will.delay_seconds.min(link.ask.expiry_seconds);
        let delay = Micros::from_seconds(delay.into());
        let first = ended_first.map_or(Micros(u64::MAX), |moment| facts.at(moment));
        let next = ended_first
            .and_then(|ended| later.find(|next| next.connect >= ended || next.connected.is_some()));
        let next_at = next.map_or(Micros(u64::MAX), |next| facts.at(next.connect));
        let is_cut_short = next.is_some_and(|next| next.ask.clean_start);
        let mut earliest = first.plus(delay);
        if is_cut_short {
            earliest = earliest.min(next_at);
        }
        let slack = facts.rules.clock_slack;
        let resumed_at = next.filter(|next| !next.ask.clean_start);
        let resumed_at = resumed_at.and_then(|next| next.connected);
        let is_resumed = delay > Micros(0)
            && resumed_at.is_some_and(|at| facts.at(at).plus(slack) < first.plus(delay));
        let graced = grace_end(facts, ended_first, ended_last);
        let due = ended_last.map(|last| last.plus(delay).max(graced));
        let has_grace = graced > Micros(0) && facts.rules.will_grace > Micros(0);
        let may_be_resumed = (delay > Micros(0) && !is_cut_short) || has_grace;
        let is_back = |due: &Micros| may_be_resumed && next_at <= due.plus(slack);
        Self {
            is_discarded,
            ended_first,
            earliest,
            is_resumed,
            due: due.filter(|due| link.connected.is_some() && !is_back(due)),
        }
    }
}

/// Until when the client is given time to be back, if its node ended: with the connection, or before it
/// can have noticed that the connection had. 0 if it did not.
fn grace_end(facts: &Facts<'_>, ended_first: Option<Moment>, ended_last: Option<Micros>) -> Micros {
    let (Some(first), Some(last)) = (ended_first, ended_last) else {
        return Micros(0);
    };
    let ends = facts.node_ends.partition_point(|ended| *ended < first);
    let node_ended = facts.node_ends.get(ends).copied();
    let noticed = last.plus(facts.rules.clock_slack);
    let Some(node_ended) = node_ended.filter(|ended| facts.at(*ended) <= noticed) else {
        return Micros(0);
    };
    match facts.served_again(node_ended) {
        Some(again) => facts.at(again).plus(facts.rules.will_grace),
        None => Micros(u64::MAX),
    }
}

/// When the server has surely noticed that the connection ended without a farewell.
fn surely_abrupt(link: &Link) -> Option<Moment> {
    let no_word = link.disconnect.is_none();
    match link.closed {
        Some((moment, End::Abrupt)) => Some(moment),
        Some((_, End::Farewell)) => None,
        Some((_, End::Unknown)) | None if no_word => {
            let taken_over = link.superseded.map(|(_, connected)| connected);
            [link.node_ended, taken_over].into_iter().flatten().min()
        }
        Some((_, End::Unknown)) | None => None,
    }
}

/// What shows that it was published.
#[derive(Debug)]
struct Seen<'f, 'a> {
    deliveries: Vec<&'f Received<'a>>,
    fired: &'f [Moment],
}

impl<'f, 'a> Seen<'f, 'a> {
    fn new(facts: &'f Facts<'a>, will: &Will) -> Self {
        let deliveries = facts.deliveries(will.message);
        let fired = facts.fired.get(&will.message);
        Self {
            deliveries: deliveries.filter(|one| !one.may_be_replay()).collect(),
            fired: fired.map_or(&[], Vec::as_slice),
        }
    }

    fn first(&self) -> Option<Moment> {
        let delivered = self.deliveries.first().map(|one| one.moment);
        let fired = self.fired.first().copied();
        delivered.into_iter().chain(fired).min()
    }
}

fn judge_seen(
    facts: &Facts<'_>,
    link: &Link,
    life: &Life,
    seen: &Seen<'_, '_>,
    ruling: &mut Ruling<'_>,
) {
    if life.is_discarded || life.is_resumed {
        ruling.judge();
    }
    let Some(first) = seen.first() else {
        return;
    };
    ruling.judge();
    // A server that ends a connection may publish its will before the client notices.
    let at = facts.at(first).plus(facts.rules.clock_slack);
    let wrong = if life.is_discarded {
        "though its connection ended with a farewell"
    } else if life.ended_first.is_none_or(|ended| at < facts.at(ended)) {
        "though its connection lasts"
    } else if life.is_resumed {
        "though its session was resumed before its delay was over"
    } else if at < life.earliest {
        "before its delay was over"
    } else {
        return;
    };
    let own = link.connected.unwrap_or(link.connect);
    let moments = life
        .ended_first
        .into_iter()
        .chain([link.connect, own, first]);
    let moments: Vec<Moment> = moments.collect();
    ruling.offend(format!("a will was published {wrong}"), &moments);
}

fn judge_twice(facts: &Facts<'_>, will: &Will, seen: &Seen<'_, '_>, ruling: &mut Ruling<'_>) {
    let mut twice: Vec<Moment> = Vec::new();
    if seen.fired.len() > 1 {
        twice.extend(seen.fired);
    }
    for (at, one) in seen.deliveries.iter().enumerate() {
        let earlier = seen.deliveries.get(..at).unwrap_or_default();
        let is_again = |other: &&&Received<'_>| {
            let both_exact =
                one.delivery.qos == Qos::ExactlyOnce && other.delivery.qos == Qos::ExactlyOnce;
            let is_sent_anew = one.connection == other.connection && !one.delivery.dup;
            one.key == other.key && (both_exact || is_sent_anew)
        };
        if let Some(other) = earlier.iter().find(is_again) {
            twice.extend([other.moment, one.moment]);
        }
    }
    if !twice.is_empty() {
        let brought = facts.origin(will.message).map(|origin| origin.begun);
        twice.extend(brought);
        ruling.offend("a will was published twice".to_owned(), &twice);
    }
}

/// Whether those who had subscribed before the end have it once it was due.
fn judge_due(
    facts: &Facts<'_>,
    (link, will): (&Link, &Will),
    life: &Life,
    watchers: &[&Sub],
    ruling: &mut Ruling<'_>,
) {
    let (Some(due), Some(ended)) = (life.due, life.ended_first) else {
        return;
    };
    if will.qos == Qos::AtMostOnce {
        return;
    }
    let by = due.plus(facts.rules.will_late);
    let is_own = |sub: &&&Sub| sub.no_local && sub.key == link.key;
    for sub in watchers.iter().filter(|sub| !is_own(sub)) {
        let after = facts.quiets.partition_point(|quiet| facts.at(*quiet) < by);
        let quiets = facts.quiets.get(after..).unwrap_or_default();
        let connected = |quiet: &&Moment| facts.is_connected(sub.key, **quiet);
        let Some(quiet) = quiets.iter().find(connected) else {
            continue;
        };
        if !sub.surely_stands(ended, *quiet) {
            continue;
        }
        ruling.judge();
        let mut deliveries = facts.deliveries(will.message);
        if !deliveries.any(|one| one.key == sub.key && one.moment <= *quiet) {
            let what = format!(
                "a will on {} did not come to client {} of tenant {}",
                will.topic, sub.key.1.0, sub.key.0.0
            );
            ruling.offend(what, &[link.connect, ended, *quiet]);
            return;
        }
    }
}

/// Plain subscriptions above QoS 0 that take the topic.
fn subs_taking<'f>(facts: &'f Facts<'_>, tenant: Tenant, topic: &str) -> Vec<&'f Sub> {
    let can_tell = |sub: &&Sub| {
        let is_plain = sub.group.is_none() && sub.granted > Qos::AtMostOnce;
        is_plain && sub.key.0 == tenant && takes(&sub.filter, topic)
    };
    facts.subs.iter().filter(can_tell).collect()
}

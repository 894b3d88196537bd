//! C6: a client identifier has one owner. Once a takeover's CONNACK came, nothing is delivered and
//! nothing is acknowledged on the connection before it; and owner epochs, where they are told, grow.

use std::collections::BTreeMap;

use super::facts::{Facts, Link};
use super::history::{Connection, MessageId, Moment};
use super::verdict::{Clause, Judged, Ruling};

pub(crate) fn judge(facts: &Facts<'_>) -> Judged {
    let mut ruling = Ruling::new(facts.history, Clause::OneOwner);
    for link in facts.links.values() {
        if link.superseded.is_some() {
            ruling.judge();
        }
    }
    judge_epochs(facts, &mut ruling);
    for (moment, connection, what) in activity(facts) {
        let Some(link) = facts.links.get(&connection) else {
            continue;
        };
        let Some((_, taken_over)) = link.superseded else {
            continue;
        };
        if moment > taken_over && !is_concurrent(link) && !is_flush(facts, moment, taken_over) {
            let what = format!("{what} on a connection that had been taken over");
            ruling.offend(what, &[link.connect, taken_over, moment]);
        }
    }
    judge_races(facts, &mut ruling);
    ruling.end()
}

/// Both CONNECTs were under way at once: which one took over is not known from their times.
fn is_concurrent(link: &Link) -> bool {
    let next = link.superseded.map(|(connect, _)| connect);
    next.is_some_and(|next| link.connected.is_none_or(|connected| next < connected))
}

/// A delivery of what was published before the takeover, soon after it.
fn is_flush(facts: &Facts<'_>, moment: Moment, taken_over: Moment) -> bool {
    let at = facts.received.partition_point(|one| one.moment < moment);
    let delivery = facts.received.get(at).filter(|one| one.moment == moment);
    let Some(delivery) = delivery else {
        return false;
    };
    let origin = delivery.message().and_then(|id| facts.origin(id));
    let is_old = origin.is_none_or(|origin| origin.begun < taken_over);
    let late = facts.at(moment).minus(facts.at(taken_over));
    is_old && late < facts.rules.takeover_flush
}

/// What the server did on which connection.
fn activity(facts: &Facts<'_>) -> impl Iterator<Item = (Moment, Connection, &'static str)> {
    let deliveries = facts.received.iter();
    let deliveries = deliveries.map(|one| (one.moment, one.connection, "a delivery"));
    let acks = facts.acks.iter();
    let acks = acks.map(|(moment, connection, _)| (*moment, *connection, "an acknowledgement"));
    deliveries.chain(acks)
}

fn judge_epochs(facts: &Facts<'_>, ruling: &mut Ruling<'_>) {
    for link in facts.links.values() {
        let (Some((connect, connected)), Some(ours)) = (link.superseded, link.epoch) else {
            continue;
        };
        let next = facts.links.values();
        let mut next = next.filter(|next| next.connect == connect);
        let Some(theirs) = next.next().and_then(|next| next.epoch) else {
            continue;
        };
        let is_wrong = theirs == ours || (theirs < ours && !is_concurrent(link));
        if is_wrong {
            let what = format!("owner epoch {ours} is followed by {theirs}");
            let own = link.connected.unwrap_or(link.connect);
            ruling.offend(what, &[own, connect, connected]);
        }
    }
}

/// Of two connections that raced only one may receive what was published after both had their
/// CONNACK.
fn judge_races(facts: &Facts<'_>, ruling: &mut Ruling<'_>) {
    let mut fresh: BTreeMap<Connection, (Moment, MessageId)> = BTreeMap::new();
    for received in &facts.received {
        let Some(message) = received.message().and_then(|id| facts.messages.get(&id)) else {
            continue;
        };
        fresh.insert(received.connection, (message.begun(), message.id));
    }
    for link in facts.links.values().filter(|link| is_concurrent(link)) {
        let Some((connect, both)) = link.superseded else {
            continue;
        };
        let both = link.connected.map_or(both, |connected| connected.max(both));
        let mut others = facts.links.values();
        let Some(other) = others.find(|other| other.connect == connect) else {
            continue;
        };
        let is_fresh = |connection| {
            let last = fresh.get(&connection);
            last.is_some_and(|(begun, _)| *begun > both)
        };
        if is_fresh(link.connection) && is_fresh(other.connection) {
            let what = "two connections of one client received what was published after both had \
                        their CONNACK";
            ruling.offend(what.to_owned(), &[link.connect, connect, both]);
        }
    }
}

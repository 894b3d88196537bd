//! The part of C7 about shared subscriptions: each acknowledged message reaches a member of the group;
//! at QoS 2, or if no member's connection fails meanwhile, one member only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tessera_mqtt::Qos;

use super::facts::{Facts, Key, Message, Received, Sub};
use super::history::{Moment, Tenant};
use super::matching::{Group, takes};
use super::verdict::Ruling;

/// The subscriptions that make up each group of a tenant.
type Groups<'f> = BTreeMap<(Tenant, &'f Group), Vec<&'f Sub>>;

pub(crate) fn judge(facts: &Facts<'_>, ruling: &mut Ruling<'_>) {
    let mut groups: Groups<'_> = BTreeMap::new();
    for sub in &facts.subs {
        if let Some(group) = &sub.group {
            groups.entry((sub.key.0, group)).or_default().push(sub);
        }
    }
    if groups.is_empty() {
        return;
    }
    let mut topics: BTreeMap<(Tenant, &Arc<str>), Vec<&Vec<&Sub>>> = BTreeMap::new();
    for message in facts
        .published
        .iter()
        .filter_map(|id| facts.messages.get(id))
    {
        if message.is_empty || message.qos == Qos::AtMostOnce {
            continue;
        }
        let tenant = message.publisher.0;
        let taking = topics.entry((tenant, &message.topic)).or_insert_with(|| {
            let of_tenant = groups.iter().filter(|((of, _), _)| *of == tenant);
            let taking = of_tenant.filter(|((_, group), _)| takes(&group.filter, &message.topic));
            taking.map(|(_, subs)| subs).collect()
        });
        for members in &*taking {
            judge_at_least_one(facts, message, members, ruling);
        }
        judge_at_most_one(facts, message, taking, ruling);
    }
}

/// Members that may belong to the group at some time from `from` to `to`.
fn present<'f>(members: &[&'f Sub], from: Moment, to: Moment) -> Vec<&'f Sub> {
    let members = members.iter().copied();
    members.filter(|sub| sub.may_stand(from, to)).collect()
}

fn judge_at_least_one(
    facts: &Facts<'_>,
    message: &Message,
    members: &[&Sub],
    ruling: &mut Ruling<'_>,
) {
    let begun = message.begun();
    let Some(acked) = message.acked else {
        return;
    };
    let Some(quiet) = quiet_of_group(facts, members, begun, acked) else {
        return;
    };
    let members = present(members, begun, quiet);
    let stands = |sub: &&&Sub| sub.surely_stands(begun, quiet);
    let Some(member) = members.iter().find(stands) else {
        return;
    };
    let is_weak = members.iter().any(|sub| sub.granted == Qos::AtMostOnce);
    // A QoS 2 message that was on its way to a member whose session ended goes to nobody else.
    let may_end_with_member = message.qos == Qos::ExactlyOnce
        && members
            .iter()
            .any(|sub| sub.maybe_gone.is_some_and(|gone| gone < quiet));
    // What waits for a member that unsubscribes may go with its subscription.
    let may_leave = members
        .iter()
        .any(|sub| sub.is_persistent && sub.leaving.is_some_and(|left| left < quiet));
    if is_weak || may_end_with_member || may_leave || facts.may_have_expired(message, quiet) {
        return;
    }
    ruling.judge();
    let keys: BTreeSet<Key> = members.iter().map(|sub| sub.key).collect();
    let mut deliveries = facts.deliveries(message.id);
    if !deliveries.any(|one| keys.contains(&one.key) && one.moment <= quiet) {
        let what = format!(
            "message {} on {} came to no member of {}",
            message.id.0, message.topic, member.filter
        );
        let joined = member.acked.unwrap_or(begun);
        ruling.offend(what, &[joined, begun, acked, quiet]);
    }
}

/// The first quiet moment after `acked` at which no member can hold a message back: each is
/// connected, or transient and so gone.
fn quiet_of_group(
    facts: &Facts<'_>,
    members: &[&Sub],
    begun: Moment,
    acked: Moment,
) -> Option<Moment> {
    let first = facts.quiets.partition_point(|quiet| *quiet <= acked);
    let mut quiets = facts.quiets.get(first..)?.iter().copied();
    quiets.find(|quiet| {
        let members = present(members, begun, *quiet);
        let mut holding = members.iter().filter(|sub| sub.is_persistent);
        holding.all(|sub| facts.is_connected(sub.key, *quiet))
    })
}

fn judge_at_most_one(
    facts: &Facts<'_>,
    message: &Message,
    groups: &[&Vec<&Sub>],
    ruling: &mut Ruling<'_>,
) {
    let live = facts
        .deliveries(message.id)
        .filter(|one| !one.may_be_replay());
    let by_group: Vec<&Received<'_>> = live.filter(|one| is_by_group_only(facts, one)).collect();
    let receivers: BTreeSet<Key> = by_group.iter().map(|one| one.key).collect();
    if receivers.len() <= groups.len() {
        return;
    }
    let begun = message.begun();
    let last = by_group.iter().map(|one| one.moment).max();
    let last = last.unwrap_or(begun);
    let is_exact = by_group
        .iter()
        .all(|one| one.delivery.qos == Qos::ExactlyOnce && !facts.may_repeat(message, one));
    let members = groups
        .iter()
        .flat_map(|members| present(members, begun, last));
    let undisturbed = || {
        let mut keys = members.map(|sub| sub.key);
        message.sends.len() == 1 && keys.all(|key| is_undisturbed(facts, key, begun, last))
    };
    if is_exact || undisturbed() {
        let what = format!(
            "message {} on {} came to {} members of {} groups",
            message.id.0,
            message.topic,
            receivers.len(),
            groups.len()
        );
        let moments = by_group.iter().map(|one| one.moment);
        let moments: Vec<Moment> = moments.chain([begun]).collect();
        ruling.offend(what, &moments);
    }
}

/// No plain subscription of the receiver could have brought it.
fn is_by_group_only(facts: &Facts<'_>, received: &Received<'_>) -> bool {
    let mut subs = facts.subs_for(received.key, &received.delivery.topic);
    subs.all(|sub| sub.group.is_some())
}

/// The client kept one connection all the time.
fn is_undisturbed(facts: &Facts<'_>, key: Key, from: Moment, to: Moment) -> bool {
    let spans = facts.connected.get(&key).map_or(&[][..], Vec::as_slice);
    let lasts =
        |begun: Moment, ended: Option<Moment>| begun < from && ended.is_none_or(|ended| ended > to);
    let lasted = spans.iter().any(|(begun, ended)| lasts(*begun, *ended));
    let links = facts.links.values().filter(|link| link.key == key);
    let mut ends = links.filter_map(|link| link.node_ended);
    lasted && !ends.any(|ended| from < ended && ended < to)
}

//! C7: who has a SUBACK receives what is published from then on, as long as the connection lasts; who
//! has an UNSUBACK receives nothing that is published later; and a group shares.

use super::due::judge_deliveries;
use super::facts::{Facts, Received, Sub};
use super::groups_share;
use super::history::Moment;
use super::verdict::{Clause, Judged, Ruling};

pub(crate) fn judge(facts: &Facts<'_>) -> Judged {
    let mut ruling = Ruling::new(facts.history, Clause::SubscriptionsTakeEffect);
    judge_deliveries(facts, false, &mut ruling);
    for received in &facts.received {
        judge_ended(facts, received, &mut ruling);
    }
    groups_share::judge(facts, &mut ruling);
    ruling.end()
}

fn judge_ended(facts: &Facts<'_>, received: &Received<'_>, ruling: &mut Ruling<'_>) {
    let Some(message) = received.message().and_then(|id| facts.messages.get(&id)) else {
        return;
    };
    let subs: Vec<&Sub> = facts.subs_for(received.key, &message.topic).collect();
    let ended = subs.iter().filter(|sub| sub.session == received.session);
    let ended: Vec<Moment> = ended.filter_map(|sub| sub.unsubscribed).collect();
    let Some(last) = ended.iter().filter(|end| **end < received.moment).max() else {
        return;
    };
    ruling.judge();
    let begun = message.begun();
    if !subs.iter().any(|sub| sub.may_stand(begun, received.moment)) {
        let what = format!(
            "message {} was published after the UNSUBACK of client {} of tenant {}, and came",
            message.id.0, received.key.1.0, received.key.0.0
        );
        ruling.offend(what, &[*last, begun, received.moment]);
    }
}

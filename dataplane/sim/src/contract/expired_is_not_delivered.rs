//! C9: a message is not delivered after its expiry, and who receives it earlier is told what is left;
//! a session is not resumed after its expiry.

use super::facts::{Facts, Message, Received, SessionFaultKind};
use super::history::{Micros, Moment};
use super::verdict::{Clause, Judged, Ruling};

const SECOND: u64 = 1_000_000;

pub(crate) fn judge(facts: &Facts<'_>) -> Judged {
    let mut ruling = Ruling::new(facts.history, Clause::ExpiredIsNotDelivered);
    for received in &facts.received {
        let Some(message) = received.message().and_then(|id| facts.messages.get(&id)) else {
            continue;
        };
        let left = received.delivery.expiry_seconds;
        let wrong = match (message.expiry_seconds, left) {
            (None, None) => continue,
            (None, Some(_)) => Some("came with an expiry that it was not published with".into()),
            (Some(expiry), left) => wrong_time(facts, received, message, expiry, left),
        };
        ruling.judge();
        if let Some(wrong) = wrong {
            let what = format!("message {} {wrong}", message.id.0);
            let moments = [Some(message.begun()), message.acked, Some(received.moment)];
            let moments: Vec<Moment> = moments.into_iter().flatten().collect();
            ruling.offend(what, &moments);
        }
    }
    for fault in &facts.session_faults {
        if fault.kind == SessionFaultKind::Outlived {
            let what = "a session is present that should have expired long ago";
            ruling.offend(what.to_owned(), &fault.moments);
        }
    }
    ruling.end()
}

/// The server has had the message since some time between its first byte and its acknowledgement.
fn wrong_time(
    facts: &Facts<'_>,
    received: &Received<'_>,
    message: &Message,
    expiry: u32,
    left: Option<u32>,
) -> Option<String> {
    let slack = facts.rules.clock_slack;
    let now = facts.at(received.moment);
    let acked = message.acked.map(|acked| facts.at(acked));
    let least = acked.map_or(Micros(0), |acked| now.minus(acked).minus(slack));
    let most = now.minus(facts.at(message.begun())).plus(slack);
    // The server may count in whole seconds.
    // What had been on its way before is sent again whatever time has passed (MQTT-3.3.2-5).
    if !received.delivery.dup && least > Micros::from_seconds(u64::from(expiry) + 1) {
        return Some(format!("came after its expiry of {expiry} s"));
    }
    let left = u64::from(left?);
    let expiry = u64::from(expiry);
    let largest = expiry.saturating_sub(least.0 / SECOND);
    let smallest = expiry.saturating_sub(most.0.div_ceil(SECOND));
    let is_right = (smallest..=largest).contains(&left);
    (!is_right).then(|| format!("came with {left} s left, which should be {smallest} to {largest}"))
}

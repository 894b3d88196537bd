//! C1: a message that was acknowledged at QoS 1 or 2 reaches every persistent session that had
//! subscribed before it was published; and the session is there when its client comes back.

use super::due::judge_deliveries;
use super::facts::{Facts, SessionFaultKind};
use super::verdict::{Clause, Judged, Ruling};

pub(crate) fn judge(facts: &Facts<'_>) -> Judged {
    let mut ruling = Ruling::new(facts.history, Clause::AcknowledgedIsDelivered);
    judge_deliveries(facts, true, &mut ruling);
    for _ in 0..facts.sessions_judged {
        ruling.judge();
    }
    for fault in &facts.session_faults {
        let what = match fault.kind {
            SessionFaultKind::Lost => "a session is not present that must be",
            SessionFaultKind::MadeUp => "a session is present that cannot be",
            // Judged with what else expires.
            SessionFaultKind::Outlived => continue,
        };
        ruling.offend(what.to_owned(), &fault.moments);
    }
    ruling.end()
}

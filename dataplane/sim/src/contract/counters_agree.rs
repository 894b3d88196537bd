//! C10: what the server counted is what its clients saw, give or take what is documented.

use super::facts::Facts;
use super::history::{Act, Event, Figure, Tenant};
use super::verdict::{Clause, Judged, Ruling};

pub(crate) fn judge(facts: &Facts<'_>) -> Judged {
    let mut ruling = Ruling::new(facts.history, Clause::CountersAgree);
    for (moment, counted) in &facts.counted {
        ruling.judge();
        let seen = seen(facts, counted.tenant, counted.what);
        if seen.abs_diff(counted.count) > counted.tolerance {
            let what = format!(
                "the server counted {} {:?} of tenant {}, clients saw {seen}; {} may differ",
                counted.count, counted.what, counted.tenant.0, counted.tolerance
            );
            ruling.offend(what, &[*moment]);
        }
    }
    ruling.end()
}

fn seen(facts: &Facts<'_>, tenant: Tenant, figure: Figure) -> u64 {
    let entries = facts.history.entries().iter();
    let counted = entries.filter(|entry| match (&entry.event, figure) {
        (Event::Act { who, act }, Figure::Publishes) => {
            who.tenant == tenant && matches!(act, Act::Publish(_))
        }
        (Event::Act { who, act }, Figure::Deliveries) => {
            who.tenant == tenant && matches!(act, Act::Deliver(_))
        }
        (Event::NodeEnded { .. } | Event::Quiet | Event::Counted(_), _) => false,
    });
    u64::try_from(counted.count()).unwrap_or(u64::MAX)
}

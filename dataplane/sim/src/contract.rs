//! The contract of an MQTT service, ten clauses of it, judged from what its clients saw.
//!
//! A [`History`] holds what clients asked for and what they were told, in order and with the time. It
//! may come from a simulation or from real processes. [`check`] reads it once, derives what stood when
//! (`facts`), and has each clause judge it. It is pure, and takes time in proportion to the history,
//! except for the search for an order of each retained topic's reads and writes.
//!
//! What a client cannot know is not held against the server: a publish without an answer may have
//! happened or not, a subscription may be gone from UNSUBSCRIBE on and is from UNSUBACK on. A delivery
//! that nobody published is a breach whatever else happened. What a server drops it must announce.
//!
//! # Contents
//! - `history`: what is written down. `verdict`: what comes out. `words`: entries in words.
//! - `replay`, `facts`: what follows from a history. `matching`: the standard's rules for topics.
//! - `due`: what must have been delivered when. One file per clause, named as the clause.
//!
//! # Decisions
//! - *Only a [`Event::Quiet`] moment proves a loss.* Whoever writes the history knows when to have
//!   waited long enough; the checker does not guess.
//! - *A clause that judged nothing says so*, and a history in which none did is inconclusive. Whoever
//!   runs the checker asks for the clauses that the load was to exercise.
//! - *One copy per session*, though the standard allows one per overlapping subscription.
//! - *A retained write that is sent again with DUP is a write again*: at QoS 1 it may take effect
//!   twice.

mod acknowledged_is_delivered;
mod counters_agree;
mod delivery_has_a_cause;
mod due;
mod exactly_once;
mod expired_is_not_delivered;
mod facts;
mod groups_share;
mod history;
mod in_order;
mod matching;
mod one_owner;
mod replay;
mod retained_is_a_register;
mod subscriptions_take_effect;
mod verdict;
mod wills_fire_once;
mod words;

#[cfg(test)]
mod examples;
#[cfg(test)]
mod model;
#[cfg(test)]
mod properties;

pub use history::{
    Act, Client, Connect, Connection, Counted, Delivery, End, Entry, Event, Figure, History,
    MessageId, Micros, Moment, Node, Payload, Publish, Subscription, Tenant, Who, Will,
};
pub use verdict::{Clause, Judged, OFFENCES_MAX, Offence, Report, Verdict};

use facts::Facts;

/// Places in a history, in order.
pub(crate) type Moments = Vec<Moment>;

/// What the service documents of its timing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// By how much the clocks of server and history may disagree over the lives of messages,
    /// sessions and wills, with the way of a packet in it.
    pub clock_slack: Micros,
    /// A session is gone this long after its expiry at the latest.
    pub session_expiry_late: Micros,
    /// A client whose node ended may be back this long after a node serves again, and its will is
    /// not owed.
    pub will_grace: Micros,
    /// A will is published this long after it is due at the latest.
    pub will_late: Micros,
    /// A QoS 2 message that its publisher had to send again may reach receivers again whose sessions do
    /// not outlive their connections.
    pub resent_may_repeat: bool,
    /// And may be what its topic retains again.
    pub resent_may_retain_again: bool,
    /// For so long a connection that was taken over may still be written what was published before.
    pub takeover_flush: Micros,
    /// A SUBSCRIBE that a takeover overtakes may be refused on the old connection and take effect all
    /// the same.
    pub overtaken_may_subscribe: bool,
}

/// Judges all clauses.
pub fn check(history: &History, rules: &Rules) -> Report {
    let facts = Facts::new(history, rules);
    let clauses = vec![
        acknowledged_is_delivered::judge(&facts),
        delivery_has_a_cause::judge(&facts),
        in_order::judge(&facts),
        exactly_once::judge(&facts),
        retained_is_a_register::judge(&facts),
        one_owner::judge(&facts),
        subscriptions_take_effect::judge(&facts),
        wills_fire_once::judge(&facts),
        expired_is_not_delivered::judge(&facts),
        counters_agree::judge(&facts),
    ];
    let inconclusive = if let Some(nonsense) = facts.nonsense {
        Some(nonsense)
    } else if facts.quiets.is_empty() {
        Some("there is no quiet moment, so nothing can be missing".to_owned())
    } else if clauses.iter().all(|clause| clause.judged == 0) {
        Some("no clause had anything to judge".to_owned())
    } else {
        None
    };
    Report {
        clauses,
        inconclusive,
    }
}

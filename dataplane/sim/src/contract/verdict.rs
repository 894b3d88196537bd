//! What the checker says.

use std::fmt;

use super::history::{History, Moment};

/// A clause of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Clause {
    /// C1: what was acknowledged at QoS 1 or 2 reaches the persistent sessions that subscribed before.
    AcknowledgedIsDelivered,
    /// C2: what is delivered was published, in the same tenant, and a filter of the receiver takes it.
    DeliveryHasACause,
    /// C3: first deliveries come in the order of their publisher.
    InOrder,
    /// C4: QoS 2 is delivered at most once.
    ExactlyOnce,
    /// C5: the retained message of a topic is a linearizable register.
    RetainedIsARegister,
    /// C6: a client identifier has one owner.
    OneOwner,
    /// C7: a subscription takes effect with SUBACK and ends with UNSUBACK; groups share.
    SubscriptionsTakeEffect,
    /// C8: a will is published once if its connection ends without a farewell, and else never.
    WillsFireOnce,
    /// C9: what has expired is not delivered.
    ExpiredIsNotDelivered,
    /// C10: the server counts what clients see.
    CountersAgree,
}

impl Clause {
    /// All of them, in order.
    pub const ALL: [Self; 10] = [
        Self::AcknowledgedIsDelivered,
        Self::DeliveryHasACause,
        Self::InOrder,
        Self::ExactlyOnce,
        Self::RetainedIsARegister,
        Self::OneOwner,
        Self::SubscriptionsTakeEffect,
        Self::WillsFireOnce,
        Self::ExpiredIsNotDelivered,
        Self::CountersAgree,
    ];

    /// What it is called, with its number.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AcknowledgedIsDelivered => "C1 acknowledged is delivered",
            Self::DeliveryHasACause => "C2 a delivery has a cause",
            Self::InOrder => "C3 in order",
            Self::ExactlyOnce => "C4 exactly once",
            Self::RetainedIsARegister => "C5 retained is a register",
            Self::OneOwner => "C6 one owner",
            Self::SubscriptionsTakeEffect => "C7 subscriptions take effect",
            Self::WillsFireOnce => "C8 wills fire once",
            Self::ExpiredIsNotDelivered => "C9 expired is not delivered",
            Self::CountersAgree => "C10 counters agree",
        }
    }
}

impl fmt::Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One breach of a clause.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offence {
    pub clause: Clause,
    /// What is wrong, in words.
    pub what: String,
    /// The entries that show it, in words and in their order.
    pub entries: Vec<String>,
}

impl fmt::Display for Offence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.clause, self.what)?;
        for entry in &self.entries {
            write!(f, "\n    {entry}")?;
        }
        Ok(())
    }
}

/// What one clause came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    pub clause: Clause,
    /// How many things it judged: messages, deliveries, connections. 0: it says nothing.
    pub judged: u64,
    /// The first of them; [`OFFENCES_MAX`] at most.
    pub offences: Vec<Offence>,
    /// Why it could not tell, where it could not.
    pub undecided: Option<String>,
}

/// Most offences that one clause keeps.
pub const OFFENCES_MAX: usize = 20;

/// The sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Everything that was judged holds.
    Holds,
    /// The contract was broken.
    Broken,
    /// Nothing broken was seen, and that means nothing.
    Inconclusive,
}

/// What the checker found in a history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    pub clauses: Vec<Judged>,
    /// Why the history as a whole can prove nothing.
    pub inconclusive: Option<String>,
}

impl Report {
    pub fn verdict(&self) -> Verdict {
        let is_undecided = self.clauses.iter().any(|clause| clause.undecided.is_some());
        if self.offences().next().is_some() {
            Verdict::Broken
        } else if self.inconclusive.is_some() || is_undecided {
            Verdict::Inconclusive
        } else {
            Verdict::Holds
        }
    }

    pub fn offences(&self) -> impl Iterator<Item = &Offence> {
        self.clauses.iter().flat_map(|clause| &clause.offences)
    }

    /// How many things a clause judged.
    pub fn judged(&self, clause: Clause) -> u64 {
        let found = self.clauses.iter().find(|judged| judged.clause == clause);
        found.map_or(0, |judged| judged.judged)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for judged in &self.clauses {
            let word = if !judged.offences.is_empty() {
                "broken"
            } else if judged.undecided.is_some() {
                "undecided"
            } else if judged.judged == 0 {
                "nothing seen"
            } else {
                "holds"
            };
            writeln!(f, "{}: {word}, {} judged", judged.clause, judged.judged)?;
            if let Some(why) = &judged.undecided {
                writeln!(f, "  undecided: {why}")?;
            }
            for offence in &judged.offences {
                writeln!(f, "  {offence}")?;
            }
        }
        match &self.inconclusive {
            Some(why) => writeln!(f, "inconclusive: {why}"),
            None => Ok(()),
        }
    }
}

/// Gathers what one clause finds.
#[derive(Debug)]
pub(crate) struct Ruling<'a> {
    history: &'a History,
    found: Judged,
}

impl<'a> Ruling<'a> {
    pub(crate) const fn new(history: &'a History, clause: Clause) -> Self {
        let found = Judged {
            clause,
            judged: 0,
            offences: Vec::new(),
            undecided: None,
        };
        Self { history, found }
    }

    /// One thing was judged.
    pub(crate) const fn judge(&mut self) {
        self.found.judged += 1;
    }

    /// It is against the clause; the entries at `moments` show it.
    pub(crate) fn offend(&mut self, what: String, moments: &[Moment]) {
        if self.found.offences.len() >= OFFENCES_MAX {
            return;
        }
        let mut moments = moments.to_vec();
        moments.sort_unstable();
        moments.dedup();
        let entries = moments.iter().filter_map(|moment| self.tell(*moment));
        self.found.offences.push(Offence {
            clause: self.found.clause,
            what,
            entries: entries.collect(),
        });
    }

    pub(crate) fn undecided(&mut self, why: String) {
        self.found.undecided = Some(why);
    }

    pub(crate) fn end(self) -> Judged {
        self.found
    }

    fn tell(&self, moment: Moment) -> Option<String> {
        let entry = self.history.entries().get(moment.0)?;
        Some(format!("#{} {entry}", moment.0))
    }
}

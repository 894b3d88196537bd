//! Messages of shared subscriptions: a member that goes before it has acknowledged one returns it, for
//! another member to have (MQTT 5, 4.8.2). Only of a session that ends with its connection.

use std::collections::VecDeque;
use std::sync::Arc;

use tessera_mqtt::{FilterSpec, Message, Qos};
use tessera_tenancy::PrincipalId;

use super::window::{Sequence, Slot, Window};

/// What a message is lent under.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoanTerms {
    /// The shared subscription.
    pub filter: FilterSpec,
    /// Who published the message.
    pub writer: PrincipalId,
}

/// A message that a member of a shared subscription has and did not acknowledge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loan {
    /// What it was lent under.
    pub terms: Arc<LoanTerms>,
    /// As published.
    pub message: Message,
}

/// The loans that were written, in the order of their sequences. At most as many as the window
/// spans.
#[derive(Debug, Default)]
pub(super) struct Loans(VecDeque<(Sequence, Loan)>);

impl Loans {
    /// A message was written on loan. A QoS 2 message is the client's once it is being sent: no other
    /// member may have it (MQTT-4.8.2-5).
    pub(super) fn written(&mut self, sequence: Sequence, qos: Qos, loan: Loan, window: &Window) {
        let settled = window.acknowledged_below();
        while self.0.front().is_some_and(|(lent, _)| *lent < settled) {
            self.0.pop_front();
        }
        if qos == Qos::AtLeastOnce {
            self.0.push_back((sequence, loan));
        }
    }

    /// Takes out those that were not acknowledged.
    pub(super) fn take_open(&mut self, window: &Window) -> Vec<Loan> {
        let loans = std::mem::take(&mut self.0).into_iter();
        let is_open = |sequence: &Sequence| window.slot(*sequence) == Some(Slot::PubAckDue);
        let open = loans.filter(|(sequence, _)| is_open(sequence));
        open.map(|(_, loan)| loan).collect()
    }
}

//! Messages of shared subscriptions that a member did not acknowledge.

use std::num::NonZeroU16;
use std::sync::Arc;

use tessera_mqtt::{Ack, FilterSpec, Packet, ProtocolVersion, Qos, ReasonCode};
use tessera_session::{Delivery, LoanTerms, ServerLimits};
use tessera_tenancy::PrincipalId;

use crate::pair::{Pair, grant, id, message, puback, pubrec};

const V5: ProtocolVersion = ProtocolVersion::V5;
const QOS1: Qos = Qos::AtLeastOnce;
const QOS2: Qos = Qos::ExactlyOnce;

/// A member that takes two messages at a time.
fn member() -> Pair {
    Pair::online_with(V5, ServerLimits::default(), |connect| {
        connect.receive_maximum = NonZeroU16::new(2).unwrap();
    })
}

fn terms() -> Arc<LoanTerms> {
    Arc::new(LoanTerms {
        filter: FilterSpec::try_from("$share/g/t").unwrap(),
        writer: PrincipalId::from_bytes([7; 16]),
    })
}

impl Pair {
    fn lend(&mut self, payload: &'static str, qos: Qos) -> Delivery {
        self.with_outbound(|outbound, now, out| {
            outbound.lend(&message("t", payload), &grant(qos), &terms(), now, out)
        })
    }

    fn returned(&mut self) -> Vec<String> {
        let loans = self.with_outbound(|outbound, _now, _out| outbound.take_loans());
        assert!(loans.iter().all(|loan| *loan.terms == *terms()));
        let payload = |loan: &tessera_session::Loan| loan.message.payload.to_vec();
        let texts = loans.iter().map(payload).map(String::from_utf8);
        texts.map(Result::unwrap).collect()
    }
}

#[test]
fn what_was_sent_or_waits_and_was_not_acknowledged_is_returned_in_order() {
    let mut pair = member();
    for payload in ["a", "b"] {
        assert_eq!(pair.lend(payload, QOS1), Delivery::Written);
    }
    for payload in ["c", "d"] {
        assert_eq!(pair.lend(payload, QOS1), Delivery::Queued);
    }
    pair.receive();
    // The second before the first, then a refusal: either way it is the client's.
    pair.acknowledge(puback(2));
    pair.receive();
    let refusal = Ack::with_reason(id(3), ReasonCode::UnspecifiedError);
    pair.acknowledge(Packet::PubAck(refusal));
    assert_eq!(pair.returned(), ["a", "d"]);
    assert!(pair.returned().is_empty(), "once");
}

#[test]
fn v5_mqtt_4_8_2_5_qos_2_is_not_returned_once_it_was_sent() {
    let mut pair = member();
    for payload in ["a", "b", "c"] {
        pair.lend(payload, QOS2);
    }
    pair.receive();
    pair.acknowledge(pubrec(1));
    assert_eq!(pair.returned(), ["c"]);
}

#[test]
fn what_is_not_lent_is_not_returned() {
    let mut pair = member();
    pair.deliver(&message("t", "own"), &grant(QOS1));
    pair.lend("lent", QOS1);
    pair.deliver(&message("t", "waits"), &grant(QOS1));
    pair.lend("qos 0", Qos::AtMostOnce);
    assert_eq!(pair.returned(), ["lent"]);
}

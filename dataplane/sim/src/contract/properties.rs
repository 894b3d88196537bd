//! Histories of a service that keeps the contract pass, and those of its mutants do not.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, TestRunner};
use tessera_mqtt::Qos;

use super::model::{Model, Mutant, Op};
use super::{Clause, Micros, Report, Rules, Verdict, check};

const RULES: Rules = Rules {
    clock_slack: Micros(10_000),
    session_expiry_late: Micros::from_seconds(5),
    will_grace: Micros(0),
    will_late: Micros::from_seconds(10),
    resent_may_repeat: false,
    resent_may_retain_again: false,
    takeover_flush: Micros(0),
    overtaken_may_subscribe: false,
};
const FILTERS: [&str; 7] = [
    "a/b",
    "a/+",
    "a/#",
    "#",
    "will",
    "$share/g/s/#",
    "$share/h/s/#",
];
const TOPICS: [&str; 5] = ["a/b", "a/c", "b", "s/a", "s/b"];
/// Of retained messages, with no plain subscription in their way.
const RETAINED: [&str; 2] = ["a/r", "r"];
/// Operations of one history of a mutant.
const OPS: usize = 200;
/// Histories of a mutant until one shows it.
const HISTORIES_MAX: u32 = 200;

fn key() -> impl Strategy<Value = (u16, u32)> {
    (1..=2_u16, 1..=4_u32)
}

fn qos() -> impl Strategy<Value = Qos> {
    prop::sample::select(vec![Qos::AtMostOnce, Qos::AtLeastOnce, Qos::ExactlyOnce])
}

fn op() -> impl Strategy<Value = Op> {
    let connect = (
        key(),
        prop::bool::weighted(0.2),
        any::<bool>(),
        any::<bool>(),
    );
    let connect = connect.prop_map(|(key, clean, stays, will)| Op::Connect {
        key,
        clean: clean || !stays,
        stays,
        will,
    });
    let end = (key(), any::<bool>()).prop_map(|(key, farewell)| Op::End { key, farewell });
    let filter = prop::sample::select(FILTERS.to_vec());
    let subscribe = (key(), filter.clone(), qos()).prop_map(|(key, filter, qos)| Op::Subscribe {
        key,
        filter,
        qos,
    });
    let unsubscribe = (key(), filter).prop_map(|(key, filter)| Op::Unsubscribe { key, filter });
    let publish = (
        key(),
        prop::sample::select(TOPICS.to_vec()),
        qos(),
        prop::bool::weighted(0.2),
        1..=3_u8,
    );
    let publish = publish.prop_map(|(key, topic, qos, expires, times)| Op::Publish {
        key,
        topic,
        qos,
        retain: false,
        is_empty: false,
        expires,
        times,
    });
    let retained = || prop::sample::select(RETAINED.to_vec());
    let retain = (
        key(),
        retained(),
        qos(),
        prop::bool::weighted(0.3),
        prop::bool::weighted(0.2),
    );
    let retain = retain.prop_map(|(key, topic, qos, is_empty, expires)| Op::Publish {
        key,
        topic,
        qos,
        retain: true,
        is_empty,
        expires,
        times: 1,
    });
    let read = (1..=2_u16, retained()).prop_map(|(tenant, topic)| Op::Read { tenant, topic });
    prop_oneof![
        4 => connect,
        2 => end,
        5 => subscribe,
        1 => unsubscribe,
        12 => publish,
        3 => retain,
        3 => read,
        2 => (1..=9_u64).prop_map(|seconds| Op::Wait { seconds }),
        1 => Just(Op::Crash),
        1 => Just(Op::Quiet),
    ]
}

fn judge(mutant: Option<Mutant>, ops: &[Op]) -> Report {
    check(&Model::new(mutant).run(ops), &RULES)
}

proptest! {
    #![proptest_config(Config { cases: 100, failure_persistence: None, ..Config::default() })]

    #[test]
    fn a_service_that_keeps_the_contract_passes(ops in vec(op(), 1..200)) {
        let report = judge(None, &ops);
        prop_assert_eq!(report.offences().count(), 0, "{}", report);
        let undecided = report.clauses.iter().find(|clause| clause.undecided.is_some());
        prop_assert_eq!(undecided, None);
    }
}

/// The clauses that a mutant may break.
const MUTANTS: [(Mutant, &[Clause]); 12] = [
    (
        Mutant::LosesAMessage,
        &[
            Clause::AcknowledgedIsDelivered,
            Clause::SubscriptionsTakeEffect,
            Clause::WillsFireOnce,
        ],
    ),
    (
        Mutant::DoublesQos2,
        &[Clause::ExactlyOnce, Clause::WillsFireOnce],
    ),
    (Mutant::Reorders, &[Clause::InOrder]),
    (Mutant::CrossesTenants, &[Clause::DeliveryHasACause]),
    (
        Mutant::KeepsAnUnsubscribed,
        &[Clause::SubscriptionsTakeEffect],
    ),
    (Mutant::ForgetsARetained, &[Clause::RetainedIsARegister]),
    (Mutant::DoublesAWill, &[Clause::WillsFireOnce]),
    (Mutant::LosesAWill, &[Clause::WillsFireOnce]),
    (Mutant::DeliversExpired, &[Clause::ExpiredIsNotDelivered]),
    (Mutant::ServesTheFormerOwner, &[Clause::OneOwner]),
    (
        Mutant::LosesASession,
        &[
            Clause::AcknowledgedIsDelivered,
            Clause::WillsFireOnce,
            Clause::SubscriptionsTakeEffect,
        ],
    ),
    (
        Mutant::SharesWithAll,
        &[Clause::SubscriptionsTakeEffect, Clause::ExactlyOnce],
    ),
];

#[test]
fn every_mutant_is_caught_by_its_clause() {
    for (mutant, clauses) in MUTANTS {
        let mut runner = TestRunner::deterministic();
        let mut reports = (0..HISTORIES_MAX).map(|_| {
            let ops = vec(op(), OPS).new_tree(&mut runner).unwrap().current();
            judge(Some(mutant), &ops)
        });
        let report = reports.find(|report| report.verdict() == Verdict::Broken);
        let report = report.unwrap_or_else(|| panic!("nothing shows {mutant:?}"));
        let found = report.offences().map(|offence| offence.clause);
        let others: Vec<Clause> = found.filter(|clause| !clauses.contains(clause)).collect();
        assert_eq!(others, [], "{mutant:?}: {report}");
    }
}

#[test]
fn the_load_of_the_properties_gives_every_clause_something_to_judge() {
    let mut runner = TestRunner::deterministic();
    let mut judged = [0_u64; 9];
    for _ in 0..20 {
        let ops = vec(op(), OPS).new_tree(&mut runner).unwrap().current();
        let report = judge(None, &ops);
        // No counters are kept.
        for (sum, clause) in judged.iter_mut().zip(Clause::ALL) {
            *sum += report.judged(clause);
        }
    }
    assert!(judged.iter().all(|judged| *judged > 0), "{judged:?}");
}

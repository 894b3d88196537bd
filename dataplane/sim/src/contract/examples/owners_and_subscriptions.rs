//! C5 to C7.

use super::*;

fn retained(number: u64) -> Publish {
    Publish {
        retain: true,
        ..message(number, "r", AtLeastOnce)
    }
}

#[test]
fn c5_a_read_sees_the_last_write() {
    let clear = Publish {
        is_empty: true,
        ..retained(3)
    };
    let tell = |saw: [Option<u64>; 2]| {
        let clear = clear.clone();
        move |story: &mut Story| {
            let writer = story.transient(1, 1);
            let reader = story.transient(1, 2);
            story.publish(writer, retained(1));
            story.publish(writer, retained(2));
            story.read(reader, "r", saw[0]);
            story.publish(writer, clear);
            story.read(reader, "r", saw[1]);
            story.quiet();
        }
    };
    keeps(Clause::RetainedIsARegister, tell([Some(2), None]));
    for wrong in [
        [Some(1), None],
        [None, None],
        [Some(2), Some(2)],
        [Some(7), None],
    ] {
        breaks(Clause::RetainedIsARegister, tell(wrong));
    }
}

#[test]
fn c5_a_write_without_an_answer_may_come_late_and_one_sent_again_twice() {
    let tell = |saw: Vec<u64>| {
        move |story: &mut Story| {
            let writer = story.transient(1, 1);
            let reader = story.transient(1, 2);
            story.send(writer, retained(1));
            story.publish(writer, retained(2));
            for saw in saw {
                story.read(reader, "r", Some(saw));
            }
            story.quiet();
        }
    };
    keeps(Clause::RetainedIsARegister, tell(vec![2, 1, 1]));
    breaks(Clause::RetainedIsARegister, tell(vec![1, 2, 1]));
    breaks(Clause::RetainedIsARegister, |story| {
        let writer = story.transient(1, 1);
        let reader = story.transient(1, 2);
        story.send(writer, retained(1));
        story.publish(writer, retained(2));
        // Whatever was sent is over once all are at rest.
        story.quiet();
        story.read(reader, "r", Some(2));
        story.read(reader, "r", Some(1));
        story.quiet();
    });
    keeps(Clause::RetainedIsARegister, |story| {
        let writer = story.open(1, 1);
        let reader = story.transient(1, 2);
        story.send(writer, retained(1));
        story.publish(reader, retained(2));
        story.read(reader, "r", Some(2));
        story.close(writer, End::Abrupt);
        let writer = story.connect((1, 1), stays(NEVER), true);
        story.publish(writer, again(&retained(1)));
        story.read(reader, "r", Some(1));
        story.quiet();
    });
}

#[test]
fn c5_a_write_at_qos_2_takes_effect_once_though_it_is_sent_again() {
    for may_repeat in [false, true] {
        let mut story = Story::default();
        let writer = story.open(1, 1);
        let reader = story.transient(1, 2);
        let one = Publish {
            qos: ExactlyOnce,
            ..retained(1)
        };
        story.send(writer, one.clone());
        story.read(reader, "r", Some(1));
        story.publish(reader, retained(2));
        story.read(reader, "r", Some(2));
        story.close(writer, End::Abrupt);
        let writer = story.connect((1, 1), stays(NEVER), true);
        story.publish(writer, again(&one));
        story.read(reader, "r", Some(1));
        story.quiet();
        let rules = Rules {
            resent_may_retain_again: may_repeat,
            ..RULES
        };
        let report = check(&story.history, &rules);
        assert_eq!(report.offences().count() > 0, !may_repeat, "{report}");
    }
}

/// The first time may have been the one that counted.
#[test]
fn c5_a_write_at_qos_2_that_may_repeat_need_not() {
    for may_repeat in [false, true] {
        let mut story = Story::default();
        let writer = story.open(1, 1);
        let reader = story.transient(1, 2);
        let one = Publish {
            qos: ExactlyOnce,
            ..retained(1)
        };
        story.send(writer, one.clone());
        story.publish(reader, retained(2));
        story.close(writer, End::Abrupt);
        let writer = story.connect((1, 1), stays(NEVER), true);
        story.publish(writer, again(&one));
        story.read(reader, "r", Some(2));
        story.quiet();
        let rules = Rules {
            resent_may_retain_again: may_repeat,
            ..RULES
        };
        let report = check(&story.history, &rules);
        assert_eq!(report.offences().count(), 0, "{report}");
    }
}

#[test]
fn c5_thousands_of_writes_without_an_answer_are_searched() {
    keeps(Clause::RetainedIsARegister, |story| {
        let writer = story.transient(1, 1);
        let reader = story.transient(1, 2);
        for number in (1..=4_000).step_by(2) {
            let lost = Publish {
                qos: AtMostOnce,
                ..retained(number)
            };
            story.send(writer, lost);
            story.publish(writer, retained(number + 1));
            story.read(reader, "r", Some(number + 1));
        }
        story.quiet();
    });
}

#[test]
fn c5_a_retained_message_goes_when_it_expires() {
    let tell = |seconds: u64| {
        move |story: &mut Story| {
            let writer = story.transient(1, 1);
            let one = Publish {
                expiry_seconds: Some(5),
                ..retained(1)
            };
            story.publish(writer, one);
            story.wait(seconds);
            story.read(writer, "r", None);
            story.quiet();
        }
    };
    keeps(Clause::RetainedIsARegister, tell(5));
    breaks(Clause::RetainedIsARegister, tell(4));
}

#[test]
fn c6_nothing_happens_on_a_connection_that_was_taken_over() {
    let tell = |is_late: bool, is_ack: bool| {
        move |story: &mut Story| {
            let (old, publisher) = pair(story);
            let one = message(1, "a/b", AtLeastOnce);
            story.send(if is_ack { old } else { publisher }, one.clone());
            let last = |story: &mut Story| {
                if is_ack {
                    story.acked(old, 1);
                } else {
                    story.deliver(old, &one);
                }
            };
            if !is_late {
                last(story);
            }
            story.connect((1, 1), stays(NEVER), true);
            if is_late {
                last(story);
            }
        }
    };
    for is_ack in [false, true] {
        let kept = judge(tell(false, is_ack));
        assert_eq!(kept.judged(Clause::OneOwner), 1, "{kept}");
        assert_eq!(kept.offences().count(), 0, "{kept}");
        breaks(Clause::OneOwner, tell(true, is_ack));
    }
}

#[test]
fn c6_what_was_published_before_a_takeover_may_be_flushed_where_that_is_documented() {
    for (is_old, waits, is_broken) in [(true, 0, false), (true, 2, true), (false, 0, true)] {
        let mut story = Story::default();
        let (old, publisher) = pair(&mut story);
        let one = message(1, "a/b", AtMostOnce);
        if is_old {
            story.send(publisher, one.clone());
        }
        story.connect((1, 1), stays(NEVER), true);
        if !is_old {
            story.send(publisher, one.clone());
        }
        story.wait(waits);
        story.deliver(old, &one);
        story.quiet();
        let rules = Rules {
            takeover_flush: Micros::from_seconds(1),
            ..RULES
        };
        let report = check(&story.history, &rules);
        assert_eq!(report.offences().count() > 0, is_broken, "{report}");
    }
}

/// The session that its subscriptions were of has ended by then; for C2 it is of that one still.
#[test]
fn c2_and_c6_a_flush_is_of_the_session_that_was_taken_over() {
    for (flush, waits) in [(1, 0), (0, 0), (1, 2)] {
        let mut story = Story::default();
        let (old, publisher) = pair(&mut story);
        let one = message(1, "a/b", AtMostOnce);
        story.send(publisher, one.clone());
        story.connect((1, 1), fleeting(), false);
        story.wait(waits);
        story.deliver(old, &one);
        story.quiet();
        let rules = Rules {
            takeover_flush: Micros::from_seconds(flush),
            ..RULES
        };
        let report = check(&story.history, &rules);
        let clauses: Vec<Clause> = report.offences().map(|offence| offence.clause).collect();
        let expected = [Clause::OneOwner];
        let is_kept = (flush, waits) == (1, 0);
        assert_eq!(
            clauses,
            if is_kept { &[][..] } else { &expected },
            "{report}"
        );
    }
}

#[test]
fn c6_epochs_grow_and_of_two_that_race_one_owns() {
    let tell = |epochs: [u64; 2]| {
        move |story: &mut Story| {
            for (epoch, present) in epochs.into_iter().zip([false, true]) {
                let who = story.who(1, 1);
                story.act(who, Act::Connect(stays(NEVER)));
                let connected = Act::Connected {
                    session_present: Some(present),
                    epoch: Some(epoch),
                };
                story.act(who, connected);
            }
            story.quiet();
        }
    };
    keeps(Clause::OneOwner, tell([1, 2]));
    breaks(Clause::OneOwner, tell([2, 2]));
    breaks(Clause::OneOwner, tell([2, 1]));
    let race = |receivers: [usize; 2]| {
        move |story: &mut Story| {
            let (subscriber, publisher) = pair(story);
            story.close(subscriber, End::Abrupt);
            let both = [story.who(1, 1), story.who(1, 1)];
            for who in both {
                story.act(who, Act::Connect(stays(NEVER)));
            }
            for who in both {
                let connected = Act::Connected {
                    session_present: Some(true),
                    epoch: None,
                };
                story.act(who, connected);
            }
            for (number, at) in (1..).zip(receivers) {
                let it = message(number, "a/b", AtLeastOnce);
                story.publish(publisher, it.clone());
                story.deliver(both[at], &it);
            }
            story.quiet();
        }
    };
    keeps(Clause::OneOwner, race([1, 1]));
    keeps(Clause::OneOwner, race([0, 0]));
    breaks(Clause::OneOwner, race([0, 1]));
}

#[test]
fn c7_a_subscription_takes_effect_with_its_suback() {
    let tell = |is_delivered: bool| {
        move |story: &mut Story| {
            let subscriber = story.transient(1, 1);
            story.subscribe(subscriber, "a/+", AtLeastOnce);
            let publisher = story.transient(1, 2);
            let one = message(1, "a/b", AtLeastOnce);
            story.publish(publisher, one.clone());
            if is_delivered {
                story.deliver(subscriber, &one);
            }
            story.quiet();
        }
    };
    keeps(Clause::SubscriptionsTakeEffect, tell(true));
    breaks(Clause::SubscriptionsTakeEffect, tell(false));
}

#[test]
fn c7_after_an_unsuback_comes_only_what_was_on_its_way() {
    let tell = |is_new: bool| {
        move |story: &mut Story| {
            let (subscriber, publisher) = pair(story);
            let one = message(1, "a/b", AtLeastOnce);
            if !is_new {
                story.publish(publisher, one.clone());
            }
            story.unsubscribe(subscriber, "a/#");
            if is_new {
                story.publish(publisher, one.clone());
            }
            story.deliver(subscriber, &one);
            story.quiet();
        }
    };
    keeps(Clause::SubscriptionsTakeEffect, tell(false));
    breaks(Clause::SubscriptionsTakeEffect, tell(true));
}

/// Two members of a group, a publisher, and who of the two receives the message.
fn group(qos: Qos, receivers: &'static [usize]) -> impl FnOnce(&mut Story) {
    move |story| {
        let members = [story.open(1, 1), story.open(1, 2)];
        for member in members {
            story.subscribe(member, "$share/g/a/#", ExactlyOnce);
        }
        let publisher = story.transient(1, 3);
        let one = message(1, "a/b", qos);
        story.publish(publisher, one.clone());
        for at in receivers {
            story.deliver(members[*at], &one);
        }
        story.quiet();
    }
}

#[test]
fn c7_a_group_gets_each_message_once() {
    for qos in [AtLeastOnce, ExactlyOnce] {
        keeps(Clause::SubscriptionsTakeEffect, group(qos, &[1]));
        breaks(Clause::SubscriptionsTakeEffect, group(qos, &[]));
        breaks(Clause::SubscriptionsTakeEffect, group(qos, &[0, 1]));
    }
    // What a member had not acknowledged goes to another when it fails.
    let report = judge(|story| {
        let members = [story.transient(1, 1), story.transient(1, 2)];
        for member in members {
            story.subscribe(member, "$share/g/a", AtLeastOnce);
        }
        let publisher = story.transient(1, 3);
        let one = message(1, "a", AtLeastOnce);
        story.publish(publisher, one.clone());
        story.deliver(members[0], &one);
        story.close(members[0], End::Abrupt);
        story.deliver(members[1], &one);
        story.quiet();
    });
    assert_eq!(report.verdict(), Verdict::Holds, "{report}");
}

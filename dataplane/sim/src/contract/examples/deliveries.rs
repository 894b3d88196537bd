//! C1 to C4.

use super::*;

#[test]
fn c1_an_acknowledged_message_comes_though_the_receiver_was_away() {
    keeps(Clause::AcknowledgedIsDelivered, |story| {
        let (subscriber, publisher) = pair(story);
        story.close(subscriber, End::Abrupt);
        let one = message(1, "a/b", AtLeastOnce);
        story.publish(publisher, one.clone());
        story.quiet();
        let subscriber = story.connect((1, 1), stays(NEVER), true);
        story.deliver(subscriber, &one);
        story.quiet();
    });
    breaks(Clause::AcknowledgedIsDelivered, |story| {
        let (subscriber, publisher) = pair(story);
        story.close(subscriber, End::Abrupt);
        story.publish(publisher, message(1, "a/b", AtLeastOnce));
        story.connect((1, 1), stays(NEVER), true);
        story.quiet();
    });
}

#[test]
fn c1_a_session_is_neither_lost_nor_made_up() {
    breaks(Clause::AcknowledgedIsDelivered, |story| {
        let subscriber = story.open(1, 1);
        story.close(subscriber, End::Abrupt);
        story.connect((1, 1), stays(NEVER), false);
        story.quiet();
    });
    breaks(Clause::AcknowledgedIsDelivered, |story| {
        story.connect((1, 1), stays(NEVER), true);
        story.quiet();
    });
    breaks(Clause::AcknowledgedIsDelivered, |story| {
        story.open(1, 1);
        let clean = Connect {
            clean_start: true,
            ..stays(NEVER)
        };
        story.connect((1, 1), clean, true);
        story.quiet();
    });
}

#[test]
fn c1_what_may_be_gone_or_was_announced_is_not_missed() {
    for tell in [
        // Unsubscribed: what waits may go with the subscription.
        (|story, subscriber, _| story.unsubscribe(subscriber, "a/#")) as fn(&mut Story, Who, Who),
        |story, subscriber, _| story.act(subscriber, Act::Dropped { count: 1 }),
        |story, subscriber, _| {
            story.close(subscriber, End::Abrupt);
            story.connect((1, 1), fleeting(), false);
        },
        |story, subscriber, _| {
            story.act(subscriber, Act::SessionExpired);
            story.close(subscriber, End::Abrupt);
            story.connect((1, 1), stays(NEVER), false);
        },
    ] {
        let report = judge(|story| {
            let (subscriber, publisher) = pair(story);
            story.publish(publisher, message(1, "a/b", AtLeastOnce));
            tell(story, subscriber, publisher);
            story.quiet();
        });
        assert_eq!(report.offences().count(), 0, "{report}");
    }
    // Never acknowledged: it may come or not.
    let report = judge(|story| {
        let (_, publisher) = pair(story);
        story.send(publisher, message(1, "a/b", AtLeastOnce));
        story.quiet();
    });
    assert_eq!(report.offences().count(), 0, "{report}");
}

#[test]
fn c2_what_comes_was_published_there_for_this_tenant_and_asked_for() {
    keeps(Clause::DeliveryHasACause, |story| {
        let (subscriber, publisher) = pair(story);
        let one = message(1, "a/b", AtMostOnce);
        story.send(publisher, one.clone());
        story.deliver(subscriber, &one);
        let empty = Publish {
            is_empty: true,
            ..message(2, "a/c", AtMostOnce)
        };
        story.send(publisher, empty.clone());
        story.deliver_with(subscriber, &empty, |it| it.payload = Payload::Empty);
        story.quiet();
    });
    let one = message(1, "a/b", AtMostOnce);
    let changes: [fn(&mut Delivery); 6] = [
        |it| it.payload = Payload::Message(MessageId(2)),
        |it| it.topic = "a/c".into(),
        |it| it.qos = AtLeastOnce,
        |it| it.retain = true,
        |it| it.payload = Payload::Empty,
        |it| it.topic = "b".into(),
    ];
    for change in changes {
        breaks(Clause::DeliveryHasACause, |story| {
            let (subscriber, publisher) = pair(story);
            story.send(publisher, one.clone());
            story.deliver_with(subscriber, &one, change);
            story.quiet();
        });
    }
}

#[test]
fn c2_nothing_crosses_tenants_or_comes_unasked() {
    breaks(Clause::DeliveryHasACause, |story| {
        let (_, publisher) = pair(story);
        let other = story.open(2, 1);
        story.subscribe(other, "a/#", AtLeastOnce);
        let one = message(1, "a/b", AtMostOnce);
        story.send(publisher, one.clone());
        story.deliver(other, &one);
        story.quiet();
    });
    // Before it was published; to a client that never subscribed; above the granted QoS.
    breaks(Clause::DeliveryHasACause, |story| {
        let (subscriber, publisher) = pair(story);
        let one = message(1, "a/b", AtMostOnce);
        story.deliver(subscriber, &one);
        story.send(publisher, one);
        story.quiet();
    });
    breaks(Clause::DeliveryHasACause, |story| {
        let publisher = story.transient(1, 2);
        let one = message(1, "a/b", AtMostOnce);
        story.send(publisher, one.clone());
        story.deliver(publisher, &one);
        story.quiet();
    });
    breaks(Clause::DeliveryHasACause, |story| {
        let publisher = story.transient(1, 2);
        story.subscribe(publisher, "+/b", AtMostOnce);
        let one = message(1, "a/b", AtLeastOnce);
        story.publish(publisher, one.clone());
        story.deliver(publisher, &one);
        story.quiet();
    });
}

#[test]
fn c2_a_filter_without_local_messages_takes_none() {
    let tell = |is_own: bool| {
        move |story: &mut Story| {
            let client = story.transient(1, 1);
            let filters = vec![Subscription {
                filter: "a".into(),
                qos: AtLeastOnce,
                no_local: true,
                retain_as_published: false,
            }];
            story.act(client, Act::Subscribe { packet: 9, filters });
            let granted = vec![Some(AtLeastOnce)];
            story.act(client, Act::SubAck { packet: 9, granted });
            let other = story.transient(1, 2);
            let one = message(1, "a", AtLeastOnce);
            story.publish(if is_own { client } else { other }, one.clone());
            story.deliver(client, &one);
            story.quiet();
        }
    };
    keeps(Clause::DeliveryHasACause, tell(false));
    breaks(Clause::DeliveryHasACause, tell(true));
}

#[test]
fn c3_first_deliveries_keep_the_order_and_later_ones_need_not() {
    let [one, two] = [1, 2].map(|number| message(number, "a/b", AtLeastOnce));
    let tell = |order: [usize; 3]| {
        let both = [one.clone(), two.clone()];
        move |story: &mut Story| {
            let (subscriber, publisher) = pair(story);
            for it in &both {
                story.publish(publisher, it.clone());
            }
            for at in order {
                story.deliver(subscriber, &both[at]);
            }
            story.quiet();
        }
    };
    keeps(Clause::InOrder, tell([0, 1, 0]));
    breaks(Clause::InOrder, tell([1, 0, 1]));
}

#[test]
fn c3_what_came_only_because_it_was_sent_again_has_no_place_in_the_order() {
    let tell = |is_before: bool| {
        move |story: &mut Story| {
            let publisher = story.open(1, 2);
            let [one, two, three] = [1, 2, 3].map(|number| message(number, "a/b", AtLeastOnce));
            let subscriber = story.open(1, 1);
            if is_before {
                story.send(publisher, one.clone());
            }
            story.subscribe(subscriber, "a/#", ExactlyOnce);
            if !is_before {
                story.send(publisher, one.clone());
            }
            for it in [two, three] {
                story.publish(publisher, it.clone());
                story.deliver(subscriber, &it);
            }
            story.close(publisher, End::Abrupt);
            let publisher = story.connect((1, 2), stays(NEVER), true);
            story.publish(publisher, again(&one));
            story.deliver(subscriber, &one);
            story.quiet();
        }
    };
    keeps(Clause::InOrder, tell(true));
    breaks(Clause::InOrder, tell(false));
}

#[test]
fn c4_qos_2_comes_once_and_qos_1_may_come_again() {
    let tell = |qos: Qos, times: usize| {
        move |story: &mut Story| {
            let (subscriber, publisher) = pair(story);
            let two = message(2, "a/b", ExactlyOnce);
            story.publish(publisher, two.clone());
            story.deliver(subscriber, &two);
            let one = message(1, "a/c", qos);
            story.publish(publisher, one.clone());
            for _ in 0..times {
                story.deliver(subscriber, &one);
            }
            story.quiet();
        }
    };
    keeps(Clause::ExactlyOnce, tell(AtLeastOnce, 2));
    keeps(Clause::ExactlyOnce, tell(ExactlyOnce, 1));
    breaks(Clause::ExactlyOnce, tell(ExactlyOnce, 2));
}

#[test]
fn c2_a_refused_subscription_brings_nothing_unless_a_takeover_overtook_it() {
    for (is_overtaken, is_excused) in [(true, true), (true, false), (false, true)] {
        let mut story = Story::default();
        let old = story.open(1, 1);
        let filters = vec![Subscription {
            filter: "a".into(),
            qos: AtLeastOnce,
            no_local: false,
            retain_as_published: false,
        }];
        story.act(old, Act::Subscribe { packet: 9, filters });
        let new = story.who(1, 1);
        if is_overtaken {
            story.act(new, Act::Connect(stays(NEVER)));
        }
        let granted = vec![None];
        story.act(old, Act::SubAck { packet: 9, granted });
        if !is_overtaken {
            story.act(new, Act::Connect(stays(NEVER)));
        }
        let connected = Act::Connected {
            session_present: Some(true),
            epoch: None,
        };
        story.act(new, connected);
        let publisher = story.transient(1, 2);
        let one = message(1, "a", AtLeastOnce);
        story.publish(publisher, one.clone());
        story.deliver(new, &one);
        story.quiet();
        let rules = Rules {
            overtaken_may_subscribe: is_excused,
            ..RULES
        };
        let report = check(&story.history, &rules);
        let is_broken = report.offences().count() > 0;
        assert_eq!(is_broken, !(is_overtaken && is_excused), "{report}");
    }
}

#[test]
fn c2_a_late_suback_of_the_connection_before_ends_no_subscription() {
    keeps(Clause::DeliveryHasACause, |story| {
        let old = story.transient(1, 1);
        let filters = || {
            vec![Subscription {
                filter: "a".into(),
                qos: AtLeastOnce,
                no_local: false,
                retain_as_published: false,
            }]
        };
        let granted = || vec![Some(AtLeastOnce)];
        let subscribe = |packet| Act::Subscribe {
            packet,
            filters: filters(),
        };
        story.act(old, subscribe(8));
        let new = story.transient(1, 1);
        story.act(new, subscribe(9));
        for (who, packet) in [(old, 8), (new, 9)] {
            let granted = granted();
            story.act(who, Act::SubAck { packet, granted });
        }
        let publisher = story.transient(1, 2);
        let one = message(1, "a", AtLeastOnce);
        story.publish(publisher, one.clone());
        story.deliver(new, &one);
        story.quiet();
    });
}

#[test]
fn c4_may_be_promised_to_sessions_that_stay_only() {
    for (is_fleeting, is_promised_to_all) in
        [(true, true), (true, false), (false, true), (false, false)]
    {
        let mut story = Story::default();
        let subscriber = if is_fleeting {
            story.transient(1, 1)
        } else {
            story.open(1, 1)
        };
        story.subscribe(subscriber, "a", ExactlyOnce);
        let publisher = story.open(1, 2);
        let one = message(1, "a", ExactlyOnce);
        story.send(publisher, one.clone());
        story.deliver(subscriber, &one);
        story.close(publisher, End::Abrupt);
        let publisher = story.connect((1, 2), stays(NEVER), true);
        story.publish(publisher, again(&one));
        story.deliver(subscriber, &one);
        story.quiet();
        let rules = Rules {
            resent_may_repeat: !is_promised_to_all,
            ..RULES
        };
        let report = check(&story.history, &rules);
        let is_broken = report.offences().count() > 0;
        assert_eq!(is_broken, !is_fleeting || is_promised_to_all, "{report}");
    }
}

#[test]
fn c4_a_session_that_begins_meanwhile_is_another_receiver() {
    keeps(Clause::ExactlyOnce, |story| {
        let subscriber = story.transient(1, 1);
        story.subscribe(subscriber, "a", ExactlyOnce);
        let publisher = story.open(1, 2);
        let one = message(1, "a", ExactlyOnce);
        story.send(publisher, one.clone());
        story.deliver(subscriber, &one);
        for who in [subscriber, publisher] {
            story.close(who, End::Abrupt);
        }
        let subscriber = story.transient(1, 1);
        story.subscribe(subscriber, "a", ExactlyOnce);
        let publisher = story.connect((1, 2), stays(NEVER), true);
        story.publish(publisher, again(&one));
        story.deliver(subscriber, &one);
        story.quiet();
    });
}

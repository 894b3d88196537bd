//! C8 to C10, and histories that prove nothing.

use super::*;

/// A watcher of `w`, and a client with a will there.
fn with_will(story: &mut Story, ask: Connect, delay_seconds: u32) -> (Who, Who, Publish) {
    let watcher = story.open(1, 1);
    story.subscribe(watcher, "w", ExactlyOnce);
    let will = Will {
        message: MessageId(9),
        topic: "w".into(),
        qos: ExactlyOnce,
        retain: false,
        delay_seconds,
    };
    let ask = Connect {
        will: Some(will),
        ..ask
    };
    let dying = story.connect((1, 2), ask, false);
    (watcher, dying, message(9, "w", ExactlyOnce))
}

/// The end of the client and how often its will comes; some seconds later.
fn will_story(end: End, waits: u64, times: usize) -> impl FnOnce(&mut Story) {
    move |story| {
        let (watcher, dying, will) = with_will(story, stays(NEVER), 3);
        story.close(dying, end);
        story.wait(waits);
        for _ in 0..times {
            story.deliver(watcher, &will);
        }
        story.wait(10);
        story.quiet();
    }
}

#[test]
fn c8_a_will_comes_once_after_its_delay_if_there_was_no_farewell() {
    let clause = Clause::WillsFireOnce;
    keeps(clause, will_story(End::Abrupt, 3, 1));
    keeps(clause, will_story(End::Farewell, 3, 0));
    breaks(clause, will_story(End::Abrupt, 3, 0));
    breaks(clause, will_story(End::Abrupt, 3, 2));
    breaks(clause, will_story(End::Abrupt, 2, 1));
    breaks(clause, will_story(End::Farewell, 3, 1));
    for times in [0, 1] {
        let report = judge(will_story(End::Unknown, 3, times));
        assert_eq!(report.offences().count(), 0, "{report}");
    }
    breaks(clause, |story| {
        let (watcher, _, will) = with_will(story, stays(NEVER), 0);
        story.deliver(watcher, &will);
        story.quiet();
    });
}

#[test]
fn c8_a_session_that_is_resumed_in_time_keeps_its_will_and_one_that_starts_anew_does_not() {
    let tell = |ask: Connect, delay_seconds: u32, times: usize| {
        move |story: &mut Story| {
            let (watcher, dying, will) = with_will(story, stays(NEVER), delay_seconds);
            story.tell(Event::NodeEnded { node: None });
            story.close(dying, End::Abrupt);
            story.close(watcher, End::Abrupt);
            let watcher = story.connect((1, 1), stays(NEVER), true);
            let present = !ask.clean_start;
            story.connect((1, 2), ask, present);
            for _ in 0..times {
                story.deliver(watcher, &will);
            }
            story.wait(10);
            story.quiet();
        }
    };
    let clause = Clause::WillsFireOnce;
    keeps(clause, tell(stays(NEVER), 3, 0));
    breaks(clause, tell(stays(NEVER), 3, 1));
    keeps(clause, tell(stays(NEVER), 0, 1));
    breaks(clause, tell(stays(NEVER), 0, 0));
    keeps(clause, tell(fleeting(), 3, 1));
    breaks(clause, tell(fleeting(), 3, 0));
}

#[test]
fn c8_a_client_that_its_server_left_is_given_time_to_be_back() {
    let rules = Rules {
        will_grace: Micros::from_seconds(5),
        ..RULES
    };
    for (is_back, waits, is_broken) in [(true, 4, false), (true, 9, true), (false, 9, true)] {
        let mut story = Story::default();
        let (watcher, dying, _) = with_will(&mut story, stays(NEVER), 0);
        story.tell(Event::NodeEnded { node: None });
        story.close(dying, End::Abrupt);
        story.close(watcher, End::Abrupt);
        story.connect((1, 1), stays(NEVER), true);
        story.wait(waits);
        if is_back {
            story.connect((1, 2), stays(NEVER), true);
        }
        story.quiet();
        let report = check(&story.history, &rules);
        assert_eq!(report.offences().count() > 0, is_broken, "{report}");
    }
}

/// A message with an expiry of 5 s that comes after `seconds`, with so many left.
fn expiring(seconds: u64, left: Option<u32>) -> impl FnOnce(&mut Story) {
    move |story| {
        let (subscriber, publisher) = pair(story);
        let one = Publish {
            expiry_seconds: Some(5),
            ..message(1, "a/b", AtLeastOnce)
        };
        story.publish(publisher, one.clone());
        story.wait(seconds);
        story.deliver_with(subscriber, &one, |it| it.expiry_seconds = left);
        story.quiet();
    }
}

#[test]
fn c9_a_message_comes_before_it_expires_and_says_what_is_left() {
    let clause = Clause::ExpiredIsNotDelivered;
    keeps(clause, expiring(3, Some(2)));
    keeps(clause, expiring(3, Some(1)));
    keeps(clause, expiring(3, None));
    breaks(clause, expiring(3, Some(5)));
    breaks(clause, expiring(3, Some(0)));
    breaks(clause, expiring(7, None));
    breaks(clause, |story| {
        let (subscriber, publisher) = pair(story);
        let one = message(1, "a/b", AtLeastOnce);
        story.publish(publisher, one.clone());
        story.deliver_with(subscriber, &one, |it| it.expiry_seconds = Some(1));
        story.quiet();
    });
}

#[test]
fn c9_a_session_is_not_resumed_after_its_expiry() {
    let tell = |waits: u64, present: bool| {
        move |story: &mut Story| {
            let client = story.connect((1, 1), stays(5), false);
            story.close(client, End::Abrupt);
            story.wait(waits);
            story.connect((1, 1), stays(5), present);
            story.quiet();
        }
    };
    breaks(Clause::ExpiredIsNotDelivered, tell(20, true));
    breaks(Clause::AcknowledgedIsDelivered, tell(3, false));
    for (waits, present) in [(20, false), (3, true), (6, true), (6, false)] {
        let report = judge(tell(waits, present));
        assert_eq!(report.offences().count(), 0, "{report}");
    }
}

#[test]
fn c10_the_server_counts_what_clients_see() {
    let tell = |count: u64| {
        move |story: &mut Story| {
            let (subscriber, publisher) = pair(story);
            let one = message(1, "a/b", AtLeastOnce);
            story.publish(publisher, one.clone());
            story.deliver(subscriber, &one);
            story.quiet();
            for what in [Figure::Publishes, Figure::Deliveries] {
                story.tell(Event::Counted(Counted {
                    tenant: Tenant(1),
                    what,
                    count,
                    tolerance: 1,
                }));
            }
        }
    };
    keeps(Clause::CountersAgree, tell(1));
    keeps(Clause::CountersAgree, tell(2));
    breaks(Clause::CountersAgree, tell(3));
}

#[test]
fn a_history_that_shows_nothing_proves_nothing() {
    let empty = judge(|_| {});
    assert_eq!(empty.verdict(), Verdict::Inconclusive);
    let only_quiet = judge(Story::quiet);
    assert_eq!(only_quiet.verdict(), Verdict::Inconclusive);
    assert!(
        Clause::ALL
            .iter()
            .all(|clause| only_quiet.judged(*clause) == 0)
    );
    // Without a quiet moment nothing can be missing.
    let never_quiet = judge(|story| {
        let (_, publisher) = pair(story);
        story.publish(publisher, message(1, "a/b", AtLeastOnce));
    });
    assert_eq!(
        never_quiet.verdict(),
        Verdict::Inconclusive,
        "{never_quiet}"
    );
}

#[test]
fn a_history_that_cannot_be_proves_nothing() {
    for tell in [
        (|story, publisher| story.acked(publisher, 7)) as fn(&mut Story, Who),
        |story, publisher| story.send(publisher, message(1, "a/b", AtLeastOnce)),
        |story, _| {
            story.now = Micros(0);
        },
    ] {
        let report = judge(|story| {
            let (subscriber, publisher) = pair(story);
            let one = message(1, "a/b", AtLeastOnce);
            story.publish(publisher, one.clone());
            story.deliver(subscriber, &one);
            tell(story, publisher);
            story.quiet();
        });
        assert_eq!(report.verdict(), Verdict::Inconclusive, "{report}");
    }
}

//! Minimal histories: for each clause one that keeps it, and some that break it and nothing else.

mod deliveries;
mod owners_and_subscriptions;
mod wills_and_time;

use std::sync::Arc;

use tessera_mqtt::Qos;
use tessera_mqtt::Qos::{AtLeastOnce, AtMostOnce, ExactlyOnce};

use super::*;

const RULES: Rules = Rules {
    clock_slack: Micros(100_000),
    session_expiry_late: Micros::from_seconds(5),
    will_grace: Micros(0),
    will_late: Micros::from_seconds(2),
    resent_may_repeat: false,
    resent_may_retain_again: false,
    takeover_flush: Micros(0),
    overtaken_may_subscribe: false,
};
const NEVER: u32 = u32::MAX;

/// A history in the making; each entry is a millisecond after the one before.
#[derive(Debug, Default)]
struct Story {
    history: History,
    now: Micros,
    connections: u32,
    packets: u16,
}

impl Story {
    fn tell(&mut self, event: Event) {
        self.now = self.now.plus(Micros(1_000));
        self.history.push(self.now, event);
    }

    fn act(&mut self, who: Who, act: Act) {
        self.tell(Event::Act { who, act });
    }

    fn wait(&mut self, seconds: u64) {
        self.now = self.now.plus(Micros::from_seconds(seconds));
    }

    fn quiet(&mut self) {
        self.tell(Event::Quiet);
    }

    fn who(&mut self, tenant: u16, client: u32) -> Who {
        self.connections += 1;
        Who {
            tenant: Tenant(tenant),
            client: Client(client),
            connection: Connection(self.connections),
            node: None,
        }
    }

    fn connect(&mut self, (tenant, client): (u16, u32), ask: Connect, present: bool) -> Who {
        let who = self.who(tenant, client);
        self.act(who, Act::Connect(ask));
        let connected = Act::Connected {
            session_present: Some(present),
            epoch: None,
        };
        self.act(who, connected);
        who
    }

    /// A new session that stays.
    fn open(&mut self, tenant: u16, client: u32) -> Who {
        self.connect((tenant, client), stays(NEVER), false)
    }

    fn transient(&mut self, tenant: u16, client: u32) -> Who {
        self.connect((tenant, client), fleeting(), false)
    }

    fn close(&mut self, who: Who, end: End) {
        self.act(who, Act::Closed { end });
    }

    fn subscribe(&mut self, who: Who, filter: &str, qos: Qos) {
        self.packets += 1;
        let packet = self.packets;
        let filters = vec![Subscription {
            filter: filter.into(),
            qos,
            no_local: false,
            retain_as_published: false,
        }];
        self.act(who, Act::Subscribe { packet, filters });
        let granted = vec![Some(qos)];
        self.act(who, Act::SubAck { packet, granted });
    }

    fn unsubscribe(&mut self, who: Who, filter: &str) {
        self.packets += 1;
        let packet = self.packets;
        let filters = vec![Arc::from(filter)];
        self.act(who, Act::Unsubscribe { packet, filters });
        self.act(who, Act::UnsubAck { packet });
    }

    fn send(&mut self, who: Who, publish: Publish) {
        self.act(who, Act::Publish(publish));
    }

    fn acked(&mut self, who: Who, message: u64) {
        let message = MessageId(message);
        self.act(who, Act::Published { message });
    }

    /// Published and acknowledged.
    fn publish(&mut self, who: Who, publish: Publish) {
        let message = publish.message.0;
        self.send(who, publish);
        self.acked(who, message);
    }

    fn deliver(&mut self, who: Who, publish: &Publish) {
        self.deliver_with(who, publish, |_| {});
    }

    fn deliver_with(&mut self, who: Who, publish: &Publish, change: impl FnOnce(&mut Delivery)) {
        let mut delivery = Delivery {
            payload: Payload::Message(publish.message),
            topic: Arc::clone(&publish.topic),
            qos: publish.qos,
            dup: false,
            retain: false,
            packet: None,
            expiry_seconds: None,
        };
        change(&mut delivery);
        self.act(who, Act::Deliver(delivery));
    }

    fn read(&mut self, who: Who, topic: &str, saw: Option<u64>) {
        let topic: Arc<str> = topic.into();
        let read = Act::ReadRetained {
            topic: Arc::clone(&topic),
        };
        self.act(who, read);
        let saw = saw.map(MessageId);
        self.act(who, Act::Retained { topic, saw });
    }
}

fn stays(expiry_seconds: u32) -> Connect {
    Connect {
        clean_start: false,
        expiry_seconds,
        will: None,
    }
}

fn fleeting() -> Connect {
    Connect {
        clean_start: true,
        expiry_seconds: 0,
        will: None,
    }
}

fn message(number: u64, topic: &str, qos: Qos) -> Publish {
    Publish {
        message: MessageId(number),
        topic: topic.into(),
        qos,
        retain: false,
        is_empty: false,
        expiry_seconds: None,
        packet: None,
        dup: false,
    }
}

fn again(publish: &Publish) -> Publish {
    Publish {
        dup: true,
        ..publish.clone()
    }
}

fn judge(tell: impl FnOnce(&mut Story)) -> Report {
    let mut story = Story::default();
    tell(&mut story);
    check(&story.history, &RULES)
}

#[track_caller]
fn keeps(clause: Clause, tell: impl FnOnce(&mut Story)) {
    let report = judge(tell);
    assert_eq!(report.verdict(), Verdict::Holds, "{report}");
    assert!(report.judged(clause) > 0, "{report}");
}

#[track_caller]
fn breaks(clause: Clause, tell: impl FnOnce(&mut Story)) {
    let report = judge(tell);
    assert_eq!(report.verdict(), Verdict::Broken, "{report}");
    let mut clauses: Vec<Clause> = report.offences().map(|offence| offence.clause).collect();
    clauses.dedup();
    assert_eq!(clauses, [clause], "{report}");
}

/// A subscriber of `a/#` with a session that stays, and a publisher.
fn pair(story: &mut Story) -> (Who, Who) {
    let subscriber = story.open(1, 1);
    story.subscribe(subscriber, "a/#", ExactlyOnce);
    (subscriber, story.transient(1, 2))
}

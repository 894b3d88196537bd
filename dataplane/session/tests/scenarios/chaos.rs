//! Any packets in any order: no panic, every byte that leaves is MQTT of that version, the bounds
//! hold, and nothing follows the end.

use proptest::prelude::*;
use tessera_mqtt::{
    Ack, Auth, Disconnect, Packet, ProtocolVersion, PublishTopic, Qos, ReasonCode, Subscribe,
    SubscribeFilter, SubscriptionOptions, TopicAlias,
};
use tessera_session::{Delivery, Event, Refusal, ServerLimits, SubscribeOutcome, Ticket};

use crate::pair::{
    Pair, aliased, connect, id, puback, pubcomp, publish_of, pubrec, pubrel, string, topic,
    unsubscribe,
};

const RECEIVE_MAXIMUM: u16 = 3;
const FILTERS: [&str; 5] = ["a", "a/#", "bad#", "$share/g/a", "$share/x"];

#[derive(Debug, Clone)]
enum Step {
    Client(Packet),
    Settle(usize, ReasonCode),
    CompleteRelease(u16),
    Deliver(Qos),
    Close(ReasonCode),
}

fn any_qos() -> impl Strategy<Value = u8> {
    0..3_u8
}

fn any_reason() -> impl Strategy<Value = ReasonCode> {
    prop::sample::select(ReasonCode::ALL)
}

fn any_subscribe(shared_no_local: bool) -> impl Strategy<Value = Packet> {
    prop::collection::vec(prop::sample::select(&FILTERS[..]), 1..4).prop_map(move |filters| {
        let filters = filters.into_iter().map(|filter| {
            let mut options = SubscriptionOptions::new(Qos::AtLeastOnce);
            options.no_local = shared_no_local;
            SubscribeFilter::new(string(filter), options)
        });
        Packet::Subscribe(Subscribe::new(id(9), filters.collect()))
    })
}

fn any_publish() -> impl Strategy<Value = Packet> {
    let name = prop::sample::select(&["a", "a/b", "$SYS/x"][..]);
    (name, any_qos(), 1..5_u16, any::<bool>()).prop_map(|(name, qos, number, dup)| {
        let mut publish = publish_of(name, qos, number);
        publish.dup = dup && qos > 0;
        Packet::Publish(publish)
    })
}

fn any_alias() -> impl Strategy<Value = Packet> {
    (1..20_u16, any::<bool>()).prop_map(|(number, define)| {
        let alias = TopicAlias::new(number).unwrap();
        let name = topic("aliased");
        aliased(match define {
            true => PublishTopic::Define { name, alias },
            false => PublishTopic::Alias(alias),
        })
    })
}

fn any_packet() -> impl Strategy<Value = Packet> {
    prop_oneof![
        20 => any_publish(),
        20 => (1..5_u16).prop_map(pubrel),
        20 => (1..5_u16, 0..3_usize).prop_map(|(number, kind)| {
            [puback, pubrec, pubcomp][kind](number)
        }),
        2 => (1..5_u16, any::<bool>()).prop_map(|(number, is_puback)| {
            let ack = Ack::with_reason(id(number), ReasonCode::UnspecifiedError);
            if is_puback { Packet::PubAck(ack) } else { Packet::PubRec(ack) }
        }),
        3 => any_alias(),
        5 => any_subscribe(false),
        1 => any_subscribe(true),
        3 => Just(unsubscribe(8, &["a", "bad#"])),
        5 => Just(Packet::PingReq),
        1 => Just(Packet::Disconnect(Disconnect::new(ReasonCode::Success))),
        1 => Just(Packet::Auth(Auth::new(ReasonCode::ReAuthenticate, string("M"), None))),
        1 => Just(Packet::Connect(Box::new(connect(ProtocolVersion::V5)))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => any_packet().prop_map(Step::Client),
        15 => (any::<usize>(), any_reason()).prop_map(|(choice, reason)| {
            Step::Settle(choice, if choice % 4 == 0 { reason } else { ReasonCode::Success })
        }),
        8 => (1..5_u16).prop_map(Step::CompleteRelease),
        15 => any_qos().prop_map(|qos| Step::Deliver(Qos::try_from(qos).unwrap())),
        1 => any_reason().prop_map(Step::Close),
    ]
}

/// Whether that version has the packet in that form.
fn is_sayable(packet: &Packet, version: ProtocolVersion) -> bool {
    match packet {
        _ if version.is_v5() => true,
        Packet::Auth(_) | Packet::Connect(_) => false,
        Packet::PubAck(ack) | Packet::PubRec(ack) => !ack.reason.is_failure(),
        Packet::Publish(publish) => publish.topic.alias().is_none(),
        _ => true,
    }
}

struct Chaos {
    pair: Pair,
    tickets: Vec<Ticket>,
    over: bool,
}

impl Chaos {
    fn apply(&mut self, step: Step) {
        match step {
            Step::Client(packet) => self.client(packet),
            Step::Settle(choice, reason) => {
                if self.tickets.is_empty() {
                    return;
                }
                let ticket = self.tickets.swap_remove(choice % self.tickets.len());
                let refused = self.pair.inbound.complete_publish(ticket, reason, None);
                if let Err(violation) = refused {
                    assert!(!self.pair.version.is_v5());
                    self.pair.violate(&violation);
                    self.over = true;
                }
                self.pair.write_acknowledgements();
            }
            Step::CompleteRelease(number) => self.pair.complete_release(number),
            Step::Deliver(qos) => {
                let delivery = self.pair.deliver_text("m", qos);
                assert_eq!(delivery == Delivery::Closed, self.over);
            }
            Step::Close(reason) => {
                self.pair.close(Refusal::new(reason, "closed"));
                self.over = true;
            }
        }
    }

    fn client(&mut self, packet: Packet) {
        if !is_sayable(&packet, self.pair.version)
            || (!self.over && !self.pair.inbound.wants_packets())
        {
            return;
        }
        match self.pair.try_send(packet) {
            Ok(event) => self.handle(event),
            Err(_) => self.over = true,
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Publish(publish) => self.tickets.extend(publish.ticket),
            Event::Acknowledged(ack) => {
                let outcome = self
                    .pair
                    .with_outbound(|outbound, now, out| outbound.handle_ack(ack, now, out));
                if let Err(violation) = outcome {
                    self.pair.violate(&violation);
                    self.over = true;
                }
            }
            Event::Subscribe(request) => {
                let outcomes: Vec<SubscribeOutcome> = request
                    .entries
                    .iter()
                    .map(|entry| entry.target.as_ref().map(|_| entry.options.qos))
                    .map(|outcome| outcome.map_err(|reason| *reason))
                    .collect();
                let answered = self.pair.with_inbound(|inbound, out| {
                    inbound.write_suback(request.token, &outcomes, None, out)
                });
                if let Err(violation) = answered {
                    self.pair.violate(&violation);
                    self.over = true;
                }
            }
            Event::Unsubscribe(request) => {
                let codes = [ReasonCode::Success, ReasonCode::TopicFilterInvalid];
                self.pair.with_inbound(|inbound, out| {
                    inbound.write_unsuback(request.token, &codes, None, out);
                });
            }
            Event::Disconnect(_) => {
                self.pair.with_outbound(|outbound, _, _| outbound.close());
                self.over = true;
            }
            Event::Release(_) | Event::Refused(_) | Event::Nothing => {}
            Event::Connect(_) | Event::Reauthenticated => panic!("unexpected {event:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_packets_in_any_order_are_answered_in_form_and_nothing_follows_the_end(
        version in prop::sample::select(&crate::pair::ALL[..]),
        steps in prop::collection::vec(step(), 0..120),
    ) {
        let limits = ServerLimits { receive_maximum: RECEIVE_MAXIMUM, ..ServerLimits::default() };
        let mut pair = Pair::with_limits(version, limits);
        pair.bounds.window_max = RECEIVE_MAXIMUM;
        pair.connect(connect(version));
        pair.accept(tessera_session::Accepted::default());
        let mut chaos = Chaos { pair, tickets: Vec::new(), over: false };
        for step in steps {
            let was_over = chaos.over;
            chaos.apply(step);
            let packets = chaos.pair.receive();
            prop_assert!(!was_over || packets.is_empty(), "after the end: {packets:?}");
            let room = chaos.pair.with_outbound(|outbound, _, _| outbound.window_room());
            prop_assert!(room <= usize::from(RECEIVE_MAXIMUM));
            prop_assert!(chaos.tickets.len() <= usize::from(RECEIVE_MAXIMUM));
        }
    }
}

//! A publisher, a session's inbox and its subscriber, with connections that break at any moment: no
//! QoS 1 message is lost, no QoS 2 message is lost or doubled, and first deliveries keep their
//! order.

use std::collections::{BTreeSet, VecDeque};
use std::num::NonZeroU16;

use proptest::prelude::*;
use tessera_mqtt::{Message, Packet, PacketId, ProtocolVersion, Publish, Qos, ReasonCode};
use tessera_session::{
    Accepted, AckOutcome, Event, Grant, Numbering, Sequence, ServerLimits, Ticket,
};

use crate::pair::{Pair, connect, id, puback, pubcomp, pubrec, pubrel, topic};

/// Of both directions.
const RECEIVE_MAXIMUM: u16 = 4;
/// Steps after which everything that was published must have arrived.
const SETTLING_STEPS_MAX: usize = 10_000;

/// What may happen next.
#[derive(Debug, Clone, Copy)]
enum Transition {
    Publish(Qos),
    PublisherToServer,
    ServerToPublisher,
    Settle(usize),
    CommitRemoval,
    LosePublisher,
    Pump,
    SubscriberToServer,
    ServerToSubscriber,
    CommitReceived,
    CommitCursor,
    LoseSubscriber,
}

/// Every move but a loss and a new message, with which the world comes to rest.
const SETTLING: [Transition; 9] = [
    Transition::PublisherToServer,
    Transition::ServerToPublisher,
    Transition::Settle(0),
    Transition::CommitRemoval,
    Transition::Pump,
    Transition::SubscriberToServer,
    Transition::ServerToSubscriber,
    Transition::CommitReceived,
    Transition::CommitCursor,
];

fn transition() -> impl Strategy<Value = Transition> {
    prop_oneof![
        3 => Just(Transition::Publish(Qos::AtLeastOnce)),
        3 => Just(Transition::Publish(Qos::ExactlyOnce)),
        8 => Just(Transition::PublisherToServer),
        8 => Just(Transition::ServerToPublisher),
        5 => any::<usize>().prop_map(Transition::Settle),
        3 => Just(Transition::CommitRemoval),
        1 => Just(Transition::LosePublisher),
        5 => Just(Transition::Pump),
        8 => Just(Transition::SubscriberToServer),
        8 => Just(Transition::ServerToSubscriber),
        3 => Just(Transition::CommitReceived),
        2 => Just(Transition::CommitCursor),
        1 => Just(Transition::LoseSubscriber),
    ]
}

/// What survives every connection.
#[derive(Debug, Default)]
struct Store {
    /// QoS 2 identifiers of the publisher that wait for PUBREL.
    received: BTreeSet<PacketId>,
    inbox: Vec<(Qos, u32)>,
    cursor: u64,
    released: BTreeSet<u64>,
}

/// A connection and what is under way on it.
struct Link {
    pair: Pair,
    to_server: VecDeque<Packet>,
    to_client: VecDeque<Packet>,
}

impl Link {
    fn open(version: ProtocolVersion, unreleased: Vec<PacketId>) -> Self {
        let limits = ServerLimits {
            receive_maximum: RECEIVE_MAXIMUM,
            ..ServerLimits::default()
        };
        let mut pair = Pair::with_limits(version, limits);
        pair.numbering = Numbering::Inbox;
        pair.bounds.window_max = RECEIVE_MAXIMUM;
        let mut connect = connect(version);
        connect.clean_start = false;
        connect.receive_maximum = NonZeroU16::new(RECEIVE_MAXIMUM).unwrap();
        pair.connect(connect);
        pair.accept(Accepted {
            session_present: true,
            unreleased,
            ..Accepted::default()
        });
        Self {
            pair,
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
        }
    }

    /// The client's next packet reaches the server, if the server reads.
    fn next_event(&mut self) -> Option<Event> {
        if !self.pair.inbound.wants_packets() {
            return None;
        }
        let packet = self.to_server.pop_front()?;
        Some(self.pair.send(packet))
    }

    fn collect(&mut self) {
        let packets = self.pair.receive();
        self.to_client.extend(packets);
    }
}

/// A message that the publisher has not seen completed.
struct Outgoing {
    number: u32,
    packet_id: PacketId,
    qos: Qos,
    released: bool,
}

impl Outgoing {
    fn packet(&self, dup: bool) -> Packet {
        if self.released {
            return pubrel(self.packet_id.get());
        }
        let mut message = Message::new(topic("t"), self.number.to_be_bytes().to_vec());
        message.qos = self.qos;
        let mut publish = Publish::new(message, Some(self.packet_id));
        publish.dup = dup;
        Packet::Publish(publish)
    }
}

struct Publisher {
    version: ProtocolVersion,
    link: Link,
    outgoing: Vec<Outgoing>,
    published: Vec<Qos>,
    tickets: Vec<Ticket>,
    removals: Vec<PacketId>,
}

impl Publisher {
    fn new(version: ProtocolVersion) -> Self {
        Self {
            version,
            link: Link::open(version, Vec::new()),
            outgoing: Vec::new(),
            published: Vec::new(),
            tickets: Vec::new(),
            removals: Vec::new(),
        }
    }

    fn publish(&mut self, qos: Qos) {
        if self.outgoing.len() >= usize::from(RECEIVE_MAXIMUM) {
            return;
        }
        let in_use = |packet_id| self.outgoing.iter().any(|o| o.packet_id == packet_id);
        let packet_id = (1..).map(id).find(|packet_id| !in_use(*packet_id)).unwrap();
        let outgoing = Outgoing {
            number: u32::try_from(self.published.len()).unwrap(),
            packet_id,
            qos,
            released: false,
        };
        self.published.push(qos);
        self.link.to_server.push_back(outgoing.packet(false));
        self.outgoing.push(outgoing);
    }

    fn reach_server(&mut self, store: &mut Store) -> bool {
        let Some(event) = self.link.next_event() else {
            return false;
        };
        match event {
            Event::Publish(publish) => {
                let bytes = publish.message.payload[..].try_into().unwrap();
                let number = u32::from_be_bytes(bytes);
                store.inbox.push((publish.message.qos, number));
                if publish.message.qos == Qos::ExactlyOnce {
                    assert!(store.received.insert(publish.packet_id.unwrap()));
                }
                self.tickets.push(publish.ticket.unwrap());
            }
            Event::Release(packet_id) => self.removals.push(packet_id),
            Event::Nothing => {}
            other => panic!("unexpected {other:?}"),
        }
        self.link.pair.write_acknowledgements();
        self.link.collect();
        true
    }

    fn reach_client(&mut self) -> bool {
        let Some(packet) = self.link.to_client.pop_front() else {
            return false;
        };
        match packet {
            Packet::PubAck(ack) | Packet::PubComp(ack) => {
                self.outgoing
                    .retain(|outgoing| outgoing.packet_id != ack.packet_id);
            }
            Packet::PubRec(ack) => {
                let mut open = self.outgoing.iter_mut();
                if let Some(outgoing) = open.find(|o| o.packet_id == ack.packet_id) {
                    outgoing.released = true;
                    self.link.to_server.push_back(outgoing.packet(false));
                }
            }
            other => panic!("unexpected {other:?}"),
        }
        true
    }

    fn settle(&mut self, choice: usize) -> bool {
        if self.tickets.is_empty() {
            return false;
        }
        let ticket = self.tickets.swap_remove(choice % self.tickets.len());
        self.link.pair.settle(ticket, ReasonCode::Success);
        self.link.collect();
        true
    }

    fn commit_removal(&mut self, store: &mut Store) -> bool {
        let Some(packet_id) = self.removals.pop() else {
            return false;
        };
        store.received.remove(&packet_id);
        self.link.pair.complete_release(packet_id.get());
        self.link.collect();
        true
    }

    fn lose(&mut self, store: &Store) {
        self.link = Link::open(self.version, store.received.iter().copied().collect());
        self.tickets.clear();
        self.removals.clear();
        let again = self.outgoing.iter().map(|outgoing| outgoing.packet(true));
        self.link.to_server.extend(again);
    }
}

struct Subscriber {
    version: ProtocolVersion,
    link: Link,
    /// QoS 2 identifiers whose PUBREL the client awaits.
    held: BTreeSet<PacketId>,
    seen: Vec<(Qos, u32)>,
    fetched: u64,
    /// Sequences that were written at some time.
    written: u64,
    received: Vec<Sequence>,
    below: u64,
}

impl Subscriber {
    fn new(version: ProtocolVersion) -> Self {
        Self {
            version,
            link: Link::open(version, Vec::new()),
            held: BTreeSet::new(),
            seen: Vec::new(),
            fetched: 0,
            written: 0,
            received: Vec::new(),
            below: 0,
        }
    }

    fn pump(&mut self, store: &Store) -> bool {
        let before = self.fetched;
        while self
            .link
            .pair
            .with_outbound(|outbound, _, _| outbound.window_room())
            > 0
        {
            let index = usize::try_from(self.fetched).unwrap();
            let Some((qos, number)) = store.inbox.get(index).copied() else {
                break;
            };
            let grant = Grant {
                qos,
                retain: false,
                dup: self.fetched < self.written,
                sequence: Some(Sequence(self.fetched)),
                subscription_ids: &[],
                expiry_seconds: None,
            };
            let message = Message::new(topic("t"), number.to_be_bytes().to_vec());
            self.link.pair.deliver(&message, &grant);
            self.fetched += 1;
            self.written = self.written.max(self.fetched);
        }
        self.link.collect();
        self.fetched > before
    }

    fn reach_server(&mut self) -> bool {
        let Some(event) = self.link.next_event() else {
            return false;
        };
        let Event::Acknowledged(ack) = event else {
            panic!("unexpected {event:?}");
        };
        let outcome = self
            .link
            .pair
            .with_outbound(|outbound, now, out| outbound.handle_ack(ack, now, out));
        match outcome.unwrap() {
            AckOutcome::Nothing => {}
            AckOutcome::Progress { acknowledged_below } => self.below = acknowledged_below.0,
            AckOutcome::Received(sequence) => self.received.push(sequence),
        }
        self.link.collect();
        true
    }

    fn reach_client(&mut self) -> bool {
        let Some(packet) = self.link.to_client.pop_front() else {
            return false;
        };
        let answer = match packet {
            Packet::Publish(publish) => self.hear(&publish),
            Packet::PubRel(ack) => {
                self.held.remove(&ack.packet_id);
                pubcomp(ack.packet_id.get())
            }
            other => panic!("unexpected {other:?}"),
        };
        self.link.to_server.push_back(answer);
        true
    }

    fn hear(&mut self, publish: &Publish) -> Packet {
        let packet_id = publish.packet_id.unwrap();
        let number = u32::from_be_bytes(publish.payload[..].try_into().unwrap());
        if publish.qos == Qos::AtLeastOnce {
            self.seen.push((publish.qos, number));
            return puback(packet_id.get());
        }
        if self.held.insert(packet_id) {
            self.seen.push((publish.qos, number));
        }
        pubrec(packet_id.get())
    }

    fn commit_received(&mut self, store: &mut Store) -> bool {
        let Some(sequence) = self.received.pop() else {
            return false;
        };
        store.released.insert(sequence.0);
        self.link.pair.release(sequence);
        self.link.collect();
        true
    }

    fn commit_cursor(&self, store: &mut Store) -> bool {
        let moves = self.below > store.cursor;
        store.cursor = store.cursor.max(self.below);
        store.released = store.released.split_off(&store.cursor);
        moves
    }

    fn lose(&mut self, store: &Store) {
        self.link = Link::open(self.version, Vec::new());
        let released: Vec<Sequence> = store.released.iter().copied().map(Sequence).collect();
        self.link.pair.with_outbound(|outbound, _, out| {
            outbound.resume(Sequence(store.cursor), &released, out);
        });
        self.link.collect();
        self.fetched = store.cursor;
        self.below = store.cursor;
        self.received.clear();
    }
}

struct World {
    store: Store,
    publisher: Publisher,
    subscriber: Subscriber,
}

impl World {
    fn new(publisher: ProtocolVersion, subscriber: ProtocolVersion) -> Self {
        Self {
            store: Store::default(),
            publisher: Publisher::new(publisher),
            subscriber: Subscriber::new(subscriber),
        }
    }

    /// Whether anything happened.
    fn apply(&mut self, transition: Transition) -> bool {
        let (store, publisher, subscriber) =
            (&mut self.store, &mut self.publisher, &mut self.subscriber);
        match transition {
            Transition::Publish(qos) => publisher.publish(qos),
            Transition::PublisherToServer => return publisher.reach_server(store),
            Transition::ServerToPublisher => return publisher.reach_client(),
            Transition::Settle(choice) => return publisher.settle(choice),
            Transition::CommitRemoval => return publisher.commit_removal(store),
            Transition::LosePublisher => publisher.lose(store),
            Transition::Pump => return subscriber.pump(store),
            Transition::SubscriberToServer => return subscriber.reach_server(),
            Transition::ServerToSubscriber => return subscriber.reach_client(),
            Transition::CommitReceived => return subscriber.commit_received(store),
            Transition::CommitCursor => return subscriber.commit_cursor(store),
            Transition::LoseSubscriber => subscriber.lose(store),
        }
        true
    }

    fn settle(&mut self) {
        for _ in 0..SETTLING_STEPS_MAX {
            let moved = SETTLING.map(|transition| self.apply(transition));
            if !moved.contains(&true) {
                return;
            }
        }
        panic!("does not come to rest");
    }

    fn check(&self) {
        assert!(
            self.publisher.outgoing.is_empty(),
            "the publisher waits for ever"
        );
        assert!(
            self.store.received.is_empty(),
            "an identifier is held for ever"
        );
        assert!(self.subscriber.held.is_empty(), "a PUBREL is owed for ever");
        assert_eq!(
            self.store.cursor,
            u64::try_from(self.store.inbox.len()).unwrap()
        );
        for (number, qos) in self.publisher.published.iter().enumerate() {
            let number = u32::try_from(number).unwrap();
            let copies = self.subscriber.seen.iter().filter(|seen| seen.1 == number);
            match (qos, copies.count()) {
                (Qos::AtLeastOnce, 1..) | (Qos::ExactlyOnce, 1) => {}
                (_, copies) => panic!("{qos:?} message {number} came {copies} times"),
            }
        }
        for level in [Qos::AtLeastOnce, Qos::ExactlyOnce] {
            let mut known = BTreeSet::new();
            let seen = self.subscriber.seen.iter().filter(|seen| seen.0 == level);
            let first: Vec<u32> = seen
                .map(|seen| seen.1)
                .filter(|n| known.insert(*n))
                .collect();
            assert!(first.is_sorted(), "{level:?} in order: {first:?}");
        }
    }
}

fn version() -> impl Strategy<Value = ProtocolVersion> {
    prop_oneof![
        Just(ProtocolVersion::V5),
        Just(ProtocolVersion::V311),
        Just(ProtocolVersion::V31)
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn qos_1_is_never_lost_and_qos_2_comes_exactly_once_over_any_loss_of_connections(
        publisher in version(),
        subscriber in version(),
        transitions in prop::collection::vec(transition(), 0..400),
    ) {
        let mut world = World::new(publisher, subscriber);
        for transition in transitions {
            world.apply(transition);
        }
        world.settle();
        world.check();
    }
}

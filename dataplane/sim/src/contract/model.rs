//! A tiny MQTT service in memory that does everything at once, and its mutants.

mod deliveries;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use tessera_mqtt::Qos;

use super::history::*;

/// What the load does next. Clients and topics are small numbers, for the sake of collisions.
#[derive(Debug, Clone)]
pub(super) enum Op {
    Connect {
        key: (u16, u32),
        clean: bool,
        stays: bool,
        will: bool,
    },
    /// The client's connection breaks, or it says farewell.
    End {
        key: (u16, u32),
        farewell: bool,
    },
    Subscribe {
        key: (u16, u32),
        filter: &'static str,
        qos: Qos,
    },
    Unsubscribe {
        key: (u16, u32),
        filter: &'static str,
    },
    Publish {
        key: (u16, u32),
        topic: &'static str,
        qos: Qos,
        retain: bool,
        is_empty: bool,
        expires: bool,
        /// So many messages, one after the other.
        times: u8,
    },
    Read {
        tenant: u16,
        topic: &'static str,
    },
    Wait {
        seconds: u64,
    },
    Crash,
    Quiet,
}

/// What a mutant does wrong, each third time that it could.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    LosesAMessage,
    DoublesQos2,
    Reorders,
    CrossesTenants,
    KeepsAnUnsubscribed,
    ForgetsARetained,
    DoublesAWill,
    LosesAWill,
    DeliversExpired,
    ServesTheFormerOwner,
    LosesASession,
    SharesWithAll,
}

pub(super) const EXPIRY_SECONDS: u32 = 5;
const WILL_DELAY_SECONDS: u32 = 2;
const WILL_TOPIC: &str = "will";

#[derive(Debug, Clone)]
struct Queued {
    payload: Payload,
    topic: Arc<str>,
    qos: Qos,
    expires: Option<Micros>,
    /// The group that gave it to this member.
    by: Option<Arc<str>>,
}

#[derive(Debug, Default)]
struct Session {
    stays: bool,
    connection: Option<Connection>,
    former: Option<Connection>,
    subs: BTreeMap<Arc<str>, Qos>,
    queue: VecDeque<Queued>,
    will: Option<Will>,
    will_due: Option<Micros>,
}

type Key = (Tenant, Client);

#[derive(Debug)]
pub(super) struct Model {
    pub(super) history: History,
    mutant: Option<Mutant>,
    chances: u32,
    now: Micros,
    sessions: BTreeMap<Key, Session>,
    retained: BTreeMap<(Tenant, Arc<str>), (MessageId, Option<Micros>)>,
    last_connection: u32,
    last_message: u64,
    last_packet: u16,
    turns: usize,
}

impl Model {
    pub(super) fn new(mutant: Option<Mutant>) -> Self {
        Self {
            history: History::default(),
            mutant,
            chances: 0,
            now: Micros(0),
            sessions: BTreeMap::new(),
            retained: BTreeMap::new(),
            last_connection: 0,
            last_message: 0,
            last_packet: 0,
            turns: 0,
        }
    }

    /// Does all of it and comes to rest.
    pub(super) fn run(mut self, ops: &[Op]) -> History {
        for op in ops {
            self.step(op);
            self.fire_wills();
        }
        let keys: Vec<Key> = self.sessions.keys().copied().collect();
        for key in keys {
            let is_away = |session: &Session| session.stays && session.connection.is_none();
            if self.sessions.get(&key).is_some_and(is_away) {
                self.connect(key, false, true, false);
            }
        }
        self.step(&Op::Wait { seconds: 20 });
        self.fire_wills();
        self.step(&Op::Quiet);
        self.history
    }

    fn errs(&mut self, mutant: Mutant) -> bool {
        if self.mutant != Some(mutant) {
            return false;
        }
        self.chances += 1;
        self.chances.is_multiple_of(3)
    }

    fn tell(&mut self, event: Event) {
        self.now = self.now.plus(Micros(100));
        self.history.push(self.now, event);
    }

    fn act(&mut self, key: Key, connection: Connection, act: Act) {
        let who = Who {
            tenant: key.0,
            client: key.1,
            connection,
            node: None,
        };
        self.tell(Event::Act { who, act });
    }

    fn step(&mut self, op: &Op) {
        let of = |key: &(u16, u32)| (Tenant(key.0), Client(key.1));
        match op {
            Op::Connect {
                key,
                clean,
                stays,
                will,
            } => self.connect(of(key), *clean, *stays, *will),
            Op::End { key, farewell } => self.end(of(key), *farewell),
            Op::Subscribe { key, filter, qos } => self.subscribe(of(key), filter, *qos),
            Op::Unsubscribe { key, filter } => self.unsubscribe(of(key), filter),
            Op::Publish { times, .. } => {
                for _ in 0..*times {
                    self.publish_new(op);
                }
            }
            Op::Read { tenant, topic } => self.read(Tenant(*tenant), topic),
            Op::Wait { seconds } => self.now = self.now.plus(Micros::from_seconds(*seconds)),
            Op::Crash => self.crash(),
            Op::Quiet => self.tell(Event::Quiet),
        }
    }

    fn connect(&mut self, key: Key, clean: bool, stays: bool, has_will: bool) {
        self.last_connection += 1;
        let connection = Connection(self.last_connection);
        let will = has_will.then(|| {
            self.last_message += 1;
            Will {
                message: MessageId(self.last_message),
                topic: WILL_TOPIC.into(),
                qos: Qos::ExactlyOnce,
                retain: false,
                delay_seconds: if stays { WILL_DELAY_SECONDS } else { 0 },
            }
        });
        let ask = Connect {
            clean_start: clean,
            expiry_seconds: if stays { u32::MAX } else { 0 },
            will: will.clone(),
        };
        self.act(key, connection, Act::Connect(ask));
        let former = self
            .sessions
            .get(&key)
            .and_then(|session| session.connection);
        if former.is_some() {
            self.disconnect(key, false);
        }
        // A takeover of a session that ends with its connection finds none.
        let is_lost =
            self.sessions.contains_key(&key) && !clean && self.errs(Mutant::LosesASession);
        if clean || is_lost {
            self.forget(key);
        }
        let present = self.sessions.contains_key(&key);
        let session = self.sessions.entry(key).or_default();
        if session.will_due.is_some_and(|due| due > self.now) {
            session.will = None;
            session.will_due = None;
        }
        session.stays = stays;
        session.connection = Some(connection);
        session.former = former;
        session.will = session.will.take().or(will);
        let connected = Act::Connected {
            session_present: Some(present),
            epoch: None,
        };
        self.act(key, connection, connected);
        self.drain(key);
    }

    fn end(&mut self, key: Key, farewell: bool) {
        let connection = self
            .sessions
            .get(&key)
            .and_then(|session| session.connection);
        let Some(connection) = connection else {
            return;
        };
        if farewell {
            let disconnect = Act::Disconnect {
                with_will: false,
                expiry_seconds: None,
            };
            self.act(key, connection, disconnect);
        }
        let end = if farewell { End::Farewell } else { End::Abrupt };
        self.act(key, connection, Act::Closed { end });
        self.disconnect(key, farewell);
    }

    /// The session has no connection any more.
    fn disconnect(&mut self, key: Key, farewell: bool) {
        let Some(session) = self.sessions.get_mut(&key) else {
            return;
        };
        session.connection = None;
        if farewell {
            session.will = None;
        }
        let delay = session.will.as_ref().map_or(0, |will| will.delay_seconds);
        session.will_due = Some(self.now.plus(Micros::from_seconds(delay.into())));
        if session.stays {
            self.fire_wills();
        } else {
            self.forget(key);
        }
    }

    /// The session ends: its will is due, and what its groups gave it goes to others.
    fn forget(&mut self, key: Key) {
        let Some(session) = self.sessions.remove(&key) else {
            return;
        };
        if let Some(will) = session.will {
            self.fire(key.0, &will);
        }
        for queued in session.queue {
            let Some(by) = &queued.by else {
                continue;
            };
            if let Some(member) = self.member(key.0, by) {
                self.enqueue(member, queued);
            }
        }
    }

    fn subscribe(&mut self, key: Key, filter: &str, qos: Qos) {
        let Some(connection) = self.connection(key) else {
            return;
        };
        self.last_packet += 1;
        let packet = self.last_packet;
        let filters = vec![Subscription {
            filter: filter.into(),
            qos,
            no_local: false,
            retain_as_published: false,
        }];
        self.act(key, connection, Act::Subscribe { packet, filters });
        if let Some(session) = self.sessions.get_mut(&key) {
            session.subs.insert(filter.into(), qos);
        }
        let granted = vec![Some(qos)];
        self.act(key, connection, Act::SubAck { packet, granted });
    }

    fn unsubscribe(&mut self, key: Key, filter: &str) {
        let Some(connection) = self.connection(key) else {
            return;
        };
        self.last_packet += 1;
        let packet = self.last_packet;
        let filters = vec![Arc::from(filter)];
        self.act(key, connection, Act::Unsubscribe { packet, filters });
        let is_kept = self.errs(Mutant::KeepsAnUnsubscribed);
        if let Some(session) = self.sessions.get_mut(&key)
            && !is_kept
        {
            session.subs.remove(filter);
        }
        self.act(key, connection, Act::UnsubAck { packet });
    }

    fn read(&mut self, tenant: Tenant, topic: &str) {
        self.last_connection += 1;
        let connection = Connection(self.last_connection);
        let key = (tenant, Client(1_000 + self.last_connection));
        let topic: Arc<str> = topic.into();
        let read = Act::ReadRetained {
            topic: Arc::clone(&topic),
        };
        self.act(key, connection, read);
        let found = self.retained.get(&(tenant, Arc::clone(&topic))).copied();
        let is_live = |expires: Option<Micros>| expires.is_none_or(|expires| self.now < expires);
        let saw = found
            .filter(|(_, expires)| is_live(*expires))
            .map(|(message, _)| message);
        self.act(key, connection, Act::Retained { topic, saw });
    }

    fn crash(&mut self) {
        self.tell(Event::NodeEnded { node: None });
        let keys: Vec<Key> = self.sessions.keys().copied().collect();
        for key in keys {
            if let Some(connection) = self.connection(key) {
                let end = End::Abrupt;
                self.act(key, connection, Act::Closed { end });
                self.disconnect(key, false);
            }
        }
    }

    fn fire_wills(&mut self) {
        let now = self.now;
        let mut due = Vec::new();
        for (key, session) in &mut self.sessions {
            let is_due =
                session.connection.is_none() && session.will_due.is_some_and(|due| due <= now);
            if is_due && let Some(will) = session.will.take() {
                due.push((key.0, will));
            }
        }
        for (tenant, will) in due {
            self.fire(tenant, &will);
        }
    }

    fn fire(&mut self, tenant: Tenant, will: &Will) {
        let times = if self.errs(Mutant::LosesAWill) {
            0
        } else if self.errs(Mutant::DoublesAWill) {
            2
        } else {
            1
        };
        let payload = Payload::Message(will.message);
        for _ in 0..times {
            self.route(tenant, payload, &will.topic, will.qos, None);
        }
    }

    fn connection(&self, key: Key) -> Option<Connection> {
        self.sessions.get(&key)?.connection
    }
}

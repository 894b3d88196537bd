//! Walks through a history once and writes down what follows from it.

mod subscriptions;

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Rules;
use super::facts::{Facts, Key, Link, Message, Read, Received, SessionFault, SessionFaultKind};
use super::history::{
    Act, Connect, Connection, End, Event, History, Micros, Moment, Node, Publish, Who,
};

/// What is known of a client's session.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Session {
    /// The client never asked for one.
    #[default]
    None,
    /// There may be one.
    Maybe,
    /// Its CONNACK came, and nothing since may have ended it.
    Sure,
}

#[derive(Debug, Default)]
struct ClientState {
    session: Session,
    /// CONNECTs that left.
    connects: u32,
    /// Counts the client's sessions.
    number: u32,
    connection: Option<Connection>,
    /// Whose CONNECT left last.
    asking: Option<Connection>,
    /// The least that the session's expiry may be, and the most, in seconds.
    expiry: (u32, u32),
    /// When the client was cut off first and last, if it has no connection.
    cut: Option<(Micros, Micros)>,
    /// The CONNACK of the session as it stands.
    since: Option<Moment>,
    /// Subscriptions that may stand.
    subs: Vec<usize>,
    /// Sent and not answered: the SUBSCRIBEs and UNSUBSCRIBEs of a connection, by packet identifier.
    asked: BTreeMap<(Connection, u16), Vec<usize>>,
    read: BTreeMap<Arc<str>, Moment>,
}

pub(crate) struct Replay<'a> {
    facts: Facts<'a>,
    clients: BTreeMap<Key, ClientState>,
    nodes: BTreeMap<Connection, Node>,
    last: Micros,
}

impl<'a> Replay<'a> {
    pub(crate) fn new(history: &'a History, rules: &'a Rules) -> Self {
        Self {
            facts: Facts {
                history,
                rules,
                messages: BTreeMap::new(),
                published: Vec::new(),
                wills: BTreeMap::new(),
                links: BTreeMap::new(),
                subs: Vec::new(),
                subs_of: BTreeMap::new(),
                by_topic: BTreeMap::new(),
                received: Vec::new(),
                received_of: BTreeMap::new(),
                connects: Vec::new(),
                connected: BTreeMap::new(),
                quiets: Vec::new(),
                node_ends: Vec::new(),
                dropped: BTreeMap::new(),
                fired: BTreeMap::new(),
                session_faults: Vec::new(),
                sessions_judged: 0,
                counted: Vec::new(),
                acks: Vec::new(),
                reads: Vec::new(),
                nonsense: None,
            },
            clients: BTreeMap::new(),
            nodes: BTreeMap::new(),
            last: Micros(0),
        }
    }

    pub(crate) fn run(mut self) -> Facts<'a> {
        let history = self.facts.history;
        for (at, entry) in history.entries().iter().enumerate() {
            let moment = Moment(at);
            if entry.at < self.last {
                self.nonsense(moment, "time goes back");
            }
            self.last = entry.at;
            match &entry.event {
                Event::Act { who, act } => self.act(moment, who, act),
                Event::NodeEnded { node } => self.node_ended(moment, *node),
                Event::Quiet => self.facts.quiets.push(moment),
                Event::Counted(counted) => self.facts.counted.push((moment, *counted)),
            }
        }
        self.facts
    }

    fn act(&mut self, moment: Moment, who: &Who, act: &'a Act) {
        let key = (who.tenant, who.client);
        if let Some(node) = who.node {
            self.nodes.insert(who.connection, node);
        }
        match act {
            Act::Connect(ask) => self.connect(moment, key, who.connection, ask),
            Act::Connected {
                session_present,
                epoch,
            } => self.connected(moment, key, who.connection, *session_present, *epoch),
            Act::Disconnect {
                with_will: _,
                expiry_seconds,
            } => self.disconnect(moment, key, who.connection, *expiry_seconds),
            Act::Closed { end } => self.closed(moment, key, who.connection, *end),
            Act::Subscribe { packet, filters } => {
                self.subscribe(moment, key, (who.connection, *packet), filters);
            }
            Act::SubAck { packet, granted } => {
                self.suback(moment, key, (who.connection, *packet), granted);
            }
            Act::Unsubscribe { packet, filters } => {
                self.unsubscribe(moment, key, (who.connection, *packet), filters);
            }
            Act::UnsubAck { packet } => self.unsuback(moment, key, (who.connection, *packet)),
            Act::Publish(publish) => self.publish(moment, key, publish),
            Act::Published { message } => {
                self.facts.acks.push((moment, who.connection, *message));
                match self.facts.messages.get_mut(message) {
                    Some(message) => {
                        message.acked.get_or_insert(moment);
                    }
                    None => self.nonsense(moment, "an acknowledgement of nothing"),
                }
            }
            Act::Refused { message: _ } => {}
            Act::Deliver(delivery) => {
                let links = &self.facts.links;
                let old = links
                    .get(&who.connection)
                    .filter(|link| link.superseded.is_some());
                let session = old.map(|link| link.session);
                let session = session.unwrap_or_else(|| self.client(key).number);
                self.received(Received {
                    moment,
                    key,
                    connection: who.connection,
                    session,
                    delivery,
                });
            }
            Act::Dropped { count } => *self.facts.dropped.entry(key).or_default() += count,
            Act::WillFired { message } => {
                self.facts.fired.entry(*message).or_default().push(moment);
            }
            Act::SessionExpired => {
                self.end_session(moment, key);
                self.client(key).session = Session::Maybe;
            }
            Act::ReadRetained { topic } => {
                self.client(key).read.insert(Arc::clone(topic), moment);
            }
            Act::Retained { topic, saw } => {
                let Some(begun) = self.client(key).read.remove(topic) else {
                    return self.nonsense(moment, "an answer to a read that nobody asked");
                };
                self.facts.reads.push(Read {
                    tenant: key.0,
                    topic: Arc::clone(topic),
                    begun,
                    ended: moment,
                    saw: *saw,
                });
            }
        }
    }

    fn client(&mut self, key: Key) -> &mut ClientState {
        self.clients.entry(key).or_default()
    }

    fn nonsense(&mut self, moment: Moment, what: &str) {
        let nonsense = &mut self.facts.nonsense;
        nonsense.get_or_insert_with(|| format!("entry {}: {what}", moment.0));
    }

    fn connect(&mut self, moment: Moment, key: Key, connection: Connection, ask: &Connect) {
        if let Some(will) = &ask.will {
            let will = (connection, will.clone());
            self.facts.wills.insert(will.1.message, will);
        }
        let link = Link {
            key,
            connection,
            ask: ask.clone(),
            connect: moment,
            connected: None,
            session: 0,
            epoch: None,
            disconnect: None,
            node_ended: None,
            closed: None,
            superseded: None,
        };
        if self.facts.links.insert(connection, link).is_some() {
            self.nonsense(moment, "a connection connects twice");
        }
        let at = self.facts.at(moment);
        let slack = self.facts.rules.clock_slack;
        let state = self.client(key);
        let may_have_expired = state.cut.is_some_and(|(first, _)| {
            let expiry = Micros::from_seconds(state.expiry.0.into());
            state.expiry.0 != u32::MAX && at.plus(slack) >= first.plus(expiry)
        });
        let is_ended_by_takeover = state.expiry.0 == 0;
        if ask.clean_start || may_have_expired || is_ended_by_takeover {
            self.doubt(moment, key);
        }
        let state = self.client(key);
        state.connects += 1;
        state.asking = Some(connection);
        let (least, most) = state.expiry;
        if state.session == Session::None {
            state.expiry = (ask.expiry_seconds, ask.expiry_seconds);
            state.session = Session::Maybe;
        } else {
            state.expiry = (least.min(ask.expiry_seconds), most.max(ask.expiry_seconds));
        }
    }

    fn connected(
        &mut self,
        moment: Moment,
        key: Key,
        connection: Connection,
        present: Option<bool>,
        epoch: Option<u64>,
    ) {
        let Some(link) = self.facts.links.get_mut(&connection) else {
            return self.nonsense(moment, "a CONNACK without a CONNECT");
        };
        link.connected = Some(moment);
        link.epoch = epoch;
        let (connect, ask) = (link.connect, link.ask.clone());
        self.facts.connects.push(moment);
        if let Some(present) = present {
            self.judge_session(moment, key, connect, &ask, present);
        }
        if ask.clean_start || present == Some(false) {
            self.end_session(moment, key);
            self.client(key).number += 1;
        }
        let state = self.client(key);
        let number = state.number;
        state.session = Session::Sure;
        state.since = Some(moment);
        state.expiry = (ask.expiry_seconds, ask.expiry_seconds);
        state.cut = None;
        let former = state.connection.replace(connection);
        if let Some(link) = self.facts.links.get_mut(&connection) {
            link.session = number;
        }
        if let Some(former) = former
            && let Some(link) = self.facts.links.get_mut(&former)
        {
            link.superseded = Some((connect, moment));
        }
        let spans = self.facts.connected.entry(key).or_default();
        if let Some((_, to)) = spans.last_mut() {
            to.get_or_insert(moment);
        }
        spans.push((moment, None));
    }

    /// Whether the CONNACK's word on the session can be true.
    fn judge_session(
        &mut self,
        moment: Moment,
        key: Key,
        connect: Moment,
        ask: &Connect,
        present: bool,
    ) {
        let late = self.facts.rules.session_expiry_late;
        let at = self.facts.at(connect);
        let state = self.client(key);
        let is_sure = state.session == Session::Sure;
        let has_expired = state.cut.is_some_and(|(_, last)| {
            let expiry = Micros::from_seconds(state.expiry.1.into()).plus(late);
            state.expiry.1 != u32::MAX && at > last.plus(expiry)
        });
        let is_first = state.connects == 1;
        let since = state.since;
        let kind = match (ask.clean_start, present) {
            (true, true) => Some(SessionFaultKind::MadeUp),
            (false, false) if is_sure => Some(SessionFaultKind::Lost),
            (false, true) if has_expired => Some(SessionFaultKind::Outlived),
            (false, true) if is_first => Some(SessionFaultKind::MadeUp),
            (true | false, false) | (false, true) => None,
        };
        if is_sure && !ask.clean_start {
            self.facts.sessions_judged += 1;
        }
        if let Some(kind) = kind {
            let moments = since.into_iter().chain([connect, moment]).collect();
            self.facts
                .session_faults
                .push(SessionFault { kind, moments });
        }
    }

    fn disconnect(
        &mut self,
        moment: Moment,
        key: Key,
        connection: Connection,
        expiry_seconds: Option<u32>,
    ) {
        if let Some(link) = self.facts.links.get_mut(&connection) {
            link.disconnect = Some(moment);
        }
        let at = self.facts.at(moment);
        let state = self.client(key);
        if state.connection != Some(connection) {
            return;
        }
        if let Some(seconds) = expiry_seconds {
            state.expiry = (state.expiry.0.min(seconds), state.expiry.1.max(seconds));
        }
        self.cut(moment, at, key);
    }

    fn closed(&mut self, moment: Moment, key: Key, connection: Connection, end: End) {
        let Some(link) = self.facts.links.get_mut(&connection) else {
            return self.nonsense(moment, "an end without a CONNECT");
        };
        link.closed = Some((moment, end));
        let was_connected = link.connected.is_some();
        let at = self.facts.at(moment);
        let state = self.client(key);
        if state.connection == Some(connection) {
            state.connection = None;
            if let Some((_, to)) = self.facts.connected.entry(key).or_default().last_mut() {
                to.get_or_insert(moment);
            }
            self.cut(moment, at, key);
        } else if !was_connected {
            self.cut(moment, at, key);
        }
    }

    fn node_ended(&mut self, moment: Moment, node: Option<Node>) {
        self.facts.node_ends.push(moment);
        let at = self.facts.at(moment);
        let mut cut = Vec::new();
        for link in self.facts.links.values_mut() {
            let its_node = self.nodes.get(&link.connection).copied();
            let is_hit = node.is_none() || its_node.is_none() || its_node == node;
            if link.closed.is_none() && link.node_ended.is_none() && is_hit {
                link.node_ended = Some(moment);
                cut.push(link.key);
            }
        }
        for key in cut {
            self.cut(moment, at, key);
        }
    }

    /// The client may have no connection from now on.
    fn cut(&mut self, moment: Moment, at: Micros, key: Key) {
        let state = self.client(key);
        let first = state.cut.map_or(at, |(first, _)| first);
        state.cut = Some((first, at));
        if state.expiry.0 == 0 {
            self.doubt(moment, key);
        }
    }

    /// The session may end from now on.
    fn doubt(&mut self, moment: Moment, key: Key) {
        let state = self.clients.entry(key).or_default();
        if state.session == Session::Sure {
            state.session = Session::Maybe;
        }
        for at in &state.subs {
            if let Some(sub) = self.facts.subs.get_mut(*at) {
                sub.maybe_gone.get_or_insert(moment);
            }
        }
    }

    /// The session has ended.
    fn end_session(&mut self, moment: Moment, key: Key) {
        self.doubt(moment, key);
        let state = self.clients.entry(key).or_default();
        for at in std::mem::take(&mut state.subs) {
            if let Some(sub) = self.facts.subs.get_mut(at) {
                sub.surely_gone.get_or_insert(moment);
            }
        }
    }

    fn publish(&mut self, moment: Moment, key: Key, publish: &Publish) {
        let session = self.client(key).number;
        if let Some(known) = self.facts.messages.get_mut(&publish.message) {
            known.sends.push(moment);
            let is_same = known.publisher == key && known.topic == publish.topic;
            if !is_same || !publish.dup {
                self.nonsense(moment, "two messages have one number");
            }
            return;
        }
        self.facts.published.push(publish.message);
        let message = Message {
            id: publish.message,
            publisher: key,
            session,
            topic: Arc::clone(&publish.topic),
            qos: publish.qos,
            retain: publish.retain,
            is_empty: publish.is_empty,
            expiry_seconds: publish.expiry_seconds,
            sends: vec![moment],
            acked: None,
        };
        self.facts.messages.insert(publish.message, message);
    }

    fn received(&mut self, received: Received<'a>) {
        let at = self.facts.received.len();
        if let Some(message) = received.message() {
            self.facts.received_of.entry(message).or_default().push(at);
        }
        self.facts.received.push(received);
    }
}

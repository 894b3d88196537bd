//! Who receives a topic's messages from one publisher, and the memo that keeps the answer.
//!
//! A connection asks once per topic and generation (protocols H): the memo is guarded by the
//! generations of the tenant's routes and of its local members, and by how its groups share, all read
//! before the match.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use smallvec::SmallVec;
use tessera_dist::{NodeSession, Receiver, Route, SessionIncarnation};
use tessera_mqtt::{ClientId, FilterSpec, Qos, SubscriptionId, TopicName};
use tessera_session::LoanTerms;
use tessera_tenancy::{PrincipalId, SharedSubscriptionStrategy};

use crate::local::Member;
use crate::outbox::{ConnectionId, Outbox};
use crate::tenants::Tenant;

/// Subscription identifiers of one delivery.
pub(crate) type SubscriptionIds = SmallVec<[SubscriptionId; 2]>;

/// What the subscriptions of one receiver add up to: the highest QoS, every identifier, RETAIN kept
/// if any asks for it (MQTT-3.3.4-2, -3).
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms {
    pub(crate) qos: Qos,
    pub(crate) retain_as_published: bool,
    pub(crate) subscription_ids: SubscriptionIds,
}

impl Terms {
    fn add(
        &mut self,
        qos: Qos,
        retain_as_published: bool,
        subscription_id: Option<SubscriptionId>,
    ) {
        self.qos = self.qos.max(qos);
        self.retain_as_published |= retain_as_published;
        self.subscription_ids.extend(subscription_id);
    }
}

/// A transient session of this node.
#[derive(Debug, Clone)]
pub(crate) struct LocalTarget {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) terms: Terms,
    /// Of a shared subscription: what it does not acknowledge is returned.
    pub(crate) loan: Option<Arc<LoanTerms>>,
}

/// A persistent session.
#[derive(Debug, Clone)]
pub(crate) struct InboxTarget {
    pub(crate) client: ClientId,
    pub(crate) incarnation: SessionIncarnation,
    pub(crate) terms: Terms,
}

/// One member of a shared subscription.
#[derive(Debug, Clone)]
pub(crate) enum GroupMember {
    Local(LocalTarget),
    Inbox(InboxTarget),
    /// The members that another node has.
    Remote(NodeSession),
}

/// Who receives a topic's messages.
#[derive(Debug, Default)]
pub(crate) struct Targets {
    pub(crate) local: Vec<LocalTarget>,
    pub(crate) inboxes: Vec<InboxTarget>,
    /// Other nodes with transient sessions.
    pub(crate) nodes: Vec<NodeSession>,
    /// One member of each receives a message.
    pub(crate) groups: Vec<Group>,
}

/// The members of a shared subscription.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) filter: FilterSpec,
    pub(crate) members: Vec<GroupMember>,
    pub(crate) spread: Spread,
}

/// How a group's members share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spread {
    /// In turns.
    InTurns,
    /// Any of them.
    AtRandom,
    /// By publisher, so that what it says stays in order: the members stand in its order of
    /// preference, which is its own (rendezvous hashing), and hardly changes with the members.
    ByPublisher,
}

/// Who publishes: its own No Local subscriptions do not match (MQTT-3.8.3-3).
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub(crate) connection: ConnectionId,
    pub(crate) client: ClientId,
    pub(crate) principal: PrincipalId,
}

impl Targets {
    /// Matches a topic against the tenant's routes.
    pub(crate) fn resolve(tenant: &Tenant, topic: &TopicName, origin: &Origin) -> Self {
        let mut collector = Collector {
            tenant,
            origin: Some(origin),
            found: Found::default(),
        };
        tenant
            .routes
            .snapshot()
            .for_each_match(topic, &mut |route| collector.add(route));
        collector.found.into_targets(tenant, origin)
    }

    /// Whether anybody receives.
    pub(crate) fn is_empty(&self) -> bool {
        self.local.is_empty()
            && self.inboxes.is_empty()
            && self.nodes.is_empty()
            && self.groups.is_empty()
    }

    /// This node's transient sessions that a message of another node's publisher is for.
    pub(crate) fn of_members(tenant: &Tenant, topic: &TopicName) -> Vec<LocalTarget> {
        let mut collector = Collector {
            tenant,
            origin: None,
            found: Found::default(),
        };
        let routes = tenant.routes.snapshot();
        routes.for_each_match(topic, &mut |route| match &route.receiver {
            Receiver::Transient(session)
                if tenant.is_own(*session) && route.filter.share.is_none() =>
            {
                collector.add_local(route);
            }
            Receiver::Transient(_) | Receiver::Persistent { .. } => {}
        });
        collector.found.local.into_values().collect()
    }

    /// This node's transient members of one filter.
    pub(crate) fn of_filter(
        tenant: &Tenant,
        filter: &FilterSpec,
        writer: PrincipalId,
    ) -> Vec<LocalTarget> {
        let mut members = Vec::new();
        tenant.local.for_each(filter, |member| {
            members.push(shared_target(member, filter, writer));
        });
        members
    }
}

/// In the order of their names: two runs of a simulation must go the same way.
#[derive(Default)]
struct Found {
    local: BTreeMap<ConnectionId, LocalTarget>,
    inboxes: BTreeMap<ClientId, InboxTarget>,
    nodes: BTreeSet<NodeSession>,
    groups: BTreeMap<FilterSpec, Vec<GroupMember>>,
}

impl Found {
    fn into_targets(self, tenant: &Tenant, origin: &Origin) -> Targets {
        let groups = self.groups.into_iter();
        Targets {
            local: self.local.into_values().collect(),
            inboxes: self.inboxes.into_values().collect(),
            nodes: self.nodes.into_iter().collect(),
            groups: groups
                .filter(|(_, members)| !members.is_empty())
                .map(|(filter, members)| Group::new(tenant, filter, members, origin))
                .collect(),
        }
    }
}

impl Group {
    fn new(
        tenant: &Tenant,
        filter: FilterSpec,
        mut members: Vec<GroupMember>,
        origin: &Origin,
    ) -> Self {
        let spread = tenant.spread_of(&filter);
        match spread {
            Spread::InTurns | Spread::AtRandom => {}
            Spread::ByPublisher => {
                members.sort_by_cached_key(|member| Reverse(member.preference_of(&origin.client)));
            }
        }
        Self {
            filter,
            members,
            spread,
        }
    }
}

impl GroupMember {
    /// The weight that a publisher gives to this member: the same for the same two.
    fn preference_of(&self, publisher: &ClientId) -> u64 {
        let mut hasher = DefaultHasher::new();
        publisher.as_bytes().hash(&mut hasher);
        match self {
            Self::Local(target) => target.outbox.id().hash(&mut hasher),
            Self::Inbox(target) => target.client.as_bytes().hash(&mut hasher),
            Self::Remote(session) => session.hash(&mut hasher),
        }
        hasher.finish()
    }
}

struct Collector<'a> {
    tenant: &'a Tenant,
    /// `None`: somebody of another node.
    origin: Option<&'a Origin>,
    found: Found,
}

impl Collector<'_> {
    fn add(&mut self, route: &Route) {
        match &route.receiver {
            Receiver::Transient(session) if self.tenant.is_own(*session) => self.add_local(route),
            Receiver::Transient(session) => self.add_node(route, *session),
            Receiver::Persistent {
                client,
                incarnation,
            } => {
                self.add_inbox(route, client, *incarnation);
            }
        }
    }

    fn add_local(&mut self, route: &Route) {
        let Self {
            tenant,
            origin,
            found,
        } = self;
        tenant.local.for_each(&route.filter, |member| {
            let is_own = origin.is_some_and(|origin| member.outbox.id() == origin.connection);
            if member.options.no_local && is_own {
                return;
            }
            if let Some(origin) = origin.filter(|_| route.filter.share.is_some()) {
                let target = shared_target(member, &route.filter, origin.principal);
                let group = found.groups.entry(route.filter.clone()).or_default();
                group.push(GroupMember::Local(target));
                return;
            }
            let options = &member.options;
            found
                .local
                .entry(member.outbox.id())
                .or_insert_with(|| local_target(member))
                .terms
                .add(
                    options.qos,
                    options.retain_as_published,
                    member.subscription_id,
                );
        });
    }

    /// The front end of another node knows whom of its own the message is for.
    fn add_node(&mut self, route: &Route, session: NodeSession) {
        if !self.tenant.is_live(session) {
            return;
        }
        if route.filter.share.is_none() {
            self.found.nodes.insert(session);
            return;
        }
        let group = self.found.groups.entry(route.filter.clone()).or_default();
        group.push(GroupMember::Remote(session));
    }

    fn add_inbox(&mut self, route: &Route, client: &ClientId, incarnation: SessionIncarnation) {
        let options = &route.options;
        let is_own = self.origin.is_some_and(|origin| *client == origin.client);
        if options.no_local && is_own {
            return;
        }
        let empty = InboxTarget {
            client: client.clone(),
            incarnation,
            terms: Terms::default(),
        };
        if route.filter.share.is_some() {
            let mut target = empty;
            target.terms.add(
                options.qos,
                options.retain_as_published,
                options.subscription_id,
            );
            let group = self.found.groups.entry(route.filter.clone()).or_default();
            group.push(GroupMember::Inbox(target));
            return;
        }
        self.found
            .inboxes
            .entry(client.clone())
            .or_insert(empty)
            .terms
            .add(
                options.qos,
                options.retain_as_published,
                options.subscription_id,
            );
    }
}

fn local_target(member: &Member) -> LocalTarget {
    LocalTarget {
        outbox: Arc::clone(&member.outbox),
        terms: Terms::default(),
        loan: None,
    }
}

fn shared_target(member: &Member, filter: &FilterSpec, writer: PrincipalId) -> LocalTarget {
    LocalTarget {
        outbox: Arc::clone(&member.outbox),
        terms: terms_of(member),
        loan: Some(Arc::new(LoanTerms {
            filter: filter.clone(),
            writer,
        })),
    }
}

fn terms_of(member: &Member) -> Terms {
    let mut terms = Terms::default();
    let options = &member.options;
    terms.add(
        options.qos,
        options.retain_as_published,
        member.subscription_id,
    );
    terms
}

/// The targets of the topic that a connection published to last.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    entry: Option<Entry>,
}

#[derive(Debug)]
struct Entry {
    topic: TopicName,
    routes_generation: u64,
    local_generation: u64,
    sessions_generation: u64,
    /// How its groups share, if it has any.
    strategy: SharedSubscriptionStrategy,
    targets: Arc<Targets>,
}

impl Memo {
    /// The targets of `topic`, matched anew only if the topic or a generation changed.
    pub(crate) fn targets(
        &mut self,
        tenant: &Tenant,
        topic: &TopicName,
        origin: &Origin,
    ) -> Arc<Targets> {
        let routes_generation = tenant.routes.generation();
        let local_generation = tenant.local.generation();
        let sessions_generation = tenant.sessions_generation();
        if let Some(entry) = &self.entry
            && entry.routes_generation == routes_generation
            && entry.local_generation == local_generation
            && entry.sessions_generation == sessions_generation
            && entry.topic == *topic
            && (entry.targets.groups.is_empty() || entry.strategy == tenant.strategy())
        {
            return Arc::clone(&entry.targets);
        }
        let strategy = tenant.strategy();
        let targets = Arc::new(Targets::resolve(tenant, topic, origin));
        // The topic is copied: a slice of it would keep a whole read buffer alive.
        let topic = TopicName::try_from(topic.as_str()).unwrap_or_else(|_| topic.clone());
        self.entry = Some(Entry {
            topic,
            routes_generation,
            local_generation,
            sessions_generation,
            strategy,
            targets: Arc::clone(&targets),
        });
        targets
    }
}

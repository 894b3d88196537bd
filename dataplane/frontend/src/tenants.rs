//! What this node keeps in memory for a tenant while it has connections here.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tessera_dist::{Dist, LoadError, NodeSession, TenantRoutes};
use tessera_limits::TenantLimits;
use tessera_mqtt::FilterSpec;
use tessera_tenancy::{SharedSubscriptionStrategy, TenantId};

use crate::dice::Dice;
use crate::drops::{AllDrops, TenantDrops};
use crate::local::LocalRoutes;
use crate::once::OnceRuns;
use crate::peers::{Lanes, Link};
use crate::shared::Shared;
use crate::targets::Spread;

/// One tenant's part of the front end. Dropped with its last connection.
#[derive(Debug)]
pub(crate) struct Tenant {
    pub(crate) id: TenantId,
    pub(crate) limits: Arc<TenantLimits>,
    pub(crate) routes: Arc<TenantRoutes>,
    pub(crate) local: LocalRoutes,
    pub(crate) drops: Arc<TenantDrops>,
    /// QoS 2 publishes that are on their way.
    pub(crate) once: OnceRuns,
    /// What came from other nodes.
    pub(crate) lanes: Lanes,
    /// What goes to other nodes.
    links: Mutex<BTreeMap<NodeSession, Arc<Link>>>,
    dist: Dist,
    share_turn: AtomicUsize,
    /// Who of a shared subscription is tried first, where chance decides.
    pub(crate) dice: Dice,
}

impl Tenant {
    /// Whose turn it is in a shared subscription.
    pub(crate) fn next_share_turn(&self) -> usize {
        self.share_turn.fetch_add(1, Ordering::Relaxed)
    }

    /// How a shared subscription's members share, as the tenant has it set now. An ordered one keeps
    /// what a publisher says in its order, whatever is set.
    pub(crate) fn spread_of(&self, filter: &FilterSpec) -> Spread {
        if filter.share.as_ref().is_some_and(|share| share.ordered) {
            return Spread::ByPublisher;
        }
        match self.strategy() {
            SharedSubscriptionStrategy::Random => Spread::AtRandom,
            SharedSubscriptionStrategy::RoundRobin => Spread::InTurns,
            SharedSubscriptionStrategy::Sticky => Spread::ByPublisher,
        }
    }

    /// Who of a shared subscription gets a message, as it is set now.
    pub(crate) fn strategy(&self) -> SharedSubscriptionStrategy {
        self.limits.settings().shared_subscription_strategy
    }

    /// Whether a node session is this front end's own.
    pub(crate) fn is_own(&self, session: NodeSession) -> bool {
        session == self.dist.node_session()
    }

    /// Whether a node session has not ended.
    pub(crate) fn is_live(&self, session: NodeSession) -> bool {
        self.dist.is_live(self.id, session)
    }

    /// Changes with what [`is_live`](Self::is_live) says.
    pub(crate) fn sessions_generation(&self) -> u64 {
        self.dist.sessions_generation()
    }

    /// The way to the connections of another front end.
    pub(crate) fn link(&self, shared: &Arc<Shared>, to: NodeSession) -> Arc<Link> {
        let mut links = self.links.lock();
        if let Some(link) = links.get(&to) {
            return Arc::clone(link);
        }
        links.retain(|session, _| self.is_live(*session));
        let link = Arc::new(Link::begin(shared, self.id, to));
        links.insert(to, Arc::clone(&link));
        link
    }
}

/// The tenants with connections here.
#[derive(Debug, Default)]
pub(crate) struct Tenants {
    known: Mutex<HashMap<TenantId, Weak<Tenant>>>,
}

impl Tenants {
    /// The tenant's part, made if this is its first connection.
    pub(crate) async fn ensure(
        &self,
        id: TenantId,
        limits: Arc<TenantLimits>,
        dist: &Dist,
        drops: &AllDrops,
    ) -> Result<Arc<Tenant>, LoadError> {
        if let Some(tenant) = self.live(id, &limits) {
            return Ok(tenant);
        }
        let routes = dist.tenant(id).await?;
        let mut known = self.known.lock();
        // Another first connection may have been quicker: members must not be split over two parts.
        if let Some(tenant) = live_in(&known, id, &limits) {
            return Ok(tenant);
        }
        let tenant = Arc::new(Tenant {
            id,
            limits,
            routes,
            local: LocalRoutes::default(),
            drops: drops.ensure(id),
            once: OnceRuns::default(),
            lanes: Lanes::default(),
            links: Mutex::default(),
            dist: dist.clone(),
            share_turn: AtomicUsize::new(0),
            dice: Dice::new(RandomState::new().hash_one(id)),
        });
        known.insert(id, Arc::downgrade(&tenant));
        Ok(tenant)
    }

    /// The tenant's part, if it has connections here.
    pub(crate) fn known(&self, id: TenantId) -> Option<Arc<Tenant>> {
        self.known.lock().get(&id).and_then(Weak::upgrade)
    }

    /// Whether nobody is connected.
    pub(crate) fn is_empty(&self) -> bool {
        let known = self.known.lock();
        known.values().all(|tenant| tenant.strong_count() == 0)
    }

    fn live(&self, id: TenantId, limits: &Arc<TenantLimits>) -> Option<Arc<Tenant>> {
        live_in(&self.known.lock(), id, limits)
    }

    /// Forgets a tenant whose last connection is gone.
    pub(crate) fn release(&self, tenant: Arc<Tenant>) {
        let id = tenant.id;
        let mut known = self.known.lock();
        drop(tenant);
        if known.get(&id).is_some_and(|weak| weak.strong_count() == 0) {
            known.remove(&id);
        }
    }
}

/// A part with other limits belongs to a tenant of the same id that was removed before: its
/// connections are ending, and new ones start afresh.
fn live_in(
    known: &HashMap<TenantId, Weak<Tenant>>,
    id: TenantId,
    limits: &Arc<TenantLimits>,
) -> Option<Arc<Tenant>> {
    known
        .get(&id)
        .and_then(Weak::upgrade)
        .filter(|tenant| Arc::ptr_eq(&tenant.limits, limits))
}

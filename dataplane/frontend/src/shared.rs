//! What every connection of this front end drives, and how.

use std::future::Future;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use tessera_config::Config;
use tessera_dist::{Dist, LoadError, Receiver, RouteError, RouteOptions};
use tessera_inbox::{DiscardedRoute, Inbox};
use tessera_limits::{Directory, TenantLimits};
use tessera_mqtt::{DecodeLimits, FilterSpec, Qos};
use tessera_retain::Retain;
use tessera_session::{AuthMethods, ServerLimits};
use tessera_tenancy::TenantId;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::authenticate::Authenticator;
use crate::clock::{Clock, Seams};
use crate::drops::AllDrops;
use crate::keep_alive::{Watched, Wheel};
use crate::metrics::Metrics;
use crate::outbox::{ConnectionId, EndReason, Outbox};
use crate::peers::Peers;
use crate::registry::Registry;
use crate::route::dist_incarnation;
use crate::tenants::{Tenant, Tenants};

/// Locks over filters: two filters that share one only wait for each other.
const FILTER_LOCKS: usize = 256;

/// The services and the memory that connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) limits: Directory,
    pub(crate) dist: Dist,
    pub(crate) inbox: Inbox,
    pub(crate) retain: Retain,
    /// The other front ends; `None` if this one is alone.
    pub(crate) peers: Option<Peers>,
    pub(crate) authenticator: Authenticator,
    pub(crate) session_limits: Arc<ServerLimits>,
    pub(crate) decode_limits: DecodeLimits,
    pub(crate) methods: Arc<AuthMethods>,
    pub(crate) tenants: Tenants,
    pub(crate) registry: Registry,
    pub(crate) wheel: Wheel<WatchedOutbox>,
    pub(crate) filter_locks: FilterLocks,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) drops: AllDrops,
    pub(crate) clock: Clock,
    pub(crate) seams: Seams,
    /// Connections and what they left to be done.
    pub(crate) tasks: TaskTracker,
    pub(crate) shutdown: CancellationToken,
    pub(crate) next_connection: AtomicU64,
    /// The number of the next stream to another node.
    pub(crate) next_stream: AtomicU64,
}

impl Shared {
    /// What this front end keeps for a tenant, made if this is its first connection here.
    pub(crate) async fn tenant(
        &self,
        id: TenantId,
        limits: Arc<TenantLimits>,
    ) -> Result<Arc<Tenant>, LoadError> {
        self.tenants
            .ensure(id, limits, &self.dist, &self.drops)
            .await
    }

    /// A number that no other connection of this process has.
    pub(crate) fn connection_id(&self) -> ConnectionId {
        ConnectionId(self.next_connection.fetch_add(1, Ordering::Relaxed))
    }

    /// Runs something to its end though its connection may be gone.
    pub(crate) fn detach(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(work);
    }

    /// The route of this node for a filter. Its options are its members' own: the widest stand here.
    pub(crate) async fn add_node_route(
        &self,
        tenant: TenantId,
        filter: &FilterSpec,
    ) -> Result<(), RouteError> {
        let options = RouteOptions {
            qos: Qos::ExactlyOnce,
            no_local: false,
            retain_as_published: true,
            subscription_id: None,
        };
        let receiver = Receiver::Transient(self.dist.node_session());
        self.dist
            .add_route(tenant, filter, &receiver, options)
            .await
    }

    /// Removes this node's route for a filter.
    pub(crate) async fn remove_node_route(
        &self,
        tenant: TenantId,
        filter: &FilterSpec,
    ) -> Result<(), String> {
        let receiver = Receiver::Transient(self.dist.node_session());
        let removed = self.dist.remove_route(tenant, filter, &receiver).await;
        removed.map_err(|error| error.to_string())
    }

    /// Removes the routes of a receiver that answered `NoSubscription`. O(the tenant's routes), off
    /// the path of the message that found it.
    pub(crate) fn drop_dead_routes(self: &Arc<Self>, tenant: TenantId, receiver: Receiver) {
        let shared = Arc::clone(self);
        self.detach(async move {
            let Ok(routes) = shared.dist.tenant(tenant).await else {
                return;
            };
            let mut filters = Vec::new();
            routes.snapshot().for_each(&mut |route| {
                if route.receiver == receiver {
                    filters.push(route.filter.clone());
                }
            });
            for filter in filters {
                let removed = shared.dist.remove_route(tenant, &filter, &receiver).await;
                if let Err(error) = removed {
                    tracing::debug!(%tenant, %error, "dead route stays");
                }
            }
        });
    }

    /// Removes the routes of a session that is no more. One that is left over is harmless: its
    /// deliveries are answered `NoSubscription`, which removes it.
    pub(crate) async fn remove_discarded(&self, discarded: Vec<DiscardedRoute>) {
        for route in discarded {
            let receiver = Receiver::Persistent {
                client: route.client,
                incarnation: dist_incarnation(route.incarnation),
            };
            let removed = self
                .dist
                .remove_route(route.tenant, &route.filter, &receiver)
                .await;
            if let Err(error) = removed {
                tracing::debug!(tenant = %route.tenant, %error, "route of an ended session stays");
            }
        }
    }
}

/// One holder at a time per filter, over the waits of adding and removing its route.
#[derive(Debug)]
pub(crate) struct FilterLocks {
    locks: Box<[tokio::sync::Mutex<()>]>,
    /// So that nobody can choose filters that share a lock.
    key: u64,
}

impl FilterLocks {
    pub(crate) fn new(key: u64) -> Self {
        Self {
            locks: (0..FILTER_LOCKS)
                .map(|_| tokio::sync::Mutex::new(()))
                .collect(),
            key,
        }
    }

    pub(crate) async fn lock(
        &self,
        tenant: TenantId,
        filter: &FilterSpec,
    ) -> tokio::sync::MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        (self.key, tenant, filter).hash(&mut hasher);
        let at = usize::try_from(hasher.finish() % FILTER_LOCKS as u64).unwrap_or(0);
        self.locks[at].lock().await
    }
}

/// An outbox under the keep-alive wheel.
#[derive(Debug)]
pub(crate) struct WatchedOutbox(pub(crate) Weak<Outbox>);

impl Watched for WatchedOutbox {
    fn expire(&self) {
        if let Some(outbox) = self.0.upgrade() {
            outbox.end(EndReason::KeepAliveTimeout);
        }
    }

    fn is_gone(&self) -> bool {
        self.0.upgrade().is_none_or(|outbox| outbox.has_ended())
    }
}

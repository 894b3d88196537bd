//! The front end as a node starts and stops it.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use tessera_config::{Config, ConfigChange, Listener};
use tessera_dist::Dist;
use tessera_inbox::Inbox;
use tessera_limits::Directory;
use tessera_mqtt::DecodeLimits;
use tessera_retain::Retain;
use tessera_session::ServerLimits;
use tessera_shard::Transport;
use tessera_tenancy::{ServerKey, TenantId, TenantStatus};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::authenticate::Authenticator;
use crate::clock::{Clock, Seams};
use crate::drops::{AllDrops, DropReason};
use crate::keep_alive::{TICK, Wheel};
use crate::listener;
use crate::metrics::Metrics;
use crate::outbox::EndReason;
use crate::peers::{self, Peers};
use crate::registry::Registry;
use crate::shared::{FilterLocks, Shared};
use crate::stream::DeviceStream;
use crate::tenants::Tenants;
use crate::will;

/// How long connections may take to end at shutdown.
const SHUTDOWN_MAX: Duration = Duration::from_secs(5);

/// What the front end drives.
#[derive(Debug)]
pub struct Services {
    /// The applied configuration.
    pub config: Config,
    /// The tenants' limits; the front end keeps it in step with the configuration.
    pub limits: Directory,
    /// Routes.
    pub dist: Dist,
    /// Sessions.
    pub inbox: Inbox,
    /// Retained messages.
    pub retain: Retain,
    /// The key under which device secrets are kept.
    pub server_key: ServerKey,
    /// The way to the other front ends of a cluster, to their [`Frontend::handle_peer`]; `None` if
    /// this one is alone.
    pub peers: Option<Arc<dyn Transport>>,
}

/// How the front end is started.
#[derive(Debug, Clone)]
pub struct FrontendOptions {
    /// Where devices connect, plain TCP.
    pub mqtt_listen: SocketAddr,
    /// What a connection is granted.
    pub session_limits: ServerLimits,
    /// What a decoder takes.
    pub decode_limits: DecodeLimits,
    /// What a simulation replaces.
    pub seams: Seams,
}

/// What one front end knows of a tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TenantLive {
    /// Connections with an accepted CONNECT.
    pub connections: u64,
    /// Messages that were dropped since the process started, by reason.
    pub dropped: [(DropReason, u64); DropReason::ALL.len()],
}

/// A running front end. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Frontend {
    shared: Arc<Shared>,
    address: SocketAddr,
}

impl Frontend {
    /// Opens the port and serves it on the current runtime.
    pub fn start(services: Services, options: FrontendOptions) -> io::Result<Self> {
        let listener = listener::bind(options.mqtt_listen)?;
        let address = listener.local_addr()?;
        let frontend = Self::start_without_port(services, options);
        let shared = Arc::clone(&frontend.shared);
        shared
            .tasks
            .spawn(listener::accept(Arc::clone(&shared), listener));
        Ok(Self { shared, address })
    }

    /// Starts on the current runtime without opening a port: devices come through
    /// [`serve`](Self::serve) only.
    pub fn start_without_port(services: Services, options: FrontendOptions) -> Self {
        let address = options.mqtt_listen;
        let shared = Arc::new(assemble(services, options));
        let follower = Arc::new(Follower(Arc::downgrade(&shared)));
        shared.config.subscribe(follower);
        shared.tasks.spawn(turn_wheel(Arc::clone(&shared)));
        shared.tasks.spawn(will::publish_due(Arc::clone(&shared)));
        if let Some(peers) = shared.peers.clone() {
            shared.tasks.spawn(peers::renew(Arc::clone(&shared), peers));
            shared.tasks.spawn(peers::end_overdue(Arc::clone(&shared)));
        }
        Self { shared, address }
    }

    /// Serves a device that came by another way than the port.
    pub fn serve(&self, stream: impl DeviceStream, peer: SocketAddr) {
        listener::serve(&self.shared, stream, peer);
    }

    /// Where devices connect; as it was asked for, if no port was opened.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers another front end's call.
    pub async fn handle_peer(&self, request: Bytes) -> Bytes {
        peers::handle(&self.shared, &request).await
    }

    /// What it counts.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.shared.metrics
    }

    /// What this front end knows of a tenant; `None` if there is no such tenant.
    pub fn tenant_live(&self, tenant: TenantId) -> Option<TenantLive> {
        let limits = self.shared.limits.tenant(tenant)?;
        let drops = self.shared.drops.get(tenant);
        let count = |reason| {
            drops
                .as_ref()
                .map_or(0, |drops| drops.figures().get(reason))
        };
        Some(TenantLive {
            connections: limits.connections(),
            dropped: DropReason::ALL.map(|reason| (reason, count(reason))),
        })
    }

    /// Closes the port, ends every connection with a last word, and waits for what they leave.
    pub async fn shutdown(&self) {
        self.shared.shutdown.cancel();
        self.shared.registry.end_all(EndReason::ShuttingDown);
        self.shared.tasks.close();
        if tokio::time::timeout(SHUTDOWN_MAX, self.shared.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("connections were still ending after {SHUTDOWN_MAX:?}");
        }
    }
}

fn assemble(services: Services, options: FrontendOptions) -> Shared {
    let metrics = Arc::<Metrics>::default();
    Shared {
        authenticator: Authenticator::new(services.config.clone(), services.server_key),
        config: services.config,
        limits: services.limits,
        dist: services.dist,
        inbox: services.inbox,
        retain: services.retain,
        peers: services.peers.map(Peers::new),
        session_limits: Arc::new(options.session_limits),
        decode_limits: options.decode_limits,
        methods: Arc::default(),
        tenants: Tenants::default(),
        registry: Registry::default(),
        wheel: Wheel::new(),
        filter_locks: FilterLocks::new(options.seams.key()),
        drops: AllDrops::new(Arc::clone(&metrics)),
        metrics,
        clock: Clock::start(),
        seams: options.seams,
        tasks: TaskTracker::new(),
        shutdown: CancellationToken::new(),
        next_connection: AtomicU64::new(1),
        next_stream: AtomicU64::new(1),
    }
}

async fn turn_wheel(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(TICK);
    // After a stall nobody is silent who could not be read: the wheel stood still as well.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = shared.shutdown.cancelled() => return,
            _ = ticks.tick() => shared.wheel.turn(),
        }
    }
}

/// Brings applied changes to limits and live connections. The configuration holds it, and a front
/// end the configuration: it must not hold the front end in turn.
#[derive(Debug)]
struct Follower(Weak<Shared>);

impl Listener for Follower {
    fn applied(&self, change: ConfigChange<'_>) {
        let Some(shared) = self.0.upgrade() else {
            return;
        };
        let Shared {
            limits,
            registry,
            drops,
            ..
        } = &*shared;
        shared.authenticator.forget_writers();
        match change {
            ConfigChange::TenantSet { tenant, record } => {
                limits.set(tenant, record);
                match record.status {
                    TenantStatus::Active => {}
                    TenantStatus::Suspended => registry.end_tenant(tenant, EndReason::TenantClosed),
                }
            }
            ConfigChange::TenantRemoved { tenant } => {
                limits.remove(tenant);
                drops.forget(tenant);
                registry.end_tenant(tenant, EndReason::TenantClosed);
            }
            ConfigChange::CredentialSet { tenant, id, record } => {
                registry.end_old_secrets(tenant, id, record);
            }
            ConfigChange::CredentialRemoved { tenant, id } => {
                registry.end_credential(tenant, id);
            }
        }
    }
}

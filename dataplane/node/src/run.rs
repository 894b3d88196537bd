//! A node's life: open what is on disk, wire the roles, serve, stop in reverse order.

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tessera_config::Config;
use tessera_dist::{Dist, DistOptions};
use tessera_frontend::{Background, Frontend, FrontendOptions, Seams, Services};
use tessera_inbox::{Inbox, InboxOptions};
use tessera_limits::Directory;
use tessera_mqtt::DecodeLimits;
use tessera_retain::{Retain, RetainOptions};
use tessera_session::ServerLimits;
use tessera_shard::{
    Engine, EngineOptions, IDENTITY_RANDOM_LEN, IdentityError, LocalStore, NodeIdentity,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::info;

use crate::admin::{self, Admin};
use crate::disk::ConfigDisk;
use crate::figures::TenantFigures;
use crate::metrics::NodeMetrics;
use crate::options::NodeOptions;
use crate::push_client::PushClient;

/// Why a node did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The data folder is empty and no new cluster was asked for.
    #[error("{} holds no node; to begin a new cluster there, start with --init-cluster", .0.display())]
    NotInitialised(PathBuf),
    /// The node's identity could not be made or read.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The shard engine or a store could not be opened.
    #[error("stores not opened: {0}")]
    Open(String),
    /// A port could not be opened.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// Which.
        address: std::net::SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Storage failed while the node served; the next start verifies what is on disk.
    #[error("storage failed during {during}: {error}")]
    Fenced {
        /// What was being done.
        during: &'static str,
        /// The error's text.
        error: String,
    },
    /// The configuration could not be made durable; the next start reads what is.
    #[error("the configuration's disk failed")]
    ConfigDisk,
    /// Something else that the node needs could not be had.
    #[error("{0}")]
    Setup(String),
}

/// Starts a node and serves until `shutdown` resolves.
pub async fn run(
    options: NodeOptions,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), NodeError> {
    let node = Node::open(&options).await?;
    let served = node.serve(&options, shutdown).await;
    node.engine.shutdown().await;
    served
}

struct Node {
    identity: NodeIdentity,
    engine: Engine,
    config: Config,
    dist: Dist,
    inbox: Inbox,
    retain: Retain,
}

impl Node {
    async fn open(options: &NodeOptions) -> Result<Self, NodeError> {
        let identity = identity(&options.data_dir, options.init_cluster)?;
        info!(node = %identity.node, cluster = %identity.cluster,
            incarnation = %identity.incarnation, "opening");
        let engine = open_engine(&options.data_dir, identity)?;
        let ranges = options.initial_ranges;
        let dist_options = DistOptions {
            ranges,
            node: identity.node,
            incarnation: identity.incarnation,
        };
        let dist = Dist::open(&engine, dist_options)
            .await
            .map_err(not_opened)?;
        let inbox = Inbox::open(&engine, InboxOptions { ranges })
            .await
            .map_err(not_opened)?;
        let retain = Retain::open(&engine, RetainOptions { ranges })
            .await
            .map_err(not_opened)?;
        let disk = LocalStore::open(&options.data_dir.join("config.redb")).map_err(not_opened)?;
        let config = Config::open(Arc::new(ConfigDisk(disk))).map_err(not_opened)?;
        Ok(Self {
            identity,
            engine,
            config,
            dist,
            inbox,
            retain,
        })
    }

    async fn serve(
        &self,
        options: &NodeOptions,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), NodeError> {
        let stop = CancellationToken::new();
        let tasks = TaskTracker::new();
        let frontend = self.start_frontend(options)?;
        self.start_admin(options, &frontend, &stop, &tasks).await?;
        let config_failed = CancellationToken::new();
        tasks.spawn(
            self.push_client(options)?
                .run(stop.clone(), config_failed.clone()),
        );
        tasks.spawn(self.background().run(stop.clone()));
        info!(mqtt = %frontend.address(), node = %self.identity.node, "serving");
        let mut fenced = self.engine.fenced();
        let outcome = tokio::select! {
            () = shutdown => Ok(()),
            () = config_failed.cancelled() => Err(NodeError::ConfigDisk),
            cause = fenced.wait_for(Option::is_some) => Err(fence_error(cause.ok().as_deref())),
        };
        info!(node = %self.identity.node, "stopping");
        frontend.shutdown().await;
        stop.cancel();
        tasks.close();
        tasks.wait().await;
        outcome
    }

    fn start_frontend(&self, options: &NodeOptions) -> Result<Frontend, NodeError> {
        let services = Services {
            config: self.config.clone(),
            limits: Directory::new(),
            dist: self.dist.clone(),
            inbox: self.inbox.clone(),
            retain: self.retain.clone(),
            server_key: options.server_key.clone(),
            peers: None,
        };
        let address = options.mqtt_listen;
        let frontend_options = FrontendOptions {
            mqtt_listen: address,
            session_limits: ServerLimits::default(),
            decode_limits: DecodeLimits::default(),
            seams: Seams::default(),
        };
        Frontend::start(services, frontend_options)
            .map_err(|source| NodeError::Listen { address, source })
    }

    async fn start_admin(
        &self,
        options: &NodeOptions,
        frontend: &Frontend,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) -> Result<(), NodeError> {
        let address = options.admin_listen;
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| NodeError::Listen { address, source })?;
        let metrics = NodeMetrics::new(Arc::clone(frontend.metrics()), self.config.clone())
            .map_err(|error| NodeError::Setup(error.to_string()))?;
        let admin = Admin {
            config: self.config.clone(),
            metrics: Arc::new(metrics),
            tenants: TenantFigures {
                frontend: frontend.clone(),
                dist: self.dist.clone(),
                inbox: self.inbox.clone(),
                retain: self.retain.clone(),
            },
        };
        let stopped = stop.clone().cancelled_owned();
        tasks.spawn(async move {
            let served = axum::serve(listener, admin::router(admin))
                .with_graceful_shutdown(stopped)
                .await;
            if let Err(error) = served {
                tracing::warn!(%error, "admin port closed");
            }
        });
        Ok(())
    }

    fn push_client(&self, options: &NodeOptions) -> Result<PushClient, NodeError> {
        PushClient::new(
            options.control_url.trim_end_matches('/').to_owned(),
            options.push_key.clone(),
            self.identity.node,
            self.identity.incarnation,
            self.config.clone(),
        )
        .map_err(|error| NodeError::Setup(error.to_string()))
    }

    fn background(&self) -> Background {
        Background {
            dist: self.dist.clone(),
            inbox: self.inbox.clone(),
            retain: self.retain.clone(),
            seams: Seams::default(),
        }
    }
}

fn identity(folder: &Path, init_cluster: bool) -> Result<NodeIdentity, NodeError> {
    match NodeIdentity::open(folder) {
        Err(IdentityError::Missing { .. }) if init_cluster => {
            let mut random = [0; IDENTITY_RANDOM_LEN];
            getrandom::fill(&mut random).map_err(|error| NodeError::Setup(error.to_string()))?;
            Ok(NodeIdentity::create(folder, random)?)
        }
        Err(IdentityError::Missing { .. }) => Err(NodeError::NotInitialised(folder.to_owned())),
        other => Ok(other?),
    }
}

fn open_engine(folder: &Path, identity: NodeIdentity) -> Result<Engine, NodeError> {
    let options = EngineOptions::new(
        folder.join("shards"),
        identity.node,
        identity.cluster,
        identity.incarnation,
        Arc::new(|| Seams::default().now_ms()),
    );
    Engine::open(options).map_err(not_opened)
}

fn not_opened(error: impl std::fmt::Display) -> NodeError {
    NodeError::Open(error.to_string())
}

fn fence_error(cause: Option<&Option<tessera_shard::FenceCause>>) -> NodeError {
    match cause {
        Some(Some(cause)) => NodeError::Fenced {
            during: cause.during,
            error: cause.error.to_string(),
        },
        Some(None) | None => NodeError::Fenced {
            during: "serving",
            error: "the engine is gone".to_owned(),
        },
    }
}

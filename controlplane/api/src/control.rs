//! From options to a serving process.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use tessera_domain::Role;
use tessera_push::Hub;
use tessera_store::{
    ApiKeyNew, CreateApiKeyError, MigrateError, Store, StoreError, StoreOptions, View, migrate,
};
use tessera_tenancy::{ApiKeyId, ServerKey};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::app::App;
use crate::document;
use crate::edge::{edge, no_method, no_route};
use crate::options::{ControlOptions, read_or_create_platform_key, read_push_key, read_server_key};
use crate::push_source::head_of;
use crate::random::random_bytes;
use crate::{jobs, routes, serve};

/// Connections to the database at most.
const CONNECTIONS_MAX: u32 = 16;
/// How long a request waits for a connection to the database.
const ACQUIRE_LIMIT: Duration = Duration::from_millis(1_500);
/// How long a start waits for the database to answer.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How long to wait before asking it again.
const START_AGAIN: Duration = Duration::from_millis(200);
/// How long requests may still take when the process stops.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// A control plane that has its port and its database, and does not serve yet.
#[derive(Debug)]
pub struct Control {
    app: Arc<App>,
    listener: TcpListener,
    router: Router,
}

/// Runs a control plane until `shutdown`: migrates the database, then serves.
pub async fn run(
    options: ControlOptions,
    shutdown: impl Future<Output = ()> + Send,
) -> anyhow::Result<()> {
    let control = Control::start(options).await?;
    tracing::info!(address = %control.local_addr()?, "the control plane serves");
    control.serve(shutdown).await;
    Ok(())
}

impl Control {
    /// Takes the port, brings the database up to date, and makes what a first start needs.
    pub async fn start(options: ControlOptions) -> anyhow::Result<Self> {
        let push_key = read_push_key(&options.push_key_file)?;
        let server_key = read_server_key(&options.server_key_file)?;
        let listener = TcpListener::bind(options.listen)
            .await
            .with_context(|| format!("cannot listen on {}", options.listen))?;
        migrate_when_it_answers(&options.database_url).await?;
        let store = Store::open(StoreOptions {
            url: options.database_url,
            connections_max: CONNECTIONS_MAX,
            acquire_timeout: ACQUIRE_LIMIT,
        })
        .await?;
        store
            .seed_plans()
            .await
            .context("cannot make the built-in plans")?;
        if let Some(path) = &options.bootstrap_platform_key_file {
            bootstrap_platform_key(&store, &server_key, path).await?;
        }
        let hub = Hub::new(head_of(store.config_head().await?));
        let (router, document) = document::parts();
        let text = document.to_json()?;
        let app = Arc::new(App::new(store, hub, server_key, push_key, text));
        jobs::remember_nodes(&app).await?;
        let router = wired(router, &app);
        Ok(Self {
            app,
            listener,
            router,
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `shutdown`, then lets requests end.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) {
        let Self {
            app,
            listener,
            router,
        } = self;
        jobs::start(&app);
        let connections = app.tasks.clone();
        tokio::select! {
            () = serve::serve(listener, router, &connections, &app.stopping) => {}
            () = shutdown => {}
        }
        app.stopping.cancel();
        app.tasks.close();
        if tokio::time::timeout(STOP_LIMIT, app.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some requests did not end in time");
        }
        app.store.close().await;
    }
}

fn wired(router: Router<Arc<App>>, app: &Arc<App>) -> Router {
    router
        .merge(routes::push::router())
        .fallback(no_route)
        .method_not_allowed_fallback(no_method)
        .layer(axum::middleware::from_fn_with_state(app.clone(), edge))
        .with_state(app.clone())
}

/// The database is often started together with its control plane.
async fn migrate_when_it_answers(url: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_LIMIT;
    loop {
        match migrate(url).await {
            Ok(()) => return Ok(()),
            Err(MigrateError::Store(StoreError::Unavailable(error)))
                if Instant::now() < deadline =>
            {
                tracing::debug!(%error, "the database does not answer yet");
                tokio::time::sleep(START_AGAIN).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

async fn bootstrap_platform_key(
    store: &Store,
    server_key: &ServerKey,
    path: &Path,
) -> anyhow::Result<()> {
    let secret = read_or_create_platform_key(path)?;
    let digest = server_key.digest(secret.expose().as_bytes());
    if let Some(known) = store.api_key_by_key_id(secret.key_id()).await? {
        let same = known.digest.matches(&digest) && known.role == Role::PlatformAdmin;
        anyhow::ensure!(
            same,
            "the key in {} is known with another secret or role: another server key?",
            path.display()
        );
        return Ok(());
    }
    let new = ApiKeyNew {
        id: ApiKeyId::from_bytes(random_bytes()?),
        tenant: None,
        name: "bootstrap".to_owned(),
        role: Role::PlatformAdmin,
        key_id: secret.key_id(),
        digest,
    };
    let mut tx = store.begin(View::Platform).await?;
    match tx.create_api_key(&new).await {
        Ok(_) => Ok(tx.commit().await?),
        Err(CreateApiKeyError::TooMany) => anyhow::bail!("there are too many platform API keys"),
        Err(CreateApiKeyError::Store(error)) => Err(error.into()),
    }
}

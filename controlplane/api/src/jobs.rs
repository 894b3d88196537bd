//! What goes on beside requests: news from the database, what nodes said, pruning.
//!
//! Every control plane runs all of it. Nothing needs a single runner: reading changes nothing, each
//! saves only what it heard itself, and deleting what has run out twice is deleting it once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tessera_push::NodeReport;
use tessera_store::{NodeRow, StoreError};

use crate::app::App;
use crate::push_source::head_of;

/// How often the head is read without news, and what nodes said is exchanged.
const PULSE: Duration = Duration::from_secs(1);
/// How often what has run out is forgotten.
const PRUNE_EVERY: Duration = Duration::from_secs(60);
/// How long to wait before listening again after the connection was lost.
const LISTEN_AGAIN: Duration = Duration::from_secs(1);

/// Starts the jobs; they end when the process stops.
pub(crate) fn start(app: &Arc<App>) {
    spawn(app, follow_news(app.clone()));
    spawn(app, pulse(app.clone()));
    spawn(app, prune(app.clone()));
}

/// Fills the hub with what other processes heard of the nodes.
pub(crate) async fn remember_nodes(app: &App) -> Result<(), StoreError> {
    let nodes = app.store.nodes().await?;
    let now = Instant::now();
    for row in nodes {
        let heard_at = now.checked_sub(row.silent_for).unwrap_or(now);
        let NodeRow {
            node,
            incarnation,
            applied,
            ..
        } = row;
        app.hub.remember(
            NodeReport {
                node,
                incarnation,
                applied,
            },
            heard_at,
        );
    }
    Ok(())
}

fn spawn(app: &Arc<App>, job: impl Future<Output = ()> + Send + 'static) {
    let stopping = app.stopping.clone();
    app.tasks
        .spawn(async move { stopping.run_until_cancelled(job).await });
}

/// Changes that another process commits reach this one's streams at once.
async fn follow_news(app: Arc<App>) {
    loop {
        if let Err(error) = listen(&app).await {
            tracing::debug!(%error, "no news from the database");
        }
        tokio::time::sleep(LISTEN_AGAIN).await;
    }
}

async fn listen(app: &App) -> Result<(), StoreError> {
    let mut news = app.store.listen().await?;
    loop {
        app.hub.advance(head_of(app.store.config_head().await?));
        news.wait().await?;
    }
}

/// News may be lost with their connection, so the head is read now and then as well.
async fn pulse(app: Arc<App>) {
    loop {
        if let Err(error) = exchange(&app).await {
            tracing::debug!(%error, "nothing exchanged with the database");
        }
        tokio::time::sleep(PULSE).await;
    }
}

async fn exchange(app: &App) -> Result<(), StoreError> {
    app.hub.advance(head_of(app.store.config_head().await?));
    for view in app.hub.take_unsaved() {
        let row = NodeRow {
            node: view.node,
            incarnation: view.incarnation,
            applied: view.applied,
            silent_for: view.heard_at.elapsed(),
        };
        app.store.save_node(&row).await?;
    }
    remember_nodes(app).await
}

async fn prune(app: Arc<App>) {
    loop {
        tokio::time::sleep(PRUNE_EVERY).await;
        match prune_once(&app).await {
            Ok(0) => {}
            Ok(rows) => tracing::debug!(rows, "forgot what has run out"),
            Err(error) => tracing::debug!(%error, "nothing pruned"),
        }
    }
}

async fn prune_once(app: &App) -> Result<u64, StoreError> {
    Ok(app.store.prune_answers().await? + app.store.prune_changes().await?)
}

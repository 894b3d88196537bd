//! Connections, bounded in number and time.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Connections at once; beyond, they wait to be accepted.
const CONNECTIONS_MAX: usize = 2_048;
/// How long the head of a request may take, the idle time before it included.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// Headers of one request.
const HEADERS_MAX: usize = 100;
/// Bytes of a request's head.
const HEAD_LEN_MAX: usize = 32 * 1024;
/// How long to wait after an accept that failed, which is for lack of descriptors as a rule.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Accepts until `stopping`; each connection then ends after the request it is at.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    tasks: &TaskTracker,
    stopping: &CancellationToken,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = stopping.run_until_cancelled(accept(&listener, &room)).await;
        let Some(accepted) = accepted else {
            return;
        };
        match accepted {
            Some((stream, permit)) => {
                tasks.spawn(connection(stream, router.clone(), stopping.clone(), permit));
            }
            None => tokio::time::sleep(ACCEPT_AGAIN).await,
        }
    }
}

async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let permit = room.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => Some((stream, permit)),
        Err(error) => {
            tracing::warn!(%error, "no connection accepted");
            None
        }
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    stopping: CancellationToken,
    _permit: OwnedSemaphorePermit,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection sends in small packets");
    }
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_LIMIT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(HEAD_LEN_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = stopping.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke off");
    }
}

//! Fail-stop: the first storage failure fences the whole node.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;

use tokio::sync::{Notify, watch};

/// What failed when the node was fenced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceCause {
    /// What was being done.
    pub during: &'static str,
    /// The error's text.
    pub error: Arc<str>,
}

impl fmt::Display for FenceCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.during, self.error)
    }
}

/// Trips once. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Fence(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    cause: watch::Sender<Option<FenceCause>>,
    /// For this crate's own waiters, woken in the order in which they came.
    tripped: Notify,
}

impl Fence {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Shared {
            cause: watch::Sender::new(None),
            tripped: Notify::new(),
        }))
    }

    /// Fences the node; later causes are ignored.
    pub(crate) fn trip(&self, during: &'static str, error: &dyn fmt::Display) {
        let is_first = self.0.cause.send_if_modified(|cause| {
            let is_first = cause.is_none();
            if is_first {
                *cause = Some(FenceCause {
                    during,
                    error: error.to_string().into(),
                });
            }
            is_first
        });
        if is_first {
            self.0.tripped.notify_waiters();
            tracing::error!(during, %error, "storage failed, the node is fenced");
        }
    }

    pub(crate) fn is_tripped(&self) -> bool {
        self.0.cause.borrow().is_some()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<FenceCause>> {
        self.0.cause.subscribe()
    }

    /// Returns once the node is fenced.
    pub(crate) async fn tripped(&self) {
        let mut tripped = pin!(self.0.tripped.notified());
        // From here on it is not missed.
        tripped.as_mut().enable();
        if !self.is_tripped() {
            tripped.await;
        }
    }
}

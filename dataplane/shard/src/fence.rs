//! Fail-stop: the first storage failure fences the whole node.

use std::fmt;
use std::sync::Arc;

use tokio::sync::watch;

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
pub(crate) struct Fence(Arc<watch::Sender<Option<FenceCause>>>);

impl Fence {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Fences the node; later causes are ignored.
    pub(crate) fn trip(&self, during: &'static str, error: &dyn fmt::Display) {
        let is_first = self.0.send_if_modified(|cause| {
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
            tracing::error!(during, %error, "storage failed, the node is fenced");
        }
    }

    pub(crate) fn is_tripped(&self) -> bool {
        self.0.borrow().is_some()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<Option<FenceCause>> {
        self.0.subscribe()
    }

    /// Returns once the node is fenced.
    pub(crate) async fn tripped(&self) {
        let mut causes = self.subscribe();
        // The sender is alive in `self`, so this cannot fail.
        let _cause = causes.wait_for(Option::is_some).await;
    }
}

//! A value that is watched, for Raft's runtime: those who wait are woken in the order in which they
//! began to. (Tokio's wakes them in a random order, which no seed repeats.)

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use openraft::async_runtime::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};
use openraft::{OptionalSend, OptionalSync};
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::Notify;

/// The family of these channels.
pub(crate) struct Watched;

struct Shared<T> {
    value: RwLock<T>,
    /// Raised with each change, under the value's lock.
    version: AtomicU64,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    changed: Notify,
}

pub(crate) struct Sender<T>(Arc<Shared<T>>);

pub(crate) struct Receiver<T> {
    shared: Arc<Shared<T>>,
    seen: u64,
}

impl<T> Shared<T> {
    fn receiver(self: &Arc<Self>, seen: u64) -> Receiver<T> {
        self.receivers.fetch_add(1, Ordering::AcqRel);
        Receiver {
            shared: Arc::clone(self),
            seen,
        }
    }

    fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.senders.fetch_add(1, Ordering::AcqRel);
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.0.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.changed.notify_waiters();
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receiver(self.seen)
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Watch for Watched {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = RwLockReadGuard<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let shared = Arc::new(Shared {
            value: RwLock::new(init),
            version: AtomicU64::new(0),
            senders: AtomicUsize::new(1),
            receivers: AtomicUsize::new(0),
            changed: Notify::new(),
        });
        let receiver = shared.receiver(0);
        (Sender(shared), receiver)
    }
}

impl<T: OptionalSend + OptionalSync> WatchSender<Watched, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.receivers.load(Ordering::Acquire) == 0 {
            return Err(SendError(value));
        }
        self.send_if_modified(|current| {
            *current = value;
            true
        });
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        let is_modified = {
            let mut value = self.0.value.write();
            let is_modified = modify(&mut value);
            if is_modified {
                self.0.version.fetch_add(1, Ordering::AcqRel);
            }
            is_modified
        };
        if is_modified {
            self.0.changed.notify_waiters();
        }
        is_modified
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.0.value.read()
    }

    fn subscribe(&self) -> Receiver<T> {
        self.0.receiver(self.0.version())
    }
}

impl<T: OptionalSend + OptionalSync> WatchReceiver<Watched, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        loop {
            let mut changed = pin!(self.shared.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            let version = self.shared.version();
            if version != self.seen {
                self.seen = version;
                return Ok(());
            }
            if self.shared.senders.load(Ordering::Acquire) == 0 {
                return Err(RecvError(()));
            }
            changed.await;
        }
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.shared.value.read()
    }

    fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        let value = self.shared.value.read();
        self.seen = self.shared.version();
        value
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, poll};

    use super::*;

    #[tokio::test]
    async fn a_change_is_seen_once_by_everybody_and_the_end_too() {
        let (sender, mut first) = Watched::channel(1);
        let mut second = first.clone();
        assert!(first.changed().now_or_never().is_none());
        let mut waiting = Box::pin(second.changed());
        assert!(poll!(&mut waiting).is_pending());
        assert!(sender.send_if_greater(2));
        assert!(!sender.send_if_greater(2));
        waiting.await.unwrap();
        first.changed().await.unwrap();
        assert_eq!((*first.borrow_watched(), *second.borrow_watched()), (2, 2));
        assert!(first.changed().now_or_never().is_none());
        sender.send(3).unwrap();
        assert_eq!(*first.borrow_and_update(), 3);
        assert!(first.changed().now_or_never().is_none());
        let mut late = sender.clone().subscribe();
        assert!(
            late.changed().now_or_never().is_none(),
            "what was before is not news"
        );
        drop(sender);
        assert!(first.changed().await.is_err());
        assert!(
            second.changed().await.is_ok(),
            "the last change comes before the end"
        );
        assert!(second.changed().await.is_err());
    }

    #[test]
    fn nobody_to_send_to_is_told() {
        let (sender, receiver) = Watched::channel(1);
        drop(receiver);
        assert!(sender.send(2).is_err());
        assert_eq!(*sender.borrow_watched(), 1);
    }
}

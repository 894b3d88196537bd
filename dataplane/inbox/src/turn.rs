//! Turns: attaches of one client identifier go one after another, those of different ones do not
//! wait for each other.

use std::collections::hash_map::RandomState;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::OwnedMutexGuard;

use crate::registry::SessionKey;

/// Who may wait for one client identifier, the one whose turn it is included.
const WAITING_MAX: usize = 16;

type Gate = Arc<tokio::sync::Mutex<()>>;

/// Gates of the client identifiers that somebody waits for or holds.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    gates: Mutex<HashMap<SessionKey, Gate, RandomState>>,
}

/// So many wait for the client identifier that no more may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Contended {
    pub(crate) waiting: usize,
}

/// The caller's turn, until it is dropped.
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    turns: &'a Turns,
    key: &'a SessionKey,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the turn.
    pub(crate) async fn enter<'a>(&'a self, key: &'a SessionKey) -> Result<Turn<'a>, Contended> {
        let gate = self.gate(key)?;
        // Made before the wait: dropping it removes the gate even if the wait is given up.
        let mut turn = Turn {
            turns: self,
            key,
            guard: None,
        };
        turn.guard = Some(gate.lock_owned().await);
        Ok(turn)
    }

    /// Whether anybody has the turn or waits for it.
    pub(crate) fn is_held(&self, key: &SessionKey) -> bool {
        self.gates.lock().contains_key(key)
    }

    fn gate(&self, key: &SessionKey) -> Result<Gate, Contended> {
        let mut gates = self.gates.lock();
        let gate = match gates.get(key) {
            Some(gate) => Arc::clone(gate),
            None => Arc::clone(gates.entry(key.clone()).or_default()),
        };
        // One handle is the map's, one is ours.
        let waiting = Arc::strong_count(&gate) - 2;
        if waiting >= WAITING_MAX {
            return Err(Contended { waiting });
        }
        Ok(gate)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut gates = self.turns.gates.lock();
        self.guard = None;
        // Handles are made under this lock only, so a count of one stays one.
        if gates
            .get(self.key)
            .is_some_and(|gate| Arc::strong_count(gate) == 1)
        {
            gates.remove(self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_tenancy::TenantId;

    fn key(client: &str) -> SessionKey {
        SessionKey::of_bytes(TenantId::from_bytes([1; 16]), client.as_bytes())
    }

    #[tokio::test]
    async fn one_identifier_has_one_turn_and_leaves_nothing_behind() {
        let turns = Turns::default();
        let (a, b) = (key("a"), key("b"));
        let first = turns.enter(&a).await.unwrap();
        let _other = turns.enter(&b).await.unwrap();
        let mut second = Box::pin(turns.enter(&a));
        assert!(futures_poll(second.as_mut()).is_none());
        drop(first);
        drop(second.await.unwrap());
        assert_eq!(turns.gates.lock().len(), 1);
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_leaves_nothing_behind() {
        let turns = Turns::default();
        let a = key("a");
        let first = turns.enter(&a).await.unwrap();
        let mut second = Box::pin(turns.enter(&a));
        assert!(futures_poll(second.as_mut()).is_none());
        drop(second);
        drop(first);
        assert!(turns.gates.lock().is_empty());
    }

    #[tokio::test]
    async fn too_many_that_wait_are_refused() {
        let turns = Turns::default();
        let a = key("a");
        let _first = turns.enter(&a).await.unwrap();
        let mut waiting: Vec<_> = (1..WAITING_MAX)
            .map(|_| Box::pin(turns.enter(&a)))
            .collect();
        for waiter in &mut waiting {
            assert!(futures_poll(waiter.as_mut()).is_none());
        }
        assert_eq!(
            turns.enter(&a).await.unwrap_err(),
            Contended {
                waiting: WAITING_MAX
            }
        );
    }

    fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> Option<F::Output> {
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        match future.poll(&mut cx) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        }
    }
}

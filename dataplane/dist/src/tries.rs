//! The tries of the tenants in use, in memory only: derived from the rows of one shard, and dropped
//! when nobody holds them.
//!
//! ```text
//!            load_step…            last load_step
//!  (absent) ──────────> loading ──────────────────> loaded ──┐ publish: each committed change
//!     ^                    │                           │  <──┘
//!     └─ evict_idle: in use by nobody; publish: its last route went and nobody holds it
//! ```
//! - A trie is read in steps of bounded length, and changes go on meanwhile: they go into the trie
//!   too. Rows are read as of then, so reading one after its change, or before, ends the same.
//! - [`Tries::publish`] runs after the rows became readable and before the proposals are answered:
//!   whoever was answered finds its route in every later snapshot.
//! - A tenant that is being read holds nobody up but itself: each has its own lock.

use std::collections::HashMap;
use std::mem;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{Mutex, MutexGuard};
use tessera_shard::{RowError, Rows, Visit};
use tessera_tenancy::TenantId;

use crate::keys::{Identity, Undecodable, parse_route_value, routes_end, routes_start};
use crate::route::RouteOptions;
use crate::trie::Trie;

/// Rows that one step of loading reads while changes of the same tenant wait: some hundred
/// microseconds.
const ROWS_PER_LOAD_STEP: usize = 256;

/// The generation of routes that are not loaded yet. No reader sees it.
const NOT_LOADED: u64 = 0;

/// The routes of one tenant, for readers. Whoever holds it sees every change.
#[derive(Debug)]
pub struct TenantRoutes {
    tenant: TenantId,
    generation: AtomicU64,
    trie: ArcSwap<Trie>,
    /// How far the rows were read; `None` once they all were. Held by who changes the trie.
    loading: Mutex<Option<Loading>>,
    /// Who reads the rows: one at a time, so that a storm of askers takes one thread.
    turn: tokio::sync::Mutex<()>,
    /// Somebody asked for it since the last look for idle ones.
    asked_for: AtomicBool,
}

impl TenantRoutes {
    /// Grows with each visible change, and never repeats in this process. What was matched in a
    /// snapshot taken *after* reading a generation holds as long as that is the generation.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// The routes now. Takes no lock.
    pub fn snapshot(&self) -> Arc<Trie> {
        self.trie.load_full()
    }
}

/// A route that was set or removed.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) tenant: TenantId,
    pub(crate) identity: Identity,
    /// `None` removes it.
    pub(crate) options: Option<RouteOptions>,
}

/// The tries of all tenants in use, of whichever shard: whoever holds one keeps it while a split moves
/// its tenant from shard to shard.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    tenants: Mutex<HashMap<TenantId, Arc<TenantRoutes>>>,
    generations: AtomicU64,
}

/// The tries of one shard's tenants.
#[derive(Debug, Default)]
pub(crate) struct Tries {
    /// Applied, but not readable yet. At most what the shard applies between two commits.
    applied: Mutex<Vec<Change>>,
    memory: Arc<Memory>,
}

impl Memory {
    /// Drops what nobody holds: empty tries at once, others if nobody asked for them since the last
    /// call. Returns how many tenants went. O(tenants in memory).
    pub(crate) fn evict_idle(&self) -> usize {
        let evicted: Vec<_> = self
            .tenants
            .lock()
            .extract_if(|_, routes| {
                let asked_for = routes.asked_for.swap(false, Ordering::Relaxed);
                !is_held(routes) && (!asked_for || routes.is_loaded_and_empty())
            })
            .collect();
        // They are freed here, outside of the lock: a large trie takes its time.
        evicted.len()
    }

    fn evict_if_empty(&self, tenant: TenantId) {
        let mut tenants = self.tenants.lock();
        let is_over = |routes: &Arc<TenantRoutes>| !is_held(routes) && routes.is_loaded_and_empty();
        if tenants.get(&tenant).is_some_and(is_over) {
            tenants.remove(&tenant);
        }
    }

    /// Tenants in memory.
    pub(crate) fn len(&self) -> usize {
        self.tenants.lock().len()
    }

    fn next_generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed) + 1
    }
}

impl Tries {
    pub(crate) fn new(memory: Arc<Memory>) -> Self {
        Self {
            applied: Mutex::default(),
            memory,
        }
    }

    /// The tenant's routes: to be loaded, unless they are.
    pub(crate) fn tenant(&self, tenant: TenantId) -> Arc<TenantRoutes> {
        let mut tenants = self.memory.tenants.lock();
        let routes = tenants
            .entry(tenant)
            .or_insert_with(|| Arc::new(TenantRoutes::new(tenant)));
        routes.asked_for.store(true, Ordering::Relaxed);
        Arc::clone(routes)
    }

    /// Reads some more rows, through `scan(from, until, visit)`; `true` once there are no more. Several
    /// callers may take turns. After an error it can be tried again.
    pub(crate) fn load_step<E: From<RowError>>(
        &self,
        routes: &TenantRoutes,
        scan: impl FnOnce(&[u8], &[u8], &mut Visit<'_>) -> Result<(), E>,
    ) -> Result<bool, E> {
        let mut guard = routes.loading.lock();
        let Some(loading) = &mut *guard else {
            return Ok(true);
        };
        if loading.step(routes.tenant, scan)? == More::None {
            let trie = mem::take(&mut loading.trie);
            *guard = None;
            routes.replace(trie, self.memory.next_generation());
            return Ok(true);
        }
        // The applying thread may be waiting: it goes first.
        MutexGuard::unlock_fair(guard);
        Ok(false)
    }

    /// Remembers a change until its rows are readable.
    pub(crate) fn note(&self, change: Change) {
        self.applied.lock().push(change);
    }

    /// Shows the remembered changes to the readers. O(changes), whatever the size of the tries.
    pub(crate) fn publish(&self) {
        let mut changes = mem::take(&mut *self.applied.lock());
        // Stable: the changes of one route stay in order.
        changes.sort_by_key(|change| change.tenant);
        for changes in changes.chunk_by(|a, b| a.tenant == b.tenant) {
            self.publish_to_tenant(changes);
        }
    }

    fn publish_to_tenant(&self, changes: &[Change]) {
        let Some(first) = changes.first() else {
            return;
        };
        let Some(routes) = self.memory.tenants.lock().get(&first.tenant).cloned() else {
            return;
        };
        routes.change(changes, || self.memory.next_generation());
        let is_empty = routes.is_loaded_and_empty();
        drop(routes);
        if is_empty {
            self.memory.evict_if_empty(first.tenant);
        }
    }

    /// Reads everything of this shard's again: all rows were replaced, or its range is another one. What
    /// a split took away stays as it is until the shard that has it now reads it.
    pub(crate) fn rebuild(&self, rows: &dyn Rows) -> Result<(), RowError> {
        self.applied.lock().clear();
        let tenants: Vec<_> = self.memory.tenants.lock().values().cloned().collect();
        let is_here = |routes: &Arc<TenantRoutes>| rows.covers(&routes_start(routes.tenant));
        for routes in tenants.into_iter().filter(is_here) {
            let mut guard = routes.loading.lock();
            let mut loading = Loading::new(routes.tenant);
            if guard.is_some() {
                *guard = Some(loading);
                continue;
            }
            while loading.step(routes.tenant, |from, until, visit| {
                rows.scan(from, until, visit)
            })? == More::Rows
            {}
            routes.replace(loading.trie, self.memory.next_generation());
        }
        Ok(())
    }
}

impl Trie {
    fn set_all(&mut self, changes: &[Change]) -> bool {
        changes.iter().fold(false, |changed, change| {
            self.set(&change.identity, change.options) | changed
        })
    }
}

/// Whether anybody but the map has the routes. While the map is locked nobody can take them anew.
fn is_held(routes: &Arc<TenantRoutes>) -> bool {
    Arc::strong_count(routes) > 1
}

impl TenantRoutes {
    fn new(tenant: TenantId) -> Self {
        Self {
            tenant,
            generation: AtomicU64::new(NOT_LOADED),
            trie: ArcSwap::default(),
            loading: Mutex::new(Some(Loading::new(tenant))),
            turn: tokio::sync::Mutex::default(),
            asked_for: AtomicBool::new(true),
        }
    }

    pub(crate) const fn tenant(&self) -> TenantId {
        self.tenant
    }

    pub(crate) fn is_loaded(&self) -> bool {
        self.generation() != NOT_LOADED
    }

    /// Waits until nobody else reads the rows.
    pub(crate) async fn turn_to_load(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    fn is_loaded_and_empty(&self) -> bool {
        self.is_loaded() && self.trie.load().is_empty()
    }

    fn change(&self, changes: &[Change], next_generation: impl FnOnce() -> u64) {
        let mut loading = self.loading.lock();
        if let Some(Loading { trie, .. }) = &mut *loading {
            trie.set_all(changes);
            return;
        }
        let mut trie = Trie::clone(&self.trie.load());
        if trie.set_all(changes) {
            self.replace(trie, next_generation());
        }
    }

    /// The trie first: who reads the new generation finds the new trie.
    fn replace(&self, trie: Trie, generation: u64) {
        self.trie.store(Arc::new(trie));
        self.generation.store(generation, Ordering::Release);
    }
}

/// A trie that the rows before `next` went into, and all changes since the first was read.
#[derive(Debug)]
struct Loading {
    trie: Trie,
    next: Vec<u8>,
}

/// Whether there are rows left to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum More {
    Rows,
    None,
}

impl Loading {
    fn new(tenant: TenantId) -> Self {
        Self {
            trie: Trie::default(),
            next: routes_start(tenant),
        }
    }

    fn step<E: From<RowError>>(
        &mut self,
        tenant: TenantId,
        scan: impl FnOnce(&[u8], &[u8], &mut Visit<'_>) -> Result<(), E>,
    ) -> Result<More, E> {
        let mut rows_left = ROWS_PER_LOAD_STEP;
        let mut end = Ok(More::None);
        let (start, from) = (routes_start(tenant), self.next.clone());
        scan(&from, &routes_end(tenant), &mut |key, value| {
            if rows_left == 0 {
                self.next = key.to_vec();
                end = Ok(More::Rows);
                return ControlFlow::Break(());
            }
            rows_left -= 1;
            match parse_row(&start, key, value) {
                Ok((identity, options)) => {
                    self.trie.set(&identity, Some(options));
                    ControlFlow::Continue(())
                }
                Err(Undecodable(what)) => {
                    end = Err(RowError::undecodable(what));
                    ControlFlow::Break(())
                }
            }
        })?;
        Ok(end?)
    }
}

fn parse_row(
    start: &[u8],
    key: &[u8],
    value: &[u8],
) -> Result<(Identity, RouteOptions), Undecodable> {
    let identity = key
        .strip_prefix(start)
        .ok_or(Undecodable("a route's key"))?;
    let (identity, _) = Identity::parse(identity)?;
    Ok((identity, parse_route_value(value)?))
}

#[cfg(test)]
mod tests;

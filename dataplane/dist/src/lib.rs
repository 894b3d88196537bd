//! Subscriptions to receivers: which filters' messages go where, durably, and who gets a message.
//!
//! # Contents
//! - [`Dist`]: the service. Start reading at [`Dist::add_route`] and [`Dist::tenant`].
//! - [`Route`], [`Receiver`]: what is stored. A front end has one transient route for each filter,
//!   an inbox a persistent one.
//! - [`TenantRoutes`]: one tenant's routes as readers see them, without a lock; [`Trie`]: a snapshot,
//!   with exact MQTT matching.
//! - `keys`: the table of every key and value. `command`: the replicated writes. `apply`: what they
//!   do to rows. `tries`, `nodes`: tries and node sessions in memory, derived from rows. `radix`: the
//!   persistent map below a trie. `lease`: who may still act under a node session.
//!
//! # Invariants
//! - Every route's key begins with its tenant, and every trie is of one tenant: no read names two.
//! - When [`Dist::add_route`] is done the route is on disk, and in every later snapshot on this node;
//!   the generation has grown. The same for [`Dist::remove_route`].
//! - A transient route carries its node session. A session that has ended takes no route, and its
//!   routes are gone before the node's next session serves.
//! - `apply` is deterministic and total, and touches at most 1,000 rows.
//! - Nothing recurses over topics, filters or tries.
//!
//! # Costs
//! Adding or removing a route: O(length of its key) in rows and in memory, however many routes there
//! are. A tenant that nobody uses costs no memory. Loading one: O(its routes), in bounded steps.
//! Opening after a restart: O(transient routes of this node).
//!
//! # Decisions
//! - Tries are byte-wise radix trees and not trees of levels: a level with a million names is shared
//!   by as small copies as any other, single-child tails cost nothing, and routes of one filter are
//!   leaves like all others, so that a filter with a million receivers changes in O(log) too. The
//!   price: a [`Route`] is put together when it is matched; callers keep matches by generation.
//! - The routes of a node session are listed in local rows, so that ending it costs what it holds and
//!   not a scan of the shard. A row more per transient route, of which there is one per node and filter.
//! - A node's session has one number in all shards: the larger is taken where they differ.
//! - Tries are loaded in steps while changes go on, not under a long lock, and evicted when nobody
//!   holds them, by [`Dist::evict_idle`], which the node calls now and then.
//! - A tenant lies in one shard as long as ranges are cut between first bytes. A range cut inside a
//!   tenant will give it a trie per shard.
//! - An unknown command is refused and not a reason to stop: a group proposes a new form only after
//!   all its replicas know it (protocols I).

#![warn(missing_docs)]

mod apply;
mod command;
mod keys;
mod lease;
mod leases;
mod nodes;
mod radix;
mod route;
mod service;
mod trie;
mod tries;

#[cfg(test)]
mod testing;

pub use command::Refusal;
pub use leases::{RENEW_EVERY, Renewal};
pub use route::{NodeSession, Receiver, Route, RouteOptions, SessionIncarnation};
pub use service::{Dist, DistOpenError, DistOptions, LoadError, RouteError};
pub use trie::Trie;
pub use tries::TenantRoutes;

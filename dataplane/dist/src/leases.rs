//! Leases of node sessions at work (protocols A): this node renews its own with the leaders of the
//! shards, and, where it leads, grants them and ends those that nobody can hold any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parking_lot::Mutex;
use tessera_shard::{Scope, Shard, ShardId};
use tessera_tenancy::{NodeId, TenantId};
use tokio::time::Instant;

use crate::apply::Routes;
use crate::command::Command;
use crate::lease::{Grants, LEASE};
use crate::route::NodeSession;
use crate::service::{Dist, RouteError, done, end_former_sessions, submit};

/// How often a node renews, and looks for sessions that are overdue.
pub const RENEW_EVERY: Duration = Duration::from_millis(500);

/// What this node holds and grants.
#[derive(Debug)]
pub(crate) struct Leases {
    began: Instant,
    /// Until when this node's session is held in each shard.
    held: Mutex<BTreeMap<ShardId, Instant>>,
    grants: Mutex<BTreeMap<ShardId, Grants>>,
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            held: Mutex::default(),
            grants: Mutex::default(),
        }
    }
}

/// What a leader says of a renewal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renewal {
    /// Shards in which the session is held for two more seconds.
    pub granted: Vec<ShardId>,
    /// The session has ended in a shard that is led there.
    pub has_ended: bool,
}

impl Dist {
    /// Whether this node may act for a tenant: by cached routes, and towards sessions. Always if it
    /// is alone.
    pub fn holds_lease(&self, tenant: TenantId) -> bool {
        let Some(leases) = &self.leases else {
            return true;
        };
        let until = leases.held.lock().get(&self.shard_of(tenant).id()).copied();
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Whom this node has to ask for renewals: the leaders of the shards.
    pub fn leaders(&self) -> BTreeSet<NodeId> {
        let shards = self.store.shards();
        shards.filter_map(|shard| shard.leader()).collect()
    }

    /// Renews a session in every shard that this node leads, as a quorum confirms.
    pub async fn grant_renewal(&self, session: NodeSession) -> Renewal {
        let mut renewal = Renewal::default();
        let Some(leases) = &self.leases else {
            return renewal;
        };
        for shard in self.store.shards() {
            let Some(term) = term_led(&shard) else {
                continue;
            };
            if shard.read_linearizable(|_rows| Ok(())).await.is_err() {
                continue;
            }
            if !shard.machine().nodes().is_live(session) {
                renewal.has_ended = true;
                continue;
            }
            let now = leases.began.elapsed();
            let mut grants = leases.grants.lock();
            let grants = grants.entry(shard.id()).or_default();
            if term_led(&shard) != Some(term) {
                continue;
            }
            if grants.grant(session, term, now) {
                renewal.granted.push(shard.id());
            }
        }
        renewal
    }

    /// A leader answered a renewal that was sent then.
    pub fn note_renewal(&self, renewal: &Renewal, sent: Instant) {
        let Some(leases) = &self.leases else { return };
        let mut held = leases.held.lock();
        for shard in &renewal.granted {
            let until = held.entry(*shard).or_insert(sent);
            *until = (*until).max(sent + LEASE);
        }
    }

    /// This node's session has ended: nothing is held.
    pub fn note_lost(&self) {
        if let Some(leases) = &self.leases {
            leases.held.lock().clear();
        }
    }

    /// In the shards that this node leads, ends the sessions whose lease is over and removes their
    /// routes. Answers whether there were any. Call it every [`RENEW_EVERY`].
    pub async fn end_overdue(&self) -> Result<bool, RouteError> {
        let mut ended = false;
        for shard in self.store.shards() {
            if self.begins_to_lead(&shard) {
                // The leader before may have ended sessions whose routes it did not come to.
                for node in shard.machine().nodes().known() {
                    end_former_sessions(&shard, node).await?;
                }
            }
            for (session, term) in self.overdue(&shard) {
                tracing::info!(node = %session.node, number = session.number, shard = %shard.id(),
                    "node session ended: its lease is over");
                let command = Command::EndNodeSession { session, term };
                done(submit(&shard, Scope::Group, &command)).await?;
                end_former_sessions(&shard, session.node).await?;
                ended = true;
            }
        }
        Ok(ended)
    }

    /// Whether this node leads a shard since a new election.
    fn begins_to_lead(&self, shard: &Shard<Routes>) -> bool {
        let Some(leases) = &self.leases else {
            return false;
        };
        let mut grants = leases.grants.lock();
        let grants = grants.entry(shard.id()).or_default();
        grants.note_led(term_led(shard))
    }

    fn overdue(&self, shard: &Shard<Routes>) -> Vec<(NodeSession, u64)> {
        let Some(leases) = &self.leases else {
            return Vec::new();
        };
        let (term, now) = (term_led(shard), leases.began.elapsed());
        let mut grants = leases.grants.lock();
        let grants = grants.entry(shard.id()).or_default();
        if grants.note_led(term) {
            // Elected anew meanwhile: the next look begins with the term.
            return Vec::new();
        }
        let overdue = grants.overdue(&shard.machine().nodes().live(), now);
        let in_term = |session| term.map(|term| (session, term));
        overdue.into_iter().filter_map(in_term).collect()
    }
}

/// The term in which this node leads a shard, as far as it knows.
fn term_led(shard: &Shard<Routes>) -> Option<u64> {
    let status = shard.status();
    status.is_leader.then_some(status.term)
}

//! Subscriptions of this node's transient sessions: the fan-out behind one route per node and filter
//! (design §6).
//!
//! `dist` holds one route for a filter however many clients of this node have it. The members of the
//! filter stand here. A route is added before its first member's SUBACK and removed after its last
//! member is gone; both under the filter's lock, so that an old removal never hits a new route.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;
use tessera_mqtt::{FilterSpec, SubscriptionId, SubscriptionOptions};

use crate::outbox::Outbox;

/// One local subscription.
#[derive(Debug, Clone)]
pub(crate) struct Member {
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) options: SubscriptionOptions,
    pub(crate) subscription_id: Option<SubscriptionId>,
}

/// What a change of members means for the filter's route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteDuty {
    /// The route stands as it is.
    None,
    /// The first member came: the route must be added.
    Add,
    /// The last member went: the route must be removed.
    Remove,
}

/// The members of one tenant's filters on this node.
#[derive(Debug, Default)]
pub(crate) struct LocalRoutes {
    members: RwLock<HashMap<FilterSpec, Vec<Member>>>,
    generation: AtomicU64,
}

impl LocalRoutes {
    /// Changes whenever a member comes, goes or changes its options.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Adds a member or replaces its options.
    pub(crate) fn insert(&self, filter: &FilterSpec, member: Member) -> RouteDuty {
        let mut members = self.members.write();
        let list = members.entry(filter.clone()).or_default();
        let duty = if list.is_empty() {
            RouteDuty::Add
        } else {
            RouteDuty::None
        };
        match list
            .iter_mut()
            .find(|known| Arc::ptr_eq(&known.outbox, &member.outbox))
        {
            Some(known) => *known = member,
            None => list.push(member),
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
        duty
    }

    /// Removes a member; does nothing if it is not there.
    pub(crate) fn remove(&self, filter: &FilterSpec, outbox: &Arc<Outbox>) -> RouteDuty {
        let mut members = self.members.write();
        let Some(list) = members.get_mut(filter) else {
            return RouteDuty::None;
        };
        let before = list.len();
        list.retain(|known| !Arc::ptr_eq(&known.outbox, outbox));
        if list.len() == before {
            return RouteDuty::None;
        }
        self.generation.fetch_add(1, Ordering::AcqRel);
        if list.is_empty() {
            members.remove(filter);
            return RouteDuty::Remove;
        }
        RouteDuty::None
    }

    /// Visits the members of a filter.
    pub(crate) fn for_each(&self, filter: &FilterSpec, mut visit: impl FnMut(&Member)) {
        if let Some(list) = self.members.read().get(filter) {
            list.iter().for_each(&mut visit);
        }
    }
}

mod answer;
mod apply;
mod body;
mod bounds;
mod command;
mod encoding;
mod error;
mod keys;
mod lane;
mod query;
mod queue;
mod registry;
mod rows;
mod run;
mod service;
mod session;
mod sweep;
mod turn;

#[cfg(test)]
mod memory_rows;

pub use error::{AttachError, InsertError, SessionError};
pub use queue::{
    Fetched, InsertOutcome, InsertRequest, OverflowPolicy, PublishOrigin, QueueBounds, Queued,
    SUBSCRIPTION_IDS_MAX, Target,
};
pub use service::{Inbox, InboxOptions, LiveOutcome};
pub use session::{
    AttachRequest, Attached, Detached, DiscardedRoute, EXPIRY_NEVER, Expired, LiveGrant, Owner,
    OwnerEpoch, SessionIncarnation, SessionKind, SessionRef, StoredSubscription, SubscriptionState,
    TenantFigures,
};

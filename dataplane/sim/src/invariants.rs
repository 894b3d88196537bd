//! What must hold, whatever goes wrong: an invariant each, with its name, checked in every build.
//!
//! Some are told what happens while it happens, others look at the end.

pub(crate) mod acknowledged_is_durable;
pub(crate) mod applied_once;
pub(crate) mod every_operation_ends;
pub(crate) mod fenced_for_a_reason;
pub(crate) mod leader_completeness;
pub(crate) mod linearizable;
pub(crate) mod log_matching;
pub(crate) mod no_panic;
pub(crate) mod one_digest;
pub(crate) mod one_leader_per_term;
pub(crate) mod one_owner_per_epoch;
pub(crate) mod one_owner_per_key;
pub(crate) mod ranges_cover_the_space;
pub(crate) mod reads_see_a_prefix;
pub(crate) mod recovers;
pub(crate) mod split_conserves;
pub(crate) mod state_machine_safety;

pub(crate) use applied_once::AppliedOnce;
pub(crate) use leader_completeness::LeaderCompleteness;
pub(crate) use log_matching::LogMatching;
pub(crate) use one_digest::OneDigest;
pub(crate) use one_leader_per_term::OneLeaderPerTerm;
pub(crate) use one_owner_per_epoch::OneOwnerPerEpoch;
pub(crate) use state_machine_safety::StateMachineSafety;

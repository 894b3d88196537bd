//! The routes: a file for each resource, and the nodes' streams.

pub(crate) mod api_keys;
pub(crate) mod credentials;
pub(crate) mod meta;
pub(crate) mod organizations;
pub(crate) mod plans;
pub(crate) mod platform;
pub(crate) mod push;
pub(crate) mod quotas;
pub(crate) mod tenants;

use tessera_domain::Violation;

/// Keeps a value and collects what is wrong with it, so that a body is refused for all its faults at
/// once.
fn collect<T>(violations: &mut Vec<Violation>, checked: Result<T, Violation>) -> Option<T> {
    match checked {
        Ok(value) => Some(value),
        Err(violation) => {
            violations.push(violation);
            None
        }
    }
}

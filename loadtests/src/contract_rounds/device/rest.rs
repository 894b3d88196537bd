//! Whether a client has come to rest, for those who wait for it.

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Link;
use super::Session;
use crate::contract_rounds::tenants::Access;

/// See the module.
#[derive(Debug)]
pub(crate) struct Rest {
    name: String,
    /// `None`: it is connected, and nothing is on its way.
    waits_for: Mutex<Option<String>>,
}

impl Rest {
    pub(super) fn new(access: &Access, number: u32) -> Self {
        Self {
            name: format!("client {number} of tenant {}", access.tenant.0),
            waits_for: Mutex::new(Some("its beginning".to_owned())),
        }
    }

    pub(super) fn set(&self, link: Option<&Link>, session: &Session) {
        *self.waits_for() = match link {
            Some(_) => session.waits_for(),
            None => Some("a connection".to_owned()),
        };
    }

    /// It works.
    pub(super) fn disturb(&self) {
        let mut waits_for = self.waits_for();
        if waits_for.is_none() {
            *waits_for = Some("the end of its work".to_owned());
        }
    }

    /// What keeps it from resting, in words.
    pub(crate) fn unrest(&self) -> Option<String> {
        let waits_for = self.waits_for();
        waits_for
            .as_ref()
            .map(|what| format!("{} waits for {what}", self.name))
    }

    fn waits_for(&self) -> MutexGuard<'_, Option<String>> {
        self.waits_for
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

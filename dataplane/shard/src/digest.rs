//! A digest over everything that a group's replicas must have in common.

use std::ops::ControlFlow;

use crate::error::RowError;
use crate::state::{Area, View};

/// A group's state at an index, in short: replicas at one index have one digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StateDigest {
    /// The last applied log index.
    pub index: u64,
    /// The epoch of the range.
    pub epoch: u64,
    /// Over the range, all rows in it, and what the group remembers besides.
    pub digest: u64,
}

/// FNV-1a with 64 bits: to find differences, not to withstand somebody who makes them.
struct Hasher(u64);

impl Hasher {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn add_row(&mut self, area: u8, key: &[u8], value: &[u8]) {
        let len = u64::try_from(key.len()).unwrap_or(u64::MAX);
        self.add(&[area]);
        self.add(&len.to_le_bytes());
        self.add(key);
        self.add(value);
    }
}

/// Reads all rows of the group. `None` if it has applied nothing.
pub(crate) fn digest(view: &View) -> Result<Option<StateDigest>, RowError> {
    let Some((applied, extent)) = view.position()? else {
        return Ok(None);
    };
    let mut hasher = Hasher(0xcbf2_9ce4_8422_2325);
    let range = &extent.range;
    hasher.add_row(0, range.start(), &extent.epoch.to_le_bytes());
    hasher.add_row(1, range.end().unwrap_or_default(), &[]);
    view.scan_area(Area::Engine, &[], &[], &mut |key, value| {
        if !View::is_of_this_replica(key) {
            hasher.add_row(2, key, value);
        }
        ControlFlow::Continue(())
    })?;
    view.scan_area(Area::Machine, &[], &[], &mut |key, value| {
        hasher.add_row(3, key, value);
        ControlFlow::Continue(())
    })?;
    view.within(&extent).scan(&[], &[], &mut |key, value| {
        hasher.add_row(4, key, value);
        ControlFlow::Continue(())
    })?;
    Ok(Some(StateDigest {
        index: applied,
        epoch: extent.epoch,
        digest: hasher.0,
    }))
}

//! A resource with the `ETag` it was read under.

use std::ops::Deref;

/// What was read, and the `ETag` that a write hands back, so that nobody's edit in between is lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned<T> {
    /// The resource.
    pub value: T,
    /// Its `ETag` with its quotation marks.
    pub etag: String,
}

impl<T> Versioned<T> {
    /// The resource alone.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl<T> Deref for Versioned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

//! Intent and observed revision per node; streams signed changes.

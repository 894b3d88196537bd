//! Liveness: once the faults end, within a bound every shard is led, takes writes through every
//! node, and all replicas come to the same place.

use std::time::Duration;

pub(crate) const NAME: &str = "recovers";

/// Simulated time from the end of the faults.
pub(crate) const WITHIN: Duration = Duration::from_secs(60);

/// `missing` says what has not happened yet.
pub(crate) fn check(missing: Option<String>) -> Result<(), String> {
    missing.map_or(Ok(()), |missing| {
        Err(format!("after {WITHIN:?}: {missing}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said() {
        check(None).unwrap();
        assert!(check(Some("a leader".to_owned())).is_err());
    }
}

//! Every operation ends: while its node is up, a client is told something within a bound.

use std::time::Duration;

pub(crate) const NAME: &str = "every operation ends";

/// Simulated time that an operation may take: several times what the engine is told to wait.
pub(crate) const WITHIN: Duration = Duration::from_secs(20);

/// `open` operations are left at the end of a run.
pub(crate) fn check(open: u64) -> Result<(), String> {
    if open == 0 {
        return Ok(());
    }
    Err(format!("{open} operations were never answered"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_operation_at_the_end_is_noticed() {
        check(0).unwrap();
        assert!(check(1).is_err());
    }
}

//! A node fences itself, or refuses to start, only if its disk failed it; and a power cut is no
//! failure.

pub(crate) const NAME: &str = "fenced for a reason";

/// A node stopped with `why`; `is_hurt` says whether its disk gave it a reason.
pub(crate) fn check(node: u64, is_hurt: bool, why: &str) -> Result<(), String> {
    if is_hurt {
        return Ok(());
    }
    Err(format!("node {node}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_without_a_failure_is_noticed() {
        check(1, true, "").unwrap();
        assert!(check(1, false, "").is_err());
    }
}

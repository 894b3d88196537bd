//! Whatever a read sees, a stale one too, was committed: it is a beginning of what the row lists at
//! the end.

use crate::machine::{Key, Register};

pub(crate) const NAME: &str = "reads see a prefix";

pub(crate) fn check(key: Key, seen: &Register, row: &Register) -> Result<(), String> {
    if row.ops.starts_with(&seen.ops) {
        return Ok(());
    }
    Err(format!(
        "a read of {key:?} saw {:?}, at the end it is {:?}",
        seen.ops, row.ops
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::OpId;

    #[test]
    fn a_read_of_what_was_not_committed_is_noticed() {
        let key = Key {
            tenant: 1,
            register: 1,
        };
        let row = |ops: &[u64]| Register {
            chain: 0,
            ops: ops.iter().map(|op| OpId(*op)).collect(),
        };
        check(key, &row(&[1]), &row(&[1, 2])).unwrap();
        assert!(check(key, &row(&[2]), &row(&[1, 2])).is_err());
        assert!(check(key, &row(&[1, 2, 3]), &row(&[1, 2])).is_err());
    }
}

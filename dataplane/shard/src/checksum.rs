//! The checksum in front of every stored value.
//!
//! redb trusts its pages on ordinary reads, so a flipped bit would be served as data. CRC32 over
//! the table's tag, the key and the value sees a flip in any of them, and a value that lies under
//! a key or in a table that it was not written for.

use redb::{Table, TableDefinition};

/// Bytes of the checksum in front of a value.
pub(crate) const CHECK_LEN: usize = 4;

/// A table of sealed values.
pub(crate) type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// An open table of sealed values.
pub(crate) type SealedTable<'txn> = Table<'txn, &'static [u8], &'static [u8]>;

/// Which table a value belongs to: part of its checksum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    Rows,
    Local,
    Entries,
    Meta,
    LocalStore,
}

impl Tag {
    const fn byte(self) -> u8 {
        match self {
            Self::Rows => 1,
            Self::Local => 2,
            Self::Entries => 3,
            Self::Meta => 4,
            Self::LocalStore => 5,
        }
    }
}

/// The value inside `stored`, or `None` if it is not what was written.
pub(crate) fn unseal<'a>(tag: Tag, key: &[u8], stored: &'a [u8]) -> Option<&'a [u8]> {
    let (check, value) = stored.split_at_checked(CHECK_LEN)?;
    (check == checksum(tag, key, &[value])).then_some(value)
}

/// Writes the concatenated `parts` under `key`, straight into the page.
pub(crate) fn insert_sealed(
    table: &mut SealedTable<'_>,
    tag: Tag,
    key: &[u8],
    parts: &[&[u8]],
) -> Result<(), redb::StorageError> {
    let len = CHECK_LEN + parts.iter().map(|part| part.len()).sum::<usize>();
    let mut slot = table.insert_reserve(key, len)?;
    let (check, mut rest) = slot.as_mut().split_at_mut(CHECK_LEN);
    check.copy_from_slice(&checksum(tag, key, parts));
    for part in parts {
        let (place, after) = rest.split_at_mut(part.len());
        place.copy_from_slice(part);
        rest = after;
    }
    Ok(())
}

fn checksum(tag: Tag, key: &[u8], parts: &[&[u8]]) -> [u8; CHECK_LEN] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[tag.byte()]);
    hasher.update(key);
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seal(tag: Tag, key: &[u8], value: &[u8]) -> Vec<u8> {
        [&checksum(tag, key, &[value])[..], value].concat()
    }

    proptest! {
        #[test]
        fn a_sealed_value_reads_back(key: Vec<u8>, value: Vec<u8>) {
            let stored = seal(Tag::Rows, &key, &value);
            prop_assert_eq!(unseal(Tag::Rows, &key, &stored), Some(&value[..]));
        }

        #[test]
        fn one_flipped_bit_is_seen(key: Vec<u8>, value: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
            let mut stored = seal(Tag::Rows, &key, &value);
            let at = at.index(stored.len());
            stored[at] ^= 1 << bit;
            prop_assert_eq!(unseal(Tag::Rows, &key, &stored), None);
        }
    }

    #[test]
    fn a_value_under_a_foreign_key_or_table_is_seen() {
        let stored = seal(Tag::Rows, b"key", b"value");
        assert_eq!(unseal(Tag::Rows, b"kez", &stored), None);
        assert_eq!(unseal(Tag::Local, b"key", &stored), None);
        assert_eq!(
            unseal(Tag::Rows, b"key", b"abc"),
            None,
            "shorter than a checksum"
        );
    }
}

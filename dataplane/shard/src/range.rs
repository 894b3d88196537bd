//! Key ranges: how the ordered keys of a store kind are cut into shards.

use std::fmt;

use tessera_tenancy::TenantId;

use crate::bytes_io::{Reader, put_part};

/// A kind of store: one ordered key space.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StoreKind {
    /// Subscriptions to receivers.
    Dist,
    /// Sessions and their queues.
    Inbox,
    /// Retained messages.
    Retain,
}

impl StoreKind {
    /// Its byte in keys and ids.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Dist => 1,
            Self::Inbox => 2,
            Self::Retain => 3,
        }
    }

    /// Its word in file names and messages.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dist => "dist",
            Self::Inbox => "inbox",
            Self::Retain => "retain",
        }
    }
}

impl fmt::Display for StoreKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Names a shard (one Raft group) in its cluster. The highest byte is the store kind's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardId(u64);

impl ShardId {
    /// The `ordinal`th of the ranges that a kind starts with.
    pub(crate) const fn initial(kind: StoreKind, ordinal: u8) -> Self {
        Self(((kind.code() as u64) << 56) | ordinal as u64)
    }

    /// The shard of this number.
    pub const fn from_u64(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub const fn as_u64(self) -> u64 {
        self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The keys `start <= key < end` of one kind. The last range of a kind has no end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct KeyRange {
    start: Vec<u8>,
    end: Option<Vec<u8>>,
}

impl KeyRange {
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && self.is_before_end(key)
    }

    /// Whether some key of `tenant` is in the range.
    pub(crate) fn touches(&self, tenant: TenantId) -> bool {
        let first = tenant.as_bytes().as_slice();
        // The tenant's keys end where the prefix does: `start` is past them only if it is larger
        // than the prefix without continuing it.
        let starts_after = self.start.as_slice() > first && !self.start.starts_with(first);
        !starts_after && self.is_before_end(first)
    }

    pub(crate) fn start(&self) -> &[u8] {
        &self.start
    }

    /// The part of `from..until` (an empty `until` is the end of all keys) that is in the range:
    /// a start, and an end if there is one.
    pub(crate) fn clamp<'a>(
        &'a self,
        from: &'a [u8],
        until: &'a [u8],
    ) -> (&'a [u8], Option<&'a [u8]>) {
        let until = (!until.is_empty()).then_some(until);
        let end = match (until, self.end.as_deref()) {
            (Some(until), Some(end)) => Some(until.min(end)),
            (until, end) => until.or(end),
        };
        (self.start.as_slice().max(from), end)
    }

    fn is_before_end(&self, key: &[u8]) -> bool {
        self.end.as_deref().is_none_or(|end| key < end)
    }
}

/// What a node records of a range that it has a replica of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RangeRecord {
    pub(crate) shard: ShardId,
    /// Version of the range's extent: raised by a split.
    pub(crate) epoch: u64,
    /// Which of the kind's state files holds its rows on this node.
    pub(crate) stripe: u8,
    pub(crate) range: KeyRange,
}

/// Most ranges that a kind starts with: one per first byte.
pub(crate) const INITIAL_RANGES_MAX: usize = 256;
/// Most state files per kind and node.
pub(crate) const STRIPES_MAX: usize = 8;

/// The ranges that a kind starts with: even cuts of the first byte, dealt over the stripes in turn.
/// `None` unless `count` is 1 to [`INITIAL_RANGES_MAX`].
pub(crate) fn initial_ranges(
    kind: StoreKind,
    count: usize,
    stripes: usize,
) -> Option<Vec<RangeRecord>> {
    if count == 0 || count > INITIAL_RANGES_MAX {
        return None;
    }
    let stripes = stripes.clamp(1, STRIPES_MAX).min(count);
    (0..count)
        .map(|i| {
            let start = if i == 0 { Vec::new() } else { cut(i, count)? };
            let end = if i + 1 == count {
                None
            } else {
                Some(cut(i + 1, count)?)
            };
            Some(RangeRecord {
                shard: ShardId::initial(kind, u8::try_from(i).ok()?),
                epoch: 1,
                stripe: u8::try_from(i % stripes).ok()?,
                range: KeyRange { start, end },
            })
        })
        .collect()
}

fn cut(i: usize, count: usize) -> Option<Vec<u8>> {
    Some(vec![u8::try_from(i * 256 / count).ok()?])
}

/// `form u8 | epoch u64 | stripe u8 | start | has_end u8 | end?`, parts behind their length.
impl RangeRecord {
    const FORM: u8 = 1;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![Self::FORM];
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.push(self.stripe);
        put_part(&mut out, &self.range.start);
        out.push(u8::from(self.range.end.is_some()));
        if let Some(end) = &self.range.end {
            put_part(&mut out, end);
        }
        out
    }

    pub(crate) fn decode(shard: ShardId, bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        if reader.u8()? != Self::FORM {
            return None;
        }
        let (epoch, stripe) = (reader.u64()?, reader.u8()?);
        let start = reader.part()?.to_vec();
        let end = match reader.u8()? {
            0 => None,
            1 => Some(reader.part()?.to_vec()),
            2.. => return None,
        };
        let range = KeyRange { start, end };
        reader.is_empty().then_some(Self {
            shard,
            epoch,
            stripe,
            range,
        })
    }
}

/// Whether ranges, sorted by their start, cover every key exactly once.
pub(crate) fn is_partition(ranges: &[RangeRecord]) -> bool {
    let starts = ranges
        .iter()
        .map(|record| Some(record.range.start.as_slice()));
    let ends = ranges.iter().map(|record| record.range.end.as_deref());
    // Each range starts where the one before ends; the first at the empty key, the last open.
    std::iter::once(Some(&[][..]))
        .chain(ends)
        .eq(starts.chain(std::iter::once(None)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_key_has_exactly_one_range(
            count in 1usize..=256,
            stripes in 1usize..20,
            key in prop::collection::vec(any::<u8>(), 0..24),
        ) {
            let ranges = initial_ranges(StoreKind::Inbox, count, stripes).unwrap();
            prop_assert!(is_partition(&ranges));
            let owners = ranges.iter().filter(|record| record.range.contains(&key)).count();
            prop_assert_eq!(owners, 1);
        }

        #[test]
        fn a_tenant_touches_exactly_the_ranges_that_hold_one_of_its_keys(
            start in prop::collection::vec(any::<u8>(), 0..20),
            end in prop::option::of(prop::collection::vec(any::<u8>(), 0..20)),
            tenant: [u8; 16],
            inside: bool,
        ) {
            let mut start = start;
            if inside {
                start.splice(..start.len().min(16), tenant);
            }
            let range = KeyRange { start, end };
            let id = TenantId::from_bytes(tenant);
            // The tenant's smallest key that is not before the range.
            let first = if range.start.starts_with(&tenant) { &range.start[..] } else { &tenant[..] };
            prop_assert_eq!(range.touches(id), range.contains(first));
        }

        #[test]
        fn a_range_record_reads_back(count in 1usize..=256, pick: prop::sample::Index) {
            let ranges = initial_ranges(StoreKind::Dist, count, 4).unwrap();
            let record = pick.get(&ranges);
            let read = RangeRecord::decode(record.shard, &record.encode());
            prop_assert_eq!(read.as_ref(), Some(record));
        }
    }

    #[test]
    fn a_hole_and_an_overlap_are_no_partition() {
        let ranges = initial_ranges(StoreKind::Dist, 4, 1).unwrap();
        assert!(!is_partition(&ranges[1..]));
        assert!(!is_partition(&ranges[..3]));
        assert!(!is_partition(&[]));
        let mut doubled = ranges.clone();
        doubled.insert(1, ranges[1].clone());
        assert!(!is_partition(&doubled));
    }

    #[test]
    fn a_scan_is_cut_to_the_range() {
        let range = KeyRange {
            start: vec![10],
            end: Some(vec![20]),
        };
        assert_eq!(range.clamp(&[], &[]), (&[10][..], Some(&[20][..])));
        assert_eq!(range.clamp(&[12], &[15]), (&[12][..], Some(&[15][..])));
        assert_eq!(range.clamp(&[5], &[30]), (&[10][..], Some(&[20][..])));
        let last = KeyRange {
            start: vec![10],
            end: None,
        };
        assert_eq!(last.clamp(&[11], &[]), (&[11][..], None));
    }
}

//! Key ranges: how the ordered keys of a store kind are cut into shards.

use std::fmt;

use tessera_tenancy::{NodeId, TenantId};

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

    /// The kind of this byte.
    pub(crate) const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Dist),
            2 => Some(Self::Inbox),
            3 => Some(Self::Retain),
            0 | 4.. => None,
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

    /// The shard that the later part of a range becomes. Drawn from the parent and the log index
    /// of the split, so that every replica names it alike; the bit below the kind is never set in
    /// an initial one. Two of a cluster's splits draw the same of 2^55 with a chance that
    /// vanishes at any number of shards that a cluster has.
    pub(crate) const fn child(parent: Self, index: u64) -> Self {
        let mut mixed = parent.0 ^ index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let kind = parent.0 & (0xff << 56);
        Self(kind | (1 << 55) | ((mixed ^ (mixed >> 31)) & ((1 << 55) - 1)))
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
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

    pub(crate) fn end(&self) -> Option<&[u8]> {
        self.end.as_deref()
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

    /// Whether some key is in both.
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.is_before_end(&other.start) && other.is_before_end(&self.start)
    }

    /// The part before `at` and the part from `at` on, if both have keys.
    pub(crate) fn split(&self, at: &[u8]) -> Option<(Self, Self)> {
        if at <= self.start.as_slice() || !self.is_before_end(at) {
            return None;
        }
        let before = Self {
            start: self.start.clone(),
            end: Some(at.to_vec()),
        };
        let after = Self {
            start: at.to_vec(),
            end: self.end.clone(),
        };
        Some((before, after))
    }

    /// What is left of the range without the keys of `others`.
    pub(crate) fn without(&self, others: &[std::sync::Arc<Self>]) -> Vec<Self> {
        let mut left = vec![self.clone()];
        for other in others {
            left = left.iter().flat_map(|part| part.minus(other)).collect();
        }
        left
    }

    fn minus(&self, other: &Self) -> Vec<Self> {
        if !self.overlaps(other) {
            return vec![self.clone()];
        }
        let before = Self {
            start: self.start.clone(),
            end: Some(other.start.clone()),
        };
        let after = other.end.clone().map(|start| Self {
            start,
            end: self.end.clone(),
        });
        let parts = std::iter::once(before).chain(after);
        parts.filter(|part| !part.is_empty()).collect()
    }

    fn is_empty(&self) -> bool {
        self.end.as_ref().is_some_and(|end| *end <= self.start)
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
    /// The first members of the group, on the node that was told to make it; else none.
    pub(crate) founders: Vec<NodeId>,
}

/// The epoch of the ranges that a kind starts with.
pub(crate) const FIRST_EPOCH: u64 = 1;
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
    founders: &[NodeId],
) -> Option<Vec<RangeRecord>> {
    if count == 0 || count > INITIAL_RANGES_MAX {
        return None;
    }
    let stripes = stripes.clamp(1, STRIPES_MAX).min(count);
    let ranges: Option<Vec<_>> = (0..count)
        .map(|i| {
            let start = if i == 0 { Vec::new() } else { cut(i, count)? };
            let end = if i + 1 == count {
                None
            } else {
                Some(cut(i + 1, count)?)
            };
            Some(RangeRecord {
                shard: ShardId::initial(kind, u8::try_from(i).ok()?),
                epoch: FIRST_EPOCH,
                stripe: u8::try_from(i % stripes).ok()?,
                range: KeyRange { start, end },
                founders: founders.to_vec(),
            })
        })
        .collect();
    debug_assert!(ranges.as_deref().is_none_or(is_partition));
    ranges
}

fn cut(i: usize, count: usize) -> Option<Vec<u8>> {
    Some(vec![u8::try_from(i * 256 / count).ok()?])
}

/// `form u8 | epoch u64 | stripe u8 | start | has_end u8 | end? | founder u64…`, parts behind their
/// length. The first form had no founders.
impl RangeRecord {
    const FORM: u8 = 2;
    const FORM_WITHOUT_FOUNDERS: u8 = 1;

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![Self::FORM];
        out.extend_from_slice(&self.epoch.to_le_bytes());
        out.push(self.stripe);
        put_part(&mut out, &self.range.start);
        out.push(u8::from(self.range.end.is_some()));
        if let Some(end) = &self.range.end {
            put_part(&mut out, end);
        }
        for founder in &self.founders {
            out.extend_from_slice(&founder.0.to_le_bytes());
        }
        out
    }

    pub(crate) fn decode(shard: ShardId, bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(bytes);
        let form = reader.u8()?;
        if form != Self::FORM && form != Self::FORM_WITHOUT_FOUNDERS {
            return None;
        }
        let (epoch, stripe) = (reader.u64()?, reader.u8()?);
        let start = reader.part()?.to_vec();
        let end = match reader.u8()? {
            0 => None,
            1 => Some(reader.part()?.to_vec()),
            2.. => return None,
        };
        let mut founders = Vec::new();
        while form == Self::FORM && !reader.is_empty() {
            founders.push(NodeId(reader.u64()?));
        }
        reader.is_empty().then_some(Self {
            shard,
            epoch,
            stripe,
            range: KeyRange { start, end },
            founders,
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
            let ranges = initial_ranges(StoreKind::Inbox, count, stripes, &[]).unwrap();
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
        fn without_others_a_range_has_its_keys_that_they_have_not(
            cuts in prop::collection::vec((0u8..20, prop::option::of(0u8..20)), 1..5),
            key in 0u8..20,
        ) {
            let mut ranges = cuts.into_iter().map(|(start, end)| KeyRange {
                start: vec![start],
                end: end.map(|end| vec![end.max(start + 1)]),
            });
            let whole = ranges.next().unwrap();
            let others: Vec<_> = ranges.map(std::sync::Arc::new).collect();
            let left = whole.without(&others);
            let key = [key];
            let expected = whole.contains(&key) && !others.iter().any(|other| other.contains(&key));
            prop_assert_eq!(left.iter().filter(|part| part.contains(&key)).count(), usize::from(expected));
        }

        #[test]
        fn both_parts_of_a_split_have_keys_and_together_all_of_them(
            start in prop::collection::vec(0u8..4, 0..4),
            end in prop::option::of(prop::collection::vec(0u8..4, 0..4)),
            at in prop::collection::vec(0u8..4, 0..4),
            key in prop::collection::vec(0u8..4, 0..4),
        ) {
            let range = KeyRange { start, end };
            let Some((before, after)) = range.split(&at) else {
                prop_assert!(!range.contains(&at) || range.start == at);
                return Ok(());
            };
            prop_assert!(before.contains(&range.start) && after.contains(&at));
            prop_assert_eq!(range.contains(&key), before.contains(&key) != after.contains(&key));
            prop_assert!(!before.overlaps(&after));
        }

        #[test]
        fn a_range_record_reads_back(count in 1usize..=256, pick: prop::sample::Index) {
            let ranges = initial_ranges(StoreKind::Dist, count, 4, &[NodeId(1), NodeId(7)]).unwrap();
            let record = pick.get(&ranges);
            let read = RangeRecord::decode(record.shard, &record.encode());
            prop_assert_eq!(read.as_ref(), Some(record));
        }
    }

    #[test]
    fn a_hole_and_an_overlap_are_no_partition() {
        let ranges = initial_ranges(StoreKind::Dist, 4, 1, &[]).unwrap();
        assert!(!is_partition(&ranges[1..]));
        assert!(!is_partition(&ranges[..3]));
        assert!(!is_partition(&[]));
        let mut doubled = ranges.clone();
        doubled.insert(1, ranges[1].clone());
        assert!(!is_partition(&doubled));
    }

    #[test]
    fn ranges_overlap_if_a_key_is_in_both() {
        let range = |start: u8, end: Option<u8>| KeyRange {
            start: vec![start],
            end: end.map(|end| vec![end]),
        };
        let all = KeyRange {
            start: Vec::new(),
            end: None,
        };
        for (a, b, expected) in [
            (range(1, Some(3)), range(3, None), false),
            (range(1, Some(4)), range(3, None), true),
            (range(1, None), range(3, Some(4)), true),
            (range(5, None), range(3, Some(4)), false),
            (all.clone(), range(3, Some(4)), true),
            (all.clone(), all, true),
        ] {
            assert_eq!(a.overlaps(&b), expected, "{a:?} {b:?}");
            assert_eq!(b.overlaps(&a), expected, "{b:?} {a:?}");
        }
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

//! What a host of shard engines and its driver say to each other: one JSON value per line, in both
//! directions, answers in any order.
//!
//! A write is an id; its tenant, its place among the tenant's keys and its text follow from that, so
//! that both ends can tell what should be stored.

use anyhow::{Context as _, ensure};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tessera_tenancy::TenantId;
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncReadExt as _};

/// Bytes of one line, its end included.
const LINE_BYTES_MAX: u64 = 64 * 1024;
/// Rows of one answer: far below [`LINE_BYTES_MAX`].
pub(crate) const ROWS_PER_ANSWER: usize = 256;
/// Tenants, spread over all ranges.
const TENANTS: u64 = 16;
/// Bytes of most texts, from and up to.
const TEXT_BYTES: (u64, u64) = (16, 400);
/// One text of so many is long.
const LONG_EVERY: u64 = 64;
/// Bytes of a long text, at most.
const LONG_TEXT_BYTES_MAX: u64 = 12 * 1024;

/// Names a write. A driver uses each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct WriteId(pub(crate) u64);

impl WriteId {
    /// Whose row it is.
    pub(crate) fn tenant(self) -> TenantId {
        let spread = u8::try_from(self.place() % TENANTS).unwrap_or(0);
        TenantId::from_bytes([spread * 16 + 5; 16])
    }

    /// What follows the tenant in its key: another one for each id.
    pub(crate) const fn place(self) -> u64 {
        mixed(self.0)
    }

    /// What is stored.
    pub(crate) fn text(self) -> String {
        let draw = mixed(self.place());
        let (least, most) = TEXT_BYTES;
        let bytes = if draw.is_multiple_of(LONG_EVERY) {
            draw / LONG_EVERY % LONG_TEXT_BYTES_MAX
        } else {
            least + draw / LONG_EVERY % (most - least)
        };
        let bytes = usize::try_from(bytes).unwrap_or(0);
        let mut text = format!("{draw:016x}").repeat(bytes / 16 + 1);
        text.truncate(bytes);
        text
    }
}

/// A permutation of all numbers (the last step of splitmix64).
pub(crate) const fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// FNV-1a of bytes, going on from `from`.
pub(crate) fn fingerprint_from(from: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(from, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// FNV-1a of bytes.
pub(crate) fn fingerprint(bytes: &[u8]) -> u64 {
    fingerprint_from(0xcbf2_9ce4_8422_2325, bytes)
}

/// What a driver asks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Propose this write through a node.
    Write {
        node: u64,
        id: WriteId,
        text: String,
    },
    /// Split the range that has this id, at its key, or in the middle of its bytes if it has more
    /// than this.
    Split { id: WriteId, if_larger: Option<u64> },
    /// Every replica of every node, after a linearizable read of each.
    Replicas,
    /// Everything that a node has, after a linearizable read of each of its shards.
    Rows { node: u64 },
    /// Whether a node has a replica for this id's key.
    IsOwned { node: u64, id: WriteId },
}

/// What a host answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Answer {
    /// Durable, and applied for the time that is said.
    Written {
        id: WriteId,
        applied: u32,
    },
    /// Not applied, and it never will be.
    Refused {
        id: WriteId,
        why: String,
    },
    /// Whether it is applied, or will be, is not known.
    Unknown {
        id: WriteId,
        why: String,
    },
    /// The shard that has the later keys now.
    Split {
        child: u64,
    },
    /// Whether the range was split is not known unless the reason says so.
    NotSplit {
        why: String,
    },
    /// Not now: a shard has no leader, say.
    NotReady {
        why: String,
    },
    Replicas(Vec<Replica>),
    /// Some of a node's rows; more follow.
    Rows(Vec<Row>),
    /// There are no more.
    RowsEnd,
    IsOwned(bool),
}

/// A shard on a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Replica {
    pub(crate) shard: u64,
    pub(crate) node: u64,
    pub(crate) index: u64,
    pub(crate) epoch: u64,
    pub(crate) digest: u64,
}

/// A write as it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) id: WriteId,
    /// What its key says that [`WriteId::place`] is.
    pub(crate) place: u64,
    /// How often it was applied.
    pub(crate) applied: u32,
    /// Of its text.
    pub(crate) fingerprint: u64,
}

/// Adds one value to what is to be written.
pub(crate) fn put_line(out: &mut Vec<u8>, value: &impl Serialize) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, value)?;
    out.push(b'\n');
    Ok(())
}

/// The next value; `None` where the other end is gone, also in the middle of a line.
pub(crate) async fn read_line<T: DeserializeOwned>(
    reader: &mut (impl AsyncBufRead + Unpin),
) -> anyhow::Result<Option<T>> {
    let mut line = Vec::new();
    let mut limited = reader.take(LINE_BYTES_MAX);
    let read = limited.read_until(b'\n', &mut line).await?;
    ensure!(
        line.ends_with(b"\n") || read < usize::try_from(LINE_BYTES_MAX)?,
        "a line is longer than {LINE_BYTES_MAX} bytes"
    );
    if !line.ends_with(b"\n") {
        return Ok(None);
    }
    serde_json::from_slice(&line)
        .map(Some)
        .context("a line of another form")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_stored_follows_from_the_id_and_differs() {
        let ids: Vec<_> = (0..2_000).map(WriteId).collect();
        let places: BTreeSet<_> = ids.iter().map(|id| id.place()).collect();
        let tenants: BTreeSet<_> = ids.iter().map(|id| id.tenant()).collect();
        assert_eq!((places.len(), tenants.len()), (2_000, 16));
        assert_eq!(ids[7].text(), WriteId(7).text());
        let longest = ids.iter().map(|id| id.text().len()).max();
        assert!(longest > Some(4_096), "{longest:?}");
    }

    #[tokio::test]
    async fn a_line_that_is_cut_is_the_end_and_one_that_is_too_long_an_error() {
        let mut lines = Vec::new();
        put_line(&mut lines, &Request::Rows { node: 3 }).unwrap();
        lines.extend_from_slice(b"{\"Rows\":");
        let mut reader = lines.as_slice();
        let whole: Option<Request> = read_line(&mut reader).await.unwrap();
        assert!(matches!(whole, Some(Request::Rows { node: 3 })));
        let cut: Option<Request> = read_line(&mut reader).await.unwrap();
        assert!(cut.is_none());
        let long = vec![b'x'; 70_000];
        let refused = read_line::<Request>(&mut long.as_slice()).await;
        assert!(refused.is_err());
    }
}

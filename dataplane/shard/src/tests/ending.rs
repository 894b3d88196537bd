//! What callers are told while Raft ends.

use futures_util::FutureExt as _;

use super::kit::{open, tenant};
use crate::ReadError;

/// Whoever goes away while it waits for the end must not take the others' answer with it.
#[tokio::test]
async fn a_call_that_is_dropped_while_raft_ends_hurts_none_after_it() {
    let temp = tempfile::tempdir().unwrap();
    let (engine, store) = open(temp.path(), 1).await;
    let shard = store.shard_for(tenant(1), b"");
    let ended = shard.replica().stop().now_or_never();
    assert!(ended.is_none(), "it ended at once, so nothing was dropped");
    for _ in 0..2 {
        let read = shard.read_linearizable(|_rows| Ok(())).await;
        assert!(matches!(read, Err(ReadError::Closed)), "{read:?}");
    }
    engine.shutdown().await;
}

//! Flipped bytes in files are told, never served.

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;

use super::kit::{Counters, ECHO, add, copy_folder, key_of, open, options, tenant};
use crate::disk::Storage;
use crate::fence::Fence;
use crate::log::NodeLog;
use crate::{Engine, OpenError, ReadError, RowError, Scope, StoreKind, Workers};

/// A value and a command that are found in a file.
const MARK: [u8; 48] = *b"0123456789-marked-for-damage-9876543210-abcdefgh";

/// Flips a bit of every copy of `what` in the file; how many there were.
fn flip(path: &Path, what: &[u8]) -> usize {
    let mut bytes = std::fs::read(path).unwrap();
    let found = bytes
        .windows(what.len())
        .enumerate()
        .filter(|(_, window)| *window == what);
    let places: Vec<usize> = found.map(|(at, _)| at).collect();
    for at in &places {
        bytes[at + what.len() / 2] ^= 0x10;
    }
    std::fs::write(path, bytes).unwrap();
    places.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_a_stored_value_is_told_by_get_and_by_scan() {
    let temp = tempfile::tempdir().unwrap();
    let (engine, store) = open(temp.path(), 1).await;
    // A counter's value is small; its key makes it findable. The flip hits key or value.
    let value = 7u64;
    for _ in 0..value {
        add(&store, tenant(1), &MARK).await;
    }
    add(&store, tenant(1), b"whole").await;
    engine.shutdown().await;
    let stored = |folder: &Path| {
        let mut flipped = 0;
        for stripe in ["state-inbox-0.redb", "state-inbox-1.redb"] {
            let path = folder.join(stripe);
            if path.exists() {
                flipped += flip_value(&path, &key_of(tenant(1), &MARK), &value.to_le_bytes());
            }
        }
        flipped
    };
    assert!(stored(temp.path()) > 0);
    let engine = Engine::open(options(temp.path(), 2)).unwrap();
    let opened = engine
        .open_store(StoreKind::Inbox, 4, |_| Counters::default())
        .await;
    // The machine scans its rows when it is opened.
    let damaged = RowError::Corrupt { what: "row" };
    match opened {
        Err(OpenError::Rows(error)) => assert_eq!(error, damaged),
        other => panic!("{other:?}"),
    }
    engine.shutdown().await;

    let engine = Engine::open(options(temp.path(), 3)).unwrap();
    let store = engine
        .open_store(StoreKind::Inbox, 4, |_| super::kit::Blind)
        .await
        .unwrap();
    let shard = store.shard_for(tenant(1), &MARK);
    let read = shard.read(|rows| rows.get(&key_of(tenant(1), &MARK)));
    assert_eq!(read, Err(ReadError::Rows(damaged)));
    let whole = shard.read(|rows| rows.get(&key_of(tenant(1), b"whole")));
    assert!(whole.unwrap().is_some());
    engine.shutdown().await;
}

/// Flips a bit of `value` where it stands with its checksum in a page that also has `key`.
fn flip_value(path: &Path, key: &[u8], value: &[u8]) -> usize {
    let mut bytes = std::fs::read(path).unwrap();
    let mut flipped = 0;
    for page in bytes.chunks_mut(4096) {
        if !page.windows(key.len()).any(|window| window == key) {
            continue;
        }
        for at in 0..page.len() - value.len() {
            if page[at..].starts_with(value) {
                page[at] ^= 0x10;
                flipped += 1;
            }
        }
    }
    std::fs::write(path, bytes).unwrap();
    flipped
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flipped_bit_in_a_log_entry_stops_the_replay() {
    let temp = tempfile::tempdir().unwrap();
    let live = temp.path().join("live");
    let mut long = options(&live, 1);
    long.checkpoint_interval = Duration::from_secs(3600);
    let engine = Engine::open(long).unwrap();
    let store = super::kit::open_store(&engine).await;
    let shard = store.shard_for(tenant(1), b"");
    let marked = Bytes::from([ECHO, &MARK].concat());
    shard
        .propose(Scope::Tenant(tenant(1)), marked)
        .await
        .unwrap();
    add(&store, tenant(1), b"after").await;
    let (damaged, whole) = (temp.path().join("damaged"), temp.path().join("whole"));
    copy_folder(&live, &damaged);
    copy_folder(&live, &whole);
    engine.shutdown().await;

    // redb verifies the pages of a file that was not closed. Close it, so that only the entry's own
    // checksum is left to see the flip.
    let path = damaged.join("log.redb");
    let log = NodeLog::open(
        &Storage::Files,
        &path,
        1 << 20,
        Workers::Threads,
        Fence::new(),
    )
    .unwrap();
    log.close().await;
    log.database().close();
    assert!(flip(&path, &MARK) > 0);
    let engine = Engine::open(options(&damaged, 2)).unwrap();
    let opened = engine
        .open_store(StoreKind::Inbox, 4, |_| Counters::default())
        .await;
    let error = opened.unwrap_err();
    assert!(error.to_string().contains("log entry"), "{error}");
    engine.shutdown().await;
    let (engine, store) = open(&whole, 2).await;
    assert_eq!(super::kit::count(&store, tenant(1), b"after"), 1);
    engine.shutdown().await;
}

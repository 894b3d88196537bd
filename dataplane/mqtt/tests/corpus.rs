//! Replays the corpus of the fuzz targets through the same checks.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that fails says where"
)]

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

#[path = "../fuzz/src/lib.rs"]
#[expect(
    unreachable_pub,
    reason = "it is a crate of its own for the fuzz targets"
)]
mod checks;

/// Bytes of an input, as the fuzz targets are run.
const INPUT_BYTES_MAX: usize = 1_024;

#[test]
fn every_input_for_decoding_mqtt_3_1_still_holds() {
    replay("decode_v31");
}

#[test]
fn every_input_for_decoding_mqtt_3_1_1_still_holds() {
    replay("decode_v311");
}

#[test]
fn every_input_for_decoding_mqtt_5_still_holds() {
    replay("decode_v5");
}

#[test]
fn every_input_for_the_round_trip_still_holds() {
    replay("round_trip");
}

#[test]
fn every_input_for_the_other_codec_still_holds() {
    replay("differential");
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let mut folders: Vec<String> = files(&corpus())
        .iter()
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let mut targets = checks::TARGETS.map(|(name, _)| name);
    folders.sort_unstable();
    targets.sort_unstable();
    assert_eq!(folders, targets);
}

fn replay(target: &str) {
    let named = checks::TARGETS.iter().find(|(name, _)| *name == target);
    let (_, check) = named.unwrap();
    let inputs = files(&corpus().join(target));
    assert!(!inputs.is_empty(), "the corpus of {target} is empty");
    for path in inputs {
        let input = fs::read(&path).unwrap();
        assert!(input.len() <= INPUT_BYTES_MAX, "{}", path.display());
        let outcome = catch_unwind(|| check(&input));
        assert!(outcome.is_ok(), "{}", path.display());
    }
}

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

//! A power cut while a file is made.

use super::disk::TestDisk;
use super::kit::{add, open_on, open_store, options, tenant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_starts_whenever_the_power_was_cut_while_its_files_were_made() {
    let temp = tempfile::tempdir().unwrap();
    for seed in 0..6 {
        let disk = TestDisk::new();
        disk.record(seed);
        let engine = open_on(options(temp.path(), 1), &disk).unwrap();
        let store = open_store(&engine).await;
        let images = disk.recorded();
        assert_eq!(add(&store, tenant(1), b"a").await, 1);
        engine.shutdown().await;
        assert!(images.len() > 10, "{} images", images.len());
        for (at, image) in images.into_iter().enumerate() {
            let engine = open_on(options(temp.path(), 2), &image)
                .unwrap_or_else(|error| panic!("image {at} of seed {seed}: {error}"));
            let store = open_store(&engine).await;
            assert_eq!(add(&store, tenant(1), b"a").await, 1);
            engine.shutdown().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_file_that_was_being_made_is_begun_anew() {
    let temp = tempfile::tempdir().unwrap();
    let (engine, store) = super::kit::open(temp.path(), 1).await;
    assert_eq!(add(&store, tenant(1), b"a").await, 1);
    drop(store);
    engine.shutdown().await;
    let path = temp.path().join("log.redb");
    let zeroes = vec![0; std::fs::read(&path).unwrap().len()];
    std::fs::write(&path, &zeroes).unwrap();
    let refused = crate::Engine::open(options(temp.path(), 2)).unwrap_err();
    assert!(refused.to_string().contains("magic number"), "{refused}");
    assert_eq!(std::fs::read(&path).unwrap(), zeroes, "it is left alone");
}

use std::path::Path;

use tessera_shard::DiskFile;

use crate::disk::*;

fn disk() -> SimDisk {
    let profile = DiskProfile {
        sector: 512,
        sync: Duration::ZERO,
    };
    SimDisk::new(1, profile, Rng::of_part(1, 1), Journal::new(false))
}

fn open(disk: &SimDisk, name: &str) -> Box<dyn DiskFile> {
    disk.begin_life().open(Path::new(name)).unwrap()
}

/// A marked row that was committed in two phases.
fn commit(disk: &SimDisk, name: &str) -> Vec<u8> {
    let row = [MARK, &[7; MARKED_LEN]].concat();
    let file = open(disk, name);
    file.write(0, &row).unwrap();
    file.sync().unwrap();
    file.sync().unwrap();
    row
}

fn stored(disk: &SimDisk, name: &str) -> Vec<u8> {
    let mut row = vec![0; MARK.len() + MARKED_LEN];
    open(disk, name).read(0, &mut row).unwrap();
    row
}

#[test]
fn a_row_rots_while_no_process_runs_and_is_mended() {
    let disk = disk();
    let row = commit(&disk, "state-inbox-0.redb");
    disk.flip_once_off(1);
    assert!(disk.is_rotting() && !disk.is_flipped());
    disk.end_life();
    assert!(disk.is_flipped());
    assert_ne!(stored(&disk, "state-inbox-0.redb"), row);
    assert!(disk.is_hurt());
    disk.end_life();
    assert!(disk.mend_flips());
    assert_eq!(stored(&disk, "state-inbox-0.redb"), row);
    assert!(!disk.is_hurt());
}

#[test]
fn what_redb_may_still_fall_back_from_does_not_rot() {
    let disk = disk();
    let row = commit(&disk, "log.redb");
    disk.flip(1);
    assert!(!disk.is_flipped());
    assert_eq!(stored(&disk, "log.redb"), row);
}

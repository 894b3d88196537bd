use std::sync::Arc;

use tessera_config::{Config, ConfigOptions, MemoryDisk, OpenError, PushRefused, PushStream};
use tessera_config::{Disk, InvalidChange};
use tessera_tenancy::{Frame, Revision};

use crate::support::*;

#[test]
fn an_empty_disk_is_an_empty_configuration() {
    let config = open(&MemoryDisk::new());
    assert_eq!(config.position(), (None, Revision::ZERO));
    assert_eq!(config.tenant(ACME), None);
    assert_eq!(config.credential(ACME, &"s-1".parse().unwrap()), None);
    assert_eq!(config.credential_by_key_id(key_id(1)), None);
}

#[test]
fn changes_are_in_force_when_the_line_returns_and_after_a_restart() {
    let disk = MemoryDisk::new();
    let config = open(&disk);
    let mut stream = Stream::open(&config, 2);
    let progress = stream
        .send(changes(
            0,
            vec![
                set_tenant(ACME, "acme"),
                set_credential(ACME, 1, "s-1", &[1]),
            ],
        ))
        .unwrap();
    assert_eq!(progress.applied, Some(Revision(2)));
    for config in [config, open(&disk)] {
        assert_eq!(config.position(), (Some(TIMELINE), Revision(2)));
        let (tenant, record) = config.tenant_by_slug(&"acme".parse().unwrap()).unwrap();
        assert_eq!((tenant, &*record), (ACME, &crate::support::tenant("acme")));
        let (id, record) = config.credential(ACME, &"s-1".parse().unwrap()).unwrap();
        assert_eq!((id, &*record), (credential_id(1), &credential("s-1", &[1])));
        assert!(config.credential(GLOBEX, &"s-1".parse().unwrap()).is_none());
    }
}

#[test]
fn what_is_applied_already_is_skipped() {
    let disk = MemoryDisk::new();
    let config = open(&disk);
    let bodies = vec![set_tenant(ACME, "acme"), set_tenant(GLOBEX, "globex")];
    let mut stream = Stream::open(&config, 2);
    stream.send(changes(0, bodies.clone())).unwrap();
    let mut again = Stream::open(&config, 3);
    assert_eq!(
        again.send(changes(0, bodies.clone())).unwrap().applied,
        None
    );
    let overlapping = [bodies, vec![set_tenant(ACME, "acme-2")]].concat();
    let progress = again.send(changes(0, overlapping)).unwrap();
    assert_eq!(progress.applied, Some(Revision(3)));
    assert!(config.tenant_by_slug(&"acme".parse().unwrap()).is_none());
    assert!(config.tenant_by_slug(&"acme-2".parse().unwrap()).is_some());
}

#[test]
fn the_head_tells_how_far_behind_the_node_is() {
    let config = open(&MemoryDisk::new());
    let mut stream = Stream::new(&config);
    assert_eq!(stream.send(hello(5)).unwrap().head, Revision(5));
    assert_eq!(stream.send(heartbeat(9)).unwrap().head, Revision(9));
    assert_eq!(stream.send(heartbeat(7)).unwrap().head, Revision(9));
}

#[test]
fn what_a_snapshot_does_not_name_is_gone() {
    let disk = MemoryDisk::new();
    let config = open(&disk);
    let mut stream = Stream::open(&config, 4);
    stream
        .send(changes(
            0,
            vec![
                set_tenant(ACME, "acme"),
                set_credential(ACME, 1, "s-1", &[1]),
                set_credential(ACME, 2, "s-2", &[2]),
                set_tenant(GLOBEX, "globex"),
            ],
        ))
        .unwrap();
    let mut stream = Stream::open(&config, 9);
    // The credential stands before its tenant, in another frame.
    let frames = [
        begin(9),
        staged(9, vec![set_credential(ACME, 2, "s-2", &[3])]),
        staged(9, vec![set_tenant(ACME, "acme")]),
    ];
    assert_eq!(stream.send_all(frames), Ok(None));
    assert!(config.tenant(GLOBEX).is_some(), "nothing before the end");
    assert_eq!(stream.send(end(9)).unwrap().applied, Some(Revision(9)));
    for config in [config, open(&disk)] {
        assert_eq!(config.position(), (Some(TIMELINE), Revision(9)));
        assert!(config.tenant(GLOBEX).is_none());
        assert!(config.credential(ACME, &"s-1".parse().unwrap()).is_none());
        assert!(config.credential_by_key_id(key_id(2)).is_none());
        assert!(config.credential_by_key_id(key_id(3)).is_some());
    }
    let next = changes(9, vec![set_tenant(GLOBEX, "globex")]);
    assert_eq!(stream.send(next).unwrap().applied, Some(Revision(10)));
}

#[test]
fn a_snapshot_that_ends_early_leaves_nothing_behind() {
    let disk = MemoryDisk::new();
    let config = open(&disk);
    Stream::open(&config, 1)
        .send(changes(0, vec![set_tenant(ACME, "acme")]))
        .unwrap();
    let rows = disk.row_count();
    let mut cut_off = Stream::open(&config, 2);
    let bodies = vec![
        set_credential(GLOBEX, 1, "s-1", &[1]),
        set_tenant(ACME, "other"),
    ];
    cut_off.send_all([begin(2), staged(2, bodies)]).unwrap();
    assert!(disk.row_count() > rows);
    drop(cut_off);
    Stream::open(&config, 2).sweep(&disk, 2);
    assert_eq!(disk.row_count(), rows);
    assert!(config.tenant_by_slug(&"acme".parse().unwrap()).is_some());
}

#[test]
fn the_newest_snapshot_supersedes_one_on_its_way() {
    let config = open(&MemoryDisk::new());
    let mut first = Stream::open(&config, 5);
    first
        .send_all([begin(5), staged(5, vec![set_tenant(ACME, "old")])])
        .unwrap();
    let mut second = Stream::open(&config, 6);
    second.send(begin(6)).unwrap();
    assert_eq!(first.send(end(5)), Err(PushRefused::Superseded));
    second
        .send_all([staged(6, vec![set_tenant(ACME, "new")]), end(6)])
        .unwrap();
    assert!(config.tenant_by_slug(&"new".parse().unwrap()).is_some());
}

#[test]
fn another_stream_sweeps_nothing_that_is_being_staged() {
    let config = open(&MemoryDisk::new());
    let mut staging = Stream::open(&config, 5);
    let bodies = vec![
        set_tenant(ACME, "acme"),
        set_credential(ACME, 1, "s-1", &[1]),
    ];
    staging.send_all([begin(5), staged(5, bodies)]).unwrap();
    let mut other = Stream::open(&config, 5);
    other.send_all([heartbeat(5), heartbeat(5)]).unwrap();
    staging.send(end(5)).unwrap();
    assert!(config.tenant(ACME).is_some());
    assert!(config.credential_by_key_id(key_id(1)).is_some());
}

#[test]
fn a_foreign_timeline_needs_an_operator_and_a_snapshot() {
    let config = open(&MemoryDisk::new());
    Stream::open(&config, 1)
        .send(changes(0, vec![set_tenant(ACME, "acme")]))
        .unwrap();
    let foreign = || Frame::Hello {
        timeline: OTHER_TIMELINE,
        head: Revision(3),
    };
    let refused = Stream::new(&config).send(foreign());
    let (ours, theirs) = (TIMELINE, OTHER_TIMELINE);
    assert_eq!(refused, Err(PushRefused::ForeignTimeline { ours, theirs }));

    let adopting = || {
        let reader = PushStream::new(&config, key(), NONCE).adopting(OTHER_TIMELINE);
        let mut stream = Stream::reading(reader);
        stream.send(foreign()).unwrap();
        stream
    };
    let refused = adopting().send(changes(1, vec![set_tenant(GLOBEX, "globex")]));
    assert_eq!(refused, Err(PushRefused::SnapshotNeeded));
    // The other history may be shorter.
    adopting()
        .send_all(snapshot(0, vec![set_tenant(GLOBEX, "globex")]))
        .unwrap();
    assert_eq!(config.position(), (Some(OTHER_TIMELINE), Revision(0)));
    assert!(config.tenant(ACME).is_none());
    assert!(config.tenant(GLOBEX).is_some());
    assert!(Stream::new(&config).send(hello(9)).is_err(), "no way back");
}

#[test]
fn an_empty_configuration_takes_any_timeline() {
    let disk = MemoryDisk::new();
    let config = open(&disk);
    Stream::open(&config, 0)
        .send_all(snapshot(0, vec![]))
        .unwrap();
    let foreign = Frame::Hello {
        timeline: OTHER_TIMELINE,
        head: Revision(1),
    };
    let mut stream = Stream::new(&config);
    stream.send(foreign).unwrap();
    stream
        .send(changes(0, vec![set_tenant(ACME, "acme")]))
        .unwrap();
    assert_eq!(open(&disk).position(), (Some(OTHER_TIMELINE), Revision(1)));
}

#[test]
fn a_removed_tenant_is_gone_at_once_and_swept_later() {
    let disk = MemoryDisk::new();
    let config = open(&disk);
    let mut stream = Stream::open(&config, 1);
    stream
        .send(changes(0, vec![set_tenant(GLOBEX, "globex")]))
        .unwrap();
    let rows = disk.row_count();
    let bodies = vec![
        set_tenant(ACME, "acme"),
        set_credential(ACME, 1, "s-1", &[1, 2]),
        set_credential(ACME, 2, "s-2", &[3]),
        remove_tenant(ACME),
        // The slug and the key ids are free at once.
        set_tenant(GLOBEX, "acme"),
        set_credential(GLOBEX, 1, "s-1", &[1]),
    ];
    stream.send(changes(1, bodies)).unwrap();
    assert!(config.credential(ACME, &"s-1".parse().unwrap()).is_none());
    assert!(config.credential_by_key_id(key_id(3)).is_none());
    stream.sweep(&disk, 7);
    assert_eq!(disk.row_count(), rows + 3);
    let (owner, _, _) = config.credential_by_key_id(key_id(1)).unwrap();
    assert_eq!(owner, GLOBEX, "the sweep left what another took");
}

#[test]
fn a_tenant_that_returns_brings_no_former_credentials() {
    let bodies = [
        set_tenant(ACME, "acme"),
        set_credential(ACME, 1, "s-1", &[1]),
        remove_tenant(ACME),
        set_tenant(ACME, "acme"),
    ];
    for split in 1..bodies.len() {
        let disk = MemoryDisk::new();
        let config = open(&disk);
        let mut stream = Stream::open(&config, 4);
        let (first, second) = bodies.split_at(split);
        stream.send(changes(0, first.to_vec())).unwrap();
        stream.send(changes(split as u64, second.to_vec())).unwrap();
        assert!(config.tenant(ACME).is_some());
        assert!(config.credential(ACME, &"s-1".parse().unwrap()).is_none());
        assert!(config.credential_by_key_id(key_id(1)).is_none());
        stream.sweep(&disk, 4);
        assert_eq!(disk.row_count(), 3, "split at {split}");
    }
}

#[test]
fn tenants_are_bounded() {
    let options = ConfigOptions {
        tenants_max: 1,
        ..ConfigOptions::default()
    };
    let config = Config::open_with(Arc::new(MemoryDisk::new()), options).unwrap();
    let both = vec![set_tenant(ACME, "acme"), set_tenant(GLOBEX, "globex")];
    let full = |refused| match refused {
        Err(PushRefused::Change { cause, .. }) => cause == InvalidChange::TooManyTenants { max: 1 },
        _ => false,
    };
    assert!(full(
        Stream::open(&config, 2)
            .send(changes(0, both.clone()))
            .map(|_| ())
    ));
    let refused = Stream::open(&config, 2)
        .send_all(snapshot(2, both))
        .map(|_| ());
    assert!(full(refused));
    let replaced = vec![
        set_tenant(ACME, "acme"),
        remove_tenant(ACME),
        set_tenant(GLOBEX, "globex"),
    ];
    Stream::open(&config, 3).send(changes(0, replaced)).unwrap();
    assert_eq!(config.tenant_count(), 1);
}

#[test]
fn a_disk_of_another_format_is_refused() {
    let disk = MemoryDisk::new();
    let config = open(&disk);
    Stream::open(&config, 1)
        .send(changes(0, vec![set_tenant(ACME, "acme")]))
        .unwrap();
    let position = vec![0; 16];
    disk.write(vec![(position.clone(), Some(br#"{"format":2}"#.to_vec()))])
        .unwrap();
    let reopened = Config::open(Arc::new(disk.clone()));
    assert_eq!(reopened.unwrap_err(), OpenError::Format { found: 2 });
    disk.write(vec![(position, Some(b"?".to_vec()))]).unwrap();
    let reopened = Config::open(Arc::new(disk));
    assert!(matches!(reopened, Err(OpenError::Disk(_))));
}

#[test]
fn a_damaged_credential_is_not_found_and_counted() {
    let disk = MemoryDisk::new();
    let config = open(&disk);
    let bodies = vec![
        set_tenant(ACME, "acme"),
        set_credential(ACME, 1, "s-1", &[1]),
    ];
    Stream::open(&config, 2).send(changes(0, bodies)).unwrap();
    let mut rows = Vec::new();
    disk.scan(ACME.as_bytes(), &mut |key, _| {
        rows.push((key.to_vec(), Some(b"?".to_vec())));
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    disk.write(rows).unwrap();
    assert!(config.credential(ACME, &"s-1".parse().unwrap()).is_none());
    assert!(config.credential_by_key_id(key_id(1)).is_none());
    assert_eq!(config.failed_lookups(), 2);
}

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tessera_config::{Config, Disk, DiskError, MemoryDisk, PushRefused, RowWrites, Visit};
use tessera_tenancy::Frame;

use crate::support::*;

/// A disk whose write number `fails_at` fails, and every later one. What it was asked to write is
/// there or not: nobody knows after a crash.
struct FailingDisk {
    disk: MemoryDisk,
    writes: AtomicUsize,
    fails_at: usize,
    the_failed_write_is_there: bool,
}

impl Disk for FailingDisk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        self.disk.get(key)
    }

    fn scan(&self, prefix: &[u8], visit: Visit<'_>) -> Result<(), DiskError> {
        self.disk.scan(prefix, visit)
    }

    fn write(&self, rows: RowWrites) -> Result<(), DiskError> {
        let number = self.writes.fetch_add(1, Ordering::SeqCst);
        if number == self.fails_at && self.the_failed_write_is_there {
            self.disk.write(rows)?;
        } else if number < self.fails_at {
            return self.disk.write(rows);
        }
        Err(DiskError("injected".to_owned()))
    }
}

/// A life with everything in it: changes, a snapshot, a removal, sweeping.
fn life() -> Vec<Frame> {
    let mut frames = vec![hello(4)];
    frames.extend(snapshot(
        4,
        vec![
            set_tenant(ACME, "acme"),
            set_credential(ACME, 1, "s-1", &[1]),
            set_credential(GLOBEX, 1, "s-1", &[2]),
            set_tenant(GLOBEX, "globex"),
        ],
    ));
    frames.push(changes(4, vec![set_credential(ACME, 1, "s-2", &[1, 3])]));
    frames.push(changes(5, vec![remove_tenant(GLOBEX)]));
    frames.push(heartbeat(6));
    frames.push(heartbeat(6));
    frames.push(changes(6, vec![set_tenant(ACME, "acme-2")]));
    frames
}

/// What is in force at each revision of the life.
fn expected_at(revision: u64) -> Expected {
    let mut expected = Expected::default();
    let mut set = |bodies: Vec<_>| {
        for (tenant, body) in bodies {
            expected.apply(tenant, &body);
        }
    };
    set(vec![set_tenant(ACME, "before")]);
    if revision >= 4 {
        set(vec![
            set_tenant(ACME, "acme"),
            set_tenant(GLOBEX, "globex"),
            set_credential(ACME, 1, "s-1", &[1]),
            set_credential(GLOBEX, 1, "s-1", &[2]),
        ]);
    }
    if revision >= 5 {
        set(vec![set_credential(ACME, 1, "s-2", &[1, 3])]);
    }
    if revision >= 6 {
        set(vec![remove_tenant(GLOBEX)]);
    }
    if revision >= 7 {
        set(vec![set_tenant(ACME, "acme-2")]);
    }
    expected
}

#[test]
fn a_crash_at_any_write_leaves_the_configuration_of_some_revision() {
    let mut crashes = 0;
    for the_failed_write_is_there in [false, true] {
        for fails_at in 0.. {
            if !crash_and_recover(fails_at, the_failed_write_is_there) {
                break;
            }
            crashes += 1;
        }
    }
    assert!(crashes >= 12, "{crashes} writes were hit");
}

/// False once the whole life went by without reaching the failing write.
fn crash_and_recover(fails_at: usize, the_failed_write_is_there: bool) -> bool {
    let disk = MemoryDisk::new();
    Stream::open(&open(&disk), 1)
        .send(changes(0, vec![set_tenant(ACME, "before")]))
        .unwrap();
    let failing = Config::open(Arc::new(FailingDisk {
        disk: disk.clone(),
        writes: AtomicUsize::new(0),
        fails_at,
        the_failed_write_is_there,
    }))
    .unwrap();
    let told = Told::by(&failing);
    let outcome = Stream::new(&failing).send_all(life());
    let crashed = outcome.as_ref().is_err_and(PushRefused::is_fatal);
    assert!(crashed || outcome.is_ok(), "{outcome:?}");

    // What is told is in force, and nothing is in force that is not durable. Where the disk may be
    // ahead, lookups are not asked: the process must end.
    let in_force = failing.position().1.0;
    assert_eq!(*told.now.lock(), expected_at(in_force));
    if !the_failed_write_is_there {
        check_lookups(&failing, &expected_at(in_force));
    }
    if crashed {
        // Nothing more is taken until the disk is opened again.
        let again = Stream::new(&failing).send_all([hello(9), heartbeat(9)]);
        assert!(again.unwrap_err().is_fatal());
    }

    let reopened = open(&disk);
    let durable = reopened.position().1.0;
    assert!(durable >= in_force);
    check_lookups(&reopened, &expected_at(durable));
    recover(&reopened, &disk, durable);
    crashed
}

/// The control plane goes on from the revision that it is asked for.
fn recover(config: &Config, disk: &MemoryDisk, durable: u64) {
    let mut stream = Stream::new(config);
    let frames = life().into_iter();
    let frames = match durable {
        1 => frames.collect(),
        // Without the snapshot, and without heartbeats: their heads may be passed already.
        _ => [hello(7)]
            .into_iter()
            .chain(frames.skip(4))
            .filter(|frame| !matches!(frame, Frame::Heartbeat { .. }))
            .collect::<Vec<_>>(),
    };
    stream.send_all(frames).unwrap();
    check_lookups(config, &expected_at(7));
    stream.sweep(disk, 7);
    assert_eq!(disk.row_count(), expected_at(7).row_count());
}

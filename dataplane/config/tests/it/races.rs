use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tessera_config::{Config, ConfigChange, Listener, MemoryDisk};

use crate::support::*;

/// The newest version of the one credential that was told.
#[derive(Default)]
struct Newest(AtomicU32);

impl Listener for Newest {
    fn applied(&self, change: ConfigChange<'_>) {
        if let ConfigChange::CredentialSet { record, .. } = change {
            let version = record.secrets[0].key_id.as_str().parse().unwrap();
            self.0.store(version, Ordering::SeqCst);
        }
    }
}

#[test]
fn lookups_never_miss_and_never_see_what_is_older_than_was_told() {
    let config = open(&MemoryDisk::new());
    let newest = Arc::new(Newest::default());
    config.subscribe(Arc::clone(&newest) as Arc<dyn Listener>);
    let mut stream = Stream::open(&config, 0);
    let bodies = vec![
        set_tenant(ACME, "acme"),
        set_credential(ACME, 1, "s-1", &[1]),
    ];
    stream.send(changes(0, bodies)).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| look_up_until(&config, &newest, &done));
        }
        push_versions(&config, 2..400);
        done.store(true, Ordering::SeqCst);
    });
    assert_eq!(newest.0.load(Ordering::SeqCst), 399);
}

fn look_up_until(config: &Config, newest: &Newest, done: &AtomicBool) {
    while !done.load(Ordering::SeqCst) {
        let told = newest.0.load(Ordering::SeqCst);
        let (_, record) = config.credential(ACME, &"s-1".parse().unwrap()).unwrap();
        let version: u32 = record.secrets[0].key_id.as_str().parse().unwrap();
        assert!(version >= told, "{version} after {told} was told");
        assert!(config.tenant_by_slug(&"acme".parse().unwrap()).is_some());
    }
}

/// Each version is one more revision, every fifth by a snapshot.
fn push_versions(config: &Config, versions: std::ops::Range<u32>) {
    for version in versions {
        let before = config.position().1.0;
        let mut stream = Stream::open(config, before + 1);
        let rotated = set_credential(ACME, 1, "s-1", &[version]);
        match version % 5 {
            0 => {
                let bodies = vec![set_tenant(ACME, "acme"), rotated];
                stream.send_all(snapshot(before + 1, bodies)).unwrap();
                stream.send(heartbeat(before + 1)).unwrap();
            }
            _ => {
                stream.send(changes(before, vec![rotated])).unwrap();
            }
        }
    }
}

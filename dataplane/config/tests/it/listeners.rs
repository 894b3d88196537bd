use tessera_config::MemoryDisk;
use tessera_tenancy::{ChangeBody, CredentialId, TenantId};

use crate::support::*;

#[test]
fn a_new_listener_is_told_every_tenant_and_then_each_change_in_order() {
    let config = open(&MemoryDisk::new());
    let mut stream = Stream::open(&config, 2);
    let tenants = vec![set_tenant(GLOBEX, "globex"), set_tenant(ACME, "acme")];
    stream.send(changes(0, tenants)).unwrap();
    let told = Told::by(&config);
    assert_eq!(*told.events.lock(), ["acme", "globex"]);
    told.events.lock().clear();
    let bodies = vec![
        set_credential(ACME, 1, "s-1", &[1]),
        set_tenant(ACME, "acme-2"),
        remove_credential(ACME, 1),
        remove_tenant(GLOBEX),
    ];
    stream.send(changes(2, bodies)).unwrap();
    assert_eq!(*told.events.lock(), ["s-1", "acme-2", "-1", "-tenant"]);
}

#[test]
fn a_refused_frame_is_told_to_nobody() {
    let config = open(&MemoryDisk::new());
    let told = Told::by(&config);
    let bodies = vec![set_tenant(ACME, "acme"), set_tenant(GLOBEX, "acme")];
    assert!(Stream::open(&config, 2).send(changes(0, bodies)).is_err());
    assert!(told.events.lock().is_empty());
}

#[test]
fn a_snapshot_is_told_as_its_difference() {
    let config = open(&MemoryDisk::new());
    let bodies = vec![
        set_tenant(ACME, "acme"),
        set_credential(ACME, 1, "gone", &[1]),
        set_credential(ACME, 2, "same", &[2]),
        set_credential(ACME, 3, "rotated", &[3]),
        set_tenant(GLOBEX, "globex"),
        set_credential(GLOBEX, 1, "with-its-tenant", &[9]),
    ];
    let mut stream = Stream::open(&config, 6);
    stream.send(changes(0, bodies)).unwrap();
    let told = Told::by(&config);
    told.events.lock().clear();
    let new = TenantId::from_bytes([0xc0; 16]);
    let next = vec![
        set_credential(ACME, 4, "new", &[5]),
        set_tenant(new, "initech"),
        set_credential(ACME, 2, "same", &[2]),
        set_tenant(ACME, "acme"),
        set_credential(new, 1, "first", &[6]),
        set_credential(ACME, 3, "rotated", &[4]),
    ];
    Stream::open(&config, 9)
        .send_all(snapshot(9, next))
        .unwrap();
    assert_eq!(
        *told.events.lock(),
        ["-tenant", "initech", "-1", "rotated", "new", "first"]
    );
}

#[test]
fn a_tenant_with_more_credentials_than_are_compared_at_once_is_told_exactly() {
    const CREDENTIALS: u32 = 6_000;
    let disk = MemoryDisk::new();
    let config = open(&disk);
    let told = Told::by(&config);
    let send = |revision: u64, version: u32| {
        let mut stream = Stream::open(&config, revision);
        stream.send(begin(revision)).unwrap();
        stream
            .send(staged(revision, vec![set_tenant(ACME, "acme")]))
            .unwrap();
        // A tenth is gone, a tenth is new, a tenth has another secret.
        let numbers: Vec<u32> = (version * CREDENTIALS / 10..CREDENTIALS).collect();
        for part in numbers.chunks(250) {
            let bodies = part.iter().map(|number| spread(*number, version)).collect();
            stream.send(staged(revision, bodies)).unwrap();
        }
        stream.send(end(revision)).unwrap();
        stream.sweep(&disk, revision);
    };
    send(1, 1);
    assert_eq!(told.now.lock().credentials.len(), 5_400);
    told.events.lock().clear();
    send(2, 0);
    let changed = CREDENTIALS / 10 + CREDENTIALS.div_ceil(10) - CREDENTIALS / 100;
    assert_eq!(told.events.lock().len(), changed as usize);
    told.events.lock().clear();
    send(3, 1);
    assert_eq!(told.events.lock().len(), changed as usize);
    let now = told.now.lock().clone();
    check_lookups(&config, &now);
    assert_eq!(disk.row_count(), now.row_count());
}

/// A credential whose id is spread over all bytes. Every tenth has a secret per version.
fn spread(number: u32, version: u32) -> (TenantId, ChangeBody) {
    let bytes = u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let id = CredentialId::from_bytes(bytes.to_be_bytes());
    let secret = match number % 10 {
        0 => 10_000_000 + number + version,
        _ => number,
    };
    let record = credential(&format!("device-{number}"), &[secret]);
    (ACME, ChangeBody::Credential { id, record })
}

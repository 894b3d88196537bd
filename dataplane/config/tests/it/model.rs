//! Random pushes, restarts and sweeps against a configuration of two maps.

use proptest::prelude::*;
use tessera_config::MemoryDisk;
use tessera_tenancy::{
    ChangeBody, CredentialId, CredentialRecord, DeviceUsername, Frame, KeyId, LimitCode, TenantId,
    TenantSlug,
};

use crate::support::*;

type Body = (TenantId, ChangeBody);

#[derive(Debug, Clone)]
enum Step {
    /// One frame; `again` of what was pushed before comes along.
    Push {
        bodies: Vec<Body>,
        again: usize,
    },
    Snapshot {
        ahead: u64,
        frames: Vec<Vec<Body>>,
    },
    CutOffSnapshot(Vec<Body>),
    Heartbeat,
    Restart,
}

// Few of each, so that they meet.
const TENANTS: u8 = 4;
const CREDENTIALS: u8 = 4;
const NAMES: u8 = 4;
const KEY_IDS: u32 = 9;

fn tenant_id() -> impl Strategy<Value = TenantId> {
    (1..=TENANTS).prop_map(|number| TenantId::from_bytes([number; 16]))
}

fn slug(number: u8) -> String {
    format!("slug-{number}")
}

fn username(number: u8) -> String {
    format!("s-{number}")
}

fn set_tenants() -> impl Strategy<Value = Body> {
    (tenant_id(), 0..NAMES, 0..3_u64).prop_map(|(id, name, connections)| {
        let mut record = tenant(&slug(name));
        record.limits = record
            .limits
            .with(LimitCode::Connections, Some(connections));
        (id, ChangeBody::Tenant(record))
    })
}

fn set_credentials() -> impl Strategy<Value = Body> {
    let key_ids = prop::collection::vec(0..KEY_IDS, 0..=2);
    (tenant_id(), 0..CREDENTIALS, 0..NAMES, key_ids).prop_map(|(tenant, id, name, key_ids)| {
        set_credential(tenant, id, &username(name), &key_ids)
    })
}

fn any_body() -> impl Strategy<Value = Body> {
    prop_oneof![
        4 => set_tenants(),
        1 => tenant_id().prop_map(remove_tenant),
        6 => set_credentials(),
        2 => (tenant_id(), 0..CREDENTIALS).prop_map(|(tenant, id)| remove_credential(tenant, id)),
    ]
}

fn named_body() -> impl Strategy<Value = Body> {
    prop_oneof![set_tenants(), set_credentials()]
}

/// A snapshot that may well be good: tenants with their own slugs, credentials with their own names.
fn good_frames() -> impl Strategy<Value = Vec<Vec<Body>>> {
    let tenants = prop::collection::btree_set(1..=TENANTS, 0..=TENANTS.into());
    let credentials = prop::collection::btree_set(0..CREDENTIALS, 0..=CREDENTIALS.into());
    (tenants, credentials, any::<bool>()).prop_map(|(tenants, credentials, tenants_first)| {
        let named = tenants.iter().map(|number| {
            let id = TenantId::from_bytes([*number; 16]);
            set_tenant(id, &slug(*number % NAMES))
        });
        let owned = credentials
            .iter()
            .zip(tenants.iter().cycle())
            .map(|(id, tenant)| {
                let tenant = TenantId::from_bytes([*tenant; 16]);
                set_credential(tenant, *id, &username(*id), &[u32::from(*id)])
            });
        let frames = vec![named.collect(), owned.collect()];
        match tenants_first {
            true => frames,
            false => frames.into_iter().rev().collect(),
        }
    })
}

fn step() -> impl Strategy<Value = Step> {
    let frames = prop_oneof![
        3 => good_frames(),
        1 => prop::collection::vec(prop::collection::vec(named_body(), 0..4), 0..4),
    ];
    prop_oneof![
        12 => (prop::collection::vec(any_body(), 0..4), 0..5_usize)
            .prop_map(|(bodies, again)| Step::Push { bodies, again }),
        3 => (0..3_u64, frames).prop_map(|(ahead, frames)| Step::Snapshot { ahead, frames }),
        1 => prop::collection::vec(named_body(), 0..4).prop_map(Step::CutOffSnapshot),
        2 => Just(Step::Heartbeat),
        2 => Just(Step::Restart),
    ]
}

/// Whether a change may be made to `now`, said independently of how it is stored.
fn is_valid(now: &Expected, tenant: TenantId, body: &ChangeBody) -> bool {
    match body {
        ChangeBody::TenantRemoved | ChangeBody::CredentialRemoved { .. } => true,
        ChangeBody::Tenant(record) => {
            let mut others = now.tenants.iter().filter(|(id, _)| **id != tenant);
            others.all(|(_, other)| other.slug != record.slug)
        }
        ChangeBody::Credential { id, record } => {
            now.tenants.contains_key(&tenant)
                && distinct_key_ids(record)
                && others(now, tenant, *id).all(|(owner, other)| {
                    (owner != tenant || other.username != record.username)
                        && !shares_key_id(other, record)
                })
        }
    }
}

fn others(
    now: &Expected,
    tenant: TenantId,
    id: CredentialId,
) -> impl Iterator<Item = (TenantId, &CredentialRecord)> {
    let others = now
        .credentials
        .iter()
        .filter(move |(key, _)| **key != (tenant, id));
    others.map(|((owner, _), other)| (*owner, other))
}

fn distinct_key_ids(record: &CredentialRecord) -> bool {
    match &record.secrets[..] {
        [one, other] => one.key_id != other.key_id,
        _ => true,
    }
}

fn shares_key_id(one: &CredentialRecord, other: &CredentialRecord) -> bool {
    let mut pairs = one
        .secrets
        .iter()
        .flat_map(|a| other.secrets.iter().map(move |b| (a, b)));
    pairs.any(|(a, b)| a.key_id == b.key_id)
}

/// What a frame of changes makes of `now`, if it may.
fn after_changes(now: &Expected, bodies: &[Body]) -> Option<Expected> {
    let mut next = now.clone();
    for (tenant, body) in bodies {
        if !is_valid(&next, *tenant, body) {
            return None;
        }
        next.apply(*tenant, body);
    }
    Some(next)
}

/// What a snapshot says, if it may: nothing twice, tenants before credentials.
fn of_snapshot(frames: &[Vec<Body>]) -> Option<Expected> {
    let mut bodies: Vec<&Body> = frames.iter().flatten().collect();
    bodies.sort_by_key(|(_, body)| matches!(body, ChangeBody::Credential { .. }));
    let mut next = Expected::default();
    for (tenant, body) in bodies {
        let before = next.clone();
        if !is_valid(&next, *tenant, body) {
            return None;
        }
        next.apply(*tenant, body);
        if before.tenants.len() + before.credentials.len()
            == next.tenants.len() + next.credentials.len()
        {
            return None;
        }
    }
    Some(next)
}

struct Subject {
    disk: MemoryDisk,
    config: tessera_config::Config,
    told: std::sync::Arc<Told>,
    expected: Expected,
    revision: u64,
    /// Every change since the last snapshot, with its revision.
    pushed: Vec<(u64, Body)>,
}

impl Subject {
    fn new() -> Self {
        let disk = MemoryDisk::new();
        let config = open(&disk);
        Self {
            told: Told::by(&config),
            config,
            disk,
            expected: Expected::default(),
            revision: 0,
            pushed: Vec::new(),
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Push { bodies, again } => self.push(bodies, again),
            Step::Snapshot { ahead, frames } => self.snapshot(self.revision + ahead, &frames),
            Step::CutOffSnapshot(bodies) => {
                let mut stream = Stream::open(&self.config, self.revision);
                stream.send(begin(self.revision)).unwrap();
                // Good or bad: nothing comes of it.
                let _outcome = stream.send(staged(self.revision, bodies));
            }
            Step::Heartbeat => {
                let mut stream = Stream::open(&self.config, self.revision);
                stream.send(heartbeat(self.revision)).unwrap();
            }
            Step::Restart => {
                self.config = open(&self.disk);
                self.told = Told::by(&self.config);
                // A restart tells tenants only: nobody is connected yet.
                let credentials = self.expected.credentials.clone();
                self.told.now.lock().credentials = credentials;
            }
        }
        self.check();
    }

    fn push(&mut self, bodies: Vec<Body>, again: usize) {
        let new: Vec<_> = (self.revision + 1..).zip(bodies.iter().cloned()).collect();
        let old = &self.pushed[self.pushed.len().saturating_sub(again)..];
        let changes = old.iter().chain(&new).cloned();
        let frame = Frame::Changes {
            changes: changes
                .map(|(revision, body)| change(revision, body))
                .collect(),
        };
        let head = self.revision + bodies.len() as u64;
        let outcome = Stream::open(&self.config, head).send(frame);
        match after_changes(&self.expected, &bodies) {
            None => assert!(outcome.is_err(), "{bodies:?}"),
            Some(next) => {
                let applied = outcome.unwrap().applied;
                assert_eq!(applied.is_some(), !bodies.is_empty());
                self.expected = next;
                self.revision = head;
                self.pushed.extend(new);
            }
        }
    }

    fn snapshot(&mut self, revision: u64, frames: &[Vec<Body>]) {
        let mut sent = vec![begin(revision)];
        sent.extend(frames.iter().map(|bodies| staged(revision, bodies.clone())));
        sent.push(end(revision));
        let outcome = Stream::open(&self.config, revision).send_all(sent);
        match of_snapshot(frames) {
            None => assert!(outcome.is_err(), "{frames:?}"),
            Some(next) => {
                outcome.unwrap();
                self.expected = next;
                self.revision = revision;
                self.pushed.clear();
            }
        }
    }

    /// Every lookup of the small world answers as the model does, present or absent.
    fn check(&self) {
        let (config, expected) = (&self.config, &self.expected);
        assert_eq!(config.position().1.0, self.revision);
        check_lookups(config, expected);
        let told = self.told.now.lock();
        assert_eq!(told.tenants, expected.tenants);
        assert_eq!(told.credentials, expected.credentials);
        for number in 0..NAMES {
            let slug: TenantSlug = slug(number).parse().unwrap();
            let named = expected.tenants.values().any(|record| record.slug == slug);
            assert_eq!(config.tenant_by_slug(&slug).is_some(), named);
        }
        for tenant in (1..=TENANTS).map(|number| TenantId::from_bytes([number; 16])) {
            assert_eq!(
                config.tenant(tenant).is_some(),
                expected.tenants.contains_key(&tenant)
            );
            for number in 0..NAMES {
                let name: DeviceUsername = username(number).parse().unwrap();
                let mut credentials = expected.credentials.iter();
                let named = credentials
                    .any(|((owner, _), record)| *owner == tenant && record.username == name);
                assert_eq!(config.credential(tenant, &name).is_some(), named);
            }
        }
        for key in (0..KEY_IDS).map(key_id) {
            let found = config.credential_by_key_id(key).is_some();
            assert_eq!(
                found,
                expected.credentials.values().any(|one| has(one, key))
            );
        }
    }

    /// Once swept, the disk holds what is in force and nothing else.
    fn check_rows(&self) {
        if self.config.position().0.is_some() {
            Stream::open(&self.config, self.revision).sweep(&self.disk, self.revision);
            assert_eq!(self.disk.row_count(), self.expected.row_count());
        }
    }
}

fn has(record: &CredentialRecord, key: KeyId) -> bool {
    record.secrets.iter().any(|secret| secret.key_id == key)
}

proptest! {
    #[test]
    fn every_history_reads_as_two_maps_do(steps in prop::collection::vec(step(), 1..40)) {
        let mut subject = Subject::new();
        for step in steps {
            subject.run(step);
        }
        subject.check_rows();
        subject.run(Step::Restart);
    }
}

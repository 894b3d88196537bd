//! A small control plane: makes records, seals frames, keeps what should be in force.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tessera_config::{
    Config, ConfigChange, Listener, MemoryDisk, Progress, PushRefused, PushStream,
};
use tessera_tenancy::{
    Change, ChangeBody, CredentialId, CredentialRecord, CredentialSecret, Frame, FrameKey, KeyId,
    LimitValues, Policy, PushEnvelope, Revision, SecretDigest, TenantId, TenantRecord,
    TenantSettings, TenantStatus, TimelineId,
};

pub(crate) const TIMELINE: TimelineId = TimelineId::from_bytes([1; 16]);
pub(crate) const OTHER_TIMELINE: TimelineId = TimelineId::from_bytes([2; 16]);
pub(crate) const ACME: TenantId = TenantId::from_bytes([0xa0; 16]);
pub(crate) const GLOBEX: TenantId = TenantId::from_bytes([0xb0; 16]);
pub(crate) const NONCE: &str = "5f0c";

pub(crate) fn key() -> FrameKey {
    FrameKey::from_bytes([9; 32])
}

pub(crate) fn tenant(slug: &str) -> TenantRecord {
    TenantRecord {
        slug: slug.parse().unwrap(),
        status: TenantStatus::Active,
        plan: "free".parse().unwrap(),
        limits: LimitValues::from_defaults(|plan| plan.free),
        settings: TenantSettings::default(),
    }
}

pub(crate) fn credential_id(number: u8) -> CredentialId {
    CredentialId::from_bytes([number; 16])
}

pub(crate) fn key_id(number: u32) -> KeyId {
    format!("{number:08}").parse().unwrap()
}

pub(crate) fn credential(username: &str, key_ids: &[u32]) -> CredentialRecord {
    let secret = |number: &u32| CredentialSecret {
        key_id: key_id(*number),
        digest: SecretDigest::from_bytes([0xd1; 32]),
    };
    CredentialRecord {
        username: username.parse().unwrap(),
        secrets: key_ids.iter().map(secret).collect(),
        policy: Policy::AllowAll,
    }
}

pub(crate) fn set_tenant(tenant_id: TenantId, slug: &str) -> (TenantId, ChangeBody) {
    (tenant_id, ChangeBody::Tenant(tenant(slug)))
}

pub(crate) fn remove_tenant(tenant_id: TenantId) -> (TenantId, ChangeBody) {
    (tenant_id, ChangeBody::TenantRemoved)
}

pub(crate) fn set_credential(
    tenant_id: TenantId,
    id: u8,
    username: &str,
    key_ids: &[u32],
) -> (TenantId, ChangeBody) {
    let (id, record) = (credential_id(id), credential(username, key_ids));
    (tenant_id, ChangeBody::Credential { id, record })
}

pub(crate) fn remove_credential(tenant_id: TenantId, id: u8) -> (TenantId, ChangeBody) {
    let id = credential_id(id);
    (tenant_id, ChangeBody::CredentialRemoved { id })
}

/// A frame of changes in dense revisions after one.
pub(crate) fn changes(after: u64, bodies: Vec<(TenantId, ChangeBody)>) -> Frame {
    let changes = (after + 1..)
        .zip(bodies)
        .map(|(revision, body)| change(revision, body));
    Frame::Changes {
        changes: changes.collect(),
    }
}

/// A frame of a snapshot at one revision.
pub(crate) fn staged(revision: u64, bodies: Vec<(TenantId, ChangeBody)>) -> Frame {
    let changes = bodies.into_iter().map(|body| change(revision, body));
    Frame::Changes {
        changes: changes.collect(),
    }
}

pub(crate) fn change(revision: u64, (tenant, body): (TenantId, ChangeBody)) -> Change {
    Change {
        revision: Revision(revision),
        tenant,
        body,
    }
}

pub(crate) fn hello(head: u64) -> Frame {
    Frame::Hello {
        timeline: TIMELINE,
        head: Revision(head),
    }
}

pub(crate) fn heartbeat(head: u64) -> Frame {
    Frame::Heartbeat {
        head: Revision(head),
    }
}

pub(crate) fn begin(revision: u64) -> Frame {
    Frame::SnapshotBegin {
        revision: Revision(revision),
    }
}

pub(crate) fn end(revision: u64) -> Frame {
    Frame::SnapshotEnd {
        revision: Revision(revision),
    }
}

/// A whole snapshot in one frame of changes.
pub(crate) fn snapshot(revision: u64, bodies: Vec<(TenantId, ChangeBody)>) -> [Frame; 3] {
    [begin(revision), staged(revision, bodies), end(revision)]
}

/// The lines of frames as one stream sends them.
pub(crate) fn lines(frames: impl IntoIterator<Item = Frame>) -> Vec<String> {
    (0..)
        .zip(frames)
        .map(|(number, frame)| line(number, frame))
        .collect()
}

pub(crate) fn line(number: u64, frame: Frame) -> String {
    let nonce = NONCE.to_owned();
    let envelope = PushEnvelope {
        nonce,
        number,
        frame,
    };
    key().seal(&envelope).as_line().to_owned()
}

/// One stream, both ends.
pub(crate) struct Stream {
    reader: PushStream,
    number: u64,
}

impl Stream {
    pub(crate) fn new(config: &Config) -> Self {
        Self::reading(PushStream::new(config, key(), NONCE))
    }

    pub(crate) fn reading(reader: PushStream) -> Self {
        Self { reader, number: 0 }
    }

    /// A stream that has said hello.
    pub(crate) fn open(config: &Config, head: u64) -> Self {
        let mut stream = Self::new(config);
        stream.send(hello(head)).unwrap();
        stream
    }

    pub(crate) fn send(&mut self, frame: Frame) -> Result<Progress, PushRefused> {
        let line = line(self.number, frame);
        self.number += 1;
        self.reader.handle_line(&line)
    }

    pub(crate) fn send_all(
        &mut self,
        frames: impl IntoIterator<Item = Frame>,
    ) -> Result<Option<Revision>, PushRefused> {
        let mut applied = None;
        for frame in frames {
            applied = self.send(frame)?.applied.or(applied);
        }
        Ok(applied)
    }

    /// Heartbeats until nothing is left to sweep.
    pub(crate) fn sweep(&mut self, disk: &MemoryDisk, head: u64) {
        loop {
            let before = disk.row_count();
            self.send(heartbeat(head)).unwrap();
            if disk.row_count() == before {
                return;
            }
        }
    }
}

/// What should be in force, or what a listener was told, in the plainest form.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Expected {
    pub(crate) tenants: BTreeMap<TenantId, TenantRecord>,
    pub(crate) credentials: BTreeMap<(TenantId, CredentialId), CredentialRecord>,
}

impl Expected {
    pub(crate) fn apply(&mut self, tenant: TenantId, body: &ChangeBody) {
        match body {
            ChangeBody::Tenant(record) => {
                self.tenants.insert(tenant, record.clone());
            }
            ChangeBody::TenantRemoved => {
                self.tenants.remove(&tenant);
                self.credentials.retain(|(owner, _), _| *owner != tenant);
            }
            ChangeBody::Credential { id, record } => {
                self.credentials.insert((tenant, *id), record.clone());
            }
            ChangeBody::CredentialRemoved { id } => {
                self.credentials.remove(&(tenant, *id));
            }
        }
    }

    /// Rows of a disk that holds this and nothing else.
    pub(crate) fn row_count(&self) -> usize {
        let secrets: usize = self.credentials.values().map(|one| one.secrets.len()).sum();
        1 + 2 * self.tenants.len() + 2 * self.credentials.len() + secrets
    }
}

/// Keeps what it is told.
#[derive(Default)]
pub(crate) struct Told {
    pub(crate) now: Mutex<Expected>,
    pub(crate) events: Mutex<Vec<String>>,
}

impl Told {
    pub(crate) fn by(config: &Config) -> Arc<Self> {
        let told = Arc::new(Self::default());
        config.subscribe(Arc::clone(&told) as Arc<dyn Listener>);
        told
    }
}

impl Listener for Told {
    fn applied(&self, change: ConfigChange<'_>) {
        let (event, tenant, body) = match change {
            ConfigChange::TenantSet { tenant, record } => {
                let slug = record.slug.to_string();
                (slug, tenant, ChangeBody::Tenant(record.as_ref().clone()))
            }
            ConfigChange::TenantRemoved { tenant } => {
                ("-tenant".to_owned(), tenant, ChangeBody::TenantRemoved)
            }
            ConfigChange::CredentialSet { tenant, id, record } => {
                let record = record.clone();
                let name = record.username.to_string();
                (name, tenant, ChangeBody::Credential { id, record })
            }
            ConfigChange::CredentialRemoved { tenant, id } => {
                let name = format!("-{}", id.as_bytes()[0]);
                (name, tenant, ChangeBody::CredentialRemoved { id })
            }
        };
        self.now.lock().apply(tenant, &body);
        self.events.lock().push(event);
    }
}

pub(crate) fn open(disk: &MemoryDisk) -> Config {
    Config::open(Arc::new(disk.clone())).unwrap()
}

/// Everything that lookups say of `expected`, checked one by one.
pub(crate) fn check_lookups(config: &Config, expected: &Expected) {
    assert_eq!(config.tenant_count(), expected.tenants.len());
    for (id, record) in &expected.tenants {
        assert_eq!(config.tenant(*id).as_deref(), Some(record));
        let (found, by_slug) = config.tenant_by_slug(&record.slug).unwrap();
        assert_eq!((found, &*by_slug), (*id, record));
    }
    for ((tenant, id), record) in &expected.credentials {
        let (found, by_name) = config.credential(*tenant, &record.username).unwrap();
        assert_eq!((found, &*by_name), (*id, record));
        for secret in &record.secrets {
            let (owner, found, by_key) = config.credential_by_key_id(secret.key_id).unwrap();
            assert_eq!((owner, found, &*by_key), (*tenant, *id, record));
        }
    }
    assert_eq!(config.failed_lookups(), 0);
}

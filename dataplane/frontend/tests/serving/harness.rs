//! A front end with its stores in a temporary folder, and tenants pushed to it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use tessera_config::{Config, Disk, MemoryDisk, PushStream};
use tessera_dist::{Dist, DistOptions};
use tessera_frontend::{Frontend, FrontendOptions, Seams, Services};
use tessera_inbox::{Inbox, InboxOptions};
use tessera_limits::Directory;
use tessera_mqtt::{DecodeLimits, Qos, ReasonCode};
use tessera_retain::{Retain, RetainOptions};
use tessera_session::ServerLimits;
use tessera_shard::{Engine, EngineOptions};
use tessera_tenancy::secret::RANDOM_LEN;
use tessera_tenancy::{
    Change, ChangeBody, ClusterId, CredentialId, CredentialRecord, CredentialSecret, Frame,
    FrameKey, GeneratedSecret, Incarnation, LimitCode, LimitValues, NodeId, Policy, PushEnvelope,
    Revision, SecretKind, ServerKey, TenantId, TenantRecord, TenantSettings, TenantStatus,
    TimelineId,
};

use crate::client::{Device, Hello};

const NONCE: &str = "0123456789abcdef0123456789abcdef";
const TIMELINE: TimelineId = TimelineId::from_bytes([9; 16]);
pub(crate) const SERVER_KEY: ServerKey = ServerKey::from_bytes([1; 32]);

/// A tenant's number in a test.
pub(crate) const ACME: u8 = 1;
pub(crate) const BETA: u8 = 2;

/// The whole data plane of one node, without a process around it.
pub(crate) struct Harness {
    pub(crate) frontend: Frontend,
    engine: Engine,
    inbox: Inbox,
    push: parking_lot::Mutex<Push>,
    folder: TempDir,
    incarnation: u64,
    disk: MemoryDisk,
    held: Weak<MemoryDisk>,
}

/// The stream of configuration that a node gets.
pub(crate) struct Push {
    stream: PushStream,
    key: FrameKey,
    number: AtomicU64,
    revision: u64,
}

impl Harness {
    /// Tenants `acme` and `beta`, each with credentials `one` and `two`, on plan `free`.
    pub(crate) async fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let disk = MemoryDisk::new();
        let harness = Self::open(folder, disk, 1).await;
        harness.snapshot();
        harness
    }

    /// Ends the stores below connections that go on.
    pub(crate) async fn end_stores(&self) {
        self.engine.shutdown().await;
    }

    /// What the front end holds as long as anybody holds the front end.
    pub(crate) fn held(&self) -> Weak<MemoryDisk> {
        self.held.clone()
    }

    /// Stops everything.
    pub(crate) async fn stop(self) {
        self.frontend.shutdown().await;
        self.engine.shutdown().await;
    }

    /// The same folder and configuration under a new incarnation.
    pub(crate) async fn restart(self) -> Self {
        self.frontend.shutdown().await;
        self.engine.shutdown().await;
        let Self {
            frontend,
            engine,
            inbox,
            folder,
            incarnation,
            disk,
            push,
            held: _,
        } = self;
        drop((frontend, engine, inbox, push));
        let restarted = Self::open(folder, disk, incarnation + 1).await;
        restarted.snapshot();
        // The first round of background work finds what the former process left.
        while restarted.inbox.expire(unix_ms()).await.unwrap().more {}
        restarted
    }

    async fn open(folder: TempDir, disk: MemoryDisk, incarnation: u64) -> Self {
        let node = NodeId(7);
        let options = EngineOptions::new(
            folder.path(),
            node,
            ClusterId::from_bytes([3; 16]),
            Incarnation(incarnation),
            Arc::new(unix_ms),
        );
        let engine = Engine::open(options).unwrap();
        let dist_options = DistOptions {
            ranges: 2,
            node,
            incarnation: Incarnation(incarnation),
        };
        let inbox = Inbox::open(&engine, InboxOptions { ranges: 2 })
            .await
            .unwrap();
        let held = Arc::new(disk.clone());
        let config = Config::open(Arc::clone(&held) as Arc<dyn Disk>).unwrap();
        let held = Arc::downgrade(&held);
        let services = Services {
            config: config.clone(),
            limits: Directory::new(),
            dist: Dist::open(&engine, dist_options).await.unwrap(),
            inbox: inbox.clone(),
            retain: Retain::open(&engine, RetainOptions { ranges: 2 })
                .await
                .unwrap(),
            server_key: SERVER_KEY,
            peers: None,
        };
        let options = FrontendOptions {
            mqtt_listen: "127.0.0.1:0".parse().unwrap(),
            session_limits: ServerLimits::default(),
            decode_limits: DecodeLimits::default(),
            seams: Seams::default(),
        };
        let frontend = Frontend::start(services, options).unwrap();
        let push = parking_lot::Mutex::new(Push::begin(&config));
        Self {
            frontend,
            engine,
            inbox,
            push,
            folder,
            incarnation,
            disk,
            held,
        }
    }

    fn snapshot(&self) {
        self.push.lock().snapshot();
    }

    /// One more change, in force when this returns.
    pub(crate) fn change(&self, (tenant, body): (TenantId, ChangeBody)) {
        self.push.lock().change((tenant, body));
    }

    /// Tenant `acme` may publish as fast as it can.
    pub(crate) fn unhurried(self) -> Self {
        let fast = free_but(LimitCode::PublishesPerSecond, 1_000_000);
        self.change(set_tenant(ACME, fast));
        self
    }

    /// A connection whose CONNECT was accepted.
    pub(crate) async fn connected(&self, hello: &Hello) -> Device {
        let mut device = self.device().await;
        let answer = device.hello(hello).await;
        assert_eq!(answer.reason, ReasonCode::Success, "{answer:?}");
        device
    }

    /// Somebody who hears of the end of those who are [`Hello::watched`].
    pub(crate) async fn watcher(&self) -> Device {
        let mut watcher = self.connected(&Hello::new(ACME, "watcher")).await;
        watcher.subscribe("left", Qos::AtMostOnce).await;
        watcher
    }

    /// A connection that has said nothing yet.
    pub(crate) async fn device(&self) -> Device {
        Device::open(self.frontend.address()).await
    }
}

impl Push {
    pub(crate) fn begin(config: &Config) -> Self {
        let key = FrameKey::from_bytes([2; 32]);
        Self {
            stream: PushStream::new(config, key.clone(), NONCE),
            key,
            number: AtomicU64::new(0),
            revision: 10,
        }
    }

    /// Tenants `acme` and `beta`, each with credentials `one` and `two`, on plan `free`.
    pub(crate) fn snapshot(&mut self) {
        let changes = [ACME, BETA].into_iter().flat_map(|tenant| {
            let credentials = ["one", "two"].map(|name| credential(tenant, name));
            std::iter::once(set_tenant(tenant, free())).chain(credentials)
        });
        let revision = Revision(10);
        let changes = changes
            .map(|(tenant, body)| Change {
                revision,
                tenant,
                body,
            })
            .collect();
        self.send(Frame::Hello {
            timeline: TIMELINE,
            head: revision,
        });
        self.send(Frame::SnapshotBegin { revision });
        self.send(Frame::Changes { changes });
        self.send(Frame::SnapshotEnd { revision });
    }

    /// One more change.
    pub(crate) fn change(&mut self, (tenant, body): (TenantId, ChangeBody)) {
        self.revision += 1;
        let change = Change {
            revision: Revision(self.revision),
            tenant,
            body,
        };
        self.send(Frame::Changes {
            changes: vec![change],
        });
    }

    fn send(&mut self, frame: Frame) {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        let envelope = PushEnvelope {
            nonce: NONCE.to_owned(),
            number,
            frame,
        };
        let line = self.key.seal(&envelope);
        self.stream.handle_line(line.as_line()).unwrap();
    }
}

/// The limits of plan `free`.
pub(crate) fn free() -> LimitValues {
    LimitValues::from_defaults(|defaults| defaults.free)
}

/// Plan `free` with one limit changed.
pub(crate) fn free_but(code: LimitCode, value: u64) -> LimitValues {
    free().with(code, Some(value))
}

/// The change that gives a tenant these limits.
pub(crate) fn set_tenant(tenant: u8, limits: LimitValues) -> (TenantId, ChangeBody) {
    set_tenant_with(tenant, limits, TenantSettings::default())
}

/// The change that gives a tenant these limits and settings.
pub(crate) fn set_tenant_with(
    tenant: u8,
    limits: LimitValues,
    settings: TenantSettings,
) -> (TenantId, ChangeBody) {
    let record = TenantRecord {
        slug: slug(tenant).parse().unwrap(),
        status: TenantStatus::Active,
        plan: "free".parse().unwrap(),
        limits,
        settings,
    };
    (tenant_id(tenant), ChangeBody::Tenant(record))
}

/// The change that suspends a tenant.
pub(crate) fn suspend(tenant: u8) -> (TenantId, ChangeBody) {
    let (id, body) = set_tenant(tenant, free());
    let ChangeBody::Tenant(record) = body else {
        unreachable!("a tenant was asked for")
    };
    (
        id,
        ChangeBody::Tenant(TenantRecord {
            status: TenantStatus::Suspended,
            ..record
        }),
    )
}

/// The change that removes a credential.
pub(crate) fn revoke(tenant: u8, name: &str) -> (TenantId, ChangeBody) {
    (
        tenant_id(tenant),
        ChangeBody::CredentialRemoved {
            id: credential_id(tenant, name),
        },
    )
}

/// The user name that a device of that tenant sends.
pub(crate) fn username(tenant: u8, name: &str) -> String {
    format!("{}.{name}", slug(tenant))
}

/// Its password.
pub(crate) fn password(tenant: u8, name: &str) -> String {
    secret(tenant, name).expose().to_owned()
}

fn credential(tenant: u8, name: &str) -> (TenantId, ChangeBody) {
    let secret = secret(tenant, name);
    let digest = SERVER_KEY.digest(secret.expose().as_bytes());
    let record = CredentialRecord {
        username: name.parse().unwrap(),
        secrets: vec![CredentialSecret {
            key_id: secret.key_id(),
            digest,
        }],
        policy: Policy::AllowAll,
    };
    let id = credential_id(tenant, name);
    (tenant_id(tenant), ChangeBody::Credential { id, record })
}

fn credential_id(tenant: u8, name: &str) -> CredentialId {
    let mut bytes = [tenant; 16];
    bytes[..3].copy_from_slice(&name.as_bytes()[..3]);
    CredentialId::from_bytes(bytes)
}

fn secret(tenant: u8, name: &str) -> GeneratedSecret {
    let mut random = [tenant; RANDOM_LEN];
    random[..3].copy_from_slice(&name.as_bytes()[..3]);
    GeneratedSecret::from_random(SecretKind::Device, random)
}

/// Far apart, so that the two are in different ranges of every store.
pub(crate) fn tenant_id(tenant: u8) -> TenantId {
    TenantId::from_bytes([tenant.wrapping_mul(100); 16])
}

fn slug(tenant: u8) -> &'static str {
    if tenant == ACME { "acme" } else { "beta" }
}

pub(crate) fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

//! The tenants of a run, as a control plane would push them to every node.

use std::fmt;
use std::sync::Arc;

use tessera_config::{Config, MemoryDisk, PushStream};
use tessera_tenancy::secret::RANDOM_LEN;
use tessera_tenancy::{
    Change, ChangeBody, CredentialId, CredentialRecord, CredentialSecret, Frame, FrameKey,
    GeneratedSecret, LimitCode, LimitValues, Policy, PushEnvelope, Revision, SecretKind, ServerKey,
    TenantId, TenantRecord, TenantSettings, TenantStatus, TimelineId,
};

use crate::contract::Tenant;

/// How many tenants there are.
pub(crate) const TENANTS: u16 = 2;
pub(crate) const SERVER_KEY: ServerKey = ServerKey::from_bytes([1; 32]);

const FRAME_KEY: [u8; 32] = [2; 32];
const NONCE: &str = "0123456789abcdef0123456789abcdef";
const TIMELINE: TimelineId = TimelineId::from_bytes([9; 16]);
const REVISION: Revision = Revision(10);
const USERNAME: &str = "device";

/// Something that no run should come to: packets or names that do not read.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) String);

impl<E: fmt::Display> From<E> for Refused {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// All of them.
pub(crate) fn all() -> impl Iterator<Item = Tenant> {
    (1..=TENANTS).map(Tenant)
}

/// A tenant's id. In one range of every store until that is split, or in two.
pub(crate) fn id(tenant: Tenant) -> TenantId {
    TenantId::from_bytes([number(tenant).wrapping_mul(100); 16])
}

/// The user name and password of a tenant's clients.
pub(crate) fn access(tenant: Tenant) -> (String, String) {
    let password = secret(tenant).expose().to_owned();
    (format!("{}.{USERNAME}", slug(tenant)), password)
}

/// A node's configuration with all tenants in it.
pub(crate) fn config() -> Result<Config, Refused> {
    let config = Config::open(Arc::new(MemoryDisk::new()))?;
    let key = FrameKey::from_bytes(FRAME_KEY);
    let mut stream = PushStream::new(&config, key.clone(), NONCE);
    let mut changes = Vec::new();
    for tenant in all() {
        for body in [record(tenant)?, credential(tenant)?] {
            let (revision, tenant) = (REVISION, id(tenant));
            changes.push(Change {
                revision,
                tenant,
                body,
            });
        }
    }
    let frames = [
        Frame::Hello {
            timeline: TIMELINE,
            head: REVISION,
        },
        Frame::SnapshotBegin { revision: REVISION },
        Frame::Changes { changes },
        Frame::SnapshotEnd { revision: REVISION },
    ];
    for (number, frame) in (0..).zip(frames) {
        let nonce = NONCE.to_owned();
        let envelope = PushEnvelope {
            nonce,
            number,
            frame,
        };
        stream.handle_line(key.seal(&envelope).as_line())?;
    }
    Ok(config)
}

fn record(tenant: Tenant) -> Result<ChangeBody, Refused> {
    let limits = LimitValues::from_defaults(|defaults| defaults.free)
        .with(LimitCode::PublishesPerSecond, None)
        .with(LimitCode::Connections, None);
    Ok(ChangeBody::Tenant(TenantRecord {
        slug: slug(tenant).parse()?,
        status: TenantStatus::Active,
        plan: "free".parse()?,
        limits,
        settings: TenantSettings::default(),
    }))
}

fn credential(tenant: Tenant) -> Result<ChangeBody, Refused> {
    let secret = secret(tenant);
    let digest = SERVER_KEY.digest(secret.expose().as_bytes());
    let record = CredentialRecord {
        username: USERNAME.parse()?,
        secrets: vec![CredentialSecret {
            key_id: secret.key_id(),
            digest,
        }],
        policy: Policy::AllowAll,
    };
    let id = CredentialId::from_bytes([number(tenant); 16]);
    Ok(ChangeBody::Credential { id, record })
}

fn secret(tenant: Tenant) -> GeneratedSecret {
    GeneratedSecret::from_random(SecretKind::Device, [number(tenant); RANDOM_LEN])
}

fn slug(tenant: Tenant) -> String {
    format!("tenant-{}", tenant.0)
}

fn number(tenant: Tenant) -> u8 {
    u8::try_from(tenant.0).unwrap_or(u8::MAX)
}

//! What development mode puts into a new installation, through the same API as everybody: an
//! organization, a generous tenant, a small one that shows limits, credentials, a key.
//!
//! A second start keeps all of it. A secret that was made but not written down, because the start was
//! killed in between, is replaced.

use std::path::Path;
use std::time::Duration;

use tessera_api_types::{
    ApiKey, ApiKeyCreate, Credential, ErrorCode, OrganizationCreate, Role, Secret, TenantEnsure,
};
use tessera_sdk::rest::{Client, Error, TenantClient, Wait};
use tessera_tenancy::{GeneratedSecret, KeyId, SecretKind};
use tokio::time::{Instant, sleep};

use super::private_file;
use crate::context::{Context, Login, TenantContext};

const ORGANIZATION: &str = "demo";
/// The name of the tenant's key among its API keys.
const API_KEY_NAME: &str = "tessera dev";
/// How long a node may take to serve with what was seeded.
const APPLIED_WITHIN: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_millis(20);
/// Items of a list that are looked through.
const ITEMS_MAX: usize = 10_000;

struct TenantSeed {
    slug: &'static str,
    plan: &'static str,
    devices: &'static [&'static str],
    has_api_key: bool,
}

/// The first is the one that the ready file and the banner tell of.
const TENANTS: [TenantSeed; 2] = [
    TenantSeed {
        slug: "demo",
        plan: "dev",
        devices: &["device-1", "device-2"],
        has_api_key: true,
    },
    TenantSeed {
        slug: "tiny",
        plan: "free",
        devices: &["device-1"],
        has_api_key: false,
    },
];

/// What went wrong while seeding.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SeedError {
    #[error("{doing}: {source}")]
    Api { doing: String, source: Error },
    #[error("writing {path}: {source}")]
    Write {
        path: String,
        source: std::io::Error,
    },
    #[error("no node serves with revision {revision} after {} s", APPLIED_WITHIN.as_secs())]
    NotApplied { revision: u64 },
}

fn api(doing: impl Into<String>) -> impl FnOnce(Error) -> SeedError {
    let doing = doing.into();
    move |source| SeedError::Api { doing, source }
}

/// Fills `context` with tenants and their secrets, keeping those of `former` that are still good, and
/// writes it to `path` after each secret. Returns the newest revision that a node must have.
pub(crate) async fn seed(
    client: &Client,
    former: Option<&Context>,
    context: &mut Context,
    path: &Path,
) -> Result<u64, SeedError> {
    ensure_organization(client).await?;
    let mut newest = 0;
    for seed in &TENANTS {
        let known = former.and_then(|former| former.tenant(Some(seed.slug)));
        context.tenants.push(TenantContext {
            slug: seed.slug.to_owned(),
            plan: seed.plan.to_owned(),
            api_key: known.and_then(|tenant| tenant.api_key.clone()),
            credentials: known
                .map(|tenant| tenant.credentials.clone())
                .unwrap_or_default(),
        });
    }
    // With the former secrets in it, so that a crash from here on loses none.
    save(context, path)?;
    for at in 0..TENANTS.len() {
        newest = newest.max(seed_tenant(client, at, context, path).await?);
    }
    Ok(newest)
}

/// Waits until some node serves with the revision. Returns how many live nodes do, and of how many.
pub(crate) async fn until_applied(
    client: &Client,
    revision: u64,
) -> Result<(usize, usize), SeedError> {
    let deadline = Instant::now() + APPLIED_WITHIN;
    loop {
        let nodes = client
            .nodes()
            .collect(ITEMS_MAX)
            .await
            .map_err(api("reading the nodes"))?;
        let live: Vec<_> = nodes.iter().filter(|node| node.live).collect();
        let applied = live
            .iter()
            .filter(|node| node.applied_revision >= Some(revision))
            .count();
        if applied > 0 {
            return Ok((applied, live.len()));
        }
        if Instant::now() >= deadline {
            return Err(SeedError::NotApplied { revision });
        }
        sleep(ASK_EVERY).await;
    }
}

async fn ensure_organization(client: &Client) -> Result<(), SeedError> {
    let create = OrganizationCreate {
        slug: ORGANIZATION.to_owned(),
        name: None,
    };
    match client.organization(ORGANIZATION).await {
        Ok(_) => return Ok(()),
        Err(error) if error.code() == Some(ErrorCode::NotFound) => {}
        Err(error) => return Err(api("reading the organization")(error)),
    }
    client
        .create_organization(&create)
        .await
        .map_err(api("creating the organization"))?;
    Ok(())
}

async fn seed_tenant(
    client: &Client,
    at: usize,
    context: &mut Context,
    path: &Path,
) -> Result<u64, SeedError> {
    let seed = &TENANTS[at];
    let ensure = TenantEnsure {
        plan: seed.plan.to_owned(),
        organization: Some(ORGANIZATION.to_owned()),
        labels: std::collections::BTreeMap::new(),
    };
    let tenant = client
        .ensure_tenant(seed.slug, &ensure, Wait::Committed)
        .await
        .map_err(api(format!("creating tenant {}", seed.slug)))?;
    context.tenants[at].plan = tenant.plan.to_string();
    let mut newest = tenant.config_revision;
    let rest = client.tenant(seed.slug);
    let found = rest
        .credentials()
        .collect(ITEMS_MAX)
        .await
        .map_err(api(format!("reading the credentials of {}", seed.slug)))?;
    for (position, device) in seed.devices.iter().enumerate() {
        let known = context.tenants[at].login(Some(device));
        let found = found
            .iter()
            .find(|credential| credential.username.as_str() == *device);
        let step = credential_step(known, found);
        let (login, revision) = match step {
            CredentialStep::Keep { login, revision } => (login, revision),
            CredentialStep::Make => make_credential(&rest, device, found).await?,
        };
        newest = newest.max(revision);
        let logins = &mut context.tenants[at].credentials;
        logins.retain(|known| known.username != login.username);
        logins.insert(position.min(logins.len()), login);
        save(context, path)?;
    }
    if seed.has_api_key {
        let known = context.tenants[at].api_key.take();
        context.tenants[at].api_key = Some(ensure_api_key(&rest, known).await?);
        save(context, path)?;
    }
    Ok(newest)
}

#[derive(Debug, PartialEq, Eq)]
enum CredentialStep {
    /// It is there, and its secret is known.
    Keep { login: Login, revision: u64 },
    /// It is not there, or nobody knows its secret.
    Make,
}

fn credential_step(known: Option<&Login>, found: Option<&Credential>) -> CredentialStep {
    match (known, found) {
        (Some(login), Some(found)) if opens(&login.password, found) => CredentialStep::Keep {
            login: login.clone(),
            revision: found.config_revision,
        },
        (Some(_) | None, Some(_) | None) => CredentialStep::Make,
    }
}

fn opens(secret: &Secret, credential: &Credential) -> bool {
    let key_id = key_id(SecretKind::Device, secret);
    credential
        .secrets
        .iter()
        .any(|live| Some(live.key_id) == key_id)
}

fn key_id(kind: SecretKind, secret: &Secret) -> Option<KeyId> {
    GeneratedSecret::parse(kind, secret.expose())
        .ok()
        .map(|secret| secret.key_id())
}

async fn make_credential(
    tenant: &TenantClient,
    device: &str,
    found: Option<&Credential>,
) -> Result<(Login, u64), SeedError> {
    let doing = api(format!("creating credential {device}"));
    let made = match found {
        Some(found) => {
            tenant
                .rotate_credential(&found.id.to_string(), Wait::Committed)
                .await
        }
        None => tenant.create_credential(device, Wait::Committed).await,
    }
    .map_err(doing)?;
    let login = Login {
        username: made.credential.mqtt_username,
        password: made.secret,
    };
    Ok((login, made.credential.config_revision))
}

async fn ensure_api_key(tenant: &TenantClient, known: Option<Secret>) -> Result<Secret, SeedError> {
    let found = tenant
        .api_keys()
        .collect(ITEMS_MAX)
        .await
        .map_err(api("reading the tenant's API keys"))?;
    if let Some(known) = known
        && found
            .iter()
            .any(|key| Some(key.key_id) == key_id(SecretKind::ApiKey, &known))
    {
        return Ok(known);
    }
    for lost in found
        .iter()
        .filter(|key: &&ApiKey| key.name == API_KEY_NAME)
    {
        let doing = api("deleting an API key that nobody knows");
        tenant
            .delete_api_key(&lost.id.to_string())
            .await
            .map_err(doing)?;
    }
    let create = ApiKeyCreate {
        name: API_KEY_NAME.to_owned(),
        role: Role::TenantAdmin,
    };
    let made = tenant
        .create_api_key(&create)
        .await
        .map_err(api("creating the tenant's API key"))?;
    Ok(made.secret)
}

fn save(context: &Context, path: &Path) -> Result<(), SeedError> {
    let json = serde_json::to_vec_pretty(context).map_err(std::io::Error::other);
    json.and_then(|json| private_file::replace(path, &json))
        .map_err(|source| SeedError::Write {
            path: path.display().to_string(),
            source,
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tessera_tenancy::CredentialId;

    fn secret(seed: u8) -> Secret {
        let random = [seed; tessera_tenancy::secret::RANDOM_LEN];
        let secret = GeneratedSecret::from_random(SecretKind::Device, random);
        Secret::new(secret.expose().to_owned())
    }

    fn credential(secrets: &[&Secret]) -> Credential {
        let then: serde_json::Value = "2026-01-01T00:00:00Z".into();
        let live = secrets.iter().map(|secret| {
            let key_id = key_id(SecretKind::Device, secret).unwrap();
            serde_json::json!({"key_id": key_id, "created_at": then})
        });
        serde_json::from_value(serde_json::json!({
            "id": CredentialId::from_bytes([1; 16]), "username": "device-1",
            "mqtt_username": "demo.device-1", "policy": "allow-all",
            "secrets": live.collect::<Vec<_>>(), "revision": 1, "config_revision": 7,
            "created_at": then, "updated_at": then,
        }))
        .unwrap()
    }

    fn login(password: Secret) -> Login {
        Login {
            username: "demo.device-1".into(),
            password,
        }
    }

    #[test]
    fn a_credential_is_kept_only_if_its_secret_is_known_and_live() {
        let (ours, other) = (secret(1), secret(2));
        let known = login(ours.clone());
        let kept = CredentialStep::Keep {
            login: known.clone(),
            revision: 7,
        };
        for (known, found, step) in [
            (Some(&known), Some(credential(&[&ours])), &kept),
            (Some(&known), Some(credential(&[&other, &ours])), &kept),
            (
                Some(&known),
                Some(credential(&[&other])),
                &CredentialStep::Make,
            ),
            (None, Some(credential(&[&ours])), &CredentialStep::Make),
            (Some(&known), None, &CredentialStep::Make),
            (None, None, &CredentialStep::Make),
        ] {
            assert_eq!(&credential_step(known, found.as_ref()), step);
        }
        let damaged = login(Secret::new("tsd_x".into()));
        let found: Credential = credential(&[&ours]);
        assert_eq!(
            credential_step(Some(&damaged), Some(&found)),
            CredentialStep::Make
        );
    }
}

//! Two tenants of the run's own, made through the API. Their clients and topics have the same names.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use tessera_sdk::rest::{Client, Wait};
use tessera_sdk::types::TenantEnsure;
use tessera_sim::contract::Tenant;

use crate::target::{Target, TargetOptions};

/// How many tenants the clients belong to.
pub(crate) const TENANTS: u16 = 2;
/// Longest wait for a node to serve the credentials.
const APPLIED_WITHIN: Duration = Duration::from_secs(60);

/// Where a tenant's clients connect, and as whom. The address may change when the node starts again.
#[derive(Debug, Clone)]
pub(crate) struct Access {
    pub(crate) tenant: Tenant,
    pub(crate) target: Target,
}

#[derive(Deserialize)]
struct ReadyFile {
    api_url: String,
    platform_api_key: String,
}

/// Makes the tenants and their credentials.
pub(crate) async fn make(ready: &Path, run: u32) -> anyhow::Result<Vec<Access>> {
    let text = std::fs::read(ready).with_context(|| format!("reading {}", ready.display()))?;
    let file: ReadyFile = serde_json::from_slice(&text).context("the ready file names no API")?;
    let client = Client::builder(file.api_url)
        .api_key(file.platform_api_key)
        .build()?;
    let mut found = Vec::new();
    for number in 0..TENANTS {
        let slug = format!("contract-{run}-{number}");
        let ensure = TenantEnsure {
            plan: "dev".to_owned(),
            organization: Some("demo".to_owned()),
            labels: std::collections::BTreeMap::new(),
        };
        client.ensure_tenant(&slug, &ensure, Wait::Applied).await?;
        let tenant = client.tenant(slug);
        let made = tenant.create_credential("device", Wait::Applied).await?;
        let target = Target {
            username: Some(made.credential.mqtt_username),
            password: Some(made.secret.expose().to_owned()),
            ..TargetOptions::from_ready_file(ready)?
        };
        found.push(Access {
            tenant: Tenant(number + 1),
            target,
        });
    }
    tokio::time::timeout(APPLIED_WITHIN, until_served(&found))
        .await
        .context("the node does not serve the new tenants")??;
    Ok(found)
}

async fn until_served(tenants: &[Access]) -> anyhow::Result<()> {
    for access in tenants {
        while crate::client::Client::connect(&access.target, "contract-look")
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
    Ok(())
}

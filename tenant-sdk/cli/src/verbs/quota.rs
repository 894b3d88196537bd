//! `tessera quota`

use std::collections::BTreeMap;

use anyhow::Context as _;
use tessera_api_types::{Quota, QuotaOverride, QuotaSource, Quotas, QuotasPatch};
use tessera_sdk::rest::Client;

use super::{WaitArgs, note_applied};
use crate::access::ApiArgs;
use crate::output::{Format, Table, print};

/// What a value may be called if there is to be none.
const UNLIMITED: &str = "unlimited";

#[derive(Debug, clap::Args)]
pub(crate) struct QuotaArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Shows what a tenant may use, and where each value comes from.
    Get {
        /// Id or slug.
        tenant: String,
    },
    /// Overrides the plan. Needs a platform key.
    Set {
        /// Id or slug.
        tenant: String,
        /// A quota and its value: a number, or unlimited.
        #[arg(required = true, value_name = "QUOTA=VALUE", value_parser = quota_value)]
        quotas: Vec<(String, Option<u64>)>,
        /// Why, for those who look at it later.
        #[arg(long)]
        reason: Option<String>,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Goes back to what the plan grants. Needs a platform key.
    Reset {
        /// Id or slug.
        tenant: String,
        /// Names of quotas.
        #[arg(required = true, value_name = "QUOTA")]
        quotas: Vec<String>,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

impl QuotaArgs {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let client = self.api.client()?;
        let format = self.api.output;
        match self.action {
            Action::Get { tenant } => {
                let found = client.tenant(&tenant).quotas().await;
                show(
                    format,
                    &found
                        .with_context(|| format!("reading quotas of {tenant}"))?
                        .value,
                )
            }
            Action::Set {
                tenant,
                quotas,
                reason,
                wait,
            } => {
                let overridden = quotas
                    .into_iter()
                    .map(|(name, limit)| (name, Some(QuotaOverride { limit })));
                let patch = QuotasPatch {
                    quotas: overridden.collect(),
                    reason,
                };
                change(&client, format, &tenant, &patch, wait).await
            }
            Action::Reset {
                tenant,
                quotas,
                wait,
            } => {
                let quotas: BTreeMap<_, _> = quotas.into_iter().map(|name| (name, None)).collect();
                let patch = QuotasPatch {
                    quotas,
                    reason: None,
                };
                change(&client, format, &tenant, &patch, wait).await
            }
        }
    }
}

async fn change(
    client: &Client,
    format: Format,
    tenant: &str,
    patch: &QuotasPatch,
    wait: WaitArgs,
) -> anyhow::Result<()> {
    let read = client.tenant(tenant).quotas().await;
    let etag = read
        .with_context(|| format!("reading quotas of {tenant}"))?
        .etag;
    let written = client.patch_quotas(tenant, patch, &etag, wait.wait()).await;
    let quotas = written
        .with_context(|| format!("changing quotas of {tenant}"))?
        .value;
    show(format, &quotas)?;
    note_applied("changed", quotas.applied);
    Ok(())
}

fn show(format: Format, quotas: &Quotas) -> anyhow::Result<()> {
    print(format, quotas, || {
        let mut table = Table::new(&["quota", "limit", "unit", "source", "plan's limit"]);
        for quota in &quotas.data {
            table.row(row(quota, quotas.plan.as_str()));
        }
        table
    })
}

fn row(quota: &Quota, plan: &str) -> [String; 5] {
    let value = |limit: Option<u64>| limit.map_or_else(|| UNLIMITED.to_owned(), |n| n.to_string());
    let source = match quota.source {
        QuotaSource::Plan => format!("plan {plan}"),
        QuotaSource::Override => quota.reason.as_ref().map_or_else(
            || "override".to_owned(),
            |reason| format!("override: {reason}"),
        ),
    };
    [
        quota.name.clone(),
        value(quota.limit),
        quota.unit.clone(),
        source,
        value(quota.plan_limit),
    ]
}

fn quota_value(text: &str) -> Result<(String, Option<u64>), String> {
    let (name, value) = text
        .split_once('=')
        .ok_or("is not of the form QUOTA=VALUE")?;
    if value == UNLIMITED {
        return Ok((name.to_owned(), None));
    }
    let limit = value
        .parse()
        .map_err(|_| format!("{value:?} is no number, nor {UNLIMITED}"))?;
    Ok((name.to_owned(), Some(limit)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbers_or_unlimited() {
        assert_eq!(
            quota_value("connections=5"),
            Ok(("connections".into(), Some(5)))
        );
        assert_eq!(
            quota_value("connections=unlimited"),
            Ok(("connections".into(), None))
        );
        for bad in [
            "connections",
            "connections=",
            "connections=-1",
            "connections=1e3",
        ] {
            assert!(quota_value(bad).is_err(), "{bad}");
        }
    }
}

//! `tessera tenant`

use anyhow::Context as _;
use tessera_api_types::{Tenant, TenantCreate, TenantPatch, TenantStatus};
use tessera_sdk::rest::Client;

use super::{WaitArgs, note_applied};
use crate::access::ApiArgs;
use crate::output::{Format, Table, print};

/// Tenants that are listed at most.
const TENANTS_MAX: usize = 100_000;
/// What the value is called that a setting has unless it is set.
const DEFAULT: &str = "default";

#[derive(Debug, clap::Args)]
pub(crate) struct TenantArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists all tenants.
    List,
    /// Shows one tenant.
    Get {
        /// Id or slug.
        tenant: String,
    },
    /// Creates a tenant.
    Create {
        /// A DNS label: 1 to 63 of a-z 0-9 and -, a letter first.
        slug: String,
        /// What grants its quotas.
        #[arg(long, default_value = "free")]
        plan: String,
        /// Who owns it: id or slug.
        #[arg(long)]
        organization: Option<String>,
        /// A mark of your own; may be repeated.
        #[arg(long = "label", value_name = "KEY=VALUE", value_parser = key_value)]
        labels: Vec<(String, String)>,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Moves a tenant to another plan.
    Plan {
        /// Id or slug.
        tenant: String,
        /// The plan's slug.
        plan: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Changes how a tenant behaves; what is connected meets it at its next message.
    ///
    /// Settings: shared_subscription_strategy (random, round_robin, sticky) and queue_overflow
    /// (drop_oldest, drop_newest, refuse_publisher).
    #[expect(
        clippy::doc_markdown,
        reason = "the command line shows it as it stands"
    )]
    Set {
        /// Id or slug.
        tenant: String,
        /// A setting and its value, or default.
        #[arg(required = true, value_name = "SETTING=VALUE", value_parser = key_value)]
        settings: Vec<(String, String)>,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Refuses and disconnects its devices; what it stored is kept.
    Suspend {
        /// Id or slug.
        tenant: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Serves its devices again.
    Resume {
        /// Id or slug.
        tenant: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Deletes a tenant with all it holds.
    Delete {
        /// Id or slug.
        tenant: String,
        /// Says that you mean it.
        #[arg(long, required = true)]
        yes: bool,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

impl TenantArgs {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let client = self.api.client()?;
        let format = self.api.output;
        match self.action {
            Action::List => list(&client, format).await,
            Action::Get { tenant } => {
                let found = client.tenant(&tenant).get().await;
                show(
                    format,
                    &found
                        .with_context(|| format!("reading tenant {tenant}"))?
                        .value,
                )
            }
            Action::Create {
                slug,
                plan,
                organization,
                labels,
                wait,
            } => {
                let labels = labels.into_iter().collect();
                let create = TenantCreate {
                    slug,
                    plan,
                    organization,
                    labels,
                };
                let made = client.create_tenant(&create, wait.wait()).await;
                let made = made.with_context(|| format!("creating tenant {}", create.slug))?;
                changed(format, "created", &made.value)
            }
            Action::Plan { tenant, plan, wait } => {
                let patch = TenantPatch {
                    plan: Some(plan),
                    ..TenantPatch::default()
                };
                update(&client, format, &tenant, &patch, wait).await
            }
            Action::Set {
                tenant,
                settings,
                wait,
            } => {
                let settings = settings
                    .into_iter()
                    .map(|(name, value)| (name, (value != DEFAULT).then_some(value)));
                let patch = TenantPatch {
                    settings: Some(settings.collect()),
                    ..TenantPatch::default()
                };
                update(&client, format, &tenant, &patch, wait).await
            }
            Action::Suspend { tenant, wait } => {
                let done = client.tenant(&tenant).suspend(wait.wait()).await;
                let done = done.with_context(|| format!("suspending tenant {tenant}"))?;
                changed(format, "suspended", &done.value)
            }
            Action::Resume { tenant, wait } => {
                let done = client.tenant(&tenant).resume(wait.wait()).await;
                let done = done.with_context(|| format!("resuming tenant {tenant}"))?;
                changed(format, "resumed", &done.value)
            }
            Action::Delete {
                tenant,
                yes: _,
                wait,
            } => {
                let done = client.tenant(&tenant).delete(wait.wait()).await;
                let done = done.with_context(|| format!("deleting tenant {tenant}"))?;
                note_applied("deleted", done.map(|accepted| accepted.applied));
                Ok(())
            }
        }
    }
}

async fn list(client: &Client, format: Format) -> anyhow::Result<()> {
    let tenants = client
        .tenants()
        .collect(TENANTS_MAX)
        .await
        .context("listing tenants")?;
    print(format, &tenants, || table(&tenants))
}

async fn update(
    client: &Client,
    format: Format,
    tenant: &str,
    patch: &TenantPatch,
    wait: WaitArgs,
) -> anyhow::Result<()> {
    let updated = client.tenant(tenant).update(patch, None, wait.wait()).await;
    let updated = updated.with_context(|| format!("changing tenant {tenant}"))?;
    changed(format, "changed", &updated.value)
}

fn changed(format: Format, what: &str, tenant: &Tenant) -> anyhow::Result<()> {
    show(format, tenant)?;
    note_applied(what, tenant.applied);
    Ok(())
}

fn show(format: Format, tenant: &Tenant) -> anyhow::Result<()> {
    print(format, tenant, || table(std::slice::from_ref(tenant)))
}

fn table(tenants: &[Tenant]) -> Table {
    let mut table = Table::new(&["slug", "plan", "status", "id"]);
    for tenant in tenants {
        let status = match tenant.status {
            TenantStatus::Active => "active",
            TenantStatus::Suspended => "suspended",
        };
        let (slug, plan) = (tenant.slug.to_string(), tenant.plan.to_string());
        table.row([slug, plan, status.to_owned(), tenant.id.to_string()]);
    }
    table
}

fn key_value(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .ok_or_else(|| "is not of the form KEY=VALUE".to_owned())
}

//! `tessera credential`

use anyhow::Context as _;
use tessera_api_types::{Credential, CredentialWithSecret};

use super::{WaitArgs, note_applied};
use crate::access::ApiArgs;
use crate::output::{Format, Table, note, print};

/// Credentials that are listed at most.
const CREDENTIALS_MAX: usize = 100_000;

#[derive(Debug, clap::Args)]
pub(crate) struct CredentialArgs {
    #[command(flatten)]
    api: ApiArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Lists a tenant's credentials.
    List {
        /// Id or slug.
        tenant: String,
    },
    /// Creates a credential and shows its secret, once.
    Create {
        /// Id or slug.
        tenant: String,
        /// The device's name inside the tenant.
        username: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Generates a new secret and shows it, once. The former one stays good until the next rotation.
    Rotate {
        /// Id or slug.
        tenant: String,
        /// Its id.
        credential: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Deletes a credential; its device is refused from then on.
    Delete {
        /// Id or slug.
        tenant: String,
        /// Its id.
        credential: String,
        #[command(flatten)]
        wait: WaitArgs,
    },
}

impl CredentialArgs {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let client = self.api.client()?;
        let format = self.api.output;
        match self.action {
            Action::List { tenant } => {
                let listing = client
                    .tenant(&tenant)
                    .credentials()
                    .collect(CREDENTIALS_MAX);
                let found = listing
                    .await
                    .with_context(|| format!("listing credentials of {tenant}"))?;
                print(format, &found, || table(&found))
            }
            Action::Create {
                tenant,
                username,
                wait,
            } => {
                let made = client
                    .tenant(tenant)
                    .create_credential(&username, wait.wait())
                    .await;
                let made = made.with_context(|| format!("creating credential {username}"))?;
                show_secret(format, "created", &made)
            }
            Action::Rotate {
                tenant,
                credential,
                wait,
            } => {
                let made = client
                    .tenant(tenant)
                    .rotate_credential(&credential, wait.wait())
                    .await;
                let made = made.with_context(|| format!("rotating credential {credential}"))?;
                show_secret(format, "rotated", &made)
            }
            Action::Delete {
                tenant,
                credential,
                wait,
            } => {
                let done = client
                    .tenant(tenant)
                    .delete_credential(&credential, wait.wait())
                    .await;
                let done = done.with_context(|| format!("deleting credential {credential}"))?;
                note_applied("deleted", done.map(|accepted| accepted.applied));
                Ok(())
            }
        }
    }
}

fn show_secret(format: Format, what: &str, made: &CredentialWithSecret) -> anyhow::Result<()> {
    print(format, made, || {
        let mut table = Table::new(&["mqtt user name", "mqtt password", "id"]);
        let (name, id) = (
            made.credential.mqtt_username.clone(),
            made.credential.id.to_string(),
        );
        table.row([name, made.secret.expose().to_owned(), id]);
        table
    })?;
    note("The password is shown only now.");
    note_applied(what, made.credential.applied);
    Ok(())
}

fn table(credentials: &[Credential]) -> Table {
    let mut table = Table::new(&["username", "mqtt user name", "policy", "secrets", "id"]);
    for credential in credentials {
        let keys: Vec<&str> = credential
            .secrets
            .iter()
            .map(|live| live.key_id.as_str())
            .collect();
        table.row([
            credential.username.to_string(),
            credential.mqtt_username.clone(),
            credential.policy.clone(),
            keys.join(", "),
            credential.id.to_string(),
        ]);
    }
    table
}

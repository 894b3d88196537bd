//! Credentials and their live secrets, and telling the nodes of them.

use tessera_domain::secrets::rotated;
use tessera_tenancy::{
    ChangeBody, CredentialId, CredentialRecord, CredentialSecret, DeviceUsername, KeyId, Policy,
    Revision, SecretDigest, TenantId,
};
use time::OffsetDateTime;

use crate::convert::{digest_bytes, id_bytes, parsed, revision, signed, unsigned};
use crate::error::StoreError;
use crate::store::Tx;
use crate::tenants::ALLOW_ALL;

/// Credentials of one tenant: what the largest plan has.
pub const CREDENTIALS_PER_TENANT_MAX: u32 = 2_000_000;

/// A credential with its live secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CredentialRow {
    /// Its id.
    pub id: CredentialId,
    /// Its name inside the tenant.
    pub username: DeviceUsername,
    /// The policy it has.
    pub policy: String,
    /// Its live secrets, the newest first.
    pub secrets: Vec<SecretRow>,
    /// Its own number.
    pub revision: u64,
    /// The pushed change that made it so.
    pub config_revision: Revision,
    /// When it was created.
    pub created_at: OffsetDateTime,
    /// When it was last changed.
    pub updated_at: OffsetDateTime,
}

/// A live secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SecretRow {
    /// The public part.
    pub key_id: KeyId,
    /// What stands for the secret.
    pub digest: SecretDigest,
    /// When it was generated.
    pub created_at: OffsetDateTime,
}

/// A new credential.
#[derive(Debug, Clone)]
pub struct CredentialNew {
    /// Random.
    pub id: CredentialId,
    /// Its name inside the tenant.
    pub username: DeviceUsername,
    /// Its first secret.
    pub secret: SecretNew,
}

/// A new secret.
#[derive(Debug, Clone, Copy)]
pub struct SecretNew {
    /// The public part.
    pub key_id: KeyId,
    /// What stands for the secret.
    pub digest: SecretDigest,
}

/// How a caller names a credential of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialRef {
    /// By id.
    Id(CredentialId),
    /// By user name.
    Username(DeviceUsername),
}

/// Why a credential was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateCredentialError {
    /// Another of the tenant has the user name.
    #[error("the user name is taken")]
    UsernameTaken,
    /// The tenant has as many as may be.
    #[error("the tenant has {CREDENTIALS_PER_TENANT_MAX} credentials already")]
    TooMany,
    /// No result.
    #[error(transparent)]
    Store(#[from] StoreError),
}

pub(crate) struct Row {
    pub(crate) credential_id: Vec<u8>,
    pub(crate) username: String,
    pub(crate) policy: String,
    pub(crate) key_ids: Vec<String>,
    pub(crate) digests: Vec<Vec<u8>>,
    pub(crate) secrets_created_at: Vec<OffsetDateTime>,
    pub(crate) revision: i64,
    pub(crate) config_revision: i64,
    pub(crate) created_at: OffsetDateTime,
    pub(crate) updated_at: OffsetDateTime,
}

impl Tx {
    /// The credential of `tenant` that `reference` names.
    pub async fn credential(
        &mut self,
        tenant: TenantId,
        reference: &CredentialRef,
    ) -> Result<Option<CredentialRow>, StoreError> {
        let (id, username) = match reference {
            CredentialRef::Id(id) => (Some(id.as_bytes().as_slice()), None),
            CredentialRef::Username(username) => (None, Some(username.as_str())),
        };
        let row = sqlx::query_as!(
            Row,
            r#"select credential_id, username, policy,
                array(select key_id from credential_secrets s where s.tenant_id = c.tenant_id and s.credential_id = c.credential_id order by generation desc) as "key_ids!",
                array(select digest from credential_secrets s where s.tenant_id = c.tenant_id and s.credential_id = c.credential_id order by generation desc) as "digests!",
                array(select created_at from credential_secrets s where s.tenant_id = c.tenant_id and s.credential_id = c.credential_id order by generation desc) as "secrets_created_at!",
                revision, config_revision, created_at, updated_at
            from credentials c where tenant_id = $1 and (credential_id = $2 or username = $3)"#,
            tenant.as_bytes(),
            id,
            username
        )
        .fetch_optional(&mut *self.sql)
        .await?;
        row.map(CredentialRow::try_from).transpose()
    }

    /// At most `limit` credentials of `tenant` whose user name comes after `after`, by user name.
    pub async fn credentials(
        &mut self,
        tenant: TenantId,
        after: &str,
        limit: u32,
    ) -> Result<Vec<CredentialRow>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"select credential_id, username, policy,
                array(select key_id from credential_secrets s where s.tenant_id = c.tenant_id and s.credential_id = c.credential_id order by generation desc) as "key_ids!",
                array(select digest from credential_secrets s where s.tenant_id = c.tenant_id and s.credential_id = c.credential_id order by generation desc) as "digests!",
                array(select created_at from credential_secrets s where s.tenant_id = c.tenant_id and s.credential_id = c.credential_id order by generation desc) as "secrets_created_at!",
                revision, config_revision, created_at, updated_at
            from credentials c where tenant_id = $1 and username > $2
            order by username limit $3"#,
            tenant.as_bytes(),
            after,
            i64::from(limit)
        )
        .fetch_all(&mut *self.sql)
        .await?;
        rows.into_iter().map(CredentialRow::try_from).collect()
    }

    /// Creates a credential and tells the nodes.
    pub async fn create_credential(
        &mut self,
        tenant: TenantId,
        new: &CredentialNew,
    ) -> Result<CredentialRow, CreateCredentialError> {
        self.count_credential(tenant).await?;
        let inserted = sqlx::query!(
            r#"insert into credentials (tenant_id, credential_id, username, policy)
            values ($1, $2, $3, $4) on conflict (tenant_id, username) do nothing"#,
            tenant.as_bytes(),
            new.id.as_bytes(),
            new.username.as_str(),
            ALLOW_ALL
        )
        .execute(&mut *self.sql)
        .await
        .map_err(StoreError::from)?;
        if inserted.rows_affected() == 0 {
            return Err(CreateCredentialError::UsernameTaken);
        }
        self.add_secret(tenant, new.id, &new.secret).await?;
        Ok(self.announce_credential(tenant, new.id).await?)
    }

    /// Adds a secret to a credential and ends those that rotation ends; tells the nodes. The
    /// transaction has locked the tenant.
    pub async fn rotate_credential(
        &mut self,
        tenant: TenantId,
        old: &CredentialRow,
        new: &SecretNew,
    ) -> Result<CredentialRow, StoreError> {
        let kept = rotated(new.key_id, old.secrets.iter().map(|secret| secret.key_id));
        let kept: Vec<String> = kept.iter().map(ToString::to_string).collect();
        self.add_secret(tenant, old.id, new).await?;
        sqlx::query!(
            r#"delete from credential_secrets
            where tenant_id = $1 and credential_id = $2 and key_id <> all($3)"#,
            tenant.as_bytes(),
            old.id.as_bytes(),
            &kept
        )
        .execute(&mut *self.sql)
        .await?;
        sqlx::query!(
            r#"update credentials set revision = revision + 1, updated_at = now()
            where tenant_id = $1 and credential_id = $2"#,
            tenant.as_bytes(),
            old.id.as_bytes()
        )
        .execute(&mut *self.sql)
        .await?;
        self.announce_credential(tenant, old.id).await
    }

    /// Deletes a credential and tells the nodes. The transaction has locked the tenant.
    pub async fn delete_credential(
        &mut self,
        tenant: TenantId,
        id: CredentialId,
    ) -> Result<Revision, StoreError> {
        sqlx::query!(
            "update tenants set credential_count = credential_count - 1 where tenant_id = $1",
            tenant.as_bytes()
        )
        .execute(&mut *self.sql)
        .await?;
        sqlx::query!(
            "delete from credentials where tenant_id = $1 and credential_id = $2",
            tenant.as_bytes(),
            id.as_bytes()
        )
        .execute(&mut *self.sql)
        .await?;
        self.record(tenant, &ChangeBody::CredentialRemoved { id })
            .await
    }

    /// Counts one more, unless there are as many as may be. Holds the tenant's row.
    async fn count_credential(&mut self, tenant: TenantId) -> Result<(), CreateCredentialError> {
        let counted = sqlx::query!(
            r#"update tenants set credential_count = credential_count + 1
            where tenant_id = $1 and credential_count < $2"#,
            tenant.as_bytes(),
            i64::from(CREDENTIALS_PER_TENANT_MAX)
        )
        .execute(&mut *self.sql)
        .await
        .map_err(StoreError::from)?;
        if counted.rows_affected() == 0 {
            return Err(CreateCredentialError::TooMany);
        }
        Ok(())
    }

    async fn add_secret(
        &mut self,
        tenant: TenantId,
        credential: CredentialId,
        secret: &SecretNew,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            r#"insert into credential_secrets (tenant_id, credential_id, key_id, digest, generation)
            select $1, $2, $3, $4, 1 + coalesce(max(generation), 0) from credential_secrets
            where tenant_id = $1 and credential_id = $2"#,
            tenant.as_bytes(),
            credential.as_bytes(),
            secret.key_id.as_str(),
            secret.digest.as_bytes()
        )
        .execute(&mut *self.sql)
        .await?;
        Ok(())
    }

    async fn announce_credential(
        &mut self,
        tenant: TenantId,
        id: CredentialId,
    ) -> Result<CredentialRow, StoreError> {
        let reference = CredentialRef::Id(id);
        let row = self.credential(tenant, &reference).await?;
        let row = row.ok_or(StoreError::Corrupt(
            "credential that this transaction wrote",
        ))?;
        let body = ChangeBody::Credential {
            id,
            record: row.record()?,
        };
        let number = self.record(tenant, &body).await?;
        sqlx::query!(
            r#"update credentials set config_revision = $3
            where tenant_id = $1 and credential_id = $2"#,
            tenant.as_bytes(),
            id.as_bytes(),
            signed(number.0)?
        )
        .execute(&mut *self.sql)
        .await?;
        Ok(CredentialRow {
            config_revision: number,
            ..row
        })
    }
}

impl CredentialRow {
    /// What nodes are told of it.
    pub fn record(&self) -> Result<CredentialRecord, StoreError> {
        if self.policy != ALLOW_ALL {
            return Err(StoreError::Corrupt("policy"));
        }
        let secrets = self.secrets.iter();
        Ok(CredentialRecord {
            username: self.username.clone(),
            secrets: secrets
                .map(|secret| CredentialSecret {
                    key_id: secret.key_id,
                    digest: secret.digest,
                })
                .collect(),
            policy: Policy::AllowAll,
        })
    }
}

impl TryFrom<Row> for CredentialRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let secrets = row
            .key_ids
            .iter()
            .zip(&row.digests)
            .zip(row.secrets_created_at);
        let secrets = secrets.map(|((key_id, digest), created_at)| {
            Ok::<_, StoreError>(SecretRow {
                key_id: parsed(key_id, "key id")?,
                digest: SecretDigest::from_bytes(digest_bytes(digest)?),
                created_at,
            })
        });
        Ok(Self {
            id: CredentialId::from_bytes(id_bytes(&row.credential_id)?),
            username: parsed(&row.username, "user name")?,
            policy: row.policy,
            secrets: secrets.collect::<Result<_, _>>()?,
            revision: unsigned(row.revision)?,
            config_revision: revision(row.config_revision)?,
            created_at: row.created_at,
            updated_at: row.updated_at,
        })
    }
}

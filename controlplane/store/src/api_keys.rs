//! API keys, of tenants and of the platform.

use tessera_domain::Role;
use tessera_tenancy::{ApiKeyId, KeyId, SecretDigest, TenantId};
use time::OffsetDateTime;

use crate::convert::{digest_bytes, id_bytes, parsed, unsigned};
use crate::error::StoreError;
use crate::store::{Store, Tx, View};

/// API keys of one tenant, or of the platform.
pub const API_KEYS_MAX: u32 = 1_000;

/// An API key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKeyRow {
    /// Its id.
    pub id: ApiKeyId,
    /// The only tenant it may see; `None` for a platform key.
    pub tenant: Option<TenantId>,
    /// Its name for people.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The public part of its text.
    pub key_id: KeyId,
    /// What stands for the secret.
    pub digest: SecretDigest,
    /// Its own number.
    pub revision: u64,
    /// When it was created.
    pub created_at: OffsetDateTime,
}

/// A new API key.
#[derive(Debug, Clone)]
pub struct ApiKeyNew {
    /// Random.
    pub id: ApiKeyId,
    /// The only tenant it may see; `None` exactly if the role is the platform's.
    pub tenant: Option<TenantId>,
    /// Its name for people.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// The public part of its text.
    pub key_id: KeyId,
    /// What stands for the secret.
    pub digest: SecretDigest,
}

/// Why an API key was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateApiKeyError {
    /// There are as many as may be.
    #[error("there are {API_KEYS_MAX} API keys already")]
    TooMany,
    /// No result.
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Row {
    api_key_id: Vec<u8>,
    tenant_id: Option<Vec<u8>>,
    name: String,
    role: String,
    key_id: String,
    digest: Vec<u8>,
    revision: i64,
    created_at: OffsetDateTime,
}

impl Store {
    /// The key with this key id: to find out who is calling.
    pub async fn api_key_by_key_id(&self, key_id: KeyId) -> Result<Option<ApiKeyRow>, StoreError> {
        let mut tx = self.begin(View::Key(key_id)).await?;
        let row = sqlx::query_as!(
            Row,
            r#"select api_key_id, tenant_id, name, role, key_id, digest, revision, created_at
            from api_keys where key_id = $1"#,
            key_id.as_str()
        )
        .fetch_optional(&mut *tx.sql)
        .await?;
        tx.commit().await?;
        row.map(ApiKeyRow::try_from).transpose()
    }
}

impl Tx {
    /// Creates an API key.
    pub async fn create_api_key(
        &mut self,
        new: &ApiKeyNew,
    ) -> Result<ApiKeyRow, CreateApiKeyError> {
        let row = sqlx::query_as!(
            Row,
            r#"insert into api_keys (api_key_id, tenant_id, name, role, key_id, digest)
            select $1, $2, $3, $4, $5, $6
            where (select count(*) from api_keys where tenant_id is not distinct from $2) < $7
            returning api_key_id, tenant_id, name, role, key_id, digest, revision, created_at"#,
            new.id.as_bytes(),
            tenant_bytes(new.tenant.as_ref()),
            new.name,
            new.role.as_str(),
            new.key_id.as_str(),
            new.digest.as_bytes(),
            i64::from(API_KEYS_MAX)
        )
        .fetch_optional(&mut *self.sql)
        .await
        .map_err(StoreError::from)?;
        let row = row.ok_or(CreateApiKeyError::TooMany)?;
        Ok(row.try_into()?)
    }

    /// One key of a tenant, or of the platform.
    pub async fn api_key(
        &mut self,
        tenant: Option<TenantId>,
        id: ApiKeyId,
    ) -> Result<Option<ApiKeyRow>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            r#"select api_key_id, tenant_id, name, role, key_id, digest, revision, created_at
            from api_keys where tenant_id is not distinct from $1 and api_key_id = $2"#,
            tenant_bytes(tenant.as_ref()),
            id.as_bytes()
        )
        .fetch_optional(&mut *self.sql)
        .await?;
        row.map(ApiKeyRow::try_from).transpose()
    }

    /// At most `limit` keys of a tenant, or of the platform, whose id comes after `after`, by id.
    pub async fn api_keys(
        &mut self,
        tenant: Option<TenantId>,
        after: Option<ApiKeyId>,
        limit: u32,
    ) -> Result<Vec<ApiKeyRow>, StoreError> {
        let after = after.map_or_else(Vec::new, |id| id.as_bytes().to_vec());
        let rows = sqlx::query_as!(
            Row,
            r#"select api_key_id, tenant_id, name, role, key_id, digest, revision, created_at
            from api_keys where tenant_id is not distinct from $1 and api_key_id > $2
            order by api_key_id limit $3"#,
            tenant_bytes(tenant.as_ref()),
            after,
            i64::from(limit)
        )
        .fetch_all(&mut *self.sql)
        .await?;
        rows.into_iter().map(ApiKeyRow::try_from).collect()
    }

    /// Deletes a key of a tenant, or of the platform.
    pub async fn delete_api_key(
        &mut self,
        tenant: Option<TenantId>,
        id: ApiKeyId,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "delete from api_keys where tenant_id is not distinct from $1 and api_key_id = $2",
            tenant_bytes(tenant.as_ref()),
            id.as_bytes()
        )
        .execute(&mut *self.sql)
        .await?;
        Ok(())
    }
}

fn tenant_bytes(tenant: Option<&TenantId>) -> Option<&[u8]> {
    tenant.map(|id| id.as_bytes().as_slice())
}

impl TryFrom<Row> for ApiKeyRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        let tenant = row.tenant_id.map(|id| id_bytes(&id)).transpose()?;
        Ok(Self {
            id: ApiKeyId::from_bytes(id_bytes(&row.api_key_id)?),
            tenant: tenant.map(TenantId::from_bytes),
            name: row.name,
            role: parsed(&row.role, "role")?,
            key_id: parsed(&row.key_id, "key id")?,
            digest: SecretDigest::from_bytes(digest_bytes(&row.digest)?),
            revision: unsigned(row.revision)?,
            created_at: row.created_at,
        })
    }
}

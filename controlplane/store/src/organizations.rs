//! Organizations.

use tessera_tenancy::{OrganizationId, TenantSlug};
use time::OffsetDateTime;

use crate::convert::{id_bytes, unsigned};
use crate::error::StoreError;
use crate::store::Tx;

/// An organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OrganizationRow {
    /// Its id.
    pub id: OrganizationId,
    /// Its slug.
    pub slug: String,
    /// Its name for people.
    pub name: String,
    /// Its own number.
    pub revision: u64,
    /// When it was created.
    pub created_at: OffsetDateTime,
}

/// A new organization.
#[derive(Debug, Clone)]
pub struct OrganizationNew {
    /// Random.
    pub id: OrganizationId,
    /// Its slug, of the same form as a tenant's.
    pub slug: TenantSlug,
    /// Its name for people.
    pub name: String,
}

/// How a caller names an organization.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OrganizationRef {
    /// By id.
    Id(OrganizationId),
    /// By slug.
    Slug(String),
}

/// Why an organization was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateOrganizationError {
    /// Another has the slug.
    #[error("the slug is taken")]
    SlugTaken,
    /// No result.
    #[error(transparent)]
    Store(#[from] StoreError),
}

struct Row {
    organization_id: Vec<u8>,
    slug: String,
    name: String,
    revision: i64,
    created_at: OffsetDateTime,
}

impl Tx {
    /// Creates an organization.
    pub async fn create_organization(
        &mut self,
        new: &OrganizationNew,
    ) -> Result<OrganizationRow, CreateOrganizationError> {
        let row = sqlx::query_as!(
            Row,
            r#"insert into organizations (organization_id, slug, name) values ($1, $2, $3)
            on conflict (slug) do nothing
            returning organization_id, slug, name, revision, created_at"#,
            new.id.as_bytes(),
            new.slug.as_str(),
            new.name
        )
        .fetch_optional(&mut *self.sql)
        .await
        .map_err(StoreError::from)?;
        let row = row.ok_or(CreateOrganizationError::SlugTaken)?;
        Ok(row.try_into()?)
    }

    /// The organization that `reference` names.
    pub async fn organization(
        &mut self,
        reference: &OrganizationRef,
    ) -> Result<Option<OrganizationRow>, StoreError> {
        let (id, slug) = match reference {
            OrganizationRef::Id(id) => (Some(id.as_bytes().as_slice()), None),
            OrganizationRef::Slug(slug) => (None, Some(slug.as_str())),
        };
        let row = sqlx::query_as!(
            Row,
            r#"select organization_id, slug, name, revision, created_at from organizations
            where organization_id = $1 or slug = $2"#,
            id,
            slug
        )
        .fetch_optional(&mut *self.sql)
        .await?;
        row.map(OrganizationRow::try_from).transpose()
    }

    /// At most `limit` organizations whose slug comes after `after`, by slug.
    pub async fn organizations(
        &mut self,
        after: &str,
        limit: u32,
    ) -> Result<Vec<OrganizationRow>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            r#"select organization_id, slug, name, revision, created_at from organizations
            where slug > $1 order by slug limit $2"#,
            after,
            i64::from(limit)
        )
        .fetch_all(&mut *self.sql)
        .await?;
        rows.into_iter().map(OrganizationRow::try_from).collect()
    }
}

impl TryFrom<Row> for OrganizationRow {
    type Error = StoreError;

    fn try_from(row: Row) -> Result<Self, StoreError> {
        Ok(Self {
            id: OrganizationId::from_bytes(id_bytes(&row.organization_id)?),
            slug: row.slug,
            name: row.name,
            revision: unsigned(row.revision)?,
            created_at: row.created_at,
        })
    }
}

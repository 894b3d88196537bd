//! `/v1/tenants/{tenant}/credentials`

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Json, Response};
use tessera_api_types::{
    Credential, CredentialCreate, CredentialWithSecret, ErrorCode, Page, Secret, WriteAccepted,
};
use tessera_domain::Scope;
use tessera_domain::text::check_username;
use tessera_store::{
    CreateCredentialError, CredentialNew, CredentialRef, CredentialRow, SecretNew, TenantRow, Tx,
};
use tessera_tenancy::{CredentialId, GeneratedSecret, SecretKind, ServerKey, TenantId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::error::ApiError;
use crate::extract::{At, Body, NoBody, Params};
use crate::list::{ListParams, Paging};
use crate::outcome::Outcome;
use crate::random::{random_bytes, random_secret};
use crate::read::{Read, with_etag};
use crate::shape;
use crate::write::{Write, WriteParams};

pub(crate) fn router() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(create_credential, list_credentials))
        .routes(routes!(get_credential, delete_credential))
        .routes(routes!(rotate_credential))
}

/// Creates a credential. Its secret is shown here only.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/credentials", tag = "credentials",
    params(("tenant" = String, Path, description = "Its id or slug"), WriteParams),
    request_body = CredentialCreate,
    responses((status = 201, body = CredentialWithSecret, description = "Created"),
    (status = 202, body = CredentialWithSecret, description = "Created; some node has not applied it yet")))]
async fn create_credential(
    write: Write,
    At(tenant): At<String>,
    body: Body<CredentialCreate>,
) -> Result<Response, ApiError> {
    let username = check_username("/username", &body.value.username)?;
    let secret = random_secret(SecretKind::Device)?;
    let new = CredentialNew {
        id: CredentialId::from_bytes(random_bytes()?),
        username,
        secret: at_rest(&secret, &write.app.server_key),
    };
    write
        .in_tenant(
            &[Scope::CredentialsWrite],
            &tenant,
            &body.bytes,
            |tx, tenant| {
                Box::pin(async move {
                    let row = tx.create_credential(tenant.id, &new).await?;
                    let location = format!("/v1/tenants/{}/credentials/{}", tenant.id, row.id);
                    let (revision, config) = (row.revision, row.config_revision);
                    let created = with_secret(row, &tenant, &secret);
                    Ok(Outcome::created(location, revision, &created, config))
                })
            },
        )
        .await
}

/// Lists the credentials of a tenant, by user name.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/credentials", tag = "credentials",
    params(("tenant" = String, Path, description = "Its id or slug"), ListParams),
    responses((status = 200, body = Page<Credential>, description = "A page")))]
async fn list_credentials(
    State(app): State<Arc<App>>,
    read: Read,
    At(tenant): At<String>,
    Params(params): Params<ListParams>,
) -> Result<Response, ApiError> {
    let (mut tx, tenant) = read.begin_tenant(Scope::CredentialsRead, &tenant).await?;
    let paging = Paging::new(&app, format!("credentials of {}", tenant.id), params)?;
    let rows = tx
        .credentials(tenant.id, &paging.after, paging.rows())
        .await?;
    tx.commit().await?;
    let page = paging.page(
        rows,
        |row| row.username.to_string(),
        |row| shape::credential(row, &tenant.slug),
    );
    Ok(Json(page).into_response())
}

/// Gets a credential.
#[utoipa::path(get, path = "/v1/tenants/{tenant}/credentials/{credential}", tag = "credentials",
    params(("tenant" = String, Path, description = "Its id or slug"),
        ("credential" = String, Path, description = "Its id or user name")),
    responses((status = 200, body = Credential, description = "The credential")))]
async fn get_credential(
    read: Read,
    At((tenant, name)): At<(String, String)>,
) -> Result<Response, ApiError> {
    let (mut tx, tenant) = read.begin_tenant(Scope::CredentialsRead, &tenant).await?;
    let row = found(&mut tx, tenant.id, &name).await?;
    tx.commit().await?;
    Ok(with_etag(
        row.revision,
        shape::credential(row, &tenant.slug),
    ))
}

/// Deletes a credential: devices that use it are disconnected.
#[utoipa::path(delete, path = "/v1/tenants/{tenant}/credentials/{credential}", tag = "credentials",
    params(("tenant" = String, Path, description = "Its id or slug"),
        ("credential" = String, Path, description = "Its id or user name"), WriteParams,
        ("If-Match" = Option<String>, Header, description = "The `ETag` that was read")),
    responses((status = 204, description = "Gone"),
    (status = 202, body = WriteAccepted, description = "Gone; some node has not applied it yet")))]
async fn delete_credential(
    write: Write,
    At((tenant, name)): At<(String, String)>,
    body: NoBody,
) -> Result<Response, ApiError> {
    let precondition = write.precondition();
    write
        .in_tenant(
            &[Scope::CredentialsWrite],
            &tenant,
            &body.bytes,
            |tx, tenant| {
                Box::pin(async move {
                    let row = found(tx, tenant.id, &name).await?;
                    precondition.check(row.revision)?;
                    Ok(Outcome::gone(
                        tx.delete_credential(tenant.id, row.id).await?,
                    ))
                })
            },
        )
        .await
}

/// Gives a credential a new secret, which is shown here only.
///
/// The one before it lives on, so that no device is cut off; one older than that ends.
#[utoipa::path(post, path = "/v1/tenants/{tenant}/credentials/{credential}/rotate", tag = "credentials",
    params(("tenant" = String, Path, description = "Its id or slug"),
        ("credential" = String, Path, description = "Its id or user name"), WriteParams),
    responses((status = 200, body = CredentialWithSecret, description = "Rotated"),
    (status = 202, body = CredentialWithSecret, description = "Rotated; some node has not applied it yet")))]
async fn rotate_credential(
    write: Write,
    At((tenant, name)): At<(String, String)>,
    body: NoBody,
) -> Result<Response, ApiError> {
    let secret = random_secret(SecretKind::Device)?;
    let new = at_rest(&secret, &write.app.server_key);
    let precondition = write.precondition();
    write
        .in_tenant(
            &[Scope::CredentialsWrite],
            &tenant,
            &body.bytes,
            |tx, tenant| {
                Box::pin(async move {
                    let old = found(tx, tenant.id, &name).await?;
                    precondition.check(old.revision)?;
                    let row = tx.rotate_credential(tenant.id, &old, &new).await?;
                    let (revision, config) = (row.revision, row.config_revision);
                    Ok(Outcome::ok(
                        revision,
                        &with_secret(row, &tenant, &secret),
                        config,
                    ))
                })
            },
        )
        .await
}

async fn found(tx: &mut Tx, tenant: TenantId, name: &str) -> Result<CredentialRow, ApiError> {
    let id = name.parse().map(CredentialRef::Id);
    let reference = id.or_else(|_| name.parse().map(CredentialRef::Username));
    let reference = reference.map_err(|_| ApiError::not_found())?;
    tx.credential(tenant, &reference)
        .await?
        .ok_or_else(ApiError::not_found)
}

fn at_rest(secret: &GeneratedSecret, key: &ServerKey) -> SecretNew {
    SecretNew {
        key_id: secret.key_id(),
        digest: key.digest(secret.expose().as_bytes()),
    }
}

fn with_secret(
    row: CredentialRow,
    tenant: &TenantRow,
    secret: &GeneratedSecret,
) -> CredentialWithSecret {
    CredentialWithSecret {
        credential: shape::credential(row, &tenant.slug),
        secret: Secret::new(secret.expose().to_owned()),
    }
}

impl From<CreateCredentialError> for ApiError {
    fn from(error: CreateCredentialError) -> Self {
        match error {
            CreateCredentialError::UsernameTaken => Self::new(
                ErrorCode::UsernameTaken,
                "another credential has this user name",
            ),
            CreateCredentialError::TooMany => {
                Self::new(ErrorCode::QuotaExceeded, error.to_string())
            }
            CreateCredentialError::Store(error) => error.into(),
        }
    }
}

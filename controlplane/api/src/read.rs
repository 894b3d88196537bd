//! One request that reads.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Json, Response};
use serde::Serialize;
use tessera_api_types::headers::etag;
use tessera_domain::Scope;
use tessera_store::{TenantRef, TenantRow, Tx, View};

use crate::app::App;
use crate::caller::Caller;
use crate::error::ApiError;

/// A request that reads, its caller known.
pub(crate) struct Read {
    pub(crate) app: Arc<App>,
    pub(crate) caller: Caller,
}

impl FromRequestParts<Arc<App>> for Read {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let caller = Caller::from_request_parts(parts, app).await?;
        Ok(Self {
            app: app.clone(),
            caller,
        })
    }
}

impl Read {
    /// A transaction that sees what the caller may see.
    pub(crate) async fn begin(&self, scope: Scope) -> Result<Tx, ApiError> {
        self.caller.require(scope)?;
        Ok(self.app.store.begin(self.caller.view()).await?)
    }

    /// A transaction that sees one tenant, which the caller may see.
    pub(crate) async fn begin_tenant(
        &self,
        scope: Scope,
        tenant: &str,
    ) -> Result<(Tx, TenantRow), ApiError> {
        let mut tx = self.app.store.begin(self.caller.view()).await?;
        let tenant = visible_tenant(&mut tx, tenant).await?;
        self.caller.require(scope)?;
        tx.look(View::Tenant(tenant.id)).await?;
        Ok((tx, tenant))
    }
}

/// The tenant that a path names, among those that the transaction may see.
pub(crate) async fn visible_tenant(tx: &mut Tx, name: &str) -> Result<TenantRow, ApiError> {
    let reference = tenant_ref(name)?;
    tx.tenant(&reference).await?.ok_or_else(ApiError::not_found)
}

/// A resource with its `ETag`.
pub(crate) fn with_etag<T: Serialize>(revision: u64, resource: T) -> Response {
    let mut response = Json(resource).into_response();
    if let Ok(value) = HeaderValue::from_str(&etag(revision)) {
        response.headers_mut().insert(header::ETAG, value);
    }
    response
}

/// A tenant by id or slug. What is neither names none.
fn tenant_ref(name: &str) -> Result<TenantRef, ApiError> {
    let id = name.parse().map(TenantRef::Id);
    id.or_else(|_| name.parse().map(TenantRef::Slug))
        .map_err(|_| ApiError::not_found())
}

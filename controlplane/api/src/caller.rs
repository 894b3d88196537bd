//! Who is calling, and what it may do.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use tessera_domain::{Role, Scope};
use tessera_store::View;
use tessera_tenancy::{ApiKeyId, GeneratedSecret, SecretKind, TenantId};
use tokio::time::Instant;

use crate::app::App;
use crate::edge::Started;
use crate::error::ApiError;
use crate::write::DATABASE_LIMIT;

/// The API key of a request.
#[derive(Debug, Clone)]
pub(crate) struct Caller {
    pub(crate) key: ApiKeyId,
    pub(crate) name: String,
    pub(crate) role: Role,
    /// The only tenant it may see; `None` for a platform key.
    pub(crate) tenant: Option<TenantId>,
}

impl Caller {
    pub(crate) fn require(&self, scope: Scope) -> Result<(), ApiError> {
        if self.role.grants(scope) {
            Ok(())
        } else {
            Err(ApiError::forbidden(scope))
        }
    }

    /// What its transactions may see.
    pub(crate) const fn view(&self) -> View {
        match self.tenant {
            Some(tenant) => View::Tenant(tenant),
            None => View::Platform,
        }
    }
}

impl FromRequestParts<Arc<App>> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        let secret = bearer(parts)?;
        let looking = app.store.api_key_by_key_id(secret.key_id());
        let found = tokio::time::timeout_at(started(parts) + DATABASE_LIMIT, looking)
            .await
            .map_err(|_| ApiError::unavailable())??;
        let digest = app.server_key.digest(secret.expose().as_bytes());
        // An unknown key and a wrong secret look alike.
        let row = found.filter(|row| row.digest.matches(&digest));
        let row = row.ok_or_else(|| ApiError::unauthenticated("there is no such API key"))?;
        Ok(Self {
            key: row.id,
            name: row.name,
            role: row.role,
            tenant: row.tenant,
        })
    }
}

/// When the request came in.
pub(crate) fn started(parts: &Parts) -> Instant {
    parts
        .extensions
        .get::<Started>()
        .map_or_else(Instant::now, |started| started.0)
}

/// The key that came. Its checksum is verified here, so that a typing error costs no look-up.
fn bearer(parts: &Parts) -> Result<GeneratedSecret, ApiError> {
    let needed = || ApiError::unauthenticated("send `Authorization: Bearer tsk_…`");
    let header = parts
        .headers
        .get(header::AUTHORIZATION)
        .ok_or_else(needed)?;
    let text = header.to_str().map_err(|_| needed())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(needed)?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(needed());
    }
    GeneratedSecret::parse(SecretKind::ApiKey, token.trim())
        .map_err(|error| ApiError::unauthenticated(format!("this is no API key: {error}")))
}

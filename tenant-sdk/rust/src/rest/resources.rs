//! The resources of the API: a method a route.

use tessera_api_types::{
    ApiKey, ApiKeyCreate, ApiKeyWithSecret, Credential, CredentialCreate, CredentialWithSecret,
    Node, Organization, OrganizationCreate, Plan, Quotas, QuotasPatch, QuotasPut, Tenant,
    TenantCreate, TenantEnsure, TenantPatch, Whoami, WriteAccepted,
};

use super::client::{Client, Request};
use super::error::Error;
use super::listing::Listing;
use super::path::PathAndQuery;
use super::versioned::Versioned;

/// Whether a write returns as soon as it is committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wait {
    /// It does; nodes get it within a moment.
    #[default]
    Committed,
    /// It waits, up to five seconds, until every live node serves with it; the answer's `applied` says
    /// how many do.
    Applied,
}

impl PathAndQuery {
    fn waiting(self, wait: Wait) -> Self {
        match wait {
            Wait::Committed => self,
            Wait::Applied => self.with("wait", "applied"),
        }
    }
}

impl Client {
    /// `GET /v1/whoami`: the caller's key and what it may do.
    pub async fn whoami(&self) -> Result<Whoami, Error> {
        self.send(Request::get(PathAndQuery::new(&["v1", "whoami"])))
            .await?
            .json()
    }

    /// `GET /readyz`: fails if the process cannot serve now. Any process of the product answers it.
    pub async fn is_ready(&self) -> Result<(), Error> {
        self.send(Request::get(PathAndQuery::new(&["readyz"])))
            .await
            .map(|_| ())
    }

    /// `GET /v1/organizations`
    pub fn organizations(&self) -> Listing<Organization> {
        Listing::new(self, PathAndQuery::new(&["v1", "organizations"]))
    }

    /// `POST /v1/organizations`
    pub async fn create_organization(
        &self,
        create: &OrganizationCreate,
    ) -> Result<Organization, Error> {
        let path = PathAndQuery::new(&["v1", "organizations"]);
        self.send(Request::post(path)?.json(create)?).await?.json()
    }

    /// `GET /v1/organizations/{organization}`, by id or slug
    pub async fn organization(&self, name: &str) -> Result<Versioned<Organization>, Error> {
        let path = PathAndQuery::new(&["v1", "organizations", name]);
        self.send(Request::get(path)).await?.versioned()
    }

    /// `GET /v1/plans`
    pub fn plans(&self) -> Listing<Plan> {
        Listing::new(self, PathAndQuery::new(&["v1", "plans"]))
    }

    /// `GET /v1/tenants`
    pub fn tenants(&self) -> Listing<Tenant> {
        Listing::new(self, PathAndQuery::new(&["v1", "tenants"]))
    }

    /// `POST /v1/tenants`
    pub async fn create_tenant(
        &self,
        create: &TenantCreate,
        wait: Wait,
    ) -> Result<Versioned<Tenant>, Error> {
        let path = PathAndQuery::new(&["v1", "tenants"]).waiting(wait);
        self.send(Request::post(path)?.json(create)?)
            .await?
            .versioned()
    }

    /// `PUT /v1/tenants/{slug}`: creates the tenant, or returns the one that has the slug, unchanged.
    pub async fn ensure_tenant(
        &self,
        slug: &str,
        ensure: &TenantEnsure,
        wait: Wait,
    ) -> Result<Versioned<Tenant>, Error> {
        let path = PathAndQuery::new(&["v1", "tenants", slug]).waiting(wait);
        self.send(Request::put(path).json(ensure)?)
            .await?
            .versioned()
    }

    /// One tenant's resources, by id or slug. Asks nothing yet.
    pub fn tenant(&self, name: impl Into<String>) -> TenantClient {
        TenantClient {
            client: self.clone(),
            name: name.into(),
        }
    }

    /// `GET /v1/platform/nodes`
    pub fn nodes(&self) -> Listing<Node> {
        Listing::new(self, PathAndQuery::new(&["v1", "platform", "nodes"]))
    }

    /// `PATCH /v1/platform/tenants/{tenant}/quotas`: overrides some quotas. `etag` is that of
    /// [`TenantClient::quotas`].
    pub async fn patch_quotas(
        &self,
        tenant: &str,
        patch: &QuotasPatch,
        etag: &str,
        wait: Wait,
    ) -> Result<Versioned<Quotas>, Error> {
        let path = platform_quotas(tenant).waiting(wait);
        let request = Request::patch(path).json(patch)?.if_match(Some(etag))?;
        self.send(request).await?.versioned()
    }

    /// `PUT /v1/platform/tenants/{tenant}/quotas`: these are all the overrides.
    pub async fn put_quotas(
        &self,
        tenant: &str,
        put: &QuotasPut,
        etag: &str,
        wait: Wait,
    ) -> Result<Versioned<Quotas>, Error> {
        let path = platform_quotas(tenant).waiting(wait);
        let request = Request::put(path).json(put)?.if_match(Some(etag))?;
        self.send(request).await?.versioned()
    }
}

fn platform_quotas(tenant: &str) -> PathAndQuery {
    PathAndQuery::new(&["v1", "platform", "tenants", tenant, "quotas"])
}

/// One tenant's resources: `/v1/tenants/{tenant}/…`.
#[derive(Debug, Clone)]
pub struct TenantClient {
    client: Client,
    name: String,
}

impl TenantClient {
    /// `GET`: the tenant.
    pub async fn get(&self) -> Result<Versioned<Tenant>, Error> {
        self.client
            .send(Request::get(self.path(&[])))
            .await?
            .versioned()
    }

    /// `PATCH`: changes the plan, the labels or the settings. With an `etag` only that version is changed.
    pub async fn update(
        &self,
        patch: &TenantPatch,
        etag: Option<&str>,
        wait: Wait,
    ) -> Result<Versioned<Tenant>, Error> {
        let path = self.path(&[]).waiting(wait);
        let request = Request::patch(path).json(patch)?.if_match(etag)?;
        self.client.send(request).await?.versioned()
    }

    /// `DELETE`: the tenant with all it holds. `Some` if some live node had not applied it in time.
    pub async fn delete(&self, wait: Wait) -> Result<Option<WriteAccepted>, Error> {
        let path = self.path(&[]).waiting(wait);
        self.client
            .send(Request::delete(path))
            .await?
            .optional_json()
    }

    /// `POST …/suspend`: devices are refused and disconnected; what it stored is kept.
    pub async fn suspend(&self, wait: Wait) -> Result<Versioned<Tenant>, Error> {
        let path = self.path(&["suspend"]).waiting(wait);
        self.client.send(Request::post(path)?).await?.versioned()
    }

    /// `POST …/resume`
    pub async fn resume(&self, wait: Wait) -> Result<Versioned<Tenant>, Error> {
        let path = self.path(&["resume"]).waiting(wait);
        self.client.send(Request::post(path)?).await?.versioned()
    }

    /// `GET …/credentials`
    pub fn credentials(&self) -> Listing<Credential> {
        Listing::new(&self.client, self.path(&["credentials"]))
    }

    /// `POST …/credentials`: the secret is in the answer, and never again.
    pub async fn create_credential(
        &self,
        username: &str,
        wait: Wait,
    ) -> Result<CredentialWithSecret, Error> {
        let create = CredentialCreate {
            username: username.to_owned(),
        };
        let path = self.path(&["credentials"]).waiting(wait);
        self.client
            .send(Request::post(path)?.json(&create)?)
            .await?
            .json()
    }

    /// `GET …/credentials/{credential}`, by id or user name
    pub async fn credential(&self, name: &str) -> Result<Versioned<Credential>, Error> {
        let path = self.path(&["credentials", name]);
        self.client.send(Request::get(path)).await?.versioned()
    }

    /// `POST …/credentials/{credential}/rotate`: a new secret; the former one stays good until the next
    /// rotation.
    pub async fn rotate_credential(
        &self,
        name: &str,
        wait: Wait,
    ) -> Result<CredentialWithSecret, Error> {
        let path = self.path(&["credentials", name, "rotate"]).waiting(wait);
        self.client.send(Request::post(path)?).await?.json()
    }

    /// `DELETE …/credentials/{credential}`
    pub async fn delete_credential(
        &self,
        name: &str,
        wait: Wait,
    ) -> Result<Option<WriteAccepted>, Error> {
        let path = self.path(&["credentials", name]).waiting(wait);
        self.client
            .send(Request::delete(path))
            .await?
            .optional_json()
    }

    /// `GET …/api-keys`
    pub fn api_keys(&self) -> Listing<ApiKey> {
        Listing::new(&self.client, self.path(&["api-keys"]))
    }

    /// `POST …/api-keys`: the key is in the answer, and never again.
    pub async fn create_api_key(&self, create: &ApiKeyCreate) -> Result<ApiKeyWithSecret, Error> {
        let path = self.path(&["api-keys"]);
        self.client
            .send(Request::post(path)?.json(create)?)
            .await?
            .json()
    }

    /// `DELETE …/api-keys/{key}`
    pub async fn delete_api_key(&self, key: &str) -> Result<(), Error> {
        self.client
            .send(Request::delete(self.path(&["api-keys", key])))
            .await
            .map(|_| ())
    }

    /// `GET …/quotas`
    pub async fn quotas(&self) -> Result<Versioned<Quotas>, Error> {
        self.client
            .send(Request::get(self.path(&["quotas"])))
            .await?
            .versioned()
    }

    fn path(&self, below: &[&str]) -> PathAndQuery {
        let segments = [&["v1", "tenants", self.name.as_str()], below].concat();
        PathAndQuery::new(&segments)
    }
}

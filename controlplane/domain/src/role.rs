//! What an API key may do: a role is a fixed set of scopes.

use std::fmt;
use std::str::FromStr;

/// The role of an API key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Everything.
    PlatformAdmin,
    /// Reads everything that is not a tenant's payload.
    PlatformViewer,
    /// Everything inside its tenant but its plan, its quotas and its existence.
    TenantAdmin,
    /// Reads inside its tenant.
    TenantViewer,
}

/// One right. Its text is what a refusal names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Reads organizations.
    OrganizationsRead,
    /// Creates organizations.
    OrganizationsWrite,
    /// Reads plans.
    PlansRead,
    /// Puts a tenant on another plan.
    PlansAssign,
    /// Reads tenants.
    TenantsRead,
    /// Changes a tenant's labels and settings.
    TenantsWrite,
    /// Creates, suspends, resumes and deletes tenants.
    TenantsManage,
    /// Reads credentials.
    CredentialsRead,
    /// Creates, rotates and deletes credentials.
    CredentialsWrite,
    /// Reads a tenant's API keys.
    ApiKeysRead,
    /// Creates and deletes a tenant's API keys.
    ApiKeysWrite,
    /// Reads quotas.
    QuotasRead,
    /// Overrides quotas.
    QuotasWrite,
    /// Reads nodes and the configuration's head.
    PlatformRead,
    /// Reads platform API keys.
    PlatformKeysRead,
    /// Creates and deletes platform API keys.
    PlatformKeysWrite,
}

/// No role has that name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown role")]
pub struct UnknownRole;

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [
        Self::PlatformAdmin,
        Self::PlatformViewer,
        Self::TenantAdmin,
        Self::TenantViewer,
    ];

    /// The name in REST and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PlatformAdmin => "platform-admin",
            Self::PlatformViewer => "platform-viewer",
            Self::TenantAdmin => "tenant-admin",
            Self::TenantViewer => "tenant-viewer",
        }
    }

    /// Whether a key of this role belongs to the platform rather than to one tenant.
    pub const fn is_platform(self) -> bool {
        match self {
            Self::PlatformAdmin | Self::PlatformViewer => true,
            Self::TenantAdmin | Self::TenantViewer => false,
        }
    }

    /// Whether the role holds the scope.
    pub fn grants(self, scope: Scope) -> bool {
        self.scopes().contains(&scope)
    }

    /// What the role may do, in the order of [`Scope`].
    pub const fn scopes(self) -> &'static [Scope] {
        match self {
            Self::PlatformAdmin => &Scope::ALL,
            Self::PlatformViewer => &[
                Scope::OrganizationsRead,
                Scope::PlansRead,
                Scope::TenantsRead,
                Scope::CredentialsRead,
                Scope::ApiKeysRead,
                Scope::QuotasRead,
                Scope::PlatformRead,
                Scope::PlatformKeysRead,
            ],
            Self::TenantAdmin => &[
                Scope::PlansRead,
                Scope::TenantsRead,
                Scope::TenantsWrite,
                Scope::CredentialsRead,
                Scope::CredentialsWrite,
                Scope::ApiKeysRead,
                Scope::ApiKeysWrite,
                Scope::QuotasRead,
            ],
            Self::TenantViewer => &[
                Scope::PlansRead,
                Scope::TenantsRead,
                Scope::CredentialsRead,
                Scope::ApiKeysRead,
                Scope::QuotasRead,
            ],
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        let known = Self::ALL.into_iter().find(|role| role.as_str() == text);
        known.ok_or(UnknownRole)
    }
}

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 16] = [
        Self::OrganizationsRead,
        Self::OrganizationsWrite,
        Self::PlansRead,
        Self::PlansAssign,
        Self::TenantsRead,
        Self::TenantsWrite,
        Self::TenantsManage,
        Self::CredentialsRead,
        Self::CredentialsWrite,
        Self::ApiKeysRead,
        Self::ApiKeysWrite,
        Self::QuotasRead,
        Self::QuotasWrite,
        Self::PlatformRead,
        Self::PlatformKeysRead,
        Self::PlatformKeysWrite,
    ];

    /// The name in REST.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OrganizationsRead => "organizations:read",
            Self::OrganizationsWrite => "organizations:write",
            Self::PlansRead => "plans:read",
            Self::PlansAssign => "plans:assign",
            Self::TenantsRead => "tenants:read",
            Self::TenantsWrite => "tenants:write",
            Self::TenantsManage => "tenants:manage",
            Self::CredentialsRead => "credentials:read",
            Self::CredentialsWrite => "credentials:write",
            Self::ApiKeysRead => "api_keys:read",
            Self::ApiKeysWrite => "api_keys:write",
            Self::QuotasRead => "quotas:read",
            Self::QuotasWrite => "quotas:write",
            Self::PlatformRead => "platform:read",
            Self::PlatformKeysRead => "platform_api_keys:read",
            Self::PlatformKeysWrite => "platform_api_keys:write",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_read_back() {
        for role in Role::ALL {
            assert_eq!(role.as_str().parse(), Ok(role));
        }
        assert_eq!("root".parse::<Role>(), Err(UnknownRole));
    }

    #[test]
    fn viewers_only_read() {
        for role in [Role::PlatformViewer, Role::TenantViewer] {
            assert!(
                role.scopes()
                    .iter()
                    .all(|scope| scope.as_str().ends_with(":read"))
            );
        }
    }

    #[test]
    fn no_tenant_role_reaches_what_is_the_platforms() {
        for role in [Role::TenantAdmin, Role::TenantViewer] {
            for scope in [
                Scope::OrganizationsRead,
                Scope::PlansAssign,
                Scope::TenantsManage,
                Scope::QuotasWrite,
                Scope::PlatformRead,
                Scope::PlatformKeysRead,
            ] {
                assert!(!role.grants(scope), "{} {scope}", role.as_str());
            }
        }
    }

    #[test]
    fn scopes_stand_in_order_and_once() {
        for role in Role::ALL {
            assert!(role.scopes().is_sorted_by(|a, b| a < b));
        }
    }
}

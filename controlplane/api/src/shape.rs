//! From rows to the shapes of the API.

use tessera_api_types as shape;
use tessera_domain::Role;
use tessera_store::{ApiKeyRow, CredentialRow, OrganizationRow, PlanRow, QuotaRows, TenantRow};
use tessera_tenancy::{
    LIMITS, LimitRow, QueueOverflow, Revision, SharedSubscriptionStrategy, TenantSettings,
    TenantSlug, TenantStatus,
};

pub(crate) fn organization(row: OrganizationRow, config: Option<Revision>) -> shape::Organization {
    shape::Organization {
        id: row.id,
        slug: row.slug,
        name: row.name,
        revision: row.revision,
        created_at: row.created_at,
        config_revision: config.map(|revision| revision.0),
    }
}

pub(crate) fn plan(row: PlanRow) -> shape::Plan {
    let limits = LIMITS.iter().map(|limit| shape::PlanLimit {
        name: limit.name.to_owned(),
        limit: row.limits.get(limit.code),
        unit: limit.unit.to_owned(),
    });
    shape::Plan {
        slug: row.slug,
        limits: limits.collect(),
    }
}

pub(crate) fn tenant(row: TenantRow) -> shape::Tenant {
    shape::Tenant {
        id: row.id,
        slug: row.slug,
        status: match row.status {
            TenantStatus::Active => shape::TenantStatus::Active,
            TenantStatus::Suspended => shape::TenantStatus::Suspended,
        },
        plan: row.plan,
        organization: row.organization,
        labels: row.labels,
        settings: settings(row.settings),
        revision: row.revision,
        config_revision: row.config_revision.0,
        created_at: row.created_at,
        updated_at: row.updated_at,
        applied: None,
    }
}

pub(crate) fn credential(row: CredentialRow, tenant: &TenantSlug) -> shape::Credential {
    let secrets = row.secrets.into_iter();
    shape::Credential {
        id: row.id,
        mqtt_username: format!("{tenant}.{}", row.username),
        username: row.username,
        policy: row.policy,
        secrets: secrets
            .map(|secret| shape::LiveSecret {
                key_id: secret.key_id,
                created_at: secret.created_at,
            })
            .collect(),
        revision: row.revision,
        config_revision: row.config_revision.0,
        created_at: row.created_at,
        updated_at: row.updated_at,
        applied: None,
    }
}

pub(crate) fn api_key(row: ApiKeyRow, config: Option<Revision>) -> shape::ApiKey {
    shape::ApiKey {
        id: row.id,
        name: row.name,
        role: role(row.role),
        key_id: row.key_id,
        tenant: row.tenant,
        revision: row.revision,
        created_at: row.created_at,
        config_revision: config.map(|revision| revision.0),
    }
}

pub(crate) fn quotas(rows: &QuotaRows) -> shape::Quotas {
    shape::Quotas {
        data: LIMITS.iter().map(|limit| quota(rows, limit)).collect(),
        plan: rows.plan.clone(),
        revision: rows.revision,
        config_revision: rows.config_revision.0,
        applied: None,
    }
}

pub(crate) const fn role(role: Role) -> shape::Role {
    match role {
        Role::PlatformAdmin => shape::Role::PlatformAdmin,
        Role::PlatformViewer => shape::Role::PlatformViewer,
        Role::TenantAdmin => shape::Role::TenantAdmin,
        Role::TenantViewer => shape::Role::TenantViewer,
    }
}

pub(crate) const fn role_of(shape: shape::Role) -> Role {
    match shape {
        shape::Role::PlatformAdmin => Role::PlatformAdmin,
        shape::Role::PlatformViewer => Role::PlatformViewer,
        shape::Role::TenantAdmin => Role::TenantAdmin,
        shape::Role::TenantViewer => Role::TenantViewer,
    }
}

const fn settings(settings: TenantSettings) -> shape::TenantSettings {
    use SharedSubscriptionStrategy::{Random, RoundRobin, Sticky};
    shape::TenantSettings {
        shared_subscription_strategy: match settings.shared_subscription_strategy {
            Random => shape::SharedSubscriptionStrategy::Random,
            RoundRobin => shape::SharedSubscriptionStrategy::RoundRobin,
            Sticky => shape::SharedSubscriptionStrategy::Sticky,
        },
        queue_overflow: match settings.queue_overflow {
            QueueOverflow::DropOldest => shape::QueueOverflow::DropOldest,
            QueueOverflow::DropNewest => shape::QueueOverflow::DropNewest,
            QueueOverflow::RefusePublisher => shape::QueueOverflow::RefusePublisher,
        },
    }
}

fn quota(rows: &QuotaRows, limit: &LimitRow) -> shape::Quota {
    let overridden = rows.overrides.get(limit.code);
    shape::Quota {
        name: limit.name.to_owned(),
        limit: rows.effective().get(limit.code),
        unit: limit.unit.to_owned(),
        scope: limit.scope.to_owned(),
        source: match overridden {
            Some(_) => shape::QuotaSource::Override,
            None => shape::QuotaSource::Plan,
        },
        plan_limit: rows.granted.get(limit.code),
        reason: overridden.and_then(|to| to.reason.clone()),
        at_limit: shape::AtLimit {
            v5: limit.at_limit_v5.to_owned(),
            v3: limit.at_limit_v3.to_owned(),
        },
        description: limit.doc.to_owned(),
    }
}
